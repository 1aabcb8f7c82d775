// mostly waits
/**
 * A17: do copies leave by the mirror, whole or without their tunnel, and packets by the output that a rule names?
 *
 *   enb0 ═ acc0 ── s1 ── cor0 ═ sgw0      apps0 ═ app0      tap0 ═ see0 (mirror)      out0 ═ far0 (output)
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import type { SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "./namespace.ts";
import {
  answer,
  backend,
  cable,
  downlink,
  fromCore,
  hexIp,
  ipv4,
  macOf,
  makeSite,
  marked,
  other,
  request,
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
cable("tap0", "see0");
cable("out0", "far0");
for (const name of ["tap0", "out0"]) ip(`link set ${name} up`);

const pass: SteeringRule = {
  ...{ id: 8, service: 2, name: "seen", priority: 50, appInitiated: false },
  match: { destination: ["203.0.113.99/32"] },
  action: "pass",
  treatment: { mirror: { port: "tap0", form: "as-is" } },
};
const mirrored = (form: "as-is" | "decapsulated", port = "tap0"): SteeringRule[] => [
  { ...web, treatment: { mirror: { port, form } } },
  { ...pass, treatment: { mirror: { port, form } } },
];
const away = (output: SteeringRule["output"]): SteeringRule => ({
  ...{ id: 9, service: 3, name: "away", priority: 60, appInitiated: false },
  match: { destination: ["203.0.113.70/32"] },
  action: "route",
  ...(output && { output }),
});
/** Running flows keep the way that they have: each rule is met by a flow of its own. */
let ueport = 5000;
const toAway = (text: string) => ipv4(UE, "203.0.113.70", 17, udp(ueport, 53, marked(text)));

let plane = new EbpfDataplane(backend);
/** Applied, and found in the kernel as intended. */
async function apply(...rules: SteeringRule[]): Promise<void> {
  await plane.apply({ rules, protect: [] });
  assert.equal(await plane.differences({ rules, protect: [] }), []);
}
const counter = (name: string): bigint =>
  plane.counters().reduce((sum, sample) => sum + (sample.name === name ? sample.packets : 0n), 0n);
const refused = async (work: Promise<unknown>, reason: RegExp): Promise<void> => {
  const said = await work.then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(said, reason);
};
/** Inner packet behind whatever Ethernet header. */
const plain = (frame: string): string => frame.slice(28);

test("A17: the copy of a packet that passes is the packet, both ways, and it passes as it came", async () => {
  await plane.start();
  await apply(...mirrored("as-is"));
  send("enb0", other("learn"), "sgw0", marked("learn"));
  send("sgw0", fromCore("learn"), "enb0", marked("learn"));
  for (const text of ["one", "two"]) {
    assert.is(send("enb0", other(`up ${text}`), "see0", marked(`up ${text}`)), other(`up ${text}`));
    assert.is(send("enb0", other(`on ${text}`), "sgw0", marked(`on ${text}`)), other(`on ${text}`));
    assert.is(send("sgw0", fromCore(`down ${text}`), "see0", marked(`down ${text}`)), fromCore(`down ${text}`));
    assert.is(send("sgw0", fromCore(`back ${text}`), "enb0", marked(`back ${text}`)), fromCore(`back ${text}`));
  }
  assert.is(counter("note_not_mirrored"), 0n);
  assert.ok(counter("note_mirrored") >= 8n);
});

test("A17: of a taken packet and its reply the copy is what leaves: to the app, and in the UE's tunnel", async () => {
  const taken = send("enb0", request("taken"), "see0", marked("taken"));
  assert.is(taken.slice(28 + 24, 28 + 40), hexIp(UE) + hexIp("10.60.0.10"));
  assert.is(send("enb0", request("served"), "app0", marked("served")).slice(28 + 24, 28 + 40), taken.slice(52, 68));
  const copied = send("app0", answer("copied"), "see0", marked("copied"));
  assert.ok(copied.includes("00000022"), "with the tunnel");
  assert.ok(send("app0", answer("told"), "enb0", marked("told")).includes("00000022"));
});

test("A17: decapsulated, the copy is the inner packet behind a plain Ethernet header; what is copied is untouched", async () => {
  await apply(...mirrored("decapsulated"));
  const inner = (text: string) => ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked(text)));
  const up = send("enb0", other("bare"), "see0", marked("bare"));
  assert.is(up.slice(24), `0800${inner("bare")}`);
  assert.is(send("enb0", other("whole"), "sgw0", marked("whole")), other("whole"));
  const back = ipv4("203.0.113.99", UE, 17, udp(53, 5000, marked("bare")));
  assert.is(plain(send("sgw0", fromCore("bare"), "see0", marked("bare"))), back);
  assert.is(
    send("sgw0", fromCore("whole"), "enb0", marked("whole")),
    downlink(back.replace(back, fromCoreInner("whole"))),
  );
  const reply = send("app0", answer("bare"), "see0", marked("bare"));
  assert.is(plain(reply).slice(24, 40), hexIp("203.0.113.80") + hexIp(UE), "as the UE gets it");
  assert.ok(send("app0", answer("whole"), "enb0", marked("whole")).includes("00000022"));
});
const fromCoreInner = (text: string): string => ipv4("203.0.113.99", UE, 17, udp(53, 5000, marked(text)));

