/**
 * What does one packet cost, in nanoseconds, beside a minimal program in the same run?
 *
 * BPF_PROG_TEST_RUN does not give a program its packet back between repeats, so `harness` (bench.bpf.c) restores it and
 * tail-calls the program; the same with an empty program is subtracted. All programs take turns within each round, so
 * that a slow spell of the machine meets all of them. A verdict that is not the expected one ends the run without a figure.
 */

import { defaults } from "../../controlplane/config/schema.ts";
import { imageMap } from "../../dataplane/ebpf/apply.ts";
import { BpfObject, type Program } from "../../dataplane/ebpf/bpf-object.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import { Kernel, objectPath } from "../../dataplane/ebpf/kernel.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { renderRules } from "../../dataplane/ebpf/rules.ts";
import type { SteeringRule } from "../../dataplane/steering.ts";
import { eth, frame, gtpu, ipv4, payload, sum16, tcp, udp } from "../packets/frame.ts";

const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

const STATION = "198.18.1.10";
const GATEWAY = "198.18.2.20";
const SERVICE = "203.0.113.80";
const ORIGIN = "192.0.2.99";
const APP = "10.60.0.10";
const UE_BASE = 0x0a800001; // 10.128.0.1
const ADDRESS = "10.128.0.1";
const REDIRECT = 4;

/** The rule of the flows that are measured. */
export const serviceRule: SteeringRule = {
  id: 1,
  service: 1,
  name: "service",
  priority: 100,
  match: { destination: [`${SERVICE}/32`] },
  action: "take",
  endpoints: [{ address: APP, port: 8080 }],
  appInitiated: false,
};

const stateSize = 152;

/** Parts of one measurement, see `undisturbed`. */
const PARTS = 5;

interface Sent {
  program: Program;
  octets: Uint8Array;
  ueAt: number;
  checksumAt: number;
  teidAt: number;
  verdict: number;
}

const outer = (teid: number, inner: Parameters<typeof frame>[0]) =>
  frame([
    eth(),
    ipv4({ src: STATION, dst: GATEWAY }),
    udp({ sport: 2152, dport: 2152, checksum: "zero" }),
    gtpu({ teid }),
    inner,
  ]);

/** A frame of 114 octets in the tunnel: an inner packet of 64. */
const body = payload(24);
const uplink = (dst: string, l4 = tcp({ sport: 40000, dport: 80, flags: "S" })) =>
  outer(1, [ipv4({ src: ADDRESS, dst }), l4, body]);

export class PathBench {
  readonly offramp: Kernel;
  private readonly plane: BpfObject;
  readonly yard: BpfObject;
  private generation = 0;
  private yardBy: "teid" | "address" | undefined;

  /** With `flows` UEs of one flow each, over maps made as the appliance makes them with `limits` that hold these. */
  constructor(readonly flows: number) {
    const sessions = Math.max(defaults.limits.sessions, flows);
    const limits = {
      ...defaults.limits,
      sessions,
      flows: Math.max(defaults.limits.flows, flows),
      // One peer teaches all, as fast as it can: these limits are not what is measured.
      peerSessions: 2 ** 31,
      learnRate: 2 ** 31,
      learnBurst: 2 ** 31,
      ueFlows: 2 ** 31,
    };
    this.offramp = new Kernel(limits, { maps: new Map(), programs: new Map() });
    this.plane = this.offramp.dataplane(0, { ports: ["access", "core"], fromSlow: "from_slow_uplink" });
    this.yard = BpfObject.load(objectPath("bench.bpf.o"), { maxEntries: { yards: Math.max(1024, flows) } });
    const ports = this.offramp.map("ports");
    for (const port of [c.PORT_ACCESS(0), c.PORT_CORE(0), c.PORT_RETURN, c.PORT_APPS, c.PORT_SLOW]) {
      ports.update(port, u32(1));
    }
    this.yard.map("yard_ports").update(0, u32(1));
    this.offramp.map("config").update(
      0,
      layout.config.encode({
        mtu_access: 1500,
        mtu_core: 1500,
        peer_sessions: limits.peerSessions,
        learn_rate: limits.learnRate,
        learn_burst: limits.learnBurst,
        ue_flows: limits.ueFlows,
        max_sessions: sessions,
      }),
    );
    this.offramp.map("next_hops").update(
      0,
      layout.nextHop.encode({
        port: c.PORT_APPS,
        destination: Uint8Array.of(2, 0, 0, 0, 0, 1),
        source: Uint8Array.of(2, 0, 0, 0, 0, 2),
      }),
    );
    this.setRules([serviceRule]);
  }

