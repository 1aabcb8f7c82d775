/**
 * When is a packet that arrived in outer fragments whole again?
 *
 * IPv4: RFC 791 §3.2, RFC 815. IPv6: RFC 8200 §4.5, RFC 5722 (overlap discards the whole packet, for IPv4 here as
 * well), RFC 6946 (a fragment that is the whole packet stands alone). Fragments belong together by data plane, tags,
 * source, destination, identification and, for IPv4, protocol. Bounded in packets, octets and time: what exceeds the
 * bound evicts the oldest. What cannot be put together is handed out again as it came, with the reason: the caller
 * drops it when a rule may take it, and passes it on when it is nobody's.
 *
 *   first fragment   | Ethernet, tags | IP header (IPv6: …, fragment header) | payload 0..n   |
 *   later fragments                                                          | payload n..end |
 *   result           | Ethernet, tags | IP header, fragment fields cleared   | payload 0..end |
 */
import { concat, ETHERTYPE_IPV4, ETHERTYPE_IPV6, equal, linkHeader, mendIpv4Checksum, put16, u16 } from "./octets.ts";

export interface ReassemblyLimits {
  /** Packets that may be incomplete at one time, and octets of their fragments. */
  packets: number;
  octets: number;
  /** From the first fragment that arrived, milliseconds. */
  timeoutMs: number;
}

export const reassemblyLimits: ReassemblyLimits = { packets: 1024, octets: 8 << 20, timeoutMs: 2000 };

export type Reassembly =
  | { result: "complete"; frame: Uint8Array; fragments: Uint8Array[] }
  | { result: "waiting" }
  /** See `discarded()`. */
  | { result: "discarded" };

/** Fragments that will never be a packet. After `overlap` and `malformed` those still to come go the same way. */
export interface Discarded {
  reason: "timeout" | "full" | "overlap" | "malformed";
  link: string;
  /** The data plane said of one of them that a rule may take it. */
  taken: boolean;
  fragments: Uint8Array[];
}

interface Piece {
  from: number;
  to: number;
  frame: Uint8Array;
  payload: Uint8Array;
}

interface Packet {
  deadline: number;
  octets: number;
  /** Ordered by `from`, never overlapping. */
  pieces: Piece[];
  /** Length of the payload, once the last fragment has come. */
  end?: number;
  /** Its fragments contradict each other: everything of this packet is discarded until the deadline. */
  spoilt?: "overlap" | "malformed";
  link: string;
  taken: boolean;
  headroom: number;
}

interface Parsed {
  key: string;
  from: number;
  to: number;
  more: boolean;
  payload: Uint8Array;
  fragment: boolean;
  /** Octets of IP header that the whole packet's length field counts: all of it in IPv4, extensions in IPv6. */
  headroom: number;
}

export class Reassembler {
  private readonly packets = new Map<string, Packet>();
  private octets = 0;
  private gone: Discarded[] = [];

  constructor(private readonly limits: ReassemblyLimits = reassemblyLimits) {}

  get size(): number {
    return this.packets.size;
  }

