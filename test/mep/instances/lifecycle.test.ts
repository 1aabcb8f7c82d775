/**
 * Does an instance go through its life as GS MEC 010-2 and GS MEC 011 say, and is each step all or nothing (B7)?
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../../controlplane/errors.ts";
import { type Managed, managing, RecordingPart } from "../onboarding.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";

const root = "/app_lcm/v1";
const path = (id: string) => `${root}/app_instances/${id}`;

async function create({ call }: Managed, more: object = {}): Promise<string> {
  const answer = await call("POST", `${root}/app_instances`, { appDId: "com.example.cache", ...more });
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  return answer.body.id as string;
}

/** What the status and detail of a problem are. */
const said = ({ status, body }: { status: number; body: { detail?: string } }) => `${status} ${body.detail ?? ""}`;

/** Parts in the order of the beginning, and what was asked of them. */
function recording() {
  const calls: string[] = [];
  const parts = ["credentials", "registry", "rules"].map((name) => new RecordingPart(name, calls));
  return { calls, parts, credentials: parts[0]!, registry: parts[1]!, rules: parts[2]! };
}

const until = async (check: () => boolean): Promise<void> => {
  for (let i = 0; i < 4000 && !check(); i += 1) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(check(), "not in time");
};

test("created, configured, instantiated, ready, stopped, started, terminated, deleted, with every part in order (B7)", async () => {
  const { calls, parts } = recording();
  const take = () => calls.splice(0);
  await managing(
    async (managed) => {
      const { call, onboard, operate, onboarding, running } = managed;
      await onboard();
      const id = await create(managed, { appInstanceName: "one", appInstanceDescription: "the first" });
      const info = (await call("GET", path(id))).body;
      assert.equal(
        [info.appInstanceName, info.appDId, info.appProvider, info.appName, info.appSoftVersion, info.appDVersion],
        ["one", "com.example.cache", "example", "cache", "1.0", "1"],
      );
      assert.is(info.instantiationState, "NOT_INSTANTIATED");
      assert.equal(info["x-offramp"], {
        configured: false,
        ready: false,
        external: true,
        addresses: ["10.60.0.10"],
      });
      assert.is(info._links.instantiate.href, `${running.url}${path(id)}/instantiate`);
      const confirm = () => onboarding.instances.confirmReady(id);
      assert.match(String(await confirm().catch(String)), "not started and configured");

      const configured = await operate(id, "configure_platform_for_app");
      assert.equal([configured.lcmOperation, configured.operationState], ["CONFIGURE_PLATFORM_FOR_APP", "COMPLETED"]);
      assert.equal(take(), ["credentials.configure", "registry.configure", "rules.configure"]);
      assert.match(String(await confirm().catch(String)), "not started and configured");
      const instantiated = await operate(id, "instantiate", { selectedMECHostInfo: [{ hostId: {} }] });
      assert.is(instantiated.operationState, "COMPLETED");
      assert.equal(instantiated.operationParams, { selectedMECHostInfo: [{ hostId: {} }] });
      assert.equal(take(), []);
      await confirm();
      await confirm();
      assert.equal(take(), ["credentials.ready", "registry.ready", "rules.ready"]);
      const ready = (await call("GET", path(id))).body;
      assert.equal(
        [ready.instantiationState, ready.instantiatedAppState.operationalState],
        ["INSTANTIATED", "STARTED"],
      );
      assert.is(ready["x-offramp"].ready, true);
      assert.is(ready._links.instantiate, undefined);

      await operate(id, "operate", { changeStateTo: "STOPPED" });
      assert.equal(take(), ["rules.deactivate", "registry.deactivate", "credentials.deactivate"]);
      assert.is(onboarding.instances.get(id)?.ready, false);
      await operate(id, "operate", { changeStateTo: "STARTED" });
      assert.equal(take(), ["credentials.configure", "registry.configure", "rules.configure"]);
      const ended = await operate(id, "terminate", { terminationType: "FORCEFUL" });
      assert.is(ended.operationState, "COMPLETED");
      assert.equal(take(), [
        ...["rules.deactivate", "registry.deactivate", "credentials.deactivate"],
        ...["rules.remove", "registry.remove", "credentials.remove"],
      ]);
      assert.is((await call("DELETE", path(id))).status, 204);
      assert.equal(take(), []);
      assert.is((await call("GET", path(id))).status, 404);
      assert.equal((await call("GET", `${root}/app_lcm_op_occs`)).body, []);
    },
    { parts },
  );
});

