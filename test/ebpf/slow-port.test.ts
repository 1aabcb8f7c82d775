/**
 * Do packets reach the control plane and come back, and does what it decides about a session hold?
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DataplaneEvent } from "../../dataplane/dataplane.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import type { CapturedPacket, SlowFrame } from "../../dataplane/slow-path.ts";
import { inNamespace } from "./namespace.ts";
import { answer, backend, fromCore, makeSite, marked, other, request, s1, send, UE, until, web } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));
makeSite();

const plane = new EbpfDataplane(backend);
const events: DataplaneEvent[] = [];
const frames: SlowFrame[] = [];
const { slow } = plane;
plane.on((event) => events.push(event));
const counter = (name: string): bigint =>
  plane.counters().find((sample) => sample.name === name && sample.dataplane === "s1")!.packets;
const slotOf = (): { index: number; epoch: number } => plane.sessions({ ue: UE }).sessions[0]!;

test("before the start there is nothing, and nothing fails", () => {
  assert.is(slow.read(), null);
  assert.is(slow.session(0), undefined);
  assert.is(
    slow.write({ op: "wire", dataplane: "s1", session: 0, epoch: 0, sequence: 0, reason: 0, frame: new Uint8Array() }),
    false,
  );
  slow.onReadable(() => {
    for (let frame = slow.read(); frame; frame = slow.read()) frames.push(frame);
  });
});

test("the pinger is told what the programs recognise", async () => {
  await plane.start();
  await plane.apply({ rules: [web], protect: [] });
  const setup = slow.pinger("s1")!;
  assert.equal([setup.dataplane, setup.device, setup.target], ["s1", "ofr-ping", "203.0.113.10"]);
  assert.is(setup.cookie.length, 8);
  assert.is(slow.pinger("none"), undefined);
});

test("a reply for a UE whose downlink is unknown is held, in order, and sent ahead of later ones", async () => {
  send("enb0", request("first"), "app0", marked("first"));
  await until(() => events.some((event) => event.type === "wanted" && event.ue === UE));
  assert.throws(() => send("app0", answer("one"), "enb0", marked("one")), /nothing came/);
  assert.throws(() => send("app0", answer("two"), "enb0", marked("two")), /nothing came/);
  await until(() => frames.length === 2);
  assert.equal(
    frames.map(({ op, dataplane }) => ({ op, dataplane })),
    [
      { op: "hold", dataplane: "s1" },
      { op: "hold", dataplane: "s1" },
    ],
  );
  assert.is(counter("slow_hold"), 2n);
  const { index, epoch } = slotOf();
  assert.is(frames[0]!.session, index);
  assert.is(frames[0]!.epoch, epoch);
  const session = slow.session(index, epoch)!;
  assert.equal(
    { ue: session.ue, hold: session.hold, downlink: session.downlink, uplink: session.uplink, held: session.held },
    { ue: UE, hold: true, downlink: false, uplink: true, held: 2 },
  );
  assert.is(plane.sessions({ ue: UE }).sessions[0]!.state, "holding");

  send("sgw0", fromCore("downlink"), "enb0", marked("downlink"));
  await until(() => slow.session(index, epoch)!.downlink);
  assert.ok(slow.session(index, epoch)!.hold, "until what is held is out");
  assert.equal(slow.room(index, epoch), { mtu: 1500, overhead: 36 });
  for (const frame of frames) assert.ok(slow.write({ ...frame, op: "reply" }));
  assert.ok(
    slow.write({
      op: "release",
      dataplane: "s1",
      session: index,
      epoch,
      sequence: 2,
      reason: 0,
      frame: new Uint8Array(),
    }),
  );
  await until(() => !slow.session(index, epoch)!.hold);
  assert.is(counter("reply_downlink"), 2n);
  send("app0", answer("three"), "enb0", marked("three"));
});

test("frames go out to the core as they are", () => {
  const frame = other("as it is");
  const octets = Uint8Array.from(Buffer.from(frame, "hex"));
  const before = counter("pass_outer_fragment");
  assert.ok(slow.write({ op: "wire", dataplane: "s1", session: 0, epoch: 0, sequence: 0, reason: 0, frame: octets }));
  assert.is(counter("pass_outer_fragment"), before + 1n);
});

test("who stands aside is passed until the time is over", async () => {
  const { index, epoch } = slotOf();
  assert.is(slow.setAside(index, epoch + 1, 1000), false, "another session by now");
  assert.ok(slow.setAside(index, epoch, 700));
  assert.is(plane.sessions({ ue: UE }).sessions[0]!.state, "aside");
  assert.ok(slow.session(index, epoch)!.aside);
  await until(() => !slow.session(index, epoch)!.aside);
  assert.is(plane.sessions({ ue: UE }).sessions[0]!.state, "up");
});

test("capture: what is asked for is copied, with its verdict, and nothing after the end", async () => {
  const packets: CapturedPacket[] = [];
  const end = slow.capture({ outer: true, inner: true, snap: 2000, ue: UE }, (packet) => packets.push(packet));
  assert.throws(() => slow.capture({ outer: true, inner: false, snap: 96 }, () => undefined), /a capture runs/);
  send("enb0", request("watched"), "app0", marked("watched"));
  await until(() => packets.length === 2);
  end();
  assert.equal(
    packets.map(({ inner, dataplane, service, length }) => ({ inner, dataplane, service, length })),
    [
      { inner: false, dataplane: "s1", service: 1, length: 14 + 36 + 28 + 7 },
      { inner: true, dataplane: "s1", service: 1, length: 28 + 7 },
    ],
  );
  assert.ok(Math.abs(Number(packets[0]!.time / 1_000_000n) - Date.now()) < 60_000);
  assert.is(Buffer.from(packets[0]!.data).toString("hex"), request("watched"));
  send("enb0", request("unseen"), "app0", marked("unseen"));
  await sleep(20);
  assert.is(packets.length, 2);
});

test("flushing a service ends its flows", async () => {
  assert.is(await plane.flushServices([1]), 1);
  assert.is(plane.sessions({ ue: UE }).sessions[0]!.flows, 0);
  assert.is(await plane.flushServices([1]), 0);
});

test("when the control plane ends, so does the slow port", async () => {
  await plane.stop();
  assert.is(slow.read(), null);
  assert.is(slow.session(0), undefined);
  await new EbpfDataplane({ ...backend, dataplanes: [s1] }).down({ unwire: true });
});

test.run();
