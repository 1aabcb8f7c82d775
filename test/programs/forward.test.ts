/**
 * What does a frame look like that leaves by an output: whole, by GRE, or to another tunnel end?
 *
 * docs/packet-path.md, "Outputs". B1: FORWARD_ENCAPSULATED and destination interfaces (MEC 011 §7.1.6); RFC 2784.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Match, Outlet, SteeringRule } from "../../dataplane/steering.ts";
import * as f from "../packets/frame.ts";
import { hopMac, type Kernel } from "./kernel.ts";
import {
  down,
  fromApp,
  gateway6,
  learnt,
  other,
  otherDown,
  otherUp,
  renumbered,
  route,
  rule,
  station6,
  tcpUp,
  ue,
  ue6,
  up,
} from "./scene.ts";

const [appliance, end, end6, appliance6] = ["10.60.0.1", "10.60.0.77", "2001:db8:60::77", "2001:db8:60::1"];
const forward = (output: Outlet, change: Partial<SteeringRule> = {}): SteeringRule =>
  rule(20, { match: { destination: [`${other}/32`] }, action: "forward", output, ...change });
const open = (...list: SteeringRule[]): Kernel => {
  const k = learnt();
  k.setRules(list);
  return k;
};
const goes = { counter: "take_forwarded", verdict: "redirect" } as const;
/** A GRE header; what comes next is IPv4, or IPv6. */
const gre = (v6 = false): f.Layer => f.payload(f.concat(f.u16(0), f.u16(v6 ? 0x86dd : 0x0800))) as f.Layer;

test("B1: forwarded without more, a frame leaves as it is, tags and all, both ways, each time", () => {
  for (const tags of [[], [f.vlan(7)], [f.vlan(7), f.vlan(8)]]) {
    const mac = { type: [undefined, 0x8100, 0x88a8][tags.length] } as f.Eth;
    const k = learnt({}, { up: { tags, mac }, down: { tags, mac } });
    k.setRules([forward({ port: "out0" })]);
    for (let n = 0; n < 3; n++) {
      k.expect("access", up(otherUp(), { tags, mac }), { ...goes, out: "same" });
      k.expect("core", down(otherDown(), { tags, mac }), { ...goes, out: "same" });
    }
  }
});

test("B1: with a MAC address, a next hop or a VLAN id it gets an Ethernet header of the output's", () => {
  const whole = up(otherUp()).subarray(14);
  const out = (eth: f.Eth, tag: f.Layers = []) => f.frame([f.eth(eth), tag, f.payload(whole) as f.Layer]);
  const typed = (frame: Uint8Array, at: number) => {
    frame.set(f.u16(0x0800), at);
    return frame;
  };
  for (const [output, expected] of [
    [{ port: "out0", mac: "02:aa:00:00:00:01" }, typed(out({ dst: "02:aa:00:00:00:01", src: hopMac(2).src }), 12)],
    [{ port: "out0", address: end }, typed(out(hopMac(2)), 12)],
    [
      { port: "out0", address: end, sourceMac: "02:bb:00:00:00:01" },
      typed(out({ dst: hopMac(2).dst, src: "02:bb:00:00:00:01" }), 12),
    ],
    [{ port: "out0", vlan: 300 }, typed(out({ type: 0x8100 }, [f.vlan(300)]), 16)],
  ] as const) {
    const k = open(forward(output));
    for (let n = 0; n < 2; n++) k.expect("access", up(otherUp()), { ...goes, out: expected });
  }
});

for (const [inner, sum] of [
  ["of 0", "zero"],
  ["that is right", "auto"],
] as const) {
  test(`B1: to another tunnel end over IPv4, with a UDP checksum ${inner}: addresses change, TEID and all else stay`, () => {
    const k = open(forward({ port: "out0", tunnel: { type: "gtp-u", source: appliance, destination: end } }));
    const out = (frame: Uint8Array) =>
      f.concat(f.frame([f.eth(hopMac(2)), f.payload(0)]).subarray(0, 12), frame.subarray(12));
    const other1 = { from: appliance, to: end, sum } as const;
    k.expect("access", up(otherUp(), { sum }), { ...goes, out: out(up(otherUp(), other1)) });
    k.expect("core", down(otherDown(), { sum }), { ...goes, out: out(down(otherDown(), other1)) });
    k.setRules([forward({ port: "out0", tunnel: { type: "gtp-u", destination: end } }, { action: "route" })]);
    const late = (sport: number): f.Layers => [f.ip(ue, other), f.udp({ sport, dport: 9 }), f.payload("x")];
    k.expect("access", up(late(5), { sum }), { ...goes, out: out(up(late(5), { to: end, sum })) });
  });
}

