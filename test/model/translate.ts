/**
 * How does a packet change between tunnel and app?
 *
 * Written the plain way: old octets out, new octets in, and every checksum that covers them is updated by the difference
 * (RFC 1624), so that what was wrong stays wrong.
 */
import { concat, get16, u16 } from "../packets/bytes.ts";
import { type Packet, wireAddress } from "./read.ts";
import type { Flow } from "./state.ts";

/** One's complement sum with end-around carry. */
function fold(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x10000);
  return rest;
}

/** The checksum after octets changed from `before` to `after`; both start at an even place unless `odd`. */
export function updated(checksum: number, before: Uint8Array, after: Uint8Array, odd = false): number {
  const shift = (bytes: Uint8Array) => (odd ? concat(new Uint8Array(1), bytes, new Uint8Array(1)) : bytes);
  let sum = ~checksum & 0xffff;
  for (let i = 0; i < shift(before).length; i += 2) {
    sum += (~get16(shift(before), i) & 0xffff) + get16(shift(after), i);
  }
  return ~fold(sum) & 0xffff;
}

/** Replaces octets at `at` and updates the checksums at `sums`. */
function replace(bytes: Uint8Array, at: number, after: Uint8Array, sums: number[]): void {
  const before = bytes.slice(at, at + after.length);
  bytes.set(after, at);
  for (const sum of sums) bytes.set(u16(updated(get16(bytes, sum), before, after)), sum);
}

/** UDP without checksum stays without (RFC 768), and a computed zero is sent as all ones. */
function udpSum(bytes: Uint8Array, at: number, had: number): void {
  if (had === 0) bytes.set(u16(0), at);
  else if (get16(bytes, at) === 0) bytes.set(u16(0xffff), at);
}

/** Offset of the checksum in a transport header. */
const sumOffset = (protocol: number): number | undefined => ({ 6: 16, 17: 6, 1: 2, 58: 2 })[protocol];

interface Shape {
  innerVersion: 0 | 4 | 6;
  protocol: number;
  /** Transport header from the IP header on; undefined: none to translate. */
  l4?: number;
}

/** Translates `ip` (from its IP header on): destination and its port when `up`, else the source's. */
export function translate(ip: Uint8Array, shape: Shape, flow: Flow, up: boolean): void {
  const v4 = shape.innerVersion === 4;
  const address = wireAddress(flow.translated);
  const at = v4 ? (up ? 16 : 12) : up ? 24 : 8;
  const { l4, protocol } = shape;
  const offset = sumOffset(protocol);
  const sums: number[] = [];
  if (l4 !== undefined && offset !== undefined && protocol !== 1) sums.push(l4 + offset);
  const had = l4 !== undefined && protocol === 17 ? get16(ip, l4 + 6) : 0;
  const before = ip.slice(at, at + address.length);
  ip.set(address, at);
  const changes: [Uint8Array, Uint8Array][] = [[before, address]];
  if (v4) ip.set(u16(updated(get16(ip, 10), before, address)), 10);
  if (l4 === undefined || offset === undefined) return;
  if (protocol === 6 || protocol === 17) {
    const ports = up
      ? concat(u16(flow.translatedUePort), u16(flow.translatedPort))
      : concat(u16(flow.translatedPort), u16(flow.translatedUePort));
    changes.push([ip.slice(l4, l4 + 4), ports]);
    ip.set(ports, l4);
  } else {
    const identifier = u16(flow.translatedUePort);
    changes.push([ip.slice(l4 + 4, l4 + 6), identifier]);
    ip.set(identifier, l4 + 4);
    if (protocol === 1) changes.shift(); // no pseudo header in ICMP for IPv4
  }
  const all = (which: 0 | 1) => concat(...changes.map((change) => change[which]));
  ip.set(u16(updated(get16(ip, l4 + offset), all(0), all(1))), l4 + offset);
  if (protocol === 17) udpSum(ip, l4 + 6, had);
}

/** Translates the packet that an ICMP error quotes, and the error's own checksum with it. `ip`: from its IP header. */
export function translateQuote(ip: Uint8Array, p: Packet, l4: number, flow: Flow, up: boolean, protocol: number): void {
  const quote = l4 + 8;
  const v4 = p.innerVersion === 4;
  const before = ip.slice(quote);
  const address = wireAddress(flow.translated);
  // The quoted packet went the other way: what is translated in it is its source when the error goes up.
  const place = quote + (v4 ? (up ? 12 : 16) : up ? 8 : 24);
  const old = ip.slice(place, place + address.length);
  replace(ip, place, address, v4 ? [quote + 10] : []);
  const inside = quote + (v4 ? 20 : 40);
  const room = ip.length - inside;
  const both = (first: number, second: number) => concat(u16(first), u16(second));
  if (protocol === 6 || protocol === 17) {
    const ports = up
      ? both(flow.translatedPort, flow.translatedUePort)
      : both(flow.translatedUePort, flow.translatedPort);
    const oldPorts = ip.slice(inside, inside + 4);
    ip.set(ports, inside);
    const at = inside + (protocol === 6 ? 16 : 6);
    const had = get16(ip, at);
    if (protocol === 17 ? had !== 0 : room >= 18) {
      ip.set(u16(updated(had, concat(old, oldPorts), concat(address, ports))), at);
      if (protocol === 17 && get16(ip, at) === 0) ip.set(u16(0xffff), at);
    }
  } else {
    const identifier = u16(flow.translatedUePort);
    const oldIdentifier = ip.slice(inside + 4, inside + 6);
    ip.set(identifier, inside + 4);
    const pseudo: [Uint8Array, Uint8Array] = protocol === 58 ? [old, address] : [new Uint8Array(), new Uint8Array()];
    const sum = updated(get16(ip, inside + 2), concat(pseudo[0], oldIdentifier), concat(pseudo[1], identifier));
    ip.set(u16(sum), inside + 2);
  }
  const after = ip.slice(quote);
  const even = (bytes: Uint8Array) => (bytes.length % 2 ? concat(bytes, new Uint8Array(1)) : bytes);
  ip.set(u16(updated(get16(ip, l4 + 2), even(before), even(after))), l4 + 2);
}

/** Lowers the MSS option of a SYN (RFC 9293 §3.7.1). `tcp`: offset of the TCP header. True when it was lowered. */
export function clampMss(bytes: Uint8Array, tcp: number, limit: number): boolean {
  const end = tcp + ((bytes[tcp + 12] ?? 0) >> 4) * 4;
  if (end > bytes.length) return false;
  for (let at = tcp + 20; at + 4 <= end; ) {
    const kind = bytes[at];
    if (kind === 0) return false;
    if (kind === 1) {
      at++;
      continue;
    }
    const size = bytes[at + 1] ?? 0;
    if (kind === 2 && size === 4) {
      if (get16(bytes, at + 2) <= limit) return false;
      const before = bytes.slice(at + 2, at + 4);
      bytes.set(u16(limit), at + 2);
      const sum = updated(get16(bytes, tcp + 16), before, u16(limit), (at - tcp) % 2 === 1);
      bytes.set(u16(sum), tcp + 16);
      return true;
    }
    if (size < 2) return false;
    at += size;
  }
  return false;
}
