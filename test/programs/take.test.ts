/**
 * What exactly does an app get of a taken packet? (uplink.h take, translate.h, quote.h)
 *
 * A3, A6, A19: out of the tunnel, translated, checksums updated and never recomputed (RFC 1624), the MSS lowered.
 * Whole frames are compared.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import {
  app,
  dnsDown,
  dnsUp,
  fresh,
  fromApp,
  hop,
  inTunnel,
  learnt,
  route,
  service,
  tcpUp,
  toApp,
  ue,
  ue6,
  up,
  upTunnel,
  web6,
} from "./scene.ts";

const udp = (from: string, to: string, sum: f.Udp["checksum"] = "auto", change: f.Udp = {}): f.Layers => [
  f.ip(from, to, { tos: 0xb8, ttl: 17, hops: 17, id: 77, df: true }),
  f.udp({ sport: 1234, dport: 9, checksum: sum, ...change }),
  f.payload("odd"),
];
/** Octets of the n-th layers, without Ethernet: for checksums that are wrong on purpose. */
const sumOf = (packet: Uint8Array, at: number) => f.get16(packet, at);
/** One's complement: what `was` was off by is what `now` must be off by. */
const minus = (a: number, b: number) => (a + (~b & 0xffff)) % 0xffff;

test("A6: TCP: destination address and port become the endpoint's, everything else stays", () => {
  const k = learnt();
  const ipOf = (dst: string) => f.ipv4({ src: ue, dst, tos: 0x28, ttl: 60, id: 4711, df: true });
  const segment = (dport: number, flags: string) => f.tcp({ sport: 40000, dport, flags, seq: 7, ack: 9, window: 512 });
  k.expect("access", up([ipOf(service.web), segment(80, "S")]), {
    counter: "take_uplink",
    out: toApp(hop.web, [ipOf(app.web), segment(8080, "S")]),
  });
  const rest = f.payload("GET / HTTP/1.1");
  k.expect("access", up([ipOf(service.web), segment(80, "PA"), rest]), {
    counter: "take_uplink",
    out: toApp(hop.web, [ipOf(app.web), segment(8080, "PA"), rest]),
  });
});

test("A6: UDP: TTL, DSCP, identification and DF stay; without a port in the rule the port stays", () => {
  const k = learnt();
  k.expect("access", up(udp(ue, service.any)), { counter: "take_uplink", out: toApp(hop.any, udp(ue, app.any)) });
});

test("a UDP checksum of 0 stays 0 (RFC 768)", () => {
  for (const cacheFor of [0, 1 << 30]) {
    const k = learnt({ cacheFor });
    for (let n = 0; n < 2; n++)
      k.expect("access", up(udp(ue, service.any, "zero")), {
        counter: "take_uplink",
        out: toApp(hop.any, udp(ue, app.any, "zero")),
      });
  }
});

test("a UDP checksum that would become 0 becomes 0xffff", () => {
  for (const cacheFor of [0, 1 << 30]) {
    const k = learnt({ cacheFor });
    // Two octets of payload that make the app's checksum come out as 0: what is missing in the sum.
    const missing = sumOf(
      f.packet([f.ipv4({ src: ue, dst: app.any }), f.udp({ sport: 1, dport: 9 }), f.payload(new Uint8Array(2))]),
      26,
    );
    const layers = (to: string): f.Layers => [
      f.ipv4({ src: ue, dst: to }),
      f.udp({ sport: 1, dport: 9 }),
      f.payload(f.u16(missing)),
    ];
    const wanted = toApp(hop.any, layers(app.any));
    assert.is(f.get16(wanted, 14 + 26), 0xffff);
    for (let n = 0; n < 2; n++) k.expect("access", up(layers(service.any)), { counter: "take_uplink", out: wanted });
  }
});

