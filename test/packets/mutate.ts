/**
 * How can a frame be spoilt?
 *
 * Each mutator takes a frame and gives another one, as broken as traffic in the wild and as an attacker would have it:
 * flipped bits, lengths that lie, cut and extended frames, headers twice, chains of extension headers, fragment bits.
 * Lengths are found by walking the frame as a naive reader would, so that lies sit where a parser trusts them.
 */
import { concat, get16, number, sum16, u16 } from "./bytes.ts";
import type { Random } from "./prng.ts";

/** Places of the headers, as far as a naive reader gets. */
export interface Places {
  l3?: number;
  l4?: number;
  gtp?: number;
  inner?: number;
  innerL4?: number;
}

/** Where the transport header begins behind an IP header at `at`; undefined when there is none. */
function behindIp(bytes: Uint8Array, at: number): number | undefined {
  const version = (bytes[at] ?? 0) >> 4;
  if (version === 4) return at + Math.max(20, ((bytes[at] ?? 0) & 15) * 4);
  if (version === 6) return at + 40 + ([0, 43, 44, 60].includes(bytes[at + 6] ?? 59) ? 8 : 0);
  return undefined;
}

export function places(bytes: Uint8Array): Places {
  const found: Places = {};
  let at = 12;
  while ([0x8100, 0x88a8].includes(get16(bytes, at)) && at < 24) at += 4;
  const type = get16(bytes, at);
  if (type !== 0x0800 && type !== 0x86dd) return found;
  found.l3 = at + 2;
  found.l4 = behindIp(bytes, found.l3);
  if (found.l4 === undefined || get16(bytes, found.l4 + 2) !== 2152) return found;
  found.gtp = found.l4 + 8;
  let inner = found.gtp + 8;
  const flags = bytes[found.gtp] ?? 0;
  if (flags & 7) inner += 4;
  let next = flags & 4 ? (bytes[inner - 1] ?? 0) : 0;
  for (let i = 0; next !== 0 && i < 10; i++) {
    const size = (bytes[inner] ?? 0) * 4;
    if (size === 0) break;
    inner += size;
    next = bytes[inner - 1] ?? 0;
  }
  if (inner < bytes.length) {
    found.inner = inner;
    found.innerL4 = behindIp(bytes, inner);
  }
  return found;
}

/** Puts the checksum of the IPv4 header at `at` right, so that a lie elsewhere is what is noticed. */
function healIpv4(bytes: Uint8Array, at: number | undefined): void {
  if (at === undefined || (bytes[at] ?? 0) >> 4 !== 4) return;
  const size = ((bytes[at] ?? 0) & 15) * 4;
  if (size < 20 || at + size > bytes.length) return;
  bytes.set(u16(0), at + 10);
  bytes.set(u16(~sum16(bytes.subarray(at, at + size)) & 0xffff), at + 10);
}

type Mutator = (bytes: Uint8Array, r: Random) => Uint8Array;

const flipBit: Mutator = (bytes, r) => {
  const out = bytes.slice();
  const at = r.below(out.length);
  out[at] = (out[at] ?? 0) ^ (1 << r.below(8));
  return out;
};

/** Mostly in the headers: the first 100 octets. */
const setOctet: Mutator = (bytes, r) => {
  const out = bytes.slice();
  const at = r.below(Math.min(out.length, 100));
  out[at] = r.oneIn(2) ? r.pick([0, 1, 4, 0x7f, 0x80, 0xff, 0x45, 0x60]) : r.below(256);
  return out;
};

const cut: Mutator = (bytes, r) => bytes.slice(0, r.between(Math.min(14, bytes.length), bytes.length));

const extend: Mutator = (bytes, r) =>
  concat(bytes, r.oneIn(2) ? new Uint8Array(r.between(1, 40)) : r.bytes(r.between(1, 40)));

const lie: Mutator = (bytes, r) => {
  const { l3, l4, gtp, inner, innerL4 } = places(bytes);
  const lengthAt = (at: number) => at + ((bytes[at] ?? 0) >> 4 === 4 ? 2 : 4);
  const spots: number[] = [];
  if (l3 !== undefined) spots.push(lengthAt(l3));
  if (gtp !== undefined) spots.push(gtp + 2);
  if (l4 !== undefined && gtp !== undefined) spots.push(l4 + 4);
  if (inner !== undefined) spots.push(lengthAt(inner));
  if (innerL4 !== undefined) spots.push(innerL4 + 4);
  const out = bytes.slice();
  if (spots.length === 0) return flipBit(bytes, r);
  const at = r.pick(spots);
  const value = get16(out, at);
  const other = r.pick([
    0,
    1,
    4,
    7,
    8,
    12,
    20,
    24,
    65535,
    value - 1,
    value + 1,
    value - 4,
    value + 4,
    value + 8,
    r.below(65536),
  ]);
  out.set(number(other & 0xffff, 2), Math.min(at, out.length - 2));
  healIpv4(out, l3);
  healIpv4(out, inner);
  return out;
};

