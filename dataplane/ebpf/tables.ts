/**
 * What do the kernel's session tables say?
 *
 * Sessions and bearers are arrays seen as memory: reading is free, and what the programs write appears at once. A session
 * is read under its sequence number (odd: a program is writing). Slots that are in use are found by `ue_sessions`.
 */

import { addressOctets, addressText, isMapped, isStation, stationText } from "../address.ts";
import type { Bearer, Session, Station } from "../dataplane.ts";
import type { BpfMap } from "./bpf-map.ts";
import {
  BEARER_DRAINING,
  BEARER_FREE,
  BEARER_LIVE,
  BEARER_SLOTS,
  BEARER_STALE,
  DOWNLINK_SLOTS,
  SESSION_CANDIDATE,
  SESSION_HOLD,
  SESSION_MOVING,
  SLOT_CANDIDATE,
} from "./consts.ts";
import { ueText } from "./events.ts";
import * as layout from "./layout.ts";

type SessionValue = ReturnType<typeof layout.session.decode>;
type BearerValue = ReturnType<typeof layout.bearer.decode>;

/** Age in jiffies; both are truncated to 32 bits. What lies in the future is 0. */
export const since = (now: number, then: number): number => {
  const age = (now - then) >>> 0;
  return age > 0x7fff_ffff ? 0 : age;
};

export class Tables {
  readonly sessions: DataView;
  readonly bearers: DataView;
  /** The same memory as `sessions`, for atomic operations. */
  readonly words: Int32Array;
  readonly sessionStride: number;
  readonly bearerStride: number;
  readonly capacity: number;

  constructor(
    sessions: BpfMap,
    bearers: BpfMap,
    private readonly ueSessions: BpfMap,
    private readonly tunnels: BpfMap,
  ) {
    this.sessions = new DataView(sessions.memory());
    this.words = new Int32Array(sessions.memory());
    this.bearers = new DataView(bearers.memory());
    this.sessionStride = sessions.stride;
    this.bearerStride = bearers.stride;
    this.capacity = sessions.maxEntries;
  }

  /** A member of a session that is 32 bits wide, as it is now. */
  word(index: number, member: keyof typeof layout.session.offset): number {
    return this.sessions.getUint32(index * this.sessionStride + layout.session.offset[member], true);
  }

  /** Index into `words` of the same. */
  wordAt(index: number, member: keyof typeof layout.session.offset): number {
    return (index * this.sessionStride + layout.session.offset[member]) / 4;
  }

  session(index: number): SessionValue {
    for (let attempt = 0; ; attempt++) {
      const value = layout.session.read(this.sessions, index * this.sessionStride);
      const again = this.word(index, "sequence");
      if ((!(value.sequence & 1) && value.sequence === again) || attempt === 8) return value;
    }
  }

  bearer(index: number, slot: number): BearerValue {
    return layout.bearer.read(this.bearers, (index * BEARER_SLOTS + slot) * this.bearerStride);
  }

  bearerState(index: number, slot: number): number {
    return this.bearers.getUint8((index * BEARER_SLOTS + slot) * this.bearerStride + layout.bearer.offset.state);
  }

  private bearerEpoch(index: number, slot: number): number {
    return this.bearers.getUint32((index * BEARER_SLOTS + slot) * this.bearerStride + layout.bearer.offset.epoch, true);
  }

  /** First downlink slot that replies may use, undefined when there is none. */
  usable(index: number): number | undefined {
    const epoch = this.word(index, "epoch");
    for (let slot = 0; slot < DOWNLINK_SLOTS; slot++) {
      const state = this.bearerState(index, slot);
      if ((state === BEARER_LIVE || state === BEARER_DRAINING) && this.bearerEpoch(index, slot) === epoch) return slot;
    }
    return undefined;
  }

  /** Slot of a UE: `10.45.0.2`, an IPv6 address, or its /64. On Ethernet an IPv6 session is the whole address. */
  slotOf(ue: string): number | undefined {
    const octets = addressOctets(ue.split("/")[0]!);
    const prefix = octets.slice();
    if (!isMapped(octets)) prefix.fill(0, 8);
    const value = this.ueSessions.lookup(prefix) ?? this.ueSessions.lookup(octets);
    return value && layout.viewOver(value).getUint32(0, true);
  }

  /** Is this slot in use, by the UE that it names? */
  inUse(index: number): boolean {
    if (index >= this.capacity) return false;
    const value = this.ueSessions.lookup(this.session(index).ue);
    return value !== undefined && layout.viewOver(value).getUint32(0, true) === index;
  }

