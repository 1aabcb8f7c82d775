/**
 * What exactly does a base station get of an app's reply? (reply.h, encapsulate.h)
 *
 * A3, A6: translated back, behind a header built from the downlink as last observed: Ethernet and tags, DSCP, TTL, DF,
 * addresses, TEID, PDU Session Container. RFC 1191, RFC 8201 where it does not fit; RFC 6935 for the outer checksum.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import type { Kernel } from "./kernel.ts";
import {
  app,
  dnsDown,
  dnsSeen,
  dnsUp,
  down,
  first,
  fresh,
  fromApp,
  gateway6,
  hop,
  learnt,
  otherDown,
  renumbered,
  rule,
  service,
  station6,
  type Tunnel,
  tcpUp,
  toApp,
  ue,
  ue6,
  up,
  web6,
} from "./scene.ts";

/** Runs the reply; compares the frame with `inner` in the downlink tunnel. The outer identification is the program's choice. */
function replies(k: Kernel, from: f.Layers, inner: f.Layers, change: Partial<Tunnel> = {}): Uint8Array {
  const ran = k.expect("from_apps", fromApp(from), { counter: "reply_downlink" });
  const l3 = 14 + (change.tags?.length ?? 0) * 4;
  const v6 = (change.from ?? "").includes(":");
  const port = change.sport !== undefined && change.sport !== 2152 ? f.get16(ran.frame, l3 + (v6 ? 40 : 20)) : 2152;
  if (port !== 2152) assert.ok(port >= 49152, `source port ${port}`);
  const ip = v6 ? change.ip : { ...change.ip, id: f.get16(ran.frame, l3 + 4) };
  sameFrame(ran.frame, down(inner, { ...change, ip, sport: port }));
  return ran.frame;
}

function asked(change: Partial<Tunnel> = {}, upChange: Partial<Tunnel> = {}, settings = {}): Kernel {
  const k = learnt(settings, { down: change, up: upChange });
  k.expect("access", up(dnsUp(), upChange), { counter: "take_uplink" });
  return k;
}

for (const [name, change, seen] of [
  ["as observed", {}, {}],
  [
    "with DSCP, TTL and DF as observed",
    { ip: { tos: 0x28, ttl: 250, df: true } },
    { ip: { tos: 0x28, ttl: 250, df: true } },
  ],
  ["without the sequence number that was observed", { gtp: { seq: 5 } }, {}],
  ["without the N-PDU number that was observed", { gtp: { npdu: 5 } }, {}],
  ["without a UDP checksum, though one was observed", { sum: "auto" as const }, {}],
  [
    "behind one tag as observed, priority and all",
    { tags: [f.vlan(10, { pcp: 5 })] },
    { tags: [f.vlan(10, { pcp: 5 })] },
  ],
  ["behind two tags as observed", { tags: [f.vlan(10), f.vlan(20)] }, { tags: [f.vlan(10), f.vlan(20)] }],
  [
    "with the PDU Session Container as observed",
    { gtp: { ext: [f.psc({ qfi: 9 })] } },
    { gtp: { ext: [f.psc({ qfi: 9 })] } },
  ],
  [
    "with the container's paging policy",
    { gtp: { ext: [f.psc({ qfi: 9, ppi: 3 })] } },
    { gtp: { ext: [f.psc({ qfi: 9, ppi: 3 })] } },
  ],
  [
    "without the other extension headers that were observed",
    { gtp: { ext: [f.ext(0x40), f.psc({ qfi: 9 })] } },
    { gtp: { ext: [f.psc({ qfi: 9 })] } },
  ],
  ["from a source port of our own where the gateway's varies", { sport: 33000 }, { sport: 33000 }],
  [
    "to the same Ethernet addresses",
    { mac: { src: "02:aa:00:00:00:01", dst: "02:bb:00:00:00:02" } },
    { mac: { src: "02:aa:00:00:00:01", dst: "02:bb:00:00:00:02" } },
  ],
] as const) {
  test(`A3, A6: a reply goes into the UE's downlink tunnel ${name}; the second as the first`, () => {
    const k = asked({ ...change } as Partial<Tunnel>);
    const one = replies(k, dnsDown(), dnsSeen(), { ...seen } as Partial<Tunnel>);
    const two = replies(k, dnsDown(), dnsSeen(), { ...seen } as Partial<Tunnel>);
    assert.not.equal(two, one, "each has an identification of its own: RFC 6864");
    sameFrame(two, renumbered(one, two));
    replies(k, dnsDown("another answer"), dnsSeen("another answer"), { ...seen } as Partial<Tunnel>);
  });
}

