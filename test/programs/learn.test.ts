/**
 * Whose tunnel is this, and where does the UE live now? (learn.h, bearers.h)
 *
 * A4, A7, A9: tunnels are learnt from traffic, both directions, any TEID, any number of base stations and gateways; and
 * nobody learns an address away from its owner without the core's word. docs/packet-path.md, "Learning".
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as f from "../packets/frame.ts";
import type { Kernel } from "./kernel.ts";
import {
  dnsDown,
  dnsUp,
  down,
  fresh,
  fromApp,
  gateway,
  gateway2,
  gateway6,
  learnt,
  otherDown,
  otherUp,
  pingAnswer,
  station,
  station2,
  station6,
  ue,
  ue6,
  up,
} from "./scene.ts";

const pass = "pass_downlink";
const claim = { from: station2, teid: 0x300 };
/** A taken flow, so that something can be lost. */
function taken(settings = {}): Kernel {
  const k = learnt(settings);
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  return k;
}

test("A4: uplink first, then downlink: one session, both bearers, its base station and gateway", () => {
  const k = fresh();
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: ["session-new"], notes: ["note_learnt"] });
  k.expect("core", down(otherDown()), { counter: pass, events: ["downlink-learnt"], notes: ["note_learnt"] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
  const s = k.session(ue);
  assert.is(s?.baseStation, station);
  assert.is(s?.gateway, gateway);
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: [] });
  k.expect("core", down(otherDown()), { counter: pass, events: [] });
});

test("A4: downlink first, then uplink between the same two: proven at once", () => {
  const k = fresh();
  k.expect("core", down(otherDown()), { counter: pass, events: ["session-new"], notes: ["note_learnt"] });
  k.expect("access", up(dnsUp()), { counter: "take_uplink", notes: ["note_learnt"] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
});

test("A4: … from elsewhere it is a claim, which passes", () => {
  const k = fresh();
  k.expect("core", down(otherDown()), { counter: pass });
  k.expect("access", up(dnsUp(), { from: station2 }), { counter: "pass_unproven", events: ["candidate"] });
});

test("A4: IPv4 and IPv6 of a UE in one tunnel are two sessions of one tunnel; an IPv6 session is a /64", () => {
  const k = learnt();
  k.expect("access", up(otherUp(ue6)), { counter: "pass_no_rule", events: ["session-new"] });
  k.expect("access", up(otherUp("2001:db8:45:2::99")), { counter: "pass_no_rule", events: [] });
  k.expect("access", up(otherUp("2001:db8:45:3::7")), { counter: "pass_not_own_source" });
  k.expect("core", down(otherDown(ue6)), { counter: pass, events: ["downlink-learnt"] });
  assert.is(k.size("tunnels"), 2);
  assert.is(k.size("ue_sessions"), 2);
});

test("A7: one TEID at three gateways, to three base stations, for three UEs: three tunnels", () => {
  const k = fresh();
  for (const n of [2, 3, 4]) {
    const who = `10.45.0.${n}`;
    k.expect("access", up(otherUp(who), { from: `198.18.1.${n}`, to: `198.18.2.${n}`, teid: 7 }), {
      counter: "pass_no_rule",
      events: ["session-new"],
    });
    k.expect("core", down(otherDown(who), { from: `198.18.2.${n}`, to: `198.18.1.${n}`, teid: 7 }), {
      counter: pass,
      events: ["downlink-learnt"],
    });
  }
  k.expect("access", up(otherUp("10.45.0.9"), { from: station6, to: gateway6, teid: 0xffffffff }), {
    counter: "pass_no_rule",
    events: ["session-new"],
  });
});

const refused: [string, Parameters<typeof up>[1], string, string, string][] = [
  ["TEID 0", { teid: 0 }, ue, "pass_no_rule", pass],
  ["a UE 0.0.0.0", {}, "0.0.0.0", "pass_no_rule", pass],
  ["a UE in 127/8", {}, "127.0.0.1", "pass_no_rule", pass],
  ["a multicast UE", {}, "224.0.0.1", "pass_no_rule", pass],
  ["a link-local IPv6 UE", {}, "fe80::1", "pass_no_rule", pass],
  ["a multicast IPv6 UE", {}, "ff02::1", "pass_no_rule", pass],
  ["the unspecified IPv6 UE", {}, "::", "pass_no_rule", pass],
  ["a multicast base station", { from: "224.0.0.9", to: gateway }, ue, "pass_malformed", "pass_malformed"],
  ["a gateway in 127/8", { from: station, to: "127.0.0.9" }, ue, "pass_malformed", "pass_malformed"],
  ["a wrong outer header checksum", { ip: { checksum: 5 } }, ue, "pass_malformed", "pass_malformed"],
];
for (const [name, change, who, uplink, downlink] of refused) {
  test(`A4: ${name} teaches nothing, from either side`, () => {
    const k = fresh();
    k.expect("access", up(otherUp(who), change), { counter: uplink, events: [] });
    const back = change?.from ? { ...change, from: change.to, to: change.from } : change;
    k.expect("core", down(otherDown(who), back), { counter: downlink, events: [] });
    assert.is(k.size("tunnels"), 0);
  });
}

test("A4: configured peers and pools are the only ones that teach: pass_peer_refused", () => {
  const k = fresh({
    accessPeers: ["198.18.1.8/29"],
    corePeers: ["198.18.2.10"],
    uePools: ["10.45.0.0/16", "2001:db8:45::/48"],
  });
  k.expect("access", up(otherUp(), { from: "198.18.1.16" }), { counter: "pass_peer_refused", events: [] });
  k.expect("access", up(otherUp(), { to: gateway2 }), { counter: "pass_peer_refused", events: [] });
  k.expect("access", up(otherUp("10.46.0.1")), { counter: "pass_peer_refused", events: [] });
  k.expect("core", down(otherDown(), { from: gateway2 }), { counter: "pass_peer_refused", events: [] });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: ["session-new"] });
  k.expect("access", up(otherUp(ue6)), { counter: "pass_no_rule", events: ["session-new"] });
});

