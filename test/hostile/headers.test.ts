/**
 * GTP-U headers as they are met in the wild and as an attacker would have them (TS 29.281 §5).
 *
 * What is not understood completely passes byte-identical, teaches nothing and is never taken; what is understood is
 * taken with exactly the right header size.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  concat,
  eth,
  ext,
  frame,
  gtp0,
  gtpu,
  hex,
  ip,
  ipv4,
  packet,
  payload,
  psc,
  u16,
  udp,
} from "../packets/frame.ts";
import { anyApp, gateway, ping, query, Stage, station, toApp, ue, up, uplink } from "./stage.ts";

const stage = new Stage();
test.before.each(() => stage.begin());
test.after(() => stage.close());

const outer = [eth(), ip(station, gateway), udp({ sport: 2152, dport: 2152, checksum: "zero" })];
const wanted = packet(query());
const taken = toApp([ip(ue, anyApp), udp({ sport: 4000, dport: 53 }), payload(12)]);

/** Puts other octets at `at` of a good frame. */
const patched = (bytes: Uint8Array, at: number, value: Uint8Array) => {
  const out = bytes.slice();
  out.set(value, at);
  return out;
};
const good = uplink(query());
const udpAt = 34;

test("truncated GTP-U of 0 to 11 octets passes, is not taken and teaches nothing", () => {
  stage.begin({ known: false });
  const learnt = stage.bench.count("note_learnt");
  const header = packet([gtpu({ teid: up, seq: 1 }), payload(wanted)]);
  for (const n of [0, 1, 4, 7, 8, 10, 11]) {
    const bytes = frame([outer, payload(header.slice(0, n))]);
    stage.passes("access", bytes, ["pass_malformed", "pass_not_gtpu"]);
    stage.passes("access", concat(bytes, new Uint8Array(60)), ["pass_malformed", "pass_not_gtpu"]);
  }
  assert.is(stage.bench.count("note_learnt"), learnt);
});

test("flags that promise more than there is pass as malformed", () => {
  for (const flags of [{ e: true }, { s: true }, { pn: true }]) {
    stage.passes("access", frame([outer, gtpu({ teid: up, ...flags, short: true })]), "pass_malformed");
  }
});

test("a GTP-U length that lies passes as malformed", () => {
  const length = wanted.length;
  for (const lie of [0, length - 1, length + 1, 65535]) {
    stage.passes("access", uplink(query(), { length: lie }), "pass_malformed");
  }
});

test("a UDP length that lies passes as malformed", () => {
  for (const lie of [0, 4, 8, 15, good.length - udpAt - 1, good.length - udpAt + 1, 65535]) {
    stage.passes("access", patched(good, udpAt + 4, u16(lie)), "pass_malformed");
  }
});

test("an IP length that lies passes as malformed", () => {
  for (const lie of [0, 12, 24, good.length - 15, good.length - 13, 65535]) {
    stage.passes("access", patched(good, 16, u16(lie)), "pass_malformed");
  }
});

test("octets behind the datagram do not reach the app", () => {
  stage.takes(concat(good, hex("deadbeef00000000")), taken);
  stage.takes(concat(good, new Uint8Array(30)), taken);
});

test("other versions, GTP', GTP-C and other ports are not GTP-U", () => {
  for (const version of [0, 2, 3, 7]) stage.passes("access", uplink(query(), { version }), "pass_not_gtpu");
  stage.passes("access", uplink(query(), { pt: 0 }), "pass_not_gtpu");
  stage.passes(
    "access",
    frame([eth(), ip(station, gateway), udp({ dport: 2152 }), gtp0(), payload(wanted)]),
    "pass_not_gtpu",
  );
  for (const dport of [2123, 2151, 2153, 3386]) {
    stage.passes(
      "access",
      frame([eth(), ip(station, gateway), udp({ sport: 2152, dport }), gtpu({ teid: up }), query()]),
      "pass_not_gtpu",
    );
  }
});

test("TCP and UDP-Lite to port 2152 are not GTP-U", () => {
  for (const protocol of [6, 136]) {
    const bytes = frame([
      eth(),
      ipv4({ src: station, dst: gateway, protocol }),
      udp({ dport: 2152 }),
      gtpu({ teid: up }),
      query(),
    ]);
    stage.passes("access", bytes, "pass_not_gtpu");
  }
});

test("other message types with a T-PDU inside pass and are not taken", () => {
  for (const type of [0, 16, 31, 99, 241, 253]) stage.passes("access", uplink(query(), { type }), "pass_gtpu_control");
});

