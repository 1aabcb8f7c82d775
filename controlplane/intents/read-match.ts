/**
 * Which packets does the match of the second form mean?
 *
 * Names are those of Open vSwitch (ovs-fields(7)) where it has the field. Each takes one value or a list; what comes out is
 * a canonical `Match`: lists are sorted, joined and without what others contain, and a list that holds everything is gone,
 * so that equal sets are written equally. Contradictions between fields are named here, too.
 */
import { G_PDU } from "../../dataplane/space.ts";
import type { Match, Range } from "../../dataplane/steering.ts";
import type { ValidationContext } from "./context.ts";
import { contains, formatPrefix, type Prefix, parsePrefix } from "./prefix.ts";
import type { Fields, Reader } from "./reader.ts";

const protocols: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 };
const accepted = [1, 6, 17, 58];

/** RFC 2474, 2597, 3246, 5865, 8622. */
const codePoints: Record<string, number> = Object.fromEntries([
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((precedence) => [`cs${precedence}`, precedence * 8]),
  ...[1, 2, 3, 4].flatMap((row) => [1, 2, 3].map((drop) => [`af${row}${drop}`, row * 8 + drop * 2])),
  ["be", 0],
  ["le", 1],
  ["ef", 46],
  ["voice-admit", 44],
]);

/** TS 29.281 §6.1, table 6.1-1. */
const messageTypes: Record<string, number> = {
  "echo-request": 1,
  "echo-response": 2,
  "error-indication": 26,
  "supported-extension-headers": 31,
  "end-marker": 254,
  "g-pdu": G_PDU,
};

export const matchFields = [
  "nw_dst",
  "nw_src",
  "protocol",
  "tp_dst",
  "tp_src",
  "nw_dscp",
  "in_port",
  "dl_src",
  "dl_dst",
  "dl_vlan",
  "tun_src",
  "tun_dst",
  "tun_id",
  "qfi",
  "gtpu_msgtype",
  "direction",
] as const;

const path = (field: (typeof matchFields)[number]) => `rules.${field}`;

/** Ascending, joined where they meet; undefined when everything from `low` to `high` is in. */
export function joined(ranges: readonly Range[] | undefined, low: number, high: number): Range[] | undefined {
  if (!ranges) return undefined;
  const sorted = ranges.map(([from, to]): Range => [from, to]).sort((a, b) => a[0] - b[0]);
  const out: Range[] = [];
  for (const [from, to] of sorted) {
    const last = out.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else out.push([from, to]);
  }
  const only = out[0];
  return only && only[0] <= low && only[1] >= high ? undefined : out;
}

/** Without what another one contains; halves of one prefix become that prefix. */
export function joinedPrefixes(prefixes: readonly Prefix[]): Prefix[] {
  const out: Prefix[] = [];
  const sorted = [...prefixes].sort((a, b) =>
    a.family !== b.family
      ? a.family - b.family
      : a.value !== b.value
        ? a.value < b.value
          ? -1
          : 1
        : a.length - b.length,
  );
  for (const prefix of sorted) {
    if (out.at(-1) && contains(out.at(-1) as Prefix, prefix)) continue;
    out.push(prefix);
    for (;;) {
      const [left, right] = out.slice(-2);
      if (!left || !right || left.family !== right.family || left.length !== right.length || left.length === 0) break;
      const whole = { ...left, length: left.length - 1 };
      const bit = 1n << BigInt((left.family === 4 ? 32 : 128) - left.length);
      if ((left.value & bit) !== 0n || right.value !== (left.value | bit)) break;
      out.splice(-2, 2, whole);
    }
  }
  return out;
}

const sorted = <T>(values: Iterable<T>): T[] => [...new Set(values)].sort((a, b) => (a < b ? -1 : 1));
const texts = (prefixes: readonly Prefix[]) => prefixes.map(formatPrefix);

function protocolsOf(read: Reader, value: unknown, family: 4 | 6 | undefined): number[] | undefined {
  const found = read.list(value, path("protocol"), (one, field) => {
    let number: unknown = one;
    if (typeof one === "string") {
      const word = one.toLowerCase();
      number = /^\d{1,3}$/.test(word) ? Number(word) : Object.hasOwn(protocols, word) ? protocols[word] : undefined;
      if (word === "icmp" && family === 6) number = 58; // the name means the family's own
    }
    if (typeof number !== "number" || !accepted.includes(number)) {
      return read.fail(field, "must be 1 (icmp), 6 (tcp), 17 (udp) or 58 (icmpv6)");
    }
    if (number === 58 && family === 4)
      return read.fail(field, "58 is ICMP for IPv6, but the addresses are IPv4: use 1");
    if (number === 1 && family === 6) return read.fail(field, "1 is ICMP for IPv4, but the addresses are IPv6: use 58");
    return number;
  });
  return found && sorted(found);
}

/** All of one family. */
function innerPrefixes(read: Reader, value: unknown, field: string): Prefix[] | undefined {
  const found = read.list(value, field, (one, at) => read.prefix(one, at));
  const first = found?.[0];
  if (found?.some((one) => one.family !== first?.family)) {
    return read.fail(field, "mixes IPv4 and IPv6: a service is of one family, so make two of it");
  }
  return found && joinedPrefixes(found);
}

