/**
 * What becomes of a packet, by the rules and by what is known about its UE (docs/packet-path.md)?
 *
 * Pure: no kernel. Where the state that decides is not known, the usual is assumed: a tunnel that is proven, a flow that
 * begins. The answer names the counters that the packet may end under, the likely one first; what the program says has to
 * be among them.
 */
import type { Steering, SteeringRule } from "../../dataplane/steering.ts";
import { outletText } from "../../dataplane/steering-text.ts";
import type { Known, KnownFlow } from "../../dataplane/trial.ts";
import { contains, host, parseAddress, parsePrefix } from "../intents/prefix.ts";
import { beginsThrough, metDownlink } from "./begun.ts";
import type { Link, PacketFields, Tunnel } from "./frame.ts";
import { mayMatch, meet, type TraceStep } from "./rules.ts";
import { treated } from "./treated.ts";

export interface Walked {
  steps: TraceStep[];
  /** Rules that were passed over and are not among the steps. */
  others: number;
  /** What decides. */
  rule?: SteeringRule;
  /** Of the rule that decided earlier, where the packet belongs to a flow. */
  flowRule?: number;
  /** Names of counters. */
  verdicts: string[];
  text: string;
  /** What is done with it on the way, one line each. */
  detail: string[];
}

export interface WalkSubject {
  way: "uplink" | "downlink" | "apps";
  packet: PacketFields;
  tunnel?: Tunnel;
  link?: Link;
  dataplane?: string;
}

const within = (prefix: string, address: string) => contains(parsePrefix(prefix), host(parseAddress(address)));
const endOf = (address: string, port: number | undefined) => (port === undefined ? address : `${address} port ${port}`);
const translatable = [1, 6, 17, 58];

/** A packet by itself, by a rule for its direction. */
function alone(rule: SteeringRule): Pick<Walked, "verdicts" | "text" | "detail"> {
  const { action, name, output, treatment } = rule;
  const direction = rule.match.direction ?? "uplink";
  const by = `service "${name}", which decides each ${direction} packet by itself`;
  const { detail, verdicts } = treated(rule, direction);
  const passes = direction === "uplink" ? "pass_no_rule" : "pass_downlink";
  if (action === "drop") return { verdicts: ["drop_rule", passes], text: `dropped by ${by}`, detail };
  if (action === "pass" && !treatment)
    return { verdicts: [passes, "pass_mid_connection"], text: `passes by ${by}`, detail };
  if (action === "pass") {
    return { verdicts: [...verdicts, "pass_treated", passes], text: `goes on in its tunnel by ${by}`, detail };
  }
  const whole = action === "forward" || output?.tunnel?.type === "gtp-u";
  const to = output ? `by ${outletText(output)}` : "to the apps' network";
  return {
    verdicts: [...verdicts, whole ? "take_forwarded" : "take_routed", "pass_no_way", "drop_too_big", passes],
    text: `handed ${to} ${whole ? "with its tunnel" : "untranslated"} by ${by}`,
    detail,
  };
}

