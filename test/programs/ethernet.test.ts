/**
 * What does the Ethernet plug-in do with one frame? (ethernet.h)
 *
 * A14: IP and MAC are learnt upstream and restored downstream, VLAN tags included; A15: an address belongs to the data
 * plane that it was learnt on. docs/packet-path.md, "Ethernet".
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as f from "../packets/frame.ts";
import { answer, ask, back, chain, downVni, functions, passed, upVni } from "./chains.ts";
import type { Kernel, Settings } from "./kernel.ts";
import {
  app,
  dnsDown,
  dnsSeen,
  dnsUp,
  down as downTunnel,
  fresh,
  fromApp,
  hop,
  learnt as inTunnels,
  other,
  otherDown,
  otherUp,
  rule,
  rules,
  service,
  tcpUp,
  toApp,
  ue,
  up as upTunnel,
  web6,
} from "./scene.ts";

const client = "02:aa:00:00:00:07";
const client2 = "02:aa:00:00:00:08";
const router = "02:cc:00:00:00:01";
const router2 = "02:cc:00:00:00:02";

interface Wire {
  from?: string;
  to?: string;
  /** Tags, outermost first. */
  tags?: f.Layer[];
  type?: number;
}
const up = (inner: f.Layers, { from = client, to = router, tags = [], type }: Wire = {}): Uint8Array =>
  f.frame([f.eth({ src: from, dst: to, ...(type !== undefined && { type }) }), tags, inner]);
const down = (inner: f.Layers, wire: Wire = {}): Uint8Array => up(inner, { from: router, to: client, ...wire });
const plain = (settings: Partial<Settings> = {}): Kernel => fresh({ ethernet: true, pinger: false, ...settings });
const learnt = (settings: Partial<Settings> = {}, wire: Wire = {}): Kernel => {
  const k = plain(settings);
  k.expect("ether_access", up(otherUp(), wire), {
    counter: "pass_no_rule",
    events: ["session-new"],
    notes: ["note_learnt"],
  });
  return k;
};
const where = (k: Kernel, of = ue) => [k.session(of)?.baseStation, k.session(of)?.gateway];
const ue6 = "2001:db8:45:2::7";
const neighbour6 = "2001:db8:45:2::8";
const tcp6 = (from = ue6): f.Layers => [f.ip(from, web6), f.tcp({ sport: 40000, dport: 443, flags: "S" })];

test("A14: a client's first frame passes untouched and teaches its MAC and its gateway's", () => {
  const k = learnt();
  assert.equal(where(k), [client, router]);
  assert.is(k.egress("ether_access", up(otherUp())), c.PORT_CORE(0));
  k.expect("ether_access", up(otherUp()), { counter: "pass_no_rule", events: [], notes: [] });
  k.expect("ether_core", down(otherDown()), { counter: "pass_downlink", events: [], notes: [] });
  assert.is(k.egress("ether_core", down(otherDown())), c.PORT_ACCESS(0));
  assert.is(k.size("tunnels"), 0);
});

test("A14: what a rule takes reaches the app at once, and the answer goes to the client in its gateway's name", () => {
  const k = plain();
  k.expect("ether_access", up(dnsUp()), {
    counter: "take_uplink",
    events: ["session-new"],
    out: toApp(hop.dns, [f.ipv4({ src: ue, dst: app.dns }), f.udp({ sport: 40001, dport: 53 }), f.payload("query")]),
  });
  for (let i = 0; i < 3; i++) {
    k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink", out: down(dnsSeen()) });
  }
  assert.is(k.egress("from_apps", fromApp(dnsDown())), c.PORT_ACCESS(0));
  k.expect("ether_access", up(dnsUp("again")), { counter: "take_uplink", events: [] });
});

