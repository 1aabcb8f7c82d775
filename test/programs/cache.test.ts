/**
 * Does the short way decide as the long one did, and no longer than that holds? (fast.h, cache.h)
 *
 * That a packet took the short way shows when the tables behind it are emptied: it is still treated as before. Every event
 * that changes a decision must end that at once. A3, A6, A10.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import type { Kernel, ProgramName } from "./kernel.ts";
import {
  app,
  changed,
  dnsDown,
  dnsSeen,
  dnsUp,
  down,
  fromApp,
  gateway,
  hop,
  learnt,
  otherDown,
  otherUp,
  pingAnswer,
  renumbered,
  rules,
  service,
  station,
  station2,
  type Tunnel,
  tcpUp,
  toApp,
  ue,
  up,
} from "./scene.ts";

function empty(k: Kernel, ...names: string[]): void {
  for (const name of names) for (const key of [...k.object.map(name).keys()]) k.object.map(name).delete(key);
}

/** First, then again with the tables empty: the same octets, the same counter. */
function isCached(k: Kernel, program: ProgramName, frame: Uint8Array, counter: string, tables: string[]): void {
  const before = k.expect(program, frame, { counter });
  empty(k, ...tables);
  const { frame: out } = k.expect(program, frame, { counter });
  sameFrame(out, program === "from_apps" ? renumbered(before.frame, out) : before.frame);
}

const segment: f.Layers = [
  f.ipv4({ src: ue, dst: service.web, tos: 8 }),
  f.tcp({ sport: 40000, dport: 80, flags: "PA" }),
  f.payload("GET / HTTP"),
];
const shapes: [string, Partial<Tunnel>][] = [
  ["plain", {}],
  ["one tag", { tags: [f.vlan(9)] }],
  ["two tags", { tags: [f.vlan(9), f.vlan(10)] }],
  ["a sequence number", { gtp: { seq: 3 } }],
  ["a PDU Session Container", { gtp: { ext: [f.psc({ type: 1, qfi: 4 })] } }],
  ["another source port and a checksum", { sport: 5555, sum: "auto" }],
];
for (const [name, change] of shapes) {
  test(`A3: the second packet takes the short way and leaves as the first: ${name}`, () => {
    const back = { ...change, gtp: change.gtp?.ext ? { ext: [f.psc({ qfi: 4 })] } : change.gtp };
    const k = learnt({}, { up: change, down: back });
    k.expect("access", up(tcpUp(), change), { counter: "take_uplink" });
    isCached(k, "access", up(segment, change), "take_uplink", ["flows", "tunnels"]);
    const d = learnt({}, { up: change, down: back });
    d.expect("access", up(dnsUp(), change), { counter: "take_uplink" });
    isCached(d, "access", up(dnsUp("again"), change), "take_uplink", ["tunnels"]);
    isCached(d, "from_apps", fromApp(dnsDown()), "reply_downlink", ["flows"]);
    const p = learnt({}, { up: change, down: back });
    isCached(p, "access", up(otherUp(), change), "pass_no_rule", ["tunnels", "ue_sessions"]);
    const c = learnt({}, { up: change, down: back });
    isCached(c, "core", down(otherDown(), back), "pass_downlink", ["tunnels", "ue_sessions"]);
  });
}

test("a passed flow takes the short way as well", () => {
  const k = learnt();
  k.setRules([
    changed(1, { action: "pass", endpoints: undefined, match: { destination: ["203.0.0.0/16"] } }),
    ...rules,
  ]);
  k.expect("access", up(dnsUp()), { counter: "pass_no_rule" });
  isCached(k, "access", up(dnsUp()), "pass_no_rule", ["flows", "tunnels"]);
});

