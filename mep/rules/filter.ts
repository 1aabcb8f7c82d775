/**
 * Which packets does a TrafficFilter mean (GS MEC 011 §7.1.5.2), as matches of the data plane?
 *
 * Pure. A filter is written as seen on the uplink: source is the UE, tunnel source the base station. Values of one member are
 * joined by or, members by and; each family that a filter can mean is a match of its own. What the data plane cannot compare is
 * refused by its path, because to leave it out would match more:
 *
 *   tag, uri, packetLabel   nobody here knows which packets have them
 *   srcTunnelPort           free by TS 29.281 §4.4.2.0, so nothing is told by it
 *   dstTunnelPort           2152 is the only one
 *   qCI                     is in no packet of S1-U; on N3 it means the QoS flow identifier of that number
 *   tC                      its six DSCP bits are compared, the two ECN bits must be 0
 */
import type { FieldError } from "../../controlplane/intents/model.ts";
import { contains, formatPrefix, type Prefix, parsePrefix } from "../../controlplane/intents/prefix.ts";
import { joined, joinedPrefixes } from "../../controlplane/intents/read-match.ts";
import type { Match, Range } from "../../dataplane/steering.ts";
import { rangeOfPorts, rangesOf } from "../model/ranges.ts";
import type { TrafficFilter } from "../model/rules.ts";

type Family = 4 | 6;

const protocolNumbers = new Map([
  ["icmp", 1],
  ["igmp", 2],
  ["tcp", 6],
  ["udp", 17],
  ["gre", 47],
  ["esp", 50],
  ["ah", 51],
  ["icmpv6", 58],
  ["sctp", 132],
  ["udplite", 136],
]);
const withPorts = [6, 17];
const gtpPort = 2152;
const largestQfi = 63;

export interface FilterRead {
  /** One for each family; without addresses and families one for both. */
  matches: Match[];
  errors: FieldError[];
}

export interface FilterOptions {
  /** Where the filter stands: `trafficFilter.0`. */
  field: string;
  /** Some data plane is on N3, where packets have QoS flow identifiers. */
  qfi: boolean;
  /** Only packets of this family can be meant, because of what happens to them. */
  family?: Family | undefined;
}

const prefixesOf = (values: readonly string[] | undefined): Prefix[] | undefined => values?.flatMap(rangesOf);
const portsOf = (values: readonly string[] | undefined): Range[] | undefined =>
  joined(
    values?.map((text) => rangeOfPorts(text) as Range),
    0,
    65535,
  );
const texts = (prefixes: readonly Prefix[]): string[] => joinedPrefixes(prefixes).map(formatPrefix);

class FilterReader {
  readonly errors: FieldError[] = [];

  constructor(
    readonly filter: TrafficFilter,
    readonly options: FilterOptions,
  ) {}

  fail(member: string, message: string): undefined {
    const { field } = this.options;
    this.errors.push({ field: member === "" ? field : `${field}.${member}`, message });
    return undefined;
  }

  /** Members that nothing can be compared with. */
  refuseUnknowable(): void {
    const { tag, uri, packetLabel, srcTunnelPort, dstTunnelPort } = this.filter;
    const because = {
      tag: "names a UE identity (GS MEC 014), and no such service tells here which addresses it means: use srcAddress",
      uri: "is inside HTTP, which the data plane does not read: use addresses, or a DNS rule for the name",
      packetLabel: "is a label that packets do not carry here: use other members",
    };
    const given = { tag, uri, packetLabel };
    for (const name of ["tag", "uri", "packetLabel"] as const) if (given[name]) this.fail(name, because[name]);
    if (srcTunnelPort && portsOf(srcTunnelPort)) {
      this.fail(
        "srcTunnelPort",
        "cannot be compared: the source port of GTP-U is free (TS 29.281 §4.4.2), leave it out",
      );
    }
    if (dstTunnelPort && portsOf(dstTunnelPort)?.some(([low, high]) => low <= gtpPort && gtpPort <= high) === false) {
      this.fail("dstTunnelPort", `must include ${gtpPort}, the only port that tunnels lead to (TS 29.281 §4.4.2)`);
    }
  }

  protocols(family: Family | undefined): number[] | undefined {
    const { protocol, srcPort, dstPort } = this.filter;
    const found = protocol?.map((text, index) => {
      const word = text.toLowerCase();
      const number = /^\d{1,3}$/.test(word) ? Number(word) : protocolNumbers.get(word);
      if (number === undefined || number > 255) {
        const names = [...protocolNumbers.keys()].join(", ");
        return this.fail(`protocol.${index}`, `must be a number 0..255 or one of ${names}`);
      }
      return word === "icmp" && family === 6 ? 58 : number; // the name means the family's own
    });
    if (found?.some((one) => one === undefined)) return undefined;
    const numbers = found as number[] | undefined;
    if (!srcPort && !dstPort) return numbers && [...new Set(numbers)].sort((a, b) => a - b);
    const left = withPorts.filter((one) => numbers?.includes(one) ?? true);
    if (left.length === 0)
      this.fail(dstPort ? "dstPort" : "srcPort", "needs tcp or udp: other protocols have no ports");
    return left;
  }

