/**
 * What is in this frame, and what passes because it is not understood? (packet.h)
 *
 * A8: everything that is not GTP-U passes as through a switch, octet by octet, from either side; and what is GTP-U but
 * not plain passes with the name of the reason. TS 29.281 §5.1 and §5.2, IEEE 802.1Q, RFC 791, RFC 8200.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as f from "../packets/frame.ts";
import { down, fresh, gateway, gateway6, otherDown, otherUp, station, station6, tcpUp, ue, up } from "./scene.ts";

/** Both sides let it pass with this counter, and nothing is learnt. */
function passes(sentence: string, frame: Uint8Array, counter: string): void {
  test(`${sentence}: ${counter}`, () => {
    for (const side of ["access", "core"] as const) {
      const k = fresh();
      k.expect(side, frame, { counter, out: "same", events: [], notes: [] });
      assert.is(k.size("tunnels"), 0);
    }
  });
}

const outer4 = f.ipv4({ src: station, dst: gateway });
const outer6 = f.ipv6({ src: station6, dst: gateway6 });
const gtpPort = f.udp({ sport: 2152, dport: 2152, checksum: "zero" });
const inner = tcpUp();

passes("A8: ARP passes", f.frame([f.eth(), f.arp(), f.zeros(18)]), "pass_not_gtpu");
passes("A8: LLDP passes", f.frame([f.eth(), f.lldp()]), "pass_not_gtpu");
passes("A8: a frame of 14 octets passes", f.frame([f.eth({ type: 0x0800 })]), "pass_not_gtpu");
passes("A8: an unknown EtherType passes", f.frame([f.eth({ type: 0x88b7 }), f.zeros(60)]), "pass_not_gtpu");
passes("A8: SCTP (S1AP, NGAP) passes", f.frame([f.eth(), outer4, f.sctp(), f.zeros(20)]), "pass_not_gtpu");
passes("A8: TCP to port 2152 passes", f.frame([f.eth(), outer4, f.tcp({ dport: 2152 }), f.zeros(20)]), "pass_not_gtpu");
passes(
  "A8: GTP-C passes",
  f.frame([f.eth(), outer4, f.udp({ dport: 2123 }), f.gtpu({ type: 1 }), f.zeros(20)]),
  "pass_not_gtpu",
);
passes(
  "A8: IPv4 of another version passes",
  f.frame([f.eth(), f.ipv4({ version: 5 }), gtpPort, f.gtpu(), inner]),
  "pass_not_gtpu",
);
passes(
  "A8: IPv6 of another version passes",
  f.frame([f.eth(), f.ipv6({ version: 4 }), gtpPort, f.gtpu(), inner]),
  "pass_not_gtpu",
);
passes("A8: IPv6 with TCP passes", f.frame([f.eth(), outer6, f.tcp(), f.zeros(20)]), "pass_not_gtpu");
passes(
  "A8: IPv6 to another UDP port passes",
  f.frame([f.eth(), outer6, f.udp({ dport: 53 }), f.zeros(20)]),
  "pass_not_gtpu",
);
passes(
  "A8: an IPv6 frame cut off in its addresses passes",
  f.frame([f.eth(), outer6, gtpPort]).subarray(0, 60),
  "pass_not_gtpu",
);
passes(
  "A8: a third VLAN tag passes",
  f.frame([f.eth(), f.vlan(1), f.vlan(2), f.vlan(3), outer4, gtpPort, f.gtpu({ teid: 1 }), inner]),
  "pass_not_gtpu",
);
passes(
  "A8: a tagged frame cut off behind its tags passes",
  f.frame([f.eth(), f.vlan(1), f.vlan(2), outer4, gtpPort]),
  "pass_not_gtpu",
);
passes("A8: GTP version 0 passes", f.frame([f.eth(), outer4, gtpPort, f.gtp0(), inner]), "pass_not_gtpu");
passes(
  "A8: GTP version 2 passes",
  f.frame([f.eth(), outer4, gtpPort, f.gtpu({ version: 2, teid: 1 }), inner]),
  "pass_not_gtpu",
);
passes(
  "A8: GTP' (PT 0) passes",
  f.frame([f.eth(), outer4, gtpPort, f.gtpu({ pt: 0, teid: 1 }), inner]),
  "pass_not_gtpu",
);
passes(
  "A8: an IPv6 fragment of something other than UDP passes",
  f.frame([f.eth(), outer6, f.fragmentHeader({ next: 6, more: true }), f.zeros(40)]),
  "pass_not_gtpu",
);
passes(
  "A8: a first IPv6 fragment to another port passes",
  f.frame([f.eth(), outer6, f.fragmentHeader({ more: true }), f.udp({ dport: 53 }), f.zeros(40)]),
  "pass_not_gtpu",
);
passes(
  "A8: a first IPv6 fragment cut off passes",
  f.frame([f.eth(), outer6, f.fragmentHeader({ next: 17, more: true }), f.zeros(8)]),
  "pass_not_gtpu",
);