for (const [name, inner] of [
  ["a SYN", tcpUp()],
  ["a FIN", tcpUp({ flags: "FA" })],
  ["a RST", tcpUp({ flags: "R" })],
  [
    "a wrong header checksum",
    [
      f.ipv4({ src: ue, dst: service.web, checksum: 1 }),
      f.tcp({ sport: 40000, dport: 80, flags: "PA" }),
      f.payload("GET / HTTP"),
    ],
  ],
  ["TTL 1", [f.ipv4({ src: ue, dst: service.web, ttl: 1 }), f.tcp({ sport: 40000, dport: 80, flags: "PA" })]],
] as const) {
  test(`what has to be noted or refused takes the long way: ${name}`, () => {
    const k = learnt();
    k.expect("access", up(tcpUp()), { counter: "take_uplink" });
    for (let n = 0; n < 2; n++) k.expect("access", up(segment), { counter: "take_uplink" });
    empty(k, "flows", "tunnels", "ue_sessions");
    const ran = k.run("access", up([...inner]));
    assert.not.ok(ran.counted.take_uplink && name !== "a SYN", JSON.stringify(ran.counted));
  });
}

/** A flow whose both ways are cached. */
function warm(): Kernel {
  const k = learnt();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  for (let n = 0; n < 2; n++) {
    k.expect("access", up(dnsUp()), { counter: "take_uplink" });
    k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
    k.expect("core", down(otherDown()), { counter: "pass_downlink" });
    k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  }
  return k;
}

