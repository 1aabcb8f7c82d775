/**
 * How are the lab's machines connected, and what are they called (the figure is in lab.ts)?
 *
 * Namespaces, wires, addresses and routes; no program runs here yet.
 */
import { command, type Machines, must } from "./netns.ts";

export interface LabOptions {
  /** Phones. */
  ues?: number;
  baseStations?: number;
  gateways?: number;
  /** MTU of the links that carry GTP-U. */
  mtu?: number;
  /** MTU of the phones' TUN. Phones are told less than 1500, so that their packets fit into a tunnel. */
  phoneMtu?: number;
  /** The app is behind a router: 10.61.0.10. */
  routedApp?: boolean;
  /** Round trip between gateways and Internet, in milliseconds, by netem or else by the origin's slowness. */
  internetDistanceMs?: number;
  /** Fixed first part of the namespaces' names, when nobody else has it. */
  name?: string;
  /**
   * One adapter, s1u0, on one switch with base stations and gateways (A2). The peers' neighbour tables say that the
   * other side is at Offramp's link address, as a router's or an SDN fabric's would.
   */
  shared?: boolean;
  /** A way of the appliance's own to the Internet, by which apps on it reach the world: wan0. */
  egress?: boolean;
  /** Start the gateways (osmo-ggsn). Off where a test plays the core itself. */
  realCore?: boolean;
}

export const internet = { host: "203.0.113.10", www: "203.0.113.80", other: "203.0.113.20", dns: "203.0.113.53" };
/** Of the appliance on the Internet, with `egress`. */
export const siteAddress = "203.0.113.200";
export const internet6 = { host: "2001:db8:113::10", www: "2001:db8:113::80" };
/** In no namespace of the Internet: who answers for these is the edge. */
export const edgeOnly = { service: "203.0.113.99", service6: "2001:db8:113::99" };
export const accessPrefix = "198.18.1.0/24";
export const corePrefix = "198.18.2.0/24";

/** Outer address number `n` (0..8) of base station `b`. Number 0 is for the peers that speak GTP-U by script. */
export const baseStationAddress = (b: number, n = 0): string => `198.18.1.${10 * (b + 1) + n}`;
export const baseStationAddress6 = (b: number): string => `2001:db8:198::1:${b + 1}`;
export const gatewayAddress = (g: number): string => `198.18.2.${10 * (g + 1)}`;
export const gatewayAddress6 = (g: number): string => `2001:db8:198::2:${g + 1}`;
export const uePool = (g: number): string => `10.${45 + g}.0.0/16`;
export const uePool6 = (g: number): string => `2001:db8:${45 + g}::/56`;

const range = (count: number): number[] => [...Array(count).keys()];

/** Builds the network of one lab. */
export class Topology {
  private readonly machines: Machines;
  private readonly options: Required<LabOptions>;
  private readonly app: { address: string; second: string };

  constructor(machines: Machines, options: Required<LabOptions>, app: { address: string; second: string }) {
    this.machines = machines;
    this.options = options;
    this.app = app;
  }

  /** @returns by how many milliseconds the Internet's servers have to be slow, where the kernel cannot delay packets */
  async build(): Promise<number> {
    const { baseStations, gateways, ues, routedApp, shared } = this.options;
    const m = this.machines;
    const names = [
      ...["tof", "app", "inet"],
      ...range(baseStations).map((b) => `ran${b}`),
      ...range(gateways).map((g) => `core${g}`),
      ...range(ues).map((u) => `ue${u}`),
      ...(routedApp ? ["rtr"] : []),
      ...(baseStations > 1 || shared ? ["swa"] : []),
      ...(gateways > 1 && !shared ? ["swc"] : []),
    ];
    const stations = range(baseStations).map((b) => `ran${b}`);
    const cores = range(gateways).map((g) => `core${g}`);
    await Promise.all(names.map((name) => m.add(name)));
    if (shared) await this.segment("s1u0", "swa", [...stations, ...cores]);
    else {
      await this.segment("acc0", "swa", stations);
      await this.segment("cor0", "swc", cores);
    }
    for (const b of range(baseStations)) {
      const addresses = range(9).map((n) => `addr add ${baseStationAddress(b, n)}/16 dev eth0`);
      await m.ip(`ran${b}`, ...addresses, `addr add ${baseStationAddress6(b)}/64 dev eth0 nodad`);
    }
    await this.buildInternet(range(gateways));
    if (shared) await this.meetAtOfframp(range(baseStations), range(gateways));
    await this.buildApps(range(gateways), routedApp);
    const distance = this.options.internetDistanceMs;
    return distance > 0 ? this.setApart(range(gateways), distance) : 0;
  }

  /** Joins an adapter of the appliance with one machine's eth0 directly, with several through a switch. */
  private async segment(adapter: string, bridge: string, members: string[]): Promise<void> {
    const m = this.machines;
    const { mtu } = this.options;
    const [only] = members;
    if (members.length === 1 && only && !this.options.shared) {
      await m.wire("tof", adapter, only, "eth0", mtu);
    } else {
      await m.ip(bridge, "link add br0 type bridge mcast_snooping 0", "link set br0 up");
      await m.wire("tof", adapter, bridge, "up0", mtu);
      await m.ip(bridge, "link set up0 master br0");
      await m.asCable(bridge, "up0");
      for (const [index, member] of members.entries()) {
        await m.wire(bridge, `p${index}`, member, "eth0", mtu);
        await m.ip(bridge, `link set p${index} master br0`);
        await m.asCable(bridge, `p${index}`);
      }
    }
    for (const member of members) await m.asCable(member, "eth0");
  }

