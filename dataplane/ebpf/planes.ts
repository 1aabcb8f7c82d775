/**
 * What belongs to one data plane, and what do the programs get to know of it?
 *
 * Pure but for `Plane` itself, which holds what was found when it was wired.
 */
import { randomBytes } from "node:crypto";
import { addressOctets, macOctets, masked, prefixOf } from "../address.ts";
import type { DataplaneConfig, Limits, Mode, PortStatus } from "../dataplane.ts";
import type { XdpMode } from "./bpf-object.ts";
import * as c from "./consts.ts";
import type { PlanePrograms } from "./kernel.ts";
import { config as configCodec } from "./layout.ts";
import type { Link } from "./netdev.ts";
import { overheadOf } from "./plumbing.ts";
import { lpmKey } from "./rules.ts";

export interface Plane {
  config: DataplaneConfig;
  readonly index: number;
  mode: Mode;
  shared: boolean;
  /** In the order access, core; or the shared one alone. */
  links: Link[];
  ports: PortStatus[];
  programs: { name: string; id: number; tag: string }[];
  adopted: boolean;
  /** An earlier run had another plug-in on these adapters: its sessions are of no use. */
  replugged: boolean;
  xdp: XdpMode;
  cookie: Uint8Array;
  pingId: number;
  /** The adapter whose link was taken down to show that the other side's is lost. */
  shownDown?: string;
}

export const newPlane = (config: DataplaneConfig, index: number): Plane => ({
  config,
  index,
  mode: config.mode,
  shared: config.adapter !== undefined,
  links: [],
  ports: [],
  programs: [],
  adopted: false,
  replugged: false,
  xdp: "native",
  cookie: randomBytes(8),
  pingId: randomBytes(2).readUInt16BE(),
});

export const adaptersOf = (config: DataplaneConfig): string[] =>
  config.adapter !== undefined ? [config.adapter] : [config.access!, config.core!];

export const modes: Record<Mode, number> = {
  offload: c.MODE_OFFLOAD,
  observe: c.MODE_OBSERVE,
  bypass: c.MODE_BYPASS,
};

const NONE = new Uint8Array(16);

export const programsOf = ({ config, shared }: Plane): PlanePrograms => {
  if (config.plugin === "ethernet") return { ports: ["ether_access", "ether_core"], fromSlow: "ether_from_slow" };
  return { ports: shared ? ["shared"] : ["access", "core"], fromSlow: "from_slow_uplink" };
};

/** struct config. `innerMtu`: of the way to the apps. */
export function renderConfig(plane: Plane, limits: Limits, returnMac: string, innerMtu: number): Uint8Array {
  const { config } = plane;
  const [access, core = access] = plane.links;
  const ethernet = config.plugin === "ethernet";
  const mtu = access?.mtu ?? 1500;
  let flags = plane.shared ? c.CONFIG_SHARED : 0;
  if (ethernet) flags |= c.CONFIG_ETHERNET;
  if (config.accessPeers.length > 0) flags |= c.CONFIG_ACCESS_PEERS;
  if (config.corePeers.length > 0) flags |= c.CONFIG_CORE_PEERS;
  if (config.uePools.length > 0) flags |= c.CONFIG_UE_POOLS;
  if (config.pinger?.target) flags |= c.CONFIG_PINGER4;
  if (config.pinger?.target6) flags |= c.CONFIG_PINGER6;
  return configCodec.encode({
    mode: modes[plane.mode],
    flags,
    mtu_access: mtu,
    mtu_core: core?.mtu ?? 1500,
    ping_cookie: plane.cookie,
    ping_target4: config.pinger?.target ? addressOctets(config.pinger.target) : NONE,
    ping_target6: config.pinger?.target6 ? addressOctets(config.pinger.target6) : NONE,
    ping_id: plane.pingId,
    reserved_overhead: ethernet ? Math.max(0, mtu - innerMtu) : overheadOf(config),
    peer_sessions: limits.peerSessions,
    learn_rate: limits.learnRate,
    learn_burst: limits.learnBurst,
    ue_flows: limits.ueFlows,
    return_mac: macOctets(returnMac),
    own_mac: plane.shared && access ? macOctets(access.address) : new Uint8Array(6),
    max_sessions: limits.sessions,
  });
}

/** What differs that cannot change while a data plane is at work: its wire. */
export function fixedDifference(before: DataplaneConfig, after: DataplaneConfig): string | undefined {
  return (["plugin", "backend", "access", "core", "adapter"] as const).find((key) => before[key] !== after[key]);
}

/** May a session be there, under these pools and peers? Addresses as in struct session; all zeros is not known yet. */
export function allows(config: DataplaneConfig, ue: Uint8Array, baseStation: Uint8Array, gateway: Uint8Array): boolean {
  const within = (address: Uint8Array, prefixes: string[]): boolean =>
    prefixes.length === 0 ||
    address.every((octet) => octet === 0) ||
    prefixes.some((text) => {
      const { octets, length } = prefixOf(text);
      return masked(address, length).every((octet, i) => octet === octets[i]);
    });
  if (!within(ue, config.uePools)) return false;
  return within(baseStation, config.accessPeers) && within(gateway, config.corePeers);
}

/** Keys in `prefixes`: who may teach, and whose addresses are UEs'. */
export function renderPrefixes({ config, index }: Plane): Uint8Array[] {
  const keys = (set: number, prefixes: string[]) => prefixes.map((text) => lpmKey(set, index, prefixOf(text)));
  return [
    ...keys(c.PREFIX_ACCESS_PEER, config.accessPeers),
    ...keys(c.PREFIX_CORE_PEER, config.corePeers),
    ...keys(c.PREFIX_UE_POOL, config.uePools),
  ];
}
