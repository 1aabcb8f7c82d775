/**
 * How long does an app have left to say goodbye?
 *
 * A wait until a moment by the wall clock, which somebody may end before: the app by confirming, a management user by
 * cancelling, the agent by stopping. The moment is on disk, so that a restart goes on waiting for the same one.
 */
export type Outcome = "confirmed" | "expired" | "cancelled" | "stopped";

/** setTimeout takes no more: 2^31 - 1 ms. */
const longest = 0x7fff_ffff;

export class Grace {
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();

  /** @param deadline milliseconds since the epoch */
  wait(id: string, deadline: number): Promise<Outcome> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout;
      const end = (outcome: Outcome) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(outcome);
      };
      const look = () => {
        const left = deadline - Date.now();
        if (left <= 0) end("expired");
        else timer = setTimeout(look, Math.min(left, longest));
      };
      this.#waiting.set(id, end);
      look();
    });
  }

  /** False when nobody waits. */
  end(id: string, outcome: Outcome): boolean {
    const waiting = this.#waiting.get(id);
    waiting?.(outcome);
    return waiting !== undefined;
  }

  /** All waits at once: the agent stops. */
  stop(): void {
    for (const end of [...this.#waiting.values()]) end("stopped");
  }
}
