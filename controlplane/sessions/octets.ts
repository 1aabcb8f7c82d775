/**
 * How are the headers around a packet read and mended?
 *
 * The few helpers that reassembly, fragmentation and the pinger share: the link header (IEEE 802.3 with any number of
 * IEEE 802.1Q/802.1ad tags up to two), the Internet checksum (RFC 1071), big endian numbers. All offsets and lengths
 * are octets; all multi-octet fields are in network order on the wire and plain numbers here.
 */
import ipaddr from "ipaddr.js";

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_IPV6 = 0x86dd;
const VLAN_TYPES: readonly number[] = [0x8100, 0x88a8];

export const u16 = (octets: Uint8Array, at: number): number => ((octets[at] ?? 0) << 8) | (octets[at + 1] ?? 0);

export const u32 = (octets: Uint8Array, at: number): number => u16(octets, at) * 0x10000 + u16(octets, at + 2);

export function put16(octets: Uint8Array, at: number, value: number): void {
  octets[at] = (value >>> 8) & 0xff;
  octets[at + 1] = value & 0xff;
}

/** Where the network header begins and what it is; undefined when the frame ends before that. At most two tags. */
export function linkHeader(frame: Uint8Array): { length: number; type: number } | undefined {
  let length = 14;
  for (let tags = 0; tags <= 2; tags++) {
    if (frame.length < length) return undefined;
    const type = u16(frame, length - 2);
    if (!VLAN_TYPES.includes(type)) return { length, type };
    length += 4;
  }
  return undefined;
}

/** One's complement sum, not yet inverted. `start` continues an earlier sum over an even number of octets. */
export function sum16(octets: Uint8Array, from: number, to: number, start = 0): number {
  let sum = start;
  for (let at = from; at + 1 < to; at += 2) sum += u16(octets, at);
  if ((to - from) % 2 === 1) sum += (octets[to - 1] ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** RFC 1071, as it is written into a header. */
export const checksum = (octets: Uint8Array, from: number, to: number, start = 0): number =>
  ~sum16(octets, from, to, start) & 0xffff;

/** Writes the IPv4 header checksum of the header at `at` with `length` octets. */
export function mendIpv4Checksum(octets: Uint8Array, at: number, length: number): void {
  put16(octets, at + 10, 0);
  put16(octets, at + 10, checksum(octets, at, at + length));
}

/** 4 or 16 octets of an address; a prefix length behind it is ignored. Undefined when it is no address. */
export function addressOctets(text: string): Uint8Array | undefined {
  const bare = text.split("/")[0] ?? "";
  if (!ipaddr.isValid(bare)) return undefined;
  const address = ipaddr.process(bare);
  return Uint8Array.from(address.toByteArray());
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
