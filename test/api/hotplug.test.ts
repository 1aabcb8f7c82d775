/** A13: are data planes added, removed and reloaded as asked, refused whole, and remembered? */
import type { TSchema } from "typebox";
import { Value } from "typebox/value";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as schemas from "../../controlplane/api/schemas.ts";
import type { MakeExtension } from "../../controlplane/extension.ts";
import { type Running, start, withAgent } from "./harness.ts";

const fits = (schema: TSchema, value: unknown) => assert.equal([...Value.Errors(schema, value)], []);
const s3 = { name: "s3", access: "acc2", core: "cor2", uePools: ["10.47.0.0/16"], idleTimeout: "60s" };
const add = (running: Running, section: unknown) => running.call("POST", "/api/v1/dataplanes", section);
const remove = (running: Running, name: string, query = "") =>
  running.call("DELETE", `/api/v1/dataplanes/${name}${query}`);
const reload = (running: Running) => running.call("POST", "/api/v1/reload");
const names = async (running: Running): Promise<string[]> =>
  (await running.call("GET", "/api/v1/dataplanes")).body.map(
    (one: { name: string; origin: string }) => `${one.name} ${one.origin}`,
  );
const steps = ({ dataplane }: Running): string[] =>
  dataplane.calls.filter((call) => /^(add|change|remove) /.test(call));
const edit = (running: Running, from: string | RegExp, to: string): void => {
  const text = running.file.text.replace(from, to);
  assert.is.not(text, running.file.text, "the edit fits");
  running.file.text = text;
};
const S1 = "{ name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16] }";

test("A13: a data plane is added and removed over the API, and a restart has the same set", () =>
  withAgent(async (first) => {
    const added = await add(first, s3);
    assert.is(added.status, 201, JSON.stringify(added.body));
    assert.is(added.headers.get("location"), "/api/v1/dataplanes/s3");
    fits(schemas.dataplane, added.body);
    assert.equal([added.body.name, added.body.mode, added.body.origin], ["s3", "offload", "api"]);
    assert.is(first.dataplane.planes.get("s3")?.idleTimeout, 60);
    assert.is(first.dataplane.applied.length, 2, "rules may name it: they are applied again");
    assert.is((await remove(first, "s1", "?unwire=true")).body.name, "s1");
    assert.equal(steps(first), ["add s3", "remove s1 unwire"]);
    const second = await first.restart();
    assert.equal(await names(second), ["s2 site.yaml", "s3 api"]);
    assert.is((await remove(second, "s3")).status, 200);
    assert.is((await add(second, { ...s3, name: "s1" })).status, 201, "what was removed may come back as another");
    const third = await second.restart();
    assert.equal(await names(third), ["s1 api", "s2 site.yaml"]);
    assert.is(third.dataplane.planes.get("s1")?.access, "acc2");
    await third.agent.stop();
  }));

test("A13, A15: overlap is refused with the names of both, a bad section with all reasons, and nothing changes", () =>
  withAgent(async (running) => {
    const overlap = await add(running, { name: "s9", access: "acc0", core: "cor9", uePools: ["10.45.7.0/24"] });
    assert.is(overlap.status, 409);
    assert.is(overlap.body.type, "/problems/overlap");
    assert.equal(overlap.body.dataplanes, ["s9", "s1"]);
    assert.equal(overlap.body.errors, [
      { field: "access", message: '"acc0" belongs to data plane s1' },
      { field: "uePools[0]", message: "overlaps 10.45.0.0/16 of data plane s1: a UE lives on one" },
    ]);
    const bad = await add(running, { name: "s9", access: "apps0", idle: 3, uePools: ["10.45.0.0/99"], mode: "asleep" });
    assert.is(bad.status, 400);
    assert.is(bad.body.type, "/problems/invalid-configuration");
    assert.equal(bad.body.errors.map((error: { field: string }) => error.field).sort(), [
      "",
      "access",
      "idle",
      "mode",
      "uePools[0]",
    ]);
    assert.is((await add(running, { ...s3, name: "s1" })).body.type, "/problems/name-taken");
    for (const nonsense of [null, [], "s9", 7, {}])
      assert.is((await add(running, JSON.stringify(nonsense))).status, 400);
    assert.is((await remove(running, "s9")).status, 404);
    assert.is((await remove(running, "s1", "?unwire=maybe")).status, 400);
    assert.equal(steps(running), []);
    assert.equal(await names(running), ["s1 site.yaml", "s2 site.yaml"]);
  }));

