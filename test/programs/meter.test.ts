/**
 * A17: does a service carry what its rate allows, to the octet, and not more?
 *
 * The meter's own arithmetic is the measure: the clock is moved by moving the schedule back, and what really passes
 * meanwhile is read from the same clock.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { perOctet, SLOWEST } from "../../dataplane/ebpf/chains.ts";
import { RATE_SHIFT } from "../../dataplane/ebpf/consts.ts";
import type { SteeringRule, Treatment } from "../../dataplane/steering.ts";
import type { Kernel, ProgramName } from "./kernel.ts";
import { changed, dnsDown, dnsUp, down, fromApp, learnt, other, otherDown, otherUp, rule, up } from "./scene.ts";

const SERVICE = 20;
const limited = (rate: Treatment["rate"]): SteeringRule =>
  rule(SERVICE, { match: { destination: [`${other}/32`] }, action: "pass", treatment: { rate } });
const open = (list: readonly SteeringRule[]): Kernel => {
  const k = learnt();
  k.setRules(list);
  reset(k);
  return k;
};

const u64 = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(value).buffer);
const indexOf = (service: number, way: "uplink" | "downlink") => service * 2 + (way === "uplink" ? 0 : 1);
const due = (k: Kernel, index: number): bigint =>
  new DataView(k.object.map("meters").lookup(index)!.buffer).getBigUint64(0, true);
const reset = (k: Kernel): void => {
  for (const service of [2, SERVICE])
    for (const way of [0, 1]) k.object.map("meters").update(service * 2 + way, u64(0n));
};
/** So many nanoseconds pass for this meter. */
const pass = (k: Kernel, index: number, ns: bigint): void => {
  const then = due(k, index);
  k.object.map("meters").update(index, u64(then > ns ? then - ns : 0n));
};
/** CLOCK_MONOTONIC, as the programs have it. */
const clock = (): bigint => process.hrtime.bigint();

const bits = 8000; // an octet takes a millisecond
const MS = 1_000_000n;
const burst = 3000n * MS;

for (const [way, program, frame, octets] of [
  ["uplink", "access", up(otherUp()), 30n],
  ["downlink", "core", down(otherDown()), 32n],
] as const) {
  test(`A17: at twice its rate half of what is offered passes, ${way}, and is counted to the octet`, () => {
    const k = open([limited({ uplink: bits, downlink: bits })]);
    k.run("access", up(otherUp()));
    k.run("core", down(otherDown()));
    reset(k);
    const index = indexOf(SERVICE, way);
    const cost = octets * MS;
    const offered = 1000;
    const began = clock();
    let passed = 0n;
    for (let n = 0; n < offered; n++) {
      const { counted, verdict } = k.run(program as ProgramName, frame);
      if (counted.pass_treated) passed++;
      else assert.equal([counted, verdict], [{ drop_rate: 1 }, "drop"]);
      pass(k, index, cost / 2n);
    }
    const moved = (BigInt(offered) * cost) / 2n;
    const most = (burst + moved + (clock() - began)) / cost + 1n;
    const least = (burst + moved - cost) / cost;
    assert.ok(passed >= least && passed <= most, `${least} <= ${passed} <= ${most}`);
  });
}

test("A17: what is dropped costs nothing, and the other direction goes on", () => {
  const k = open([limited({ uplink: bits })]);
  k.expect("access", up(otherUp()), { counter: "pass_treated" });
  const index = indexOf(SERVICE, "uplink");
  const full = clock() + 60n * 1000n * MS;
  k.object.map("meters").update(index, u64(full));
  for (let n = 0; n < 5; n++) {
    k.expect("access", up(otherUp()), { counter: "drop_rate", verdict: "drop" });
    k.expect("core", down(otherDown()), { counter: "pass_treated", out: "same" });
  }
  assert.is(due(k, index), full);
  assert.is(due(k, indexOf(SERVICE, "downlink")), 0n);
});

test("A17: a service that has been silent starts from now: it has its burst, not what it left unused", () => {
  const k = open([limited({ uplink: bits })]);
  const before = clock();
  k.expect("access", up(otherUp()), { counter: "pass_treated" });
  const cost = 30n * MS;
  const then = due(k, indexOf(SERVICE, "uplink"));
  assert.ok(then >= before + cost && then <= clock() + cost);
});

test("A17: taken packets and their replies keep the rate, each direction its own", () => {
  const k = open([changed(2, { treatment: { rate: { uplink: bits, downlink: bits } } })]);
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  const late = u64(clock() + 60n * 1000n * MS);
  k.object.map("meters").update(indexOf(2, "downlink"), late);
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_rate", verdict: "drop" });
  k.object.map("meters").update(indexOf(2, "uplink"), late);
  k.expect("access", up(dnsUp()), { counter: "drop_rate", verdict: "drop" });
});

test("A17: the time of an octet is never shorter than the rate says, and within a part in ten thousand of it", () => {
  assert.is(perOctet(undefined), 0n);
  assert.is(perOctet(1), perOctet(SLOWEST));
  for (let rate = SLOWEST; rate <= 1e12; rate = Math.ceil(rate * 1.37)) {
    const scaled = 8_000_000_000n << RATE_SHIFT;
    const asked = perOctet(rate) * BigInt(rate);
    assert.ok(asked >= scaled && asked - scaled < scaled / 4_000n, `${rate}`);
    assert.ok(perOctet(rate) * 65535n < 1n << 64n, "the longest packet's time fits");
  }
});

test.run();