  /**
   * Puts the Internet further away, half of the distance in each direction.
   *
   * @returns what is left for the server to do: kernels without netem leave it all to it.
   */
  private async setApart(gateways: number[], distanceMs: number): Promise<number> {
    const m = this.machines;
    for (const g of gateways) {
      for (const [ns, port] of [
        [`core${g}`, "sgi0"],
        ["inet", `gw${g}`],
      ] as const) {
        const netem = ["netem", "delay", `${distanceMs / 2}ms`, "limit", "100000"];
        const set = await command(["tc", "-n", m.ns(ns), "qdisc", "add", "dev", port, "root", ...netem]);
        if (set.code !== 0) return distanceMs;
      }
    }
    return 0;
  }

  private async buildInternet(gateways: number[]): Promise<void> {
    const m = this.machines;
    await m.ip(
      "inet",
      "link add br0 type bridge mcast_snooping 0",
      "link set br0 up",
      ...Object.values(internet).map((address) => `addr add ${address}/24 dev br0`),
      ...Object.values(internet6).map((address) => `addr add ${address}/64 dev br0 nodad`),
    );
    if (this.options.egress) {
      await m.wire("inet", "site0", "tof", "wan0");
      await m.ip("inet", "link set site0 master br0");
      await m.ip("tof", `addr add ${siteAddress}/24 dev wan0`);
    }
    for (const g of gateways) {
      await m.wire("inet", `gw${g}`, `core${g}`, "sgi0");
      await m.ip(
        "inet",
        `link set gw${g} master br0`,
        `route add ${uePool(g)} via 203.0.113.${1 + g}`,
        `route add ${uePool6(g)} via 2001:db8:113::${1 + g}`,
      );
      await m.ip(
        `core${g}`,
        `addr add 203.0.113.${1 + g}/24 dev sgi0`,
        `addr add 2001:db8:113::${1 + g}/64 dev sgi0 nodad`,
        `addr add ${gatewayAddress(g)}/16 dev eth0`,
        `addr add ${gatewayAddress6(g)}/64 dev eth0 nodad`,
      );
      await must(["ip", "netns", "exec", m.ns(`core${g}`), "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
      await must(["ip", "netns", "exec", m.ns(`core${g}`), "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
    }
  }

  /** The appliance is a router on a stick: it has an address on the segment, and its kernel forwards between peers. */
  private async meetAtOfframp(stations: number[], gateways: number[]): Promise<void> {
    const m = this.machines;
    const { stdout } = await m.exec("tof", ["cat", "/sys/class/net/s1u0/address"]);
    const lladdr = stdout.trim();
    await m.ip("tof", "addr add 198.18.0.1/16 dev s1u0");
    const settings = ["forwarding=1", "send_redirects=0"].map((one) => `net.ipv4.conf.s1u0.${one}`);
    await must([
      "ip",
      "netns",
      "exec",
      m.ns("tof"),
      "sysctl",
      "-qw",
      ...settings,
      "net.ipv4.conf.all.send_redirects=0",
    ]);
    const there = (address: string): string => `neigh replace ${address} lladdr ${lladdr} dev eth0 nud permanent`;
    for (const b of stations) {
      await m.ip(`ran${b}`, ...gateways.map((g) => there(gatewayAddress(g))));
    }
    const all = stations.flatMap((b) => [...Array(9).keys()].map((n) => baseStationAddress(b, n)));
    for (const g of gateways) await m.ip(`core${g}`, ...all.map(there));
  }

  /** Adapters toward apps keep their offloads: apps on one machine with the appliance do send 64 kB packets. */
  private async buildApps(gateways: number[], routed: boolean): Promise<void> {
    const m = this.machines;
    const near = routed ? "rtr" : "app";
    await m.wire("tof", "apps0", near, "eth0");
    await m.ip("tof", "addr add 10.60.0.1/24 dev apps0", "addr add 2001:db8:60::1/64 dev apps0 nodad");
    if (!routed) {
      await m.ip(
        "app",
        ...[this.app.address, this.app.second].map((address) => `addr add ${address}/24 dev eth0`),
        "addr add 2001:db8:60::10/64 dev eth0 nodad",
        "route add default via 10.60.0.1",
        "route add default via 2001:db8:60::1",
      );
      return;
    }
    await m.wire("rtr", "in0", "app", "eth0");
    await m.ip(
      "rtr",
      "addr add 10.60.0.2/24 dev eth0",
      "addr add 10.61.0.1/24 dev in0",
      ...gateways.map((g) => `route add ${uePool(g)} via 10.60.0.1`),
    );
    await must(["ip", "netns", "exec", m.ns("rtr"), "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await m.ip(
      "app",
      ...[this.app.address, this.app.second].map((address) => `addr add ${address}/24 dev eth0`),
      "addr add 2001:db8:60::10/64 dev eth0 nodad",
      "route add default via 10.61.0.1",
    );
    await m.ip("tof", "route add 10.61.0.0/24 via 10.60.0.2");
  }
}