test("B1: … and over IPv6, where the checksum stays right", () => {
  const ends = { from: station6, to: gateway6 };
  const k = learnt({}, { up: ends, down: { from: gateway6, to: station6 } });
  k.setRules([forward({ port: "out0", tunnel: { type: "gtp-u", source: appliance6, destination: end6 } })]);
  for (const sum of ["auto", "zero"] as const) {
    const expected = up(otherUp(), { from: appliance6, to: end6, sum });
    const out = f.concat(f.frame([f.eth(hopMac(2)), f.payload(0)]).subarray(0, 12), expected.subarray(12));
    k.expect("access", up(otherUp(), { ...ends, sum }), { ...goes, out });
  }
});

test("B1: a tunnel end of the other family, or a next hop that is not found: packets pass; of a flow that runs they end", () => {
  const k = open(forward({ port: "out0", tunnel: { type: "gtp-u", destination: end6 } }));
  for (let n = 0; n < 2; n++) {
    k.expect("access", up(otherUp()), { counter: "pass_no_way", out: "same" });
    k.expect("core", down(otherDown()), { counter: "pass_downlink", out: "same" });
  }
  const output = { port: "out0", address: end };
  for (const action of ["forward", "route"] as const) {
    const lost = learnt();
    lost.resolves = false;
    lost.setRules([forward(output, { action })]);
    lost.expect("access", up(otherUp()), { counter: "pass_no_way", out: "same" });
    for (const direction of ["uplink", "downlink"] as const) {
      lost.setRules([forward(output, { action, match: { destination: [`${other}/32`], direction } })]);
      const [program, frame] = direction === "uplink" ? ["access", up(otherUp())] : ["core", down(otherDown())];
      lost.expect(program as "access", frame as Uint8Array, { counter: "pass_no_way", out: "same" });
    }
    lost.resolves = true;
    lost.setRules([forward(output, { action })]);
    lost.expect("access", up(otherUp()), { counter: action === "route" ? "take_routed" : "take_forwarded" });
    lost.resolves = false;
    lost.setRules([forward(output, { action })]);
    lost.expect("access", up(otherUp()), { counter: "drop_redirect" });
    lost.resolves = true;
  }
});

test("a connection is forwarded from its SYN on, whoever begins it, and stays so when rules change", () => {
  const k = open(forward({ port: "out0" }));
  k.expect("access", up(tcpUp({ flags: "A" }, other)), { counter: "pass_mid_connection" });
  const begun = (flags: string): f.Layers => [f.ip(other, ue), f.tcp({ sport: 80, dport: 40001, flags })];
  k.expect("core", down(begun("S")), { ...goes, out: "same" });
  const answer = (flags: string) => up([f.ip(ue, other), f.tcp({ sport: 40001, dport: 80, flags })]);
  k.expect("access", answer("SA"), { ...goes, out: "same" });
  k.setRules([forward({ port: "out0" }, { priority: 7 })]);
  for (const flags of ["A", "PA"]) {
    k.expect("core", down(begun(flags)), { ...goes, out: "same" });
    k.expect("access", answer(flags), { ...goes, out: "same" });
  }
  k.expect("from_apps", fromApp(begun("A")), { counter: "drop_no_flow" });
});

test("an ICMP error about a forwarded flow goes with it", () => {
  const k = open(forward({ port: "out0" }));
  k.expect("access", up(otherUp()), goes);
  k.expect("core", down(otherDown()), goes);
  const quoted = f.packet([f.ip(other, ue), f.udp({ sport: 9, dport: 1234 }), f.payload("down")]);
  const error = up([f.ip(ue, other), f.icmp({ type: 3, code: 3 }), f.payload(quoted)]);
  k.expect("access", error, { ...goes, out: "same" });
});

