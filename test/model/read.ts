/**
 * How does the model read a frame?
 *
 * Outer part as TS 29.281 §5 has it: what contradicts itself, is not understood, or asks for a receiver's understanding
 * is named, and passes. Inner part as RFC 791 and RFC 8200 have it, with everything refused that no app should see.
 */
import { address, checksum, get16, get32, toHex } from "../packets/bytes.ts";
import type { Address } from "./state.ts";

export interface Packet {
  frame: Uint8Array;
  /** Offsets in the frame: outer IP, GTP-U, T-PDU, inner transport header. */
  l3: number;
  gtp: number;
  inner: number;
  innerLength: number;
  l4: number;
  l4Length: number;
  source: Address;
  destination: Address;
  ue: Address;
  remote: Address;
  teid: number;
  /** Outer VLAN id << 12 | inner VLAN id. */
  link: number;
  sourcePort: number;
  /** The PDU Session Container as replies are to carry it: four or eight octets. */
  psc?: Uint8Array;
  id: string;
  v6: boolean;
  /** 0: neither IPv4 nor IPv6. */
  innerVersion: 0 | 4 | 6;
  flags: number;
  message: number;
  protocol: number;
  uePort: number;
  remotePort: number;
  tcpFlags: number;
  fragment: "none" | "first" | "later";
  dontFragment: boolean;
  dscp: number;
  /** Came without a tunnel: source and destination are stations. */
  ethernet?: boolean;
  /** ICMP, but no echo: its type. */
  icmpOther?: number;
}

export const mapped = (four: Uint8Array): Address => `00000000000000000000ffff${toHex(four)}`;
export const isMapped = (a: Address): boolean => a.startsWith("00000000000000000000ffff");
export const addressOf = (text: string): Address => {
  const bytes = address(text);
  return bytes.length === 4 ? mapped(bytes) : toHex(bytes);
};
/** 4 octets of a mapped address, 16 of any other. */
export const wireAddress = (a: Address): Uint8Array =>
  new Uint8Array(Buffer.from(isMapped(a) ? a.slice(24) : a, "hex"));
export const prefix64 = (a: Address): Address => a.slice(0, 16) + "0".repeat(16);

export function inPrefix(a: Address, prefix: { address: Address; bits: number }): boolean {
  const bits = prefix.bits;
  const whole = Math.floor(bits / 4);
  if (a.slice(0, whole) !== prefix.address.slice(0, whole)) return false;
  const rest = bits % 4;
  if (rest === 0) return true;
  const shift = 4 - rest;
  return Number.parseInt(a[whole] ?? "0", 16) >> shift === Number.parseInt(prefix.address[whole] ?? "0", 16) >> shift;
}

export const isTag = (type: number) => type === 0x8100 || type === 0x88a8;

/** A packet ("gpdu", "control", "fragment": a later outer fragment) or the name it passes with. */
export type Read = { packet: Packet; found: "gpdu" | "control" | "fragment" } | string;

interface Outer {
  udp: number;
  udpLength: number;
}

function readIpv4(p: Packet): Outer | "fragment" | string {
  const { frame, l3 } = p;
  if (frame.length < l3 + 20) return "pass_not_gtpu";
  if (frame[l3 + 9] !== 17 || (frame[l3] ?? 0) >> 4 !== 4) return "pass_not_gtpu";
  if (frame[l3] !== 0x45) return "pass_options";
  p.source = mapped(frame.subarray(l3 + 12, l3 + 16));
  p.destination = mapped(frame.subarray(l3 + 16, l3 + 20));
  const total = get16(frame, l3 + 2);
  const cut = get16(frame, l3 + 6);
  p.id = String(get16(frame, l3 + 4));
  if (cut & 0x1fff) return "fragment";
  if (frame.length < l3 + 36) return "pass_not_gtpu";
  const udp = l3 + 20;
  if (frame.length < udp + 16 || get16(frame, udp + 2) !== 2152) return "pass_not_gtpu";
  const udpLength = get16(frame, udp + 4);
  if (cut & 0x2000) {
    p.fragment = "first";
    return udpLength + 20 <= total ? "pass_malformed" : { udp, udpLength: total - 20 };
  }
  return udpLength + 20 === total ? { udp, udpLength } : "pass_malformed";
}

