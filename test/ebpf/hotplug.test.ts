/**
 * A13: what do the kernel and the adapters look like after a data plane has come, changed, gone, or failed to come?
 *
 *   enb0 ═ acc0 ── s1 ── cor0 ═ sgw0      enb1 ═ acc1 ── s2 ── cor1 ═ sgw1      apps0 ═ app0
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { xdpQuery } from "../../dataplane/ebpf/bpf-object.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import type { SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "./namespace.ts";
import {
  backend,
  cable,
  ENB,
  fromCore,
  hex16,
  ipv4,
  MAC,
  makeSite,
  marked,
  other,
  request,
  SGW,
  s1,
  send,
  UE,
  udp,
  until,
  uplink,
  web,
} from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

makeSite();
cable("acc1", "enb1");
cable("cor1", "sgw1");
const s2 = { ...s1, name: "s2", access: "acc1", core: "cor1" };

let plane = new EbpfDataplane(backend);
const start = async (dataplanes = [s1]): Promise<void> => {
  plane = new EbpfDataplane({ ...backend, dataplanes });
  await plane.start();
  await plane.apply({ rules: [web], protect: [] });
};
const counter = (name: string, of = "s1"): bigint =>
  plane.counters().find((sample) => sample.name === name && sample.dataplane === of)!.packets;
const names = (): string[] => plane.status().map((status) => status.name);
const link = (name: string) => JSON.parse(ip(`-j -d link show ${name}`))[0];
const programOn = (name: string) => xdpQuery(link(name).ifindex)?.id;
const features = (name: string): string => execFileSync("ethtool", ["-k", name], { encoding: "utf8" });
const crosses = (from: string, to: string, text: string): void => {
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked(text))}`;
  assert.is(send(from, frame, to, marked(text)), frame);
};
const refused = async (work: Promise<unknown>, reason: RegExp): Promise<void> => {
  const said = await work.then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(said, reason);
};

test("a data plane comes and goes; the other's programs and sessions stay as they are; its adapters are left as found", async () => {
  const found = ["acc1", "cor1"].map(features);
  await start();
  send("enb0", other("learn"), "sgw0", marked("learn"));
  send("sgw0", fromCore("learn"), "enb0", marked("learn"));
  const programs = plane.status()[0]!.programs;
  for (let round = 0; round < 3; round++) {
    await plane.add(s2);
    crosses("enb1", "sgw1", `second, round ${round}`);
    assert.is(counter("pass_not_gtpu", "s2"), BigInt(round + 1));
    await plane.remove("s2", { unwire: true });
    assert.equal(names(), ["s1"]);
    assert.equal([link("acc1").master, programOn("acc1")], [undefined, undefined]);
    assert.equal(["acc1", "cor1"].map(features), found);
  }
  assert.equal(plane.status()[0]!.programs, programs);
  assert.is(plane.sessions({ dataplane: "s1" }).total, 1);
});

test("removed without unwire, its wire goes on by the bridge; added again on other adapters, it leaves the old ones", async () => {
  await plane.add(s2);
  await plane.remove("s2", { unwire: false });
  assert.is(programOn("acc1"), undefined);
  crosses("enb1", "sgw1", "over the bridge");
  cable("acc2", "enb2");
  cable("cor2", "sgw2");
  await plane.add({ ...s2, access: "acc2", core: "cor2" });
  assert.equal([link("acc1").master, link("acc2").master], [undefined, "ofr-s2"]);
  crosses("enb2", "sgw2", "over the new adapters");
  await plane.remove("s2", { unwire: true });
});

test("sessions of a data plane end with it, and its successor in the same place knows nothing of them", async () => {
  await plane.add(s2);
  const elsewhere = uplink(ipv4("10.46.0.9", "203.0.113.99", 17, udp(5000, 53, marked("second"))));
  send("enb1", elsewhere, "sgw1", marked("second"));
  assert.is(plane.sessions({ dataplane: "s2" }).total, 1);
  await plane.remove("s2", { unwire: true });
  await plane.add({ ...s2, name: "s3" });
  assert.is(plane.sessions({ dataplane: "s3" }).total, 0);
  assert.is(plane.sessions({}).total, 1);
  await plane.remove("s3", { unwire: true });
});

test("one that cannot come leaves nothing behind: no adapter, an address on it, another program, taken name", async () => {
  const before = ip("link show");
  await refused(plane.add({ ...s2, core: "nowhere" }), /adapter nowhere does not exist|nowhere/);
  ip("addr add 192.0.2.99/24 dev cor1");
  await refused(plane.add(s2), /cor1 carries 192.0.2.99/);
  ip("addr del 192.0.2.99/24 dev cor1");
  await refused(plane.add({ ...s2, name: "s1" }), /there is a data plane s1/);
  await refused(plane.change({ ...s1, core: "cor1" }), /its core cannot change/);
  await refused(plane.change(s2), /there is no data plane s2/);
  await refused(plane.remove("s2", { unwire: false }), /there is no data plane s2/);
  assert.is(ip("link show"), before);
  assert.equal(names(), ["s1"]);
});

test("settings change in place: mode, pools, peers; who is no longer allowed is forgotten, who is stays", async () => {
  const change = (settings: object) => plane.change({ ...s1, ...settings });
  await change({ uePools: ["10.45.0.0/16"], accessPeers: [`${ENB}/32`], corePeers: [`${SGW}/32`], idleTimeout: 3 });
  assert.is(plane.sessions({}).total, 1, "within");
  send("enb0", request("taken"), "app0", marked("taken"));
  await change({ mode: "bypass" });
  send("enb0", request("bypassed"), "sgw0", marked("bypassed"));
  await change({ interface: "n3" });
  assert.match(ip("route show table 8090"), `mtu ${1500 - 44}`);
  await change({});
  for (const settings of [
    { uePools: ["10.99.0.0/16"] },
    { accessPeers: ["198.18.1.77/32"] },
    { corePeers: ["198.18.2.77/32"] },
  ]) {
    await change(settings);
    assert.is(plane.sessions({}).total, 0, `${JSON.stringify(settings)}: it ends`);
    send("enb0", request("not learnt"), "sgw0", marked("not learnt"));
    assert.is(plane.sessions({}).total, 0, "and is not learnt again");
    await change({});
    send("enb0", request("learnt"), "app0", marked("learnt"));
    assert.is(plane.sessions({ ue: UE }).total, 1);
  }
});

test("a larger MTU comes with a data plane: the return route keeps to the smallest, the slow port to the largest", async () => {
  for (const name of ["acc1", "enb1", "cor1", "sgw1"]) ip(`link set ${name} mtu 2000`);
  await plane.add(s2);
  assert.match(ip("route show table 8090"), `mtu ${1500 - 36}`);
  assert.is(link("ofr-slow").mtu, 2128);
  await until(() => plane.status()[1]!.ports.every((port) => port.mtu === 2000));
  await plane.remove("s2", { unwire: true });
  assert.is(link("ofr-slow").mtu, 1628);
});

test("a rule for a data plane that is not there yet waits for it, and is for no other", async () => {
  const only: SteeringRule = {
    ...web,
    name: "only s2",
    match: { dataplanes: ["s2"], destination: ["203.0.113.99/32"] },
  };
  await plane.apply({ rules: [only], protect: [] });
  send("enb0", other("on the first"), "sgw0", marked("on the first"));
  await plane.add(s2);
  assert.equal(await plane.differences({ rules: [only], protect: [] }), []);
  const there = uplink(ipv4("10.46.0.9", "203.0.113.99", 17, udp(5000, 53, marked("on the second"))));
  send("enb1", there, "app0", marked("on the second"));
  send("enb0", other("still on the first"), "sgw0", marked("still on the first"));
  await plane.remove("s2", { unwire: true });
  await plane.apply({ rules: [web], protect: [] });
});

test("what a killed run left in the middle of an addition is taken off at the next start, and its bridge carries on", async () => {
  await plane.add(s2);
  const uplink2 = uplink(ipv4("10.46.0.9", "203.0.113.99", 17, udp(5000, 53, marked("left"))));
  send("enb1", uplink2, "sgw1", marked("left"));
  await plane.stop();
  assert.ok(programOn("acc1"), "its programs go on");
  await start([s1]);
  assert.equal(names(), ["s1"]);
  assert.is(programOn("acc1"), undefined);
  assert.is(plane.sessions({}).total, 1, "of s1 alone");
  crosses("enb1", "sgw1", "the bridge carries it");
  await plane.add(s2);
  crosses("enb1", "sgw1", `and the program ${hex16(1)}`);
  assert.is(plane.sessions({ dataplane: "s2" }).total, 0);
});

test("down takes the programs off those that the configuration does not name, too; with unwire their bridges", async () => {
  await plane.stop();
  await new EbpfDataplane(backend).down({ unwire: false });
  assert.equal(["acc0", "cor0", "acc1", "cor1"].map(programOn), [undefined, undefined, undefined, undefined]);
  crosses("enb1", "sgw1", "bridged");
  await new EbpfDataplane(backend).down({ unwire: true });
  assert.not(ip("link show").includes("ofr-"));
});

test.run();
