/** Do the package and life-cycle APIs have what ETSI's descriptions of GS MEC 010-2 list, as they list it, and no more (B6, B7)? */
// needs ../shared
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Managed, managing, RecordingPart, upload } from "../onboarding.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";
import type { Contract } from "./contract.ts";
import { mec010 } from "./etsi-management.ts";
import { refusesOthers } from "./walk.ts";

const [packages, lifecycle] = mec010() as [Contract, Contract];
/** Where notifications go: the consumer has it. */
const has = (path: string) => path !== "/user_defined_notification";

const appd = externalAppD({
  swImageDescriptor: [{ id: "i", name: "i", version: "1", containerFormat: "OCI", swImage: "http://elsewhere/i" }],
  appExtCpd: [{ inherited_attributes: { cpdId: "n6" }, virtualNetworkInterfaceRequirements: [] }],
});

interface Judged {
  status: number;
  headers: Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
}

/** Each exchange is judged. */
const judging =
  ({ running }: Managed) =>
  async (method: string, url: string, body?: unknown): Promise<Judged> => {
    const answer = await fetch(running.url + url, {
      method,
      ...(body !== undefined && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const headers = Object.fromEntries(answer.headers);
    const exchange = { method, url, body, status: answer.status, headers, text };
    const found = mec010().flatMap((contract) => contract.violations(exchange));
    assert.equal(found, [], `${JSON.stringify(body)} ─▶ ${text.slice(0, 2000)}`);
    return {
      status: answer.status,
      headers,
      body: text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text,
    };
  };

const pathOf = ({ headers }: Judged): string => new URL(String(headers.location)).pathname;

/** Every operation that is listed has succeeded. */
function allMet(contract: Contract): void {
  const missing = contract.operations
    .filter(({ path }) => has(path))
    .map(({ method, path }) => `${method.toUpperCase()} ${path}`)
    .filter((one) => ![...contract.met].some((met) => met.startsWith(`${one} 2`)));
  assert.equal(missing, []);
}

test("B6: every path and method of package management", () =>
  managing(async (managed) => {
    const call = judging(managed);
    const root = "/app_pkgm/v1/onboarded_app_packages";
    const created = await call("POST", root, { appPkgName: "cache", appPkgVersion: "1.0" });
    assert.is(created.status, 201);
    const one = pathOf(created)
      .replace("app_packages", "onboarded_app_packages")
      .replace("onboarded_onboarded", "onboarded");
    const uploaded = await upload(managed.running.url + one, goodPackage(appd));
    assert.is(uploaded.status, 202);
    packages.met.add("PUT /onboarded_app_packages/{appDId}/package_content 202");
    for (const name of [one, `${root}/com.example.cache`]) {
      assert.is((await call("GET", name)).body.appDId, "com.example.cache");
      assert.is((await call("GET", `${name}/appd`)).status, 200);
      assert.is((await call("GET", `${name}/package_content`)).status, 200);
    }
    assert.is((await call("GET", root)).body.length, 1);
    for (const query of ["?filter=(eq,appName,cache)", "?all_fields", "?fields=appName", "?exclude_default"]) {
      assert.is((await call("GET", root + query)).status, 200, query);
    }
    const subscriptions = "/app_pkgm/v1/subscriptions";
    for (const type of ["AppPackageOnBoarding", "AppPackageChange", "AppPackageDeletion"]) {
      const asked = { subscriptionType: `${type}Subscription`, callbackUri: "http://192.0.2.9/told" };
      const made = await call("POST", subscriptions, asked);
      assert.is(made.status, 201, JSON.stringify(made.body));
      assert.is((await call("GET", pathOf(made))).status, 200);
      assert.is((await call("GET", subscriptions)).status, 200);
      if (type === "AppPackageDeletion") assert.is((await call("DELETE", pathOf(made))).status, 204);
    }
    const made = await call("POST", subscriptions, {
      subscriptionType: "AppPackageDeletionSubscription",
      callbackUri: "http://192.0.2.9/told",
    });
    assert.is((await call("GET", `${root}/none`)).status, 404);
    assert.is((await call("DELETE", one)).status, 409);
    assert.is((await call("PATCH", one, { operationalState: "DISABLED" })).status, 200);
    await refusesOthers({
      contract: packages,
      has,
      call,
      concrete: (path) =>
        `/app_pkgm/v1${path.replace("{appDId}", one.split("/").at(-1) ?? "").replace("{subscriptionId}", pathOf(made).split("/").at(-1) ?? "")}`,
    });
    assert.is((await call("DELETE", one)).status, 204);
    allMet(packages);
  }));

test("B7: every path and method of life-cycle management", () => {
  const part = new RecordingPart("rules", []);
  return managing(
    async (managed) => {
      const call = judging(managed);
      await managed.onboard(goodPackage(appd));
      const root = "/app_lcm/v1/app_instances";
      const created = await call("POST", root, { appDId: "com.example.cache", appInstanceName: "one" });
      assert.is(created.status, 201);
      const one = pathOf(created);
      const did = async (task: string, body: unknown, state: string): Promise<string> => {
        const answer = await call("POST", `${one}/${task}`, body);
        assert.is(answer.status, 202, JSON.stringify(answer.body));
        const occurrence = pathOf(answer);
        await managed.ended(String(answer.headers.location));
        assert.is((await call("GET", occurrence)).body.operationState, state);
        assert.is((await call("GET", one)).status, 200);
        return occurrence;
      };
      const host = { selectedMECHostInfo: [{ hostId: { host: "a" } }] };
      await did("configure_platform_for_app", {}, "COMPLETED");
      await did("instantiate", host, "COMPLETED");
      await did("operate", { changeStateTo: "STOPPED", stopType: "FORCEFUL" }, "COMPLETED");
      await did("operate", { changeStateTo: "STARTED" }, "COMPLETED");
      assert.is((await call("POST", `${one}/instantiate`, host)).status, 409);
      await did("terminate", { terminationType: "FORCEFUL" }, "COMPLETED");

      part.fail.set("configure", new Error("no room"));
      const stuck = await did("instantiate", host, "FAILED_TEMP");
      assert.is((await call("POST", `${stuck}/retry`)).status, 202);
      await managed.ended(stuck);
      await managed.onboarding.instances.confirmReady(one.split("/").at(-1) ?? "");
      const ending = pathOf(await call("POST", `${one}/terminate`, { terminationType: "GRACEFUL" }));
      assert.is((await call("POST", `${ending}/cancel`, { CancelMode: "GRACEFUL" })).status, 202);
      await managed.ended(ending);
      assert.is((await call("POST", `${ending}/fail`)).status, 200);
      await did("terminate", { terminationType: "FORCEFUL" }, "COMPLETED");

      for (const [list, queries] of [
        [root, ["", "?filter=(eq,appName,cache)", "?all_fields", "?fields=appInstanceName", "?exclude_default"]],
        [
          "/app_lcm/v1/app_lcm_op_occs",
          ["", "?filter=(eq,operationState,COMPLETED)", "?exclude_fields=operationParams"],
        ],
      ] as const) {
        for (const query of queries) assert.is((await call("GET", list + query)).status, 200, query);
      }
      const subscriptions = "/app_lcm/v1/subscriptions";
      let last = "";
      for (const subscriptionType of [
        "AppInstanceStateChangeSubscription",
        "AppLcmOpOccStateChangeSubscription",
        "AppIdentifierCreationSubscription",
        "AppIdentifierDeletionSubscription",
      ]) {
        const made = await call("POST", subscriptions, { subscriptionType, callbackUri: "http://192.0.2.9/told" });
        assert.is(made.status, 201, JSON.stringify(made.body));
        last = pathOf(made);
        assert.is((await call("GET", last)).status, 200);
      }
      assert.is((await call("GET", subscriptions)).status, 200);
      assert.is((await call("POST", root, {})).status, 400);
      assert.is((await call("POST", `${one}/operate`, { changeStateTo: "ASLEEP" })).status, 400);
      assert.is((await call("GET", `${root}/none`)).status, 404);
      await refusesOthers({
        contract: lifecycle,
        has,
        call,
        concrete: (path) =>
          `/app_lcm/v1${path
            .replace("{appInstanceId}", one.split("/").at(-1) ?? "")
            .replace("{appLcmOpOccId}", ending.split("/").at(-1) ?? "")
            .replace("{subscriptionId}", last.split("/").at(-1) ?? "")}`,
      });
      assert.is((await call("DELETE", last)).status, 204);
      assert.is((await call("DELETE", one)).status, 204);
      allMet(lifecycle);
    },
    { parts: [part] },
  );
});

test.run();
