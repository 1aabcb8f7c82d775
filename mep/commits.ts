/**
 * How do many changes become durable by one write to the disk?
 *
 *   change ─┐
 *   change ─┼─▶ one turn of the event loop ─▶ BEGIN · work · work · work · COMMIT ─▶ applied in memory ─▶ answered
 *   change ─┘
 *
 * COMMIT waits for the disk (synchronous=FULL), some milliseconds on a flash card; changes that arrive in one turn share it.
 * Memory follows the disk, never the other way: readers see a change when it is durable. Changes with the same key are never
 * in one transaction, so that each sees what the one before has left in memory; keys that differ must not touch the same.
 */
import type Database from "better-sqlite3";
import { messageOf, Problem } from "../controlplane/errors.ts";

/** What a change comes to. */
export interface Outcome<T> {
  value: T;
  /** Brings memory after what was written; called when that is durable. Must not throw. */
  apply?: () => void;
}

interface Waiting {
  key: string;
  work: () => Outcome<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

export class Commits {
  readonly #database: Database.Database;
  #waiting: Waiting[] = [];
  #scheduled = false;
  #closed = false;

  constructor(database: Database.Database) {
    this.#database = database;
  }

  /**
   * Runs `work` in a transaction, which it shares with others. What `work` throws undoes its own writes, and rejects; a
   * transaction that fails rejects all that were in it. Resolves when the change is durable and applied.
   * @throws Problem store-failed
   */
  change<T>(key: string, work: () => Outcome<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Problem("not-ready", "the platform is stopping: try again"));
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ key, work, resolve: resolve as (value: unknown) => void, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  /** The first change of each key; later ones of the same key stay. */
  #take(): Waiting[] {
    const keys = new Set<string>();
    const taken: Waiting[] = [];
    const left: Waiting[] = [];
    for (const one of this.#waiting) {
      (keys.has(one.key) ? left : taken).push(one);
      keys.add(one.key);
    }
    this.#waiting = left;
    return taken;
  }

  #flush(): void {
    const batch = this.#take();
    const done: { one: Waiting; outcome: Outcome<unknown> }[] = [];
    const savepoint = this.#database.transaction((work: () => Outcome<unknown>) => work());
    try {
      this.#database.transaction(() => {
        for (const one of batch) {
          try {
            done.push({ one, outcome: savepoint(one.work) });
          } catch (error) {
            one.reject(error);
          }
        }
      })();
    } catch (cause) {
      const problem = new Problem("store-failed", `nothing has changed: ${messageOf(cause)}`, {}, { cause });
      for (const { one } of done) one.reject(problem);
      done.length = 0;
    }
    for (const { one, outcome } of done) {
      outcome.apply?.();
      one.resolve(outcome.value);
    }
    if (this.#waiting.length > 0) this.#schedule();
  }

  /** Makes durable what waits, and takes nothing more. */
  close(): void {
    this.#closed = true;
    while (this.#waiting.length > 0) this.#flush();
  }
}
