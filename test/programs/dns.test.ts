/**
 * Which queries for names are taken, which pass, and how do the answers come back? (names.h)
 *
 * B2. Names: shop.example.com and a.b; the name server is 10.60.0.1, port 53. Whole frames are compared.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SteeringRule } from "../../dataplane/steering.ts";
import { message, opt, type Query, query, wire } from "../packets/dns.ts";
import * as f from "../packets/frame.ts";
import type { Kernel, Settings } from "./kernel.ts";
import {
  app,
  changed,
  down,
  fresh,
  fromApp,
  gateway,
  learnt,
  otherDown,
  otherUp,
  renumbered,
  rule,
  rules,
  service,
  station2,
  toApp,
  ue,
  ue6,
  up,
} from "./scene.ts";

const server = { address: "10.60.0.1", port: 53 };
const server6 = { address: "2001:db8:60::1", port: 53 };
const names = ["shop.example.com", "a.b", `${"x".repeat(63)}.${"y".repeat(63)}.${"z".repeat(63)}.${"w".repeat(61)}`];
const resolver = "198.51.100.53";
const resolver2 = "198.51.100.54";
const resolver6 = "2001:db8:53::53";
/** Through the appliance's own routing: index 0. */
const own = 1;

const asks = (to: string, layer: f.Layer, change: f.Udp = {}, from = ue): f.Layers => [
  f.ip(from, to, { ttl: 60, hops: 60, id: 7, df: true }),
  f.udp({ sport: 40053, dport: 53, ...change }),
  layer,
];
const answers = (from: string, text = "answer", dport = 40053, to = ue): f.Layers => [
  f.ip(from, to),
  f.udp({ sport: 53, dport }),
  f.payload(text),
];

function named(settings: Partial<Settings> = {}, list: readonly SteeringRule[] = rules, waiting?: number): Kernel {
  const k = learnt(settings);
  k.setRules(list);
  k.setNames(names, server, server6, waiting);
  return k;
}
const taken = (k: Kernel, layer: f.Layer, to = resolver) =>
  k.expect("access", up(asks(to, layer)), { counter: "take_dns", out: toApp(own, asks(server.address, layer)) });
const passes = (k: Kernel, layer: f.Layer, to = resolver) =>
  k.expect("access", up(asks(to, layer)), { counter: "pass_no_rule", out: "same" });

test("B2: a query for a name is taken, whatever resolver it was sent to; the answer comes from that resolver", () => {
  for (const cacheFor of [0, 1 << 30]) {
    const k = named({ cacheFor });
    taken(k, query("shop.example.com"));
    k.expect("access", up(asks(resolver2, query("shop.example.com"))), { counter: "take_dns" });
    taken(k, query("shop.example.com"));
    // From one port to two resolvers, as musl does: to the server they differ by their port.
    const back = k.flowsOf(1).map(({ key, flow }) => ({ port: key.ue_port, from: flow.translated }));
    assert.is(new Set(back.map(({ port }) => port)).size, 2);
    for (const { port, from } of back) {
      const is = [...from.subarray(12)].join(".");
      for (let n = 0; n < 2; n++) {
        const ran = k.expect("from_apps", fromApp(answers(server.address, "answer", port)), {
          counter: "reply_downlink",
        });
        const wanted = down(answers(is));
        assert.equal(renumbered(wanted, ran.frame), ran.frame);
      }
    }
  }
});

test("B2: other names, in the same flow too, pass to the resolver that the phone asked, and so does its answer", () => {
  for (const cacheFor of [0, 1 << 30]) {
    const k = named({ cacheFor });
    for (let n = 0; n < 3; n++) {
      passes(k, query("example.com"));
      taken(k, query("shop.example.com"));
      passes(k, query("www.shop.example.com"));
      k.expect("core", down([f.ip(resolver, ue), f.udp({ sport: 53, dport: 40053 }), f.payload("real")]), {
        counter: "pass_downlink",
      });
    }
  }
});

test("B2: upper and lower case are the same, of every letter; EDNS and any type of the class IN", () => {
  const k = named();
  for (const layer of [
    query("SHOP.example.COM"),
    query("sHoP.eXaMpLe.cOm"),
    query("A.b"),
    query(names[2]!),
    query(names[2]!.toUpperCase()),
    query("shop.example.com", { more: opt }),
    query("shop.example.com", { type: 28 }),
    query("shop.example.com", { type: 65 }),
    query("shop.example.com", { flags: 0 }),
    query("shop.example.com", { flags: 0x0130 }),
  ])
    taken(k, layer);
  // What lies beside the letters is not a letter.
  for (const name of ["shop.example.co-", "@.b", "[.b", "shop.example.coM\u0080", "a\u0000b"]) passes(k, query(name));
});

