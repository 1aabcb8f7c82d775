/**
 * How does the control plane get at what the programs hand it, packet by packet?
 *
 * Implements `SlowPath` over the TAP (frames behind a struct slow_header), the session tables (holds, standing aside) and
 * the capture ring. Before `open` and after `close` there are no frames and no sessions.
 */

import { addressOctets, addressText, isMapped } from "../address.ts";
import { DataplaneError } from "../dataplane.ts";
import type {
  CapturedPacket,
  CaptureFilter,
  PingerSetup,
  SlowFrame,
  SlowFromUser,
  SlowPath,
  SlowSession,
  SlowToUser,
} from "../slow-path.ts";
import * as c from "./consts.ts";
import type { Kernel } from "./kernel.ts";
import * as layout from "./layout.ts";
import { Ring } from "./ring.ts";
import type { Tables } from "./tables.ts";
import type { Tap } from "./tap.ts";

const toUser = new Map<number, SlowToUser>([
  [c.SLOW_HOLD, "hold"],
  [c.SLOW_FRAGMENT, "fragment"],
  [c.SLOW_TOO_BIG, "too-big"],
  [c.SLOW_INNER_FRAGMENT, "inner-fragment"],
]);
const fromUser: Record<SlowFromUser, number> = {
  reply: c.SLOW_REPLY,
  release: c.SLOW_RELEASE,
  reassembled: c.SLOW_REASSEMBLED,
  wire: c.SLOW_WIRE,
};
const MAC = new Uint8Array(6).fill(2);
/** The programs copy no more of a packet (bpf/maps.h). */
const SNAP_MAX = 2048;

/** What the slow port has to know about data planes. */
export interface Planes {
  nameOf(index: number): string;
  indexOf(name: string): number | undefined;
  pinger(name: string): PingerSetup | undefined;
  mtu(index: number): number;
}

export class SlowPort implements SlowPath {
  #kernel: Kernel | undefined;
  #tables: Tables | undefined;
  #tap: Tap | undefined;
  #listener: (() => void) | undefined;
  #capture: Ring | undefined;

  constructor(private readonly planes: Planes) {}

