/**
 * Do two data planes on the same tables stay apart?
 *
 * A15: a second load of the programs, with another DATAPLANE, over the first one's maps, as the loader does it. One address
 * lives on one data plane, in tunnels or at a station; equal tunnels on two wires are two. docs/packet-path.md, "Several
 * data planes".
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { counters } from "../../dataplane/counters.ts";
import type { BpfMap } from "../../dataplane/ebpf/bpf-map.ts";
import { BpfObject } from "../../dataplane/ebpf/bpf-object.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import * as f from "../packets/frame.ts";
import { type Kernel, kernel } from "./kernel.ts";
import { dnsDown, dnsUp, down, fresh, fromApp, learnt, otherDown, otherUp, ue, ue6, up, web6 } from "./scene.ts";

const OTHER = 1;
let loaded: BpfObject | undefined;

/** The programs of data plane 1. */
function second(): BpfObject {
  const k = kernel();
  const reuse = new Map<string, BpfMap>([...k.object.maps].filter(([name]) => !name.endsWith(".rodata")));
  loaded ??= BpfObject.load(fileURLToPath(new URL("../../build/offramp.bpf.o", import.meta.url)), {
    reuse,
    constants: { DATAPLANE: OTHER, HZ: 1 << 20 },
    programs: ["access", "core", "ether_access", "ether_core"],
  });
  return loaded;
}

/** Gives data plane 1 the settings of the first, or those of Ethernet, and its ports. */
function withSecond(k: Kernel, ethernet: boolean): Kernel {
  const config = layout.config.decode(k.object.map("config").lookup(0)!);
  const flags = (config.flags & ~c.CONFIG_ETHERNET) | (ethernet ? c.CONFIG_ETHERNET : 0);
  k.object.map("config").update(OTHER, layout.config.encode({ ...config, flags }));
  k.plug(c.PORT_ACCESS(OTHER));
  k.plug(c.PORT_CORE(OTHER));
  return k;
}

/** Packets that data plane 1 has counted under each name so far. */
function counts(k: Kernel): number[] {
  return counters.map((_, index) => {
    const octets = k.object.map("counters").lookup(OTHER * c.COUNTERS_STRIDE + index)!;
    let sum = 0;
    for (let at = 0; at < octets.length; at += layout.counter.size)
      sum += Number(layout.counter.decode(octets.subarray(at)).packets);
    return sum;
  });
}

/** What data plane 1 counts the frame as, and the events that it tells. */
function elsewhere(k: Kernel, program: string, frame: Uint8Array): string {
  k.drain();
  const before = counts(k);
  second().program(program).testRun(frame);
  const risen = counts(k).flatMap((n, i) => (n > before[i]! ? [counters[i]!] : []));
  const names = risen.filter(({ kind }) => kind !== "note").map(({ name }) => name);
  return [...names, ...k.drain().names].join(" ");
}

const client = "02:aa:00:00:00:07";
const router = "02:cc:00:00:00:01";
const at = (inner: f.Layers): Uint8Array => f.frame([f.eth({ src: client, dst: router }), inner]);
const to = (inner: f.Layers): Uint8Array => f.frame([f.eth({ src: router, dst: client }), inner]);
const tcp6 = (from: string): f.Layers => [f.ip(from, web6), f.tcp({ sport: 40000, dport: 443, flags: "S" })];
/** As the collector does it. */
function expire(k: Kernel, of: string): void {
  const s = k.session(of)!;
  k.object.map("ue_sessions").delete(s.ue);
  for (const key of [...k.object.map("tunnels").keys()]) k.object.map("tunnels").delete(key);
  k.setSession(s.index, { epoch: s.epoch + 1, flags: 0, ue: new Uint8Array(16) });
  const { generation, ...header } = layout.rulesHeader.decode(k.object.map("rules_state").lookup(0)!);
  k.object.map("rules_state").update(0, layout.rulesHeader.encode({ ...header, generation: generation + 1 }));
}

