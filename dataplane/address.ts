/**
 * How is an address written in 16 octets?
 *
 * Network order; IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2), so that one key serves both. Prefix lengths of IPv4 grow by
 * 96 accordingly.
 */
import ipaddr from "ipaddr.js";

const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/** @throws Error when `text` is no address. */
export function addressOctets(text: string): Uint8Array {
  const parsed = ipaddr.parse(text);
  const octets = parsed.toByteArray();
  return Uint8Array.from(octets.length === 4 ? [...MAPPED, ...octets] : octets);
}

export const isMapped = (octets: Uint8Array): boolean => MAPPED.every((octet, i) => octets[i] === octet);

export const isZero = (octets: Uint8Array): boolean => octets.every((octet) => octet === 0);

/** `10.45.0.2` or `2001:db8::1`; "" for all zero. */
export function addressText(octets: Uint8Array): string {
  if (isZero(octets)) return "";
  if (isMapped(octets)) return octets.subarray(12, 16).join(".");
  return new ipaddr.IPv6(Array.from(octets)).toRFC5952String();
}

const STATION = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/** Is it a MAC address where a tunnel has an outer address (struct address in bpf/structs.h)? */
export const isStation = (octets: Uint8Array): boolean => STATION.every((octet, i) => octets[i] === octet);

/** `02:00:00:00:00:01` of a station, else as `addressText`. */
export function stationText(octets: Uint8Array): string {
  if (!isStation(octets)) return addressText(octets);
  return Array.from(octets.subarray(10), (octet) => octet.toString(16).padStart(2, "0")).join(":");
}

export interface Prefix {
  octets: Uint8Array;
  /** Of 128. */
  length: number;
  v6: boolean;
}

/** Takes `203.0.113.0/24`, `2001:db8::/32` and single addresses; octets behind the prefix are cleared. */
export function prefixOf(text: string): Prefix {
  const [address = "", bits] = text.split("/");
  const octets = addressOctets(address);
  const v6 = !isMapped(octets) || address.includes(":");
  const length = bits === undefined ? 128 : Number(bits) + (v6 ? 0 : 96);
  if (!Number.isInteger(length) || length > 128 || length < (v6 ? 0 : 96)) throw new Error(`no prefix: ${text}`);
  return { octets: masked(octets, length), length, v6 };
}

export function maskOctets(length: number): Uint8Array {
  const mask = new Uint8Array(16);
  for (let bit = 0; bit < length; bit++) mask[bit >> 3]! |= 0x80 >> (bit & 7);
  return mask;
}

export function masked(octets: Uint8Array, length: number): Uint8Array {
  const mask = maskOctets(length);
  return octets.map((octet, i) => octet & mask[i]!);
}

export const macOctets = (text: string): Uint8Array =>
  Uint8Array.from(text.split(":").map((part) => Number.parseInt(part, 16)));