test("A6: the reply carries the QFI that the UE's uplink carried, else the one observed", () => {
  const gtp = (qfi: number) => ({ ext: [f.psc({ qfi })] });
  const k = asked({ gtp: gtp(9) }, { gtp: { ext: [f.psc({ type: 1, qfi: 5 })] } });
  for (let n = 0; n < 2; n++) replies(k, dnsDown(), dnsSeen(), { gtp: gtp(5) });
  const plain = asked({ gtp: gtp(9) });
  replies(plain, dnsDown(), dnsSeen(), { gtp: gtp(9) });
});

test("flows differ in their source port where the gateway varies its own, one flow never does", () => {
  const k = asked({ sport: 33000 });
  const ports = new Set<number>();
  for (let sport = 1000; sport < 1032; sport++) {
    k.expect("access", up(dnsUp("q", sport)), { counter: "take_uplink" });
    const frames = [
      replies(k, dnsDown("a", sport), dnsSeen("a", sport), { sport: 33000 }),
      replies(k, dnsDown("b", sport), dnsSeen("b", sport), { sport: 33000 }),
    ];
    const [one, two] = frames.map((frame) => f.get16(frame, 34));
    assert.is(one, two);
    ports.add(one ?? 0);
  }
  assert.ok(ports.size > 8, `${ports.size} ports`);
});

const v6 = { from: gateway6, to: station6 };
for (const [name, from, seen] of [
  ["UDP", dnsDown(), dnsSeen()],
  ["UDP of odd length", dnsDown("x"), dnsSeen("x")],
  [
    "UDP without a checksum",
    [f.ipv4({ src: app.dns, dst: ue }), f.udp({ sport: 53, dport: 40001, checksum: "zero" }), f.payload("odd")],
    [f.ipv4({ src: service.dns, dst: ue }), f.udp({ sport: 53, dport: 40001, checksum: "zero" }), f.payload("odd")],
  ],
  ["a long one of odd length", dnsDown("x".repeat(1201)), dnsSeen("x".repeat(1201))],
] as const) {
  test(`the checksum of an outer IPv6 header is right (RFC 8200 §8.1): ${name}`, () => {
    for (const change of [
      {},
      { gtp: { ext: [f.psc({ qfi: 9 })] } },
      { sport: 33000 },
      { tags: [f.vlan(3), f.vlan(4)], gtp: { ext: [f.psc({ ppi: 1 })] } },
    ]) {
      const k = learnt({}, { down: { ...v6, ...change }, up: { from: station6, to: gateway6, tags: change.tags } });
      k.expect("access", up(dnsUp(), { from: station6, to: gateway6, tags: change.tags }), { counter: "take_uplink" });
      replies(k, [...from], [...seen], { ...v6, ...change });
    }
  });
}

