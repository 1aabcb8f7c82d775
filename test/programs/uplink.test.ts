/**
 * Which uplink packets are taken, and which pass with which reason? (uplink.h, classify.h)
 *
 * A8, A11, A16, A18: three cases side by side. docs/packet-path.md, "Uplink", "Fit to be taken", "Deciding".
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PORT_APPS } from "../../dataplane/ebpf/consts.ts";
import { flow as flowCodec } from "../../dataplane/ebpf/layout.ts";
import * as f from "../packets/frame.ts";
import {
  app,
  dnsUp,
  downTunnel,
  fresh,
  hop,
  inTunnel,
  learnt,
  otherUp,
  route,
  rule,
  rules,
  service,
  tcpUp,
  toApp,
  ue,
  ue6,
  up,
  upTunnel,
  web6,
} from "./scene.ts";

const udpTo = (to: string, dport = 9, sport = 1234, from = ue): f.Layers => [
  f.ip(from, to),
  f.udp({ sport, dport }),
  f.payload("data"),
];

test("A18: what no rule matches goes on to the core untouched; what a rule takes goes to the app; what is routed goes to the apps' network as it is", () => {
  const k = learnt();
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", out: "same" });
  k.expect("access", up(udpTo(service.any)), { counter: "take_uplink", out: toApp(hop.any, udpTo(app.any)) });
  const routed = udpTo(route);
  k.expect("access", up(routed), { counter: "take_routed", out: toApp(hop.web, routed) });
});

test("A4, A6: the first packet of an unknown UE teaches its tunnel and is taken at once; without a downlink, one is wanted", () => {
  const k = fresh();
  k.expect("access", up(dnsUp()), {
    counter: "take_uplink",
    events: ["session-new", "wanted"],
    notes: ["note_learnt"],
  });
  assert.is(k.bearers(ue), "up 100 live");
});

test("without a control plane nobody could find the downlink: the packet passes, and is taken as soon as the core showed it", () => {
  const k = fresh({ slowPort: false });
  k.expect("access", up(dnsUp()), { counter: "pass_aside" });
  k.expect("core", inTunnel(downTunnel, udpTo(ue, 5, 5, "203.0.115.1")), { counter: "pass_downlink" });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
});

test("a UE that stands aside is not taken from, until its time is over", () => {
  const k = learnt();
  const s = k.session(ue);
  assert.ok(s);
  k.setSession(s.index, { aside_until: k.ago(-2) });
  k.expect("access", up(dnsUp()), { counter: "pass_aside" });
  k.setSession(s.index, { aside_until: k.ago(1) });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
});

test("a taken flow ends when its UE stands aside without a downlink: nobody could ever answer it", () => {
  const k = fresh({ cacheFor: 0 });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.setSession(k.session(ue)?.index ?? 0, { aside_until: k.ago(-2) });
  k.expect("access", up(dnsUp()), { counter: "pass_aside" });
  assert.is(k.size("flows"), 0);
});

const unfit: [string, f.Layers][] = [
  ["a wrong header checksum", [f.ipv4({ src: ue, dst: service.any, checksum: 1 }), f.udp(), f.zeros(8)]],
  ["IPv4 options", [f.ipv4({ src: ue, dst: service.any, options: f.hex("01010100") }), f.udp(), f.zeros(8)]],
  ["a total length below the T-PDU", [f.ipv4({ src: ue, dst: service.any, length: 30 }), f.udp(), f.zeros(8)]],
  ["a total length above the T-PDU", [f.ipv4({ src: ue, dst: service.any, length: 100 }), f.udp(), f.zeros(8)]],
  ["TTL 1", [f.ipv4({ src: ue, dst: service.any, ttl: 1 }), f.udp(), f.zeros(8)]],
  ["TTL 0", [f.ipv4({ src: ue, dst: service.any, ttl: 0 }), f.udp(), f.zeros(8)]],
  ["ICMPv6 in IPv4", [f.ipv4({ src: ue, dst: service.any, protocol: 58 }), f.icmpv6()]],
  ["fewer than 8 octets behind the header", [f.ipv4({ src: ue, dst: service.any, protocol: 17 }), f.zeros(7)]],
  ["a TCP header of fewer than 20 octets", [f.ipv4({ src: ue, dst: service.any, protocol: 6 }), f.zeros(19)]],
  ["a TCP data offset of 4", [f.ipv4({ src: ue, dst: service.any }), f.tcp({ offset: 4 })]],
  ["a TCP data offset behind the packet", [f.ipv4({ src: ue, dst: service.any }), f.tcp({ offset: 15 })]],
  [
    "a UDP length other than the transport's",
    [f.ipv4({ src: ue, dst: service.any }), f.udp({ length: 12 }), f.zeros(8)],
  ],
  [
    "a first fragment with a UDP length below 8",
    [f.ipv4({ src: ue, dst: service.any, mf: true }), f.udp({ length: 7 }), f.zeros(8)],
  ],
  ["IPv6: hop limit 1", [f.ipv6({ src: ue6, dst: web6, hops: 1 }), f.udp(), f.zeros(8)]],
  ["IPv6: a payload length other than the T-PDU's", [f.ipv6({ src: ue6, dst: web6, length: 99 }), f.udp(), f.zeros(8)]],
  ["IPv6: ICMP of IPv4", [f.ipv6({ src: ue6, dst: web6, next: 1 }), f.icmp()]],
  ["IPv6: fewer than 8 octets behind the header", [f.ipv6({ src: ue6, dst: web6, next: 17 }), f.zeros(7)]],
  ["IPv6: a fragment header and nothing else", [f.ipv6({ src: ue6, dst: web6 }), f.fragmentHeader({ next: 17 })]],
];
for (const [name, inner] of unfit) {
  test(`A8: an inner packet with ${name} goes on to the core and teaches nothing: pass_inner_malformed`, () => {
    const k = fresh();
    k.expect("access", up(inner), { counter: "pass_inner_malformed", out: "same", events: [] });
    assert.is(k.size("tunnels"), 0);
  });
}

test("A11: the first matching rule wins; a rule that says pass is remembered as a passed flow", () => {
  const k = fresh({}, [
    rule(1, {
      match: { destination: ["203.0.113.0/24"], destinationPorts: [[10, 20]] },
      action: "pass",
      endpoints: undefined,
    }),
    rule(2, { match: { destination: ["203.0.113.0/24"] }, endpoints: [{ address: app.any }] }),
  ]);
  k.expect("access", up(udpTo("203.0.113.7", 21)), { counter: "take_uplink", out: toApp(1, udpTo(app.any, 21)) });
  for (const port of [10, 15, 20]) k.expect("access", up(udpTo("203.0.113.7", port)), { counter: "pass_no_rule" });
  assert.is(k.flowsOf(0).filter(({ flow }) => flow.action === 0).length, 3);
  k.expect("access", up(udpTo("203.0.113.7", 15)), { counter: "pass_no_rule" });
});

for (const [name, match, fits, fails] of [
  ["source prefix", { source: ["10.45.0.0/30"] }, udpTo(service.any), udpTo(service.any, 9, 1, "10.45.0.4")],
  ["protocol", { protocol: [17] }, udpTo(service.any), tcpUp({}, service.any)],
  [
    "destination port",
    { destinationPorts: [[9, 9]] as [number, number][] },
    udpTo(service.any, 9),
    udpTo(service.any, 10),
  ],
  [
    "source port",
    { sourcePorts: [[1000, 2000]] as [number, number][] },
    udpTo(service.any, 9, 2000),
    udpTo(service.any, 9, 2001),
  ],
] as const) {
  test(`A16: a rule's ${name} decides`, () => {
    const match2 = { destination: [`${service.any}/32`], ...match };
    const k = fresh({}, [rule(1, { match: match2 as never, endpoints: [{ address: app.any }] })]);
    k.expect("access", up(fits), { counter: "take_uplink" });
    k.expect("access", up(fails, { teid: 0x101 }), {
      counter: name === "source prefix" ? "pass_no_rule" : "pass_unproven",
    });
    k.expect("access", up(name === "source prefix" ? otherUp() : fails), { counter: "pass_no_rule" });
  });
}

test("A11: a rule for another address in the same bucket takes nothing else", () => {
  const k = learnt();
  for (const last of [1, 79, 82, 255]) k.expect("access", up(udpTo(`203.0.113.${last}`)), { counter: "pass_no_rule" });
});

test("TCP is taken from its SYN on only: a running connection stays where it is", () => {
  const k = learnt();
  for (const flags of ["A", "SA", "PA", "FA", "R", "RA", "SR", "SF"])
    k.expect("access", up(tcpUp({ flags })), { counter: "pass_mid_connection" });
  k.expect("access", up(tcpUp({ flags: "S" })), { counter: "take_uplink" });
  for (const flags of ["A", "PA", "FA"]) k.expect("access", up(tcpUp({ flags })), { counter: "take_uplink" });
});

test("a protocol that cannot be translated is not taken, but may be routed", () => {
  const k = learnt();
  k.expect("access", up([f.ipv4({ src: ue, dst: service.any }), f.sctp(), f.zeros(16)]), { counter: "pass_no_rule" });
  const sctp: f.Layers = [f.ipv4({ src: ue, dst: route }), f.sctp(), f.zeros(16)];
  k.expect("access", up(sctp), { counter: "take_routed", out: toApp(1, sctp) });
});

test("an ICMP message that is neither echo nor error of a taken flow passes", () => {
  const k = learnt();
  k.expect("access", up([f.ipv4({ src: ue, dst: service.any }), f.icmp({ type: 13 }), f.zeros(12)]), {
    counter: "pass_no_rule",
  });
  k.expect("access", up([f.ipv4({ src: ue, dst: service.any }), f.icmp({ type: 3, rest: 0 }), dnsUp()]), {
    counter: "pass_no_rule",
  });
});

test("only the tunnel's own UE is taken from it", () => {
  const k = learnt();
  k.expect("access", up(udpTo(service.any, 9, 1, "10.45.0.99")), { counter: "pass_not_own_source", out: "same" });
  assert.is(k.session("10.45.0.99"), undefined);
});

test("protected prefixes are reached from no tunnel, whoever asks: drop_protected, drop_gtp_in_gtp", () => {
  const k = fresh({ protect: ["192.0.2.0/24", "2001:db8:2::/48"] });
  k.expect("access", up(udpTo("192.0.2.5")), { counter: "drop_protected", events: [] });
  k.expect("access", up(tcpUp({}, "192.0.2.5")), { counter: "drop_protected" });
  k.expect("access", up(udpTo("192.0.2.5", 2152)), { counter: "drop_gtp_in_gtp" });
  k.expect("access", up(udpTo("192.0.2.5", 2123)), { counter: "drop_gtp_in_gtp" });
  k.expect("access", up(tcpUp({ dport: 2152 }, "192.0.2.5")), { counter: "drop_protected" });
  k.expect("access", up(udpTo("2001:db8:2::10", 2152, 1, ue6)), { counter: "drop_gtp_in_gtp" });
  k.expect("access", up(udpTo("2001:db8:2::10", 53, 1, ue6)), { counter: "drop_protected" });
  k.expect("access", up(udpTo("192.0.3.5")), { counter: "pass_no_rule" });
  assert.is(k.session(ue)?.flags, 1);
});

test("a UE's share of flows is the limit, for taken and for passed flows: pass_table_full", () => {
  const k = fresh({ ueFlows: 2 });
  k.expect("access", up(udpTo(service.any, 1)), { counter: "take_uplink" });
  k.expect("access", up(udpTo(service.any, 2)), { counter: "take_uplink" });
  k.expect("access", up(udpTo(service.any, 3)), { counter: "pass_table_full", notes: ["note_full"] });
  k.expect("access", up(udpTo(service.any, 1)), { counter: "take_uplink" });
});

test("a SYN on a closed connection, or after the rules changed, is decided anew; nothing else ever is", () => {
  const k = learnt();
  const taken = (flags: string, port = 8080) =>
    toApp(1, [f.ipv4({ src: ue, dst: app.web }), f.tcp({ sport: 40000, dport: port, flags })]);
  const moved = [rule(1, { ...rules[0], endpoints: [{ address: app.web, port: 9090 }] })];
  k.expect("access", up(tcpUp()), { counter: "take_uplink", out: taken("S") });
  k.setRules(moved);
  k.expect("access", up(tcpUp({ flags: "PA" })), { counter: "take_uplink", out: taken("PA") });
  k.expect("access", up(tcpUp()), { counter: "take_uplink", out: taken("S", 9090) });
  k.expect("access", up(tcpUp({ flags: "FA" })), { counter: "take_uplink", out: taken("FA", 9090) });
  k.expect("access", up(tcpUp()), { counter: "take_uplink", out: taken("S", 9090) });
  k.expect("access", up(tcpUp({ flags: "R" })), { counter: "take_uplink", out: taken("R", 9090) });
  k.expect("access", up(tcpUp()), { counter: "take_uplink", out: taken("S", 9090) });
});

test("A10: a taken flow outlives its rule, and ends with its SYN", () => {
  const k = learnt();
  k.expect("access", up(udpTo(service.any)), { counter: "take_uplink" });
  k.expect("access", up(tcpUp()), { counter: "take_uplink" });
  // the prefilter keeps the addresses while flows live (plumbing); here by rules that match other ports
  k.setRules([
    rule(20, {
      match: { destination: [`${service.any}/32`], destinationPorts: [[1, 1]] },
      endpoints: [{ address: app.any }],
    }),
    rule(21, {
      match: { destination: [`${service.web}/32`], destinationPorts: [[1, 1]] },
      endpoints: [{ address: app.web }],
    }),
  ]);
  k.expect("access", up(udpTo(service.any)), { counter: "take_uplink" });
  k.expect("access", up(tcpUp({ flags: "A" })), { counter: "take_uplink" });
  k.expect("access", up(tcpUp()), { counter: "pass_no_rule" });
  k.expect("access", up(tcpUp({ flags: "A" })), { counter: "pass_no_rule" });
});

test("a passed flow is decided again when rules change: UDP at once, TCP with its next SYN", () => {
  const k = fresh({}, [
    rule(1, {
      match: { destination: [`${service.web}/32`], destinationPorts: [[1, 1]] },
      endpoints: [{ address: app.web }],
    }),
  ]);
  k.expect("access", up(tcpUp()), { counter: "pass_no_rule" });
  k.expect("access", up(udpTo(service.web, 80)), { counter: "pass_no_rule" });
  k.setRules([rule(2, { match: { destination: [`${service.web}/32`] }, endpoints: [{ address: app.web }] })]);
  k.expect("access", up(tcpUp({ flags: "A" })), { counter: "pass_no_rule" });
  k.expect("access", up(udpTo(service.web, 80)), { counter: "take_uplink" });
  k.expect("access", up(tcpUp()), { counter: "take_uplink" });
});

test("a known flow that comes through another tunnel of its own UE stays the same flow", () => {
  const k = learnt();
  const seen = toApp(hop.dns, [
    f.ipv4({ src: ue, dst: app.dns }),
    f.udp({ sport: 40001, dport: 53 }),
    f.payload("query"),
  ]);
  k.expect("access", up(dnsUp()), { counter: "take_uplink", out: seen });
  k.expect("access", up(dnsUp(), { teid: 0x101 }), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("access", up(dnsUp()), { counter: "take_uplink", out: seen });
});

test("the same TEID at another gateway, or under another tag, is another tunnel: another UE may have it", () => {
  const k = learnt();
  for (const [from, change] of [
    ["10.45.0.3", { to: "198.18.2.11" }],
    ["10.45.0.4", { tags: [f.vlan(7)] }],
  ] as const)
    k.expect(
      "access",
      up(udpTo(service.any, 9, 1, from), { ...upTunnel, ...change, tags: "tags" in change ? [...change.tags] : [] }),
      {
        counter: "take_uplink",
      },
    );
});

test("an endpoint whose port is gone: drop_redirect; whose next hop does not exist: drop_taken_malformed", () => {
  for (const cacheFor of [0, 1 << 30]) {
    const k = learnt({ cacheFor });
    k.expect("access", up(dnsUp()), { counter: "take_uplink" });
    k.expect("access", up(dnsUp()), { counter: "take_uplink" });
    k.unplug(PORT_APPS);
    const ran = k.run("access", up(dnsUp()));
    assert.is(ran.verdict, "drop");
    assert.equal(ran.counted, { take_uplink: 1, drop_redirect: 1 });
  }
  const k = learnt({ cacheFor: 0 });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  const [only] = k.flowsOf(0);
  assert.ok(only);
  const { raw, flow } = only;
  k.object.map("flows").update(raw, flowCodec.encode({ ...flow, next_hop: 5000 }));
  const ran = k.run("access", up(dnsUp()));
  assert.is(ran.verdict, "drop");
  assert.equal(ran.counted, { drop_taken_malformed: 1 });
});

test.run();