test("A13: what the data plane or the rules refuse is taken back and not remembered", () =>
  withAgent(async (first) => {
    first.dataplane.refuses = (step) => step === "add s3";
    const refused = await add(first, s3);
    assert.is(refused.status, 503);
    assert.match(refused.body.detail, /^nothing has changed; no$/);
    first.dataplane.refuses = undefined;
    let applied = 0;
    first.dataplane.during = () => {
      if (applied++ === 0) throw new Error("rules do not fit");
    };
    assert.is((await add(first, s3)).status, 503);
    assert.equal(steps(first), ["add s3", "add s3", "remove s3 unwire"]);
    first.dataplane.during = undefined;
    const second = await first.restart();
    assert.equal(await names(second), ["s1 site.yaml", "s2 site.yaml"]);
    await second.agent.stop();
  }));

test("A13: reload makes site.yaml true: added, changed in place, replaced, removed, protect", () =>
  withAgent(async (running) => {
    assert.equal((await reload(running)).body, { added: [], changed: [], replaced: [], removed: [], protect: false });
    edit(running, S1, "{ name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/17], idleTimeout: 10s }");
    edit(running, /.*name: s2.*\n/, "  - { name: s4, access: acc4, core: cor4, uePools: [10.46.0.0/16] }\n");
    edit(running, "192.0.2.0/24", "192.0.2.0/24, 198.51.100.0/24");
    const answer = await reload(running);
    fits(schemas.reloaded, answer.body);
    assert.equal(answer.body, { added: ["s4"], changed: ["s1"], replaced: [], removed: ["s2"], protect: true });
    assert.equal(steps(running), ["change s1", "add s4", "remove s2"]);
    assert.ok(running.dataplane.steering.protect.includes("198.51.100.0/24"));
    const protectedNow = { name: "x", serviceIP: "198.51.100.7", applicationIP: "10.60.0.7" };
    assert.is(
      (await running.call("POST", "/service", protectedNow)).status,
      400,
      "a POST is judged by what is protected now",
    );
    edit(running, "access: acc4", "access: acc5");
    edit(running, "core: cor0", "core: cor4");
    edit(running, "core: cor4, uePools: [10.46", "core: cor0, uePools: [10.46");
    assert.equal((await reload(running)).body.replaced, ["s1", "s4"]);
    assert.equal(steps(running).slice(3), ["remove s1 unwire", "remove s4 unwire", "add s1", "add s4"]);
    assert.is((await running.call("GET", "/api/v1/dataplanes/s1")).body.mode, "offload");
  }));

test("A13, B7: what is built on the control plane hears of a site that has changed, before the answer, and cannot undo it", async () => {
  const heard: string[] = [];
  const listening: MakeExtension = ({ site }) => ({
    routes: [],
    start: async () => undefined,
    stop: async () => undefined,
    siteChanged: async () => {
      heard.push(
        site()
          .backend.dataplanes.flatMap(({ uePools }) => uePools)
          .join(),
      );
      throw new Error("refused");
    },
  });
  await withAgent(
    async (running) => {
      edit(running, "uePools: [10.45.0.0/16]", "uePools: [10.44.0.0/16]");
      assert.equal((await reload(running)).body.changed, ["s1"]);
      assert.is(heard.length, 1);
      assert.match(heard[0]!, "10.44.0.0/16");
      assert.is((await add(running, s3)).status, 201);
      assert.match(heard[1]!, "10.47.0.0/16");
    },
    { extensions: [listening] },
  );
});