/** A packet that begins a flow, by the rule that it meets. */
function decided(
  rule: SteeringRule,
  { packet }: WalkSubject,
  known: Known | undefined,
): Pick<Walked, "verdicts" | "text" | "detail"> {
  const { action, endpoints = [], name, output } = rule;
  const by = `service "${name}"`;
  if (rule.match.direction && known?.mode !== "observe") return alone(rule);
  const { detail, verdicts } = treated(rule, "uplink");
  const observed = known?.mode === "observe";
  const syn =
    packet.protocol !== 6 ||
    packet.tcpFlags === undefined ||
    /^S[^AFR]*$/.test(packet.tcpFlags.replace("P", "").replace("U", ""));
  if (action === "drop") {
    if (observed) return { verdicts: ["pass_observe"], text: `passes: observe mode; ${by} would drop it`, detail };
    return { verdicts: ["drop_rule"], text: `dropped by ${by}`, detail };
  }
  if (action === "pass" && !rule.treatment) {
    const may = syn ? [] : ["pass_mid_connection"];
    return { verdicts: ["pass_no_rule", ...may], text: `passes to the core: ${by} leaves it there`, detail };
  }
  if (!syn && action !== "pass") {
    return {
      verdicts: ["pass_mid_connection", "pass_no_rule"],
      text: `passes to the core: ${by} takes connections from their SYN on, and this one runs already`,
      detail: [],
    };
  }
  if (observed) return { verdicts: ["pass_observe"], text: `passes: observe mode; ${by} would have it`, detail };
  if (action === "pass") {
    const text = `goes on in its tunnel after what ${by} asks for`;
    return { verdicts: [...verdicts, "pass_treated", "pass_mid_connection"], text, detail };
  }
  const up = endpoints.filter(({ state }) => (state ?? "up") === "up");
  if (action === "take" && up.length === 0) {
    return { verdicts: ["pass_no_rule"], text: `passes to the core: no endpoint of ${by} is up`, detail: [] };
  }
  if (action === "take" && !translatable.includes(packet.protocol)) {
    const text = `passes to the core: ${by} cannot translate protocol ${packet.protocol}`;
    return { verdicts: ["pass_no_rule"], text, detail: [] };
  }
  const { session } = known ?? {};
  const whole = action === "forward" || (action === "route" && output?.tunnel?.type === "gtp-u");
  if (!whole && session?.aside && !session.downlink) {
    return {
      verdicts: ["pass_aside"],
      text: "passes to the core: it did not answer pings for this UE; aside for a while",
      detail: [],
    };
  }
  const may: string[] = [];
  if (output) may.push("pass_no_way", "drop_too_big");
  if (whole) may.push("drop_redirect");
  else if (session?.aside || (session && !session.downlink) || (known && !session)) may.push("pass_aside");
  if (session && known && session.flows >= known.ueFlows) {
    return {
      verdicts: ["pass_table_full"],
      text: "passes to the core: the UE has all the flows it may have",
      detail: [],
    };
  }
  if (whole && output) {
    const text = `handed by ${outletText(output)} with its tunnel, by ${by}`;
    return { verdicts: [...verdicts, "take_forwarded", ...may], text, detail };
  }
  if (action === "route") {
    const to = output ? `by ${outletText(output)}` : "to the apps' network";
    return {
      verdicts: [...verdicts, "take_routed", ...may],
      text: `taken by ${by}, handed ${to} untranslated`,
      detail,
    };
  }
  const ends = up.map(({ address, port, weight }) => {
    const own = packet.protocol === 6 || packet.protocol === 17 ? (port ?? packet.destinationPort) : undefined;
    return endOf(address, own) + (up.length > 1 ? ` (weight ${weight ?? 1})` : "");
  });
  const text = `taken by ${by}: destination becomes ${ends.length > 1 ? "one of " : ""}${ends.join(", ")}`;
  return { verdicts: [...verdicts, "take_uplink", ...may], text, detail };
}

const ruleName = (rule: SteeringRule | undefined, id: number): string =>
  rule ? `rule ${rule.id} "${rule.name}"` : id ? `rule ${id}, which is gone` : "no rule";

/** A packet of a flow that is not only passed. */
function byFlow(
  rule: SteeringRule | undefined,
  by: string,
  { session }: Known,
  flow: KnownFlow,
): Pick<Walked, "verdicts" | "text" | "detail"> {
  if (
    flow.sameTunnel &&
    session?.aside &&
    !session.downlink &&
    flow.action !== "through" &&
    flow.action !== "forward"
  ) {
    return {
      verdicts: ["pass_aside"],
      text: "passes to the core: the UE stands aside, nobody could answer it",
      detail: [],
    };
  }
  const more = rule ? treated(rule, "uplink") : { detail: [], verdicts: [] };
  const plain =
    { route: "take_routed", through: "pass_treated", forward: "take_forwarded" }[flow.action as string] ??
    "take_uplink";
  const to = flow.action === "take" ? `: destination is ${flow.translated.address}` : "";
  const text = `its flow is known, by ${by}, and stays as it was decided${to}`;
  return { verdicts: [...more.verdicts, plain], text, detail: more.detail };
}

/** Is it a query for a name that the platform's name server answers, and no rule about it? */
function isNamed({ names, rules }: Steering, subject: WalkSubject, planes: readonly string[]): boolean {
  const { question, unfit } = subject.packet;
  return (
    question !== undefined && !unfit && names?.names.includes(question) === true && !meet(rules, subject, planes).rule
  );
}

