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
 * A reply that the program counted but that its port had no room for never comes: when nothing has been readable for a
 * while and the program is still ahead, its count is taken as ours.
 */
import { createHash } from "node:crypto";
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
    overlap: 0,
    malformed: 0,
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
  /** Fragments of packets put together lately, by the digest of the whole. */
  private readonly originals = new Map<string, { dataplane: string; fragments: Uint8Array[]; until: number }>();
  private polled = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly path: SlowPath,
    private readonly options: SlowOptions,
  ) {
    this.hold = options.hold ?? new Hold();
    this.reassembler = options.reassembler ?? new Reassembler();
    this.reorder = options.reorder ?? new Reorder();
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
    for (const [digest, entry] of this.originals) {
      if (entry.until > now) break;
      this.originals.delete(digest);
    }
    for (const { op, dataplane, frame } of this.reorder.due(now)) this.writeWire(op, dataplane, frame);
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
    if (this.hold.sessions().length > 0) times.push(Math.max(now, this.polled + POLL_MS));
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
        const retry = this.reorder.push(frame.dataplane, frame.frame, now);
        if (retry) this.writeWire(retry.op, retry.dataplane, retry.frame);
        return;
      }
      case "too-big":
        this.cut(frame);
        return;
    }
  }

  private reassemble(frame: SlowFrame, now: number): void {
    this.counts.fragments++;
    const outcome = this.reassembler.accept(frame.frame, frame.dataplane, now);
    switch (outcome.result) {
      case "waiting":
        return;
      case "dropped":
        this.counts[outcome.reason]++;
        return;
      case "complete": {
        this.counts.reassembled++;
        const entry = { dataplane: frame.dataplane, fragments: outcome.fragments, until: now + ORIGINALS_MS };
        this.originals.set(digestOf(outcome.frame), entry);
        if (this.originals.size > 256) {
          for (const oldest of this.originals.keys()) {
            this.originals.delete(oldest);
            break;
          }
        }
        this.writeWire("reassembled", frame.dataplane, outcome.frame);
        return;
      }
      case "whole": {
        // Put together and looked at, it is not ours and too long for the core's adapter: on it goes as it came.
        const digest = digestOf(frame.frame);
        const fragments = this.originals.get(digest)?.fragments ?? [frame.frame];
        this.originals.delete(digest);
        this.counts.returned++;
        for (const fragment of fragments) this.writeWire("wire", frame.dataplane, fragment);
        return;
      }
    }
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

  private drainTouched(): void {
    while (this.touched.size > 0) {
      const sessions = [...this.touched];
      this.touched.clear();
      for (const session of sessions) {
        const queue = this.hold.get(session);
        if (queue) this.drain(session, queue.epoch);
        else this.unfinished.delete(session);
      }
    }
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
      const queue = this.hold.get(session);
      if (queue && queue.epoch !== epoch) return;
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
    if (after.held === queue.received) {
      queue.behindSince = undefined;
      return "later"; // another writer was at the session; nothing is lost by asking again
    }
    return this.behind(queue, after.held) ? "again" : "later";
  }

  /** The program has counted replies that we have not read: on their way, or lost. True when they are known to be lost. */
  private behind(queue: HoldQueue, held: number): boolean {
    const now = this.options.now();
    const before = queue.received;
    this.readAll();
    if (queue.received !== before) {
      queue.behindSince = undefined;
      return true;
    }
    queue.behindSince ??= now;
    if (now - queue.behindSince < BEHIND_MS) return false;
    this.counts.lost += Math.max(0, held - queue.received);
    queue.received = held;
    queue.behindSince = undefined;
    return true;
  }

  private writeReply(to: { dataplane: string; session: number; epoch: number }, frame: Uint8Array): boolean {
    const { dataplane, session, epoch } = to;
    return this.write({ op: "reply", dataplane, session, epoch, sequence: 0, reason: 0, frame });
  }

  private writeWire(op: "reassembled" | "wire", dataplane: string, frame: Uint8Array): void {
    this.write({ op, dataplane, session: 0, epoch: 0, sequence: 0, reason: 0, frame });
  }

  private write(frame: SlowFrame<SlowFromUser>): boolean {
    const taken = this.path.write(frame);
    if (!taken) this.counts.unwritten++;
    return taken;
  }
}

const digestOf = (frame: Uint8Array): string => createHash("sha1").update(frame).digest("base64");
