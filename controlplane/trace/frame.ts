/**
 * What is in a frame, as the programs read it (docs/packet-path.md, "Reading a frame", "Fit to be taken")?
 *
 * A second reader beside bpf/packet.h, for `trace`: Ethernet, at most two VLAN tags, IPv4 or IPv6, UDP, GTP-U with its
 * optional octets and extension chain (TS 29.281 §5.1, §5.2), and the inner packet. Where it stops it says why, and under
 * which counters such a frame may end. Every length is checked before it is used.
 */
import { formatAddress } from "../intents/prefix.ts";
import { readQuestion } from "./question.ts";

/** An inner packet, as it lies on the wire. */
export interface PacketFields {
  source: string;
  destination: string;
  protocol: number;
  /** TCP and UDP only. */
  sourcePort?: number;
  destinationPort?: number;
  dscp?: number;
  /** Identifier of an ICMP echo. */
  echo?: number;
  /** The name that a query asks for, in lower case. */
  question?: string;
  /** Letters of FSRPAU that are set. */
  tcpFlags?: string;
  fragment?: "first" | "later";
  /** ICMP other than echo: belongs to the flow of what it quotes, or to none. */
  error?: boolean;
  /** Why no app should see it. */
  unfit?: string;
}

export interface Tunnel {
  teid: number;
  source: string;
  destination: string;
  vlans: number[];
  /** Of the PDU Session Container, where there is one (TS 38.415). */
  qfi?: number;
  /** The outer IPv4 header checksum is wrong: it passes, and teaches nothing. */
  unsound?: true;
}

export interface Link {
  sourceMac: string;
  destinationMac: string;
  vlans: number[];
}

export interface Stop {
  stopped: string;
  /** Names of the counters that such a frame may end under. */
  counters: string[];
  link?: Link;
  /** GTP-U signalling: its message type. */
  message?: number;
  tunnel?: Tunnel;
}

export type Decoded = { link?: Link; tunnel?: Tunnel; inner: PacketFields } | Stop;

interface Ip extends PacketFields {
  payload: DataView;
  header: number;
  options: boolean;
}

const slice = (view: DataView, from: number, length = view.byteLength - from): DataView =>
  new DataView(view.buffer, view.byteOffset + from, length);

function address(view: DataView, offset: number, family: 4 | 6): string {
  if (family === 4) return formatAddress({ family, value: BigInt(view.getUint32(offset)) });
  return formatAddress({ family, value: (view.getBigUint64(offset) << 64n) | view.getBigUint64(offset + 8) });
}

