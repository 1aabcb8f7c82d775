/**
 * What is a mobile network with an edge, as small as it can be and still real?
 *
 *   ue0 ue1 …        phones: a TUN each, made by sgsnemu
 *   ran0 ran1 …      base stations: sgsnemu, which attaches by GTP-C and tunnels by GTP-U with sequence numbers
 *     │ (swa: a switch, when there are several)
 *   acc0 ┐
 *        │ tof       where Offramp runs; acc0 and cor0 are a wire, apps0 leads to the apps
 *   cor0 ┘ └─ apps0 ── app (10.60.0.10), or ── rtr ── app (10.61.0.10) when apps are routed
 *     │ (swc: a switch, when there are several)
 *   core0 core1 …    gateways: osmo-ggsn, pools 10.45.0.0/16, 10.46.0.0/16, and 2001:db8:45::/56, …
 *     │
 *   inet             the Internet: 203.0.113.10 and others, HTTP 80 and 8080, echo 7 (UDP, TCP)
 *
 * Base stations and gateways are on one segment, 198.18.0.0/16 (and 2001:db8:198::/64 for IPv6 outside): Offramp is a
 * bump in the wire and adds no hop. Base stations have 198.18.1.x, gateways 198.18.2.x.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HttpAnswer, HttpQuestion, LoadResult, UdpAnswer } from "./client.ts";
import { command, Machines, must, type Output, type Process, until } from "./netns.ts";
import { ggsnConfig, sgsnemu } from "./peers.ts";
import { Rpc } from "./rpc.ts";

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
  /** Start the gateways (osmo-ggsn). Off where a test plays the core itself. */
  realCore?: boolean;
}

/** A phone, as far as asking questions from it goes. */
export interface ScriptedUe {
  index: number;
  /** Name of the namespace with the TUN (short form, as `Lab.exec` takes it). */
  ns: string;
  tun: string;
  /** Address; of an IPv6 UE the one it formed in its /64. */
  ip: string;
}

/** A phone that sgsnemu attached. */
export interface Ue extends ScriptedUe {
  baseStation: number;
  /** Outer address of the base station. */
  enb: string;
  gateway: number;
  process: Process;
}

export interface AttachOptions {
  baseStation?: number;
  gateway?: number;
  type?: "v4" | "v6";
}

export const internet = { host: "203.0.113.10", www: "203.0.113.80", other: "203.0.113.20", dns: "203.0.113.53" };
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

export class Lab {
  readonly machines: Machines;
  readonly options: Required<LabOptions>;
  readonly ues: Ue[] = [];
  readonly gateways: Process[] = [];
  /** The edge app's address and the one next to it, where a second server answers. */
  readonly app: { address: string; second: string };
  private readonly clients = new Map<string, Promise<Rpc>>();

  private constructor(options: LabOptions) {
    this.machines = new Machines(options.name);
    this.options = {
      ues: options.ues ?? 1,
      baseStations: options.baseStations ?? 1,
      gateways: options.gateways ?? 1,
      mtu: options.mtu ?? 1500,
      phoneMtu: options.phoneMtu ?? 1400,
      routedApp: options.routedApp ?? false,
      internetDistanceMs: options.internetDistanceMs ?? 0,
      name: options.name ?? "",
      shared: options.shared ?? false,
      realCore: options.realCore ?? true,
    };
    this.app = this.options.routedApp
      ? { address: "10.61.0.10", second: "10.61.0.11" }
      : { address: "10.60.0.10", second: "10.60.0.11" };
  }

  /** Builds it all and returns when every server listens; the wire is not joined yet. */
  static async create(options: LabOptions = {}): Promise<Lab> {
    const lab = new Lab(options);
    try {
      await lab.build();
    } catch (error) {
      await lab.destroy();
      throw error;
    }
    return lab;
  }

