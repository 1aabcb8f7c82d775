/**
 * Is nothing lost that was answered when the whole `offramp run` is killed in a crowd, at no step in particular (B1, B3, B7)?
 *
 * Several apps register, change and withdraw services, subscribe, and switch their rules, each as fast as it is answered, while
 * management stops and starts another; kill -9 after some number of answers, again and again on the same state.
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { inNamespace } from "../../ebpf/namespace.ts";
import { until } from "../../lab/netns.ts";
import { offer } from "../fixtures.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";
import { draw, type Reply, Site } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

let site: Site;
const instances = "/app_lcm/v1/app_instances";
const apps = ["one", "two", "three"];
const support = (app: string) => `/mec_app_support/v1/applications/${app}`;
const management = (app: string) => `/mec_service_mgmt/v1/applications/${app}`;

/** One for each app: two rules of one priority must not have a packet in common. */
const zip = (app: string, at: number) =>
  goodPackage(
    externalAppD({
      appDId: app,
      appTrafficRule: [1, 2].map((priority) => ({
        trafficRuleId: `r${priority}`,
        filterType: "FLOW",
        priority,
        trafficFilter: [{ dstAddress: [`203.0.113.${20 + at}`] }],
        action: "DROP",
      })),
      appServiceProduced: [{ serName: "camera", version: "1.0" }],
      "x-offramp": { runtime: { kind: "external" }, addresses: [`10.60.0.${20 + at}`] },
    }),
  );

/** What each resource may be now: what was answered last, or what was asked for and not answered. */
class Ledger {
  readonly #may = new Map<string, (string | undefined)[]>();

  /** Asks for a change, whose answer is the promise. False: it was cut off. */
  async change(what: string, next: string | undefined, ask: () => Promise<Reply | undefined>): Promise<boolean> {
    this.#may.set(what, [...(this.#may.get(what) ?? [undefined]), next]);
    const reply = await ask();
    if (!reply) return false;
    assert.ok(reply.status >= 200 && reply.status < 300, `${what}: ${JSON.stringify(reply)}`);
    this.#may.set(what, [next]);
    return true;
  }

  /** It is there for sure. */
  is(what: string, now: string | undefined): void {
    this.#may.set(what, [now]);
  }

  /** From now on everything is what was found. */
  check(found: ReadonlyMap<string, string>): void {
    for (const [what, may] of this.#may) {
      assert.ok(may.includes(found.get(what)), `${what} is ${found.get(what)}, and may be ${may.join(" or ")}`);
      this.#may.set(what, [found.get(what)]);
    }
  }
}

/** Does one thing after the other until it is cut off. */
async function busy(app: string, ledger: Ledger, answered: () => void): Promise<void> {
  const ask = (method: string, path: string, body?: unknown) => site.app(app, method, path, body);
  for (let n = 0; ; n += 1) {
    const made = await ask("POST", `${management(app)}/services`, offer("camera"));
    if (!made) return;
    assert.is(made.status, 201, JSON.stringify(made));
    const id: string = made.body.serInstanceId;
    const service = `service ${id}`;
    ledger.is(service, "1.0");
    answered();
    const path = `${management(app)}/services/${id}`;
    const put = () => ask("PUT", path, offer("camera", { version: "2.0" }));
    if (n % 2 === 0 && !(await ledger.change(service, "2.0", put))) return;
    answered();
    const state = n % 2 === 0 ? "ACTIVE" : "INACTIVE";
    for (const rule of ["r1", "r2"]) {
      const at = `${support(app)}/traffic_rules/${rule}`;
      const now = await ask("GET", at);
      if (!now) return;
      const switched = () => ask("PUT", at, { ...now.body, state });
      if (!(await ledger.change(`rule ${app} ${rule}`, state, switched))) return;
      answered();
    }
    if (n % 3 === 0 && !(await ledger.change(service, undefined, () => ask("DELETE", path)))) return;
    answered();
  }
}

