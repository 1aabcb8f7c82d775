/**
 * How are addresses, numbers and checksums written into packets?
 *
 * Everything on the wire is big endian. Checksums are the Internet checksum of RFC 1071, CRC32c for SCTP (RFC 9260).
 */

/** Octets, written as text or numbers: `hex("30ff 0008")`. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/[\s:]/g, "");
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export function concat(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Big endian number of `size` octets; bits that do not fit are cut off, so that lengths may lie. */
export function number(value: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = value >>> 0;
  for (let i = size - 1; i >= 0; i--) {
    bytes[i] = rest & 0xff;
    rest = Math.floor(rest / 256);
  }
  return bytes;
}

export const u8 = (value: number) => number(value, 1);
export const u16 = (value: number) => number(value, 2);
export const u32 = (value: number) => number(value, 4);

export const get16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
export const get32 = (bytes: Uint8Array, at: number): number => ((get16(bytes, at) << 16) | get16(bytes, at + 2)) >>> 0;

export const mac = (text: string): Uint8Array => hex(text);
export const macText = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join(":");

export const isIpv6 = (text: string): boolean => text.includes(":");

/** 4 or 16 octets, network order. */
export function address(text: string): Uint8Array {
  if (!isIpv6(text)) return Uint8Array.from(text.split(".").map(Number));
  const groups = (part: string): number[] =>
    part === ""
      ? []
      : part.split(":").flatMap((group) => {
          if (!group.includes(".")) return [Number.parseInt(group, 16)];
          const four = address(group);
          return [get16(four, 0), get16(four, 2)];
        });
  const [head = "", tail] = text.split("::");
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const zeros = new Array<number>(8 - first.length - last.length).fill(0);
  return concat(...[...first, ...zeros, ...last].map(u16));
}

/** Text of 4 or 16 octets; IPv6 as RFC 5952 has it, except that ::ffff:a.b.c.d is not written with dots. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => get16(bytes, 2 * i).toString(16));
  const text = groups.join(":");
  const runs = [...text.matchAll(/(?<![0-9a-f])0(?::0)+(?![0-9a-f])/g)].sort((a, b) => b[0].length - a[0].length);
  const run = runs[0];
  if (run === undefined) return text;
  const before = text.slice(0, run.index).replace(/:$/, "");
  const after = text.slice(run.index + run[0].length).replace(/^:/, "");
  return `${before}::${after}`;
}

/** One's complement sum, not inverted, folded to 16 bits. An odd octet at the end counts as the high one. */
export function sum16(...parts: Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += get16(part, i);
    while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  }
  return sum;
}

/** Internet checksum. All parts but the last must have an even length. */
export const checksum = (...parts: Uint8Array[]): number => ~sum16(...parts) & 0xffff;

/** Pseudo header of TCP, UDP, ICMPv6; source and destination decide whether IPv4's (RFC 793) or IPv6's (RFC 8200). */
export function pseudoHeader(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  length: number,
): Uint8Array {
  return source.length === 4
    ? concat(source, destination, u8(0), u8(protocol), u16(length))
    : concat(source, destination, u32(length), u32(protocol));
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});

/** CRC32c as SCTP sends it. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] ?? 0);
  const value = ~crc >>> 0;
  return ((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}
