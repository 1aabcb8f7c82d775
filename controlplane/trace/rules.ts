/**
 * Which rule does a packet meet first, and why not the others?
 *
 * A rule is a box, a packet a point (dataplane/space.ts); the reason why a rule is not met is the first dimension in which
 * the point lies outside.
 */
import {
  acts,
  addressNumber,
  type Box,
  boxOf,
  type DimensionName,
  DOWNLINK,
  dimensionIndex,
  dimensions,
  familyOf,
  G_PDU,
  isAboutPackets,
  macNumber,
  NO_QFI,
  outsideIn,
  type Point,
  ruleFamily,
  UPLINK,
} from "../../dataplane/space.ts";
import type { Direction, Match, SteeringRule } from "../../dataplane/steering.ts";
import type { Link, PacketFields, Tunnel } from "./frame.ts";

export interface TraceStep {
  rule: SteeringRule;
  met: boolean;
  /** Why it is not. */
  because?: string;
}

export interface Met {
  steps: TraceStep[];
  /** Rules before the one that is met, or all, that are not among the steps. */
  others: number;
  rule?: SteeringRule;
}

/** With so many rules or fewer, all are shown. */
const showAll = 20;
const showNear = 20;

/** What rules are matched against: a packet of the uplink. */
export interface Subject {
  packet: PacketFields;
  tunnel?: Tunnel;
  link?: Link;
  dataplane?: string;
  /** GTP-U message type. */
  message?: number;
  /** Absent: uplink. */
  direction?: Direction;
}

const words: Record<DimensionName, [name: string, member: keyof SteeringRule["match"]]> = {
  destination: ["destination", "destination"],
  source: ["source", "source"],
  protocol: ["protocol", "protocol"],
  destinationPort: ["destination port", "destinationPorts"],
  sourcePort: ["source port", "sourcePorts"],
  dscp: ["DSCP", "dscp"],
  dataplane: ["data plane", "dataplanes"],
  vlan: ["VLAN", "vlan"],
  innerVlan: ["inner VLAN", "innerVlan"],
  sourceMac: ["source MAC", "sourceMac"],
  destinationMac: ["destination MAC", "destinationMac"],
  baseStation: ["base station", "baseStation"],
  gateway: ["gateway", "gateway"],
  teid: ["TEID", "teid"],
  qfi: ["QFI", "qfi"],
  message: ["message type", "message"],
  direction: ["direction", "direction"],
};

const rangeText = (value: unknown): string =>
  Array.isArray(value) ? (value[0] === value[1] ? String(value[0]) : value.join("-")) : String(value);

/** `source is not in 10.45.9.0/24`, `destination port is not 80`. */
export function mismatchText(rule: SteeringRule, dimension: DimensionName, packet: PacketFields): string {
  const [name, member] = words[dimension];
  const family = familyOf(rule.match);
  if (dimension === "protocol" && family !== undefined && (family === 6) !== packet.source.includes(":")) {
    return `it is for IPv${family}`;
  }
  const value = rule.match[member];
  if (value === undefined) return dimension === "message" ? "it is for user packets" : `${name} is not any`;
  const list = (Array.isArray(value) ? value : [value]).map(rangeText);
  const text = list.length > 4 ? `${list.slice(0, 4).join(", ")}, … (${list.length})` : list.join(", ");
  return `${name} is not ${/^(destination|source|base station|gateway)$/.test(name) ? "in " : ""}${text}`;
}

/** @throws AddressError when a field is no address */
export function pointOf({ packet, tunnel, link, message, direction }: Subject, dataplane: number): Point {
  const v6 = packet.source.includes(":");
  const ports = packet.protocol === 6 || packet.protocol === 17;
  const [vlan = 0, innerVlan = 0] = tunnel?.vlans ?? link?.vlans ?? [];
  const values: Record<DimensionName, bigint | number> = {
    destination: addressNumber(packet.destination),
    source: addressNumber(packet.source),
    protocol: packet.protocol + (v6 ? 256 : 0),
    destinationPort: ports ? (packet.destinationPort ?? 0) : 0,
    sourcePort: ports ? (packet.sourcePort ?? 0) : 0,
    dscp: packet.dscp ?? 0,
    dataplane,
    vlan,
    innerVlan,
    sourceMac: link ? macNumber(link.sourceMac) : 0,
    destinationMac: link ? macNumber(link.destinationMac) : 0,
    baseStation: tunnel ? addressNumber(tunnel.source) : 0,
    gateway: tunnel ? addressNumber(tunnel.destination) : 0,
    teid: tunnel?.teid ?? 0,
    qfi: tunnel?.qfi ?? NO_QFI,
    message: message ?? G_PDU,
    direction: direction === "downlink" ? DOWNLINK : UPLINK,
  };
  return dimensions.map(({ name }) => BigInt(values[name]));
}

/** Rules do not change, and there may be ten thousand. */
const boxes = new WeakMap<Match, { planes: string; box: Box }>();

function boxFor({ match }: SteeringRule, planes: readonly string[]): Box {
  const names = planes.join(" ");
  const known = boxes.get(match);
  if (known?.planes === names) return known.box;
  const index = (name: string) => (planes.includes(name) ? planes.indexOf(name) : undefined);
  const box = boxOf(match, index);
  boxes.set(match, { planes: names, box });
  return box;
}

/** Could a rule that does more than pass meet some packet to this destination? Only then it is looked at closely. */
export function mayMatch(rules: readonly SteeringRule[], destination: string, planes: readonly string[]): boolean {
  const value = addressNumber(destination);
  return rules.some((rule) => {
    if (!acts(rule) || !isAboutPackets(rule.match)) return false;
    const intervals = boxFor(rule, planes)[dimensionIndex.destination];
    const family = destination.includes(":") ? 6 : 4;
    return intervals?.some(([low, high]) => value >= low && value <= high) ?? (ruleFamily(rule) ?? family) === family;
  });
}

/** `planes`: names of the data planes, the packet's among them. */
export function meet(rules: readonly SteeringRule[], subject: Subject, planes: readonly string[]): Met {
  const point = pointOf(subject, Math.max(0, planes.indexOf(subject.dataplane ?? "")));
  const steps: TraceStep[] = [];
  let others = 0;
  for (const rule of rules) {
    const outside = outsideIn(boxFor(rule, planes), point);
    if (outside === undefined) return { steps: [...steps, { rule, met: true }], others, rule };
    // The destination comes first: what fails later is at least for the same one.
    const near = outside !== "destination" && steps.length < showNear;
    if (rules.length > showAll && !near) others++;
    else steps.push({ rule, met: false, because: mismatchText(rule, outside, subject.packet) });
  }
  return { steps, others };
}
