/**
 * What must happen to a packet that an app sends to a UE?
 *
 * The frame is Ethernet and IP. What answers a flow goes back into the session's downlink tunnel; what answers nothing is
 * dropped, unless the service lets its app speak first.
 */

import type { Endpoint, Range, SteeringRule } from "../../dataplane/steering.ts";
import { concat, get16, sum16, toHex, u16, u32 } from "../packets/bytes.ts";
import { enterFlow, flowKey, followFragment, newFlow, type Oracle, QUERY, replyKey, SLOW, slowFrame } from "./flow.ts";
import { sessionName, UPLINK, usableSlot } from "./learn.ts";
import { copied } from "./leave.ts";
import { familyOf, nextHopOf, prefixOf } from "./match.ts";
import { addressOf, emptyPacket, inPrefix, mapped, type Packet, readInner } from "./read.ts";
import { type Bearer, count, type Flow, type Outcome, type State } from "./state.ts";
import { clampMss, translate, translateQuote } from "./translate.ts";

export interface ReplyOracle extends Oracle {
  /** UDP checksum over IPv6. */
  outerChecksum(udp: number): number;
  /** UDP source port where the gateway spreads its own. */
  outerPort(udp: number): number;
}

/** Reads Ethernet + IP; a name when it is to be dropped. */
function readPlain(frame: Uint8Array): Packet | string {
  if (frame.length < 34) return "drop_not_ip";
  const type = get16(frame, 12);
  if (type !== 0x0800 && !(type === 0x86dd && frame.length >= 54)) return "drop_not_ip";
  const length = type === 0x0800 ? get16(frame, 16) : get16(frame, 18) + 40;
  if (frame.length < 14 + length) return "drop_reply_malformed";
  const p = emptyPacket(frame.slice(0, 14 + length));
  p.inner = 14;
  p.innerLength = length;
  const version = (frame[14] ?? 0) >> 4;
  if (version === 4 && length >= 20) {
    p.innerVersion = 4;
    p.remote = mapped(frame.subarray(26, 30));
    p.ue = mapped(frame.subarray(30, 34));
  } else if (version === 6 && length >= 40) {
    p.innerVersion = 6;
    p.remote = toHex(frame.subarray(22, 38));
    p.ue = toHex(frame.subarray(38, 54));
  } else return "drop_reply_malformed";
  return readInner(p, false) ? p : "drop_reply_malformed";
}

const drop = (p: Packet, counter: string): Outcome => ({ verdict: "drop", frame: p.frame, counter });

/** RFC 1191, RFC 8201: to the app, in the UE's name. */
function tooBig(p: Packet, mtu: number): Outcome {
  const v4 = p.innerVersion === 4;
  const { frame } = p;
  const quoted = frame.subarray(14, 14 + (v4 ? 28 : 80));
  const source = frame.subarray(v4 ? 30 : 38, v4 ? 34 : 54);
  const destination = frame.subarray(v4 ? 26 : 22, v4 ? 30 : 38);
  const withSum = (bytes: Uint8Array, at: number, ...more: Uint8Array[]) => {
    bytes.set(u16(~sum16(bytes, ...more) & 0xffff), at);
    return bytes;
  };
  const body = concat(v4 ? Uint8Array.of(3, 4, 0, 0) : Uint8Array.of(2, 0, 0, 0), u32(mtu), quoted);
  const link = concat(frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12, 14));
  const ip = v4
    ? withSum(
        concat(Uint8Array.of(0x45, 0), u16(20 + body.length), u32(0), Uint8Array.of(64, 1, 0, 0), source, destination),
        10,
      )
    : concat(u32(0x60000000), u16(body.length), Uint8Array.of(58, 64), source, destination);
  const pseudo = v4 ? new Uint8Array() : concat(source, destination, u32(body.length), u32(58));
  return { verdict: "tx", frame: concat(link, ip, withSum(body, 2, pseudo)), counter: "drop_too_big" };
}

/** The packet as it would be with a right transport checksum; itself where it has none. */
function repaired(ip: Uint8Array): Uint8Array {
  const v4 = (ip[0] ?? 0) >> 4 === 4;
  const protocol = ip[v4 ? 9 : 6] ?? 0;
  const l4 = v4 ? 20 : 40;
  const at = { 1: 2, 6: 16, 17: 6, 58: 2 }[protocol];
  if (at === undefined || (v4 && get16(ip, 6) & 0x3fff) || (protocol === 17 && get16(ip, l4 + 6) === 0)) return ip;
  const copy = ip.slice();
  copy.set(u16(0), l4 + at);
  const addresses = ip.subarray(v4 ? 12 : 8, v4 ? 20 : 40);
  const body = copy.subarray(l4);
  const pseudo = protocol === 1 ? new Uint8Array() : concat(addresses, u32(body.length), u32(protocol));
  copy.set(u16(~sum16(pseudo, body) & 0xffff), l4 + at);
  return copy;
}

