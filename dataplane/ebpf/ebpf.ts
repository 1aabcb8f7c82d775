/**
 * The eBPF back end: everything behind `Dataplane`, and the only class that the rest knows.
 *
 * `start` in order: refuse what cannot work, find what an earlier run left, wire the adapters, make the plumbing, load,
 * fill the maps, attach, listen. `stop` ends listening and leaves programs, maps and bridge at work. `down` takes the
 * programs away; the bridge carries the wire until `unwire`.
 *
 * The parts: netdev, plumbing, tap, netlink (adapters) · kernel (programs and maps) · planes, rules (what goes into maps)
 * · tables, collect (what comes out) · slow-port (packet by packet) · links, next-hops (kept current).
 */
import { join } from "node:path";
import { counters as counterNames } from "../counters.ts";
import {
  type AppsConfig,
  type BackendConfig,
  type CounterSample,
  type Dataplane,
  type DataplaneConfig,
  DataplaneError,
  type DataplaneEvent,
  type DataplaneStatus,
  type Mode,
  type ServiceCounter,
  type Session,
} from "../dataplane.ts";
import type { Steering } from "../steering.ts";
import { macOctets } from "./address.ts";
import { applyRules, replacePrefixes } from "./apply.ts";
import { type XdpMode, xdpDetach, xdpQuery } from "./bpf-object.ts";
import { Collector } from "./collect.ts";
import * as c from "./consts.ts";
import { renderEvent } from "./events.ts";
import { APPLIANCE, closeLeft, findLeft, Kernel, type Left, objectPath } from "./kernel.ts";
import { config as configCodec, nextHop as nextHopCodec } from "./layout.ts";
import { LinkKeeper } from "./links.ts";
import { AsFound, type Link, linkOf, linkOrNone, makeWire, removeWire } from "./netdev.ts";
import { NetlinkWatch } from "./netlink.ts";
import { type DirectAdapter, NextHops } from "./next-hops.ts";
import { adaptersOf, modes, newPlane, type Plane, renderConfig, renderPrefixes } from "./planes.ts";
import {
  makeVeths,
  overheadOf,
  PINGER,
  PINGER_FAR,
  RETURN_FAR,
  removePlumbing,
  routeReplies,
  routeShared,
  TAP,
} from "./plumbing.ts";
import { probePort } from "./probe.ts";
import { Ring } from "./ring.ts";
import { SlowPort } from "./slow-port.ts";
import { Tables } from "./tables.ts";
import { Tap } from "./tap.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

export class EbpfDataplane implements Dataplane {
  readonly slow: SlowPort;
  readonly #config: BackendConfig;
  readonly #found: AsFound;
  readonly #planes = new Map<string, Plane>();
  readonly #listeners = new Set<(event: DataplaneEvent) => void>();
  readonly #services = new Set<number>();
  #kernel: Kernel | undefined;
  #tables: Tables | undefined;
  #collector: Collector | undefined;
  #events: Ring | undefined;
  #watch: NetlinkWatch | undefined;
  #links: LinkKeeper | undefined;
  #nextHops: NextHops | undefined;
  #returnMac = "00:00:00:00:00:00";
  #xdp: XdpMode = "native";

  /** Constructing has no effects. */
  constructor(config: BackendConfig) {
    this.#config = config;
    this.#found = new AsFound(join(config.stateDir, "as-found.json"));
    this.slow = new SlowPort({
      nameOf: (index) => this.#nameOf(index),
      indexOf: (name) => this.#planes.get(name)?.index,
      mtu: (index) => this.#planeAt(index)?.links[0]?.mtu ?? 1500,
      pinger: (name) => {
        const plane = this.#planes.get(name);
        if (!plane?.config.pinger) return undefined;
        return { dataplane: name, device: PINGER, cookie: plane.cookie, id: plane.pingId, ...plane.config.pinger };
      },
    });
  }

  #planeAt(index: number): Plane | undefined {
    for (const plane of this.#planes.values()) if (plane.index === index) return plane;
    return undefined;
  }

