/**
 * What do the live tables know about one frame, and how does it get into the small tables of a trial?
 *
 * Sessions have other slots there; whatever names a slot is renumbered: tunnels, flows, bearers.
 */
import { addressOctets, addressText, isMapped } from "../address.ts";
import { NO_QFI } from "../space.ts";
import type { Known, KnownFlow, TrialRequest } from "../trial.ts";
import type { BpfMap } from "./bpf-map.ts";
import * as c from "./consts.ts";
import type { Kernel } from "./kernel.ts";
import * as layout from "./layout.ts";
import { type Tables, vlansOf } from "./tables.ts";

const UDP = 17;
/** Sessions that one frame can concern: its UE's, those of its tunnel in both families, its flow's. */
export const TRIAL_SESSIONS = 8;

type TunnelValue = ReturnType<typeof layout.tunnel.decode>;
type FlowValue = ReturnType<typeof layout.flow.decode>;
type FlowKey = ReturnType<typeof layout.flowKey.decode>;

const actions: Record<number, KnownFlow["action"]> = {
  [c.ACTION_PASS]: "pass",
  [c.ACTION_TAKE]: "take",
  [c.ACTION_ROUTE]: "route",
  [c.ACTION_REPLY]: "reply",
  [c.ACTION_DROP]: "drop",
  [c.ACTION_THROUGH]: "through",
  [c.ACTION_FORWARD]: "forward",
};

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const linkOf = (dataplane: number, uplink: boolean, [outer = 0, inner = 0]: number[]): number =>
  ((dataplane << 25) | (uplink ? 1 << 24 : 0) | (outer << 12) | inner) >>> 0;

/** Everything that is to be copied. */
export interface Findings {
  sessions: Map<number, ReturnType<typeof layout.session.decode>>;
  tunnels: Map<string, { key: Uint8Array; value: TunnelValue }>;
  flows: { key: Uint8Array; value: FlowValue }[];
  peers: { key: Uint8Array; value: Uint8Array }[];
  known: Omit<Known, "mode" | "permitted" | "ueFlows">;
}

class Finder {
  readonly sessions: Findings["sessions"] = new Map();
  readonly tunnels: Findings["tunnels"] = new Map();
  readonly flows: Findings["flows"] = [];

  constructor(
    private readonly kernel: Kernel,
    private readonly tables: Tables,
  ) {}

  session(index: number): void {
    if (this.sessions.has(index) || this.sessions.size === TRIAL_SESSIONS || index >= this.tables.capacity) return;
    this.sessions.set(index, this.tables.session(index));
    for (let slot = 0; slot < c.BEARER_SLOTS; slot++) {
      if (this.tables.bearerState(index, slot) !== c.BEARER_FREE) {
        this.tunnel(layout.tunnelKey.encode(this.tables.bearer(index, slot).key));
      }
    }
  }

  tunnel(key: Uint8Array): TunnelValue | undefined {
    const name = Buffer.from(key).toString("hex");
    const octets = this.tunnels.has(name) ? undefined : this.kernel.map("tunnels").lookup(key);
    if (octets) {
      const value = layout.tunnel.decode(octets);
      this.tunnels.set(name, { key, value });
      if (value.flags & c.TUNNEL_IPV4) this.session(value.session4);
      if (value.flags & c.TUNNEL_IPV6) this.session(value.session6);
    }
    return this.tunnels.get(name)?.value;
  }

  flow(key: Uint8Array): FlowValue | undefined {
    const octets = this.kernel.map("flows").lookup(key);
    if (!octets) return undefined;
    const value = layout.flow.decode(octets);
    this.flows.push({ key, value });
    this.session(value.session);
    if (value.action !== c.ACTION_PASS) {
      const { ue, protocol, reply } = layout.flowKey.decode(key);
      const twin: FlowKey = {
        remote: value.translated,
        ue,
        remote_port: value.translated_port,
        ue_port: value.translated_ue_port,
        protocol,
        reply: reply ? 0 : 1,
        pad: 0,
      };
      const other = layout.flowKey.encode(twin);
      const back = this.kernel.map("flows").lookup(other);
      if (back) this.flows.push({ key: other, value: layout.flow.decode(back) });
    }
    return value;
  }
}