  /** Puts these rules in force; nothing is cached from before. */
  setRules(rules: SteeringRule[]): void {
    const rendered = renderRules({ rules, protect: [] }, { nextHop: () => 0 });
    const image = imageMap(rendered.image);
    this.offramp.map("rules").update(0, u32(image.fd));
    image.close();
    const header = { generation: ++this.generation, ...rendered.header, cache_for: 2 ** 30 };
    this.offramp.map("rules_state").update(0, layout.rulesHeader.encode(header));
    this.offramp.map("maybe").update(0, layout.buckets.encode(rendered));
  }

  /** All flows are new ones again; sessions stay. */
  forgetFlows(): void {
    const map = this.offramp.map("flows");
    const keys: Uint8Array[] = [];
    for (const batch of map.batches(4096)) keys.push(batch.keys.slice(0, batch.count * map.keySize));
    for (const some of keys) map.deleteBatch(some, some.length / map.keySize);
  }

  /** ns of one packet of each flow, in turn, over the empty program. */
  eachOnce(sent: Sent): number {
    const empty = { ...sent, program: this.yard.program("empty"), verdict: 2 };
    const base = this.undisturbed(empty, this.flows, "fixed");
    return this.run(sent, this.flows, "turn") - base;
  }

  /** ns per packet of one flow, over the empty program. */
  later(sent: Sent, repeat: number): number {
    const empty = { ...sent, program: this.yard.program("empty"), verdict: 2 };
    const base = this.undisturbed(empty, repeat, "fixed");
    return this.undisturbed(sent, repeat, "fixed") - base;
  }

  /** Uplink looks up by TEID, downlink by address: the table holds one of the two at a time. */
  private fillYard(by: "teid" | "address"): void {
    if (this.yardBy === by) return;
    const count = Math.max(1, this.flows);
    const keys = (first: number): Uint8Array => {
      const view = new DataView(new ArrayBuffer(4 * count));
      for (let i = 0; i < count; i++) view.setUint32(i * 4, first + i);
      return new Uint8Array(view.buffer);
    };
    const yards = this.yard.map("yards");
    const [wanted, other] = by === "teid" ? [1, UE_BASE] : [UE_BASE, 1];
    if (this.yardBy) yards.deleteBatch(keys(other), count);
    yards.updateBatch(keys(wanted), new Uint8Array(yards.valueSize * count), count);
    this.yardBy = by;
  }

  private prepare(sent: Sent, mode: "fixed" | "turn" | "random"): void {
    const state = new Uint8Array(stateSize);
    const view = new DataView(state.buffer);
    const octets = sent.octets.slice();
    const at = sent.checksumAt;
    const header = octets.slice(at - 10, at + 10);
    header.fill(0, 10, 12);
    header.fill(0, sent.ueAt - (at - 10), sent.ueAt - (at - 10) + 4);
    const sum = sum16(header);
    [
      octets.length,
      mode === "fixed" ? 0 : this.flows,
      mode === "random" ? 1 : 0,
      0,
      sent.ueAt,
      at,
      ((sum & 0xff) << 8) | (sum >> 8),
      sent.teidAt,
      UE_BASE,
    ].forEach((value, i) => {
      view.setUint32(i * 4, value, true);
    });
    state.set(octets.subarray(0, 112), 40);
    this.yard.map("harness_state").update(0, state);
    this.yard.map("under_test").update(0, u32(sent.program.fd));
  }

