/**
 * Who talks in the differential run?
 *
 * A small network, so that frames meet state often: base stations and gateways over IPv4 and IPv6, some behind VLAN tags,
 * some with PDU Session Containers, UEs with one or both families, services, apps, protected prefixes, a pinger.
 */
import type { Outlet } from "../../dataplane/steering.ts";
import type { Random } from "../packets/prng.ts";
import { addressOf } from "./read.ts";
import type { ModelConfig, ModelRule } from "./state.ts";

export interface Ue {
  v4?: string;
  /** Any address of its /64. */
  v6?: string;
  tunnels: { gateway: string; station: string; up: number; down: number }[];
  /** VLAN ids, outermost first. */
  tags: number[];
  n3: boolean;
  qfi: number;
  sequence: boolean;
  /** Stays with its first tunnel most of the time. */
  calm: boolean;
  /** UDP source port of the core side. */
  sport: number;
}

export const stations = ["198.18.1.10", "198.18.1.11", "198.18.1.12", "2001:db8:1::10", "2001:db8:1::11"];
export const gateways = ["198.18.2.10", "198.18.2.11", "2001:db8:2::10"];
export const strangers = ["192.0.2.99", "2001:db8:99::9"];

export const apps = {
  web: "10.60.0.10",
  dns: "10.60.0.11",
  any: "10.60.0.12",
  net: "10.60.0.13",
  web6: "2001:db8:60::10",
  first: "10.60.0.14",
  many: ["10.60.0.20", "10.60.0.21", "10.60.0.22"],
};

/** Where outputs lead. The last one never answers. */
const ends = { at: "10.60.0.77", at6: "2001:db8:60::77", silent: "10.60.0.99" };

/** What UEs ask for, of whom, and who answers. */
export const names = [
  "shop.example.com",
  "a.b",
  `${"x".repeat(63)}.${"y".repeat(63)}.${"z".repeat(63)}.${"w".repeat(61)}`,
];
export const resolvers = ["198.51.100.53", "198.51.100.54"];
export const resolver6 = "2001:db8:53::53";
export const nameServer = { address: "10.60.0.1", port: 53 };
export const nameServer6 = { address: "2001:db8:60::1", port: 5353 };

export const services = {
  web: "203.0.113.80",
  dns: "203.0.113.53",
  any: "203.0.113.90",
  net: "203.0.114.7",
  gateway: "198.51.100.20",
  web6: "2001:db8:80::80",
  first: "203.0.113.44",
  other: "203.0.115.1",
  other6: "2001:db8:81::9",
  protected: "192.0.2.5",
  many: "203.0.114.200",
  whole: "203.0.113.101",
  whole6: "2001:db8:80::101",
  out: "203.0.113.102",
  treated: "203.0.113.103",
  treated6: "2001:db8:80::103",
  down: "203.0.113.104",
};

export const pingTarget = "203.0.113.10";
export const pingTarget6 = "2001:db8:10::17";
const host = (text: string) => ({ address: addressOf(text), bits: 128 });
const prefix4 = (text: string, bits: number) => ({ address: addressOf(text), bits: 96 + bits });

const rule = (id: number, service: number, partial: Partial<ModelRule>): ModelRule => ({
  id,
  service,
  name: `rule ${id}`,
  priority: 1000 - id,
  match: {},
  action: "take",
  appInitiated: false,
  ...partial,
});

export const rules: ModelRule[] = [
  rule(11, 1, {
    match: { destination: [`${services.web}/32`], protocol: [6], destinationPorts: [[80, 80]] },
    endpoints: [{ address: apps.web, port: 8080 }],
  }),
  rule(12, 2, {
    match: { destination: [`${services.dns}/32`], protocol: [17], destinationPorts: [[53, 53]] },
    endpoints: [{ address: apps.dns }],
  }),
  rule(13, 3, { match: { destination: [`${services.any}/32`] }, endpoints: [{ address: apps.any }] }),
  rule(14, 4, {
    match: { destination: ["203.0.114.0/24"], protocol: [6], destinationPorts: [[443, 443]] },
    action: "pass",
  }),
  rule(15, 4, {
    match: { destination: ["203.0.114.0/24"], source: ["10.45.0.0/30"] },
    endpoints: [{ address: apps.net }],
  }),
  rule(16, 5, { match: { destination: [`${services.gateway}/32`] }, action: "route" }),
  rule(17, 6, {
    match: { destination: [`${services.web6}/128`] },
    endpoints: [{ address: apps.web6, port: 8080 }],
  }),
  rule(18, 7, {
    match: { destination: [`${services.first}/32`], protocol: [17], destinationPorts: [[5000, 5000]] },
    endpoints: [{ address: apps.first, port: 6000 }],
    appInitiated: true,
  }),
];

