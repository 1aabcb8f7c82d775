/**
 * How does the platform go on without what cannot be had at the moment?
 *
 *   begin ─▶ done
 *     └─ fails: said once, tried again after 1, 2, 4, … 30 s ─▶ done
 *
 * A fault of the platform must not take the traffic offloading function with it: what is missing is told (`Extension.missing`,
 * `offramp_missing`), and everything else is there.
 */
import { messageOf } from "../controlplane/errors.ts";

const firstPauseMs = 1000;
const longestPauseMs = 30_000;

export class Eventually {
  readonly #work: () => Promise<void>;
  readonly #said: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #last: string | undefined;
  #stopped = false;
  #done = false;

  /** @param work takes back what it has done when it fails. @param said is told of the first failure, and of other ones later */
  constructor(work: () => Promise<void>, said: (error: unknown) => void) {
    this.#work = work;
    this.#said = said;
  }

  get done(): boolean {
    return this.#done;
  }

  /** Returns after the first attempt. */
  begin(): Promise<void> {
    this.#running = this.#attempt(firstPauseMs);
    return this.#running;
  }

  async #attempt(pause: number): Promise<void> {
    try {
      await this.#work();
      this.#done = true;
    } catch (error) {
      if (messageOf(error) !== this.#last) this.#said(error);
      this.#last = messageOf(error);
      if (this.#stopped) return;
      this.#timer = setTimeout(() => {
        this.#running = this.#attempt(Math.min(longestPauseMs, pause * 2));
      }, pause);
    }
  }

  /** Nothing is tried any more when this resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }
}
