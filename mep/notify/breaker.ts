/**
 * Is it worth trying to reach this place, now?
 *
 *   closed ──`failures` in a row──▶ open ──its time is up──▶ half-open ──an answer──▶ closed
 *                                    ▲                          │
 *                                    └── twice as long ◀─failure─┘
 *
 * Half-open admits one: the others wait for what it finds. Pure state; the caller has the clock and the timers. Any answer
 * counts as success, also one that refuses: somebody is there.
 */
export interface BreakerSettings {
  /** In a row. */
  failures: number;
  openMs: number;
  openAtMostMs: number;
}

export class Breaker {
  state: "closed" | "open" | "half-open" = "closed";
  /** How long the breaker is or was open, in milliseconds. */
  openMs = 0;
  #failures = 0;
  #probing = false;

  constructor(private readonly settings: BreakerSettings) {}

  /** True: make the attempt, and tell what it came to. False: wait. */
  admit(): boolean {
    if (this.state !== "half-open") return this.state === "closed";
    if (this.#probing) return false;
    this.#probing = true;
    return true;
  }

  /** The time of an open breaker is up, or the attempt that half-open admitted was not made: the next is admitted. */
  rearm(): void {
    this.state = "half-open";
    this.#probing = false;
  }

  succeeded(): void {
    this.state = "closed";
    this.#failures = 0;
    this.#probing = false;
    this.openMs = 0;
  }

  /** True when this failure has opened it: it stays so for `openMs`. */
  failed(): boolean {
    // An attempt that began before it opened.
    if (this.state === "open") return false;
    this.#failures += 1;
    const { failures, openMs, openAtMostMs } = this.settings;
    if (this.state === "closed" && this.#failures < failures) return false;
    this.openMs = Math.min(this.openMs === 0 ? openMs : this.openMs * 2, openAtMostMs);
    this.state = "open";
    this.#probing = false;
    return true;
  }
}
