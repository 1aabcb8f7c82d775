/**
 * How do packets get from the wire to the apps, and their replies back to the programs?
 *
 *   programs ──redirect──▶ ofr-retx ═══ ofr-ret ──▶ kernel routes ──▶ apps adapter, or the appliance's own servers
 *   from_apps ◀── XDP ──── ofr-retx ═══ ofr-ret ◀── policy routing ◀── replies
 *   from_pinger ◀─ XDP ─── ofr-pingx ══ ofr-ping ◀── the pinger's raw socket
 *
 * The kernel does the rest by itself at the veth's mouth: it segments, checksums, and answers "fragmentation needed",
 * because the veth's MTU is what a tunnel leaves and its offloads are off. Replies find their way by policy routing: what
 * comes from the apps' adapter, or from our own address there, goes to ofr-ret unless it is for the apps' own prefix. So does
 * what comes from apps that run on the appliance itself, wherever their adapters are.
 * All replies share one next hop on ofr-ret (an address nobody has, no ARP), so that a million UEs need no neighbours.
 */

import { addressText, prefixOf } from "../address.ts";
import type { AppsConfig, DataplaneConfig, VxlanConfig } from "../dataplane.ts";
import { ip, ipJson, readSysctl, run, tryIp } from "./command.ts";
import { type AsFound, type Link, linkOf, linkOrNone, wireFeatures } from "./netdev.ts";

export const RETURN = "ofr-ret";
export const RETURN_FAR = "ofr-retx";
export const PINGER = "ofr-ping";
export const PINGER_FAR = "ofr-pingx";
export const TAP = "ofr-slow";

/** Routing tables and the rules' priorities: fixed, so that a second run finds what the first one made. */
const TABLE_REPLIES = 8090;
const TABLE_PINGER = 8091;
const PRIORITY = { toTof: 8086, toPlatform: 8087, fromTof: 8088, apps: 8090, own: 8091, pinger: 8092 };
/** Next hops on a link without ARP; any would do. */
const NOBODY4 = "169.254.80.90";
const NOBODY6 = "fe80::8090";
/** Octets of the encapsulation: IPv4 20, UDP 8, GTP-U 8; with the PDU Session Container 8 more. None on Ethernet. */
export const overheadOf = ({ plugin, interface: kind }: Pick<DataplaneConfig, "plugin" | "interface">): number =>
  plugin === "ethernet" ? 0 : kind === "n3" ? 44 : 36;

/** What the programs hand to the kernel may be as long as the access side allows: this does not limit it. */
const DEVICE_MTU = 9216;

async function pair(near: string, far: string, mtu: number): Promise<void> {
  if (!(await linkOrNone(near))) {
    await ip(`link add name ${near} mtu ${mtu} type veth peer name ${far}`);
  }
  // Both ends: a frame that is longer than the far one's MTU is not redirected there.
  await ip(`link set dev ${near} mtu ${mtu} arp off`);
  await ip(`link set dev ${far} mtu ${mtu} arp off`);
  // gro on: without it (or a program) the end takes no natively redirected frames. The others off: whole, finished frames.
  const off = ["tx", "tso", "gso", "txvlan", "rxvlan"].flatMap((feature) => [feature, "off"]);
  await run("ethtool", "-K", near, ...off, "gro", "on");
  await run("ethtool", "-K", far, ...off);
}