const shop = wire("shop.example.com");
const hostile: [string, Query][] = [
  ["a response", { flags: 0x8100 }],
  ["an inverse query", { flags: 0x0800 }],
  ["an update", { flags: 0x2800 }],
  ["no question", { counts: [0, 0, 0, 0] }],
  ["two questions", { counts: [2, 0, 0, 0], more: f.concat(shop, f.u16(1), f.u16(1)) }],
  ["answers", { counts: [1, 1, 0, 0] }],
  ["authorities", { counts: [1, 0, 1, 0] }],
  ["the class CHAOS", { class: 3 }],
  ["the class ANY", { class: 255 }],
  ["a question that ends in the class", { question: f.concat(shop, f.u16(1), f.u8(0)) }],
  ["a question that ends in the type", { question: f.concat(shop, f.u8(0)) }],
  ["a name without an end", { question: shop.subarray(0, shop.length - 1) }],
  ["a label that ends behind the message", { question: f.concat(f.hex("3f"), shop, f.u16(1), f.u16(1)) }],
  ["a label of 64 octets", { question: f.concat(f.u8(64), new Uint8Array(64), f.u8(0), f.u16(1), f.u16(1)) }],
  ["a pointer to itself", { question: f.concat(f.hex("c00c"), f.u16(1), f.u16(1)) }],
  ["a pointer behind labels", { question: f.concat(shop.subarray(0, 5), f.hex("c00c"), f.u16(1), f.u16(1)) }],
  ["a pointer into the header", { question: f.concat(f.hex("c000"), f.u16(1), f.u16(1)) }],
  ["the root", { question: f.concat(f.u8(0), f.u16(1), f.u16(1)) }],
  ["a name of 256 octets", { question: f.concat(wire(`${names[2]}x`), f.u16(1), f.u16(1)) }],
  ["a name of 600 octets", { question: f.concat(wire("a.".repeat(300).slice(0, -1)), f.u16(1), f.u16(1)) }],
  ["all lengths 63", { question: new Uint8Array(300).fill(63) }],
  ["all octets 255", { question: new Uint8Array(300).fill(255) }],
];
for (const [what, change] of hostile) {
  test(`B2: what is no plain query for a name passes: ${what}`, () => {
    const k = named();
    for (let n = 0; n < 2; n++) passes(k, query("shop.example.com", change));
  });
}

test("B2: a query that is cut short passes, at every length", () => {
  const k = named();
  const whole = message("shop.example.com");
  for (let length = 0; length < whole.length; length++) passes(k, f.payload(whole.subarray(0, length)));
  taken(k, f.payload(whole));
});

test("B2: TCP, other ports, fragments, unfit packets and answers that UEs send pass", () => {
  const k = named();
  const q = query("shop.example.com");
  const pass = (inner: f.Layers) => k.expect("access", up(inner), { counter: "pass_no_rule", out: "same" });
  pass([f.ip(ue, resolver), f.tcp({ sport: 40053, dport: 53, flags: "S" }), q]);
  pass([f.ip(ue, resolver), f.udp({ sport: 40053, dport: 5353 }), q]);
  pass([f.ip(ue, resolver), f.udp({ sport: 53, dport: 40053 }), q]);
  pass([f.ip(ue, resolver, { mf: true, id: 9 }), f.udp({ sport: 40053, dport: 53 }), q]);
  pass([f.ip(ue, resolver, { ttl: 1 }), f.udp({ sport: 40053, dport: 53 }), q]);
  pass([f.ip(ue, resolver), f.udp({ sport: 40053, dport: 53, length: 9 }), q]);
});

test("B2: IPv6 UEs ask the server's IPv6 address; where it has none, they pass", () => {
  const k = fresh();
  k.expect("access", up(otherUp(ue6)), { counter: "pass_no_rule" });
  k.expect("core", down(otherDown(ue6)), { counter: "pass_downlink" });
  const q = query("shop.example.com");
  k.setNames(names, server, server6);
  k.expect("access", up(asks(resolver6, q, {}, ue6)), {
    counter: "take_dns",
    out: toApp(own, asks(server6.address, q, {}, ue6)),
  });
  const ran = k.expect("from_apps", fromApp(answers(server6.address, "answer", 40053, ue6)), {
    counter: "reply_downlink",
  });
  assert.equal(renumbered(down(answers(resolver6, "answer", 40053, ue6)), ran.frame), ran.frame);
  k.setNames(names, server);
  k.expect("access", up(asks(resolver6, q, {}, ue6)), { counter: "pass_no_rule", out: "same" });
});

