/** In which order are notifications tried, what waits, what is dropped, and does a dead place cost the others nothing (B1)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Breaker } from "../../../mep/notify/breaker.ts";
import { type Attempt, type End, ends, type Outcome, Queue, type QueueSettings } from "../../../mep/notify/queue.ts";
import type { Subscriber } from "../../../mep/parts.ts";
import { sleep, until } from "../../lab/netns.ts";

interface Tried {
  id: string;
  body: string;
  end(outcome: Outcome, why?: string): void;
}

interface Bench {
  queue: Queue;
  /** Attempts that run, oldest first. */
  running: Tried[];
  /** All attempts, as `id body`. */
  log: string[];
  ended: string[];
  turned: string[];
}

/** A queue whose attempts last until the test ends them. */
function bench(settings: Partial<QueueSettings> = {}): Bench {
  const running: Tried[] = [];
  const log: string[] = [];
  const ended: string[] = [];
  const turned: string[] = [];
  const queue = new Queue({
    deliver: ({ id }, body, signal) =>
      new Promise<Attempt>((resolve) => {
        log.push(`${id} ${body}`);
        const tried: Tried = {
          id,
          body,
          end(outcome, why) {
            running.splice(running.indexOf(tried), 1);
            resolve({ outcome, ...(why && { why }) });
          },
        };
        running.push(tried);
        signal.addEventListener("abort", () => tried.end("again", "cut"), { once: true });
      }),
    placeOf: ({ websocket, callbackReference }) => (websocket ? undefined : callbackReference),
    ended: (end, { id }, why) => ended.push(`${id} ${end}${why ? ` ${why}` : ""}`),
    turned: (_, place, answers) => turned.push(`${place} ${answers ? "up" : "down"}`),
    settings: { retryMs: [1, 1, 1, 1], ...settings },
  });
  return { queue, running, log, ended, turned };
}

const to = (id: string, instance = "a", place = `http://${instance}`): Subscriber => ({
  id,
  instance,
  callbackReference: place,
});
const turn = () => sleep(0);

test("B1: one subscriber gets its notifications one by one and in order; one that is tried again holds the others", async () => {
  const { queue, running, log } = bench();
  for (const body of ["1", "2", "3"]) queue.send(to("s"), body);
  assert.equal(log, ["s 1"]);
  running[0]?.end("again");
  await until("the second attempt", () => log.length === 2);
  running[0]?.end("sent");
  await until("the next", () => log.length === 3);
  running[0]?.end("sent");
  await until("the last", () => log.length === 4);
  running[0]?.end("sent");
  await turn();
  assert.equal(log, ["s 1", "s 1", "s 2", "s 3"]);
  assert.is(queue.counts.sent, 3);
  assert.is(queue.retries, 1);
  assert.is(queue.waiting, 0);
});

test("B1: what nobody answers is given up after as many attempts as the schedule has; what is refused, at once", async () => {
  const { queue, running, log, ended } = bench({ breaker: { failures: 99, openMs: 1, openAtMostMs: 1 } });
  queue.send(to("s"), "1");
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    await until(`attempt ${attempt}`, () => running.length === 1);
    running[0]?.end("again", "silence");
  }
  await until("its end", () => ended.length === 1);
  assert.is(log.length, 5);
  for (const outcome of ["refused", "blocked"] as const) {
    queue.send(to("s"), outcome);
    running[0]?.end(outcome, "no");
    await turn();
  }
  assert.equal(ended, ["s given-up silence", "s refused no", "s blocked no"]);
});

test("B1: an instance that has too much waiting loses its oldest, others lose nothing", async () => {
  const { queue, running, ended } = bench({ waiting: 3 });
  for (let number = 1; number <= 6; number += 1) queue.send(to(number % 2 ? "odd" : "even"), `${number}`);
  queue.send(to("other", "b"), "x");
  // 1 and 2 are tried; 3 had to go for 6.
  assert.equal(ended, ["odd full"]);
  assert.is(queue.waiting, 3);
  const seen: string[] = [];
  while (queue.waiting + running.length > 0) {
    const one = running[0];
    if (one) seen.push(one.body);
    one?.end("sent");
    await turn();
  }
  assert.equal(seen.sort(), ["1", "2", "4", "5", "6", "x"]);
});

