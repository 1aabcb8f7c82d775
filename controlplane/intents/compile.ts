/**
 * Which steering do the intents mean, and which of them contradict each other?
 *
 * Pure: the same intents give the same steering, whatever the order in which they came. A match is a box (algebra.ts), so
 * the conflict test is exact. Where two boxes of equal priority meet, a packet has two owners; seed 004 §5.2.2.2.1.3 leaves
 * that undefined, here it is refused.
 */
import { vniOf } from "../../dataplane/chain.ts";
import type { Endpoint, Hop, Names, Steering, SteeringRule, Treatment } from "../../dataplane/steering.ts";
import { boxesEqual, boxesMeet, boxOfMatch } from "./algebra.ts";
import { allUp, type Conditions } from "./conditions.ts";
import type { ChainFunction, Intent, NumberedIntent } from "./model.ts";

/** Is there a packet that both match? */
export const matchesMeet = (a: Intent, b: Intent): boolean => boxesMeet(boxOfMatch(a.match), boxOfMatch(b.match));

export const matchesEqual = (a: Intent, b: Intent): boolean => boxesEqual(boxOfMatch(a.match), boxOfMatch(b.match));

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

export const defaultVniBase = 4096;

function treatmentOf({ intent, index }: NumberedIntent, vniBase: number): Treatment | undefined {
  const { chain, mirror, rate } = intent;
  if (!chain && !mirror && !rate) return undefined;
  const hops = (functions: ChainFunction[], downlink: boolean): Hop[] =>
    functions.map(({ address, encapsulation }, position) => ({
      address,
      vni: vniOf(vniBase, index, downlink, position),
      encapsulation,
    }));
  return {
    ...(chain && {
      chain: {
        uplink: hops(chain.uplink, false),
        downlink: hops(chain.downlink, true),
        unreachable: chain.unreachable,
      },
    }),
    ...(mirror && { mirror }),
    ...(rate && { rate }),
  };
}

/** Entries never change, so with thousands of services a change of one costs one. */
const compiled = new WeakMap<NumberedIntent, { vniBase: number; rule: SteeringRule }>();

function rule(entry: NumberedIntent, vniBase: number): SteeringRule {
  const known = compiled.get(entry);
  if (known?.vniBase === vniBase) return known.rule;
  const { intent, rule: id, index } = entry;
  const { endpoints, affinity, output } = intent;
  const treatment = treatmentOf(entry, vniBase);
  const made: SteeringRule = {
    id,
    service: index,
    name: intent.name,
    priority: intent.priority,
    match: intent.match,
    action: intent.action,
    ...(endpoints && { endpoints }),
    ...(affinity && { affinity }),
    ...(output && { output }),
    ...(treatment && { treatment }),
    appInitiated: intent.appInitiated,
  };
  compiled.set(entry, { vniBase, rule: made });
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

export interface CompileOptions {
  /** Absent: everything is up. */
  conditions?: Conditions | undefined;
  /** `vxlan.vniBase` */
  vniBase?: number | undefined;
  /** Of the platform's name server. Absent: those in force stay. */
  names?: Names | undefined;
}

/** Highest priority first; equal priorities do not meet, so their order is only made definite. */
export function compile(
  intents: Iterable<NumberedIntent>,
  protect: readonly string[],
  { conditions = allUp, vniBase = defaultVniBase, names }: CompileOptions = {},
): Steering {
  const rules = [...intents]
    .map((entry) => atTheMoment(rule(entry, vniBase), conditions))
    .sort((a, b) => b.priority - a.priority || a.id - b.id);
  return { rules, protect: [...protect], ...(names && { names }) };
}
