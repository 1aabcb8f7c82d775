/**
 * By which adapters beside the wires and the apps' do packets leave?
 *
 *   output   a rule hands what it matches to an adapter (A17): a port of its own in `ports`, a place in `next_hops` and, with
 *            what becomes of the packet, in `outlets`
 *   mirror   a service's packets are copied to an adapter: for every port that they can leave by, the pair of the port's
 *            adapter and the mirror's, which get one broadcast redirect (bpf/mirror.h); what becomes of the copy is in
 *            `copies`, for a program of the mirror's own (bpf/copy.h)
 *
 * An output that cannot take frames is refused when it is applied, and so is a mirror to an adapter that is there. A mirror
 * whose adapter is not there, goes, or is found deaf later, copies nothing until it can: what is copied must not suffer. Both
 * are found again when an adapter comes back, and their next
 * hops are kept current (ways.ts).
 */
import { macOctets } from "../address.ts";
import { DataplaneError, UnfitError } from "../dataplane.ts";
import { type Copy, copiesOf, type Outlet, type Steering, type SteeringRule } from "../steering.ts";
import { BpfMap, MapType } from "./bpf-map.ts";
import * as c from "./consts.ts";
import { objectPath } from "./kernel.ts";
import { allLinks, type Link } from "./netdev.ts";
import type { NextHops } from "./next-hops.ts";
import { isFound, leavesWhole, macsOf, renderCopy, renderOutput, type Way } from "./outlet-record.ts";
import { probePort } from "./probe.ts";
import { adapterOf, wayOf } from "./ways.ts";
import type { Wiring } from "./wiring.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
/** A next hop that does not answer for so long holds nobody up any longer: packets pass until it does. */
const RESOLVE_MS = 1500;

interface Output {
  outlet: Outlet;
  whole: boolean;
  adapter: string;
}

interface Mirror {
  number: number;
  copy: Copy;
  /** Undefined: there is none at the moment. */
  adapter?: string;
  /** Its copies are changed. */
  changes: boolean;
}

const said = ({ port, vlan, mac, sourceMac, address, tunnel }: Outlet): string =>
  [port, vlan, mac, sourceMac, address, ...(tunnel ? [tunnel.type, tunnel.source ?? "-", tunnel.destination] : [])]
    .map((member) => member ?? "-")
    .join(" ");
const outputName = (rule: SteeringRule): string =>
  `output ${leavesWhole(rule) ? "whole" : "routed"} ${said(rule.output ?? {})}`;
const mirrorName = (copy: Copy): string => `${copy.form} ${said(copy)}`;

const mirrorsOf = (steering: Steering): Copy[] =>
  steering.rules.flatMap(({ treatment }) => Object.values(copiesOf(treatment?.mirror)));

/** The lowest number from `first` on that nobody has. */
function free(used: Iterable<number>, first: number, end: number, what: string): number {
  const taken = new Set(used);
  for (let number = first; number < end; number++) if (!taken.has(number)) return number;
  throw new DataplaneError(`no more than ${end - first} ${what}`, what);
}

const linksByName = async (): Promise<Map<string, Link>> =>
  new Map((await allLinks()).map((link) => [link.ifname, link]));

export class Outlets {
  readonly #wiring: Wiring;
  readonly #nextHops: NextHops;
  /** Adapter toward the apps. */
  readonly #apps: string | undefined;
  /** Ports of adapters that rules name. */
  readonly #ports = new Map<string, number>();
  readonly #outputs = new Map<string, Output>();
  readonly #mirrors = new Map<string, Mirror>();
  /** By mirror * MAX_PORTS + port; what is in it, as text. */
  readonly #pairs = new Map<number, { map: BpfMap; holds: [string, string] }>();
  /** Adapters that take frames from native programs, and of mirrors those that were found not to. */
  readonly #native = new Set<number>();
  readonly #deaf = new Set<number>();
  /** Rules have been in force: from now on a change is somebody's wish, and may be refused. */
  #begun = false;
  #refreshing: Promise<void> = Promise.resolve();
  #waiting = false;

