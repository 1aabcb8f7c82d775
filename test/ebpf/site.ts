/**
 * A site in one network namespace, and frames for it.
 *
 *   enb0 ═ acc0 ── back end ── cor0 ═ sgw0        apps0 ═ app0
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import * as assert from "uvu/assert";
import type { BackendConfig, DataplaneConfig } from "../../dataplane/dataplane.ts";
import type { SteeringRule } from "../../dataplane/steering.ts";
import { ip } from "./namespace.ts";

// The process outside the namespace needs none.
export const state = process.env.OFFRAMP_TEST_NETNS ? mkdtempSync(`${tmpdir()}/offramp-ebpf-`) : "";
if (state) process.on("exit", () => rmSync(state, { recursive: true, force: true }));
export const s1: DataplaneConfig = {
  name: "s1",
  plugin: "gtp",
  backend: "ebpf",
  access: "acc0",
  core: "cor0",
  accessPeers: [],
  corePeers: [],
  uePools: [],
  idleTimeout: 300,
  pinger: { target: "203.0.113.10", intervalMs: 200, giveUpMs: 5000 },
  interface: "s1u",
  mode: "offload",
};
export const backend: BackendConfig = {
  site: "test",
  stateDir: state,
  dataplanes: [s1],
  limits: {
    sessions: 1024,
    flows: 4096,
    rules: 1024,
    peerSessions: 1000,
    learnRate: 1000,
    learnBurst: 1000,
    ueFlows: 100,
  },
  apps: { interface: "apps0", address: "10.60.0.1/24" },
};
export const web: SteeringRule = {
  id: 7,
  service: 1,
  name: "web",
  priority: 100,
  match: { destination: ["203.0.113.80/32"], protocol: [17], destinationPorts: [[80, 80]] },
  action: "take",
  endpoints: [{ address: "10.60.0.10", port: 8080 }],
  appInitiated: false,
};

/** A wire from the back end's adapter `near` to `far`, which sends whole frames and takes redirected ones. */
export function cable(near: string, far: string): void {
  ip(`link add ${near} type veth peer name ${far}`);
  execFileSync("sysctl", ["-qw", `net.ipv6.conf.${far}.disable_ipv6=1`, `net.ipv6.conf.${near}.disable_ipv6=1`]);
  ip(`link set ${far} up`);
  execFileSync("ethtool", ["-K", far, "gro", "on", "tx", "off", "txvlan", "off"]);
}

/** Call inside the test's namespace. */
export function makeSite(): void {
  cable("acc0", "enb0");
  cable("cor0", "sgw0");
  cable("apps0", "app0");
  // The app does not answer ARP.
  ip("link set apps0 up");
  ip(`neigh replace 10.60.0.10 lladdr ${JSON.parse(ip("-j link show app0"))[0].address} dev apps0 nud permanent`);
}

export const macOf = (name: string): string => JSON.parse(ip(`-j link show ${name}`))[0].address.replaceAll(":", "");

export const hex16 = (value: number): string => value.toString(16).padStart(4, "0");
export const hexIp = (text: string): string => Buffer.from(text.split(".").map(Number)).toString("hex");
function sum(hex: string): string {
  const octets = Buffer.from(hex, "hex");
  let total = 0;
  for (let i = 0; i < octets.length; i += 2) total += (octets[i]! << 8) | (octets[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return hex16(~total & 0xffff);
}
export function ipv4(source: string, destination: string, protocol: number, payload: string): string {
  const head = (check: string) =>
    `4500${hex16(20 + payload.length / 2)}0001000040${protocol.toString(16).padStart(2, "0")}${check}${hexIp(source)}${hexIp(destination)}`;
  return head(sum(head("0000"))) + payload;
}
export const udp = (from: number, to: number, payload: string): string =>
  `${hex16(from)}${hex16(to)}${hex16(8 + payload.length / 2)}0000${payload}`;
const gtp = (teid: number, inner: string): string =>
  `30ff${hex16(inner.length / 2)}${teid.toString(16).padStart(8, "0")}${inner}`;
export const MAC = "02000000000102000000000208 00".replace(" ", "");
export const ENB = "198.18.1.10";
export const SGW = "198.18.2.20";
export const UE = "10.45.0.2";
export const uplink = (inner: string): string => MAC + ipv4(ENB, SGW, 17, udp(2152, 2152, gtp(0x11, inner)));
export const downlink = (inner: string): string => MAC + ipv4(SGW, ENB, 17, udp(2152, 2152, gtp(0x22, inner)));
export const marked = (text: string): string => Buffer.from(text).toString("hex");
export const send = (from: string, frame: string, to: string, contains: string): string =>
  execFileSync("python3", ["test/ebpf/wire.py", from, frame, to, contains], { encoding: "utf8" }).trim();
export const until = async (what: () => boolean): Promise<void> => {
  for (let i = 0; i < 300 && !what(); i++) await sleep(10);
  assert.ok(what(), String(what));
};

/** The UE asks the service that `web` is for; the app answers it. */
export const request = (text: string): string => uplink(ipv4(UE, "203.0.113.80", 17, udp(5000, 80, marked(text))));
export const answer = (text: string): string =>
  `${macOf("apps0")}${macOf("app0")}0800${ipv4("10.60.0.10", UE, 17, udp(8080, 5000, marked(text)))}`;
/** User traffic that no rule takes. */
export const other = (text: string): string => uplink(ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked(text))));
export const fromCore = (text: string): string => downlink(ipv4("203.0.113.99", UE, 17, udp(53, 5000, marked(text))));
