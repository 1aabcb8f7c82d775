/**
 * Do events of the data plane become pings, sent replies and UEs set aside?
 *
 * The runtime on the model of the program, with a clock of the test's; what it would send is collected.
 */
import { setImmediate as turn } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SessionsRuntime } from "../../controlplane/sessions/runtime.ts";
import type { DataplaneEvent, EventType } from "../../dataplane/dataplane.ts";
import { ModelKernel, numbered } from "./kernel.ts";

interface Bench {
  kernel: ModelKernel;
  runtime: SessionsRuntime;
  pings: { device: string; packet: string }[];
  event: (type: EventType, session: number, more?: Partial<DataplaneEvent>) => void;
  /** Lets everything happen that is due after `ms`. */
  pass: (ms: number) => Promise<void>;
  count: (name: string) => number;
}

async function withRuntime(body: (bench: Bench) => Promise<void>): Promise<void> {
  const kernel = new ModelKernel();
  const pings: Bench["pings"] = [];
  let time = 1000;
  let listener: (event: DataplaneEvent) => void = () => {};
  const closed: string[] = [];
  const runtime = new SessionsRuntime({
    dataplane: {
      on(given) {
        listener = given;
        return () => {
          listener = () => {};
        };
      },
    },
    slow: kernel,
    now: () => time,
    sender: (device) => ({
      send(packet, done) {
        pings.push({ device, packet: Buffer.from(packet).toString("hex") });
        done(null);
      },
      close: () => closed.push(device),
    }),
  });
  const event: Bench["event"] = (type, session, more = {}) => {
    const epoch = kernel.sessions.get(session)?.epoch ?? 1;
    const base = { type, dataplane: "s1", time: 0, session, epoch, ue: "10.45.0.2", teid: 1, cause: 255, slot: 0 };
    listener({ ...base, ...more });
  };
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 10) {
      time += Math.min(10, left);
      kernel.wake(); // stands for the timers, which go by the real clock
      await turn();
      await turn();
    }
  };
  runtime.start();
  try {
    await body({ kernel, runtime, pings, event, pass, count: (name) => runtime.counters()[name] ?? Number.NaN });
  } finally {
    runtime.stop();
  }
  assert.equal(closed, pings.length > 0 ? ["pinger0"] : []);
}

const sequenceOf = ({ packet }: { packet: string }): number => Number.parseInt(packet.slice(52, 56), 16);

test("A5: a reply waits, the UE is pinged in its name, the core's answer sends the reply and ends pinging", () =>
  withRuntime(async ({ kernel, pings, event, pass, count }) => {
    const session = kernel.add(5);
    kernel.reply(5, numbered(1));
    event("wanted", 5);
    await pass(10);
    assert.is(pings.length, 1);
    assert.is(pings[0]?.device, "pinger0");
    assert.is(pings[0]?.packet.slice(24, 40), "0a2d0002cb00710a");
    assert.is(pings[0]?.packet.slice(48), "4f460001090807060504030205000000" + "01000000");
    event("wanted", 5);
    await pass(200);
    assert.equal(pings.map(sequenceOf), [1, 2]);
    session.downlink = true;
    kernel.reply(5, numbered(2));
    event("downlink-learnt", 5);
    event("pinger-answer", 5);
    await pass(1000);
    assert.equal(session.delivered, [1, 2]);
    assert.is(session.hold, false);
    assert.is(pings.length, 2);
    assert.is(count("pinger_answered"), 1);
    assert.is(count("hold_sent"), 2);
    assert.is(count("pinger_active"), 0);
  }));

test("DESIGN 7: when the core does not answer, what is held is dropped and Offramp stands aside for 30 seconds", () =>
  withRuntime(async ({ kernel, pings, event, pass, count }) => {
    const session = kernel.add(5);
    event("wanted", 5);
    await pass(4900);
    kernel.reply(5, numbered(1));
    await pass(200);
    assert.is(pings.length, 25);
    assert.is(session.aside, 30_000);
    assert.is(session.wanted, false);
    assert.is(count("hold_dropped_gave_up"), 1);
    assert.is(count("sessions_aside"), 1);
    assert.is(count("hold_packets"), 0);
    event("wanted", 5);
    await pass(500);
    assert.is(pings.length, 25, "not while it is aside");
  }));

