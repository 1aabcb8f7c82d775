/**
 * What becomes of fragments? (uplink.h outer_fate, first_fragment; offramp.bpf.c reply)
 *
 * A8: whoever is not taken keeps his fragments as they came. Outer fragments go to reassembly only where a rule could take
 * the packet and a control plane is there; inner ones follow their first. RFC 791, RFC 8200 §4.5, RFC 6946.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import { app, changed, down, fresh, hop, learnt, rules, service, toApp, ue, ue6, up, web6 } from "./scene.ts";

const slow = (op: number, reason: number, frame: Uint8Array, token = 0): Uint8Array =>
  f.concat(
    layout.slowHeader.encode({
      destination: new Uint8Array(6).fill(2),
      source: new Uint8Array(6).fill(2),
      protocol: c.ETH_P_SLOW,
      op,
      sequence: token,
      reason,
    }),
    frame,
  );
const fromControl = (op: number, token: number, frame: Uint8Array) =>
  f.concat(layout.slowHeader.encode({ protocol: c.ETH_P_SLOW, op, sequence: token }), frame);
/** A frame of the tunnel, cut into outer fragments. */
function cut(inner: f.Layers, id: number, size = 64): Uint8Array[] {
  const whole = up(inner, { ip: { id } });
  return f.fragments(whole.subarray(14), size).map((part) => f.concat(whole.subarray(0, 14), part));
}
const big = (to: string, n = 100): f.Layers => [
  f.ipv4({ src: ue, dst: to, id: 5 }),
  f.udp({ sport: 1, dport: 2 }),
  f.payload(n),
];

test("outer: the first fragment of what a rule could take goes to reassembly, and all its others: slow_fragment", () => {
  const k = learnt();
  for (const part of cut(big(service.any), 1))
    k.expect("access", part, { counter: "slow_fragment", out: slow(c.SLOW_FRAGMENT, c.SLOW_REASON_TAKEN, part) });
});

test("outer: reassembled, it is taken like any other; what is not taken goes back to leave as the fragments that came", () => {
  const k = learnt();
  k.expect("from_slow", fromControl(c.SLOW_REASSEMBLED, 7, up(big(service.any))), {
    counter: "take_uplink",
    out: toApp(hop.any, big(app.any)),
  });
  const whole = up(big("203.0.113.1"));
  k.expect("from_slow", fromControl(c.SLOW_REASSEMBLED, 7, whole), {
    counter: "pass_no_rule",
    out: slow(c.SLOW_FRAGMENT, c.SLOW_REASON_NOT_TAKEN, whole, 7),
  });
  const part = cut(big("203.0.113.1"), 2)[1] ?? whole;
  k.expect("from_slow", fromControl(c.SLOW_WIRE, 0, part), { counter: "pass_outer_fragment", out: part });
  assert.is(k.egress("from_slow", fromControl(c.SLOW_WIRE, 0, part)), c.PORT_CORE(0));
});

test("A8: outer: what no rule could take passes, the first fragment and its others: pass_outer_fragment", () => {
  const k = learnt();
  for (const part of cut(big("203.0.115.9"), 3))
    k.expect("access", part, { counter: "pass_outer_fragment", out: "same" });
});

test("outer: a later fragment that comes first waits when there is any rule, and takes the others with it", () => {
  const k = learnt();
  const [one, two] = cut(big(service.any), 4);
  assert.ok(one && two);
  k.expect("access", two, { counter: "slow_fragment", out: slow(c.SLOW_FRAGMENT, c.SLOW_REASON_UNKNOWN, two) });
  k.expect("access", one, { counter: "slow_fragment", out: slow(c.SLOW_FRAGMENT, c.SLOW_REASON_TAKEN, one) });
  const none = fresh({}, []);
  none.expect("access", two, { counter: "pass_outer_fragment" });
});

test("outer: toward a protected prefix it goes to reassembly, so that nothing gets through in pieces", () => {
  const k = fresh({ protect: ["192.0.2.0/24"] }, []);
  for (const part of cut(big("192.0.2.5"), 5)) k.expect("access", part, { counter: "slow_fragment" });
  k.expect("from_slow", fromControl(c.SLOW_REASSEMBLED, 1, up(big("192.0.2.5"))), { counter: "drop_protected" });
});

test("outer: what comes in another's tunnel or in a claim passes", () => {
  const k = learnt();
  for (const part of cut([f.ipv4({ src: "10.45.0.77", dst: service.any }), f.udp(), f.payload(100)], 6))
    k.expect("access", part, { counter: "pass_outer_fragment" });
});

for (const [name, settings] of [
  ["without a control plane", { slowPort: false }],
  ["in observe mode", { mode: "observe" as const }],
] as const) {
  test(`outer: ${name} all pass`, () => {
    const k = learnt(settings);
    for (const part of cut(big(service.any), 7))
      k.expect("access", part, { counter: "pass_outer_fragment", out: "same" });
  });
}

test("outer: fragments from the core pass, and teach nothing", () => {
  const k = fresh();
  const whole = down([f.ipv4({ src: "203.0.115.1", dst: ue }), f.udp(), f.payload(100)]);
  for (const part of f.fragments(whole.subarray(14), 64))
    k.expect("core", f.concat(whole.subarray(0, 14), part), {
      counter: "pass_outer_fragment",
      out: "same",
      events: [],
    });
});