test("… for TCP, echoes of both families, fragments, and a QFI of the flow's own", () => {
  const tunnel = { from: station6, to: gateway6, gtp: { ext: [f.psc({ type: 1, qfi: 3 })] } };
  const k = fresh();
  k.expect("access", up(tcpUp(), tunnel), { counter: "take_uplink" });
  k.expect("core", down(otherDown(), { ...v6, gtp: { ext: [f.psc({ qfi: 9 })] } }), { counter: "pass_downlink" });
  const seen = { ...v6, gtp: { ext: [f.psc({ qfi: 3 })] } };
  const segment = (src: string, sport: number): f.Layers => [
    f.ipv4({ src, dst: ue }),
    f.tcp({ sport, dport: 40000, flags: "PA" }),
    f.payload("HTTP"),
  ];
  replies(k, segment(app.web, 8080), segment(service.web, 80), seen);
  const echoUp: f.Layers = [f.ipv4({ src: ue, dst: service.any }), f.icmp({ id: 4 }), f.payload("x")];
  k.expect("access", up(echoUp, tunnel), { counter: "take_uplink" });
  const echo = (src: string): f.Layers => [f.ipv4({ src, dst: ue }), f.icmp({ type: 0, id: 4 }), f.payload("x")];
  replies(k, echo(app.any), echo(service.any), seen);
  k.expect("access", up([f.ipv6({ src: ue6, dst: web6 }), f.icmpv6({ id: 4 }), f.payload("x")], tunnel), {
    counter: "take_uplink",
  });
  k.expect("core", down(otherDown(ue6), { ...v6, gtp: { ext: [f.psc({ qfi: 9 })] } }), { counter: "pass_downlink" });
  const echo6 = (src: string): f.Layers => [
    f.ipv6({ src, dst: ue6 }),
    f.icmpv6({ type: 129, id: 4 }),
    f.payload("xyz"),
  ];
  replies(k, echo6(app.web6), echo6(web6), seen);
  k.expect("access", up(dnsUp(), tunnel), { counter: "take_uplink" });
  const whole = (src: string) =>
    f.packet([f.ipv4({ src, dst: ue, id: 9 }), f.udp({ sport: 53, dport: 40001 }), f.payload(101)]);
  const parts = f.fragments(whole(app.dns), 48);
  f.fragments(whole(service.dns), 48).forEach((part, i) => {
    const ran = k.expect("from_apps", f.frame([f.eth({ type: 0x0800 }), f.payload(parts[i] ?? part)]), {
      counter: "reply_downlink",
    });
    sameFrame(ran.frame, down([f.payload(part)], seen));
  });
});

test("IPv4, DF, longer than the access MTU allows: the app gets an ICMP error in the UE's name with the inner MTU, octet by octet: drop_too_big", () => {
  for (const cacheFor of [0, 1 << 30]) {
    const k = asked({}, {}, { cacheFor });
    replies(k, dnsDown(), dnsSeen());
    const of = (src: string, n: number): f.Layers => [
      f.ipv4({ src, dst: ue, df: true }),
      f.udp({ sport: 53, dport: 40001 }),
      f.payload(n),
    ];
    replies(k, of(app.dns, 1464 - 28), of(service.dns, 1464 - 28));
    const big = f.packet(of(app.dns, 1465 - 28));
    const error = f.frame([
      f.eth({ src: "02:00:00:00:00:02", dst: "02:00:00:00:00:01" }),
      f.ipv4({ src: ue, dst: app.dns }),
      f.icmp({ type: 3, code: 4, rest: 1464 }),
      f.payload(big.subarray(0, 28)),
    ]);
    k.expect("from_apps", fromApp(of(app.dns, 1465 - 28)), { counter: "drop_too_big", verdict: "tx", out: error });
  }
});

test("IPv6: Packet Too Big (RFC 4443 §3.2), with and without a PDU Session Container", () => {
  for (const [ext, mtu] of [
    [[], 1464],
    [[f.psc({ qfi: 1 })], 1456],
  ] as const) {
    const k = fresh();
    k.expect("access", up([f.ipv6({ src: ue6, dst: web6 }), f.udp({ sport: 1, dport: 2 }), f.payload("q")]), {
      counter: "take_uplink",
    });
    k.expect("core", down(otherDown(ue6), { gtp: { ext: [...ext] } }), { counter: "pass_downlink" });
    const big: f.Layers = [f.ipv6({ src: app.web6, dst: ue6 }), f.udp({ sport: 2, dport: 1 }), f.payload(mtu + 1 - 48)];
    const error = f.frame([
      f.eth({ src: "02:00:00:00:00:02", dst: "02:00:00:00:00:01" }),
      f.ipv6({ src: ue6, dst: app.web6 }),
      f.icmpv6({ type: 2, rest: mtu }),
      f.payload(f.packet(big).subarray(0, 80)),
    ]);
    k.expect("from_apps", fromApp(big), { counter: "drop_too_big", verdict: "tx", out: error });
  }
});

