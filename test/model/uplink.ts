/**
 * What must happen to a frame from the base stations?
 */
import { concat, get16, toHex, u16 } from "../packets/bytes.ts";
import { errorIndication, halfOf, isBound, isOwn, keyOf, sessionName, usableSlot } from "./learn.ts";
import { endpointOf, familyOf, nextHopOf, prefixOf, qfiOf, ruleMatches, signallingMatches } from "./match.ts";
import { type Owner, ownTunnel } from "./owner.ts";
import { addressOf, inPrefix, isMapped, mapped, type Packet, readInner, readOuter } from "./read.ts";
import { count, type Flow, type Outcome, type Session, type State, type Tunnel } from "./state.ts";
import { clampMss, translate, translateQuote } from "./translate.ts";

/** What the model may ask about the kernel's answer: numbers that are free to choose. */
export interface Oracle {
  /** The UE's port as the app sees it, when its own is taken there already. */
  otherPort(): number;
}

export const SLOW = { hold: 1, fragment: 4, tooBig: 7, innerFragment: 8 };
const reasons = { taken: 0, unknown: 1, notTaken: 2 };
const SYN = 2;

/** The header before each frame on the slow port: little endian, see struct slow_header. */
export function slowFrame(op: number, frame: Uint8Array, session = 0, epoch = 0, sequence = 0, reason = 0): Uint8Array {
  const words = new Uint8Array(16);
  const view = new DataView(words.buffer);
  [session, epoch, sequence, reason].forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  return concat(new Uint8Array(12).fill(2), u16(0x88b5), Uint8Array.of(op, 0), words, frame);
}

export const flowKey = (
  remote: string,
  ue: string,
  remotePort: number,
  uePort: number,
  protocol: number,
  reply: boolean,
) => `${remote}/${ue}/${remotePort}/${uePort}/${protocol}/${reply ? "reply" : "up"}`;
const upKey = (p: Packet) => flowKey(p.remote, p.ue, p.remotePort, p.uePort, p.protocol, false);
const current = (flow: Flow) => flow.session.epoch === flow.epoch;
const isPortless = (protocol: number) => protocol === 1 || protocol === 58;

const sameTunnel = (flow: Flow, p: Packet) =>
  flow.teid === p.teid && flow.link === p.link && flow.source === p.source && flow.destination === p.destination;

function setTunnel(flow: Flow, p: Packet): void {
  flow.source = p.source;
  flow.destination = p.destination;
  flow.teid = p.teid;
  flow.link = p.link;
}

/**
 * Could any rule care about this destination? Coarser than the rules: what it says no to is read no further. Prefixes are
 * told apart by their first 16 (IPv4) or 32 (IPv6) bits, single addresses also by the sum without carry of their 16 bit
 * groups.
 */
const wanted = (state: State, p: Packet) =>
  state.rules.some((rule) => {
    const { destination, message } = rule.match;
    const family = familyOf(rule);
    if (rule.action === "pass" || (message && !message.some(([low, high]) => low <= 255 && high >= 255))) return false;
    if (!destination) return family === undefined || family === p.innerVersion;
    return destination
      .map(prefixOf)
      .some(
        (one) =>
          isMapped(one.address) === (p.innerVersion === 4) &&
          inPrefix(p.remote, bucket(one)) &&
          (one.bits < 128 || groupSum(p.remote) === groupSum(one.address)),
      );
  });

const bucket = (prefix: { address: string; bits: number }) => ({
  address: prefix.address,
  bits: Math.min(prefix.bits, isMapped(prefix.address) ? 112 : 32),
});

function groupSum(address: string): number {
  const digits = isMapped(address) ? address.slice(24) : address;
  return (digits.match(/.{4}/g) ?? []).reduce((sum, group) => sum ^ Number.parseInt(group, 16), 0);
}

export function forgetFlow(state: State, key: string, flow: Flow): void {
  const [, ue = "", , , protocol = "0", way] = key.split("/");
  const twin = flowKey(flow.translated, ue, flow.translatedPort, flow.translatedUePort, Number(protocol), way === "up");
  if (flow.action !== "pass" && flow.action !== "drop") state.flows.delete(twin);
  if (state.flows.delete(key) && current(flow) && flow.session.flows > 0) flow.session.flows--;
}

