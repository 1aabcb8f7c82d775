/**
 * Who asks too often, and who guesses?
 *
 * A rate limit is a token bucket per key; a lock-out counts failures per key. Both are in memory and bounded: when there are
 * more keys than room, the one that was seen longest ago is forgotten, which is the one that is most likely idle. Keys are
 * chosen so that nobody can lock somebody else out: an address, or a client together with the address it comes from.
 */

/** Milliseconds of a clock that is never set; tests bring their own. */
export type Clock = () => number;

const roomFor = 8192;

/** A map that forgets the key that was used longest ago. */
class Recent<V> {
  readonly #entries = new Map<string, V>();

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) this.#touch(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#touch(key, value);
    if (this.#entries.size <= roomFor) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  get size(): number {
    return this.#entries.size;
  }

  #touch(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
  }
}

export interface Rate {
  /** What comes back in a second. */
  perSecond: number;
  /** What may come at once. */
  burst: number;
}

export class RateLimit {
  readonly #rate: Rate;
  readonly #now: Clock;
  readonly #buckets = new Recent<{ level: number; at: number }>();
  /** How often somebody was refused. */
  refused = 0;

  constructor(rate: Rate, now: Clock = () => performance.now()) {
    this.#rate = rate;
    this.#now = now;
  }

  /** Takes one. Returns 0, or the whole seconds after which there is one again. */
  take(key: string): number {
    const { perSecond, burst } = this.#rate;
    const now = this.#now();
    const bucket = this.#buckets.get(key) ?? { level: burst, at: now };
    const level = Math.min(burst, bucket.level + ((now - bucket.at) / 1000) * perSecond);
    if (level < 1) {
      this.refused += 1;
      this.#buckets.set(key, { level, at: now });
      return Math.max(1, Math.ceil((1 - level) / perSecond));
    }
    this.#buckets.set(key, { level: level - 1, at: now });
    return 0;
  }

  get keys(): number {
    return this.#buckets.size;
  }
}

export interface LockoutRule {
  /** So many failures … */
  failures: number;
  /** … within so many seconds … */
  within: number;
  /** … and nothing is tried for so many seconds. */
  lockedFor: number;
}

/** Ten guesses a minute: a secret of 16 characters and more is not found that way. */
export const usualLockout: LockoutRule = { failures: 10, within: 60, lockedFor: 60 };

export class Lockout {
  readonly #rule: LockoutRule;
  readonly #now: Clock;
  readonly #failures = new Recent<{ count: number; since: number; lockedUntil: number }>();
  /** Failures counted since the start. */
  failed = 0;
  /** Keys locked since the start. */
  locks = 0;

  constructor(rule: LockoutRule = usualLockout, now: Clock = () => performance.now()) {
    this.#rule = rule;
    this.#now = now;
  }

  /** Whole seconds for which nothing of this key is looked at; 0: it is not locked. */
  lockedFor(key: string): number {
    const found = this.#failures.get(key);
    if (!found) return 0;
    return Math.max(0, Math.ceil((found.lockedUntil - this.#now()) / 1000));
  }

  fail(key: string): void {
    const { failures, within, lockedFor } = this.#rule;
    const now = this.#now();
    const found = this.#failures.get(key);
    const fresh = found === undefined || now - found.since > within * 1000;
    const count = fresh ? 1 : found.count + 1;
    const since = fresh ? now : found.since;
    this.failed += 1;
    if (count < failures) {
      this.#failures.set(key, { count, since, lockedUntil: 0 });
      return;
    }
    this.locks += 1;
    this.#failures.set(key, { count: 0, since: now, lockedUntil: now + lockedFor * 1000 });
  }

  /** The right secret was sent: what was counted is forgotten. */
  succeed(key: string): void {
    this.#failures.delete(key);
  }
}

/**
 * An address as a key: one host. Of IPv6 it is the /64, which is what one host is given; IPv4 in IPv6 clothes is IPv4.
 */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1]) return mapped[1];
  if (!address.includes(":")) return address;
  const [plain = ""] = address.split("%", 1);
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(":")}::/64`;
}