  dscp(): Range[] | undefined {
    const { dSCP, tC } = this.filter;
    if (tC !== undefined && (tC & 3) !== 0) {
      this.fail("tC", `has ECN bits, which are not compared: ${tC & ~3} means the same code point without them`);
    }
    const value = dSCP ?? (tC === undefined ? undefined : tC >> 2);
    return value === undefined ? undefined : [[value, value]];
  }

  qfi(): Range[] | undefined {
    const { qCI } = this.filter;
    if (qCI === undefined) return undefined;
    if (!this.options.qfi) {
      return this.fail("qCI", "is in no packet of S1-U; on N3 (interface: n3 in site.yaml) it is the QFI");
    }
    if (qCI > largestQfi) return this.fail("qCI", `must be 0..${largestQfi}: it is compared with the QFI, of six bits`);
    return [[qCI, qCI]];
  }

  outer(name: "srcTunnelAddress" | "tgtTunnelAddress"): string[] | undefined {
    const prefixes = prefixesOf(this.filter[name]);
    const mapped = { ...parsePrefix("::/96"), value: 0xffff00000000n };
    if (prefixes?.some((prefix) => contains(prefix, mapped))) {
      return this.fail(name, "::/0 and the like mean no network: leave it out, or write 2000::/3");
    }
    return prefixes && texts(prefixes);
  }

  /** Families of which some packet can satisfy the filter; undefined: any, and nothing asks which. */
  families(source: Prefix[] | undefined, destination: Prefix[] | undefined): Family[] | undefined {
    const { dSCP, tC, protocol } = this.filter;
    const { family } = this.options;
    const split = protocol?.some((text) => text.toLowerCase() === "icmp") === true; // another number in each
    const named = (prefixes: Prefix[] | undefined): Family[] | undefined => prefixes?.map((one) => one.family);
    const wanted = [
      named(source),
      named(destination),
      dSCP === undefined ? undefined : [4],
      tC === undefined ? undefined : [6],
    ];
    const own = wanted.filter((one) => one !== undefined) as Family[][];
    const left = ([4, 6] as const).filter((one) => own.every((list) => list.includes(one)));
    if (left.length === 0) {
      this.fail(
        "",
        "no packet satisfies it: its members are about IPv4 and IPv6 packets at once, so make two filters of it",
      );
    } else if (family !== undefined && !left.includes(family)) {
      this.fail("", `is about IPv${left[0]} packets, but the address in dstInterface is IPv${family}`);
    }
    if (own.length === 0 && family === undefined && !split) return undefined;
    return left.filter((one) => family === undefined || one === family);
  }

  matches(): Match[] {
    const { filter } = this;
    this.refuseUnknowable();
    const source = prefixesOf(filter.srcAddress);
    const destination = prefixesOf(filter.dstAddress);
    const families = this.families(source, destination);
    const dscp = this.dscp();
    const qfi = this.qfi();
    const [baseStation, gateway] = [this.outer("srcTunnelAddress"), this.outer("tgtTunnelAddress")];
    const [sourcePorts, destinationPorts] = [portsOf(filter.srcPort), portsOf(filter.dstPort)];
    const matches = (families ?? [undefined]).map((family): Match => {
      const of = (prefixes: Prefix[] | undefined) => {
        const mine = joinedPrefixes(prefixes?.filter((one) => one.family === family) ?? []);
        return mine.length === 0 || mine[0]?.length === 0 ? undefined : mine.map(formatPrefix);
      };
      const [from, to] = [of(source), of(destination)];
      const protocol = this.protocols(family);
      return {
        ...(family !== undefined && !from && !to && { family }),
        ...(to && { destination: to }),
        ...(from && { source: from }),
        ...(protocol && { protocol }),
        ...(destinationPorts && { destinationPorts }),
        ...(sourcePorts && { sourcePorts }),
        ...(dscp && { dscp }),
        ...(baseStation && { baseStation }),
        ...(gateway && { gateway }),
        ...(qfi && { qfi }),
      };
    });
    return matches;
  }
}

/** Matches mean nothing while there are errors. */
export function readFilter(filter: TrafficFilter, options: FilterOptions): FilterRead {
  const reader = new FilterReader(filter, options);
  const matches = reader.matches();
  const seen = new Set<string>();
  const errors = reader.errors.filter(({ field, message }) => {
    const text = `${field} ${message}`;
    if (seen.has(text)) return false;
    return seen.add(text);
  });
  return { matches, errors };
}

/** The same packets on their way back: what was from the UE is to it. Written as on the uplink, as all matches are. */
export function downlinkOf({
  destination,
  source,
  destinationPorts,
  sourcePorts,
  baseStation,
  gateway,
  ...rest
}: Match): Match {
  return {
    ...rest,
    ...(source && { destination: source }),
    ...(destination && { source: destination }),
    ...(sourcePorts && { destinationPorts: sourcePorts }),
    ...(destinationPorts && { sourcePorts: destinationPorts }),
    ...(gateway && { baseStation: gateway }),
    ...(baseStation && { gateway: baseStation }),
  };
}