const tagged: [string, f.Layer[], number][] = [
  ["a VLAN tag", [f.vlan(10)], 0x8100],
  ["a tag with priority", [f.vlan(10, { pcp: 5, dei: true })], 0x8100],
  ["QinQ", [f.vlan(100, { pcp: 3, type: 0x8100 }), f.vlan(200)], 0x88a8],
  ["QinQ with two customer tags", [f.vlan(100), f.vlan(200)], 0x8100],
];
for (const [name, tags, type] of tagged) {
  test(`A14: ${name} is taken off for the app and restored for the client`, () => {
    const k = plain();
    k.expect("ether_access", up(dnsUp(), { tags, type }), {
      counter: "take_uplink",
      out: toApp(hop.dns, [f.ipv4({ src: ue, dst: app.dns }), f.udp({ sport: 40001, dport: 53 }), f.payload("query")]),
    });
    for (let i = 0; i < 2; i++) {
      k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink", out: down(dnsSeen(), { tags, type }) });
    }
    k.expect("ether_access", up(otherUp(), { tags, type }), { counter: "pass_no_rule" });
  });
}

test("A14: an IPv6 client is its whole address: two of one /64 are two sessions", () => {
  const k = plain();
  k.expect("ether_access", up(tcp6()), { counter: "take_uplink", events: ["session-new"] });
  k.expect("ether_access", up(tcp6(neighbour6), { from: client2 }), {
    counter: "take_uplink",
    events: ["session-new"],
  });
  assert.is(k.size("ue_sessions"), 2);
  for (const [to, mac] of [
    [ue6, client],
    [neighbour6, client2],
  ] as const) {
    const answer = (from: string): f.Layers => [f.ip(from, to), f.tcp({ sport: 443, dport: 40000, flags: "A" })];
    k.expect("from_apps", fromApp(answer(app.web6)), {
      counter: "reply_downlink",
      out: down(answer(web6), { to: mac }),
    });
  }
});

test("A14: many clients behind one router share its MAC, each with a session of its own", () => {
  const k = plain();
  for (const n of [2, 3, 4]) {
    k.expect("ether_access", up(tcpUp({}, service.web, `10.45.0.${n}`)), {
      counter: "take_uplink",
      events: ["session-new"],
    });
    assert.equal(where(k, `10.45.0.${n}`), [client, router]);
  }
});

