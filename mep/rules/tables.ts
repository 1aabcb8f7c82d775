/**
 * How do the tables of the apps' rules look, and how did they come to?
 */
import type { PartMigration } from "../store.ts";

export const ruleTables: readonly PartMigration[] = [
  {
    part: "rules",
    version: 1,
    sql: `
      CREATE TABLE rule_owner (
        instance  TEXT PRIMARY KEY,
        provider  TEXT NOT NULL,        -- the tenant
        addresses TEXT NOT NULL,        -- of the instance, JSON
        traffic   TEXT NOT NULL,        -- granted: TrafficRuleDescriptor[], JSON
        dns       TEXT NOT NULL         -- granted: DNSRuleDescriptor[], JSON
      ) STRICT;
      CREATE TABLE traffic_rule (
        instance TEXT NOT NULL REFERENCES rule_owner ON DELETE CASCADE,
        id       TEXT NOT NULL,
        position INTEGER NOT NULL,      -- in the package's list
        body     TEXT NOT NULL,         -- TrafficRule, JSON
        PRIMARY KEY (instance, id)
      ) STRICT;
      CREATE TABLE dns_rule (
        instance TEXT NOT NULL REFERENCES rule_owner ON DELETE CASCADE,
        id       TEXT NOT NULL,
        position INTEGER NOT NULL,
        body     TEXT NOT NULL,         -- DnsRule, JSON
        PRIMARY KEY (instance, id)
      ) STRICT;
    `,
  },
];
