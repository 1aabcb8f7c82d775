/**
 * What may an instance reach, and what reaches it?
 *
 *   return port ofr-ret ──▶ oat-… ═ tof0      nothing else gets in there, and what comes out goes back there only, or
 *                                             answers what the appliance itself has asked (health probes)
 *   Mp1, DNS ◀── oap-… ═ mep0                 and, with `egress`, the world by masquerade; nothing of anybody's own
 *
 * One nftables table of our own, always rendered and loaded whole, in one transaction. Each port sends from its one
 * address. Nothing of it concerns frames of the wire: those are bridged, and bridges do not call netfilter here.
 * Connections are tracked for what instances ask of the platform and the world. Packets of UEs are not, so that no full
 * table of connections ever drops one. Pure.
 */
import type { Addresses } from "./runtime.ts";

export const TABLE = "offramp_apps";
export const TOF_PORT = "oat-";
export const PLATFORM_PORT = "oap-";

/** What of the appliance instances may ask. */
export interface Server {
  protocol: "tcp" | "udp";
  address: string;
  port: number;
}

export interface FirewallSite {
  /** The data plane's port into the kernel. */
  returnPort: string;
  /** Adapter toward apps on other machines. */
  appsAdapter: string;
  servers: readonly Server[];
  /** Prefix of the instances' addresses toward the platform. */
  platform: string;
  /** Adapter toward the world. */
  egress?: string;
  /** IPv4 prefixes that no instance may send to, by either network: the mobile network's, the appliance's. */
  forbidden: readonly string[];
  /** IPv4 prefixes of UEs, as far as they are known: reached by the return port alone. */
  uePools: readonly string[];
}

export interface FirewallInstance {
  /** The adapters' names behind `oat-` and `oap-`. */
  name: string;
  addresses: Addresses;
  egress: boolean;
}

/** Not the world: RFC 6890, and what is never routed. */
const notTheWorld = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
  ...["192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"],
];

function set(name: string, type: string, elements: readonly string[], flags = ""): string[] {
  const list = elements.length > 0 ? ` elements = { ${elements.join(", ")} };` : "";
  return [`  set ${name} { type ${type};${flags}${list} }`];
}

const chain = (name: string, lines: readonly string[]): string[] => [
  `  chain ${name} {`,
  ...lines.map((line) => `    ${line}`),
  "  }",
];

const hook = (name: string, at: string): string => `type ${name} hook ${at}; policy accept;`;
const drop = (match: string, why: string): string => `${match} counter drop comment "${why}"`;

/** Input of `nft -f`: replaces the table whole. */
export function renderFirewall(site: FirewallSite, instances: readonly FirewallInstance[]): string {
  const { returnPort, egress } = site;
  const quoted = (name: string) => `"${name}"`;
  const sources = (prefix: string, key: keyof Addresses) =>
    instances.map(({ name, addresses }) => `"${prefix}${name}" . ${addresses[key]}`);
  const intervals = " flags interval; auto-merge;";
  const servers = site.servers.map(({ protocol, address, port }) => `${address} . ${protocol} . ${port}`);
  const world = egress
    ? [
        `oifname ${quoted(egress)} iifname @egress ip daddr != @not_the_world accept`,
        drop(`oifname ${quoted(egress)}`, "this instance may not reach that"),
      ]
    : [];
  const lines = [
    `table inet ${TABLE} {`,
    ...set("tof_sources", "ifname . ipv4_addr", sources(TOF_PORT, "tof")),
    ...set("platform_sources", "ifname . ipv4_addr", sources(PLATFORM_PORT, "platform")),
    ...set("servers", "ipv4_addr . inet_proto . inet_service", servers),
    ...set("forbidden", "ipv4_addr", site.forbidden, intervals),
    ...set("not_the_world", "ipv4_addr", [...notTheWorld, ...site.forbidden, ...site.uePools], intervals),
    ...set(
      "egress",
      "ifname",
      instances.filter((one) => one.egress).map(({ name }) => `"${PLATFORM_PORT}${name}"`),
    ),
    ...chain("untracked", [
      hook("filter", "prerouting priority raw"),
      `iifname ${quoted(returnPort)} notrack`,
      `iifname "${TOF_PORT}*" fib daddr type != local notrack`,
      `iifname ${quoted(site.appsAdapter)} fib daddr type != local notrack`,
    ]),
    ...chain("input", [
      hook("filter", "input priority filter"),
      `iifname "${TOF_PORT}*" ct state established,related accept`,
      drop(`iifname "${TOF_PORT}*"`, "an instance to the appliance, past the platform"),
      `iifname "${PLATFORM_PORT}*" jump to_platform`,
    ]),
    ...chain("to_platform", [
      drop("meta nfproto != ipv4", "not IPv4"),
      drop("iifname . ip saddr != @platform_sources", "forged source"),
      "ct state established,related accept",
      "ip daddr . meta l4proto . th dport @servers accept",
      drop("", "nothing that the platform offers").trim(),
    ]),
    ...chain("forward", [
      hook("filter", "forward priority filter"),
      `oifname "${TOF_PORT}*" iifname ${quoted(returnPort)} accept`,
      drop(`oifname "${TOF_PORT}*"`, "to an instance, not from the return port"),
      `iifname "${TOF_PORT}*" jump from_tof`,
      `iifname "${PLATFORM_PORT}*" jump from_platform`,
      ...(egress ? [`oifname "${PLATFORM_PORT}*" iifname ${quoted(egress)} ct state established,related accept`] : []),
      drop(`oifname "${PLATFORM_PORT}*"`, "to an instance, which has not asked"),
    ]),
    ...chain("from_tof", [
      drop("meta nfproto != ipv4", "not IPv4"),
      drop("iifname . ip saddr != @tof_sources", "forged source"),
      drop("ip daddr @forbidden", "forbidden destination"),
      `oifname ${quoted(returnPort)} accept`,
      drop("", "not to the return port").trim(),
    ]),
    ...chain("from_platform", [
      drop("meta nfproto != ipv4", "not IPv4"),
      drop("iifname . ip saddr != @platform_sources", "forged source"),
      ...world,
      drop("", "not to the world").trim(),
    ]),
    ...(egress
      ? chain("to_world", [
          hook("nat", "postrouting priority srcnat"),
          `oifname ${quoted(egress)} ip saddr ${site.platform} masquerade`,
        ])
      : []),
    "}",
  ];
  return `table inet ${TABLE}\ndelete table inet ${TABLE}\n${lines.join("\n")}\n`;
}
