/**
 * Which packets can a rule meet at this site, and which of them never reach the rules?
 *
 * Not every point of the space is a packet: IPv4 packets have IPv4 addresses, only TCP and UDP have ports, a plain Ethernet
 * frame has no tunnel, UEs have the addresses of their data plane's pools, tunnels run between its peers. The possible
 * packets are a list of boxes, one for each kind of packet and data plane. Those for protected destinations are dropped
 * before any rule is asked. What depends on the moment (modes, sessions, health) is not looked at.
 */
import {
  type Box,
  dimensionIndex,
  dimensions,
  G_PDU,
  type Interval,
  type Intervals,
  NO_QFI,
  normalise,
} from "../../dataplane/space.ts";
import { dataplaneNumber, intersect, intersectIntervals, intervalsMeet } from "./algebra.ts";
import type { DataplaneFacts, ValidationContext } from "./context.ts";
import { formatPrefix, notUnicast, type Prefix } from "./prefix.ts";

type Sets = Partial<Record<(typeof dimensions)[number]["name"], Intervals>>;

const box = (sets: Sets): Box => dimensions.map(({ name }) => sets[name]);
const span = (low: number | bigint, high: number | bigint): Interval => [BigInt(low), BigInt(high)];
const only = (...values: number[]): Intervals => normalise(values.map((value) => span(value, value)));

const mappedLow = 0xffff00000000n;
const everyAddress = (1n << 128n) - 1n;
const ipv4: Intervals = [[mappedLow, mappedLow + 0xffffffffn]];

/** All but these; they are ascending. */
function complement(intervals: Intervals, high: bigint): Interval[] {
  const left: Interval[] = [];
  let from = 0n;
  for (const [low, last] of intervals) {
    if (low > from) left.push([from, low - 1n]);
    from = last + 1n;
  }
  if (from <= high) left.push([from, high]);
  return left;
}

function interval({ family, value, length }: Prefix): Interval {
  const low = family === 4 ? mappedLow + value : value;
  return [low, low + (1n << BigInt((family === 4 ? 32 : 128) - length)) - 1n];
}
const intervals = (prefixes: readonly Prefix[]): Interval[] => normalise(prefixes.map(interval));

const unicast = complement(intervals(notUnicast), everyAddress);
const ipv6 = complement(ipv4, everyAddress);

/** Inner packets by family and by whether their protocol has ports. */
const inner: Sets[] = [0, 256].flatMap((base): Sets[] => {
  const addresses: Sets = base === 0 ? { source: ipv4, destination: ipv4 } : { source: ipv6, destination: ipv6 };
  return [
    { ...addresses, protocol: only(base + 6, base + 17) },
    {
      ...addresses,
      protocol: [span(base, base + 5), span(base + 7, base + 16), span(base + 18, base + 255)],
      destinationPort: only(0),
      sourcePort: only(0),
    },
  ];
});

const noTunnel: Sets = {
  baseStation: only(0),
  gateway: only(0),
  teid: only(0),
  qfi: only(NO_QFI),
  message: only(G_PDU),
};

function packetsOf(facts: DataplaneFacts, numbers: Intervals): Box[] {
  const pools = facts.pools.length > 0 ? intervals(facts.pools) : [span(0, everyAddress)];
  const ues = intersectIntervals(pools, unicast);
  const known = (source: Intervals | undefined) => intersectIntervals(source, ues) as Intervals;
  const packets = (tunnel: Sets): Box[] =>
    inner.flatMap((sets) => {
      const source = known(sets.source);
      return source.length === 0 ? [] : [box({ ...tunnel, ...sets, dataplane: numbers, source })];
    });
  if (facts.plugin === "ethernet") return packets(noTunnel);
  const ends = (peers: readonly Prefix[]) =>
    peers.length > 0 ? (intersectIntervals(intervals(peers), unicast) as Intervals) : unicast;
  const tunnel: Sets = { baseStation: ends(facts.accessPeers), gateway: ends(facts.corePeers) };
  const carried: Sets = {
    ...tunnel,
    teid: [span(1, 0xffffffff)],
    qfi: [span(0, 63), span(NO_QFI, NO_QFI)],
    message: only(G_PDU),
  };
  const signalling = box({ ...tunnel, dataplane: numbers, qfi: only(NO_QFI), message: [span(0, G_PDU - 1)] });
  return [...packets(carried), signalling];
}

export interface Universe {
  /** Each kind of packet that can come. */
  packets: Box[];
  protect: { text: string; box: Box }[];
}

/** Without data planes nothing is known of them, and packets may come on any. */
export function universeOf({ dataplanes, protect }: ValidationContext): Universe {
  // Data planes that differ in nothing but their names are one.
  const alike = new Map<string, { facts: DataplaneFacts; names: string[] }>();
  for (const facts of dataplanes ?? []) {
    const texts = (prefixes: readonly Prefix[]) => prefixes.map(formatPrefix).join();
    const key = [facts.plugin, texts(facts.pools), texts(facts.accessPeers), texts(facts.corePeers)].join(";");
    const group = alike.get(key) ?? { facts, names: [] };
    group.names.push(facts.name);
    alike.set(key, group);
  }
  const anything: DataplaneFacts = {
    name: "",
    plugin: "gtp",
    adapters: [],
    pools: [],
    accessPeers: [],
    corePeers: [],
  };
  const packets = dataplanes
    ? [...alike.values()].flatMap(({ facts, names }) => packetsOf(facts, only(...names.map(dataplaneNumber))))
    : (["gtp", "ethernet"] as const).flatMap((plugin) => packetsOf({ ...anything, plugin }, [span(0, 0xffffffff)]));
  return {
    packets,
    protect: protect.map((prefix) => ({
      text: formatPrefix(prefix),
      box: box({
        destination: [interval(prefix)],
        protocol: [prefix.family === 4 ? span(0, 255) : span(256, 511)],
        message: only(G_PDU),
      }),
    })),
  };
}

/** Those packets of a match that can come, as boxes that do not meet. */
export function possible(match: Box, { packets }: Universe): Box[] {
  const found: Box[] = [];
  for (const kind of packets) {
    const shared = intersect(match, kind);
    if (shared) found.push(shared);
  }
  return found;
}

const words: [(typeof dimensions)[number]["name"], string][] = [
  ["dataplane", "it names no data plane that is here"],
  ["message", "there is no GTP-U on these data planes"],
  ["protocol", "no UE there has an address of this family"],
  ["source", "no UE there has such an address"],
  ["baseStation", "no base station there has such an address"],
  ["gateway", "no gateway there has such an address"],
  ["teid", "no tunnel there has such a TEID"],
  ["qfi", "no packet there has such a QFI"],
  ["destinationPort", "packets of these protocols have no ports"],
  ["sourcePort", "packets of these protocols have no ports"],
  ["destination", "addresses and protocols are of different families"],
];

/** Why does no packet come that a match is about? The first condition that keeps all kinds of packets away. */
export function impossibility(match: Box, { packets }: Universe): string {
  let left = packets;
  for (const [name, text] of words) {
    const at = dimensionIndex[name];
    const rest = left.filter((kind) => intervalsMeet(match[at], kind[at]));
    if (rest.length === 0) return text;
    left = rest;
  }
  return "its conditions contradict each other";
}
