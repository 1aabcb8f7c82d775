/**
 * Which rules of a set contradict each other, never act, or send packets round in circles? (C7)
 *
 *   conflict     two rules of equal priority have a packet in common
 *   shadowed     all packets of a rule belong to rules of higher priority
 *   unreachable  no packet of a rule ever comes to the rules: it is protected, or cannot be at this site
 *   loop         packets would come back to the appliance (loops.ts)
 *   undecided    the question was too hard; nothing is claimed
 *
 * Exact set algebra, no sampling. Each finding names the services and, where there is one, a packet that shows it.
 */
import type { Box } from "../../dataplane/space.ts";
import { boxesMeet, boxOfMatch, holds, intersect, reachOf } from "./algebra.ts";
import type { ValidationContext } from "./context.ts";
import { cover } from "./cover.ts";
import { loops } from "./loops.ts";
import { Meeting } from "./meeting.ts";
import type { Intent } from "./model.ts";
import { impossibility, possible, type Universe, universeOf } from "./universe.ts";
import { type PacketExample, packetOf, packetText, pick, pickOf } from "./witness.ts";

export interface Finding {
  kind: "conflict" | "shadowed" | "unreachable" | "loop" | "undecided";
  /** The one that it is about first, then those that it meets. */
  services: string[];
  /** Of the body, where one field says it. */
  field?: string;
  message: string;
  packet?: PacketExample;
}

export type Ruled = Pick<Intent, "name" | "priority" | "match">;

const quoted = (names: readonly string[]): string =>
  names.length <= 5
    ? names.map((name) => `"${name}"`).join(names.length === 2 ? " and " : ", ")
    : `${names
        .slice(0, 4)
        .map((name) => `"${name}"`)
        .join(", ")} and ${names.length - 4} more`;

const withPacket = (message: string, packet: PacketExample | undefined) =>
  packet ? `${message}; for example ${packetText(packet)}` : message;

function finding(kind: Finding["kind"], services: string[], message: string, packet?: PacketExample): Finding {
  return { kind, services, message: withPacket(message, packet), ...(packet && { packet }) };
}

/** A packet of both; undefined when they do not meet. One that can come is preferred. */
export function sharedPacket(a: Ruled, b: Ruled, universe: Universe): PacketExample | undefined {
  const [left, right] = [boxOfMatch(a.match), boxOfMatch(b.match)];
  const shared = intersect(left, right);
  if (!shared) return undefined;
  return packetOf(pickOf(possible(shared, universe)[0] ?? shared), [left, right]);
}

export function conflictFinding(a: Ruled, b: Ruled, universe: Universe): Finding | undefined {
  const packet = sharedPacket(a, b, universe);
  return (
    packet &&
    finding(
      "conflict",
      [a.name, b.name],
      `${quoted([a.name, b.name])} have the same priority ${a.priority} and some of the same packets: give one of them another priority`,
      packet,
    )
  );
}

/** The core's packets may come from protected addresses. */
const guardsOf = ({ match }: Ruled, { protect }: Universe): Universe["protect"] =>
  match.direction === "downlink" ? [] : protect;

/**
 * Why does a rule never act? Undefined when some packet comes to it. `higher` are the rules of higher priority that it
 * meets, highest first.
 */
export function neverActs(
  rule: Ruled,
  higher: readonly Ruled[],
  universe: Universe,
  limit?: number,
): Finding | undefined {
  const box = boxOfMatch(rule.match);
  const never = `"${rule.name}" never acts`;
  const kinds = possible(reachOf(rule.match), universe);
  const guards = guardsOf(rule, universe);
  if (kinds.length === 0) {
    return finding(
      "unreachable",
      [rule.name],
      `${never}: ${impossibility(box, universe)}`,
      packetOf(pickOf(box), [box]),
    );
  }
  const owners = [...guards.map((one) => one.box), ...higher.map(({ match }) => boxOfMatch(match))];
  const used = new Set<number>();
  let undecided = false;
  for (const kind of kinds) {
    const answer = cover(kind, owners, limit);
    if ("uncovered" in answer) return undefined;
    if ("undecided" in answer) undecided = true;
    else for (const at of answer.by) used.add(at);
  }
  if (undecided) {
    return finding("undecided", [rule.name], `whether "${rule.name}" ever acts is too hard a question for this set`);
  }
  const protectors = guards.filter((_, at) => used.has(at));
  const names = higher.filter((_, at) => used.has(at + guards.length)).map(({ name }) => name);
  const guarded = `${protectors.map(({ text }) => text).join(", ")} ${protectors.length === 1 ? "is" : "are"} protected from UEs`;
  const packet = packetOf(pickOf(kinds[0]!), [box, ...owners.filter((_, at) => used.has(at))]);
  if (names.length === 0) return finding("unreachable", [rule.name], `${never}: ${guarded}`, packet);
  const owned = `${quoted(names)}, of higher priority, ${names.length === 1 ? "has" : "have"} all of its packets`;
  return finding(
    "shadowed",
    [rule.name, ...names],
    `${never}: ${owned}${protectors.length > 0 ? ` but those of which ${guarded}` : ""}`,
    packet,
  );
}

