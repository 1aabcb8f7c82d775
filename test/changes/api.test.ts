/** Are whole sets applied all or nothing, and do history, rollback and confirm keep their word over the API? */

import type { TSchema } from "typebox";
import { Value } from "typebox/value";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as shapes from "../../controlplane/api/set-schemas.ts";
import { Store } from "../../controlplane/store/store.ts";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { type Running, withAgent } from "../api/harness.ts";

const service = (n: number, app = 80) => ({
  name: `s${n}`,
  serviceIP: `203.0.113.${n}`,
  applicationIP: `10.60.0.${app}`,
});
const list = (...numbers: number[]) => numbers.map((n) => service(n));
const names = ({ dataplane }: Running) => dataplane.steering.rules.map((rule) => rule.name).sort();
const numbers = ({ dataplane }: Running) =>
  Object.fromEntries(dataplane.steering.rules.map((rule) => [rule.name, [rule.id, rule.service]]));
const put = (running: Running, body: unknown, query = "") => running.call("PUT", `/api/v1/services${query}`, body);
function shaped(schema: TSchema, value: unknown): void {
  assert.equal(Value.Errors(schema, value), []);
}

/** Waits, in bounded steps. */
async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 400; i += 1) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.unreachable(String(what));
}

test("a list becomes the whole set in one step; what stays keeps its numbers", () =>
  withAgent(async (running) => {
    const { call, dataplane } = running;
    await call("POST", "/service", service(1));
    await call("POST", "/service", service(2));
    const before = numbers(running);
    const steps = dataplane.applied.length;
    const planned = await put(running, [service(2, 90), ...list(3, 4)], "?dryRun=true");
    const { tables, ...wouldBe } = planned.body;
    shaped(shapes.setResult, planned.body);
    assert.equal(wouldBe, { added: ["s3", "s4"], changed: ["s2"], removed: ["s1"], kept: 0 });
    assert.equal(
      tables
        .map((one: { key: string; before?: string; after?: string }) => [one.key, !!one.before, !!one.after])
        .sort(),
      [
        ["s1", true, false],
        ["s2", true, true],
        ["s3", false, true],
        ["s4", false, true],
      ],
    );
    assert.is(dataplane.applied.length, steps, "a plan changes nothing");
    const done = await put(running, [service(2, 90), ...list(3, 4)]);
    assert.equal(done.body, { revision: 3, ...wouldBe });
    shaped(shapes.setResult, done.body);
    assert.is(dataplane.applied.length, steps + 1);
    assert.equal(names(running), ["s2", "s3", "s4"]);
    assert.equal(numbers(running).s2, before.s2);
    const again = await put(running, [...list(4, 3), service(2, 90)]);
    assert.equal(again.body, { added: [], changed: [], removed: [], kept: 3 });
    assert.is(dataplane.applied.length, steps + 1, "nothing to do is not done");
    assert.equal((await put(running, [])).body.removed.sort(), ["s2", "s3", "s4"]);
  }));

test("a list is refused whole, with everything that is wrong", () =>
  withAgent(async (running) => {
    await put(running, list(1, 2));
    const before = [running.dataplane.steering, (await running.call("GET", "/service")).body];
    const bad = [
      service(3),
      { ...service(4), colour: "red" },
      service(3),
      { name: "x" },
      { ...service(5), serviceIP: "no" },
    ];
    const answer = await put(running, bad);
    assert.is(answer.status, 400);
    assert.equal(
      answer.body.errors.map((error: { field: string }) => error.field),
      ["[1].colour", "[2].name", "[3]", "[4].serviceIP"],
    );
    const twins = [service(6), { ...service(6), name: "twin" }, service(7), { ...service(7), name: "other" }];
    const met = await put(running, twins);
    assert.is(met.status, 409);
    assert.equal(met.body.services.sort(), ["other", "s6", "s7", "twin"]);
    const many = Array.from({ length: 51 }, (_, n) => service(n + 10));
    assert.is((await put(running, many)).body.type, "/problems/limit-reached");
    for (const body of [{}, "7", service(1), null]) assert.is((await put(running, body)).status, 400);
    assert.is((await put(running, [], "?confirm=0")).status, 400);
    running.dataplane.refuse = new DataplaneError("no memory", "rules");
    assert.is((await put(running, list(8), "?confirm=60")).status, 503);
    running.dataplane.refuse = undefined;
    assert.equal([running.dataplane.steering, (await running.call("GET", "/service")).body], before);
    assert.is((await running.call("GET", "/api/v1/confirm")).status, 404, "nothing waits");
    assert.is((await put(running, list(9))).status, 200);
  }));

