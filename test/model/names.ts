/**
 * Is a packet a query for a name that the platform answers, and may it be taken?
 *
 * docs/packet-path.md, "Names". RFC 1035 §4.1, read one octet after the other.
 */
import { get16, toHex } from "../packets/bytes.ts";
import { wire } from "../packets/dns.ts";
import { current, enterFlow, flowKey, forgetFlow, newFlow, type Oracle, QUERY, setTunnel } from "./flow.ts";
import { halfOf, usableSlot } from "./learn.ts";
import { ruleMatches } from "./match.ts";
import { addressOf, type Packet, readInner } from "./read.ts";
import { count, type Flow, type Session, type State, type Tunnel } from "./state.ts";

/** The name that a plain query asks for, as it is on the wire, in lower case; undefined where it is no such query. */
function asksFor(message: Uint8Array): string | undefined {
  const [opaque, questions, answers, authorities] = [
    (message[2] ?? 0) & 0xf8,
    ...[4, 6, 8].map((at) => get16(message, at)),
  ];
  if (message.length < 17 || opaque !== 0 || questions !== 1 || answers !== 0 || authorities !== 0) return undefined;
  let at = 12;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
    if (length === 0) break;
  }
  if (at - 12 > 255 || at + 4 > message.length || get16(message, at + 2) !== 1) return undefined;
  return toHex(message.subarray(12, at).map((octet) => (octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet)));
}

/** No rule matches it: those come first, whatever they say. */
export function isNamed(state: State, p: Packet): boolean {
  const { names } = state.config;
  if (!names || !readInner(p, true) || p.fragment !== "none" || p.protocol !== 17 || p.remotePort !== 53) return false;
  const name = asksFor(p.frame.subarray(p.l4 + 8, p.l4 + p.l4Length));
  if (name === undefined || !names.names.some((one) => toHex(wire(one)) === name)) return false;
  return !state.rules.some((rule) => ruleMatches(rule, p));
}

/** Could an app's replies come back? Undefined, or the name that the packet passes with. */
export function wantDownlink(state: State, session: Session): string | undefined {
  if (session.aside) return "pass_aside";
  if (usableSlot(session) !== undefined) return undefined;
  if (!state.config.slowPort) return "pass_aside";
  session.wanted = true;
  return undefined;
}

/** The bearer that belongs to the uplink that the packet came in, else the first. */
export function bearerBeside(session: Session, p: Packet): number {
  let found = 0;
  for (const slot of [1, 2]) {
    const b = session.bearers[slot];
    if (b?.state === "live" && b.epoch === session.epoch && b.pairTeid === p.teid) found = slot;
  }
  return found;
}

/** Enters the query's flow in the UE's own tunnel, or says with which name it passes. */
export function takeQuery(state: State, p: Packet, t: Tunnel, oracle: Oracle): Flow | string {
  const half = halfOf(t, p);
  if (half === undefined || half.session.epoch !== half.epoch) return "pass_unproven";
  const { session } = half;
  const to = p.innerVersion === 6 ? state.config.names?.server6 : state.config.names?.server;
  if (!to) return "pass_no_rule";
  const refused = wantDownlink(state, session);
  if (refused !== undefined) return refused;
  // One query in sixteen finds out whether the server is back.
  if (state.waiting === "long" && oracle.serverIsSilent()) return "pass_dns_aside";
  const key = flowKey(p.remote, p.ue, p.remotePort, p.uePort, QUERY, false);
  let flow = state.flows.get(key);
  if (flow && current(flow) && flow.translated === addressOf(to.address) && flow.translatedPort === to.port) {
    setTunnel(flow, p);
  } else {
    if (flow) forgetFlow(state, key, flow);
    const room = session.flows < state.config.ueFlows;
    flow = newFlow(state, session);
    setTunnel(flow, p);
    flow.action = "take";
    flow.generation = 0;
    flow.bearer = bearerBeside(session, p);
    flow.translated = addressOf(to.address);
    flow.translatedPort = to.port;
    if (!room || !enterFlow(state, { ...p, protocol: QUERY }, flow, session, oracle)) {
      count(state, "note_full");
      return "pass_table_full";
    }
  }
  if (state.waiting === "no") state.waiting = "lately";
  return flow;
}