test("A13: a mode set by hand outlives a reload; a mode changed in site.yaml takes hold", () =>
  withAgent(async (running) => {
    await running.call("PUT", "/api/v1/dataplanes/s2/mode", { mode: "bypass" });
    edit(running, "mode: observe", "mode: offload");
    edit(running, S1, S1.replace(" }", ", mode: observe }"));
    assert.equal((await reload(running)).body.changed, ["s1"]);
    const modes = (await running.call("GET", "/api/v1/dataplanes")).body.map(
      (one: { mode: string; configuredMode: string }) => [one.mode, one.configuredMode],
    );
    assert.equal(modes, [
      ["observe", "observe"],
      ["bypass", "offload"],
    ]);
  }));

test("A13: a reload is all or nothing: bad file, needs a restart, refused in the middle", () =>
  withAgent(async (running) => {
    const good = running.file.text;
    edit(running, "mode: observe", "mode: observant");
    edit(running, "rules: 50", "rules: many");
    const bad = await reload(running);
    assert.is(bad.status, 400);
    assert.is(bad.body.errors.length, 2);
    assert.match(bad.body.errors[0].message, /\(site\.yaml:\d+:\d+\)/);
    running.file.text = good;
    edit(running, "rules: 50", "rules: 60");
    edit(running, "name: test", "name: other");
    edit(running, "mode: observe", "mode: offload");
    const restart = await reload(running);
    assert.is(restart.status, 409);
    assert.is(restart.body.type, "/problems/needs-restart");
    assert.equal(
      restart.body.errors.map((error: { field: string }) => error.field),
      ["site.name", "limits.rules"],
    );
    assert.equal(steps(running), [], "nothing of it");
    running.file.text = good;
    edit(running, "mode: observe", "mode: offload");
    edit(running, S1, "{ name: s4, access: acc0, core: cor0 }");
    edit(running, "limits:", "  - { name: s5, access: acc5, core: cor5 }\nlimits:");
    running.dataplane.refuses = (step) => step === "add s4";
    assert.is((await reload(running)).status, 503);
    assert.equal(steps(running), [
      ...["change s2", "add s5", "remove s1 unwire", "add s4"],
      ...["add s1", "remove s5 unwire", "change s2"],
    ]);
    assert.equal(await names(running), ["s2 site.yaml", "s1 site.yaml"]);
    running.dataplane.refuses = undefined;
    assert.equal((await reload(running)).body.added, ["s5", "s4"], "the same again, once it may");
  }));

test("A13: what the API did holds over a reload, unless site.yaml has the name", () =>
  withAgent(async (running) => {
    await add(running, s3);
    await remove(running, "s1");
    await remove(running, "s2");
    edit(running, /.*name: s2.*\n/, "");
    assert.equal((await reload(running)).body.added, ["s1"]);
    assert.equal(await names(running), ["s3 api", "s1 site.yaml"]);
    edit(running, S1, S1.replace("10.45", "10.47"));
    const overlap = await reload(running);
    assert.is(overlap.status, 409);
    assert.match(overlap.body.detail, "of data plane s1: a UE lives on one");
    edit(running, S1.replace("10.45", "10.47"), `${S1}\n  - { name: s3, access: acc2, core: cor2 }`);
    assert.equal((await reload(running)).body.changed, ["s3"]);
    assert.equal(await names(running), ["s3 site.yaml", "s1 site.yaml"]);
  }));

test("A13: at a start, what was added is left out where site.yaml no longer allows it", () =>
  withAgent(async (first) => {
    await add(first, s3);
    await first.agent.stop();
    const second = await start({
      stateDir: first.stateDir,
      edit: (text) => text.replace("10.46.0.0/16", "10.47.3.0/24"),
    });
    assert.equal(await names(second), ["s1 site.yaml", "s2 site.yaml"]);
    await second.agent.stop();
  }));

test.run();