test("a wrong transport checksum stays wrong by as much: what was damaged before is not repaired", () => {
  const k = learnt();
  for (const wrong of [1, 0x1234, 0xfffe]) {
    const before = f.packet(udp(ue, service.any, wrong));
    const right = f.packet(udp(ue, service.any));
    const ran = k.expect("access", up(udp(ue, service.any, wrong)), { counter: "take_uplink" });
    const rightOut = toApp(hop.any, udp(ue, app.any));
    assert.is(minus(f.get16(ran.frame, 40), f.get16(rightOut, 40)), minus(sumOf(before, 26), sumOf(right, 26)));
    const repaired = ran.frame.slice();
    repaired.set(rightOut.subarray(40, 42), 40);
    sameFrame(repaired, rightOut);
  }
});

test("A6: ICMP echo keeps its identifier; its checksum has no pseudo header", () => {
  const k = learnt();
  const echo = (to: string): f.Layers => [f.ipv4({ src: ue, dst: to }), f.icmp({ id: 99, seq: 3 }), f.payload("ping")];
  k.expect("access", up(echo(service.any)), { counter: "take_uplink", out: toApp(hop.any, echo(app.any)) });
});

for (const [name, transport] of [
  ["ICMPv6 echo", f.icmpv6({ id: 99, seq: 3 })],
  ["UDP", f.udp({ sport: 5, dport: 6 })],
  ["TCP", f.tcp({ sport: 5, dport: 6, flags: "S" })],
] as const) {
  test(`A6: IPv6 inside: ${name}: the checksum follows the address`, () => {
    const k = fresh();
    const of = (to: string): f.Layers => [
      f.ipv6({ src: ue6, dst: to, tos: 0x28, flow: 0x12345 }),
      transport,
      f.payload("odd"),
    ];
    k.expect("access", up(of(web6)), { counter: "take_uplink", out: toApp(hop.web6, of("2001:db8:60::10")) });
  });
}

for (const [name, change] of [
  ["no tag", {}],
  ["one VLAN tag", { tags: [f.vlan(10, { pcp: 3 })] }],
  ["two VLAN tags", { tags: [f.vlan(10), f.vlan(20)] }],
  ["a sequence number (S)", { gtp: { seq: 99 } }],
  ["an N-PDU number (PN)", { gtp: { npdu: 7 } }],
  ["S and PN", { gtp: { seq: 1, npdu: 2 } }],
  ["a PDU Session Container", { gtp: { ext: [f.psc({ type: 1, qfi: 9 })] } }],
  ["S and a PDU Session Container", { gtp: { seq: 5, ext: [f.psc({ type: 1, qfi: 9 })] } }],
  [
    "a PDU Session Container behind another extension header",
    { gtp: { ext: [f.ext(0x40, 2), f.psc({ type: 1, qfi: 9 })] } },
  ],
  ["a long PDU Session Container", { gtp: { ext: [f.psc({ type: 1, qfi: 9, size: 6 })] } }],
  ["a UDP checksum outside", { sum: "auto" as const }],
  ["IPv6 outside", { from: "2001:db8:1::10", to: "2001:db8:2::10" }],
  [
    "IPv6 outside, two tags and a PDU Session Container",
    { from: "2001:db8:1::10", to: "2001:db8:2::10", tags: [f.vlan(1), f.vlan(2)], gtp: { ext: [f.psc({ type: 1 })] } },
  ],
] as const) {
  test(`A3, A7: out of a tunnel with ${name}, IPv4 and IPv6 inside; the second packet as the first`, () => {
    const k = fresh();
    for (const inner of [
      [udp(ue, service.any), toApp(hop.any, udp(ue, app.any))],
      [udp(ue6, web6), toApp(hop.web6, udp(ue6, app.web6))],
    ] as const) {
      for (let n = 0; n < 3; n++)
        k.expect("access", inTunnel({ ...upTunnel, ...change } as typeof upTunnel, inner[0]), {
          counter: "take_uplink",
          out: inner[1],
        });
    }
  });
}