test("B1: when all that waits is too large, the largest heap loses its oldest", () => {
  const { queue, ended } = bench({ octets: 100, atOnceOfInstance: 1 });
  queue.send(to("small", "b"), "now");
  queue.send(to("small", "b"), "x".repeat(10));
  queue.send(to("big"), "now");
  for (let number = 0; number < 5; number += 1) queue.send(to("big"), "y".repeat(40));
  assert.equal([...new Set(ended)], ["big full"]);
  assert.is(ended.length, 3);
});

test("B1: attempts are bounded for all and for each, and instances take turns", async () => {
  const { queue, running, log } = bench({ atOnce: 3, atOnceOfInstance: 2 });
  for (let number = 0; number < 6; number += 1) queue.send(to(`a${number}`, "a"), "x");
  for (const instance of ["b", "c"]) for (const n of [0, 1]) queue.send(to(`${instance}${n}`, instance), "x");
  assert.equal(log, ["a0 x", "a1 x", "b0 x"]);
  while (running.length > 0) {
    assert.ok(running.length <= 3);
    assert.ok(running.filter(({ id }) => id.startsWith("a")).length <= 2);
    running[0]?.end("sent");
    await turn();
  }
  assert.equal(
    log
      .map((entry) => entry.slice(0, 2))
      .slice(3, 7)
      .sort(),
    ["a2", "b1", "c0", "c1"],
  );
  assert.is(log.length, 10);
});

test("B1: a place that does not answer is left alone; then one asks for all that wait", async () => {
  const { queue, running, log, turned } = bench({ breaker: { failures: 2, openMs: 50, openAtMostMs: 100 } });
  queue.send(to("s1"), "1");
  queue.send(to("s2"), "2");
  queue.send(to("s3", "a", "http://elsewhere"), "3");
  for (const one of running.filter(({ id }) => id !== "s3")) one.end("again");
  await turn();
  assert.equal(turned, ["http://a down"]);
  assert.is(queue.breakers().open, 1);
  queue.send(to("s4"), "4");
  await sleep(10);
  assert.equal(log, ["s1 1", "s2 2", "s3 3"]);
  await until("the one that asks", () => log.length === 4);
  await sleep(20);
  assert.is(log.length, 4);
  assert.is(queue.breakers()["half-open"], 1);
  running.find(({ id }) => id !== "s3")?.end("again");
  await turn();
  assert.is(queue.breakers().open, 1);
  await until("another one that asks", () => log.length === 5);
  running.find(({ id }) => id !== "s3")?.end("sent");
  await until("the others", () => log.length >= 7);
  assert.equal(turned, ["http://a down", "http://a up"]);
  for (const one of [...running]) one.end("sent");
  await turn();
  assert.is(queue.counts.sent, 4);
});

test("B1: the one that asks may be forgotten or blocked meanwhile: another asks", async () => {
  for (const away of ["forget", "blocked"] as const) {
    const { queue, running, log } = bench({ breaker: { failures: 2, openMs: 30, openAtMostMs: 30 } });
    queue.send(to("s1"), "1");
    queue.send(to("s2"), "2");
    for (const one of [...running]) one.end("again");
    await until("the one that asks", () => log.length === 3);
    await until("the other to wait", () => queue.breakers()["half-open"] === 1);
    const first = running[0];
    if (away === "forget") queue.forget(first?.id ?? "");
    else first?.end("blocked");
    await until("another one", () => running[0] !== undefined && running[0].id !== first?.id);
    running[0]?.end("sent");
    await turn();
    assert.is(queue.counts.sent, 1);
    assert.is(queue.breakers().closed, 0);
    await queue.stop(0);
  }
});

test("B1: after a subscription is forgotten nothing of it goes out, and what ran is cut off", async () => {
  const { queue, running, log, ended } = bench();
  queue.send(to("s"), "1");
  queue.send(to("s"), "2");
  queue.send(to("t"), "3");
  queue.forget("s");
  await turn();
  assert.equal(ended, ["s forgotten", "s forgotten"]);
  assert.equal(
    running.map(({ id }) => id),
    ["t"],
  );
  queue.forget("unknown");
  queue.send(to("s"), "again");
  assert.is(log.at(-1), "s again");
});