/** The bearer's header around the inner packet, lengths and checksums complete. */
function encapsulate(bearer: Bearer, ip: Uint8Array, oracle: ReplyOracle, flow: Flow, error: boolean): Uint8Array {
  const head = bearer.header.slice();
  if (bearer.overhead === 0) return concat(head, ip); // to a station
  const { l3, v6 } = bearer;
  const udp = l3 + (v6 ? 40 : 20);
  const udpLength = head.length - udp + ip.length;
  head.set(u16(udpLength), udp + 4);
  head.set(u16(udpLength - 16), udp + 10);
  if (bearer.psc && flow.qfi !== undefined && flow.qfi < 64) {
    head[udp + 22] = ((head[udp + 22] ?? 0) & 0xc0) | flow.qfi;
  }
  if (bearer.portVaries) {
    // One flow keeps one port, or the network would reorder it; errors about it may use another.
    const port = (error ? undefined : flow.outerPort) ?? oracle.outerPort(udp);
    if (port < 49152) throw new Error(`outer UDP source port ${port} is not a dynamic one`);
    if (!error) flow.outerPort = port;
    head.set(u16(port), udp);
  }
  if (v6) {
    head.set(u16(udpLength), l3 + 4);
    const pseudo = concat(head.subarray(l3 + 8, l3 + 40), u32(udpLength), u32(17));
    const sumOver = (inner: Uint8Array) => ~sum16(pseudo, head.subarray(udp), inner) & 0xffff || 0xffff;
    const right = sumOver(ip);
    // It may be built on the inner checksum, which then has to be taken at its word: a packet that an app sent wrong is
    // wrong outside as well, and dropped one hop earlier.
    const trusting = sumOver(repaired(ip));
    head.set(u16(oracle.outerChecksum(udp) === trusting ? trusting : right), udp + 6);
  } else {
    head.set(u16(udpLength + 20), l3 + 2);
    head.set(u16(oracle.outerId(l3)), l3 + 4);
    head.set(u16(~sum16(head.subarray(l3, l3 + 20)) & 0xffff), l3 + 10);
  }
  return concat(head, ip);
}

function sendReply(
  state: State,
  p: Packet,
  flow: Flow,
  oracle: ReplyOracle,
  quoted?: { protocol: number; own: boolean },
): Outcome {
  const { session } = flow;
  let bearer = session.bearers[flow.bearer];
  if (bearer?.state !== "live" || bearer.epoch !== flow.epoch) {
    if (session.epoch !== flow.epoch) return drop(p, "drop_no_flow");
    const slot = session.hold ? undefined : usableSlot(session);
    if (slot === undefined) {
      if (!state.config.slowPort) return drop(p, "drop_no_downlink");
      if (!session.hold) session.held = 0;
      session.hold = true;
      const frame = slowFrame(SLOW.hold, p.frame, session.index, session.epoch, ++session.held);
      return { verdict: "redirect", frame, counter: "slow_hold" };
    }
    bearer = session.bearers[slot];
  }
  if (bearer === undefined) throw new Error("a usable slot is not empty");
  const { mtuAccess } = state.config;
  if (p.innerLength + bearer.overhead > mtuAccess) {
    const mtu = mtuAccess - bearer.overhead;
    if (p.dontFragment) return tooBig(p, mtu);
    if (!state.config.slowPort) return drop(p, "drop_too_big");
    const frame = slowFrame(SLOW.tooBig, p.frame, session.index, session.epoch, 0, mtu);
    return { verdict: "redirect", frame, counter: "slow_too_big" };
  }
  flow.packets++;
  const ip = p.frame.slice(14);
  const l4 = p.l4 - 14;
  if (p.protocol === 6 && p.fragment !== "later") {
    if (p.tcpFlags & 1) flow.fin = true;
    if (p.tcpFlags & 4) flow.rst = true;
    const overhead = state.config.ethernet ? 0 : bearer.v6 ? 64 : 44;
    const limit = mtuAccess - overhead - (p.innerVersion === 6 ? 60 : 40);
    if (p.tcpFlags & 2 && clampMss(ip, l4, limit)) count(state, "note_mss_clamped");
  }
  if (quoted === undefined) {
    const whole = p.fragment !== "later";
    translate(ip, { innerVersion: p.innerVersion, protocol: p.protocol, l4: whole ? l4 : undefined }, flow, false);
  } else {
    // The error may come from a router on the way to the app: then its own source stays what it is.
    translateQuote(ip, p, l4, flow, false, quoted.protocol);
    const v6 = p.innerVersion === 6;
    const keep = v6 ? { ...flow, translatedUePort: get16(ip, l4 + 4) } : flow;
    if (quoted.own)
      translate(ip, { innerVersion: p.innerVersion, protocol: p.protocol, l4: v6 ? l4 : undefined }, keep, false);
  }
  bearer.injectedAt = ++state.clock;
  session.injected.add(session.bearers.indexOf(bearer));
  copied(state, flow, "downlink");
  const frame = encapsulate(bearer, ip, oracle, flow, quoted !== undefined);
  return { verdict: "redirect", frame, counter: "reply_downlink" };
}

