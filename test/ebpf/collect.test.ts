/**
 * Is exactly what is over taken away, and is its place good for somebody else?
 *
 * The kernel's maps with entries written by hand, as old as the test wants them.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addressOctets } from "../../dataplane/address.ts";
import { Buckets } from "../../dataplane/ebpf/apply.ts";
import { Collector, writeTwinKey } from "../../dataplane/ebpf/collect.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import { flowTimeout } from "../../dataplane/ebpf/flow-timeout.ts";
import { Kernel, sizes } from "../../dataplane/ebpf/kernel.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { Tables } from "../../dataplane/ebpf/tables.ts";

const limits = { sessions: 64, flows: 4096, rules: 16, peerSessions: 9, learnRate: 9, learnBurst: 9, ueFlows: 9 };
const kernel = new Kernel(limits, { maps: new Map(), programs: new Map() });
const map = (name: string) => kernel.map(name);
const tables = new Tables(map("sessions"), map("bearers"), map("ue_sessions"), map("tunnels"));
const buckets = new Buckets(kernel);
const removed: string[] = [];
const collector = new Collector(kernel, tables, buckets, {
  idleSeconds: () => 300,
  removed: (event) => removed.push(event.ue),
});
const ago = (seconds: number): number => (kernel.jiffies() - Math.round(seconds * kernel.hz)) >>> 0;
const ENB = addressOctets("198.18.1.10");
const SGW = addressOctets("198.18.2.20");

/** A session in `slot` with an uplink tunnel, last used `idle` seconds ago. */
function session(slot: number, idle: number, ue = `10.45.0.${slot + 1}`): void {
  const octets = addressOctets(ue);
  const epoch = tables.word(slot, "epoch") || 1;
  const key = { endpoint: SGW, teid: 0x1000 + slot, link: 1 << 24 };
  const value = layout.session.encode({
    epoch,
    ue: octets,
    base_station: ENB,
    gateway: SGW,
    flags: c.SESSION_UPLINK,
    created: ago(idle),
    last_seen: ago(idle),
  });
  map("sessions").update(slot, value);
  map("ue_sessions").update(octets, new Uint8Array(Uint32Array.of(slot).buffer));
  map("bearers").update(
    slot * c.BEARER_SLOTS + c.SLOT_UPLINK,
    layout.bearer.encode({ epoch, state: c.BEARER_LIVE, key }),
  );
  const tunnel = {
    peer: ENB,
    ue4: 0,
    session4: slot,
    epoch4: epoch,
    flags: c.TUNNEL_IPV4 | c.TUNNEL_UPLINK,
    last_seen: ago(idle),
  };
  map("tunnels").update(layout.tunnelKey.encode(key), layout.tunnel.encode(tunnel));
}

interface FlowOptions {
  slot: number;
  port: number;
  protocol: number;
  up: number;
  down?: number;
  flags?: number;
  downFlags?: number;
  epoch?: number;
  service?: number;
  action?: number;
  endpoint?: string;
  endpointPort?: number;
}

/** A flow of that session to 203.0.113.80, both entries unless `down` is absent. Returns the uplink entry's key. */
function flow(options: FlowOptions): Uint8Array {
  const { slot, port, protocol, up, down, flags = 0, downFlags = 0, service = 1, action = c.ACTION_TAKE } = options;
  const epoch = options.epoch ?? tables.word(slot, "epoch");
  const key = {
    remote: addressOctets("203.0.113.80"),
    ue: tables.session(slot).ue,
    remote_port: 80,
    ue_port: port,
    protocol,
    reply: 0,
    pad: 0,
  };
  const value = layout.flow.decode(
    layout.flow.encode({
      action,
      flags,
      service,
      session: slot,
      epoch,
      last_seen: ago(up),
      translated: addressOctets(options.endpoint ?? "10.60.0.10"),
      translated_port: options.endpointPort ?? 8080,
      translated_ue_port: port,
    }),
  );
  map("flows").update(layout.flowKey.encode(key), layout.flow.encode(value));
  if (down !== undefined) {
    const back = { ...value, action: c.ACTION_REPLY, flags: downFlags, last_seen: ago(down) };
    const reply = { ...back, translated: key.remote, translated_port: 80, translated_ue_port: port };
    const twin = new Uint8Array(layout.flowKey.size);
    writeTwinKey(twin, layout.flowKey.encode(key), layout.flow.encode(value));
    map("flows").update(twin, layout.flow.encode(reply));
  }
  return layout.flowKey.encode(key);
}
const present = (key: Uint8Array): boolean => map("flows").lookup(key) !== undefined;
const entries = (): number => [...map("flows").keys()].length;

