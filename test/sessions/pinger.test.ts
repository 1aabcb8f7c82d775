/**
 * Who is pinged when, and what is in an echo request?
 *
 * The schedule with a clock of its own: storms, fairness, giving up.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { buildEcho } from "../../controlplane/sessions/echo.ts";
import { Pinger, type PingTrack } from "../../controlplane/sessions/pinger.ts";

const track = (session: number, more: Partial<PingTrack> = {}): PingTrack => ({
  session,
  epoch: 1,
  dataplane: "s1",
  ue: "10.45.0.2",
  candidate: false,
  cause: "wanted",
  intervalMs: 200,
  giveUpMs: 5000,
  ...more,
});

interface Log {
  sent: { at: number; session: number; candidate: boolean; count: number }[];
  gaveUp: { at: number; session: number; candidate: boolean }[];
}

/** Lets time pass as the runtime does: a tick at every moment that `next` names. */
function pass(
  pinger: Pinger,
  from: number,
  to: number,
  log: Log,
  onPing?: (session: number, at: number) => void,
): void {
  let now = from;
  for (let ticks = 0; now <= to; ticks++) {
    if (ticks > 200_000) throw new Error("the schedule does not move on");
    const { pings, gaveUp } = pinger.tick(now);
    for (const { track, count } of pings) {
      log.sent.push({ at: now, session: track.session, candidate: track.candidate, count });
      onPing?.(track.session, now);
    }
    for (const { session, candidate } of gaveUp) log.gaveUp.push({ at: now, session, candidate });
    const next = pinger.next(now);
    if (next === undefined) return;
    now = Math.max(now + 1, Math.ceil(next));
  }
}

const empty = (): Log => ({ sent: [], gaveUp: [] });

test("A5: a UE is pinged at once, at its interval, until it is given up", () => {
  const pinger = new Pinger();
  const log = empty();
  pinger.start(track(7, { intervalMs: 200, giveUpMs: 1000 }), 0);
  pass(pinger, 0, 60_000, log);
  assert.equal(
    log.sent.map(({ at, count }) => [at, count]),
    [
      [0, 1],
      [200, 2],
      [400, 3],
      [600, 4],
      [800, 5],
    ],
  );
  assert.equal(log.gaveUp, [{ at: 1000, session: 7, candidate: false }]);
  assert.is(pinger.size, 0);
  assert.is(pinger.next(60_000), undefined);
});

test("A5: it stops once learnt, and begins anew when it is wanted again", () => {
  const pinger = new Pinger();
  const log = empty();
  pinger.start(track(7), 0);
  pass(pinger, 0, 250, log);
  assert.is(pinger.stop(7, false), true);
  assert.is(pinger.stop(7, false), false);
  pass(pinger, 251, 5000, log);
  assert.is(log.sent.length, 2);
  pinger.start(track(7), 6000);
  pass(pinger, 6000, 6100, log);
  assert.equal(log.sent.at(-1), { at: 6000, session: 7, candidate: false, count: 1 });
});

test("wanting it again while it runs changes its address and nothing else; another epoch begins anew", () => {
  const pinger = new Pinger();
  pinger.start(track(7, { ue: "2001:db8::1" }), 0);
  pinger.tick(0);
  pinger.start(track(7, { ue: "2001:db8::2" }), 100);
  assert.equal(pinger.tick(100).pings, []);
  assert.is(pinger.tick(200).pings[0]?.track.ue, "2001:db8::2");
  pinger.start(track(7, { epoch: 2 }), 210);
  const [ping, ...more] = pinger.tick(210).pings;
  assert.is(ping?.track.epoch, 2);
  assert.is(more.length, 0);
  assert.equal(
    pinger.tick(400).pings.map((p) => p.track.epoch),
    [],
    "the old one's turn is gone",
  );
});

test("a claim is asked for beside its owner, and giving it up says nothing about the owner", () => {
  const pinger = new Pinger();
  const log = empty();
  pinger.start(track(7), 0);
  pinger.start(track(7, { candidate: true, cause: "candidate", giveUpMs: 400 }), 0);
  pass(pinger, 0, 500, log);
  assert.equal(log.gaveUp, [{ at: 400, session: 7, candidate: true }]);
  assert.ok(pinger.active(7));
  assert.not(pinger.active(7, true));
});

test("A5: 400 UEs that appear in one second are all pinged within 50 ms each, although the core answers late", () => {
  const pinger = new Pinger();
  const log = empty();
  const first = new Map<number, number>();
  const appeared = new Map<number, number>();
  for (let ms = 0; ms < 3000; ms++) {
    if (ms < 1000) {
      for (let i = Math.ceil((ms * 400) / 1000); i < ((ms + 1) * 400) / 1000; i++) {
        appeared.set(i, ms);
        pinger.start(track(i), ms);
      }
    }
    for (const { track } of pinger.tick(ms).pings) {
      log.sent.push({ at: ms, session: track.session, candidate: false, count: 0 });
      if (!first.has(track.session)) first.set(track.session, ms);
    }
  }
  assert.is(first.size, 400);
  for (const [ue, at] of first) assert.ok(at - (appeared.get(ue) as number) <= 50, `${ue} waited`);
  for (let second = 0; second < 3; second++) {
    const sent = log.sent.filter(({ at }) => at >= second * 1000 && at < (second + 1) * 1000).length;
    assert.ok(sent <= 551, `${sent} in one second`);
  }
  const turns = new Map<number, number>();
  for (const { session } of log.sent) turns.set(session, (turns.get(session) ?? 0) + 1);
  assert.ok(Math.max(...turns.values()) - Math.min(...turns.values()) <= 3, "all get the same share");
});