const hidden = {
  name: "hidden",
  rules: { priority: 1, nw_dst: "203.0.113.9", nw_src: "10.45.0.0/16", endpoint: "10.60.0.9" },
};
const shadowed = 'shadowed;service="hidden";by="s9"';

test("what never acts is accepted in a list and said; in a dry run and a rollback too (C7)", () =>
  withAgent(async (running) => {
    for (const query of ["?dryRun=true", ""]) {
      const answer = await put(running, [hidden, service(9)], query);
      assert.is(answer.status, 200);
      shaped(shapes.setResult, answer.body);
      assert.is(answer.headers.get("offramp-warning"), shadowed);
      const told = answer.body.warnings.map((one: { kind: string; services: string[] }) => [one.kind, one.services]);
      assert.equal(told, [["shadowed", ["hidden", "s9"]]]);
    }
    const more = await put(running, [hidden, service(9), service(8)]);
    assert.not("warnings" in more.body, "nothing new of what was there");
    assert.is((await put(running, [hidden])).body.warnings, undefined);
    const back = await running.call("POST", "/api/v1/rollback", { revision: 1 });
    assert.is(back.headers.get("offramp-warning"), shadowed);
    assert.is(back.body.warnings[0].kind, "shadowed");
  }));

test("what would come back is refused in a list, with the name and the field of each (C7)", () =>
  withAgent(async (running) => {
    const back = (name: string, nw_dst: string) => ({
      name,
      rules: { priority: 7, nw_dst, nw_src: "0.0.0.0/0", endpoint: "local" },
    });
    for (const query of ["?dryRun=true", ""]) {
      const body = [service(1), back("a", "10.45.0.5"), back("b", "10.46.0.0/24")];
      const answer = await put(running, body, query);
      assert.is(answer.status, 400);
      assert.equal(
        answer.body.errors.map((one: { field: string }) => one.field),
        ['"a".rules.nw_dst', '"b".rules.nw_dst'],
      );
      assert.equal(answer.body.services, ["a", "b"]);
    }
    assert.equal(names(running), []);
  }));

test("every change is a revision: who, what, and what each service was and became", () =>
  withAgent(async (running) => {
    const { call } = running;
    await call("POST", "/service", service(1));
    await call("PUT", "/service/s1", { ...service(1, 90), name: "www" });
    await put(running, list(2, 3));
    await call("DELETE", "/service/s2");
    await call("POST", "/service", service(3));
    const { body } = await call("GET", "/api/v1/history");
    shaped(shapes.history, body);
    assert.equal(
      body.revisions.map((one: { revision: number; who: string; what: string }) => [one.revision, one.who, one.what]),
      [
        [4, "loopback", 'service "s2" removed'],
        [3, "loopback", "2 services applied: 2 added, 1 removed"],
        [2, "loopback", 'service "s1" changed, now called "www"'],
        [1, "loopback", 'service "s1" added'],
      ],
    );
    const two = await call("GET", "/api/v1/history/2?services=true");
    shaped(shapes.revision, two.body);
    assert.equal(two.body.touched, [{ before: service(1), after: { ...service(1, 90), name: "www" } }]);
    assert.equal(two.body.services, [{ ...service(1, 90), name: "www" }]);
    assert.is((await call("GET", "/api/v1/history/99")).status, 404);
    assert.equal((await call("GET", "/api/v1/history?limit=1&offset=1")).body.revisions[0].revision, 3);
  }));