/** Enters both ways; false when there is no room. */
export function enterFlow(state: State, p: Packet, flow: Flow, session: Session, oracle: Oracle): boolean {
  const key = upKey(p);
  flow.translatedUePort = p.uePort;
  let uePort = p.uePort;
  const backKey = () => flowKey(flow.translated, p.ue, flow.translatedPort, uePort, p.protocol, true);
  const other = state.flows.get(backKey());
  if (
    other &&
    current(other) &&
    !(other.translated === p.remote && other.translatedPort === p.remotePort && other.translatedUePort === p.uePort)
  ) {
    if (![1, 6, 17, 58].includes(p.protocol)) return false;
    uePort = oracle.otherPort();
    if (uePort < 0x8000) throw new Error(`port ${uePort} for a second flow is not above 32767`);
  }
  const reply: Flow = {
    ...flow,
    action: "reply",
    translated: p.remote,
    translatedPort: p.remotePort,
    translatedUePort: p.uePort,
    qfi: p.psc ? (p.psc[2] ?? 0) & 0x3f : undefined,
  };
  // An ICMP identifier stands for both ports.
  flow.translatedUePort = uePort;
  state.flows.set(backKey(), reply);
  if (!state.flows.has(key)) session.flows++;
  state.flows.set(key, flow);
  return true;
}

/** What a decision depends on while there are rules about it, but for what tells flows apart. */
const decidedBy = (state: State, p: Packet): string =>
  [
    state.rules.some(({ match }) => match.dscp) ? p.dscp : "",
    state.rules.some(({ match }) => match.qfi) ? qfiOf(p) : "",
  ].join();

/** Undefined when the flow was entered to be taken, else the name it passes or is dropped with. */
function decide(state: State, p: Packet, t: Tunnel, oracle: Oracle, running: boolean): string | undefined {
  const half = halfOf(t, p);
  if (half === undefined || half.session.epoch !== half.epoch) return "pass_unproven";
  const { session } = half;
  const { config } = state;
  if (p.fragment === "later" || p.icmpOther !== undefined) return "pass_no_rule";
  const rule = state.rules.find((candidate) => ruleMatches(candidate, p));
  const endpoint = rule?.action === "take" ? endpointOf(rule, p) : undefined;
  let action = rule?.action === "take" && !endpoint ? "pass" : (rule?.action ?? "pass");
  // A connection is taken from its SYN on; one that passed when it began goes on passing.
  const midway = p.protocol === 6 && (p.tcpFlags & 0x17) !== SYN && action !== "drop";
  if (midway && !running) return "pass_mid_connection";
  const kept = midway && action !== "pass";
  if (midway) action = "pass";
  const flow: Flow = {
    source: p.source,
    destination: p.destination,
    teid: p.teid,
    link: p.link,
    action: "pass",
    fin: false,
    rst: false,
    service: 0,
    generation: state.generation,
    session,
    epoch: session.epoch,
    bearer: 0,
    packets: 0,
    translated: "",
    translatedPort: 0,
    translatedUePort: 0,
    nextHop: 0,
    rule: 0,
    decidedWith: decidedBy(state, p),
    running: kept,
  };
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
  if (rule.action === "take" && ![1, 6, 17, 58].includes(p.protocol)) return "pass_no_rule";
  if (session.aside) return "pass_aside";
  if (usableSlot(session) === undefined) {
    if (!config.slowPort) return "pass_aside";
    session.wanted = true;
  }
  if (session.flows >= config.ueFlows) {
    count(state, "note_full");
    return "pass_table_full";
  }
  flow.service = rule.service;
  flow.rule = rule.id;
  flow.nextHop = endpoint ? nextHopOf(config, endpoint.address) : 0;
  // A bearer that belongs to this uplink, else the first.
  for (const slot of [1, 2]) {
    const b = session.bearers[slot];
    if (b?.state === "live" && b.epoch === session.epoch && b.pairTeid === p.teid) flow.bearer = slot;
  }
  flow.translated = endpoint ? addressOf(endpoint.address) : p.remote;
  flow.translatedPort = endpoint?.port && !isPortless(p.protocol) ? endpoint.port : p.remotePort;
  return enterFlow(state, p, flow, session, oracle) ? undefined : "pass_table_full";
}