test("a reboot with 20000 UEs is no storm, and who gets no turn is given up, not forgotten", () => {
  const pinger = new Pinger();
  const log = empty();
  for (let i = 0; i < 20_000; i++) pinger.start(track(i), 0);
  pass(pinger, 0, 20_000, log, (session, at) => {
    if (at > 100 && session % 2 === 0) pinger.stop(session, false); // the core answers half of them
  });
  const perSecond = new Array<number>(21).fill(0);
  for (const { at } of log.sent) perSecond[Math.floor(at / 1000)] = (perSecond[Math.floor(at / 1000)] as number) + 1;
  assert.ok(Math.max(...perSecond) <= 551, String(perSecond));
  assert.is(new Set(log.gaveUp.map(({ session }) => session)).size, log.gaveUp.length);
  assert.is(pinger.size, 0);
  const settled = new Set([...log.gaveUp, ...log.sent].map(({ session }) => session));
  assert.is(settled.size, 20_000);
});

test("a flood of newcomers leaves repeats their share, and repeats delay no newcomer", () => {
  const pinger = new Pinger({ rate: 100, burst: 10 });
  pinger.start(track(0, { giveUpMs: 60_000 }), 0);
  let repeats = 0;
  for (let ms = 0; ms < 10_000; ms++) {
    if (ms % 5 === 0) pinger.start(track(1 + ms, { giveUpMs: 60_000 }), ms); // twice what the rate allows
    repeats += pinger.tick(ms).pings.filter(({ track }) => track.session === 0).length;
  }
  assert.ok(repeats > 1, String(repeats));
});

const step = fc.oneof(
  fc.record({ what: fc.constant("start" as const), session: fc.nat(20), candidate: fc.boolean() }),
  fc.record({ what: fc.constant("stop" as const), session: fc.nat(20), candidate: fc.boolean() }),
  fc.record({ what: fc.constant("wait" as const), ms: fc.nat(700) }),
);

test("for any order of starts, stops and waits: the rate holds, stopped is silent, none is sent faster than its interval, all end", () => {
  const limits = { rate: 20, burst: 5 };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
      const pinger = new Pinger(limits);
      const running = new Map<string, { started: number; last?: number }>();
      const key = (session: number, candidate: boolean): string => `${session} ${candidate}`;
      let now = 0;
      const look = (log: Log): void => {
        for (const { at, session, candidate } of log.sent) {
          const state = running.get(key(session, candidate)) ?? assert.unreachable("stopped");
          assert.ok(!state || state.last === undefined || at - state.last >= 200);
          if (state) {
            assert.ok(at - state.started < 2000);
            state.last = at;
          }
        }
        for (const { at, session, candidate } of log.gaveUp) {
          assert.ok(at - (running.get(key(session, candidate))?.started ?? at) >= 2000);
          running.delete(key(session, candidate));
        }
      };
      const all: number[] = [];
      for (const one of steps) {
        if (one.what === "start") {
          pinger.start(track(one.session, { candidate: one.candidate, giveUpMs: 2000 }), now);
          if (!running.has(key(one.session, one.candidate)))
            running.set(key(one.session, one.candidate), { started: now });
        } else if (one.what === "stop") {
          assert.is(pinger.stop(one.session, one.candidate), running.delete(key(one.session, one.candidate)));
        } else {
          const part = empty();
          pass(pinger, now, now + one.ms, part);
          look(part);
          all.push(...part.sent.map(({ at }) => at));
          now += one.ms + 1;
        }
        assert.is(pinger.size, running.size);
      }
      const rest = empty();
      pass(pinger, now, now + 100_000, rest);
      look(rest);
      all.push(...rest.sent.map(({ at }) => at));
      assert.is(pinger.size, 0);
      for (const [i, at] of all.entries()) {
        const within = all.slice(i).filter((other) => other - at < 1000).length;
        assert.ok(within <= limits.burst + limits.rate + 1);
      }
    }),
    { numRuns: 300 },
  );
});

test("A5: the echo request is octet by octet what a phone would send, with the session in its payload", () => {
  const cookie = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
  const common = { id: 0x4f46, sequence: 0x8001, cookie, session: 0x01020304, epoch: 5 };
  const v4 = buildEcho({ ue: "10.45.0.2", target: "203.0.113.10", ...common }) as Uint8Array;
  assert.is(
    Buffer.from(v4).toString("hex"),
    "4500002c0000000040013498" + "0a2d0002cb00710a" + "08000da04f468001" + "0102030405060708" + "0403020105000000",
  );
  const v6 = buildEcho({ ue: "2001:db8:1::2/64", target: "2001:db8::a", ...common }) as Uint8Array;
  assert.is(v6.length, 64);
  assert.is(Buffer.from(v6.subarray(48)).toString("hex"), "01020304050607080403020105000000");
  assert.is(buildEcho({ ue: "10.45.0.2", target: "2001:db8::a", ...common }), undefined);
  assert.is(buildEcho({ ue: "nobody", target: "2001:db8::a", ...common }), undefined);
});

test.run();
