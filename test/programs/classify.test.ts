/**
 * Does the classifier do what rules say, in every dimension and with every action? (search.h, classify.h)
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endpointSlots, slotOf } from "../../dataplane/ebpf/endpoints.ts";
import type { Match, SteeringRule } from "../../dataplane/steering.ts";
import * as f from "../packets/frame.ts";
import { dataplanes, type Kernel } from "./kernel.ts";
import {
  app,
  down,
  fresh,
  gateway,
  otherDown,
  otherUp,
  rule,
  rules,
  service,
  station,
  tcpUp,
  ue,
  ue6,
  up,
  web6,
} from "./scene.ts";

const drop = (match: Match, id = 90): SteeringRule => rule(id, { match, action: "drop", endpoints: undefined });

/** These rules, with the UE's uplink and downlink learnt; what teaches is met by no rule. */
function learnt(list: readonly SteeringRule[], of = ue): Kernel {
  const k = fresh();
  k.run("access", up(otherUp(of)));
  k.run("core", down(otherDown(of)));
  k.setRules(list);
  return k;
}
const udpTo = (dst: string, change: { sport?: number; dport?: number; tos?: number } = {}): f.Layers => [
  f.ip(dst.includes(":") ? ue6 : ue, dst, { tos: change.tos ?? 0 }),
  f.udp({ sport: change.sport ?? 40000, dport: change.dport ?? 53 }),
  f.payload("text"),
];

interface Case {
  name: string;
  match: Match;
  inside: Uint8Array;
  outside: Uint8Array;
}

const plain = up(udpTo(service.any));
const tagged = (...ids: number[]) => up(udpTo(service.any), { tags: ids.map((id) => f.vlan(id)) });
const withQfi = (qfi: number) => up(udpTo(service.any), { gtp: { ext: [f.psc({ type: 1, qfi })] } });
const fromMac = (src: string) => up(udpTo(service.any), { mac: { src } });
const toMac = (dst: string) => up(udpTo(service.any), { mac: { dst } });

const cases: Case[] = [
  {
    name: "destination",
    match: { destination: [`${service.any}/32`] },
    inside: plain,
    outside: up(udpTo("203.0.113.91")),
  },
  {
    name: "one of several destination prefixes",
    match: { destination: ["192.0.2.0/24", "203.0.113.88/30"] },
    inside: up(udpTo("203.0.113.91")),
    outside: up(udpTo("203.0.113.92")),
  },
  { name: "source", match: { source: ["10.45.0.2/31"] }, inside: plain, outside: up(udpTo(web6)) },
  { name: "family", match: { family: 4 }, inside: plain, outside: up(udpTo(web6)) },
  { name: "protocol", match: { protocol: [6, 17] }, inside: plain, outside: up([f.ip(ue, service.any), f.icmp({})]) },
  {
    name: "destination port",
    match: {
      destinationPorts: [
        [1, 2],
        [53, 60],
      ],
    },
    inside: up(udpTo(service.any, { dport: 60 })),
    outside: up(udpTo(service.any, { dport: 61 })),
  },
  {
    name: "source port",
    match: { sourcePorts: [[40000, 40001]] },
    inside: plain,
    outside: up(udpTo(service.any, { sport: 40002 })),
  },
  {
    name: "DSCP",
    match: {
      dscp: [
        [46, 46],
        [10, 12],
      ],
    },
    inside: up(udpTo(service.any, { tos: 0xb8 })),
    outside: up(udpTo(service.any, { tos: 0xbc })),
  },
  { name: "VLAN", match: { vlan: [[100, 199]] }, inside: tagged(150), outside: tagged(200) },
  { name: "no VLAN", match: { vlan: [[0, 0]] }, inside: plain, outside: tagged(7) },
  { name: "inner VLAN", match: { innerVlan: [[30, 30]] }, inside: tagged(20, 30), outside: tagged(30, 20) },
  {
    name: "source MAC",
    match: { sourceMac: ["02:00:00:00:00:09", "fe:ff:ff:ff:ff:ff"] },
    inside: fromMac("fe:ff:ff:ff:ff:ff"),
    outside: fromMac("fe:ff:ff:ff:ff:fe"),
  },
  {
    name: "destination MAC",
    match: { destinationMac: ["02:00:00:00:00:09"] },
    inside: toMac("02:00:00:00:00:09"),
    outside: plain,
  },
  {
    name: "base station",
    match: { baseStation: [`${station}/32`] },
    inside: plain,
    outside: up(udpTo(service.any), { from: "198.18.1.11" }),
  },
  {
    name: "gateway",
    match: { gateway: ["198.18.2.0/28", "2001:db8::/32"] },
    inside: plain,
    outside: up(udpTo(service.any), { to: "198.18.2.99" }),
  },
  {
    name: "TEID",
    match: {
      teid: [
        [0x100, 0x1ff],
        [0xffff0000, 0xffffffff],
      ],
    },
    inside: plain,
    outside: up(udpTo(service.any), { teid: 0x200 }),
  },
  { name: "QFI", match: { qfi: [[5, 9]] }, inside: withQfi(9), outside: withQfi(10) },
  { name: "QFI of a packet that has none", match: { qfi: [[0, 63]] }, inside: withQfi(0), outside: plain },
  {
    name: "data plane",
    match: { dataplanes: [dataplanes[0]!], destination: [`${service.any}/32`] },
    inside: plain,
    outside: up(udpTo("203.0.113.91")),
  },
];

