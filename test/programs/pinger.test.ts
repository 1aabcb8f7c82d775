/**
 * What becomes of a ping in a UE's name, and of its answer? (offramp.bpf.c from_pinger, downlink.h)
 *
 * A5 (GS MEC 001 §4.3.3.1): into the UE's uplink tunnel, as the base station builds it; the core's answer shows the
 * downlink and is swallowed. A late one too; one on a stale tunnel goes on, so that the base station may refuse it.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import { type Kernel, pinger } from "./kernel.ts";
import {
  dnsDown,
  dnsUp,
  down,
  fresh,
  fromApp,
  gateway6,
  inTunnel,
  learnt,
  otherUp,
  pingAnswer,
  station,
  station2,
  station6,
  type Tunnel,
  ue,
  ue6,
  up,
  upTunnel,
} from "./scene.ts";

const request = (change: f.Icmp = {}, from = ue): f.Layers =>
  from.includes(":")
    ? [f.ipv6({ src: from, dst: pinger.target6 }), f.icmpv6({ id: pinger.id, ...change }), f.payload(pinger.cookie)]
    : [f.ipv4({ src: from, dst: pinger.target }), f.icmp({ id: pinger.id, ...change }), f.payload(pinger.cookie)];

/** The ping in the UE's uplink tunnel; its identification and varying source port are the program's choice. */
function pings(k: Kernel, layers: f.Layers, change: Partial<Tunnel> = {}): void {
  const ran = k.expect("from_pinger", fromApp(layers), { counter: "ping_sent", verdict: "redirect" });
  const l3 = 14 + (change.tags?.length ?? 0) * 4;
  const v6 = (change.from ?? "").includes(":");
  const sport = change.sport === undefined ? 2152 : f.get16(ran.frame, l3 + (v6 ? 40 : 20));
  const ip = v6 ? change.ip : { ...change.ip, id: f.get16(ran.frame, l3 + 4) };
  sameFrame(ran.frame, inTunnel({ ...upTunnel, ...change, sport, ip }, layers));
}

for (const [name, change] of [
  ["plain", {}],
  ["tagged twice, with DSCP", { tags: [f.vlan(1), f.vlan(2)], ip: { tos: 0x28, ttl: 200 } }],
  ["with a PDU Session Container", { gtp: { ext: [f.psc({ type: 1, qfi: 5 })] } }],
  ["over IPv6", { from: station6, to: gateway6 }],
  [
    "over IPv6 with varying source ports and a PDU Session Container",
    { from: station6, to: gateway6, sport: 33333, gtp: { ext: [f.psc({ type: 1, qfi: 5 })] } },
  ],
] as const) {
  test(`A5: the ping goes into the UE's uplink tunnel as the base station builds it: ${name}`, () => {
    const k = fresh();
    const tunnel = { ...change } as Partial<Tunnel>;
    k.expect("access", up(otherUp(), tunnel), { counter: "pass_no_rule" });
    pings(k, request(), tunnel);
    k.expect("access", up(otherUp(ue6), tunnel), { counter: "pass_no_rule" });
    pings(k, request({}, ue6), tunnel);
    assert.is(k.egress("from_pinger", fromApp(request())), c.PORT_CORE(0));
  });
}

test("A5: with the highest bit of the sequence number it goes through the claim's tunnel", () => {
  const k = learnt();
  k.expect("from_pinger", fromApp(request({ seq: 0x8001 })), { counter: "drop_unknown_ue" });
  k.expect("access", up(otherUp(), { from: station2, teid: 0x300 }), { counter: "pass_unproven" });
  pings(k, request({ seq: 0x8001 }), { from: station2, teid: 0x300 });
});

for (const [name, layers] of [
  ["an unknown UE", request({}, "10.45.0.99")],
  ["something other than ICMP", dnsUp()],
  ["an ICMP error", [f.ipv4({ src: ue, dst: pinger.target }), f.icmp({ type: 3 }), f.zeros(30)]],
  ["a malformed packet", [f.ipv4({ src: ue, dst: pinger.target, ttl: 0 }), f.icmp()]],
] as const) {
  test(`A5: a ping for ${name} goes nowhere: drop_unknown_ue`, () => {
    const k = learnt();
    k.expect("from_pinger", fromApp([...layers]), { counter: "drop_unknown_ue" });
  });
}