test("the history says token, and never which", () =>
  withAgent(
    async ({ call }) => {
      const bearer = { authorization: "Bearer a-secret-of-16-characters" };
      await call("POST", "/service", service(1), bearer);
      const { body } = await call("GET", "/api/v1/history", undefined, bearer);
      assert.is(body.revisions[0].who, "token");
    },
    { extra: "api: { listen: 127.0.0.1:0, token: a-secret-of-16-characters }" },
  ));

test("rollback brings a set back with its numbers, as a new revision, and also over a restart", () =>
  withAgent(async (first) => {
    await put(first, list(1, 2, 3));
    const before = numbers(first);
    await first.call("PUT", "/service/s2", { ...service(2), name: "renamed" });
    await put(first, list(3, 4));
    const running = await first.restart();
    try {
      const back = await running.call("POST", "/api/v1/rollback", { revision: 1 });
      assert.equal(back.body, { revision: 4, added: ["s1", "s2"], changed: [], removed: ["s4"], kept: 1 });
      assert.equal(numbers(running), before);
      const nothing = await running.call("POST", "/api/v1/rollback", { revision: 0 });
      assert.equal(names(running), [], "0 is what was there before the first change");
      assert.is(nothing.body.removed.length, 3);
      assert.is((await running.call("POST", "/api/v1/rollback", { revision: 77 })).status, 404);
      assert.is((await running.call("POST", "/api/v1/rollback", {})).body.type, "/problems/not-armed");
      assert.is((await running.call("POST", "/api/v1/rollback", { to: 1 })).status, 400);
    } finally {
      await running.agent.stop();
    }
  }));

test("while a change waits to be confirmed every other is refused; confirm keeps it", () =>
  withAgent(async (running) => {
    const { call } = running;
    await put(running, list(1));
    const trial = await put(running, list(2), "?confirm=600");
    assert.match(trial.body.until, /^\d{4}-.*Z$/);
    shaped(shapes.setResult, trial.body);
    for (const [method, path, body] of [
      ["POST", "/service", service(9)],
      ["PUT", "/service/s2", service(2, 91)],
      ["DELETE", "/service/s2", undefined],
      ["PUT", "/api/v1/services", list(9)],
      ["PUT", "/api/v1/services?confirm=5", list(9)],
    ] as const) {
      const refused = await call(method, path, body);
      assert.is(refused.status, 409, `${method} ${path}`);
      assert.is(refused.body.type, "/problems/unconfirmed");
      assert.match(refused.body.until, /^\d{4}-/);
    }
    const waiting = await call("GET", "/api/v1/confirm");
    shaped(shapes.waiting, waiting.body);
    assert.is(waiting.body.revision, 2);
    assert.is((await call("GET", "/api/v1/history")).body.waiting.back, 1);
    assert.is((await call("POST", "/api/v1/confirm")).status, 200);
    assert.is((await call("POST", "/api/v1/confirm")).body.type, "/problems/not-armed");
    assert.equal(names(running), ["s2"]);
    assert.is((await call("POST", "/service", service(9))).status, 200);
  }));

test("what is not confirmed takes itself back, also when the data plane refuses at first", () =>
  withAgent(async (running) => {
    const { call, dataplane, agent } = running;
    await put(running, list(1, 2));
    const before = numbers(running);
    assert.is((await put(running, list(2, 3), "?confirm=1")).status, 200);
    assert.equal(names(running), ["s2", "s3"]);
    await until(() => names(running).join() === "s1,s2");
    assert.equal(numbers(running), before);
    const newest = (await call("GET", "/api/v1/history")).body.revisions[0];
    assert.is(newest.who, "deadline");
    assert.match(newest.what, "revision 2 was not confirmed within 1 s: back to revision 1 (1 added, 1 removed)");
    await put(running, [], "?confirm=1");
    dataplane.refuse = new DataplaneError("no memory", "rules");
    let tries = 0;
    dataplane.during = () => {
      tries += 1;
    };
    await until(() => tries > 0);
    assert.is((await call("GET", "/api/v1/confirm")).status, 200, "it still waits");
    dataplane.refuse = undefined;
    await until(() => names(running).join() === "s1,s2");
    assert.ok(agent.services?.get("s1"));
  }));

