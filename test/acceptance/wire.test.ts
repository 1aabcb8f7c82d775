/**
 * Is Offramp a piece of wire for everything that it does not take (A8)?
 *
 * Frames of all kinds through real XDP redirection, in both directions, with services in place: bit-identical, complete,
 * in order.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { transfer } from "../lab/frames.ts";
import {
  arp,
  echo,
  endMarker,
  eth,
  ext,
  fragments,
  frame,
  gtp0,
  gtpu,
  icmp,
  ipv4,
  ipv6,
  lldp,
  packet,
  payload,
  psc,
  sctp,
  supportedExtensions,
  tcp,
  toHex,
  udp,
  vlan,
} from "../packets/frame.ts";
import { inScene } from "./scene.ts";

const user = [ipv4({ src: "10.45.0.2", dst: "203.0.113.10" }), udp({ dport: 53 }), payload("a question")];
const other = [ipv4({ src: "10.45.0.3", dst: "203.0.113.10" }), udp({ dport: 53 }), payload("a question")];
const tagged = [ipv4({ src: "10.45.0.4", dst: "203.0.113.10" }), udp({ dport: 53 }), payload("a question")];
const s1u = (port = 2152) => [eth(), ipv4(), udp({ dport: port, sport: port })];
const large = packet([ipv4({ id: 7 }), udp({ dport: 2152 }), gtpu({ teid: 1 }), ...user, payload(2500)]);

/** What is met on such wires; the words are for the report. */
const frames: [string, Uint8Array][] = [
  ["ARP", frame([eth({ dst: "ff:ff:ff:ff:ff:ff" }), arp()])],
  ["LLDP, which bridges keep to themselves", frame([eth({ dst: "01:80:c2:00:00:0e" }), lldp()])],
  ["LACP", frame([eth({ dst: "01:80:c2:00:00:02", type: 0x8809 }), payload(110)])],
  ["an unknown EtherType", frame([eth({ type: 0x9999 }), payload(60)])],
  ["a runt with padding", frame([eth(), ipv4(), udp({ dport: 9 }), payload("x"), payload(new Uint8Array(17))])],
  ["SCTP (S1AP)", frame([eth(), ipv4(), sctp(), payload(40)])],
  ["ICMP", frame([eth(), ipv4(), icmp(), payload(56)])],
  ["TCP", frame([eth(), ipv4(), tcp({ flags: "S", mss: 1460 })])],
  ["IPv6", frame([eth(), ipv6(), udp({ dport: 53 }), payload(20)])],
  ["GTP-C version 2", frame([...s1u(2123), payload(Uint8Array.of(0x48, 1, 0, 4, 0, 0, 0, 0))])],
  ["GTP-U Echo Request", frame([...s1u(), ...echo()])],
  ["GTP-U Echo Response", frame([...s1u(), ...echo({ response: true })])],
  ["End Marker", frame([...s1u(), endMarker(0x77)])],
  ["Supported Extension Headers Notification", frame([...s1u(), ...supportedExtensions()])],
  ["GTP'", frame([...s1u(3386), gtpu({ pt: 0, type: 240 }), payload(10)])],
  ["GTP version 0", frame([...s1u(3386), gtp0(), ...user])],
  ["GTP version 2 on the GTP-U port", frame([...s1u(), gtpu({ version: 2 }), payload(20)])],
  ["user traffic without a rule", frame([...s1u(), gtpu({ teid: 0x1234 }), ...user])],
  [
    "another UE's with a PDU Session Container",
    frame([...s1u(), gtpu({ teid: 0x1235, ext: [psc({ type: 1 })] }), ...other]),
  ],
  ["an extension header that only its receiver reads", frame([...s1u(), gtpu({ teid: 9, ext: [ext(0xc0)] }), ...user])],
  [
    "a tagged frame",
    frame([eth({ type: 0x8100 }), vlan(100), ipv4(), udp({ dport: 2152 }), gtpu({ teid: 6 }), ...tagged]),
  ],
  ["a priority tag", frame([eth({ type: 0x8100 }), vlan(0, { pcp: 5 }), ipv4(), sctp(), payload(30)])],
  ["two tags", frame([eth({ type: 0x88a8 }), vlan(7, { type: 0x8100 }), vlan(8), ipv4(), icmp(), payload(30)])],
  ["MPLS", frame([eth({ type: 0x8847 }), payload(Uint8Array.of(0, 1, 1, 64)), ipv4(), icmp()])],
  ["cut off GTP-U", frame([...s1u(), payload(Uint8Array.of(0x30, 255, 0))])],
  ["a G-PDU whose length lies", frame([...s1u(), gtpu({ teid: 5, length: 9000 }), ...user])],
  ["outer fragments", frame([eth({ type: 0x0800 }), payload(fragments(large, 1400)[0])])],
  ["the rest of them", frame([eth({ type: 0x0800 }), payload(fragments(large, 1400)[1])])],
];

test(
  "A8: what is not taken leaves the other adapter bit-identical, in both directions",
  inScene({ ues: 0, realCore: false }, async (scene) => {
    await scene.service("www", "203.0.113.80");
    const sent = frames.map(([, bytes]) => bytes);
    for (const [from, to] of [
      ["ran0", "core0"],
      ["core0", "ran0"],
    ] as const) {
      const arrived = (await transfer(scene.lab, from, to, sent)).map(toHex);
      const lost = frames.filter(([, bytes]) => !arrived.includes(toHex(bytes))).map(([what]) => what);
      assert.equal(lost, [], `from ${from} to ${to} these did not arrive as they were`);
      assert.equal(arrived, sent.map(toHex), "in order, and nothing else");
    }
  }),
);

test(
  "A8: jumbo frames pass",
  inScene({ ues: 0, realCore: false, mtu: 9000 }, async (scene) => {
    const sent = [8900, 4000, 9000 - 28].map((size) => frame([eth(), ipv4(), udp({ dport: 9 }), payload(size)]));
    assert.equal((await transfer(scene.lab, "ran0", "core0", sent)).map(toHex), sent.map(toHex));
  }),
);

test(
  "A8: with programs gone the bridge is the same wire",
  inScene({ ues: 0, realCore: false }, async (scene) => {
    await scene.appliance.stop();
    const down = await scene.appliance.down();
    assert.is(down.code, 0, down.stderr);
    const sent = frames.map(([, bytes]) => bytes);
    const arrived = (await transfer(scene.lab, "ran0", "core0", sent)).map(toHex);
    const lost = frames.filter(([, bytes]) => !arrived.includes(toHex(bytes))).map(([what]) => what);
    assert.equal(lost, []);
  }),
);

test.run();
