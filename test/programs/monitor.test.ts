/**
 * What do the programs report of a packet while somebody monitors (C7)?
 *
 * Each sentence: what is asked for, the packets, the tallies and the descriptions that come of them.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { Ring } from "../../dataplane/ebpf/ring.ts";
import { renderMonitor, renderSeen } from "../../dataplane/ebpf/watch.ts";
import type { MonitorFilter, SeenPacket } from "../../dataplane/monitor.ts";
import * as f from "../packets/frame.ts";
import type { Kernel, ProgramName } from "./kernel.ts";
import {
  app,
  changed,
  dnsDown,
  dnsUp,
  down,
  fromApp,
  learnt,
  otherDown,
  otherUp,
  rules,
  service,
  ue,
  up,
} from "./scene.ts";

const test = suite("monitor");

/** Runs the frames while `filter` is asked for. */
function watch(k: Kernel, filter: Partial<MonitorFilter>, frames: [ProgramName, Uint8Array][]) {
  const seen: SeenPacket[] = [];
  const ring = new Ring(k.object.map("verdicts"), (record) => seen.push(renderSeen(record, () => "s1", 0)));
  ring.skip();
  k.object.map("monitor").update(0, renderMonitor({ verdicts: [], each: false, ...filter }));
  const tallies = k.object.map("tallies");
  try {
    for (const [program, frame] of frames) k.run(program, frame);
    while (ring.consume() > 0);
    const all = [...tallies.keys()].map((key) => {
      const { verdict, service: of, rule, way } = layout.tallyKey.decode(key);
      const { packets, bytes } = layout.tally.decode(tallies.lookup(key)!);
      return { verdict, way, service: of, rule, packets: Number(packets), bytes: Number(bytes) };
    });
    return { seen, tallies: all.sort((a, b) => a.verdict - b.verdict) };
  } finally {
    k.object.map("monitor").update(0, new Uint8Array(layout.monitor.size));
    for (const key of [...tallies.keys()]) tallies.delete(key);
    ring.close();
  }
}

const everything = ["pass_no_rule", "pass_downlink", "take_uplink", "reply_downlink", "drop_protected", "drop_no_flow"];

test("while nobody asks, nothing is tallied", () => {
  const k = learnt();
  k.run("access", up(dnsUp()));
  assert.is([...k.object.map("tallies").keys()].length, 0);
});

test("a taken packet is reported with tunnel, inner packet, service and rule, and so is the app's reply", () => {
  const k = learnt({ cacheFor: 0 });
  const { seen, tallies } = watch(k, { verdicts: everything }, [
    ["access", up(dnsUp())],
    ["access", up(dnsUp())],
    ["from_apps", fromApp(dnsDown())],
  ]);
  assert.equal(
    tallies.map(({ packets, rule, service: of, way }) => ({ packets, rule, service: of, way })),
    [
      { packets: 2, rule: 2, service: 2, way: c.WAY_UPLINK },
      { packets: 1, rule: 2, service: 2, way: c.WAY_APPS },
    ],
  );
  assert.is(seen.length, 2, "the first of each in a second");
  assert.equal(
    { ...seen[0], time: 0 },
    {
      time: 0,
      dataplane: "s1",
      way: "uplink",
      verdict: "take_uplink",
      service: 2,
      rule: 2,
      octets: 33,
      tunnel: { source: "198.18.1.10", destination: "198.18.2.10", teid: 0x100, vlans: [], message: 255 },
      packet: { ue, remote: service.dns, protocol: 17, dscp: 0, uePort: 40001, remotePort: 53 },
    },
  );
  assert.equal(seen[1]?.packet, { ue, remote: app.dns, protocol: 17, dscp: 0, uePort: 40001, remotePort: 53 });
  assert.is(seen[1]?.verdict, "reply_downlink");
});

test("what passes is reported as well, with ports that the program itself had no reason to read", () => {
  const k = learnt({ cacheFor: 0 });
  const { seen } = watch(k, { verdicts: everything }, [
    ["access", up(otherUp())],
    ["core", down(otherDown())],
  ]);
  assert.equal(
    seen.map(({ verdict, way, packet }) => ({ verdict, way, ports: [packet?.uePort, packet?.remotePort] })),
    [
      { verdict: "pass_no_rule", way: "uplink", ports: [1234, 9] },
      { verdict: "pass_downlink", way: "downlink", ports: [1234, 9] },
    ],
  );
});

