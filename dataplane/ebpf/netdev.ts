/**
 * How do two adapters become a wire that holds when everything else is gone?
 *
 *   access ──┐ bridge `ofr-<data plane>` ┌── core      learns nothing, filters nothing, has no addresses
 *            └───────────────────────────┘
 *
 * The programs redirect frames before the bridge sees them; the bridge carries them when the programs are gone, and what
 * the programs pass. Both adapters must be free of addresses, and lose the offloads that would merge frames or hide VLAN
 * tags from the programs. What was changed is written to a file first, so that `unwire` leaves them as found.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { DataplaneError } from "../dataplane.ts";
import { ip, ipJson, readSysctl, run, tryIp, writeSysctl } from "./command.ts";

export interface Link {
  ifindex: number;
  ifname: string;
  flags: string[];
  mtu: number;
  operstate: string;
  address: string;
  master?: string;
  link_netnsid?: number;
  linkinfo?: { info_kind?: string };
  xdp?: { mode: number };
}

export const hasCarrier = (link: Link): boolean => link.flags.includes("LOWER_UP");

export const allLinks = (): Promise<Link[]> => ipJson<Link[]>("-d link show");

/** @throws DataplaneError when there is no such adapter. */
export async function linkOf(name: string): Promise<Link> {
  const [link] = await ipJson<Link[]>(`-d link show dev ${name}`);
  if (!link) throw new DataplaneError(`adapter ${name} does not exist`, name);
  return link;
}

export const linkOrNone = (name: string): Promise<Link | undefined> => linkOf(name).catch(() => undefined);

/** What was found, by adapter and by path below /proc/sys. */
interface Found {
  features: Record<string, Record<string, "on" | "off">>;
  sysctls: Record<string, string>;
  down: string[];
  /** Addresses that we added: what follows `ip addr del`. */
  added: string[];
  /** Addresses that we answer for: what follows `ip neigh del proxy`. */
  proxies: string[];
}

const nothing = (): Found => ({ features: {}, sysctls: {}, down: [], added: [], proxies: [] });

/** Remembers what things were before they were changed. The first that is remembered stays. */
export class AsFound {
  private found: Found;

  constructor(private readonly file: string) {
    try {
      this.found = { ...nothing(), ...(JSON.parse(readFileSync(file, "utf8")) as Partial<Found>) };
    } catch {
      this.found = nothing();
    }
  }

  private save(): void {
    mkdirSync(dirname(this.file), { recursive: true });
    writeFileSync(`${this.file}.new`, JSON.stringify(this.found, null, 1));
    renameSync(`${this.file}.new`, this.file);
  }

  /** Sets a value below /proc/sys. A setting that does not exist is left alone. */
  sysctl(path: string, value: string): void {
    const old = readSysctl(path);
    if (old === undefined || old === value) return;
    if (!(path in this.found.sysctls)) {
      this.found.sysctls[path] = old;
      this.save();
    }
    writeSysctl(path, value);
  }

  /** Turns offloads off or on, as far as the adapter has them and lets them be changed. Returns what could not be changed. */
  async features(adapter: string, wanted: Record<string, "on" | "off">): Promise<string[]> {
    const now = await featuresOf(adapter);
    const stubborn: string[] = [];
    for (const [name, value] of Object.entries(wanted)) {
      const feature = now[name];
      if (!feature || feature.value === value) continue;
      if (feature.fixed) {
        stubborn.push(name);
        continue;
      }
      const saved = this.found.features[adapter] ?? {};
      this.found.features[adapter] = saved;
      if (!(name in saved)) {
        saved[name] = feature.value;
        this.save();
      }
      await run("ethtool", "-K", adapter, name, value).catch(() => stubborn.push(name));
    }
    return stubborn;
  }

  async up(link: Link): Promise<void> {
    if (link.flags.includes("UP")) return;
    this.found.down.push(link.ifname);
    this.save();
    await ip(`link set dev ${link.ifname} up`);
  }

  /** Notes that this address is ours to take away again. */
  addedAddress(words: string): void {
    this.found.added.push(words);
    this.save();
  }

  addedProxy(words: string): void {
    if (this.found.proxies.includes(words)) return;
    this.found.proxies.push(words);
    this.save();
  }

  /** What was changed on these adapters alone. */
  async restoreAdapters(adapters: string[]): Promise<void> {
    const { features, sysctls, down } = this.found;
    for (const adapter of adapters) {
      await restoreFeatures(adapter, features[adapter]);
      delete features[adapter];
      for (const [path, value] of Object.entries(sysctls)) {
        if (!path.includes(`/conf/${adapter}/`)) continue;
        writeSysctl(path, value);
        delete sysctls[path];
      }
      if (down.includes(adapter)) await tryIp(`link set dev ${adapter} down`);
    }
    this.found.down = down.filter((adapter) => !adapters.includes(adapter));
    this.save();
  }

  async restore(): Promise<void> {
    for (const [adapter, features] of Object.entries(this.found.features)) await restoreFeatures(adapter, features);
    for (const [path, value] of Object.entries(this.found.sysctls)) writeSysctl(path, value);
    for (const adapter of this.found.down) await tryIp(`link set dev ${adapter} down`);
    for (const words of this.found.added) await tryIp(`addr del ${words}`);
    for (const words of this.found.proxies) await tryIp(`neigh del proxy ${words}`);
    this.found = nothing();
    rmSync(this.file, { force: true });
  }
}

