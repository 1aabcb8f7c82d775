/**
 * Which rule decides a packet, and what becomes of its flow?
 *
 * docs/packet-path.md, "Deciding".
 */
import type { SteeringRule } from "../../dataplane/steering.ts";
import { bucket, enterFlow, isPortless, newFlow, type Oracle, setTunnel, upKey } from "./flow.ts";
import { halfOf } from "./learn.ts";
import { hasWay, leavesWhole } from "./leave.ts";
import { endpointOf, familyOf, nextHopOf, prefixOf, qfiOf, ruleMatches } from "./match.ts";
import { bearerBeside, wantDownlink } from "./names.ts";
import { addressOf, inPrefix, isMapped, type Packet } from "./read.ts";
import { count, type Flow, type State, type Tunnel } from "./state.ts";

const SYN = 2;

/** Does it do more than pass? One whose endpoints are all down does not. */
export const treats = (rule: SteeringRule): boolean => rule.action !== "pass" || rule.treatment !== undefined;

export const outputOf = (rule: SteeringRule): Flow["output"] =>
  rule.output && { outlet: rule.output, whole: leavesWhole(rule) };

const isAboutPackets = ({ match: { message } }: SteeringRule) =>
  message === undefined || message.some(([low, high]) => low <= 255 && high >= 255);

/**
 * Could this rule care about the remote end? Coarser than the rule: what it says no to is read no further. Prefixes are told
 * apart by their first 16 (IPv4) or 32 (IPv6) bits, single addresses also by the sum without carry of their 16 bit groups.
 */
function couldMatch(rule: SteeringRule, p: Packet): boolean {
  if (!treats(rule) || !isAboutPackets(rule)) return false;
  const { destination } = rule.match;
  const family = familyOf(rule);
  if (!destination) return family === undefined || family === p.innerVersion;
  return destination
    .map(prefixOf)
    .some(
      (one) =>
        isMapped(one.address) === (p.innerVersion === 4) &&
        inPrefix(p.remote, bucket(one)) &&
        (one.bits < 128 || groupSum(p.remote) === groupSum(one.address)),
    );
}

function groupSum(address: string): number {
  const digits = isMapped(address) ? address.slice(24) : address;
  return (digits.match(/.{4}/g) ?? []).reduce((sum, group) => sum ^ Number.parseInt(group, 16), 0);
}

/** Could some rule care about this packet of the uplink? */
export const mayMatch = (state: State, p: Packet): boolean =>
  state.rules.some((rule) => rule.match.direction !== "downlink" && couldMatch(rule, p));

/** … and of the core? */
export const mayBeTreated = (state: State, p: Packet): boolean =>
  state.rules.some(
    (rule) =>
      (rule.match.direction === "downlink" ||
        (!rule.match.direction && (rule.action === "pass" || leavesWhole(rule)))) &&
      couldMatch(rule, p),
  );

/** What a decision depends on while there are rules about it, but for what tells flows apart. */
export const decidedBy = (state: State, p: Packet): string =>
  [
    state.rules.some(({ match }) => match.dscp) ? p.dscp : "",
    state.rules.some(({ match }) => match.qfi) ? qfiOf(p) : "",
  ].join();

const outer6 = (p: Packet) => (p.ethernet ? undefined : p.v6);

/** The packet alone, by a rule for the uplink: a flow that nobody enters, or the name that it ends with. */
export function decideAlone(state: State, p: Packet, rule: SteeringRule): { alone: Flow } | string {
  if (state.config.mode !== "offload") return "pass_observe";
  if (rule.action === "drop") return "drop_rule";
  const output = outputOf(rule);
  if (output && !hasWay(state, output.outlet, output.whole, outer6(p))) return "pass_no_way";
  const flow = newFlow(state, {} as Flow["session"]);
  const action = rule.action === "pass" ? "through" : output?.whole ? "forward" : rule.action;
  return { alone: { ...flow, action, service: rule.service, treated: true, ...(output && { output }) } };
}

/** Undefined when the flow was entered to be taken, else the name it passes or is dropped with, or what it is alone. */
export function decide(
  state: State,
  p: Packet,
  t: Tunnel,
  oracle: Oracle,
  running: boolean,
): string | { alone: Flow } | undefined {
  const rule = state.rules.find((candidate) => ruleMatches(candidate, p));
  if (rule?.match.direction && treats(rule)) return decideAlone(state, p, rule);
  const half = halfOf(t, p);
  if (half === undefined || half.session.epoch !== half.epoch) return "pass_unproven";
  const { session } = half;
  const { config } = state;
  if (p.fragment === "later" || p.icmpOther !== undefined) return "pass_no_rule";
  const endpoint = rule?.action === "take" ? endpointOf(rule, p) : undefined;
  const output = rule && outputOf(rule);
  let action: Flow["action"] = rule?.action ?? "pass";
  if (rule?.action === "take" && !endpoint) action = "pass";
  else if (rule?.action === "pass" && rule.treatment) action = "through";
  else if (output?.whole) action = "forward";
  // A connection is taken from its SYN on; one that passed when it began goes on passing.
  const midway = p.protocol === 6 && (p.tcpFlags & 0x17) !== SYN && action !== "drop" && action !== "through";
  if (midway && !running) return "pass_mid_connection";
  const kept = midway && action !== "pass";
  if (midway) action = "pass";
  const flow: Flow = { ...newFlow(state, session), decidedWith: decidedBy(state, p), running: kept };
  setTunnel(flow, p);
  const remember = () => {
    if (session.flows >= config.ueFlows) return;
    if (!state.flows.has(upKey(p))) session.flows++;
    state.flows.set(upKey(p), flow);
  };
  if (rule === undefined || action === "pass") {
    remember();
    return "pass_no_rule";
  }
  if (config.mode !== "offload") return "pass_observe";
  flow.action = action;
  if (action === "drop") {
    remember();
    return "drop_rule";
  }
  if (action === "take" && ![1, 6, 17, 58].includes(p.protocol)) return "pass_no_rule";
  if (action === "take" || action === "route") {
    const refused = wantDownlink(state, session);
    if (refused !== undefined) return refused;
  }
  if (output && !hasWay(state, output.outlet, output.whole, outer6(p))) return "pass_no_way";
  if (session.flows >= config.ueFlows) {
    count(state, "note_full");
    return "pass_table_full";
  }
  flow.service = rule.service;
  flow.rule = rule.id;
  flow.treated = true;
  if (output) flow.output = output;
  flow.nextHop = endpoint ? nextHopOf(config, endpoint.address) : 0;
  flow.bearer = bearerBeside(session, p);
  flow.translated = endpoint ? addressOf(endpoint.address) : p.remote;
  flow.translatedPort = endpoint?.port && !isPortless(p.protocol) ? endpoint.port : p.remotePort;
  if (enterFlow(state, p, flow, session, oracle)) return undefined;
  count(state, "note_full");
  return "pass_table_full";
}