  open(kernel: Kernel, tables: Tables, tap: Tap): void {
    this.#kernel = kernel;
    this.#tables = tables;
    this.#tap = tap;
    // An earlier run may have ended within a capture; while one is on, nothing is cached.
    kernel.map("capture").update(0, new Uint8Array(layout.capture.size));
    if (this.#listener) tap.onReadable(this.#listener);
  }

  close(): void {
    this.#endCapture();
    this.#tap?.close();
    this.#tap = this.#tables = this.#kernel = undefined;
  }

  read(): SlowFrame | null {
    for (;;) {
      const octets = this.#tap?.read();
      if (!octets) return null;
      if (octets.length < layout.slowHeader.size) continue;
      const header = layout.slowHeader.decode(octets);
      const op = toUser.get(header.op);
      // What the kernel itself sends out of the device is not for us.
      if (header.protocol !== c.ETH_P_SLOW || op === undefined) continue;
      return {
        op,
        dataplane: this.planes.nameOf(header.port),
        session: header.session,
        epoch: header.epoch,
        sequence: header.sequence,
        reason: header.reason,
        frame: octets.subarray(layout.slowHeader.size),
      };
    }
  }

  write(frame: SlowFrame<SlowFromUser>): boolean {
    if (!this.#tap) return false;
    const header = layout.slowHeader.encode({
      destination: MAC,
      source: MAC,
      protocol: c.ETH_P_SLOW,
      op: fromUser[frame.op],
      port: this.planes.indexOf(frame.dataplane) ?? 0,
      session: frame.session,
      epoch: frame.epoch,
      sequence: frame.sequence,
      reason: frame.reason,
    });
    // The kernel drops what is shorter than an Ethernet frame's minimum header; a release has no frame behind it.
    const octets = new Uint8Array(Math.max(64, header.length + frame.frame.length));
    octets.set(header);
    octets.set(frame.frame, header.length);
    return this.#tap.write(frame.frame.length === 0 ? octets : octets.subarray(0, header.length + frame.frame.length));
  }

  onReadable(listener: () => void): void {
    this.#listener = listener;
    this.#tap?.onReadable(listener);
  }

  /** The session in this slot, if it is that one. */
  #current(index: number, epoch?: number): Tables | undefined {
    const tables = this.#tables;
    if (!tables || index >= tables.capacity) return undefined;
    if (epoch !== undefined && tables.word(index, "epoch") !== epoch) return undefined;
    return tables.inUse(index) ? tables : undefined;
  }

  session(index: number, epoch?: number): SlowSession | undefined {
    const tables = this.#current(index, epoch);
    if (!tables) return undefined;
    const s = tables.session(index);
    const has = (flag: number): boolean => (s.flags & flag) !== 0;
    return {
      index,
      epoch: s.epoch,
      dataplane: this.planes.nameOf(s.dataplane),
      ue: addressText(s.ue),
      hold: has(c.SESSION_HOLD),
      wanted: has(c.SESSION_WANTED),
      moving: has(c.SESSION_MOVING),
      uplink: has(c.SESSION_UPLINK),
      candidate: has(c.SESSION_CANDIDATE),
      downlink: tables.usable(index) !== undefined,
      aside: tables.isAside(s, this.jiffies()),
      held: s.held,
    };
  }

  setAside(index: number, epoch: number, ms: number): boolean {
    const tables = this.#current(index, epoch);
    if (!tables) return false;
    const until = (this.jiffies() + Math.ceil((ms * this.hz) / 1000)) | 0;
    Atomics.store(tables.words, tables.wordAt(index, "aside_until"), until || 1);
    Atomics.and(tables.words, tables.wordAt(index, "flags"), ~(c.SESSION_HOLD | c.SESSION_WANTED));
    this.#kernel?.raiseGeneration(); // what is cached would go on being taken
    return true;
  }

  clearWanted(index: number, epoch: number): boolean {
    const tables = this.#current(index, epoch);
    if (!tables) return false;
    Atomics.and(tables.words, tables.wordAt(index, "flags"), ~c.SESSION_WANTED);
    return true;
  }

  pinger(dataplane: string): PingerSetup | undefined {
    return this.planes.pinger(dataplane);
  }

  room(index: number, epoch: number): { mtu: number; overhead: number } | undefined {
    const tables = this.#current(index, epoch);
    const slot = tables?.usable(index);
    if (!tables || slot === undefined) return undefined;
    return { mtu: this.planes.mtu(tables.word(index, "dataplane")), overhead: tables.bearer(index, slot).overhead };
  }

  jiffies(): number {
    return this.#kernel?.jiffies() ?? 0;
  }

  get hz(): number {
    return this.#kernel?.hz ?? 250;
  }

  capture(filter: CaptureFilter, listener: (packet: CapturedPacket) => void): () => void {
    const kernel = this.#kernel;
    if (!kernel) throw new DataplaneError("the data plane does not run", "capture");
    if (this.#capture) throw new DataplaneError("a capture runs already", "capture");
    // Records carry CLOCK_MONOTONIC.
    const offset = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();
    const ring = new Ring(kernel.map("captured"), (octets) => {
      const record = layout.captureRecord.decode(octets);
      const data = octets.slice(layout.captureRecord.size, layout.captureRecord.size + record.captured);
      listener({
        time: record.time + offset,
        dataplane: this.planes.nameOf(record.dataplane),
        port: record.port,
        verdict: record.verdict,
        service: record.service,
        inner: record.inner !== 0,
        length: record.length,
        data,
      });
    });
    ring.skip();
    ring.start();
    this.#capture = ring;
    const ue = filter.ue === undefined ? new Uint8Array(16) : addressOctets(filter.ue.split("/")[0]!);
    if (!isMapped(ue)) ue.fill(0, 8);
    const settings = layout.capture.encode({
      enabled: (filter.outer ? 1 : 0) | (filter.inner ? 2 : 0),
      snap: Math.min(filter.snap, SNAP_MAX),
      teid: filter.teid ?? 0,
      ue,
    });
    kernel.map("capture").update(0, settings);
    // Nothing is captured of what is decided from the cache.
    kernel.raiseGeneration();
    return () => {
      if (this.#capture === ring) this.#endCapture();
    };
  }

  #endCapture(): void {
    const ring = this.#capture;
    if (!ring || !this.#kernel) return;
    this.#kernel.map("capture").update(0, new Uint8Array(layout.capture.size));
    ring.consume();
    ring.close();
    this.#capture = undefined;
  }
}