/** Rules about everything else, to stand before those above. */
export const widerRules: ModelRule[] = [
  rule(1, 20, {
    match: { destination: [`${services.any}/32`, `${services.dns}/32`], protocol: [17], dscp: [[40, 46]] },
    action: "drop",
  }),
  rule(2, 21, { match: { qfi: [[5, 9]], destination: [`${services.other}/32`, "2001:db8:81::/48"] }, action: "drop" }),
  rule(3, 22, {
    match: {
      message: [
        [1, 2],
        [31, 254],
      ],
      baseStation: ["198.18.1.11/32", "2001:db8:1::/64"],
    },
    action: "drop",
  }),
  rule(4, 23, {
    match: { destination: [`${services.many}/32`], destinationPorts: [[0, 100]] },
    endpoints: apps.many.map((address, i) => ({ address, port: 9000 + i, weight: i + 1 })),
    appInitiated: true,
  }),
  rule(5, 24, {
    match: { destination: [`${services.many}/32`] },
    endpoints: apps.many.map((address, i) => ({ address, state: i === 1 ? "draining" : "up" })),
    affinity: "ue",
  }),
  rule(6, 25, {
    match: { vlan: [[101, 103]], innerVlan: [[0, 0]], family: 4, sourcePorts: [[40002, 40003]] },
    action: "drop",
  }),
  rule(7, 26, {
    match: { teid: [[0x100, 0x102]], gateway: ["198.18.2.0/28"], destination: ["203.0.0.0/8"], protocol: [6, 1] },
    endpoints: [{ address: apps.net }],
  }),
  rule(8, 27, { match: { innerVlan: [[100, 110]], destination: ["203.0.113.0/24"] }, action: "pass" }),
  rule(9, 28, { match: { dataplanes: ["s2"] }, action: "drop" }),
  rule(10, 29, {
    match: { destination: [`${services.net}/32`] },
    endpoints: [{ address: apps.net, state: "down" }],
  }),
];

const mirror = { uplink: { port: "tap0", form: "as-is" }, downlink: { port: "tap0", form: "decapsulated" } } as const;
const outputs: Outlet[] = [
  { port: "out0" },
  { port: "out0", vlan: 300 },
  { port: "out0", mac: "02:aa:00:00:00:01" },
  { port: "out0", mac: "02:aa:00:00:00:01", sourceMac: "02:bb:00:00:00:01", vlan: 7 },
  { port: "out0", address: ends.at },
  { port: "out0", address: ends.silent },
  { port: "out0", tunnel: { type: "gre", destination: ends.at } },
  { port: "out0", vlan: 9, tunnel: { type: "gre", source: "10.60.0.9", destination: ends.at } },
  { port: "out0", tunnel: { type: "gre", destination: ends.at6 } },
  { port: "out0", tunnel: { type: "gtp-u", destination: ends.at } },
  { port: "out0", vlan: 300, tunnel: { type: "gtp-u", source: "10.60.0.9", destination: ends.at } },
  { port: "out0", tunnel: { type: "gtp-u", destination: ends.at6 } },
  { port: "out0", tunnel: { type: "gtp-u", source: "2001:db8:60::9", destination: ends.at6 } },
  { port: "out0", tunnel: { type: "gtp-u", destination: ends.silent } },
];

/** Rules that send packets elsewhere, copy them, or are for one direction: some of them, in any order. */
export function directedRules(r: Random): ModelRule[] {
  const whole = r.oneIn(6) ? ("route" as const) : ("forward" as const);
  const output = () => r.pick(outputs);
  const treatment = r.pick([{ mirror }, { mirror: mirror.uplink }, { mirror: { downlink: mirror.downlink } }]);
  const tunnelled = r.pick(outputs.slice(9));
  const some: Partial<ModelRule>[] = [
    { match: { destination: [`${services.whole}/32`] }, action: "forward", output: output() },
    {
      match: { destination: [`${services.whole6}/128`] },
      action: whole,
      output: whole === "route" ? tunnelled : output(),
    },
    { match: { destination: [`${services.out}/32`] }, action: "route", output: output() },
    { match: { destination: [`${services.out}/32`], protocol: [17] }, action: "route", output: output(), treatment },
    { match: { destination: ["2001:db8:80::/120"] }, action: "route", output: output() },
    { match: { destination: [`${services.treated}/32`] }, action: "pass", treatment },
    { match: { destination: [`${services.treated6}/128`] }, action: "pass", treatment },
    {
      match: { destination: [`${services.any}/32`], protocol: [6] },
      endpoints: [{ address: apps.any }],
      treatment: { mirror: mirror.downlink },
    },
    { match: { destination: [`${services.down}/32`], direction: "downlink" }, action: "drop" },
    { match: { destination: [`${services.down}/32`], direction: "uplink" }, action: "forward", output: output() },
    { match: { destination: [`${services.other}/32`], direction: "downlink" }, action: "forward", output: output() },
    { match: { destination: ["2001:db8:81::/48"], direction: "downlink" }, action: "route", output: output() },
    { match: { destination: ["203.0.113.96/28"], direction: "downlink", protocol: [17] }, action: "pass" },
    { match: { direction: "uplink", protocol: [1, 58] }, action: "pass", treatment },
    { match: { direction: "downlink", protocol: [1], dscp: [[0, 10]] }, action: "route" },
    { match: { direction: "uplink", teid: [[0x100, 0x102]], destination: ["203.0.113.0/24"] }, action: "route" },
    { match: { direction: "downlink", teid: [[0x103, 0x104]], qfi: [[1, 9]], family: 4 }, action: "drop" },
    {
      match: { direction: "downlink", baseStation: ["198.18.1.10/32"], sourcePorts: [[40002, 40003]] },
      action: "drop",
    },
    {
      match: { direction: "uplink", destinationPorts: [[53, 53]], destination: [`${resolvers[0]}/32`] },
      action: "drop",
    },
    { match: { destination: [`${resolvers[1]}/32`], dscp: [[40, 50]] }, action: "pass" },
    { match: { direction: "downlink", destination: [`${services.treated}/32`], dscp: [[10, 50]] }, action: "drop" },
  ];
  return some
    .map((one, i) => rule(100 + i, 100 + i, one))
    .filter(() => !r.oneIn(3))
    .sort(() => (r.oneIn(4) ? -1 : 0));
}

