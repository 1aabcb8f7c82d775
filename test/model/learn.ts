/**
 * What does the model learn from a packet?
 *
 * Decision 6 of the design: a session is a UE address; uplink teaches from the access side, downlink from the core side;
 * a known UE on an unknown tunnel is a claim until the core confirms it; the session's own gateway moves it.
 */
import { checksum, concat, u16, u32 } from "../packets/bytes.ts";
import { inPrefix, isMapped, type Packet, prefix64, wireAddress } from "./read.ts";
import { type Address, type Bearer, count, type Half, type Session, type State, type Tunnel } from "./state.ts";

export const UPLINK = 3;
export const CLAIM = 4;
const downlinks = [0, 1, 2];

export const tunnelKey = (endpoint: Address, teid: number, link: number, uplink: boolean): string =>
  `${endpoint}/${teid}/${link}/${uplink ? "up" : "down"}`;
export const keyOf = (p: Packet, uplink: boolean): string => tunnelKey(p.destination, p.teid, p.link, uplink);
export const sessionName = (p: Packet): Address => (p.innerVersion === 6 && !p.ethernet ? prefix64(p.ue) : p.ue);
export const halfOf = (t: Tunnel, p: Packet): Half | undefined => (p.innerVersion === 6 ? t.v6 : t.v4);

/** Does it carry this family at all, for the present incarnation of its session? What an earlier one left is unknown. */
export const isBound = (t: Tunnel, p: Packet): boolean => {
  const half = halfOf(t, p);
  return half !== undefined && half.session.epoch === half.epoch;
};

/** Does this tunnel carry the packet's UE? */
export const isOwn = (t: Tunnel, p: Packet): boolean => halfOf(t, p)?.ue === sessionName(p);

export function unicast(a: Address): boolean {
  if (isMapped(a)) {
    const first = Number.parseInt(a.slice(24, 26), 16);
    return first !== 0 && first !== 127 && first < 224;
  }
  const first = Number.parseInt(a.slice(0, 4), 16);
  return first >> 8 !== 0xff && first >> 8 !== 0 && (first & 0xffc0) !== 0xfe80;
}

/** Undefined when the packet may teach, else the name that it passes with. */
export function mayTeach(state: State, p: Packet, uplink: boolean): string | undefined {
  const baseStation = uplink ? p.source : p.destination;
  const gateway = uplink ? p.destination : p.source;
  if (p.innerVersion === 0 || p.teid === 0 || !unicast(p.ue)) return "pass_no_rule";
  if (!unicast(baseStation) || !unicast(gateway)) return "pass_malformed";
  if (!p.v6 && checksum(p.frame.subarray(p.l3, p.l3 + 20)) !== 0) return "pass_malformed";
  const { accessPeers, corePeers, uePools } = state.config;
  const outside = (list: { address: Address; bits: number }[] | undefined, a: Address) =>
    list !== undefined && !list.some((prefix) => inPrefix(a, prefix));
  if (outside(accessPeers, baseStation) || outside(corePeers, gateway) || outside(uePools, p.ue)) {
    return "pass_peer_refused";
  }
  return undefined;
}

/** The outer header that leads where this packet's own leads, with lengths, id and checksum zero. */
function setHeader(b: Bearer, p: Packet): void {
  const { frame, l3 } = p;
  const link = frame.slice(0, l3);
  const source = wireAddress(p.source);
  const destination = wireAddress(p.destination);
  const ip = p.v6
    ? concat(frame.subarray(l3, l3 + 4), u16(0), Uint8Array.of(17, frame[l3 + 7] ?? 0), source, destination)
    : concat(
        Uint8Array.of(
          0x45,
          frame[l3 + 1] ?? 0,
          0,
          0,
          0,
          0,
          (frame[l3 + 6] ?? 0) & 0x40,
          0,
          frame[l3 + 8] ?? 0,
          17,
          0,
          0,
        ),
        source,
        destination,
      );
  const udp = concat(u16(p.sourcePort), u16(2152), u32(0));
  const gtp = concat(
    Uint8Array.of(p.psc ? 0x34 : 0x30, 255, 0, 0),
    u32(p.teid),
    p.psc ? concat(u32(0x85), p.psc) : new Uint8Array(),
  );
  b.header = concat(link, ip, udp, gtp);
  b.l3 = l3;
  b.v6 = p.v6;
  b.overhead = ip.length + udp.length + gtp.length;
  b.portVaries = p.sourcePort !== 2152;
  b.psc = p.psc;
}

