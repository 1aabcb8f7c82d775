/**
 * How do data planes get onto their adapters, and off again?
 *
 * Each data plane is native or generic as a whole: native when both its ports take redirected frames (`probe.ts`). The
 * programs of the appliance, which send into all of them, are native when all data planes are. Where not even generic
 * works, the bridge carries the wire alone, and `status` says why.
 */
import { type AppsConfig, type DataplaneConfig, DataplaneError, type Limits, type Mode } from "../dataplane.ts";
import { replacePrefixes } from "./apply.ts";
import { type XdpMode, xdpDetach, xdpQuery } from "./bpf-object.ts";
import * as c from "./consts.ts";
import { APPLIANCE, closeLeft, findLeft, type Kernel, type Left, objectPath } from "./kernel.ts";
import { config as configCodec } from "./layout.ts";
import { type AsFound, allLinks, hasCarrier, type Link, linkOf, linkOrNone, makeWire } from "./netdev.ts";
import type { DirectAdapter } from "./next-hops.ts";
import { adaptersOf, modes, newPlane, type Plane, programsOf, renderConfig, renderPrefixes } from "./planes.ts";
import { overheadOf, PINGER_FAR, RETURN_FAR, routeShared } from "./plumbing.ts";
import { type ProbeResult, probePort } from "./probe.ts";

const PREFIX_SETS = [c.PREFIX_ACCESS_PEER, c.PREFIX_CORE_PEER, c.PREFIX_UE_POOL];
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

export class Wiring {
  readonly planes = new Map<string, Plane>();
  /** Near end of the return veth. */
  returnMac = "00:00:00:00:00:00";
  #kernel: Kernel | undefined;
  readonly #ports = new Map<number, number>();
  /** Where programs of the appliance are attached: by name. */
  readonly #appliance = new Map<string, { link: Link; mode: XdpMode }>();

  constructor(
    private readonly found: AsFound,
    private readonly limits: Limits,
  ) {}

  planeAt(index: number): Plane | undefined {
    for (const plane of this.planes.values()) if (plane.index === index) return plane;
    return undefined;
  }

  nameOf(index: number): string {
    return this.planeAt(index)?.config.name ?? "";
  }

  plane(name: string): Plane {
    const plane = this.planes.get(name);
    if (!plane) throw new DataplaneError(`there is no data plane ${name}`, name);
    return plane;
  }

  get kernel(): Kernel {
    if (!this.#kernel) throw new DataplaneError("the data plane does not run", "data plane");
    return this.#kernel;
  }

  set kernel(kernel: Kernel | undefined) {
    this.#kernel = kernel;
    if (kernel) return;
    this.#appliance.clear();
    this.#ports.clear();
  }

  /** What an earlier run left on these data planes' adapters, and on our own. */
  async findLeft(dataplanes: DataplaneConfig[]): Promise<Left> {
    const names = [...dataplanes.flatMap(adaptersOf), RETURN_FAR, PINGER_FAR];
    const links = (await Promise.all(names.map(linkOrNone))).filter((link) => link !== undefined);
    return findLeft(links.map(({ ifindex, ifname }) => ({ ifindex, name: ifname })));
  }

  /**
   * Takes programs of ours off adapters that no data plane has any more: an earlier run ended in the middle of a change,
   * or the configuration has changed while nobody ran. Returns the indices of their data planes.
   */
  async detachStrays(dataplanes: DataplaneConfig[]): Promise<number[]> {
    const known = new Set(dataplanes.flatMap(adaptersOf));
    const strays: number[] = [];
    for (const { ifindex, ifname, xdp } of await allLinks()) {
      if (!xdp || known.has(ifname) || ifname.startsWith("ofr-")) continue;
      let left: Left;
      try {
        left = findLeft([{ ifindex, name: ifname }]);
      } catch {
        continue; // somebody else's
      }
      for (const { dataplane, mode } of left.programs.values()) {
        xdpDetach(ifindex, mode);
        strays.push(dataplane);
      }
      closeLeft(left);
    }
    return [...new Set(strays)];
  }

  /** The index that its programs have, else the lowest that is free. */
  #indexFor(config: DataplaneConfig, left: Left): number {
    const taken = new Set([...this.planes.values()].map((plane) => plane.index));
    const adapter = adaptersOf(config)[0];
    for (const there of left.programs.values()) {
      if (there.adapter === adapter && !taken.has(there.dataplane)) return there.dataplane;
      taken.add(there.dataplane);
    }
    for (let index = 0; index < APPLIANCE; index++) if (!taken.has(index)) return index;
    throw new DataplaneError(`no more than ${APPLIANCE} data planes`, config.name);
  }

  /** Makes the wire that works without any program. */
  async wire(config: DataplaneConfig, left: Left): Promise<Plane> {
    const plane = newPlane(config, this.#indexFor(config, left));
    await this.#join(plane);
    this.planes.set(config.name, plane);
    return plane;
  }

  async #join(plane: Plane): Promise<void> {
    const [first = "", second = ""] = adaptersOf(plane.config);
    if (plane.shared) await routeShared(this.found, first);
    else await makeWire(this.found, plane.config.name, [first, second]);
    plane.links = await Promise.all(adaptersOf(plane.config).map(linkOf));
  }