/** Management stops and starts an instance; each operation that was accepted ends some day. */
async function managed(): Promise<void> {
  for (;;) {
    const now = await site.call("GET", `${instances}/other`);
    if (!now) return;
    const changeStateTo = now.body.instantiatedAppState.operationalState === "STARTED" ? "STOPPED" : "STARTED";
    const reply = await site.call("POST", `${instances}/other/operate`, { changeStateTo });
    if (!reply) return;
    assert.is(reply.status, 202, JSON.stringify(reply));
    const ended = await site.settled();
    if (site.dead) return;
    assert.is(ended.at(-1)?.operationState, "COMPLETED");
  }
}

async function found(): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for (const app of apps) {
    await site.prove(app);
    for (const one of (await site.app(app, "GET", `${management(app)}/services`))?.body ?? []) {
      all.set(`service ${one.serInstanceId}`, one.version);
    }
    for (const one of (await site.app(app, "GET", `${support(app)}/traffic_rules`))?.body ?? []) {
      all.set(`rule ${app} ${one.trafficRuleId}`, one.state);
    }
  }
  return all;
}

test("set-up", async () => {
  site = await Site.make();
  for (const [at, app] of [...apps, "other"].entries()) {
    const { id } = await site.must("POST", "/app_pkgm/v1/app_packages", { appPkgName: app, appPkgVersion: "1" });
    assert.is((await site.upload(`/app_pkgm/v1/app_packages/${id}`, zip(app, at)))?.status, 202);
    await site.must("POST", instances, { appDId: app, id: app });
    await site.must("POST", `${instances}/${app}/instantiate`, {});
    await site.settled();
    await site.prove(app);
    const ready = await site.app(app, "POST", `${support(app)}/confirm_ready`, { indication: "READY" });
    assert.is(ready?.status, 204);
  }
});

test("B1, B3, B7: killed five times in a crowd: what was answered is there, what was not is whole or not there", async () => {
  const ledger = new Ledger();
  for (let round = 0; round < 5; round += 1) {
    const wanted = 10 + Math.floor(draw() * 50);
    let answers = 0;
    const answered = () => {
      answers += 1;
      if (answers === wanted) void site.kill();
    };
    await Promise.all([...apps.map((app) => busy(app, ledger, answered)), managed()]);
    await until("its death", () => site.dead, 60_000);
    await site.start();
    await site.settled();
    ledger.check(await found());
    await site.whole(`round ${round}, after ${answers} answers`);
  }
});

test("B7: killed in an app's time of grace: it is told again, has the rest of its time, and confirms", async () => {
  const own = support("one");
  const subscription = {
    subscriptionType: "AppTerminationNotificationSubscription",
    callbackReference: "http://10.60.0.20/end",
    appInstanceId: "one",
  };
  assert.is((await site.app("one", "POST", `${own}/subscriptions`, subscription))?.status, 201);
  const graceful = { terminationType: "GRACEFUL", gracefulTerminationTimeout: 3600 };
  await site.must("POST", `${instances}/one/terminate`, graceful);
  const deadline = () =>
    until("it to be told", async () => {
      const info = await site.must("GET", `${instances}/one`);
      return info["x-offramp"].terminating?.deadline as { seconds: number } | undefined;
    });
  const first = await deadline();
  for (let round = 0; round < 2; round += 1) {
    await site.kill();
    await site.start();
    assert.equal(await deadline(), first, "its time goes on, and does not begin anew");
  }
  await site.prove("one");
  const confirm = (operationAction: string) =>
    site.app("one", "POST", `${own}/confirm_termination`, { operationAction });
  assert.is((await confirm("STOPPING"))?.status, 409);
  assert.is((await confirm("TERMINATING"))?.status, 204);
  assert.is((await site.settled()).at(-1)?.operationState, "COMPLETED");
  await site.whole("terminated");
  assert.is((await site.app("one", "GET", `${own}/traffic_rules`))?.status, 401);
});

test.after(async () => {
  await site?.close();
});

test.run();