function outerPrefixes(read: Reader, value: unknown, field: string): string[] | undefined {
  const mapped = { ...parsePrefix("::/96"), value: 0xffff00000000n };
  const found = read.list(value, field, (one, at) => {
    const prefix = read.prefix(one, at);
    if (!prefix || !contains(prefix, mapped)) return prefix;
    return read.fail(at, `${formatPrefix(prefix)} means no network: leave the field out, or write 2000::/3`);
  });
  return found && texts(joinedPrefixes(found));
}

/** `100`, `"100-199"`, `"none"`, and `"100.200"` for a tag within a tag. */
function vlans(read: Reader, value: unknown): Pick<Match, "vlan" | "innerVlan"> {
  const field = path("dl_vlan");
  const said = 'a VLAN id 1..4094, a range "100-199", "none", or "100.200" for an outer and an inner tag';
  const found = read.list(value, field, (one, at): { outer: Range; inner?: Range } | undefined => {
    if (one === "none") return { outer: [0, 0] };
    const pair = typeof one === "string" ? /^(\d{1,4})\.(\d{1,4})$/.exec(one) : null;
    if (!pair) {
      const outer = read.range(one, at, { low: 1, high: 4094, said });
      return outer && { outer };
    }
    const [outer, inner] = [Number(pair[1]), Number(pair[2])];
    if ([outer, inner].some((id) => id < 1 || id > 4094)) return read.fail(at, `must be ${said}`);
    return { outer: [outer, outer], inner: [inner, inner] };
  });
  if (!found) return {};
  const pairs = found.flatMap(({ outer, inner }) => (inner ? [`${outer[0]}.${inner[0]}`] : []));
  const outer = joined(
    found.map((one) => one.outer),
    0,
    4095,
  );
  const inner = joined(
    found.flatMap((one) => (one.inner ? [one.inner] : [])),
    0,
    4095,
  );
  const count = (ranges: Range[] = []) => ranges.reduce((sum, [low, high]) => sum + high - low + 1, 0);
  if (pairs.length > 0 && (pairs.length < found.length || new Set(pairs).size !== count(outer) * count(inner))) {
    read.fail(
      field,
      "lists tags within tags that are not every outer with every inner one: make several services of it",
    );
    return {};
  }
  return { ...(outer && { vlan: outer }), ...(pairs.length > 0 && inner && { innerVlan: inner }) };
}

function dataplanes(read: Reader, value: unknown, context: ValidationContext): string[] | undefined {
  const found = read.list(value, path("in_port"), (one, at) => {
    if (typeof one !== "string" || one === "") return read.fail(at, "must be the name of a data plane");
    const known = context.dataplanes?.map(({ name }) => name);
    if (!known || known.includes(one)) return one;
    return read.fail(at, `there is no data plane "${one.slice(0, 40)}"; there are ${known.join(", ")}`);
  });
  return found && sorted(found);
}

function dscp(read: Reader, value: unknown): Range[] | undefined {
  const said = 'a code point 0..63, a range, or a name such as "EF", "AF41" or "CS1"';
  const options = { low: 0, high: 63, said, names: codePoints };
  return joined(
    read.list(value, path("nw_dscp"), (one, at) => read.range(one, at, options)),
    0,
    63,
  );
}

function ports(read: Reader, value: unknown, field: "tp_dst" | "tp_src"): Range[] | undefined {
  const options = { low: 1, high: 65535, said: 'a port 1..65535, or a range "8000-8099"' };
  return joined(
    read.list(value, path(field), (one, at) => read.range(one, at, options)),
    0,
    65535,
  );
}

function tunnel(read: Reader, rules: Fields): Partial<Match> {
  const baseStation = outerPrefixes(read, rules.tun_src, path("tun_src"));
  const gateway = outerPrefixes(read, rules.tun_dst, path("tun_dst"));
  const id = { low: 0, high: 0xffffffff, said: 'a TEID 0..4294967295, 0x…, or a range "0x10-0x20"' };
  const teid = joined(
    read.list(rules.tun_id, path("tun_id"), (one, at) => read.range(one, at, id)),
    0,
    0xffffffff,
  );
  const qfi = joined(
    read.list(rules.qfi, path("qfi"), (one, at) =>
      read.range(one, at, { low: 0, high: 63, said: "a QoS flow identifier 0..63" }),
    ),
    0,
    255,
  );
  return {
    ...(baseStation && { baseStation }),
    ...(gateway && { gateway }),
    ...(teid && { teid }),
    ...(qfi && { qfi }),
  };
}

function messages(read: Reader, value: unknown): Range[] | undefined {
  const said = 'a GTP-U message type 0..255, or a name such as "echo-request", "end-marker" or "g-pdu"';
  const options = { low: 0, high: 255, said, names: messageTypes };
  const found = read.list(value, path("gtpu_msgtype"), (one, at) => read.range(one, at, options));
  return joined(found, -1, 256);
}