test("DESIGN 6: a claim is pinged through its own tunnel until it is settled, and is never a reason to stand aside", () =>
  withRuntime(async ({ kernel, pings, event, pass }) => {
    const session = kernel.add(5);
    session.downlink = true;
    session.candidate = true;
    event("candidate", 5);
    await pass(10);
    assert.equal(pings.map(sequenceOf), [0x8001]);
    event("pinger-answer", 5);
    await pass(200);
    assert.equal(pings.map(sequenceOf), [0x8001, 0x8002], "an answer to the owner's ping says nothing about the claim");
    session.candidate = false;
    await pass(400);
    assert.is(pings.length, 2, "the session itself says that it is settled");
    session.candidate = true;
    event("candidate", 5);
    await pass(5300);
    assert.is(session.aside, 0);
    const asked = pings.length;
    event("candidate", 5);
    await pass(300);
    assert.is(pings.length, asked, "whoever claims it again has to wait");
    await pass(30_000);
    event("candidate", 5);
    await pass(10);
    assert.is(pings.length, asked + 1);
    event("pinger-answer", 5, { slot: 4 });
    await pass(300);
    assert.is(pings.length, asked + 1, "the core has answered the claim");
  }));

test("DESIGN 6: a bearer that was refused is asked for again until it is usable, not only until the first answer", () =>
  withRuntime(async ({ kernel, pings, event, pass }) => {
    const session = kernel.add(5);
    event("stale", 5);
    await pass(10);
    event("pinger-answer", 5);
    await pass(400);
    assert.is(pings.length, 3);
    session.downlink = true;
    event("pinger-answer", 5);
    await pass(400);
    assert.is(pings.length, 3);
    event("stale", 5);
    await pass(10);
    event("pinger-answer", 5);
    await pass(400);
    assert.is(pings.length, 4, "another bearer lives: one answer is enough");
  }));

test("a stale bearer is asked for although another one lives; without uplink, target or session nobody is pinged", () =>
  withRuntime(async ({ kernel, pings, event, pass, count }) => {
    const session = kernel.add(5);
    session.downlink = true;
    event("wanted", 5);
    await pass(300);
    assert.is(pings.length, 0, "its downlink is known by now");
    event("stale", 5);
    await pass(10);
    assert.is(pings.length, 1);
    await pass(6000);
    assert.is(session.aside, 0, "another bearer lives");
    const sent = pings.length;
    session.uplink = false;
    event("stale", 5);
    event("wanted", 99);
    await pass(300);
    assert.is(pings.length, sent);
    kernel.setup = { ...(kernel.setup as NonNullable<typeof kernel.setup>), target6: undefined };
    kernel.add(6);
    event("wanted", 6, { ue: "2001:db8:1::2" });
    kernel.reply(6, numbered(1));
    await pass(5200);
    assert.is(pings.length, sent);
    assert.is(count("pinger_no_target"), 1);
    assert.is(count("hold_dropped_expired"), 1);
    assert.is(kernel.sessions.get(6)?.aside, 0);
  }));

test("A5: an IPv6 UE is pinged from the address last seen, and from its prefix when nothing else is known", () =>
  withRuntime(async ({ kernel, pings, event, pass }) => {
    kernel.add(5);
    const source = (): string => pings.at(-1)?.packet.slice(16, 48) ?? "";
    event("stale", 5, { ue: "2001:db8:1::" });
    await pass(10);
    assert.is(source(), "20010db8000100000000000000000001");
    event("wanted", 5, { ue: "2001:db8:1::abcd" });
    event("stale", 5, { ue: "2001:db8:1::" });
    await pass(200);
    assert.is(source(), "20010db800010000000000000000abcd");
  }));

test("a session that is gone is forgotten with all that waited for it", () =>
  withRuntime(async ({ kernel, pings, event, pass, count }) => {
    kernel.add(5);
    kernel.reply(5, numbered(1));
    event("wanted", 5);
    await pass(10);
    kernel.sessions.delete(5);
    await pass(300);
    assert.is(pings.length, 1);
    assert.is(count("hold_dropped_gone"), 1);
    const other = kernel.add(6);
    kernel.reply(6, numbered(1));
    event("wanted", 6);
    await pass(10);
    event("session-idle", 6);
    await pass(300);
    assert.is(pings.length, 2);
    assert.is(count("hold_packets"), 0);
    assert.equal(other.delivered, []);
  }));

