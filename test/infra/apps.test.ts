/**
 * Do packages and apps of a site come, change and go as Pulumi's engine asks (C1)?
 *
 * The provider's own process over its own protocol; the site is the real agent with the MEC platform on a data plane in memory.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Running, start } from "../api/harness.ts";
import { webRule } from "../mep/fixtures.ts";
import { externalAppD, goodPackage } from "../mep/packages/zip.ts";
import { Engine, refusal, urnOf } from "./engine.ts";

const test = suite("apps");
const folder = mkdtempSync(join(tmpdir(), "ofr-infra-"));
const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0 } }";
const packageUrn = urnOf("AppPackage", "cache");
const appUrn = urnOf("MecApp", "cache-1");

const rule = webRule({ dstInterface: { interfaceType: "IP" } });

let engine: Engine;
let site: Running;

test.before(async () => {
  site = await start({ extra });
  engine = await Engine.start();
  await engine.configure({ api: site.url });
});
test.after(async () => {
  await engine?.stop();
  await site?.stop();
  rmSync(folder, { recursive: true });
});

function archive(name: string, content: Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const hashOf = (content: Buffer): string => createHash("sha256").update(content).digest("hex");
const list = async (path: string) => (await site.call("GET", path)).body as { id: string; operationalState?: string }[];
const packages = () => list("/app_pkgm/v1/app_packages");
const instances = () => list("/app_lcm/v1/app_instances");

test("C1: a package is onboarded, read, and removed; its content is what it is, not its place", async () => {
  const content = goodPackage();
  const path = archive("cache.zip", content);
  const { inputs, failures } = await engine.check(packageUrn, { archive: path });
  assert.equal(failures, []);
  assert.equal(inputs, { archive: path, sha256: hashOf(content) });
  const { id, state } = await engine.create(packageUrn, inputs);
  assert.is(state.appDId, "com.example.cache");
  assert.is(state.packageId, id);
  assert.equal((await engine.read(packageUrn, id, inputs))?.inputs, inputs);

  const elsewhere = { archive: archive("other-name.zip", content), sha256: hashOf(content) };
  assert.equal(await engine.diff(packageUrn, inputs, elsewhere), { changes: false, replaces: [], paths: [] });
  const other = { archive: path, sha256: hashOf(Buffer.from("other")) };
  assert.equal((await engine.diff(packageUrn, inputs, other)).replaces, ["sha256"]);

  await engine.remove(packageUrn, id);
  assert.is(await engine.read(packageUrn, id, inputs), undefined);
  await engine.remove(packageUrn, id);
  assert.equal(await packages(), []);
});

test("C1: a package that is not what it should be, or not there, is named; one that the site refuses leaves nothing", async () => {
  const path = archive("good.zip", goodPackage());
  const checked = async (inputs: object) => (await engine.check(packageUrn, { ...inputs })).failures.join("\n");
  assert.match(await checked({ archive: path, sha256: "0".repeat(64) }), /sha256: is not that of .*good.zip/);
  assert.match(await checked({ archive: join(folder, "none.zip") }), /archive: .*no such file/);
  assert.match(await checked({ image: "x" }), /image: is not known; .*\narchive: is required/);
  const bad = archive("bad.zip", goodPackage(externalAppD({ appDId: undefined })));
  const { inputs } = await engine.check(packageUrn, { archive: bad });
  assert.match(await refusal(engine.create(packageUrn, inputs)), /appDId/);
  assert.equal(await packages(), []);
});

test("C1: an app is made and started, stopped, configured anew, and removed; its secret is told once and kept", async () => {
  const path = archive("rules.zip", goodPackage(externalAppD({ appTrafficRule: [rule] })));
  const content = await engine.create(packageUrn, (await engine.check(packageUrn, { archive: path })).inputs);
  const { inputs, failures } = await engine.check(appUrn, { package: content.id, grace: 0 });
  assert.equal(failures, []);
  const { id, state } = await engine.create(appUrn, inputs);
  assert.is(id, "cache-1");
  assert.equal(state.addresses, ["10.60.0.10"]);
  assert.type(state.clientSecret, "string");
  const known = await engine.read(appUrn, id, inputs, state);
  assert.equal(known?.inputs, inputs);
  assert.equal(known?.state, state, "also its secret");

  const stopped = { ...inputs, running: false };
  assert.equal((await engine.diff(appUrn, inputs, stopped)).paths, ["running"]);
  assert.is((await engine.update(appUrn, id, inputs, stopped, state)).clientSecret, state.clientSecret);
  assert.is((await engine.read(appUrn, id, inputs))?.inputs.running, false, "stopped, and seen to be");
  await engine.update(appUrn, id, stopped, inputs);
  assert.is((await engine.read(appUrn, id, inputs))?.inputs.running, true);

  const narrower = { ...rule, trafficFilter: [{ ...rule.trafficFilter[0], srcAddress: ["10.45.0.0/16"] }] };
  const configured = { ...inputs, configuration: { appTrafficRule: [narrower] } };
  await engine.update(appUrn, id, inputs, configured);
  const rules = (await site.call("GET", `/api/v1/apps/${id}/rules`)).body;
  assert.match(JSON.stringify(rules), /10\.45\.0\.0\/16/);
  assert.equal((await engine.diff(appUrn, inputs, { ...inputs, instanceId: "cache-2" })).replaces, ["instanceId"]);

  assert.match(await refusal(engine.remove(packageUrn, content.id)), /instances of the package/);
  assert.is((await packages())[0]?.operationalState, "ENABLED", "what was refused has changed nothing");
  await engine.remove(appUrn, id);
  await engine.remove(appUrn, id);
  assert.is(await engine.read(appUrn, id), undefined);
  await engine.remove(packageUrn, content.id);
  assert.equal([await instances(), await packages()], [[], []]);
});

test("C1: an app that cannot begin leaves nothing behind, and says why", async () => {
  const appliance = { ...rule, dstInterface: { interfaceType: "IP", dstIpAddress: "10.60.0.1" } };
  const path = archive("wrong.zip", goodPackage(externalAppD({ appTrafficRule: [appliance] })));
  const content = await engine.create(packageUrn, (await engine.check(packageUrn, { archive: path })).inputs);
  const { inputs } = await engine.check(appUrn, { package: content.id });
  assert.match(await refusal(engine.create(appUrn, inputs)), /appTrafficRule\.0\.dstInterface/);
  assert.equal(await instances(), []);
  await engine.remove(packageUrn, content.id);
  assert.match(
    (await engine.check(appUrn, { pakage: "x" })).failures.join("\n"),
    /pakage: is not known.*\npackage: is/,
  );
});

test.run();
