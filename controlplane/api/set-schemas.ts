/**
 * What do lists of services, revisions and confirmations look like in the API?
 */
import Type from "typebox";
import { finding, service } from "./schemas.ts";

const closed = { additionalProperties: false };
const whole = Type.Integer({ minimum: 0 });
const names = Type.Array(Type.String());
const until = Type.String({ description: "when the change takes itself back unless it is confirmed: ISO 8601" });

/** A week, in seconds. */
export const longestConfirm = 604_800;

export const applyQuery = Type.Object(
  {
    confirm: Type.Optional(
      Type.Integer({ minimum: 1, maximum: longestConfirm, description: "seconds in which it has to be confirmed" }),
    ),
    dryRun: Type.Optional(Type.Enum(["true", "false"], { description: "true: only say what would change" })),
  },
  closed,
);

const line = Type.Optional(Type.String());
/** Entries of the data plane's tables that a change touches. */
export const tableChanges = Type.Array(
  Type.Object({ table: Type.String(), key: Type.String(), before: line, after: line }, closed),
);

export const setResult = Type.Object(
  {
    revision: Type.Optional(Type.Integer({ description: "absent when nothing changes" })),
    added: names,
    changed: names,
    removed: names,
    kept: whole,
    until: Type.Optional(until),
    warnings: Type.Optional(
      Type.Array(finding, {
        description: "services that never act, by the change or as part of it; also Offramp-Warning",
      }),
    ),
    tables: Type.Optional({ ...tableChanges, description: "with dryRun: the same as objects of the kernel" }),
  },
  closed,
);

const revisionMembers = {
  revision: whole,
  time: Type.String({ description: "ISO 8601" }),
  who: Type.String({ description: "token, loopback, certificate <name>, with the address; or deadline" }),
  what: Type.String({ description: "in words" }),
  added: whole,
  changed: whole,
  removed: whole,
};

export const waiting = Type.Object({ revision: whole, back: whole, until }, closed);

export const history = Type.Object(
  {
    total: whole,
    offset: whole,
    limit: whole,
    waiting: Type.Optional(waiting),
    revisions: Type.Array(Type.Object(revisionMembers, closed)),
  },
  closed,
);

export const historyQuery = Type.Object(
  {
    offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1e9, default: 0 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000, default: 100 })),
  },
  closed,
);

export const revisionNumber = Type.Object({ revision: Type.Integer({ minimum: 0, maximum: 2 ** 53 - 1 }) }, closed);
export const revisionQuery = Type.Object(
  {
    services: Type.Optional(Type.Enum(["true", "false"], { description: "true: with the whole set that it left" })),
  },
  closed,
);

export const revision = Type.Object(
  {
    ...revisionMembers,
    touched: Type.Array(Type.Object({ before: Type.Optional(service), after: Type.Optional(service) }, closed)),
    services: Type.Optional(Type.Array(service)),
  },
  closed,
);

export const rollbackBody = Type.Object(
  {
    revision: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 2 ** 53 - 1,
        description: "whose set comes back; absent: what was there before the change that waits to be confirmed",
      }),
    ),
  },
  closed,
);

export const deployed = Type.Object(
  {
    agrees: Type.Boolean(),
    differences: Type.Array(
      Type.Object({ table: Type.String(), key: Type.String(), intended: line, found: line }, closed),
    ),
  },
  closed,
);