function readIpv6(p: Packet): Outer | "fragment" | string {
  const { frame, l3 } = p;
  if (frame.length < l3 + 48 || (frame[l3] ?? 0) >> 4 !== 6) return "pass_not_gtpu";
  p.v6 = true;
  p.source = toHex(frame.subarray(l3 + 8, l3 + 24));
  p.destination = toHex(frame.subarray(l3 + 24, l3 + 40));
  const length = get16(frame, l3 + 4);
  const next = frame[l3 + 6];
  if (next === 44) {
    if (frame[l3 + 40] !== 17) return "pass_not_gtpu";
    p.id = String(get32(frame, l3 + 44));
    if (get16(frame, l3 + 42) & 0xfff8) return "fragment";
    p.fragment = "first";
    const udp = l3 + 48;
    if (frame.length < udp + 16 || get16(frame, udp + 2) !== 2152) return "pass_not_gtpu";
    return length < 24 ? "pass_malformed" : { udp, udpLength: length - 8 };
  }
  if (next !== 17) return next === 0 || next === 43 || next === 60 ? "pass_options" : "pass_not_gtpu";
  const udp = l3 + 40;
  if (frame.length < udp + 16 || get16(frame, udp + 2) !== 2152) return "pass_not_gtpu";
  return get16(frame, udp + 4) === length ? { udp, udpLength: length } : "pass_malformed";
}

/** Walks the chain of extension headers. Returns the T-PDU's offset or a name. */
function readExtensions(p: Packet, at: number, end: number, uplink: boolean): number | string {
  const { frame } = p;
  let next = p.flags & 4 ? (frame[at - 1] ?? 0) : 0;
  for (let i = 0; i < 8 && next !== 0; i++) {
    if (at + 4 > frame.length) return "pass_malformed";
    const size = (frame[at] ?? 0) * 4;
    if (size === 0 || at + size > end) return "pass_malformed";
    if (next === 0x85 && p.psc === undefined) p.psc = canonicalPsc(frame.subarray(at, at + 4), uplink);
    else if (next & 0x80) return "pass_extension";
    at += size;
    next = frame[at - 1] ?? 0;
  }
  return next === 0 ? at : "pass_extension";
}

/** TS 38.415 §5.5.2: type, QFI and, downlink only, paging policy are kept; everything else is not the session's. */
function canonicalPsc(four: Uint8Array, uplink: boolean): Uint8Array {
  const type = (four[1] ?? 0) & 0xf0;
  const paging = !uplink && ((four[2] ?? 0) & 0x80) !== 0;
  const second = (four[2] ?? 0) & 0x3f;
  return paging
    ? Uint8Array.of(2, type, second | 0x80, (four[3] ?? 0) & 0xe0, 0, 0, 0, 0)
    : Uint8Array.of(1, type, second, 0);
}

export function readInnerAddresses(p: Packet, uplink: boolean): void {
  const { frame, inner, innerLength } = p;
  const version = (frame[inner] ?? 0) >> 4;
  let from: Address;
  let to: Address;
  if (version === 4 && innerLength >= 20) {
    from = mapped(frame.subarray(inner + 12, inner + 16));
    to = mapped(frame.subarray(inner + 16, inner + 20));
  } else if (version === 6 && innerLength >= 40) {
    from = toHex(frame.subarray(inner + 8, inner + 24));
    to = toHex(frame.subarray(inner + 24, inner + 40));
  } else return;
  p.innerVersion = version === 4 ? 4 : 6;
  p.ue = uplink ? from : to;
  p.remote = uplink ? to : from;
}

export function emptyPacket(frame: Uint8Array): Packet {
  return {
    frame,
    l3: 14,
    gtp: 0,
    inner: 0,
    innerLength: 0,
    l4: 0,
    l4Length: 0,
    source: "",
    destination: "",
    ue: "",
    remote: "",
    teid: 0,
    link: 0,
    sourcePort: 0,
    id: "",
    v6: false,
    innerVersion: 0,
    flags: 0,
    message: 0,
    protocol: 0,
    uePort: 0,
    remotePort: 0,
    tcpFlags: 0,
    fragment: "none",
    dontFragment: false,
    dscp: 0,
  };
}

