/**
 * What is no longer used, and how is its place freed?
 *
 * Programs only add; this walks flows, tunnels and sessions, and takes away what has been idle for too long:
 *
 *   flow      as flow-timeout.ts says; owner gone: at once
 *   session   when all its tunnels and flows have been idle for `idleTimeout`; half-open ones (no downlink, no flow) after
 *             30 s when the table is three quarters full
 *
 * A walk goes in batches and lets the event loop run between; a big table is walked less often. A slot is freed under the
 * session's lock, with its epoch raised, so that whatever still names it is void; its place goes to `free_slots`.
 */
import { setImmediate as yieldToOthers } from "node:timers/promises";
import { isMapped } from "../address.ts";
import type { DataplaneEvent, EndpointOfService } from "../dataplane.ts";
import type { Buckets } from "./apply.ts";
import { type BpfMap, UpdateFlag } from "./bpf-map.ts";
import * as c from "./consts.ts";
import { endpointFinder } from "./endpoint-flows.ts";
import { ueText } from "./events.ts";
import { flowTimeout, staysItself, TCP, timeout } from "./flow-timeout.ts";
import type { Kernel } from "./kernel.ts";
import * as layout from "./layout.ts";
import { markFlow } from "./rules.ts";
import { since, type Tables } from "./tables.ts";

const BATCH = 1024;
const SLICE_MS = 5;
/** Seconds. */
const PEER_FORGOTTEN = 60;

export interface CollectorOptions {
  idleSeconds(dataplane: number): number;
  removed(event: Omit<DataplaneEvent, "dataplane"> & { plane: number }): void;
}

/** Key of the entry for the other way (bpf/structs.h): `key` and `value` of one entry as they are in the map. */
export function writeTwinKey(twin: Uint8Array, key: Uint8Array, value: Uint8Array): void {
  const { offset } = layout.flowKey;
  const from = layout.flow.offset;
  twin.set(value.subarray(from.translated, from.translated + 16), offset.remote);
  twin.set(key.subarray(offset.ue, offset.ue + 16), offset.ue);
  twin.set(value.subarray(from.translated_port, from.translated_port + 2), offset.remote_port);
  twin.set(value.subarray(from.translated_ue_port, from.translated_ue_port + 2), offset.ue_port);
  twin[offset.protocol] = key[offset.protocol]!;
  twin[offset.reply] = key[offset.reply] ? 0 : 1;
}

export class Collector {
  private readonly flowCount: Uint32Array;
  private readonly flowSeen: Uint32Array;
  private readonly flowKnown: Uint8Array;
  private running: Promise<{ sessions: number; flows: number }> | undefined;
  private nextWalk = 0;
  private readonly twinKey = new Uint8Array(layout.flowKey.size);
  private readonly twin = new Uint8Array(layout.flow.size);
  private readonly twinView = layout.viewOver(this.twin);

  constructor(
    private readonly kernel: Kernel,
    private readonly tables: Tables,
    private readonly buckets: Buckets,
    private readonly options: CollectorOptions,
  ) {
    this.flowCount = new Uint32Array(tables.capacity);
    this.flowSeen = new Uint32Array(tables.capacity);
    this.flowKnown = new Uint8Array(tables.capacity);
  }

  /** Jiffies at which a flow of this session was last used, as of the last walk. */
  lastFlow(slot: number): number | undefined {
    return this.flowKnown[slot] ? this.flowSeen[slot] : undefined;
  }

  /** By data plane, at this moment. */
  totals(): { sessions: Map<number, number>; flows: Map<number, number> } {
    const sessions = new Map<number, number>();
    const flows = new Map<number, number>();
    for (const slot of this.tables.slots()) {
      const plane = this.tables.word(slot, "dataplane");
      sessions.set(plane, (sessions.get(plane) ?? 0) + 1);
      flows.set(plane, (flows.get(plane) ?? 0) + this.tables.word(slot, "flows"));
    }
    return { sessions, flows };
  }