test("B2: operator services come first, also those that only say pass; protected prefixes first of all", () => {
  const q = query("shop.example.com");
  const k = named({ protect: ["203.0.113.0/24", "10.60.0.1/32"] }, [
    ...rules,
    rule(20, { match: { destination: [`${resolver2}/32`] }, action: "pass", endpoints: undefined }),
    rule(21, { match: { destination: ["198.51.100.55/32"], protocol: [17] }, action: "drop", endpoints: undefined }),
    changed(2, { id: 22, match: { destination: ["198.51.100.56/32"], protocol: [17], destinationPorts: [[53, 53]] } }),
  ]);
  const to = (address: string, counter: string) => k.expect("access", up(asks(address, q)), { counter });
  for (let n = 0; n < 2; n++) {
    to(resolver, "take_dns");
    to(resolver2, "pass_no_rule");
    to("198.51.100.55", "drop_rule");
    to("198.51.100.56", "take_uplink");
    to(service.dns, "drop_protected");
    to(server.address, "drop_protected");
  }
});

test("B2: only in the UE's own proven tunnel; a UE that moves keeps its answers", () => {
  const k = named();
  const q = query("shop.example.com");
  k.expect("access", up(asks(resolver, q, {}, "10.45.0.99")), { counter: "pass_not_own_source", out: "same" });
  k.expect("access", up(asks(resolver, q), { teid: 0x777 }), { counter: "pass_unproven", out: "same" });
  taken(k, q);
  k.expect("access", up(asks(resolver, q), { from: station2 }), {
    counter: "take_dns",
    out: toApp(own, asks(server.address, q)),
  });
  k.expect("from_apps", fromApp(answers(server.address)), { counter: "slow_hold" });
  k.expect("core", down(otherDown(), { from: gateway, to: station2, teid: 0x300 }), { counter: "pass_downlink" });
});

test("B2: the downlink is unknown: the answer is held; without a control plane the query passes", () => {
  const q = query("shop.example.com");
  for (const slowPort of [true, false]) {
    const k = fresh({ slowPort });
    k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
    k.setNames(names, server);
    k.expect(
      "access",
      up(asks(resolver, q)),
      slowPort ? { counter: "take_dns", events: ["wanted"] } : { counter: "pass_aside" },
    );
    if (slowPort) k.expect("from_apps", fromApp(answers(server.address)), { counter: "slow_hold" });
  }
});

test("B2: observe and bypass take no query; without names there is no look", () => {
  const q = query("shop.example.com");
  const k = named({ mode: "observe" });
  k.expect("access", up(asks(resolver, q)), { counter: "pass_observe", out: "same" });
  k.configure({ mode: "bypass" });
  k.expect("access", up(asks(resolver, q)), { counter: "pass_bypass", out: "same" });
  k.configure({ mode: "offload" });
  taken(k, q);
  k.setNames([], server);
  passes(k, q);
});

test("B2: a name server that does not answer is left alone, but for a query now and then; its answer brings it back", () => {
  const q = query("shop.example.com");
  const k = named({}, rules, 1);
  taken(k, q);
  k.setNames(names, server, undefined, 3);
  const asked = { pass_dns_aside: 0, take_dns: 0 };
  for (let n = 0; n < 400; n++) {
    const { counted } = k.run("access", up(asks(resolver, q)));
    for (const name of Object.keys(counted) as (keyof typeof asked)[]) asked[name]++;
  }
  assert.is(asked.pass_dns_aside + asked.take_dns, 400);
  assert.ok(asked.pass_dns_aside > 300 && asked.take_dns > 0, JSON.stringify(asked));
  k.expect("from_apps", fromApp(answers(server.address)), { counter: "reply_downlink" });
  for (let n = 0; n < 100; n++) taken(k, q);
});

test("B2: an error about an answer's query reaches the phone, as if from the network beyond", () => {
  const k = named();
  const q = query("shop.example.com");
  taken(k, q);
  const unreachable = f.icmp({ type: 3, code: 3, rest: 0 });
  const ran = k.expect("from_apps", fromApp([f.ip(server.address, ue), unreachable, asks(server.address, q)]), {
    counter: "reply_downlink",
  });
  const wanted = down([f.ip(resolver, ue), unreachable, asks(resolver, q)]);
  assert.equal(renumbered(wanted, ran.frame), ran.frame);
});

test("B2: the UE's share of flows holds for queries", () => {
  const k = named({ ueFlows: 2 });
  const q = query("shop.example.com");
  const from = (sport: number, counter: string) => k.expect("access", up(asks(resolver, q, { sport })), { counter });
  from(1001, "take_dns");
  from(1002, "take_dns");
  from(1003, "pass_table_full");
  from(1001, "take_dns");
});

test("B2: flows of the UE to the same server, by a rule and by name, are told apart by nobody but the flow table", () => {
  const k = named({}, [
    ...rules,
    changed(2, { id: 22, match: { destination: ["198.51.100.56/32"] }, endpoints: [{ address: app.dns }] }),
  ]);
  taken(k, query("shop.example.com"));
  k.expect("access", up(asks("198.51.100.56", query("a.b"))), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(answers(server.address)), { counter: "reply_downlink" });
  k.expect("from_apps", fromApp(answers(app.dns)), { counter: "reply_downlink" });
});

test.run();