const pass = (p: Packet, counter: string): Outcome => ({ verdict: "redirect", frame: p.frame, counter });
const dropped = (p: Packet): Outcome => ({ verdict: "drop", frame: p.frame, counter: "drop_rule" });
/** By this name. */
const stay = (p: Packet, counter: string): Outcome => (counter === "drop_rule" ? dropped(p) : pass(p, counter));

/** Ethernet toward the next hop, then the T-PDU without whatever follows it. */
function take(state: State, p: Packet, flow: Flow, quoted?: { protocol: number }): Outcome {
  flow.packets++;
  const frame = p.frame.slice();
  const ip = frame.subarray(p.inner, p.inner + p.innerLength);
  const l4 = p.l4 - p.inner;
  if (p.protocol === 6 && p.fragment !== "later") {
    if (p.tcpFlags & 1) flow.fin = true;
    if (p.tcpFlags & 4) flow.rst = true;
    const overhead = p.ethernet ? 0 : p.v6 ? 64 : 44;
    const limit = state.config.mtuAccess - overhead - (p.innerVersion === 6 ? 60 : 40);
    if (p.tcpFlags & SYN && clampMss(ip, l4, limit)) count(state, "note_mss_clamped");
  }
  if (flow.action === "take") {
    if (quoted) translateQuote(ip, p, l4, flow, true, quoted.protocol);
    const whole = p.fragment !== "later" && !quoted;
    translate(ip, { innerVersion: p.innerVersion, protocol: p.protocol, l4: whole ? l4 : undefined }, flow, true);
  }
  const hop = state.config.nextHops[flow.nextHop];
  if (!hop) throw new Error(`no next hop ${flow.nextHop}`);
  const type = u16(p.innerVersion === 6 ? 0x86dd : 0x0800);
  const counter = flow.action === "route" ? "take_routed" : "take_uplink";
  return { verdict: "redirect", frame: concat(hop.destination, hop.source, type, ip), counter };
}

/** The flow that an ICMP error of the UE is about, and the quoted packet's protocol. */
function quotedFlow(state: State, p: Packet): { flow: Flow; protocol: number } | undefined {
  const { frame } = p;
  const q = p.l4 + 8;
  const type = p.icmpOther ?? 255;
  const v4 = p.innerVersion === 4;
  if (p.fragment !== "none" || p.l4Length < (v4 ? 36 : 56)) return undefined;
  if (v4 ? ![3, 4, 11, 12].includes(type) : type < 1 || type > 4) return undefined;
  if (v4 ? frame[q] !== 0x45 || get16(frame, q + 6) & 0x1fff : (frame[q] ?? 0) >> 4 !== 6) return undefined;
  const at = (offset: number) =>
    v4 ? mapped(frame.subarray(q + offset, q + offset + 4)) : toHex(frame.subarray(q + offset, q + offset + 16));
  const from = at(v4 ? 12 : 8);
  const to = at(v4 ? 16 : 24);
  const protocol = frame[q + (v4 ? 9 : 6)] ?? 0;
  const ports = q + (v4 ? 20 : 40);
  if (![1, 6, 17, 58].includes(protocol) || to !== p.ue || from !== p.remote) return undefined;
  const identifier = get16(frame, ports + 4);
  const key = isPortless(protocol)
    ? flowKey(from, to, identifier, identifier, protocol, false)
    : flowKey(from, to, get16(frame, ports), get16(frame, ports + 2), protocol, false);
  const flow = state.flows.get(key);
  if (!flow || !current(flow) || (flow.action !== "take" && flow.action !== "route") || !sameTunnel(flow, p))
    return undefined;
  return { flow, protocol };
}