  /** One walk, unless one runs or the last one was long and not long ago. */
  collect(force = false): Promise<{ sessions: number; flows: number }> {
    if (this.running) return this.running;
    const start = Date.now();
    if (!force && start < this.nextWalk) return Promise.resolve({ sessions: 0, flows: 0 });
    this.running = this.walk().finally(() => {
      this.running = undefined;
      this.nextWalk = Date.now() + 9 * (Date.now() - start);
    });
    return this.running;
  }

  private async walk(): Promise<{ sessions: number; flows: number }> {
    const flows = await this.walkFlows();
    const sessions = await this.walkSessions(await this.slots());
    return { sessions, flows };
  }

  private async pause(slice: { time: number }): Promise<void> {
    if (Date.now() - slice.time < SLICE_MS) return;
    await yieldToOthers();
    slice.time = Date.now();
  }

  /** As `tables.slots()`, with breaks. */
  private async slots(): Promise<Uint32Array> {
    const slots: number[] = [];
    const slice = { time: Date.now() };
    for (const { values, count } of this.kernel.map("ue_sessions").batches(BATCH)) {
      const view = layout.viewOver(values);
      for (let i = 0; i < count; i++) slots.push(view.getUint32(i * 4, true));
      await this.pause(slice);
    }
    return Uint32Array.from(slots);
  }

  /** Is the flow's session still its own? */
  private current(session: number, epoch: number): boolean {
    return session < this.tables.capacity && this.tables.word(session, "epoch") === epoch;
  }

  private async walkFlows(): Promise<number> {
    const map = this.kernel.map("flows");
    const { hz } = this.kernel;
    const { offset, size } = layout.flow;
    const keySize = layout.flowKey.size;
    this.flowCount.fill(0);
    this.flowKnown.fill(0);
    let removed = 0;
    const draft = this.buckets.draft();
    const slice = { time: Date.now() };
    for (const { keys, values, count } of map.batches(BATCH)) {
      const view = layout.viewOver(values);
      const now = this.kernel.jiffies();
      const dead: Uint8Array[] = [];
      for (let i = 0; i < count; i++) {
        const at = i * size;
        const reply = keys[i * keySize + layout.flowKey.offset.reply] !== 0;
        const session = view.getUint32(at + offset.session, true);
        const lastSeen = view.getUint32(at + offset.last_seen, true);
        const key = keys.subarray(i * keySize, (i + 1) * keySize);
        if (!this.current(session, view.getUint32(at + offset.epoch, true))) {
          dead.push(key.slice());
          if (!reply) removed++;
          continue;
        }
        const idle = since(now, lastSeen) / hz;
        // Young ones need no second look.
        if (idle > timeout.closed && this.isOver(map, key, values, view, at, idle)) {
          dead.push(key.slice());
          if (!reply) removed++;
          continue;
        }
        if (!reply) {
          this.flowCount[session]!++;
          const action = view.getUint8(at + offset.action);
          if (draft && !staysItself(action) && key[layout.flowKey.offset.protocol] !== c.PROTO_QUERY) {
            markFlow(key.subarray(0, 16), !isMapped(key), action === c.ACTION_FORWARD, draft);
          }
        }
        if (!this.flowKnown[session] || since(now, lastSeen) < since(now, this.flowSeen[session]!)) {
          this.flowSeen[session] = lastSeen;
          this.flowKnown[session] = 1;
        }
      }
      for (const key of dead) map.delete(key);
      await this.pause(slice);
    }
    if (draft) this.buckets.settle(draft);
    for (const slot of await this.slots()) {
      const counted = this.flowCount[slot]!;
      if (this.tables.word(slot, "flows") !== counted) {
        Atomics.store(this.tables.words, this.tables.wordAt(slot, "flows"), counted);
      }
    }
    return removed;
  }

