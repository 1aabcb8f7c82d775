/** What does the platform store about clients of Mp1 and the keys that sign their tokens? */
import type { PartMigration } from "../store.ts";

export const authTables: readonly PartMigration[] = [
  {
    part: "auth",
    version: 1,
    sql: `
      CREATE TABLE auth_client (
        client   TEXT PRIMARY KEY,        -- client_id; of an instance its appInstanceId
        instance TEXT UNIQUE,             -- NULL: of an app that runs elsewhere and registers itself
        secret   BLOB,                    -- SHA-256 of it; NULL: none was made yet
        scopes   TEXT NOT NULL,           -- JSON, a list
        epoch    TEXT NOT NULL,           -- tokens with another are worth nothing
        created  INTEGER NOT NULL,        -- milliseconds since the epoch
        rotated  INTEGER                  -- when the secret was made
      ) STRICT;
      CREATE TABLE auth_key (
        kid     TEXT PRIMARY KEY,         -- thumbprint, RFC 7638
        jwk     TEXT NOT NULL,            -- private, JSON
        created INTEGER NOT NULL,
        retired INTEGER                   -- signs nothing from then on; verifies until its last token has expired
      ) STRICT;
    `,
  },
];