  /** MTU of the return veth: the largest inner packet that fits every tunnel as it is expected to be. */
  innerMtu(): number {
    const each = [...this.planes.values()].map((p) => (p.links[0]?.mtu ?? 1500) - overheadOf(p.config));
    return each.length > 0 ? Math.min(...each) : 1500 - overheadOf({ plugin: "gtp", interface: "n3" });
  }

  port(port: number, link: Link): void {
    this.kernel.map("ports").update(port, u32(link.ifindex));
    this.#ports.set(port, link.ifindex);
  }

  unplug(port: number): void {
    this.kernel.map("ports").delete(port);
    this.#ports.delete(port);
  }

  /** Ports that packets of services can leave by, and their adapters. */
  leavesBy(): [number, number][] {
    return [...this.#ports].filter(([port]) => port !== c.PORT_SLOW);
  }

  /** Is what leaves by this port in a tunnel? By the return port it may be, where a shared adapter is routed. */
  carriesTunnels(port: number): boolean {
    const plane = this.planeAt(port >> 1);
    return port === c.PORT_RETURN || (port < c.PORT_SLOW && plane?.config.plugin === "gtp");
  }

  /** No native program sends anywhere. */
  allGeneric(): boolean {
    return [...this.planes.values()].every((plane) => plane.xdp === "generic");
  }

  /** May frames go straight to the apps' adapter? */
  async direct(apps: AppsConfig): Promise<DirectAdapter | undefined> {
    const link = await linkOf(apps.interface);
    if (this.#isTooShort(link)) return undefined;
    if (!(await probePort(objectPath("probe.bpf.o"), link)).native) return undefined;
    this.port(c.PORT_APPS, link);
    const prefixes = [apps.address, ...(apps.address6 === undefined ? [] : [apps.address6])];
    return { name: link.ifname, mac: link.address, prefixes };
  }

  /** Can inner packets come that are longer than this adapter takes? */
  #isTooShort(link: Link): boolean {
    const least = 1500 - overheadOf({ plugin: "gtp", interface: "s1u" });
    const each = [...this.planes.values()].map(({ config: { plugin }, links }) => {
      return (links[0]?.mtu ?? 0) - overheadOf({ plugin, interface: "s1u" });
    });
    return link.mtu < Math.max(least, ...each);
  }

  async isTooShort(adapter: string): Promise<boolean> {
    const link = await linkOrNone(adapter);
    return link !== undefined && this.#isTooShort(link);
  }

  /** Largest MTU of all access sides, at least 1500. */
  longest(): number {
    return Math.max(1500, ...[...this.planes.values()].flatMap((plane) => plane.links.map((link) => link.mtu)));
  }

  /** Finds out how a data plane can be attached. */
  async probe(plane: Plane, left: Left): Promise<void> {
    plane.xdp = "native";
    plane.ports = [];
    for (const [i, link] of plane.links.entries()) {
      // What carries traffic already is not tried out again; a shared adapter is never a target.
      const trusted = plane.shared || left.programs.get(link.ifindex)?.mode === "native";
      const result: ProbeResult = trusted ? { native: true } : await probePort(objectPath("probe.bpf.o"), link);
      if (!result.native) plane.xdp = "generic";
      plane.ports.push({
        adapter: link.ifname,
        role: plane.shared ? "shared" : i === 0 ? "access" : "core",
        link: hasCarrier(link),
        mtu: link.mtu,
        path: plane.shared ? "routed" : "native",
        ...(result.reason && { reason: result.reason }),
      });
    }
  }

  /** Fills the maps for a data plane and puts its programs on its adapters. */
  arm(plane: Plane, left?: Left): void {
    const { kernel } = this;
    const { index, shared, links } = plane;
    if (left && links.every((link) => left.programs.has(link.ifindex))) this.#adoptConfig(plane);
    kernel.map("config").update(index, renderConfig(plane, this.limits, this.returnMac, this.innerMtu()));
    replacePrefixes(kernel.map("prefixes"), PREFIX_SETS, index, renderPrefixes(plane));
    const [access, core] = links;
    if (access && core) {
      this.port(c.PORT_ACCESS(index), access);
      this.port(c.PORT_CORE(index), core);
    }
    const programs = programsOf(plane);
    const object = kernel.dataplane(index, programs);
    plane.adopted = true;
    plane.programs = [];
    for (const [i, link] of links.entries()) {
      const program = object.program(programs.ports[i]!);
      const port = plane.ports[i]!;
      const there = left?.programs.get(link.ifindex);
      if (!there) plane.adopted = false;
      else if (there.program.info.name !== program.info.name) plane.replugged = true;
      if (!shared) port.path = plane.xdp;
      try {
        const kept = kernel.attach(link.ifindex, program, plane.xdp, index, there);
        const { id, name, tag } = kept && there ? there.program.info : program.info;
        plane.programs.push({ id, name, tag });
      } catch (error) {
        if (!(error instanceof DataplaneError)) throw error;
        port.reason = error.message;
        if (plane.xdp === "native") {
          // This driver cannot: a data plane whose two sides differ would be hard to reason about.
          this.#detach(links);
          plane.xdp = "generic";
          this.arm(plane);
          return;
        }
        this.#detach(links);
        plane.programs = [];
        for (const each of plane.ports) each.path = "bridge";
        return;
      }
    }
  }

  #detach(links: Link[]): void {
    for (const { ifindex } of links) {
      const attached = xdpQuery(ifindex);
      if (attached) xdpDetach(ifindex, attached.mode);
    }
  }