test("outer IPv6: the first fragment decides there as well", () => {
  const k = fresh();
  const whole = up([f.ipv6({ src: ue6, dst: web6 }), f.udp(), f.payload(100)], {
    from: "2001:db8:1::10",
    to: "2001:db8:2::10",
  });
  const parts = f.fragments6(whole.subarray(14), 96, 9).map((part) => f.concat(whole.subarray(0, 14), part));
  for (const part of parts) k.expect("access", part, { counter: "slow_fragment" });
});

test("an outer first fragment of signalling passes as such", () => {
  const k = fresh();
  const whole = up([f.payload(100)], { gtp: { type: 31 }, ip: { id: 3 } });
  const first = f.fragments(whole.subarray(14), 64)[0] ?? whole;
  k.expect("access", f.concat(whole.subarray(0, 14), first), { counter: "pass_gtpu_control" });
});

const inner = (src: string, dst: string, id: number, n = 101) =>
  f.fragments(f.packet([f.ipv4({ src, dst, id }), f.udp({ sport: 1, dport: 2 }), f.payload(n)]), 64);

test("inner: later fragments follow their first one, with the address changed and nothing else", () => {
  const k = learnt();
  const seen = inner(ue, app.any, 8);
  inner(ue, service.any, 8).forEach((part, i) => {
    const out = f.frame([
      f.eth({ dst: "02:09:09:09:09:03", src: "02:08:08:08:08:03", type: 0x0800 }),
      f.payload(seen[i] ?? part),
    ]);
    k.expect("access", up([f.payload(part)]), { counter: "take_uplink", out });
  });
});

test("inner IPv6: the same, and an atomic fragment is a whole packet", () => {
  const k = fresh();
  const of = (dst: string) =>
    f.fragments6(f.packet([f.ipv6({ src: ue6, dst }), f.udp({ sport: 1, dport: 2 }), f.payload(101)]), 64, 5);
  const seen = of(app.web6);
  of(web6).forEach((part, i) => {
    const out = f.frame([
      f.eth({ dst: "02:09:09:09:09:04", src: "02:08:08:08:08:04", type: 0x86dd }),
      f.payload(seen[i] ?? part),
    ]);
    k.expect("access", up([f.payload(part)]), { counter: "take_uplink", out });
  });
  const atomic = (dst: string): f.Layers => [
    f.ipv6({ src: ue6, dst }),
    f.fragmentHeader({ id: 6 }),
    f.udp({ sport: 1, dport: 2 }),
    f.payload("x"),
  ];
  k.expect("access", up(atomic(web6)), { counter: "take_uplink", out: toApp(hop.web6, atomic(app.web6)) });
});

test("inner: one that comes before its first waits when the UE is known, and is taken when it is tried again: slow_inner_fragment", () => {
  const k = learnt();
  const [one, two] = inner(ue, service.any, 9);
  assert.ok(one && two);
  const frame = up([f.payload(two)]);
  k.expect("access", frame, {
    counter: "slow_inner_fragment",
    out: slow(c.SLOW_INNER_FRAGMENT, c.SLOW_REASON_UNKNOWN, frame),
  });
  k.expect("from_slow", fromControl(c.SLOW_REASSEMBLED, 11, frame), {
    counter: "slow_inner_fragment",
    out: slow(c.SLOW_INNER_FRAGMENT, c.SLOW_REASON_UNKNOWN, frame, 11),
  });
  k.expect("access", up([f.payload(one)]), { counter: "take_uplink" });
  k.expect("from_slow", fromControl(c.SLOW_REASSEMBLED, 11, frame), { counter: "take_uplink" });
});

test("A8: inner: without a control plane, of an unknown UE, or of a passed flow it passes", () => {
  const k = learnt({ slowPort: false });
  const [one, two] = inner(ue, service.any, 10);
  assert.ok(one && two);
  k.expect("access", up([f.payload(two)]), { counter: "pass_no_rule" });
  const unknown = fresh();
  unknown.expect("access", up([f.payload(two)]), { counter: "pass_no_rule" });
  const passed = learnt();
  passed.setRules([
    changed(3, { action: "pass", endpoints: undefined, match: { destination: ["203.0.0.0/16"] } }),
    ...rules,
  ]);
  passed.expect("access", up([f.payload(one)]), { counter: "pass_no_rule" });
  passed.expect("access", up([f.payload(two)]), { counter: "pass_no_rule" });
});

test("replies in fragments follow their first one; without it they are dropped: drop_fragment", () => {
  const k = learnt();
  k.expect("access", up([f.ipv4({ src: ue, dst: service.any }), f.udp({ sport: 2, dport: 1 }), f.payload("q")]), {
    counter: "take_uplink",
  });
  const eth = (part: Uint8Array) => f.frame([f.eth({ type: 0x0800 }), f.payload(part)]);
  const of = (src: string, id: number) => inner(src, ue, id);
  for (const later of of(app.any, 20).slice(1)) k.expect("from_apps", eth(later), { counter: "drop_fragment" });
  const seen = of(service.any, 21);
  of(app.any, 21).forEach((part, i) => {
    const ran = k.expect("from_apps", eth(part), { counter: "reply_downlink" });
    sameFrame(ran.frame, down([f.payload(seen[i] ?? part)], { ip: { id: f.get16(ran.frame, 18) } }));
  });
});

test.run();