test("every map whose size follows the limits has that size", () => {
  const source = readFileSync("dataplane/ebpf/bpf/maps.h", "utf8");
  const resized = [...source.matchAll(/\(resized\) \*\/\nstruct \{[^}]*\} (\w+) SEC/g)].map((match) => match[1]!);
  const wanted = sizes(limits);
  assert.equal(resized.sort(), Object.keys(wanted).sort());
  for (const name of resized) assert.is(map(name).maxEntries, wanted[name], name);
});

test("how long flows may be idle depends on what they are and whether they were closed", () => {
  const of = (protocol: number, flags = 0, action = c.ACTION_TAKE): number => flowTimeout(protocol, action, flags);
  assert.equal(
    [of(6), of(17), of(1), of(58), of(6, c.FLOW_RST), of(6, c.FLOW_FIN_UP), of(6, c.FLOW_FIN_UP | c.FLOW_FIN_DOWN)],
    [7200, 120, 30, 30, 10, 7200, 10],
  );
  assert.is(of(6, 0, c.ACTION_PASS), 60);
});

test("flows end when both ways have been idle for their time; both entries go", async () => {
  session(0, 0);
  const over = [
    flow({ slot: 0, port: 1, protocol: 17, up: 121, down: 130 }),
    flow({ slot: 0, port: 2, protocol: 6, up: 11, down: 12, flags: c.FLOW_FIN_UP, downFlags: c.FLOW_FIN_DOWN }),
    flow({ slot: 0, port: 3, protocol: 6, up: 61, down: 61 }),
    flow({ slot: 0, port: 4, protocol: 1, up: 31, down: 31 }),
    flow({ slot: 0, port: 5, protocol: 6, up: 61, action: c.ACTION_PASS }),
    flow({ slot: 0, port: 6, protocol: 17, up: 0, down: 0, epoch: 77 }),
    flow({ slot: 0, port: 7, protocol: 6, up: 7300, down: 7201 }),
  ];
  const going = [
    flow({ slot: 0, port: 11, protocol: 17, up: 500, down: 3 }),
    flow({ slot: 0, port: 12, protocol: 6, up: 600, down: 500 }),
    flow({ slot: 0, port: 13, protocol: 6, up: 20, down: 30, flags: c.FLOW_FIN_UP }),
    flow({ slot: 0, port: 14, protocol: 6, up: 5, action: c.ACTION_PASS }),
  ];
  for (let walk = 0; walk < 2; walk++) await collector.collect(true);
  assert.equal(
    over.map(present),
    over.map(() => false),
  );
  assert.equal(
    going.map(present),
    going.map(() => true),
  );
  assert.is(entries(), 7);
  assert.is(tables.word(0, "flows"), 4, "counted again");
});

test("A9: a session ends when nothing of it has been used for the idle time", async () => {
  session(1, 301);
  session(2, 299);
  session(3, 400);
  flow({ slot: 3, port: 1, protocol: 17, up: 10, down: 10 });
  const before = tables.word(1, "epoch");
  await collector.collect(true);
  assert.equal(removed, ["10.45.0.2"]);
  assert.is(tables.slotOf("10.45.0.2"), undefined);
  assert.is(tables.word(1, "epoch"), before + 1, "whatever names it is void");
  assert.equal(Array.from(tables.slots()), [0, 2, 3]);
  assert.is(layout.viewOver(map("free_slots").pop()!).getUint32(0, true), 1, "its place is free");
  assert.is([...map("tunnels").keys()].length, 3);
});

test("a session that a program is changing is left for the next time", async () => {
  removed.length = 0;
  session(4, 301);
  Atomics.store(tables.words, tables.wordAt(4, "sequence"), 1);
  await collector.collect(true);
  assert.equal(removed, []);
  Atomics.store(tables.words, tables.wordAt(4, "sequence"), 2);
  await collector.collect(true);
  assert.equal(removed, ["10.45.0.5"]);
});

test("half-open sessions make room when the table is three quarters full, and not before", async () => {
  removed.length = 0;
  for (let slot = 10; slot < 40; slot++) session(slot, 31);
  await collector.collect(true);
  assert.is(removed.length, 0);
  for (let slot = 40; slot < 60; slot++) session(slot, 1);
  await collector.collect(true);
  assert.is(removed.length, 31, "the thirty, and the one of 299 s that has no flow either");
});

