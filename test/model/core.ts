/**
 * Does a packet of the core meet a rule: one for the downlink, or that of its flow, which stays in its tunnel or is forwarded?
 *
 * docs/packet-path.md, "Flows that the core begins", "Rules for one direction", "Output".
 */
import { macText } from "../packets/bytes.ts";
import { decidedBy, mayBeTreated, outputOf, treats } from "./decide.ts";
import {
  current,
  enterFlow,
  followFragment,
  forgetFlow,
  keepsTunnel,
  newFlow,
  type Oracle,
  replyKey,
  staysItself,
  upKey,
} from "./flow.ts";
import { sessionName, UPLINK } from "./learn.ts";
import { copied, deliver, hasWay, leaveBy } from "./leave.ts";
import { type Outside, qfiOf, ruleMatches } from "./match.ts";
import { type Packet, readInner } from "./read.ts";
import { type Bearer, count, type Flow, type Outcome, type Session, type State } from "./state.ts";

const MID = 0x17;
const SYN = 2;

/** As it is; its ends and tunnel as the uplink would have them. */
function downlinkOutside(state: State, p: Packet): Outside {
  const session = state.sessions.get(sessionName(p));
  const own = session?.bearers[UPLINK];
  const proven = session?.uplink && own?.epoch === session.epoch && !p.ethernet;
  return {
    direction: "downlink",
    message: 255,
    link: p.link,
    sourceMac: macText(p.frame.subarray(0, 6)),
    destinationMac: macText(p.frame.subarray(6, 12)),
    baseStation: p.ethernet ? "" : p.destination,
    gateway: p.ethernet ? "" : p.source,
    teid: proven ? Number(own.key.split("/")[1]) : 0,
    qfi: qfiOf(p),
  };
}

/** As if the UE had sent the answer in its own uplink tunnel. */
function answerOutside(p: Packet, session: Session, own: Bearer): Outside {
  const [gateway = "", teid, link] = own.key.split("/");
  const station = (name: string) => (p.ethernet ? (name.slice(-12).match(/../g) ?? []).join(":") : "00:00:00:00:00:00");
  return {
    direction: "uplink",
    message: 255,
    link: Number(link),
    sourceMac: station(session.baseStation),
    destinationMac: station(session.gateway),
    baseStation: p.ethernet ? "" : session.baseStation,
    gateway: p.ethernet ? "" : gateway,
    teid: Number(teid),
    qfi: 254,
  };
}

const outer6 = (p: Packet) => (p.ethernet ? undefined : p.v6);

/** By a rule for the downlink. */
function alone(state: State, p: Packet, oracle: Oracle): Outcome | undefined {
  if (!readInner(p, false) || !followFragment(state, p, "core")) return undefined;
  const outside = downlinkOutside(state, p);
  const rule = state.rules.find((candidate) => ruleMatches(candidate, p, outside));
  if (!rule?.match.direction) return undefined;
  const { frame } = p;
  const pass = (counter: string): Outcome => ({ verdict: "redirect", frame, counter });
  if (!treats(rule)) return pass("pass_downlink");
  if (rule.action === "drop") return { verdict: "drop", frame, counter: "drop_rule" };
  const output = outputOf(rule);
  if (output && !hasWay(state, output.outlet, output.whole, outer6(p))) return pass("pass_no_way");
  const flow = { ...newFlow(state, {} as Session), service: rule.service, treated: rule.treatment !== undefined };
  if (output?.whole) {
    const left = leaveBy(state, frame, p.l3, output, "take_forwarded", oracle);
    if (left.verdict === "redirect") copied(state, flow, "downlink");
    return left;
  }
  if (rule.action === "pass") {
    copied(state, flow, "downlink");
    return pass("pass_treated");
  }
  const left = deliver(
    state,
    p,
    frame.slice(p.inner, p.inner + p.innerLength),
    { ...flow, output },
    "take_routed",
    oracle,
  );
  if (left.verdict === "redirect") copied(state, flow, "downlink");
  return left;
}

