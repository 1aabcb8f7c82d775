/**
 * What do the real programs do with one frame?
 *
 * Loads build/offramp.bpf.o once per process, with every program, and runs single frames through it by
 * BPF_PROG_TEST_RUN: no adapter, no namespace. Configuration, rules, next hops and prefixes are written as the control
 * plane would, by the same renderer. Time stands still: the programs believe that a second has 2^20 jiffies, so that no
 * period ends unless a test moves a time stamp back (`ago`).
 *
 * A redirect does not say where to. `egress` finds out: it takes the ports away one after the other and runs again.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { addressOctets, prefixOf, stationText } from "../../dataplane/address.ts";
import { counters } from "../../dataplane/counters.ts";
import { imageMap } from "../../dataplane/ebpf/apply.ts";
import { BpfMap, MapType } from "../../dataplane/ebpf/bpf-map.ts";
import { BpfObject } from "../../dataplane/ebpf/bpf-object.ts";
import { renderChains, renderVtep } from "../../dataplane/ebpf/chains.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import { renderEvent } from "../../dataplane/ebpf/events.ts";
import { emptyImage } from "../../dataplane/ebpf/kernel.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { nameKey, renderServer } from "../../dataplane/ebpf/names.ts";
import { isFound, leavesWhole, renderOutput } from "../../dataplane/ebpf/outlet-record.ts";
import { Ring } from "../../dataplane/ebpf/ring.ts";
import { lpmKey, renderRules } from "../../dataplane/ebpf/rules.ts";
import type { Names, SteeringRule } from "../../dataplane/steering.ts";
import { sameFrame } from "../packets/diff.ts";
import { describe } from "../packets/parse.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const SECOND = 1 << 20;
/** Octets for images of rules. */
const ROOM = 4 << 20;
/** Names of data planes, by index; the programs are those of the first. */
export const dataplanes = ["s1", "s2"];

export type ProgramName =
  | "access"
  | "core"
  | "ether_access"
  | "ether_core"
  | "shared"
  | "from_apps"
  | "from_pinger"
  | "from_slow";
export type VerdictName = "aborted" | "drop" | "pass" | "tx" | "redirect";
const verdicts = ["aborted", "drop", "pass", "tx", "redirect"] as const;

export interface Settings {
  mode: "offload" | "observe" | "bypass";
  mtuAccess: number;
  peerSessions: number;
  learnBurst: number;
  ueFlows: number;
  maxSessions: number;
  shared: boolean;
  ethernet: boolean;
  accessPeers?: string[];
  corePeers?: string[];
  uePools?: string[];
  protect: string[];
  pinger: boolean;
  slowPort: boolean;
  /** Jiffies that a cached decision holds; 0: nothing is cached. */
  cacheFor: number;
}

export const defaults: Settings = {
  mode: "offload",
  mtuAccess: 1500,
  peerSessions: 1000,
  learnBurst: 1 << 30,
  ueFlows: 64,
  maxSessions: 100,
  shared: false,
  ethernet: false,
  protect: [],
  pinger: true,
  slowPort: true,
  cacheFor: 1 << 30,
};

export const pinger = {
  id: 0x4f52,
  cookie: Uint8Array.of(0x6f, 0x66, 0x72, 0x61, 0x6d, 0x70, 1, 2),
  target: "203.0.113.10",
  target6: "2001:db8:10::17",
};
export const hopMac = (n: number) => ({ dst: `02:09:09:09:09:0${n}`, src: `02:08:08:08:08:0${n}` });
/** Our end of the tunnels to functions. */
export const vxlan = { address: "10.60.0.2", address6: "2001:db8:60::2", port: 4789, gpePort: 4790, vniBase: 4096 };
export const ownMac = "02:00:00:00:00:02";
export const returnMac = "02:07:07:07:07:07";

const octetsOf = (text: string) => Uint8Array.from(text.split(":").map((part) => Number.parseInt(part, 16)));
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

export interface Ran {
  verdict: VerdictName;
  frame: Uint8Array;
  /** Counters that rose, with `note_…`; by how many packets. */
  counted: Record<string, number>;
  /** Types of the events told, in order. */
  events: string[];
}

