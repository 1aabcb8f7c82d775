/**
 * What does the site remember when everything is switched off?
 *
 * Services as they were given, the numbers by which the kernel knows them, their revisions, the change that waits to be
 * confirmed, modes that were set by hand, and users: one SQLite file in the state directory. WAL with synchronous=FULL: what was answered with 200 survives a power cut. The numbers are
 * given out in a circle, so that a number is free for long before another service gets it (flows of the old one may
 * still be running, and counters be read).
 */
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { Mode } from "../../dataplane/dataplane.ts";
import { Users } from "../access/users.ts";
import { Problem } from "../errors.ts";
import type { Service } from "../intents/model.ts";
import type { Moment } from "./boottime.ts";
import { type Change, History, type HistoryBounds } from "./history.ts";
import { migrations } from "./migrations.ts";

export interface StoredService {
  service: Service;
  rule: number;
  index: number;
}

export interface Numbers {
  rule: number;
  index: number;
}

/** A change that takes itself back unless it is confirmed. */
export interface Armed {
  /** Revision to go back to. */
  back: number;
  /** What the change became; absent until it is in force. */
  revision?: number;
  since: Moment;
  /** Milliseconds that it has from then on. */
  duration: number;
}

export interface StoreOptions {
  /** Indices of services that the data plane has room for, 1 to this many. */
  indices?: number;
  history?: HistoryBounds;
}

export const storeFile = "offramp.sqlite";
const maxRule = 0x7fff_ffff;
const maxIndex = 65535;

interface Row {
  body: string;
  rule: number;
  idx: number;
}

export class Store {
  readonly #database: Database.Database;
  readonly #largest: { rule: number; idx: number };
  readonly history: History;
  readonly users: Users;

  /**
   * Opens the store, made and migrated where needed. `:memory:` keeps it in memory.
   * @throws Error when the directory cannot be written, or the file was written by a newer release
   */
  constructor(stateDir: string, { indices = maxIndex, history }: StoreOptions = {}) {
    this.#largest = { rule: maxRule, idx: Math.min(indices, maxIndex) };
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
    this.history = new History(this.#database, history);
    this.users = new Users(this.#database);
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

  /** Numbers for a new service; they are taken once `commit` has been called with them. @throws Problem */
  allocate(): Numbers {
    const [only] = this.allocateMany(1);
    return only as Numbers;
  }

  /**
   * Numbers for `count` new services of which none is in use or in `reserved`; those of services in `leaving` only when no
   * others are left, because flows of theirs may still run.
   * @throws Problem when there are not as many
   */
  allocateMany(count: number, { reserved = [] as Numbers[], leaving = [] as Numbers[] } = {}): Numbers[] {
    const rules = this.#free("rule", count, reserved, leaving);
    const indices = this.#free("idx", count, reserved, leaving);
    return rules.map((rule, i) => ({ rule, index: indices[i] ?? 0 }));
  }

  #free(name: "rule" | "idx", count: number, reserved: readonly Numbers[], leaving: readonly Numbers[]): number[] {
    const last = this.#database.prepare("SELECT value FROM sequence WHERE name = ?").pluck().get(name) as number;
    const pick = (numbers: Numbers) => (name === "rule" ? numbers.rule : numbers.index);
    const used = this.#database
      .prepare(`SELECT ${name} FROM service UNION ALL SELECT ${name} FROM layer_rule`)
      .pluck()
      .all() as number[];
    const taken = new Set([...used, ...reserved.map(pick)]);
    const limit = this.#largest[name];
    const found: number[] = [];
    for (let step = 1; step <= limit && found.length < count; step += 1) {
      const candidate = ((last + step - 1) % limit) + 1;
      if (!taken.has(candidate)) found.push(candidate);
    }
    for (const candidate of leaving.map(pick)) {
      if (found.length < count && candidate <= limit) found.push(candidate);
    }
    if (found.length < count) {
      throw new Problem(
        "limit-reached",
        `all ${limit} numbers of services are in use: raise limits.rules in site.yaml`,
      );
    }
    return found;
  }

  /**
   * Makes a change of services, and writes it down as a revision, whose number it returns. `arms`: it is the change that was
   * armed before; `disarms`: nothing waits to be confirmed any more; `given`: the numbers that were given out last.
   */
  commit(
    change: Change,
    { arms = false, disarms = false, given }: { arms?: boolean; disarms?: boolean; given?: Numbers | undefined } = {},
  ): number {
    const { touched } = change;
    return this.#database.transaction(() => {
      const remove = this.#database.prepare("DELETE FROM service WHERE name = ?");
      const replace = this.#database.prepare("UPDATE service SET name = ?, body = ?, rule = ?, idx = ? WHERE name = ?");
      const add = this.#database.prepare("INSERT INTO service (name, body, rule, idx) VALUES (?, ?, ?, ?)");
      for (const { before, after } of touched) if (before && !after) remove.run(before.service.name);
      for (const { before, after } of touched) {
        if (!before || !after) continue;
        replace.run(after.service.name, JSON.stringify(after.service), after.rule, after.index, before.service.name);
      }
      for (const { before, after } of touched) {
        if (before || !after) continue;
        add.run(after.service.name, JSON.stringify(after.service), after.rule, after.index);
      }
      if (given) this.#remember(given);
      const revision = this.history.record(change);
      if (arms) this.#database.prepare("UPDATE armed SET revision = ?").run(revision);
      if (disarms) this.disarm();
      return revision;
    })();
  }

