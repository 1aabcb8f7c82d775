/**
 * How does a test put one frame through the real programs?
 *
 * Loads build/offramp.bpf.o, writes configuration, rules and prefixes as the control plane would, and runs the programs
 * `access`, `core` and `from_apps` by BPF_PROG_TEST_RUN: no adapter, no namespace. All egress ports are the loopback
 * device, which no test run ever sends to.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { counters } from "../../dataplane/counters.ts";
import { imageMap } from "../../dataplane/ebpf/apply.ts";
import { BpfMap, MapType } from "../../dataplane/ebpf/bpf-map.ts";
import { BpfObject, type Program } from "../../dataplane/ebpf/bpf-object.ts";
import { renderChains } from "../../dataplane/ebpf/chains.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import { emptyImage } from "../../dataplane/ebpf/kernel.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { nameKey, renderServer } from "../../dataplane/ebpf/names.ts";
import { macsOf, renderOutput } from "../../dataplane/ebpf/outlet-record.ts";
import { renderRules } from "../../dataplane/ebpf/rules.ts";
import type { Copy } from "../../dataplane/steering.ts";
import { mac } from "../packets/bytes.ts";
import { leavesWhole, wayOf } from "./leave.ts";
import { nextHopOf } from "./match.ts";
import { isMapped } from "./read.ts";
import type { Address, ModelConfig, ModelRule, Port, Verdict } from "./state.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** OFFRAMP_OBJECT: another build of the programs, to compare with. */
export const objectPath = process.env.OFFRAMP_OBJECT ?? `${root}build/offramp.bpf.o`;