  private async build(): Promise<void> {
    const { baseStations, gateways, ues, routedApp, realCore, shared } = this.options;
    const m = this.machines;
    const range = (count: number): number[] => [...Array(count).keys()];
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
    const delay = distance > 0 ? await this.setApart(range(gateways), distance) : 0;
    const servers = Promise.all([
      this.server("inet", "internet", Object.values(internet).concat(Object.values(internet6)), [
        ...["--delay", `${delay}`],
      ]),
      this.server("app", "edge", [this.app.address, this.app.second, "2001:db8:60::10"]),
    ]);
    // Awaited below; a gateway that fails first must be the one that is reported.
    servers.catch(() => undefined);
    if (realCore) for (const g of range(gateways)) await this.startGateway(g);
    await servers;
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

  private async meetAtOfframp(stations: number[], gateways: number[]): Promise<void> {
    const { stdout } = await this.exec("tof", ["cat", "/sys/class/net/s1u0/address"]);
    const lladdr = stdout.trim();
    const there = (address: string): string => `neigh replace ${address} lladdr ${lladdr} dev eth0 nud permanent`;
    for (const b of stations) {
      await this.machines.ip(`ran${b}`, ...gateways.map((g) => there(gatewayAddress(g))));
    }
    const all = stations.flatMap((b) => [...Array(9).keys()].map((n) => baseStationAddress(b, n)));
    for (const g of gateways) await this.machines.ip(`core${g}`, ...all.map(there));
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

  /** Starts a server that answers by this name at these addresses of the namespace. */
  async server(ns: string, name: string, addresses: string[], extra: string[] = []): Promise<Process> {
    const started = this.machines.helper(ns, name, "server", [
      "--name",
      name,
      "--listen",
      addresses.join(","),
      ...extra,
    ]);
    await started.said(/^ready$/m, 20_000);
    return started;
  }

  private async startGateway(g: number): Promise<void> {
    const file = join(this.machines.directory, `ggsn${g}.cfg`);
    writeFileSync(file, ggsnConfig({ directory: this.machines.directory, g }));
    const started = this.machines.start(`core${g}`, `osmo-ggsn ${g}`, ["osmo-ggsn", "-c", file]);
    this.gateways.push(started);
    await until(`osmo-ggsn ${g} to listen`, async () => {
      if (started.code !== undefined) throw new Error(`osmo-ggsn ended: ${started.log}`);
      const sockets = await this.exec(`core${g}`, ["ss", "-Hlun"]);
      return sockets.stdout.includes(`${gatewayAddress(g)}:2123`);
    });
  }

  /** Short name to the one `ip netns` knows. */
  ns(name: string): string {
    return this.machines.ns(name);
  }

  exec(ns: string, argv: string[], options: { timeoutMs?: number; input?: string } = {}): Promise<Output> {
    return this.machines.exec(ns, argv, options);
  }

  /** Runs without Offramp: a plain Linux bridge joins access and core. */
  async wire(): Promise<void> {
    await this.machines.ip(
      "tof",
      "link add wire0 type bridge mcast_snooping 0",
      "link set acc0 master wire0",
      "link set cor0 master wire0",
      "link set wire0 up",
    );
  }

  async unwire(): Promise<void> {
    await this.machines.ip("tof", "link del wire0");
  }

  /** The phone asks for a connection and gets an address: GTP-C through the wire. */
  async attach(index: number, options: AttachOptions = {}): Promise<Ue> {
    const baseStation = options.baseStation ?? index % this.options.baseStations;
    const gateway = options.gateway ?? 0;
    const here = this.ues.filter((ue) => ue.baseStation === baseStation && ue.process.code === undefined).length;
    const enb = baseStationAddress(baseStation, here + 1);
    const ns = `ue${index}`;
    const type = options.type ?? "v4";
    const process = this.machines.start(
      `ran${baseStation}`,
      `sgsnemu ${index}`,
      sgsnemu({
        directory: this.machines.directory,
        index,
        listen: enb,
        remote: gatewayAddress(gateway),
        netns: this.ns(ns),
        type,
      }),
    );
    const tun = "tun0";
    const find = async (): Promise<string | undefined> => {
      if (process.code !== undefined) throw new Error(`sgsnemu ended with ${process.code}:\n${process.log}`);
      const shown = await this.exec(ns, ["ip", "-j", "addr", "show", "dev", tun]);
      if (shown.code !== 0) return undefined;
      const [link] = JSON.parse(shown.stdout) as { addr_info: { family: string; scope: string; local: string }[] }[];
      return link?.addr_info.find((a) => a.family === (type === "v6" ? "inet6" : "inet") && a.scope === "global")
        ?.local;
    };
    const ip = await until(`UE ${index} to attach`, find, 15_000).catch((error: Error) => {
      throw new Error(`${error.message}\n${process.log}`);
    });
    await this.machines.ip(ns, `link set ${tun} mtu ${this.options.phoneMtu} up`);
    const ue: Ue = { index, ns, tun, ip, baseStation, enb, gateway, process };
    this.ues.push(ue);
    return ue;
  }

  /** Gives the TUN of a phone behind scripted base stations (`TunPhone`) its address and routes. */
  async scripted(index: number, ip: string, tun = "tun0"): Promise<ScriptedUe> {
    const ns = `ue${index}`;
    const v6 = ip.includes(":");
    await this.machines.ip(
      ns,
      // Without addresses of its own making, which would send router solicitations into an IPv4 tunnel.
      `link set ${tun} addrgenmode none`,
      `addr add ${ip}/${v6 ? "128 nodad" : "32"} dev ${tun}`,
      `link set ${tun} mtu ${this.options.phoneMtu} up`,
      v6 ? `route add 2000::/3 dev ${tun}` : `route add default dev ${tun}`,
    );
    return { index, ns, tun, ip };
  }

  /** The phone leaves: sgsnemu deletes its context. */
  async detach(ue: Ue): Promise<void> {
    await ue.process.end("SIGTERM", 5000);
    this.ues.splice(this.ues.indexOf(ue), 1);
  }

  /** The question-answering helper of a namespace, started at first use. */
  client(ns: string): Promise<Rpc> {
    let one = this.clients.get(ns);
    if (!one) {
      one = new Rpc(this.machines.helper(ns, `client ${ns}`, "client")).ready();
      this.clients.set(ns, one);
    }
    return one;
  }

  async phoneHttp(ue: ScriptedUe, url: string, question: Partial<HttpQuestion> = {}): Promise<HttpAnswer> {
    return (await this.client(ue.ns)).call<HttpAnswer>("http", { url, from: ue.ip, ...question });
  }

  async phoneUdp(
    ue: ScriptedUe,
    to: string,
    question: { port?: number; fromPort?: number; payload?: string; size?: number; timeoutMs?: number } = {},
  ): Promise<UdpAnswer> {
    return (await this.client(ue.ns)).call<UdpAnswer>("udp", { to, port: 7, from: ue.ip, ...question });
  }

  /** Numbered UDP questions from a phone until the returned function is called. */
  async phoneLoad(ue: ScriptedUe, to: string, rate: number): Promise<(settleMs?: number) => Promise<LoadResult>> {
    const client = await this.client(ue.ns);
    const name = `load-${to}-${Date.now()}-${Math.random()}`;
    await client.call("load", { name, to, port: 7, from: ue.ip, rate });
    return (settleMs = 2000) => client.call<LoadResult>("loadStop", { name, settleMs });
  }

  /** A TCP connection of the phone that stays: `echo` sends octets and waits for the same ones. */
  async phoneTcp(
    ue: ScriptedUe,
    to: string,
    port = 7,
  ): Promise<{ greeting: string; echo: (bytes?: number) => Promise<number>; close: () => Promise<void> }> {
    const client = await this.client(ue.ns);
    const name = `tcp-${to}-${port}-${Math.random()}`;
    const { greeting } = await client.call<{ greeting: string }>("tcpOpen", { name, to, port, from: ue.ip });
    return {
      greeting,
      echo: async (bytes = 64) => (await client.call<{ ms: number }>("tcpEcho", { name, bytes })).ms,
      close: async () => {
        await client.call("tcpClose", { name });
      },
    };
  }

  /** ICMP echo from the phone. Returns how many of `count` came back, and their mean round trip in milliseconds. */
  async phonePing(
    ue: ScriptedUe,
    to: string,
    count = 1,
    extra: string[] = [],
  ): Promise<{ received: number; ms: number }> {
    const family = to.includes(":") ? "-6" : "-4";
    const argv = ["ping", family, "-n", "-c", `${count}`, "-i", "0.2", "-W", "2", "-I", ue.ip, ...extra, to];
    const { stdout } = await this.exec(ue.ns, argv);
    const received = Number(stdout.match(/(\d+) received/)?.[1] ?? 0);
    return { received, ms: Number(stdout.match(/= [\d.]+\/([\d.]+)\//)?.[1] ?? Number.NaN) };
  }

  /** What all processes said, for the report of a failed test. */
  logs(): string {
    const all = [...this.gateways, ...this.ues.map((ue) => ue.process)];
    return all.map((one) => `--- ${one.name}\n${one.log.slice(-2000)}`).join("\n");
  }

  async destroy(): Promise<void> {
    await this.machines.destroy();
  }
}