  /** What an earlier run's numbers mean is not known: nothing is copied until rules are applied. */
  constructor(wiring: Wiring, nextHops: NextHops, apps: string | undefined) {
    this.#wiring = wiring;
    this.#nextHops = nextHops;
    this.#apps = apps;
    const map = wiring.kernel.map("mirrors");
    for (let index = 0; index < map.maxEntries; index++) if (map.lookup(index)) map.delete(index);
  }

  /** Finds places for all that these rules name. @throws DataplaneError naming rule and adapter; what was in use stays */
  async prepare(steering: Steering): Promise<void> {
    const copies = mirrorsOf(steering);
    // Most sites have neither, and looking at the adapters takes longer than a change of rules.
    if (copies.length + this.#mirrors.size === 0 && !steering.rules.some(({ output }) => output)) return;
    const links = await linksByName();
    const added = new Map<string, { rule: string; output: Output }>();
    for (const rule of steering.rules) {
      if (!rule.output || added.has(outputName(rule))) continue;
      const adapter = await this.#adapterFor(rule.name, rule.output);
      const link = links.get(adapter);
      if (!link) {
        throw new UnfitError(`rule ${rule.name} leaves by ${adapter}: there is no such adapter`, adapter);
      }
      await this.#refuseDeaf(rule.name, link);
      const output = { outlet: rule.output, whole: leavesWhole(rule), adapter };
      added.set(outputName(rule), { rule: rule.name, output });
    }
    if (this.#begun) await this.#refuseDeafMirrors(steering, links);
    const ways = await Promise.all(
      [...added].map(async ([name, { rule, output }]) => {
        const link = links.get(output.adapter)!;
        try {
          return [name, await this.#resolved(name, output, link)] as const;
        } catch (error) {
          if (!(error instanceof DataplaneError)) throw error;
          throw new UnfitError(`rule ${rule} ${error.message}`, error.object);
        }
      }),
    );
    for (const [name, way] of ways) {
      const { output } = added.get(name)!;
      if (!this.#ports.has(output.adapter)) {
        if (this.#ports.size >= c.MAX_PORTS - c.PORT_APPS - 1) this.#giveUpPorts(steering, added);
        const port = free(this.#ports.values(), c.PORT_APPS + 1, c.MAX_PORTS, "output adapters");
        this.#ports.set(output.adapter, port);
      }
      this.#place(name, output, links.get(output.adapter)!, way);
    }
    for (const copy of copies) {
      if (this.#mirrors.has(mirrorName(copy))) continue;
      const used = [...this.#mirrors.values()].map(({ number }) => number);
      const mirror = { number: free(used, 1, c.MAX_MIRRORS, "mirrors"), copy, changes: false };
      this.#mirrors.set(mirrorName(copy), mirror);
    }
    await this.#lookAtMirrors(links);
  }

  async #adapterFor(rule: string, outlet: Outlet): Promise<string> {
    try {
      return await adapterOf(outlet, this.#apps);
    } catch (error) {
      if (!(error instanceof DataplaneError)) throw error;
      throw new UnfitError(`rule ${rule} ${error.message}`, error.object);
    }
  }

  /** Waits a moment for a next hop that has not been asked for before. */
  async #resolved(name: string, { outlet }: Output, link: Link): Promise<Way> {
    const until = Date.now() + RESOLVE_MS;
    for (;;) {
      const way = await wayOf(outlet, link, true);
      if (!isFound(outlet) || way.nextHop !== undefined || this.#outputs.has(name) || Date.now() > until) return way;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Running flows outlive their rule: a port is given to another adapter only when none is left. */
  #giveUpPorts(steering: Steering, added: ReadonlyMap<string, { output: Output }>): void {
    const wanted = new Set(steering.rules.flatMap(({ output }) => output?.port ?? []));
    for (const { adapter } of this.#outputs.values()) wanted.add(adapter);
    for (const { output } of added.values()) wanted.add(output.adapter);
    for (const [adapter, port] of [...this.#ports]) {
      if (wanted.has(adapter)) continue;
      this.#ports.delete(adapter);
      this.#wiring.unplug(port);
    }
  }

  /** Frames from native programs would vanish. */
  async #refuseDeaf(name: string, link: Link): Promise<void> {
    if (this.#native.has(link.ifindex) || this.#wiring.allGeneric()) return;
    const rule = `rule ${name} leaves by ${link.ifname}`;
    if (!link.flags.includes("UP")) throw new UnfitError(`${rule}: the adapter is down`, link.ifname);
    const { native, reason } = await probePort(objectPath("probe.bpf.o"), link);
    if (!native) throw new UnfitError(`${rule}: ${reason}`, link.ifname);
    this.#native.add(link.ifindex);
  }

  /** Those in force are not asked again: for them, see `#lookAtMirrors`. */
  async #refuseDeafMirrors(steering: Steering, links: ReadonlyMap<string, Link>): Promise<void> {
    for (const { name, treatment } of steering.rules) {
      for (const copy of Object.values(copiesOf(treatment?.mirror))) {
        const adapter = await adapterOf(copy, this.#apps).catch(() => undefined);
        const link = links.get(adapter ?? "");
        if (this.#mirrors.has(mirrorName(copy)) || !link) continue;
        const reason = await this.#whyDeaf(link, true);
        if (reason) throw new UnfitError(`rule ${name} is copied to ${link.ifname}: ${reason}`, link.ifname);
      }
    }
  }

  /** Why would copies vanish there? Undefined where they arrive, or the kernel itself leaves them out. */
  async #whyDeaf(link: Link, ask: boolean): Promise<string | undefined> {
    const { ifindex } = link;
    if (this.#native.has(ifindex) || this.#wiring.allGeneric() || !link.flags.includes("UP")) return undefined;
    if (!ask && this.#deaf.has(ifindex)) return "redirected frames do not arrive";
    const { native, reason } = await probePort(objectPath("probe.bpf.o"), link);
    if (native) this.#native.add(ifindex);
    if (native) this.#deaf.delete(ifindex);
    else this.#deaf.add(ifindex);
    return native ? undefined : reason;
  }

  #place(name: string, output: Output, link: Link, way: Way): void {
    const port = this.#ports.get(output.adapter)!;
    this.#wiring.port(port, link);
    this.#outputs.set(name, output);
    const { outlet, whole } = output;
    const { destination = macOctets(BROADCAST), source } = macsOf(outlet, way);
    // The record first: nobody may meet a way without it.
    const record = renderOutput(outlet, whole, way);
    this.#nextHops.place(name, { port, vlan: outlet.vlan ?? 0, destination, source }, (index) =>
      this.#wiring.kernel.map("outlets").update(index, record),
    );
  }

  /** Index in `next_hops`. */
  output(rule: SteeringRule): number {
    return this.#nextHops.placeOf(outputName(rule));
  }

  mirror(copy: Copy): number {
    return this.#mirrors.get(mirrorName(copy))?.number ?? 0;
  }

  /** These rules are in force now: what only older ones named is given up. */
  keep(steering: Steering): void {
    this.#begun = true;
    const outputs = new Set(steering.rules.flatMap((rule) => (rule.output ? [outputName(rule)] : [])));
    const mirrors = new Set(mirrorsOf(steering).map(mirrorName));
    for (const name of [...this.#outputs.keys()]) {
      if (outputs.has(name)) continue;
      this.#outputs.delete(name);
      this.#nextHops.release(name);
    }
    for (const [name, { number }] of [...this.#mirrors]) {
      if (mirrors.has(name)) continue;
      this.#mirrors.delete(name);
      for (const index of [...this.#pairs.keys()]) {
        if (Math.floor(index / c.MAX_PORTS) === number) this.#part(index);
      }
    }
  }

  /** Adapters, ports, routes or neighbours have changed. */
  refresh(): Promise<void> {
    if (!this.#waiting) {
      this.#waiting = true;
      this.#refreshing = this.#refreshing
        .then(() => {
          this.#waiting = false;
          return this.#look(false);
        })
        .catch(() => undefined);
    }
    return this.#refreshing;
  }

  /** Next hops that the kernel is not certain of are asked for: frames that go straight there do not do that. */
  async keepAlive(): Promise<void> {
    const found = [...this.#outputs.values()].map(({ outlet }) => outlet);
    const copied = [...this.#mirrors.values()].map(({ copy }) => copy);
    if (![...found, ...copied].some(isFound) && this.#deaf.size === 0) return;
    this.#refreshing = this.#refreshing.then(() => this.#look(true)).catch(() => undefined);
    await this.#refreshing;
  }

  async #look(ask: boolean): Promise<void> {
    if (this.#outputs.size + this.#mirrors.size === 0) return;
    const links = await linksByName();
    for (const [name, output] of [...this.#outputs]) {
      const link = links.get(output.adapter);
      if (!link) continue;
      const lost: Way = { mac: link.address, mtu: link.mtu };
      const way = await wayOf(output.outlet, link, ask).catch(() => lost);
      if (this.#outputs.get(name) === output) this.#place(name, output, link, way);
    }
    await this.#lookAtMirrors(links, ask);
  }

  async #lookAtMirrors(links: ReadonlyMap<string, Link>, ask = true): Promise<void> {
    const there = new Set([...links.values()].map(({ ifindex }) => ifindex));
    for (const ifindex of this.#deaf) if (!there.has(ifindex)) this.#deaf.delete(ifindex);
    for (const mirror of [...this.#mirrors.values()]) {
      const { copy, number } = mirror;
      const adapter = await adapterOf(copy, this.#apps).catch(() => undefined);
      const link = links.get(adapter ?? "");
      const way = link && (await wayOf(copy, link, ask).catch(() => undefined));
      const record = way && renderCopy(copy, way);
      mirror.changes = record !== undefined;
      if (record) this.#wiring.kernel.map("copies").update(number, record);
      if (link && way && !(await this.#whyDeaf(link, ask))) mirror.adapter = link.ifname;
      else delete mirror.adapter;
    }
    this.#pair(links);
  }

  /** Makes every pair hold what it should at the moment. */
  #pair(links: ReadonlyMap<string, Link>): void {
    const { kernel } = this.#wiring;
    for (const { number, adapter, changes } of this.#mirrors.values()) {
      const ifindex = links.get(adapter ?? "")?.ifindex;
      const programs = changes ? kernel.copier(number) : undefined;
      for (const [port, egress] of this.#wiring.leavesBy()) {
        const index = number * c.MAX_PORTS + port;
        let pair = this.#pairs.get(index);
        if (!pair) {
          const size = { key: 4, value: 8, entries: 2 };
          pair = { map: BpfMap.create(MapType.devmap, "mirror_pair", size), holds: ["", ""] };
          this.#pairs.set(index, pair);
          kernel.map("mirrors").update(index, new Uint8Array(Uint32Array.of(pair.map.fd).buffer));
        }
        const program = this.#wiring.carriesTunnels(port) ? programs?.tunnelled : programs?.bare;
        for (const [place, [to, fd]] of [[egress, 0] as const, [ifindex, program?.fd ?? 0] as const].entries()) {
          const holds = `${to ?? ""} ${fd}`;
          if (pair.holds[place] === holds) continue;
          if (to === undefined) pair.map.delete(place);
          else pair.map.update(place, new Uint8Array(Uint32Array.of(to, fd).buffer));
          pair.holds[place] = holds;
        }
      }
    }
    const used = new Set([...this.#wiring.leavesBy()].map(([port]) => port));
    for (const index of [...this.#pairs.keys()]) if (!used.has(index % c.MAX_PORTS)) this.#part(index);
  }

  #part(index: number): void {
    this.#wiring.kernel.map("mirrors").delete(index);
    this.#pairs.get(index)?.map.close();
    this.#pairs.delete(index);
  }

  /** What is in the kernel stays at work. */
  async close(): Promise<void> {
    await this.#refreshing;
    for (const { map } of this.#pairs.values()) map.close();
    this.#pairs.clear();
  }
}
