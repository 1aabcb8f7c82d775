/**
 * Who did what, when, and what became of it?
 *
 *   request ─allowed─▶ attempt (written) ─▶ the change ─▶ outcome (on disk) ─▶ answer
 *           ─refused─▶ refused (written, or counted) ─▶ answer
 *
 * No change begins before its attempt is written: kill -9 cannot leave a change that the log does not know. No 2xx is
 * answered before its outcome is on disk, and all that was written before with it: a power cut cannot take an answered change
 * out of the log. An attempt without an outcome is named `interrupted` at the next start: the agent died, and whether the change
 * was made is to be seen in the state. When the log cannot be written, changes are refused and nothing has changed; looking goes on.
 *
 * Attempts and outcomes of requests that come or end at the same moment are written together, so a crowd waits for one write.
 */
import { messageOf, Problem } from "../errors.ts";
import { AuditTable, emptyContent } from "./audit-table.ts";
import { type Anchor, ChainReader, type Content, type Entry, type Kind } from "./chain.ts";
import type { Clock } from "./limits.ts";
import { Refusals } from "./refusals.ts";

/** What somebody does; the rest of an entry is made here. */
export type Deed = Pick<Content, "api" | "who"> & Partial<Content>;

export interface Outcome {
  status: number;
  object?: string | undefined;
  /** Texts of what it changed, as it was and became; their fingerprints are kept. */
  before?: string | undefined;
  after?: string | undefined;
}

export interface Verdict {
  /** Entries that were looked at and in order. */
  entries: number;
  /** The newest one that is in order. */
  head: Anchor;
  /** Before the oldest: what an export took. */
  anchor: Anchor;
  /** What is wrong; absent: nothing. */
  fault?: string;
}

const pageOf = 500;
const breathe = () => new Promise<void>((resolve) => setImmediate(resolve));
const contentOf = (deed: Deed): Content => ({ ...emptyContent, ...deed });

/** Follows the whole log without holding the process up. */
export async function verifyTable(table: AuditTable): Promise<Verdict> {
  const { anchor } = table;
  if (!anchor) {
    const first = table.page(0, 1)[0]?.number;
    const nothing = { number: 0, digest: "" };
    return {
      entries: 0,
      head: nothing,
      anchor: nothing,
      fault: `entries before ${first} are missing, and no export says so`,
    };
  }
  const reader = new ChainReader(anchor);
  const done = (fault?: string): Verdict => ({
    entries: reader.count,
    head: reader.head,
    anchor,
    ...(fault !== undefined && { fault }),
  });
  for (
    let page = table.page(anchor.number + 1, pageOf);
    page.length > 0;
    page = table.page(reader.head.number + 1, pageOf)
  ) {
    for (const entry of page) {
      const fault = reader.follow(entry);
      if (fault !== undefined) return done(fault);
    }
    await breathe();
  }
  const { lost } = table;
  return done(lost > 0 ? `the newest ${lost} entries are missing` : undefined);
}

const unwritten = (error: unknown): Problem =>
  new Problem(
    "store-failed",
    `nothing has changed: the audit log cannot be written (${messageOf(error)})`,
    {},
    { cause: error },
  );

interface Waiting {
  kind: "attempt" | "outcome";
  content: Content;
  resolve: (number: number) => void;
  reject: (error: unknown) => void;
}

export class Audit {
  readonly #table: AuditTable;
  readonly #refusals: Refusals;
  readonly #timer: NodeJS.Timeout;
  #waiting: Waiting[] = [];
  /** Entries that could not be written, since the start. */
  failures = 0;
  /** Entries by kind, since the start. */
  readonly written = new Map<Kind, number>();