test("A5: nobody is pinged in observe mode, nor a UE whose uplink is not known", () => {
  const k = learnt();
  k.configure({ mode: "observe" });
  k.expect("from_pinger", fromApp(request()), { counter: "drop_unknown_ue" });
  const only = fresh();
  only.expect("core", down([f.ipv4({ src: "203.0.115.1", dst: ue }), f.udp()]), { counter: "pass_downlink" });
  only.expect("from_pinger", fromApp(request()), { counter: "drop_unknown_ue" });
});

test("A5: the answer teaches the downlink and is swallowed; replies that waited may go: drop_pinger_answer", () => {
  const k = fresh();
  k.expect("access", up(dnsUp()), { counter: "take_uplink", events: ["session-new", "wanted"] });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
  k.expect("core", down(pingAnswer(k)), {
    counter: "drop_pinger_answer",
    events: ["downlink-learnt", "pinger-answer"],
    notes: ["note_learnt"],
  });
  assert.is(k.bearers(ue), "down 200 draining, up 100 live");
});

test("A5: the same in IPv6", () => {
  const k = fresh();
  k.expect("access", up(otherUp(ue6)), { counter: "pass_no_rule" });
  k.expect("core", down(pingAnswer(k, { to: ue6 })), {
    counter: "drop_pinger_answer",
    events: ["downlink-learnt", "pinger-answer"],
  });
});

test("A5: a late answer, of an incarnation that is gone, is swallowed as well", () => {
  const k = learnt();
  k.expect("core", down(pingAnswer(k, { epoch: 99 })), { counter: "drop_pinger_answer" });
});

for (const [name, layers] of [
  ["another identifier", (k: Kernel) => pingAnswer(k, { id: 1 })],
  ["another cookie", () => [f.ipv4({ src: pinger.target, dst: ue }), f.icmp({ type: 0, id: pinger.id }), f.zeros(24)]],
  [
    "a request",
    () => [
      f.ipv4({ src: pinger.target, dst: ue }),
      f.icmp({ type: 8, id: pinger.id }),
      f.payload(pinger.cookie),
      f.zeros(16),
    ],
  ],
  [
    "something shorter",
    () => [f.ipv4({ src: pinger.target, dst: ue }), f.icmp({ type: 0, id: pinger.id }), f.payload(pinger.cookie)],
  ],
  ["UDP", () => [f.ipv4({ src: pinger.target, dst: ue }), f.udp(), f.zeros(40)]],
  [
    "an IPv6 request",
    () => [
      f.ipv6({ src: pinger.target6, dst: ue6 }),
      f.icmpv6({ id: pinger.id }),
      f.payload(pinger.cookie),
      f.zeros(16),
    ],
  ],
] as const) {
  test(`A8: ${name} from the pinger's target is the UE's own traffic and passes`, () => {
    const k = learnt();
    k.expect("core", down(layers(k) as f.Layers), { counter: "pass_downlink", out: "same" });
  });
}

test("A8: without a pinger nothing is swallowed", () => {
  const k = learnt({ pinger: false });
  k.expect("core", down(pingAnswer(k)), { counter: "pass_downlink", out: "same" });
});

test("A5: an answer on another TEID of the same place replaces the bearers that were known", () => {
  const k = learnt();
  k.expect("core", down(pingAnswer(k), { teid: 0x201 }), {
    counter: "drop_pinger_answer",
    events: ["downlink-learnt", "pinger-answer"],
  });
  assert.is(k.bearers(ue), "down 201 live, up 100 live");
});

test("A5: on a stale tunnel the answer goes on to the base station, and only a second one after 250 ms confirms it", () => {
  const k = learnt();
  k.expect(
    "access",
    f.frame([f.eth(), f.ipv4(), f.udp({ dport: 2152 }), f.errorIndication({ teid: 0x200, peer: station })]),
    { counter: "pass_error_indication" },
  );
  k.expect("core", down(pingAnswer(k)), { counter: "pass_downlink", out: "same", events: ["pinger-answer"] });
  k.expect("core", down(pingAnswer(k)), { counter: "pass_downlink", events: ["pinger-answer"] });
  assert.is(k.bearers(ue), "down 200 stale, up 100 live");
  k.setBearer(k.session(ue)?.index ?? 0, 0, { confirm_at: k.ago(0.3) });
  k.expect("core", down(pingAnswer(k)), { counter: "pass_downlink", events: ["downlink-learnt", "pinger-answer"] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
  k.expect("core", down(pingAnswer(k)), { counter: "drop_pinger_answer", events: ["pinger-answer"] });
});

test.run();
