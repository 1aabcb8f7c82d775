/**
 * Which rules does the classifier get, and what does each of them lead to?
 *
 * Pure. A steering rule is one entry of the uplink classifier: its box, and its outcome. One by which an app may speak
 * first is an entry or two per endpoint in another classifier, where the endpoint stands in the place of the destination
 * and the outcome is what the UE sees.
 */
import { addressOctets } from "../address.ts";
import {
  addressNumber,
  type Box,
  boxOf,
  type DimensionName,
  dimensionIndex,
  dimensions,
  familyOf,
  type Interval,
  type Intervals,
  isAboutSignalling,
  normalise,
  ruleFamily,
} from "../space.ts";
import type { Copy, Endpoint, Match, SteeringRule } from "../steering.ts";
import * as c from "./consts.ts";
import { endpointSlots, isUp } from "./endpoints.ts";
import type { Entry, Outcome } from "./image.ts";
import { leavesWhole } from "./outlet-record.ts";

/** What rendering has to be told: the places of things that have one already. */
export interface Places {
  /** Index in `next_hops` of an endpoint. */
  nextHop(endpoint: string): number;
  /** Index in `next_hops` of a rule's output. Absent: the apps' network for all. */
  output?(rule: SteeringRule): number;
  /** Number of a mirror. Absent: there are none. */
  mirror?(copy: Copy): number;
  /** Index of a data plane; undefined for a name that is not known: its rules match nothing there. */
  dataplane?(name: string): number | undefined;
}

const actions = {
  pass: c.ACTION_PASS,
  take: c.ACTION_TAKE,
  route: c.ACTION_ROUTE,
  forward: c.ACTION_FORWARD,
  drop: c.ACTION_DROP,
} as const;

const octets = new Map<string, Uint8Array>();

/** Of an endpoint: few, named by many rules. */
function endpointOctets(address: string): Uint8Array {
  let known = octets.get(address);
  if (!known) {
    if (octets.size >= 65536) octets.clear();
    known = addressOctets(address);
    octets.set(address, known);
  }
  return known;
}

/** Matches are the same objects from one steering to the next where nothing changed. */
const boxes = new WeakMap<Match, { family: 4 | 6 | undefined; indices: string | undefined; box: Box }>();

/** Which packets the rule is about. */
export function ruleBox(rule: SteeringRule, places: Places): Box {
  const { match } = rule;
  const family = ruleFamily(rule);
  const indices = match.dataplanes?.map((name) => places.dataplane?.(name)).join();
  const known = boxes.get(match);
  if (known && known.family === family && known.indices === indices) return known.box;
  const named = familyOf(match) === undefined && family !== undefined ? { ...match, family } : match;
  const box = boxOf(named, (name) => places.dataplane?.(name));
  boxes.set(match, { family, indices, box });
  return box;
}

/** More has to be done with its packets than the short way does, or `deliver` for an endpoint or the apps' network. */
const isTreated = ({ treatment, output }: SteeringRule): boolean => treatment !== undefined || output !== undefined;

function outcomeOf(rule: SteeringRule, places: Places): Outcome {
  const flags =
    (rule.appInitiated ? c.RULE_APP_INITIATED : 0) |
    (isTreated(rule) ? c.RULE_TREATED : 0) |
    (rule.match.direction ? c.RULE_DIRECTED : 0) |
    (rule.affinity === "ue" ? c.RULE_BY_UE : 0);
  const action = leavesWhole(rule) ? c.ACTION_FORWARD : actions[rule.action];
  const outcome = { id: rule.id, service: rule.service, action, flags };
  if (rule.action === "pass") return rule.treatment ? { ...outcome, action: c.ACTION_THROUGH } : outcome;
  if (rule.action === "route" || rule.action === "forward") {
    return { ...outcome, next_hop: rule.output ? (places.output?.(rule) ?? 0) : 0 };
  }
  if (rule.action === "drop") return outcome;
  const up = rule.endpoints?.filter(isUp) ?? [];
  // Nobody is there to take it: the rule stands aside, and those below it as well.
  if (up.length === 0) return { ...outcome, action: c.ACTION_PASS, flags: 0 };
  return up.length === 1 ? { ...outcome, ...memberOf(up[0]!, places) } : outcome;
}

const memberOf = ({ address, port }: Endpoint, places: Places) => ({
  endpoint: endpointOctets(address),
  endpoint_port: port ?? 0,
  next_hop: places.nextHop(address),
});

function severalOf(rule: SteeringRule, places: Places): Entry["several"] {
  const { endpoints } = rule;
  if (rule.action !== "take" || !endpoints || endpoints.filter(isUp).length < 2) return undefined;
  const members = endpoints.map((endpoint) => {
    const { endpoint_port, ...member } = memberOf(endpoint, places);
    return { ...member, port: endpoint_port };
  });
  return { key: JSON.stringify(endpoints), slots: endpointSlots(endpoints), members };
}