export function readOuter(frame: Uint8Array, uplink: boolean): Read {
  const p = emptyPacket(frame);
  if (frame.length < 22) return "pass_not_gtpu";
  let type = get16(frame, 12);
  if (isTag(type)) {
    const first = get16(frame, 14) & 0xfff;
    type = get16(frame, 16);
    p.l3 = 18;
    p.link = first << 12;
    if (isTag(type)) {
      p.link |= get16(frame, 18) & 0xfff;
      type = get16(frame, 20);
      p.l3 = 22;
    }
  }
  const outer = type === 0x0800 ? readIpv4(p) : type === 0x86dd ? readIpv6(p) : "pass_not_gtpu";
  if (outer === "fragment") {
    p.fragment = "later";
    return { packet: p, found: "fragment" };
  }
  if (typeof outer === "string") return outer;
  const { udp, udpLength } = outer;
  if (udpLength < 16 || udp + udpLength > frame.length) return "pass_malformed";
  p.sourcePort = get16(frame, udp);
  p.gtp = udp + 8;
  const flags = frame[p.gtp] ?? 0;
  if ((flags & 0xf0) !== 0x30) return "pass_not_gtpu";
  p.flags = flags & 7;
  p.message = frame[p.gtp + 1] ?? 0;
  p.teid = get32(frame, p.gtp + 4);
  if (p.message !== 255) return p.fragment === "first" ? "pass_gtpu_control" : { packet: p, found: "control" };
  if (p.fragment === "none" && get16(frame, p.gtp + 2) !== udpLength - 16) return "pass_malformed";
  const end = udp + udpLength;
  let inner: number | string = p.gtp + 8;
  if (p.flags) {
    if (inner + 4 > end) return "pass_malformed";
    inner = readExtensions(p, inner + 4, end, uplink);
  }
  if (typeof inner === "string") return inner;
  p.inner = inner;
  p.innerLength = end - inner;
  readInnerAddresses(p, uplink);
  return { packet: p, found: "gpdu" };
}

/** Completes the packet from its inner IP header at `p.inner`; false when no app should see it. */
export function readInner(p: Packet, uplink: boolean): boolean {
  const { frame, inner, innerLength } = p;
  p.fragment = "none";
  let at = inner;
  if (p.innerVersion === 4) {
    if (frame[inner] !== 0x45) return false;
    if (get16(frame, inner + 2) !== innerLength || (frame[inner + 8] ?? 0) < 2) return false;
    if (checksum(frame.subarray(inner, inner + 20)) !== 0) return false;
    const cut = get16(frame, inner + 6);
    p.dontFragment = (cut & 0x4000) !== 0;
    p.id = String(get16(frame, inner + 4));
    if (cut & 0x3fff) p.fragment = cut & 0x1fff ? "later" : "first";
    p.protocol = frame[inner + 9] ?? 0;
    p.dscp = (frame[inner + 1] ?? 0) >> 2;
    at = inner + 20;
  } else if (p.innerVersion === 6) {
    if (get16(frame, inner + 4) + 40 !== innerLength || (frame[inner + 7] ?? 0) < 2) return false;
    p.dontFragment = true;
    p.protocol = frame[inner + 6] ?? 0;
    p.dscp = (get16(frame, inner) >> 6) & 0x3f;
    at = inner + 40;
    if (p.protocol === 44) {
      if (innerLength < 48) return false;
      p.protocol = frame[at] ?? 0;
      p.id = String(get32(frame, at + 4));
      p.fragment = get16(frame, at + 2) & 0xfff8 ? "later" : "first";
      at += 8;
    }
  } else return false;
  p.l4 = at;
  p.l4Length = inner + innerLength - at;
  if (p.innerVersion === 4 ? p.protocol === 58 : p.protocol === 1) return false;
  return p.fragment === "later" || readTransport(p, uplink);
}

function readTransport(p: Packet, uplink: boolean): boolean {
  const { frame, l4, l4Length } = p;
  if (l4Length < 8) return false;
  const ports = () => {
    const first = get16(frame, l4);
    const second = get16(frame, l4 + 2);
    p.uePort = uplink ? first : second;
    p.remotePort = uplink ? second : first;
    return true;
  };
  if (p.protocol === 6) {
    if (l4Length < 20) return false;
    const header = ((frame[l4 + 12] ?? 0) >> 4) * 4;
    if (header < 20 || (header > l4Length && p.fragment === "none")) return false;
    p.tcpFlags = frame[l4 + 13] ?? 0;
    return ports();
  }
  if (p.protocol === 17) {
    const length = get16(frame, l4 + 4);
    if (p.fragment === "none" ? length !== l4Length : length < 8) return false;
    return ports();
  }
  if (p.protocol === 1 || p.protocol === 58) {
    const type = frame[l4] ?? 0;
    const echo = p.protocol === 1 ? type === 8 || type === 0 : type === 128 || type === 129;
    if (echo) p.uePort = p.remotePort = get16(frame, l4 + 4);
    else p.icmpOther = type;
  }
  return true;
}
