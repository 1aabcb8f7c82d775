/**
 * Which tables do app instances need?
 */
export const instanceTables = [
  {
    part: "instances",
    version: 1,
    sql: `
      CREATE TABLE app_instance (
        id   TEXT PRIMARY KEY,
        body TEXT NOT NULL              -- InstanceRecord, JSON
      ) STRICT;
      CREATE TABLE app_operation (
        id       TEXT PRIMARY KEY,
        instance TEXT NOT NULL REFERENCES app_instance (id) ON DELETE CASCADE,
        body     TEXT NOT NULL          -- Operation, JSON
      ) STRICT;
      CREATE INDEX app_operation_instance ON app_operation (instance);
    `,
  },
];
