/**
 * The eBPF back end: everything behind `Dataplane`, and the only class that the rest knows.
 *
 * `start` in order: refuse what cannot work, find what an earlier run left, wire the adapters, make the plumbing, load,
 * fill the maps, attach, listen. `stop` ends listening and leaves programs, maps and bridge at work. `down` takes the
 * programs away; the bridge carries the wire until `unwire`.
 *
 * The parts: netdev, plumbing, tap, netlink (adapters) · kernel (programs and maps) · planes, rules (what goes into maps)
 * · tables, collect (what comes out) · slow-port (packet by packet) · watch (monitor) · links, next-hops (kept current).
 */
import { join } from "node:path";
import { macOctets } from "../address.ts";
import {
  type BackendConfig,
  type CounterSample,
  type Dataplane,
  type DataplaneConfig,
  DataplaneError,
  type DataplaneEvent,
  type DataplaneStatus,
  type Difference,
  type EndpointOfService,
  type Mode,
  type ServiceCounter,
  type Session,
  type TableEntry,
} from "../dataplane.ts";
import type { Monitor, MonitorFilter, SeenPacket } from "../monitor.ts";
import type { Names, Steering } from "../steering.ts";
import { demandFit } from "../steering-checks.ts";
import type { Trial, TrialRequest } from "../trial.ts";
import { applyRules, Buckets } from "./apply.ts";
import { xdpDetach, xdpQuery } from "./bpf-object.ts";
import type { Places } from "./classifier.ts";
import { Collector } from "./collect.ts";
import * as c from "./consts.ts";
import { describe } from "./describe.ts";
import { renderEvent } from "./events.ts";
import { closeLeft, findLeft, Kernel } from "./kernel.ts";
import { nextHop as nextHopCodec } from "./layout.ts";
import { LinkKeeper } from "./links.ts";
import { NameTable } from "./names.ts";
import { AsFound, bridgeName, linkOf, linkOrNone, removeWire, removeWires } from "./netdev.ts";
import { NetlinkWatch } from "./netlink.ts";
import { NextHops } from "./next-hops.ts";
import { Outlets } from "./outlets.ts";
import { adaptersOf, allows, fixedDifference, type Plane } from "./planes.ts";
import { answerForFunctions, makeVeths, PINGER, removePlumbing, routeReplies, setReturnMtu, TAP } from "./plumbing.ts";
import { readBack } from "./read-back.ts";
import { Ring } from "./ring.ts";
import { counterSamples, serviceSamples } from "./samples.ts";
import { SlowPort } from "./slow-port.ts";
import { Tables } from "./tables.ts";
import { setTapMtu, Tap } from "./tap.ts";
import { Treatments } from "./treatments.ts";
import { permitted, portName, TrialBench, trialPlane } from "./trial-bench.ts";
import { Watch } from "./watch.ts";
import { Wiring } from "./wiring.ts";

export class EbpfDataplane implements Dataplane {
  readonly slow: SlowPort;
  readonly #config: BackendConfig;
  readonly #found: AsFound;
  readonly #wiring: Wiring;
  readonly #listeners = new Set<(event: DataplaneEvent) => void>();
  readonly #services = new Set<number>();
  #tables: Tables | undefined;
  #collector: Collector | undefined;
  #buckets: Buckets | undefined;
  #events: Ring | undefined;
  #watch: NetlinkWatch | undefined;
  #links: LinkKeeper | undefined;
  #nextHops: NextHops | undefined;
  #steering: Steering | undefined;
  #treatments: Treatments | undefined;
  #outlets: Outlets | undefined;
  #names: NameTable | undefined;
  #monitor: Watch | undefined;
  #trials: TrialBench | undefined;

  /** Constructing has no effects. */
  constructor(config: BackendConfig) {
    this.#config = config;
    this.#found = new AsFound(join(config.stateDir, "as-found.json"));
    this.#wiring = new Wiring(this.#found, config.limits);
    const { planes } = this.#wiring;
    this.slow = new SlowPort({
      nameOf: (index) => this.#wiring.nameOf(index),
      indexOf: (name) => planes.get(name)?.index,
      mtu: (index) => this.#wiring.planeAt(index)?.links[0]?.mtu ?? 1500,
      pinger: (name) => {
        const plane = planes.get(name);
        if (!plane?.config.pinger) return undefined;
        return { dataplane: name, device: PINGER, cookie: plane.cookie, id: plane.pingId, ...plane.config.pinger };
      },
    });
  }