  /**
   * Both entries of a flow are judged together: the younger one counts. Each is removed when its turn comes. `at`: of the
   * entry in `values`. Called for most entries of a full table, so it reads only what it needs.
   */
  private isOver(map: BpfMap, key: Uint8Array, values: Uint8Array, view: DataView, at: number, idle: number): boolean {
    const { offset } = layout.flow;
    const flags = view.getUint8(at + offset.flags);
    const protocol = key[layout.flowKey.offset.protocol]!;
    if (staysItself(view.getUint8(at + offset.action))) return idle > timeout.passed;
    // Without a look at the other entry: the shortest time that could apply. One that was reset goes by itself, and then
    // this one leads nowhere.
    const tcp = protocol === TCP;
    const least = tcp
      ? flags === 0
        ? timeout.unanswered
        : timeout.closed
      : flowTimeout(protocol, c.ACTION_TAKE, flags);
    if (idle <= least) return false;
    writeTwinKey(this.twinKey, key, values.subarray(at, at + layout.flow.size));
    if (!map.lookupInto(this.twinKey, this.twin)) return true;
    const twinSeen = this.twinView.getUint32(offset.last_seen, true);
    const both = Math.min(idle, since(this.kernel.jiffies(), twinSeen) / this.kernel.hz);
    // Both entries are made in the same moment; whatever came after the SYN has moved one of them.
    const unanswered = tcp && view.getUint32(at + offset.last_seen, true) === twinSeen;
    const limit = flowTimeout(protocol, c.ACTION_TAKE, flags | this.twinView.getUint8(offset.flags));
    return both > (unanswered ? Math.min(limit, timeout.unanswered) : limit);
  }

  private async walkSessions(slots: Uint32Array): Promise<number> {
    const { tables } = this;
    const { hz } = this.kernel;
    const tunnels = this.kernel.map("tunnels");
    const { offset, size } = layout.tunnel;
    const seen = new Uint32Array(tables.capacity);
    const known = new Uint8Array(tables.capacity);
    const note = (slot: number, lastSeen: number, now: number): void => {
      if (!known[slot] || since(now, lastSeen) < since(now, seen[slot]!)) seen[slot] = lastSeen;
      known[slot] = 1;
    };
    const slice = { time: Date.now() };
    for (const { keys, values, count } of tunnels.batches(BATCH)) {
      const view = layout.viewOver(values);
      const now = this.kernel.jiffies();
      const dead: Uint8Array[] = [];
      for (let i = 0; i < count; i++) {
        const at = i * size;
        const flags = view.getUint8(at + offset.flags);
        const lastSeen = view.getUint32(at + offset.last_seen, true);
        const slot4 = view.getUint32(at + offset.session4, true);
        const slot6 = view.getUint32(at + offset.session6, true);
        const owned4 = flags & c.TUNNEL_IPV4 && this.current(slot4, view.getUint32(at + offset.epoch4, true));
        const owned6 = flags & c.TUNNEL_IPV6 && this.current(slot6, view.getUint32(at + offset.epoch6, true));
        if (owned4) note(slot4, lastSeen, now);
        if (owned6) note(slot6, lastSeen, now);
        // Bound a moment ago and its session not yet, perhaps: leave the young ones.
        if (!owned4 && !owned6 && since(now, lastSeen) > hz) {
          dead.push(keys.slice(i * layout.tunnelKey.size, (i + 1) * layout.tunnelKey.size));
        }
      }
      for (const key of dead) tunnels.delete(key);
      await this.pause(slice);
    }
    const crowded = slots.length * 4 >= tables.capacity * 3;
    let removed = 0;
    for (const slot of slots) {
      const now = this.kernel.jiffies();
      let idle = since(now, tables.word(slot, "last_seen"));
      if (known[slot]) idle = Math.min(idle, since(now, seen[slot]!));
      if (this.flowKnown[slot]) idle = Math.min(idle, since(now, this.flowSeen[slot]!));
      idle /= hz;
      const halfOpen = crowded && idle > timeout.halfOpen && !this.flowCount[slot] && tables.usable(slot) === undefined;
      if ((idle > this.options.idleSeconds(tables.word(slot, "dataplane")) || halfOpen) && this.free(slot)) removed++;
      if (slot % 64 === 0) await this.pause(slice);
    }
    if (removed > 0) this.kernel.raiseGeneration();
    await this.recountPeers(await this.slots(), slice);
    return removed;
  }

