/**
 * Which tables do packages need? Their content is in files beside the database.
 */
export const packageTables = [
  {
    part: "packages",
    version: 1,
    sql: `
      CREATE TABLE package (
        id          TEXT PRIMARY KEY,
        app_d_id    TEXT UNIQUE,        -- NULL until it is onboarded
        operational TEXT NOT NULL,      -- ENABLED, DISABLED
        request     TEXT NOT NULL,      -- CreateAppPkg, JSON
        content     TEXT                -- JSON: AppD as it was given, files, hash; NULL until it is onboarded
      ) STRICT;
    `,
  },
];