  /** All slots in use, in order. */
  slots(): Uint32Array {
    const slots: number[] = [];
    for (const { values, count } of this.ueSessions.batches(4096)) {
      const view = layout.viewOver(values);
      for (let i = 0; i < count; i++) slots.push(view.getUint32(i * 4, true));
    }
    return Uint32Array.from(slots).sort();
  }

  /** Has one of its bearers this TEID, in either direction? */
  hasTeid(index: number, teid: number): boolean {
    for (let slot = 0; slot < BEARER_SLOTS; slot++) {
      const at = (index * BEARER_SLOTS + slot) * this.bearerStride;
      const key = at + layout.bearer.offset.key + layout.tunnelKey.offset.teid;
      if (
        this.bearers.getUint8(at + layout.bearer.offset.state) !== BEARER_FREE &&
        this.bearers.getUint32(key) === teid
      ) {
        return true;
      }
    }
    return false;
  }

  /** Everything about a session, for people. `lastFlow`: jiffies at which a flow of it was last used. */
  describe(index: number, now: number, hz: number, nameOf: (dataplane: number) => string, lastFlow?: number): Session {
    const s = this.session(index);
    const bearers: Bearer[] = [];
    const station = isStation(s.base_station) ? this.station(index, s) : undefined;
    let idle = since(now, s.last_seen);
    if (lastFlow !== undefined) idle = Math.min(idle, since(now, lastFlow));
    for (let slot = 0; slot < BEARER_SLOTS && !station; slot++) {
      const b = this.bearer(index, slot);
      if (b.state === BEARER_FREE || b.epoch !== s.epoch) continue;
      const known = this.tunnels.lookup(layout.tunnelKey.encode(b.key));
      const tunnel = known && layout.tunnel.decode(known);
      if (tunnel) idle = Math.min(idle, since(now, tunnel.last_seen));
      bearers.push(bearerText(b, slot, s, tunnel?.peer));
    }
    return {
      dataplane: nameOf(s.dataplane),
      ue: ueText(s.ue, s.base_station),
      index,
      epoch: s.epoch,
      baseStation: station ? undefined : addressText(s.base_station) || undefined,
      gateway: station ? undefined : addressText(s.gateway) || undefined,
      ...(station && { station }),
      state: this.state(index, s, now),
      bearers,
      flows: s.flows,
      idle: Math.floor(idle / hz),
      age: Math.floor(since(now, s.created) / hz),
    };
  }

  private station(index: number, s: SessionValue): Station {
    const claim = this.bearer(index, SLOT_CANDIDATE);
    const claimed = s.flags & SESSION_CANDIDATE && claim.state !== BEARER_FREE && claim.epoch === s.epoch;
    return {
      mac: stationText(s.base_station),
      gatewayMac: stationText(s.gateway),
      vlans: vlansOf(s.link),
      ...(claimed && { claim: { mac: stationText(claim.key.endpoint), vlans: vlansOf(claim.key.link) } }),
    };
  }

  isAside(s: Pick<SessionValue, "aside_until">, now: number): boolean {
    return s.aside_until !== 0 && ((s.aside_until - now) | 0) > 0;
  }

  private state(index: number, s: SessionValue, now: number): Session["state"] {
    if (this.isAside(s, now)) return "aside";
    if (s.flags & SESSION_MOVING) return "moving";
    if (s.flags & SESSION_HOLD) return "holding";
    return this.usable(index) === undefined ? "half-open" : "up";
  }
}

export const vlansOf = (link: number): number[] => [(link >>> 12) & 0xfff, link & 0xfff].filter((id) => id !== 0);

/** The PDU Session Container's third octet holds the QFI (TS 38.415 §5.5.2). */
const qfiOf = (psc: number): number | undefined => (psc === 0 ? undefined : (psc >>> 8) & 0x3f);

function bearerText(b: BearerValue, slot: number, s: SessionValue, peer: Uint8Array | undefined): Bearer {
  const downlink = slot < DOWNLINK_SLOTS;
  const endpoint = addressText(b.key.endpoint);
  const at = b.l3_offset;
  const traffic = b.v6 ? ((b.header[at]! & 0xf) << 4) | (b.header[at + 1]! >> 4) : b.header[at + 1]!;
  const qfi = downlink ? qfiOf(b.psc) : undefined;
  return {
    direction: downlink ? "downlink" : "uplink",
    teid: b.key.teid,
    baseStation: downlink ? endpoint : addressText(peer ?? s.base_station),
    gateway: downlink ? addressText(peer ?? s.gateway) : endpoint,
    vlans: vlansOf(b.key.link),
    state: slot === SLOT_CANDIDATE ? "candidate" : b.state === BEARER_STALE ? "stale" : "live",
    ...(qfi !== undefined && { qfi }),
    overhead: b.overhead,
    dscp: traffic >> 2,
  };
}