test("rollback ends the wait: to before the change, or anywhere", () =>
  withAgent(async (running) => {
    await put(running, list(1));
    await put(running, list(2));
    await put(running, list(3), "?confirm=600");
    assert.equal((await running.call("POST", "/api/v1/rollback", {})).body.removed, ["s3"]);
    assert.equal(names(running), ["s2"]);
    await put(running, list(4), "?confirm=600");
    await running.call("POST", "/api/v1/rollback", { revision: 1 });
    assert.equal(names(running), ["s1"]);
    assert.is((await running.call("GET", "/api/v1/confirm")).status, 404);
  }));

test("a restart before the deadline goes on waiting; one after it starts with the older services", () =>
  withAgent(async (first) => {
    await put(first, list(1));
    await put(first, list(2), "?confirm=600");
    const second = await first.restart();
    assert.equal(names(second), ["s2"]);
    assert.is((await second.call("POST", "/service", service(9))).status, 409);
    await second.agent.stop();
    const store = new Store(second.stateDir);
    const armed = store.armed();
    assert.ok(armed);
    store.disarm();
    store.arm({ ...armed, since: { ...armed.since, uptime: armed.since.uptime - 600_000 } });
    store.close();
    // Armed and never in force, then armed, in force and overdue.
    const third = await second.restart();
    assert.equal(names(third), ["s2"], "what the row does not name as its own stays");
    await put(third, list(5), "?confirm=1");
    await third.agent.stop();
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const fourth = await third.restart();
    assert.equal(names(fourth), ["s2"]);
    assert.is(fourth.dataplane.applied.length, 1, "what was not confirmed was not applied again");
    assert.is((await fourth.call("GET", "/api/v1/confirm")).status, 404);
    await fourth.agent.stop();
  }));

test("C7: what the data plane holds is compared with what was applied, and a drift is told", () =>
  withAgent(async (running) => {
    const { call, dataplane } = running;
    await put(running, list(1));
    const fine = await call("GET", "/api/v1/deployed");
    assert.equal(fine.body, { agrees: true, differences: [] });
    dataplane.found = [{ table: "rules", key: "s1", intended: "00", found: "01" }];
    const drift = await call("GET", "/api/v1/deployed");
    shaped(shapes.deployed, drift.body);
    assert.equal(drift.body, { agrees: false, differences: dataplane.found });
    assert.match((await call("GET", "/metrics")).body, /^offramp_deployed_differences 1$/m);
  }));

test("ten thousand services at once, and one changed among them", () =>
  withAgent(
    async (running) => {
      const many = Array.from({ length: 10_000 }, (_, n) => ({
        name: `s${n}`,
        serviceIP: `198.51.${n >> 8}.${n & 255}`,
        applicationIP: `10.60.${n >> 8}.${n & 255}`,
      }));
      assert.is((await put(running, many)).body.added.length, 10_000);
      assert.is(running.dataplane.steering.rules.length, 10_000);
      const one = { ...many[5000], applicationIP: "10.60.255.1" };
      const changed = await put(running, many.with(5000, one as (typeof many)[0]), "?confirm=600");
      assert.equal([changed.body.changed, changed.body.kept], [["s5000"], 9999]);
      await running.call("POST", "/api/v1/rollback", {});
      assert.is((await running.call("GET", "/service/s5000")).body.applicationIP, "10.60.19.136");
    },
    { limits: "{ rules: 12000 }" },
  ));

test.run();
