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
import type { BpfMap } from "../../dataplane/ebpf/bpf-map.ts";
import { BpfObject, type Program } from "../../dataplane/ebpf/bpf-object.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import { emptyImage } from "../../dataplane/ebpf/kernel.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { renderRules } from "../../dataplane/ebpf/rules.ts";
import { familyOf, nextHopOf, prefixOf } from "./match.ts";
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

const modes = { offload: c.MODE_OFFLOAD, observe: c.MODE_OBSERVE, bypass: c.MODE_BYPASS };

export class Bench {
  readonly object: BpfObject;
  private readonly programs: Record<Port, Program>;
  /** Of the rules in force. */
  generation = 0;
  private readonly inner: BpfMap[] = [];

  constructor(
    readonly config: ModelConfig,
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
  }

  /** Puts these rules in force: a new generation. */
  setRules(rules: readonly ModelRule[]): void {
    const rendered = renderRules(
      { rules: [...rules], protect: [] },
      { nextHop: (endpoint) => nextHopOf(this.config, endpoint), dataplane: (name) => (name === "s1" ? 0 : undefined) },
    );
    const map = imageMap(rendered.image);
    this.object.map("rules").update(0, u32(map.fd));
    this.inner.push(map);
    this.generation++;
    const header = layout.rulesHeader.encode({ generation: this.generation, ...rendered.header });
    this.object.map("rules_state").update(0, header);
    this.object.map("maybe").update(0, bucketsOf(rules, this.config.protect));
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
    for (const map of this.inner) map.close();
    this.object.close();
  }
}

/** See `bucket_of` and `host_bucket_of` in common.h: which destinations could matter at all. */
function bucketsOf(rules: readonly ModelRule[], protect: ModelConfig["protect"]): Uint8Array {
  const bucket = new Uint8Array(2 * 65536);
  const host = new Uint8Array(2 * 65536);
  const pair = (a: Uint8Array, at: number) => ((a[at] ?? 0) << 8) | (a[at + 1] ?? 0);
  const mark = (prefix: { address: Address; bits: number }, bits: number) => {
    const a = octets(prefix.address);
    const v4 = isMapped(prefix.address);
    const known = v4 ? prefix.bits - 96 : prefix.bits;
    if (v4) {
      const first = pair(a, 12);
      const many = known >= 16 ? 1 : 1 << (16 - known);
      for (let i = 0; i < many; i++) bucket[first + i] = (bucket[first + i] ?? 0) | bits;
    } else if (known >= 32) {
      const at = c.MAYBE_V6 + (pair(a, 0) ^ pair(a, 2));
      bucket[at] = (bucket[at] ?? 0) | bits;
    } else for (let i = 0; i < 65536; i++) bucket[c.MAYBE_V6 + i] = (bucket[c.MAYBE_V6 + i] ?? 0) | bits;
  };
  const all = [
    { address: "00000000000000000000ffff00000000", bits: 96 },
    { address: "0".repeat(32), bits: 0 },
  ];
  for (const rule of rules) {
    const { destination, message } = rule.match;
    if (rule.action === "pass" || (message && !message.some(([low, high]) => low <= 255 && high >= 255))) continue;
    for (const one of destination?.map(prefixOf) ?? []) {
      if (one.bits < 128) {
        mark(one, c.MAYBE_RULE);
        continue;
      }
      mark(one, c.MAYBE_RULE_HOST);
      const a = octets(one.address);
      const v4 = isMapped(one.address);
      let hash = 0;
      for (let at = v4 ? 12 : 0; at < 16; at += 2) hash ^= pair(a, at);
      host[(v4 ? 0 : c.MAYBE_V6) + hash] = 1;
    }
    if (destination) continue;
    for (const [i, prefix] of all.entries()) if (familyOf(rule) !== (i === 0 ? 6 : 4)) mark(prefix, c.MAYBE_RULE);
  }
  for (const prefix of protect) mark(prefix, c.MAYBE_PROTECTED);
  return layout.buckets.encode({ bucket, host });
}