  /** How many sessions each peer has taught, by what is there now. */
  private async recountPeers(slots: Uint32Array, slice: { time: number }): Promise<void> {
    const { tables } = this;
    const { offset } = layout.session;
    const counts = new Map<string, number>();
    const text = (octets: Uint8Array): string =>
      Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1");
    const memory = new Uint8Array(tables.sessions.buffer);
    const key = layout.peerKey.encode({});
    const view = layout.viewOver(key);
    for (const slot of slots) {
      const uplink = (tables.word(slot, "flags") & c.SESSION_UPLINK) !== 0;
      const at = slot * tables.sessionStride + (uplink ? offset.base_station : offset.gateway);
      key.set(memory.subarray(at, at + 16));
      view.setUint32(layout.peerKey.offset.dataplane, tables.word(slot, "dataplane"), true);
      view.setUint32(layout.peerKey.offset.core, uplink ? 0 : 1, true);
      const name = text(key);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      if (slot % 64 === 0) await this.pause(slice);
    }
    const map = this.kernel.map("peers");
    for (const peerKey of [...map.keys()]) {
      const octets = map.lookup(peerKey);
      if (!octets) continue;
      const peer = layout.peer.decode(octets);
      const counted = counts.get(text(peerKey)) ?? 0;
      // A peer without sessions whose tokens are all back is as good as one that never was.
      if (counted === 0 && since(this.kernel.jiffies(), peer.refilled) > PEER_FORGOTTEN * this.kernel.hz) {
        map.delete(peerKey);
        continue;
      }
      if (peer.sessions === counted) continue;
      map.update(peerKey, layout.peer.encode({ ...peer, sessions: counted }), UpdateFlag.exist);
    }
  }

  /** False when a program is at work on the session: next time. */
  private free(slot: number): boolean {
    const { tables, kernel } = this;
    const lock = tables.wordAt(slot, "sequence");
    const sequence = Atomics.load(tables.words, lock);
    if (sequence & 1 || Atomics.compareExchange(tables.words, lock, sequence, sequence + 1) !== sequence) return false;
    const s = layout.session.read(tables.sessions, slot * tables.sessionStride);
    kernel.map("ue_sessions").delete(layout.sessionKey.encode({ ue: s.ue }));
    Atomics.add(tables.words, tables.wordAt(slot, "epoch"), 1);
    let teid = 0;
    for (let bearer = 0; bearer < c.BEARER_SLOTS; bearer++) {
      const b = tables.bearer(slot, bearer);
      const at = (slot * c.BEARER_SLOTS + bearer) * tables.bearerStride;
      tables.bearers.setUint8(at + layout.bearer.offset.state, c.BEARER_FREE);
      if (b.state === c.BEARER_FREE || b.epoch !== s.epoch) continue;
      if (bearer === c.SLOT_UPLINK) teid = b.key.teid;
      this.forgetTunnel(layout.tunnelKey.encode(b.key), slot);
      tables.bearers.setUint32(at + layout.bearer.offset.key + layout.tunnelKey.offset.teid, 0);
    }
    Atomics.store(tables.words, tables.wordAt(slot, "flags"), 0);
    Atomics.store(tables.words, tables.wordAt(slot, "flows"), 0);
    const ue = tables.sessions.byteOffset + slot * tables.sessionStride + layout.session.offset.ue;
    new Uint8Array(tables.sessions.buffer, ue, 16).fill(0);
    Atomics.add(tables.words, lock, 1);
    kernel.bumpSession(slot);
    kernel.map("free_slots").push(new Uint8Array(Uint32Array.of(slot).buffer));
    this.options.removed({
      type: "session-idle",
      plane: s.dataplane,
      time: Date.now(),
      session: slot,
      epoch: s.epoch,
      ue: ueText(s.ue, s.base_station),
      teid,
      cause: 0,
      slot: c.SLOT_UPLINK,
    });
    return true;
  }

