/** Which bodies are services, and what is said about those that are not (A10, A11)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parsePrefix } from "../../controlplane/intents/prefix.ts";
import { validateService } from "../../controlplane/intents/validate.ts";

const protect = ["192.0.2.0/24", "10.60.0.1/32"].map(parsePrefix);
const errors = (body: unknown) => {
  const checked = validateService(body, { protect });
  return checked.ok ? [] : checked.errors.map(({ field, message }) => `${field}: ${message}`);
};
const second = (rules: Record<string, unknown>, rest: Record<string, unknown> = {}) => ({
  name: "x",
  rules: { priority: "1", nw_src: "0.0.0.0/0", ...rules },
  ...rest,
});
const intentOf = (body: unknown) => {
  const checked = validateService(body);
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  return checked.intent;
};

const good: [string, unknown][] = [
  ["A10: first form, IPv4", { name: "a", serviceIP: "203.0.113.1", applicationIP: "10.60.0.2" }],
  ["A10: first form, IPv6", { name: "a", serviceIP: "2001:db8::1", applicationIP: "2001:db8:60::2" }],
  [
    "first form, the application may speak first",
    { name: "a", serviceIP: "203.0.113.1", applicationIP: "10.60.0.2", appInitiated: true },
  ],
  ["A11: the least second form", second({})],
  [
    "A11: everything as strings",
    second({
      priority: "65535",
      nw_dst: "203.0.113.0/24",
      nw_src: "10.45.0.0/16",
      protocol: "6",
      tp_dst: "80",
      tp_src: "1024-65535",
      endpoint: "10.60.0.2:8080",
    }),
  ],
  [
    "A11: everything as numbers",
    second({ priority: 0, nw_dst: "203.0.113.1", protocol: 17, tp_dst: 53, tp_src: 53, endpoint: "10.60.0.2" }),
  ],
  ["A11: a mask with dots", second({ nw_dst: "203.0.113.0/255.255.255.0" })],
  ["A11: protocol by name", second({ protocol: "UDP", tp_dst: "53" })],
  [
    "A11: IPv6 with a port",
    second({ nw_src: "::/0", nw_dst: "2001:db8::/32", protocol: "tcp", endpoint: "[2001:db8:60::2]:80" }),
  ],
  ["A11: IPv6 without a port", second({ nw_src: "::/0", nw_dst: "2001:db8::/32", endpoint: "2001:db8:60::2" })],
  ["A11: empty chains, in both spellings", second({}, { chain: { ue_net: [], net_ue: [], net_eu: [] } })],
  ["A19: the local gateway needs no destination", second({ endpoint: "local" })],
  ["B1: forwarded with the tunnel by an adapter", second({ forward: { port: "eth2" } })],
  [
    "B1: … to a next hop, in a VLAN, into GRE, or to another gateway",
    second({
      forward: { port: "eth2", vlan: "7", address: "10.70.0.1", tunnel: { type: "gtp-u", destination: "198.18.2.9" } },
    }),
  ],
  ["A17: an output by GRE alone", second({ output: { tunnel: { type: "gre", destination: "2001:db8:70::9" } } })],
  [
    "B1: one direction, dropped, limited, copied or sent away",
    second({ direction: "downlink" }, { rate: { downlink: "5M" }, mirror: { port: "tap0" } }),
  ],
  ["B1: one direction, sent away", second({ direction: "uplink", forward: { port: "eth2" } })],
  ["a name of other letters", { name: "Prüfstand 7", serviceIP: "203.0.113.1", applicationIP: "10.60.0.2" }],
  ["a name that JavaScript knows", { name: "constructor", serviceIP: "203.0.113.1", applicationIP: "10.60.0.2" }],
];
for (const [sentence, body] of good) test(sentence, () => assert.equal(errors(body), []));

const bad: [string, unknown, string[]][] = [
  [
    "B1: another direction than there are",
    second({ direction: "both" }),
    ['rules.direction: must be "uplink" or "downlink"'],
  ],
  [
    "B1: one direction with what has to come back",
    second(
      { nw_dst: "203.0.113.1", direction: "uplink", endpoint: "10.60.0.2" },
      { chain: { ue_net: ["10.60.0.3"] }, appInitiated: true },
    ),
    [
      "rules.direction: does not go with endpoints: what is translated one way has to be translated back",
      "chain: does not go with a rule for one direction: functions return packets to their flow",
      "appInitiated: does not go with a rule for one direction",
    ],
  ],
  [
    "B1: one direction to the apps' network, and a limit of the other one",
    second({ direction: "uplink", endpoint: "local" }, { rate: { downlink: "5M" } }),
    [
      "rules.direction: does not go with endpoint local: what the apps' network sends back belongs to a flow, so leave direction out, or give output",
      "rate.downlink: limits nothing: the service is for the uplink only",
    ],
  ],
  [
    "B1: a direction of signalling",
    second({ gtpu_msgtype: "end-marker", nw_src: undefined, direction: "uplink", forward: { port: "eth2" } }),
    [
      "rules.forward: does not go with gtpu_msgtype other than 255 (g-pdu): such messages pass, or are dropped",
      "rules.direction: does not go with gtpu_msgtype other than 255 (g-pdu): such messages pass, or are dropped",
    ],
  ],
  [
    "B1: an outlet that leads nowhere",
    second({ forward: { vlan: 7 } }),
    ["rules.forward.port: is required where neither address nor tunnel says where packets go"],
  ],
  [
    "B1: an outlet with everything wrong",
    second({
      output: {
        port: "a b",
        vlan: 4095,
        mac: "x",
        address: "224.0.0.1",
        tunnel: { type: "ipip", source: "1" },
        via: 1,
      },
    }),
    [
      "rules.output.via: unknown field",
      "rules.output.port: must be the name of an adapter, 1 to 15 characters without / : and blanks",
      "rules.output.vlan: must be a whole number 1..4094",
      'rules.output.mac: must be a MAC address such as "02:00:00:00:00:01"',
      "rules.output.address: 224.0.0.1 is not an address that packets can be sent to",
      'rules.output.tunnel.type: must be "gre" or "gtp-u"',
      "rules.output.tunnel.destination: is required",
      'rules.output.tunnel.source: "1" is not an IPv4 address: write four numbers 0..255 without leading zeros',
    ],
  ],
  [
    "B1: two next hops, two families, a tunnel that is gone, two ways",
    second(
      {
        output: { mac: "02:00:00:00:00:01", address: "10.70.0.1", tunnel: { type: "gtp-u", destination: "10.70.0.9" } },
        forward: { tunnel: { type: "gre", source: "10.70.0.9", destination: "2001:db8::9" } },
      },
      { chain: { ue_net: ["10.60.0.3"] } },
    ),
    [
      "rules.forward: does not go with output: packets go one way, so give one of them",
      "rules.output.tunnel.type: gtp-u goes with forward: what leaves by output has no GTP-U tunnel any more",
      "rules.output.mac: does not go with address, whose MAC address is found: give one of them",
    ],
  ],
  [
    "B1: forward with a chain, and a tunnel of two families",
    second(
      { forward: { tunnel: { type: "gre", source: "10.70.0.9", destination: "2001:db8::9" } } },
      { chain: { ue_net: ["10.60.0.3"] } },
    ),
    [
      "chain: does not go with forward: functions get packets without their tunnel",
      "rules.forward.tunnel.source: must be of the same family as the tunnel's destination",
    ],
  ],
  ["no object", [], [": must be an object"]],
  ["null", null, [": must be an object"]],
  ["neither form", { name: "a" }, [": give either serviceIP and applicationIP, or rules"]],
  [
    "both forms",
    { name: "a", serviceIP: "1.2.3.4", rules: {} },
    [": mixes the two forms: give either serviceIP and applicationIP, or rules"],
  ],
  ["A10: nothing but one field", { serviceIP: "203.0.113.1" }, ["name: is required", "applicationIP: is required"]],
  [
    "a slip in a field name",
    { name: "a", serviceIP: "203.0.113.1", applicationIp: "10.60.0.2" },
    ['applicationIp: unknown field; did you mean "applicationIP"?', "applicationIP: is required"],
  ],
  [
    "two families",
    { name: "a", serviceIP: "203.0.113.1", applicationIP: "2001:db8::1" },
    ["applicationIP: is IPv6, but serviceIP is IPv4: both must be of one family"],
  ],
  [
    "an octal address",
    { name: "a", serviceIP: "203.0.113.01", applicationIP: "10.60.0.2" },
    ['serviceIP: "203.0.113.01" is not an IPv4 address: write four numbers 0..255 without leading zeros'],
  ],
  [
    "IPv4 in IPv6",
    { name: "a", serviceIP: "::ffff:1.2.3.4", applicationIP: "10.60.0.2" },
    ['serviceIP: "::ffff:1.2.3.4" is an IPv4 address in IPv6 clothes: write 1.2.3.4'],
  ],
  [
    "multicast",
    { name: "a", serviceIP: "224.0.0.1", applicationIP: "127.0.0.1" },
    [
      "serviceIP: 224.0.0.1 is not an address that packets can be sent to",
      "applicationIP: 127.0.0.1 is not an address that packets can be sent to",
    ],
  ],
  [
    "a protected destination",
    { name: "a", serviceIP: "192.0.2.7", applicationIP: "10.60.0.2" },
    ["serviceIP: lies in 192.0.2.0/24, which is protected from UEs: the service would never be reached"],
  ],
  [
    "a name with a slash",
    { name: "a/b", serviceIP: "203.0.113.1", applicationIP: "10.60.0.2" },
    ["name: must be 1 to 64 printable characters without / and \\, not beginning or ending in a space"],
  ],
  [
    "A11: no priority, no source",
    { name: "a", rules: {} },
    ["rules.priority: is required", "rules.nw_src: is required; 0.0.0.0/0 or ::/0 means every UE"],
  ],
  [
    "A11: an endpoint without a destination",
    second({ endpoint: "10.60.0.2" }),
    ["rules.nw_dst: is required when an endpoint is given"],
  ],
  ["A11: ports without a protocol", second({ tp_dst: "80" }), ["rules.tp_dst: needs protocol 6 (tcp) or 17 (udp)"]],
  [
    "A11: ports with icmp",
    second({ protocol: "icmp", tp_src: "80" }),
    ["rules.tp_src: needs protocol 6 (tcp) or 17 (udp)"],
  ],
  [
    "A11: an endpoint port without tcp or udp",
    second({ nw_dst: "203.0.113.1", endpoint: "10.60.0.2:80" }),
    ["rules.endpoint: a port needs protocol 6 (tcp) or 17 (udp)"],
  ],
  [
    "A11: another protocol",
    second({ protocol: "47" }),
    ["rules.protocol: must be 1 (icmp), 6 (tcp), 17 (udp) or 58 (icmpv6)"],
  ],
  [
    "A11: ICMP of the other family",
    second({ protocol: 58 }),
    ["rules.protocol: 58 is ICMP for IPv6, but the addresses are IPv4: use 1"],
  ],
  [
    "A11: a range backwards",
    second({ protocol: 6, tp_dst: "90-80" }),
    ['rules.tp_dst: must be a port 1..65535, or a range "8000-8099"'],
  ],
  [
    "A11: a huge priority",
    second({ priority: "99999999999999999999" }),
    ["rules.priority: must be a whole number 0..65535"],
  ],
  ["A11: not a number", second({ priority: Number.NaN }), ["rules.priority: must be a whole number 0..65535"]],
];
for (const [sentence, body, expected] of bad) test(`400: ${sentence}`, () => assert.equal(errors(body), expected));

test("A11: icmp means the family's own", () => {
  assert.equal(intentOf(second({ protocol: "icmp" })).match.protocol, [1]);
  assert.equal(intentOf(second({ protocol: "icmp", nw_src: "::/0" })).match.protocol, [58]);
});

test("DESIGN: the first form has priority 100", () => {
  assert.is(intentOf({ name: "a", serviceIP: "203.0.113.1", applicationIP: "10.60.0.2" }).priority, 100);
});

test("whatever JSON holds, the answer is a service or errors, never an exception", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const checked = validateService(value);
      assert.ok(checked.ok || checked.errors.length > 0);
    }),
    { numRuns: 2000 },
  );
  const member = fc.oneof(fc.jsonValue(), fc.string(), fc.ipV4(), fc.ipV6(), fc.integer());
  const rules = fc.dictionary(
    fc.constantFrom("priority", "nw_dst", "nw_src", "protocol", "tp_dst", "tp_src", "endpoint", "x"),
    member,
  );
  fc.assert(
    fc.property(member, rules, member, (name, body, chain) => {
      const checked = validateService({ name, rules: body, chain });
      assert.ok(checked.ok || checked.errors.length > 0);
    }),
    { numRuns: 5000 },
  );
});

test.run();
