/**
 * What must happen to a frame on plain Ethernet?
 *
 * docs/packet-path.md, "Ethernet": a session is a client's address at a station; the core side confirms where it is.
 */
import { checksum, concat, get16, toHex } from "../packets/bytes.ts";
import { treatDownlink } from "./core.ts";
import type { Oracle } from "./flow.ts";
import { CLAIM, peerIsFull, sessionName, UPLINK, unicast } from "./learn.ts";
import { emptyPacket, inPrefix, isMapped, isTag, type Packet, readInnerAddresses } from "./read.ts";
import { type Bearer, count, type Outcome, type Session, type State, type Tunnel } from "./state.ts";
import { uplinkPacket } from "./uplink.ts";

const stationName = (mac: Uint8Array) => `01${"0".repeat(18)}${toHex(mac)}`;

/** A packet, or the name that the frame passes with. */
function read(frame: Uint8Array, uplink: boolean): Packet | string {
  if (frame.length < 22) return "pass_not_ip";
  const p = emptyPacket(frame);
  let at = 12;
  const tags: number[] = [];
  while (isTag(get16(frame, at)) && tags.length < 2) {
    tags.push(get16(frame, at + 2) & 0xfff);
    at += 4;
  }
  p.link = ((tags[0] ?? 0) << 12) | (tags[1] ?? 0);
  const ip = at + 2;
  let length: number;
  if (get16(frame, at) === 0x0800) {
    const first = frame[ip] ?? 0;
    if (frame.length < ip + 20 || first >> 4 !== 4 || (first & 15) < 5) return "pass_malformed";
    if (first !== 0x45) return "pass_options";
    length = get16(frame, ip + 2);
  } else if (get16(frame, at) === 0x86dd) {
    if (frame.length < ip + 40 || (frame[ip] ?? 0) >> 4 !== 6) return "pass_malformed";
    length = get16(frame, ip + 4) + 40;
  } else return "pass_not_ip";
  if (length < 20 || length > 0xffff || frame.length < ip + length) return "pass_malformed";
  if ((frame[6] ?? 0) & 1) return "pass_malformed";
  if ((frame[0] ?? 0) & 1) return uplink ? "pass_no_rule" : "pass_downlink";
  p.ethernet = true;
  p.l3 = p.inner = ip;
  p.innerLength = length;
  p.source = stationName(frame.subarray(6, 12));
  p.destination = stationName(frame.subarray(0, 6));
  readInnerAddresses(p, uplink);
  return p;
}

/** Both headers of a session: to its station, and from it to its gateway. */
function setStation(session: Session, p: Packet, uplink: boolean): void {
  const { frame, inner, link } = p;
  const [station, gateway] = uplink ? [p.source, p.destination] : [p.destination, p.source];
  const turned = concat(frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12, inner));
  const as = frame.slice(0, inner);
  const bearer = (endpoint: string, header: Uint8Array): Bearer => ({
    state: "live",
    epoch: session.epoch,
    header,
    l3: inner,
    v6: false,
    overhead: 0,
    portVaries: false,
    key: `${endpoint}/0/${link}`,
    injectedAt: 0,
    confirmed: false,
    pairTeid: 0,
  });
  session.bearers[0] = bearer(station, uplink ? turned : as);
  session.bearers[UPLINK] = bearer(gateway, uplink ? as : turned);
  session.baseStation = station;
  session.gateway = gateway;
  session.link = link;
}

const zeroMac = stationName(new Uint8Array(6));

function mayTeach(state: State, p: Packet): string | undefined {
  const v4 = isMapped(p.ue);
  if (p.innerVersion === 0 || !unicast(p.ue)) return "pass_no_rule";
  if (v4 ? p.ue.slice(24, 28) === "a9fe" : p.ue.endsWith("0".repeat(16))) return "pass_no_rule";
  if (p.innerVersion === 4 && checksum(p.frame.subarray(p.inner, p.inner + 20)) !== 0) return "pass_malformed";
  if (p.source === zeroMac || p.destination === zeroMac) return "pass_malformed";
  const pools = state.config.uePools;
  return pools && !pools.some((prefix) => inPrefix(p.ue, prefix)) ? "pass_peer_refused" : undefined;
}

function learn(state: State, p: Packet): Session | string {
  const refused = mayTeach(state, p);
  if (refused !== undefined) return refused;
  const known = state.sessions.get(p.ue);
  if (known) {
    // One claim at a time, and time stands still.
    if (!known.candidate) {
      known.candidate = true;
      const { source, link } = p;
      const claim = { header: new Uint8Array(), l3: 0, v6: false, overhead: 0, portVaries: false, injectedAt: 0 };
      const key = `${source}/0/${link}`;
      known.bearers[CLAIM] = { ...claim, state: "live", epoch: known.epoch, key, confirmed: false, pairTeid: 0 };
    }
    return "pass_unproven";
  }
  if (peerIsFull(state, p, true)) return "pass_peer_refused";
  if (state.nextIndex >= state.config.maxSessions) {
    count(state, "note_full");
    return "pass_table_full";
  }
  const session: Session = {
    ...{ index: state.nextIndex++, epoch: 1, ue: sessionName(p), baseStation: "", gateway: "", uplink: true },
    ...{ hold: false, held: 0, wanted: false, moving: false, candidate: false, aside: false },
    ...{ flows: 0, link: 0, unpaired: 0, injected: new Set<number>(), bearers: [] },
  };
  setStation(session, p, true);
  state.sessions.set(p.ue, session);
  const peer = `${p.source}/access`;
  state.taught.set(peer, (state.taught.get(peer) ?? 0) + 1);
  count(state, "note_learnt");
  return session;
}

const isAt = (session: Session, station: string, p: Packet) =>
  session.baseStation === station && session.link === p.link;

/** The client's own station, in the form of a tunnel. */
function owner(state: State, p: Packet, wanted: boolean): Tunnel | string {
  const known = state.sessions.get(p.ue);
  const session = known && isAt(known, p.source, p) ? known : learn(state, p);
  if (typeof session === "string") return session;
  if (wanted && session.gateway !== p.destination) setStation(session, p, true);
  const half = { ue: p.ue, session, epoch: session.epoch, slot: UPLINK, candidate: false };
  return { endpoint: p.destination, teid: 0, peer: p.source, uplink: true, v4: half, v6: half, lastSeen: 0 };
}

export function uplinkEthernet(state: State, frame: Uint8Array, oracle: Oracle): Outcome {
  const asIs = (counter: string): Outcome => ({ verdict: "redirect", frame, counter });
  if (state.config.mode === "bypass") return asIs("pass_bypass");
  const p = read(frame, true);
  return typeof p === "string" ? asIs(p) : uplinkPacket(state, p, oracle, owner);
}

export function downlinkEthernet(state: State, frame: Uint8Array, oracle: Oracle): Outcome {
  const asIs = (counter: string): Outcome => ({ verdict: "redirect", frame, counter });
  if (state.config.mode === "bypass") return asIs("pass_bypass");
  const p = read(frame, false);
  if (typeof p === "string") return asIs(p);
  const session = state.sessions.get(p.ue);
  const claim = session?.candidate ? session.bearers[CLAIM] : undefined;
  if (session && claim && !isAt(session, p.destination, p) && claim.key === `${p.destination}/0/${p.link}`) {
    setStation(session, p, false);
    session.bearers[CLAIM] = undefined;
    session.candidate = false;
    count(state, "note_moved");
  }
  const known = session !== undefined && isAt(session, p.destination, p);
  return treatDownlink(state, p, known ? "station" : "new", oracle) ?? asIs("pass_downlink");
}
