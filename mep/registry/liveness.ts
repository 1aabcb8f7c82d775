/**
 * Is a service still alive that has promised heartbeats (GS MEC 011 §8.2.10)?
 *
 * It lapses when none has come for one and a half times its interval: one may be late, none may be lost. Deadlines are
 * monotonic time in this process, so nobody who sets the clock suspends anything. They are not stored: after a restart each
 * service has its whole time again from then on, because while the platform was away no heartbeat could reach it.
 */

/** Seconds. */
export interface IntervalBounds {
  shortest: number;
  longest: number;
  /** For apps that leave it to the platform. */
  usual: number;
}

export const usualBounds: IntervalBounds = { shortest: 1, longest: 3600, usual: 30 };

/** The interval that the platform requires when the app offers `proposed`; 0 leaves it to the platform. */
export const intervalFor = (proposed: number, { shortest, longest, usual }: IntervalBounds): number =>
  proposed === 0 ? usual : Math.min(Math.max(proposed, shortest), longest);

/** Milliseconds that a heartbeat is good for. */
export const allowance = (interval: number): number => interval * 1500;

export class Liveness {
  readonly #lapsed: (id: string) => void;
  readonly #timers = new Map<string, { interval: number; timer: NodeJS.Timeout }>();

  /** `lapsed` is called once, when no heartbeat has come in time; the service is not watched then. */
  constructor(lapsed: (id: string) => void) {
    this.#lapsed = lapsed;
  }

  /** A heartbeat, or the beginning: it has all of its time from now. */
  beat(id: string, interval: number): void {
    const known = this.#timers.get(id);
    if (known?.interval === interval) return void known.timer.refresh();
    clearTimeout(known?.timer);
    const timer = setTimeout(() => {
      this.#timers.delete(id);
      this.#lapsed(id);
    }, allowance(interval));
    timer.unref();
    this.#timers.set(id, { interval, timer });
  }

  watches(id: string): boolean {
    return this.#timers.has(id);
  }

  forget(id: string): void {
    clearTimeout(this.#timers.get(id)?.timer);
    this.#timers.delete(id);
  }

  stop(): void {
    for (const { timer } of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