  #running(): { kernel: Kernel; tables: Tables; collector: Collector } {
    const { kernel } = this.#wiring;
    if (!this.#tables || !this.#collector) throw new DataplaneError("the data plane does not run", "data plane");
    return { kernel, tables: this.#tables, collector: this.#collector };
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
    const { dataplanes, limits, apps, vxlan } = this.#config;
    const wiring = this.#wiring;
    const left = await wiring.findLeft(dataplanes);
    const strays = await wiring.detachStrays(dataplanes);
    try {
      for (const config of dataplanes) await wiring.wire(config, left);
      const veths = await makeVeths(this.#found, wiring.innerMtu());
      wiring.returnMac = veths.near.address;
      if (apps) await routeReplies(this.#found, apps, wiring.innerMtu());
      if (apps && vxlan) await answerForFunctions(this.#found, apps, vxlan);

      const kernel = new Kernel(limits, left);
      wiring.kernel = kernel;
      const map = (name: string) => kernel.map(name);
      const tables = new Tables(map("sessions"), map("bearers"), map("ue_sessions"), map("tunnels"));
      this.#tables = tables;
      this.#buckets = new Buckets(kernel);
      this.#names = new NameTable(kernel);
      this.#collector = new Collector(kernel, tables, this.#buckets, {
        idleSeconds: (index) => wiring.planeAt(index)?.config.idleTimeout ?? 300,
        removed: (session) => this.#emit({ ...session, dataplane: wiring.nameOf(session.plane) }),
      });
      const [destination, source] = [macOctets(veths.near.address), macOctets(veths.far.address)];
      const through = { port: c.PORT_RETURN, destination, source };
      map("next_hops").update(0, nextHopCodec.encode(through));
      wiring.port(c.PORT_RETURN, veths.far);
      this.#cacheFor();
      this.#treatments = new Treatments(kernel, vxlan, apps ? (await linkOf(apps.interface)).mtu : 1500);
      this.#nextHops = new NextHops(kernel, through, apps && (await wiring.direct(apps)));
      this.#outlets = new Outlets(wiring, this.#nextHops, apps?.interface);
      for (const plane of wiring.planes.values()) await wiring.probe(plane, left);
      for (const index of strays) {
        if (!wiring.planeAt(index)) wiring.forget(index);
        await this.#collector.removeAll(index);
      }
      for (const plane of wiring.planes.values()) wiring.arm(plane, left);
      for (const { replugged, index } of wiring.planes.values()) {
        if (replugged) await this.#collector.removeAll(index);
      }
      wiring.attachAppliance("from_apps", veths.far, left);
      wiring.attachAppliance("from_pinger", veths.pinger, left);
      await this.#listen(kernel, tables);
    } finally {
      closeLeft(left);
    }
  }

  async #listen(kernel: Kernel, tables: Tables): Promise<void> {
    const wiring = this.#wiring;
    const tap = await Tap.open(TAP, wiring.longest() + 128);
    wiring.attachAppliance("from_slow", tap.link);
    this.slow.open(kernel, tables, tap);
    this.#monitor = new Watch(kernel, (index) => wiring.nameOf(index));
    wiring.port(c.PORT_SLOW, tap.link);
    this.#events = new Ring(kernel.map("events"), (record) => {
      const event = renderEvent(record, (index) => wiring.nameOf(index));
      if (event) this.#emit(event);
    });
    this.#events.skip();
    this.#events.start();
    const remeasure = async (plane: Plane): Promise<void> => {
      await wiring.remeasure(plane);
      await this.#remeasured();
    };
    this.#links = new LinkKeeper(wiring.planes, (plane) => wiring.rewire(plane), remeasure);
    this.#watch = new NetlinkWatch(() => {
      void this.#links?.check();
      void this.#nextHops?.refresh();
      void this.#outlets?.refresh();
    });
    await this.#links.check();
  }

  /** Idle times are seen no finer than cached decisions last. */
  #cacheFor(): void {
    const each = [...this.#wiring.planes.values()].map((plane) => plane.config.idleTimeout);
    this.#wiring.kernel.raiseGeneration({ cacheFor: Math.max(0.1, Math.min(4, ...each) / 4) });
  }

  /** What depends on the lengths that all data planes together allow. */
  async #remeasured(): Promise<void> {
    const { apps } = this.#config;
    this.#wiring.rewriteConfigs();
    await setReturnMtu(apps, this.#wiring.innerMtu());
    await setTapMtu(TAP, this.#wiring.longest() + 128);
    if (apps) await this.#nextHops?.setTooLong(await this.#wiring.isTooShort(apps.interface));
  }

  /** Changes of the set of data planes: what watches adapters waits. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.#running();
    return this.#links!.rest(work);
  }

  #emit(event: DataplaneEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  async stop(): Promise<void> {
    this.#watch?.close();
    await this.#links?.close();
    this.#events?.close();
    this.slow.close();
    this.#monitor?.stop();
    this.#trials?.close();
    this.#nextHops?.close();
    await this.#outlets?.close();
    if (this.#tables) this.#wiring.kernel.close();
    this.#wiring.kernel = undefined;
    this.#watch = this.#events = this.#links = this.#monitor = this.#trials = undefined;
    this.#tables = this.#collector = this.#nextHops = this.#buckets = this.#steering = undefined;
    this.#treatments = this.#outlets = this.#names = undefined;
  }

  async down({ unwire }: { unwire: boolean }): Promise<void> {
    const planes = [...this.#config.dataplanes, ...[...this.#wiring.planes.values()].map((plane) => plane.config)];
    const dataplanes = new Map(planes.map((config) => [config.name, config]));
    await this.stop();
    this.#wiring.planes.clear();
    for (const name of [...dataplanes.values()].flatMap(adaptersOf)) {
      const link = await linkOrNone(name);
      const attached = link && xdpQuery(link.ifindex);
      if (!link || !attached) continue;
      // Throws when it is not ours.
      closeLeft(findLeft([{ ifindex: link.ifindex, name }]));
      xdpDetach(link.ifindex, attached.mode);
    }
    // Of data planes that the configuration does not name.
    await this.#wiring.detachStrays([]);
    await removePlumbing();
    if (!unwire) return;
    await removeWires();
    await this.#found.restore();
  }

  add(config: DataplaneConfig): Promise<void> {
    return this.#exclusively(async () => {
      const wiring = this.#wiring;
      if (wiring.planes.has(config.name)) throw new DataplaneError(`there is a data plane ${config.name}`, config.name);
      const bridged = (await linkOrNone(bridgeName(config.name))) !== undefined;
      const left = await wiring.findLeft([config]);
      try {
        const plane = await wiring.wire(config, left);
        await wiring.probe(plane, left);
        // What this index was used for before may have left something.
        await this.#running().collector.removeAll(plane.index);
        wiring.arm(plane);
        wiring.reattachAppliance();
        await this.#changed();
      } catch (error) {
        const plane = wiring.planes.get(config.name);
        if (plane) wiring.disarm(plane);
        await this.#changed().catch(() => undefined);
        if (!bridged) await this.#unwire(config);
        throw error;
      } finally {
        closeLeft(left);
      }
    });
  }

  change(config: DataplaneConfig): Promise<void> {
    return this.#exclusively(async () => {
      const { collector, tables } = this.#running();
      const plane = this.#wiring.plane(config.name);
      const fixed = fixedDifference(plane.config, config);
      if (fixed) throw new DataplaneError(`its ${fixed} cannot change while it is at work`, config.name);
      this.#wiring.reconfigure(plane, config);
      await this.#changed();
      await collector.removeAll(plane.index, (slot) => {
        const { ue, base_station, gateway } = tables.session(slot);
        return !allows(config, ue, base_station, gateway);
      });
    });
  }

  remove(name: string, { unwire }: { unwire: boolean }): Promise<void> {
    return this.#exclusively(async () => {
      const { collector } = this.#running();
      const plane = this.#wiring.plane(name);
      this.#wiring.disarm(plane);
      await this.#links?.forget(plane);
      await collector.removeAll(plane.index);
      await this.#changed();
      if (unwire) await this.#unwire(plane.config);
    });
  }

  async #changed(): Promise<void> {
    this.#cacheFor();
    await this.#outlets?.refresh();
    await this.#remeasured();
    // Rules name data planes, the kernel knows them by index.
    if (this.#steering?.rules.some(({ match }) => match.dataplanes)) await this.apply(this.#steering);
  }

  async #unwire(config: DataplaneConfig): Promise<void> {
    await removeWire(config.name);
    await this.#found.restoreAdapters(adaptersOf(config));
  }

  async apply(steering: Steering): Promise<void> {
    const { kernel } = this.#running();
    demandFit(steering);
    const outlets = this.#outlets!;
    await outlets.prepare(steering);
    const parts = [this.#nextHops!, this.#buckets!, this.#treatments!] as const;
    const takeBack = steering.names && this.#names!.apply(steering.names);
    try {
      applyRules(kernel, steering, this.#config.limits, ...parts, this.#places());
    } catch (error) {
      takeBack?.();
      throw error;
    }
    outlets.keep(steering);
    this.#steering = steering;
    for (const rule of steering.rules) this.#services.add(rule.service);
  }

  async setNames(names: Names): Promise<void> {
    this.#running();
    this.#names!.apply(names);
    this.#names!.trust();
    if (this.#steering) this.#steering = { ...this.#steering, names };
  }

  #places(): Places {
    return {
      nextHop: (address) => this.#nextHops!.indexOf(address),
      dataplane: (name) => this.#wiring.planes.get(name)?.index,
      output: (rule) => this.#outlets!.output(rule),
      mirror: (copy) => this.#outlets!.mirror(copy),
    };
  }

  describe(steering: Steering): TableEntry[] {
    return describe(steering, this.#config.vxlan);
  }

  async differences(steering: Steering): Promise<Difference[]> {
    const { kernel } = this.#running();
    return readBack(kernel, steering, this.#config.vxlan, this.#places());
  }

  async flushServices(services: readonly number[]): Promise<number> {
    return this.#running().collector.flushServices(services);
  }

  async flushEndpoints(endpoints: readonly EndpointOfService[]): Promise<number> {
    return this.#running().collector.flushEndpoints(endpoints);
  }

  async endpointFlows(endpoints: readonly EndpointOfService[]): Promise<number[]> {
    return this.#running().collector.endpointFlows(endpoints);
  }

  async setMode(name: string, mode: Mode): Promise<void> {
    this.#running();
    this.#wiring.setMode(this.#wiring.plane(name), mode);
  }

  status(): DataplaneStatus[] {
    const totals = this.#collector?.totals();
    return [...this.#wiring.planes.values()].map((plane) => ({
      name: plane.config.name,
      plugin: plane.config.plugin,
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
    const index = query.dataplane === undefined ? undefined : (this.#wiring.planes.get(query.dataplane)?.index ?? -1);
    const { teid } = query;
    if (index !== undefined) slots = slots.filter((slot) => tables.word(slot, "dataplane") === index);
    if (teid !== undefined) slots = slots.filter((slot) => tables.hasTeid(slot, teid));
    const offset = query.offset ?? 0;
    const page = Array.from(slots.slice(offset, offset + (query.limit ?? 100)));
    const now = kernel.jiffies();
    const sessions = page.map((slot) =>
      tables.describe(slot, now, kernel.hz, (dp) => this.#wiring.nameOf(dp), this.#collector?.lastFlow(slot)),
    );
    return { total: slots.length, sessions };
  }

  counters(): CounterSample[] {
    return counterSamples(this.#running().kernel, this.#wiring.planes.values());
  }

  serviceCounters(): ServiceCounter[] {
    return serviceSamples(this.#running().kernel, this.#services);
  }

  monitor(filter: MonitorFilter, listener: (packet: SeenPacket) => void): Monitor {
    this.#running();
    return this.#monitor!.start(filter, listener);
  }

  trial(request: TrialRequest): Trial {
    const { kernel, tables } = this.#running();
    const wiring = this.#wiring;
    const plane = wiring.plane(request.dataplane);
    this.#trials ??= new TrialBench(kernel, tables, (port) => portName(port, (index) => wiring.nameOf(index)));
    return this.#trials.run(trialPlane(plane), request, permitted(plane, this.#config.limits, request));
  }

  async collect(): Promise<{ sessions: number; flows: number }> {
    const { collector } = this.#running();
    void this.#nextHops?.keepAlive();
    void this.#outlets?.keepAlive();
    return collector.collect();
  }

  on(listener: (event: DataplaneEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
