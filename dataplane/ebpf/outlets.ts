/**
 * By which adapters beside the wires and the apps' do packets leave?
 *
 *   output   a rule hands what it matches to an adapter (A17): a port of its own in `ports`, a place in `next_hops`
 *   mirror   a service's packets are copied to an adapter: for every port that they can leave by, the pair of the port's
 *            adapter and the mirror's, which get one broadcast redirect (bpf/mirror.h)
 *
 * An output that cannot take frames is refused when it is applied. A mirror whose adapter is not there, or goes, copies
 * nothing until it is there: what is copied must not suffer. Both are found again when an adapter comes back.
 */
import { macOctets } from "../address.ts";
import { DataplaneError } from "../dataplane.ts";
import type { Copy, Outlet, Steering, SteeringRule } from "../steering.ts";
import { BpfMap, MapType } from "./bpf-map.ts";
import * as c from "./consts.ts";
import { objectPath } from "./kernel.ts";
import { allLinks, type Link } from "./netdev.ts";
import type { Hop, NextHops } from "./next-hops.ts";
import { probePort } from "./probe.ts";
import type { Wiring } from "./wiring.ts";

/** What this back end can do so far. */
type Output = Outlet & { port: string };
type Mirror = Copy & { port: string };

const isSimple = (outlet: Outlet): outlet is Output =>
  outlet.port !== undefined && !outlet.address && !outlet.tunnel && !outlet.sourceMac;

function simple(rule: SteeringRule): void {
  const { output, treatment, match, action } = rule;
  const copy = treatment?.mirror;
  const fits =
    (!output || isSimple(output)) &&
    (!copy || ("form" in copy && isSimple(copy) && !copy.mac && !copy.vlan)) &&
    !match.direction &&
    action !== "forward";
  if (!fits) throw new DataplaneError(`rule ${rule.name} needs what this data plane cannot do yet`, rule.name);
}

const BROADCAST = "ff:ff:ff:ff:ff:ff";

export const outputName = ({ port, vlan, mac }: Output): string => `output ${port} ${vlan ?? "-"} ${mac ?? "-"}`;
const mirrorName = ({ port, form }: Mirror): string => `${form} ${port}`;

/** The lowest number from `first` on that nobody has. */
function free(used: Iterable<number>, first: number, end: number, what: string): number {
  const taken = new Set(used);
  for (let number = first; number < end; number++) if (!taken.has(number)) return number;
  throw new DataplaneError(`no more than ${end - first} ${what}`, what);
}

export class Outlets {
  readonly #wiring: Wiring;
  readonly #nextHops: NextHops;
  /** Ports of adapters that rules name. */
  readonly #ports = new Map<string, number>();
  readonly #outputs = new Map<string, Output>();
  readonly #mirrors = new Map<string, { number: number; mirror: Mirror }>();
  /** By mirror * MAX_PORTS + port; what is in it, as text. */
  readonly #pairs = new Map<number, { map: BpfMap; holds: [string, string] }>();
  /** Adapters that take frames from native programs. */
  readonly #native = new Set<number>();
  #refreshing: Promise<void> = Promise.resolve();

  /** What an earlier run's numbers mean is not known: nothing is copied until rules are applied. */
  constructor(wiring: Wiring, nextHops: NextHops) {
    this.#wiring = wiring;
    this.#nextHops = nextHops;
    const map = wiring.kernel.map("mirrors");
    for (let index = 0; index < map.maxEntries; index++) if (map.lookup(index)) map.delete(index);
  }