/** A packet that comes to the rule; undefined when none does. */
export function packetFor(rule: Ruled, higher: readonly Ruled[], universe: Universe): PacketExample | undefined {
  const box = boxOfMatch(rule.match);
  const owners = [...guardsOf(rule, universe).map(({ box }) => box), ...higher.map(({ match }) => boxOfMatch(match))];
  for (const kind of possible(reachOf(rule.match), universe)) {
    const answer = cover(kind, owners);
    if ("uncovered" in answer) return packetOf(pick(answer.uncovered), [box, ...owners]);
  }
  return undefined;
}

/** Findings that are told; there may be as many conflicts as pairs of rules. */
export const findingLimit = 1000;

/**
 * All findings, rule by rule in the order of priority; yields after each rule, so that a long answer can be interrupted.
 * Nothing more is looked for when `findingLimit` is reached.
 */
export function* verifying(intents: Iterable<Intent>, context: ValidationContext): Generator<undefined, Finding[]> {
  const universe = universeOf(context);
  const rules = [...intents].sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
  const meeting = new Meeting(rules.map(({ match }) => boxOfMatch(match)));
  const found: Finding[] = [];
  for (const [at, rule] of rules.entries()) {
    yield;
    const before = meeting.of(at).filter((other) => other < at);
    const higher: Intent[] = [];
    for (const other of before) {
      const one = rules[other]!;
      if (one.priority > rule.priority) higher.push(one);
      else if (one.group === undefined || one.group !== rule.group) {
        const conflict = conflictFinding(one, rule, universe);
        if (conflict) found.push(conflict);
      }
      if (found.length >= findingLimit) return found;
    }
    const dead = neverActs(rule, higher, universe);
    if (dead) found.push(dead);
    const packet = packetOf(pickOf(possible(boxOfMatch(rule.match), universe)[0] ?? boxOfMatch(rule.match)), [
      boxOfMatch(rule.match),
    ]);
    for (const { field, message } of loops(rule, context)) {
      found.push({ ...finding("loop", [rule.name], `"${rule.name}": ${field}: ${message}`, packet), field });
    }
    if (found.length >= findingLimit) return found;
  }
  return found;
}

export function verify(intents: Iterable<Intent>, context: ValidationContext): Finding[] {
  const steps = verifying(intents, context);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Does not keep others waiting for longer than about ten milliseconds at a time. */
export async function verifyInTurns(intents: Iterable<Intent>, context: ValidationContext): Promise<Finding[]> {
  const steps = verifying(intents, context);
  for (let since = performance.now(); ; ) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() - since < 10) continue;
    await new Promise((resolve) => setImmediate(resolve));
    since = performance.now();
  }
}

export interface Judgement {
  /** Why the rule is refused. */
  refused: Finding[];
  /** Older rules that act no more once it is there, and the rule itself where no packet of this site can come to it. */
  warned: Finding[];
}

/** Older rules that are looked at when a new one meets more than that. `offramp verify` looks at all. */
const warnLimit = 100;
/** Steps that a request may take for one question, because everybody waits for it. */
const judgeLimit = 5_000_000;

/** What does one new rule do to a set, in which it is not? Same names and equal matches are looked for elsewhere. */
export function judge(rule: Intent, others: readonly Intent[], context: ValidationContext): Judgement {
  const universe = universeOf(context);
  const box = boxOfMatch(rule.match);
  const met = others.filter((other) => boxesMeet(box, boxOfMatch(other.match)));
  const refused = met.flatMap((other) =>
    other.priority === rule.priority ? (conflictFinding(rule, other, universe) ?? []) : [],
  );
  const above = (one: Ruled, list: readonly Intent[]) =>
    list.filter(({ priority }) => priority > one.priority).sort((a, b) => b.priority - a.priority);
  const comes = possible(box, universe).length > 0;
  const dead = neverActs(rule, above(rule, met), universe, judgeLimit);
  if (dead && dead.kind !== "undecided" && comes) refused.push(dead);
  for (const { field, message } of loops(rule, context)) {
    refused.push({ ...finding("loop", [rule.name], message), field });
  }
  if (refused.length > 0) return { refused, warned: [] };
  const warned: Finding[] = dead ? [dead] : [];
  for (const lower of met.filter(({ priority }) => priority < rule.priority).slice(0, warnLimit)) {
    const mine = boxOfMatch(lower.match);
    const over = others.filter(({ priority }) => priority > lower.priority);
    if (actsBeside(lower, box, over, universe)) continue;
    const higher = above(
      lower,
      over.filter((other) => boxesMeet(mine, boxOfMatch(other.match))),
    );
    const now = neverActs(lower, [rule, ...higher], universe, judgeLimit / 10);
    if (now?.kind === "shadowed" && !neverActs(lower, higher, universe, judgeLimit / 10)) warned.push(now);
  }
  return { refused, warned };
}

/** The quick way to know that a rule still acts: a packet outside the new one that happens to be nobody else's. */
function actsBeside(lower: Ruled, added: Box, higher: readonly Ruled[], universe: Universe): boolean {
  return possible(reachOf(lower.match), universe).some((kind) => {
    const answer = cover(kind, [added]);
    if (!("uncovered" in answer)) return false;
    const point = pick(answer.uncovered);
    return (
      !guardsOf(lower, universe).some((one) => holds(one.box, point)) &&
      !higher.some(({ match }) => holds(boxOfMatch(match), point))
    );
  });
}
