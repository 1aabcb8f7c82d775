/**
 * Which change waits to be confirmed, and who takes it back if nobody does?
 *
 *   arm on disk ─▶ guard starts ─▶ change in force ─▶ confirm: disarm
 *                                        └─ deadline: the agent, by its timer
 *                                           agent dead: the guard, a process of its own, or the next start, first thing
 *
 * The timer looks at the time since boot at least once a second, so that neither a set clock nor a machine that slept
 * matters.
 */
import { Problem } from "../errors.ts";
import { moment, remaining } from "../store/boottime.ts";
import type { Change } from "../store/history.ts";
import type { Armed, Numbers, Store } from "../store/store.ts";
import { changeTo, countText } from "./set.ts";

export type ConfirmationStore = Pick<Store, "arm" | "armed" | "disarm">;

const lookMs = 1000;
const againMs = 5000;
/** Who takes back what was not confirmed, as history tells it. */
export const deadline = "deadline";

/** Milliseconds that the change still has; 0 or less when it was never in force. */
export const timeLeft = (armed: Armed): number =>
  armed.revision === undefined ? 0 : remaining(armed.since, armed.duration);

/** When that is, by the wall clock of now. ISO 8601. */
export const untilText = (armed: Armed): string =>
  new Date(Date.now() + Math.max(0, remaining(armed.since, armed.duration))).toISOString();

export const notConfirmed = ({ revision, duration, back }: Armed): string =>
  `revision ${revision} was not confirmed within ${duration / 1000} s: back to revision ${back}`;

/**
 * What takes an unconfirmed change back that is not in the hands of a running agent. @throws Error when the store fails
 */
export function takingBack(store: Store, armed: Armed): Change & { given: Numbers | undefined } {
  const now = store.services();
  // A change that was never committed has touched nothing here.
  const target = armed.revision === undefined ? now : store.history.at(armed.back, now);
  if (!target) throw new Error(`revision ${armed.back} is not kept any more: what was not confirmed stays`);
  const change = changeTo(now, target, store);
  const { touched, given } = change;
  return { touched, given, who: deadline, what: `${notConfirmed(armed)} (${countText(change)})` };
}

/** Takes it back in the store alone, where there is no data plane to apply anything to. */
export function takeBackStored(store: Store, armed: Armed): void {
  const { given, ...change } = takingBack(store, armed);
  if (armed.revision === undefined) store.disarm();
  else store.commit(change, { disarms: true, given });
}

export class Confirmation {
  readonly #store: ConfirmationStore;
  readonly #guard: () => void;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(store: ConfirmationStore, guard: () => void) {
    this.#store = store;
    this.#guard = guard;
  }

  get armed(): Armed | undefined {
    return this.#store.armed();
  }

  /** @throws Problem while a change waits to be confirmed */
  refuseWhileArmed(): void {
    const armed = this.#store.armed();
    if (!armed) return;
    const until = untilText(armed);
    throw new Problem(
      "unconfirmed",
      `revision ${armed.revision ?? armed.back + 1} waits to be confirmed until ${until}: confirm it, or roll it back`,
      { until },
    );
  }

  /** To be called before the change takes effect. @throws Error when it cannot be written */
  arm(back: number, seconds: number): void {
    this.#store.arm({ back, duration: seconds * 1000, since: moment() });
    this.#guard();
  }

  /** The announced change did not come into force. */
  disarm(): void {
    this.#store.disarm();
  }

  /** Calls `takeBack` at the deadline, and again every five seconds while it fails. */
  watch(takeBack: () => Promise<void>, failed: (error: unknown) => void): void {
    clearTimeout(this.#timer);
    const look = () => {
      const armed = this.#store.armed();
      this.#timer = undefined;
      if (!armed) return;
      const left = timeLeft(armed);
      if (left > 0) {
        this.#timer = setTimeout(look, Math.min(left, lookMs));
        return;
      }
      takeBack().catch((error: unknown) => {
        failed(error);
        if (!this.#closed) this.#timer = setTimeout(look, againMs);
      });
    };
    look();
  }

  /** A change that an earlier run left: its guard may have died with it. */
  resume(takeBack: () => Promise<void>, failed: (error: unknown) => void): void {
    this.#guard();
    this.watch(takeBack, failed);
  }

  /** The deadline stays; nobody here waits for it any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}
