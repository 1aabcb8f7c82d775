/** Do rules that are no services stand below them, keep their numbers, and change all or nothing (B3, B8)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Intent } from "../../controlplane/intents/model.ts";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { type Running, withAgent } from "./harness.ts";

const app = (name: string, destination: string, priority = -1): Intent => ({
  name: `app:${name}`,
  priority,
  match: { destination: [`${destination}/32`] },
  action: "take",
  endpoints: [{ address: "10.60.0.20" }],
  appInitiated: false,
});

const change = (running: Running, put: Intent[], remove: string[] = [], commit: () => void = () => {}) =>
  running.agent.services!.changeLayer(() => ({ put, remove, commit }));
const names = (running: Running) => running.dataplane.steering.rules.map(({ name }) => name);
const codeOf = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
    return undefined;
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
};
const service = { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" };

test("B3: rules of apps stand below every service, by priority, and neither list nor history of services shows them", () =>
  withAgent(async (running) => {
    await change(running, [app("low", "203.0.113.1", -256), app("high", "203.0.113.80")]);
    await running.call("POST", "/service", service);
    assert.equal(names(running), ["web", "app:high", "app:low"]);
    assert.equal((await running.call("GET", "/service")).body, [service]);
    assert.is((await running.call("GET", "/api/v1/history")).body.total, 1);
    const steering = (await running.call("GET", "/api/v1/steering")).body;
    assert.equal(
      steering.rules.map(({ id, service: index }: { id: number; service: number }) => [id, index]),
      [
        [3, 3],
        [2, 2],
        [1, 1],
      ],
    );
    const verified = (await running.call("GET", "/api/v1/verify")).body;
    assert.is(verified.rules, 3);
    assert.equal(
      verified.findings.map(({ kind, services }: { kind: string; services: string[] }) => [kind, ...services]),
      [["shadowed", "app:high", "web"]],
    );
  }));

test("B3: a change that the data plane refuses, or that is not committed, has changed nothing", () =>
  withAgent(async (running) => {
    await change(running, [app("a", "203.0.113.1")]);
    running.dataplane.refuse = new DataplaneError("no room", "classifier");
    assert.is(await codeOf(change(running, [app("b", "203.0.113.2")])), "dataplane-refused");
    running.dataplane.refuse = undefined;
    assert.equal(names(running), ["app:a"]);
    const before = running.dataplane.applied.length;
    const failing = () => {
      throw new Error("disk full");
    };
    assert.is(await codeOf(change(running, [app("b", "203.0.113.2")], ["app:a"], failing)), "store-failed");
    assert.equal(names(running), ["app:a"]);
    assert.is(running.dataplane.applied.length, before + 2, "applied, and taken back");
    const refused = running.agent.services!.changeLayer(() => {
      throw new TypeError("judged");
    });
    assert.instance(await refused.catch((error: unknown) => error), TypeError);
    assert.is(running.dataplane.applied.length, before + 2);
  }));

test("B3: a rule keeps its numbers while it is out of force, over restarts, and until it is forgotten", () =>
  withAgent(async (running) => {
    await change(running, [app("a", "203.0.113.1"), app("b", "203.0.113.2")]);
    const { layer } = running.agent.services!;
    assert.equal([layer.indexOf("app:a"), layer.indexOf("app:b")], [1, 2]);
    await change(running, [], ["app:a"]);
    assert.is(running.agent.services!.nameOf(1), "app:a");
    await running.call("POST", "/service", service);
    await change(running, [app("a", "203.0.113.9")], ["app:b"]);
    layer.forget((name) => name === "app:b");
    assert.equal([layer.indexOf("app:a"), layer.indexOf("app:b")], [1, undefined]);
    assert.is(running.agent.services!.nameOf(2), undefined);
    const again = await running.restart();
    const found = again.agent.services!;
    assert.equal([found.layer.indexOf("app:a"), found.layer.nameOf(1)], [1, "app:a"]);
    assert.equal(names(again), ["web"], "who owns the rules says which of them are in force");
    await change(again, [app("a", "203.0.113.1"), app("c", "203.0.113.3")]);
    assert.is(found.layer.indexOf("app:c"), 4, "a number that was given back rests for long");
    await again.stop();
  }));

test("B3: limits.rules counts services and rules of apps together", () =>
  withAgent(
    async (running) => {
      await change(running, [app("a", "203.0.113.1"), app("b", "203.0.113.2")]);
      assert.is((await running.call("POST", "/service", service)).status, 200);
      assert.is(await codeOf(change(running, [app("c", "203.0.113.3")])), "limit-reached");
      assert.equal(names(running), ["web", "app:a", "app:b"]);
      await change(running, [], ["app:b"]);
      running.agent.services!.layer.forget((name) => name === "app:b");
      await change(running, [app("c", "203.0.113.3")]);
      const second = { ...service, name: "two", serviceIP: "203.0.113.81" };
      assert.is((await running.call("POST", "/service", second)).status, 503);
    },
    { limits: "{ rules: 3 }" },
  ));

test("B3: a service that comes back by a rollback does not get numbers that a rule of an app has meanwhile", () =>
  withAgent(
    async (running) => {
      await running.call("POST", "/service", service);
      await running.call("DELETE", "/service/web");
      // With three numbers the circle is short: the third new rule has that of the service.
      await change(running, [app("a", "203.0.113.1"), app("b", "203.0.113.2")]);
      await change(running, [], ["app:b"]);
      running.agent.services!.layer.forget((name) => name === "app:b");
      await change(running, [app("c", "203.0.113.3")]);
      assert.is(running.agent.services!.layer.indexOf("app:c"), 1);
      assert.is((await running.call("POST", "/api/v1/rollback", { revision: 1 })).status, 200);
      const { rules } = running.dataplane.steering;
      assert.is(new Set(rules.map(({ service: index }) => index)).size, 3);
      assert.is(new Set(rules.map(({ id }) => id)).size, 3);
    },
    { limits: "{ rules: 3 }" },
  ));

test("B3: pieces of one rule may meet each other; pieces of two rules of one priority are a conflict", () =>
  withAgent(async (running) => {
    const piece = (name: string, group: string) => ({ ...app(name, "203.0.113.1"), group });
    await change(running, [piece("a", "1"), piece("a#2", "1")]);
    assert.equal((await running.call("GET", "/api/v1/verify")).body.findings, []);
    await change(running, [piece("b", "2")]);
    const { findings } = (await running.call("GET", "/api/v1/verify")).body;
    assert.ok(findings.length > 0 && findings.every(({ kind }: { kind: string }) => kind === "conflict"));
  }));

test.run();
