/**
 * Between which machines is the appliance measured?
 *
 *   ran ── acc0 ┌─────┐ cor0 ── core        eth0 each; Offramp as anywhere: `bin/offramp run` in `tof`
 *    │          │ tof │                │
 *    │          └─────┘ apps0 ── app   │
 *    ├──── p0 [bridge bri] p1 ─────────┤    eth1 each; a plain Linux bridge, nothing else
 *    └─────────────────────────────────┘    eth2 each; what sending and counting cost alone
 *
 * Frames come from a program that is run with live frames and sends them out of eth0 or eth1 (wire.bpf.c); programs at the
 * other ends count them. All in network namespaces that the run makes and removes; no frame leaves them.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { BpfMap } from "../../dataplane/ebpf/bpf-map.ts";
import { BpfObject, closeProgram, programById, xdpAttach, xdpQuery } from "../../dataplane/ebpf/bpf-object.ts";
import { objectPath } from "../../dataplane/ebpf/kernel.ts";
import { BpfError, errnos } from "../../dataplane/ebpf/libbpf.ts";
import { repository } from "../lab/appliance.ts";
import { Machines, must, type Process, until } from "../lab/netns.ts";
import { Rpc } from "../lab/rpc.ts";
import { inNamespace } from "../lab/setns.ts";
import { eth, frame, gtpu, ipv4, payload, sum16, udp } from "../packets/frame.ts";

export const STATION = "198.18.1.10";
export const GATEWAY = "198.18.2.10";
export const ORIGIN = "192.0.2.99";
export const SERVICE = "203.0.113.80";
export const APP = "10.60.0.10";
const UE_BASE = 0x0a800001;
export const UE = "10.128.0.1";
const STREAMS = 8;

/** Where frames can be sent from. */
export const wires = { ran: 0, ranToBridge: 1, core: 2, app: 3, ranToCore: 4 } as const;
/** Where frames are counted. */
export const sinks = { core: 0, app: 1, ran: 2, bridge: 3, direct: 4 } as const;
export type Sink = keyof typeof sinks;

export interface Template {
  octets: Uint8Array;
  wire: number;
  ueAt: number;
  checksumAt: number;
  teidAt: number;
}

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

/** An answer over HTTP, and how long it took from the first octet sent to the last received. */
export interface Answer {
  status: number;
  body: string;
  ms: number;
}

export interface RigOptions {
  limits?: Record<string, number>;
  /** False: whoever opens it starts the appliance. */
  start?: boolean;
  /** Section `mep` of site.yaml. */
  mep?: Record<string, unknown>;
  /** Called with the state directory before the appliance starts. */
  fill?: (stateDir: string) => Promise<void>;
  /** The appliance's process, and what it starts, on this core alone. */
  core?: number;
}

/** A program beside this file, whether this runs from source or compiled. */
export function beside(name: string): string[] {
  const source = import.meta.url.endsWith(".ts");
  const path = new URL(`./${name}.${source ? "ts" : "js"}`, import.meta.url).pathname;
  return [process.execPath, ...(source ? ["--import", import.meta.resolve("tsx")] : []), path];
}

export class Rig {
  readonly machines = new Machines();
  readonly config: string;
  process: Process | undefined;
  private readonly macs = new Map<string, string>();
  private readonly wire: BpfObject;
  private asker: Rpc | undefined;
  private readonly numbers = new Map<number, number>();

  private constructor(private readonly options: RigOptions) {
    this.wire = BpfObject.load(objectPath("wire.bpf.o"));
    this.config = join(this.machines.directory, "site.yaml");
    mkdirSync(this.stateDir, { recursive: true });
    writeFileSync(this.config, stringify(this.site(options)));
  }

  get stateDir(): string {
    return join(this.machines.directory, "state");
  }