test("an instance that is instantiated at once is configured by its AppD; again after a termination", async () => {
  const { calls, parts } = recording();
  await managing(
    async (managed) => {
      await managed.onboard();
      const id = await create(managed);
      for (let round = 0; round < 2; round += 1) {
        assert.is((await managed.operate(id, "instantiate")).operationState, "COMPLETED");
        assert.equal(calls.splice(0), ["credentials.configure", "registry.configure", "rules.configure"]);
        await managed.operate(id, "terminate", { terminationType: "FORCEFUL" });
        calls.splice(0);
      }
    },
    { parts },
  );
});

test("a management user may choose the id, once, if it is one (B7)", async () => {
  await managing(async (managed) => {
    const { call, onboard } = managed;
    await onboard();
    const uuid = "5abe4782-2c70-4e47-9a4e-0ee3a1a0fd1f";
    assert.is(await create(managed, { appInstanceId: uuid }), uuid);
    assert.is(await create(managed, { id: "fixture-1" }), "fixture-1");
    const attempt = async (more: object) =>
      said(await call("POST", `${root}/app_instances`, { appDId: "com.example.cache", ...more }));
    assert.match(await attempt({ id: uuid }), /^409 .*already/);
    assert.match(await attempt({ id: "a", appInstanceId: "b" }), /^400 .*same member/);
    for (const id of ["", "..", "a/b", "a b", "-a", "x".repeat(65), "é", null, "__proto__"]) {
      assert.match(await attempt({ id }), /^400/, JSON.stringify(id));
    }
    assert.match(await attempt({ appDId: "none" }), /^404/);
    assert.match(await attempt({ addresses: ["10.60.0.300"] }), /^400 addresses.0/);
    assert.match(await attempt({ unknown: 1 }), /^400/);
    assert.is((await call("GET", `${root}/app_instances`)).body.length, 2);
  });
});

test("what may not be done now is refused, and changes nothing", async () => {
  const { parts, rules } = recording();
  await managing(
    async (managed) => {
      const { call, onboard, operate } = managed;
      const pkg = await onboard();
      const id = await create(managed);
      const ask = async (task: string, body: object = {}) => said(await call("POST", `${path(id)}/${task}`, body));
      assert.match(await ask("terminate", { terminationType: "FORCEFUL" }), /^409 .*not instantiated/);
      assert.match(await ask("operate", { changeStateTo: "STARTED" }), /^409 .*not instantiated/);
      assert.match(await ask("terminate", { terminationType: "NOW" }), /^400/);
      assert.match(await ask("terminate"), /^400/);
      assert.match(await ask("operate", { changeStateTo: "PAUSED" }), /^400/);
      assert.match(await ask("instantiate", { extra: 1 }), /^400/);
      assert.match(await ask("configure_platform_for_app", { appTraficRule: [] }), /^400 .*appTrafficRule/);
      assert.match(await ask("configure_platform_for_app", { appDNSRule: [{ dnsRuleId: "a" }] }), /^400 appDNSRule.0/);
      for (const task of ["instantiate", "terminate", "operate", "configure_platform_for_app"]) {
        const body = { terminationType: "FORCEFUL", changeStateTo: "STOPPED" };
        const wanted = task === "terminate" ? { terminationType: body.terminationType } : {};
        const given = task === "operate" ? { changeStateTo: body.changeStateTo } : wanted;
        assert.is((await call("POST", `${path("none")}/${task}`, given)).status, 404, task);
      }
      assert.is((await call("DELETE", path("none"))).status, 404);

      let open = () => {};
      rules.gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      const first = await call("POST", `${path(id)}/instantiate`, {});
      assert.is(first.status, 202);
      assert.match(await ask("instantiate"), /^409 .*under way/);
      assert.match(said(await call("DELETE", path(id))), /^409 .*under way/);
      const { confirmReady } = managed.onboarding.instances;
      const early = confirmReady.call(managed.onboarding.instances, id).catch((error: Problem) => error);
      assert.is(((await early) as Problem).status, 409);
      open();
      await managed.ended(first.headers.get("location"));

      assert.match(await ask("instantiate"), /^409 .*already/);
      assert.match(await ask("operate", { changeStateTo: "STARTED" }), /^409 .*STARTED already/);
      assert.match(said(await call("DELETE", path(id))), /^409 .*terminate it first/);
      await call("PATCH", `/app_pkgm/v1/app_packages/${pkg}`, { operationalState: "DISABLED" });
      assert.match(said(await call("DELETE", `/app_pkgm/v1/app_packages/${pkg}`)), /^409 .*instances/);
      await operate(id, "terminate", { terminationType: "FORCEFUL" });
      assert.match(await ask("instantiate"), /^409 .*disabled/);
      assert.match(said(await call("POST", `${root}/app_instances`, { appDId: pkg })), /^409 .*disabled/);
    },
    { parts },
  );
});