/** Bits of an IPv4 header that change what the packet is: IHL, version, fragment, TTL, protocol; checksum made right. */
const ipBits: Mutator = (bytes, r) => {
  const { l3, inner } = places(bytes);
  const at = r.oneIn(2) ? l3 : inner;
  if (at === undefined || at + 20 > bytes.length) return setOctet(bytes, r);
  const out = bytes.slice();
  const v4 = (out[at] ?? 0) >> 4 === 4;
  const choices: (() => void)[] = v4
    ? [
        () => out.set([0x40 | r.below(16)], at),
        () => out.set([(r.below(16) << 4) | 5], at),
        () => out.set(u16(r.pick([0x2000, 0x4000, 0x8000, 1, 0x2001, 0x1fff, 185])), at + 6),
        () => out.set([r.pick([0, 1, 2, 255])], at + 8),
        () => out.set([r.pick([0, 1, 4, 6, 17, 41, 58, 132, 255])], at + 9),
        () => out.set(r.bytes(4), at + r.pick([12, 16])),
        () => out.set(r.bytes(1), at + 1),
      ]
    : [
        () => out.set([r.below(256)], at),
        () => out.set([r.pick([0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 255])], at + 6),
        () => out.set([r.pick([0, 1, 2, 255])], at + 7),
        () => out.set(r.bytes(8), at + r.pick([8, 16, 24, 32].filter((n) => at + n + 8 <= out.length))),
      ];
  r.pick(choices)();
  if (v4) healIpv4(out, at);
  return out;
};

const gtpBits: Mutator = (bytes, r) => {
  const { gtp } = places(bytes);
  if (gtp === undefined || gtp + 12 > bytes.length) return setOctet(bytes, r);
  const out = bytes.slice();
  r.pick([
    () => out.set([0x30 | r.below(16)], gtp),
    () => out.set([r.below(256)], gtp),
    () => out.set([r.pick([0, 1, 2, 16, 26, 31, 99, 241, 253, 254, 255])], gtp + 1),
    () => out.set([r.below(256)], gtp + 11),
    () => out.set(r.bytes(4), gtp + 4),
    () => out.set([r.pick([0, 1, 2, 3, 255])], Math.min(out.length - 1, gtp + 12)),
  ])();
  return out;
};

/** Doubles a stretch of octets: a header that comes twice. */
const twice: Mutator = (bytes, r) => {
  const marks = Object.values(places(bytes)).filter((at): at is number => at !== undefined && at < bytes.length);
  if (marks.length < 2) return extend(bytes, r);
  const at = r.pick(marks);
  const size = r.pick([4, 8, 20, 40]);
  return concat(bytes.subarray(0, at + size), bytes.subarray(at));
};

/** Puts a chain of extension headers in front of the T-PDU and makes all lengths right. */
const chain: Mutator = (bytes, r) => {
  const { l3, l4, gtp } = places(bytes);
  if (l3 === undefined || l4 === undefined || gtp === undefined || gtp + 8 > bytes.length) return flipBit(bytes, r);
  if (((bytes[gtp] ?? 0) & 7) !== 0) return gtpBits(bytes, r);
  const count = r.pick([1, 1, 2, 3, 7, 8, 9, 20]);
  const types = Array.from({ length: count }, () =>
    r.pick([0x85, 0x85, 0xc0, 0x40, 0x20, 0x03, 0x81, 0x01, r.below(256)]),
  );
  const headers = types.map((_, i) => {
    const words = r.oneIn(12) ? r.pick([0, 255]) : r.pick([1, 1, 1, 2, 3]);
    const body = r.bytes(Math.max(1, Math.min(words, 3)) * 4);
    body[0] = words;
    body[body.length - 1] = types[i + 1] ?? 0;
    return body;
  });
  const extra = concat(new Uint8Array([0, 0, 0, types[0] ?? 0]), ...headers);
  const out = concat(bytes.subarray(0, gtp + 8), extra, bytes.subarray(gtp + 8));
  out[gtp] = (out[gtp] ?? 0) | 4;
  for (const at of [(out[l3] ?? 0) >> 4 === 4 ? l3 + 2 : l3 + 4, l4 + 4, gtp + 2]) {
    out.set(u16((get16(out, at) + extra.length) & 0xffff), at);
  }
  out.set(u16(0), l4 + 6);
  healIpv4(out, l3);
  return out;
};

const mutators: readonly Mutator[] = [
  flipBit,
  setOctet,
  cut,
  extend,
  lie,
  lie,
  ipBits,
  ipBits,
  gtpBits,
  twice,
  chain,
  chain,
];

/** One to three mutations. */
export function mutate(bytes: Uint8Array, r: Random): Uint8Array {
  let out = bytes;
  for (let n = r.pick([1, 1, 1, 2, 3]); n > 0; n--) out = r.pick(mutators)(out, r);
  return out.length < 14 ? concat(out, new Uint8Array(14 - out.length)) : out;
}