  /** Finds places for all that these rules name. @throws DataplaneError naming rule and adapter; what was in use stays */
  async prepare(steering: Steering): Promise<void> {
    const links = new Map((await allLinks()).map((link) => [link.ifname, link]));
    for (const rule of steering.rules) {
      simple(rule);
      const { name } = rule;
      const output = rule.output as Output | undefined;
      if (!output) continue;
      const link = links.get(output.port);
      if (!link)
        throw new DataplaneError(`rule ${name} leaves by ${output.port}: there is no such adapter`, output.port);
      await this.#refuseDeaf(name, link);
      let port = this.#ports.get(output.port);
      if (port === undefined) {
        if (this.#ports.size >= c.MAX_PORTS - c.PORT_APPS - 1) this.#giveUpPorts(steering);
        port = free(this.#ports.values(), c.PORT_APPS + 1, c.MAX_PORTS, "output adapters");
        this.#ports.set(output.port, port);
      }
      this.#place(output, link);
    }
    for (const { treatment } of steering.rules) {
      const mirror = treatment?.mirror as Mirror | undefined;
      if (!mirror || this.#mirrors.has(mirrorName(mirror))) continue;
      const used = [...this.#mirrors.values()].map(({ number }) => number);
      this.#mirrors.set(mirrorName(mirror), { number: free(used, 1, c.MAX_MIRRORS, "mirrors"), mirror });
    }
    this.#pair(links);
  }

  /** Running flows outlive their rule: a port is given to another adapter only when none is left. */
  #giveUpPorts(steering: Steering): void {
    const wanted = new Set(steering.rules.flatMap(({ output }) => output?.port ?? []));
    for (const { port } of this.#outputs.values()) wanted.add(port);
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
    if (!link.flags.includes("UP")) throw new DataplaneError(`${rule}: the adapter is down`, link.ifname);
    const { native, reason } = await probePort(objectPath("probe.bpf.o"), link);
    if (!native) throw new DataplaneError(`${rule}: ${reason}`, link.ifname);
    this.#native.add(link.ifindex);
  }

  #place(output: Output, link: Link): void {
    const port = this.#ports.get(output.port)!;
    this.#wiring.port(port, link);
    this.#outputs.set(outputName(output), output);
    const hop: Hop = {
      port,
      vlan: output.vlan ?? 0,
      destination: macOctets(output.mac ?? BROADCAST),
      source: macOctets(link.address),
    };
    this.#nextHops.place(outputName(output), hop);
  }

  /** Index in `next_hops`. */
  output(output: Outlet): number {
    return this.#nextHops.placeOf(outputName(output as Output));
  }

  mirror(mirror: Copy): number {
    return this.#mirrors.get(mirrorName(mirror as Mirror))?.number ?? 0;
  }

  /** These rules are in force now: what only older ones named is given up. */
  keep(steering: Steering): void {
    const outputs = new Set(steering.rules.flatMap(({ output }) => (output ? [outputName(output as Output)] : [])));
    const mirrors = new Set(
      steering.rules.flatMap(({ treatment: t }) => (t?.mirror ? [mirrorName(t.mirror as Mirror)] : [])),
    );
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

  /** Adapters or ports have changed. */
  refresh(): Promise<void> {
    this.#refreshing = this.#refreshing.then(() => this.#look()).catch(() => undefined);
    return this.#refreshing;
  }

  async #look(): Promise<void> {
    if (this.#outputs.size + this.#mirrors.size === 0) return;
    const links = new Map((await allLinks()).map((link) => [link.ifname, link]));
    for (const output of this.#outputs.values()) {
      const link = links.get(output.port);
      if (link) this.#place(output, link);
    }
    this.#pair(links);
  }

  /** Makes every pair hold what it should at the moment. */
  #pair(links: ReadonlyMap<string, Link>): void {
    const { kernel } = this.#wiring;
    for (const { number, mirror } of this.#mirrors.values()) {
      const copy = links.get(mirror.port)?.ifindex;
      for (const [port, egress] of this.#wiring.leavesBy()) {
        const index = number * c.MAX_PORTS + port;
        let pair = this.#pairs.get(index);
        if (!pair) {
          const size = { key: 4, value: 8, entries: 2 };
          pair = { map: BpfMap.create(MapType.devmap, "mirror_pair", size), holds: ["", ""] };
          this.#pairs.set(index, pair);
          kernel.map("mirrors").update(index, new Uint8Array(Uint32Array.of(pair.map.fd).buffer));
        }
        const strips = mirror.form === "decapsulated" && this.#wiring.carriesTunnels(port);
        const program = strips ? kernel.program("mirror_plain").fd : 0;
        for (const [place, [ifindex, fd]] of [[egress, 0] as const, [copy, program] as const].entries()) {
          const holds = `${ifindex ?? ""} ${fd}`;
          if (pair.holds[place] === holds) continue;
          if (ifindex === undefined) pair.map.delete(place);
          else pair.map.update(place, new Uint8Array(Uint32Array.of(ifindex, fd).buffer));
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