function quotedFlow(state: State, p: Packet): { flow: Flow; protocol: number; own: boolean } | undefined {
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
  if (![1, 6, 17, 58].includes(protocol) || from !== p.ue) return undefined;
  const echo = protocol === 1 || protocol === 58;
  const identifier = get16(frame, ports + 4);
  const first = echo ? identifier : get16(frame, ports);
  const second = echo ? identifier : get16(frame, ports + 2);
  const asked = protocol === 17 ? state.flows.get(flowKey(to, from, second, first, QUERY, true)) : undefined;
  const flow = state.flows.get(flowKey(to, from, second, first, protocol, true)) ?? asked;
  return flow?.action === "reply" ? { flow, protocol, own: to === p.remote } : undefined;
}

/** The first rule by which this app may speak first, and the one address that the UE knows it by. */
function firstForApp(
  state: State,
  p: Packet,
): { rule: SteeringRule; endpoint: Endpoint; destination: string } | undefined {
  const echo = p.protocol === 1 || p.protocol === 58;
  const inRange = (n: number, list: Range[] | undefined) => !list || list.some(([low, high]) => n >= low && n <= high);
  for (const rule of state.rules) {
    const { match } = rule;
    const [only, ...others] = (match.destination ?? []).map(prefixOf);
    if (!rule.appInitiated || rule.action !== "take" || only?.bits !== 128 || others.length > 0) continue;
    if (familyOf(rule) !== p.innerVersion || (match.protocol && !match.protocol.includes(p.protocol))) continue;
    if (match.source && !match.source.some((text) => inPrefix(p.ue, prefixOf(text)))) continue;
    if (!inRange(echo ? 0 : p.uePort, match.sourcePorts)) continue;
    const endpoint = rule.endpoints?.find(({ address, port, state }) => {
      if (addressOf(address) !== p.remote || state === "down") return false;
      if (echo || port === undefined) return inRange(echo ? 0 : p.remotePort, match.destinationPorts);
      return port === p.remotePort;
    });
    if (endpoint) return { rule, endpoint, destination: only.address };
  }
  return undefined;
}

/** Enters the flow that an app begins, as if the UE had. */
function appSpeaksFirst(state: State, p: Packet, oracle: Oracle): boolean {
  if (p.fragment === "later" || p.icmpOther !== undefined || ![1, 6, 17, 58].includes(p.protocol)) return false;
  const echo = p.protocol === 1 || p.protocol === 58;
  const found = firstForApp(state, p);
  const session = state.sessions.get(sessionName(p)) ?? state.sessions.get(p.ue);
  const own = session?.bearers[UPLINK];
  if (!found || !session?.uplink || !own) return false;
  const { rule, endpoint, destination } = found;
  if (state.config.mode !== "offload" || session.flows >= state.config.ueFlows) return false;
  const t = state.tunnels.get(own.key);
  const [gateway = "", teid = "0", link = "0"] = own.key.split("/");
  const flow: Flow = {
    ...newFlow(state, session),
    source: session.baseStation,
    destination: t?.endpoint ?? gateway,
    teid: Number(teid),
    link: Number(link),
    action: "take",
    service: rule.service,
    treated: rule.treatment !== undefined,
    translated: p.remote,
    translatedPort: p.remotePort,
    nextHop: nextHopOf(state.config, endpoint.address),
    rule: rule.id,
  };
  const seen = rule.match.destinationPorts?.map(([low]) => Math.max(1, low)) ?? [];
  const remotePort = endpoint.port && !echo && seen.length > 0 ? Math.min(...seen) : p.remotePort;
  return enterFlow(state, { ...p, remote: destination, remotePort, psc: undefined }, flow, session, oracle);
}

export function reply(state: State, frame: Uint8Array, oracle: ReplyOracle): Outcome {
  const p = readPlain(frame);
  if (typeof p === "string") return { verdict: "drop", frame, counter: p };
  if (p.icmpOther !== undefined) {
    const about = quotedFlow(state, p);
    if (!about) return drop(p, "drop_no_flow");
    return sendReply(state, p, about.flow, oracle, about);
  }
  if (!followFragment(state, p, "reply")) return drop(p, "drop_fragment");
  let flow = state.flows.get(replyKey(p));
  if (!flow && p.protocol === 17) {
    flow = state.flows.get(replyKey({ ...p, protocol: QUERY }));
    if (flow) state.waiting = "no";
  }
  if (!flow && appSpeaksFirst(state, p, oracle)) flow = state.flows.get(replyKey(p));
  if (flow?.action !== "reply") return drop(p, "drop_no_flow");
  return sendReply(state, p, flow, oracle);
}