async function restoreFeatures(adapter: string, features: Record<string, "on" | "off"> = {}): Promise<void> {
  for (const [name, value] of Object.entries(features)) {
    await run("ethtool", "-K", adapter, name, value).catch(() => undefined);
  }
}

async function featuresOf(adapter: string): Promise<Record<string, { value: "on" | "off"; fixed: boolean }>> {
  const features: Record<string, { value: "on" | "off"; fixed: boolean }> = {};
  for (const line of (await run("ethtool", "-k", adapter)).split("\n")) {
    const match = /^\t?([\w-]+): (on|off)( \[fixed\]| \[requested.*\])?/.exec(line);
    if (match) features[match[1]!] = { value: match[2] as "on" | "off", fixed: match[3]?.includes("fixed") ?? false };
  }
  return features;
}

/** Merging frames and taking tags away is off: a program must see each frame as it was on the wire. */
export const wireFeatures = {
  "rx-vlan-offload": "off",
  "generic-receive-offload": "off",
  "large-receive-offload": "off",
  "rx-gro-hw": "off",
  "rx-gro-list": "off",
  "rx-udp-gro-forwarding": "off",
} as const;

/** At most 15 characters; long names of data planes are shortened to something that stays unique. */
export function bridgeName(dataplane: string): string {
  const plain = `ofr-${dataplane}`;
  if (plain.length <= 15 && /^[\w-]+$/.test(plain)) return plain;
  return `ofr-${createHash("sha256").update(dataplane).digest("hex").slice(0, 11)}`;
}

/** Inline adapters carry no addresses: frames for the appliance itself would vanish on the wire. */
export async function refuseAddresses(adapter: string): Promise<void> {
  await linkOf(adapter);
  const [entry] = await ipJson<{ addr_info: { local: string; scope: string }[] }[]>(`addr show dev ${adapter}`);
  const addresses = (entry?.addr_info ?? []).filter((address) => address.scope !== "link").map((a) => a.local);
  if (addresses.length > 0) {
    const text = `adapter ${adapter} carries ${addresses.join(", ")}: a wire has no addresses; take them away or name another adapter`;
    throw new DataplaneError(text, adapter);
  }
}

/** Quiet: no addresses of its own, no router solicitations, no multicast reports on the mobile network. */
export function silence(found: AsFound, adapter: string): void {
  found.sysctl(`net/ipv6/conf/${adapter}/disable_ipv6`, "1");
}

/** Prepares both adapters and joins them by the bridge. Changes nothing that is right already. */
export async function makeWire(found: AsFound, dataplane: string, adapters: [string, string]): Promise<void> {
  const bridge = bridgeName(dataplane);
  for (const adapter of adapters) {
    const link = await linkOf(adapter);
    if (link.master && link.master !== bridge) {
      throw new DataplaneError(`adapter ${adapter} belongs to ${link.master}`, adapter);
    }
    await refuseAddresses(adapter);
  }
  for (const table of ["ip", "ip6", "arp"]) found.sysctl(`net/bridge/bridge-nf-call-${table}tables`, "0");
  if (!(await linkOrNone(bridge))) await ip(`link add name ${bridge} type bridge`);
  // Of a data plane that had this name before: two wires on one bridge would be one.
  for (const { ifname, master } of await allLinks()) {
    if (master === bridge && !adapters.includes(ifname)) await ip(`link set dev ${ifname} nomaster`);
  }
  writeSysctl(`net/ipv6/conf/${bridge}/disable_ipv6`, "1");
  // 0xfff8: everything but STP, pause and LACP, which a bridge never forwards by itself; the ports' own masks do LACP.
  await ip(`link set dev ${bridge} type bridge stp_state 0 forward_delay 0 group_fwd_mask 0xfff8`);
  // What a kernel was built without cannot be on.
  for (const option of [
    "mcast_snooping",
    "vlan_filtering",
    "nf_call_iptables",
    "nf_call_ip6tables",
    "nf_call_arptables",
  ]) {
    await tryIp(`link set dev ${bridge} type bridge ${option} 0`);
  }
  for (const adapter of adapters) {
    silence(found, adapter);
    await found.features(adapter, wireFeatures);
    const link = await linkOf(adapter);
    if (link.master !== bridge) await ip(`link set dev ${adapter} master ${bridge}`);
    // 0xfffd: all link-local groups but pause frames.
    await ip(`link set dev ${adapter} type bridge_slave learning off flood on group_fwd_mask 0xfffd`);
    await found.up(link);
  }
  await ip(`link set dev ${bridge} up`);
}

export async function removeWire(dataplane: string): Promise<void> {
  await tryIp(`link del dev ${bridgeName(dataplane)}`);
}

/** Bridges of data planes that are gone, too. */
export async function removeWires(): Promise<void> {
  for (const { ifname, linkinfo } of await allLinks()) {
    if (ifname.startsWith("ofr-") && linkinfo?.info_kind === "bridge") await tryIp(`link del dev ${ifname}`);
  }
}
