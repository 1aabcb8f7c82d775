/**
 * What has a roll-out done so far, also after it was interrupted?
 *
 * A file of JSON lines that only grows: each entry is on disk before what it announces is done. A last line that was cut off by a
 * crash counts as not written. Who reads it sees for each site its last state, and for each wave.
 */
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import type { Sample, Samples } from "./gates.ts";

/**
 * `deploying`, `restoring`: begun, and nobody knows how far it came. `deployed`: done, not yet judged. `good`: judged, and kept.
 * `bad`: failed, or judged badly, and not yet taken back. `away`: it could not be reached, and nothing was changed.
 * `restored`: as it was before. `stuck`: it could not be taken back.
 */
export type SiteState = "deploying" | "deployed" | "good" | "bad" | "away" | "restoring" | "restored" | "stuck";

/** `stopping`: it is being taken back, whole. */
export type WaveState = "begun" | "passed" | "stopping" | "stopped";

export type Entry =
  | { kind: "rollout"; id: string; plan: string }
  | ({ kind: "site"; site: string; state: SiteState; why?: string } & Kept)
  | { kind: "wave"; wave: string; state: WaveState; why?: string };

interface Kept {
  /** What brings it back; of the first `deploying`. */
  previous?: unknown;
  /** How it was before. */
  before?: Pick<Samples, "first" | "before">;
  /** How it was just after the change. */
  after?: Sample;
  /** What was changed, as the driver says it. */
  changes?: string;
}

export interface SiteRecord extends Kept {
  state: SiteState;
  why?: string;
}

export class Journal {
  readonly sites = new Map<string, SiteRecord>();
  readonly waves = new Map<string, WaveState>();
  /** Why waves were taken back. */
  readonly reasons = new Map<string, string>();
  /** Absent: nothing has begun. */
  #rollout: { id: string; plan: string } | undefined;
  /** Absent: it is only read. */
  readonly #file: number | undefined;
  readonly #waiting: Entry[] = [];
  #flush: Promise<void> | undefined;

  /** `read`: nothing is changed, not even a last line that was cut off. @throws Error when the file is no journal, or cannot be read */
  constructor(path: string, use: "read" | "write" = "write") {
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    for (const [index, line] of whole.split("\n").entries()) {
      if (line === "") continue;
      try {
        this.#take(JSON.parse(line) as Entry);
      } catch {
        throw new Error(`${path}:${index + 1}: is no entry of a roll-out`);
      }
    }
    if (use === "read") return;
    this.#file = openSync(path, "a", 0o600);
    ftruncateSync(this.#file, Buffer.byteLength(whole));
  }

  #take(entry: Entry): void {
    if (entry.kind === "rollout") this.#rollout = { id: entry.id, plan: entry.plan };
    else if (entry.kind === "wave") {
      this.waves.set(entry.wave, entry.state);
      if (entry.why !== undefined) this.reasons.set(entry.wave, entry.why);
    } else {
      const known = this.sites.get(entry.site);
      const { previous = known?.previous, before = known?.before, after = known?.after, state, why } = entry;
      const { changes = known?.changes } = entry;
      const record = { state, why, previous, before, after, changes };
      this.sites.set(
        entry.site,
        Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as unknown as SiteRecord,
      );
    }
  }

  get id(): string | undefined {
    return this.#rollout?.id;
  }

  /** On disk when it resolves; entries that come together share the wait. */
  write(...entries: Entry[]): Promise<void> {
    this.#waiting.push(...entries);
    this.#flush ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        const batch = this.#waiting.splice(0);
        this.#flush = undefined;
        try {
          if (this.#file === undefined) throw new Error("this journal is only read");
          const time = new Date().toISOString();
          writeSync(this.#file, batch.map((entry) => `${JSON.stringify({ time, ...entry })}\n`).join(""));
          fsyncSync(this.#file);
          for (const entry of batch) this.#take(entry);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
    return this.#flush;
  }

  /** Begins, or goes on. `plan` identifies what is rolled out to whom. @throws Error when the file is of another roll-out */
  async begin(id: string, plan: string): Promise<void> {
    if (!this.#rollout) return this.write({ kind: "rollout", id, plan });
    if (this.#rollout.id === id && this.#rollout.plan === plan) return;
    const other = this.#rollout.id === id ? " to other sites, in other waves, or of something else" : "";
    throw new Error(
      `the journal is of roll-out "${this.#rollout.id}"${other}: go on with that, or begin "${id}" in a file of its own`,
    );
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
  }
}
