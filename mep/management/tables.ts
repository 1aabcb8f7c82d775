/**
 * Which tables do subscriptions of the management APIs need?
 */
export const managementTables = [
  {
    part: "management",
    version: 1,
    sql: `
      CREATE TABLE management_subscription (
        id   TEXT PRIMARY KEY,
        api  TEXT NOT NULL,             -- app_pkgm, app_lcm
        body TEXT NOT NULL              -- JSON
      ) STRICT;
    `,
  },
];