function byName(
  { names }: Steering,
  { question, destination }: PacketFields,
  known: Known | undefined,
  unlikely: string[],
): Pick<Walked, "verdicts" | "text"> {
  const server = destination.includes(":") ? names?.server6 : names?.server;
  if (known?.mode === "observe") {
    return {
      verdicts: ["pass_observe", ...unlikely],
      text: `passes: observe mode; ${question} would be answered here`,
    };
  }
  if (!server) {
    return { verdicts: ["pass_no_rule", ...unlikely], text: "passes: the name server has no address of this family" };
  }
  const text = `taken: asks for ${question}, which the platform's name server answers: ${endOf(server.address, server.port)}`;
  return { verdicts: ["take_dns", "pass_dns_aside", "pass_aside", "pass_table_full", ...unlikely], text };
}

function walkUplink(steering: Steering, subject: WalkSubject, planes: readonly string[], known?: Known): Walked {
  const { packet } = subject;
  const none = { steps: [], others: 0, detail: [] };
  const end = (text: string, ...verdicts: string[]): Walked => ({ ...none, text, verdicts });
  const met = () => {
    const { steps, others } = meet(steering.rules, subject, planes);
    return { steps, others };
  };
  if (known?.mode === "bypass") return end("passes: bypass is on", "pass_bypass");
  const protector = steering.protect.find((prefix) => within(prefix, packet.destination));
  if (protector && (known?.mode ?? "offload") === "offload") {
    const gtp = packet.protocol === 17 && [2152, 2123].includes(packet.destinationPort ?? 0);
    const text = `dropped: ${packet.destination} is in ${protector}, which is protected from UEs`;
    return end(text, gtp ? "drop_gtp_in_gtp" : "drop_protected");
  }
  const { flow } = known ?? {};
  // A flow that was taken outlives its rule.
  const running = flow?.live && flow.action !== "pass" && flow.action !== "drop";
  const named = isNamed(steering, subject, planes);
  const wanted = !named && (running || mayMatch(steering.rules, packet.destination, planes));
  if (packet.unfit && wanted) return end(`passes: ${packet.unfit}, no app shall see it`, "pass_inner_malformed");
  const unlikely = packet.unfit ? ["pass_inner_malformed"] : [];
  if (packet.fragment === "later" && wanted) {
    const text = "a later fragment: goes where its first one went, or waits for it";
    return end(
      text,
      "take_uplink",
      "pass_no_rule",
      "slow_inner_fragment",
      "take_routed",
      "pass_treated",
      "take_forwarded",
      "drop_rule",
    );
  }

  const syn =
    packet.protocol === 6 &&
    packet.tcpFlags !== undefined &&
    /^S/.test(packet.tcpFlags.replace("F", "")) &&
    !packet.tcpFlags.includes("A");
  if (wanted && flow?.live && flow.sameTunnel && known) {
    const of = { flowRule: flow.rule, ...none };
    const rule = steering.rules.find(({ id }) => id === flow.rule);
    const by = ruleName(rule, flow.rule);
    const stays = flow.action === "pass" || flow.action === "drop";
    const same = flow.current && flow.alike && !(syn && flow.running);
    const anew = stays || flow.action === "through" ? !same : syn && (!flow.current || flow.closed);
    if (stays && !anew) {
      const verdicts = flow.action === "drop" ? ["drop_rule"] : ["pass_no_rule", "pass_mid_connection"];
      return { ...of, ...met(), verdicts, text: `its flow is known: it was decided by ${by} to ${flow.action}` };
    }
    if (!anew && known.mode === "offload") return { ...of, ...byFlow(rule, by, known, flow) };
  }

  if (known) {
    const { tunnel, permitted, session, movedFrom } = known;
    const refused = !permitted.ue || !permitted.source || !permitted.destination;
    const who = !permitted.ue ? "the UE is in no uePools" : "a peer is not among accessPeers or corePeers";
    if (tunnel === "another-ue") {
      return end(
        "passes: the inner source is not the UE that this tunnel belongs to",
        "pass_not_own_source",
        ...unlikely,
      );
    }
    if (tunnel === "claim") {
      return end("passes: the tunnel claims this UE's address, and is not proven yet", "pass_unproven", ...unlikely);
    }
    if ((tunnel === "unknown" || movedFrom) && subject.tunnel?.unsound) {
      return end(
        "passes, and teaches nothing: its outer header checksum is wrong",
        "pass_malformed",
        ...unlikely,
        "pass_no_rule",
      );
    }
    if ((tunnel === "unknown" || movedFrom) && refused) {
      return end(`passes, and teaches nothing: ${who}`, "pass_peer_refused", "pass_no_rule", ...unlikely);
    }
    if (tunnel === "unknown" && session?.uplink) {
      const text = "passes: the UE is known in another tunnel, so this one only claims its address";
      return end(
        text,
        "pass_unproven",
        "pass_peer_refused",
        "pass_table_full",
        "pass_no_rule",
        "pass_malformed",
        ...unlikely,
      );
    }
    if (tunnel === "unknown" && session) unlikely.push("pass_unproven");
    if (tunnel === "unknown" || movedFrom) unlikely.push("pass_peer_refused", "pass_table_full", "pass_malformed");
  }

  if (packet.error && wanted) {
    return end(
      "an ICMP error: goes with the flow that it quotes",
      "pass_no_rule",
      "take_uplink",
      "take_routed",
      "take_forwarded",
      "pass_treated",
      "drop_rule",
    );
  }
  if (named) return { ...none, ...byName(steering, packet, known, unlikely) };
  if (running && known && flow && flow.action !== "through") {
    // Through another of the UE's own tunnels, or while nothing is taken.
    const rule = steering.rules.find(({ id }) => id === flow.rule);
    const kept =
      syn && flow.sameTunnel && (!flow.current || flow.closed) ? undefined : { flowRule: flow.rule, ...none };
    if (kept && known.mode === "observe") {
      const text = "passes: observe mode; its flow was taken before";
      return { ...kept, text, verdicts: ["pass_observe", ...unlikely] };
    }
    if (kept && !flow.sameTunnel) {
      const ended = byFlow(rule, ruleName(rule, flow.rule), known, flow);
      return { ...kept, ...ended, verdicts: [...ended.verdicts, ...unlikely] };
    }
  }
  const found = meet(steering.rules, subject, planes);
  if (!found.rule) {
    const mid = packet.protocol === 6 && packet.tcpFlags !== "S" ? ["pass_mid_connection"] : [];
    const verdicts = ["pass_no_rule", ...mid, ...unlikely];
    return { ...found, verdicts, text: "passes to the core: no rule matches", detail: [] };
  }
  const ended = decided(found.rule, subject, known);
  return { ...found, ...ended, verdicts: [...ended.verdicts, ...unlikely] };
}