/** Rules likewise are the same objects. Where several endpoints take turns, each has a place, and nothing is remembered. */
const entries = new WeakMap<SteeringRule, { nextHop: number; entry: Entry }>();

export function uplinkEntry(rule: SteeringRule, places: Places): Entry {
  const several = severalOf(rule, places);
  const box = ruleBox(rule, places);
  if (several) return { box, outcome: outcomeOf(rule, places), several };
  const nextHop = nextHopOf(rule, places);
  const known = entries.get(rule);
  if (known && known.nextHop === nextHop && known.entry.box === box) return known.entry;
  const entry = { box, outcome: outcomeOf(rule, places) };
  entries.set(rule, { nextHop, entry });
  return entry;
}

/** All that an outcome takes from the places of the moment. */
function nextHopOf(rule: SteeringRule, places: Places): number {
  const { output, endpoints } = rule;
  if (output) return places.output?.(rule) ?? 0;
  const endpoint = endpoints?.find(isUp);
  return endpoint ? places.nextHop(endpoint.address) : 0;
}

const PORTED: readonly Interval[] = [
  [6n, 6n],
  [17n, 17n],
  [262n, 262n],
  [273n, 273n],
];
const ECHO: readonly Interval[] = [
  [1n, 1n],
  [256n + 58n, 256n + 58n],
];

const larger = (a: bigint, b: bigint): bigint => (a < b ? b : a);
const smaller = (a: bigint, b: bigint): bigint => (b < a ? b : a);

/** What both have in common. */
export function intersect(a: Intervals | undefined, b: Intervals): Intervals {
  if (a === undefined) return b;
  const common: Interval[] = [];
  for (const [low, high] of a) {
    for (const [from, to] of b) if (from <= high && to >= low) common.push([larger(low, from), smaller(high, to)]);
  }
  return normalise(common);
}

/** What an app's packet, or the tunnel of the UE that it is for, can show. */
const shown: DimensionName[] = [
  "source",
  "sourcePort",
  "dataplane",
  "vlan",
  "innerVlan",
  "baseStation",
  "gateway",
  "teid",
];

const at = (sets: Partial<Record<DimensionName, Intervals | undefined>>): Box =>
  dimensions.map(({ name }) => sets[name]);

/** The UE must see one address: a rule for several has none to show. Draining endpoints may still speak. */
export function appEntries(rule: SteeringRule, places: Places): Entry[] {
  const destination = rule.match.destination ?? [];
  const [address, length] = destination[0]?.split("/") ?? [];
  const single =
    destination.length === 1 && (length === undefined || length === (address!.includes(":") ? "128" : "32"));
  if (!rule.appInitiated || rule.action !== "take" || !single) return [];
  const box = ruleBox(rule, places);
  const of = (name: DimensionName): Intervals | undefined => box[dimensionIndex[name]];
  const fromTunnel = Object.fromEntries(shown.map((name) => [name, of(name)]));
  const ports = of("destinationPort");
  const sees = { endpoint: addressOctets(address!), id: rule.id, service: rule.service, action: c.ACTION_TAKE };
  const flags = c.RULE_APP_INITIATED | (rule.treatment ? c.RULE_TREATED : 0);
  return (rule.endpoints ?? [])
    .filter(({ state }) => state !== "down")
    .flatMap((endpoint): Entry[] => {
      const number = addressNumber(endpoint.address);
      const base = { ...fromTunnel, destination: [[number, number]] as Interval[] };
      const own =
        endpoint.port === undefined ? ports : ([[BigInt(endpoint.port), BigInt(endpoint.port)]] as Interval[]);
      const outcome = { ...sees, flags, next_hop: places.nextHop(endpoint.address) };
      // No port is called 0.
      const first = Number(
        ports?.map(([low, high]) => (low > 0n ? low : smaller(high, 1n))).find((port) => port > 0n) ?? 0n,
      );
      const entries: Entry[] = [
        {
          box: at({ ...base, protocol: intersect(of("protocol"), PORTED), destinationPort: own }),
          // Without a port of its own in the rule, the UE sees the endpoint's.
          outcome: { ...outcome, endpoint_port: endpoint.port === undefined ? 0 : first },
        },
      ];
      if (!ports || ports[0]?.[0] === 0n) {
        entries.push({ box: at({ ...base, protocol: intersect(of("protocol"), ECHO) }), outcome });
      }
      return entries;
    });
}

/** On which fields of a packet, other than those that tell flows apart, do these rules depend? FIELD_* */
export function fieldsOf(rules: readonly SteeringRule[]): number {
  let fields = 0;
  for (const { match } of rules) {
    if (match.dscp) fields |= c.FIELD_DSCP;
    if (match.qfi) fields |= c.FIELD_QFI;
  }
  return fields >>> 0;
}

export const signalling = (rules: readonly SteeringRule[]): boolean =>
  rules.some(({ match }) => isAboutSignalling(match));
