/**
 * Is a rule within what the app's package was granted?
 *
 * The descriptors of the package are the grant: what its provider wrote, and management onboarded. A rule is within it when
 * each packet that it can meet is one that descriptors of the same action and filter type, of the same or a higher priority,
 * would meet as well, and its packets go where those send them, or to the instance's own addresses. The test is exact: a match
 * is a box (dataplane/space.ts), and the boxes of the rule must be covered by those of the grant.
 */
import { isDeepStrictEqual } from "node:util";
import { Problem } from "../../controlplane/errors.ts";
import { boxesMeet, boxOfMatch } from "../../controlplane/intents/algebra.ts";
import { cover } from "../../controlplane/intents/cover.ts";
import type { Intent } from "../../controlplane/intents/model.ts";
import { packetOf, packetText, pick } from "../../controlplane/intents/witness.ts";
import type { DestinationInterface, TrafficRuleDescriptor } from "../model/rules.ts";
import { compileRule, type RuleOwner, type RuleSite } from "./compile.ts";

/** Steps that one question may take: about ten milliseconds, in which nobody else is served. */
const questionLimit = 1_000_000;

/** The members that the interface's type uses. */
function used({ interfaceType, tunnelInfo, srcMacAddress, dstMacAddress, dstIpAddress }: DestinationInterface): object {
  if (interfaceType === "MAC") return { interfaceType, srcMacAddress, dstMacAddress };
  return interfaceType === "IP" ? { interfaceType, dstIpAddress } : { interfaceType, tunnelInfo };
}

/** Where copies and packets of each direction go; one interface is for both. */
const ends = (list: readonly DestinationInterface[] = []): DestinationInterface[] => {
  const [first, second = first] = list;
  return first && second ? [first, second] : [];
};

function goesWhereGranted(rule: TrafficRuleDescriptor, grant: TrafficRuleDescriptor, own: readonly string[]): boolean {
  // What passes goes nowhere else, whatever an interface says.
  if (rule.action === "PASSTHROUGH") return true;
  const granted = ends(grant.dstInterface);
  return ends(rule.dstInterface).every((one, index) => {
    const isOwn = one.interfaceType === "IP" && (one.dstIpAddress === undefined || own.includes(one.dstIpAddress));
    const other = granted[index];
    return isOwn || (other !== undefined && isDeepStrictEqual(used(one), used(other)));
  });
}

/**
 * Why is the rule outside the grant? Undefined: it is within. `intents` are what it compiles to.
 */
export function outsideGrant(
  rule: TrafficRuleDescriptor,
  intents: readonly Intent[],
  grants: readonly TrafficRuleDescriptor[],
  owner: RuleOwner,
  site: RuleSite,
): string | undefined {
  let left = grants.filter(({ action }) => action === rule.action);
  if (left.length === 0) {
    const actions = [...new Set(grants.map(({ action }) => action))];
    return `action ${rule.action} was not granted to its package, which has ${actions.join(", ") || "no traffic rules"}`;
  }
  left = left.filter(({ filterType }) => filterType === rule.filterType);
  if (left.length === 0) return `filterType ${rule.filterType} was not granted for ${rule.action}`;
  left = left.filter((grant) => goesWhereGranted(rule, grant, owner.addresses));
  if (left.length === 0) {
    return `dstInterface is none that was granted for ${rule.action}, nor an address of the instance`;
  }
  const highest = Math.min(...left.map(({ priority }) => priority));
  left = left.filter(({ priority }) => priority <= rule.priority);
  if (left.length === 0) {
    return `priority ${rule.priority} is higher than ${highest}, the highest that was granted (0 is the highest of all)`;
  }
  const { dstInterface } = rule;
  const boxes = left.flatMap(({ dstInterface: _granted, ...grant }) =>
    compileRule({ ...grant, ...(dstInterface && { dstInterface }) }, owner, site).intents.map(({ match }) =>
      boxOfMatch(match),
    ),
  );
  for (const { match } of intents) {
    const box = boxOfMatch(match);
    const answer = cover(box, boxes, questionLimit);
    if ("by" in answer) continue;
    if ("undecided" in answer) {
      return "whether trafficFilter is within what was granted is too hard a question: write fewer or simpler filters";
    }
    const packet = packetText(packetOf(pick(answer.uncovered), [box, ...boxes]));
    return `trafficFilter meets packets that were not granted, for example ${packet}`;
  }
  return undefined;
}

/** The rule in force with which these cannot stand at the same time: of the same priority, with some of the same packets. */
export function ambiguousWith(intents: readonly Intent[], inForce: Iterable<Intent>): Intent | undefined {
  const [first] = intents;
  if (!first) return undefined;
  const boxes = intents.map(({ match }) => boxOfMatch(match));
  for (const other of inForce) {
    if (other.priority !== first.priority || other.group === first.group) continue;
    const box = boxOfMatch(other.match);
    if (boxes.some((one) => boxesMeet(one, box))) return other;
  }
  return undefined;
}

/** Two rules of one priority must not have a packet in common. @throws Problem that names both */
export function refuseAmbiguous(put: readonly Intent[], inForce: readonly Intent[]): void {
  const groups = new Map<string, Intent[]>();
  for (const intent of put) groups.set(intent.group ?? "", [...(groups.get(intent.group ?? "") ?? []), intent]);
  for (const [group, intents] of groups) {
    const other = ambiguousWith(intents, inForce);
    if (!other) continue;
    const name = other.group ?? other.name;
    throw new Problem(
      "forbidden",
      `nothing has changed: "${group}" and "${name}", which is ACTIVE, have the same priority ${-1 - other.priority} and some of the same packets: give one of them another priority`,
      { services: [group, name] },
    );
  }
}
