/**
 * What do the bodies about users and the audit log look like?
 */
import Type from "typebox";
import { kinds } from "../access/chain.ts";
import { roles } from "../access/roles.ts";
import { userNamePattern } from "../access/users.ts";

const closed = { additionalProperties: false };
const time = (description: string) => Type.String({ format: "date-time", description });
const text = Type.Optional(Type.String({ minLength: 1, maxLength: 200 }));
const number = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

const name = Type.String({
  pattern: userNamePattern,
  description: "also the common name of its certificate, where it has one",
});
export const role = Type.Enum([...roles]);

export const user = Type.Object(
  { name, role, created: time("when it was added"), rotated: time("when its token was made") },
  { ...closed, title: "User" },
);
export const users = Type.Array(user);
export const userBody = Type.Object({ name, role }, closed);
export const userParams = Type.Object({ name: Type.String({ maxLength: 64 }) });
export const userWithToken = Type.Object(
  { ...user.properties, token: Type.String({ description: "shown this once; only its hash is kept" }) },
  closed,
);

export const whoami = Type.Object(
  {
    who: Type.String({ description: "how you were let in, and as whom" }),
    role,
    user: Type.Optional(Type.String({ description: "absent: not one of the site's users" })),
  },
  closed,
);

export const entry = Type.Object(
  {
    number: Type.Integer({ minimum: 1 }),
    time: time("by the system's clock; the number gives the order"),
    kind: Type.Enum([...kinds]),
    of: Type.Optional({ ...number, description: "the entry that this one is about" }),
    api: Type.String(),
    who: Type.String(),
    address: Type.Optional(Type.String()),
    method: Type.Optional(Type.String()),
    path: Type.Optional(Type.String()),
    object: Type.Optional(Type.String()),
    request: Type.Optional(Type.String({ description: "as in the agent's log" })),
    status: Type.Optional(Type.Integer()),
    detail: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    digest: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  },
  { ...closed, title: "AuditEntry" },
);

export const auditQuery = Type.Object(
  {
    who: text,
    api: text,
    kind: Type.Optional(Type.Enum([...kinds])),
    address: text,
    status: Type.Optional(Type.Integer({ minimum: 100, maximum: 599 })),
    since: Type.Optional(time("entries from then on")),
    until: Type.Optional(time("entries until then")),
    before: Type.Optional({ ...number, description: "entries with smaller numbers: the next page" }),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  },
  closed,
);
export const audit = Type.Object(
  { total: number, entries: Type.Array(entry, { description: "newest first" }) },
  closed,
);

const anchor = Type.Object({ number, digest: Type.String() }, closed);
export const verdict = Type.Object(
  {
    entries: { ...number, description: "that are there and in order" },
    anchor: { ...anchor, description: "what came before the first: the last that an export took" },
    head: { ...anchor, description: "the newest that is in order; note it elsewhere" },
    fault: Type.Optional(Type.String({ description: "absent: nothing is wrong" })),
  },
  { ...closed, title: "AuditVerdict" },
);

export const truncateBody = Type.Object(
  {
    through: Type.Integer({
      minimum: 1,
      maximum: Number.MAX_SAFE_INTEGER,
      description: "number of the newest entry to remove",
    }),
    digest: Type.String({ pattern: "^[0-9a-f]{64}$", description: "of that entry, as it was exported" }),
  },
  closed,
);