  /** The pings of an earlier run may still be answered. */
  #adoptConfig(plane: Plane): void {
    const octets = this.kernel.map("config").lookup(plane.index);
    if (!octets) return;
    const old = configCodec.decode(octets);
    if (old.ping_cookie.every((octet) => octet === 0)) return;
    plane.cookie = old.ping_cookie;
    plane.pingId = old.ping_id;
  }

  /** Puts a program of the appliance on a device of ours, in the mode that all data planes can take frames in. */
  attachAppliance(name: string, link: Link, left?: Left): void {
    const mode: XdpMode = [...this.planes.values()].some((plane) => plane.xdp === "generic") ? "generic" : "native";
    this.kernel.attach(link.ifindex, this.kernel.program(name), mode, APPLIANCE, left?.programs.get(link.ifindex));
    this.#appliance.set(name, { link, mode });
  }

  /**
   * After the set of data planes has grown. Native programs cannot send to an adapter that takes generic ones alone, and
   * the kernel has no way from one mode to the other without a moment between: so what is generic stays so until the next start.
   */
  reattachAppliance(): void {
    if (![...this.planes.values()].some((plane) => plane.xdp === "generic")) return;
    for (const [name, { link, mode }] of this.#appliance) {
      if (mode === "generic") continue;
      xdpDetach(link.ifindex, mode);
      this.attachAppliance(name, link);
    }
  }

  /** An adapter went and came again: everything about it is gone with it. */
  async rewire(plane: Plane): Promise<void> {
    await this.#join(plane);
    const left = await this.findLeft([plane.config]);
    try {
      this.arm(plane, left);
    } finally {
      closeLeft(left);
    }
  }

  /** An MTU has changed: what fits a tunnel has changed with it. */
  async remeasure(plane: Plane): Promise<void> {
    plane.links = await Promise.all(adaptersOf(plane.config).map(linkOf));
    for (const [i, port] of plane.ports.entries()) port.mtu = plane.links[i]?.mtu ?? port.mtu;
    this.kernel.map("config").update(plane.index, renderConfig(plane, this.limits, this.returnMac, this.innerMtu()));
    this.kernel.raiseGeneration();
  }

  /** Other settings, while it is at work. Nobody who was allowed and stays so is refused in between. */
  reconfigure(plane: Plane, config: DataplaneConfig): void {
    const { kernel } = this;
    const [before, mode] = [plane.config, plane.mode];
    const write = (): void => {
      const prefixes = kernel.map("prefixes");
      const wanted = renderPrefixes(plane);
      for (const key of wanted) prefixes.update(key, Uint8Array.of(1));
      kernel.map("config").update(plane.index, renderConfig(plane, this.limits, this.returnMac, this.innerMtu()));
      replacePrefixes(prefixes, PREFIX_SETS, plane.index, wanted);
      kernel.raiseGeneration();
    };
    plane.config = config;
    plane.mode = config.mode;
    try {
      write();
    } catch (error) {
      plane.config = before;
      plane.mode = mode;
      write();
      throw error;
    }
  }

  /** What one data plane allows may be a bound for the others. */
  rewriteConfigs(): void {
    const inner = this.innerMtu();
    for (const plane of this.planes.values()) {
      this.kernel.map("config").update(plane.index, renderConfig(plane, this.limits, this.returnMac, inner));
    }
    this.kernel.raiseGeneration();
  }

  setMode(plane: Plane, mode: Mode): void {
    const map = this.kernel.map("config");
    new DataView(map.memory()).setUint32(plane.index * map.stride + configCodec.offset.mode, modes[mode], true);
    plane.mode = mode;
    this.kernel.raiseGeneration();
  }

  /** Takes a data plane's programs and what it knows out of the kernel; the bridge carries the wire. */
  disarm(plane: Plane): void {
    this.#detach(plane.links);
    this.forget(plane.index);
    this.planes.delete(plane.config.name);
  }

  /** Nothing leads to this data plane any more. */
  forget(index: number): void {
    const { kernel } = this;
    replacePrefixes(kernel.map("prefixes"), PREFIX_SETS, index, []);
    for (const port of [c.PORT_ACCESS(index), c.PORT_CORE(index)]) this.unplug(port);
    kernel.forget(index);
  }
}