const hop = (n: number) => ({ destination: Uint8Array.of(2, 9, 9, 9, 9, n), source: Uint8Array.of(2, 8, 8, 8, 8, n) });

export const cookie = Uint8Array.of(0x6f, 0x66, 0x72, 0x61, 0x6d, 0x70, 1, 2);

export function config(r: Random): ModelConfig {
  const all = (list: string[]) => list.map((text) => host(text));
  return {
    mode: r.oneIn(12) ? r.pick(["observe", "bypass"] as const) : "offload",
    mtuAccess: r.pick([1500, 1500, 1400]),
    peerSessions: r.oneIn(6) ? 3 : 1000,
    ueFlows: r.oneIn(5) ? 4 : 64,
    maxSessions: r.oneIn(8) ? 4 : 1000,
    accessPeers: r.oneIn(3) ? all(stations.slice(0, 4)) : undefined,
    corePeers: r.oneIn(3) ? all(gateways) : undefined,
    uePools: r.oneIn(3) ? [prefix4("10.45.0.0", 29), { address: addressOf("2001:db8:45::"), bits: 48 }] : undefined,
    protect: [prefix4("192.0.2.0", 24), prefix4("198.18.0.0", 15), { address: addressOf("2001:db8:2::"), bits: 48 }],
    pinger: r.oneIn(4)
      ? undefined
      : { target4: addressOf(pingTarget), target6: addressOf(pingTarget6), id: 0x4f52, cookie },
    slowPort: !r.oneIn(4),
    nextHops: [hop(1), hop(2), hop(3)],
    ways: {
      mac: "02:06:06:06:06:06",
      mtu: r.pick([1500, 1500, 1400, 9000]),
      source4: "10.60.0.1",
      source6: "2001:db8:60::1",
      nextHop: "02:05:05:05:05:05",
      silent: ends.silent,
    },
    mirrors: !r.oneIn(4),
    names: r.oneIn(3) ? undefined : { names, server: nameServer, ...(!r.oneIn(4) && { server6: nameServer6 }) },
    silent: r.oneIn(6),
  };
}

/** Some UEs; TEIDs are small and used again by others, as in real networks. */
export function population(r: Random): Ue[] {
  const calm = !r.oneIn(3);
  return Array.from({ length: 7 }, (_, i) => {
    const [v6outside, both] = [r.oneIn(4), r.oneIn(6)];
    const of = (list: string[], v6: boolean) => r.pick(list.filter((text) => text.includes(":") === v6));
    const family = r.below(4);
    return {
      v4: family === 3 ? undefined : `10.45.0.${i + 1}`,
      v6: family === 3 || family === 2 ? `2001:db8:45:${i + 1}::${r.below(3) + 1}` : undefined,
      tunnels: Array.from({ length: 3 }, (_, n) => ({
        gateway: of(gateways, v6outside !== (both && n === 1)),
        station: of(stations, v6outside !== (both && n === 1)),
        up: 0x100 + i + n * 16,
        down: r.oneIn(3) ? 0x100 + i + n * 16 : 0x200 + i + n * 16,
      })),
      tags: r.oneIn(4) ? (r.oneIn(2) ? [100 + i] : [20, 100 + i]) : [],
      n3: r.oneIn(2),
      qfi: r.pick([1, 5, 9, 63]),
      sequence: r.oneIn(5),
      calm,
      sport: r.oneIn(3) ? r.between(1024, 65535) : 2152,
    };
  });
}
