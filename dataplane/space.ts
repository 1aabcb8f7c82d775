/**
 * Which set of packets does a match mean, exactly?
 *
 * A packet is a point: one number in each dimension below. A match is a box: in each dimension a set of numbers, as
 * ascending disjoint inclusive intervals. Classifier, static verification and trace all work on these boxes, so what a
 * member of `Match` means is written here and nowhere else.
 */
import { addressOctets, prefixOf } from "./address.ts";
import type { Match, Range, SteeringRule } from "./steering.ts";

/** Name and width in bits. The order is that of the kernel's classifier (bpf/classify.h DIMENSION_*). */
export const dimensions = [
  { name: "destination", bits: 128 }, // IPv4 as ::ffff:a.b.c.d
  { name: "source", bits: 128 },
  { name: "protocol", bits: 9 }, // 256 set for IPv6
  { name: "destinationPort", bits: 16 }, // 0 where the protocol has none, ICMP included
  { name: "sourcePort", bits: 16 },
  { name: "dscp", bits: 6 },
  { name: "dataplane", bits: 5 }, // index
  { name: "vlan", bits: 12 },
  { name: "innerVlan", bits: 12 },
  { name: "sourceMac", bits: 48 },
  { name: "destinationMac", bits: 48 },
  { name: "baseStation", bits: 128 }, // 0 where there is no tunnel
  { name: "gateway", bits: 128 },
  { name: "teid", bits: 32 },
  { name: "qfi", bits: 8 }, // 254 where there is none
  { name: "message", bits: 8 }, // 255 where there is no tunnel
  { name: "direction", bits: 1 }, // 0 uplink, 1 downlink
] as const;

export type DimensionName = (typeof dimensions)[number]["name"];
export type Interval = readonly [bigint, bigint];
/** Ascending, disjoint, not adjacent. */
export type Intervals = readonly Interval[];
/** By position in `dimensions`. Undefined is the whole dimension. */
export type Box = readonly (Intervals | undefined)[];
/** One number per dimension. */
export type Point = readonly bigint[];

export const NO_QFI = 254;
export const G_PDU = 255;
export const UPLINK = 0;
export const DOWNLINK = 1;

export const dimensionIndex = Object.fromEntries(dimensions.map(({ name }, index) => [name, index])) as Record<
  DimensionName,
  number
>;
export const largest = (dimension: number): bigint => (1n << BigInt(dimensions[dimension]!.bits)) - 1n;

/** Sorts and joins what overlaps or is adjacent. */
export function normalise(intervals: Iterable<Interval>): Interval[] {
  const sorted = [...intervals].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  const joined: [bigint, bigint][] = [];
  for (const [low, high] of sorted) {
    const last = joined.at(-1);
    if (last && low <= last[1] + 1n) {
      if (high > last[1]) last[1] = high;
    } else {
      joined.push([low, high]);
    }
  }
  return joined;
}

export const octetsToNumber = (octets: Uint8Array): bigint => {
  let value = 0n;
  for (const octet of octets) value = (value << 8n) | BigInt(octet);
  return value;
};

/** The address as a number of 128 bits, IPv4 mapped. */
export const addressNumber = (address: string): bigint => octetsToNumber(addressOctets(address));
export const macNumber = (mac: string): bigint => BigInt(`0x${mac.replaceAll(":", "")}`);

export function prefixInterval(text: string): Interval {
  const { octets, length } = prefixOf(text);
  const low = octetsToNumber(octets);
  return [low, low | ((1n << BigInt(128 - length)) - 1n)];
}

const points = (values: readonly (number | bigint)[]): Interval[] =>
  values.map((value) => [BigInt(value), BigInt(value)]);
const ranges = (values: readonly Range[]): Interval[] => values.map(([low, high]) => [BigInt(low), BigInt(high)]);

/** Which family do the addresses name? Undefined: both, or none is named. */
export function familyOf(match: Match): 4 | 6 | undefined {
  const named = match.destination?.[0] ?? match.source?.[0];
  if (named !== undefined) return named.includes(":") ? 6 : 4;
  return match.family;
}

/** The family that a rule is for: by its addresses, or by its endpoints where it has none. Undefined: both. */
export function ruleFamily({ match, endpoints }: SteeringRule): 4 | 6 | undefined {
  const [endpoint] = endpoints ?? [];
  return familyOf(match) ?? (endpoint && (endpoint.address.includes(":") ? 6 : 4));
}

/** Does the kernel have to do anything with its packets? If not, they pass unseen. */
export const acts = (rule: SteeringRule): boolean => rule.action !== "pass" || rule.treatment !== undefined;

/** Does it name a GTP-U message other than a G-PDU, resp. G-PDUs? */
export const isAboutSignalling = ({ message }: Match): boolean =>
  (message ?? []).some(([low, high]) => low !== G_PDU || high !== G_PDU);
export const isAboutPackets = ({ message }: Match): boolean =>
  message === undefined || message.some(([low, high]) => low <= G_PDU && high >= G_PDU);

/** Families and protocols in one dimension, so that an IPv6 packet with an IPv4-mapped address meets no IPv4 rule. */
function protocolIntervals(match: Match): Interval[] | undefined {
  const family = familyOf(match);
  const bases = family === 4 ? [0] : family === 6 ? [256] : [0, 256];
  if (match.protocol) return points(match.protocol.flatMap((protocol) => bases.map((base) => base + protocol)));
  if (family === undefined) return undefined;
  return bases.map((base) => [BigInt(base), BigInt(base + 255)]);
}

/** `dataplane` gives the index of a data plane's name; a name that it does not know matches nothing. */
export function boxOf(match: Match, dataplane: (name: string) => number | undefined): Box {
  const of = <T>(values: T[] | undefined, read: (values: T[]) => Interval[]) =>
    values === undefined ? undefined : normalise(read(values));
  const prefixes = (values: string[]) => values.map(prefixInterval);
  const protocols = protocolIntervals(match);
  const sets: Record<DimensionName, Interval[] | undefined> = {
    destination: of(match.destination, prefixes),
    source: of(match.source, prefixes),
    protocol: protocols && normalise(protocols),
    destinationPort: of(match.destinationPorts, ranges),
    sourcePort: of(match.sourcePorts, ranges),
    dscp: of(match.dscp, ranges),
    dataplane: of(match.dataplanes, (names) => points(names.map(dataplane).filter((index) => index !== undefined))),
    vlan: of(match.vlan, ranges),
    innerVlan: of(match.innerVlan, ranges),
    sourceMac: of(match.sourceMac, (macs) => points(macs.map(macNumber))),
    destinationMac: of(match.destinationMac, (macs) => points(macs.map(macNumber))),
    baseStation: of(match.baseStation, prefixes),
    gateway: of(match.gateway, prefixes),
    teid: of(match.teid, ranges),
    qfi: of(match.qfi, ranges),
    message: match.message ? normalise(ranges(match.message)) : [[BigInt(G_PDU), BigInt(G_PDU)]],
    direction: match.direction && points([match.direction === "uplink" ? UPLINK : DOWNLINK]),
  };
  return dimensions.map(({ name }) => sets[name]);
}

const within = (intervals: Intervals, value: bigint) => intervals.some(([low, high]) => value >= low && value <= high);

/** The first dimension in which the point lies outside the box; undefined when it lies inside. */
export function outsideIn(box: Box, point: Point): DimensionName | undefined {
  return dimensions.find((_, index) => {
    const intervals = box[index];
    return intervals !== undefined && !within(intervals, point[index]!);
  })?.name;
}
