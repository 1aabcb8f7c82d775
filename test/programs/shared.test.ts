/**
 * What happens on an adapter that carries both sides? (offramp.bpf.c shared)
 *
 * A2: a router on a stick: only what is addressed to us is looked at; its outer source says from which side it comes; what
 * passes is the kernel's to route, and so is what we send.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import { pinger, returnMac } from "./kernel.ts";
import {
  app,
  dnsDown,
  dnsSeen,
  dnsUp,
  down,
  fresh,
  fromApp,
  gateway,
  gateway6,
  hop,
  otherDown,
  otherUp,
  pingAnswer,
  station,
  station6,
  toApp,
  ue,
  up,
} from "./scene.ts";

const setting = {
  shared: true,
  accessPeers: ["198.18.1.0/24", "2001:db8:1::/48"],
  corePeers: ["198.18.2.0/24", "2001:db8:2::/48"],
};
const routed = { verdict: "pass" as const, out: "same" as const };
const dns = (dst: string) => [f.ipv4({ src: ue, dst }), f.udp({ sport: 40001, dport: 53 }), f.payload("query")];

test("A2: from a base station it is uplink, from a gateway downlink; what passes goes to the kernel", () => {
  const k = fresh(setting);
  k.expect("shared", up(otherUp()), { counter: "pass_no_rule", ...routed, events: ["session-new"] });
  k.expect("shared", down(otherDown()), { counter: "pass_downlink", ...routed, events: ["downlink-learnt"] });
  k.expect("shared", up(dnsUp()), { counter: "take_uplink", out: toApp(hop.dns, dns(app.dns)) });
});

test("A2: over IPv6 as well", () => {
  const k = fresh(setting);
  k.expect("shared", up(otherUp(), { from: station6, to: gateway6 }), { counter: "pass_no_rule", ...routed });
  k.expect("shared", down(otherDown(), { from: gateway6, to: station6 }), { counter: "pass_downlink", ...routed });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
});

test("A2: what we send goes to the kernel's routing by the return adapter, whoever it is for", () => {
  const k = fresh(setting);
  k.expect("shared", up(dnsUp()), { counter: "take_uplink" });
  k.expect("shared", down(otherDown()), { counter: "pass_downlink", ...routed });
  for (let n = 0; n < 2; n++) {
    const ran = k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
    sameFrame(
      ran.frame,
      down(dnsSeen(), { mac: { dst: returnMac, src: returnMac }, ip: { id: f.get16(ran.frame, 18) } }),
    );
  }
  assert.is(k.egress("from_apps", fromApp(dnsDown())), c.PORT_RETURN);
  const ping = fromApp([f.ipv4({ src: ue, dst: pinger.target }), f.icmp({ id: pinger.id }), f.payload(pinger.cookie)]);
  assert.is(k.egress("from_pinger", ping), c.PORT_RETURN);
  const wire = f.concat(layout.slowHeader.encode({ protocol: c.ETH_P_SLOW, op: c.SLOW_WIRE }), up(otherUp()));
  assert.is(k.egress("from_slow", wire), c.PORT_RETURN);
});

test("A2: the answer to a ping is swallowed", () => {
  const k = fresh(setting);
  k.expect("shared", up(otherUp()), { counter: "pass_no_rule", verdict: "pass" });
  k.expect("shared", down(pingAnswer(k)), { counter: "drop_pinger_answer" });
});

test("A2, A8: what is not addressed to us, comes from neither side, is no IP or is tagged is the kernel's, uncounted", () => {
  const k = fresh(setting);
  for (const frame of [
    up(dnsUp(), { mac: { dst: "02:00:00:00:00:03" } }),
    up(dnsUp(), { mac: { dst: "02:00:00:00:01:02" } }),
    up(dnsUp(), { from: "192.0.2.1" }),
    up(dnsUp(), { tags: [f.vlan(5)] }),
    f.frame([f.eth(), f.arp(), f.zeros(30)]),
    new Uint8Array(40),
  ])
    k.expect("shared", frame, { counter: "", ...routed });
  assert.is(k.size("tunnels"), 0);
});

test("A2, A8: other packets of a base station and of a gateway are routed, not GTP-U or not", () => {
  const k = fresh(setting);
  const sctp = (src: string, dst: string) => f.frame([f.eth(), f.ipv4({ src, dst }), f.sctp(), f.zeros(20)]);
  k.expect("shared", sctp(station, gateway), { counter: "pass_not_gtpu", ...routed });
  k.expect("shared", sctp(gateway, station), { counter: "pass_not_gtpu", ...routed });
});

test.run();
