/**
 * What does the registry keep in mep.sqlite?
 */
import type { PartMigration } from "../store.ts";

export const registryTables: readonly PartMigration[] = [
  {
    part: "registry",
    version: 1,
    sql: `
      CREATE TABLE mec_service (
        id        TEXT PRIMARY KEY,     -- serInstanceId
        instance  TEXT NOT NULL,        -- appInstanceId of whose it is
        about     TEXT NOT NULL,        -- what the app says of it: JSON, without what changes by itself
        state     TEXT NOT NULL,
        interval  INTEGER,              -- seconds between heartbeats; NULL: none required
        heartbeat INTEGER NOT NULL      -- the last one when the row was written, milliseconds since the epoch
      ) STRICT;
      CREATE INDEX mec_service_instance ON mec_service (instance);
      CREATE TABLE mp1_subscription (
        id       TEXT PRIMARY KEY,
        kind     TEXT NOT NULL,         -- subscriptionType
        instance TEXT NOT NULL,
        body     TEXT NOT NULL          -- as it was given: JSON
      ) STRICT;
      CREATE INDEX mp1_subscription_instance ON mp1_subscription (instance);
      CREATE TABLE mp1_registration (
        instance TEXT PRIMARY KEY,
        client   TEXT NOT NULL,         -- who has registered it
        body     TEXT NOT NULL          -- AppInfo: JSON
      ) STRICT;
    `,
  },
];