test("E, S and PN in all eight combinations: the header size is exact, unused fields mean nothing", () => {
  for (let flags = 0; flags < 8; flags++) {
    const e = (flags & 4) !== 0;
    const g = { e, s: (flags & 2) !== 0, pn: (flags & 1) !== 0, seq: 0xbeef, npdu: 0xee };
    stage.takes(uplink(query(), { ...g, ext: e ? [psc({ type: 1 })] : [] }), taken);
    // A next extension type without E is junk, not an extension.
    if (!e) stage.takes(uplink(query(), { ...g, next: flags ? 0x85 : 0 }), taken);
  }
});

test("the spare bit is ignored", () => {
  stage.takes(uplink(query(), { spare: 1 }), taken);
});

test("an extension header of length 0, first or second, ends nothing and loops nowhere", () => {
  stage.passes("access", uplink(query(), { ext: [{ ...psc(), length: 0 }] }), "pass_malformed");
  stage.passes("access", uplink(query(), { ext: [psc(), { ...ext(0x40), length: 0 }] }), "pass_malformed");
});

test("an extension header that overruns the message passes as malformed", () => {
  const words = Math.ceil(wanted.length / 4);
  for (const length of [255, words + 3, words + 60]) {
    stage.passes("access", uplink(query(), { ext: [{ ...ext(0x40), length }] }), "pass_malformed");
  }
  // Nothing follows: the header's own octets are the last ones.
  stage.passes("access", frame([outer, gtpu({ teid: up, next: 0x85, e: true })]), "pass_malformed");
});

test("eight extension headers are walked, nine and 120 pass", () => {
  const chain = (n: number) => Array.from({ length: n }, () => ext(0x40));
  stage.takes(uplink(query(), { ext: chain(8) }), taken);
  stage.passes("access", uplink(query(), { ext: chain(9) }), "pass_extension");
  stage.passes("access", uplink(query(), { ext: chain(120) }), "pass_extension");
});

test("unknown extensions: bits 00 and 01 are skipped, 10 and 11 are for the receiver alone", () => {
  for (const type of [0x01, 0x3f, 0x40, 0x7f]) stage.takes(uplink(query(), { ext: [ext(type)] }), taken);
  for (const type of [0x81, 0xbf, 0xc0, 0xff])
    stage.passes("access", uplink(query(), { ext: [ext(type)] }), "pass_extension");
});

test("odd PDU Session Containers neither crash nor confuse: wrong type, twice, QFI 63, eight octets", () => {
  stage.takes(uplink(query(), { ext: [psc({ type: 0, qfi: 63 })] }), taken);
  stage.takes(uplink(query(), { ext: [psc({ type: 15 })] }), taken);
  stage.takes(uplink(query(), { ext: [psc({ type: 1, size: 6 })] }), taken);
  stage.passes("access", uplink(query(), { ext: [psc({ type: 1 }), psc({ type: 1 })] }), "pass_extension");
});

test("what is no IP passes: Ethernet PDU, unstructured PDU, no T-PDU at all", () => {
  stage.passes("access", uplink([payload(packet([eth(), query()]))]), "pass_no_rule");
  stage.passes("access", uplink([payload(hex("ff00ff00ff00"))]), "pass_no_rule");
  stage.passes("access", uplink([]), "pass_no_rule");
  stage.passes("core", uplink([], {}, gateway, station), "pass_downlink");
});

test("a T-PDU that ends inside its IP header is not continued from the padding behind it", () => {
  stage.begin({ known: false });
  const short = frame([outer, gtpu({ teid: up }), payload(wanted.slice(0, 12))]);
  stage.passes("access", concat(short, wanted.slice(12)), "pass_no_rule");
});

test("a TEID of zero and TEIDs nobody knows are not taken as somebody's", () => {
  stage.passes("access", uplink(query(), { teid: 0 }), ["pass_no_rule", "pass_unproven"]);
  stage.passes("access", uplink(query(), { teid: 0xffffffff }), "pass_unproven");
});

test("the UDP source port is free, and no UDP checksum is fine", () => {
  const inner = packet(ping());
  for (const sport of [1, 4409, 65535]) {
    stage.takes(
      frame([
        eth(),
        ip(station, gateway),
        udp({ sport, dport: 2152, checksum: "zero" }),
        gtpu({ teid: up }),
        payload(inner),
      ]),
    );
  }
});

test.run();