test("padding behind the T-PDU is cut off, for the first packet and for those that follow", () => {
  const k = learnt();
  const padded = f.concat(up(dnsUp("a")), new Uint8Array(18));
  const out = toApp(hop.dns, [f.ipv4({ src: ue, dst: app.dns }), f.udp({ sport: 40001, dport: 53 }), f.payload("a")]);
  for (let n = 0; n < 3; n++) k.expect("access", padded, { counter: "take_uplink", out });
});

test("A19: routed packets leave as they are, TCP with its MSS lowered", () => {
  const k = learnt();
  const syn = (mss: number): f.Layers => [f.ipv4({ src: ue, dst: route }), f.tcp({ flags: "S", mss })];
  k.expect("access", up(syn(1460)), { counter: "take_routed", out: toApp(1, syn(1416)), notes: ["note_mss_clamped"] });
  k.expect("access", up(udp(ue, route)), { counter: "take_routed", out: toApp(1, udp(ue, route)) });
});

const mssAt = (before: number, mss: number, after: number): Uint8Array =>
  f.concat(new Uint8Array(before).fill(1), f.u8(2), f.u8(4), f.u16(mss), new Uint8Array(after).fill(1));
for (const [name, options, clamped] of [
  ["at an even place", mssAt(0, 1460, 0), mssAt(0, 1416, 0)],
  ["at an odd place", mssAt(1, 1460, 3), mssAt(1, 1416, 3)],
  ["behind two fillers", mssAt(2, 0xffff, 2), mssAt(2, 1416, 2)],
  ["behind three fillers", mssAt(3, 1417, 1), mssAt(3, 1416, 1)],
  [
    "behind SACK permitted and a window scale",
    f.concat(f.hex("04020303 07"), mssAt(0, 9000, 3)),
    f.concat(f.hex("04020303 07"), mssAt(0, 1416, 3)),
  ],
  ["last of 40 octets", mssAt(36, 1460, 0), mssAt(36, 1416, 0)],
  ["that is small enough", mssAt(0, 1416, 0), mssAt(0, 1416, 0)],
  ["of a wrong size, which is left alone", f.hex("02030fff"), f.hex("02030fff")],
  ["behind the end of options, which is none", f.hex("00 02040fff 000000"), f.hex("00 02040fff 000000")],
  ["behind an option of length 0, which ends the list", f.hex("0500 0204 0fff 0101"), f.hex("0500 0204 0fff 0101")],
  ["cut off by the data offset", f.hex("01010204"), f.hex("01010204")],
] as const) {
  test(`the MSS option of a SYN ${name}: never above what fits, and the checksum follows`, () => {
    const k = learnt();
    const syn = (to: string, dport: number, list: Uint8Array): f.Layers => [
      f.ipv4({ src: ue, dst: to }),
      f.tcp({ dport, flags: "S", options: list }),
    ];
    const wanted = toApp(hop.web, syn(app.web, 8080, clamped));
    k.expect("access", up(syn(service.web, 80, options)), {
      counter: "take_uplink",
      out: wanted,
      notes: Buffer.compare(options, clamped) === 0 ? [] : ["note_mss_clamped"],
    });
  });
}

test("the MSS allows for the outer header and the inner one: IPv6 in IPv6 1500 − 64 − 60, and a small access MTU never below 88", () => {
  const syn = (from: string, to: string, mss: number): f.Layers => [f.ip(from, to), f.tcp({ flags: "S", mss })];
  const k = fresh();
  k.expect("access", up(syn(ue6, web6, 1460), { from: "2001:db8:1::10", to: "2001:db8:2::10" }), {
    counter: "take_uplink",
    out: toApp(hop.web6, syn(ue6, app.web6, 1376)),
  });
  const small = fresh({ mtuAccess: 100 });
  small.expect("access", up(syn(ue, service.any, 1460)), {
    counter: "take_uplink",
    out: toApp(hop.any, syn(ue, app.any, 88)),
  });
});