test("A17: a mirror that is not there, or goes, harms nothing, and is found again when it comes", async () => {
  const before = counter("note_not_mirrored");
  await apply(...mirrored("as-is", "later0"));
  assert.is(send("enb0", other("alone"), "sgw0", marked("alone")), other("alone"));
  assert.ok(counter("note_not_mirrored") > before);
  cable("later0", "eye0");
  ip("link set later0 up");
  await until(() => sees("eye0", "found"));
  ip("link del later0");
  assert.is(send("enb0", other("alone again"), "sgw0", marked("alone again")), other("alone again"));
  const served = send("enb0", request("served"), "app0", marked("served"));
  assert.ok(served.includes(hexIp("10.60.0.10")));
});
function sees(name: string, text: string): boolean {
  try {
    return send("enb0", other(text), name, marked(text)) === other(text);
  } catch {
    return false;
  }
}

test("A17: route with an output leaves by that adapter, to that address, with that tag", async () => {
  await apply(away({ port: "out0", mac: "02:aa:00:00:00:01" }));
  const frame = send("enb0", uplink(toAway("out")), "far0", marked("out"));
  assert.is(frame, `02aa00000001${macOf("out0")}0800${toAway("out")}`);
  await apply(away({ port: "out0", mac: "02:aa:00:00:00:01", vlan: 300 }));
  assert.is(send("enb0", uplink(toAway("runs on")), "far0", marked("runs on")).slice(24, 28), "0800");
  ueport++;
  for (const text of ["first", "later", "last"]) {
    const tagged = send("enb0", uplink(toAway(text)), "far0", marked(text));
    assert.is(tagged, `02aa00000001${macOf("out0")}8100012c0800${toAway(text)}`);
  }
  await apply(away({ port: "out0" }));
  ueport++;
  const broadcast = send("enb0", uplink(toAway("all")), "far0", marked("all"));
  assert.is(broadcast.slice(0, 12), "ffffffffffff");
});

test("A17: an output that is not there, is down, or takes no frames is refused by name, and the old rules stay", async () => {
  await refused(apply(away({ port: "nowhere0" })), /rule away leaves by nowhere0: there is no such adapter/);
  ip("link add deaf0 type veth peer name deaf1");
  await refused(apply(away({ port: "deaf0" })), /leaves by deaf0: the adapter is down/);
  ip("link set deaf0 up");
  ip("link set deaf1 up");
  await refused(apply(away({ port: "deaf0" })), /leaves by deaf0: redirected frames do not arrive/);
  assert.is(send("enb0", uplink(toAway("still")), "far0", marked("still")).slice(0, 12), "ffffffffffff");
});

test("A17: a mirror that takes no frames is refused by name; one that is found so later copies once it does", async () => {
  await refused(apply(...mirrored("as-is", "deaf0")), /rule web is copied to deaf0: redirected frames do not arrive/);
  assert.is(send("enb0", uplink(toAway("still")), "far0", marked("still")).slice(0, 12), "ffffffffffff");
  await apply(...mirrored("as-is", "mute0"));
  ip("link add mute0 type veth peer name ear0");
  ip("link set ear0 up");
  const before = counter("note_not_mirrored");
  ip("link set mute0 up");
  await until(() => {
    send("enb0", other("mute"), "sgw0", marked("mute"));
    return counter("note_not_mirrored") > before + 3n;
  });
  execFileSync("ethtool", ["-K", "ear0", "gro", "on"]);
  await until(() => {
    void plane.collect();
    return sees("ear0", "heard");
  });
  await apply(away({ port: "out0" }));
});

test("A13, A17: mirrors follow when a data plane comes, and when the control plane comes again", async () => {
  cable("acc1", "enb1");
  cable("cor1", "sgw1");
  await apply(...mirrored("as-is"));
  await plane.add({ ...s1, name: "s2", access: "acc1", core: "cor1" });
  const elsewhere = (text: string) => uplink(ipv4("10.46.0.9", "203.0.113.99", 17, udp(5000, 53, marked(text))));
  send("enb1", elsewhere("learn"), "sgw1", marked("learn"));
  assert.is(send("enb1", elsewhere("seen"), "see0", marked("seen")), elsewhere("seen"));
  await plane.remove("s2", { unwire: true });
  await plane.stop();
  assert.is(send("enb0", other("alone"), "see0", marked("alone")), other("alone"), "nobody is there, copies go on");
  plane = new EbpfDataplane(backend);
  await plane.start();
  await apply(...mirrored("as-is"));
  assert.is(send("enb0", other("again"), "see0", marked("again")), other("again"));
  await plane.down({ unwire: true });
});

test.run();
