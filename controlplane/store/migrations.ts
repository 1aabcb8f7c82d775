/**
 * How did the store's tables come to look as they do?
 *
 * Each entry is applied once, in order, in one transaction with the note that it was. Entries are only ever added.
 */
export interface Migration {
  version: number;
  sql: string;
}

export const migrations: readonly Migration[] = [
  {
    version: 1,
    sql: `
      CREATE TABLE service (
        name TEXT PRIMARY KEY,
        body TEXT NOT NULL,             -- as it was given, JSON
        rule INTEGER NOT NULL UNIQUE,   -- SteeringRule.id
        idx  INTEGER NOT NULL UNIQUE    -- SteeringRule.service: index of its counters
      ) STRICT;
      CREATE TABLE sequence (           -- the number given out last
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
      ) STRICT;
      INSERT INTO sequence VALUES ('rule', 0), ('idx', 0);
      CREATE TABLE mode (               -- what was set over the API; wins over site.yaml
        dataplane TEXT PRIMARY KEY,
        mode TEXT NOT NULL
      ) STRICT;
    `,
  },
  {
    version: 2,
    sql: `
      CREATE TABLE revision (
        number  INTEGER PRIMARY KEY,
        time    INTEGER NOT NULL,       -- milliseconds since the epoch
        who     TEXT NOT NULL,
        what    TEXT NOT NULL,
        added   INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        removed INTEGER NOT NULL,
        touched BLOB NOT NULL           -- what each touched service was and became: JSON, deflated
      ) STRICT;
      CREATE TABLE armed (              -- the change that takes itself back unless it is confirmed
        one      INTEGER PRIMARY KEY CHECK (one = 1),
        back     INTEGER NOT NULL,      -- revision to go back to
        revision INTEGER,               -- what the change became; NULL until it is in force
        duration INTEGER NOT NULL,      -- milliseconds that it has
        wall     INTEGER NOT NULL,      -- when it was armed: boottime.ts
        uptime   INTEGER NOT NULL,
        boot     TEXT NOT NULL
      ) STRICT;
    `,
  },
  {
    version: 3,
    sql: `
      CREATE TABLE dataplane (          -- what was added or removed over the API, on top of site.yaml
        name TEXT PRIMARY KEY,
        section TEXT                    -- as it was given, JSON; NULL: removed
      ) STRICT;
    `,
  },
  {
    version: 4,
    sql: `
      CREATE TABLE layer_rule (         -- numbers of rules that are no services: intents/layer.ts
        name TEXT PRIMARY KEY,
        rule INTEGER NOT NULL UNIQUE,
        idx  INTEGER NOT NULL UNIQUE
      ) STRICT;
    `,
  },
  {
    version: 5,
    sql: `
      CREATE TABLE user (
        name    TEXT PRIMARY KEY,
        role    TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
        token   BLOB NOT NULL UNIQUE,   -- SHA-256 of it
        created INTEGER NOT NULL,       -- milliseconds since the epoch
        rotated INTEGER NOT NULL        -- when the token was made
      ) STRICT;
    `,
  },
];
