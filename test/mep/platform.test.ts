/**
 * Do the parts of the platform meet: does what a package asks for come and go with its instances (B6, B7, B8)?
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "../../controlplane/extension.ts";
import { Mp1Client, type Mp1Error } from "../../mep/client/mp1.ts";
import { Platform } from "../../mep/platform.ts";
import { type Running, withAgent } from "../api/harness.ts";
import { webRule } from "./fixtures.ts";
import { upload } from "./onboarding.ts";
import { externalAppD, goodPackage } from "./packages/zip.ts";

const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0 } }";
let platform: Platform | undefined;
const make = (host: Host) => {
  platform = new Platform(host);
  return platform;
};

const appd = externalAppD({
  appTrafficRule: [webRule({ dstInterface: [{ interfaceType: "IP", dstIPAddress: "10.60.0.10" }] })],
});

async function operate({ call, url }: Running, id: string, task: string, body: object = {}): Promise<string> {
  const answer = await call("POST", `/app_lcm/v1/app_instances/${id}/${task}`, body);
  assert.is(answer.status, 202, JSON.stringify(answer.body));
  const { pathname } = new URL(answer.headers.get("location") ?? "", url);
  for (let i = 0; i < 2000; i += 1) {
    const { body: operation } = await call("GET", pathname);
    if (operation.operationState === "FAILED" || operation.operationState === "FAILED_TEMP") {
      return `${operation.operationState} ${operation.error?.detail}`;
    }
    if (operation.operationState === "COMPLETED") return "COMPLETED";
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return "not in time";
}

test("rules of a package are there from its instance's beginning to its end, and not in force by themselves (B8)", async () => {
  await withAgent(
    async (running) => {
      const { call, url } = running;
      const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "a", appPkgVersion: "1" });
      assert.is((await upload(`${url}/app_pkgm/v1/app_packages/${created.body.id}`, goodPackage(appd))).status, 202);
      const instance = await call("POST", "/app_lcm/v1/app_instances", { appDId: "com.example.cache", id: "one" });
      assert.is(instance.status, 201);
      assert.is(await operate(running, "one", "instantiate"), "COMPLETED");
      await platform?.onboarding.instances.confirmReady("one");
      assert.equal(
        platform?.rules.trafficRules("one").map(({ trafficRuleId, state }) => `${trafficRuleId} ${state}`),
        ["web INACTIVE"],
      );
      assert.is(await operate(running, "one", "operate", { changeStateTo: "STOPPED" }), "COMPLETED");
      assert.is(await operate(running, "one", "operate", { changeStateTo: "STARTED" }), "COMPLETED");
      assert.is(platform?.rules.trafficRules("one").length, 1);
      // What no site would grant: the operation says why, and what was before stays.
      const protectedRule = [
        { ...(appd.appTrafficRule as object[])[0], trafficFilter: [{ dstAddress: ["192.0.2.0/24"] }] },
      ];
      const wider = await operate(running, "one", "configure_platform_for_app", { appTrafficRule: protectedRule });
      assert.match(wider, /^FAILED /);
      assert.is(platform?.rules.trafficRule("one", "web")?.trafficFilter[0]?.dstAddress?.[0], "203.0.113.20");
      assert.is(await operate(running, "one", "terminate", { terminationType: "FORCEFUL" }), "COMPLETED");
      assert.equal(platform?.rules.trafficRules("one"), []);
      assert.is((await call("DELETE", "/app_lcm/v1/app_instances/one")).status, 204);
    },
    { extra, extensions: [make] },
  );
});

test("an app's way over Mp1: token, ready, its rule in the steering, a service that another finds, and the end (B1, B3, B5)", async () => {
  await withAgent(
    async (running) => {
      const { call, url, dataplane } = running;
      const needs = { serName: "images", version: "1", serCategory: { href: "/c", id: "c", name: "c", version: "1" } };
      const produced = externalAppD({ ...appd, appServiceProduced: [needs] });
      const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "a", appPkgVersion: "1" });
      assert.is(
        (await upload(`${url}/app_pkgm/v1/app_packages/${created.body.id}`, goodPackage(produced))).status,
        202,
      );
      const client = async (id: string): Promise<Mp1Client> => {
        const instance = await call("POST", "/app_lcm/v1/app_instances", { appDId: "com.example.cache", id });
        assert.is(instance.status, 201, JSON.stringify(instance.body));
        assert.is(await operate(running, id, "instantiate"), "COMPLETED");
        const { body } = await call("POST", `/api/v1/clients/${id}/secret`);
        const ca = readFileSync(join(running.stateDir, "mp1", "127.0.0.1.pem"), "utf8");
        return new Mp1Client({ mp1: platform?.mp1() ?? "", ...body, ca });
      };
      const [one, two] = [await client("one"), await client("two")];
      const refusal = (work: Promise<unknown>) =>
        work.then(
          () => "",
          (error: Mp1Error) => `${error.status} ${error.message}`,
        );
      const early = await refusal(one.trafficRules());
      assert.match(early, /^403 .*confirm_ready/, early);
      await one.confirmReady();
      await two.confirmReady();
      const inForce = () =>
        dataplane.steering.rules.map(({ name, action, priority }) => `${name} ${action} ${priority}`);
      assert.equal(inForce(), []);
      assert.is((await one.activate("web")).state, "ACTIVE");
      assert.equal(inForce(), ["app:one/web take -11"]);
      const stale = (await one.trafficRule("web")).etag;
      await one.activate("web", "INACTIVE");
      assert.equal(inForce(), []);
      const { value } = await one.trafficRule("web");
      assert.match(await refusal(one.putTrafficRule({ ...value, state: "ACTIVE" }, stale)), /^412 /);
      await one.activate("web");
      const transportInfo = {
        id: "t",
        name: "REST",
        type: "REST_HTTP" as const,
        protocol: "HTTP",
        version: "2.0",
        endpoint: { uris: ["http://10.60.0.10/images"] },
        security: {},
      };
      const offered = await one.offer({
        serName: "images",
        version: "1",
        state: "ACTIVE",
        serializer: "JSON",
        transportInfo,
      });
      assert.equal(
        (await two.services({ serNames: ["images"] })).map(({ serInstanceId }) => serInstanceId),
        [offered.serInstanceId],
      );
      const stranger = new Mp1Client({ mp1: platform?.mp1() ?? "", clientId: "one", clientSecret: "wrong-secret" });
      assert.match(await refusal(stranger.services()), /fetch failed/); // and not without the certificate
      assert.match((await one.currentTime()).timeSourceStatus, /TRACEABLE$/);
      assert.is(await operate(running, "one", "terminate", { terminationType: "FORCEFUL" }), "COMPLETED");
      assert.equal(inForce(), []);
      assert.equal(await two.services({ serNames: ["images"] }), []);
      assert.match(await refusal(one.trafficRules()), /^401 /);
      await Promise.all([one, two, stranger].map((each) => each.close()));
    },
    { extra, extensions: [make] },
  );
});

test.run();
