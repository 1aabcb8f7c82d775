/**
 * Which steering do the intents mean, and which of them contradict each other?
 *
 * Pure: the same intents give the same steering, whatever the order in which they came. A match is a box: a prefix of
 * destinations × a prefix of sources × protocols × two port ranges. Boxes meet exactly when they meet in every dimension,
 * so the conflict test is exact. Where two boxes of equal priority meet, a packet has two owners; seed 004 §5.2.2.2.1.3
 * leaves that undefined, here it is refused.
 */
import type { Endpoint, Hop, Match, Steering, SteeringRule } from "../../dataplane/steering.ts";
import { allUp, type Conditions } from "./conditions.ts";
import type { Intent, NumberedIntent, PortRange } from "./model.ts";
import { formatPrefix, overlaps, type Prefix } from "./prefix.ts";

const everyPort: PortRange = [0, 65535];
const anyPrefix: Record<4 | 6, Prefix> = {
  4: { family: 4, value: 0n, length: 0 },
  6: { family: 6, value: 0n, length: 0 },
};
const samePrefix = (a: Prefix, b: Prefix) => a.family === b.family && a.length === b.length && a.value === b.value;
const portsMeet = (a: PortRange, b: PortRange) => a[0] <= b[1] && b[0] <= a[1];
const samePorts = (a: PortRange, b: PortRange) => a[0] === b[0] && a[1] === b[1];

const prefixesMeet = (a: Prefix | undefined, b: Prefix | undefined) => !a || !b || overlaps(a, b);
const sameOrAny = (a: Prefix | undefined, b: Prefix | undefined, family: 4 | 6) =>
  a === b || samePrefix(a ?? anyPrefix[family], b ?? anyPrefix[family]);

/** Is there a packet that both match? */
export function matchesMeet(a: Intent, b: Intent): boolean {
  return (
    a.family === b.family &&
    prefixesMeet(a.destination, b.destination) &&
    prefixesMeet(a.source, b.source) &&
    (a.protocol === undefined || b.protocol === undefined || a.protocol === b.protocol) &&
    portsMeet(a.destinationPorts ?? everyPort, b.destinationPorts ?? everyPort) &&
    portsMeet(a.sourcePorts ?? everyPort, b.sourcePorts ?? everyPort)
  );
}

export function matchesEqual(a: Intent, b: Intent): boolean {
  return (
    a.family === b.family &&
    sameOrAny(a.destination, b.destination, a.family) &&
    sameOrAny(a.source, b.source, a.family) &&
    a.protocol === b.protocol &&
    samePorts(a.destinationPorts ?? everyPort, b.destinationPorts ?? everyPort) &&
    samePorts(a.sourcePorts ?? everyPort, b.sourcePorts ?? everyPort)
  );
}

export interface Conflict {
  kind: "same-name" | "same-match" | "ambiguous";
  /** The service that is met. */
  service: string;
  message: string;
}

/** All services that `intent` cannot stand beside. */
export function conflicts(intent: Intent, others: Iterable<Intent>): Conflict[] {
  const found: Conflict[] = [];
  for (const other of others) {
    const service = other.name;
    if (other.name === intent.name) {
      found.push({ kind: "same-name", service, message: `a service named "${service}" exists` });
    } else if (matchesEqual(intent, other)) {
      found.push({ kind: "same-match", service, message: `service "${service}" has the same match` });
    } else if (other.priority === intent.priority && matchesMeet(intent, other)) {
      found.push({
        kind: "ambiguous",
        service,
        message: `service "${service}" has the same priority ${other.priority} and matches some of the same packets: give one of them another priority`,
      });
    }
  }
  return found;
}

function match(intent: Intent): Match {
  // A source of /0 says nothing more once the destination has said which family is meant.
  const source = intent.source && (intent.source.length > 0 || !intent.destination) ? intent.source : undefined;
  return {
    ...(intent.destination && { destination: [formatPrefix(intent.destination)] }),
    ...(source && { source: [formatPrefix(source)] }),
    ...(intent.protocol !== undefined && { protocol: [intent.protocol] }),
    ...(intent.destinationPorts && { destinationPorts: [intent.destinationPorts] }),
    ...(intent.sourcePorts && { sourcePorts: [intent.sourcePorts] }),
  };
}

/** Entries never change, so with thousands of services a change of one costs one. */
const compiled = new WeakMap<NumberedIntent, SteeringRule>();

function rule(entry: NumberedIntent): SteeringRule {
  const known = compiled.get(entry);
  if (known) return known;
  const { intent, rule: id, index } = entry;
  const made: SteeringRule = {
    id,
    service: index,
    name: intent.name,
    priority: intent.priority,
    match: match(intent),
    action: intent.action,
    ...(intent.endpoint && { endpoints: [intent.endpoint] }),
    appInitiated: intent.appInitiated,
  };
  compiled.set(entry, made);
  return made;
}

/** The same object where nothing of the moment changes it. */
function atTheMoment(rule: SteeringRule, conditions: Conditions): SteeringRule {
  const { endpoints, treatment } = rule;
  let changed = false;
  const states = <T extends Endpoint | Hop>(list: T[], ask: (one: T) => T["state"]): T[] =>
    list.map((one) => {
      const state = ask(one);
      if (state === (one.state ?? "up")) return one;
      changed = true;
      return { ...one, state };
    });
  const asked = endpoints && states(endpoints, (endpoint) => conditions.endpoint(rule.name, endpoint));
  const hops = (list: Hop[]) => states(list, (hop) => conditions.vnf(hop.address));
  const chain = treatment?.chain;
  const walked = chain && { ...chain, uplink: hops(chain.uplink), downlink: hops(chain.downlink) };
  if (!changed) return rule;
  return {
    ...rule,
    ...(asked && { endpoints: asked }),
    ...(walked && { treatment: { ...treatment, chain: walked } }),
  };
}

/** Highest priority first; equal priorities do not meet, so their order is only made definite. */
export function compile(
  intents: Iterable<NumberedIntent>,
  protect: readonly string[],
  conditions: Conditions = allUp,
): Steering {
  const rules = [...intents]
    .map((entry) => atTheMoment(rule(entry), conditions))
    .sort((a, b) => b.priority - a.priority || a.id - b.id);
  return { rules, protect: [...protect] };
}
