/**
 * How do replies wait for a downlink, and leave in the order in which they came? (reply.h choose_bearer, offramp.bpf.c)
 *
 * A5, A6: held in the control plane behind a slow header, sent from there, released when all have gone. Whatever the slow
 * port brings that is none of this is dropped.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import { app, dnsDown, dnsSeen, dnsUp, down, fresh, fromApp, otherDown, service, ue, up } from "./scene.ts";

test("A6: a reply to a UE that no tunnel leads to waits in the control plane, in order, until it is released: slow_hold", () => {
  const k = fresh();
  k.expect("access", up(dnsUp()), { counter: "take_uplink", events: ["session-new", "wanted"] });
  const s = k.session(ue);
  assert.ok(s);
  const slow = (n: number, frame: Uint8Array, op = c.SLOW_HOLD) =>
    f.concat(
      layout.slowHeader.encode({
        destination: new Uint8Array(6).fill(2),
        source: new Uint8Array(6).fill(2),
        protocol: c.ETH_P_SLOW,
        op,
        port: 0,
        session: s.index,
        epoch: s.epoch,
        sequence: n,
      }),
      frame,
    );
  k.expect("from_apps", fromApp(dnsDown("1")), { counter: "slow_hold", out: slow(1, fromApp(dnsDown("1"))) });
  k.expect("from_apps", fromApp(dnsDown("2")), { counter: "slow_hold", out: slow(2, fromApp(dnsDown("2"))) });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
  assert.is(k.bearers(ue), "down 200 draining, up 100 live");
  // still in order: behind those that are held
  k.expect("from_apps", fromApp(dnsDown("3")), { counter: "slow_hold" });
  for (const text of ["1", "2", "3"]) {
    const ran = k.expect("from_slow", slow(0, fromApp(dnsDown(text)), c.SLOW_REPLY), { counter: "reply_downlink" });
    sameFrame(ran.frame, down(dnsSeen(text), { ip: { id: f.get16(ran.frame, 18) } }));
  }
  k.expect("from_slow", slow(2, new Uint8Array(), c.SLOW_RELEASE), { counter: "" });
  assert.is(k.bearers(ue), "down 200 draining, up 100 live");
  k.expect("from_slow", slow(3, new Uint8Array(), c.SLOW_RELEASE), { counter: "" });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
  assert.is((k.session(ue)?.flags ?? 0) & c.SESSION_HOLD, 0);
  k.expect("from_apps", fromApp(dnsDown("4")), { counter: "reply_downlink" });
});

test("a hold of another incarnation is not released, and a held reply without any tunnel is dropped: drop_no_downlink", () => {
  const k = fresh();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
  const s = k.session(ue);
  assert.ok(s);
  const header = (op: number, change = {}) =>
    layout.slowHeader.encode({ protocol: c.ETH_P_SLOW, op, session: s.index, epoch: s.epoch, sequence: 1, ...change });
  k.expect("from_slow", f.concat(header(c.SLOW_RELEASE, { epoch: s.epoch + 1 }), new Uint8Array(14)), { counter: "" });
  assert.is((k.session(ue)?.flags ?? 0) & c.SESSION_HOLD, c.SESSION_HOLD);
  k.expect("from_slow", f.concat(header(c.SLOW_REPLY), fromApp(dnsDown())), { counter: "drop_no_downlink" });
});

test("without a control plane nobody can hold it: drop_no_downlink", () => {
  const k = fresh();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.configure({ slowPort: false });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_downlink" });
});

test("frames on the slow port that the program does not know: drop_slow_malformed", () => {
  const k = fresh();
  k.expect("from_slow", new Uint8Array(20), { counter: "drop_slow_malformed" });
  k.expect("from_slow", f.frame([f.eth(), f.arp(), f.zeros(18)]), { counter: "drop_slow_malformed" });
  for (const op of [0, c.SLOW_HOLD, c.SLOW_FRAGMENT, 99])
    k.expect("from_slow", f.concat(layout.slowHeader.encode({ protocol: c.ETH_P_SLOW, op }), fromApp(dnsDown())), {
      counter: "drop_slow_malformed",
    });
  k.expect(
    "from_slow",
    f.concat(layout.slowHeader.encode({ protocol: c.ETH_P_SLOW, op: c.SLOW_REASSEMBLED, port: 7 }), fromApp(dnsDown())),
    { counter: "drop_slow_malformed" },
  );
});

test("A6: an error that is held is translated when it leaves, once", () => {
  const k = fresh();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  const error = (from: string): f.Layers => [
    f.ipv4({ src: from, dst: ue }),
    f.icmp({ type: 3, code: 3, rest: 0 }),
    f.ipv4({ src: ue, dst: from }),
    f.udp({ sport: 40001, dport: 53 }),
    f.payload("query"),
  ];
  const held = k.expect("from_apps", fromApp(error(app.dns)), { counter: "slow_hold" });
  sameFrame(held.frame.slice(layout.slowHeader.size), fromApp(error(app.dns)));
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  const header = layout.slowHeader.encode({ protocol: c.ETH_P_SLOW, op: c.SLOW_REPLY });
  const ran = k.expect("from_slow", f.concat(header, fromApp(error(app.dns))), { counter: "reply_downlink" });
  sameFrame(ran.frame, down(error(service.dns), { ip: { id: f.get16(ran.frame, 18) } }));
});

test.run();
