/** What do the further fields of the second form mean, and which of them contradict each other (A12, A16, A17)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSite } from "../../controlplane/config/load.ts";
import { compile } from "../../controlplane/intents/compile.ts";
import { siteFacts, type ValidationContext } from "../../controlplane/intents/context.ts";
import { parsePrefix } from "../../controlplane/intents/prefix.ts";
import { validateService } from "../../controlplane/intents/validate.ts";

const site = parseSite(`
site: { name: test, stateDir: /tmp/none }
dataplanes:
  - { name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16], accessPeers: [198.18.1.0/24], corePeers: [198.18.2.0/24] }
protect: [192.0.2.0/24]
apps: { interface: apps0, address: 10.60.0.1/24 }
vxlan: { address: 10.60.0.250 }
api: { listen: 127.0.0.1:8090 }
`);
const context: ValidationContext = { ...siteFacts(site), protect: site.protect.map(parsePrefix) };

type Parts = Record<string, unknown>;
const body = (rules: Parts, rest: Parts = {}) => ({
  name: "x",
  rules: { priority: 1, nw_src: "0.0.0.0/0", ...rules },
  ...rest,
});
const checked = (rules: Parts, rest: Parts = {}, within = context) => validateService(body(rules, rest), within);
const intentOf = (rules: Parts, rest: Parts = {}) => {
  const result = checked(rules, rest);
  if (!result.ok) throw new Error(JSON.stringify(result.errors));
  return result.intent;
};
const errors = (rules: Parts, rest: Parts = {}, within = context) => {
  const result = checked(rules, rest, within);
  return result.ok ? [] : result.errors.map(({ field, message }) => `${field}: ${message}`);
};

const everyone = { source: ["0.0.0.0/0"] };
const meanings: [string, Parts, object][] = [
  [
    "A16: sets of everything",
    {
      nw_dst: ["203.0.113.64/26", "203.0.113.0/26", "198.51.100.7"],
      nw_src: ["10.45.1.0/24", "10.45.0.0/16"],
      protocol: ["udp", 6],
      tp_dst: ["8000-8099", 80, "8100"],
      tp_src: 5000,
    },
    {
      destination: ["198.51.100.7/32", "203.0.113.0/25"],
      source: ["10.45.0.0/16"],
      protocol: [6, 17],
      destinationPorts: [
        [80, 80],
        [8000, 8100],
      ],
      sourcePorts: [[5000, 5000]],
    },
  ],
  [
    "A16: DSCP by name and number",
    { nw_dscp: ["EF", "af41", 0] },
    {
      ...everyone,
      dscp: [
        [0, 0],
        [34, 34],
        [46, 46],
      ],
    },
  ],
  ["A16: every code point is no condition", { nw_dscp: "0-63" }, everyone],
  [
    "A16: MAC addresses",
    { dl_src: "02-00-00-00-00-0A", dl_dst: ["02:00:00:00:00:02", "02:00:00:00:00:01"] },
    { ...everyone, sourceMac: ["02:00:00:00:00:0a"], destinationMac: ["02:00:00:00:00:01", "02:00:00:00:00:02"] },
  ],
  [
    "A16: VLAN tags",
    { dl_vlan: ["none", "100-102", 103] },
    {
      ...everyone,
      vlan: [
        [0, 0],
        [100, 103],
      ],
    },
  ],
  [
    "A16: a tag within a tag",
    { dl_vlan: ["100.7", "100.8"] },
    { ...everyone, vlan: [[100, 100]], innerVlan: [[7, 8]] },
  ],
  [
    "A16: tunnels",
    { tun_src: "198.18.1.0/24", tun_dst: ["198.18.2.1", "2001:db8::1"], tun_id: ["0x10-0x20", 7], qfi: 9 },
    {
      ...everyone,
      baseStation: ["198.18.1.0/24"],
      gateway: ["198.18.2.1/32", "2001:db8::1/128"],
      teid: [
        [7, 7],
        [16, 32],
      ],
      qfi: [[9, 9]],
    },
  ],
  ["A15: on a data plane", { in_port: "s1" }, { ...everyone, dataplanes: ["s1"] }],
  [
    "A16: message types need no source",
    { nw_src: undefined, gtpu_msgtype: ["end-marker", 1] },
    {
      message: [
        [1, 1],
        [254, 254],
      ],
    },
  ],
  ["A16: 255 is what is meant anyway", { gtpu_msgtype: 255 }, everyone],
];
for (const [sentence, rules, match] of meanings) test(sentence, () => assert.equal(intentOf(rules).match, match));

test("A16: equal sets are written equally", () => {
  const halves = intentOf({ nw_dst: ["0.0.0.0/1", "128.0.0.0/1"] }).match;
  assert.equal(halves, intentOf({}).match);
  assert.equal(halves, intentOf({ nw_dst: "0.0.0.0/0" }).match);
});

test("A12, A17: what happens to the packets, as steering", () => {
  const intent = intentOf(
    {
      nw_dst: "203.0.113.1",
      protocol: "tcp",
      endpoints: [
        { address: "10.60.0.2", port: 80, weight: 3 },
        { address: "10.60.0.3", drain: true },
      ],
      affinity: "ue",
    },
    {
      chain: { ue_net: ["10.60.0.9", { address: "10.60.0.8", encapsulation: "nsh" }], net_eu: ["10.60.0.9"] },
      mirror: { port: "tap0", form: "decapsulated" },
      rate: { uplink: "10M", downlink: "1.5G" },
      health: { type: "http", port: 8080, path: "/ok", interval: "2s" },
    },
  );
  assert.equal(intent.health, {
    type: "http",
    port: 8080,
    path: "/ok",
    intervalMs: 2000,
    timeoutMs: 500,
    up: 2,
    down: 3,
  });
  assert.equal(compile([{ intent, rule: 5, index: 2 }], []).rules[0], {
    id: 5,
    service: 2,
    name: "x",
    priority: 1,
    match: { destination: ["203.0.113.1/32"], protocol: [6] },
    action: "take",
    endpoints: [
      { address: "10.60.0.2", port: 80, weight: 3 },
      { address: "10.60.0.3", state: "draining" },
    ],
    affinity: "ue",
    treatment: {
      chain: {
        uplink: [
          { address: "10.60.0.9", vni: 4160, encapsulation: "vxlan" },
          { address: "10.60.0.8", vni: 4161, encapsulation: "nsh" },
        ],
        downlink: [{ address: "10.60.0.9", vni: 4176, encapsulation: "vxlan" }],
        unreachable: "bypass",
      },
      mirror: { port: "tap0", form: "decapsulated" },
      rate: { uplink: 10_000_000, downlink: 1_500_000_000 },
    },
    appInitiated: false,
  });
});

test("A17: drop, and a chosen port", () => {
  assert.is(intentOf({ action: "drop" }).action, "drop");
  const { action, output } = intentOf({ output: { port: "eth9", vlan: "7", mac: "02:00:00:00:00:01" } });
  assert.equal([action, output], ["route", { port: "eth9", vlan: 7, mac: "02:00:00:00:00:01" }]);
});

const web = { nw_dst: "203.0.113.1", protocol: "tcp" };
const wrong: [string, Parts, Parts, string[]][] = [
  [
    "two families",
    { nw_dst: ["203.0.113.1", "2001:db8::1"] },
    {},
    ["rules.nw_dst: mixes IPv4 and IPv6: a service is of one family, so make two of it"],
  ],
  [
    "an empty set",
    { tp_dst: [], protocol: 6 },
    {},
    ["rules.tp_dst: is an empty list, which nothing matches: leave the field out"],
  ],
  [
    "ports where one of the protocols has none",
    { protocol: ["tcp", "icmp"], tp_dst: 80 },
    {},
    ["rules.tp_dst: needs protocol 6 (tcp) or 17 (udp)"],
  ],
  [
    "each wrong value by its place",
    { nw_dscp: ["EF", 64], dl_vlan: [1, 4095] },
    {},
    [
      'rules.nw_dscp.1: must be a code point 0..63, a range, or a name such as "EF", "AF41" or "CS1"',
      'rules.dl_vlan.1: must be a VLAN id 1..4094, a range "100-199", "none", or "100.200" for an outer and an inner tag',
    ],
  ],
  [
    "tags within tags that are no product",
    { dl_vlan: ["1.2", "3.4"] },
    {},
    [
      "rules.dl_vlan: lists tags within tags that are not every outer with every inner one: make several services of it",
    ],
  ],
  [
    "a group address as source",
    { dl_src: "01:00:00:00:00:01" },
    {},
    ["rules.dl_src: 01:00:00:00:00:01 is a group address, from which nobody sends"],
  ],
  [
    "a data plane that is not there",
    { in_port: "s9" },
    {},
    ['rules.in_port: there is no data plane "s9"; there are s1'],
  ],
  [
    "signalling with an endpoint",
    { ...web, gtpu_msgtype: 1, endpoint: "10.60.0.2" },
    {},
    [
      "rules.nw_dst: does not go with gtpu_msgtype: only G-PDUs carry packets",
      "rules.protocol: does not go with gtpu_msgtype: only G-PDUs carry packets",
      "rules.endpoint: does not go with gtpu_msgtype other than 255 (g-pdu): such messages pass, or are dropped",
    ],
  ],
  [
    "two outputs",
    { ...web, endpoint: "10.60.0.2", action: "drop" },
    {},
    ["rules.action: does not go with endpoint: packets go one way, so give one of them"],
  ],
  [
    "an endpoint twice",
    { ...web, endpoints: [{ address: "10.60.0.2" }, { address: "10.60.0.2" }] },
    {},
    ["rules.endpoints.1: is listed twice"],
  ],
  [
    "an endpoint of the other family",
    { ...web, endpoints: [{ address: "2001:db8::1" }] },
    {},
    ["rules.endpoints.0.address: is IPv6, but the match is IPv4"],
  ],
  [
    "an endpoint that is a UE",
    { ...web, endpoint: "10.45.3.4" },
    {},
    [
      "rules.endpoint: 10.45.3.4 lies in 10.45.0.0/16, the UE addresses of data plane s1: packets would come straight back",
    ],
  ],
  [
    "an endpoint that is a gateway",
    { ...web, endpoint: "198.18.2.4" },
    {},
    [
      "rules.endpoint: 198.18.2.4 lies in 198.18.2.0/24, the base stations and gateways of data plane s1: packets would come back on the wire",
    ],
  ],
  [
    "a function that is the appliance",
    {},
    { chain: { ue_net: ["10.60.0.1"] } },
    ["chain.ue_net.0: 10.60.0.1 is the appliance itself: packets would come straight back"],
  ],
  [
    "a function that is nobody",
    {},
    { chain: { net_ue: ["0.0.0.0", "127.0.0.1", "239.0.0.1"] } },
    ["0.0.0.0", "127.0.0.1", "239.0.0.1"].map(
      (address, index) => `chain.net_ue.${index}: ${address} is not an address that packets can be sent to`,
    ),
  ],
  [
    "a chain that is too long",
    {},
    { chain: { ue_net: Array(17).fill("10.60.0.9") } },
    ["chain.ue_net: names 17 functions; a chain has at most 16 in one direction"],
  ],
  [
    "both spellings, and different",
    {},
    { chain: { net_ue: ["10.60.0.9"], net_eu: ["10.60.0.8"] } },
    ["chain.net_eu: is another list than net_ue: both name the downlink, so give one of them"],
  ],
  [
    "a copy onto a wire, and to the apps",
    { output: { port: "cor0" } },
    { mirror: { port: "apps0" } },
    [
      'rules.output.port: "cor0" is a wire of data plane s1: what is sent there would come back',
      'mirror.port: "apps0" leads to the apps: endpoints and functions would get every packet twice',
    ],
  ],
  [
    "B1: a next hop that is the appliance, a tunnel into the UEs' own addresses, a wire",
    { forward: { port: "acc0", address: "10.60.0.1", tunnel: { type: "gre", destination: "10.45.0.9" } } },
    {},
    [
      "rules.forward.address: 10.60.0.1 is the appliance itself: packets would come straight back",
      "rules.forward.tunnel.destination: 10.45.0.9 lies in 10.45.0.0/16, the UE addresses of data plane s1: packets would come straight back",
      'rules.forward.port: "acc0" is a wire of data plane s1: what is sent there would come back',
    ],
  ],
  [
    "a drop that is copied",
    { action: "drop" },
    { mirror: { port: "tap0" }, rate: { uplink: "1M" } },
    [
      "mirror: does not go with action drop: nothing is left of the packets",
      "rate: does not go with action drop: nothing is left of the packets",
    ],
  ],
  [
    "a rate of nothing",
    {},
    { rate: { uplink: "fast" } },
    ['rate.uplink: must be bits per second, 8k to 1000G: a number, or "10M", "1.5G"'],
  ],
  [
    "health of nobody",
    {},
    { health: { type: "icmp", port: 1 } },
    ["health.port: does not go with type icmp", "health: asks endpoints whether they are there, but there are none"],
  ],
  [
    "health without a port",
    { nw_dst: "203.0.113.1", endpoint: "10.60.0.2" },
    { health: { type: "tcp", path: "/" } },
    ["health.port: is required where an endpoint has no port of its own", "health.path: goes with type http only"],
  ],
  [
    "an unknown field",
    { nw_tos: 4 },
    { mirrors: 1 },
    ['mirrors: unknown field; did you mean "mirror"?', "rules.nw_tos: unknown field"],
  ],
];
for (const [sentence, rules, rest, expected] of wrong) {
  test(`400: ${sentence}`, () => assert.equal(errors(rules, rest), expected));
}

test("A14: tunnels are not on an Ethernet data plane", () => {
  const [gtp] = context.dataplanes ?? [];
  const wifi = { ...gtp!, name: "wifi", plugin: "ethernet" as const };
  const both = { ...context, dataplanes: [gtp!, wifi] };
  assert.equal(errors({ in_port: "wifi", tun_id: 1, qfi: 1 }, {}, both), [
    "rules.tun_id: needs a data plane with plugin gtp: wifi carries plain Ethernet, without tunnels",
    "rules.qfi: needs a data plane with plugin gtp: wifi carries plain Ethernet, without tunnels",
  ]);
  assert.equal(errors({ in_port: ["wifi", "s1"], tun_id: 1 }, {}, both), []);
  const toGateway = { tunnel: { type: "gtp-u", destination: "10.70.0.9" } };
  assert.equal(errors({ in_port: "wifi", forward: toGateway }, {}, both), [
    "rules.forward.tunnel.type: gtp-u needs a data plane with plugin gtp: wifi carries plain Ethernet",
  ]);
  assert.equal(errors({ forward: toGateway }, {}, both), []);
});

test("A12: without a VXLAN address there are no chains", () => {
  const none = { ...context, vxlan: null };
  assert.equal(errors({}, { chain: { ue_net: ["10.60.0.9"] } }, none), [
    'chain: needs an address to which functions send packets back: add "vxlan" to site.yaml',
  ]);
});

test.run();