function takeError(state: State, p: Packet, flow: Flow, protocol: number): Outcome {
  if (p.innerVersion === 4 || flow.action === "route") return take(state, p, flow, { protocol });
  // ICMPv6 covers the addresses too: the quote first, then address and checksum as for any ICMPv6 message.
  const frame = p.frame.slice();
  const ip = frame.subarray(p.inner, p.inner + p.innerLength);
  const l4 = p.l4 - p.inner;
  translateQuote(ip, p, l4, flow, true, protocol);
  const keep = { ...flow, translatedUePort: get16(ip, l4 + 4) };
  translate(ip, { innerVersion: 6, protocol: 58, l4 }, keep, true);
  flow.packets++;
  const hop = state.config.nextHops[flow.nextHop];
  if (!hop) throw new Error(`no next hop ${flow.nextHop}`);
  return { verdict: "redirect", frame: concat(hop.destination, hop.source, u16(0x86dd), ip), counter: "take_uplink" };
}

const fragmentKey = (p: Packet) => `inner/${p.ue}/${p.remote}/${p.id}/${p.protocol}`;
/** A first inner fragment shows where the later ones belong. */
function rememberFirst(state: State, p: Packet, flow: string): void {
  if (p.fragment === "first") state.fragments.set(fragmentKey(p), { flow, outer: "pass" });
}

const outerKey = (p: Packet) => `outer/${p.source}/${p.destination}/${p.id}/${p.link}`;

/** The first fragment to arrive decides for all of its packet. */
function outerFragment(state: State, p: Packet): Outcome {
  const known = state.fragments.get(outerKey(p));
  let outer = known?.outer ?? "pass";
  let reason = reasons.taken;
  if (!known) {
    if (state.config.mode === "offload" && state.config.slowPort) {
      if (p.fragment === "later") {
        if (state.rules.length > 0) outer = "slow";
        reason = reasons.unknown;
      } else if (p.innerVersion !== 0) {
        const interesting =
          wanted(state, p) || state.config.protect.some((prefix) => inPrefix(p.remote, bucket(prefix)));
        const t = state.tunnels.get(keyOf(p, true));
        if (interesting && (!t || !isBound(t, p) || (isOwn(t, p) && !halfOf(t, p)?.candidate))) outer = "slow";
      }
    }
    state.fragments.set(outerKey(p), { outer });
  }
  if (outer === "pass") return pass(p, "pass_outer_fragment");
  const frame = slowFrame(SLOW.fragment, p.frame, 0, 0, 0, reason);
  return { verdict: "redirect", frame, counter: "slow_fragment" };
}

function dropProtected(p: Packet): Outcome {
  const { frame, inner } = p;
  const l4 = inner + (p.innerVersion === 6 ? 40 : 20);
  const protocol = frame[inner + (p.innerVersion === 6 ? 6 : 9)];
  const gtp = l4 + 8 <= frame.length && protocol === 17 && [2152, 2123].includes(get16(frame, l4 + 2));
  return { verdict: "drop", frame, counter: gtp ? "drop_gtp_in_gtp" : "drop_protected" };
}

/** The flow's known answer; else ask the tunnel: about a flow that runs on, or a new one. */
function knownFlow(state: State, p: Packet, key: string): Outcome | "running" | undefined {
  const flow = p.icmpOther === undefined ? state.flows.get(key) : undefined;
  if (!flow) return undefined;
  if (!current(flow)) {
    forgetFlow(state, key, flow);
    return undefined;
  }
  if (!sameTunnel(flow, p)) return undefined;
  const current_ = flow.generation === state.generation;
  const fresh = current_ && flow.decidedWith === decidedBy(state, p);
  const syn = p.protocol === 6 && p.fragment === "none" && (p.tcpFlags & 0x12) === SYN;
  if (flow.action === "pass" || flow.action === "drop") {
    if ((fresh && !(syn && flow.running)) || p.fragment === "later") {
      rememberFirst(state, p, key);
      return stay(p, flow.action === "drop" ? "drop_rule" : "pass_no_rule");
    }
    forgetFlow(state, key, flow);
    return syn ? undefined : "running";
  }
  if (syn && (!current_ || flow.fin || flow.rst)) {
    forgetFlow(state, key, flow);
    return undefined;
  }
  if (state.config.mode !== "offload") return undefined;
  if (flow.session.aside && usableSlot(flow.session) === undefined) {
    forgetFlow(state, key, flow);
    return pass(p, "pass_aside");
  }
  rememberFirst(state, p, key);
  return take(state, p, flow);
}

