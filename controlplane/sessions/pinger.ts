/**
 * Which UE is pinged when?
 *
 * A5: when a UE's traffic never reaches the core, echo requests in its name make the core reveal the downlink tunnel.
 * This is the schedule alone: no socket, no clock of its own. Every session is pinged at its interval until somebody
 * stops it or its time is over. All pings share one token bucket, so that a reboot is no storm, and two queues: who was
 * never pinged goes first, three times of four, so that neither newcomers nor repeats starve. In each queue it is first
 * come first served with at most one entry per session, which makes it fair.
 *
 * A session that claims its address by an unproven tunnel is another track than the session itself: giving up on the
 * claim says nothing about the owner.
 */

export interface PingerLimits {
  /** Echo requests per second over all UEs, and how many at once. */
  rate: number;
  burst: number;
}

export const pingerLimits: PingerLimits = { rate: 500, burst: 50 };

export interface PingTrack {
  session: number;
  epoch: number;
  dataplane: string;
  /** Full address of the UE as last seen. */
  ue: string;
  candidate: boolean;
  /** `stale`: only an answer tells that it is over; `wanted`: any downlink does. */
  cause: "wanted" | "stale" | "candidate";
  intervalMs: number;
  giveUpMs: number;
}

export interface PingNow {
  track: PingTrack;
  /** 1, 2, … of this track, within 15 bits. */
  count: number;
}

interface Entry {
  track: PingTrack;
  started: number;
  sent: number;
  lastSent: number;
  due: number;
  stopped: boolean;
}

const keyOf = (session: number, candidate: boolean): string => `${session}${candidate ? "c" : ""}`;

export class Pinger {
  readonly counts = { started: 0, sent: 0, gaveUp: 0, stopped: 0, delayed: 0 };
  private readonly entries = new Map<string, Entry>();
  private readonly waiting = new Heap();
  private readonly fresh = new Queue();
  private readonly repeats = new Queue();
  private tokens: number;
  private filled = Number.NEGATIVE_INFINITY;
  private turn = 0;

  constructor(private readonly limits: PingerLimits = pingerLimits) {
    this.tokens = limits.burst;
  }

  get size(): number {
    return this.entries.size;
  }

  active(session: number, candidate = false): boolean {
    return this.entries.has(keyOf(session, candidate));
  }

  /** Begins, or goes on with the address seen last. Another epoch begins anew. */
  start(track: PingTrack, now: number): void {
    const key = keyOf(track.session, track.candidate);
    const known = this.entries.get(key);
    if (known && known.track.epoch === track.epoch) {
      if (!track.ue.endsWith("::")) known.track.ue = track.ue; // a prefix alone says less than what is known
      if (track.cause === "stale") known.track.cause = "stale";
      return;
    }
    if (known) this.end(key, known);
    const entry: Entry = {
      track: { ...track },
      started: now,
      sent: 0,
      lastSent: Number.NEGATIVE_INFINITY,
      due: now,
      stopped: false,
    };
    this.entries.set(key, entry);
    this.fresh.push(entry);
    this.counts.started++;
  }

  /** @returns whether it ran. */
  stop(session: number, candidate: boolean): boolean {
    const key = keyOf(session, candidate);
    const entry = this.entries.get(key);
    if (!entry) return false;
    this.end(key, entry);
    this.counts.stopped++;
    return true;
  }

  /** What is to be sent now, and who has had no answer for too long. Call it again at `next()`. */
  tick(now: number): { pings: PingNow[]; gaveUp: PingTrack[] } {
    this.refill(now);
    const gaveUp: PingTrack[] = [];
    for (let entry = this.waiting.peek(); entry && entry.due <= now; entry = this.waiting.peek()) {
      this.waiting.pop();
      if (entry.stopped) continue;
      if (now < deadline(entry)) this.repeats.push(entry);
      else this.giveUp(entry, gaveUp);
    }
    const pings: PingNow[] = [];
    for (let entry = this.take(now, gaveUp); entry; entry = this.take(now, gaveUp)) {
      this.tokens -= 1;
      entry.sent++;
      entry.lastSent = now;
      // The last ping of all still gets a whole interval for its answer.
      entry.due = now + entry.track.intervalMs;
      this.waiting.push(entry);
      this.counts.sent++;
      pings.push({ track: entry.track, count: entry.sent & 0x7fff });
    }
    if (this.fresh.size + this.repeats.size > 0) this.counts.delayed++;
    return { pings, gaveUp };
  }

  /** When `tick` has something to do, milliseconds; undefined when nobody is pinged. */
  next(now: number): number | undefined {
    if (this.entries.size === 0) return undefined;
    if (this.fresh.size + this.repeats.size > 0) {
      return now + Math.max(0, Math.ceil(((1 - this.tokens) * 1000) / this.limits.rate));
    }
    return this.waiting.peek()?.due ?? now;
  }

  private take(now: number, gaveUp: PingTrack[]): Entry | undefined {
    while (this.tokens >= 1) {
      const newcomers = this.fresh.size > 0 && (this.repeats.size === 0 || this.turn % 4 !== 3);
      const entry = (newcomers ? this.fresh : this.repeats).shift();
      if (!entry) return undefined;
      this.turn++;
      if (entry.stopped) continue;
      if (now < deadline(entry)) return entry;
      this.giveUp(entry, gaveUp);
    }
    return undefined;
  }

  private giveUp(entry: Entry, gaveUp: PingTrack[]): void {
    this.end(keyOf(entry.track.session, entry.track.candidate), entry);
    this.counts.gaveUp++;
    gaveUp.push(entry.track);
  }

  private end(key: string, entry: Entry): void {
    entry.stopped = true;
    this.entries.delete(key);
  }

  private refill(now: number): void {
    if (this.filled === Number.NEGATIVE_INFINITY) this.filled = now;
    const earned = ((now - this.filled) * this.limits.rate) / 1000;
    this.tokens = Math.min(this.limits.burst, this.tokens + earned);
    this.filled = now;
  }
}

/** A ping sent within the time is waited for, even when its interval ends after it. */
const deadline = (entry: Entry): number => entry.started + entry.track.giveUpMs;

/** First in, first out; entries that stopped meanwhile are skipped by the reader. */
class Queue {
  private items: Entry[] = [];
  private head = 0;

  get size(): number {
    return this.items.length - this.head;
  }

  push(entry: Entry): void {
    this.items.push(entry);
  }

  shift(): Entry | undefined {
    const entry = this.items[this.head];
    if (entry === undefined) return undefined;
    this.head++;
    if (this.head > 1024 && this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return entry;
  }
}

/** Binary heap, earliest `due` on top. */
class Heap {
  private readonly items: Entry[] = [];

  peek(): Entry | undefined {
    return this.items[0];
  }

  push(entry: Entry): void {
    const { items } = this;
    let at = items.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((items[parent] as Entry).due <= entry.due) break;
      items[at] = items[parent] as Entry;
      at = parent;
    }
    items[at] = entry;
  }

  pop(): void {
    const { items } = this;
    const last = items.pop();
    if (last === undefined || items.length === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && (items[child + 1] as Entry).due < (items[child] as Entry).due) child++;
      if ((items[child] as Entry).due >= last.due) break;
      items[at] = items[child] as Entry;
      at = child;
    }
    items[at] = last;
  }
}
