/**
 * What do GTP-U's own messages change? (signal.h)
 *
 * TS 29.281 §7.3.1 (Error Indication), §7.3.2 (End Marker), §7.2 (Echo), §8.2: all pass, but for an Error Indication about
 * a packet of ours. A4, A8.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
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
  inTunnel,
  learnt,
  otherDown,
  otherUp,
  station,
  station2,
  station6,
  type Tunnel,
  ue,
  up,
} from "./scene.ts";

const control = "pass_gtpu_control";
const signal = (from: string, to: string, layers: f.Layers, tags: f.Layer[] = []): Uint8Array =>
  f.frame([
    f.eth(),
    tags,
    f.ip(from, to),
    f.udp({ sport: 40123, dport: 2152, checksum: from.includes(":") ? "auto" : "zero" }),
    layers,
  ]);
const indication = (
  teid: number,
  from: string,
  to: string,
  change: Partial<Parameters<typeof f.errorIndication>[0]> = {},
) => signal(from, to, f.errorIndication({ teid, peer: from, ...change }));
const aboutUs = (change = {}) => indication(0x200, station, gateway, change);
/** The last packet in the downlink tunnel was ours. */
function replied(): Kernel {
  const k = learnt();
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  return k;
}

for (const side of ["access", "core"] as const) {
  test(`A8: Echo, Supported Extension Headers Notification, End Marker and unknown messages pass on the ${side} side, and restart counters mean nothing`, () => {
    const k = learnt();
    const [from, to] = side === "access" ? [station, gateway] : [gateway, station];
    for (const layers of [
      f.echo(),
      f.echo({ response: true, recovery: 7 }),
      f.echo({ response: true, recovery: 8 }),
      f.supportedExtensions(),
      [f.gtpu({ type: 99, teid: 5 }), f.zeros(8)],
    ])
      k.expect(side, signal(from, to, [layers]), { counter: control, events: [] });
    assert.is(k.bearers(ue), "down 200 live, up 100 live");
  });
}

test("an Error Indication about a packet of ours goes nowhere: the core would end a living bearer. The bearer is stale", () => {
  const k = replied();
  k.expect("access", aboutUs(), { counter: "drop_error_indication", events: ["stale"], notes: ["note_bearer_stale"] });
  assert.is(k.bearers(ue), "down 200 stale, up 100 live");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
});

test("… about one of the core's own passes; the bearer is stale all the same", () => {
  const k = learnt();
  k.expect("access", aboutUs(), { counter: "pass_error_indication", out: "same", events: ["stale"] });
  assert.is(k.bearers(ue), "down 200 stale, up 100 live");
});

test("… and passes when the core used the tunnel after us", () => {
  const k = replied();
  const s = k.session(ue);
  assert.ok(s);
  k.setBearer(s.index, 0, { core_at: k.ago(-5) });
  k.expect("access", aboutUs(), { counter: "pass_error_indication", events: ["stale"] });
});

const forged: [string, Uint8Array][] = [
  ["from another than the tunnel's base station", indication(0x200, station2, gateway)],
  ["in another's name", signal(station2, gateway, f.errorIndication({ teid: 0x200, peer: station }))],
  ["sent to another gateway", indication(0x200, station, gateway2)],
  ["about an unknown TEID", indication(0x999, station, gateway)],
  ["under another tag", signal(station, gateway, f.errorIndication({ teid: 0x200, peer: station }), [f.vlan(9)])],
  ["with an extension header", aboutUs({ ext: [f.ext(0x40)] })],
  ["without its elements", aboutUs({ ies: new Uint8Array(0) })],
  ["cut off in its elements", aboutUs({ ies: f.hex("10 00000200 85 0004 c6") })],
  ["with its elements in another order", aboutUs({ ies: f.hex("85 0004 c612010a 10 00000200") })],
  ["with an address of five octets", aboutUs({ ies: f.hex("10 00000200 85 0005 c612010a00") })],
  ["with an address longer than the message", aboutUs({ ies: f.hex("10 00000200 85 0010 c612010a") })],
  ["with an address length of 260", aboutUs({ ies: f.hex("10 00000200 85 0104 c612010a") })],
];
for (const [name, frame] of forged) {
  test(`an Error Indication ${name} passes and changes nothing`, () => {
    const k = replied();
    k.expect("access", frame, { counter: "pass_error_indication", out: "same", events: [] });
    assert.is(k.bearers(ue), "down 200 live, up 100 live");
  });
}