/** Makes the return veth and the pinger's. Idempotent. */
export async function makeVeths(found: AsFound, mtu: number): Promise<{ near: Link; far: Link; pinger: Link }> {
  await pair(RETURN, RETURN_FAR, DEVICE_MTU);
  await pair(PINGER, PINGER_FAR, mtu);
  for (const far of [RETURN_FAR, PINGER_FAR]) found.sysctl(`net/ipv6/conf/${far}/disable_ipv6`, "1");
  // No link-local address of its own, so no reports and solicitations; routing needs none.
  found.sysctl(`net/ipv6/conf/${RETURN}/addr_gen_mode`, "1");
  found.sysctl(`net/ipv6/conf/${RETURN}/accept_dad`, "0");
  found.sysctl(`net/ipv6/conf/${PINGER}/accept_dad`, "0");
  found.sysctl(`net/ipv6/conf/${PINGER}/router_solicitations`, "0");
  for (const name of [RETURN, RETURN_FAR, PINGER, PINGER_FAR]) await ip(`link set dev ${name} up`);
  forward(found, RETURN);
  // The kernel takes the larger of `all` and the adapter's own value: `all` goes to 0, the others keep what held for them.
  const all = readSysctl("net/ipv4/conf/all/rp_filter") ?? "0";
  if (all !== "0") {
    for (const { ifname } of await ipJson<Link[]>("link show")) {
      const own = readSysctl(`net/ipv4/conf/${ifname}/rp_filter`) ?? "0";
      if (Number(own) < Number(all)) found.sysctl(`net/ipv4/conf/${ifname}/rp_filter`, all);
    }
    found.sysctl("net/ipv4/conf/all/rp_filter", "0");
  }
  found.sysctl(`net/ipv4/conf/${RETURN}/rp_filter`, "0");
  found.sysctl(`net/ipv4/conf/${RETURN}/send_redirects`, "0");
  await rule("", `oif ${PINGER}`, PRIORITY.pinger, TABLE_PINGER);
  await rule("-6 ", `oif ${PINGER}`, PRIORITY.pinger, TABLE_PINGER);
  await ip(`route replace default dev ${PINGER} table ${TABLE_PINGER}`);
  await tryIp(`-6 route replace default dev ${PINGER} table ${TABLE_PINGER}`);
  return { near: await linkOf(RETURN), far: await linkOf(RETURN_FAR), pinger: await linkOf(PINGER_FAR) };
}

/**
 * The way of replies into ofr-ret. Its MTU is the route's, not the device's: a packet that a program hands to the kernel on
 * the same veth may be longer than one that has to go back into a tunnel. Replaces what is there.
 */
export async function setReturnMtu(apps: AppsConfig | undefined, mtu: number): Promise<void> {
  const to = (nobody: string): string => `default via ${nobody} dev ${RETURN} onlink table ${TABLE_REPLIES} mtu ${mtu}`;
  if (apps?.address) await ip(`route replace ${to(NOBODY4)}`);
  if (apps?.address6) await ip(`-6 route replace ${to(NOBODY6)}`);
}

function forward(found: AsFound, adapter: string): void {
  found.sysctl(`net/ipv4/conf/${adapter}/forwarding`, "1");
  found.sysctl("net/ipv6/conf/all/forwarding", "1");
  found.sysctl(`net/ipv6/conf/${adapter}/forwarding`, "1");
}

interface RuleEntry {
  priority: number;
  iif?: string;
  oif?: string;
  /** `all`, or an address whose length is beside it unless it is whole. */
  src?: string;
  srclen?: number;
  dst?: string;
  dstlen?: number;
  table?: string;
}

const prefixText = (address?: string, length?: number): string | undefined =>
  length === undefined ? address : `${address}/${length}`;

/** One policy routing rule at its priority, in place of whatever of ours is there. */
async function rule(family: string, selector: string, priority: number, table: number | "main"): Promise<void> {
  const [kind, value = ""] = selector.split(" ");
  const there = (await ipJson<RuleEntry[]>(`${family}rule show`)).filter((entry) => entry.priority === priority);
  const is = ({ src, srclen, dst, dstlen, ...entry }: RuleEntry): boolean => {
    if (kind === "from") return prefixText(src, srclen) === value;
    return kind === "to" ? prefixText(dst, dstlen) === value : entry[kind as "iif" | "oif"] === value;
  };
  if (there.length === 1 && there[0] && is(there[0]) && there[0].table === String(table)) return;
  for (const _ of there) await tryIp(`${family}rule del priority ${priority}`);
  await ip(`${family}rule add ${selector} priority ${priority} table ${table}`);
}

/** Apps that run here: each has routes of its own, which others' replies and our servers' answers must not pass by. */
async function routeInstances({ instances }: AppsConfig): Promise<void> {
  if (!instances) {
    for (const name of ["toTof", "toPlatform", "fromTof"] as const) await tryIp(`rule del priority ${PRIORITY[name]}`);
    return;
  }
  await rule("", `to ${instances.tof}`, PRIORITY.toTof, "main");
  await rule("", `to ${instances.platform}`, PRIORITY.toPlatform, "main");
  await rule("", `from ${instances.tof}`, PRIORITY.fromTof, TABLE_REPLIES);
}