test("a peer that teaches too fast has to wait; others are not affected, and what is known goes on", () => {
  const k = fresh({ learnBurst: 2 });
  for (const n of [2, 3])
    k.expect("access", up(otherUp(`10.45.0.${n}`), { teid: n }), { counter: "pass_no_rule", events: ["session-new"] });
  k.expect("access", up(otherUp("10.45.0.4"), { teid: 4 }), {
    counter: "pass_peer_refused",
    notes: ["note_learning_limited"],
    events: [],
  });
  k.expect("access", up(otherUp("10.45.0.4"), { teid: 4, from: station2 }), {
    counter: "pass_no_rule",
    events: ["session-new"],
  });
  k.expect("access", up(otherUp("10.45.0.2"), { teid: 2 }), { counter: "pass_no_rule", events: [] });
  k.expect("core", down(otherDown("10.45.0.2")), { counter: pass, events: ["downlink-learnt"] });
  k.expect("core", down(otherDown("10.45.0.3"), { teid: 3 }), { counter: pass, events: ["downlink-learnt"] });
  k.expect("core", down(otherDown("10.45.0.5"), { teid: 5 }), {
    counter: "pass_peer_refused",
    notes: ["note_learning_limited"],
  });
});

test("a peer's share of sessions is the limit for new UEs only, on either side", () => {
  const k = fresh({ peerSessions: 1 });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: ["session-new"] });
  k.expect("access", up(otherUp("10.45.0.3"), { teid: 3 }), {
    counter: "pass_peer_refused",
    notes: ["note_learning_limited"],
  });
  k.expect("core", down(otherDown("10.45.0.4"), { teid: 4 }), { counter: pass, events: ["session-new"] });
  k.expect("core", down(otherDown("10.45.0.5"), { teid: 5 }), {
    counter: "pass_peer_refused",
    notes: ["note_learning_limited"],
  });
  k.expect("core", down(otherDown()), { counter: pass, events: ["downlink-learnt"] });
});

test("A9: a full table is said, and nothing else changes: pass_table_full", () => {
  const k = fresh({ maxSessions: 1 });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: ["session-new"] });
  k.expect("access", up(otherUp("10.45.0.3"), { teid: 3 }), {
    counter: "pass_table_full",
    events: ["table-full"],
    notes: ["note_full"],
  });
  k.expect("core", down(otherDown("10.45.0.4"), { teid: 4 }), {
    counter: "pass_table_full",
    events: ["table-full"],
    notes: ["note_full"],
  });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: [] });
});

test("handover by downlink: the gateway sends to another base station, replies follow at once", () => {
  const k = taken();
  k.expect("core", down(otherDown(), { to: station2, teid: 0x201 }), {
    counter: pass,
    events: ["moved"],
    notes: ["note_moved", "note_learnt"].sort((a, b) => (a < b ? -1 : 1)),
  });
  assert.is(k.bearers(ue), "down 201 live, up 100 live");
  assert.is(k.session(ue)?.baseStation, station2);
  const ran = k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  assert.equal([...ran.frame.subarray(30, 34)], [198, 18, 1, 11]);
});