const sum = (view: DataView, octets: number): number => {
  let total = 0;
  for (let at = 0; at < octets; at += 2) total += view.getUint16(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
};

function readIp(view: DataView): Ip | string {
  const version = view.byteLength > 0 ? view.getUint8(0) >> 4 : 0;
  if (version === 4) {
    if (view.byteLength < 20) return "an IPv4 header that is cut off";
    const header = (view.getUint8(0) & 15) * 4;
    const total = view.getUint16(2);
    if (header < 20 || total < header || total > view.byteLength)
      return "an IPv4 header whose lengths contradict each other";
    const part = view.getUint16(6) & 0x3fff;
    return {
      source: address(view, 12, 4),
      destination: address(view, 16, 4),
      protocol: view.getUint8(9),
      dscp: view.getUint8(1) >> 2,
      ...(part && { fragment: part & 0x1fff ? "later" : "first" }),
      payload: slice(view, header, total - header),
      header,
      options: header > 20,
    };
  }
  if (version === 6) {
    if (view.byteLength < 40) return "an IPv6 header that is cut off";
    const length = view.getUint16(4);
    if (length + 40 > view.byteLength) return "an IPv6 header whose length is too large";
    const ends = {
      source: address(view, 8, 6),
      destination: address(view, 24, 6),
      dscp: (view.getUint16(0) >> 6) & 0x3f,
      header: 40,
      options: false,
    };
    const next = view.getUint8(6);
    if (next !== 44 || length < 8) return { ...ends, protocol: next, payload: slice(view, 40, length) };
    const later = (view.getUint16(42) & 0xfff8) !== 0;
    return {
      ...ends,
      protocol: view.getUint8(40),
      fragment: later ? "later" : "first",
      payload: slice(view, 48, length - 8),
    };
  }
  return "neither IPv4 nor IPv6";
}

const letters = "FSRPAU";

/** "Fit to be taken", beyond addresses and protocol. */
function transport({ payload, protocol, fragment }: Ip): Partial<PacketFields> {
  const length = payload.byteLength;
  if (fragment === "later") return {};
  if (length < 8) return { unfit: "less than eight octets of transport header" };
  const ports = { sourcePort: payload.getUint16(0), destinationPort: payload.getUint16(2) };
  if (protocol === 6) {
    if (length < 20) return { ...ports, unfit: "a TCP header that is cut off" };
    const header = (payload.getUint8(12) >> 4) * 4;
    const flags = payload.getUint8(13);
    const tcpFlags = [...letters].filter((_, bit) => flags & (1 << bit)).join("");
    const wrong = header < 20 || (header > length && fragment === undefined);
    return { ...ports, tcpFlags, ...(wrong && { unfit: "a TCP data offset outside of the packet" }) };
  }
  if (protocol === 17) {
    const stated = payload.getUint16(4);
    const wrong = fragment ? stated < 8 : stated !== length;
    const question = ports.destinationPort === 53 && !fragment ? readQuestion(slice(payload, 8)) : undefined;
    return {
      ...ports,
      ...(question !== undefined && { question }),
      ...(wrong && { unfit: "a UDP length that is not the packet's" }),
    };
  }
  if (protocol === 1 || protocol === 58) {
    const type = payload.getUint8(0);
    const echo = protocol === 1 ? type === 0 || type === 8 : type === 128 || type === 129;
    return echo ? { echo: payload.getUint16(4) } : { error: true };
  }
  return {};
}

/** A T-PDU, or a packet of an app. Its addresses are read even where its lengths are wrong. */
function readPacket(view: DataView): PacketFields | string {
  const version = view.byteLength > 0 ? view.getUint8(0) >> 4 : 0;
  if (version !== 4 && version !== 6) return "neither IPv4 nor IPv6";
  const v4 = version === 4;
  const size = v4 ? 20 : 40;
  if (view.byteLength < size) return `an IPv${version} header that is cut off`;
  const stated = v4 ? view.getUint16(2) : view.getUint16(4) + 40;
  const plain = v4 ? view.getUint8(0) === 0x45 : true;
  const wrong = !plain
    ? "IPv4 options, or a header length that is impossible"
    : stated !== view.byteLength
      ? "a length that is not the packet's"
      : v4 && sum(view, 20) !== 0xffff
        ? "a wrong IPv4 header checksum"
        : undefined;
  const lifetime = view.getUint8(v4 ? 8 : 7);
  const mortal = lifetime < 2 ? `a ${v4 ? "TTL" : "hop limit"} of ${lifetime}` : undefined;
  const ip = wrong ? "" : readIp(view);
  if (typeof ip === "string") {
    const ends = v4 ? [address(view, 12, 4), address(view, 16, 4)] : [address(view, 8, 6), address(view, 24, 6)];
    const protocol = view.getUint8(v4 ? 9 : 6);
    return { source: ends[0]!, destination: ends[1]!, protocol, ...guessed(view, size, protocol), unfit: wrong ?? ip };
  }
  const { payload: _, header: __, options: ___, ...packet } = ip;
  const more = transport(ip);
  const family = packet.protocol === (v4 ? 58 : 1) ? "ICMP of the other family" : undefined;
  const unfit = mortal ?? family ?? more.unfit;
  return { ...packet, ...more, ...(unfit && { unfit }) };
}

/** Where the ports of an unfit packet would be: what goes to a protected prefix is named by them. */
function guessed(view: DataView, at: number, protocol: number): Partial<PacketFields> {
  if (protocol !== 17 || view.byteLength < at + 4) return {};
  return { sourcePort: view.getUint16(at), destinationPort: view.getUint16(at + 2) };
}

/** The T-PDU behind a GTP-U header. `end`: octets of the GTP-U message. */
function readGtpu(udp: DataView): { teid: number; qfi?: number; payload: DataView } | Omit<Stop, "link"> {
  const stop = (stopped: string, ...counters: string[]) => ({ stopped, counters });
  if (udp.byteLength < 8) return stop("GTP-U that is cut off", "pass_malformed", "pass_not_gtpu");
  const flags = udp.getUint8(0);
  if (flags >> 5 !== 1 || !(flags & 0x10)) return stop("GTP of another version, or GTP′", "pass_not_gtpu");
  const type = udp.getUint8(1);
  if (type !== 255) {
    const counters = ["pass_gtpu_control"];
    if (type === 26) counters.unshift("pass_error_indication", "drop_error_indication");
    return { stopped: `GTP-U signalling, message type ${type}`, counters, message: type };
  }
  const length = udp.getUint16(2);
  if (length + 8 > udp.byteLength) return stop("GTP-U whose length is too large", "pass_malformed");
  if (length + 8 < udp.byteLength) return stop("GTP-U whose length is too small", "pass_malformed");
  const end = length + 8;
  let at = 8;
  let qfi: number | undefined;
  if (flags & 7) {
    if (end < 12) return stop("GTP-U that lacks its optional octets", "pass_malformed");
    at = 12;
    let next = flags & 4 ? udp.getUint8(11) : 0;
    for (let count = 0; next !== 0; count += 1) {
      if (count === 8) return stop("more than eight extension headers", "pass_extension");
      if (at >= end) return stop("an extension header that is cut off", "pass_malformed");
      const size = udp.getUint8(at) * 4;
      if (size === 0 || at + size > end) {
        return stop("an extension header with an impossible length", "pass_malformed");
      }
      if (next === 0x85 && qfi === undefined) qfi = udp.getUint8(at + 2) & 0x3f;
      else if (next >= 0x80) {
        const which = `extension header 0x${next.toString(16)}`;
        return stop(`${which}, which only its receiver may interpret`, "pass_extension");
      }
      next = udp.getUint8(at + size - 1);
      at += size;
    }
  }
  return { teid: udp.getUint32(4), ...(qfi !== undefined && { qfi }), payload: slice(udp, at, end - at) };
}

const macOf = (view: DataView, at: number): string =>
  Array.from({ length: 6 }, (_, i) =>
    view
      .getUint8(at + i)
      .toString(16)
      .padStart(2, "0"),
  ).join(":");

/** What is in an Ethernet frame behind its tags, and of which type. */
function readLink(view: DataView): { link: Link; type: number; payload: DataView } | string {
  const vlans: number[] = [];
  if (view.byteLength < 14) return "a frame that is cut off";
  let at = 12;
  while ([0x8100, 0x88a8].includes(view.getUint16(at)) && vlans.length < 2) {
    if (view.byteLength < at + 6) return "a VLAN tag that is cut off";
    vlans.push(view.getUint16(at + 2) & 0xfff);
    at += 4;
  }
  const link = { sourceMac: macOf(view, 6), destinationMac: macOf(view, 0), vlans };
  return { link, type: view.getUint16(at), payload: slice(view, at + 2) };
}

const over = (octets: Uint8Array): DataView => new DataView(octets.buffer, octets.byteOffset, octets.byteLength);

/** A packet that was captured without link layer and tunnel. Never throws. */
export function decodePacket(packet: Uint8Array): Decoded {
  const inner = readPacket(over(packet));
  return typeof inner === "string" ? { stopped: inner, counters: ["pass_no_rule", "drop_reply_malformed"] } : { inner };
}

/** Ethernet and IP, without a tunnel: of an app, or of an Ethernet data plane. Never throws. */
export function decodePlain(frame: Uint8Array): Decoded {
  const read = readLink(over(frame));
  if (typeof read === "string") return { stopped: read, counters: ["drop_not_ip", "pass_not_ip"] };
  const { link, type, payload } = read;
  const not = `not IP: Ethernet type 0x${type.toString(16).padStart(4, "0")}`;
  if (type !== 0x0800 && type !== 0x86dd) return { stopped: not, counters: ["drop_not_ip", "pass_not_ip"], link };
  // What lies behind the packet is padding.
  const stated = payload.byteLength < 6 ? 0 : type === 0x0800 ? payload.getUint16(2) : payload.getUint16(4) + 40;
  const inner = readPacket(slice(payload, 0, Math.min(stated, payload.byteLength)));
  const counters = ["drop_reply_malformed", "drop_not_ip", "pass_malformed", "pass_inner_malformed"];
  return typeof inner === "string" ? { stopped: inner, counters, link } : { link, inner };
}

/** What a frame to or from a function of a chain carries: VXLAN (RFC 7348), or NSH in VXLAN-GPE (RFC 8300). */
export function decodeFunction(frame: Uint8Array): { address: string; vni: number; inner: PacketFields } | undefined {
  const read = readLink(over(frame));
  if (typeof read === "string" || (read.type !== 0x0800 && read.type !== 0x86dd)) return undefined;
  const outer = readIp(read.payload);
  if (typeof outer === "string" || outer.protocol !== 17 || outer.fragment) return undefined;
  const port = outer.payload.byteLength < 24 ? 0 : outer.payload.getUint16(2);
  if (port !== 4789 && port !== 4790) return undefined;
  const vni = outer.payload.getUint32(12) >>> 8;
  const behind = slice(outer.payload, 16);
  const nsh = port === 4790 ? (behind.getUint8(1) & 0x3f) * 4 : 0;
  if (nsh > behind.byteLength) return undefined;
  const inside = port === 4790 ? slice(behind, nsh) : readLink(behind);
  if (typeof inside === "string") return undefined;
  const inner = readPacket("payload" in inside ? inside.payload : inside);
  return typeof inner === "string" ? undefined : { address: outer.destination, vni, inner };
}

/** A frame of a GTP-U wire. Never throws. */
export function decodeFrame(frame: Uint8Array): Decoded {
  const read = readLink(over(frame));
  if (typeof read === "string") return { stopped: read, counters: ["pass_not_gtpu"] };
  const { link, type, payload } = read;
  const stop = (stopped: string, ...counters: string[]): Stop => ({ stopped, counters, link });
  if (type !== 0x0800 && type !== 0x86dd) {
    return stop(`not IP: Ethernet type 0x${type.toString(16).padStart(4, "0")}`, "pass_not_gtpu");
  }
  const outer = readIp(payload);
  if (typeof outer === "string") return stop(outer, "pass_not_gtpu", "pass_malformed", "pass_options");
  if (type === 0x86dd && [0, 43, 60].includes(outer.protocol)) {
    return stop("IPv6 extension headers", "pass_options");
  }
  if (outer.protocol !== 17) return stop("not GTP-U: not UDP to port 2152", "pass_not_gtpu");
  if (outer.options) return stop("IPv4 options", "pass_options");
  if (outer.fragment === "later") {
    return stop("an outer fragment that is not the first", "pass_outer_fragment", "slow_fragment");
  }
  if (outer.payload.byteLength < 8 || outer.payload.getUint16(2) !== 2152) {
    return stop("not GTP-U: not UDP to port 2152", "pass_not_gtpu", "pass_malformed");
  }
  if (outer.fragment) return stop("an outer fragment", "pass_outer_fragment", "slow_fragment", "pass_malformed");
  if (outer.payload.byteLength < 16) return stop("shorter than GTP-U", "pass_not_gtpu", "pass_malformed");
  if (outer.payload.getUint16(4) !== outer.payload.byteLength) {
    return stop("a UDP length that is not the packet's", "pass_malformed");
  }
  const gtpu = readGtpu(slice(outer.payload, 8));
  const { source, destination } = outer;
  if ("stopped" in gtpu) {
    const teid = outer.payload.byteLength >= 16 ? outer.payload.getUint32(12) : 0;
    return { ...gtpu, link, tunnel: { teid, source, destination, vlans: link.vlans } };
  }
  const { teid, qfi } = gtpu;
  const unsound = type === 0x0800 && sum(payload, 20) !== 0xffff;
  const tunnel: Tunnel = {
    teid,
    source,
    destination,
    vlans: link.vlans,
    ...(qfi !== undefined && { qfi }),
    ...(unsound && { unsound }),
  };
  const inner = readPacket(gtpu.payload);
  if (typeof inner === "string") {
    const counters = ["pass_no_rule", "pass_downlink", "pass_inner_malformed", "pass_unproven", "pass_not_own_source"];
    return { stopped: `inside the tunnel: ${inner}`, counters: [...counters, "pass_peer_refused"], link, tunnel };
  }
  return { link, tunnel, inner };
}
