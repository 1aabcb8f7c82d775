/**
 * Which rule does a packet meet, and where does it lead?
 *
 * Matches are read from their text (dataplane/steering.ts), one member after the other, and the rules one after the other:
 * slow and plain. Only the choice among several endpoints is the renderer's own function: any choice would be right.
 */

import { endpointSlots, slotOf } from "../../dataplane/ebpf/endpoints.ts";
import type { Direction, Endpoint, Range, SteeringRule } from "../../dataplane/steering.ts";
import { macText } from "../packets/bytes.ts";
import { addressOf, inPrefix, isMapped, type Packet, wireAddress } from "./read.ts";
import type { Address, ModelConfig } from "./state.ts";

const prefixes = new Map<string, { address: Address; bits: number }>();

/** `203.0.113.0/24` as address and bits, IPv4 mapped. */
export function prefixOf(text: string): { address: Address; bits: number } {
  let prefix = prefixes.get(text);
  if (!prefix) {
    const [address = "", length] = text.split("/");
    const address128 = addressOf(address);
    const most = address.includes(":") ? 128 : 32;
    prefix = { address: address128, bits: 128 - most + Number(length ?? most) };
    prefixes.set(text, prefix);
  }
  return prefix;
}

const isOfFamily = (text: string, family: 4 | 6) => (family === 6) === text.includes(":");

/** The family that a rule is for: its addresses', or its endpoints'; undefined: both. */
export function familyOf({ match, endpoints }: SteeringRule): 4 | 6 | undefined {
  const named = match.destination?.[0] ?? match.source?.[0];
  if (named !== undefined) return named.includes(":") ? 6 : 4;
  if (match.family) return match.family;
  return endpoints?.[0] && (isOfFamily(endpoints[0].address, 6) ? 6 : 4);
}

const inSome = (a: Address, list: readonly string[] | undefined) =>
  list === undefined || list.some((text) => a !== "" && inPrefix(a, prefixOf(text)));
const inRange = (n: number, list: readonly Range[] | undefined) =>
  list === undefined || list.some(([low, high]) => n >= low && n <= high);

/** Where a packet is, and in what: all but what is inside. Written as seen on the uplink. */
export interface Outside {
  direction: Direction;
  /** GTP-U message type. */
  message: number;
  link: number;
  sourceMac: string;
  destinationMac: string;
  /** Empty where there is none. */
  baseStation: Address;
  gateway: Address;
  teid: number;
  qfi: number;
}

export const uplinkOutside = (p: Packet, message = 255): Outside => ({
  direction: "uplink",
  message,
  link: p.link,
  sourceMac: macText(p.frame.subarray(6, 12)),
  destinationMac: macText(p.frame.subarray(0, 6)),
  baseStation: p.ethernet ? "" : p.source,
  gateway: p.ethernet ? "" : p.destination,
  teid: p.teid,
  qfi: qfiOf(p),
});

function matchesOutside({ match }: SteeringRule, at: Outside): boolean {
  return (
    (match.direction === undefined || match.direction === at.direction) &&
    inRange(at.message, match.message ?? [[255, 255]]) &&
    (match.dataplanes === undefined || match.dataplanes.includes("s1")) &&
    inRange(at.link >> 12, match.vlan) &&
    inRange(at.link & 0xfff, match.innerVlan) &&
    (match.destinationMac?.includes(at.destinationMac) ?? true) &&
    (match.sourceMac?.includes(at.sourceMac) ?? true) &&
    inSome(at.baseStation, match.baseStation) &&
    inSome(at.gateway, match.gateway) &&
    inRange(at.teid, match.teid) &&
    inRange(at.qfi, match.qfi)
  );
}

/** 254 where there is none. */
export const qfiOf = (p: Packet): number => (p.psc ? (p.psc[2] ?? 0) & 0x3f : 254);

export const portsOf = (p: Packet): { remote: number; ue: number } =>
  p.protocol === 6 || p.protocol === 17 ? { remote: p.remotePort, ue: p.uePort } : { remote: 0, ue: 0 };

export function ruleMatches(rule: SteeringRule, p: Packet, outside = uplinkOutside(p)): boolean {
  const { match } = rule;
  const family = familyOf(rule);
  const ports = portsOf(p);
  return (
    (family === undefined || family === p.innerVersion) &&
    (match.protocol === undefined || match.protocol.includes(p.protocol)) &&
    inSome(p.remote, match.destination) &&
    inSome(p.ue, match.source) &&
    inRange(ports.remote, match.destinationPorts) &&
    inRange(ports.ue, match.sourcePorts) &&
    inRange(p.dscp, match.dscp) &&
    matchesOutside(rule, outside)
  );
}

/** A message that has nothing inside meets only rules that say nothing about the inside. */
export function signallingMatches(rule: SteeringRule, p: Packet): boolean {
  const { match } = rule;
  const inside = [match.destination, match.source, match.protocol, familyOf(rule)];
  return (
    inside.every((member) => member === undefined) &&
    inRange(0, match.destinationPorts) &&
    inRange(0, match.sourcePorts) &&
    inRange(0, match.dscp) &&
    matchesOutside(rule, uplinkOutside(p, p.message))
  );
}

/** Index of an endpoint's next hop: any will do, as long as programs and model agree. */
export const nextHopOf = (config: ModelConfig, endpoint: string): number =>
  (wireAddress(addressOf(endpoint)).at(-1) ?? 0) % config.nextHops.length;

/** `10.45.0.1`, or eight groups. */
export const addressText = (a: Address): string =>
  isMapped(a) ? [...wireAddress(a)].join(".") : (a.match(/.{4}/g) ?? []).join(":");

/** The endpoint for this packet's flow; undefined when none is up. */
export function endpointOf(rule: SteeringRule, p: Packet): Endpoint | undefined {
  const endpoints = rule.endpoints ?? [];
  const slots = endpointSlots(endpoints);
  if (slots.length === 0) return undefined;
  const ports = portsOf(p);
  const connection = {
    ue: addressText(p.ue),
    remote: addressText(p.remote),
    protocol: p.protocol,
    uePort: ports.ue,
    remotePort: ports.remote,
  };
  return endpoints[slots[slotOf(connection, rule.affinity)]!];
}
