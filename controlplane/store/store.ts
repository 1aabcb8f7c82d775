/**
 * What does the site remember when everything is switched off?
 *
 * Services as they were given, the numbers by which the kernel knows them, and modes that were set by hand: one SQLite file
 * in the state directory. WAL with synchronous=FULL: what was answered with 200 survives a power cut. The numbers are
 * given out in a circle, so that a number is free for long before another service gets it (flows of the old one may
 * still be running, and counters be read).
 */
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { Mode } from "../../dataplane/dataplane.ts";
import type { Service } from "../intents/model.ts";
import { migrations } from "./migrations.ts";

export interface StoredService {
  service: Service;
  rule: number;
  index: number;
}

export const storeFile = "offramp.sqlite";
const largest = { rule: 0x7fff_ffff, idx: 65535 };

interface Row {
  body: string;
  rule: number;
  idx: number;
}

export class Store {
  readonly #database: Database.Database;

  /**
   * Opens the store, made and migrated where needed. `:memory:` keeps it in memory.
   * @throws Error when the directory cannot be written, or the file was written by a newer release
   */
  constructor(stateDir: string) {
    let path = ":memory:";
    if (stateDir !== path) {
      mkdirSync(stateDir, { recursive: true, mode: 0o750 });
      path = join(stateDir, storeFile);
    }
    this.#database = new Database(path, { timeout: 2000 });
    try {
      if (path !== ":memory:") chmodSync(path, 0o600);
      this.#database.pragma("journal_mode = WAL");
      this.#database.pragma("synchronous = FULL");
      this.#migrate();
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  #migrate(): void {
    const database = this.#database;
    database.transaction(() => {
      database.exec("CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied TEXT NOT NULL) STRICT");
      const current = this.version();
      const newest = migrations.at(-1)?.version ?? 0;
      if (current > newest) {
        throw new Error(
          `the store has version ${current}, this release knows ${newest}: run the release that wrote it`,
        );
      }
      const note = database.prepare("INSERT INTO migration VALUES (?, datetime())");
      for (const { version, sql } of migrations) {
        if (version <= current) continue;
        database.exec(sql);
        note.run(version);
      }
    })();
  }

  version(): number {
    const row = this.#database.prepare("SELECT max(version) AS version FROM migration").get() as {
      version: number | null;
    };
    return row.version ?? 0;
  }

  services(): StoredService[] {
    const rows = this.#database.prepare("SELECT body, rule, idx FROM service ORDER BY rowid").all() as Row[];
    return rows.map((row) => ({ service: JSON.parse(row.body) as Service, rule: row.rule, index: row.idx }));
  }

  /** Numbers for a new service; they are taken once `put` has been called with them. */
  allocate(): { rule: number; index: number } {
    return { rule: this.#next("rule"), index: this.#next("idx") };
  }

  #next(name: "rule" | "idx"): number {
    const last = this.#database.prepare("SELECT value FROM sequence WHERE name = ?").pluck().get(name) as number;
    const taken = this.#database.prepare(`SELECT 1 FROM service WHERE ${name} = ?`).pluck();
    const limit = largest[name];
    for (let step = 1; step <= limit; step += 1) {
      const candidate = ((last + step - 1) % limit) + 1;
      if (taken.get(candidate) === undefined) return candidate;
    }
    throw new Error(`all ${limit} numbers of services are in use`);
  }

  /** Adds a service, or replaces the one called `replaces`. */
  put({ service, rule, index }: StoredService, replaces?: string): void {
    this.#database.transaction(() => {
      if (replaces !== undefined) {
        const change = this.#database.prepare("UPDATE service SET name = ?, body = ? WHERE name = ?");
        change.run(service.name, JSON.stringify(service), replaces);
        return;
      }
      this.#database
        .prepare("INSERT INTO service (name, body, rule, idx) VALUES (?, ?, ?, ?)")
        .run(service.name, JSON.stringify(service), rule, index);
      const remember = this.#database.prepare("UPDATE sequence SET value = ? WHERE name = ?");
      remember.run(rule, "rule");
      remember.run(index, "idx");
    })();
  }

  remove(name: string): void {
    this.#database.prepare("DELETE FROM service WHERE name = ?").run(name);
  }

  modes(): Map<string, Mode> {
    const rows = this.#database.prepare("SELECT dataplane, mode FROM mode").all() as {
      dataplane: string;
      mode: Mode;
    }[];
    return new Map(rows.map((row) => [row.dataplane, row.mode]));
  }

  setMode(dataplane: string, mode: Mode): void {
    this.#database
      .prepare("INSERT INTO mode VALUES (?, ?) ON CONFLICT (dataplane) DO UPDATE SET mode = excluded.mode")
      .run(dataplane, mode);
  }

  clearMode(dataplane: string): void {
    this.#database.prepare("DELETE FROM mode WHERE dataplane = ?").run(dataplane);
  }

  close(): void {
    if (this.#database.open) this.#database.close();
  }
}