export function forgetBearer(state: State, session: Session, slot: number): void {
  const b = session.bearers[slot];
  if (b === undefined) return;
  const t = state.tunnels.get(b.key);
  if (t?.v4?.session === session || t?.v6?.session === session) {
    // The UE's other family may go on using it.
    const left = {
      ...t,
      v4: t.v4?.session === session ? undefined : t.v4,
      v6: t.v6?.session === session ? undefined : t.v6,
    };
    if (left.v4 || left.v6) state.tunnels.set(b.key, left);
    else state.tunnels.delete(b.key);
  }
  session.bearers[slot] = undefined;
}

function bindTunnel(
  state: State,
  p: Packet,
  uplink: boolean,
  session: Session,
  slot: number,
  candidate: boolean,
): void {
  const key = keyOf(p, uplink);
  const known = state.tunnels.get(key);
  const half: Half = { ue: sessionName(p), session, epoch: session.epoch, slot, candidate };
  const t: Tunnel = {
    ...known,
    endpoint: p.destination,
    teid: p.teid,
    peer: p.source,
    uplink,
    psc: p.psc,
    lastSeen: ++state.clock,
  };
  if (p.innerVersion === 6) t.v6 = half;
  else t.v4 = half;
  state.tunnels.set(key, t);
}

function writeBearer(
  state: State,
  p: Packet,
  uplink: boolean,
  session: Session,
  slot: number,
  bearerState: Bearer["state"],
  candidate = false,
): void {
  forgetBearer(state, session, slot);
  const bearer: Bearer = {
    state: bearerState,
    epoch: session.epoch,
    header: new Uint8Array(),
    l3: 0,
    v6: false,
    overhead: 0,
    portVaries: false,
    key: keyOf(p, uplink),
    injectedAt: 0,
    confirmed: false,
    pairTeid: 0,
  };
  setHeader(bearer, p);
  session.bearers[slot] = bearer;
  bindTunnel(state, p, uplink, session, slot, candidate);
}

export function usableSlot(session: Session): number | undefined {
  return downlinks.find((slot) => {
    const b = session.bearers[slot];
    return b !== undefined && b.epoch === session.epoch && (b.state === "live" || b.state === "draining");
  });
}

const forgetDownlinks = (state: State, session: Session) => {
  for (const slot of downlinks) forgetBearer(state, session, slot);
};

function newSession(state: State, p: Packet, uplink: boolean): string | undefined {
  const index =
    state.freeIndexes.shift() ?? (state.nextIndex < state.config.maxSessions ? state.nextIndex++ : undefined);
  if (index === undefined) {
    count(state, "note_full");
    return "pass_table_full";
  }
  const session: Session = {
    index,
    epoch: 1,
    ue: sessionName(p),
    baseStation: uplink ? p.source : p.destination,
    gateway: uplink ? p.destination : p.source,
    uplink,
    hold: false,
    held: 0,
    wanted: false,
    moving: false,
    candidate: false,
    aside: false,
    flows: 0,
    link: p.link,
    unpaired: 0,
    injected: new Set(),
    bearers: [],
  };
  state.sessions.set(session.ue, session);
  writeBearer(state, p, uplink, session, uplink ? UPLINK : 0, "live");
  const peer = `${p.source}/${uplink ? "access" : "core"}`;
  state.taught.set(peer, (state.taught.get(peer) ?? 0) + 1);
  count(state, "note_learnt");
  return undefined;
}

export function peerIsFull(state: State, p: Packet, uplink: boolean): boolean {
  const taught = state.taught.get(`${p.source}/${uplink ? "access" : "core"}`) ?? 0;
  if (taught < state.config.peerSessions) return false;
  count(state, "note_learning_limited");
  return true;
}

/** Undefined when the tunnel is proven, else the name the packet passes with. */
export function learnUplink(state: State, p: Packet): string | undefined {
  const refused = mayTeach(state, p, true);
  if (refused !== undefined) return refused;
  const session = state.sessions.get(sessionName(p));
  if (session === undefined) {
    return peerIsFull(state, p, true) ? "pass_peer_refused" : newSession(state, p, true);
  }
  if (!session.uplink && session.gateway === p.destination && session.baseStation === p.source) {
    writeBearer(state, p, true, session, UPLINK, "live");
    session.uplink = true;
    session.link = p.link;
    count(state, "note_learnt");
    return undefined;
  }
  // A known UE on an unknown tunnel is a claim; only one at a time (time stands still).
  if (!session.candidate) {
    writeBearer(state, p, true, session, CLAIM, "live", true);
    session.candidate = true;
  }
  return "pass_unproven";
}