  /** Wires all and, unless told otherwise, starts the appliance. */
  static async open(options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(options);
    try {
      await rig.build();
      await options.fill?.(rig.stateDir);
      if (options.start !== false) await rig.start();
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  /** Opens, measures, and closes whatever comes. */
  static async with<T>(options: RigOptions, body: (rig: Rig) => Promise<T>): Promise<T> {
    const rig = await Rig.open(options);
    try {
      return await body(rig);
    } catch (error) {
      process.stderr.write(`${rig.process?.log.slice(-2000) ?? ""}\n`);
      throw error;
    } finally {
      await rig.close();
    }
  }

  private site({ limits = {}, mep }: RigOptions): Record<string, unknown> {
    return {
      site: { name: "bench", stateDir: this.stateDir },
      dataplanes: [
        {
          name: "s1",
          access: "acc0",
          core: "cor0",
          accessPeers: ["198.18.1.0/24"],
          corePeers: ["198.18.2.0/24"],
          uePools: ["10.128.0.0/9"],
        },
      ],
      limits,
      apps: { interface: "apps0", address: "10.60.0.1/24" },
      api: { listen: "127.0.0.1:8090" },
      ...(mep && { mep }),
    };
  }

  private async build(): Promise<void> {
    const m = this.machines;
    await Promise.all(["ran", "tof", "core", "app", "bri"].map((name) => m.add(name)));
    await m.wire("tof", "acc0", "ran", "eth0");
    await m.wire("tof", "cor0", "core", "eth0");
    await m.wire("tof", "apps0", "app", "eth0");
    await m.wire("ran", "eth2", "core", "eth2");
    await m.wire("bri", "p0", "ran", "eth1");
    await m.wire("bri", "p1", "core", "eth1");
    for (const [ns, port] of [
      ["ran", "eth0"],
      ["ran", "eth1"],
      ["core", "eth0"],
      ["core", "eth1"],
      ["ran", "eth2"],
      ["core", "eth2"],
      ["bri", "p0"],
      ["bri", "p1"],
    ] as const) {
      await m.asCable(ns, port);
      this.macs.set(`${ns} ${port}`, await this.macOf(ns, port));
    }
    await must(["ip", "netns", "exec", m.ns("tof"), "ethtool", "-K", "apps0", "gro", "on"]);
    this.macs.set("app eth0", await this.macOf("app", "eth0"));
    await this.macOf("tof", "acc0");
    await this.macOf("tof", "cor0");
    this.macs.set("tof apps0", await this.macOf("tof", "apps0"));
    // Spanning tree, snooping and netfilter stay off: as fast as the kernel's bridge can be. Both ends are known.
    await m.ip(
      "bri",
      "link add br0 type bridge mcast_snooping 0 stp_state 0",
      "link set p0 master br0",
      "link set p1 master br0",
      "link set br0 up",
    );
    for (const [ns, port] of [
      ["ran", "p0"],
      ["core", "p1"],
    ] as const) {
      const mac = this.macs.get(`${ns} eth1`)!;
      await must(["bridge", "-n", m.ns("bri"), "fdb", "replace", mac, "dev", port, "master", "static"]);
    }
    await m.ip("tof", "addr add 10.60.0.1/24 dev apps0");
    await m.ip("app", `addr add ${APP}/24 dev eth0`);
    for (const [ns, port, program] of [
      ["core", "eth0", "sink_core"],
      ["app", "eth0", "sink_app"],
      ["ran", "eth0", "sink_ran"],
      ["core", "eth1", "sink_bridge"],
      ["core", "eth2", "sink_direct"],
    ] as const) {
      inNamespace(m.ns(ns), () => xdpAttach(this.indexOf(ns, port), this.wire.program(program), "native"));
    }
    for (const [slot, ns, port] of [
      [wires.ran, "ran", "eth0"],
      [wires.ranToBridge, "ran", "eth1"],
      [wires.ranToCore, "ran", "eth2"],
      [wires.core, "core", "eth0"],
      [wires.app, "app", "eth0"],
    ] as const) {
      inNamespace(m.ns(ns), () => this.wire.map("wires").update(slot, u32(this.indexOf(ns, port))));
    }
  }

  private readonly indexes = new Map<string, number>();

  private indexOf(ns: string, port: string): number {
    return this.indexes.get(`${ns} ${port}`) ?? 0;
  }

  /** MAC address of `core eth0` and the like. */
  mac = (where: string): string => this.macs.get(where) ?? "";

  private async macOf(ns: string, port: string): Promise<string> {
    const link = JSON.parse((await must(["ip", "-n", this.machines.ns(ns), "-j", "link", "show", port])).stdout);
    const [{ address, ifindex }] = link as [{ address: string; ifindex: number }];
    this.indexes.set(`${ns} ${port}`, ifindex);
    return address;
  }

  /** Starts `bin/offramp run`, of this repository or of a release elsewhere, and waits for /readyz. */
  async start(release = repository): Promise<void> {
    const argv = [join(release, "bin", "offramp"), "run", "--config", this.config, "--log-level", "warn"];
    const { core } = this.options;
    const pinned = core === undefined ? argv : ["taskset", "-c", String(core), ...argv];
    const started = this.machines.start("tof", "offramp", pinned);
    this.process = started;
    this.asker ??= new Rpc(this.machines.start("tof", "asker", beside("asker")));
    await until(
      "/readyz",
      async () => {
        if (started.code !== undefined) throw new Error(`offramp ended with ${started.code}`);
        return (await this.ask("GET", "/readyz").catch(() => undefined))?.status === 200;
      },
      120_000,
      20,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${started.log.slice(-3000)}`);
    });
  }

  /** A request to the appliance's API, timed inside the namespace. */
  async ask(method: string, path: string, body?: unknown): Promise<Answer> {
    if (!this.asker) throw new Error("the appliance has not been started");
    return this.asker.call<Answer>("ask", { method, path, ...(body !== undefined && { body }) });
  }

  /** As `ask`, but throws unless the status is 2xx. */
  async must(method: string, path: string, body?: unknown): Promise<Answer> {
    const answer = await this.ask(method, path, body);
    if (answer.status < 200 || answer.status > 299)
      throw new Error(`${method} ${path}: ${answer.status} ${answer.body}`);
    return answer;
  }

  service = (name: string, serviceIP: string): Promise<Answer> =>
    this.must("POST", "/service", { name, serviceIP, applicationIP: APP });

  // Frames of 114 octets, outside or inside.

  uplink(dst: string, wire: number = wires.ran): Template {
    const port = wire === wires.ranToBridge ? "eth1" : wire === wires.ranToCore ? "eth2" : "eth0";
    return {
      wire,
      octets: frame([
        eth({ src: this.macs.get(`ran ${port}`), dst: this.macs.get(`core ${port}`) }),
        ipv4({ src: STATION, dst: GATEWAY }),
        udp({ sport: 2152, dport: 2152, checksum: "zero" }),
        gtpu({ teid: 1 }),
        ipv4({ src: UE, dst }),
        udp({ sport: 40000, dport: 5000, checksum: "zero" }),
        payload(36),
      ]),
      ueAt: 62,
      checksumAt: 60,
      teidAt: 46,
    };
  }

  downlink(src: string): Template {
    return {
      wire: wires.core,
      octets: frame([
        eth({ src: this.macs.get("core eth0"), dst: this.macs.get("ran eth0") }),
        ipv4({ src: GATEWAY, dst: STATION }),
        udp({ sport: 2152, dport: 2152, checksum: "zero" }),
        gtpu({ teid: 1 }),
        ipv4({ src, dst: UE }),
        udp({ sport: 5000, dport: 40000, checksum: "zero" }),
        payload(36),
      ]),
      ueAt: 66,
      checksumAt: 60,
      teidAt: 46,
    };
  }

  reply(): Template {
    return {
      wire: wires.app,
      octets: frame([
        eth({ src: this.macs.get("app eth0"), dst: this.macs.get("tof apps0") }),
        ipv4({ src: APP, dst: UE }),
        udp({ sport: 5000, dport: 40000, checksum: "zero" }),
        payload(72),
      ]),
      ueAt: 30,
      checksumAt: 24,
      teidAt: 0,
    };
  }

  /**
   * Sends `count` frames at once; when this returns they are on the wire, and most have arrived.
   * @param options.stream 1..7: numbered within the stream, doubles are noticed
   * @param options.flows this many UEs in turn, from number `first`
   * @returns nanoseconds
   */
  send(from: Template, count: number, options: { stream?: number; flows?: number; first?: number } = {}): number {
    return this.sendInTurn([{ from, ...options }], count);
  }

  /** The same with a frame of each in turn; `count` of each. */
  sendInTurn(
    all: readonly { from: Template; stream?: number; flows?: number; first?: number }[],
    count: number,
  ): number {
    for (const [turn, { from, stream = 0, flows = 0, first = 0 }] of all.entries()) {
      const state = new Uint8Array(12 * 4 + 128);
      const number = this.numbers.get(stream) ?? 0;
      const header = from.octets.slice(from.checksumAt - 10, from.checksumAt + 10);
      header.fill(0, 10, 12);
      header.fill(0, from.ueAt - from.checksumAt + 10, from.ueAt - from.checksumAt + 14);
      const sum = sum16(header);
      const words = [
        ...[from.octets.length, from.wire, stream, number, flows, first, from.ueAt, from.checksumAt],
        ...[((sum & 0xff) << 8) | (sum >> 8), from.teidAt, UE_BASE, 0],
      ];
      state.set(new Uint8Array(Uint32Array.from(words).buffer));
      state.set(from.octets, 48);
      this.wire.map("generators").update(turn, state);
    }
    this.wire.map("turns").update(0, new Uint8Array(Uint32Array.of(all.length, 0).buffer));
    const began = process.hrtime.bigint();
    // A signal (a child that ends) interrupts between two batches: the program's own numbers tell how far it came.
    for (let left = count * all.length; left > 0; ) {
      try {
        this.wire.program("generate").sendThrough(all[0]!.from.octets, 0, left);
        break;
      } catch (error) {
        if (!(error instanceof BpfError) || error.code !== errnos.EINTR) throw error;
        const done = all.reduce((sum, { stream = 0 }, turn) => sum + this.generated(turn) - this.sent(stream), 0);
        left = count * all.length - done;
      }
    }
    const took = Number(process.hrtime.bigint() - began);
    for (const [turn, { stream = 0 }] of all.entries()) {
      const number = this.generated(turn);
      if (number !== this.sent(stream) + count) throw new Error("the generator has not sent what it was told to");
      this.numbers.set(stream, number);
    }
    return took;
  }

  /** Number of the next frame of a generator. */
  private generated(turn: number): number {
    return new DataView(this.wire.map("generators").lookup(turn)!.buffer).getUint32(12, true);
  }

  /** How many frames of a stream have been sent. */
  sent = (stream: number): number => this.numbers.get(stream) ?? 0;

  arrived(sink: Sink, stream = 0): { packets: number; doubled: number } {
    const octets = this.wire.map("arrived").lookup(sinks[sink] * STREAMS + stream)!;
    const values = new BigUint64Array(octets.buffer, 0, octets.length / 8);
    let packets = 0;
    let doubled = 0;
    for (let i = 0; i < values.length; i += 2) {
      packets += Number(values[i]);
      doubled += Number(values[i + 1]);
    }
    return { packets, doubled };
  }

  /** Packets of a stream, at each sink. */
  everywhere = (stream: number): Record<Sink, number> => ({
    core: this.arrived("core", stream).packets,
    app: this.arrived("app", stream).packets,
    ran: this.arrived("ran", stream).packets,
    bridge: this.arrived("bridge", stream).packets,
    direct: this.arrived("direct", stream).packets,
  });

  /** One UE's session, with both of its tunnels, and the app's link address known to the appliance. */
  async learn(): Promise<void> {
    await must(["ip", "netns", "exec", this.machines.ns("tof"), "ping", "-c1", "-W2", APP]).catch(() => undefined);
    this.send(this.uplink(ORIGIN), 1);
    this.send(this.downlink(ORIGIN), 1);
    this.send(this.uplink(ORIGIN), 1);
  }

  /** Where does one packet of the UE come out? Undefined: nowhere. */
  async next(from: Template): Promise<Sink | undefined> {
    const before = this.everywhere(1);
    this.send(from, 1, { stream: 1 });
    const moved = (): Sink | undefined =>
      (["app", "core"] as const).find((sink) => this.arrived(sink, 1).packets > before[sink]);
    return until("the packet", moved, 1000, 1).catch(() => undefined);
  }

  /** The program on the access adapter. */
  program(): number {
    return inNamespace(this.machines.ns("tof"), () => xdpQuery(this.indexOf("tof", "acc0"))?.id ?? 0);
  }

  /** Octets of kernel memory that the maps of the running programs take (`memlock` of their descriptors). */
  async mapMemory(): Promise<number> {
    const ids = new Set<number>();
    for (const adapter of ["acc0", "cor0"]) {
      const found = inNamespace(this.machines.ns("tof"), () => xdpQuery(this.indexOf("tof", adapter)));
      if (!found) throw new Error(`no program on ${adapter}`);
      const program = programById(found.id);
      for (const id of program.info.mapIds) ids.add(id);
      closeProgram(program);
    }
    let octets = 0;
    for (const id of ids) {
      const map = BpfMap.byId(id);
      octets += Number(readFileSync(`/proc/self/fdinfo/${map.fd}`, "utf8").match(/^memlock:\s+(\d+)/m)?.[1] ?? 0);
      map.close();
    }
    return octets;
  }

  /** Octets from /proc/<pid>/status: all that is resident, and what of it is the process's own. */
  resident(): { all: number; own: number; peak: number } {
    const status = readFileSync(`/proc/${this.process?.pid ?? 0}/status`, "utf8");
    const of = (name: string): number => 1024 * Number(status.match(new RegExp(`^${name}:\\s+(\\d+)`, "m"))?.[1] ?? 0);
    return { all: of("VmRSS"), own: of("RssAnon"), peak: of("VmHWM") };
  }

  async close(): Promise<void> {
    await this.process?.end("SIGTERM", 15_000);
    await this.machines.destroy();
    this.wire.close();
  }
}
