/**
 * Is a flow that stays in its tunnel treated both ways, and no other?
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Match, SteeringRule } from "../../dataplane/steering.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import { answer, ask, back, chain, downVni, functions, goes, passed, upVni } from "./chains.ts";
import type { Kernel } from "./kernel.ts";
import {
  dnsUp,
  down,
  fresh,
  gateway,
  gateway2,
  learnt,
  other,
  other6,
  otherDown,
  otherUp,
  renumbered,
  rule,
  rules,
  station,
  tcpUp,
  ue,
  ue6,
  up,
} from "./scene.ts";

const treated = (change: Partial<SteeringRule> = {}): SteeringRule =>
  rule(20, {
    match: { destination: [`${other}/32`] },
    action: "pass",
    treatment: { rate: { uplink: 1e12 } },
    ...change,
  });

/** The UE's uplink and downlink are known. */
const open = (list: readonly SteeringRule[]): Kernel => {
  const k = learnt();
  k.setRules(list);
  return k;
};

for (const destination of [`${other}/32`, "203.0.115.0/28", "0.0.0.0/0"]) {
  test(`A17: a flow to ${destination} that passes with a treatment is known both ways, and its frames stay as they are`, () => {
    const k = open([treated({ match: { destination: [destination] } })]);
    for (let n = 0; n < 3; n++) {
      k.expect("access", up(otherUp()), { counter: "pass_treated", verdict: "redirect", out: "same" });
      k.expect("core", down(otherDown()), { counter: "pass_treated", verdict: "redirect", out: "same" });
    }
  });
}