/** Of the UE's own uplink tunnel, which a packet of the core did not come in. */
function uplinkOf(tables: Tables, slot: number, baseStation: Uint8Array): NonNullable<Known["session"]>["tunnel"] {
  const { key } = tables.bearer(slot, c.SLOT_UPLINK);
  const [source, destination] = [addressText(baseStation), addressText(key.endpoint)];
  return { source, destination, teid: key.teid, vlans: vlansOf(key.link) };
}

/** Reads, and changes nothing. `dataplane`: index. */
export function find(kernel: Kernel, tables: Tables, dataplane: number, request: TrialRequest): Findings {
  const finder = new Finder(kernel, tables);
  const { way, tunnel, packet } = request;
  const ue = packet && addressOctets(packet.ue);
  const v6 = ue !== undefined && !isMapped(ue);
  const slot = packet && tables.slotOf(packet.ue);
  if (slot !== undefined) finder.session(slot);

  let kept: TunnelValue | undefined;
  let state: Known["tunnel"] = "unknown";
  const peers: Findings["peers"] = [];
  const uplink = way === "uplink";
  if (tunnel) {
    const { source, destination, teid, vlans } = tunnel;
    const endpoint = addressOctets(destination);
    kept = finder.tunnel(layout.tunnelKey.encode({ endpoint, teid, link: linkOf(dataplane, uplink, vlans) }));
    const ends: [string, number][] = [
      [source, uplink ? 0 : 1],
      [destination, uplink ? 1 : 0],
    ];
    for (const [address, core] of ends) {
      const key = layout.peerKey.encode({ address: addressOctets(address), dataplane, core });
      const value = kernel.map("peers").lookup(key);
      if (value) peers.push({ key, value });
    }
  }
  if (kept && ue) {
    const bound = v6
      ? kept.flags & c.TUNNEL_IPV6 && finder.sessions.get(kept.session6)?.epoch === kept.epoch6
      : kept.flags & c.TUNNEL_IPV4 && finder.sessions.get(kept.session4)?.epoch === kept.epoch4;
    const own = v6 ? same(kept.ue6, ue.subarray(0, 8)) : kept.ue4 === layout.viewOver(ue).getUint32(12);
    const claimed = kept.flags & (v6 ? c.TUNNEL_CANDIDATE6 : c.TUNNEL_CANDIDATE4);
    if (bound) state = !own ? "another-ue" : claimed ? "claim" : "own";
  }

  let flow: KnownFlow | undefined;
  let settled = false;
  if (packet && ue) {
    const keyed = (reply: number, protocol = packet.protocol): Uint8Array =>
      layout.flowKey.encode({
        remote: addressOctets(packet.remote),
        ue,
        remote_port: packet.remotePort,
        ue_port: packet.uePort,
        protocol,
        reply,
      });
    const { generation, fields } = layout.rulesHeader.decode(kernel.map("rules_state").lookup(0)!);
    const asked = way === "apps" && packet.protocol === UDP;
    const value = finder.flow(keyed(uplink ? 0 : 1)) ?? (asked ? finder.flow(keyed(1, c.PROTO_QUERY)) : undefined);
    const above = !value && way === "downlink" ? finder.flow(keyed(0)) : undefined;
    if (above && finder.sessions.get(above.session)?.epoch === above.epoch) {
      const translated = [c.ACTION_TAKE, c.ACTION_ROUTE, c.ACTION_FORWARD].includes(above.action);
      settled = translated || above.generation === generation;
    }
    if (value) {
      const qfi = tunnel?.qfi ?? NO_QFI;
      flow = {
        action: actions[value.action] ?? "pass",
        service: value.service,
        rule: value.rule,
        current: value.generation === generation,
        alike: !((((value.dscp ^ (packet.dscp ?? 0)) << 16) | ((value.qfi ^ qfi) << 24)) & fields),
        running: (value.flags & c.FLOW_RUNNING) !== 0,
        live: finder.sessions.get(value.session)?.epoch === value.epoch,
        sameTunnel:
          !tunnel ||
          (value.teid === tunnel.teid &&
            value.link === (linkOf(0, false, tunnel.vlans) & 0xff_ffff) &&
            same(value.source, addressOctets(tunnel.source)) &&
            same(value.destination, addressOctets(tunnel.destination))),
        closed: (value.flags & (c.FLOW_FIN_UP | c.FLOW_FIN_DOWN | c.FLOW_RST)) !== 0,
        begun: (value.flags & c.FLOW_BEGUN) !== 0,
        translated: { address: addressText(value.translated), port: value.translated_port },
      };
    }
  }

  const session = slot === undefined ? undefined : finder.sessions.get(slot);
  return {
    sessions: finder.sessions,
    tunnels: finder.tunnels,
    flows: finder.flows,
    peers,
    known: {
      tunnel: state,
      ...(kept && tunnel && !same(kept.peer, addressOctets(tunnel.source)) && { movedFrom: addressText(kept.peer) }),
      ...(flow && { flow }),
      settled,
      ...(session && {
        session: {
          uplink: (session.flags & c.SESSION_UPLINK) !== 0,
          ...(tunnel && session.flags & c.SESSION_UPLINK && { tunnel: uplinkOf(tables, slot!, session.base_station) }),
          downlink: tables.usable(slot!) !== undefined,
          aside: tables.isAside(session, kernel.jiffies()),
          holding: (session.flags & c.SESSION_HOLD) !== 0,
          flows: session.flows,
        },
      }),
      slowPort: kernel.map("ports").lookup(c.PORT_SLOW) !== undefined,
    },
  };
}

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