function changeOwner(state: State, session: Session, p: Packet): void {
  const claim = session.bearers[CLAIM];
  if (claim === undefined) return;
  forgetDownlinks(state, session);
  forgetBearer(state, session, UPLINK);
  session.epoch++;
  session.bearers[UPLINK] = { ...claim, epoch: session.epoch };
  session.bearers[CLAIM] = undefined;
  const t = state.tunnels.get(claim.key);
  session.gateway = claim.key.split("/")[0] ?? "";
  if (t !== undefined) {
    session.baseStation = t.peer;
    const half = halfOf(t, p);
    if (half !== undefined) {
      half.candidate = false;
      half.epoch = session.epoch;
      half.slot = UPLINK;
    }
  }
  session.link = Number(claim.key.split("/")[2]);
  session.uplink = true;
  session.wanted = session.moving = session.candidate = session.aside = false;
  session.flows = session.unpaired = 0;
  count(state, "note_owner_changed");
}

function adoptClaim(state: State, session: Session): void {
  const claim = session.bearers[CLAIM];
  if (claim === undefined) return;
  const t = state.tunnels.get(claim.key);
  for (const half of [t?.v4, t?.v6]) if (half?.session === session) half.candidate = false;
  session.unpaired = Number(claim.key.split("/")[1]);
  // A downlink bearer learnt just before belongs to it.
  for (const b of [session.bearers[1], session.bearers[2]]) {
    if (b?.state === "live" && b.pairTeid === 0) pair(session, b);
  }
  session.bearers[CLAIM] = undefined;
  session.candidate = false;
}

function pair(session: Session, bearer: Bearer): void {
  if (session.unpaired === 0) return;
  bearer.pairTeid = session.unpaired;
  session.unpaired = 0;
}

const downlinkState = (session: Session): Bearer["state"] => (session.hold ? "draining" : "live");

/** `proof`: the packet is the core's answer to our own ping; "claim": to one through the claim's tunnel. */
export type Proof = "none" | "own" | "claim";

/** The name that the packet passes with. */
export function learnDownlink(state: State, p: Packet, proof: Proof): string {
  const refused = mayTeach(state, p, false);
  if (refused !== undefined) return refused === "pass_no_rule" ? "pass_downlink" : refused;
  const session = state.sessions.get(sessionName(p));
  if (session === undefined) {
    if (peerIsFull(state, p, false)) return "pass_peer_refused";
    return newSession(state, p, false) ?? "pass_downlink";
  }
  const claimTunnel = session.candidate ? state.tunnels.get(session.bearers[CLAIM]?.key ?? "") : undefined;
  const claimed = claimTunnel?.endpoint === p.source && claimTunnel.peer === p.destination;
  const ownGateway = session.gateway === p.source;
  const ownStation = session.baseStation === p.destination;
  let slot = 0;
  let another = false;
  if ((proof === "claim" && session.candidate) || (claimed && !(ownGateway && ownStation))) {
    changeOwner(state, session, p);
  } else if (!ownGateway && proof === "none") {
    count(state, "note_conflict");
    return "pass_downlink";
  } else if (!ownStation || session.moving) {
    forgetDownlinks(state, session);
    session.baseStation = p.destination;
    session.moving = false;
    count(state, "note_moved");
  } else if (proof !== "none") {
    forgetDownlinks(state, session);
  } else if (usableSlot(session) !== undefined) {
    another = true;
    slot = downlinks.find((s) => !["live", "draining"].includes(session.bearers[s]?.state ?? "free")) ?? 2;
  }
  if (proof !== "none") session.gateway = p.source;
  writeBearer(state, p, false, session, slot, downlinkState(session));
  count(state, "note_learnt");
  const written = session.bearers[slot];
  if (another && written !== undefined) pair(session, written);
  session.aside = false;
  return "pass_downlink";
}

const samePsc = (a: Uint8Array | undefined, b: Uint8Array | undefined) =>
  (a === undefined) === (b === undefined) && (a === undefined || b === undefined || Buffer.compare(a, b) === 0);