/** From the inner packet on; a frame without a tunnel is read in ethernet.ts. */
export function uplinkPacket(state: State, p: Packet, oracle: Oracle, owner: Owner): Outcome {
  const { frame } = p;
  const asIs = (counter: string): Outcome => ({ verdict: "redirect", frame, counter });
  if (p.innerVersion === 0) return asIs("pass_no_rule");
  const offload = state.config.mode === "offload";
  if (offload && state.config.protect.some((prefix) => inPrefix(p.remote, prefix))) {
    return dropProtected(p);
  }
  const mayMatch = wanted(state, p);
  let running = false;
  if (mayMatch) {
    if (!readInner(p, true)) return asIs("pass_inner_malformed");
    let key = upKey(p);
    if (p.fragment === "later") {
      const first = state.fragments.get(fragmentKey(p));
      if (!first?.flow) {
        if (!offload || !state.sessions.has(sessionName(p)) || !state.config.slowPort) return asIs("pass_no_rule");
        const held = slowFrame(SLOW.innerFragment, frame, 0, 0, 0, reasons.unknown);
        return { verdict: "redirect", frame: held, counter: "slow_inner_fragment" };
      }
      key = first.flow;
    }
    const known = knownFlow(state, p, key);
    if (known === "running") running = true;
    else if (known) return known;
  }
  const t = owner(state, p, mayMatch);
  if (typeof t === "string") return asIs(t);
  if (!mayMatch) return asIs("pass_no_rule");
  if (p.icmpOther !== undefined) {
    const about = offload ? quotedFlow(state, p) : undefined;
    if (about) return takeError(state, p, about.flow, about.protocol);
    const rule = offload && state.rules.find((candidate) => ruleMatches(candidate, p));
    return rule && rule.action === "drop" ? dropped(p) : asIs("pass_no_rule");
  }
  if (p.fragment === "later") return asIs("pass_no_rule");
  const key = upKey(p);
  let flow = state.flows.get(key);
  if (flow && flow.action !== "pass" && flow.action !== "drop" && !sameTunnel(flow, p)) setTunnel(flow, p);
  if (!flow || flow.action === "pass" || flow.action === "drop") {
    if (flow) forgetFlow(state, key, flow);
    const refused = decide(state, p, t, oracle, running);
    if (refused !== undefined) {
      rememberFirst(state, p, key);
      return stay(p, refused);
    }
    flow = state.flows.get(key);
    if (!flow) return asIs("pass_table_full");
  }
  if (!offload) return asIs("pass_observe");
  rememberFirst(state, p, key);
  return take(state, p, flow);
}

export function uplink(state: State, frame: Uint8Array, oracle: Oracle): Outcome {
  const asIs = (counter: string): Outcome => ({ verdict: "redirect", frame, counter });
  if (state.config.mode === "bypass") return asIs("pass_bypass");
  const read = readOuter(frame, true);
  if (typeof read === "string") return asIs(read);
  const p = read.packet;
  if (read.found === "control") {
    const first = state.config.mode === "offload" && state.rules.find((rule) => signallingMatches(rule, p));
    const refused = first && first.action === "drop" ? dropped(p) : undefined;
    if (p.message !== 26) return refused ?? asIs("pass_gtpu_control");
    const { counter, or } = errorIndication(state, p, true);
    const absorbed = counter.startsWith("drop");
    if (refused && !absorbed && !or) return refused;
    const told: Outcome = { verdict: absorbed ? "drop" : "redirect", frame, counter };
    return { ...(absorbed ? told : (refused ?? told)), or: or ? { verdict: "drop", counter: or } : undefined };
  }
  if (read.found === "fragment") return outerFragment(state, p);
  if (p.fragment === "first") return outerFragment(state, p);
  return uplinkPacket(state, p, oracle, ownTunnel);
}
