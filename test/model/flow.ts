/**
 * How does the model find, enter and forget a flow?
 *
 * A flow that has a way back is two entries, each named by what the other's packets carry. docs/packet-path.md, "Deciding".
 */
import { concat, u16 } from "../packets/bytes.ts";
import { isMapped, type Packet } from "./read.ts";
import type { Flow, Session, State } from "./state.ts";

/** What the model may ask about the programs' answer: numbers that are free to choose. */
export interface Oracle {
  /** The UE's port as the app sees it, when its own is taken there already. */
  otherPort(): number;
  /** IPv4 identification of the header at this place. */
  outerId(l3: number): number;
  /** While it is silent, queries pass but for one in sixteen: was this among those that pass? */
  serverIsSilent(): boolean;
}

export const SLOW = { hold: 1, fragment: 4, tooBig: 7, innerFragment: 8 };

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
export const upKey = (p: Packet) => flowKey(p.remote, p.ue, p.remotePort, p.uePort, p.protocol, false);
export const replyKey = (p: Packet) => flowKey(p.remote, p.ue, p.remotePort, p.uePort, p.protocol, true);
export const current = (flow: Flow) => flow.session.epoch === flow.epoch;
export const isPortless = (protocol: number) => protocol === 1 || protocol === 58;
/** Stands in the place of the protocol of queries for names. */
export const QUERY = 255;

/** Both of its directions are the core's. */
export const keepsTunnel = (action: Flow["action"]) => action === "through" || action === "forward";
/** Nothing of these is translated: they may be decided again at any time. */
export const staysItself = (action: Flow["action"]) => action === "pass" || action === "drop" || action === "through";
const hasTwin = (action: Flow["action"]) => action !== "pass" && action !== "drop";

export const sameTunnel = (flow: Flow, p: Packet) =>
  flow.teid === p.teid && flow.link === p.link && flow.source === p.source && flow.destination === p.destination;

export function setTunnel(flow: Flow, p: Packet): void {
  flow.source = p.source;
  flow.destination = p.destination;
  flow.teid = p.teid;
  flow.link = p.link;
}

/** A flow of this session, to be filled in. */
export const newFlow = (state: State, session: Session): Flow => ({
  source: "",
  destination: "",
  teid: 0,
  link: 0,
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
});

export function forgetFlow(state: State, key: string, flow: Flow): void {
  const [, ue = "", , , protocol = "0", way] = key.split("/");
  const twin = flowKey(flow.translated, ue, flow.translatedPort, flow.translatedUePort, Number(protocol), way === "up");
  if (hasTwin(flow.action)) state.flows.delete(twin);
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
    if (![1, 6, 17, 58, QUERY].includes(p.protocol)) return false;
    uePort = oracle.otherPort();
    if (uePort < 0x8000) throw new Error(`port ${uePort} for a second flow is not above 32767`);
  }
  const reply: Flow = {
    ...flow,
    action: keepsTunnel(flow.action) ? flow.action : "reply",
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

/** Of a rule that could be about this packet; see `mayMatch` and `mayBeTreated`. */
export const bucket = (prefix: { address: string; bits: number }) => ({
  address: prefix.address,
  bits: Math.min(prefix.bits, isMapped(prefix.address) ? 112 : 32),
});

/**
 * A later fragment gets the ports of its first one, which is remembered. False when that has not come. `way`: one of its
 * own for each place that fragments come by.
 */
export function followFragment(state: State, p: Packet, way: string): boolean {
  const name = `${way}/${p.remote}/${p.ue}/${p.id}/${p.protocol}`;
  if (p.fragment === "first") {
    state.fragments.set(name, { outer: "pass", ports: { ue: p.uePort, remote: p.remotePort } });
  } else if (p.fragment === "later") {
    const first = state.fragments.get(name)?.ports;
    if (!first) return false;
    p.uePort = first.ue;
    p.remotePort = first.remote;
  }
  return true;
}