test("a part that refuses: nothing is configured, the operation says why; retry does it (B7)", async () => {
  const { calls, parts, rules } = recording();
  await managing(
    async (managed) => {
      const { call, onboard, operate, ended, onboarding } = managed;
      await onboard();
      const id = await create(managed);
      rules.fail.set("configure", new Problem("dataplane-refused", "no room"));
      const failed = await operate(id, "instantiate");
      assert.equal([failed.operationState, failed.error.detail], ["FAILED_TEMP", "no room"]);
      assert.equal(calls.splice(0), [
        ...["credentials.configure", "registry.configure", "rules.configure"],
        ...["rules.remove", "registry.remove", "credentials.remove"],
      ]);
      assert.is(onboarding.instances.get(id)?.configured, false);
      const op = `${root}/app_lcm_op_occs/${failed.id}`;
      assert.is((await call("POST", `${op}/retry`)).status, 202);
      assert.is((await ended(op)).operationState, "COMPLETED");
      assert.is(onboarding.instances.get(id)?.operationalState, "STARTED");
      assert.match(said(await call("POST", `${op}/retry`)), /^409 .*COMPLETED/);
      assert.match(said(await call("POST", `${op}/fail`)), /^409/);
      await operate(id, "terminate", { terminationType: "FORCEFUL" });

      // What the same request would meet again is not to be retried.
      rules.fail.set("configure", new Problem("forbidden", "outside the grant"));
      const refused = await operate(id, "instantiate");
      assert.equal([refused.operationState, refused.error.status], ["FAILED", 403]);

      rules.fail.set("configure", new Error("a secret of the inside"));
      const odd = await operate(id, "instantiate");
      assert.is(odd.operationState, "FAILED_TEMP");
      const closed = await call("POST", `${root}/app_lcm_op_occs/${odd.id}/fail`);
      assert.equal([closed.status, closed.body.operationState], [200, "FAILED"]);
    },
    { parts },
  );
});

test("a configuration that is refused leaves the one before in force; what a request says wins over the AppD", async () => {
  const seen: string[] = [];
  const { parts, rules } = recording();
  const part = {
    configure: async (_instance: object, appd: { appLatency?: { maxLatency: number } }) => {
      seen.push(String(appd.appLatency?.maxLatency));
    },
  };
  await managing(
    async (managed) => {
      const { onboard, operate } = managed;
      await onboard(goodPackage(externalAppD({ appLatency: { maxLatency: 1 } })));
      const id = await create(managed);
      const configure = (latency?: number) =>
        operate(id, "configure_platform_for_app", latency === undefined ? {} : { appLatency: { maxLatency: latency } });
      await configure(2);
      rules.fail.set("configure", new Problem("forbidden", "no"));
      assert.is((await configure(3)).operationState, "FAILED");
      await operate(id, "instantiate");
      await configure();
      assert.equal(seen, ["2", "3", "2", "1"]);
    },
    { parts: [part, ...parts] },
  );
});