test("a SYN without options stays as it is, and an MSS in another segment is not touched", () => {
  const k = learnt();
  k.expect("access", up(tcpUp()), { counter: "take_uplink", notes: [] });
  const ack = (to: string, dport: number): f.Layers => [
    f.ipv4({ src: ue, dst: to }),
    f.tcp({ dport, flags: "A", mss: 1460 }),
  ];
  k.expect("access", up(ack(service.web, 80)), {
    counter: "take_uplink",
    out: toApp(hop.web, ack(app.web, 8080)),
    notes: [],
  });
});

test("A11: two services on one endpoint and the same UE port: the app sees two ports, and both answers find their way", () => {
  const k = learnt();
  const seen = (sport: number): Uint8Array =>
    toApp(hop.web, [f.ipv4({ src: ue, dst: app.web }), f.tcp({ sport, dport: 8080, flags: "S" })]);
  k.expect("access", up(tcpUp()), { counter: "take_uplink", out: seen(40000) });
  const ran = k.expect("access", up(tcpUp({}, service.web2)), { counter: "take_uplink" });
  const port = f.get16(ran.frame, 34);
  assert.ok(port >= 32768 && port !== 40000);
  sameFrame(ran.frame, seen(port));
  for (const [app_, from] of [
    [40000, service.web],
    [port, service.web2],
  ] as const) {
    const reply = k.expect(
      "from_apps",
      fromApp([f.ipv4({ src: app.web, dst: ue }), f.tcp({ sport: 8080, dport: app_, flags: "SA" })]),
      { counter: "reply_downlink" },
    );
    const inner = f.packet([f.ipv4({ src: from, dst: ue }), f.tcp({ sport: 80, dport: 40000, flags: "SA" })]);
    sameFrame(reply.frame.slice(14 + 36), inner);
  }
  k.expect("access", up(tcpUp({ flags: "A" }, service.web2)), {
    counter: "take_uplink",
    out: toApp(hop.web, [f.ipv4({ src: ue, dst: app.web }), f.tcp({ sport: port, dport: 8080, flags: "A" })]),
  });
});

test("A11: two echoes with one identifier to two services on one endpoint: the second gets another identifier", () => {
  const k = learnt();
  const echo = (to: string, id: number): f.Layers => [
    f.ipv4({ src: ue, dst: to }),
    f.icmp({ id, seq: 1 }),
    f.payload("x"),
  ];
  k.expect("access", up(echo(service.any, 7)), { counter: "take_uplink", out: toApp(hop.any, echo(app.any, 7)) });
  k.expect("access", up(echo(service.any, 8)), { counter: "take_uplink", out: toApp(hop.any, echo(app.any, 8)) });
  const reply = k.expect(
    "from_apps",
    fromApp([f.ipv4({ src: app.any, dst: ue }), f.icmp({ type: 0, id: 8, seq: 1 }), f.payload("x")]),
    { counter: "reply_downlink" },
  );
  sameFrame(
    reply.frame.slice(50),
    f.packet([f.ipv4({ src: service.any, dst: ue }), f.icmp({ type: 0, id: 8, seq: 1 }), f.payload("x")]),
  );
});

const errors = [
  ["destination unreachable", 3, 3],
  ["source quench", 4, 0],
  ["time exceeded", 11, 0],
  ["parameter problem", 12, 0],
] as const;
for (const [name, type, code] of errors) {
  test(`an ICMP error of the UE (${name}) about an app's packet goes to the app, quoting what the app sent (RFC 5508)`, () => {
    const k = learnt();
    k.expect("access", up(dnsUp()), { counter: "take_uplink" });
    const error = (from: string, quoted: f.Layers): f.Layers => [
      f.ipv4({ src: ue, dst: from }),
      f.icmp({ type, code, rest: 0 }),
      quoted,
    ];
    const quoteOf = (from: string): f.Layers => [
      f.ipv4({ src: from, dst: ue }),
      f.udp({ sport: 53, dport: 40001 }),
      f.payload("data"),
    ];
    k.expect("access", up(error(service.dns, quoteOf(service.dns))), {
      counter: "take_uplink",
      out: toApp(hop.dns, error(app.dns, quoteOf(app.dns))),
    });
  });
}