test("a rule that leaves its packets to the core is named", () => {
  const k = learnt({ cacheFor: 0 });
  k.setRules([changed(2, { action: "pass", endpoints: undefined }), changed(3, { match: {} })]);
  const { tallies } = watch(k, { verdicts: everything }, [
    ["access", up(dnsUp())],
    ["access", up(dnsUp())],
  ]);
  assert.equal([...new Set(tallies.map(({ rule }) => rule))], [2]);
  k.setRules(rules);
});

test("drops alone are asked for: what passes is not reported, and the caches go on", () => {
  const k = learnt({ protect: ["192.0.2.0/24"] });
  const filter = { verdicts: ["drop_protected", "drop_no_flow"] };
  assert.is(layout.monitor.decode(renderMonitor({ each: false, ...filter })).enabled, c.MONITOR_ON);
  const { seen, tallies } = watch(k, filter, [
    ["access", up(dnsUp())],
    ["access", up([f.ipv4({ src: ue, dst: "192.0.2.7" }), f.udp({ sport: 5, dport: 6 }), f.payload("x")])],
    ["from_apps", fromApp([f.ipv4({ src: "10.60.0.99", dst: ue }), f.udp({ sport: 7, dport: 8 }), f.payload("y")])],
  ]);
  assert.equal(
    seen.map(({ verdict, packet }) => `${verdict} ${packet?.remote}:${packet?.remotePort}`),
    ["drop_protected 192.0.2.7:6", "drop_no_flow 10.60.0.99:7"],
  );
  assert.is(tallies.length, 2);
});

test("one UE, or one service, alone", () => {
  const k = learnt({ cacheFor: 0 });
  const frames: [ProgramName, Uint8Array][] = [
    ["access", up(dnsUp())],
    ["access", up(otherUp())],
  ];
  const only = (filter: Partial<MonitorFilter>) =>
    watch(k, { verdicts: everything, ...filter }, frames).seen.map(({ verdict }) => verdict);
  assert.equal(only({ service: 2 }), ["take_uplink"]);
  assert.equal(only({ ue }), ["take_uplink", "pass_no_rule"]);
  assert.equal(only({ ue: "10.45.0.9" }), []);
  assert.equal(only({ ue: "2001:db8::1" }), []);
});

test("nothing enters the caches while what they answer is asked for", () => {
  const k = learnt();
  const four: [ProgramName, Uint8Array][] = Array.from({ length: 4 }, () => ["access", up(dnsUp())]);
  assert.is(watch(k, { verdicts: everything }, four).tallies[0]?.packets, 4);
});

test("each packet when each is asked for; what the ring has no room for is counted", () => {
  const k = learnt({ cacheFor: 0 });
  const five: [ProgramName, Uint8Array][] = Array.from({ length: 5 }, () => ["access", up(dnsUp())]);
  assert.is(watch(k, { verdicts: everything, each: true }, five).seen.length, 5);
  // Nobody reads meanwhile: 512 KiB are full after some thousand packets.
  k.object.map("monitor").update(0, renderMonitor({ verdicts: everything, each: true }));
  const { counted } = k.run("access", up(otherUp()), 5000);
  k.object.map("monitor").update(0, new Uint8Array(layout.monitor.size));
  for (const key of [...k.object.map("tallies").keys()]) k.object.map("tallies").delete(key);
  assert.ok(counted.note_monitor_lost! > 0 && counted.note_monitor_lost! < 5000, JSON.stringify(counted));
  assert.is(counted.pass_no_rule, 5000);
  const ring = new Ring(k.object.map("verdicts"), () => {});
  ring.skip();
  ring.close();
});

test("a frame that is no GTP-U has neither tunnel nor packet", () => {
  const k = learnt();
  const arp = f.frame([f.eth(), f.arp()]);
  const { seen } = watch(k, { verdicts: ["pass_not_gtpu"] }, [["access", arp]]);
  assert.equal(
    { ...seen[0], time: 0 },
    {
      time: 0,
      dataplane: "s1",
      way: "uplink",
      verdict: "pass_not_gtpu",
      service: 0,
      rule: 0,
      octets: arp.length,
    },
  );
});

test.run();