  /**
   * Opens the log; tells which attempts of the run before were interrupted. `facts` go into the entry of the start.
   * @throws Error when it cannot be written
   */
  constructor(stateDir: string, { facts = {}, now }: { facts?: Record<string, unknown>; now?: Clock } = {}) {
    this.#table = new AuditTable(stateDir);
    this.#refusals = new Refusals(now);
    try {
      const interrupted = this.#table.unfinished().map((attempt) => {
        const { api, who, address, method, path, request } = attempt;
        const content = { ...emptyContent, of: attempt.number, api, who, address, method, path, request };
        return { kind: "interrupted" as const, content };
      });
      const started = { kind: "started" as const, content: { ...emptyContent, detail: facts } };
      this.#append([...interrupted, started], true);
    } catch (error) {
      this.#table.close();
      throw error;
    }
    this.#timer = setInterval(() => this.#tellRepeated(), 5_000);
    this.#timer.unref();
  }

  #append(entries: readonly { kind: Kind; content: Content }[], durable: boolean): number[] {
    try {
      const numbers = this.#table.append(entries, { durable });
      for (const { kind } of entries) this.written.set(kind, (this.written.get(kind) ?? 0) + 1);
      return numbers;
    } catch (error) {
      this.failures += 1;
      throw error;
    }
  }

  /** Before a change begins. Returns the entry's number, for its outcome. @throws Problem and nothing may be changed */
  attempt(deed: Deed): number {
    try {
      const [number] = this.#append([{ kind: "attempt", content: contentOf(deed) }], false);
      return number as number;
    } catch (error) {
      throw unwritten(error);
    }
  }

  /** The same, written with what others write at this moment. Rejects as `attempt` throws. */
  attemptTogether(deed: Deed): Promise<number> {
    return this.#together("attempt", contentOf(deed)).catch((error: unknown) => {
      throw unwritten(error);
    });
  }

  /** On disk when it resolves. @throws Problem: whatever was done is done, but must not be answered as if it were recorded */
  async outcome(attempt: number, deed: Deed, { status, object, before, after }: Outcome): Promise<void> {
    const detail = {
      ...(before !== undefined && { before: this.#table.fingerprint(before) }),
      ...(after !== undefined && { after: this.#table.fingerprint(after) }),
    };
    const content = {
      ...contentOf(deed),
      of: attempt,
      status,
      ...(object !== undefined && { object }),
      detail: Object.keys(detail).length > 0 ? detail : null,
    };
    await this.#together("outcome", content).catch((error: unknown) => {
      const said = `it may have been done, but the audit log could not be written (${messageOf(error)}): look at what is there`;
      throw new Problem("store-failed", said, {}, { cause: error });
    });
  }

  #together(kind: Waiting["kind"], content: Content): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ kind, content, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#writeWaiting());
    });
  }

  #writeWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length === 0) return;
    try {
      // Outcomes have to be on disk; attempts alone need no more than to be written.
      const durable = waiting.some(({ kind }) => kind === "outcome");
      const numbers = this.#append(waiting, durable);
      for (const [i, { resolve }] of waiting.entries()) resolve(numbers[i] as number);
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }

  /** Nothing was tried. Bounded in number; never throws: a refusal stays a refusal. */
  refused(deed: Deed): void {
    const content = contentOf(deed);
    this.#tellRepeated();
    if (!this.#refusals.add(content)) return;
    this.#tell("refused", [content]);
  }

  /** Something was looked at that not everybody sees. @throws Problem and it must not be shown */
  read(deed: Deed): void {
    try {
      this.#append([{ kind: "read", content: contentOf(deed) }], true);
    } catch (error) {
      throw new Problem("store-failed", "the audit log cannot be written, so this is not shown", {}, { cause: error });
    }
  }

  #tellRepeated(now = false): void {
    this.#tell("repeated", this.#refusals.due(now));
  }

  #tell(kind: Kind, contents: Content[]): void {
    if (contents.length === 0) return;
    try {
      this.#append(
        contents.map((content) => ({ kind, content })),
        false,
      );
    } catch {
      // counted in `failures`
    }
  }

  list(query: Parameters<AuditTable["list"]>[0]): { total: number; entries: Entry[] } {
    return this.#table.list(query);
  }

  verify(): Promise<Verdict> {
    return verifyTable(this.#table);
  }

  get head(): Anchor {
    return this.#table.head;
  }

  get octets(): number {
    return this.#table.octets;
  }

  /** The log from its beginning to what is its head now: first where it begins, then each entry. */
  async *export(): AsyncGenerator<{ anchor: Anchor } | Entry> {
    const { anchor, head } = this.#table;
    if (!anchor) throw new Problem("store-failed", "the log's beginning is missing: see offramp audit verify");
    yield { anchor };
    let next = anchor.number + 1;
    while (next <= head.number) {
      const page = this.#table.page(next, Math.min(pageOf, head.number - next + 1));
      if (page.length === 0) return;
      yield* page;
      next = (page.at(-1)?.number ?? next) + 1;
      await breathe();
    }
  }

  /**
   * Removes entries up to and with number `through`, whose digest whoever asks has from an export; the removal is an entry.
   * @throws Problem when the digest is not that of the entry
   */
  truncate(through: number, digest: string, deed: Deed): void {
    const entry = this.#table.get(through);
    if (!entry) throw new Problem("not-found", `there is no entry ${through} in the audit log`);
    if (entry.digest !== digest) {
      throw new Problem("invalid-request", `entry ${through} has another digest: what was exported is not this log`);
    }
    try {
      this.#table.cut({ ...contentOf(deed), of: through, detail: { digest } });
    } catch (error) {
      this.failures += 1;
      throw new Problem(
        "store-failed",
        "nothing has been removed: the audit log cannot be written",
        {},
        { cause: error },
      );
    }
    this.written.set("exported", (this.written.get("exported") ?? 0) + 1);
  }

  /** What waits is written; the end of the run is an entry. */
  close(): void {
    clearInterval(this.#timer);
    this.#writeWaiting();
    this.#tellRepeated(true);
    this.#tell("stopped", [emptyContent]);
    this.#table.close();
  }
}
