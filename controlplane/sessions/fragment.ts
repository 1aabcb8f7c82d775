/**
 * How does a reply that is too long for its tunnel become several that fit?
 *
 * RFC 791 §3.2: fragment offsets count 8 octets, every fragment but the last carries a multiple of 8, options whose
 * copied flag is set travel in every fragment and the others in the first only. What is itself a fragment is cut again:
 * its offset is the base of ours and its "more fragments" stays with the last piece. Only packets whose "don't
 * fragment" is clear come here; the others were answered with ICMP by the routing before the data plane.
 */
import { concat, ETHERTYPE_IPV4, linkHeader, mendIpv4Checksum, put16, u16 } from "./octets.ts";

const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const OFFSET = 0x1fff;

/**
 * Cuts the IPv4 packet in an Ethernet frame into frames whose IP packets are at most `mtu` octets.
 *
 * @returns the frame itself (without padding) when it fits; undefined when it is no whole IPv4 packet, must not be
 * fragmented, or `mtu` has no room for its header and 8 octets.
 */
export function fragmentIpv4(frame: Uint8Array, mtu: number): Uint8Array[] | undefined {
  const link = linkHeader(frame);
  if (!link || link.type !== ETHERTYPE_IPV4 || frame.length < link.length + 20) return undefined;
  const at = link.length;
  const headerLength = ((frame[at] ?? 0) & 0x0f) * 4;
  const total = u16(frame, at + 2);
  if ((frame[at] ?? 0) >> 4 !== 4 || headerLength < 20 || total < headerLength) return undefined;
  if (frame.length < at + total) return undefined;
  if (total <= mtu) return [frame.subarray(0, at + total)];

  const word = u16(frame, at + 6);
  if (word & DONT_FRAGMENT) return undefined;
  const header = frame.subarray(at, at + headerLength);
  const later = withCopiedOptions(header);
  if (!later || mtu < headerLength + 8) return undefined;

  const out: Uint8Array[] = [];
  const end = at + total;
  let from = at + headerLength;
  let offset = word & OFFSET;
  while (from < end) {
    const own = offset === (word & OFFSET) ? header : later;
    const room = (mtu - own.length) & ~7;
    const length = end - from <= mtu - own.length ? end - from : room;
    const last = from + length === end;
    const piece = concat([frame.subarray(0, at), own, frame.subarray(from, from + length)]);
    put16(piece, at + 2, own.length + length);
    put16(piece, at + 6, (word & 0x8000) | (last ? word & MORE_FRAGMENTS : MORE_FRAGMENTS) | offset);
    mendIpv4Checksum(piece, at, own.length);
    out.push(piece);
    from += length;
    offset += length / 8;
  }
  return out;
}

/** The header as later fragments carry it: only the options with the copied flag, padded to 4 octets with "end". */
function withCopiedOptions(header: Uint8Array): Uint8Array | undefined {
  const options: number[] = [];
  for (let at = 20; at < header.length; ) {
    const type = header[at] ?? 0;
    if (type === 0) break;
    if (type === 1) {
      at += 1;
      continue;
    }
    const length = header[at + 1] ?? 0;
    if (length < 2 || at + length > header.length) return undefined;
    if (type & 0x80) options.push(...header.subarray(at, at + length));
    at += length;
  }
  while (options.length % 4 !== 0) options.push(0);
  const out = new Uint8Array(20 + options.length);
  out.set(header.subarray(0, 20));
  out.set(options, 20);
  out[0] = 0x40 | (out.length / 4);
  return out;
}