  /**
   * Takes one frame, which must not change afterwards. `link` names the data plane, `now` is in milliseconds, `taken`:
   * a rule may take the packet.
   */
  accept(frame: Uint8Array, link: string, now: number, taken: boolean): Reassembly {
    const parsed = parse(frame, link);
    if (!parsed?.fragment) return this.discard({ reason: "malformed", link, taken, fragments: [frame] });
    // RFC 6946: what is both first and last needs no other.
    if (parsed.from === 0 && !parsed.more) {
      return { result: "complete", frame: join(frame, [parsed.payload]), fragments: [frame] };
    }

    let packet = this.packets.get(parsed.key);
    if (!packet) {
      const deadline = now + this.limits.timeoutMs;
      packet = { deadline, octets: 0, pieces: [], link, taken, headroom: 0 };
      this.packets.set(parsed.key, packet);
    }
    packet.taken ||= taken;
    const reason = packet.spoilt ?? place(packet, frame, parsed);
    if (reason === "duplicate") return { result: "waiting" };
    if (reason) {
      const fragments = [...packet.pieces.map((piece) => piece.frame), frame];
      this.octets -= packet.octets;
      packet.octets = 0;
      packet.pieces = [];
      packet.spoilt = reason;
      return this.discard({ reason, link, taken: packet.taken, fragments });
    }
    packet.octets += frame.length;
    this.octets += frame.length;
    if (complete(packet)) {
      this.remove(parsed.key, packet);
      const fragments = packet.pieces.map((piece) => piece.frame);
      const payloads = packet.pieces.map((piece) => piece.payload);
      return { result: "complete", frame: join(fragments[0] ?? frame, payloads), fragments };
    }
    for (const [key, oldest] of this.packets) {
      if (this.packets.size <= this.limits.packets && this.octets <= this.limits.octets) break;
      this.giveUp(key, oldest, "full");
    }
    return { result: "waiting" };
  }

  /** Gives up what was not complete in time. */
  expire(now: number): void {
    for (const [key, packet] of this.packets) {
      if (packet.deadline > now) break; // all have the same time to live: the map is ordered by deadline
      this.giveUp(key, packet, "timeout");
    }
  }

  /** What was given up since the last call. */
  discarded(): Discarded[] {
    const { gone } = this;
    if (gone.length > 0) this.gone = [];
    return gone;
  }

  /** When `expire` has something to do; undefined when nothing waits. */
  next(): number | undefined {
    for (const packet of this.packets.values()) return packet.deadline;
    return undefined;
  }

  private discard(what: Discarded): Reassembly {
    this.gone.push(what);
    return { result: "discarded" };
  }

  private giveUp(key: string, packet: Packet, reason: "timeout" | "full"): void {
    this.remove(key, packet);
    const { link, taken } = packet;
    if (!packet.spoilt) this.gone.push({ reason, link, taken, fragments: packet.pieces.map((piece) => piece.frame) });
  }

  private remove(key: string, packet: Packet): void {
    this.packets.delete(key);
    this.octets -= packet.octets;
  }
}

/** Puts a fragment into its packet; says why it cannot be. */
function place(packet: Packet, frame: Uint8Array, parsed: Parsed): "overlap" | "malformed" | "duplicate" | undefined {
  const { from, to, more, payload } = parsed;
  if (from === to || (more && (to - from) % 8 !== 0)) return "malformed";
  if (from === 0) packet.headroom = parsed.headroom;
  const furthest = Math.max(to, packet.pieces.at(-1)?.to ?? 0);
  if (furthest + packet.headroom > 0xffff) return "malformed";
  let at = packet.pieces.length;
  while (at > 0 && (packet.pieces[at - 1] as Piece).from >= from) at--;
  const next = packet.pieces[at];
  if (next && next.from === from && next.to === to && equal(next.payload, payload)) return "duplicate";
  if (next && next.from < to) return "overlap";
  const before = packet.pieces[at - 1];
  if (before && before.to > from) return "overlap";
  if (!more) {
    if (packet.end !== undefined || packet.pieces.some((piece) => piece.to > to)) return "malformed";
    packet.end = to;
  } else if (packet.end !== undefined && to >= packet.end) return "malformed";
  packet.pieces.splice(at, 0, { from, to, frame, payload });
  return undefined;
}

function complete(packet: Packet): boolean {
  if (packet.end === undefined) return false;
  let at = 0;
  for (const piece of packet.pieces) {
    if (piece.from !== at) return false;
    at = piece.to;
  }
  return at === packet.end;
}

function parse(frame: Uint8Array, link: string): Parsed | undefined {
  const header = linkHeader(frame);
  if (!header) return undefined;
  const tags = text(frame, 12, header.length);
  if (header.type === ETHERTYPE_IPV4) return parseIpv4(frame, header.length, `${link} ${tags}`);
  if (header.type === ETHERTYPE_IPV6) return parseIpv6(frame, header.length, `${link} ${tags}`);
  return undefined;
}