for (const { name, match, inside, outside } of cases) {
  test(`A16: ${name}: what lies inside is dropped, what lies outside passes`, () => {
    for (const list of [[drop(match)], [drop({ ...match, destinationPorts: [[9, 9]] }, 89), drop(match)]]) {
      for (const [frame, counter] of [
        [inside, "drop_rule"],
        [outside, "pass_no_rule"],
      ] as const) {
        if (name.includes("port") && list.length > 1) continue;
        const k = fresh({}, list);
        // Whatever tunnel it is: the first packet teaches it.
        const ran = k.run("access", frame);
        assert.ok(ran.counted[counter], `${counter}: ${Object.keys(ran.counted)}`);
      }
    }
  });
}

test("A16: a rule for another data plane, or one that is not known, matches nothing here", () => {
  for (const name of [dataplanes[1]!, "gone"]) {
    const k = learnt([drop({ dataplanes: [name] })]);
    k.expect("access", plain, { counter: "pass_no_rule" });
  }
});

test("A17: a dropped flow stays dropped, also in the middle of a connection, and passes when its rule has gone", () => {
  const k = learnt([]);
  k.expect("access", up(tcpUp()), { counter: "pass_no_rule" });
  k.setRules([drop({ destination: [`${service.web}/32`] }), ...rules]);
  for (const flags of ["S", "A", "A"]) k.expect("access", up(tcpUp({ flags })), { counter: "drop_rule" });
  k.expect("access", up(tcpUp({ flags: "PA", sport: 40009 })), { counter: "drop_rule" });
  for (let i = 0; i < 2; i++) k.expect("access", up(udpTo(service.web)), { counter: "drop_rule" });
  k.configure({ mode: "observe" });
  k.setRules([drop({ destination: [`${service.web}/32`] })]);
  k.expect("access", up(udpTo(service.web)), { counter: "pass_observe" });
  k.configure({ mode: "offload" });
  k.setRules([]);
  k.expect("access", up(udpTo(service.web)), { counter: "pass_no_rule" });
});

test("A17: a UE whose share of flows is used up is dropped all the same; ICMP errors and fragments are, too", () => {
  const k = learnt([drop({ source: [`${ue}/32`] })]);
  k.configure({ ueFlows: 1 });
  for (let sport = 1; sport < 4; sport++)
    k.expect("access", up(udpTo(service.any, { sport })), { counter: "drop_rule" });
  k.expect("access", up([f.ip(ue, service.any), f.icmp({ type: 3 }), f.payload("quoted")]), { counter: "drop_rule" });
  const parts = f.fragments(f.packet(udpTo(service.any, { sport: 1 }).concat(f.payload("more text, more text"))), 24);
  for (const part of parts) {
    const layer: f.Layer = { kind: "ipv4", build: () => part };
    k.expect("access", up([layer]), { counter: "drop_rule" });
  }
});

test("a rule that passes stands before one that drops", () => {
  const k = learnt([
    rule(1, { match: { destination: [`${service.any}/32`] }, action: "pass", endpoints: undefined }),
    drop({ destination: ["203.0.113.0/24"] }),
  ]);
  k.expect("access", plain, { counter: "pass_no_rule" });
  k.expect("access", up(udpTo(service.web)), { counter: "drop_rule" });
});

test("A16: GTP-U messages: only those that a rule names are dropped; G-PDUs are not meant", () => {
  const k = learnt([drop({ message: [[1, 2]] }), drop({ message: [[254, 254]], baseStation: ["198.18.1.11/32"] })]);
  const echo = (from = station) =>
    f.frame([f.eth(), f.ip(from, gateway), f.udp({ sport: 2152, dport: 2152 }), f.echo({ response: false })]);
  const end = (from: string) =>
    f.frame([f.eth(), f.ip(from, gateway), f.udp({ sport: 2152, dport: 2152 }), f.endMarker(0x100)]);
  k.expect("access", echo(), { counter: "drop_rule" });
  k.expect("access", end(station), { counter: "pass_gtpu_control" });
  k.expect("access", end("198.18.1.11"), { counter: "drop_rule" });
  k.expect("access", plain, { counter: "pass_no_rule" });
  k.configure({ mode: "observe" });
  k.expect("access", echo(), { counter: "pass_gtpu_control" });
});

