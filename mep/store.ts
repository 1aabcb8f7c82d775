/**
 * What does the platform remember when everything is switched off?
 *
 * One SQLite file of its own beside the control plane's, `mep.sqlite`: WAL with synchronous=FULL, so what was answered with
 * 2xx survives a power cut. Each part brings its own tables (`<part>/tables.ts`) with its own versions; entries are only
 * ever added.
 */
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";

/** One step in the history of a part's tables. */
export interface PartMigration {
  part: string;
  /** 1, 2, … within the part. */
  version: number;
  sql: string;
}

export const mepStoreFile = "mep.sqlite";

export class MepStore {
  readonly database: Database.Database;

  /** `:memory:` keeps it in memory. @throws Error when the file cannot be written, or is of a newer release */
  constructor(stateDir: string, migrations: readonly PartMigration[]) {
    let path = stateDir;
    if (stateDir !== ":memory:") {
      mkdirSync(stateDir, { recursive: true, mode: 0o750 });
      path = join(stateDir, mepStoreFile);
    }
    this.database = new Database(path, { timeout: 2000 });
    try {
      if (path !== ":memory:") chmodSync(path, 0o600);
      this.database.pragma("journal_mode = WAL");
      this.database.pragma("synchronous = FULL");
      this.database.pragma("foreign_keys = ON");
      this.#migrate(migrations);
    } catch (error) {
      this.database.close();
      throw error;
    }
  }

  #migrate(migrations: readonly PartMigration[]): void {
    const { database } = this;
    database.transaction(() => {
      database.exec(`CREATE TABLE IF NOT EXISTS migration
        (part TEXT NOT NULL, version INTEGER NOT NULL, applied TEXT NOT NULL, PRIMARY KEY (part, version)) STRICT`);
      const rows = database.prepare("SELECT part, max(version) AS version FROM migration GROUP BY part").all();
      const current = new Map((rows as { part: string; version: number }[]).map((row) => [row.part, row.version]));
      for (const [part, version] of current) {
        const newest = Math.max(0, ...migrations.filter((one) => one.part === part).map((one) => one.version));
        if (version > newest) {
          throw new Error(`tables of ${part} have version ${version}, this release knows ${newest}: run the newer one`);
        }
      }
      const note = database.prepare("INSERT INTO migration VALUES (?, ?, datetime())");
      for (const { part, version, sql } of migrations) {
        if (version <= (current.get(part) ?? 0)) continue;
        database.exec(sql);
        note.run(part, version);
      }
    })();
  }

  /** All or nothing, durable when it returns. */
  transaction<T>(work: () => T): T {
    return this.database.transaction(work)();
  }

  close(): void {
    if (this.database.open) this.database.close();
  }
}