/** A downlink in a known tunnel: its bearer heals, or takes a new form. True when it was stale. */
export function refreshDownlink(state: State, p: Packet, t: Tunnel, proof: Proof): boolean {
  const half = halfOf(t, p);
  if (half === undefined || half.slot > 2 || half.session.epoch !== half.epoch) return false;
  const { session } = half;
  const b = session.bearers[half.slot];
  if (b === undefined) return false;
  const stale = b.state === "stale";
  if (proof === "claim" && session.candidate) {
    const claimTunnel = state.tunnels.get(session.bearers[CLAIM]?.key ?? "");
    if (claimTunnel?.endpoint === session.gateway && claimTunnel.peer === session.baseStation)
      adoptClaim(state, session);
  }
  if (!samePsc(b.psc, p.psc)) {
    setHeader(b, p);
    t.psc = p.psc;
  }
  // An answer to our own ping on a stale tunnel proves nothing at once: the base station may still refuse it.
  if (stale && proof === "none") {
    b.confirmed = false;
    session.moving = false;
    session.aside = false;
    b.state = downlinkState(session);
  } else if (stale) b.confirmed = true;
  return stale;
}

/** A known uplink tunnel used from another base station. Undefined when it is taken all the same. */
export function uplinkMoved(state: State, p: Packet, t: Tunnel): string | undefined {
  const refused = mayTeach(state, p, true);
  if (refused !== undefined) return refused;
  const half = halfOf(t, p);
  if (half === undefined || half.session.epoch !== half.epoch) return "pass_unproven";
  const { session } = half;
  const own = session.bearers[UPLINK];
  if (own !== undefined && own.key === keyOf(p, true)) setHeader(own, p);
  t.peer = p.source;
  if (session.baseStation !== p.source) {
    session.moving = true;
    for (const slot of downlinks) {
      const b = session.bearers[slot];
      if (b?.state === "live" || b?.state === "draining") b.state = "stale";
    }
  }
  return undefined;
}

/** TS 29.281 §7.3.1: the name that it passes or is absorbed with; `or` where the order within one tick decides. */
export function errorIndication(state: State, p: Packet, uplink: boolean): { counter: string; or?: string } {
  const pass = { counter: "pass_error_indication" };
  const { frame } = p;
  const at = p.gtp + (p.flags ? 12 : 8);
  if (p.flags & 4 || at + 12 > frame.length) return pass;
  const length = ((frame[at + 6] ?? 0) << 8) | (frame[at + 7] ?? 0);
  if (frame[at] !== 16 || frame[at + 5] !== 133 || (length !== 4 && length !== 16)) return pass;
  if (at + 8 + length > frame.length) return pass;
  const bytes = frame.subarray(at + 8, at + 8 + length);
  const peer = (length === 4 ? "00000000000000000000ffff" : "") + Buffer.from(bytes).toString("hex");
  if (peer !== p.source) return pass;
  const teid = new DataView(frame.buffer, frame.byteOffset).getUint32(at + 1);
  const key = tunnelKey(peer, teid, p.link, !uplink);
  const t = state.tunnels.get(key);
  if (t === undefined || t.peer !== p.destination) return pass;
  const halves = [t.v4, t.v6].filter((half): half is Half => half !== undefined);
  const { lastSeen } = t;
  let ours = false;
  let near = false;
  for (const { session, epoch, slot, candidate } of halves) {
    if (session.epoch !== epoch) continue;
    const b = session.bearers[slot];
    if (uplink) {
      if (b === undefined || b.epoch !== epoch) continue;
      // Who was last is known by session and slot, to the tick: where that decides, both answers are right.
      if (b.injectedAt > lastSeen) ours = true;
      else if (session.injected.has(slot)) near = true;
      b.state = "stale";
      b.confirmed = false;
      count(state, "note_bearer_stale");
    } else if (candidate) {
      forgetBearer(state, session, CLAIM);
      session.candidate = false;
    } else if (session.bearers[UPLINK]?.key === key) {
      // A claim on it is void, too.
      for (const slot of [...downlinks, UPLINK, CLAIM]) forgetBearer(state, session, slot);
      session.epoch++;
      session.uplink = session.wanted = session.moving = session.candidate = false;
      session.flows = session.unpaired = 0;
      session.aside = true;
    }
  }
  if (!uplink) return pass;
  if (ours) return { counter: "drop_error_indication" };
  return near ? { ...pass, or: "drop_error_indication" } : pass;
}

/** TS 29.281 §7.3.2: the core is done with this tunnel. */
export function endMarker(state: State, p: Packet): void {
  const t = state.tunnels.get(keyOf(p, false));
  if (t === undefined || t.peer !== p.source) return;
  for (const half of [t.v4, t.v6]) {
    if (half !== undefined && half.session.epoch === half.epoch) forgetBearer(state, half.session, half.slot);
  }
}