/** Replies of apps, and of our own servers on the apps' side, go to ofr-ret. Idempotent. */
export async function routeReplies(found: AsFound, apps: AppsConfig, mtu: number): Promise<void> {
  const { interface: adapter } = apps;
  await found.up(await linkOf(adapter));
  forward(found, adapter);
  for (const [family, address] of [
    ["", apps.address],
    ["-6 ", apps.address6],
  ] as const) {
    if (!address) continue;
    const [own = "", bits = ""] = address.split("/");
    if (!(await hasAddress(adapter, own))) {
      await ip(`${family}addr add ${address} dev ${adapter}${family ? " nodad" : ""}`);
      found.addedAddress(`${address} dev ${adapter}`);
    }
    await rule(family, `iif ${adapter}`, PRIORITY.apps, TABLE_REPLIES);
    await rule(family, `from ${own}`, PRIORITY.own, TABLE_REPLIES);
    await ip(`${family}route replace ${networkOf(own, Number(bits))} dev ${adapter} table ${TABLE_REPLIES}`);
  }
  await routeInstances(apps);
  await setReturnMtu(apps, mtu);
}

/**
 * What functions of chains send to our end of their tunnels goes to ofr-ret as replies do. The kernel does not have the
 * address, so it forwards, and what we send from there is no martian; it answers for it (proxy ARP and neighbour
 * discovery). Idempotent.
 */
export async function answerForFunctions(found: AsFound, apps: AppsConfig, vxlan: VxlanConfig): Promise<void> {
  const { interface: adapter } = apps;
  await ip(`route replace ${vxlan.address}/32 via ${NOBODY4} dev ${RETURN} onlink table ${TABLE_REPLIES}`);
  await ip(`neigh replace proxy ${vxlan.address} dev ${adapter}`);
  found.addedProxy(`${vxlan.address} dev ${adapter}`);
  found.sysctl(`net/ipv4/neigh/${adapter}/proxy_delay`, "0");
  if (vxlan.address6 === undefined) return;
  await ip(`-6 route replace ${vxlan.address6}/128 via ${NOBODY6} dev ${RETURN} onlink table ${TABLE_REPLIES}`);
  found.sysctl(`net/ipv6/conf/${adapter}/proxy_ndp`, "1");
  found.sysctl(`net/ipv6/neigh/${adapter}/proxy_delay`, "0");
  await ip(`-6 neigh replace proxy ${vxlan.address6} dev ${adapter}`);
  found.addedProxy(`${vxlan.address6} dev ${adapter}`);
}

/** An adapter that carries both sides is routed: the kernel sends on what the programs leave to it. */
export async function routeShared(found: AsFound, adapter: string): Promise<void> {
  const link = await linkOf(adapter);
  await found.up(link);
  forward(found, adapter);
  found.sysctl(`net/ipv4/conf/${adapter}/rp_filter`, "0");
  found.sysctl(`net/ipv4/conf/${adapter}/send_redirects`, "0");
  await found.features(adapter, wireFeatures);
}

async function hasAddress(adapter: string, address: string): Promise<boolean> {
  const [entry] = await ipJson<{ addr_info: { local: string }[] }[]>(`addr show dev ${adapter}`);
  return entry?.addr_info.some((info) => info.local === address) ?? false;
}

/** The prefix that an address with its length lies in: `10.60.0.1`, 24 is `10.60.0.0/24`. */
export function networkOf(address: string, bits: number): string {
  const { octets, v6 } = prefixOf(`${address}/${bits}`);
  return `${v6 ? addressText(octets) || "::" : octets.subarray(12).join(".")}/${bits}`;
}

/** Takes veths, rules and routes away. */
export async function removePlumbing(): Promise<void> {
  for (const family of ["", "-6 "]) {
    for (const priority of Object.values(PRIORITY)) await tryIp(`${family}rule del priority ${priority}`);
    await tryIp(`${family}route flush table ${TABLE_REPLIES}`);
    await tryIp(`${family}route flush table ${TABLE_PINGER}`);
  }
  await tryIp(`link del dev ${RETURN}`);
  await tryIp(`link del dev ${PINGER}`);
}