passes(
  "outer IPv4 options pass",
  f.frame([f.eth(), f.ipv4({ options: new Uint8Array([1, 1, 1, 0]) }), gtpPort, f.gtpu({ teid: 1 }), inner]),
  "pass_options",
);
passes(
  "outer IPv4 with a header of four words passes",
  f.frame([f.eth(), f.ipv4({ ihl: 4 }), gtpPort, f.gtpu({ teid: 1 }), inner]),
  "pass_options",
);
for (const [name, layer] of [
  ["hop-by-hop options", f.hopByHop()],
  ["a routing header", f.routing()],
  ["destination options", f.destinationOptions()],
] as const)
  passes(
    `outer IPv6 with ${name} passes`,
    f.frame([f.eth(), outer6, layer, gtpPort, f.gtpu({ teid: 1 }), inner]),
    "pass_options",
  );

const gtp = (g: f.Gtpu, rest: f.Layers = inner) => f.frame([f.eth(), outer4, gtpPort, f.gtpu({ teid: 1, ...g }), rest]);
const udpWith = (u: f.Udp, v6 = false) =>
  f.frame([f.eth(), v6 ? outer6 : outer4, f.udp({ dport: 2152, checksum: "zero", ...u }), f.gtpu({ teid: 1 }), inner]);
passes("a UDP length below the IP payload passes", udpWith({ length: 40 }), "pass_malformed");
passes("a UDP length above the IP payload passes", udpWith({ length: 200 }), "pass_malformed");
passes("an outer IPv6 payload length other than UDP's passes", udpWith({ length: 40 }, true), "pass_malformed");
passes("a GTP-U length below the datagram passes", gtp({ length: 30 }), "pass_malformed");
passes("a GTP-U length above the datagram passes", gtp({ length: 300 }), "pass_malformed");
passes(
  "a datagram too short for a GTP-U header passes",
  f.frame([f.eth(), f.ipv4({ length: 32 }), f.udp({ dport: 2152, length: 12 }), f.zeros(40)]),
  "pass_malformed",
);
passes("a frame that ends before its datagram passes", gtp({}).subarray(0, 80), "pass_malformed");
passes(
  "an S flag without its octets passes",
  f.frame([f.eth(), outer4, gtpPort, f.gtpu({ teid: 1, s: true, short: true })]),
  "pass_malformed",
);
passes(
  "… and with padding behind the datagram",
  f.frame([
    f.eth(),
    f.ipv4({ length: 36 }),
    f.udp({ dport: 2152, length: 16 }),
    f.gtpu({ teid: 1, s: true, short: true, length: 0 }),
    f.zeros(40),
  ]),
  "pass_malformed",
);
passes(
  "an extension header of length 0 passes",
  gtp({ ext: [{ type: 0x40, content: new Uint8Array(2), length: 0 }] }),
  "pass_malformed",
);
passes(
  "an extension header that reaches behind the message passes",
  gtp({ ext: [{ type: 0x40, content: new Uint8Array(2), length: 200 }] }),
  "pass_malformed",
);
passes("an extension header announced and not there passes", gtp({ e: true, next: 0x85 }, []), "pass_malformed");
passes(
  "a chain that ends in the middle passes",
  gtp({ ext: [{ type: 0x40, content: new Uint8Array(2), next: 0x40 }] }, []),
  "pass_malformed",
);
passes(
  "a first IPv4 fragment that has all of its datagram passes",
  f.frame([f.eth(), f.ipv4({ mf: true }), gtpPort, f.gtpu({ teid: 1 }), inner]),
  "pass_malformed",
);
passes(
  "a first IPv6 fragment too short for GTP-U passes",
  f.frame([
    f.eth(),
    f.ipv6({ length: 20, next: 44 }),
    f.fragmentHeader({ next: 17, more: true }),
    f.udp({ dport: 2152 }),
    f.zeros(40),
  ]),
  "pass_malformed",
);

