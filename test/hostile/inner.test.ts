/**
 * What a UE may put into its tunnel to hurt an app, another UE, the core or the appliance.
 *
 * Malformed packets never reach an app; nobody is taken under another's address; nothing goes to protected prefixes; GTP
 * inside GTP is not read recursively.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addressOf } from "../model/read.ts";
import {
  destinationOptions,
  endMarker,
  errorIndication,
  gtpu,
  hex,
  hopByHop,
  icmp,
  ip,
  ipv4,
  ipv6,
  type Layers,
  packet,
  payload,
  routing,
  tcp,
  u16,
  udp,
} from "../packets/frame.ts";
import {
  anyApp,
  anyService,
  app,
  down,
  downlink,
  fromApp,
  gateway,
  otherGateway,
  otherStation,
  ping,
  query,
  rule,
  Stage,
  service,
  station,
  syn,
  toApp,
  ue,
  uplink,
  victim,
} from "./stage.ts";

const stage = new Stage();
test.before.each(() => stage.begin());
test.after(() => stage.close());

const malformed = (inner: Layers) => stage.passes("access", uplink(inner), "pass_inner_malformed");
const dns = { sport: 4000, dport: 53 };
const learnUe = (address: string, teids: { up: number; down: number }) => {
  stage.send("access", uplink([ip(address, "203.0.115.1"), udp()], { teid: teids.up }));
  stage.send("core", downlink([ip("203.0.115.1", address), udp()], { teid: teids.down }));
};
const notTaken = (bytes: Uint8Array) => {
  const { counted, verdict } = stage.send("access", bytes);
  assert.not.ok(
    counted.some((name) => name.startsWith("take_")),
    `must not be taken: ${counted.join(", ")}`,
  );
  return { counted, verdict };
};

test("inner IPv4 with a wrong version, header length, total length, checksum or TTL is no app's business", () => {
  for (const version of [0, 5, 15])
    stage.passes("access", uplink([ipv4({ src: ue, dst: anyService, version }), udp(dns)]), "pass_no_rule");
  for (const ihl of [0, 4, 6, 15]) malformed([ipv4({ src: ue, dst: anyService, ihl }), udp(dns), payload(40)]);
  for (const length of [0, 19, 27, 29, 65535]) malformed([ipv4({ src: ue, dst: anyService, length }), udp(dns)]);
  malformed([ipv4({ src: ue, dst: anyService, checksum: 0x1234 }), udp(dns)]);
  for (const ttl of [0, 1]) malformed([ipv4({ src: ue, dst: anyService, ttl }), udp(dns)]);
  stage.takes(uplink([ipv4({ src: ue, dst: anyService, ttl: 2 }), udp(dns)]));
});

test("inner TCP, UDP and ICMP with lengths that lie are no app's business", () => {
  for (const length of [0, 7, 9, 65535]) malformed([ip(ue, anyService), udp({ ...dns, length })]);
  for (const offset of [0, 4, 15]) malformed([ip(ue, anyService), tcp({ dport: 80, flags: "S", offset })]);
  malformed([ip(ue, anyService, { protocol: 6 }), payload(19)]);
  malformed([ip(ue, anyService, { protocol: 17 }), payload(7)]);
  malformed([ip(ue, anyService, { protocol: 1 }), payload(4)]);
});

test("inner IPv4 options, source routes among them, are no app's business", () => {
  malformed([ipv4({ src: ue, dst: anyService, options: hex("83070400000000 00") }), udp(dns)]);
  malformed([ipv4({ src: ue, dst: anyService, options: hex("01010101") }), udp(dns)]);
});

test("inner IPv6 with length 0, a jumbo option, a routing header or 40 extension headers is no app's business", () => {
  stage.begin({ rules: [rule(9, { destination: ["2001:db8:80::80/128"] }, { address: "2001:db8:60::1" })] });
  const six = { src: "2001:db8:45:2::2", dst: "2001:db8:80::80" };
  stage.takes(uplink([ipv6(six), udp(dns)]));
  malformed([ipv6({ ...six, length: 0 }), udp(dns)]);
  malformed([ipv6({ ...six, length: 0 }), hopByHop({ body: hex("c20400010000") }), udp(dns)]);
  malformed([ipv6({ ...six, hops: 1 }), udp(dns)]);
  const many: Layers = Array.from({ length: 40 }, () => destinationOptions());
  for (const extra of [[routing()], [hopByHop()], many]) {
    notTaken(uplink([ipv6(six), extra, udp({ ...dns, sport: 4009 })]));
  }
});

test("ICMP in IPv6 and ICMPv6 in IPv4 are nobody's business", () => {
  malformed([ip(ue, anyService, { protocol: 58 }), payload(hex("8000000000010001"))]);
});

test("a wrong transport checksum stays wrong by as much, none stays none, a right one stays right", () => {
  const at = 14 + 20 + 6;
  const out = (checksum: number | "auto" | "zero") =>
    stage.takes(uplink([ip(ue, anyService), udp({ ...dns, checksum }), payload(6)]));
  const right = toApp([ip(ue, anyApp), udp(dns), payload(6)]);
  assert.equal(out("auto"), right);
  assert.equal(out("zero").slice(at, at + 2), u16(0));
  const wrongIn = (((right[at] ?? 0) << 8) | (right[at + 1] ?? 0)) ^ 0x0101;
  const wrong = out(wrongIn);
  assert.not.equal(wrong.slice(at, at + 2), right.slice(at, at + 2));
});

test("an ICMP error about a taken flow reaches the app with its quote translated (RFC 5508)", () => {
  stage.takes(uplink(query()));
  const quoted = (source: string, port: number): Layers => [
    ip(source, ue, { ttl: 60 }),
    udp({ sport: port, dport: 4000 }),
    payload(4),
  ];
  const error = icmp({ type: 3, code: 3, rest: 0 });
  stage.takes(
    uplink([ip(ue, anyService), error, quoted(anyService, 53)]),
    toApp([ip(ue, anyApp), error, quoted(anyApp, 53)]),
  );
  // About a flow that is not taken, or with a quote that is cut: to the core.
  stage.passes("access", uplink([ip(ue, anyService), error, quoted(anyService, 54)]), "pass_no_rule");
  stage.passes(
    "access",
    uplink([ip(ue, anyService), error, payload(packet(quoted(anyService, 53)).slice(0, 24))]),
    "pass_no_rule",
  );
});

test("the app's ICMP error reaches the UE with the UE's own packet quoted", () => {
  stage.takes(uplink(query()));
  const error = icmp({ type: 3, code: 3, rest: 0 });
  const out = stage.replies(
    fromApp([ip(anyApp, ue), error, ip(ue, anyApp), udp({ sport: 4000, dport: 53 }), payload(4)]),
  );
  const inner = packet([ip(anyService, ue), error, ip(ue, anyService), udp({ sport: 4000, dport: 53 }), payload(4)]);
  assert.equal(out.slice(50), inner);
});

test("inner spoofing: another UE's address, app, gateway, service, martians pass and are never taken", () => {
  learnUe(victim, { up: 0x301, down: 0x401 });
  for (const source of [
    victim,
    "10.45.0.9",
    app,
    gateway,
    service,
    "0.0.0.0",
    "127.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
  ]) {
    stage.passes("access", uplink(query(source)), "pass_not_own_source");
  }
  stage.passes("access", uplink([ipv6({ src: "fe80::1", dst: "ff02::2" }), icmp({ type: 133 })]), "pass_no_rule");
});

test("spoofing a victim's IPv4 on one's own new tunnel is not proven by an IPv6 address of one's own", () => {
  learnUe(victim, { up: 0x301, down: 0x401 });
  stage.passes("access", uplink(query(victim), { teid: 0x777 }), "pass_unproven");
  const own = uplink([ipv6({ src: "2001:db8:66::1", dst: "2001:db8:9::9" }), udp()], { teid: 0x777 });
  stage.passes("access", own, ["pass_no_rule", "pass_unproven"], ["note_learnt"]);
  stage.passes("access", uplink(query(victim), { teid: 0x777 }), "pass_unproven");
});

test("guessing TEIDs: a known UE on 64 unknown tunnels is not taken, and its own tunnel goes on", () => {
  for (let teid = 0x900; teid < 0x940; teid++) stage.passes("access", uplink(query(), { teid }), "pass_unproven");
  stage.takes(uplink(query()));
  assert.is(stage.replies(fromApp([ip(anyApp, ue), udp({ sport: 53, dport: 4000 })]))[49], down & 0xff);
});

test("outside the configured UE pools nobody is learnt or taken", () => {
  stage.begin({ config: { uePools: [{ address: addressOf("10.45.0.0"), bits: 112 }] } });
  stage.takes(uplink(query()));
  stage.passes("access", uplink(query("10.99.0.1"), { teid: 0x555 }), "pass_peer_refused");
});

test("binding poisoning: a rogue base station's uplink is taken, but replies wait for the core and go to the true one", () => {
  stage.takes(uplink(query()));
  const answer = fromApp([ip(anyApp, ue), udp({ sport: 53, dport: 4000 })]);
  stage.send("access", uplink(query(), {}, otherStation));
  assert.ok(stage.send("return", answer).counted.includes("slow_hold"));
  stage.send("core", downlink([ip("203.0.115.1", ue), udp()]));
  // The core still sends to the true base station, so nothing goes anywhere else.
  const { frame: held, counted } = stage.send("return", answer);
  if (counted.includes("reply_downlink")) assert.equal(held.slice(30, 34), Uint8Array.of(198, 18, 1, 10));
  else assert.ok(counted.includes("slow_hold"));
});

test("binding poisoning: downlink on the access side and from unknown core hosts teaches nothing", () => {
  stage.takes(uplink(query()));
  stage.send("access", downlink([ip(anyService, ue), udp()], { teid: 0x666 }, gateway, otherStation));
  stage.passes(
    "core",
    downlink([ip(anyService, ue), udp()], { teid: 0x666 }, "203.0.113.250", otherStation),
    "pass_downlink",
    ["note_conflict"],
  );
  stage.passes("core", downlink([ip(anyService, ue), udp()], { teid: 0x667 }, otherGateway, station), "pass_downlink", [
    "note_conflict",
  ]);
  const out = stage.replies(fromApp([ip(anyApp, ue), udp({ sport: 53, dport: 4000 })]));
  assert.equal(out.slice(30, 34), Uint8Array.of(198, 18, 1, 10));
  assert.equal(out.slice(46, 50), Uint8Array.of(0, 0, 2, 1));
});

test("configured peers: others teach nothing", () => {
  const host = (text: string) => [{ address: addressOf(text), bits: 128 }];
  stage.begin({ known: false, config: { accessPeers: host(station), corePeers: host(gateway) } });
  stage.passes("access", uplink(query(), {}, otherStation), "pass_peer_refused");
  stage.passes("access", uplink(query(), {}, station, otherGateway), "pass_peer_refused");
  stage.passes("core", downlink(query(), {}, otherGateway), "pass_peer_refused");
  stage.takes(uplink(query()));
});

test("GTP in GTP toward protected prefixes is dropped, whatever is in it", () => {
  const nested: Layers[] = [
    [gtpu({ teid: down }), query()],
    [gtpu({ teid: down, length: 0 })],
    [gtpu({ teid: 1 }), ip(ue, gateway), udp({ dport: 2152 }), gtpu({ teid: 2 }), query()],
    errorIndication({ teid: down, peer: station }),
    [endMarker(down)],
    [],
  ];
  for (const inner of nested) {
    for (const target of [gateway, station]) {
      stage.drops("access", uplink([ip(ue, target), udp({ dport: 2152 }), inner]), "drop_gtp_in_gtp");
    }
  }
  stage.drops("access", uplink([ip(ue, gateway), udp({ dport: 2123 }), payload(8)]), "drop_gtp_in_gtp");
  stage.takes(uplink(ping()));
  stage.replies(fromApp([ip(anyApp, ue), icmp({ type: 0, id: 7 })]));
});

test("port 2152 toward the Internet or a service is ordinary UDP", () => {
  const inner: Layers = [udp({ sport: 2152, dport: 2152 }), gtpu({ teid: 5 }), query()];
  stage.passes("access", uplink([ip(ue, "203.0.115.1"), inner]), "pass_no_rule");
  stage.takes(uplink([ip(ue, anyService), inner]), toApp([ip(ue, anyApp), inner]));
});

test("control and management of the site is out of a UE's reach, known or not", () => {
  for (const [dport, protocol] of [
    [8805, 17],
    [36412, 132],
    [38412, 132],
    [22, 6],
    [8090, 6],
    [2123, 17],
  ] as const) {
    const inner: Layers =
      protocol === 6
        ? [tcp({ dport, flags: "S" })]
        : protocol === 17
          ? [udp({ dport })]
          : [payload(hex("8e3c8e3c0000000000000000"))];
    const { verdict, counted } = stage.send("access", uplink([ip(ue, gateway, { protocol }), inner]));
    assert.is(verdict, "drop", counted.join(", "));
    const stranger = stage.send("access", uplink([ip("10.77.0.1", gateway, { protocol }), inner], { teid: 0xabc }));
    assert.is(stranger.verdict, "drop");
  }
});

test("link-local metadata addresses and the app's own address are not taken around the rule", () => {
  for (const target of ["169.254.169.254", app, anyApp])
    stage.passes("access", uplink([ip(ue, target), udp(dns)]), "pass_no_rule");
});

test("a TCP connection is taken from its SYN on; one already running passes, whatever its flags", () => {
  for (const flags of ["A", "PA", "SA", "FA", "R", "SF", "SR", ""]) {
    stage.passes("access", uplink([ip(ue, service), tcp({ sport: 5000, dport: 80, flags })]), "pass_mid_connection");
  }
  stage.takes(uplink(syn()), toApp([ip(ue, app), tcp({ sport: 4001, dport: 8080, flags: "S", mss: 1416 })]));
});

test("a UE's share of flows bounds what it can enter; what is above passes", () => {
  stage.begin({ config: { ueFlows: 5 } });
  for (let i = 0; i < 5; i++) stage.takes(uplink([ip(ue, anyService), udp({ sport: 100 + i, dport: 53 })]));
  for (let i = 0; i < 50; i++) {
    stage.passes("access", uplink([ip(ue, anyService), udp({ sport: 200 + i, dport: 53 })]), "pass_table_full", [
      "note_full",
    ]);
  }
  stage.takes(uplink([ip(ue, anyService), udp({ sport: 100, dport: 53 })]));
});

test.run();