test("A16: flows are decided again when DSCP or QFI change, while rules depend on them", () => {
  const k = learnt([drop({ dscp: [[46, 46]] }), drop({ qfi: [[7, 7]] })]);
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 2; i++) k.expect("access", plain, { counter: "pass_no_rule" });
    for (let i = 0; i < 2; i++) k.expect("access", up(udpTo(service.any, { tos: 0xb8 })), { counter: "drop_rule" });
    for (let i = 0; i < 2; i++) k.expect("access", withQfi(6), { counter: "pass_no_rule" });
    for (let i = 0; i < 2; i++) k.expect("access", withQfi(7), { counter: "drop_rule" });
  }
});

test("… a taken flow stays taken whatever its DSCP", () => {
  const k = learnt([rule(1, { match: { dscp: [[46, 46]] }, endpoints: [{ address: app.any }] })]);
  k.expect("access", plain, { counter: "pass_no_rule" });
  k.expect("access", up(udpTo(service.any, { tos: 0xb8 })), { counter: "take_uplink" });
  for (let i = 0; i < 2; i++) k.expect("access", plain, { counter: "take_uplink" });
});

const endpoints = [1, 2, 3, 4, 5].map((n) => ({ address: `10.60.1.${n}`, port: 8000 + n, weight: n }));

for (const affinity of ["connection", "ue"] as const) {
  test(`several endpoints: each ${affinity} goes where its slot says, and stays there when the set changes`, () => {
    const several = (list: SteeringRule["endpoints"]) => [
      rule(1, { match: { destination: [`${service.web}/32`] }, affinity, ...(list && { endpoints: list }) }),
    ];
    const k = learnt(several(endpoints));
    const slots = endpointSlots(endpoints);
    const went = (sport: number) => {
      const { counted, frame } = k.run("access", up(udpTo(service.web, { sport })));
      assert.ok(counted.take_uplink);
      return `10.60.1.${frame[33]}:${f.get16(frame, 36)}`;
    };
    const expected = (sport: number) => {
      const connection = { ue, remote: service.web, protocol: 17, uePort: sport, remotePort: 53 };
      const { address, port } = endpoints[slots[slotOf(connection, affinity)]!]!;
      return `${address}:${port}`;
    };
    const ports = Array.from({ length: 40 }, (_, i) => 30000 + i * 7);
    for (const sport of ports) assert.is(went(sport), expected(sport));
    assert.ok(new Set(ports.map(expected)).size === (affinity === "ue" ? 1 : 5));
    const fewer = endpoints.map((one, i) => (i === 4 ? { ...one, state: "down" as const } : one));
    k.setRules(several(fewer));
    for (const sport of ports) assert.is(went(sport), expected(sport), "a running flow");
    k.setRules(several(fewer.map((one) => ({ ...one, state: "down" as const }))));
    k.expect("access", up(udpTo(service.web, { sport: 1 })), { counter: "pass_no_rule" });
    for (const sport of ports) assert.is(went(sport), expected(sport), "a running flow");
    k.setRules(several(fewer));
    k.expect("access", up(udpTo(service.web, { sport: 1 })), { counter: "take_uplink" });
  });
}

test("A6: apps speak first from each of several endpoints, draining ones too, and the UE sees the service", () => {
  const list = endpoints.map((one, i) => ({
    ...one,
    state: i === 1 ? ("draining" as const) : i === 2 ? ("down" as const) : ("up" as const),
  }));
  const k = learnt([
    rule(1, {
      match: { destination: [`${service.web}/32`], protocol: [17], destinationPorts: [[5000, 5010]] },
      endpoints: list,
      appInitiated: true,
    }),
  ]);
  const from = (n: number, port: number) =>
    f.frame([f.eth(), f.ip(`10.60.1.${n}`, ue), f.udp({ sport: port, dport: 7000 + n }), f.payload("hello")]);
  for (const n of [1, 2, 4, 5]) {
    const { counted, frame } = k.run("from_apps", from(n, 8000 + n));
    assert.ok(counted.reply_downlink, `${n}: ${Object.keys(counted)}`);
    assert.is(f.get16(frame, frame.length - 13), 5000, "as the UE sees it");
  }
  k.expect("from_apps", from(3, 8003), { counter: "drop_no_flow", verdict: "drop" });
  k.expect("from_apps", from(1, 8002), { counter: "drop_no_flow", verdict: "drop" });
});

test("10 000 rules: the one that is meant is found, the first, the last and between", () => {
  const k = learnt([]);
  const at = (i: number) => `203.${i >> 8}.${i & 255}.7`;
  const list = Array.from({ length: 10_000 }, (_, i) =>
    rule(i + 1, { match: { destination: [`${at(i)}/32`] }, endpoints: [{ address: app.web, port: 10_000 + i }] }),
  );
  k.setRules(list);
  for (const i of [0, 1, 63, 64, 4095, 4096, 5000, 8191, 8192, 9999]) {
    const { frame } = k.run("access", up(udpTo(at(i))));
    assert.is(f.get16(frame, 36), 10_000 + i);
  }
  k.expect("access", up(udpTo("203.0.0.8")), { counter: "pass_no_rule" });
});

test.run();
