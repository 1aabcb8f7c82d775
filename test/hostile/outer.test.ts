/**
 * Faulty, foreign and hostile things around the tunnel: layers 2 and 3, fragments, sizes, mobility, reuse, floods, apps.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  destinationOptions,
  eth,
  fragments,
  frame,
  get16,
  gtpu,
  hex,
  hopByHop,
  icmp,
  ip,
  ipv4,
  ipv6,
  type Layers,
  lldp,
  packet,
  payload,
  psc,
  udp,
  vlan,
  zeros,
} from "../packets/frame.ts";
import {
  anyApp,
  anyService,
  down,
  downlink,
  fromApp,
  gateway,
  otherGateway,
  otherStation,
  ping,
  query,
  Stage,
  station,
  toApp,
  ue,
  up,
  uplink,
  victim,
} from "./stage.ts";

const stage = new Stage();
test.before.each(() => stage.begin());
test.after(() => stage.close());

const raw = (bytes: Uint8Array, kind = "ipv4") => ({ kind, build: () => bytes });
const outerUdp = udp({ sport: 2152, dport: 2152, checksum: "zero" });
const answer = (size = 0) => fromApp([ip(anyApp, ue), udp({ sport: 53, dport: 4000 }), payload(size)]);
const address = (text: string) => Uint8Array.from(text.split(".").map(Number));

test("the same TEID in another VLAN is another tunnel", () => {
  const tagged = (ids: number[], inner: Layers) =>
    frame([
      eth({ type: ids.length > 1 ? 0x88a8 : 0x8100 }),
      ids.map((id) => vlan(id)),
      ip(station, gateway),
      outerUdp,
      gtpu({ teid: up }),
      inner,
    ]);
  stage.passes("access", tagged([10], query()), "pass_unproven");
  stage.passes("access", tagged([20, 10], query()), "pass_unproven");
  stage.takes(
    frame([eth({ type: 0x8100 }), vlan(0, { pcp: 5 }), ip(station, gateway), outerUdp, gtpu({ teid: up }), query()]),
  );
});

test("single and double tags are put back as they came", () => {
  for (const [tags, type] of [
    [[10], 0x8100],
    [[20, 10], 0x88a8],
  ] as [number[], number][]) {
    stage.begin({ known: false });
    const link: Layers = [eth({ type }), tags.map((id) => vlan(id, { pcp: 3 }))];
    stage.takes(frame([link, ip(station, gateway), outerUdp, gtpu({ teid: up }), query()]));
    stage.send("core", frame([link, ip(gateway, station), outerUdp, gtpu({ teid: down }), ip(anyService, ue), udp()]));
    const out = stage.replies(answer());
    assert.equal(
      out.slice(0, 14 + 4 * tags.length),
      frame([link, ip(gateway, station)]).slice(0, 14 + 4 * tags.length),
    );
  }
});

test("three tags, a cut tag, MPLS, PPPoE, LLDP and runts pass as they are", () => {
  stage.passes(
    "access",
    frame([
      eth({ type: 0x88a8 }),
      vlan(1),
      vlan(2),
      vlan(3),
      ip(station, gateway),
      outerUdp,
      gtpu({ teid: up }),
      query(),
    ]),
    "pass_not_gtpu",
  );
  stage.passes("access", hex("020000000002 020000000001 8100 000a"), "pass_not_gtpu");
  stage.passes(
    "access",
    frame([
      eth({ type: 0x8847 }),
      payload(hex("00064140")),
      ip(station, gateway),
      outerUdp,
      gtpu({ teid: up }),
      query(),
    ]),
    "pass_not_gtpu",
  );
  stage.passes(
    "access",
    frame([eth({ type: 0x8864 }), payload(hex("110000010040 0021")), ip(station, gateway), outerUdp]),
    "pass_not_gtpu",
  );
  stage.passes("access", frame([eth({ dst: "01:80:c2:00:00:0e" }), lldp()]), "pass_not_gtpu");
  for (const n of [14, 15, 20, 33, 34, 41]) stage.passes("access", uplink(query()).slice(0, n), "pass_not_gtpu");
});

test("outer options, ESP and IPv6 extension headers pass; an outer TTL of 1 changes nothing", () => {
  stage.passes(
    "access",
    frame([
      eth(),
      ipv4({ src: station, dst: gateway, options: hex("01010101") }),
      outerUdp,
      gtpu({ teid: up }),
      query(),
    ]),
    "pass_options",
  );
  stage.passes(
    "access",
    frame([eth(), ipv4({ src: station, dst: gateway, protocol: 50 }), payload(60)]),
    "pass_not_gtpu",
  );
  for (const extra of [hopByHop(), destinationOptions()]) {
    stage.passes(
      "access",
      frame([eth(), ipv6(), extra, udp({ dport: 2152 }), gtpu({ teid: up }), query()]),
      "pass_options",
    );
  }
  stage.takes(frame([eth(), ipv4({ src: station, dst: gateway, ttl: 1 }), outerUdp, gtpu({ teid: up }), query()]));
});

test("multicast, loopback and a wrong outer checksum teach nothing", () => {
  stage.begin({ known: false });
  for (const [from, to] of [
    ["224.0.0.1", gateway],
    [station, "239.1.1.1"],
    ["127.0.0.1", gateway],
    ["0.0.0.0", gateway],
  ] as const) {
    stage.passes("access", uplink(query(), {}, from, to), "pass_malformed");
  }
  stage.passes(
    "access",
    frame([eth(), ipv4({ src: station, dst: gateway, checksum: 7 }), outerUdp, gtpu({ teid: up }), query()]),
    "pass_malformed",
  );
});

test("jumbo frames pass whole, and are taken whole", () => {
  const big: Layers = [ip(ue, "203.0.115.1"), udp(), payload(8000)];
  stage.passes("access", uplink(big), "pass_no_rule");
  stage.takes(
    uplink([ip(ue, anyService), udp({ sport: 1, dport: 2 }), payload(8000)]),
    toApp([ip(ue, anyApp), udp({ sport: 1, dport: 2 }), payload(8000)]),
  );
});

test("over IPv6 the outer UDP checksum of replies is right, also with PSC and odd lengths", () => {
  for (const size of [0, 1, 7, 100]) {
    stage.begin({ known: false });
    const [bs, gw] = ["2001:db8:1::10", "2001:db8:2::10"];
    stage.takes(uplink(query(), { ext: [psc({ type: 1, qfi: 5 })] }, bs, gw));
    stage.send("core", downlink([ip(anyService, ue), udp()], { ext: [psc({ qfi: 9 })] }, gw, bs));
    const out = stage.replies(answer(size));
    const expected = downlink(
      [ip(anyService, ue), udp({ sport: 53, dport: 4000 }), payload(size)],
      { ext: [psc({ qfi: 5 })] },
      gw,
      bs,
    );
    assert.equal(out, expected);
  }
});

test("outer fragments share one fate, in order and reordered; a later one is never read as GTP-U", () => {
  const whole = packet([
    ipv4({ src: station, dst: gateway, id: 77 }),
    outerUdp,
    gtpu({ teid: up }),
    ip(ue, anyService),
    udp(),
    payload(600),
  ]);
  for (const id of [78, 79]) {
    const cut = fragments(
      packet(
        [ipv4({ src: station, dst: gateway, id }), payload(whole.slice(20))].map((l, i) =>
          i === 0 ? ipv4({ src: station, dst: gateway, id, protocol: 17 }) : l,
        ),
      ),
      200,
    );
    const frames = (id === 79 ? cut.reverse() : cut).map((part) => frame([eth(), raw(part)]));
    for (const bytes of frames) {
      const result = stage.send("access", bytes);
      assert.equal(result.counted, ["slow_fragment"]);
      assert.equal(result.frame.slice(32), bytes);
    }
  }
  // A later fragment whose payload looks like a G-PDU of a known UE.
  const mimicry = frame([
    eth(),
    ipv4({ src: station, dst: gateway, id: 9, offset: 1480, protocol: 17 }),
    outerUdp,
    gtpu({ teid: up }),
    query(),
  ]);
  assert.equal(stage.send("access", mimicry).counted, ["slow_fragment"]);
});

test("outer fragments pass where nothing could be taken: no rule, no control plane, not the UE's own tunnel", () => {
  const first = (inner: Layers) =>
    frame([
      eth(),
      ipv4({ src: station, dst: gateway, id: 5, mf: true }),
      udp({ dport: 2152, length: 2000 }),
      gtpu({ teid: up, length: 1984 }),
      inner,
    ]);
  stage.passes("access", first([ip(ue, "203.0.115.1"), udp(), payload(64)]), "pass_outer_fragment");
  stage.begin({ config: { slowPort: false } });
  stage.passes("access", first([ip(ue, anyService), udp(), payload(64)]), "pass_outer_fragment");
  stage.begin({ rules: [] });
  stage.passes(
    "access",
    frame([eth(), ipv4({ src: station, dst: gateway, id: 9, offset: 1480, protocol: 17 }), payload(64)]),
    "pass_outer_fragment",
  );
});

test("tiny, overlapping, duplicate and past-65535 outer fragments pass or wait, and never crash or teach", () => {
  stage.begin({ known: false, rules: [] });
  const before = stage.bench.count("note_learnt");
  for (const [offset, mf, size] of [
    [0, true, 8],
    [0, true, 16],
    [8, true, 8],
    [8, false, 40],
    [0, true, 48],
    [65528, false, 100],
    [65528, true, 8],
  ] as const) {
    const bytes = frame([
      eth(),
      ipv4({ src: station, dst: gateway, id: 3, mf, offset, protocol: 17 }),
      payload(packet([outerUdp, gtpu({ teid: up }), query()]).slice(0, size)),
      zeros(30),
    ]);
    for (let i = 0; i < 2; i++) assert.is(stage.send("access", bytes).verdict, "redirect");
  }
  assert.is(stage.bench.count("note_learnt"), before);
});

test("inner fragments follow their first one to the app; without it they wait or pass", () => {
  const whole = packet([ip(ue, anyService, { id: 42 }), udp({ sport: 4000, dport: 53 }), payload(100)]);
  const expected = packet([ip(ue, anyApp, { id: 42 }), udp({ sport: 4000, dport: 53 }), payload(100)]);
  const [one, two, three] = fragments(whole, 40);
  const wanted = fragments(expected, 40);
  assert.ok(one && two && three);
  assert.equal(stage.send("access", uplink([payload(two)])).counted, ["slow_inner_fragment"]);
  for (const [i, part] of [one, two, three].entries())
    stage.takes(uplink([payload(part)]), toApp([raw(wanted[i] ?? one)]));
  stage.passes(
    "access",
    uplink([payload(fragments(packet([ip("10.45.7.7", anyService), udp(), payload(100)]), 40)[1] ?? one)], {
      teid: 0x55,
    }),
    "pass_no_rule",
  );
});

test("a last inner fragment of a few octets stays with its packet", () => {
  const whole = packet([ip(ue, anyService, { id: 43 }), udp({ sport: 4000, dport: 53 }), payload(76)]);
  const parts = fragments(whole, 80);
  assert.is(parts[1]?.length, 24);
  for (const part of parts) stage.takes(uplink([payload(part)]));
});

test("what would exceed the access MTU is answered with ICMP when DF, else fragmented, never sent or lost silently", () => {
  const reply = (size: number, df: boolean) =>
    fromApp([ip(anyApp, ue, { df }), udp({ sport: 53, dport: 4000 }), payload(size)]);
  stage.takes(uplink(query()));
  assert.is(get16(stage.replies(reply(1436, true)), 16), 1500);
  const big = stage.send("return", reply(1437, true));
  assert.is(big.verdict, "tx");
  const quote = packet([ip(anyApp, ue, { df: true }), udp({ sport: 53, dport: 4000 }), payload(1437)]).slice(0, 28);
  assert.equal(
    big.frame,
    frame([
      eth({ src: "02:00:00:00:00:02", dst: "02:00:00:00:00:01" }),
      ip(ue, anyApp),
      icmp({ type: 3, code: 4, rest: 1464 }),
      payload(quote),
    ]),
  );
  assert.ok(stage.send("return", reply(1437, false)).counted.includes("slow_too_big"));
  // With a PDU Session Container eight octets less.
  stage.send("core", downlink([ip(anyService, ue), udp()], { ext: [psc({ qfi: 9 })] }));
  stage.replies(reply(1428, true));
  const smaller = stage.send("return", reply(1429, true));
  assert.is(get16(smaller.frame, 40), 1456);
});

test("mobility: the binding moves on a downlink of the same gateway, and flows stay", () => {
  stage.takes(uplink(query()));
  stage.passes("core", downlink([ip(anyService, ue), udp()], { teid: 0x888 }, gateway, otherStation), "pass_downlink", [
    "note_learnt",
    "note_moved",
  ]);
  const out = stage.replies(answer());
  assert.equal(out.slice(30, 34), address(otherStation));
  stage.takes(uplink(query(), {}, otherStation));
  // A late packet of the old base station does not move it back.
  stage.send("access", uplink(query(), {}, station));
});

test("the same downlink TEID on two base stations, the same uplink TEID on two gateways: nobody gets another's", () => {
  stage.send("access", uplink(query(victim), {}, otherStation, otherGateway));
  stage.send("core", downlink([ip(anyService, victim), udp()], {}, otherGateway, otherStation));
  stage.takes(uplink(query()));
  const out = stage.replies(answer());
  assert.equal(out.slice(30, 34), address(station));
  const other = stage.replies(fromApp([ip(anyApp, victim), udp({ sport: 53, dport: 4000 })]));
  assert.equal(other.slice(30, 34), address(otherStation));
});

test("address reuse: the new owner, once the core confirms it, gets none of the old one's flows", () => {
  stage.takes(uplink(query()));
  stage.passes("access", uplink(query(), { teid: 0x501 }, otherStation, otherGateway), "pass_unproven");
  stage.passes(
    "core",
    downlink([ip(anyService, ue), udp()], { teid: 0x601 }, otherGateway, otherStation),
    "pass_downlink",
    ["note_learnt", "note_owner_changed"],
  );
  stage.drops("return", answer(), "drop_no_flow");
  stage.takes(uplink(query(), { teid: 0x501 }, otherStation, otherGateway));
  assert.equal(stage.replies(answer()).slice(30, 34), address(otherStation));
});

test("a flood of tunnels: no growth past the peer's share, and who is known stays", () => {
  stage.begin({ config: { peerSessions: 20 } });
  for (let i = 0; i < 200; i++)
    stage.send("access", uplink([ip(`10.46.${i >> 8}.${i & 255}`, "203.0.115.1"), udp()], { teid: 0x10000 + i }));
  assert.ok([...stage.bench.object.map("ue_sessions").keys()].length <= 21);
  stage.passes("access", uplink([ip("10.47.0.1", "203.0.115.1"), udp()], { teid: 0x7777 }), "pass_peer_refused", [
    "note_learning_limited",
  ]);
  stage.takes(uplink(query()));
});

test("a full session table passes, with an alarm, and evicts nobody", () => {
  stage.begin({ config: { maxSessions: 3 } });
  for (let i = 0; i < 10; i++)
    stage.send("access", uplink([ip(`10.46.0.${i}`, "203.0.115.1"), udp()], { teid: 0x10000 + i }));
  stage.passes("access", uplink(query("10.46.0.99"), { teid: 0x99999 }), "pass_table_full", ["note_full"]);
  stage.takes(uplink(query()));
});

test("apps: forged sources, infrastructure, unknown UEs, own GTP-U, broadcast and malformed packets are dropped", () => {
  stage.takes(uplink(query()));
  const drop = (inner: Layers, counter: string) => stage.drops("return", fromApp(inner), counter);
  drop([ip("10.60.0.99", ue), udp({ sport: 53, dport: 4000 })], "drop_no_flow");
  drop([ip(anyService, ue), udp({ sport: 53, dport: 4000 })], "drop_no_flow");
  drop([ip(anyApp, gateway), udp({ sport: 53, dport: 4000 })], "drop_no_flow");
  drop([ip(anyApp, "10.45.0.77"), udp({ sport: 53, dport: 4000 })], "drop_no_flow");
  drop([ip(anyApp, ue), udp({ sport: 53, dport: 4001 })], "drop_no_flow");
  drop([ip(anyApp, station), udp({ dport: 2152 }), gtpu({ teid: down }), ip(anyApp, ue), udp()], "drop_no_flow");
  drop([ip(anyApp, "255.255.255.255"), udp({ dport: 67 })], "drop_no_flow");
  drop([ip(anyApp, ue), icmp({ type: 8, id: 7 })], "drop_no_flow");
  drop([ip(anyApp, ue, { checksum: 5 }), udp({ sport: 53, dport: 4000 })], "drop_reply_malformed");
  drop([ip(anyApp, ue, { options: hex("01010101") }), udp({ sport: 53, dport: 4000 })], "drop_reply_malformed");
  drop([ip(anyApp, ue), udp({ sport: 53, dport: 4000, length: 4 })], "drop_reply_malformed");
  drop([ip(anyApp, ue, { length: 9000 }), udp({ sport: 53, dport: 4000 })], "drop_reply_malformed");
  drop([payload(60)], "drop_not_ip");
  stage.replies(answer());
});

test("observe learns and takes nothing, bypass not even learns", () => {
  stage.begin({ known: false, config: { mode: "observe" } });
  stage.passes("access", uplink(query()), "pass_observe", ["note_learnt"]);
  stage.begin({ known: false, config: { mode: "bypass" } });
  stage.passes("access", uplink(query()), "pass_bypass");
  stage.passes("core", downlink(query()), "pass_bypass");
  assert.is([...stage.bench.object.map("ue_sessions").keys()].length, 0);
});

test("replies never mirror the uplink's form: S, PN and extension headers are the downlink's business", () => {
  stage.begin({ known: false });
  stage.takes(uplink(ping(), { seq: 7, npdu: 3 }));
  stage.send("core", downlink([ip(anyService, ue), udp()], { seq: 0x55, ext: [psc({ qfi: 9, ppi: 5 })] }));
  const out = stage.replies(fromApp([ip(anyApp, ue), icmp({ type: 0, id: 7 }), payload(8)]));
  const expected = packet([
    gtpu({ teid: down, ext: [psc({ qfi: 9, ppi: 5 })] }),
    ip(anyService, ue),
    icmp({ type: 0, id: 7 }),
    payload(8),
  ]);
  assert.equal(out.slice(42), expected);
});

test.run();