test("a graceful termination: the app is told, confirms with the action it was told, and only then it ends (B7)", async () => {
  const { calls, parts } = recording();
  await managing(
    async (managed) => {
      const { call, onboard, operate, ended, onboarding } = managed;
      await onboard();
      const id = await create(managed);
      await operate(id, "instantiate");
      const { instances } = onboarding;
      await instances.confirmReady(id);
      calls.splice(0);
      const confirm = (action: "STOPPING" | "TERMINATING") =>
        instances.confirmTermination(id, action).catch((e) => e.status);
      assert.is(await confirm("TERMINATING"), 409);
      const told: string[] = [];
      instances.on((event, instance) => told.push(`${event} ${instance.terminating?.operationAction ?? ""}`));
      const answer = await call("POST", `${path(id)}/terminate`, {
        terminationType: "GRACEFUL",
        gracefulTerminationTimeout: 3600,
      });
      await until(() => told.length > 0);
      assert.equal(told, ["terminating TERMINATING"]);
      assert.equal(calls, []);
      assert.is((await call("GET", path(id))).body["x-offramp"].terminating.operationAction, "TERMINATING");
      assert.is(await confirm("STOPPING"), 409);
      assert.is(await instances.confirmReady(id).catch((error) => error.status), 409);
      assert.is(await confirm("TERMINATING"), undefined);
      assert.is((await ended(answer.headers.get("location"))).operationState, "COMPLETED");
      assert.is(calls.length, 6);
      assert.equal(told.slice(1), ["terminated "]);
      assert.is(await confirm("TERMINATING"), 409);
    },
    { parts },
  );
});

test("time that is up ends it as well; nobody who listens, no time is lost; less than the AppD asks for is refused", async () => {
  let listens = true;
  const appd = externalAppD({
    terminateAppInstanceOpConfig: { minGracefulTerminationTimeout: 1 },
    changeAppInstanceStateOpConfig: { minGracefulStopTimeout: 2, maxRecommendedGracefulStopTimeout: 3600 },
  });
  await managing(
    async (managed) => {
      const { call, onboard, operate } = managed;
      await onboard(goodPackage(appd));
      const id = await create(managed);
      await operate(id, "instantiate");
      const least = await call("POST", `${path(id)}/operate`, {
        changeStateTo: "STOPPED",
        stopType: "GRACEFUL",
        gracefulStopTimeout: 1,
      });
      assert.match(said(least), /^400 gracefulStopTimeout: must be at least 2/);
      listens = false;
      const stopped = await operate(id, "operate", { changeStateTo: "STOPPED", stopType: "GRACEFUL" });
      assert.is(stopped.operationState, "COMPLETED");
      await operate(id, "operate", { changeStateTo: "STARTED" });
      listens = true;
      const ended = await operate(id, "terminate", { terminationType: "GRACEFUL", gracefulTerminationTimeout: 1 });
      assert.is(ended.operationState, "COMPLETED");
    },
    { announce: () => (listens ? 1 : 0) },
  );
});

test("a termination that is cancelled leaves the instance as it was; an end that has begun goes on", async () => {
  const { parts, registry } = recording();
  await managing(
    async (managed) => {
      const { call, onboard, operate, ended, onboarding } = managed;
      await onboard();
      const id = await create(managed);
      await operate(id, "instantiate");
      await onboarding.instances.confirmReady(id);
      const answer = await call("POST", `${path(id)}/terminate`, { terminationType: "GRACEFUL" });
      const location = new URL(answer.headers.get("location") ?? "").pathname;
      await until(() => onboarding.instances.get(id)?.terminating !== undefined);
      assert.is((await call("POST", `${location}/cancel`, {})).status, 400);
      assert.is((await call("POST", `${location}/cancel`, { cancelMode: "GRACEFUL" })).status, 202);
      assert.is((await ended(location)).operationState, "FAILED_TEMP");
      const { ready, terminating, operationalState } = onboarding.instances.get(id) ?? {};
      assert.equal([ready, terminating, operationalState], [true, undefined, "STARTED"]);

      // A part that cannot end its share: the others have, the operation may be retried.
      registry.fail.set("deactivate", new Error("disk full"));
      const stuck = await operate(id, "terminate", { terminationType: "FORCEFUL" });
      assert.is(stuck.operationState, "FAILED_TEMP");
      assert.match(stuck.error.detail, "disk full");
      assert.is((await ended(location)).operationState, "FAILED");
      assert.equal(
        [onboarding.instances.get(id)?.instantiationState, onboarding.instances.get(id)?.operationalState],
        ["INSTANTIATED", "STOPPED"],
      );
      const op = `${root}/app_lcm_op_occs/${stuck.id}`;
      assert.is((await call("POST", `${op}/retry`)).status, 202);
      assert.is((await ended(op)).operationState, "COMPLETED");
      assert.is(onboarding.instances.get(id)?.instantiationState, "NOT_INSTANTIATED");
      assert.match(said(await call("POST", `${op}/cancel`, { CancelMode: "FORCED" })), /^409/);
      assert.is((await call("POST", `${root}/app_lcm_op_occs/none/cancel`, { cancelMode: "GRACEFUL" })).status, 404);
    },
    { parts },
  );
});

