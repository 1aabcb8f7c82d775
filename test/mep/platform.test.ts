/**
 * Do the parts of the platform meet: does what a package asks for come and go with its instances (B6, B7, B8)?
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "../../controlplane/extension.ts";
import { Platform } from "../../mep/platform.ts";
import { type Running, withAgent } from "../api/harness.ts";
import { upload } from "./onboarding.ts";
import { externalAppD, goodPackage } from "./packages/zip.ts";

const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 10.60.0.1:8091 } }";
let platform: Platform | undefined;
const make = (host: Host) => {
  platform = new Platform(host);
  return platform;
};

const appd = externalAppD({
  appTrafficRule: [
    {
      trafficRuleId: "web",
      filterType: "FLOW",
      priority: 1,
      trafficFilter: [{ dstAddress: ["203.0.113.20"], dstPort: ["80"], protocol: ["tcp"] }],
      action: "FORWARD_DECAPSULATED",
      dstInterface: [{ interfaceType: "IP", dstIPAddress: "10.60.0.10" }],
    },
  ],
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

test.run();