  #remember({ rule, index }: Numbers): void {
    const remember = this.#database.prepare("UPDATE sequence SET value = ? WHERE name = ?");
    remember.run(rule, "rule");
    remember.run(index, "idx");
  }

  /** By name: the numbers of rules that are no services. */
  layerNumbers(): Map<string, Numbers> {
    const rows = this.#database.prepare("SELECT name, rule, idx FROM layer_rule").all() as {
      name: string;
      rule: number;
      idx: number;
    }[];
    return new Map(rows.map(({ name, rule, idx }) => [name, { rule, index: idx }]));
  }

  /** Gives numbers to rules that have none, and writes them down. @throws Problem when there are not as many */
  giveLayer(names: readonly string[]): Map<string, Numbers> {
    return this.#database.transaction(() => {
      const given = this.allocateMany(names.length);
      const add = this.#database.prepare("INSERT INTO layer_rule (name, rule, idx) VALUES (?, ?, ?)");
      const found = new Map(names.map((name, at) => [name, given[at] as Numbers]));
      for (const [name, { rule, index }] of found) add.run(name, rule, index);
      const last = given.at(-1);
      if (last) this.#remember(last);
      return found;
    })();
  }

  forgetLayer(names: readonly string[]): void {
    this.#database.transaction(() => {
      const remove = this.#database.prepare("DELETE FROM layer_rule WHERE name = ?");
      for (const name of names) remove.run(name);
    })();
  }

  /** Has a rule that is no service one of these? */
  isTaken({ rule, index }: Numbers): boolean {
    return this.#database.prepare("SELECT 1 FROM layer_rule WHERE rule = ? OR idx = ?").get(rule, index) !== undefined;
  }

  armed(): Armed | undefined {
    const row = this.#database.prepare("SELECT back, revision, duration, wall, uptime, boot FROM armed").get() as
      | { back: number; revision: number | null; duration: number; wall: number; uptime: number; boot: string }
      | undefined;
    if (!row) return undefined;
    const { back, revision, duration, ...since } = row;
    return { back, ...(revision !== null && { revision }), duration, since };
  }

  /** Before the change that it announces is in force. */
  arm({ back, duration, since }: Armed): void {
    this.#database
      .prepare("INSERT INTO armed (one, back, duration, wall, uptime, boot) VALUES (1, ?, ?, ?, ?, ?)")
      .run(back, duration, since.wall, since.uptime, since.boot);
  }

  disarm(): void {
    this.#database.prepare("DELETE FROM armed").run();
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

  /** By name, in the order in which they came: what was added over the API; null where it was removed. */
  dataplanes(): Map<string, unknown> {
    const rows = this.#database.prepare("SELECT name, section FROM dataplane ORDER BY rowid").all() as {
      name: string;
      section: string | null;
    }[];
    return new Map(rows.map(({ name, section }) => [name, section === null ? null : JSON.parse(section)]));
  }

  /** All notes about data planes at once. Modes of those in `gone` are forgotten. */
  noteDataplanes(notes: ReadonlyMap<string, unknown>, gone: readonly string[] = []): void {
    this.#database.transaction(() => {
      this.#database.prepare("DELETE FROM dataplane").run();
      const insert = this.#database.prepare("INSERT INTO dataplane (name, section) VALUES (?, ?)");
      for (const [name, section] of notes) insert.run(name, section === null ? null : JSON.stringify(section));
      for (const name of gone) this.clearMode(name);
    })();
  }

  close(): void {
    if (this.#database.open) this.#database.close();
  }
}