/** What a sentence expects; what is left out may be anything. */
export interface Expected {
  verdict?: VerdictName;
  counter: string;
  /** The frame that leaves; "same": as it came. */
  out?: Uint8Array | "same";
  events?: string[];
  notes?: string[];
}

const seen = new Set<string>();
/** Names of the counters that this process has seen rise. */
export const seenCounters = (): ReadonlySet<string> => seen;

export class Kernel {
  readonly object: BpfObject;
  private readonly ring: Ring;
  private told: layout.Values<typeof layout.event.fields>[] = [];
  private names: string[] = [];
  /** One for all rules that ever come: replacing it waits for the kernel's readers, each time. */
  private readonly inner: BpfMap;
  private endpoints: string[] = [];
  private steering: SteeringRule[] = [];
  private treated: number[] = [];
  generation = 0;
  resolves = true; // next hops of outputs are found
  settings: Settings = defaults;

  constructor() {
    execFileSync("bin/build", ["--no-dist"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
    const template = emptyImage();
    this.object = BpfObject.load(`${root}build/offramp.bpf.o`, {
      constants: { DATAPLANE: 0, HZ: SECOND },
      inner: { rules: template },
    });
    template.close();
    this.ring = new Ring(this.object.map("events"), (record) => {
      this.told.push(layout.event.decode(record));
      this.names.push(renderEvent(record, () => "")?.type ?? "unknown");
    });
    this.object.map("from_slow_programs").update(c.MAX_DATAPLANES, u32(this.object.program("from_slow_reply").fd));
    this.object.map("slot_state").update(0, layout.slots.encode({ layout: c.LAYOUT_VERSION }));
    this.inner = imageMap(new Uint8Array(ROOM));
    this.object.map("rules").update(0, u32(this.inner.fd));
  }

  /** Nothing learnt, these settings, these rules. Counters stay. */
  reset(rules: readonly SteeringRule[], settings: Partial<Settings> = {}): void {
    for (const name of ["tunnels", "ue_sessions", "flows", "fragments", "peers"]) {
      const map = this.object.map(name);
      for (const key of [...map.keys()]) map.delete(key);
    }
    const { next } = layout.slots.decode(this.value("slot_state", 0));
    for (let i = 0; i < Math.min(next, 1000); i++) {
      this.object.map("sessions").update(i, new Uint8Array(layout.session.size));
      this.object.map("injections").update(i, new Uint8Array(layout.injection.size));
      for (let slot = 0; slot < c.BEARER_SLOTS; slot++)
        this.object.map("bearers").update(i * c.BEARER_SLOTS + slot, new Uint8Array(layout.bearer.size));
    }
    this.object.map("slot_state").update(0, layout.slots.encode({ layout: c.LAYOUT_VERSION }));
    while (this.object.map("free_slots").pop());
    this.object.map("capture").update(0, new Uint8Array(layout.capture.size));
    this.object.map("rules_state").update(0, new Uint8Array(layout.rulesHeader.size));
    this.settings = defaults;
    this.configure(settings);
    this.setRules(rules);
    this.drain();
  }

  configure(change: Partial<Settings>): void {
    const s = { ...this.settings, ...change };
    this.settings = s;
    const fromSlow = this.object.program(s.ethernet ? "ether_from_slow" : "from_slow_uplink");
    this.object.map("from_slow_programs").update(0, u32(fromSlow.fd));
    this.object.map("config").update(
      0,
      layout.config.encode({
        mode: { offload: c.MODE_OFFLOAD, observe: c.MODE_OBSERVE, bypass: c.MODE_BYPASS }[s.mode],
        flags:
          (s.shared ? c.CONFIG_SHARED : 0) |
          (s.ethernet ? c.CONFIG_ETHERNET : 0) |
          (s.accessPeers && !s.shared ? c.CONFIG_ACCESS_PEERS : 0) |
          (s.corePeers && !s.shared ? c.CONFIG_CORE_PEERS : 0) |
          (s.uePools ? c.CONFIG_UE_POOLS : 0) |
          (s.pinger ? c.CONFIG_PINGER4 | c.CONFIG_PINGER6 : 0),
        mtu_access: s.mtuAccess,
        mtu_core: 1500,
        ping_cookie: pinger.cookie,
        ping_target4: addressOctets(pinger.target),
        ping_target6: addressOctets(pinger.target6),
        ping_id: pinger.id,
        peer_sessions: s.peerSessions,
        learn_rate: 1,
        learn_burst: s.learnBurst,
        ue_flows: s.ueFlows,
        max_sessions: s.maxSessions,
        own_mac: octetsOf(ownMac),
        return_mac: octetsOf(returnMac),
      }),
    );
    for (const port of [c.PORT_ACCESS(0), c.PORT_CORE(0), c.PORT_RETURN, c.PORT_APPS]) this.plug(port);
    if (s.slowPort) this.plug(c.PORT_SLOW);
    else this.unplug(c.PORT_SLOW);
    const prefixes = this.object.map("prefixes");
    for (const key of [...prefixes.keys()]) prefixes.delete(key);
    for (const [set, list] of [
      [c.PREFIX_ACCESS_PEER, s.accessPeers],
      [c.PREFIX_CORE_PEER, s.corePeers],
      [c.PREFIX_UE_POOL, s.uePools],
      [c.PREFIX_PROTECTED, s.protect],
    ] as const) {
      for (const text of list ?? []) prefixes.update(lpmKey(set, 0, prefixOf(text)), Uint8Array.of(1));
    }
  }

  /** A new generation; next hops of endpoints and outputs are 1, 2, … in order of appearance (`hopMac`). */
  setRules(rules: readonly SteeringRule[]): void {
    this.steering = [...rules];
    this.endpoints = [];
    const hop = (endpoint: string) => {
      if (!this.endpoints.includes(endpoint)) this.endpoints.push(endpoint);
      return this.endpoints.indexOf(endpoint);
    };
    const steering = { rules: this.steering, protect: this.settings.protect };
    const rendered = renderRules(steering, {
      nextHop: hop,
      dataplane: (name) => dataplanes.indexOf(name),
      output: (rule) => {
        if (this.endpoints.length === 0) hop("routing");
        const index = hop(`output ${leavesWhole(rule)} ${JSON.stringify(rule.output)}`);
        this.setOutlet(index, rule);
        return index;
      },
    });
    this.setChains(hop);
    new Uint8Array(this.inner.memory()).fill(0).set(rendered.image);
    for (let i = 0; i < Math.max(1, this.endpoints.length); i++) {
      const { dst, src } = hopMac(i + 1);
      const value = { port: c.PORT_APPS, vlan: 0, destination: octetsOf(dst), source: octetsOf(src) };
      this.object.map("next_hops").update(i, layout.nextHop.encode(value));
    }
    this.generation++;
    const { cache_epoch, names } = layout.rulesHeader.decode(this.value("rules_state", 0));
    const header = {
      generation: this.generation,
      cache_for: this.settings.cacheFor,
      cache_epoch,
      names,
      ...rendered.header,
    };
    this.object.map("rules_state").update(0, layout.rulesHeader.encode(header));
    this.object.map("maybe").update(0, layout.buckets.encode({ bucket: rendered.bucket, host: rendered.host }));
  }

  /** Queries for these names go to these servers; `waiting`: seconds since when one has had no answer. */
  setNames(names: string[], server: Names["server"], server6?: Names["server6"], waiting?: number): void {
    const map = this.object.map("names");
    for (const key of [...map.keys()]) map.delete(key);
    for (const name of names) map.update(nameKey(name), Uint8Array.of(1));
    const value = layout.nameServer.decode(renderServer({ names, server, ...(server6 && { server6 }) }));
    value.waiting = waiting === undefined ? 0 : this.ago(waiting) >>> 0;
    this.object.map("name_server").update(0, layout.nameServer.encode(value));
    const header = layout.rulesHeader.decode(this.value("rules_state", 0));
    this.object.map("rules_state").update(0, layout.rulesHeader.encode({ ...header, names: names.length > 0 ? 1 : 0 }));
  }

  /** Where a next hop is to be found, it is `hopMac`, if any; our own address is 10.60.0.1 or 2001:db8:60::1. */
  private setOutlet(index: number, rule: SteeringRule): void {
    const { dst: nextHop, src: mac } = hopMac(index + 1);
    const { output = {} } = rule;
    const found = this.resolves && (isFound(output) || !leavesWhole(rule));
    const source = output.tunnel?.destination.includes(":") ? "2001:db8:60::1" : "10.60.0.1";
    const way = { mac, mtu: 1500, source, ...(found && { nextHop }) };
    this.object.map("outlets").update(index, renderOutput(output, leavesWhole(rule), way));
  }

  /** Functions get next hops behind the endpoints. */
  private setChains(hop: (address: string) => number): void {
    const rendered = renderChains({ rules: this.steering, protect: [] }, vxlan, hop, () => 1);
    const [hops, treatments] = [this.object.map("hops"), this.object.map("treatments")];
    for (const key of [...hops.keys()]) hops.delete(key);
    for (const [vni, value] of rendered.hops) hops.update(u32(vni), value);
    for (const service of this.treated) treatments.update(service, new Uint8Array(layout.treatment.size));
    for (const [service, value] of rendered.treatments) treatments.update(service, value);
    this.treated = [...rendered.treatments.keys()];
    this.object.map("vtep").update(0, renderVtep(vxlan, 1500));
  }

  /** Mirror 1 copies what leaves by any port, or by none. */
  setMirror(there: boolean): void {
    const mirrors = this.object.map("mirrors");
    for (const port of [c.PORT_ACCESS(0), c.PORT_CORE(0), c.PORT_RETURN, c.PORT_APPS]) {
      const index = c.MAX_PORTS + port;
      if (!there) {
        mirrors.delete(index);
        continue;
      }
      const pair = BpfMap.create(MapType.devmap, "mirror_pair", { key: 4, value: 8, entries: 2 });
      for (const place of [0, 1]) pair.update(place, new Uint8Array(Uint32Array.of(1, 0).buffer));
      mirrors.update(index, u32(pair.fd));
      pair.close();
    }
  }

  plug = (port: number): void => this.object.map("ports").update(port, u32(1));
  unplug = (port: number): void => void this.object.map("ports").delete(port);

  private value(map: string, key: number | Uint8Array): Uint8Array {
    return this.object.map(map).lookup(key) ?? new Uint8Array(this.object.map(map).valueSize);
  }

  /** Packets under each name so far, over all CPUs. */
  private counts(): Record<string, number> {
    const all: Record<string, number> = {};
    counters.forEach(({ name }, index) => {
      const value = this.value("counters", index);
      let sum = 0;
      for (let at = 0; at < value.length; at += 16) sum += Number(layout.counter.decode(value.subarray(at)).packets);
      all[name] = sum;
    });
    return all;
  }

  /** Events since the last call. */
  drain(): { names: string[]; told: layout.Values<typeof layout.event.fields>[] } {
    while (this.ring.consume() > 0);
    const result = { names: this.names, told: this.told };
    this.names = [];
    this.told = [];
    return result;
  }

  run(program: ProgramName, frame: Uint8Array, repeat = 1): Ran {
    this.drain();
    const before = this.counts();
    const { verdict, data } = this.object.program(program).testRun(frame, { repeat });
    const counted: Record<string, number> = {};
    for (const [name, n] of Object.entries(this.counts())) {
      if (n !== before[name]) counted[name] = n - (before[name] ?? 0);
      if (n > 0) seen.add(name);
    }
    return { verdict: verdicts[verdict] ?? "aborted", frame: data, counted, events: this.drain().names };
  }

  /** Runs the frame and compares everything that the sentence names. Returns the run. */
  expect(program: ProgramName, frame: Uint8Array, expected: Expected): Ran {
    const ran = this.run(program, frame);
    const problems: string[] = [];
    const counted = Object.keys(ran.counted).filter((name) => !name.startsWith("note_"));
    if (expected.counter === "" ? counted.length > 0 : counted.join() !== expected.counter)
      problems.push(`counter: ${expected.counter || "none"} -> ${counted.join() || "none"}`);
    const verdict = expected.verdict ?? usualVerdict(expected.counter);
    if (verdict !== ran.verdict) problems.push(`verdict: ${verdict} -> ${ran.verdict}`);
    if (expected.events && expected.events.join() !== ran.events.join())
      problems.push(`events: ${expected.events.join() || "none"} -> ${ran.events.join() || "none"}`);
    const notes = Object.keys(ran.counted).filter((name) => name.startsWith("note_"));
    if (expected.notes && expected.notes.join() !== notes.join())
      problems.push(`notes: ${expected.notes.join() || "none"} -> ${notes.join() || "none"}`);
    const seen = () => `${problems.join("\n")}\nin\n${describe(frame)}\nout\n${describe(ran.frame)}`;
    if (problems.length > 0) throw new Error(`(expected -> actual)\n${seen()}`);
    const out = expected.out ?? (expected.counter.startsWith("pass_") ? "same" : undefined);
    if (out !== undefined) sameFrame(ran.frame, out === "same" ? frame : out, expected.counter);
    return ran;
  }

  /** The port that the frame would be redirected to; the frame is run twice for each candidate, so learn first. */
  egress(program: ProgramName, frame: Uint8Array): number | undefined {
    const ports = [c.PORT_ACCESS(0), c.PORT_CORE(0), c.PORT_APPS, c.PORT_RETURN, c.PORT_SLOW];
    return ports.find((port) => {
      if (this.object.map("ports").lookup(port) === undefined) return false;
      this.unplug(port);
      const gone = this.run(program, frame).verdict !== "redirect";
      this.plug(port);
      return gone;
    });
  }

  session(ue: string) {
    const octets = addressOctets(ue);
    if (ue.includes(":") && !this.settings.ethernet) octets.fill(0, 8);
    const index = this.object.map("ue_sessions").lookup(octets);
    if (!index) return undefined;
    const slot = new DataView(index.buffer).getUint32(0, true);
    const s = layout.session.decode(this.value("sessions", slot));
    return { ...s, index: slot, baseStation: stationText(s.base_station), gateway: stationText(s.gateway) };
  }

  bearer(session: number, slot: number) {
    return layout.bearer.decode(this.value("bearers", session * c.BEARER_SLOTS + slot));
  }

  setBearer(session: number, slot: number, change: Partial<layout.Values<typeof layout.bearer.fields>>): void {
    const value = { ...this.bearer(session, slot), ...change };
    this.object.map("bearers").update(session * c.BEARER_SLOTS + slot, layout.bearer.encode(value));
  }

  setSession(index: number, change: Partial<layout.Values<typeof layout.session.fields>>): void {
    const value = { ...layout.session.decode(this.value("sessions", index)), ...change };
    this.object.map("sessions").update(index, layout.session.encode(value));
  }

  /** States of the UE's downlink bearers, its uplink and its claim, as TEIDs: `200 live, …`; for assertions. */
  bearers(ue: string): string {
    const s = this.session(ue);
    if (!s) return "unknown";
    const states = ["free", "live", "stale", "draining"];
    const names = ["down", "down", "down", "up", "claim"];
    return names
      .map((name, slot) => ({ name, b: this.bearer(s.index, slot) }))
      .filter(({ b }) => b.state !== c.BEARER_FREE)
      .map(({ name, b }) => `${name} ${b.key.teid.toString(16)} ${states[b.state]}`)
      .join(", ");
  }

  /** The kernel's clock less so many seconds of the programs' own, as it stands in the maps. */
  ago(seconds: number): number {
    this.object.program("read_clock").testRun(new Uint8Array(64));
    const { jiffies } = layout.clock.decode(this.value("clock", 0));
    return Number(BigInt.asUintN(32, jiffies)) - Math.round(seconds * SECOND);
  }

  size(map: string): number {
    return [...this.object.map(map).keys()].length;
  }

  flowsOf(reply: 0 | 1) {
    return [...this.object.map("flows").keys()]
      .map((key) => ({ key: layout.flowKey.decode(key), flow: layout.flow.decode(this.value("flows", key)), raw: key }))
      .filter(({ key }) => key.reply === reply);
  }
}

function usualVerdict(counter: string): VerdictName {
  return counter.startsWith("drop_") || counter === "" ? "drop" : "redirect";
}

let one: Kernel | undefined;
/** The process's programs: loading them takes a second or two. */
export function kernel(): Kernel {
  one ??= new Kernel();
  return one;
}
