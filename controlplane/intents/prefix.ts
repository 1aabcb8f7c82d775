/**
 * Which addresses does a text mean, and do two of them meet?
 *
 * Addresses are numbers (BigInt) with a family, so that containment and overlap are arithmetic. Reading is strict: what
 * another program could read differently is refused (`010.1.2.3` is octal to some, `::ffff:10.0.0.1` is IPv4 to others).
 * Writing is canonical: IPv4 dotted, IPv6 as RFC 5952 has it.
 */
import ipaddr from "ipaddr.js";

export type Family = 4 | 6;

export interface Address {
  family: Family;
  value: bigint;
}

/** `value` has no bits set beyond `length`. */
export interface Prefix extends Address {
  /** Bits, 0..32 or 0..128. */
  length: number;
}

/** A text that is not what it should be; the message completes "… : ". */
export class AddressError extends Error {}

export const bits = (family: Family): number => (family === 4 ? 32 : 128);

/** @throws AddressError */
export function parseAddress(text: string): Address {
  if (/^[\d.]+$/.test(text)) {
    const octets = text.split(".");
    if (octets.length !== 4 || octets.some((octet) => !/^(0|[1-9]\d{0,2})$/.test(octet) || Number(octet) > 255)) {
      throw new AddressError(`"${text}" is not an IPv4 address: write four numbers 0..255 without leading zeros`);
    }
    return { family: 4, value: octets.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n) };
  }
  if (text.includes(":") && /^[\da-fA-F:.]+$/.test(text) && ipaddr.IPv6.isValid(text)) {
    const parsed = ipaddr.IPv6.parse(text);
    if (parsed.isIPv4MappedAddress()) {
      throw new AddressError(
        `"${text}" is an IPv4 address in IPv6 clothes: write ${parsed.toIPv4Address().toString()}`,
      );
    }
    return { family: 6, value: parsed.parts.reduce((sum, part) => (sum << 16n) | BigInt(part), 0n) };
  }
  throw new AddressError(`"${text.slice(0, 80)}" is not an IP address`);
}

export function formatAddress(address: Address): string {
  const octets: number[] = [];
  for (let shift = bits(address.family) - 8; shift >= 0; shift -= 8) {
    octets.push(Number((address.value >> BigInt(shift)) & 0xffn));
  }
  if (address.family === 4) return octets.join(".");
  return new ipaddr.IPv6(octets).toRFC5952String();
}

const masksOf = (width: number): readonly bigint[] =>
  Array.from({ length: width + 1 }, (_, length) => ((1n << BigInt(length)) - 1n) << BigInt(width - length));
const masks = { 4: masksOf(32), 6: masksOf(128) };

/** Ones in the first `length` bits. */
export const mask = (family: Family, length: number): bigint => masks[family][length] ?? 0n;

/** `255.255.0.0` as a length. */
function maskLength(text: string): number {
  const { family, value } = parseAddress(text);
  for (let length = 0; family === 4 && length <= 32; length += 1) {
    if (mask(4, length) === value) return length;
  }
  throw new AddressError(`"${text}" is not a network mask`);
}

function split(text: string): Address & { length: number } {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (slash < 0) return { ...address, length: bits(address.family) };
  const rest = text.slice(slash + 1);
  const length = address.family === 4 && rest.includes(".") ? maskLength(rest) : Number(rest);
  if (!(/^\d{1,3}$/.test(rest) || rest.includes(".")) || length > bits(address.family)) {
    throw new AddressError(`"/${rest.slice(0, 40)}" is not a prefix length 0..${bits(address.family)}`);
  }
  return { ...address, length };
}

/**
 * `10.45.0.0/16`, `10.45.0.0/255.255.0.0`, `2001:db8::/32`, or one address.
 * @throws AddressError, also when bits are set beyond the mask
 */
export function parsePrefix(text: string): Prefix {
  const prefix = split(text);
  const network = prefix.value & mask(prefix.family, prefix.length);
  if (network !== prefix.value) {
    const meant = formatPrefix({ ...prefix, value: network });
    throw new AddressError(`"${text}" has bits set beyond its mask: write ${meant}, or the address alone`);
  }
  return prefix;
}

/** An adapter's address with the length of its network: `10.60.0.1/24`. @throws AddressError */
export function parseInterfaceAddress(text: string): { address: Address; network: Prefix } {
  if (!text.includes("/"))
    throw new AddressError(`"${text}" lacks the prefix length of its network, as in 10.60.0.1/24`);
  const { family, value, length } = split(text);
  return { address: { family, value }, network: { family, value: value & mask(family, length), length } };
}

export const formatPrefix = (prefix: Prefix): string => `${formatAddress(prefix)}/${prefix.length}`;

export const host = (address: Address): Prefix => ({ ...address, length: bits(address.family) });

/** Is all of `inner` in `outer`? */
export function contains(outer: Prefix, inner: Prefix): boolean {
  if (outer.family !== inner.family || inner.length < outer.length) return false;
  return (inner.value & mask(outer.family, outer.length)) === outer.value;
}

/** Prefixes are nested or disjoint, so they meet exactly when the longer one is in the shorter. */
export const overlaps = (a: Prefix, b: Prefix): boolean => contains(a, b) || contains(b, a);

const prefix = parsePrefix;
export const notUnicast = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8", "fe80::/10"].map(prefix);

/** Can a packet be routed to it? No: unspecified, loopback, link-local IPv6, multicast, reserved, broadcast. */
export const isUnicast = (address: Address): boolean => !notUnicast.some((range) => contains(range, host(address)));

export const isLoopback = (address: Address): boolean =>
  contains(prefix(address.family === 4 ? "127.0.0.0/8" : "::1"), host(address));

/** `10.0.0.1:80` and `[2001:db8::1]:80`. @throws AddressError */
export function parseSocketAddress(text: string): { address: Address; port: number } {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  if (!found || port > 65535)
    throw new AddressError(`"${text.slice(0, 80)}" is not address:port or [IPv6 address]:port`);
  const address = parseAddress(found[1] ?? found[2] ?? "");
  if ((address.family === 6) !== (found[1] !== undefined)) {
    throw new AddressError(`"${text}": brackets belong around an IPv6 address, and only there`);
  }
  return { address, port };
}