test("rules that change end what was cached: without its flow, it is decided anew", () => {
  const k = warm();
  empty(k, "flows");
  k.setRules([]);
  k.expect("access", up(dnsUp()), { counter: "pass_no_rule" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
});

test("the mode that changes ends it: bypass and observe take nothing", () => {
  for (const [mode, counter] of [
    ["bypass", "pass_bypass"],
    ["observe", "pass_observe"],
  ] as const) {
    const k = warm();
    k.configure({ mode });
    k.setRules(rules);
    k.expect("access", up(dnsUp()), { counter });
  }
});

test("a new owner ends it: the old owner's packets are a claim, his replies reach nobody", () => {
  const k = warm();
  k.expect("access", up(otherUp(), { from: station2, teid: 0x300 }), { counter: "pass_unproven" });
  k.expect("core", down(pingAnswer(k, { candidate: true }), { to: station2, teid: 0x201 }), {
    counter: "drop_pinger_answer",
  });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
  k.expect("access", up(dnsUp()), { counter: "pass_unproven" });
  k.expect("access", up(otherUp()), { counter: "pass_unproven" });
});

test("a handover by downlink ends it: the next reply goes to the new base station", () => {
  const k = warm();
  k.expect("core", down(otherDown(), { to: station2, teid: 0x201 }), { counter: "pass_downlink" });
  const ran = k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  sameFrame(ran.frame, down(dnsSeen(), { to: station2, teid: 0x201, ip: { id: f.get16(ran.frame, 18) } }));
});

test("… and the old tunnel's next packet is a handover back, although it was cached", () => {
  const k = warm();
  k.expect("core", down(otherDown(), { to: station2, teid: 0x201 }), { counter: "pass_downlink" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["moved"] });
});

test("a handover by uplink ends it: replies wait", () => {
  const k = warm();
  k.expect("access", up(otherUp(), { from: station2 }), { counter: "pass_no_rule", events: ["stale"] });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
});

const ours = f.frame([
  f.eth(),
  f.ipv4({ src: station, dst: gateway }),
  f.udp({ dport: 2152 }),
  f.errorIndication({ teid: 0x200, peer: station }),
]);
test("an Error Indication ends it: replies wait, and the core's next packet is seen", () => {
  const k = warm();
  k.run("access", ours);
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
});

test("… also of a tunnel that carries both families of a UE", () => {
  const k = warm();
  k.expect("core", down(otherDown("2001:db8:45:2::7")), { counter: "pass_downlink", events: ["session-new"] });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.run("access", ours);
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
});

test("an Error Indication from the core ends the uplink's", () => {
  const k = warm();
  k.run(
    "core",
    f.frame([
      f.eth(),
      f.ipv4({ src: gateway, dst: station }),
      f.udp({ dport: 2152 }),
      f.errorIndication({ teid: 0x100, peer: gateway }),
    ]),
  );
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
  k.expect("access", up(dnsUp()), { counter: "pass_aside" });
});

test("an End Marker ends it", () => {
  const k = warm();
  k.expect("core", down([], { gtp: { type: 254 } }), { counter: "pass_gtpu_control" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
});

test("a PDU Session Container that changes ends it", () => {
  const k = warm();
  k.expect("core", down(otherDown(), { gtp: { ext: [f.psc({ qfi: 7 })] } }), { counter: "pass_downlink" });
  const ran = k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  sameFrame(ran.frame, down(dnsSeen(), { gtp: { ext: [f.psc({ qfi: 7 })] }, ip: { id: f.get16(ran.frame, 18) } }));
});

test("a SYN that is decided anew ends it: the connection's next packets go where the SYN went", () => {
  const k = learnt();
  k.expect("access", up(tcpUp()), { counter: "take_uplink" });
  const answer = fromApp([f.ipv4({ src: app.web, dst: ue }), f.tcp({ sport: 8080, dport: 40000, flags: "PA" })]);
  k.expect("from_apps", answer, { counter: "reply_downlink" });
  k.setRules([changed(1, { match: { destination: [`${service.web}/32`], destinationPorts: [[1, 1]] } })]);
  for (let n = 0; n < 2; n++) {
    k.expect("access", up(segment), { counter: "take_uplink" });
    k.expect("from_apps", answer, { counter: "reply_downlink" });
  }
  k.expect("access", up(tcpUp()), { counter: "pass_no_rule" });
  k.expect("access", up(segment), { counter: "pass_no_rule" });
  k.expect("from_apps", answer, { counter: "drop_no_flow" });
});

test("a capture that begins sees every packet: nothing is cached while it runs", () => {
  const k = warm();
  k.object.map("capture").update(0, layout.capture.encode({ enabled: 3, snap: 200 }));
  k.setRules(rules);
  for (let n = 0; n < 2; n++) k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  k.object.map("capture").update(0, new Uint8Array(layout.capture.size));
  empty(k, "flows");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
});

test("a capture ring that nobody reads loses records and says so; packets go their way: note_capture_lost", () => {
  const k = learnt();
  k.object.map("capture").update(0, layout.capture.encode({ enabled: 3, snap: 2048 }));
  k.setRules(rules);
  const long = up([f.ipv4({ src: ue, dst: "203.0.115.1" }), f.udp(), f.payload(1300)]);
  k.run("access", long, 3000);
  k.expect("access", long, { counter: "pass_no_rule", out: "same", notes: ["note_capture_lost"] });
});

test("what is longer than the access MTU is not sent the short way", () => {
  const k = warm();
  k.configure({ mtuAccess: 60 });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_too_big" });
});

test("one flow's entry is no other's: ports, protocol, UE, TEID, tag and gateway all count", () => {
  const k = warm();
  const out = (sport: number) =>
    toApp(hop.dns, [f.ipv4({ src: ue, dst: app.dns }), f.udp({ sport, dport: 53 }), f.payload("q")]);
  k.expect("access", up(dnsUp("q", 40002)), { counter: "take_uplink", out: out(40002) });
  k.expect("access", up(dnsUp(), { teid: 0x109 }), { counter: "pass_unproven" });
  k.expect("access", up(dnsUp(), { tags: [f.vlan(3)] }), { counter: "pass_unproven" });
  k.expect("access", up(dnsUp(), { to: "198.18.2.99" }), { counter: "pass_unproven" });
  k.expect("access", up([f.ipv4({ src: "10.45.0.3", dst: service.dns }), f.udp({ sport: 40001, dport: 53 })]), {
    counter: "pass_not_own_source",
  });
});

test.run();