test("handover by uplink: taken at once, replies wait until the core shows where the UE is", () => {
  const k = taken({ cacheFor: 0 });
  k.expect("access", up(otherUp(), { from: station2 }), { counter: "pass_no_rule", events: ["stale"] });
  assert.is(k.bearers(ue), "down 200 stale, up 100 live");
  k.expect("access", up(dnsUp(), { from: station2 }), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
  k.expect("core", down(otherDown(), { to: station2, teid: 0x201 }), { counter: pass, events: ["moved"] });
  assert.is(k.bearers(ue), "down 201 draining, up 100 live");
});

test("… or shows that it is where it was: the old bearer lives again", () => {
  const k = taken();
  k.expect("access", up(otherUp(), { from: station2 }), { counter: "pass_no_rule", events: ["stale"] });
  k.expect("core", down(otherDown()), { counter: pass, events: ["downlink-learnt"] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
  k.expect("access", up(otherUp()), { counter: "pass_no_rule", events: [] });
});

test("a known UE on an unknown tunnel is a claim: it passes, one at a time, and is said once a second", () => {
  const k = taken();
  k.expect("access", up(dnsUp(), claim), { counter: "pass_unproven", out: "same", events: ["candidate"] });
  k.expect("access", up(dnsUp(), claim), { counter: "pass_unproven" });
  for (let n = 0; n < 3; n++) k.expect("access", up(dnsUp(), claim), { counter: "pass_unproven", events: [] });
  k.expect("access", up(dnsUp(), { from: station2, teid: 0x301 }), { counter: "pass_unproven", events: [] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live, claim 300 live");
  const s = k.session(ue);
  assert.ok(s);
  k.setSession(s.index, { wanted_at: k.ago(2) });
  k.expect("access", up(dnsUp(), claim), { counter: "pass_unproven", events: ["candidate"] });
  k.setBearer(s.index, c.SLOT_CANDIDATE, { learnt_at: k.ago(6) });
  k.expect("access", up(dnsUp(), { from: station2, teid: 0x301 }), { counter: "pass_unproven", events: ["candidate"] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live, claim 301 live");
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
});

test("a claim that the core answers through has a new owner: its tunnel is proven, the old one's flows end, its replies reach nobody", () => {
  const k = taken();
  const before = k.session(ue)?.epoch ?? 0;
  k.expect("access", up(otherUp(), claim), { counter: "pass_unproven" });
  k.expect("core", down(pingAnswer(k, { candidate: true }), { to: station2, teid: 0x201 }), {
    counter: "drop_pinger_answer",
    events: ["owner-changed", "pinger-answer"],
    notes: ["note_learnt", "note_owner_changed"],
  });
  assert.is(k.bearers(ue), "down 201 live, up 300 live");
  assert.is(k.session(ue)?.epoch, before + 1);
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
  k.expect("access", up(dnsUp()), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("access", up(dnsUp(), claim), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
});

test("… also when the core sends downlink of its own to where the claim came from", () => {
  const k = taken();
  k.expect("access", up(otherUp(), claim), { counter: "pass_unproven" });
  k.expect("core", down(otherDown(), { to: station2, teid: 0x201 }), { counter: pass, events: ["owner-changed"] });
  assert.is(k.bearers(ue), "down 201 live, up 300 live");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
});

test("a claim answered where the UE is known to be is another uplink bearer of its own", () => {
  const k = taken();
  k.expect("access", up(otherUp(), { teid: 0x101 }), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("core", down(pingAnswer(k, { candidate: true })), {
    counter: "drop_pinger_answer",
    events: ["bearer-new", "pinger-answer"],
  });
  k.expect("access", up(otherUp(), { teid: 0x101 }), { counter: "pass_no_rule" });
  k.expect("access", up(dnsUp("second", 999), { teid: 0x101 }), { counter: "take_uplink" });
  k.expect("access", up(dnsUp(), { teid: 0x101 }), { counter: "take_uplink" });
});

test("another uplink bearer of a session whose uplink the core refuted is learnt anew; its claim is void", () => {
  const k = taken();
  k.expect("access", up(otherUp(), { teid: 0x101 }), { counter: "pass_unproven" });
  k.expect("core", down(pingAnswer(k, { candidate: true })), { counter: "drop_pinger_answer" });
  k.expect("access", up(otherUp(), claim), { counter: "pass_unproven", events: ["candidate"] });
  const refuted = f.frame([
    f.eth(),
    f.ip(gateway, station),
    f.udp({ sport: 2152, dport: 2152, checksum: "zero" }),
    f.errorIndication({ teid: 0x100, peer: gateway }),
  ]);
  k.expect("core", refuted, { counter: "pass_error_indication", events: ["stale"] });
  assert.is(k.bearers(ue), "");
  k.expect("access", up(otherUp(), { teid: 0x101 }), { counter: "pass_no_rule", notes: ["note_learnt"] });
  assert.is(k.bearers(ue), "up 101 live");
  k.expect("access", up(otherUp(), claim), { counter: "pass_unproven", events: ["candidate"] });
  k.expect("access", up(otherUp(), { teid: 0x101 }), { counter: "pass_no_rule" });
});

test("a claim answered by another gateway than it leads to: the one that answers is the session's", () => {
  const k = taken();
  k.expect("access", up(otherUp(), { ...claim, to: gateway2 }), { counter: "pass_unproven" });
  k.expect("core", down(pingAnswer(k, { candidate: true }), { to: station2, teid: 0x201 }), {
    counter: "drop_pinger_answer",
    events: ["owner-changed", "pinger-answer"],
  });
  assert.is(k.session(ue)?.gateway, gateway);
});

test("a downlink from another gateway contradicts what is known: it passes and teaches nothing: note_conflict", () => {
  const k = taken();
  k.expect("core", down(otherDown(), { from: gateway2, teid: 0x201 }), {
    counter: pass,
    events: [],
    notes: ["note_conflict"],
  });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
  k.expect("core", down(otherDown("10.45.0.9")), { counter: pass, events: ["session-new"] });
});

test("… but the answer to a ping of ours proves it", () => {
  const k = taken();
  k.expect("core", down(pingAnswer(k), { from: gateway2, teid: 0x201 }), {
    counter: "drop_pinger_answer",
    events: ["downlink-learnt", "pinger-answer"],
  });
  assert.is(k.session(ue)?.gateway, gateway2);
});

test("other downlink tunnels to the same base station are further bearers; the fourth takes the last one's place", () => {
  const k = taken();
  for (const [teid, all] of [
    [0x201, "down 200 live, down 201 live, up 100 live"],
    [0x202, "down 200 live, down 201 live, down 202 live, up 100 live"],
    [0x203, "down 200 live, down 201 live, down 203 live, up 100 live"],
  ] as const) {
    k.expect("core", down(otherDown(), { teid }), { counter: pass, events: ["bearer-new"] });
    assert.is(k.bearers(ue), all);
  }
});

test("a dedicated bearer's uplink and downlink belong together: its flows' replies take it", () => {
  const k = taken();
  k.expect("core", down(otherDown(), { teid: 0x201 }), { counter: pass, events: ["bearer-new"] });
  k.expect("access", up(otherUp(), { teid: 0x101 }), { counter: "pass_unproven" });
  k.expect("core", down(pingAnswer(k, { candidate: true })), { counter: "drop_pinger_answer" });
  k.expect("access", up(dnsUp("q", 999), { teid: 0x101 }), { counter: "take_uplink" });
  const ran = k.expect("from_apps", fromApp(dnsDown("a", 999)), { counter: "reply_downlink" });
  assert.is(f.get32(ran.frame, 14 + 28 + 4), 0x201);
  const own = k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  assert.is(f.get32(own.frame, 14 + 28 + 4), 0x200);
});

test("a PDU Session Container that changes is kept for replies", () => {
  const k = taken();
  const gtp = { ext: [f.psc({ qfi: 33 })] };
  k.expect("core", down(otherDown(), { gtp }), { counter: pass, events: [] });
  const ran = k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  assert.is(ran.frame[14 + 28 + 14], 33);
});

test("who finds a session locked learns nothing and lets the packet pass", () => {
  const k = taken({ cacheFor: 0 });
  const s = k.session(ue);
  assert.ok(s);
  k.setSession(s.index, { sequence: s.sequence | 1 });
  k.expect("access", up(otherUp(), claim), { counter: "pass_unproven", events: [] });
  k.expect("access", up(otherUp(), { from: station2 }), { counter: "pass_unproven", events: [] });
  k.expect("core", down(otherDown(), { teid: 0x201 }), { counter: pass, events: [] });
  k.expect("core", down(otherDown(), { gtp: { ext: [f.psc()] } }), { counter: pass, events: [] });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
});

test.run();
