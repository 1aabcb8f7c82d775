/**
 * What does the data plane hand to the control plane packet by packet, and what does it take back?
 *
 * Few packets leave the kernel: replies that wait for a UE's downlink, outer fragments, inner fragments that came before
 * their first, replies that are too big for the tunnel. They come and go over one port with a header before each frame
 * that says why (`op`), for which session and in which order. The pinger's echo requests go out of a device of their own:
 * a plain IP packet with the UE's address as source, sent into `PingerSetup.device`, is put into that UE's uplink tunnel.
 *
 *   program ──hold, fragment, too-big──▶ read() ─▶ control plane ─▶ write() ──reply, release, reassembled, wire──▶ program
 *
 * A frame is an Ethernet frame; for `hold` and `too-big` as the apps' side sent it, for the others as it was on the wire.
 */

/** To the control plane. */
export type SlowToUser =
  /** An app's reply whose downlink is unknown. `sequence` counts them within one hold. */
  | "hold"
  /** An outer fragment from the access side, whole frame. */
  | "fragment"
  /** A reply to be fragmented before it is encapsulated (IPv4, DF clear). */
  | "too-big"
  /** An inner fragment that came before the first one, whole frame with its tunnel. */
  | "inner-fragment";

/** From the control plane. */
export type SlowFromUser =
  /** An app's reply, now, ahead of those that are held (also: one fragment of a `too-big` one). */
  | "reply"
  /** Ends the hold of `session` if `sequence` replies were all. The frame is empty. */
  | "release"
  /** A whole frame as if it had come from the access side of `dataplane`. */
  | "reassembled"
  /** Pass this frame to the core side of `dataplane`, untouched. */
  | "wire";

export interface SlowFrame<Op = SlowToUser> {
  op: Op;
  /** Name of the data plane; "" where it does not matter or is not known (any more). */
  dataplane: string;
  /** Index and epoch of the session; 0 where none is meant. */
  session: number;
  epoch: number;
  sequence: number;
  reason: number;
  /** The Ethernet frame behind the header. From `read()` it is the reader's own copy. */
  frame: Uint8Array;
}

/** What one data plane's pinger works with. */
export interface PingerSetup {
  dataplane: string;
  /** Network device into which echo requests are sent (SO_BINDTODEVICE); the MAC address to send to is any. */
  device: string;
  /** First eight octets of the echo request's payload, as on the wire: the answer is recognised by them. */
  cookie: Uint8Array;
  /** Identifier of the echo request (a number 0..65535, big endian on the wire). */
  id: number;
  target?: string;
  target6?: string;
  intervalMs: number;
  giveUpMs: number;
}

/** A session as the slow path sees it: enough to go on or stop. */
export interface SlowSession {
  index: number;
  epoch: number;
  dataplane: string;
  /** `10.45.0.2`, or the /64's first address `2001:db8:1::`. */
  ue: string;
  /** Replies go to the slow port at the moment. */
  hold: boolean;
  /** Something was taken for this UE and its downlink is not known. */
  wanted: boolean;
  moving: boolean;
  /** An uplink tunnel is proven. */
  uplink: boolean;
  /** An unproven uplink tunnel claims its address: a ping may prove it. */
  candidate: boolean;
  /** Some downlink bearer is live. */
  downlink: boolean;
  /** Nothing new is taken at the moment: the pinger gave up. */
  aside: boolean;
  /** Replies redirected to the slow port since the hold began. */
  held: number;
}

export interface CaptureFilter {
  outer: boolean;
  inner: boolean;
  /** Octets of each packet, 1..65535. */
  snap: number;
  /** Absent: any. */
  teid?: number;
  ue?: string;
}

export interface CapturedPacket {
  /** Nanoseconds since the epoch. */
  time: bigint;
  dataplane: string;
  /** Index of the egress port, verdict (index into `counters`) and service as the program filled them. */
  port: number;
  verdict: number;
  service: number;
  inner: boolean;
  /** Octets on the wire; `data` may be shorter. */
  length: number;
  data: Uint8Array;
}

export interface SlowPath {
  /** The next frame, or null when there is none at the moment. Never blocks. */
  read(): SlowFrame | null;
  /** False when the port did not take it (down, or its queue is full). */
  write(frame: SlowFrame<SlowFromUser>): boolean;
  /** Called when frames wait; read until null. One listener. */
  onReadable(listener: () => void): void;
  /** Undefined when the slot is free or belongs to another by now. Without `epoch` whoever has the slot. */
  session(index: number, epoch?: number): SlowSession | undefined;
  /**
   * The pinger gave up: takes nothing new for this UE during `ms` milliseconds and ends its hold; what nobody can answer
   * passes from now on. Replies that are held are the caller's to drop. False when the session is gone.
   */
  setAside(index: number, epoch: number, ms: number): boolean;
  /** Ends the state "wanted" (the control plane has given up or is done), so that the next reply raises it anew. */
  clearWanted(index: number, epoch: number): boolean;
  pinger(dataplane: string): PingerSetup | undefined;
  /** MTU of the access adapter and what `session`'s downlink adds, for fragmenting; undefined when it has none. */
  room(index: number, epoch: number): { mtu: number; overhead: number } | undefined;
  /** The kernel's clock in the maps: jiffies64 truncated to 32 bits, and how many of them are a second. */
  jiffies(): number;
  readonly hz: number;
  /** Starts copying what the filter meets; one capture at a time. Returns how to end it. @throws DataplaneError when one runs. */
  capture(filter: CaptureFilter, listener: (packet: CapturedPacket) => void): () => void;
}