  #nameOf(index: number): string {
    return this.#planeAt(index)?.config.name ?? "";
  }

  #running(): { kernel: Kernel; tables: Tables } {
    if (!this.#kernel || !this.#tables) throw new DataplaneError("the data plane does not run", "data plane");
    return { kernel: this.#kernel, tables: this.#tables };
  }

  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { dataplanes, limits, apps } = this.#config;
    const left = await this.#findLeft(dataplanes);
    try {
      for (const config of dataplanes) this.#planes.set(config.name, newPlane(config, this.#indexFor(config, left)));
      for (const plane of this.#planes.values()) await this.#wire(plane);
      const mtu = Math.min(...[...this.#planes.values()].map(innerMtu), 65535);
      const veths = await makeVeths(this.#found, this.#planes.size > 0 ? mtu : 1500 - overheadOf("n3"));
      this.#returnMac = veths.near.address;
      if (apps) await routeReplies(this.#found, apps);

      const kernel = new Kernel(limits, left);
      this.#kernel = kernel;
      this.#tables = new Tables(
        kernel.map("sessions"),
        kernel.map("bearers"),
        kernel.map("ue_sessions"),
        kernel.map("tunnels"),
      );
      this.#collector = new Collector(kernel, this.#tables, {
        idleSeconds: (index) => this.#planeAt(index)?.config.idleTimeout ?? 300,
        removed: (session) => this.#emit({ ...session, dataplane: this.#nameOf(session.plane) }),
      });
      const through = {
        port: c.PORT_RETURN,
        destination: macOctets(veths.near.address),
        source: macOctets(veths.far.address),
      };
      kernel.map("next_hops").update(0, nextHopCodec.encode(through));
      this.#port(c.PORT_RETURN, veths.far);
      // Idle times are seen no finer than cached decisions last.
      const shortest = Math.min(4, ...dataplanes.map((config) => config.idleTimeout));
      kernel.raiseGeneration({ cacheFor: Math.max(0.1, shortest / 4) });
      await this.#probe(left);
      this.#nextHops = new NextHops(kernel, through, apps && (await this.#direct(apps)));
      for (const plane of this.#planes.values()) await this.#arm(plane, left);
      for (const [link, name] of [
        [veths.far, "from_apps"],
        [veths.pinger, "from_pinger"],
      ] as const) {
        kernel.attach(link.ifindex, kernel.program(name), this.#xdp, APPLIANCE, left.programs.get(link.ifindex));
      }
      await this.#listen(kernel, this.#tables);
    } finally {
      closeLeft(left);
    }
  }

  /** May frames go straight to the apps' adapter? */
  async #direct(apps: AppsConfig): Promise<DirectAdapter | undefined> {
    const link = await linkOf(apps.interface);
    const largest = Math.max(...[...this.#planes.values()].map(innerMtu));
    if (link.mtu < largest) return undefined;
    if (this.#xdp === "native" && !(await probePort(objectPath("probe.bpf.o"), link)).native) return undefined;
    this.#port(c.PORT_APPS, link);
    const prefixes = [apps.address, ...(apps.address6 === undefined ? [] : [apps.address6])];
    return { name: link.ifname, mac: link.address, prefixes };
  }

  async #findLeft(dataplanes: DataplaneConfig[]): Promise<Left> {
    const names = [...dataplanes.flatMap(adaptersOf), RETURN_FAR, PINGER_FAR];
    const links = await Promise.all(names.map(linkOrNone));
    return findLeft(
      links.filter((link) => link !== undefined).map((link) => ({ ifindex: link.ifindex, name: link.ifname })),
    );
  }

  /** The index that its programs have, else the lowest that is free. */
  #indexFor(config: DataplaneConfig, left?: Left): number {
    const taken = new Set([...this.#planes.values()].map((plane) => plane.index));
    const adapter = adaptersOf(config)[0];
    for (const there of left?.programs.values() ?? []) {
      if (there.adapter === adapter) return there.dataplane;
      taken.add(there.dataplane);
    }
    for (let index = 0; index < APPLIANCE; index++) if (!taken.has(index)) return index;
    throw new DataplaneError(`no more than ${APPLIANCE} data planes`, config.name);
  }

  async #wire(plane: Plane): Promise<void> {
    const names = adaptersOf(plane.config);
    if (plane.shared) await routeShared(this.#found, names[0]!);
    else await makeWire(this.#found, plane.config.name, [names[0]!, names[1]!]);
    plane.links = await Promise.all(names.map(linkOf));
  }

  #port(port: number, link: Link): void {
    this.#kernel!.map("ports").update(port, u32(link.ifindex));
  }

  /** Native everywhere if every wire port takes redirected frames, else generic everywhere. */
  async #probe(left: Left): Promise<void> {
    const object = objectPath("probe.bpf.o");
    for (const plane of this.#planes.values()) {
      plane.ports = [];
      for (const [i, link] of plane.links.entries()) {
        const there = left.programs.get(link.ifindex);
        // What carries traffic already is not tried out again.
        const result = there?.mode === "native" ? { native: true } : await probePort(object, link);
        const reason = "reason" in result ? result.reason : undefined;
        if (!result.native) this.#xdp = "generic";
        plane.ports.push({
          adapter: link.ifname,
          role: plane.shared ? "shared" : i === 0 ? "access" : "core",
          link: link.flags.includes("LOWER_UP"),
          mtu: link.mtu,
          path: "native",
          ...(reason && { reason }),
        });
      }
    }
  }

  /** Fills the maps for a data plane and puts its programs on its adapters. */
  async #arm(plane: Plane, left?: Left): Promise<void> {
    const { kernel } = this.#running();
    const { index, shared, links } = plane;
    if (left && links.every((link) => left.programs.has(link.ifindex))) this.#adoptConfig(plane);
    const octets = renderConfig(plane, this.#config.limits, this.#returnMac);
    kernel.map("config").update(index, octets);
    replacePrefixes(
      kernel.map("prefixes"),
      [c.PREFIX_ACCESS_PEER, c.PREFIX_CORE_PEER, c.PREFIX_UE_POOL],
      index,
      renderPrefixes(plane),
    );
    const [access, core] = links;
    if (access && core) {
      this.#port(c.PORT_ACCESS(index), access);
      this.#port(c.PORT_CORE(index), core);
    }
    const object = kernel.dataplane(index, shared);
    plane.adopted = true;
    plane.programs = [];
    for (const [i, link] of links.entries()) {
      const program = object.program(shared ? "shared" : i === 0 ? "access" : "core");
      const port = plane.ports[i]!;
      port.path = shared ? "routed" : this.#xdp;
      try {
        const kept = kernel.attach(link.ifindex, program, this.#xdp, index, left?.programs.get(link.ifindex));
        if (!left?.programs.has(link.ifindex)) plane.adopted = false;
        const { id, name, tag } = kept ? left!.programs.get(link.ifindex)!.program.info : program.info;
        plane.programs.push({ id, name, tag });
      } catch (error) {
        if (!(error instanceof DataplaneError)) throw error;
        plane.adopted = false;
        if (this.#xdp === "generic") {
          port.path = "bridge";
          port.reason = error.message;
          continue;
        }
        // This driver cannot: a data plane whose two sides differ would be hard to reason about.
        for (const other of links) if (xdpQuery(other.ifindex)?.mode === "native") xdpDetach(other.ifindex, "native");
        this.#xdp = "generic";
        port.reason = error.message;
        return this.#arm(plane);
      }
    }
  }

  /** The pings of an earlier run may still be answered. */
  #adoptConfig(plane: Plane): void {
    const octets = this.#running().kernel.map("config").lookup(plane.index);
    if (!octets) return;
    const old = configCodec.decode(octets);
    if (old.ping_cookie.some((octet) => octet !== 0)) {
      plane.cookie = old.ping_cookie;
      plane.pingId = old.ping_id;
    }
  }

  async #listen(kernel: Kernel, tables: Tables): Promise<void> {
    const mtu = Math.max(1500, ...[...this.#planes.values()].flatMap((plane) => plane.links.map((link) => link.mtu)));
    const tap = await Tap.open(TAP, mtu + 128);
    const fromSlow = kernel.program("from_slow");
    try {
      kernel.attach(tap.link.ifindex, fromSlow, this.#xdp, APPLIANCE, undefined);
    } catch {
      kernel.attach(tap.link.ifindex, fromSlow, "generic", APPLIANCE, undefined);
    }
    this.slow.open(kernel, tables, tap);
    this.#port(c.PORT_SLOW, tap.link);
    this.#events = new Ring(kernel.map("events"), (record) => {
      const event = renderEvent(record, (index) => this.#nameOf(index));
      if (event) this.#emit(event);
    });
    this.#events.skip();
    this.#events.start();
    this.#links = new LinkKeeper(this.#planes, (plane) => this.#rewire(plane));
    this.#watch = new NetlinkWatch(() => {
      void this.#links?.check();
      void this.#nextHops?.refresh();
    });
    await this.#links.check();
  }

  /** An adapter went and came again: everything about it is gone with it. */
  async #rewire(plane: Plane): Promise<void> {
    await this.#wire(plane);
    await this.#arm(plane);
  }

  #emit(event: DataplaneEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  async stop(): Promise<void> {
    this.#watch?.close();
    await this.#links?.close();
    this.#events?.close();
    this.slow.close();
    this.#nextHops?.close();
    this.#kernel?.close();
    this.#watch = this.#events = this.#links = undefined;
    this.#kernel = this.#tables = this.#collector = this.#nextHops = undefined;
  }

  async down({ unwire }: { unwire: boolean }): Promise<void> {
    const dataplanes = [
      ...new Map(
        [...this.#config.dataplanes, ...[...this.#planes.values()].map((p) => p.config)].map((d) => [d.name, d]),
      ).values(),
    ];
    await this.stop();
    this.#planes.clear();
    for (const name of dataplanes.flatMap(adaptersOf)) {
      const link = await linkOrNone(name);
      const attached = link && xdpQuery(link.ifindex);
      if (link && attached) {
        closeLeft(findLeft([{ ifindex: link.ifindex, name }]));
        xdpDetach(link.ifindex, attached.mode);
      }
    }
    await removePlumbing();
    if (!unwire) return;
    for (const { name } of dataplanes) await removeWire(name);
    await this.#found.restore();
  }

  /** Adds a data plane while the others carry traffic (A13). */
  async add(config: DataplaneConfig): Promise<void> {
    this.#running();
    if (this.#planes.has(config.name)) throw new DataplaneError(`there is a data plane ${config.name}`, config.name);
    const plane = newPlane(config, this.#indexFor(config));
    await this.#wire(plane);
    this.#planes.set(config.name, plane);
    try {
      const left = await this.#findLeft([config]);
      try {
        const before = this.#xdp;
        await this.#probeOne(plane, left);
        if (this.#xdp !== before)
          throw new DataplaneError(`its adapters need generic mode, the others run native`, config.name);
        await this.#arm(plane);
      } finally {
        closeLeft(left);
      }
    } catch (error) {
      this.#planes.delete(config.name);
      this.#xdp = this.#planes.size > 0 ? "native" : this.#xdp;
      throw error;
    }
  }

  async #probeOne(plane: Plane, left: Left): Promise<void> {
    const others = new Map(this.#planes);
    this.#planes.clear();
    this.#planes.set(plane.config.name, plane);
    try {
      await this.#probe(left);
    } finally {
      this.#planes.clear();
      for (const [name, other] of others) this.#planes.set(name, other);
    }
  }

  /** Takes a data plane away; its adapters stay bridged unless `unwire`. Its sessions end. */
  async remove(name: string, { unwire = false } = {}): Promise<void> {
    const { kernel } = this.#running();
    const plane = this.#plane(name);
    for (const link of plane.links) {
      const attached = xdpQuery(link.ifindex);
      if (attached) xdpDetach(link.ifindex, attached.mode);
    }
    await this.#collector!.removeAll(plane.index);
    replacePrefixes(
      kernel.map("prefixes"),
      [c.PREFIX_ACCESS_PEER, c.PREFIX_CORE_PEER, c.PREFIX_UE_POOL],
      plane.index,
      [],
    );
    if (!plane.shared)
      for (const port of [c.PORT_ACCESS(plane.index), c.PORT_CORE(plane.index)]) kernel.map("ports").delete(port);
    kernel.forget(plane.index);
    this.#planes.delete(name);
    if (unwire) await removeWire(name);
  }

  #plane(name: string): Plane {
    const plane = this.#planes.get(name);
    if (!plane) throw new DataplaneError(`there is no data plane ${name}`, name);
    return plane;
  }

  async apply(steering: Steering): Promise<void> {
    const { kernel } = this.#running();
    applyRules(kernel, steering, this.#config.limits, this.#nextHops!);
    for (const rule of steering.rules) this.#services.add(rule.service);
  }

  async flushService(service: number): Promise<number> {
    this.#running();
    return this.#collector!.flushService(service);
  }

  async setMode(name: string, mode: Mode): Promise<void> {
    const { kernel } = this.#running();
    const plane = this.#plane(name);
    const map = kernel.map("config");
    new DataView(map.memory()).setUint32(plane.index * map.stride + configCodec.offset.mode, modes[mode], true);
    plane.mode = mode;
    kernel.raiseGeneration();
  }

  status(): DataplaneStatus[] {
    const totals = this.#collector?.totals();
    return [...this.#planes.values()].map((plane) => ({
      name: plane.config.name,
      mode: plane.mode,
      ports: plane.ports.map((port) => ({ ...port })),
      programs: plane.programs.map((program) => ({ ...program })),
      adopted: plane.adopted,
      sessions: totals?.sessions.get(plane.index) ?? 0,
      flows: totals?.flows.get(plane.index) ?? 0,
    }));
  }

  sessions(query: { ue?: string; teid?: number; dataplane?: string; offset?: number; limit?: number }): {
    total: number;
    sessions: Session[];
  } {
    const { kernel, tables } = this.#running();
    let slots: Uint32Array | number[];
    if (query.ue !== undefined) {
      const slot = tables.slotOf(query.ue);
      slots = slot === undefined ? [] : [slot];
    } else {
      slots = tables.slots();
    }
    const index = query.dataplane === undefined ? undefined : (this.#planes.get(query.dataplane)?.index ?? -1);
    const { teid } = query;
    if (index !== undefined) slots = slots.filter((slot) => tables.word(slot, "dataplane") === index);
    if (teid !== undefined) slots = slots.filter((slot) => tables.hasTeid(slot, teid));
    const offset = query.offset ?? 0;
    const page = Array.from(slots.slice(offset, offset + (query.limit ?? 100)));
    const now = kernel.jiffies();
    const sessions = page.map((slot) =>
      tables.describe(slot, now, kernel.hz, (dp) => this.#nameOf(dp), this.#collector?.lastFlow(slot)),
    );
    return { total: slots.length, sessions };
  }

  counters(): CounterSample[] {
    const { kernel } = this.#running();
    const samples: CounterSample[] = [];
    for (const [dataplane, index] of [
      ...[...this.#planes.values()].map((p) => [p.config.name, p.index] as const),
      ["", APPLIANCE] as const,
    ]) {
      for (const [i, { name }] of counterNames.entries()) {
        samples.push({ dataplane, name, ...kernel.counterOf(index, i) });
      }
    }
    return samples;
  }

  serviceCounters(): ServiceCounter[] {
    const { kernel } = this.#running();
    return [...this.#services].flatMap((service) =>
      (["uplink", "downlink"] as const).map((direction, i) => ({
        service,
        direction,
        ...kernel.counter("service_counters", service * 2 + i),
      })),
    );
  }

  async collect(): Promise<{ sessions: number; flows: number }> {
    this.#running();
    void this.#nextHops?.keepAlive();
    return this.#collector!.collect();
  }

  on(listener: (event: DataplaneEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** Largest inner packet that fits every tunnel as it is expected to be. */
const innerMtu = (plane: Plane): number => (plane.links[0]?.mtu ?? 1500) - overheadOf(plane.config.interface);
