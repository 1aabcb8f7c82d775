/**
 * Does a trial say what the programs would do, and leave no trace (C7)?
 *
 * The whole back end on a real wire; live tables are compared octet by octet before and after.
 */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BpfMap, MapType } from "../../dataplane/ebpf/bpf-map.ts";
import { closeProgram, programById, xdpQuery } from "../../dataplane/ebpf/bpf-object.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { own, shared } from "../../dataplane/ebpf/trial-bench.ts";
import type { TrialRequest } from "../../dataplane/trial.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import * as s from "../ebpf/site.ts";

inNamespace(fileURLToPath(import.meta.url));
s.makeSite();
ip("address add 10.60.0.1/24 dev apps0");
const plane = new EbpfDataplane(s.backend);
const octets = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));
const tunnel = { source: s.ENB, destination: s.SGW, teid: 0x11, vlans: [] };

const uplink = (inner: string, remote: string, uePort: number, remotePort: number): TrialRequest => ({
  dataplane: "s1",
  way: "uplink",
  frame: octets(s.uplink(inner)),
  tunnel,
  packet: { ue: s.UE, uePort, remote, remotePort, protocol: 17 },
});
const request = (port = 5000) =>
  uplink(s.ipv4(s.UE, "203.0.113.80", 17, s.udp(port, 80, s.marked("ask"))), "203.0.113.80", port, 80);
const other = () =>
  uplink(s.ipv4(s.UE, "203.0.113.99", 17, s.udp(5000, 53, s.marked("else"))), "203.0.113.99", 5000, 53);
const guarded = () => uplink(s.ipv4(s.UE, "192.0.2.1", 17, s.udp(1, 2, s.marked("no"))), "192.0.2.1", 1, 2);
const reply = (): TrialRequest => ({
  dataplane: "s1",
  way: "apps",
  frame: octets(s.answer("reply")),
  packet: { ue: s.UE, uePort: 5000, remote: "10.60.0.10", remotePort: 8080, protocol: 17 },
});

/** Everything in all maps of the live programs, but the clock that is read and what only moves with it. */
function snapshot(): Record<string, string> {
  const program = programById(xdpQuery(Number(JSON.parse(ip("-j link show acc0"))[0].ifindex))!.id);
  const all: Record<string, string> = {};
  for (const map of program.info.mapIds.map((id) => BpfMap.byId(id))) {
    const skipped: number[] = [MapType.ringbuf, MapType.queue, MapType.arrayOfMaps, MapType.lpmTrie];
    if (map.name !== "clock" && !skipped.includes(map.type)) {
      const entries = [...map.keys()].map(
        (key) => Buffer.from(key).toString("hex") + Buffer.from(map.lookup(key) ?? []).toString("hex"),
      );
      all[map.name] = entries
        .filter((entry) => /[1-9a-f]/.test(entry.slice(8)))
        .sort()
        .join(" ");
    }
    map.close();
  }
  closeProgram(program);
  return all;
}

test("the back end runs, and one packet each way has been learnt from", async () => {
  await plane.start();
  await plane.apply({ rules: [s.web], protect: ["192.0.2.0/24"] });
});

test("C7: a UE that is not known: the tunnel is learnt in the trial, the packet is taken, and live tables know nothing", () => {
  const before = snapshot();
  const trial = plane.trial(request());
  assert.is(trial.known.tunnel, "unknown");
  assert.equal([trial.verdict, trial.service, trial.rule], ["take_uplink", 1, 7]);
  // Straight, once the app's neighbour entry is known.
  assert.match(trial.leaves!, /^(apps|the appliance's own routing)$/);
  assert.equal(trial.notes, ["note_learnt"]);
  assert.equal(trial.events, ["session-new", "wanted"]);
  const out = Buffer.from(trial.frame!).toString("hex");
  assert.ok(out.includes(s.hexIp("10.60.0.10")) && out.includes(s.hex16(8080)), out);
  assert.equal(snapshot(), before);
});

test("C7: drops, passes, and replies nobody asked for", () => {
  const before = snapshot();
  const fate = (one: TrialRequest) => {
    const { verdict, leaves, rule } = plane.trial(one);
    return { verdict, leaves, rule };
  };
  assert.equal(fate(guarded()), { verdict: "drop_protected", leaves: undefined, rule: 0 });
  assert.equal(fate(other()), { verdict: "pass_no_rule", leaves: "s1 core", rule: 0 });
  assert.equal(fate(reply()), { verdict: "drop_no_flow", leaves: undefined, rule: 0 });
  const down = { ...other(), way: "downlink" as const, frame: octets(s.fromCore("hello")) };
  assert.equal(fate(down), { verdict: "pass_downlink", leaves: "s1 access", rule: 0 });
  assert.equal(snapshot(), before);
});

test("C7: what the live tables know about the UE counts: its tunnel, its flow, its way back", () => {
  s.send("enb0", s.other("u1"), "sgw0", s.marked("u1"));
  s.send("sgw0", s.fromCore("d1"), "enb0", s.marked("d1"));
  s.send("enb0", s.request("r1"), "app0", s.marked("r1"));
  const before = snapshot();
  const known = plane.trial(request());
  assert.is(known.known.tunnel, "own");
  const tunnel = { source: s.ENB, destination: s.SGW, teid: 17, vlans: [] };
  assert.equal(known.known.session, { uplink: true, tunnel, downlink: true, aside: false, holding: false, flows: 1 });
  assert.equal(known.known.flow, {
    action: "take",
    service: 1,
    rule: 7,
    current: true,
    alike: true,
    running: false,
    live: true,
    sameTunnel: true,
    closed: false,
    begun: false,
    translated: { address: "10.60.0.10", port: 8080 },
  });
  assert.equal([known.verdict, known.events], ["take_uplink", []]);
  const back = plane.trial(reply());
  assert.equal([back.verdict, back.rule, back.leaves], ["reply_downlink", 7, "s1 access"]);
  assert.ok(Buffer.from(back.frame!).toString("hex").includes(s.hexIp(s.ENB)));
  const stolen = plane.trial({
    ...request(),
    frame: octets(s.uplink(s.ipv4("10.45.0.9", "203.0.113.80", 17, s.udp(1, 80, "00")))),
    packet: { ...request().packet!, ue: "10.45.0.9" },
  });
  assert.equal([stolen.known.tunnel, stolen.verdict], ["another-ue", "pass_not_own_source"]);
  assert.equal(snapshot(), before);
});

test("C7: modes count", async () => {
  await plane.setMode("s1", "observe");
  assert.is(plane.trial(request(5001)).verdict, "pass_observe");
  await plane.setMode("s1", "bypass");
  const { verdict, known } = plane.trial(request(5001));
  assert.equal([verdict, known.mode], ["pass_bypass", "bypass"]);
  await plane.setMode("s1", "offload");
});

test("every map is either shared or a trial's own, and none that programs write is shared", () => {
  const program = programById(xdpQuery(Number(JSON.parse(ip("-j link show acc0"))[0].ifindex))!.id);
  closeProgram(program);
  const short = new Set([...shared, ...Object.keys(own)].map((name) => name.slice(0, 15)));
  assert.equal(
    Object.keys(snapshot()).filter((name) => !short.has(name) && !name.endsWith(".rodata")),
    [],
  );
});

test("C7: a hundred trials leave as many maps as one", () => {
  const maps = () => readdirSync("/proc/self/fd").length;
  plane.trial(request());
  const before = maps();
  for (let i = 0; i < 100; i++) plane.trial(request());
  assert.is(maps(), before);
});

test("it ends", async () => {
  await plane.down({ unwire: true });
});

test.run();