let built = false;
function build(): void {
  if (!built && !process.env.OFFRAMP_OBJECT)
    execFileSync("bin/build", ["--no-dist"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  built = true;
}

export interface Ran {
  verdict: Verdict | "pass" | "aborted";
  frame: Uint8Array;
}

const verdicts = ["aborted", "drop", "pass", "tx", "redirect"] as const;
const octets = (a: Address) => new Uint8Array(Buffer.from(a, "hex"));
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

/** A clock so slow that no period ends while a test runs: 2^20 jiffies per second. */
export const frozen = 1 << 20;

const leaveBy = [c.PORT_ACCESS(0), c.PORT_CORE(0), c.PORT_RETURN, c.PORT_APPS];
const loopback = new Uint8Array(Uint32Array.of(1, 0).buffer);

const modes = { offload: c.MODE_OFFLOAD, observe: c.MODE_OBSERVE, bypass: c.MODE_BYPASS };

export class Bench {
  readonly object: BpfObject;
  private readonly programs: Record<Port, Program>;
  /** Of the rules in force. */
  generation = 0;
  /** Holds the rules' image: replacing it waits for the kernel's readers, each time. */
  private inner: { map: BpfMap; octets: number } | undefined;
  private readonly pairs: BpfMap[] = [];
  /** Outputs by what they are, in the order of their places behind the endpoints' next hops. */
  private outputs: string[] = [];
  private treated: number[] = [];

  constructor(
    private config: ModelConfig,
    rules: readonly ModelRule[],
    hz = frozen,
  ) {
    build();
    const template = emptyImage();
    this.object = BpfObject.load(objectPath, { constants: { DATAPLANE: 0, HZ: hz }, inner: { rules: template } });
    template.close();
    this.programs = {
      access: this.object.program(config.ethernet ? "ether_access" : "access"),
      core: this.object.program(config.ethernet ? "ether_core" : "core"),
      return: this.object.program("from_apps"),
    };
    const ports = this.object.map("ports");
    for (const port of [c.PORT_ACCESS(0), c.PORT_CORE(0), c.PORT_RETURN, c.PORT_APPS]) ports.update(port, u32(1));
    this.configure(config);
    this.setRules(rules);
  }

  configure(config: ModelConfig): void {
    this.config = config;
    this.outputs = [];
    const { pinger } = config;
    const flags =
      (config.ethernet ? c.CONFIG_ETHERNET : 0) |
      (config.accessPeers ? c.CONFIG_ACCESS_PEERS : 0) |
      (config.corePeers ? c.CONFIG_CORE_PEERS : 0) |
      (config.uePools ? c.CONFIG_UE_POOLS : 0) |
      (pinger?.target4 ? c.CONFIG_PINGER4 : 0) |
      (pinger?.target6 ? c.CONFIG_PINGER6 : 0);
    const value = layout.config.encode({
      mode: modes[config.mode],
      flags,
      mtu_access: config.mtuAccess,
      mtu_core: 1500,
      ping_cookie: pinger?.cookie ?? new Uint8Array(8),
      ping_target4: octets(pinger?.target4 ?? "0".repeat(32)),
      ping_target6: octets(pinger?.target6 ?? "0".repeat(32)),
      ping_id: pinger?.id ?? 0,
      peer_sessions: config.peerSessions,
      learn_rate: 1,
      learn_burst: 1 << 30,
      ue_flows: config.ueFlows,
      max_sessions: config.maxSessions,
    });
    this.object.map("config").update(0, value);
    const ports = this.object.map("ports");
    if (config.slowPort) ports.update(c.PORT_SLOW, u32(1));
    else ports.delete(c.PORT_SLOW);
    const prefixes = this.object.map("prefixes");
    for (const key of [...prefixes.keys()]) prefixes.delete(key);
    const sets: [number, ModelConfig["protect"] | undefined][] = [
      [c.PREFIX_ACCESS_PEER, config.accessPeers],
      [c.PREFIX_CORE_PEER, config.corePeers],
      [c.PREFIX_UE_POOL, config.uePools],
      [c.PREFIX_PROTECTED, config.protect],
    ];
    for (const [set, list] of sets) {
      for (const { address, bits } of list ?? []) {
        const key = layout.prefixKey.encode({ length: 32 + bits, set: set << 8, address: octets(address) });
        prefixes.update(key, Uint8Array.of(1));
      }
    }
    config.nextHops.forEach((hop, i) => {
      this.object.map("next_hops").update(i, layout.nextHop.encode({ port: c.PORT_APPS, ...hop }));
    });
    this.setNames(config);
    this.setMirrors(config.mirrors ?? false);
  }

  private setNames({ names, silent }: ModelConfig): void {
    const map = this.object.map("names");
    for (const key of [...map.keys()]) map.delete(key);
    for (const name of names?.names ?? []) map.update(nameKey(name), Uint8Array.of(1));
    if (!names) return;
    const server = layout.nameServer.decode(renderServer(names));
    const now = this.object.program("read_clock").testRun(new Uint8Array(64)) && this.object.map("clock").lookup(0);
    const jiffies = Number(BigInt.asUintN(32, layout.clock.decode(now!).jiffies));
    const long = (jiffies - 8 * frozen) >>> 0;
    this.object.map("name_server").update(0, layout.nameServer.encode({ ...server, waiting: silent ? long : 0 }));
  }

  /** Two mirrors copy what leaves by any port, or nothing. */
  private setMirrors(there: boolean): void {
    if (this.pairs.length === 0) {
      for (const port of [1, 2].flatMap((mirror) => leaveBy.map((port) => mirror * c.MAX_PORTS + port))) {
        const pair = BpfMap.create(MapType.devmap, "mirror_pair", { key: 4, value: 8, entries: 2 });
        pair.update(0, loopback);
        this.object.map("mirrors").update(port, u32(pair.fd));
        this.pairs.push(pair);
      }
    }
    for (const pair of this.pairs) {
      if (there) pair.update(1, loopback);
      else pair.delete(1);
    }
  }

  /** Index in `next_hops` of a rule's output. */
  private place(rule: ModelRule): number {
    const { output = {} } = rule;
    const whole = leavesWhole(rule);
    const name = `${whole} ${JSON.stringify(output)}`;
    const first = this.config.nextHops.length;
    if (!this.outputs.includes(name)) {
      const index = first + this.outputs.push(name) - 1;
      const way = wayOf(this.config, output);
      const { destination = mac("ff:ff:ff:ff:ff:ff"), source } = macsOf(output, way);
      this.object.map("outlets").update(index, renderOutput(output, whole, way));
      const hop = { port: c.PORT_APPS, vlan: output.vlan ?? 0, destination, source };
      this.object.map("next_hops").update(index, layout.nextHop.encode(hop));
    }
    return first + this.outputs.indexOf(name);
  }

  private setTreatments(rules: readonly ModelRule[]): void {
    const map = this.object.map("treatments");
    for (const service of this.treated) map.update(service, new Uint8Array(layout.treatment.size));
    const mirror = ({ form }: Copy) => (form === "as-is" ? 1 : 2);
    const { treatments } = renderChains({ rules: [...rules], protect: [] }, undefined, () => 0, mirror);
    for (const [service, value] of treatments) map.update(service, value);
    this.treated = [...treatments.keys()];
  }

  /** Puts these rules in force: a new generation. */
  setRules(rules: readonly ModelRule[]): void {
    const rendered = renderRules(
      { rules: [...rules], protect: [] },
      {
        nextHop: (endpoint) => nextHopOf(this.config, endpoint),
        dataplane: (name) => (name === "s1" ? 0 : undefined),
        output: (rule) => this.place(rule),
      },
    );
    this.setTreatments(rules);
    this.setImage(rendered.image);
    this.generation++;
    const names = this.config.names ? 1 : 0;
    const header = layout.rulesHeader.encode({ generation: this.generation, names, ...rendered.header });
    this.object.map("rules_state").update(0, header);
    const { bucket, host } = rendered;
    for (const prefix of this.config.protect) markProtected(bucket, prefix);
    this.object.map("maybe").update(0, layout.buckets.encode({ bucket, host }));
  }

  private setImage(image: Uint8Array): void {
    if (!this.inner || this.inner.octets < image.length) {
      this.inner?.map.close();
      const room = new Uint8Array(Math.max(1 << 18, image.length * 2));
      this.inner = { map: imageMap(room), octets: room.length };
      this.object.map("rules").update(0, u32(this.inner.map.fd));
    }
    new Uint8Array(this.inner.map.memory()).fill(0).set(image);
  }

  /** Forgets everything learnt; configuration, rules and the counters stay. */
  reset(): void {
    for (const name of ["tunnels", "ue_sessions", "flows", "fragments", "peers"]) {
      const map = this.object.map(name);
      for (const key of [...map.keys()]) map.delete(key);
    }
    const slots = this.object.map("slot_state");
    const { next } = layout.slots.decode(slots.lookup(0) ?? new Uint8Array(layout.slots.size));
    const [sessions, bearers] = [this.object.map("sessions"), this.object.map("bearers")];
    for (let i = 0; i < next; i++) {
      sessions.update(i, new Uint8Array(sessions.valueSize));
      for (let slot = 0; slot < c.BEARER_SLOTS; slot++) {
        bearers.update(i * c.BEARER_SLOTS + slot, new Uint8Array(bearers.valueSize));
      }
    }
    slots.update(0, new Uint8Array(layout.slots.size));
    while (this.object.map("free_slots").pop());
  }

  run(port: Port, frame: Uint8Array): Ran {
    const { verdict, data } = this.programs[port].testRun(frame);
    return { verdict: verdicts[verdict] ?? "aborted", frame: data };
  }

  /** Packets counted under this name, over all CPUs. */
  count(name: string): number {
    const index = counters.findIndex((counter) => counter.name === name);
    if (index < 0) throw new Error(`no counter ${name}`);
    const value = this.object.map("counters").lookup(index) ?? new Uint8Array();
    let sum = 0;
    for (let at = 0; at < value.length; at += layout.counter.size) {
      sum += Number(layout.counter.decode(value.subarray(at, at + layout.counter.size)).packets);
    }
    return sum;
  }

  /** All counters that are not zero. */
  counts(): Map<string, number> {
    return new Map(counters.map(({ name }) => [name, this.count(name)] as [string, number]).filter(([, n]) => n > 0));
  }

  close(): void {
    for (const map of [...this.pairs, ...(this.inner ? [this.inner.map] : [])]) map.close();
    this.object.close();
  }
}

/** See `bucket_of` in common.h. */
function markProtected(bucket: Uint8Array, prefix: { address: Address; bits: number }): void {
  const a = octets(prefix.address);
  const pair = (at: number) => ((a[at] ?? 0) << 8) | (a[at + 1] ?? 0);
  const v4 = isMapped(prefix.address);
  const known = v4 ? prefix.bits - 96 : prefix.bits;
  const first = v4 ? pair(12) : c.MAYBE_V6 + (pair(0) ^ pair(2));
  const many = v4 && known < 16 ? 1 << (16 - known) : 1;
  for (let i = first; i < first + many; i++) bucket[i] = (bucket[i] ?? 0) | c.MAYBE_PROTECTED;
}
