/**
 * Which programs and maps are in force, and how did they get there?
 *
 * One object file, loaded several times over the same maps:
 *
 *   maps       the first load, with `read_clock` alone: makes all maps, or takes those that an earlier run left
 *   appliance  from_apps, from_pinger, from_slow …: once
 *   copier     copy_tunnelled, copy_bare with the constant MIRROR: once per mirror that changes its copies
 *   data plane access and core (or shared, or ether_access and ether_core), with the constant DATAPLANE: once per data plane
 *
 * Nothing is pinned: an attached program holds its maps. An earlier run's maps are found by asking the adapters for their
 * programs, and the programs for their maps, by name. They are used again when their layout is ours: same version number
 * (`slot_state.layout`), same types and sizes. If not, the old programs stay in force and this one keeps its hands off.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DataplaneError, type Limits } from "../dataplane.ts";
import { BpfMap, MapFlag, MapType } from "./bpf-map.ts";
import {
  BpfObject,
  btfById,
  closeProgram,
  type Program,
  programById,
  type XdpMode,
  xdpAttach,
  xdpDetach,
  xdpQuery,
} from "./bpf-object.ts";
import { BEARER_SLOTS, COUNTERS_STRIDE, LAYOUT_VERSION, MAX_DATAPLANES } from "./consts.ts";
import { clock, root, rulesHeader, slots } from "./layout.ts";

/** Programs of the appliance as a whole count here: DATAPLANE of their load. */
export const APPLIANCE = MAX_DATAPLANES - 1;
const FROM_SLOW_REPLY = MAX_DATAPLANES;
export const APPLIANCE_PROGRAMS = ["from_apps", "from_pinger", "from_slow", "from_slow_reply"];

/** The compiled object, wherever this file runs from (source or dist/). */
export function objectPath(name: string): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== "/"; folder = dirname(folder)) {
    const path = join(folder, "build", name);
    if (existsSync(path)) return path;
  }
  throw new DataplaneError(`${name} is not built: run bin/build`, name);
}

/** The kernel keeps 15 characters of a map's name. */
const short = (name: string): string => name.slice(0, 15);

/** Names of the programs of one data plane: on its adapters in their order, and behind the slow port. */
export interface PlanePrograms {
  ports: string[];
  fromSlow: string;
}

export interface Attached {
  program: Program;
  mode: XdpMode;
  ifindex: number;
  adapter: string;
  /** DATAPLANE of its load. */
  dataplane: number;
}

/** Maps that programs of an earlier run hold, by their (shortened) name. */
export interface Left {
  maps: Map<string, BpfMap>;
  /** By interface index. */
  programs: Map<number, Attached>;
}

/** What is attached to these adapters. @throws DataplaneError when a program is not ours. */
export function findLeft(ifindexes: { ifindex: number; name: string }[]): Left {
  const left: Left = { maps: new Map(), programs: new Map() };
  for (const { ifindex, name } of ifindexes) {
    const found = xdpQuery(ifindex);
    if (!found) continue;
    const program = programById(found.id);
    const info = program.info;
    const maps = info.mapIds.map((id) => BpfMap.byId(id));
    const rodata = maps.find((map) => map.name.endsWith(".rodata"));
    if (!rodata || !maps.some((map) => map.name === "sessions")) {
      throw new DataplaneError(`adapter ${name} carries another XDP program: ${info.name} (id ${info.id})`, name);
    }
    let dataplane = 0;
    const octets = rodata.lookup(0);
    const variable = btfById(info.btfId)
      .section(".rodata")
      .find((candidate) => candidate.name === "DATAPLANE");
    if (octets && variable) dataplane = new DataView(octets.buffer).getUint32(variable.offset, true);
    left.programs.set(ifindex, { program, mode: found.mode, ifindex, adapter: name, dataplane });
    for (const map of maps) {
      if (map.name.endsWith(".rodata") || left.maps.has(map.name)) map.close();
      else left.maps.set(map.name, map);
    }
  }
  return left;
}

export function closeLeft(left: Left): void {
  for (const map of left.maps.values()) map.close();
  for (const { program } of left.programs.values()) closeProgram(program);
}

/** Entries of the maps that bpf/maps.h calls resized. */
export function sizes(limits: Limits): Record<string, number> {
  return {
    injections: limits.sessions,
    ue_sessions: limits.sessions,
    sessions: limits.sessions,
    bearers: limits.sessions * BEARER_SLOTS,
    tunnels: limits.sessions * 3,
    free_slots: limits.sessions,
    // On Ethernet every station is a peer.
    peers: Math.max(8192, limits.sessions),
    flows: limits.flows * 2,
    service_counters: Math.min(2 * 65536, 2 * (limits.rules + 1)),
    hops: Math.max(4096, limits.rules * 4),
    meters: Math.min(2 * 65536, 2 * (limits.rules + 1)),
    treatments: Math.min(65536, limits.rules + 1),
    ...cacheSizes(limits),
  };
}

