/**
 * What must happen to a frame from the base stations?
 */
import { get16, toHex } from "../packets/bytes.ts";
import { decide, decideAlone, decidedBy, mayMatch, treats } from "./decide.ts";
import {
  bucket,
  current,
  flowKey,
  forgetFlow,
  isPortless,
  keepsTunnel,
  type Oracle,
  SLOW,
  sameTunnel,
  setTunnel,
  slowFrame,
  staysItself,
  upKey,
} from "./flow.ts";
import { errorIndication, halfOf, isBound, isOwn, keyOf, sessionName, usableSlot } from "./learn.ts";
import { copied, deliver, leaveBy, overheadOf } from "./leave.ts";
import { ruleMatches, signallingMatches } from "./match.ts";
import { isNamed, takeQuery } from "./names.ts";
import { type Owner, ownTunnel } from "./owner.ts";
import { inPrefix, mapped, type Packet, readInner, readOuter } from "./read.ts";
import { count, type Flow, type Outcome, type State, type Tunnel } from "./state.ts";
import { clampMss, translate, translateQuote } from "./translate.ts";

const reasons = { taken: 0, unknown: 1, notTaken: 2 };
const SYN = 2;

const pass = (p: Packet, counter: string): Outcome => ({ verdict: "redirect", frame: p.frame, counter });
const dropped = (p: Packet): Outcome => ({ verdict: "drop", frame: p.frame, counter: "drop_rule" });
/** By this name. */
const stay = (p: Packet, counter: string): Outcome => (counter === "drop_rule" ? dropped(p) : pass(p, counter));

/** What becomes of a packet of a flow that is not only passed. */
function take(state: State, p: Packet, flow: Flow, oracle: Oracle, quoted?: { protocol: number }): Outcome {
  flow.packets++;
  const frame = p.frame.slice();
  const ip = frame.subarray(p.inner, p.inner + p.innerLength);
  const l4 = p.l4 - p.inner;
  if (p.protocol === 6 && p.fragment !== "later" && !quoted) {
    if (p.tcpFlags & 1) flow.fin = true;
    if (p.tcpFlags & 4) flow.rst = true;
    const limit = keepsTunnel(flow.action) ? Number.POSITIVE_INFINITY : mssLimit(state, p, flow);
    if (p.tcpFlags & SYN && clampMss(ip, l4, limit)) count(state, "note_mss_clamped");
  }
  const leaves = (left: Outcome): Outcome => {
    if (left.verdict === "redirect") copied(state, flow, "uplink");
    return left;
  };
  if (flow.action === "through") return leaves(pass(p, "pass_treated"));
  if (flow.action === "forward") {
    if (!flow.output) throw new Error("what is forwarded has an output");
    return leaves(leaveBy(state, frame, p.l3, flow.output, "take_forwarded", oracle));
  }
  if (flow.action === "take") {
    if (quoted) translateQuote(ip, p, l4, flow, true, quoted.protocol);
    const whole = p.fragment !== "later" && !quoted;
    translate(ip, { innerVersion: p.innerVersion, protocol: p.protocol, l4: whole ? l4 : undefined }, flow, true);
  }
  return leaves(deliver(state, p, ip, flow, flow.action === "route" ? "take_routed" : "take_uplink", oracle));
}

/** The largest segment that fits the access side, and GRE where the packet is routed into that. */
function mssLimit(state: State, p: Packet, flow: Flow): number {
  const headers = p.innerVersion === 6 ? 60 : 40;
  const overhead = p.ethernet ? 0 : p.v6 ? 64 : 44;
  const limit = state.config.mtuAccess - overhead - headers;
  const tunnel = flow.action === "route" && flow.output ? overheadOf(flow.output.outlet) : 0;
  if (!tunnel) return limit;
  return Math.min(limit, Math.max(88, (state.config.ways?.mtu ?? 0) - tunnel - headers));
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
  if (!flow || !current(flow) || !["take", "route", "forward"].includes(flow.action) || !sameTunnel(flow, p))
    return undefined;
  return { flow, protocol };
}

function takeError(state: State, p: Packet, flow: Flow, protocol: number, oracle: Oracle): Outcome {
  if (p.innerVersion === 4 || flow.action !== "take") return take(state, p, flow, oracle, { protocol });
  // ICMPv6 covers the addresses too: the quote first, then address and checksum as for any ICMPv6 message.
  const frame = p.frame.slice();
  const ip = frame.subarray(p.inner, p.inner + p.innerLength);
  const l4 = p.l4 - p.inner;
  translateQuote(ip, p, l4, flow, true, protocol);
  const keep = { ...flow, translatedUePort: get16(ip, l4 + 4) };
  translate(ip, { innerVersion: 6, protocol: 58, l4 }, keep, true);
  flow.packets++;
  copied(state, flow, "uplink");
  return deliver(state, p, ip, flow, "take_uplink", oracle);
}