/** Does a match name GTP-U messages other than G-PDUs? */
export const namesSignalling = ({ message }: Match): boolean => message?.some(([low]) => low < G_PDU) === true;

/** Fields of the inner packet, and of the PDU Session Container: signalling has neither. */
const innerFields = ["nw_dst", "protocol", "tp_dst", "tp_src", "nw_dscp", "qfi"] as const;

export interface MatchRead {
  match: Match;
  family: 4 | 6 | undefined;
  /** Canonical. */
  destination: Prefix[] | undefined;
  /** True when every packet of the match has ports. */
  hasPorts: boolean;
  /** The protocol is given, but wrong. */
  protocolUnread: boolean;
}

export function readMatch(read: Reader, rules: Fields, context: ValidationContext): MatchRead {
  const message = messages(read, rules.gtpu_msgtype);
  const signalling = namesSignalling({ ...(message && { message }) });
  const destination = innerPrefixes(read, rules.nw_dst, path("nw_dst"));
  if (rules.nw_src === undefined && !signalling) {
    read.fail(path("nw_src"), "is required; 0.0.0.0/0 or ::/0 means every UE");
  }
  const source = innerPrefixes(read, rules.nw_src, path("nw_src"));
  const family = (destination ?? source)?.[0]?.family;
  if (destination && source && destination[0]?.family !== source[0]?.family) {
    read.fail(
      path("nw_src"),
      `is IPv${source[0]?.family}, but nw_dst is IPv${destination[0]?.family}: both must be of one family`,
    );
  }
  const protocol = protocolsOf(read, rules.protocol, family);
  const destinationPorts = ports(read, rules.tp_dst, "tp_dst");
  const sourcePorts = ports(read, rules.tp_src, "tp_src");
  const hasPorts = protocol?.every((one) => one === 6 || one === 17) === true;
  const protocolUnread = rules.protocol !== undefined && protocol === undefined;
  for (const field of ["tp_dst", "tp_src"] as const) {
    if (rules[field] !== undefined && !protocolUnread && !hasPorts) {
      read.fail(path(field), "needs protocol 6 (tcp) or 17 (udp)");
    }
  }
  if (signalling) {
    for (const field of innerFields) {
      if (rules[field] !== undefined)
        read.fail(path(field), "does not go with gtpu_msgtype: only G-PDUs carry packets");
    }
    if (source?.some(({ length }) => length > 0)) {
      read.fail(path("nw_src"), "does not go with gtpu_msgtype: only G-PDUs carry packets");
    }
  }
  const names = dataplanes(read, rules.in_port, context);
  const outer = tunnel(read, rules);
  refuseTunnelsOnEthernet(read, rules, names, context);
  const sourceMac = read.list(rules.dl_src, path("dl_src"), (one, at) => {
    const mac = read.mac(one, at);
    if (mac === undefined || !(Number.parseInt(mac.slice(0, 2), 16) & 1)) return mac;
    return read.fail(at, `${mac} is a group address, from which nobody sends`);
  });
  const destinationMac = read.list(rules.dl_dst, path("dl_dst"), (one, at) => read.mac(one, at));
  const dscps = dscp(read, rules.nw_dscp);
  // A prefix of /0 says nothing more once the other one has said which family is meant; signalling has no family.
  const whole = (prefixes: Prefix[] | undefined) => prefixes?.[0]?.length === 0;
  const everyDestination = whole(destination) && source !== undefined;
  const everySource = signalling || (destination !== undefined && !everyDestination && whole(source));
  const direction = read.oneOf(rules.direction, path("direction"), ["uplink", "downlink"] as const);
  const match: Match = {
    ...(direction && { direction }),
    ...(destination && !everyDestination && { destination: texts(destination) }),
    ...(source && !everySource && { source: texts(source) }),
    ...(protocol && { protocol }),
    ...(destinationPorts && { destinationPorts }),
    ...(sourcePorts && { sourcePorts }),
    ...(dscps && { dscp: dscps }),
    ...(names && { dataplanes: names }),
    ...vlans(read, rules.dl_vlan),
    ...(sourceMac && { sourceMac: sorted(sourceMac) }),
    ...(destinationMac && { destinationMac: sorted(destinationMac) }),
    ...outer,
    ...(signalling && message && { message }),
  };
  return { match, family, destination, hasPorts, protocolUnread };
}

function refuseTunnelsOnEthernet(
  read: Reader,
  rules: Fields,
  names: string[] | undefined,
  { dataplanes: known }: ValidationContext,
): void {
  const meant = names ? known?.filter(({ name }) => names.includes(name)) : known;
  if (!meant || meant.length === 0 || meant.some(({ plugin }) => plugin === "gtp")) return;
  const of = meant.map(({ name }) => name).join(", ");
  for (const field of ["tun_src", "tun_dst", "tun_id", "qfi", "gtpu_msgtype"] as const) {
    if (rules[field] !== undefined) {
      read.fail(path(field), `needs a data plane with plugin gtp: ${of} carries plain Ethernet, without tunnels`);
    }
  }
}