/**
 * Entries of the caches in front of `flows`: powers of two; 64 and 128 octets each. The default limits fit a small site;
 * whoever raises them has the memory to give every flow its place: then a look-up meets one miss in memory, not three.
 */
const cacheSizes = ({ flows }: Limits): { cache: number; reply_cache: number } => {
  const entries = 2 ** Math.ceil(Math.log2(Math.max(1024, flows)));
  return flows > 1 << 18
    ? { cache: entries * 8, reply_cache: entries * 4 }
    : { cache: entries, reply_cache: entries / 2 };
};

/** Of the classifier's images: no rules. The caller closes it. */
export const emptyImage = (): BpfMap =>
  BpfMap.create(
    MapType.array,
    "image",
    { key: 4, value: root.size, entries: 2 },
    { map_flags: MapFlag.innerMap | MapFlag.mmapable },
  );

/** Why the maps of an earlier run cannot be used; undefined when they can. */
function mismatch(left: ReadonlyMap<string, BpfMap>, object: BpfObject): string | undefined {
  const state = left.get("slot_state")?.lookup(0);
  const version = state ? slots.decode(state).layout : 0;
  if (version !== LAYOUT_VERSION) return `its maps have layout ${version}, ours is ${LAYOUT_VERSION}`;
  for (const [name, map] of object.maps) {
    const old = left.get(short(name));
    if (old && (old.type !== map.type || old.keySize !== map.keySize || old.valueSize !== map.valueSize)) {
      return `its map ${name} has another form`;
    }
  }
  return undefined;
}

export class Kernel {
  readonly hz: number;
  private readonly objects: BpfObject[] = [];
  private readonly appliance: BpfObject;
  private readonly path = objectPath("offramp.bpf.o");
  /** Names of data planes whose programs are in force, by index. */
  private readonly loaded = new Map<number, BpfObject>();
  private readonly copiers = new Map<number, BpfObject>();
  private clockAt: { jiffies: number; time: number } = { jiffies: 0, time: 0 };
  private readonly mapsObject: BpfObject;
  private readonly masks: Record<string, number>;

  /** Loads over the maps in `left` where there are any. @throws BpfError, DataplaneError */
  constructor(limits: Limits, left: Left) {
    const inner = emptyImage();
    const load = (options: { maxEntries?: Record<string, number>; reuse?: ReadonlyMap<string, BpfMap> }) =>
      BpfObject.load(this.path, {
        ...options,
        constants: { DATAPLANE: APPLIANCE, HZ: 250 },
        inner: { rules: inner },
        programs: ["read_clock"],
      });
    if (left.maps.size === 0) {
      this.mapsObject = load({ maxEntries: sizes(limits) });
      this.map("slot_state").update(0, slots.encode({ next: 0, layout: LAYOUT_VERSION }));
    } else {
      // A small load of our own shows what the maps should look like.
      const fresh = load({});
      const why = mismatch(left.maps, fresh);
      const names = [...fresh.maps.keys()];
      fresh.close();
      if (why) throw new DataplaneError(`programs of another version are in force and stay so: ${why}`, "programs");
      const reuse = new Map<string, BpfMap>();
      for (const name of names) {
        const map = left.maps.get(short(name));
        if (map) reuse.set(name, map);
      }
      this.mapsObject = load({ maxEntries: sizes(limits), reuse });
    }
    inner.close();
    this.objects.push(this.mapsObject);
    this.hz = this.measureHz();
    this.masks = {
      CACHE_MASK: this.map("cache").maxEntries / 2 - 1,
      REPLY_CACHE_MASK: this.map("reply_cache").maxEntries / 2 - 1,
    };
    this.appliance = this.load(APPLIANCE, APPLIANCE_PROGRAMS);
    this.map("from_slow_programs").update(FROM_SLOW_REPLY, fdOf(this.appliance.program("from_slow_reply")));
  }

  private load(dataplane: number, programs: string[], more: Record<string, number> = {}): BpfObject {
    const reuse = new Map([...this.mapsObject.maps].filter(([name]) => !name.endsWith(".rodata")));
    const object = BpfObject.load(this.path, {
      reuse,
      programs,
      constants: { DATAPLANE: dataplane, HZ: this.hz, ...this.masks, ...more },
    });
    this.objects.push(object);
    return object;
  }

  map(name: string): BpfMap {
    return this.mapsObject.map(name);
  }

  program(name: string): Program {
    return this.appliance.program(name);
  }

  /** Programs that change the copies of one mirror, loaded on first use: of frames in a tunnel, and of others. */
  copier(mirror: number): { tunnelled: Program; bare: Program } {
    const names = ["copy_tunnelled", "copy_bare"];
    let object = this.copiers.get(mirror);
    if (!object) {
      object = this.load(APPLIANCE, names, { MIRROR: mirror });
      this.copiers.set(mirror, object);
    }
    return { tunnelled: object.program("copy_tunnelled"), bare: object.program("copy_bare") };
  }

