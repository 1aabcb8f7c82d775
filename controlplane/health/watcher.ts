/**
 * Which of these targets answer, at the moment?
 *
 *   unknown ──first answer──▶ up ──`down` failures in a row──▶ down
 *      └─────first failure──▶ down ──`up` answers in a row──▶ up
 *
 * Each target is asked at once, then every interval at a time of its own, so that thousands do not go out together; so many
 * probes run at a time, others wait their turn. The first probe alone decides: who asks wants to know, and there is no
 * state yet that could be shaken. What a probe does is in probes.ts and echo-socket.ts; what a state means for steering is
 * not known here.
 */
import type { Health } from "../intents/model.ts";

export interface Target {
  address: string;
  /** Absent with `icmp`. */
  port?: number;
}

export type TargetState = "unknown" | "up" | "down";

export interface Watched {
  state: TargetState;
  /** Milliseconds since the epoch; of the last change. */
  since: number;
  /** What the last probe said when it failed. */
  failure?: string;
}

export interface Change {
  key: string;
  was: TargetState;
  state: "up" | "down";
  failure?: string;
}

/** Resolves when the target has answered as it should. The signal ends it early, and frees what it holds. */
export type Probe = (target: Target, health: Health, signal: AbortSignal) => Promise<void>;

interface Entry extends Watched {
  key: string;
  target: Target;
  health: Health;
  /** Probes of the other kind than the state, one after the other. */
  contrary: number;
  /** When the next probe is due, on the clock of `performance`. */
  due: number;
  timer: NodeJS.Timeout | undefined;
  running: AbortController | undefined;
  gone: boolean;
}

const concurrencyDefault = 128;
/** Multiples of it, modulo 1, lie evenly however many there are. */
const GOLDEN = 0.618_033_988_749_895;

export class Watcher {
  readonly counts = { answered: 0, failed: 0 };
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #waiting: Entry[] = [];
  readonly #wakers = new Set<() => void>();
  #running = 0;
  #phase = 0;

  constructor(
    private readonly probe: Probe,
    private readonly concurrency = concurrencyDefault,
  ) {}

  /** Begins to ask. With a key that is watched already nothing happens. */
  watch(key: string, target: Target, health: Health): void {
    if (this.#entries.has(key)) return;
    const due = performance.now();
    const common = { contrary: 0, due, timer: undefined, running: undefined, gone: false };
    const entry: Entry = { key, target, health, state: "unknown", since: Date.now(), ...common };
    this.#entries.set(key, entry);
    this.#waiting.push(entry);
    this.#next();
  }

  unwatch(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    entry.gone = true;
    clearTimeout(entry.timer);
    entry.running?.abort();
    this.#wake();
  }

  state(key: string): Watched | undefined {
    return this.#entries.get(key);
  }

  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  /** Returns how to stop. */
  on(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves when no one of these is unknown any more, or after `withinMs`. */
  async known(keys: readonly string[], withinMs: number): Promise<void> {
    const end = performance.now() + withinMs;
    const unknown = () => keys.some((key) => this.#entries.get(key)?.state === "unknown");
    while (unknown() && performance.now() < end) {
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.#wakers.delete(done);
          resolve();
        };
        const timer = setTimeout(done, end - performance.now());
        this.#wakers.add(done);
      });
    }
  }

  /** Ends all probes. */
  stop(): void {
    for (const key of [...this.#entries.keys()]) this.unwatch(key);
    this.#waiting.length = 0;
  }

  #wake(): void {
    for (const waker of [...this.#wakers]) waker();
  }

  #next(): void {
    while (this.#running < this.concurrency) {
      const entry = this.#waiting.shift();
      if (!entry) return;
      if (entry.gone) continue;
      this.#running++;
      void this.#ask(entry).finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  async #ask(entry: Entry): Promise<void> {
    const { target, health } = entry;
    const abort = new AbortController();
    entry.running = abort;
    const timer = setTimeout(() => abort.abort(new Error(`no answer within ${health.timeoutMs} ms`)), health.timeoutMs);
    let failure: string | undefined;
    try {
      await this.probe(target, health, abort.signal);
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
    clearTimeout(timer);
    entry.running = undefined;
    if (entry.gone) return;
    this.#schedule(entry);
    this.#judge(entry, failure);
  }

  #schedule(entry: Entry): void {
    const { intervalMs } = entry.health;
    const now = performance.now();
    if (entry.state === "unknown") {
      this.#phase = (this.#phase + GOLDEN) % 1;
      entry.due += intervalMs * this.#phase;
    } else {
      entry.due += intervalMs;
    }
    // After a long wait the missed turns are not made up for.
    if (entry.due < now) entry.due += Math.ceil((now - entry.due) / intervalMs) * intervalMs;
    entry.timer = setTimeout(() => {
      this.#waiting.push(entry);
      this.#next();
    }, entry.due - now);
  }

  #judge(entry: Entry, failure: string | undefined): void {
    const answered = failure === undefined;
    if (answered) this.counts.answered++;
    else this.counts.failed++;
    if (failure === undefined) delete entry.failure;
    else entry.failure = failure;
    const was = entry.state;
    const found = answered ? "up" : "down";
    entry.contrary = found === was ? 0 : entry.contrary + 1;
    if (found === was || (was !== "unknown" && entry.contrary < entry.health[found])) return;
    entry.state = found;
    entry.since = Date.now();
    entry.contrary = 0;
    const change: Change = { key: entry.key, was, state: found, ...(failure !== undefined && { failure }) };
    for (const listener of this.#listeners) listener(change);
    this.#wake();
  }
}