  /** Unless another session uses it as well, or by now. */
  private forgetTunnel(key: Uint8Array, slot: number): void {
    const map = this.kernel.map("tunnels");
    const octets = map.lookup(key);
    if (!octets) return;
    const t = layout.tunnel.decode(octets);
    const others =
      (t.flags & c.TUNNEL_IPV4 && t.session4 !== slot && this.current(t.session4, t.epoch4)) ||
      (t.flags & c.TUNNEL_IPV6 && t.session6 !== slot && this.current(t.session6, t.epoch6));
    if (!others) map.delete(key);
  }

  /** Ends all flows of these services. Returns how many. */
  flushServices(services: readonly number[]): Promise<number> {
    const { offset } = layout.flow;
    const unwanted = new Set(services);
    return this.flush((view, at) => unwanted.has(view.getUint16(at + offset.service, true)));
  }

  /** Ends the flows that lead to these endpoints. Returns how many. */
  flushEndpoints(endpoints: readonly EndpointOfService[]): Promise<number> {
    const endpointOf = endpointFinder(endpoints);
    return this.flush((view, at, key) => endpointOf(view, at, key) !== undefined);
  }

  /** How many flows lead to each of these. */
  async endpointFlows(endpoints: readonly EndpointOfService[]): Promise<number[]> {
    const endpointOf = endpointFinder(endpoints);
    const found = endpoints.map(() => 0);
    const slice = { time: Date.now() };
    for (const { keys, values, count } of this.kernel.map("flows").batches(BATCH)) {
      const view = layout.viewOver(values);
      for (let i = 0; i < count; i++) {
        const key = keys.subarray(i * layout.flowKey.size, (i + 1) * layout.flowKey.size);
        if (key[layout.flowKey.offset.reply]) continue;
        const index = endpointOf(view, i * layout.flow.size, key);
        if (index !== undefined) found[index]!++;
      }
      await this.pause(slice);
    }
    return found;
  }

  /** Ends taken flows, both entries. Returns how many flows. */
  private async flush(isUnwanted: (view: DataView, at: number, key: Uint8Array) => boolean): Promise<number> {
    const map = this.kernel.map("flows");
    const { offset, size } = layout.flow;
    const keySize = layout.flowKey.size;
    const slice = { time: Date.now() };
    let flows = 0;
    for (const { keys, values, count } of map.batches(BATCH)) {
      const view = layout.viewOver(values);
      const dead: Uint8Array[] = [];
      for (let i = 0; i < count; i++) {
        const at = i * size;
        const key = keys.slice(i * keySize, (i + 1) * keySize);
        if (staysItself(view.getUint8(at + offset.action)) || !isUnwanted(view, at, key)) continue;
        dead.push(key);
        if (key[layout.flowKey.offset.reply]) continue;
        flows++;
        const session = view.getUint32(at + offset.session, true);
        const counted = this.tables.wordAt(session, "flows");
        if (session < this.tables.capacity && Atomics.load(this.tables.words, counted) > 0) {
          Atomics.sub(this.tables.words, counted, 1);
        }
      }
      for (const key of dead) map.delete(key);
      await this.pause(slice);
    }
    if (flows > 0) this.kernel.raiseGeneration();
    return flows;
  }

  /** Ends sessions of a data plane: all, or those that are unwanted. */
  async removeAll(dataplane: number, isUnwanted: (slot: number) => boolean = () => true): Promise<void> {
    let removed = 0;
    for (let attempt = 0; attempt < 3; attempt++) {
      for (const slot of this.tables.slots()) {
        if (this.tables.word(slot, "dataplane") !== dataplane || !isUnwanted(slot)) continue;
        if (this.free(slot)) removed++;
      }
      await yieldToOthers();
    }
    if (removed > 0) await this.collect(true);
  }
}
