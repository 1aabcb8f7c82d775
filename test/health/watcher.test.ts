/**
 * When is a target up, when down, and how often and how many at once are asked?
 *
 * Probes are functions that the test answers; the intervals are real, and short.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Change, type Target, Watcher } from "../../controlplane/health/watcher.ts";
import type { Health } from "../../controlplane/intents/model.ts";

const health = (more: Partial<Health> = {}): Health => ({
  type: "tcp",
  intervalMs: 10,
  timeoutMs: 10,
  up: 2,
  down: 3,
  ...more,
});
const target: Target = { address: "10.60.0.2", port: 80 };

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await sleep(5);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** Answers in this order, then as the last one, and tells after which probe the state changed. */
async function play(answers: string, more: Partial<Health> = {}): Promise<string[]> {
  let asked = 0;
  const seen: string[] = [];
  const watcher = new Watcher(async () => {
    const answer = answers[Math.min(asked++, answers.length - 1)];
    if (answer !== "+") throw new Error("refused");
  });
  watcher.on(({ was, state }) => seen.push(`${asked} ${was} ${state}`));
  watcher.watch("one", target, health(more));
  await until(() => asked > answers.length, "the answers");
  watcher.stop();
  return seen;
}

test("the first probe alone decides; from then on it takes so many in a row", async () => {
  assert.equal(await play("+"), ["1 unknown up"]);
  assert.equal(await play("-"), ["1 unknown down"]);
  assert.equal(await play("+--+---"), ["1 unknown up", "7 up down"], "two failures and an answer are not three");
  assert.equal(await play("-+-++"), ["1 unknown down", "5 down up"]);
  assert.equal(await play("+-+", { up: 1, down: 1 }), ["1 unknown up", "2 up down", "3 down up"]);
});

test("what is not answered in time has failed, its signal is aborted, and the reason is kept", async () => {
  let aborted = 0;
  const watcher = new Watcher(
    (_target, _health, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => {
          aborted++;
          reject(signal.reason);
        }),
      ),
  );
  const changes: Change[] = [];
  watcher.on((change) => changes.push(change));
  watcher.watch("one", target, health());
  await watcher.known(["one"], 5000);
  assert.equal(changes, [{ key: "one", was: "unknown", state: "down", failure: "no answer within 10 ms" }]);
  assert.is(watcher.state("one")?.failure, "no answer within 10 ms");
  await until(() => aborted > 1, "another probe");
  watcher.stop();
  assert.is(watcher.state("one"), undefined);
});

test("a thousand targets: never more at once than allowed, none twice at a time, all get their turn", async () => {
  let running = 0;
  let most = 0;
  const asked = new Map<string, number>();
  const inFlight = new Set<string>();
  const watcher = new Watcher(async ({ address }) => {
    assert.not(inFlight.has(address));
    inFlight.add(address);
    most = Math.max(most, ++running);
    asked.set(address, (asked.get(address) ?? 0) + 1);
    await sleep(1);
    running--;
    inFlight.delete(address);
  }, 16);
  const keys = Array.from({ length: 1000 }, (_, index) => `k${index}`);
  for (const key of keys) watcher.watch(key, { address: key }, health({ intervalMs: 400 }));
  await watcher.known(keys, 20_000);
  assert.ok(keys.every((key) => watcher.state(key)?.state === "up"));
  await until(() => [...asked.values()].every((times) => times > 1), "a second turn of each");
  watcher.stop();
  assert.is(most, 16);
});

test("probes of many targets are spread over the interval", async () => {
  const times: number[] = [];
  const seen = new Set<string>();
  const watcher = new Watcher(async ({ address }) => {
    if (seen.has(address)) times.push(performance.now());
    seen.add(address);
  });
  const begin = performance.now();
  const interval = 1000;
  for (let i = 0; i < 200; i++) watcher.watch(`k${i}`, { address: `k${i}` }, health({ intervalMs: interval }));
  await until(() => times.length >= 200, "a second turn of each");
  watcher.stop();
  const tenths = new Array<number>(10).fill(0);
  for (const time of times.slice(0, 200)) tenths[Math.min(9, Math.floor(((time - begin) / interval) * 10))]!++;
  // A busy machine is late, never early: no tenth may hold far more than its share of 20 but the last, where lateness ends.
  assert.ok(
    tenths.slice(0, 9).every((count) => count <= 60),
    tenths.join(" "),
  );
});

test("who is not watched any more is not asked, and a probe under way is ended", async () => {
  let asked = 0;
  let ended = false;
  const watcher = new Watcher((_target, _health, signal) => {
    asked++;
    return new Promise((_resolve, reject) =>
      signal.addEventListener("abort", () => {
        ended = true;
        reject(new Error("ended"));
      }),
    );
  });
  const changes: Change[] = [];
  watcher.on((change) => changes.push(change));
  watcher.watch("one", target, health({ timeoutMs: 60_000, intervalMs: 60_000 }));
  watcher.watch("one", target, health());
  const known = watcher.known(["one"], 60_000);
  watcher.unwatch("one");
  await known;
  assert.ok(ended);
  assert.is(asked, 1);
  await sleep(30);
  assert.equal([asked, changes.length], [1, 0]);
});

test.run();