test("flushing a service ends its flows and no others", async () => {
  const kept = entries();
  const mine = [5, 6].map((port) => flow({ slot: 0, port, protocol: 17, up: 0, down: 0, service: 9 }));
  assert.is(await collector.flushServices([9]), 2);
  assert.equal(mine.map(present), [false, false]);
  assert.is(entries(), kept);
});

test("A18: flushing endpoints ends the flows that lead there, by both of their entries, and no others", async () => {
  const kept = entries();
  const of = (port: number, endpoint: string, endpointPort: number, service = 9, protocol = 17) =>
    flow({ slot: 0, port, protocol, up: 0, down: 0, service, endpoint, endpointPort });
  const flows = {
    other: of(5, "10.60.0.11", 80),
    port: of(6, "10.60.0.10", 80),
    otherPort: of(7, "10.60.0.10", 81),
    otherService: of(8, "10.60.0.10", 80, 8),
    icmp: of(9, "10.60.0.10", 9, 9, 1),
    six: of(10, "2001:db8:60::10", 443),
  };
  const ends = [
    { service: 9, address: "10.60.0.10", port: 80 },
    { service: 9, address: "2001:db8:60::10" },
    { service: 9, address: "10.60.0.77" },
  ];
  assert.equal(await collector.endpointFlows(ends), [2, 1, 0]);
  assert.is(await collector.flushEndpoints(ends), 3);
  assert.equal(await collector.endpointFlows(ends), [0, 0, 0]);
  const left = Object.entries(flows).filter(([, one]) => present(one));
  assert.equal(
    left.map(([name]) => name),
    ["other", "otherPort", "otherService"],
  );
  assert.is(await collector.flushEndpoints([{ service: 9, address: "10.60.0.10" }]), 1, "whatever the port");
  await collector.flushServices([8]);
  await collector.flushServices([9]);
  assert.is(entries(), kept);
});

test("the prefilter keeps what running flows need, and lets it go with them", async () => {
  const memory = new Uint8Array(map("maybe").memory());
  const none = (): { bucket: Uint8Array; host: Uint8Array } => ({
    bucket: new Uint8Array(131072),
    host: new Uint8Array(131072),
  });
  const { bucket, host } = none();
  buckets.want(bucket, host);
  memory[0xcb00] = c.MAYBE_RULE;
  await collector.collect(true);
  assert.is(memory[0xcb00], c.MAYBE_RULE_HOST, "203.0.113.80 is in use");
  assert.is(memory[131072 + (0xcb00 ^ 0x7150)], 1);
  await collector.flushServices([1]);
  await collector.collect(true);
  assert.is(memory[0xcb00], 0);
});

test("A14: a station's session ends by its own time, under its whole address; a quiet peer without any is forgotten", async () => {
  const mac = Uint8Array.from([1, ...new Array(9).fill(0), 2, 0xaa, 0, 0, 0, 7]);
  const ue = addressOctets("2001:db8::7");
  await collector.removeAll(0);
  for (const idle of [200, 400]) {
    const value = { epoch: 1, ue, base_station: mac, gateway: mac, flags: c.SESSION_UPLINK, last_seen: ago(idle) };
    map("sessions").update(40, layout.session.encode(value));
    map("ue_sessions").update(ue, new Uint8Array(Uint32Array.of(40).buffer));
    for (const slot of [0, c.SLOT_UPLINK]) {
      const bearer = { epoch: 1, state: c.BEARER_LIVE, key: { endpoint: mac, teid: 0, link: 0 } };
      map("bearers").update(40 * c.BEARER_SLOTS + slot, layout.bearer.encode(bearer));
    }
    const peers = [mac, addressOctets("198.18.9.9"), addressOctets("198.18.9.10")];
    const [own, quiet, young] = peers.map((address) => layout.peerKey.encode({ address }));
    map("peers").update(own!, layout.peer.encode({ refilled: ago(100) }));
    map("peers").update(quiet!, layout.peer.encode({ refilled: ago(100), sessions: 3 }));
    map("peers").update(young!, layout.peer.encode({ refilled: ago(10) }));
    removed.length = 0;
    await collector.collect(true);
    assert.equal(removed, idle === 200 ? [] : ["2001:db8::7"]);
    const kept = map("peers").lookup(own!);
    assert.is(kept && layout.peer.decode(kept).sessions, idle === 200 ? 1 : undefined);
    assert.is(map("peers").lookup(quiet!), undefined);
    assert.ok(map("peers").lookup(young!));
  }
});

test("a data plane that goes takes its sessions along", async () => {
  await collector.removeAll(0);
  assert.is(tables.slots().length, 0);
  assert.is(entries(), 0);
  assert.is([...map("tunnels").keys()].length, 0);
});

test.run();
