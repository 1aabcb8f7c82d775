/**
 * What do bypass and observe do, and what is said when nobody listens? (offramp.bpf.c, uplink.h, downlink.h)
 *
 * A8: bypass is a cable; observe learns and counts, and takes nothing.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as f from "../packets/frame.ts";
import { dnsUp, down, fresh, learnt, otherDown, otherUp, pingAnswer, tcpUp, ue, up } from "./scene.ts";

test("A8: bypass: everything passes before anything is read, and nothing is learnt: pass_bypass", () => {
  const k = fresh({ mode: "bypass", protect: ["192.0.2.0/24"] });
  for (const frame of [
    up(dnsUp()),
    up([f.ipv4({ src: ue, dst: "192.0.2.5" }), f.udp({ dport: 2152 })]),
    f.frame([f.eth(), f.arp(), f.zeros(18)]),
    new Uint8Array(60),
  ])
    for (const side of ["access", "core"] as const)
      k.expect(side, frame, { counter: "pass_bypass", out: "same", events: [] });
  assert.is(k.size("tunnels"), 0);
});

test("A8: bypass lets even the answer to a ping through", () => {
  const k = learnt();
  const answer = down(pingAnswer(k));
  k.configure({ mode: "bypass" });
  k.setRules([]);
  k.expect("core", answer, { counter: "pass_bypass", out: "same" });
});

test("A8: observe: it is learnt as ever, and what would be taken is counted and passes: pass_observe", () => {
  const k = fresh({ mode: "observe", protect: ["192.0.2.0/24"] });
  k.expect("access", up(dnsUp()), { counter: "pass_observe", out: "same", events: ["session-new"] });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
  k.expect("access", up(tcpUp()), { counter: "pass_observe", out: "same" });
  k.expect("access", up(tcpUp({ flags: "A" })), { counter: "pass_mid_connection" });
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  k.expect("access", up([f.ipv4({ src: ue, dst: "192.0.2.5" }), f.udp()]), { counter: "pass_no_rule" });
  assert.is(k.flowsOf(1).length, 0);
});

test("A8: a flow that was taken passes while observing", () => {
  const k = learnt();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.configure({ mode: "observe" });
  k.setRules([]);
  k.run("access", up(dnsUp()));
  const ran = k.run("access", up(dnsUp()));
  assert.not.ok(ran.counted.take_uplink);
});

test("an event ring that nobody reads loses events and says so; packets go their way: note_event_lost", () => {
  const k = fresh({ maxSessions: 0 });
  k.run("access", up(otherUp()), 20_000);
  k.drain();
  const ran = k.run("access", up(otherUp()), 20_000);
  assert.ok((ran.counted.note_event_lost ?? 0) > 0);
  assert.is(ran.counted.pass_table_full, 20_000);
});

test.run();