function empty(map: BpfMap): void {
  for (const key of [...map.keys()]) map.delete(key);
}

/** Makes the tables of a trial hold what was found, and nothing else. */
export function teach(map: (name: string) => BpfMap, tables: Tables, findings: Findings): void {
  for (const name of ["tunnels", "ue_sessions", "flows", "fragments", "peers", "tallies"]) empty(map(name));
  while (map("free_slots").pop());
  const slots = new Map([...findings.sessions.keys()].map((index, place) => [index, place]));
  for (let place = 0; place < TRIAL_SESSIONS; place++) {
    map("sessions").update(place, new Uint8Array(layout.session.size));
    map("injections").update(place, new Uint8Array(layout.injection.size));
    for (let slot = 0; slot < c.BEARER_SLOTS; slot++)
      map("bearers").update(place * c.BEARER_SLOTS + slot, new Uint8Array(layout.bearer.size));
  }
  map("slot_state").update(0, layout.slots.encode({ next: slots.size, layout: c.LAYOUT_VERSION }));
  for (const [index, session] of findings.sessions) {
    const place = slots.get(index)!;
    map("sessions").update(place, layout.session.encode({ ...session, sequence: 0 }));
    if (tables.inUse(index)) map("ue_sessions").update(session.ue, u32(place));
    for (let slot = 0; slot < c.BEARER_SLOTS; slot++) {
      const bearer = { ...tables.bearer(index, slot), sequence: 0 };
      map("bearers").update(place * c.BEARER_SLOTS + slot, layout.bearer.encode(bearer));
    }
  }
  for (const { key, value } of findings.tunnels.values()) {
    const moved = { ...value, session4: slots.get(value.session4) ?? 0, session6: slots.get(value.session6) ?? 0 };
    map("tunnels").update(key, layout.tunnel.encode(moved));
  }
  for (const { key, value } of findings.flows) {
    const session = slots.get(value.session);
    if (session === undefined) continue;
    const bearer = session * c.BEARER_SLOTS + (value.bearer % c.BEARER_SLOTS);
    map("flows").update(key, layout.flow.encode({ ...value, session, bearer }));
  }
  for (const { key, value } of findings.peers) map("peers").update(key, value);
}
