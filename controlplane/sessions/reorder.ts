/**
 * What becomes of an inner fragment that overtook the first one of its packet?
 *
 * Only the first fragment carries ports, so the data plane cannot decide on the others before it has seen that one. It
 * hands them here; each is given back after a short while, and again, in growing steps. A fragment that comes back once
 * more was not decided. After the last try it goes on to the core, where it would have gone without us.
 *
 * Each is given back with a token of ours, and with that it comes back.
 */

export interface ReorderLimits {
  fragments: number;
  octets: number;
  /** Milliseconds to wait before each try. */
  waits: readonly number[];
}

/** 5 + 10 + 20 + 40 + 80 = 155 ms in all, and then the wire. */
export const reorderLimits: ReorderLimits = { fragments: 1024, octets: 4 << 20, waits: [5, 10, 20, 40, 80] };

interface Waiting {
  token: number;
  dataplane: string;
  frame: Uint8Array;
  tries: number;
  /** When to try again; while `waiting` is false, when to forget it. */
  due: number;
  waiting: boolean;
}

export interface Retry {
  op: "reassembled" | "wire";
  token: number;
  dataplane: string;
  frame: Uint8Array;
}

export class Reorder {
  readonly counts = { received: 0, retried: 0, settled: 0, gaveUp: 0, full: 0 };
  private readonly known = new Map<number, Waiting>();
  private octets = 0;

  /** @param tokens a source of numbers 1..2^32-1 that nobody else uses at the time. */
  constructor(
    private readonly tokens: () => number,
    private readonly limits: ReorderLimits = reorderLimits,
  ) {}

  get size(): number {
    return this.known.size;
  }

  /** Takes a fragment, with the token that it was given back with or 0; returns what must be written at once. */
  push(dataplane: string, token: number, frame: Uint8Array, now: number): Retry | undefined {
    let entry = this.known.get(token);
    if (!entry) {
      this.counts.received++;
      if (this.known.size >= this.limits.fragments || this.octets + frame.length > this.limits.octets) {
        this.counts.full++;
        return { op: "wire", token: 0, dataplane, frame };
      }
      entry = { token: this.tokens(), dataplane, frame, tries: 0, due: 0, waiting: true };
      this.known.set(entry.token, entry);
      this.octets += frame.length;
    }
    const wait = this.limits.waits[entry.tries];
    if (wait === undefined) {
      this.remove(entry);
      this.counts.gaveUp++;
      return { op: "wire", token: 0, dataplane, frame };
    }
    entry.waiting = true;
    entry.due = now + wait;
    return undefined;
  }

  /** What must be written now. */
  due(now: number): Retry[] {
    const out: Retry[] = [];
    for (const entry of this.known.values()) {
      if (entry.due > now) continue;
      if (!entry.waiting) {
        this.counts.settled++;
        this.remove(entry);
        continue;
      }
      entry.waiting = false;
      entry.tries++;
      // It comes back within the same read when it is still not decided; the time only bounds our memory of it.
      entry.due = now + 100;
      this.counts.retried++;
      out.push({ op: "reassembled", token: entry.token, dataplane: entry.dataplane, frame: entry.frame });
    }
    return out;
  }

  next(): number | undefined {
    let next: number | undefined;
    for (const entry of this.known.values()) if (next === undefined || entry.due < next) next = entry.due;
    return next;
  }

  private remove(entry: Waiting): void {
    this.known.delete(entry.token);
    this.octets -= entry.frame.length;
  }
}
