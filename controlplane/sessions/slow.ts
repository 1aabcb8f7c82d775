/**
 * What happens to the few packets that leave the kernel's program?
 *
 * Reads the slow port and gives each frame to the part that knows: replies to `hold.ts`, outer fragments to
 * `reassembly.ts`, early inner fragments to `reorder.ts`, over-size replies to `fragment.ts`; writes what comes of it.
 *
 * Ending a hold without reordering (DESIGN 7):
 *
 *   1. read the port until it is empty            all replies that the program has redirected so far are in the queue
 *   2. write the queue, oldest first               what the program gives back as too big is cut and written before the next
 *   3. read again; if more came, back to 2
 *   4. write "release" with the count of the last  the program ends the hold only if it has counted no more
 *   5. if it still holds, back to 1
 *
 * A reply that the program counted but that its port had no room for never comes: when the program has been ahead for
 * a while, whatever else came, the difference is taken as lost.
 */
import type { SlowFrame, SlowFromUser, SlowPath, SlowSession } from "../../dataplane/slow-path.ts";
import { fragmentIpv4 } from "./fragment.ts";
import { Hold, type HoldQueue } from "./hold.ts";
import { Reassembler } from "./reassembly.ts";
import { Reorder } from "./reorder.ts";

const RETRY_MS = 5; // a hold that could not be ended yet
const POLL_MS = 50; // a hold whose event was lost
const BEHIND_MS = 10; // a redirected frame is in the port by then, or was lost
const ORIGINALS_MS = 500; // the program's answer to a reassembled packet
const ROUNDS = 64; // of reading and writing for one session before others have their turn
const ORIGINALS = 256; // packets whose fragments are kept meanwhile
/** `reason` of a fragment (dataplane/ebpf/bpf/structs.h). */
const REASON_TAKEN = 0;
const REASON_NOT_TAKEN = 2;
const PASSES = 2; // over the sessions that something came for, per look at the port
const MAY_BOUNCE = 1200; // octets of a reply from which on it may be too big for its tunnel

export interface SlowOptions {
  now: () => number;
  /** Milliseconds that a reply may wait for a downlink on this data plane. */
  holdMs: (dataplane: string) => number;
  hold?: Hold;
  reassembler?: Reassembler;
  reorder?: Reorder;
}

