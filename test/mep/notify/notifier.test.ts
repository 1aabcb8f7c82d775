/** Does the notifier as a whole reach many, give up on the dead, say so, and end (B1)? */
import { Registry } from "prom-client";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Subscriber } from "../../../mep/parts.ts";
import { until } from "../../lab/netns.ts";
import { deadPort, type Receiver, receiver, withNotifier } from "./receivers.ts";

const minute = 60_000;

test("B1: a change is told to 1 000 subscribers, each gets all of it in order, with bounded attempts at a time", async () => {
  const subscribers = 1000;
  const notes = 3;
  let running = 0;
  let most = 0;
  const servers: Receiver[] = await Promise.all(
    Array.from({ length: 10 }, () =>
      receiver((_request, response) => {
        running += 1;
        most = Math.max(most, running);
        setTimeout(() => {
          running -= 1;
          response.writeHead(204).end();
        }, 5);
      }),
    ),
  );
  await withNotifier(
    async ({ notifier }) => {
      for (let note = 0; note < notes; note += 1) {
        for (let number = 0; number < subscribers; number += 1) {
          const port = servers[number % servers.length]?.port;
          const one: Subscriber = {
            id: `s${number}`,
            instance: `i${number % 200}`,
            callbackReference: `http://127.0.0.1:${port}/${number}`,
          };
          notifier.send(one, { note });
        }
      }
      await until("all", () => notifier.counts.sent === subscribers * notes, minute);
      const byPath = new Map<string, number[]>();
      for (const { path, body } of servers.flatMap(({ received }) => received)) {
        byPath.set(path, [...(byPath.get(path) ?? []), body.note]);
      }
      assert.is(byPath.size, subscribers);
      for (const got of byPath.values()) assert.equal(got, [0, 1, 2]);
      assert.ok(most <= 32, `${most} at a time`);
      assert.is(notifier.waiting, 0);
    },
    { queue: { atOnce: 32 } },
  );
  await Promise.all(servers.map(({ close }) => close()));
});

test("B1: of 100 subscribers the half that is dead costs the other half nothing", async () => {
  const alive = await receiver();
  const dead = await deadPort();
  await withNotifier(
    async ({ notifier, events }) => {
      for (let number = 0; number < 100; number += 1) {
        const port = number % 2 ? alive.port : dead;
        const at = {
          id: `s${number}`,
          instance: `i${number}`,
          callbackReference: `http://127.0.0.1:${port}/${number}`,
        };
        for (const note of [1, 2]) notifier.send(at, { note });
      }
      await until("the living", () => notifier.counts.sent === 100, minute);
      assert.is(alive.received.length, 100);
      await until(
        "the breakers of the others",
        () => events.filter((type) => type === "callback-down").length === 50,
        minute,
      );
    },
    { queue: { retryMs: [1, 1, 1000], breaker: { failures: 2, openMs: 60_000, openAtMostMs: 60_000 } } },
  );
  await alive.close();
});

test("B1: an app that comes back is found again, and gets what waited", async () => {
  let well = false;
  const target = await receiver((_request, response) => void response.writeHead(well ? 204 : 500).end());
  await withNotifier(
    async ({ notifier, events }) => {
      const at = { id: "s", instance: "a", callbackReference: `http://127.0.0.1:${target.port}/` };
      for (const note of [1, 2, 3]) notifier.send(at, { note });
      await until("the breaker", () => events.includes("callback-down"));
      well = true;
      await until("all that waited", () => notifier.counts.sent >= 2 && notifier.waiting === 0, minute);
      assert.is(events.at(-1), "callback-up");
    },
    { queue: { retryMs: [1, 1, 1], breaker: { failures: 2, openMs: 100, openAtMostMs: 100 } } },
  );
  await target.close();
});

test("B1: what is lost is said once a minute and app, however much it is, and all of it is counted", async () => {
  const registry = new Registry();
  await withNotifier(async ({ notifier, lost, events }) => {
    notifier.register(registry);
    for (let number = 0; number < 100; number += 1) {
      for (const instance of ["a", "b"]) {
        notifier.send({ id: `${instance}${number}`, instance, callbackReference: "http://127.0.0.66/" }, {});
      }
    }
    await until("their ends", () => notifier.counts.blocked === 200);
    assert.equal(
      lost.map(({ instance, end }) => `${instance} ${end}`),
      ["a blocked", "b blocked"],
    );
    assert.is(events.length, 2);
    const text = await registry.metrics();
    assert.match(text, /offramp_notifications_total\{end="blocked"\} 200/);
    assert.match(text, /offramp_notifications_total\{end="sent"\} 0/);
    assert.match(text, /offramp_notifications_waiting 0/);
    assert.match(text, /offramp_notification_breakers\{state="open"\} 0/);
  });
});

test("B1: it ends while callbacks hang, and nothing is sent after", async () => {
  const target = await receiver(() => undefined);
  await withNotifier(async ({ notifier }) => {
    const at = { id: "s", instance: "a", callbackReference: `http://127.0.0.1:${target.port}/` };
    for (const note of [1, 2, 3]) notifier.send(at, { note });
    await until("the first", () => target.received.length === 1);
    await notifier.stop();
    assert.is(notifier.counts.stopped, 3);
    notifier.send(at, { note: 4 });
    assert.is(notifier.counts.stopped, 4);
    assert.is(target.received.length, 1);
  });
  await target.close();
});

test.run();