test("… about TCP with 8 octets quoted, with all of it, and about an echo reply", () => {
  const k = learnt();
  k.expect("access", up(tcpUp()), { counter: "take_uplink" });
  k.expect("access", up([f.ipv4({ src: ue, dst: service.any }), f.icmp({ id: 5 }), f.payload("x")]), {
    counter: "take_uplink",
  });
  const error = (to: string, quoted: Uint8Array): f.Layers => [
    f.ipv4({ src: ue, dst: to }),
    f.icmp({ type: 3, code: 3, rest: 0 }),
    f.payload(quoted),
  ];
  const segment = (from: string, sport: number) =>
    f.packet([f.ipv4({ src: from, dst: ue }), f.tcp({ sport, dport: 40000, flags: "SA" })]);
  for (const octets of [28, 40]) {
    k.expect("access", up(error(service.web, segment(service.web, 80).subarray(0, octets))), {
      counter: "take_uplink",
      out: toApp(hop.web, error(app.web, segment(app.web, 8080).subarray(0, octets))),
    });
  }
  const echo = (from: string) => f.packet([f.ipv4({ src: from, dst: ue }), f.icmp({ type: 0, id: 5 }), f.payload("x")]);
  k.expect("access", up(error(service.any, echo(service.any))), {
    counter: "take_uplink",
    out: toApp(hop.any, error(app.any, echo(app.any))),
  });
});

test("… in IPv6, where the error's own checksum covers the addresses as well", () => {
  const k = fresh();
  const query = (to: string): f.Layers => [
    f.ipv6({ src: ue6, dst: to }),
    f.udp({ sport: 1, dport: 2 }),
    f.payload("q"),
  ];
  k.expect("access", up(query(web6)), { counter: "take_uplink" });
  const error = (from: string): f.Layers => [
    f.ipv6({ src: ue6, dst: from }),
    f.icmpv6({ type: 1, code: 4, rest: 0 }),
    f.ipv6({ src: from, dst: ue6 }),
    f.udp({ sport: 2, dport: 1 }),
    f.payload("data"),
  ];
  k.expect("access", up(error(web6)), { counter: "take_uplink", out: toApp(hop.web6, error(app.web6)) });
});

test("an ICMP error about nothing that was taken, in the name of another, or that quotes a fragment passes to the core", () => {
  const k = learnt();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  const quote = (change: f.Ipv4 = {}, dport = 40001): f.Layers => [
    f.ipv4({ src: service.dns, dst: ue, ...change }),
    f.udp({ sport: 53, dport }),
    f.payload("data"),
  ];
  const error = (quoted: f.Layers, to = service.dns, type = 3): f.Layers => [
    f.ipv4({ src: ue, dst: to }),
    f.icmp({ type, code: 3, rest: 0 }),
    quoted,
  ];
  k.expect("access", up(error(quote({}, 40002))), { counter: "pass_no_rule" });
  k.expect("access", up(error(quote({ dst: "10.45.0.9" }))), { counter: "pass_no_rule" });
  k.expect("access", up(error(quote({ offset: 8 }))), { counter: "pass_no_rule" });
  k.expect("access", up(error(quote({ options: f.hex("01010100") }))), { counter: "pass_no_rule" });
  k.expect("access", up(error(quote(), service.any)), { counter: "pass_no_rule" });
  k.expect("access", up(error(quote(), service.dns, 5)), { counter: "pass_no_rule" });
  k.expect("access", up(error([f.ipv4({ src: service.dns, dst: ue }), f.sctp()])), { counter: "pass_no_rule" });
  k.expect("access", up([f.ipv4({ src: ue, dst: service.dns }), f.icmp({ type: 3, rest: 0 }), f.zeros(20)]), {
    counter: "pass_no_rule",
  });
});

test("A6: an app's answer after that still finds the UE", () => {
  const k = learnt();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
});

test.run();