test("an app that needs a runtime is refused where the site has none", async () => {
  await managing(async (managed) => {
    const image = { id: "i", name: "i", version: "1", swImage: "image.tar" };
    await managed.onboard(
      goodPackage(externalAppD({ swImageDescriptor: [image], "x-offramp": undefined }), { "image.tar": "x" }),
    );
    const id = await create(managed);
    const failed = await managed.operate(id, "instantiate");
    assert.equal([failed.operationState, failed.error.status], ["FAILED", 409]);
    assert.match(failed.error.detail, "mep.apps");
    assert.is((await managed.call("GET", `/api/v1/apps/${id}/logs`)).status, 409);
    assert.is((await managed.call("DELETE", path(id))).status, 204);
  });
});

test("lists are filtered; subscribers hear of ids, states and operations by their filters", async () => {
  await managing(async (managed) => {
    const { call, onboard, operate, notifier } = managed;
    await onboard();
    const add = async (subscriptionType: string, more: object = {}) => {
      const body = { subscriptionType, callbackUri: "http://192.0.2.1/", ...more };
      const answer = await call("POST", `${root}/subscriptions`, body);
      assert.is(answer.status, 201, JSON.stringify(answer.body));
      return answer.body.id as string;
    };
    const only = (id: string) => ({ appInstSelectorType: 1, appInstances: [id] });
    const born = await add("AppIdentifierCreationSubscription");
    const gone = await add("AppIdentifierDeletionSubscription", { appInstanceSubscriptionFilter: only("a") });
    const started = await add("AppInstanceStateChangeSubscription", {
      appInstanceState: "STARTED",
      appInstanceSubscriptionFilter: { appInstSelectorType: 4, appsFromProviders: [{ appProvider: "example" }] },
    });
    const ends = await add("AppInstanceStateChangeSubscription", {
      appInstanceState: ["STOPPED", "NOT_INSTANTIATED"],
      appInstanceSubscriptionFilter: only("b"),
    });
    const done = await add("AppLcmOpOccStateChangeSubscription", {
      appLcmOpOccSubscriptionFilter: { operationTypes: "TERMINATE", operationStates: ["COMPLETED"] },
    });
    assert.is(
      (await call("GET", `${root}/subscriptions?subscriptiontype=AppLcmOpOccStateChangeSubscription`)).body._links
        .subscriptions.length,
      1,
    );
    for (const id of ["a", "b"]) {
      await create(managed, { id });
      await operate(id, "instantiate");
    }
    const listed = async (filter: string) =>
      (await call("GET", `${root}/app_instances?filter=${filter}`)).body.map((one: { id: string }) => one.id);
    assert.equal(await listed("(eq,instantiatedAppState/operationalState,STARTED)"), ["a", "b"]);
    assert.equal(await listed("(neq,id,a)"), ["b"]);
    assert.is((await call("GET", `${root}/app_instances`)).body[0]._links.instantiate, undefined);
    for (const id of ["a", "b"]) {
      await operate(id, "terminate", { terminationType: "FORCEFUL" });
      await call("DELETE", path(id));
    }
    const heard = (subscription: string) =>
      notifier.sent
        .filter(({ subscriber }) => subscriber.id === subscription)
        .map(({ body }) => `${body.appInstanceId} ${body.appInstanceState ?? body.operationState ?? ""}`.trim());
    assert.equal(heard(born), ["a", "b"]);
    assert.equal(heard(gone), ["a"]);
    assert.equal(heard(started), ["a STARTED", "b STARTED"]);
    assert.equal(heard(ends), ["b NOT_INSTANTIATED"]);
    assert.equal(heard(done), ["a COMPLETED", "b COMPLETED"]);
  });
});

test.run();