test("IPv4 without DF goes to the control plane to be fragmented, with the inner MTU: slow_too_big; without one it is dropped", () => {
  const k = asked();
  const big = fromApp([f.ipv4({ src: app.dns, dst: ue }), f.udp({ sport: 53, dport: 40001 }), f.payload(1465 - 28)]);
  const s = k.session(ue);
  assert.ok(s);
  const header = layout.slowHeader.encode({
    destination: new Uint8Array(6).fill(2),
    source: new Uint8Array(6).fill(2),
    protocol: c.ETH_P_SLOW,
    op: c.SLOW_TOO_BIG,
    session: s.index,
    epoch: s.epoch,
    reason: 1464,
  });
  k.expect("from_apps", big, { counter: "slow_too_big", out: f.concat(header, big) });
  k.configure({ slowPort: false });
  k.expect("from_apps", big, { counter: "drop_too_big", verdict: "drop" });
});

test("A6: the MSS of an app's SYN-ACK is lowered as a UE's SYN is", () => {
  const k = learnt();
  k.expect("access", up(tcpUp()), { counter: "take_uplink" });
  const ack = (src: string, sport: number, mss: number): f.Layers => [
    f.ipv4({ src, dst: ue }),
    f.tcp({ sport, dport: 40000, flags: "SA", mss }),
  ];
  replies(k, ack(app.web, 8080, 1460), ack(service.web, 80, 1416));
});

for (const [name, frame, counter] of [
  ["ARP", f.frame([f.eth(), f.arp(), f.zeros(18)]), "drop_not_ip"],
  ["a tagged frame", f.frame([f.eth(), f.vlan(3), dnsDown()]), "drop_not_ip"],
  ["a frame of 20 octets", f.frame([f.eth({ type: 0x0800 }), f.zeros(6)]), "drop_not_ip"],
  ["an IPv6 frame cut off", f.frame([f.eth({ type: 0x86dd }), f.zeros(30)]), "drop_not_ip"],
  ["a packet cut off", fromApp(dnsDown("long enough")).subarray(0, 45), "drop_reply_malformed"],
  [
    "a wrong header checksum",
    fromApp([f.ipv4({ src: app.dns, dst: ue, checksum: 5 }), f.udp()]),
    "drop_reply_malformed",
  ],
  ["TTL 1", fromApp([f.ipv4({ src: app.dns, dst: ue, ttl: 1 }), f.udp()]), "drop_reply_malformed"],
  [
    "IPv4 options",
    fromApp([f.ipv4({ src: app.dns, dst: ue, options: f.hex("01010100") }), f.udp()]),
    "drop_reply_malformed",
  ],
  ["what answers nothing", fromApp(dnsDown("x", 999)), "drop_no_flow"],
  [
    "what a UE's own packet would look like",
    fromApp([f.ipv4({ src: ue, dst: service.dns }), f.udp({ sport: 40001, dport: 53 })]),
    "drop_no_flow",
  ],
  [
    "an error that quotes nothing of ours",
    fromApp([
      f.ipv4({ src: app.dns, dst: ue }),
      f.icmp({ type: 3, rest: 0 }),
      f.ipv4({ src: ue, dst: app.dns }),
      f.udp({ sport: 9 }),
    ]),
    "drop_no_flow",
  ],
  [
    "an ICMP timestamp",
    fromApp([f.ipv4({ src: app.dns, dst: ue }), f.icmp({ type: 13 }), f.zeros(12)]),
    "drop_no_flow",
  ],
] as const) {
  test(`from the apps' side, ${name}: ${counter}`, () => {
    const k = asked();
    k.expect("from_apps", frame, { counter });
  });
}

test("padding behind a reply is cut off", () => {
  const k = asked();
  for (let n = 0; n < 2; n++) {
    const ran = k.expect("from_apps", f.concat(fromApp(dnsDown("a")), new Uint8Array(17)), {
      counter: "reply_downlink",
    });
    sameFrame(ran.frame, down(dnsSeen("a"), { ip: { id: f.get16(ran.frame, 18) } }));
  }
});