  /** The programs of one data plane, loaded on first use. */
  dataplane(index: number, { ports, fromSlow }: PlanePrograms): BpfObject {
    let object = this.loaded.get(index);
    if (!object) {
      object = this.load(index, [...ports, fromSlow]);
      this.loaded.set(index, object);
      this.map("from_slow_programs").update(index, fdOf(object.program(fromSlow)));
    }
    return object;
  }

  forget(index: number): void {
    this.map("from_slow_programs").delete(index);
    const object = this.loaded.get(index);
    if (!object) return;
    this.loaded.delete(index);
    this.objects.splice(this.objects.indexOf(object), 1);
    object.close();
  }

  /**
   * Puts a program on an adapter, replacing what an earlier run left. The same instructions in the same mode over the same
   * data plane stay as they are. Returns whether they did.
   */
  attach(ifindex: number, program: Program, mode: XdpMode, dataplane: number, old: Attached | undefined): boolean {
    if (old && old.mode === mode) {
      if (old.dataplane === dataplane && old.program.info.tag === program.info.tag) return true;
      xdpAttach(ifindex, program, mode, old.program);
      return false;
    }
    if (old) xdpDetach(ifindex, old.mode);
    xdpAttach(ifindex, program, mode);
    return false;
  }

  private readClock(): { jiffies: bigint; time: bigint } {
    this.mapsObject.program("read_clock").testRun(new Uint8Array(64), { room: 64 });
    return clock.decode(this.map("clock").lookup(0)!);
  }

  /** From one tick to another some 30 ms later. */
  private measureHz(): number {
    const edge = (): { jiffies: bigint; time: bigint } => {
      const first = this.readClock();
      for (;;) {
        const next = this.readClock();
        if (next.jiffies !== first.jiffies) return next;
      }
    };
    const from = edge();
    let to = edge();
    while (to.time - from.time < 30_000_000n) to = edge();
    const measured = Number(to.jiffies - from.jiffies) / (Number(to.time - from.time) / 1e9);
    const usual = [100, 250, 300, 1000];
    return usual.reduce((best, hz) => (Math.abs(hz - measured) < Math.abs(best - measured) ? hz : best));
  }

  /** jiffies64 truncated to 32 bits; asked of the kernel once a second, counted on between. */
  jiffies(): number {
    const time = Number(process.hrtime.bigint() / 1000n) / 1e6;
    if (time - this.clockAt.time > 1) {
      const now = this.readClock();
      this.clockAt = { jiffies: Number(BigInt.asUintN(32, now.jiffies)), time };
    }
    return (this.clockAt.jiffies + Math.floor((time - this.clockAt.time) * this.hz)) >>> 0;
  }

  /**
   * What programs cached is void from now on, and flows that are not taken are decided again. `change`: members of struct
   * rules_header that are others now; `cacheFor`: seconds that a cached decision holds.
   */
  raiseGeneration(
    change: { count?: number; fields?: number; flags?: number; names?: number; cacheFor?: number } = {},
  ): void {
    const map = this.map("rules_state");
    const state = rulesHeader.decode(map.lookup(0)!);
    const { cacheFor, ...members } = change;
    map.update(
      0,
      rulesHeader.encode({
        ...state,
        ...members,
        generation: (state.generation + 1) >>> 0,
        cache_for: cacheFor === undefined ? state.cache_for : Math.max(1, Math.floor(cacheFor * this.hz)),
      }),
    );
  }

  /** Replies cached with a bearer of this session take the general path once. */
  bumpSession(slot: number): void {
    const map = this.map("session_versions");
    const index = slot & (map.maxEntries - 1);
    const octets = map.lookup(index)!;
    const view = new DataView(octets.buffer);
    view.setUint32(0, view.getUint32(0, true) + 1, true);
    map.update(index, octets);
  }

  /** Sum over the CPUs of two 64-bit numbers. */
  counter(map: string, index: number): { packets: bigint; bytes: bigint } {
    const octets = this.map(map).lookup(index);
    let packets = 0n;
    let bytes = 0n;
    if (octets) {
      const view = new DataView(octets.buffer);
      for (let at = 0; at < octets.length; at += 16) {
        packets += view.getBigUint64(at, true);
        bytes += view.getBigUint64(at + 8, true);
      }
    }
    return { packets, bytes };
  }

  counterOf(dataplane: number, counter: number): { packets: bigint; bytes: bigint } {
    return this.counter("counters", dataplane * COUNTERS_STRIDE + counter);
  }

  /** What is attached stays. */
  close(): void {
    for (const object of this.objects.reverse()) object.close();
    this.objects.length = 0;
  }
}

const fdOf = (program: Program): Uint8Array => new Uint8Array(Uint32Array.of(program.fd).buffer);
