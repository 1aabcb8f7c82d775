/**
 * Do packages come in, stay and go as GS MEC 010-2 says (B6)?
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { packageLimits } from "../../../mep/packages/limits.ts";
import { type Managed, manage, managing, upload } from "../onboarding.ts";
import { externalAppD, goodPackage, members, zip } from "./zip.ts";

const root = "/app_pkgm/v1";
const create = { appPkgName: "cache", appPkgVersion: "1.0" };
const kept = ({ running }: Managed) => readdirSync(join(running.stateDir, "packages"));

test("created, uploaded, shown, disabled, deleted (B6)", async () => {
  await managing(async (managed) => {
    const { call, running } = managed;
    const created = await call("POST", `${root}/app_packages`, { ...create, userDefinedData: { team: "edge" } });
    assert.is(created.status, 201);
    const { id } = created.body;
    assert.is(created.headers.get("location"), `${running.url}${root}/app_packages/${id}`);
    assert.equal(
      [created.body.onboardingState, created.body.operationalState, created.body.usageState],
      ["CREATED", "DISABLED", "NOT_IN_USE"],
    );
    const path = `${root}/app_packages/${id}`;
    assert.is((await call("GET", `${path}/appd`)).status, 409);
    assert.is((await call("GET", `${path}/package_content`)).status, 409);

    const content = goodPackage(externalAppD(), { "conf/squid.conf": "http_port 3128\n" });
    const uploaded = await upload(running.url + path, content);
    assert.is(uploaded.status, 202);
    assert.is(await uploaded.text(), "");
    const { body } = await call("GET", path);
    assert.equal(
      [body.appDId, body.appProvider, body.appName, body.appSoftwareVersion, body.appDVersion, body.mecInfo],
      ["com.example.cache", "example", "cache", "1.0", "1", ["2.2.1", "3.1.1"]],
    );
    assert.equal([body.onboardingState, body.operationalState], ["ONBOARDED", "ENABLED"]);
    assert.is(body.checksum.hash, createHash("sha256").update(content).digest("hex"));
    assert.equal(
      body.additionalArtifacts.map((one: { artifactPath: string }) => one.artifactPath),
      ["appd.json", "conf/squid.conf", "package.mf"],
    );
    assert.equal(body.userDefinedData, { team: "edge" });

    assert.equal((await call("GET", `${path}/appd`)).body, externalAppD());
    assert.equal((await call("GET", `${root}/onboarded_app_packages/com.example.cache/appd`)).body, externalAppD());
    const whole = await fetch(`${running.url}${path}/package_content`);
    assert.ok(Buffer.from(await whole.arrayBuffer()).equals(content));
    const part = await fetch(`${running.url}${path}/package_content`, { headers: { range: "bytes=2-5" } });
    assert.is(part.status, 206);
    assert.is(part.headers.get("content-range"), `bytes 2-5/${content.length}`);
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(content.subarray(2, 6)));
    const beyond = await fetch(`${running.url}${path}/package_content`, { headers: { range: "bytes=999999-" } });
    assert.is(beyond.status, 416);
    assert.is((await call("GET", `${path}/artifacts/conf/squid.conf`)).body, "http_port 3128\n");
    for (const wrong of ["conf", "conf/none", "..%2f..%2fmep.sqlite", "%2fetc%2fpasswd"]) {
      assert.is((await call("GET", `${path}/artifacts/${wrong}`)).status, 404, wrong);
    }

    assert.is((await call("DELETE", path)).status, 409);
    assert.equal((await call("PATCH", path, { operationalState: "DISABLED" })).body, { operationalState: "DISABLED" });
    assert.is((await call("PATCH", path, {})).status, 400);
    assert.is((await call("DELETE", path)).status, 204);
    assert.is((await call("GET", path)).status, 404);
    assert.equal(kept(managed), []);
  });
});

test("every attribute of 000's Table 2 is kept and shown, in v2's form and in v3's (B6)", async () => {
  const dependency = {
    transport: { type: "REST_HTTP", protocol: "HTTP", version: "2.0", security: { oAuth2Info: { grantTypes: [] } } },
    serializers: ["JSON"],
    labels: ["a"],
  };
  const service = { serName: "rnis", version: "1", serTransportDependencies: [dependency] };
  const interfaces = [{ interfaceType: "IP", dstIPAddress: "10.60.0.10" }];
  const appd = externalAppD({
    appInfoName: "Cache, the product",
    virtualComputeDescriptor: {
      virtualComputeDescId: "c",
      virtualCpu: { numVirtualCpu: 2, cpuArchitecture: "x86" },
      virtualMemory: { virtualMemSize: 512 },
    },
    swImageDescriptor: [{ id: "i", name: "i", version: "1", containerFormat: "OCI", swImage: "http://elsewhere/i" }],
    virtualStorageDescriptor: [{ id: "s", typeOfStorage: "BLOCK", blockStorageData: { sizeOfStorage: 1 } }],
    appExtCpd: [{ inherited_attributes: { cpdId: "n6" }, virtualNetworkInterfaceRequirements: [] }],
    appServiceRequired: [service],
    appServiceOptional: [service],
    appServiceProduced: [
      {
        serName: "cache",
        version: "1",
        transportsSupported: [{ transport: dependency.transport, serializers: ["JSON"] }],
      },
    ],
    appFeatureRequired: [{ featureName: "UserApps", version: "1" }],
    appFeatureOptional: [{ featureName: "Wlan", version: "1" }],
    transportDependencies: [dependency],
    appTrafficRule: [
      {
        trafficRuleId: "t1",
        filterType: "FLOW",
        priority: 1,
        trafficFilter: [{ dstAddress: ["203.0.113.20"], dstPort: ["80"], protocol: ["6"] }],
        action: "FORWARD_AS_IS",
        dstInterface: interfaces,
      },
    ],
    appDNSRule: [
      { dnsRuleId: "d1", domainName: "cache.example.com", ipAddressType: "IP_V4", ipAddress: "10.60.0.10", ttl: 60 },
    ],
    appLatency: { maxLatency: 1000 },
    terminateAppInstanceOpConfig: { minGracefulTerminationTimeout: 1, maxRecommendedGracefulTerminationTimeout: 5 },
    changeAppInstanceStateOpConfig: { minGracefulStopTimeout: 1 },
  });
  await managing(async ({ call, onboard }) => {
    const id = await onboard(goodPackage(appd));
    assert.equal((await call("GET", `${root}/app_packages/${id}/appd`)).body, appd);
    const old = { ...appd, appDId: "old", mecVersion: ["2.1.1", "2.2.1"] };
    const image = (appd.swImageDescriptor as object[])[0];
    const second = await onboard(goodPackage({ ...old, swImageDescriptor: image }));
    const shown = (await call("GET", `${root}/app_packages/${second}/appd`)).body;
    assert.equal(shown, { ...appd, appDId: "old", mecVersion: "2.1.1,2.2.1" });
    const some = (await call("GET", `${root}/app_packages/${id}/appd?fields=appLatency/maxLatency`)).body;
    assert.equal(some.appLatency, { maxLatency: 1000 });
    assert.is(some.appTrafficRule, undefined);
  });
});

test("what is refused leaves nothing behind, and the package can be uploaded again", async () => {
  await managing(
    async (managed) => {
      const { call, running } = managed;
      const { id } = (await call("POST", `${root}/app_packages`, create)).body;
      const path = `${root}/app_packages/${id}`;
      const send = async (bytes: Buffer, type?: string) => {
        const answer = await upload(running.url + path, bytes, type);
        return { status: answer.status, body: JSON.parse((await answer.text()) || "{}") };
      };
      const wrong = await send(zip(members({ "../appd.json": "{}" })));
      assert.is(wrong.status, 400);
      assert.is(wrong.body.type, "/problems/invalid-package");
      assert.is((await send(Buffer.from("nonsense"))).status, 400);
      assert.is((await send(Buffer.alloc(0))).status, 400);
      assert.is((await send(Buffer.alloc(20_000))).status, 413);
      assert.is((await send(goodPackage(), "text/plain")).status, 415);
      assert.is((await call("PUT", `${path}/package_content`, {})).status, 415);
      assert.equal(kept(managed), []);
      const shown = (await call("GET", path)).body;
      assert.is(shown.onboardingState, "CREATED");
      assert.is(shown.onboardingFailureDetails.type, "/problems/body-too-large");
      assert.is((await send(goodPackage())).status, 202);
      assert.is((await send(goodPackage())).status, 409);
      assert.is((await call("GET", path)).body.onboardingFailureDetails, undefined);
    },
    { limits: { ...packageLimits, content: 10_000 } },
  );
});

test("an upload that is broken off leaves nothing behind", async () => {
  await managing(async (managed) => {
    const { call, running } = managed;
    const { id } = (await call("POST", `${root}/app_packages`, create)).body;
    const path = `${root}/app_packages/${id}`;
    const bytes = goodPackage();
    await new Promise<void>((resolve) => {
      const upload = httpRequest(`${running.url}${path}/package_content`, {
        method: "PUT",
        headers: { "content-type": "application/zip", "content-length": bytes.length },
      });
      upload.on("error", () => resolve());
      upload.on("close", () => resolve());
      upload.write(bytes.subarray(0, 100), () => setTimeout(() => upload.destroy(), 50));
    });
    for (let i = 0; i < 1000 && (kept(managed).length > 0 || i === 0); i += 1)
      await new Promise((go) => setTimeout(go, 5));
    assert.equal(kept(managed), []);
    assert.is((await call("GET", path)).body.onboardingState, "CREATED");
  });
});

test("checksum, provider and appDId of a package are what was said before", async () => {
  await managing(async ({ call, running, onboard }) => {
    const tryOne = async (request: object, content = goodPackage()) => {
      const { id } = (await call("POST", `${root}/app_packages`, { ...create, ...request })).body;
      const answer = await upload(`${running.url}${root}/app_packages/${id}`, content);
      return `${answer.status} ${(JSON.parse((await answer.text()) || "{}") as { detail?: string }).detail ?? ""}`;
    };
    assert.match(await tryOne({ checksum: { algorithm: "SHA-256", hash: "00" } }), /^400 .*not what its checksum/);
    assert.match(await tryOne({ appProvider: "somebody" }), /^400 .*provider is "example"/);
    await onboard();
    assert.match(await tryOne({}), /^409 .*appDId "com.example.cache"/);
    assert.is((await call("GET", `${root}/app_packages`)).body.length, 4);
  });
});

test("bad requests are refused with their reason", async () => {
  await managing(async ({ call }) => {
    for (const body of [
      {},
      { appPkgName: "" },
      { ...create, extra: 1 },
      { ...create, appPkgName: 7 },
      { ...create, checksum: "x" },
      "[",
      "null",
      "{",
    ]) {
      assert.is((await call("POST", `${root}/app_packages`, body)).status, 400, JSON.stringify(body));
    }
    assert.is((await call("POST", `${root}/app_packages`, '{"__proto__": {}}')).status, 400);
    assert.is((await call("GET", `${root}/app_packages?unknown=1`)).status, 400);
    assert.is((await call("GET", `${root}/app_packages?filter=eq`)).status, 400);
    assert.is((await call("GET", `${root}/app_packages/none`)).status, 404);
    assert.is((await call("DELETE", `${root}/app_packages/none`)).status, 404);
    assert.is((await call("PUT", `${root}/app_packages`)).status, 405);
  });
});

test("packages survive a restart; what the store does not know is cleared away", async () => {
  let managed = await manage();
  try {
    const id = await managed.onboard(goodPackage(externalAppD(), { "a.txt": "a" }));
    const empty = (await managed.call("POST", `${root}/app_packages`, create)).body.id;
    const one = managed.onboarding.packages.get(id);
    const file = await managed.onboarding.packages.unpacked(one, "a.txt");
    assert.ok(existsSync(file));
    managed = await managed.restart();
    const { call } = managed;
    assert.equal(
      (await call("GET", `${root}/app_packages`)).body.map((info: { id: string }) => info.id),
      [id, empty],
    );
    assert.is((await call("GET", `${root}/app_packages/${id}/artifacts/a.txt`)).body, "a");
    assert.is((await upload(`${managed.running.url}${root}/app_packages/${empty}`, Buffer.from("no"))).status, 400);
    assert.equal(kept(managed), [id]);
  } finally {
    await managed.stop();
  }
});

test("a list is filtered, and shows the attributes that are asked for (MEC 009)", async () => {
  await managing(async ({ call, onboard }) => {
    await onboard();
    await onboard(goodPackage(externalAppD({ appDId: "b", appName: "it's b" })));
    const names = async (query: string) =>
      (await call("GET", `${root}/app_packages?${query}`)).body.map((info: { appName: string }) => info.appName);
    assert.equal(await names(""), ["cache", "it's b"]);
    assert.equal(await names("filter=(eq,appName,cache)"), ["cache"]);
    assert.equal(await names("filter=(eq,appName,'it''s b')"), ["it's b"]);
    assert.equal(await names("filter=(cont,appName,ache,xx);(eq,operationalState,ENABLED)"), ["cache"]);
    assert.equal(await names("filter=(nin,appName,cache)"), ["it's b"]);
    assert.equal(await names("filter=(eq,additionalArtifacts/artifactPath,appd.json)"), ["cache", "it's b"]);
    assert.equal(await names("filter=(eq,nothing/here,1)"), []);
    const [info] = (await call("GET", `${root}/app_packages?fields=checksum`)).body;
    assert.ok(info.id && info.checksum && !info.additionalArtifacts);
    const [all] = (await call("GET", `${root}/app_packages?all_fields`)).body;
    assert.ok(all.additionalArtifacts);
  });
});

test("subscribers hear of packages, by their filter; v2's names are taken", async () => {
  await managing(async ({ call, onboard, notifier, running }) => {
    const add = async (body: object) => {
      const answer = await call("POST", `${root}/subscriptions`, { callbackUri: "http://192.0.2.1/x", ...body });
      assert.is(answer.status, 201, JSON.stringify(answer.body));
      return answer.body.id as string;
    };
    const onboarding = await add({ subscriptionType: "AppPackageOnBoardingSubscription" });
    const change = await add({ subsctiptionType: "AppPacakgeOperationChange", appPkgFilter: [{ appName: "cache" }] });
    await add({ subscriptionType: "AppPackageChangeSubscription", appPkgFilter: [{ appName: "other" }] });
    const gone = await add({ subscriptionType: "AppPackageDeletionSubscription" });
    for (const body of [
      {},
      { subscriptionType: "X" },
      { subscriptionType: "AppPackageDeletion", callbackUri: "http://bad" },
    ]) {
      const answer = await call("POST", `${root}/subscriptions`, { callbackUri: "http://192.0.2.1/x", ...body });
      assert.is(answer.status, 400);
    }
    const id = await onboard();
    await call("PATCH", `${root}/app_packages/${id}`, { operationalState: "DISABLED" });
    await call("DELETE", `${root}/app_packages/${id}`);
    assert.equal(
      notifier.sent.map(({ subscriber, body }) => [subscriber.id, body.notificationType, body.operationalState]),
      [
        [onboarding, "AppPackageOnBoarded", "ENABLED"],
        [change, "AppPackageDisabled", "DISABLED"],
        [gone, "AppPackageDeleted", "DISABLED"],
      ],
    );
    const [first] = notifier.sent;
    assert.is(first?.body._links.subscription.href, `${running.url}${root}/subscriptions/${onboarding}`);
    assert.is((await call("GET", `${root}/subscriptions`)).body._links.subscriptions.length, 4);
    assert.is(
      (await call("GET", `${root}/subscriptions/${change}`)).body.subscriptionType,
      "AppPackageChangeSubscription",
    );
    assert.is((await call("GET", `/app_lcm/v1/subscriptions/${change}`)).status, 404);
    assert.is((await call("DELETE", `${root}/subscriptions/${change}`)).status, 204);
    assert.equal(notifier.forgotten, [change]);
    assert.is((await call("GET", `${root}/subscriptions/${change}`)).status, 404);
  });
});

test.run();
