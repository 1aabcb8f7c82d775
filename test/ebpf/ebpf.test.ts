/**
 * Does the whole back end carry, take, put back, survive its own end, and go without a trace?
 *
 *   enb0 ═ acc0 ── back end ── cor0 ═ sgw0        apps0 ═ app0
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BackendConfig, DataplaneConfig, DataplaneEvent } from "../../dataplane/dataplane.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import type { SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "./namespace.ts";

inNamespace(fileURLToPath(import.meta.url));

const state = mkdtempSync(`${tmpdir()}/offramp-ebpf-`);
const s1: DataplaneConfig = {
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
const backend: BackendConfig = {
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
const web: SteeringRule = {
  id: 7,
  service: 1,
  name: "web",
  priority: 100,
  match: { destination: "203.0.113.80/32", protocol: 17, destinationPorts: [80, 80] },
  action: "take",
  endpoint: { address: "10.60.0.10", port: 8080 },
  appInitiated: false,
};

for (const [near, far] of [
  ["acc0", "enb0"],
  ["cor0", "sgw0"],
  ["apps0", "app0"],
]) {
  ip(`link add ${near} type veth peer name ${far}`);
  execFileSync("sysctl", ["-qw", `net.ipv6.conf.${far}.disable_ipv6=1`, `net.ipv6.conf.${near}.disable_ipv6=1`]);
  ip(`link set ${far} up`);
  execFileSync("ethtool", ["-K", far!, "gro", "on", "tx", "off", "txvlan", "off"]);
}
const macOf = (name: string): string => JSON.parse(ip(`-j link show ${name}`))[0].address.replaceAll(":", "");

const hex16 = (value: number): string => value.toString(16).padStart(4, "0");
const hexIp = (text: string): string => Buffer.from(text.split(".").map(Number)).toString("hex");
function sum(hex: string): string {
  const octets = Buffer.from(hex, "hex");
  let total = 0;
  for (let i = 0; i < octets.length; i += 2) total += (octets[i]! << 8) | (octets[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return hex16(~total & 0xffff);
}
function ipv4(source: string, destination: string, protocol: number, payload: string): string {
  const head = (check: string) =>
    `4500${hex16(20 + payload.length / 2)}0001000040${protocol.toString(16).padStart(2, "0")}${check}${hexIp(source)}${hexIp(destination)}`;
  return head(sum(head("0000"))) + payload;
}
const udp = (from: number, to: number, payload: string): string =>
  `${hex16(from)}${hex16(to)}${hex16(8 + payload.length / 2)}0000${payload}`;
const gtp = (teid: number, inner: string): string =>
  `30ff${hex16(inner.length / 2)}${teid.toString(16).padStart(8, "0")}${inner}`;
const MAC = "02000000000102000000000208 00".replace(" ", "");
const ENB = "198.18.1.10";
const SGW = "198.18.2.20";
const UE = "10.45.0.2";
const uplink = (inner: string): string => MAC + ipv4(ENB, SGW, 17, udp(2152, 2152, gtp(0x11, inner)));
const downlink = (inner: string): string => MAC + ipv4(SGW, ENB, 17, udp(2152, 2152, gtp(0x22, inner)));
const marked = (text: string): string => Buffer.from(text).toString("hex");
const send = (from: string, frame: string, to: string, contains: string): string =>
  execFileSync("python3", ["test/ebpf/wire.py", from, frame, to, contains], { encoding: "utf8" }).trim();
const until = async (what: () => boolean): Promise<void> => {
  for (let i = 0; i < 300 && !what(); i++) await sleep(10);
  assert.ok(what(), String(what));
};

const events: DataplaneEvent[] = [];
let plane = new EbpfDataplane(backend);
const start = async (): Promise<void> => {
  plane = new EbpfDataplane(backend);
  plane.on((event) => events.push(event));
  await plane.start();
  await plane.apply({ rules: [web], protect: ["192.0.2.0/24"] });
};
const counter = (name: string, of = "s1"): bigint =>
  plane.counters().find((sample) => sample.name === name && sample.dataplane === of)!.packets;

test("it starts native, and says so", async () => {
  await start();
  const [status] = plane.status();
  assert.equal(
    status!.ports.map(({ adapter, path, link, reason }) => ({ adapter, path, link, reason })),
    [
      { adapter: "acc0", path: "native", link: true, reason: undefined },
      { adapter: "cor0", path: "native", link: true, reason: undefined },
    ],
  );
  assert.equal(
    status!.programs.map((program) => program.name),
    ["access", "core"],
  );
  assert.is(status!.adopted, false);
});

test("A8: what is not GTP-U crosses untouched, both ways", () => {
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("some tcp, not for us"))}`;
  assert.is(send("enb0", frame, "sgw0", marked("some tcp")), frame);
  assert.is(send("sgw0", frame, "enb0", marked("some tcp")), frame);
  assert.is(counter("pass_not_gtpu"), 2n);
});

test("A4: tunnels are learnt from traffic that no rule takes, and it crosses untouched", async () => {
  const up = uplink(ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked("up, not taken"))));
  const down = downlink(ipv4("203.0.113.99", UE, 17, udp(53, 5000, marked("down, not taken"))));
  assert.is(send("enb0", up, "sgw0", marked("up, not")), up);
  assert.is(send("sgw0", down, "enb0", marked("down, not")), down);
  const { total, sessions } = plane.sessions({});
  assert.is(total, 1);
  const [session] = sessions;
  assert.equal(
    session!.bearers.map(({ direction, teid, baseStation, gateway, state }) => ({
      direction,
      teid,
      baseStation,
      gateway,
      state,
    })),
    [
      { direction: "downlink", teid: 0x22, baseStation: ENB, gateway: SGW, state: "live" },
      { direction: "uplink", teid: 0x11, baseStation: ENB, gateway: SGW, state: "live" },
    ],
  );
  assert.is(session!.ue, UE);
  assert.is(session!.state, "up");
  assert.is(plane.sessions({ teid: 0x22 }).total, 1);
  assert.is(plane.sessions({ teid: 0x23 }).total, 0);
  assert.is(plane.sessions({ ue: UE }).total, 1);
  assert.is(plane.sessions({ ue: "10.45.0.3" }).total, 0);
  await until(() =>
    events.some((event) => event.type === "session-new" && event.ue === UE && event.dataplane === "s1"),
  );
  assert.is(plane.status()[0]!.sessions, 1);
});

const request = (text: string): string => uplink(ipv4(UE, "203.0.113.80", 17, udp(5000, 80, marked(text))));
const answer = (text: string): string =>
  `${macOf("apps0")}${macOf("app0")}0800${ipv4("10.60.0.10", UE, 17, udp(8080, 5000, marked(text)))}`;
function offloaded(text: string): void {
  const taken = send("enb0", request(`ask ${text}`), "app0", marked(`ask ${text}`));
  assert.is(taken.slice(28 + 24, 28 + 40), hexIp(UE) + hexIp("10.60.0.10"), "from the UE to the endpoint");
  assert.is(taken.slice(28 + 40, 28 + 48), hex16(5000) + hex16(8080));
  const back = send("app0", answer(`tell ${text}`), "enb0", marked(`tell ${text}`));
  assert.ok(back.includes(`30ff${hex16(28 + 5 + text.length)}00000022`), "in the downlink tunnel");
  assert.ok(back.includes(hexIp("203.0.113.80") + hexIp(UE)), "from the address that the UE knows");
}

test("A6: a rule's traffic leaves its tunnel for the app, and the replies go back into the downlink tunnel", async () => {
  ip(`neigh replace 10.60.0.10 lladdr ${JSON.parse(ip("-j link show app0"))[0].address} dev apps0 nud permanent`);
  offloaded("one");
  assert.is(counter("take_uplink"), 1n);
  assert.is(counter("reply_downlink"), 1n);
  assert.equal(
    plane.serviceCounters().map(({ service, direction, packets }) => ({ service, direction, packets })),
    [
      { service: 1, direction: "uplink", packets: 1n },
      { service: 1, direction: "downlink", packets: 1n },
    ],
  );
  assert.is(plane.sessions({}).sessions[0]!.flows, 1);
});

test("what UEs send to protected prefixes is dropped by name", async () => {
  const before = counter("drop_protected");
  const frame = uplink(ipv4(UE, "192.0.2.1", 17, udp(5000, 22, marked("to management"))));
  assert.throws(() => send("enb0", frame, "sgw0", marked("to management")), /nothing came/);
  assert.is(counter("drop_protected"), before + 1n);
});

test("bypass is instant, and offload again, too", async () => {
  await plane.setMode("s1", "bypass");
  const frame = request("bypassed");
  assert.is(send("enb0", frame, "sgw0", marked("bypassed")), frame);
  await plane.setMode("s1", "offload");
  offloaded("again");
});

test("without the control plane offloaded traffic stays offloaded; the next one adopts programs and sessions", async () => {
  const programs = plane.status()[0]!.programs;
  await plane.stop();
  offloaded("alone");
  await start();
  const [status] = plane.status();
  assert.equal(status!.programs, programs, "the same programs");
  assert.is(status!.adopted, true);
  assert.is(status!.sessions, 1);
  offloaded("adopted");
});

test("A9: what has been idle is purged, and its place is free again", async () => {
  const collected = await plane.collect();
  assert.is(collected.sessions, 0, "in use");
  await plane.stop();
  s1.idleTimeout = 0;
  await start();
  await sleep(1100);
  await plane.collect();
  await until(() => events.some((event) => event.type === "session-idle"));
  assert.is(plane.sessions({}).total, 0);
  s1.idleTimeout = 300;
  await plane.stop();
  await start();
  const up = uplink(ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked("back again"))));
  send("enb0", up, "sgw0", marked("back again"));
  const { sessions } = plane.sessions({});
  assert.equal([sessions.length, sessions[0]!.index, sessions[0]!.epoch], [1, 0, 2], "the same slot, another epoch");
});

test("a link that is lost on one side is shown on the other, and comes back", async () => {
  ip("link set enb0 down");
  const carrier = (): boolean => JSON.parse(ip("-j link show sgw0"))[0].flags.includes("LOWER_UP");
  await until(() => !carrier());
  assert.is(plane.status()[0]!.ports[0]!.link, false);
  ip("link set enb0 up");
  await until(carrier);
  await until(() => plane.status()[0]!.ports.every((port) => port.link));
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("after the link came back"))}`;
  assert.is(send("enb0", frame, "sgw0", marked("after the link")), frame);
});

test("A13: a data plane is added and removed while the other carries traffic", async () => {
  for (const [near, far] of [
    ["acc1", "enb1"],
    ["cor1", "sgw1"],
  ]) {
    ip(`link add ${near} type veth peer name ${far}`);
    ip(`link set ${far} up`);
    execFileSync("ethtool", ["-K", far!, "gro", "on", "tx", "off", "txvlan", "off"]);
  }
  await plane.add({ ...s1, name: "s2", access: "acc1", core: "cor1" });
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("through the second"))}`;
  assert.is(send("enb1", frame, "sgw1", marked("through the second")), frame);
  assert.is(counter("pass_not_gtpu", "s2"), 1n);
  await plane.remove("s2", { unwire: true });
  assert.equal(
    plane.status().map((status) => status.name),
    ["s1"],
  );
  assert.is(send("enb0", frame, "sgw0", marked("through the second")), frame);
});

test("down leaves the wire; down with unwire leaves nothing", async () => {
  await plane.down({ unwire: false });
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("over the bridge"))}`;
  assert.is(send("enb0", frame, "sgw0", marked("over the bridge")), frame);
  await new EbpfDataplane(backend).down({ unwire: true });
  assert.not(ip("link show").includes("ofr-"));
  assert.not(ip("rule show").includes("8090"));
  rmSync(state, { recursive: true });
});

test.run();