function walkDownlink(steering: Steering, subject: WalkSubject, planes: readonly string[], known?: Known): Walked {
  const none = { steps: [], others: 0, detail: [] };
  if (known?.mode === "bypass") return { ...none, verdicts: ["pass_bypass"], text: "passes: bypass is on" };
  const { flow } = known ?? {};
  const own = metDownlink(steering, subject, planes, known);
  if (own) {
    const ended = alone(own);
    const learns = known ? ["pass_peer_refused", "pass_malformed"] : [];
    return { ...none, flowRule: own.id, ...ended, verdicts: [...ended.verdicts, "drop_pinger_answer", ...learns] };
  }
  const rule = steering.rules.find(({ id }) => id === flow?.rule);
  const anew = !flow || (flow.begun && !flow.current && flow.action !== "forward");
  if (known?.mode === "offload" && flow?.action === "forward" && flow.live) {
    const text = `its flow is known, by ${ruleName(rule, flow.rule)}, and is handed on with its tunnel`;
    const verdicts = ["take_forwarded", "pass_downlink", "drop_redirect", "drop_too_big", "drop_rate"];
    return { ...none, flowRule: flow.rule, verdicts, text, detail: rule ? treated(rule, "downlink").detail : [] };
  }
  if (known?.mode === "offload" && flow?.action === "through" && flow.live && !anew) {
    const { detail, verdicts } = rule ? treated(rule, "downlink") : { detail: [], verdicts: [] };
    const text = `goes on in its tunnel after what ${rule ? `service "${rule.name}"` : ruleName(rule, flow.rule)} asks for`;
    // Where no rule treats what passes any more, or not in this tunnel, its flow is not looked for.
    const sure = flow.current && (!subject.tunnel || (known.tunnel === "own" && !known.movedFrom));
    const may = sure ? [] : ["pass_downlink"];
    return { ...none, flowRule: flow.rule, verdicts: [...verdicts, "pass_treated", ...may], text, detail };
  }
  const first = anew ? beginsThrough(steering, subject, planes, known) : undefined;
  if (first) {
    const { detail, verdicts } = treated(first, "downlink");
    const text = `begins a flow, and goes on in its tunnel after what service "${first.name}" asks for`;
    const forwarded = first.action === "forward" ? ["take_forwarded"] : [];
    const all = [...forwarded, ...verdicts, "pass_treated", "pass_downlink"];
    return { ...none, flowRule: first.id, verdicts: all, text, detail };
  }
  const refused = known && (!known.permitted.source || !known.permitted.destination || !known.permitted.ue);
  const ping = subject.packet.echo === undefined ? [] : ["drop_pinger_answer"];
  const learns = ["pass_peer_refused", "pass_malformed", "pass_table_full", "pass_unproven", "pass_no_rule"];
  return {
    ...none,
    verdicts: refused ? ["pass_peer_refused", "pass_downlink", ...learns] : ["pass_downlink", ...ping, ...learns],
    text: "passes to the base station: everything from the core does, and is learnt from",
  };
}