  /** Nanoseconds per packet, harness included. */
  run(sent: Sent, repeat: number, mode: "fixed" | "turn" | "random"): number {
    this.prepare(sent, mode);
    const run = this.yard.program("harness").testRun(sent.octets, { repeat });
    if (run.verdict !== sent.verdict)
      throw new Error(`${sent.program.name}: verdict ${run.verdict}, expected ${sent.verdict}: no figure`);
    return run.nanoseconds;
  }

  /**
   * The same as the fastest of a few parts: test runs count time by the clock on the wall, and a part in which something
   * else had the processor says nothing about the program.
   */
  private undisturbed(sent: Sent, repeat: number, mode: "fixed" | "random"): number {
    const part = Math.ceil(repeat / PARTS);
    return Math.min(...Array.from({ length: PARTS }, () => this.run(sent, part, mode)));
  }

  /** One packet per UE, in turn: this is how sessions and flows come into the tables. Returns ns per packet. */
  fill(): { learn: number; flow: number } {
    const learn = this.run(this.uplinkPass(), Math.max(1, this.flows), "turn");
    const down = this.downlinkPass();
    this.run(down, Math.max(1, this.flows), "turn");
    const flow = this.run(this.uplinkTaken(true), Math.max(1, this.flows), "turn");
    return { learn, flow };
  }

  uplinkPass = (): Sent => ({
    program: this.plane.program("access"),
    octets: uplink(ORIGIN),
    ueAt: 62,
    checksumAt: 60,
    teidAt: 46,
    verdict: REDIRECT,
  });
  uplinkTaken = (syn = false): Sent => ({
    program: this.plane.program("access"),
    octets: uplink(SERVICE, tcp({ sport: 40000, dport: 80, flags: syn ? "S" : "A" })),
    ueAt: 62,
    checksumAt: 60,
    teidAt: 46,
    verdict: REDIRECT,
  });
  downlinkPass = (): Sent => ({
    program: this.plane.program("core"),
    octets: frame([
      eth(),
      ipv4({ src: GATEWAY, dst: STATION }),
      udp({ sport: 2152, dport: 2152, checksum: "zero" }),
      gtpu({ teid: 1 }),
      ipv4({ src: ORIGIN, dst: ADDRESS }),
      tcp({ sport: 80, dport: 40000, flags: "A" }),
      body,
    ]),
    ueAt: 66,
    checksumAt: 60,
    teidAt: 46,
    verdict: REDIRECT,
  });
  reply = (): Sent => ({
    program: this.offramp.program("from_apps"),
    octets: frame([
      eth(),
      ipv4({ src: APP, dst: ADDRESS }),
      tcp({ sport: 8080, dport: 40000, flags: "A" }),
      payload(72),
    ]),
    ueAt: 30,
    checksumAt: 24,
    teidAt: 0,
    verdict: REDIRECT,
  });

  /** ns per packet over the empty program, by name; all in turns. */
  measure(rounds: number, repeat: number, mode: "fixed" | "random"): Map<string, number[]> {
    const yard = (name: string, like: Sent): Sent => ({
      ...like,
      program: this.yard.program(name),
      verdict: name === "empty" ? 2 : REDIRECT,
    });
    const up = this.uplinkTaken();
    const results = new Map<string, number[]>();
    const note = (name: string, value: number) => results.set(name, [...(results.get(name) ?? []), value]);
    const pass = (list: [string, Sent][], down: boolean) => {
      for (let round = 0; round < rounds; round++) {
        const like = list[list.length - 1]![1];
        const base = this.undisturbed(yard("empty", like), repeat, mode);
        note(down ? "empty, downlink" : "empty", base);
        for (const [name, sent] of list) note(name, this.undisturbed(sent, repeat, mode) - base);
      }
    };
    this.fillYard("teid");
    pass(
      [
        ["minimal, uplink", yard("minimal_up", up)],
        ["pass through, uplink", this.uplinkPass()],
        ["pass through, downlink", this.downlinkPass()],
        ["uplink taken", up],
      ],
      false,
    );
    this.fillYard("address");
    const reply = this.reply();
    pass(
      [
        ["minimal, downlink", yard("minimal_down", reply)],
        ["downlink back", reply],
      ],
      true,
    );
    return results;
  }

  close(): void {
    this.offramp.close();
    this.yard.close();
  }
}