/** The packet's flow has an answer; "undecided" where there is none, or it is out of date. */
function known(state: State, p: Packet, oracle: Oracle): Outcome | "undecided" | undefined {
  if (!readInner(p, false) || p.icmpOther !== undefined || !followFragment(state, p, "core")) return undefined;
  const flow = state.flows.get(replyKey(p));
  if (!flow || (flow.action === "through" && flow.begun && flow.generation !== state.generation)) return "undecided";
  if (!keepsTunnel(flow.action) || !current(flow)) return undefined;
  flow.packets++;
  if (flow.output) {
    const left = leaveBy(state, p.frame, p.l3, flow.output, "take_forwarded", oracle);
    if (left.verdict === "redirect") copied(state, flow, "downlink");
    return left;
  }
  copied(state, flow, "downlink");
  return { verdict: "redirect", frame: p.frame, counter: "pass_treated" };
}

/** May it be decided, in spite of the uplink entry that its flow has? What is out of date is forgotten. */
function mayBegin(state: State, p: Packet): boolean {
  if (p.fragment === "later") return false;
  const mid = p.protocol === 6 && (p.tcpFlags & MID) !== SYN;
  const key = upKey(p);
  const flow = state.flows.get(key);
  if (!flow) return !mid;
  if (current(flow)) {
    if (!staysItself(flow.action) || flow.generation === state.generation) return false;
    if (mid && !flow.begun) return false;
  } else if (mid) return false;
  forgetFlow(state, key, flow);
  return true;
}

/** Decides and enters the flow. `own`: the downlink bearer that it came in; undefined on Ethernet. */
function begin(
  state: State,
  p: Packet,
  own: { session: Session; bearer?: Bearer } | undefined,
  oracle: Oracle,
): boolean {
  if (!mayBegin(state, p)) return false;
  const session = state.sessions.get(sessionName(p));
  const up = session?.bearers[UPLINK];
  if (!session?.uplink || up?.epoch !== session.epoch) return false;
  if (own && (own.session !== session || own.bearer?.epoch !== session.epoch)) return false;
  const outside = answerOutside(p, session, up);
  const rule = state.rules.find((candidate) => ruleMatches(candidate, p, outside));
  if (!rule || rule.match.direction) return false;
  const output = outputOf(rule);
  if (!output?.whole && !(rule.action === "pass" && rule.treatment)) return false;
  if (output && !hasWay(state, output.outlet, true, outer6(p))) return false;
  const flow: Flow = {
    ...newFlow(state, session),
    source: session.baseStation,
    destination: up.key.split("/")[0] ?? "",
    teid: outside.teid,
    link: outside.link,
    action: output ? "forward" : "through",
    begun: true,
    treated: true,
    service: rule.service,
    rule: rule.id,
    decidedWith: decidedBy(state, { ...p, psc: undefined }),
    translated: p.remote,
    translatedPort: p.remotePort,
    ...(output && { output }),
  };
  if (session.flows < state.config.ueFlows && enterFlow(state, p, flow, session, oracle)) return true;
  count(state, "note_full");
  return false;
}

/** `own`: "new" in a tunnel that was not known before. Undefined: it passes. */
export function treatDownlink(
  state: State,
  p: Packet,
  own: { session: Session; bearer?: Bearer } | "station" | "new",
  oracle: Oracle,
): Outcome | undefined {
  if (state.config.mode !== "offload" || !mayBeTreated(state, p)) return undefined;
  const directed = state.rules.some(({ match }) => match.direction) ? alone(state, p, oracle) : undefined;
  if (directed || own === "new") return directed;
  let answer = known(state, p, oracle);
  if (answer === "undecided" && begin(state, p, own === "station" ? undefined : own, oracle))
    answer = known(state, p, oracle);
  return answer === "undecided" ? undefined : answer;
}