export class SlowDispatch {
  readonly hold: Hold;
  readonly reassembler: Reassembler;
  readonly reorder: Reorder;
  readonly counts = {
    held: 0,
    replies: 0,
    releases: 0,
    lost: 0,
    fragments: 0,
    reassembled: 0,
    timeout: 0,
    full: 0,
    overlap: 0,
    malformed: 0,
    passed: 0,
    returned: 0,
    tooBig: 0,
    cut: 0,
    notCut: 0,
    unwritten: 0,
  };
  /** Sessions whose queue changed since the last drain. */
  private readonly touched = new Set<number>();
  /** Sessions whose hold could not be ended yet. */
  private readonly unfinished = new Set<number>();
  /** Fragments of packets put together lately, by the token of the whole. */
  private readonly originals = new Map<number, { dataplane: string; fragments: Uint8Array[]; until: number }>();
  private token = 0;
  private polled = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly path: SlowPath,
    private readonly options: SlowOptions,
  ) {
    this.hold = options.hold ?? new Hold();
    this.reassembler = options.reassembler ?? new Reassembler();
    this.reorder = options.reorder ?? new Reorder(() => this.newToken());
  }

  /** Reads all that waits and ends the holds that can be ended. */
  service(): void {
    this.readAll();
    this.drainTouched();
  }

  /** Something was learnt about this session: ends its hold if it can be. */
  learnt(session: number, epoch: number): void {
    this.readAll();
    this.touched.delete(session);
    this.drain(session, epoch);
    this.drainTouched();
  }

  /** Timers. */
  tick(): void {
    const now = this.options.now();
    this.hold.expire(now);
    this.reassembler.expire(now);
    this.sweep();
    for (const [token, entry] of this.originals) {
      if (entry.until > now) break;
      this.originals.delete(token);
    }
    for (const { op, token, dataplane, frame } of this.reorder.due(now)) this.writeWire(op, dataplane, frame, token);
    for (const session of this.unfinished) this.touched.add(session);
    if (now - this.polled >= POLL_MS) {
      this.polled = now;
      for (const queue of this.hold.sessions()) this.touched.add(queue.session);
    }
    this.service();
  }

  /** When `tick` has something to do; undefined when nothing waits. */
  next(): number | undefined {
    const now = this.options.now();
    const times: number[] = [];
    if (this.unfinished.size > 0) times.push(now + RETRY_MS);
    if (this.hold.size > 0) times.push(Math.max(now, this.polled + POLL_MS));
    const reassembly = this.reassembler.next();
    if (reassembly !== undefined) times.push(reassembly);
    const reorder = this.reorder.next();
    if (reorder !== undefined) times.push(reorder);
    for (const entry of this.originals.values()) {
      times.push(entry.until);
      break;
    }
    return times.length > 0 ? Math.min(...times) : undefined;
  }

  private readAll(): void {
    for (let frame = this.path.read(); frame; frame = this.path.read()) this.dispatch(frame);
  }

  private dispatch(frame: SlowFrame): void {
    const now = this.options.now();
    switch (frame.op) {
      case "hold":
        this.counts.held++;
        this.hold.push(frame, now, this.options.holdMs(frame.dataplane));
        this.touched.add(frame.session);
        return;
      case "fragment":
        this.reassemble(frame, now);
        return;
      case "inner-fragment": {
        const retry = this.reorder.push(frame.dataplane, frame.sequence, frame.frame, now);
        if (retry) this.writeWire(retry.op, retry.dataplane, retry.frame, retry.token);
        return;
      }
      case "too-big":
        this.cut(frame);
        return;
    }
  }

  private reassemble({ frame, dataplane, sequence, reason }: SlowFrame, now: number): void {
    if (reason === REASON_NOT_TAKEN) {
      // Put together and looked at, it is not ours: on it goes as it came.
      const fragments = this.originals.get(sequence)?.fragments ?? [frame];
      this.originals.delete(sequence);
      this.counts.returned++;
      for (const fragment of fragments) this.writeWire("wire", dataplane, fragment);
      return;
    }
    this.counts.fragments++;
    const outcome = this.reassembler.accept(frame, dataplane, now, reason === REASON_TAKEN);
    this.sweep();
    if (outcome.result !== "complete") return;
    this.counts.reassembled++;
    const token = this.newToken();
    this.originals.set(token, { dataplane, fragments: outcome.fragments, until: now + ORIGINALS_MS });
    if (this.originals.size > ORIGINALS) this.originals.delete(this.originals.keys().next().value as number);
    this.writeWire("reassembled", dataplane, outcome.frame, token);
  }

  /** Fragments that will never be whole: dropped by name when a rule may take them, else nobody's and passed. */
  private sweep(): void {
    for (const { reason, link, taken, fragments } of this.reassembler.discarded()) {
      if (taken) {
        this.counts[reason] += fragments.length;
        continue;
      }
      this.counts.passed += fragments.length;
      for (const fragment of fragments) this.writeWire("wire", link, fragment);
    }
  }

  private newToken(): number {
    this.token = (this.token % 0xffffffff) + 1;
    return this.token;
  }

  private cut(frame: SlowFrame): void {
    this.counts.tooBig++;
    const room = frame.reason > 0 ? undefined : this.path.room(frame.session, frame.epoch);
    const mtu = room ? room.mtu - room.overhead : frame.reason;
    const pieces = fragmentIpv4(frame.frame, mtu);
    if (!pieces) {
      this.counts.notCut++;
      return;
    }
    for (const piece of pieces) if (this.writeReply(frame, piece)) this.counts.cut++;
  }

  /** A session that replies keep coming for has its turn again with the next tick, not now. */
  private drainTouched(): void {
    for (let pass = 0; pass < PASSES && this.touched.size > 0; pass++) {
      const sessions = [...this.touched];
      this.touched.clear();
      for (const session of sessions) {
        const queue = this.hold.get(session);
        if (queue) this.drain(session, queue.epoch);
        else this.unfinished.delete(session);
      }
    }
    for (const session of this.touched) this.unfinished.add(session);
    this.touched.clear();
  }

  /** Ends the hold if the downlink is known; else leaves it as it is. */
  private drain(session: number, epoch: number): void {
    this.unfinished.delete(session);
    for (let round = 0; round < ROUNDS; round++) {
      const state = this.path.session(session, epoch);
      if (!state) {
        if (this.hold.get(session)?.epoch === epoch) this.hold.forget(session);
        return;
      }
      // The slot's epoch is `epoch`: a queue with another belongs to who had the address before.
      if ((this.hold.get(session)?.epoch ?? epoch) !== epoch) this.hold.forget(session);
      const queue = this.hold.get(session);
      if (!state.hold && (queue?.replies.length ?? 0) === 0) {
        this.hold.forget(session);
        return;
      }
      if (!state.downlink || state.moving) {
        // The count comes back with the next reply.
        if (queue?.replies.length === 0) this.hold.forget(session);
        return;
      }
      const done = this.flush(queue ?? this.hold.open(session, epoch, state.dataplane), state);
      if (done === "later") break;
    }
    this.unfinished.add(session);
  }

  /** One round. */
  private flush(queue: HoldQueue, state: SlowSession): "again" | "later" {
    const { session, epoch, dataplane } = queue;
    for (let reply = this.hold.first(session); reply; reply = this.hold.first(session)) {
      if (!this.writeReply(queue, reply.frame)) return "later";
      this.counts.replies++;
      this.hold.shift(session);
      if (reply.frame.length > MAY_BOUNCE) this.readAll();
    }
    this.readAll();
    this.touched.delete(session);
    if (this.hold.get(session) !== queue || queue.replies.length > 0) return "again";
    if (!state.hold) return "again";
    const release = { dataplane, session, epoch, sequence: queue.received, reason: 0, frame: new Uint8Array(0) };
    if (!this.write({ op: "release", ...release })) return "later";
    this.counts.releases++;
    const after = this.path.session(session, epoch);
    if (!after?.hold) return "again";
    return this.catchUp(queue) ? "again" : "later";
  }

  /**
   * The program still holds: it has counted replies that we have not read. They are on their way, or lost. What its
   * count has been ahead at every look for a while is lost, also while others keep coming. True when there is something
   * to do at once.
   */
  private catchUp(queue: HoldQueue): boolean {
    this.readAll();
    const held = this.path.session(queue.session, queue.epoch)?.held;
    if (held === undefined) return true;
    const now = this.options.now();
    const by = held - queue.received;
    if (by === 0) {
      queue.behind = undefined; // the missing ones came, or another writer was at the session
      return queue.replies.length > 0;
    }
    queue.behind ??= { since: now, by };
    queue.behind.by = Math.min(queue.behind.by, by);
    if (now - queue.behind.since < BEHIND_MS) return queue.replies.length > 0;
    this.counts.lost += Math.max(0, queue.behind.by);
    queue.received += queue.behind.by;
    queue.behind = undefined;
    return true;
  }

  private writeReply(to: { dataplane: string; session: number; epoch: number }, frame: Uint8Array): boolean {
    const { dataplane, session, epoch } = to;
    return this.write({ op: "reply", dataplane, session, epoch, sequence: 0, reason: 0, frame });
  }

  private writeWire(op: "reassembled" | "wire", dataplane: string, frame: Uint8Array, token = 0): void {
    this.write({ op, dataplane, session: 0, epoch: 0, sequence: token, reason: 0, frame });
  }

  private write(frame: SlowFrame<SlowFromUser>): boolean {
    const taken = this.path.write(frame);
    if (!taken) this.counts.unwritten++;
    return taken;
  }
}