function walkReply(steering: Steering, { packet }: WalkSubject, known?: Known): Walked {
  const none = { steps: [], others: 0, detail: [] };
  if (packet.unfit) return { ...none, verdicts: ["drop_reply_malformed"], text: `dropped: ${packet.unfit}` };
  if (packet.protocol === 17 && [4789, 4790].includes(packet.destinationPort ?? 0)) {
    const ends = ["take_uplink", "take_routed", "reply_downlink", "drop_no_downlink", "drop_no_flow"];
    const verdicts = [
      "chain_next",
      "chain_back",
      "drop_chain_no_flow",
      "drop_chain_unknown",
      "drop_chain_blocked",
      ...ends,
    ];
    return { ...none, verdicts, text: "from a function of a chain: on to the next, or where the chain ends" };
  }
  const flow = known?.flow;
  const rule = steering.rules.find(({ id }) => id === flow?.rule);
  const held = ["slow_hold", "drop_no_downlink"];
  const size = ["drop_too_big", "slow_too_big"];
  if (flow && (flow.action === "reply" || flow.action === "through")) {
    if (!flow.live)
      return {
        ...none,
        verdicts: ["drop_no_flow"],
        text: "dropped: its flow belongs to an earlier owner of the address",
      };
    const more = rule ? treated(rule, "downlink") : { detail: [], verdicts: [] };
    const way = known?.session?.downlink && !known.session.holding;
    const by = rule ? `flow of service "${rule.name}"` : flow.rule ? `flow of rule ${flow.rule}` : "query for a name";
    const text = `answers a ${by}: source becomes ${flow.translated.address}, ${way ? "into the UE's downlink tunnel" : "waits for the UE's downlink"}`;
    const verdicts = way ? ["reply_downlink", ...held, ...size] : [...held, "reply_downlink", ...size];
    return { ...none, flowRule: flow.rule, verdicts: [...more.verdicts, ...verdicts], text, detail: more.detail };
  }
  if (packet.error || packet.fragment === "later") {
    const verdicts = ["reply_downlink", "drop_no_flow", "drop_fragment", ...held, ...size];
    return { ...none, verdicts, text: "goes with the flow of the packet that it belongs to" };
  }
  const first = steering.rules.find(
    ({ appInitiated, endpoints = [], match }) =>
      appInitiated &&
      endpoints.some(({ address }) => address === packet.source) &&
      (match.protocol ?? [packet.protocol]).includes(packet.protocol),
  );
  if (!first)
    return {
      ...none,
      verdicts: ["drop_no_flow"],
      text: "dropped: it answers nothing that a UE sent, and no rule lets its app speak first",
    };
  const verdicts = ["reply_downlink", "drop_no_flow", ...held, ...size, "drop_rate", "chain_downlink"];
  return { ...none, verdicts, text: `service "${first.name}" lets its app speak first` };
}

/** `planes`: names of all data planes. @throws AddressError when a field is no address */
export function walk(steering: Steering, subject: WalkSubject, planes: readonly string[], known?: Known): Walked {
  for (const address of [subject.packet.source, subject.packet.destination]) parseAddress(address);
  if (subject.way === "uplink") return walkUplink(steering, subject, planes, known);
  return subject.way === "downlink"
    ? walkDownlink(steering, subject, planes, known)
    : walkReply(steering, subject, known);
}