test("what the core sends of a flow without treatment passes as ever", () => {
  const k = open([treated({ match: { destination: [`${other}/32`], protocol: [6] } }), ...rules]);
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test("when the treatment goes, the next packet passes for good; when it comes, the next one is treated (C7)", () => {
  const k = open([treated()]);
  k.expect("access", up(otherUp()), { counter: "pass_treated" });
  k.setRules([]);
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.setRules([treated()]);
  k.expect("access", up(otherUp()), { counter: "pass_treated" });
  k.expect("core", down(otherDown()), { counter: "pass_treated" });
});

/** From `other` to the UE, and what it says in return. */
const tcpDown = (flags: string): f.Layers => [f.ip(other, ue), f.tcp({ sport: 80, dport: 40000, flags })];
const tcpAnswer = (flags: string): f.Layers => tcpUp({ flags }, other);

test("A12: a flow that the core begins goes through the chain of its direction, the answer through the other", () => {
  const k = open([passed(chain([functions[0]!], [functions[1]!]))]);
  const [question, said] = [ask(ue, other), answer(other)];
  for (let n = 0; n < 2; n++) {
    goes(k, "core", down(said), "chain_downlink", { vni: downVni(0), to: functions[1]!, next: 2, inner: said });
    const there = k.expect("from_apps", back(downVni(0), functions[1]!, said), { counter: "chain_back" });
    sameFrame(renumbered(there.frame, down(said)), down(said));
    goes(k, "access", up(question), "chain_uplink", { vni: upVni(0), to: functions[0]!, next: 1, inner: question });
    const out = k.expect("from_apps", back(upVni(0), functions[0]!, question), { counter: "chain_back" });
    sameFrame(renumbered(out.frame, up(question)), up(question));
  }
});

test("A12: … an echo and IPv6 too", () => {
  const k = open([treated()]);
  const echo = (type: number, from: string, to: string) => [f.ip(from, to), f.icmp({ type, id: 7 }), f.payload("ping")];
  k.expect("core", down(echo(8, other, ue)), { counter: "pass_treated" });
  k.expect("access", up(echo(0, ue, other)), { counter: "pass_treated" });
  const six = learnt({}, {}, ue6);
  six.setRules([treated({ match: { destination: [`${other6}/128`] } })]);
  six.expect("core", down(otherDown(ue6)), { counter: "pass_treated" });
  six.expect("access", up(otherUp(ue6)), { counter: "pass_treated" });
});

const own: [string, Match, string][] = [
  [
    "its ends, as the uplink sees them",
    { source: [`${ue}/32`], destinationPorts: [[9, 9]], sourcePorts: [[1234, 1234]] },
    "pass_treated",
  ],
  [
    "the UE's uplink tunnel",
    { teid: [[0x100, 0x100]], baseStation: [`${station}/32`], gateway: [`${gateway}/32`] },
    "pass_treated",
  ],
  ["its DSCP", { dscp: [[0, 0]] }, "pass_treated"],
  ["the ends the other way round", { destinationPorts: [[1234, 1234]] }, "pass_downlink"],
  ["the downlink tunnel", { teid: [[0x200, 0x200]] }, "pass_downlink"],
  ["another gateway", { gateway: [`${gateway2}/32`] }, "pass_downlink"],
  ["a QFI, that only the UE's packets have", { qfi: [[0, 63]] }, "pass_downlink"],
];
for (const [what, match, counter] of own) {
  test(`A16: what the core begins is told apart by ${what}: ${counter}`, () => {
    const k = open([treated({ match: { destination: [`${other}/32`], protocol: [17], ...match } })]);
    for (let n = 0; n < 2; n++) k.expect("core", down(otherDown()), { counter });
  });
}

test("of a connection that the core begins only the SYN decides", () => {
  const k = open([treated()]);
  for (const flags of ["A", "SA", "R", "FA"]) k.expect("core", down(tcpDown(flags)), { counter: "pass_downlink" });
  k.expect("core", down(tcpDown("S")), { counter: "pass_treated" });
  k.expect("access", up(tcpAnswer("SA")), { counter: "pass_treated" });
  k.expect("core", down(tcpDown("A")), { counter: "pass_treated" });
});

for (const action of ["take", "route", "drop", "pass"] as const) {
  test(`a rule before it that says ${action} does nothing to what the core begins, and the answer meets it`, () => {
    const endpoints = action === "take" ? { endpoints: [{ address: "10.60.0.12" }] } : {};
    const first = rule(9, { match: { destination: [`${other}/32`], protocol: [17] }, action, ...endpoints });
    const k = open([first, treated()]);
    for (let n = 0; n < 2; n++) k.expect("core", down(otherDown()), { counter: "pass_downlink" });
    const counter = { take: "take_uplink", route: "take_routed", drop: "drop_rule", pass: "pass_no_rule" }[action];
    k.expect("access", up(otherUp()), { counter });
    k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  });
}

test("C7: rules that change hold for what the core began, with its next packet", () => {
  const k = open([treated()]);
  for (const inner of [otherDown(), tcpDown("S"), tcpDown("A")])
    k.expect("core", down(inner), { counter: "pass_treated" });
  k.setRules([treated({ priority: 5 })]);
  for (const inner of [otherDown(), tcpDown("A")]) k.expect("core", down(inner), { counter: "pass_treated" });
  const elsewhere = treated({ match: { destination: ["203.0.115.0/24"], destinationPorts: [[7, 7]], protocol: [17] } });
  k.setRules([elsewhere]);
  for (const inner of [otherDown(), tcpDown("A")]) k.expect("core", down(inner), { counter: "pass_downlink" });
  k.setRules([treated()]);
  k.expect("core", down(otherDown()), { counter: "pass_treated" });
  k.expect("core", down(tcpDown("A")), { counter: "pass_downlink" });
});

test("a UE without a proven uplink, or with all the flows that it may have: what the core begins passes", () => {
  const k = fresh({}, [treated()]);
  for (let n = 0; n < 2; n++) k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  const full = learnt({ ueFlows: 2 });
  full.setRules([treated()]);
  const from = (sport: number): f.Layers => [f.ip(other, ue), f.udp({ sport, dport: 1 }), f.payload("x")];
  for (const sport of [1, 2]) full.expect("core", down(from(sport)), { counter: "pass_treated" });
  assert.is(full.expect("core", down(from(3)), { counter: "pass_downlink" }).counted.note_full, 1);
  full.expect("core", down(from(1)), { counter: "pass_treated" });
});

test("observe mode treats nothing", () => {
  const k = open([treated()]);
  k.configure({ mode: "observe" });
  k.expect("access", up(otherUp()), { counter: "pass_observe" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test.run();