const text = (octets: Uint8Array, from: number, to: number): string =>
  Buffer.from(octets.buffer, octets.byteOffset + from, to - from).toString("latin1");

function parseIpv4(frame: Uint8Array, at: number, prefix: string): Parsed | undefined {
  if (frame.length < at + 20) return undefined;
  const headerLength = ((frame[at] ?? 0) & 0x0f) * 4;
  const total = u16(frame, at + 2);
  if ((frame[at] ?? 0) >> 4 !== 4 || headerLength < 20 || total < headerLength || frame.length < at + total) {
    return undefined;
  }
  const word = u16(frame, at + 6);
  const from = (word & 0x1fff) * 8;
  return {
    key: `${prefix} 4 ${text(frame, at + 12, at + 20)}${text(frame, at + 4, at + 6)}${frame[at + 9]}`,
    from,
    to: from + total - headerLength,
    more: (word & 0x2000) !== 0,
    payload: frame.subarray(at + headerLength, at + total),
    fragment: (word & 0x3fff) !== 0,
    headroom: headerLength,
  };
}

function parseIpv6(frame: Uint8Array, at: number, prefix: string): Parsed | undefined {
  if (frame.length < at + 40) return undefined;
  const end = at + 40 + u16(frame, at + 4);
  if ((frame[at] ?? 0) >> 4 !== 6 || frame.length < end) return undefined;
  const fragment = fragmentHeader(frame, at, end);
  if (!fragment) {
    return { key: `${prefix} 6`, from: 0, to: 0, more: false, payload: frame, fragment: false, headroom: 0 };
  }
  const word = u16(frame, fragment.at + 2);
  const payload = frame.subarray(fragment.at + 8, end);
  return {
    key: `${prefix} 6 ${text(frame, at + 8, at + 40)}${text(frame, fragment.at + 4, fragment.at + 8)}`,
    from: word & 0xfff8,
    to: (word & 0xfff8) + payload.length,
    more: (word & 1) !== 0,
    payload,
    fragment: true,
    headroom: fragment.at - at - 40,
  };
}

/** Walks hop-by-hop, routing and destination options. `nextAt` is the octet that names the fragment header. */
function fragmentHeader(frame: Uint8Array, ip: number, end: number): { at: number; nextAt: number } | undefined {
  let nextAt = ip + 6;
  let at = ip + 40;
  for (let headers = 0; headers < 8; headers++) {
    const type = frame[nextAt] ?? 59;
    if (type === 44) return at + 8 <= end ? { at, nextAt } : undefined;
    if ((type !== 0 && type !== 43 && type !== 60) || at + 8 > end) return undefined;
    nextAt = at;
    at += ((frame[at + 1] ?? 0) + 1) * 8;
  }
  return undefined;
}

/** The packet as it was before it was cut: the first fragment's headers, and everybody's payload. */
function join(first: Uint8Array, payloads: Uint8Array[]): Uint8Array {
  const at = linkHeader(first)?.length ?? 14;
  const payload = concat(payloads);
  if ((first[at] ?? 0) >> 4 === 4) {
    const headerLength = ((first[at] ?? 0) & 0x0f) * 4;
    const out = concat([first.subarray(0, at + headerLength), payload]);
    put16(out, at + 2, headerLength + payload.length);
    put16(out, at + 6, u16(out, at + 6) & 0xc000);
    mendIpv4Checksum(out, at, headerLength);
    return out;
  }
  const fragment = fragmentHeader(first, at, first.length);
  if (!fragment) return first;
  const out = concat([first.subarray(0, fragment.at), payload]);
  out[fragment.nextAt] = first[fragment.at] ?? 59;
  put16(out, at + 4, out.length - at - 40);
  return out;
}
