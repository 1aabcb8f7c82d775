/**
 * How does an instance get onto its two networks?
 *
 *   namespace oa-<name>          appliance
 *   tof0  10.61.0.2/32  ═══════  oat-<name>      10.61.0.2/32 routed there; replies go to the return port (plumbing.ts)
 *   mep0  10.62.0.2/32  ═══════  oap-<name>      10.62.0.2/32 routed there
 *
 * Point to point: no instance shares a link with another. Both ends know each other's link address for good, and answer no
 * ARP. What comes from the TOF address leaves by tof0, everything else by mep0, except to UEs.
 */
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { ip, ipJson, readSysctl, run, tryIp, writeSysctl } from "../../dataplane/ebpf/command.ts";
import {
  type FirewallInstance,
  type FirewallSite,
  PLATFORM_PORT,
  renderFirewall,
  TABLE,
  TOF_PORT,
} from "./firewall.ts";
import type { Addresses } from "./runtime.ts";

export const NAMESPACE = "oa-";
/** Next hop within the namespace, on both links; nobody has it. */
const NEXT_HOP = "169.254.1.1";
const TABLE_TOF = 100;
/** Locally administered; the same on all links, since no two share one. */
const OUR_MAC = "02:fd:61:00:00:01";
const ITS_MAC = "02:fd:61:00:00:02";

export interface NetworkSite extends FirewallSite {
  /** The appliance's own address toward apps: what it asks instances from. */
  ownAddress: string;
}

export const namespacePath = (name: string): string => `/run/netns/${NAMESPACE}${name}`;

/** Makes namespace, links, addresses and routes. What was there under this name is replaced. */
export async function joinNetworks(site: NetworkSite, instance: FirewallInstance): Promise<void> {
  const { name, addresses } = instance;
  await leaveNetworks(name);
  const namespace = `${NAMESPACE}${name}`;
  await ip(`netns add ${namespace}`);
  const inside = (line: string) => ip(`-n ${namespace} ${line}`);
  await run(
    ...(["ip", "netns", "exec", namespace, "sysctl", "-qw"] as const),
    // Replies leave by the address that was asked, whatever the way back looks like.
    ...["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"],
    // An app without privileges may listen on any port of a namespace that is all its own.
    "net.ipv4.ip_unprivileged_port_start=0",
  );
  await tryIp(
    `netns exec ${namespace} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1`,
  );
  await inside("link set lo up");
  for (const [port, link, address] of [
    [`${TOF_PORT}${name}`, "tof0", addresses.tof],
    [`${PLATFORM_PORT}${name}`, "mep0", addresses.platform],
  ] as const) {
    await ip(`link add ${port} address ${OUR_MAC} type veth peer name ${link} address ${ITS_MAC} netns ${namespace}`);
    const settings = {
      rp_filter: "1",
      accept_redirects: "0",
      send_redirects: "0",
      // The platform's own servers need no forwarding.
      forwarding: link === "tof0" || instance.egress ? "1" : "0",
    };
    for (const [key, value] of Object.entries(settings)) writeSysctl(`net/ipv4/conf/${port}/${key}`, value);
    writeSysctl(`net/ipv6/conf/${port}/disable_ipv6`, "1");
    await ip(`link set dev ${port} arp off up`);
    await ip(`neigh replace ${address} lladdr ${ITS_MAC} dev ${port} nud permanent`);
    await ip(`route replace ${address}/32 dev ${port} src ${site.ownAddress}`);
    await inside(`addr add ${address}/32 dev ${link}`);
    await inside(`link set dev ${link} arp off up`);
    await inside(`neigh replace ${NEXT_HOP} lladdr ${OUR_MAC} dev ${link} nud permanent`);
  }
  const by = (link: string, address: string) => `via ${NEXT_HOP} dev ${link} onlink src ${address}`;
  await inside(`route add default ${by("mep0", addresses.platform)}`);
  await inside(`route add default ${by("tof0", addresses.tof)} table ${TABLE_TOF}`);
  await inside(`rule add from ${addresses.tof} table ${TABLE_TOF}`);
  await routePools(site, name, addresses);
}

/**
 * Makes the namespace of a running instance known by its name. It is already, unless its name was given in another mount namespace
 * than ours: service managers and `ip netns exec` make one for each agent that they start. `pid`: of a process in it.
 */
async function showNamespace(name: string, pid: number): Promise<void> {
  const [path, own] = [namespacePath(name), `/proc/${pid}/ns/net`];
  const wanted = statSync(own);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.dev === wanted.dev && found.ino === wanted.ino) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "", { flag: "a" });
  await run("mount", "--bind", own, path);
}

/** UEs are reached by tof0, whoever begins: the routes to their pools become these. */
async function routePools({ uePools }: NetworkSite, name: string, addresses: Addresses): Promise<void> {
  const namespace = `${NAMESPACE}${name}`;
  const there = await ipJson<{ dst: string }[]>(`-n ${namespace} route show dev tof0`);
  const whole = (prefix: string) => (prefix.includes("/") ? prefix : `${prefix}/32`);
  for (const { dst } of there) {
    if (!uePools.map(whole).includes(whole(dst))) await ip(`-n ${namespace} route del ${dst} dev tof0`);
  }
  for (const pool of uePools) {
    await ip(`-n ${namespace} route replace ${pool} via ${NEXT_HOP} dev tof0 onlink src ${addresses.tof}`);
  }
}

/** The routes of an instance that runs become those of the site as it is now. `pid`: of its main process. */
export async function routeAgain(site: NetworkSite, name: string, addresses: Addresses, pid: number): Promise<void> {
  await showNamespace(name, pid);
  await routePools(site, name, addresses);
}

/** Quiet when nothing is there. The namespace ends with its last process. */
export async function leaveNetworks(name: string): Promise<void> {
  for (const prefix of [TOF_PORT, PLATFORM_PORT]) await tryIp(`link del dev ${prefix}${name}`);
  if (existsSync(namespacePath(name))) await tryIp(`netns del ${NAMESPACE}${name}`);
}

/** Names behind `oat-` and `oap-` of all ports that there are. */
export async function namesOfPorts(): Promise<string[]> {
  const links = await ipJson<{ ifname: string }[]>("link show type veth");
  const names = links.flatMap(({ ifname }) => {
    const prefix = [TOF_PORT, PLATFORM_PORT].find((one) => ifname.startsWith(one));
    return prefix ? [ifname.slice(prefix.length)] : [];
  });
  return [...new Set(names)];
}

/** Loads the whole table, in one transaction. @throws DataplaneError and the old one holds */
export async function loadFirewall(
  site: FirewallSite,
  instances: readonly FirewallInstance[],
  file: string,
): Promise<void> {
  writeFileSync(file, renderFirewall(site, instances), { mode: 0o600 });
  await run("nft", "-f", file);
}

export const hasFirewall = (): Promise<boolean> =>
  run("nft", "list", "table", "inet", TABLE).then(
    () => true,
    () => false,
  );

export async function removeFirewall(): Promise<void> {
  if (await hasFirewall()) await run("nft", "delete", "table", "inet", TABLE);
}

/** Answers of the world come in there and have to be forwarded. Returns what the setting was; undefined: as it has to be. */
export function openEgress(adapter: string): string | undefined {
  const path = `net/ipv4/conf/${adapter}/forwarding`;
  const found = readSysctl(path);
  if (found === undefined || found === "1") return undefined;
  writeSysctl(path, "1");
  return found;
}

export function closeEgress(adapter: string, found: string): void {
  writeSysctl(`net/ipv4/conf/${adapter}/forwarding`, found);
}
