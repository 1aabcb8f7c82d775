/**
 * What does the site's configuration look like in the API?
 */
import Type from "typebox";
import { siteSchema } from "../config/schema.ts";
import { reloaded } from "./schemas.ts";
import { longestConfirm } from "./set-schemas.ts";

const closed = { additionalProperties: false };
const names = Type.Array(Type.String());
const revision = Type.String({ description: "digest of the document without its secret; also the ETag" });
const until = Type.String({ description: "when it goes back by itself: ISO 8601" });

export const document = siteSchema;

export const waitingSite = Type.Object(
  {
    revision,
    back: Type.String({ description: "revision that comes back" }),
    who: Type.String(),
    until,
    confirm: Type.Boolean({ description: "somebody has to confirm it; else it is enough that the agent comes up" }),
  },
  closed,
);

export const siteView = Type.Object(
  {
    revision,
    site: siteSchema,
    secrets: Type.Array(Type.String(), { description: "members that are set, and never shown" }),
    dataplanes: Type.Object(
      { added: names, removed: names },
      { ...closed, description: "what the API did to the data planes of the document" },
    ),
    unread: Type.Optional(
      Type.Object(
        { revision: Type.Optional(Type.String()), wrong: Type.Optional(Type.String()) },
        { ...closed, description: "site.yaml was written by hand since it was read, and says this" },
      ),
    ),
    waiting: Type.Optional(waitingSite),
  },
  closed,
);

export const putQuery = Type.Object(
  {
    confirm: Type.Optional(
      Type.Integer({ minimum: 1, maximum: longestConfirm, description: "seconds in which it has to be confirmed" }),
    ),
    dryRun: Type.Optional(Type.Enum(["true", "false"], { description: "true: only say what would change" })),
  },
  closed,
);

export const siteResult = Type.Object(
  {
    ...reloaded.properties,
    revision,
    different: Type.Boolean({ description: "false: it says what is in force already" }),
    restart: Type.Array(Type.Object({ field: Type.String(), message: Type.String() }, closed), {
      description: "what takes a restart of the agent; it starts again by itself",
    }),
    until: Type.Optional(until),
  },
  closed,
);

export const rolledBack = Type.Object(
  { ...waitingSite.properties, restarting: Type.Boolean({ description: "the agent starts again by itself" }) },
  closed,
);