test("B1: old news is not sent", async () => {
  const { queue, running, log, ended } = bench({ ageMs: 20 });
  queue.send(to("s"), "1");
  queue.send(to("s"), "2");
  await sleep(40);
  queue.send(to("s"), "3");
  running[0]?.end("sent");
  await until("the third", () => log.length === 2);
  assert.equal(log, ["s 1", "s 3"]);
  assert.equal(ended, ["s sent", "s expired"]);
});

test("B1: an app that is not connected is waited for", async () => {
  const { queue, running, log } = bench();
  const socket: Subscriber = { id: "ws", instance: "a", websocket: true };
  queue.send(socket, "1");
  running[0]?.end("absent");
  await turn();
  queue.send(socket, "2");
  assert.is(log.length, 1);
  queue.wake("ws");
  assert.equal(log, ["ws 1", "ws 1"]);
  running[0]?.end("sent");
  await turn();
  assert.is(log.at(-1), "ws 2");
});

test("B1: it stops at once, with what waits dropped and counted", async () => {
  const { queue, ended } = bench();
  queue.send(to("s"), "1");
  queue.send(to("s"), "2");
  queue.send(to("t", "b"), "3");
  await queue.stop(1);
  queue.send(to("s"), "4");
  assert.equal(ended.sort(), ["s stopped", "s stopped", "s stopped", "t stopped"]);
  assert.is(queue.running, 0);
});

test("B1: a breaker opens for longer each time, up to a bound, and an answer closes it", () => {
  const breaker = new Breaker({ failures: 2, openMs: 10, openAtMostMs: 25 });
  assert.is(breaker.failed(), false);
  breaker.succeeded();
  assert.is(breaker.failed(), false);
  assert.is(breaker.failed(), true);
  assert.is(breaker.admit(), false);
  for (const wait of [20, 25, 25]) {
    breaker.rearm();
    assert.is(breaker.admit(), true);
    assert.is(breaker.admit(), false);
    assert.is(breaker.failed(), true);
    assert.is(breaker.openMs, wait);
  }
  breaker.rearm();
  breaker.admit();
  breaker.succeeded();
  assert.is(breaker.state, "closed");
  assert.is(breaker.openMs, 0);
});

test("B1: whatever happens, each notification ends once, order is kept, and nothing is left", async () => {
  const event = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("send" as const), lane: fc.nat(5) }) },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("end" as const),
        which: fc.nat(7),
        outcome: fc.constantFrom<Outcome>("sent", "sent", "again", "refused", "blocked", "absent"),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("forget" as const), lane: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("wake" as const), lane: fc.nat(5) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 60 }), fc.constantFrom(1, 500), async (events, openMs) => {
      const { queue, running, log } = bench({
        waiting: 5,
        octets: 40,
        atOnce: 3,
        atOnceOfInstance: 2,
        breaker: { failures: 1, openMs, openAtMostMs: 2 * openMs },
      });
      const lane = (number: number): Subscriber => {
        const instance = `i${number % 2}`;
        return number === 5 ? { id: "l5", instance, websocket: true } : to(`l${number}`, instance, `p${number % 3}`);
      };
      let sent = 0;
      for (const one of events) {
        if (one.kind === "send") queue.send(lane(one.lane), String(sent++).padStart(3, "0"));
        else if (one.kind === "end") running[one.which % Math.max(1, running.length)]?.end(one.outcome);
        else if (one.kind === "forget") queue.forget(`l${one.lane}`);
        else if (one.kind === "wake") queue.wake(`l${one.lane}`);
        else await sleep(2);
        await turn();
        assert.ok(running.length <= 3);
        assert.ok(new Set(running.map(({ id }) => id)).size === running.length, "one at a time per subscriber");
      }
      for (const id of new Set(log.map((entry) => entry.slice(0, 2)))) {
        const bodies = log.filter((entry) => entry.startsWith(id));
        assert.equal(bodies, [...bodies].sort(), "in order");
      }
      await queue.stop(0);
      const total = ends.reduce((sum, end: End) => sum + queue.counts[end], 0);
      assert.is(total, sent);
      assert.is(queue.waiting + queue.running, 0);
      assert.equal(queue.breakers(), { closed: 0, open: 0, "half-open": 0 });
    }),
    { numRuns: 150 },
  );
});

test.run();