const outer = (offset: number, more: boolean, from: number, to: number): Uint8Array => {
  const frame = numbered(77, to - from);
  frame.set(
    Array.from({ length: to - from }, (_, i) => (from + i) & 0xff),
    34,
  );
  new DataView(frame.buffer).setUint16(20, (more ? 0x2000 : 0) | (offset / 8));
  return frame;
};

test("DESIGN 18: outer fragments come back whole; what is not taken goes on as it came; what stays incomplete is named", () =>
  withRuntime(async ({ kernel, pass, count }) => {
    const [first, second] = [outer(0, true, 0, 80), outer(80, false, 80, 120)];
    kernel.toUser("fragment", 0, 0, 0, 1, second);
    kernel.toUser("fragment", 0, 0, 0, 0, first);
    await pass(10);
    const [whole, ...none] = kernel.written;
    assert.is(none.length, 0);
    assert.equal([whole?.op, whole?.dataplane, whole?.frame.length], ["reassembled", "s1", 34 + 120]);
    assert.equal(
      [...(whole?.frame ?? []).slice(34)],
      Array.from({ length: 120 }, (_, i) => i),
    );
    kernel.written.length = 0;
    kernel.toUser("fragment", 0, 0, whole?.sequence ?? 0, 2, whole?.frame ?? first);
    await pass(10);
    assert.equal(
      kernel.written.map(({ op, frame }) => [op, frame]),
      [
        ["wire", first],
        ["wire", second],
      ],
    );
    kernel.written.length = 0;
    kernel.toUser("fragment", 0, 0, 0, 0, first);
    await pass(2100);
    assert.equal(kernel.written, []);
    assert.is(count("fragments_dropped_timeout"), 1);
    kernel.toUser("fragment", 0, 0, 0, 1, second);
    await pass(2100);
    assert.equal(
      kernel.written.map(({ op, frame }) => [op, frame]),
      [["wire", second]],
      "nobody's: it goes on",
    );
    assert.is(count("fragments_passed"), 1);
  }));

test("DESIGN 18: an inner fragment that came too early is tried again, and at last goes to the core", () =>
  withRuntime(async ({ kernel, pass, count }) => {
    const frame = numbered(1);
    kernel.toUser("inner-fragment", 0, 0, 0, 1, frame);
    await pass(20);
    assert.equal(
      kernel.written.map(({ op, frame }) => [op, frame]),
      [["reassembled", frame]],
    );
    await pass(150);
    assert.is(kernel.written.length, 1, "it did not come back: it is settled");
    assert.is(count("inner_fragments_settled"), 1);
    kernel.written.length = 0;
    kernel.toUser("inner-fragment", 0, 0, 0, 1, frame);
    let answered = 0;
    for (let i = 0; i < 50; i++) {
      await pass(10);
      for (; answered < kernel.written.length; answered++) {
        const { op, sequence, frame } = kernel.written[answered] as (typeof kernel.written)[0];
        if (op === "reassembled") kernel.toUser("inner-fragment", 0, 0, sequence, 1, frame);
      }
    }
    assert.equal(
      kernel.written.map(({ op }) => op),
      [...Array(5).fill("reassembled"), "wire"],
    );
    assert.is(count("inner_fragments_gave_up"), 1);
  }));

test("DESIGN 18: a reply that is too big is cut to the MTU that came with it", () =>
  withRuntime(async ({ kernel, pass, count }) => {
    const session = kernel.add(5);
    session.downlink = true;
    kernel.toUser("too-big", 5, 1, 0, 1464, numbered(3, 2000));
    kernel.toUser("too-big", 5, 1, 0, 1464, numbered(4, 20).subarray(0, 30));
    await pass(10);
    assert.equal(
      kernel.written.map(({ op, session, epoch, frame }) => [op, session, epoch, frame.length]),
      [
        ["reply", 5, 1, 14 + 20 + 1440],
        ["reply", 5, 1, 14 + 20 + 560],
      ],
    );
    assert.is(count("too_big_fragments_sent"), 2);
    assert.is(count("too_big_dropped"), 1);
  }));

test.run();