test("A15: tunnel and tunnel: the very same tunnel on another wire is not the UE's, also while its flow is cached", () => {
  const k = withSecond(learnt(), false);
  for (let i = 0; i < 3; i++) {
    k.expect("access", up(dnsUp()), { counter: "take_uplink" });
    k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
    k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  }
  assert.is(elsewhere(k, "access", up(dnsUp())), "pass_other_dataplane overlap");
  assert.is(elsewhere(k, "access", up(otherUp())), "pass_other_dataplane");
  assert.is(elsewhere(k, "core", down(otherDown())), "pass_other_dataplane");
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  assert.is(k.session(ue)?.dataplane, 0);
});

test("A15: … when its session has expired, the other wire has it, and the first is refused", () => {
  const k = withSecond(learnt(), false);
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  expire(k, ue);
  assert.is(elsewhere(k, "access", up(dnsUp())), "take_uplink session-new wanted");
  assert.is(k.session(ue)?.dataplane, OTHER);
  k.expect("access", up(dnsUp()), { counter: "pass_other_dataplane", events: ["overlap"] });
});

test("A15: tunnel and station: who was first has the address", () => {
  let k = withSecond(learnt(), true);
  assert.is(elsewhere(k, "ether_access", at(dnsUp())), "pass_other_dataplane overlap");
  assert.is(elsewhere(k, "ether_core", to(otherDown())), "pass_downlink");
  expire(k, ue);
  assert.is(elsewhere(k, "ether_access", at(dnsUp())), "take_uplink session-new");
  k.expect("access", up(dnsUp()), { counter: "pass_other_dataplane", events: ["overlap"] });
  k.expect("core", down(otherDown()), { counter: "pass_other_dataplane", events: [] });

  k = withSecond(fresh({ ethernet: true }), true);
  k.expect("ether_access", at(dnsUp()), { counter: "take_uplink" });
  assert.is(elsewhere(k, "ether_access", at(dnsUp())), "pass_other_dataplane overlap");
});

test("A15: station and station: what one wire has cached, the other has not", () => {
  const k = withSecond(fresh({ ethernet: true }), true);
  for (let i = 0; i < 3; i++) {
    k.expect("ether_access", at(otherUp()), { counter: "pass_no_rule" });
    k.expect("ether_core", to(otherDown()), { counter: "pass_downlink" });
  }
  assert.is(elsewhere(k, "ether_access", at(otherUp())), "pass_other_dataplane overlap");
});

test("A15: a station's IPv6 address inside the /64 of a tunnel is the tunnel's; one that a station has is the station's", () => {
  let k = withSecond(learnt(), true);
  k.expect("access", up(otherUp(ue6)), { counter: "pass_no_rule", events: ["session-new"] });
  assert.is(elsewhere(k, "ether_access", at(tcp6("2001:db8:45:2::99"))), "pass_other_dataplane overlap");

  k = withSecond(fresh(), true);
  assert.is(elsewhere(k, "ether_access", at(tcp6(ue6))), "take_uplink session-new");
  k.expect("access", up(otherUp(ue6)), { counter: "pass_other_dataplane", events: ["overlap"] });
});

test("A15: different addresses live beside each other, each answered on its own wire", () => {
  const k = withSecond(learnt(), true);
  const neighbour = "10.80.0.10";
  const ask: f.Layers = [f.ipv4({ src: neighbour, dst: "203.0.113.53" }), f.udp({ sport: 40001, dport: 53 })];
  const answer: f.Layers = [f.ipv4({ src: "10.60.0.11", dst: neighbour }), f.udp({ sport: 53, dport: 40001 })];
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  assert.is(elsewhere(k, "ether_access", at(ask)), "take_uplink session-new");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  for (let i = 0; i < 3; i++) {
    const before = counts(k);
    const { verdict, data } = k.object.program("from_apps").testRun(fromApp(answer));
    assert.is(verdict, 4, "redirected");
    const seen: f.Layers = [f.ipv4({ src: "203.0.113.53", dst: neighbour }), f.udp({ sport: 53, dport: 40001 })];
    assert.equal(data, to(seen));
    const reply = counters.findIndex(({ name }) => name === "reply_downlink");
    assert.is(counts(k)[reply]! - before[reply]!, 1, "counted on the client's data plane");
  }
});

test.run();
