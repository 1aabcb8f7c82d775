/**
 * Do replies that wait for a downlink keep their order, whatever happens in between?
 *
 * Against the model of the program in kernel.ts, with packets arriving at every moment of a drain.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Hold } from "../../controlplane/sessions/hold.ts";
import { SlowDispatch } from "../../controlplane/sessions/slow.ts";
import { ModelKernel, numbered } from "./kernel.ts";

const HOLD_MS = 5000;

function bench(): { kernel: ModelKernel; dispatch: SlowDispatch; advance: (ms: number) => void } {
  const kernel = new ModelKernel();
  let time = 0;
  const dispatch = new SlowDispatch(kernel, { now: () => time, holdMs: () => HOLD_MS });
  const advance = (ms: number): void => {
    time += ms;
    kernel.arrive();
    dispatch.tick();
  };
  return { kernel, dispatch, advance };
}

const increasing = (numbers: number[]): boolean => numbers.every((n, i) => i === 0 || n > (numbers[i - 1] as number));

type Step = "reply-1" | "reply-2" | "learn-1" | "learn-2" | "lose-1" | "arrive" | "service" | "tick" | "nothing";

function run(steps: Step[], between: Step[], sequences: boolean): { kernel: ModelKernel; sent: number[] } {
  const { kernel, dispatch, advance } = bench();
  kernel.sequences = sequences;
  kernel.add(1);
  kernel.add(2);
  const sent = [0, 0, 0];
  let inside = false;
  const perform = (step: Step, nested: boolean): void => {
    const [what, index] = [step.split("-")[0], Number(step.split("-")[1])];
    const session = kernel.sessions.get(index);
    if (what === "reply") {
      sent[index] = (sent[index] as number) + 1;
      kernel.reply(index, numbered(sent[index] as number));
    } else if (what === "learn" && session) {
      session.downlink = true;
      if (!nested) dispatch.learnt(index, session.epoch);
    } else if (what === "lose" && session) session.downlink = false;
    else if (what === "arrive") kernel.arrive();
    else if (what === "service" && !nested) dispatch.service();
    else if (what === "tick" && !nested) advance(1);
  };
  kernel.meanwhile = () => {
    if (inside) return;
    inside = true;
    const step = between.pop();
    if (step) perform(step, true);
    inside = false;
  };
  for (const step of steps) perform(step, false);
  between.length = 0;
  for (const [index, session] of kernel.sessions) {
    session.downlink = true;
    kernel.arrive();
    dispatch.learnt(index, session.epoch);
  }
  for (let i = 0; i < 30; i++) advance(10);
  return { kernel, sent };
}

const steps = (...names: Step[]) => fc.array(fc.constantFrom(...names), { maxLength: 60, size: "max" });
const usual: Step[] = ["reply-1", "reply-1", "reply-2", "learn-1", "learn-2", "arrive", "service", "tick", "nothing"];

test("DESIGN 7: held replies all arrive, in order, whatever arrives while the hold ends", () => {
  fc.assert(
    fc.property(steps(...usual), steps(...usual), fc.boolean(), (before, between, sequences) => {
      const { kernel, sent } = run(before, between, sequences);
      for (const index of [1, 2]) {
        const session = kernel.sessions.get(index);
        assert.equal(
          session?.delivered,
          Array.from({ length: sent[index] as number }, (_, i) => i + 1),
        );
        assert.is(session?.hold, false);
      }
    }),
    { numRuns: 3000 },
  );
});

test("DESIGN 7: nothing is reordered when the downlink is lost and found again", () => {
  fc.assert(
    fc.property(steps(...usual, "lose-1"), steps(...usual, "lose-1"), fc.boolean(), (before, between, sequences) => {
      const { kernel } = run(before, between, sequences);
      for (const session of kernel.sessions.values()) {
        assert.ok(increasing(session.delivered), String(session.delivered));
        assert.is(session.hold, false);
      }
    }),
    { numRuns: 3000 },
  );
});

test("DESIGN 18: a held reply that is too big is cut and keeps its place", () => {
  const { kernel, dispatch } = bench();
  const session = kernel.add(1);
  kernel.reply(1, numbered(1));
  kernel.reply(1, numbered(2, 3000));
  kernel.reply(1, numbered(3));
  session.downlink = true;
  kernel.arrive();
  dispatch.learnt(1, 1);
  assert.equal(session.delivered, [1, 2, 2, 2, 3]);
  assert.is(session.hold, false);
  assert.is(dispatch.counts.cut, 3);
});

test("a reply that the program counted but that never came does not hold the session for ever", () => {
  const { kernel, dispatch, advance } = bench();
  const session = kernel.add(1);
  kernel.reply(1, numbered(1));
  kernel.arrive();
  kernel.reply(1, numbered(2));
  kernel.onTheWay.length = 0;
  session.downlink = true;
  dispatch.learnt(1, 1);
  assert.is(session.hold, true, "it may still be on its way");
  advance(5);
  assert.is(session.hold, true);
  advance(5);
  assert.is(session.hold, false);
  assert.is(dispatch.counts.lost, 1);
  assert.equal(session.delivered, [1]);
});

test("a lost reply does not hold the session while others keep coming either", () => {
  for (const sequences of [true, false]) {
    const { kernel, dispatch, advance } = bench();
    kernel.sequences = sequences;
    const session = kernel.add(1);
    for (const n of [1, 2, 3]) kernel.reply(1, numbered(n));
    kernel.onTheWay.splice(1, 1);
    session.downlink = true;
    let next = 4;
    // One more for every eighth look at the port or so: it is never quiet for long.
    let looks = 0;
    kernel.meanwhile = () => {
      if (Math.imul(++looks, 0x9e3779b1) >>> 29 === 0 && session.hold) kernel.reply(1, numbered(next++));
      else kernel.arrive();
    };
    kernel.arrive();
    dispatch.learnt(1, 1);
    for (let i = 0; i < 20 && session.hold; i++) advance(5);
    assert.is(session.hold, false, `sequences: ${sequences}`);
    kernel.meanwhile = () => {};
    for (let i = 0; i < 5; i++) advance(10);
    assert.ok(increasing(session.delivered));
    assert.is(session.delivered.length, next - 2);
  }
});

test("a hold whose event was lost, or that an earlier run left, ends all the same", () => {
  const { kernel, dispatch, advance } = bench();
  const session = kernel.add(1);
  kernel.reply(1, numbered(1));
  kernel.wake();
  dispatch.service();
  session.downlink = true;
  advance(60);
  assert.equal(session.delivered, [1]);
  assert.is(session.hold, false);

  const other = kernel.add(2, 7);
  Object.assign(other, { hold: true, held: 5, downlink: true });
  kernel.reply(2, numbered(9));
  kernel.arrive();
  dispatch.service();
  assert.equal(other.delivered, [9]);
  assert.is(other.hold, false);
});

test("a port that takes nothing delays replies and reorders none", () => {
  const { kernel, dispatch, advance } = bench();
  const session = kernel.add(1);
  for (let i = 1; i <= 5; i++) kernel.reply(1, numbered(i));
  session.downlink = true;
  kernel.full = true;
  kernel.arrive();
  dispatch.learnt(1, 1);
  assert.equal(session.delivered, []);
  kernel.full = false;
  advance(5);
  assert.equal(session.delivered, [1, 2, 3, 4, 5]);
});

test("a new owner of the address gets nothing that was held for the old one", () => {
  const { kernel, dispatch, advance } = bench();
  const session = kernel.add(1);
  kernel.reply(1, numbered(1));
  kernel.arrive();
  dispatch.service();
  session.epoch = 2;
  session.downlink = true;
  dispatch.learnt(1, 2);
  for (let i = 0; i < 4; i++) advance(10);
  assert.equal(session.delivered, []);
  assert.is(session.hold, false);
  assert.is(dispatch.hold.dropped.gone, 1);
});

test("over a bound the oldest goes, by name, and the rest keeps its order", () => {
  const bound = { packets: 4, octets: 10_000, totalPackets: 6, totalOctets: 10_000 };
  const hold = new Hold(bound);
  const push = (session: number, n: number, octets = 20, now = 0): void =>
    hold.push({ session, epoch: 1, dataplane: "s1", sequence: n, frame: numbered(n, octets) }, now, HOLD_MS);
  const content = (session: number): number[] =>
    (hold.get(session)?.replies ?? []).map(({ frame }) => new DataView(frame.buffer).getUint16(18));
  for (let n = 1; n <= 6; n++) push(1, n);
  assert.equal(content(1), [3, 4, 5, 6]);
  assert.is(hold.get(1)?.received, 6, "dropped ones count as received");
  for (let n = 1; n <= 3; n++) push(2, n);
  assert.equal(
    [content(1), content(2)],
    [
      [4, 5, 6],
      [1, 2, 3],
    ],
  );
  push(2, 4, 9_000);
  assert.ok(hold.bytes <= 10_000);
  assert.is(hold.packets, content(1).length + content(2).length);
  push(3, 1, 20, 1000);
  hold.expire(HOLD_MS);
  assert.equal([content(1), content(2), content(3)], [[], [], [1]]);
  hold.forget(3, "gaveUp");
  assert.is(hold.packets, 0);
  assert.is(hold.bytes, 0);
  assert.is(hold.dropped.gaveUp, 1);
});

test("the bounds hold and nothing is reordered, for any load", () => {
  const bound = { packets: 5, octets: 600, totalPackets: 12, totalOctets: 1500 };
  const arrival = fc.record({ session: fc.nat(4), octets: fc.nat(300), wait: fc.nat(2000), shift: fc.boolean() });
  fc.assert(
    fc.property(fc.array(arrival, { maxLength: 120, size: "max" }), (arrivals) => {
      const hold = new Hold(bound);
      let now = 0;
      let left = 0;
      for (const [n, { session, octets, wait, shift }] of arrivals.entries()) {
        now += wait;
        hold.expire(now);
        hold.push({ session, epoch: 1, dataplane: "s1", sequence: 0, frame: numbered(n, octets) }, now, HOLD_MS);
        if (shift) {
          if (hold.first(session)) left++;
          hold.shift(session);
        }
        let packets = 0;
        let bytes = 0;
        for (const queue of hold.sessions()) {
          const numbers = queue.replies.map(({ frame }) => new DataView(frame.buffer).getUint16(18));
          assert.ok(increasing(numbers));
          assert.ok(queue.replies.length <= bound.packets);
          assert.ok(queue.octets <= bound.octets);
          packets += queue.replies.length;
          bytes += queue.replies.reduce((sum, { frame }) => sum + frame.length, 0);
        }
        assert.is(hold.packets, packets);
        assert.is(hold.bytes, bytes);
        assert.ok(packets <= bound.totalPackets && bytes <= bound.totalOctets);
        assert.is(n + 1, packets + left + hold.dropped.full + hold.dropped.expired, "nothing vanishes uncounted");
      }
    }),
    { numRuns: 300 },
  );
});

test.run();
