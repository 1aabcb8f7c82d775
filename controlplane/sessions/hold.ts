/**
 * Which replies wait for their UE's downlink, and in which order do they leave?
 *
 * One queue per session, first in first out; nothing ever overtakes. Bounded per session and over all, in packets and
 * octets, and in time per packet. Over a bound the oldest goes: an app that is still interested repeats the newest.
 * Pure: who calls `push` and `shift`, and when, is `slow.ts`.
 */

export interface HoldLimits {
  packets: number;
  octets: number;
  totalPackets: number;
  totalOctets: number;
}

export const holdLimits: HoldLimits = { packets: 64, octets: 256 << 10, totalPackets: 4096, totalOctets: 8 << 20 };

export interface HeldReply {
  session: number;
  dataplane: string;
  frame: Uint8Array;
  /** Milliseconds; after that nobody wants it any more. */
  expires: number;
}

/** What is known about one session's hold. */
export interface HoldQueue {
  session: number;
  epoch: number;
  dataplane: string;
  replies: HeldReply[];
  octets: number;
  /** Replies that the kernel had counted in this hold when the last one we read left it. */
  received: number;
  /** Since when the kernel's count has differed from ours with the port read empty, and the least that it differed. */
  behind?: { since: number; by: number };
}

export class Hold {
  readonly dropped = { full: 0, expired: 0, gaveUp: 0, gone: 0 };
  private readonly queues = new Map<number, HoldQueue>();
  /** Everything that is held, oldest first. */
  private readonly all = new Set<HeldReply>();
  private octets = 0;

  constructor(private readonly limits: HoldLimits = holdLimits) {}

  get packets(): number {
    return this.all.size;
  }

  /** Sessions with a hold. */
  get size(): number {
    return this.queues.size;
  }

  get bytes(): number {
    return this.octets;
  }

  get(session: number): HoldQueue | undefined {
    return this.queues.get(session);
  }

  sessions(): HoldQueue[] {
    return [...this.queues.values()];
  }

  /**
   * @param sequence how many replies of this hold the kernel had counted with this one; 1 begins a hold.
   * @param ttl milliseconds that it may wait.
   */
  push(
    reply: { session: number; epoch: number; dataplane: string; sequence: number; frame: Uint8Array },
    now: number,
    ttl: number,
  ): void {
    let queue = this.queues.get(reply.session);
    if (queue && queue.epoch !== reply.epoch) {
      this.forget(reply.session, "gone");
      queue = undefined;
    }
    queue ??= this.open(reply.session, reply.epoch, reply.dataplane);
    queue.received = reply.sequence > 0 ? reply.sequence : queue.received + 1;
    const held: HeldReply = {
      session: reply.session,
      dataplane: reply.dataplane,
      frame: reply.frame,
      expires: now + ttl,
    };
    queue.replies.push(held);
    queue.octets += held.frame.length;
    this.octets += held.frame.length;
    this.all.add(held);
    while (queue.replies.length > this.limits.packets || queue.octets > this.limits.octets) {
      this.removeOldest(queue);
      this.dropped.full++;
    }
    while (this.all.size > this.limits.totalPackets || this.octets > this.limits.totalOctets) {
      const oldest = this.all.values().next().value as HeldReply;
      this.removeOldest(this.queues.get(oldest.session) as HoldQueue);
      this.dropped.full++;
    }
  }

  /** A hold of which nothing has been read (any more). */
  open(session: number, epoch: number, dataplane: string): HoldQueue {
    const queue: HoldQueue = { session, epoch, dataplane, replies: [], octets: 0, received: 0 };
    this.queues.set(session, queue);
    return queue;
  }

  /** The reply that must leave next; it stays until `shift`. */
  first(session: number): HeldReply | undefined {
    return this.queues.get(session)?.replies[0];
  }

  shift(session: number): void {
    const queue = this.queues.get(session);
    if (queue) this.removeOldest(queue);
  }

  /** Drops what has waited too long. The order of what stays does not change. */
  expire(now: number): void {
    for (const queue of this.queues.values()) {
      while ((queue.replies[0]?.expires ?? Number.POSITIVE_INFINITY) <= now) {
        this.removeOldest(queue);
        this.dropped.expired++;
      }
    }
  }

  /** Drops what is held for a session, and goes on counting. */
  clear(session: number, reason: "gaveUp" | "gone"): void {
    const queue = this.queues.get(session);
    while (queue && queue.replies.length > 0) {
      this.removeOldest(queue);
      this.dropped[reason]++;
    }
  }

  /** The hold of this session is over. */
  forget(session: number, reason: "gaveUp" | "gone" = "gone"): void {
    this.clear(session, reason);
    this.queues.delete(session);
  }

  private removeOldest(queue: HoldQueue): void {
    const reply = queue.replies.shift();
    if (!reply) return;
    this.all.delete(reply);
    queue.octets -= reply.frame.length;
    this.octets -= reply.frame.length;
  }
}
