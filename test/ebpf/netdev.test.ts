/**
 * Do the adapters become a wire, does the plumbing lead where it should, and is all as found afterwards?
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AsFound, bridgeName, linkOf, linkOrNone, makeWire, removeWire } from "../../dataplane/ebpf/netdev.ts";
import { NetlinkWatch } from "../../dataplane/ebpf/netlink.ts";
import { makeVeths, networkOf, removePlumbing, routeReplies, TAP } from "../../dataplane/ebpf/plumbing.ts";
import { Tap } from "../../dataplane/ebpf/tap.ts";
import { inNamespace, ip } from "./namespace.ts";

inNamespace(fileURLToPath(import.meta.url));

const state = mkdtempSync(`${tmpdir()}/offramp-netdev-`);
process.on("exit", () => rmSync(state, { recursive: true, force: true }));
const found = new AsFound(`${state}/found.json`);
const features = (name: string): string => execFileSync("ethtool", ["-k", name], { encoding: "utf8" });

ip("link add acc0 type veth peer name enb0");
ip("link add cor0 type veth peer name sgw0");
for (const name of ["enb0", "sgw0"]) ip(`link set ${name} up`);
execFileSync("ethtool", ["-K", "acc0", "gro", "on"]);
const before = features("acc0");

test("an adapter that carries an address is refused by name", async () => {
  ip("addr add 192.0.2.1/24 dev cor0");
  let message = "";
  await makeWire(found, "s1", ["acc0", "cor0"]).catch((error: Error) => {
    message = error.message;
  });
  assert.match(message, /adapter cor0 carries 192\.0\.2\.1/);
  ip("addr del 192.0.2.1/24 dev cor0");
});

test("A8: two adapters become a wire: frames of any kind cross the bridge, and nothing else appears", async () => {
  await makeWire(found, "s1", ["acc0", "cor0"]);
  await makeWire(found, "s1", ["acc0", "cor0"]);
  assert.match(features("acc0"), /generic-receive-offload: off/);
  const bridge = await linkOf("ofr-s1");
  assert.ok(bridge.flags.includes("UP"));
  for (const name of ["acc0", "cor0"]) assert.is((await linkOf(name)).master, "ofr-s1");
  const script = `
import socket, sys
a = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); a.bind(("enb0", 3))
b = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); b.bind(("sgw0", 3))
b.settimeout(3)
def cross(frame):
    a.send(frame)
    while True:
        got = b.recv(65536)
        if got == frame or got == frame[:12] + frame[16:]: return # the receiver takes tags off
mac = bytes.fromhex("020000000001020000000002")
cross(mac + bytes.fromhex("0800") + bytes(46))            # not even IP
cross(mac + bytes.fromhex("8100006408004500") + bytes(60)) # tagged
cross(bytes.fromhex("0180c200000e020000000002") + bytes.fromhex("88cc") + bytes(46)) # LLDP
cross(bytes.fromhex("0180c2000002020000000002") + bytes.fromhex("8809") + bytes(46)) # LACP
cross(bytes.fromhex("ffffffffffff020000000002") + bytes.fromhex("0806") + bytes(46))
print("crossed")
`;
  assert.is(execFileSync("python3", ["-c", script], { encoding: "utf8" }).trim(), "crossed");
});

test("long names of data planes get a bridge of their own", () => {
  assert.is(bridgeName("s1"), "ofr-s1");
  assert.is(bridgeName("the-western-town-hall").length, 15);
  assert.is.not(bridgeName("the-western-town-hall"), bridgeName("the-western-town-hall-2"));
});

test("what apps send to UEs goes to the return veth, what is for the apps' prefix does not", async () => {
  ip("link add apps0 type veth peer name app0");
  ip("link set app0 up");
  const apps = { interface: "apps0", address: "10.60.0.1/24", address6: "2001:db8:60::1/64" };
  for (let i = 0; i < 2; i++) {
    const { near, far } = await makeVeths(found, 1464);
    assert.is(near.mtu, 9216, "what the programs hand to the kernel may be long");
    assert.is.not(near.ifindex, far.ifindex);
    await routeReplies(found, apps, 1464);
  }
  assert.match(ip("route get 10.45.0.2 from 10.60.0.1"), /dev ofr-ret table 8090/);
  assert.match(ip("route get 10.45.0.2 from 10.60.0.10 iif apps0"), /dev ofr-ret table 8090/);
  assert.match(ip("route show table 8090"), /default .* dev ofr-ret .*mtu 1464/);
  assert.match(ip("route get 10.60.0.20 from 10.60.0.1"), /dev apps0/);
  assert.match(ip("-6 route get 2001:db8:45::2 from 2001:db8:60::10 iif apps0"), /dev ofr-ret table 8090/);
  assert.match(ip("route get 203.0.113.10 oif ofr-ping"), /dev ofr-ping/);
  assert.is(ip("rule show").match(/lookup 8090/g)?.length, 2);
  assert.match(features("ofr-ret"), /tcp-segmentation-offload: off/);
  assert.is(networkOf("10.60.7.1", 20), "10.60.0.0/20");
  assert.is(networkOf("2001:db8:60::1", 64), "2001:db8:60::/64");
});

test("B7: replies of apps that run on the appliance go to the return veth, what is for them to them", async () => {
  const apps = { interface: "apps0", address: "10.60.0.1/24" };
  const instances = { tof: "10.61.0.0/24", platform: "10.62.0.0/24" };
  ip("link add oat-1 type veth peer name tof1");
  ip("link add oap-1 type veth peer name mep1");
  for (const port of ["oat-1", "oap-1"]) ip(`link set dev ${port} up`);
  writeFileSync("/proc/sys/net/ipv4/conf/oat-1/forwarding", "1");
  ip("route add 10.61.0.2/32 dev oat-1");
  ip("route add 10.62.0.2/32 dev oap-1");
  for (let i = 0; i < 2; i++) await routeReplies(found, { ...apps, instances }, 1464);
  assert.match(ip("route get 10.45.0.2 from 10.61.0.2 iif oat-1"), /dev ofr-ret table 8090/);
  assert.match(ip("route get 10.61.0.2 from 10.45.0.2 iif ofr-ret"), /dev oat-1/);
  assert.match(ip("route get 10.61.0.2 from 10.60.0.1"), /dev oat-1/, "our own questions");
  assert.match(ip("route get 10.62.0.2 from 10.60.0.1"), /dev oap-1/, "answers of Mp1");
  assert.is(ip("rule show").match(/lookup 8090/g)?.length, 3);
  await routeReplies(found, { ...apps, instances: { ...instances, tof: "10.63.0.0/24" } }, 1464);
  assert.match(ip("rule show"), /from 10\.63\.0\.0\/24 lookup 8090/);
  assert.not.match(ip("rule show"), /10\.61/);
  await routeReplies(found, apps, 1464);
  assert.is(ip("rule show").match(/808[678]:/g), null);
});

test("the slow port exists while it is open", async () => {
  const tap = await Tap.open(TAP, 9216);
  assert.is(tap.read(), null);
  let told = 0;
  tap.onReadable(() => {
    while (tap.read()) told++;
  });
  // Anything that the kernel sends out of the device is what a program redirects to it.
  const send = `
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("${TAP}", 3))
s.send(bytes(64))
`;
  execFileSync("python3", ["-c", send]);
  for (let i = 0; i < 100 && told === 0; i++) await sleep(10);
  assert.is(told, 1);
  assert.ok(tap.write(new Uint8Array(64)));
  tap.close();
  assert.is(await linkOrNone(TAP), undefined);
});

test("changes of links, neighbours and routes are noticed", async () => {
  let changes = 0;
  const watch = new NetlinkWatch(() => changes++);
  const changed = async (line: string): Promise<void> => {
    const start = changes;
    ip(line);
    for (let i = 0; i < 200 && changes === start; i++) await sleep(10);
    assert.ok(changes > start, line);
  };
  try {
    await changed("link set enb0 down");
    await changed("neigh add 10.60.0.10 lladdr 02:00:00:00:00:10 dev apps0 nud permanent");
    await changed("route add 10.99.0.0/24 dev apps0");
  } finally {
    watch.close();
  }
});

test("unwiring leaves adapters and settings as found", async () => {
  await removePlumbing();
  await removeWire("s1");
  await found.restore();
  assert.is(features("acc0"), before);
  assert.is(await linkOrNone("ofr-s1"), undefined);
  assert.is(await linkOrNone("ofr-ret"), undefined);
  assert.is((await linkOf("acc0")).master, undefined);
  assert.not(ip("rule show").includes("8090"));
});

test.run();
