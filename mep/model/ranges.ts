/**
 * Which addresses and ports does a text of a TrafficFilter mean (GS MEC 011 §7.1.5.2)?
 *
 *   192.0.2.1 · 192.0.2.0/24 · 192.0.2.0/255.255.255.0 · 192.0.2.7-192.0.2.9 · 2001:db8::/32 · 2001:db8::/64-2001:db8:0:9::/64
 *
 * A range becomes the fewest prefixes that hold exactly its addresses.
 */

import { AddressError, bits, formatAddress, type Prefix, parsePrefix } from "../../controlplane/intents/prefix.ts";
import type { Range } from "../../dataplane/steering.ts";

const last = ({ family, value, length }: Prefix): bigint => value | ((1n << BigInt(bits(family) - length)) - 1n);

/** @throws AddressError */
export function rangesOf(text: string): Prefix[] {
  const ends = text.split("-");
  if (ends.length > 2) throw new AddressError(`"${text.slice(0, 80)}" is not a range: write first-last`);
  const [from, to] = ends.map((end) => parsePrefix(end.trim()));
  if (!from) return [];
  if (!to) return [from];
  const { family } = from;
  if (family !== to.family) throw new AddressError(`"${text}" begins in one family and ends in the other`);
  const high = last(to);
  if (from.value > high) {
    throw new AddressError(`"${text}" ends before it begins: ${formatAddress(to)} comes before ${formatAddress(from)}`);
  }
  const found: Prefix[] = [];
  for (let low = from.value; low <= high; ) {
    let free = bits(family);
    for (let size = 1n; free > 0 && (low & size) === 0n && low + size * 2n - 1n <= high; size *= 2n) free -= 1;
    found.push({ family, value: low, length: free });
    low += 1n << BigInt(bits(family) - free);
  }
  return found;
}

/** Undefined when it is neither a port nor a range. */
export function rangeOfPorts(text: string): Range | undefined {
  const found = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (!found) return undefined;
  const [low, high] = [Number(found[1]), Number(found[2] ?? found[1])];
  return low <= high && high <= 65535 ? [low, high] : undefined;
}
