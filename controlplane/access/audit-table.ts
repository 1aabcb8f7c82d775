/**
 * Where do the entries of the audit log lie?
 *
 * In a SQLite file of their own in the state directory, so that the log can grow, be exported and cut without the services'
 * store. Triggers refuse to change an entry, to insert one out of order, and to remove one unless an entry says that it was exported.
 *
 * WAL. An ordinary write reaches the kernel (it survives kill -9); a durable one reaches the disk, and everything written before
 * it with it (it survives a power cut).
 */
import { createHmac, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type Anchor, type Content, digestOf, type Entry, type Kind, origin } from "./chain.ts";

export const auditFile = "audit.sqlite";

const schema = `
  CREATE TABLE entry (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    of      INTEGER,
    api     TEXT NOT NULL,
    who     TEXT NOT NULL,
    address TEXT,
    method  TEXT,
    path    TEXT,
    object  TEXT,
    request TEXT,
    status  INTEGER,
    detail  TEXT,                   -- JSON
    digest  TEXT NOT NULL           -- chain.ts
  ) STRICT;
  CREATE INDEX entry_of ON entry (of, kind) WHERE of IS NOT NULL;
  CREATE INDEX entry_who ON entry (who);
  CREATE TABLE salt (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL) STRICT;
  CREATE TRIGGER entry_in_order BEFORE INSERT ON entry
    WHEN NEW.number <> (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'entry')
    BEGIN SELECT raise(ABORT, 'entries of the audit log follow one another'); END;
  CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry
    BEGIN SELECT raise(ABORT, 'entries of the audit log are never changed'); END;
  CREATE TRIGGER entry_kept BEFORE DELETE ON entry
    WHEN OLD.number > (SELECT coalesce(max(of), 0) FROM entry WHERE kind = 'exported' AND of IS NOT NULL)
    BEGIN SELECT raise(ABORT, 'entries of the audit log are exported before they are removed'); END;
  PRAGMA user_version = 1;
`;

/** Where it matches; all of them. */
export interface AuditQuery {
  who?: string | undefined;
  api?: string | undefined;
  kind?: Kind | undefined;
  address?: string | undefined;
  status?: number | undefined;
  /** Milliseconds since the epoch, inclusive. */
  since?: number | undefined;
  until?: number | undefined;
  /** Only entries with smaller numbers: how the next page is asked for. */
  before?: number | undefined;
  limit: number;
}

type Row = Omit<Entry, "detail"> & { detail: string | null };
const columns = "number, time, kind, of, api, who, address, method, path, object, request, status, detail, digest";
const entryOf = (row: Row): Entry => ({ ...row, detail: row.detail === null ? null : JSON.parse(row.detail) });

const where = ({ who, api, kind, address, status, since, until, before }: Omit<AuditQuery, "limit">) => {
  const given = Object.entries({ who, api, kind, address, status, since, until, before }).filter(
    ([, value]) => value !== undefined,
  );
  const operators: Record<string, string> = { since: "time >=", until: "time <=", before: "number <" };
  const text = given.map(([name]) => `${operators[name] ?? `${name} =`} ?`).join(" AND ");
  return { text: text === "" ? "" : `WHERE ${text}`, values: given.map(([, value]) => value) };
};

export class AuditTable {
  readonly #database: Database.Database;
  readonly #insert: Database.Statement;
  readonly #salt: Buffer;
  #head: Anchor;
  /** The highest number ever given, also where that entry was removed behind our back: then the gap stays visible. */
  #given: number;
  #durable = true;

  /** `:memory:` keeps it in memory. `readOnly`: of a log that another process may be writing. @throws Error */
  constructor(stateDir: string, { readOnly = false } = {}) {
    let path = stateDir;
    if (stateDir !== ":memory:") {
      if (!readOnly) mkdirSync(stateDir, { recursive: true, mode: 0o750 });
      path = join(stateDir, auditFile);
    }
    this.#database = new Database(path, { timeout: 2000, readonly: readOnly, fileMustExist: readOnly });
    try {
      if (!readOnly) this.#setUp(path);
      const version = this.#database.pragma("user_version", { simple: true });
      if (version !== 1)
        throw new Error(`the audit log has version ${version}, this release knows 1: run the newer one`);
      const values = `${columns.replace(/\w+/g, "?")}`;
      this.#insert = this.#database.prepare(`INSERT INTO entry (${columns}) VALUES (${values})`);
      this.#salt = this.#database.prepare("SELECT value FROM salt").pluck().get() as Buffer;
      this.#head = this.#readHead();
      this.#given = this.#readGiven();
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  #setUp(path: string): void {
    const database = this.#database;
    if (path !== ":memory:") chmodSync(path, 0o600);
    database.pragma("auto_vacuum = INCREMENTAL"); // takes hold while there are no tables
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = FULL");
    if (database.pragma("user_version", { simple: true }) !== 0) return;
    database.transaction(() => {
      database.exec(schema);
      database.prepare("INSERT INTO salt VALUES (1, ?)").run(randomBytes(32));
    })();
  }

  #readHead(): Anchor {
    const row = this.#database.prepare("SELECT number, digest FROM entry ORDER BY number DESC LIMIT 1").get();
    return (row as Anchor | undefined) ?? origin;
  }