test("B1: a packet alone is forwarded in the middle of a connection, one way", () => {
  const match: Match = { destination: [`${other}/32`], direction: "uplink" };
  const k = open(forward({ port: "out0" }, { match }));
  k.expect("access", up(tcpUp({ flags: "A" }, other)), { ...goes, out: "same" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.setRules([forward({ port: "out0" }, { match: { ...match, direction: "downlink" } })]);
  k.expect("core", down(otherDown()), { ...goes, out: "same" });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
});

const inGre = (v6: boolean, carried: f.Layers, carriedV6 = false, tos = 0): Uint8Array =>
  f.frame([
    f.eth(hopMac(2)),
    v6
      ? f.ipv6({ src: appliance6, dst: end6, next: 47, tos })
      : f.ipv4({ src: appliance, dst: end, protocol: 47, tos }),
    gre(carriedV6),
    carried,
  ]);

for (const v6 of [false, true]) {
  test(`B1: routed into GRE over IPv${v6 ? 6 : 4}: the inner packet alone, its DSCP outside too (RFC 2784, RFC 2983)`, () => {
    const tunnel = { type: "gre", destination: v6 ? end6 : end } as const;
    const to = (n: number): f.Layers => [f.ipv4({ src: ue, dst: other, tos: 46 << 2 }), f.udp({ sport: n, dport: 9 })];
    const k = open(forward({ port: "out0", tunnel }, { action: "route" }));
    for (const n of [1, 2]) {
      const ran = k.expect("access", up(to(n)), { counter: "take_routed", verdict: "redirect" });
      const expected = inGre(v6, to(n), false, 46 << 2);
      assert.equal(renumbered(ran.frame, expected), expected);
    }
    const six = learnt({}, {}, ue6);
    six.setRules([forward({ port: "out0", tunnel }, { action: "route", match: { family: 6 } })]);
    const ran = six.expect("access", up(otherUp(ue6)), { counter: "take_routed", verdict: "redirect" });
    const expected = inGre(v6, otherUp(ue6), true);
    assert.equal(renumbered(ran.frame, expected), expected);
  });
}

test("B1: forwarded into GRE the packet keeps its GTP-U tunnel inside; a tag goes in front", () => {
  const k = open(forward({ port: "out0", vlan: 300, tunnel: { type: "gre", source: "10.60.0.9", destination: end } }));
  const ran = k.expect("core", down(otherDown()), goes);
  const carried = f.payload(down(otherDown()).subarray(14)) as f.Layer;
  const expected = f.frame([
    f.eth(hopMac(2)),
    f.vlan(300),
    f.ipv4({ src: "10.60.0.9", dst: end, protocol: 47 }),
    gre(),
    carried,
  ]);
  assert.equal(renumbered(ran.frame, expected), expected);
});

test("what is longer than the output takes ends by name; a SYN is told to be shorter", () => {
  const long = (n: number): f.Layers => [f.ip(ue, other), f.udp({ sport: 1, dport: 9 }), f.payload(n)];
  const k = open(forward({ port: "out0", tunnel: { type: "gre", destination: end } }, { action: "route" }));
  k.expect("access", up(long(1500 - 24 - 28)), { counter: "take_routed" });
  k.expect("access", up(long(1500 - 24 - 28 + 1)), { counter: "drop_too_big" });
  for (const output of [{ port: "out0" }, { port: "out0", mac: "02:aa:00:00:00:01" }]) {
    const plain = open(forward(output, { action: "route" }));
    for (let n = 0; n < 2; n++) {
      plain.expect("access", up(long(1500 - 28)), { counter: "take_routed" });
      plain.expect("access", up(long(1500 - 28 + 1)), { counter: "drop_too_big" });
    }
  }
  const whole = open(forward({ port: "out0" }));
  whole.expect("access", up(long(1500 - 36 - 28)), goes);
  whole.expect("access", up(long(1500 - 36 - 28 + 1)), { counter: "drop_too_big" });
  const six = open(forward({ port: "out0", tunnel: { type: "gre", destination: end6 } }, { action: "route" }));
  const syn = tcpUp({ options: f.concat(Uint8Array.of(2, 4), f.u16(1460)) }, other);
  const ran = six.expect("access", up(syn), { counter: "take_routed", notes: ["note_mss_clamped"] });
  assert.is(f.get16(ran.frame, 14 + 44 + 20 + 22), 1500 - 44 - 40);
});

test("routed to a next hop, or by the wire's own network, as ever", () => {
  const to: f.Layers = [f.ip(ue, route), f.udp({ sport: 1234, dport: 9 }), f.payload("out")];
  const k = open(forward({ port: "out0", address: end }, { action: "route", match: { destination: [`${route}/32`] } }));
  for (let n = 0; n < 2; n++)
    k.expect("access", up(to), { counter: "take_routed", verdict: "redirect", out: f.frame([f.eth(hopMac(2)), to]) });
});

test.run();