const fragmentKey = (p: Packet) => `inner/${p.ue}/${p.remote}/${p.id}/${p.protocol}`;
/** A first inner fragment shows where the later ones belong. */
function rememberFirst(state: State, p: Packet): void {
  const ports = { ue: p.uePort, remote: p.remotePort };
  if (p.fragment === "first") state.fragments.set(fragmentKey(p), { ports, outer: "pass" });
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
          mayMatch(state, p) || state.config.protect.some((prefix) => inPrefix(p.remote, bucket(prefix)));
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
function knownFlow(state: State, p: Packet, key: string, oracle: Oracle): Outcome | "running" | undefined {
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
  if (staysItself(flow.action)) {
    const same = (fresh && !(syn && flow.running)) || p.fragment === "later";
    if (!same) {
      forgetFlow(state, key, flow);
      return syn ? undefined : "running";
    }
    if (flow.action !== "through") {
      rememberFirst(state, p);
      return stay(p, flow.action === "drop" ? "drop_rule" : "pass_no_rule");
    }
  }
  if (syn && (!current_ || flow.fin || flow.rst)) {
    forgetFlow(state, key, flow);
    return undefined;
  }
  if (state.config.mode !== "offload") return undefined;
  if (!keepsTunnel(flow.action) && flow.session.aside && usableSlot(flow.session) === undefined) {
    forgetFlow(state, key, flow);
    return pass(p, "pass_aside");
  }
  rememberFirst(state, p);
  return take(state, p, flow, oracle);
}

/** What is no part of a flow of its own: a later fragment, an ICMP error. */
function beside(state: State, p: Packet): { alone: Flow } | string {
  if (state.config.mode !== "offload") return "pass_no_rule";
  const directed = state.rules.some(({ match }) => match.direction);
  const rule = state.rules.find((candidate) => ruleMatches(candidate, p));
  if (!rule || (p.fragment === "later" && !directed)) return "pass_no_rule";
  if (rule.match.direction && treats(rule)) return decideAlone(state, p, rule);
  return p.fragment !== "later" && rule.action === "drop" ? "drop_rule" : "pass_no_rule";
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
  const wanted = mayMatch(state, p);
  const named = isNamed(state, p);
  let running = false;
  if (wanted && !named) {
    if (!readInner(p, true)) return asIs("pass_inner_malformed");
    if (p.fragment === "later") {
      const first = state.fragments.get(fragmentKey(p))?.ports;
      if (!first) {
        if (!offload || !state.sessions.has(sessionName(p)) || !state.config.slowPort) return asIs("pass_no_rule");
        const held = slowFrame(SLOW.innerFragment, frame, 0, 0, 0, reasons.unknown);
        return { verdict: "redirect", frame: held, counter: "slow_inner_fragment" };
      }
      p.uePort = first.ue;
      p.remotePort = first.remote;
    }
    const known = knownFlow(state, p, upKey(p), oracle);
    if (known === "running") running = true;
    else if (known) return known;
  }
  const t = owner(state, p, wanted || named);
  if (typeof t === "string") return asIs(t);
  if (named) {
    const query = offload ? takeQuery(state, p, t, oracle) : "pass_observe";
    if (typeof query === "string") return asIs(query);
    return { ...take(state, p, query, oracle), counter: "take_dns" };
  }
  if (!wanted) return asIs("pass_no_rule");
  return decided(state, p, t, oracle, running);
}

/** The packet is its UE's own, and a rule could match. */
function decided(state: State, p: Packet, t: Tunnel, oracle: Oracle, running: boolean): Outcome {
  const offload = state.config.mode === "offload";
  const ends = (refused: string): Outcome => {
    if (p.icmpOther === undefined) rememberFirst(state, p);
    return stay(p, refused);
  };
  if (p.icmpOther !== undefined || p.fragment === "later") {
    const about = p.icmpOther !== undefined && offload ? quotedFlow(state, p) : undefined;
    if (about) return takeError(state, p, about.flow, about.protocol, oracle);
    const aside = beside(state, p);
    return typeof aside === "string" ? ends(aside) : takeAlone(state, p, aside.alone, oracle);
  }
  const key = upKey(p);
  let flow = state.flows.get(key);
  if (flow && staysItself(flow.action)) {
    forgetFlow(state, key, flow);
    flow = undefined;
  }
  if (flow && !sameTunnel(flow, p)) setTunnel(flow, p);
  if (!flow) {
    const refused = decide(state, p, t, oracle, running);
    if (typeof refused === "string") return ends(refused);
    if (refused) return takeAlone(state, p, refused.alone, oracle);
    flow = state.flows.get(key);
    if (!flow) return pass(p, "pass_table_full");
  }
  if (!offload) return pass(p, "pass_observe");
  rememberFirst(state, p);
  return take(state, p, flow, oracle);
}

/** By a rule for the uplink; nothing is remembered but where later fragments belong. */
function takeAlone(state: State, p: Packet, flow: Flow, oracle: Oracle): Outcome {
  rememberFirst(state, p);
  return take(state, p, flow, oracle);
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