  #readGiven(): number {
    const given = this.#database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").pluck().get();
    return (given as number | undefined) ?? 0;
  }

  /** The newest entry. */
  get head(): Anchor {
    return this.#head;
  }

  /** Before the oldest entry that is there: what an export that cut the log says of it. Undefined when none says it. */
  get anchor(): Anchor | undefined {
    const first = this.#database.prepare("SELECT min(number) FROM entry").pluck().get() as number | null;
    if (first === null || first === 1) return origin;
    const row = this.#database
      .prepare("SELECT of, detail FROM entry WHERE kind = 'exported' AND of = ? ORDER BY number DESC LIMIT 1")
      .get(first - 1) as { of: number; detail: string } | undefined;
    return row && { number: row.of, digest: (JSON.parse(row.detail) as { digest: string }).digest };
  }

  /** Writes entries that follow one another, all or none. Returns their numbers. @throws Error of the store */
  append(entries: readonly { kind: Kind; content: Content }[], { durable }: { durable: boolean }): number[] {
    this.#setDurable(durable);
    return this.#insertAll(entries);
  }

  /** Not within a transaction. */
  #setDurable(durable: boolean): void {
    if (durable === this.#durable) return;
    this.#database.pragma(`synchronous = ${durable ? "FULL" : "NORMAL"}`);
    this.#durable = durable;
  }

  #insertAll(entries: readonly { kind: Kind; content: Content }[]): number[] {
    let head = this.#head;
    let given = this.#given;
    const numbers = this.#database.transaction(() =>
      entries.map(({ kind, content }) => {
        given += 1;
        const number = given;
        const entry = { number, time: Date.now(), kind, ...content };
        const digest = digestOf(head.digest, entry);
        const detail = content.detail === null ? null : JSON.stringify(content.detail);
        const { time, of, api, who, address, method, path, object, request, status } = entry;
        this.#insert.run(
          number,
          time,
          kind,
          of,
          api,
          who,
          address,
          method,
          path,
          object,
          request,
          status,
          detail,
          digest,
        );
        head = { number, digest };
        return number;
      }),
    )();
    this.#head = head;
    this.#given = given;
    return numbers;
  }

  /** Newest first. */
  list(query: AuditQuery): { total: number; entries: Entry[] } {
    const { before: _, ...filter } = query;
    const all = where(filter);
    const page = where(query);
    const total = this.#database.prepare(`SELECT count(*) FROM entry ${all.text}`).pluck().get(all.values) as number;
    const rows = this.#database
      .prepare(`SELECT ${columns} FROM entry ${page.text} ORDER BY number DESC LIMIT ?`)
      .all([...page.values, query.limit]) as Row[];
    return { total, entries: rows.map(entryOf) };
  }

  /** The entry of this kind about entry `of`. */
  about(of: number, kind: Kind): Entry | undefined {
    const row = this.#database.prepare(`SELECT ${columns} FROM entry WHERE of = ? AND kind = ?`).get(of, kind);
    return row === undefined ? undefined : entryOf(row as Row);
  }

  get(number: number): Entry | undefined {
    const row = this.#database.prepare(`SELECT ${columns} FROM entry WHERE number = ?`).get(number);
    return row === undefined ? undefined : entryOf(row as Row);
  }

  /** Oldest first, from number `from` on. */
  page(from: number, limit: number): Entry[] {
    const rows = this.#database
      .prepare(`SELECT ${columns} FROM entry WHERE number >= ? ORDER BY number LIMIT ?`)
      .all(from, limit) as Row[];
    return rows.map(entryOf);
  }

  /** Attempts of which nobody knows what became. */
  unfinished(): Entry[] {
    const since = "(SELECT coalesce(max(number), 0) FROM entry WHERE kind = 'started')";
    const rows = this.#database
      .prepare(
        `SELECT ${columns} FROM entry AS attempt WHERE kind = 'attempt' AND number > ${since} AND NOT EXISTS
           (SELECT 1 FROM entry WHERE of = attempt.number AND kind IN ('outcome', 'interrupted')) ORDER BY number`,
      )
      .all() as Row[];
    return rows.map(entryOf);
  }

  /** Writes `exported` and removes everything up to its `of`, in one step. */
  cut(content: Content & { of: number }): void {
    this.#setDurable(true);
    try {
      this.#database.transaction(() => {
        this.#insertAll([{ kind: "exported", content }]);
        this.#database.prepare("DELETE FROM entry WHERE number <= ?").run(content.of);
      })();
    } catch (error) {
      this.#head = this.#readHead();
      this.#given = this.#readGiven();
      throw error;
    }
    this.#database.pragma("incremental_vacuum");
  }

  /** How many were removed at the end: the highest number ever given is above the newest there is. */
  get lost(): number {
    return Math.max(0, this.#readGiven() - this.#readHead().number);
  }

  /** Octets of the file. */
  get octets(): number {
    const size = (name: string) => this.#database.pragma(name, { simple: true }) as number;
    return size("page_count") * size("page_size");
  }

  /** A digest of something whose text must not be found out by trying: keyed with a number that never leaves this file. */
  fingerprint(text: string): string {
    return createHmac("sha256", this.#salt).update(text).digest("hex").slice(0, 32);
  }

  close(): void {
    if (this.#database.open) this.#database.close();
  }
}

export const emptyContent: Content = {
  of: null,
  api: "agent",
  who: "agent",
  address: null,
  method: null,
  path: null,
  object: null,
  request: null,
  status: null,
  detail: null,
};
