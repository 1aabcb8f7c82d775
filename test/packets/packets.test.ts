/**
 * Are the frames that all other tests are built from right?
 *
 * tshark, which knows nothing of us, reads them: it must find every layer, no expert warning, and every checksum good.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { diff, sameFrame } from "./diff.ts";
import {
  address,
  addressText,
  arp,
  destinationOptions,
  echo,
  endMarker,
  errorIndication,
  eth,
  ext,
  fragmentHeader,
  fragments,
  fragments6,
  frame,
  gtp0,
  gtpu,
  hex,
  hopByHop,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  type Layers,
  lldp,
  packet,
  payload,
  psc,
  sctp,
  supportedExtensions,
  tcp,
  udp,
  vlan,
} from "./frame.ts";
import { describe } from "./parse.ts";
import { random } from "./prng.ts";
import { tsharkFields, withCapture } from "./tshark.ts";

const sums = ["ip", "udp", "tcp", "sctp"].flatMap((name) => [
  "-o",
  `${name}.${name === "sctp" ? "checksum" : "check_checksum"}:TRUE`,
]);

/** Per frame: protocols, bad checksums, malformed or not. */
function tshark(frames: Uint8Array[]): { protocols: string; bad: string; malformed: string }[] {
  const kinds = ["ip", "udp", "tcp", "icmp", "icmpv6", "sctp"].map((name) => `${name}.checksum.status`);
  const rows = withCapture(frames, (path) =>
    tsharkFields(path, ["frame.protocols", ...kinds, "_ws.malformed", "gtp.length"], sums),
  );
  return rows.map((cells) => ({
    protocols: cells[0] ?? "",
    bad: kinds.filter((_, i) => cells[i + 1]?.split(",").includes("0")).join(" "),
    malformed: cells[7] ?? "",
  }));
}

const outer = [eth(), ipv4(), udp({ sport: 2152, dport: 2152 })];
const outer6 = [eth(), ipv6(), udp({ sport: 2152, dport: 2152 })];
const ue = { src: "10.45.0.2", dst: "203.0.113.80" };
const ue6 = { src: "2001:db8:45::2", dst: "2001:db8:80::80" };

const samples: [string, Layers, string][] = [
  ["ARP", [eth(), arp()], "eth:ethertype:arp"],
  ["LLDP", [eth({ dst: "01:80:c2:00:00:0e" }), lldp()], "eth:ethertype:lldp"],
  ["SCTP", [eth(), ipv4(), sctp(), payload(hex("0e000008 01020304"))], "eth:ethertype:ip:sctp"],
  ["plain G-PDU", [outer, gtpu({ teid: 1 }), ipv4(ue), udp(), payload(11)], ":gtp:ip:udp"],
  [
    "no outer checksum",
    [eth(), ipv4(), udp({ dport: 2152, checksum: "zero" }), gtpu(), ipv4(ue), icmp()],
    ":gtp:ip:icmp",
  ],
  ["S", [outer, gtpu({ seq: 7 }), ipv4(ue), tcp({ flags: "S", mss: 1460 })], ":gtp:ip:tcp"],
  ["PN", [outer, gtpu({ npdu: 7 }), ipv4(ue), tcp(), payload(5)], ":gtp:ip:tcp"],
  ["PSC", [outer, gtpu({ ext: [psc({ type: 1, qfi: 9 })] }), ipv4(ue), icmp(), payload(56)], ":gtp:ip:icmp"],
  ["PSC with PPI", [outer, gtpu({ ext: [psc({ ppi: 3 })] }), ipv4(ue), icmp()], ":gtp:ip:icmp"],
  ["two extensions", [outer, gtpu({ seq: 1, npdu: 2, ext: [ext(0xc0), psc()] }), ipv4(ue), icmp()], ":gtp:ip:icmp"],
  ["IPv6 outside", [outer6, gtpu({ teid: 3 }), ipv4(ue), udp()], "ipv6:udp:gtp:ip:udp"],
  ["IPv6 inside", [outer, gtpu(), ipv6(ue6), tcp({ flags: "SA" })], ":gtp:ipv6:tcp"],
  ["IPv6 in IPv6", [outer6, gtpu(), ipv6(ue6), icmpv6({ type: 128 }), payload(8)], ":gtp:ipv6:icmpv6"],
  ["IPv6 options", [outer, gtpu(), ipv6(ue6), hopByHop(), destinationOptions(), udp()], "ipv6.dstopts:udp"],
  ["IPv6 atomic fragment", [outer, gtpu(), ipv6(ue6), fragmentHeader(), udp()], "ipv6.fraghdr"],
  ["VLAN", [eth(), vlan(10), ipv4(), udp({ dport: 2152 }), gtpu(), ipv4(ue), icmp()], "vlan:ethertype:ip:udp:gtp"],
  [
    "QinQ",
    [eth({ type: 0x88a8 }), vlan(20), vlan(10), ipv4(), udp({ dport: 2152 }), gtpu(), ipv4(ue), icmp()],
    ":gtp:ip:icmp",
  ],
  ["Echo", [outer, echo()], "udp:gtp"],
  ["Error Indication", [outer, errorIndication({ teid: 9, peer: "198.18.1.10" })], "udp:gtp"],
  ["Error Indication v6", [outer6, errorIndication({ teid: 9, peer: "2001:db8::1" })], "udp:gtp"],
  ["End Marker", [outer, endMarker(7)], "udp:gtp"],
  ["Supported Extension Headers", [outer, supportedExtensions()], "udp:gtp"],
  ["GTP version 0", [eth(), ipv4(), udp({ dport: 3386 }), gtp0(), ipv4(ue), icmp()], "udp:gtp"],
  ["ICMP error", [outer, gtpu(), ipv4(ue), icmp({ type: 3, code: 4, rest: 1400 }), ipv4(), udp()], ":icmp:ip:udp"],
];