const passing: [string, Uint8Array, string][] = [
  ["ARP", f.frame([f.eth({ src: client, dst: "ff:ff:ff:ff:ff:ff", type: 0x0806 }), f.payload(28)]), "pass_not_ip"],
  ["EAPOL", f.frame([f.eth({ src: client, dst: "01:80:c2:00:00:03", type: 0x888e }), f.payload(40)]), "pass_not_ip"],
  ["three tags", up(dnsUp(), { tags: [f.vlan(1), f.vlan(2), f.vlan(3)], type: 0x8100 }), "pass_not_ip"],
  ["a frame of 16 octets", up([]).slice(0, 16), "pass_not_ip"],
  [
    "DHCP",
    up([f.ipv4({ src: "0.0.0.0", dst: "255.255.255.255" }), f.udp({ sport: 68, dport: 67 })], {
      to: "ff:ff:ff:ff:ff:ff",
    }),
    "pass_no_rule",
  ],
  [
    "0.0.0.0 to a unicast MAC",
    up([f.ipv4({ src: "0.0.0.0", dst: service.dns }), f.udp({ dport: 53 })]),
    "pass_no_rule",
  ],
  ["IPv4 link-local", up([f.ipv4({ src: "169.254.3.4", dst: service.dns }), f.udp({ dport: 53 })]), "pass_no_rule"],
  ["IPv6 link-local", up([f.ip("fe80::7", web6), f.udp({ dport: 53 })]), "pass_no_rule"],
  [
    "neighbour discovery",
    up([f.ip("fe80::7", "ff02::1"), f.icmpv6({ type: 135 })], { to: "33:33:00:00:00:01" }),
    "pass_no_rule",
  ],
  ["a source of all routers of a prefix", up([f.ip("2001:db8:45:2::", web6), f.udp({ dport: 53 })]), "pass_no_rule"],
  [
    "a multicast source address",
    up([f.ipv4({ src: "224.0.0.5", dst: service.dns }), f.udp({ dport: 53 })]),
    "pass_no_rule",
  ],
  ["127.0.0.1", up([f.ipv4({ src: "127.0.0.1", dst: service.dns }), f.udp({ dport: 53 })]), "pass_no_rule"],
  ["a broadcast source MAC", up(dnsUp(), { from: "ff:ff:ff:ff:ff:ff" }), "pass_malformed"],
  ["a multicast source MAC", up(dnsUp(), { from: "01:00:5e:00:00:01" }), "pass_malformed"],
  ["source MAC 0", up(dnsUp(), { from: "00:00:00:00:00:00" }), "pass_malformed"],
  ["destination MAC 0", up(dnsUp(), { to: "00:00:00:00:00:00" }), "pass_malformed"],
  ["a service's address at a multicast MAC", up(dnsUp(), { to: "01:00:5e:00:00:01" }), "pass_no_rule"],
  ["a service's address at the broadcast MAC", up(dnsUp(), { to: "ff:ff:ff:ff:ff:ff" }), "pass_no_rule"],
  ["an IPv4 header cut short", up(dnsUp()).slice(0, 30), "pass_malformed"],
  ["an IPv6 header cut short", up(tcp6()).slice(0, 50), "pass_malformed"],
  ["a length beyond the frame", up([f.ipv4({ src: ue, dst: service.dns, length: 900 }), f.udp()]), "pass_malformed"],
  ["a length of 12", up([f.ipv4({ src: ue, dst: service.dns, length: 12 }), f.udp()]), "pass_malformed"],
  ["an IPv6 length beyond the frame", up([f.ipv6({ src: ue6, dst: web6, length: 900 }), f.udp()]), "pass_malformed"],
  ["the longest IPv6 length", up([f.ipv6({ src: ue6, dst: web6, length: 65535 }), f.udp()]), "pass_malformed"],
  ["version 5", up([f.ipv4({ src: ue, dst: service.dns, version: 5 }), f.udp()]), "pass_malformed"],
  ["a header of 16 octets", up([f.ipv4({ src: ue, dst: service.dns, ihl: 4 }), f.udp()]), "pass_malformed"],
  ["IPv6 that says version 4", up([f.ipv6({ src: ue6, dst: web6, version: 4 }), f.udp()]), "pass_malformed"],
  ["IPv4 options", up([f.ipv4({ src: ue, dst: service.dns, options: new Uint8Array(4) }), f.udp()]), "pass_options"],
  ["a wrong header checksum", up([f.ipv4({ src: ue, dst: "192.0.2.9", checksum: 5 }), f.udp()]), "pass_malformed"],
  [
    "the same toward a service",
    up([f.ipv4({ src: ue, dst: service.dns, checksum: 5 }), f.udp()]),
    "pass_inner_malformed",
  ],
];
for (const [name, frame, counter] of passing) {
  test(`A14: ${name} passes and teaches nothing: ${counter}`, () => {
    const k = plain();
    k.expect("ether_access", frame, { counter, events: [] });
    assert.is(k.size("ue_sessions"), 0);
  });
}

test("A14: padding of a short frame is not the packet's: the app does not see it", () => {
  const k = plain();
  const padded = f.concat(up(dnsUp("x")), new Uint8Array(17));
  k.expect("ether_access", padded, {
    counter: "take_uplink",
    out: toApp(hop.dns, [f.ipv4({ src: ue, dst: app.dns }), f.udp({ sport: 40001, dport: 53 }), f.payload("x")]),
  });
});