passes("an extension header that its receiver must understand passes", gtp({ ext: [f.ext(0xc0)] }), "pass_extension");
passes("a second PDU Session Container passes", gtp({ ext: [f.psc(), f.psc()] }), "pass_extension");
passes("nine extension headers pass", gtp({ ext: Array.from({ length: 9 }, () => f.ext(0x40)) }), "pass_extension");

test("eight extension headers that may be skipped are skipped, the spare bit is ignored, the source port is free: the UE is learnt", () => {
  const k = fresh();
  const gtp = { ext: Array.from({ length: 8 }, () => f.ext(0x40, 6)), spare: 1 };
  k.expect("access", up(otherUp(), { gtp, sport: 33333 }), { counter: "pass_no_rule", events: ["session-new"] });
  assert.is(k.bearers(ue), "up 100 live");
});

for (const [name, tags, link] of [
  ["no tag", [], 0],
  ["one tag", [f.vlan(10)], 10 << 12],
  ["two tags", [f.vlan(10), f.vlan(20)], (10 << 12) | 20],
  ["a tag of a provider bridge", [f.vlan(30), f.vlan(7)], (30 << 12) | 7],
  ["a priority tag, which counts as none", [f.vlan(0, { pcp: 5 })], 0],
] as const) {
  test(`A16: frames with ${name} are understood, and their tags belong to the tunnel`, () => {
    const k = fresh();
    k.expect("access", up(otherUp(), { tags: [...tags] }), { counter: "pass_no_rule", events: ["session-new"] });
    assert.is(k.session(ue)?.link, link);
  });
}

test("0x88A8 is a tag as well as 0x8100", () => {
  const k = fresh();
  k.expect("access", up(otherUp(), { tags: [f.vlan(10)], mac: { type: 0x88a8 } }), { counter: "pass_no_rule" });
  assert.is(k.session(ue)?.link, 10 << 12);
});

test("padding behind a short datagram is allowed", () => {
  const k = fresh();
  const frame = f.concat(up(otherUp()), new Uint8Array(20));
  k.expect("access", frame, { counter: "pass_no_rule", out: "same", events: ["session-new"] });
});

for (const [name, tPdu] of [
  ["an empty T-PDU", []],
  ["a T-PDU of neither IPv4 nor IPv6", [f.payload(Uint8Array.of(0x50)), f.zeros(60)]],
  ["a T-PDU shorter than an IPv4 header", [f.payload(Uint8Array.of(0x45)), f.zeros(10)]],
  ["a T-PDU shorter than an IPv6 header", [f.payload(Uint8Array.of(0x60)), f.zeros(30)]],
] as const) {
  test(`A8: ${name} passes both ways and teaches nothing`, () => {
    const k = fresh();
    k.expect("access", up([...tPdu]), { counter: "pass_no_rule", events: [] });
    k.expect("core", down([...tPdu]), { counter: "pass_downlink", events: [] });
    assert.is(k.size("tunnels"), 0);
  });
}

test("A8: what passes leaves by the opposite adapter, and goes to the kernel's own bridge when that is gone", () => {
  const k = fresh();
  const arp = f.frame([f.eth(), f.arp(), f.zeros(18)]);
  assert.is(k.egress("access", arp), c.PORT_CORE(0));
  assert.is(k.egress("core", arp), c.PORT_ACCESS(0));
  k.unplug(c.PORT_CORE(0));
  k.expect("access", arp, { counter: "pass_not_gtpu", verdict: "pass", out: "same" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test.run();
