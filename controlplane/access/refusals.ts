/**
 * How are refusals written down without a flood of them filling the disk?
 *
 * The first few of a kind (who, from where, with what answer) within a minute are told one by one; the rest of that minute is
 * counted, and told as one entry when it is over. There are at most so many kinds in a minute; what does not fit is counted
 * together. So a minute writes a bounded number of entries, whoever sends whatever.
 */
import type { Content } from "./chain.ts";
import { addressKey, type Clock } from "./limits.ts";

export const refusalBounds = { minuteMs: 60_000, eachInFull: 5, kindsAtMost: 64 } as const;

interface Counted {
  content: Content;
  told: number;
  /** Not told one by one. */
  more: number;
}

/** Everything that did not fit, as one. */
const others = "others";

export class Refusals {
  readonly #now: Clock;
  #since: number;
  #counted = new Map<string, Counted>();

  constructor(now: Clock = () => performance.now()) {
    this.#now = now;
    this.#since = now();
  }

  /** Counts it; true: it is to be told in full. */
  add(content: Content): boolean {
    const { address, who, status, api } = content;
    const key = [api, who, address === null ? "" : addressKey(address), status].join("\n");
    const known = this.#counted.get(key);
    if (!known && this.#counted.size < refusalBounds.kindsAtMost) {
      this.#counted.set(key, { content, told: 1, more: 0 });
      return true;
    }
    const counted = known ?? this.#others(content);
    if (counted !== this.#counted.get(others) && counted.told < refusalBounds.eachInFull) {
      counted.told += 1;
      return true;
    }
    counted.more += 1;
    return false;
  }

  #others(content: Content): Counted {
    const known = this.#counted.get(others);
    if (known) return known;
    const made = { content: { ...content, who: "several", address: null, status: null }, told: 0, more: 0 };
    this.#counted.set(others, made);
    return made;
  }

  /** The minute is over, or `now` is said: what was only counted, as entries of kind `repeated`. */
  due(now = false): Content[] {
    if (!now && this.#now() - this.#since < refusalBounds.minuteMs) return [];
    const counted = [...this.#counted.values()].filter(({ more }) => more > 0);
    this.#counted = new Map();
    this.#since = this.#now();
    return counted.map(({ content, more }) => ({
      ...content,
      method: null,
      path: null,
      object: null,
      request: null,
      detail: { times: more },
    }));
  }
}