test("tshark finds the layers, no malformed octet and no bad checksum in every kind of frame", () => {
  const found = tshark(samples.map(([, layers]) => frame(layers)));
  samples.forEach(([name, , protocols], i) => {
    const seen = found[i];
    assert.ok(seen?.protocols.includes(protocols), `${name}: ${seen?.protocols}`);
    assert.is(seen?.bad, "", `${name}: bad checksum in ${seen?.bad}`);
    assert.is(seen?.malformed, "", `${name}: malformed`);
  });
});

test("tshark puts fragments together again, IPv4 and IPv6, outer and inner", () => {
  const whole = packet([ipv4({ id: 5 }), udp({ dport: 2152 }), gtpu({ teid: 1 }), ipv4(ue), udp(), payload(800)]);
  const cut = fragments(whole, 400).map((part) => frame([eth(), { kind: "ipv4", build: () => part }]));
  const inner = packet([ipv6(ue6), udp({ sport: 9, dport: 9999 }), payload(800)]);
  const cut6 = fragments6(inner, 400).map((part) => frame([outer, gtpu(), payload(part)]));
  const found = tshark([...cut, ...cut6]);
  assert.match(found[cut.length - 1]?.protocols ?? "", "ip:udp:gtp:ip:udp");
  assert.match(found[cut.length + cut6.length - 1]?.protocols ?? "", "ipv6.fraghdr:udp");
});

test("what is given wrong stays wrong", () => {
  const bytes = frame([outer, gtpu({ length: 3, e: true, short: true }), ipv4({ ...ue, checksum: 1, ihl: 4 })]);
  assert.match(describe(bytes), /gtpu flags=0x34 .* length=3 of 20/);
  assert.match(describe(frame([eth(), ipv4({ checksum: 1 }), udp()])), /checksum=0x0001 bad/);
});

test("diff names the field that differs", () => {
  const a = frame([outer, gtpu({ teid: 1 }), ipv4({ ...ue, ttl: 64 }), udp()]);
  const b = frame([outer, gtpu({ teid: 2 }), ipv4({ ...ue, ttl: 63 }), udp()]);
  const text = diff(a, b).join("\n");
  assert.match(text, "gtpu[3] teid: 0x00000001 -> 0x00000002");
  assert.match(text, "ipv4[4] ttl: 64 -> 63");
  assert.throws(() => sameFrame(b, a), /teid/);
  sameFrame(a, a.slice());
});

test("addresses are read and written", () => {
  for (const text of ["198.18.1.10", "2001:db8::1", "::", "::1", "fe80::1:0:0:2", "2001:db8:1::"]) {
    assert.is(addressText(address(text)), text);
  }
  assert.equal(address("::ffff:1.2.3.4").slice(10), Uint8Array.from([255, 255, 1, 2, 3, 4]));
});

test("random numbers repeat with their seed", () => {
  const one = random(7);
  const two = random(7);
  assert.equal(one.bytes(32), two.bytes(32));
  assert.not.equal(one.bytes(32), random(8).bytes(32));
});

test.run();
