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
import { Machines, type Output, type Process, until } from "./netns.ts";
import { ggsnConfig, sgsnemu } from "./peers.ts";
import { Rpc } from "./rpc.ts";
import { baseStationAddress, gatewayAddress, internet, internet6, type LabOptions, Topology } from "./topology.ts";

export * from "./topology.ts";

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

export class Lab {
  readonly machines: Machines;
  readonly options: Required<LabOptions>;
  readonly ues: Ue[] = [];
  readonly gateways: Process[] = [];
  /** The edge app's address, and one next to it where tests start servers of their own. */
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
      egress: options.egress ?? false,
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
    const delay = await new Topology(this.machines, this.options, this.app).build();
    const servers = Promise.all([
      this.server("inet", "internet", Object.values(internet).concat(Object.values(internet6)), [
        ...["--delay", `${delay}`],
      ]),
      this.server("app", "edge", [this.app.address, "2001:db8:60::10"]),
    ]);
    // Awaited below; a gateway that fails first must be the one that is reported.
    servers.catch(() => undefined);
    if (this.options.realCore) {
      for (let g = 0; g < this.options.gateways; g++) await this.startGateway(g);
    }
    await servers;
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