test("A14: another MAC for a known address passes, unproven, and nothing moves", () => {
  const k = learnt();
  k.expect("ether_access", up(dnsUp(), { from: client2 }), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("ether_access", up(dnsUp(), { from: client2 }), { counter: "pass_unproven", events: [] });
  k.expect("ether_access", up(dnsUp(), { tags: [f.vlan(9)], type: 0x8100 }), { counter: "pass_unproven", events: [] });
  k.expect("ether_core", down(otherDown()), { counter: "pass_downlink", events: [] });
  assert.equal(where(k), [client, router]);
  k.expect("ether_access", up(dnsUp()), { counter: "take_uplink" });
});

test("A14: … until the core side sends to that address at that MAC: the session moves, its flows go on", () => {
  const k = learnt();
  k.expect("ether_access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink", out: down(dnsSeen()) });
  k.expect("ether_access", up(otherUp(), { from: client2 }), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("ether_core", down(otherDown(), { to: client2, tags: [f.vlan(9)], type: 0x8100 }), {
    counter: "pass_downlink",
    events: [],
  });
  k.expect("ether_core", down(otherDown(), { to: client2, from: router2 }), {
    counter: "pass_downlink",
    events: ["moved"],
    notes: ["note_moved"],
  });
  assert.equal(where(k), [client2, router2]);
  k.expect("from_apps", fromApp(dnsDown()), {
    counter: "reply_downlink",
    out: down(dnsSeen(), { to: client2, from: router2 }),
  });
  k.expect("ether_access", up(dnsUp(), { from: client2, to: router2 }), { counter: "take_uplink" });
  k.expect("ether_access", up(dnsUp()), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("ether_core", down(otherDown()), { counter: "pass_downlink", events: ["moved"] });
  assert.equal(where(k), [client, router]);
});

test("A14: one claim at a time, the next after five seconds", () => {
  const k = learnt();
  k.expect("ether_access", up(otherUp(), { from: client2 }), { counter: "pass_unproven", events: ["candidate"] });
  const third = "02:aa:00:00:00:09";
  k.expect("ether_access", up(otherUp(), { from: third }), { counter: "pass_unproven", events: [] });
  k.setBearer(k.session(ue)!.index, c.SLOT_CANDIDATE, { learnt_at: k.ago(6) });
  k.expect("ether_access", up(otherUp(), { from: third }), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("ether_core", down(otherDown(), { to: client2 }), { counter: "pass_downlink", events: [] });
  k.expect("ether_core", down(otherDown(), { to: third }), { counter: "pass_downlink", events: ["moved"] });
});

test("A14: the core side teaches no address of its own accord", () => {
  const k = plain();
  k.expect("ether_core", down(otherDown()), { counter: "pass_downlink", events: [] });
  k.expect("ether_core", f.frame([f.eth({ type: 0x0806 }), f.payload(28)]), { counter: "pass_not_ip", events: [] });
  k.expect("ether_core", down(otherDown(), { to: "ff:ff:ff:ff:ff:ff" }), { counter: "pass_downlink", events: [] });
  assert.is(k.size("ue_sessions"), 0);
});

test("A14: a client that turns to another gateway gets answers from there; what no rule takes changes nothing", () => {
  const k = learnt();
  k.expect("ether_access", up(otherUp(), { to: router2 }), { counter: "pass_no_rule", events: [] });
  assert.equal(where(k), [client, router]);
  k.expect("ether_access", up(dnsUp(), { to: router2 }), { counter: "take_uplink", events: [] });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink", out: down(dnsSeen(), { from: router2 }) });
});

test("A14: pools, a MAC's share, its rate and the table's size limit what is learnt", () => {
  let k = plain({ uePools: ["10.46.0.0/16"] });
  k.expect("ether_access", up(dnsUp()), { counter: "pass_peer_refused", events: [] });
  k = plain({ peerSessions: 1 });
  k.expect("ether_access", up(otherUp()), { counter: "pass_no_rule" });
  k.expect("ether_access", up(otherUp("10.45.0.3")), {
    counter: "pass_peer_refused",
    notes: ["note_learning_limited"],
  });
  k.expect("ether_access", up(otherUp("10.45.0.3"), { from: client2 }), {
    counter: "pass_no_rule",
    events: ["session-new"],
  });
  k = plain({ learnBurst: 1 });
  k.expect("ether_access", up(otherUp()), { counter: "pass_no_rule" });
  k.expect("ether_access", up(otherUp("10.45.0.3")), {
    counter: "pass_peer_refused",
    notes: ["note_learning_limited"],
  });
  k = plain({ maxSessions: 1 });
  k.expect("ether_access", up(otherUp()), { counter: "pass_no_rule" });
  k.expect("ether_access", up(otherUp("10.45.0.3")), { counter: "pass_table_full", events: ["table-full"] });
});

test("A15: an address that lives on another data plane passes, by name, and is told at most once a second", () => {
  const k = learnt();
  const { index } = k.session(ue)!;
  k.setSession(index, { dataplane: 1 });
  k.setRules([]);
  k.expect("ether_access", up(otherUp()), { counter: "pass_other_dataplane", events: ["overlap"] });
  k.expect("ether_access", up(dnsUp(), { from: client2 }), { counter: "pass_other_dataplane", events: [] });
  k.setSession(index, { overlap_at: k.ago(2) });
  k.expect("ether_access", up(otherUp()), { counter: "pass_other_dataplane", events: ["overlap"] });
  k.expect("ether_core", down(otherDown()), { counter: "pass_downlink", events: [] });
});

test("A15: the same holds for tunnels, in both directions", () => {
  const k = inTunnels();
  k.setSession(k.session(ue)!.index, { dataplane: 1 });
  k.setRules(rules);
  const elsewhere = { from: "198.18.1.77", teid: 0x777 };
  k.expect("access", upTunnel(dnsUp(), elsewhere), { counter: "pass_other_dataplane", events: ["overlap"] });
  k.expect("access", upTunnel(dnsUp(), elsewhere), { counter: "pass_other_dataplane", events: [] });
  k.expect("core", downTunnel(otherDown(), { to: "198.18.1.77", teid: 0x778 }), { counter: "pass_other_dataplane" });
});

test("A15: packets from the apps to an address that nobody has are dropped, by name", () => {
  const k = plain();
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
});

test("A14: bypass passes everything, observe takes nothing but learns", () => {
  let k = plain({ mode: "bypass" });
  k.expect("ether_access", up(dnsUp()), { counter: "pass_bypass", events: [] });
  k.expect("ether_core", down(otherDown()), { counter: "pass_bypass", events: [] });
  k = plain({ mode: "observe" });
  k.expect("ether_access", up(dnsUp()), { counter: "pass_observe", events: ["session-new"] });
});

test("A14: protected prefixes hold on Ethernet as well", () => {
  const k = plain({ protect: ["192.0.2.0/24"] });
  k.expect("ether_access", up([f.ipv4({ src: ue, dst: "192.0.2.9" }), f.udp({ dport: 22 })]), {
    counter: "drop_protected",
  });
});

test("A14: an app may speak first to a client that was seen", () => {
  const k = learnt();
  const spoken: f.Layers = [
    f.ipv4({ src: app.first, dst: ue }),
    f.udp({ sport: 6000, dport: 7000 }),
    f.payload("hello"),
  ];
  k.expect("from_apps", fromApp(spoken), {
    counter: "reply_downlink",
    out: down([f.ipv4({ src: "203.0.113.44", dst: ue }), f.udp({ sport: 5000, dport: 7000 }), f.payload("hello")]),
  });
  k.expect("ether_access", up([f.ipv4({ src: ue, dst: "203.0.113.44" }), f.udp({ sport: 7000, dport: 5000 })]), {
    counter: "take_uplink",
  });
});

test("A16: rules tell stations apart by MAC, VLAN and DSCP; what only tunnels have matches nothing on Ethernet", () => {
  const take = (id: number, match: object) =>
    rule(id, { match: { destination: [`${service.dns}/32`], ...match }, endpoints: [{ address: app.dns }] });
  const cases: [object, Wire, boolean][] = [
    [{ sourceMac: [client] }, {}, true],
    [{ sourceMac: [client2] }, {}, false],
    [{ destinationMac: [router] }, {}, true],
    [{ destinationMac: [router2] }, {}, false],
    [{ vlan: [[10, 20]] }, { tags: [f.vlan(15)], type: 0x8100 }, true],
    [{ vlan: [[10, 20]] }, { tags: [f.vlan(21)], type: 0x8100 }, false],
    [{ vlan: [[0, 0]] }, {}, true],
    [{ vlan: [[7, 7]], innerVlan: [[8, 8]] }, { tags: [f.vlan(7), f.vlan(8)], type: 0x8100 }, true],
    [{ innerVlan: [[9, 9]] }, { tags: [f.vlan(7), f.vlan(8)], type: 0x8100 }, false],
    [{ dscp: [[0, 0]] }, {}, true],
    [{ dscp: [[46, 46]] }, {}, false],
    [{ baseStation: ["0.0.0.0/0"] }, {}, false],
    [{ gateway: ["100::/8"] }, {}, false],
    [{ teid: [[1, 0xffffffff]] }, {}, false],
    [{ qfi: [[0, 63]] }, {}, false],
    [{ dataplanes: ["elsewhere"] }, {}, false],
  ];
  for (const [match, wire, matches] of cases) {
    const k = fresh({ ethernet: true, pinger: false }, [take(1, match)]);
    const ran = k.run("ether_access", up(dnsUp(), wire));
    assert.is(ran.counted.take_uplink === 1, matches, JSON.stringify(match));
    assert.is(ran.counted.pass_no_rule === 1, !matches, JSON.stringify(match));
  }
});

test("A16: a drop rule drops a station's packets, by name", () => {
  const drop = rule(1, { match: { sourceMac: [client] }, action: "drop", endpoints: undefined });
  const k = fresh({ ethernet: true, pinger: false }, [drop]);
  for (let i = 0; i < 2; i++) k.expect("ether_access", up(otherUp()), { counter: "drop_rule" });
  k.expect("ether_access", up(otherUp("10.45.0.3"), { from: client2 }), { counter: "pass_no_rule" });
});

test("A12 A14: a station's packets leave for a chain and come back onto the wire as they were, tags included, both ways", () => {
  const wire: Wire = { tags: [f.vlan(100, { pcp: 3, type: 0x8100 }), f.vlan(200)], type: 0x88a8 };
  const [first, second] = functions as [string, string];
  const k = fresh({ ethernet: true, pinger: false }, [passed(chain([first], [second]))]);
  const question = ask(ue, other);
  const said = answer(other);
  for (let i = 0; i < 2; i++) {
    k.expect("ether_access", up(question, wire), { counter: "chain_uplink" });
    k.expect("from_apps", back(upVni(0), first, question), { counter: "chain_back", out: up(question, wire) });
    assert.is(k.egress("from_apps", back(upVni(0), first, question)), c.PORT_CORE(0));
    k.expect("ether_core", down(said, wire), { counter: "chain_downlink" });
    k.expect("from_apps", back(downVni(0), second, said), { counter: "chain_back", out: down(said, wire) });
    assert.is(k.egress("from_apps", back(downVni(0), second, said)), c.PORT_ACCESS(0));
  }
});

test("A12 A14: what the core side begins meets a rule for the station's MAC, and goes through the chain", () => {
  const list = passed(chain([], [functions[0]!]));
  const k = fresh({ ethernet: true, pinger: false }, [{ ...list, match: { ...list.match, sourceMac: [client] } }]);
  k.expect("ether_access", up(otherUp()), { counter: "pass_treated" });
  k.expect("ether_core", down(answer(other)), { counter: "chain_downlink" });
});

test("A14: the MSS of a SYN is left where the wire carries it, and lowered to what the wire carries", () => {
  const k = plain({ mtuAccess: 1400 });
  const mss = (value: number) => f.concat(f.u8(2), f.u8(4), f.u16(value));
  k.expect("ether_access", up(tcpUp({ options: mss(1360) })), { counter: "take_uplink", notes: ["note_learnt"] });
  const ran = k.run("ether_access", up(tcpUp({ sport: 40009, options: mss(1460) })));
  assert.is(ran.counted.note_mss_clamped, 1);
  assert.is(f.get16(ran.frame, 14 + 20 + 22), 1360);
});

test("A14: fragments follow their first one; one that comes early waits, and comes back by itself", () => {
  const k = learnt();
  const whole = f.packet([
    f.ipv4({ src: ue, dst: service.dns, id: 77 }),
    f.udp({ sport: 40001, dport: 53 }),
    f.payload(900),
  ]);
  const [first, later] = f.fragments(whole, 800).map((piece) => f.concat(up([]).slice(0, 12), f.u16(0x0800), piece));
  k.expect("ether_access", later!, { counter: "slow_inner_fragment" });
  k.expect("ether_access", first!, { counter: "take_uplink" });
  k.expect("ether_access", later!, { counter: "take_uplink" });
});

test("A14: replies too long for the access side are answered with its own MTU", () => {
  const k = plain({ mtuAccess: 1400 });
  k.expect("ether_access", up(dnsUp()), { counter: "take_uplink" });
  const long = (size: number): f.Layers => [
    f.ipv4({ src: app.dns, dst: ue, df: true }),
    f.udp({ sport: 53, dport: 40001 }),
    f.payload(size),
  ];
  k.expect("from_apps", fromApp(long(1372)), { counter: "reply_downlink" });
  k.expect("from_apps", fromApp(long(1373)), { counter: "drop_too_big", verdict: "tx" });
});

test.run();
