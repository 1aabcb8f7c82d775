/**
 * Which changes were made to the services, and what was there before each?
 *
 *   revision n−1 ──touched(n)──▶ revision n ──touched(n+1)──▶ … ──▶ what the table `service` holds now
 *
 * A revision keeps what each service that it touched was and became, nothing else: a change of one among ten thousand
 * costs one. An earlier set is found by walking back from what is there now, so the oldest revisions can go without any
 * other losing its meaning.
 */
import { deflateSync, inflateSync } from "node:zlib";
import type Database from "better-sqlite3";
import type { StoredService } from "./store.ts";

/** A new service has no `before`, a removed one no `after`; names differ when it was renamed. */
export interface Touched {
  before?: StoredService;
  after?: StoredService;
}

export interface Change {
  touched: Touched[];
  /** In words. */
  what: string;
  who: string;
}

export interface Revision {
  revision: number;
  /** Milliseconds since the epoch. */
  time: number;
  who: string;
  what: string;
  added: number;
  changed: number;
  removed: number;
}

export interface HistoryBounds {
  revisions: number;
  /** Of what the revisions touched, as it is stored. */
  octets: number;
}

const usual: HistoryBounds = { revisions: 1000, octets: 32 << 20 };
const columns = "number AS revision, time, who, what, added, changed, removed";

const count = (touched: readonly Touched[], before: boolean, after: boolean): number =>
  touched.filter((one) => (one.before !== undefined) === before && (one.after !== undefined) === after).length;

export class History {
  readonly #database: Database.Database;
  readonly #bounds: HistoryBounds;

  constructor(database: Database.Database, bounds: HistoryBounds = usual) {
    this.#database = database;
    this.#bounds = bounds;
  }

  /** Number of the newest revision; 0 before the first. */
  newest(): number {
    return (this.#database.prepare("SELECT max(number) FROM revision").pluck().get() as number | null) ?? 0;
  }

  /** The oldest revision whose set can still be told: the one before the oldest that is kept. */
  oldest(): number {
    const kept = this.#database.prepare("SELECT min(number) FROM revision").pluck().get() as number | null;
    return (kept ?? 1) - 1;
  }

  /** To be called inside the transaction that makes the change. Returns the revision's number. */
  record({ touched, what, who }: Change): number {
    const number = this.newest() + 1;
    const body = deflateSync(JSON.stringify(touched));
    this.#database
      .prepare("INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
      .run(
        number,
        Date.now(),
        who,
        what,
        count(touched, false, true),
        count(touched, true, true),
        count(touched, true, false),
        body,
      );
    this.#forget();
    return number;
  }

  /** Oldest first, until what is left keeps to the bounds; the newest always stays. */
  #forget(): void {
    const rows = this.#database
      .prepare("SELECT number, length(touched) AS octets FROM revision ORDER BY number DESC")
      .all() as { number: number; octets: number }[];
    let octets = 0;
    for (const [index, row] of rows.entries()) {
      octets += row.octets;
      if (index === 0 || (index < this.#bounds.revisions && octets <= this.#bounds.octets)) continue;
      this.#database.prepare("DELETE FROM revision WHERE number <= ?").run(row.number);
      return;
    }
  }

  /** Newest first. */
  list({ offset = 0, limit = 100 } = {}): { total: number; revisions: Revision[] } {
    const total = this.#database.prepare("SELECT count(*) FROM revision").pluck().get() as number;
    const page = this.#database.prepare(`SELECT ${columns} FROM revision ORDER BY number DESC LIMIT ? OFFSET ?`);
    return { total, revisions: page.all(limit, offset) as Revision[] };
  }

  get(number: number): Revision | undefined {
    return this.#database.prepare(`SELECT ${columns} FROM revision WHERE number = ?`).get(number) as
      | Revision
      | undefined;
  }

  /** What the revision changed; undefined when it is not kept. */
  touched(number: number): Touched[] | undefined {
    const body = this.#database.prepare("SELECT touched FROM revision WHERE number = ?").pluck().get(number);
    return body === undefined ? undefined : (JSON.parse(inflateSync(body as Buffer).toString()) as Touched[]);
  }

  /** The set as revision `number` left it, given the set of now; undefined when too much has been forgotten. */
  at(number: number, now: readonly StoredService[]): StoredService[] | undefined {
    if (number < this.oldest() || number > this.newest()) return undefined;
    const set = new Map(now.map((stored) => [stored.service.name, stored]));
    for (let each = this.newest(); each > number; each -= 1) {
      const touched = this.touched(each);
      if (touched === undefined) return undefined;
      for (const { after } of touched) if (after) set.delete(after.service.name);
      for (const { before } of touched) if (before) set.set(before.service.name, before);
    }
    return [...set.values()];
  }
}
