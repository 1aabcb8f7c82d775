/**
 * Is a copy of the state directory, made while the agent is stopped, the whole platform (B8)?
 *
 * As docs/operation.md says: what belongs to the machine is left out of it. The agent on a data plane in memory.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mp1Client } from "../../mep/client/mp1.ts";
import { type Running, start } from "../api/harness.ts";
import { offer, webRule } from "./fixtures.ts";
import { upload } from "./onboarding.ts";
import { externalAppD, goodPackage } from "./packages/zip.ts";

const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0 } }";
const ofTheMachine = ["lock", "as-found.json", "dns"];
const category = { href: "/c", id: "c", name: "c", version: "1" };
const appd = externalAppD({
  appServiceProduced: [{ serName: "camera", version: "1", serCategory: category }],
  appTrafficRule: [webRule({ dstInterface: [{ interfaceType: "IP" }] })],
});

async function clientOf({ call }: Running, credentials: { clientId: string; clientSecret: string }) {
  const { body } = await call("GET", "/api/v1/mp1");
  return new Mp1Client({ mp1: body.url, ca: body.ca, ...credentials });
}

/** An instance that is ready; its credentials. */
async function install({ call, url }: Running): Promise<{ clientId: string; clientSecret: string }> {
  const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "a", appPkgVersion: "1" });
  assert.is((await upload(`${url}/app_pkgm/v1/app_packages/${created.body.id}`, goodPackage(appd))).status, 202);
  await call("POST", "/app_lcm/v1/app_instances", { appDId: "com.example.cache", appInstanceId: "one" });
  const begun = await call("POST", "/app_lcm/v1/app_instances/one/instantiate", {});
  const { pathname } = new URL(begun.headers.get("location") ?? "", url);
  for (let i = 0; i < 3000 && (await call("GET", pathname)).body.operationState !== "COMPLETED"; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return (await call("POST", "/api/v1/clients/one/secret")).body;
}

test("B8: package, instance, rule, service and secret are there again on the copy", async () => {
  const first = await start({ extra });
  const copy = mkdtempSync(join(tmpdir(), "ofr-backup-"));
  try {
    const credentials = await install(first);
    const app = await clientOf(first, credentials);
    await app.confirmReady();
    const { serInstanceId } = await app.offer(offer() as never);
    await app.activate("web");
    await app.close();
    const { ca } = (await first.call("GET", "/api/v1/mp1")).body;
    await first.agent.stop();
    cpSync(first.stateDir, copy, { recursive: true, filter: (path) => !ofTheMachine.includes(basename(path)) });

    const second = await start({ extra, stateDir: copy });
    try {
      assert.is((await second.call("GET", "/api/v1/mp1")).body.ca, ca);
      assert.equal(
        second.dataplane.steering.rules.map(({ name }) => name),
        ["app:one/web"],
      );
      const again = await clientOf(second, credentials);
      assert.is((await again.trafficRule("web")).value.state, "ACTIVE");
      assert.equal(
        (await again.services()).map((one) => one.serInstanceId),
        [serInstanceId],
      );
      await again.close();
      const { body } = await second.call("GET", "/app_pkgm/v1/app_packages/com.example.cache");
      assert.is(body.usageState, "IN_USE");
      assert.is((await second.call("GET", "/api/v1/audit?limit=10")).status, 200);
    } finally {
      await second.stop();
    }
  } finally {
    await first.stop();
    rmSync(copy, { recursive: true, force: true });
  }
});

test.run();
