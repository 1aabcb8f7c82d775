/**
 * Is `trace` still readable with ten thousand rules, and does it know what is done on the way (C7, A12)?
 *
 * The whole back end on a real wire; nothing is sent.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { traceLines } from "../../controlplane/cli/trace.ts";
import { explain, type TraceRequest } from "../../controlplane/trace/explain.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import type { Hop, Steering, SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import * as s from "../ebpf/site.ts";

inNamespace(fileURLToPath(import.meta.url));
s.makeSite();
ip("address add 10.60.0.1/24 dev apps0");
const plane = new EbpfDataplane({
  ...s.backend,
  limits: { ...s.backend.limits, rules: 16384 },
  vxlan: { address: "10.60.0.254", port: 4789, gpePort: 4790, vniBase: 4096 },
});

const rule = (id: number, change: Partial<SteeringRule>): SteeringRule => ({
  ...s.web,
  id,
  service: id,
  name: `rule-${id}`,
  priority: 60_000 - id,
  ...change,
});
const web: TraceRequest = {
  packet: { source: s.UE, destination: "203.0.113.80", protocol: 17, sourcePort: 5000, destinationPort: 80 },
};

test("C7: of ten thousand rules those that come near are shown, the others are counted, and the program agrees", async () => {
  await plane.start();
  const far = Array.from({ length: 9_998 }, (_, i) =>
    rule(i + 1, { match: { destination: [`198.18.${i >> 8}.${i & 255}/32`] } }),
  );
  const near = rule(9_999, { match: { destination: ["203.0.113.0/24"], protocol: [6] } });
  const steering: Steering = { rules: [...far, near, rule(10_000, {})], protect: [] };
  await plane.apply(steering);
  const traced = explain(steering, web, plane);
  assert.equal(traced.differences, []);
  assert.is(traced.others, 9_998);
  assert.equal(
    traced.steps.map((step) => `${step.rule.id} ${step.met} ${step.because}`),
    ["9999 false protocol is not 6", "10000 true undefined"],
  );
  assert.ok(traceLines(traced).includes("  … and 9 998 other rules, for other destinations"));
});

const hop = (address: string, vni: number, change: Partial<Hop> = {}): Hop => ({
  address,
  vni,
  encapsulation: "vxlan",
  ...change,
});
const chained = (uplink: Hop[], unreachable: "bypass" | "block"): Steering => ({
  rules: [rule(1, { treatment: { chain: { uplink, downlink: [], unreachable } } })],
  protect: [],
});

test("A12: each function of a chain is named with its network identifier, and the frame that leaves goes to the first", async () => {
  const steering = chained([hop("10.60.0.20", 4128), hop("10.60.0.21", 4129)], "bypass");
  await plane.apply(steering);
  const traced = explain(steering, web, plane);
  assert.equal(traced.differences, []);
  assert.is(traced.program!.verdict, "chain_uplink");
  assert.equal(traced.program!.function, { address: "10.60.0.20", vni: 4128 });
  assert.is(traced.program!.packet!.destination, "203.0.113.80");
  assert.equal(traced.detail, ["chain uplink 1: 10.60.0.20 vxlan 4128", "chain uplink 2: 10.60.0.21 vxlan 4129"]);
});

test("A12: a function that is down is left out, or ends it", async () => {
  const down = hop("10.60.0.20", 4128, { state: "down" });
  const bypass = chained([down], "bypass");
  await plane.apply(bypass);
  const past = explain(bypass, web, plane);
  assert.equal([past.differences, past.program!.verdict], [[], "take_uplink"]);
  const block = chained([down, hop("10.60.0.21", 4129)], "block");
  await plane.apply(block);
  const ended = explain(block, web, plane);
  assert.equal([ended.differences, ended.program!.verdict], [[], "drop_chain_blocked"]);
});

test("it ends", async () => {
  await plane.down({ unwire: true });
});

test.run();
