/**
 * Does a rule for one direction meet the packets of that direction, each by itself, and no other?
 *
 * docs/packet-path.md, "Rules for one direction". MEC 011 §7.1.6.2 calls them PACKET filters (B1).
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Direction, Match, SteeringRule } from "../../dataplane/steering.ts";
import * as f from "../packets/frame.ts";
import { hopMac, type Kernel } from "./kernel.ts";
import {
  app,
  dnsDown,
  dnsUp,
  down,
  fresh,
  fromApp,
  gateway,
  learnt,
  other,
  other6,
  otherDown,
  otherUp,
  rule,
  rules,
  station,
  tcpUp,
  toApp,
  ue,
  ue6,
  up,
} from "./scene.ts";

const only = (id: number, direction: Direction, change: Partial<SteeringRule> = {}): SteeringRule => {
  const { match, ...rest } = change;
  return rule(id, { match: { destination: [`${other}/32`], direction, ...match }, action: "drop", ...rest });
};
const treated = (id: number): SteeringRule =>
  rule(id, { match: { destination: [`${other}/32`] }, action: "pass", treatment: { rate: { uplink: 1e12 } } });
const open = (...list: SteeringRule[]): Kernel => {
  const k = learnt();
  k.setRules(list);
  return k;
};
const tcpDown = (flags: string): f.Layers => [f.ip(other, ue), f.tcp({ sport: 80, dport: 40000, flags })];

for (const destination of [`${other}/32`, "203.0.115.0/28", "0.0.0.0/0"]) {
  test(`B1: a drop of one direction toward ${destination} leaves the other alone, however often they come`, () => {
    const k = open(only(20, "uplink", { match: { destination: [destination] } }));
    for (let n = 0; n < 3; n++) {
      k.expect("access", up(otherUp()), { counter: "drop_rule" });
      k.expect("core", down(otherDown()), { counter: "pass_downlink" });
    }
    k.setRules([only(20, "downlink", { match: { destination: [destination] } })]);
    for (let n = 0; n < 3; n++) {
      k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
      k.expect("core", down(otherDown()), { counter: "drop_rule" });
    }
    k.setRules([]);
    k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
    k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  });
}

test("B1: the downlink meets them whoever began, in the middle of a connection, and in a tunnel that is new", () => {
  const k = open(only(20, "downlink"));
  for (const flags of ["S", "A", "FA", "R"]) k.expect("core", down(tcpDown(flags)), { counter: "drop_rule" });
  const unknown = fresh({}, [only(20, "downlink")]);
  unknown.expect("core", down(otherDown()), { counter: "drop_rule", events: ["session-new"] });
  const refused = fresh({ corePeers: ["198.51.100.0/24"] }, [only(20, "downlink")]);
  refused.expect("core", down(otherDown()), { counter: "pass_peer_refused" });
});

test("B1: the uplink meets them in the middle of a connection, but not what was taken before", () => {
  const k = open(only(20, "uplink", { match: { protocol: [6] } }));
  for (const flags of ["S", "A", "PA", "FA"]) k.expect("access", up(tcpUp({ flags }, other)), { counter: "drop_rule" });
  k.setRules(rules);
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.setRules([only(8, "uplink", { match: { destination: ["203.0.113.53/32"] }, priority: 9999 }), ...rules]);
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  k.expect("access", up(dnsUp("new", 40002)), { counter: "drop_rule" });
});

test("an exception for one direction is one for that direction only", () => {
  const drop = rule(30, { match: { destination: [`${other}/32`] }, action: "drop" });
  const k = open(only(20, "uplink", { action: "pass" }), drop);
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  const both = open(only(20, "downlink", { action: "pass" }), treated(30));
  for (let n = 0; n < 2; n++) {
    both.expect("access", up(otherUp()), { counter: "pass_treated" });
    both.expect("core", down(otherDown()), { counter: "pass_downlink" });
  }
});

test("between a rule for one direction and one for flows, priority decides, packet by packet", () => {
  const above = open(only(20, "downlink"), treated(30));
  for (let n = 0; n < 2; n++) {
    above.expect("access", up(otherUp()), { counter: "pass_treated" });
    above.expect("core", down(otherDown()), { counter: "drop_rule" });
  }
  const below = open(treated(20), only(30, "downlink"));
  for (let n = 0; n < 2; n++) {
    below.expect("access", up(otherUp()), { counter: "pass_treated" });
    below.expect("core", down(otherDown()), { counter: "pass_treated" });
  }
  const shielded = open(rule(20, { match: { destination: [`${other}/32`] }, endpoints: [{ address: app.any }] }));
  shielded.setRules([
    rule(20, { match: { destination: [`${other}/32`] }, endpoints: [{ address: app.any }] }),
    only(30, "downlink"),
  ]);
  shielded.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test("a flow whose uplink belongs to a rule for one direction has no other rule on the downlink either", () => {
  const k = open(only(20, "uplink"), treated(30));
  for (let n = 0; n < 2; n++) {
    k.expect("core", down(otherDown()), { counter: "pass_downlink" });
    k.expect("access", up(otherUp()), { counter: "drop_rule" });
  }
});

const members: [string, Match, "drop_rule" | "pass_downlink"][] = [
  ["its ends", { source: [`${ue}/32`], destinationPorts: [[9, 9]], sourcePorts: [[1234, 1234]] }, "drop_rule"],
  ["the ends the other way round", { destinationPorts: [[1234, 1234]] }, "pass_downlink"],
  ["base station and gateway", { baseStation: [`${station}/32`], gateway: [`${gateway}/32`] }, "drop_rule"],
  ["TEID of the uplink", { teid: [[0x100, 0x100]] }, "drop_rule"],
  ["TEID of the downlink", { teid: [[0x200, 0x200]] }, "pass_downlink"],
  ["MAC addresses as the access side has them", { sourceMac: ["02:00:00:00:00:02"] }, "drop_rule"],
  ["MAC addresses of the frame itself", { sourceMac: ["02:00:00:00:00:01"] }, "pass_downlink"],
  ["another data plane", { dataplanes: ["s2"] }, "pass_downlink"],
];
for (const [what, match, counter] of members) {
  test(`A16: downlink rules tell packets apart by ${what}, written as the uplink has it: ${counter}`, () => {
    const k = open(only(20, "downlink", { match: { destination: [`${other}/32`], protocol: [17], ...match } }));
    for (let n = 0; n < 2; n++) k.expect("core", down(otherDown()), { counter });
  });
}

test("A16: DSCP, QFI and tags are those of each packet, in its direction", () => {
  const marked = (tos: number): f.Layers => [
    f.ipv4({ src: other, dst: ue, tos }),
    f.udp({ sport: 9, dport: 1234 }),
    f.payload("x"),
  ];
  const k = open(only(20, "downlink", { match: { dscp: [[46, 46]] } }));
  k.expect("core", down(marked(46 << 2)), { counter: "drop_rule" });
  k.expect("core", down(marked(0)), { counter: "pass_downlink" });
  k.setRules([only(20, "downlink", { match: { qfi: [[9, 9]] } })]);
  const qfi = (n: number) => ({ gtp: { teid: 0x200, ext: [f.psc({ type: 0, qfi: n })] } });
  k.expect("core", down(otherDown(), qfi(9)), { counter: "drop_rule" });
  k.expect("core", down(otherDown(), qfi(8)), { counter: "pass_downlink" });
  k.setRules([only(20, "downlink", { match: { vlan: [[7, 7]] } })]);
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test("inner fragments follow their first one, in both directions", () => {
  const k = open(
    only(20, "uplink", { match: { destinationPorts: [[9, 9]], protocol: [17] } }),
    only(21, "downlink", { match: { destinationPorts: [[9, 9]], protocol: [17] } }),
  );
  const cut = (from: string, to: string, ports: { sport: number; dport: number }) =>
    f.fragments(f.packet([f.ipv4({ src: from, dst: to, id: 77 }), f.udp(ports), f.payload(100)]), 64);
  for (const part of cut(ue, other, { sport: 1234, dport: 9 }))
    k.expect("access", up([f.payload(part)]), { counter: "drop_rule" });
  for (const part of cut(other, ue, { sport: 9, dport: 1234 }))
    k.expect("core", down([f.payload(part)]), { counter: "drop_rule" });
});

test("ICMP errors are packets as well", () => {
  const error = (from: string, to: string): f.Layers => [
    f.ip(from, to),
    f.icmp({ type: 3, code: 3 }),
    f.payload(f.packet([f.ip(to, from), f.udp({ sport: 1, dport: 2 }), f.payload("quoted")])),
  ];
  const icmp = { match: { protocol: [1] } };
  const k = open(only(20, "uplink", icmp), only(21, "downlink", icmp));
  k.expect("access", up(error(ue, other)), { counter: "drop_rule" });
  k.expect("core", down(error(other, ue)), { counter: "drop_rule" });
});

test("B1: a rate or a mirror of one direction does nothing to the other", () => {
  const treatment = { mirror: { port: "tap0", form: "as-is" } } as const;
  const k = open(only(20, "downlink", { action: "pass", treatment }));
  k.setMirror(true);
  for (let n = 0; n < 2; n++) {
    k.expect("core", down(otherDown()), { counter: "pass_treated", out: "same", notes: ["note_mirrored"] });
    k.expect("access", up(otherUp()), { counter: "pass_no_rule", out: "same", notes: [] });
  }
  k.setRules([only(20, "uplink", { action: "pass", treatment })]);
  for (let n = 0; n < 2; n++) {
    k.expect("access", up(otherUp()), { counter: "pass_treated", out: "same", notes: ["note_mirrored"] });
    k.expect("core", down(otherDown()), { counter: "pass_downlink", out: "same", notes: [] });
  }
  k.setMirror(false);
  k.setRules([only(20, "downlink", { action: "pass", treatment: { rate: { downlink: 64 } } })]);
  const counted = Array.from({ length: 200 }, () => Object.keys(k.run("core", down(otherDown())).counted)[0]);
  assert.ok(counted.includes("pass_treated") && counted.includes("drop_rate"));
});

test("a mirror with a copy for one direction of a flow copies that one", () => {
  const copy = { port: "tap0", form: "as-is" } as const;
  for (const direction of ["uplink", "downlink"] as const) {
    const seen = rule(20, {
      match: { destination: [`${other}/32`] },
      action: "pass",
      treatment: { mirror: { [direction]: copy } },
    });
    const k = open(seen);
    k.setMirror(true);
    const notes = (of: Direction) => (of === direction ? ["note_mirrored"] : []);
    k.expect("access", up(otherUp()), { counter: "pass_treated", notes: notes("uplink") });
    k.expect("core", down(otherDown()), { counter: "pass_treated", notes: notes("downlink") });
    k.setMirror(false);
  }
});

test("B1: routed, a packet of either direction leaves its tunnel for the output, alone", () => {
  const output = { port: "out0" };
  const routed = (inner: f.Layers) => f.frame([f.eth(hopMac(2)), inner]);
  const k = open(only(20, "uplink", { action: "route", output }));
  for (const flags of ["A", "PA"]) {
    const inner = tcpUp({ flags }, other);
    k.expect("access", up(inner), { counter: "take_routed", verdict: "redirect", out: routed(inner) });
    k.expect("core", down(tcpDown(flags)), { counter: "pass_downlink" });
  }
  k.setRules([only(20, "downlink", { action: "route", output })]);
  k.expect("core", down(otherDown()), { counter: "take_routed", verdict: "redirect", out: routed(otherDown()) });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  assert.equal(k.flowsOf(1), [], "nothing is remembered");
});

test("B1: without an output, packets of either direction go to the apps' network", () => {
  for (const treatment of [undefined, { mirror: { port: "tap0", form: "as-is" } } as const]) {
    const k = open(only(20, "uplink", { action: "route", ...(treatment && { treatment }) }));
    const goes = { counter: "take_routed", verdict: "redirect", notes: treatment ? ["note_mirrored"] : [] } as const;
    k.setMirror(true);
    k.expect("access", up(otherUp()), { ...goes, notes: [...goes.notes], out: toApp(1, otherUp()) });
    k.setRules([only(20, "downlink", { action: "route", ...(treatment && { treatment }) })]);
    k.expect("core", down(otherDown()), { ...goes, notes: [...goes.notes], out: toApp(1, otherDown()) });
    k.setMirror(false);
  }
});

test("observe mode meets none; IPv6 and plain Ethernet do", () => {
  const k = open(only(20, "uplink"), only(21, "downlink"));
  k.configure({ mode: "observe" });
  k.expect("access", up(otherUp()), { counter: "pass_observe" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  const six = learnt({}, {}, ue6);
  const match = { destination: [`${other6}/128`] };
  six.setRules([only(20, "uplink", { match }), only(21, "downlink", { match })]);
  six.expect("access", up(otherUp(ue6)), { counter: "drop_rule" });
  six.expect("core", down(otherDown(ue6)), { counter: "drop_rule" });
  const [client, router] = ["02:aa:00:00:00:07", "02:cc:00:00:00:01"];
  const plain = fresh({ ethernet: true, pinger: false }, [
    only(20, "uplink", { match: { sourceMac: [client] } }),
    only(21, "downlink", { match: { sourceMac: [client], destinationMac: [router] } }),
  ]);
  plain.expect("ether_access", f.frame([f.eth({ src: client, dst: router }), otherUp()]), { counter: "drop_rule" });
  plain.expect("ether_core", f.frame([f.eth({ src: router, dst: client }), otherDown()]), { counter: "drop_rule" });
});

test("what a rule drops counts for its service, in its direction", () => {
  const k = open(only(20, "uplink"), only(21, "downlink"));
  const packets = (index: number): number => {
    const octets = k.object.map("service_counters").lookup(index)!;
    const view = new DataView(octets.buffer, octets.byteOffset);
    let sum = 0n;
    for (let at = 0; at < octets.length; at += 16) sum += view.getBigUint64(at, true);
    return Number(sum);
  };
  const before = [packets(40), packets(43)];
  for (let n = 0; n < 2; n++) k.run("access", up(otherUp()));
  k.run("core", down(otherDown()));
  assert.equal([packets(40) - before[0]!, packets(43) - before[1]!], [2, 1]);
});

test.run();