test("an app's ICMP error about a UE's packet goes to the UE, quoting what the UE sent; a router's keeps the router's address", () => {
  const k = asked();
  const error = (from: string, quoted: f.Layers, type = 3): f.Layers => [
    f.ipv4({ src: from, dst: ue }),
    f.icmp({ type, code: 1, rest: 0 }),
    quoted,
  ];
  const quote = (to: string): f.Layers => [
    f.ipv4({ src: ue, dst: to }),
    f.udp({ sport: 40001, dport: 53 }),
    f.payload("query"),
  ];
  replies(k, error(app.dns, quote(app.dns)), error(service.dns, quote(service.dns)));
  replies(k, error("10.60.0.1", quote(app.dns), 11), error("10.60.0.1", quote(service.dns), 11));
});

test("… in IPv6, from the app and from a router", () => {
  const k = fresh();
  k.expect("access", up([f.ipv6({ src: ue6, dst: web6 }), f.udp({ sport: 1, dport: 2 }), f.payload("q")]), {
    counter: "take_uplink",
  });
  k.expect("core", down(otherDown(ue6)), { counter: "pass_downlink" });
  const error = (from: string, to: string): f.Layers => [
    f.ipv6({ src: from, dst: ue6 }),
    f.icmpv6({ type: 3, rest: 0 }),
    f.ipv6({ src: ue6, dst: to }),
    f.udp({ sport: 1, dport: 2 }),
    f.payload("q"),
  ];
  replies(k, error(app.web6, app.web6), error(web6, web6));
  replies(k, error("2001:db8:60::1", app.web6), error("2001:db8:60::1", web6));
});

test("A6: an app may speak first where its rule says so: the UE sees the service, and its answer goes to the app", () => {
  const k = learnt();
  const from = (src: string, sport: number): f.Layers => [
    f.ipv4({ src, dst: ue }),
    f.udp({ sport, dport: 777 }),
    f.payload("hello"),
  ];
  replies(k, from(app.first, 6000), from(first, 5000));
  const to = (dst: string, dport: number): f.Layers => [
    f.ipv4({ src: ue, dst }),
    f.udp({ sport: 777, dport }),
    f.payload("yes"),
  ];
  k.expect("access", up(to(first, 5000)), { counter: "take_uplink", out: toApp(hop.first, to(app.first, 6000)) });
});

test("… not from another port, not to an unknown UE, not where the rule does not say so, not beyond the UE's share, not for a whole prefix", () => {
  const k = learnt();
  const from = (src: string, sport: number, dst = ue): Uint8Array =>
    fromApp([f.ipv4({ src, dst }), f.udp({ sport, dport: 777 }), f.payload("hello")]);
  k.expect("from_apps", from(app.first, 6001), { counter: "drop_no_flow" });
  k.expect("from_apps", from(app.first, 6000, "10.45.0.9"), { counter: "drop_no_flow" });
  k.expect("from_apps", from(app.dns, 53), { counter: "drop_no_flow" });
  k.expect("from_apps", fromApp([f.ipv4({ src: app.first, dst: ue }), f.sctp(), f.zeros(8)]), {
    counter: "drop_no_flow",
  });
  k.configure({ ueFlows: 0 });
  k.expect("from_apps", from(app.first, 6000), { counter: "drop_no_flow" });
  k.configure({ ueFlows: 9, mode: "observe" });
  k.expect("from_apps", from(app.first, 6000), { counter: "drop_no_flow" });
  k.configure({ mode: "offload" });
  k.setRules([
    rule(1, { match: { destination: ["203.0.113.0/24"] }, endpoints: [{ address: app.first }], appInitiated: true }),
  ]);
  k.expect("from_apps", from(app.first, 6000), { counter: "drop_no_flow" });
});

test("a reply whose access adapter is gone: drop_redirect, first and cached", () => {
  const k = asked();
  replies(k, dnsDown(), dnsSeen());
  assert.is(k.egress("from_apps", fromApp(dnsDown())), c.PORT_ACCESS(0));
  k.unplug(c.PORT_ACCESS(0));
  assert.equal(k.run("from_apps", fromApp(dnsDown())).counted, { reply_downlink: 1, drop_redirect: 1 });
  const slow = asked({}, {}, { cacheFor: 0 });
  slow.unplug(c.PORT_ACCESS(0));
  assert.equal(slow.run("from_apps", fromApp(dnsDown())).counted, { reply_downlink: 1, drop_redirect: 1 });
});

test.run();