test("an Error Indication without a sequence number, and between IPv6 addresses, is understood too", () => {
  const k = replied();
  k.expect("access", aboutUs({ s: false, seq: undefined }), { counter: "drop_error_indication", events: ["stale"] });
  const six: Partial<Tunnel> = { from: station6, to: gateway6 };
  const k6 = learnt({}, { up: six, down: { from: gateway6, to: station6 } });
  k6.expect("access", up(dnsUp(), six), { counter: "take_uplink" });
  k6.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
  k6.expect("access", indication(0x200, station6, gateway6), { counter: "drop_error_indication", events: ["stale"] });
});

test("from the core: the gateway does not know the uplink tunnel: it is gone with its session's flows, and the UE stands aside", () => {
  const k = replied();
  k.expect("core", indication(0x100, gateway, station), {
    counter: "pass_error_indication",
    out: "same",
    events: ["stale"],
  });
  assert.is(k.bearers(ue), "");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "drop_no_flow" });
  k.expect("access", up(dnsUp()), { counter: "pass_aside" });
});

test("from the core about a claim: the claim is void, the owner stays", () => {
  const k = replied();
  k.expect("access", up(otherUp(), { from: station2, teid: 0x300 }), { counter: "pass_unproven" });
  k.expect("core", indication(0x300, gateway, station2), { counter: "pass_error_indication", events: [] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
});

test("from the core about another's tunnel, or sent to another base station, changes nothing", () => {
  const k = replied();
  for (const frame of [
    indication(0x100, gateway2, station),
    indication(0x100, gateway, station2),
    indication(0x200, gateway, station),
  ])
    k.expect("core", frame, { counter: "pass_error_indication", events: [] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
});

test("an Error Indication ends IPv4 and IPv6 of one tunnel together", () => {
  const k = replied();
  k.expect("core", down(otherDown("2001:db8:45:2::7")), { counter: "pass_downlink", events: ["session-new"] });
  k.expect("access", aboutUs(), { counter: "drop_error_indication", events: ["stale", "stale"] });
  k.expect("core", down(otherDown("2001:db8:45:2::7")), { counter: "pass_downlink", events: ["downlink-learnt"] });
});

test("a stale bearer lives again with the core's next packet", () => {
  const k = replied();
  k.expect("access", aboutUs(), { counter: "drop_error_indication" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink", events: ["downlink-learnt"] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
});

test("an End Marker from the tunnel's own gateway ends the bearer, and its replies wait", () => {
  const k = replied();
  k.expect("core", signal(gateway, station, [f.endMarker(0x200)]), {
    counter: control,
    out: "same",
    events: ["stale"],
  });
  assert.is(k.bearers(ue), "up 100 live");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "slow_hold" });
});

test("… one of several bearers only that one", () => {
  const k = replied();
  k.expect("core", down(otherDown(), { teid: 0x201 }), { counter: "pass_downlink", events: ["bearer-new"] });
  k.expect("core", signal(gateway, station, [f.endMarker(0x200)]), { counter: control, events: [] });
  assert.is(k.bearers(ue), "down 201 live, up 100 live");
  k.expect("from_apps", fromApp(dnsDown()), { counter: "reply_downlink" });
});

test("an End Marker from another gateway, of another tunnel, or from the access side changes nothing", () => {
  const k = replied();
  k.expect("core", signal(gateway2, station, [f.endMarker(0x200)]), { counter: control, events: [] });
  k.expect("core", signal(gateway, station, [f.endMarker(0x201)]), { counter: control, events: [] });
  k.expect("access", signal(station, gateway, [f.endMarker(0x100)]), { counter: control, events: [] });
  assert.is(k.bearers(ue), "down 200 live, up 100 live");
});

test("an End Marker behind a handover belongs to the old tunnel: the new one stays", () => {
  const k = replied();
  k.expect("core", down(otherDown(), { to: station2, teid: 0x201 }), { counter: "pass_downlink", events: ["moved"] });
  k.expect("core", signal(gateway, station, [f.endMarker(0x200)]), { counter: control, events: [] });
  assert.is(k.bearers(ue), "down 201 live, up 100 live");
});

test("nothing is learnt from signalling of unknown tunnels", () => {
  const k = fresh();
  k.expect("core", inTunnel({ from: gateway, to: station, teid: 5, gtp: { type: 254 } }, []), { counter: control });
  assert.is(k.size("tunnels"), 0);
});

test.run();
