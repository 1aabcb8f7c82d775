/**
 * Is the site's configuration replaced over the API all or nothing, and does it come back when nobody confirms it (C1, C3)?
 *
 * The agent on a data plane in memory; what takes a restart is followed in run.test.ts.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Value } from "typebox/value";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as shapes from "../../controlplane/api/site-schemas.ts";
import { parseSite } from "../../controlplane/config/load.ts";
import type { SiteFile } from "../../controlplane/config/schema.ts";
import { SiteYaml } from "../../controlplane/site/file.ts";
import { type Running, start } from "../api/harness.ts";
import { until } from "../lab/netns.ts";

const secret = "a-token-that-nobody-knows";
const site = "/api/v1/site";

interface Scene extends Running {
  path: string;
  restarts: () => number;
  /** The document as GET shows it. */
  shown(): Promise<SiteFile>;
  auth: Record<string, string>;
}

async function scene(body: (scene: Scene) => Promise<void>, extra = "api: { listen: 127.0.0.1:0 }"): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "ofr-site-"));
  const path = join(directory, "site.yaml");
  let restarts = 0;
  const restart = () => {
    restarts += 1;
  };
  const yaml = { path, restart };
  const auth: Record<string, string> = extra.includes(secret) ? { authorization: `Bearer ${secret}` } : {};
  const running = await start({ extra, yaml });
  const shown = async () => (await running.call("GET", site, undefined, auth)).body.site as SiteFile;
  try {
    await body({ ...running, path, restarts: () => restarts, shown, auth });
  } finally {
    await running.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

const onDisk = (path: string) => parseSite(readFileSync(path, "utf8")).file;
const modes = ({ dataplane }: Running) => Object.fromEntries(dataplane.status().map(({ name, mode }) => [name, mode]));
const withMode = (file: SiteFile, mode: "observe" | "offload"): SiteFile => ({
  ...file,
  dataplanes: file.dataplanes.map((one, at) => (at === 0 ? { ...one, mode } : one)),
});

test("C1: what is in force is shown with its revision, and never the token", () =>
  scene(async ({ call, path, auth }) => {
    const { status, headers, body } = await call("GET", site, undefined, auth);
    assert.is(status, 200);
    assert.equal(Value.Errors(shapes.siteView, body), []);
    assert.is(headers.get("etag"), `"${body.revision}"`);
    assert.not.match(JSON.stringify(body), secret);
    assert.equal(body.secrets, ["api.token"]);
    const { token, ...api } = onDisk(path).api ?? {};
    assert.is(token, secret);
    assert.equal(body.site, { ...onDisk(path), api });
  }, `api: { listen: 127.0.0.1:0, token: ${secret} }`));

test("C1: what a reload can do is in force when it is answered; the file before is kept", () =>
  scene(async (running) => {
    const { call, path, shown } = running;
    const before = readFileSync(path, "utf8");
    const wanted = withMode(await shown(), "observe");
    const plan = await call("PUT", `${site}?dryRun=true`, wanted);
    assert.is(plan.status, 200);
    assert.equal([plan.body.changed, plan.body.restart], [["s1"], []]);
    assert.is(readFileSync(path, "utf8"), before, "a plan changes nothing");
    const done = await call("PUT", site, wanted, { "if-match": `"${(await call("GET", site)).body.revision}"` });
    assert.is(done.status, 200, JSON.stringify(done.body));
    assert.equal(Value.Errors(shapes.siteResult, done.body), []);
    assert.is(done.body.revision, plan.body.revision);
    assert.equal(modes(running), { s1: "observe", s2: "observe" });
    assert.equal(onDisk(path), wanted);
    assert.is(readFileSync(`${path}.previous`, "utf8"), before);
    assert.is(statSync(`${path}.previous`).mode, statSync(path).mode);
    assert.not.ok(existsSync(`${path}.trial`));
    assert.is((await call("PUT", site, wanted)).body.different, false);
  }));

test("C1: a token that is left out stays", () =>
  scene(async ({ call, path, shown, auth }) => {
    const done = await call("PUT", site, withMode(await shown(), "observe"), auth);
    assert.is(done.status, 200, JSON.stringify(done.body));
    assert.is(onDisk(path).api?.token, secret);
    assert.not.match(JSON.stringify(done.body), secret);
  }, `api: { listen: 127.0.0.1:0, token: ${secret} }`));

test("C1: what is wrong is refused whole, every reason with its path, and nothing has changed", () =>
  scene(async ({ call, path, shown, restarts }) => {
    const before = readFileSync(path, "utf8");
    const file = await shown();
    const bad = {
      ...file,
      site: { ...file.site, stateDir: "/elsewhere" },
      dataplanes: [{ ...file.dataplanes[0], core: "acc0" }],
      protect: ["nowhere"],
      colour: "red",
    };
    const refused = await call("PUT", site, bad);
    assert.is(refused.status, 400);
    const fields = refused.body.errors.map(({ field }: { field: string }) => field);
    for (const field of ["site.stateDir", "dataplanes[0].core", "protect[0]", "colour"]) {
      assert.ok(fields.includes(field), `${field} is among ${fields}`);
    }
    const tls = { cert: "/nowhere/cert.pem", key: "/nowhere/key.pem" };
    const missing = await call("PUT", site, { ...file, api: { ...file.api, tls, tokenFile: "/nowhere/token" } });
    assert.equal(
      missing.body.errors.map(({ field }: { field: string }) => field),
      ["api.tls.cert", "api.tls.key", "api.tokenFile"],
    );
    for (const body of ["[]", "3", "{"]) assert.is((await call("PUT", site, body)).status, 400);
    assert.is(readFileSync(path, "utf8"), before);
    assert.is(restarts(), 0);
  }));

test("C1: what somebody else has changed meanwhile is not overwritten, over the API or by hand", () =>
  scene(async ({ call, path, shown }) => {
    const { revision } = (await call("GET", site)).body;
    const first = withMode(await shown(), "observe");
    assert.is((await call("PUT", site, first, { "if-match": `"${revision}"` })).status, 200);
    const late = await call("PUT", site, { ...first, protect: [] }, { "if-match": `"${revision}"` });
    assert.is(late.status, 412, JSON.stringify(late.body));
    writeFileSync(path, readFileSync(path, "utf8").replace("mode: observe", "mode: bypass"));
    const view = (await call("GET", site)).body;
    assert.ok(view.unread.revision !== view.revision);
    assert.is((await call("PUT", site, { ...first, protect: [] })).status, 412);
    assert.is((await call("PUT", site, { ...first, protect: [] }, { "if-match": "*" })).status, 200);
    assert.equal(onDisk(path).protect, []);
  }));

test("C1: what the data plane refuses is taken back, file and all", () =>
  scene(async (running) => {
    const { call, path, shown, dataplane } = running;
    const before = readFileSync(path, "utf8");
    dataplane.refuses = (step) => step === "add s3";
    const file = await shown();
    const more = { ...file, dataplanes: [...file.dataplanes, { name: "s3", access: "acc3", core: "cor3" }] };
    assert.is((await call("PUT", site, more)).status, 503);
    assert.is(readFileSync(path, "utf8"), before);
    assert.not.ok(existsSync(`${path}.trial`));
    assert.equal([...dataplane.planes.keys()], ["s1", "s2"]);
  }));

test("C3: what is not confirmed in time comes back by itself; meanwhile nothing else may change it", () =>
  scene(async (running) => {
    const { call, path, shown } = running;
    const before = readFileSync(path, "utf8");
    const wanted = withMode(await shown(), "observe");
    const done = await call("PUT", `${site}?confirm=2`, wanted);
    assert.is(done.status, 200);
    assert.ok(done.body.until);
    assert.is(modes(running).s1, "observe");
    assert.is((await call("PUT", site, { ...wanted, protect: [] })).status, 409);
    assert.is((await call("POST", "/api/v1/reload")).status, 409);
    await until("it comes back", () => modes(running).s1 === "offload", 60_000);
    assert.is(readFileSync(path, "utf8"), before);
    assert.is((await call("GET", site)).body.waiting, undefined);
    assert.is((await call("POST", `${site}/confirm`)).status, 409);
  }));

test("C3: what is confirmed stays; what is rolled back goes at once", () =>
  scene(async (running) => {
    const { call, path, shown } = running;
    const file = await shown();
    await call("PUT", `${site}?confirm=600`, withMode(file, "observe"));
    assert.is((await call("GET", site)).body.waiting.confirm, true);
    assert.is((await call("POST", `${site}/rollback`)).status, 200);
    assert.is(modes(running).s1, "offload");
    await call("PUT", `${site}?confirm=600`, withMode(file, "observe"));
    assert.is((await call("POST", `${site}/confirm`)).status, 200);
    assert.is(modes(running).s1, "observe");
    assert.equal(onDisk(path), withMode(file, "observe"));
    assert.is(new SiteYaml(path).trial(), undefined);
  }));

test("C3: what takes a restart is written, answered 202, and then the agent is told to begin again", () =>
  scene(async ({ call, path, shown, restarts }) => {
    const file = await shown();
    const wanted = { ...file, limits: { ...file.limits, rules: 60 } };
    const done = await call("PUT", site, wanted);
    assert.is(done.status, 202);
    assert.equal(
      done.body.restart.map(({ field }: { field: string }) => field),
      ["limits.rules"],
    );
    await until("the agent is told", () => restarts() === 1, 60_000);
    assert.equal(onDisk(path), wanted);
    assert.is(new SiteYaml(path).trial()?.restart, true);
  }));

test("C1: changing it needs an admin, and is in the audit log without what it said", () =>
  scene(async ({ call, shown, auth }) => {
    const made = await call("POST", "/api/v1/users", { name: "op", role: "operator" }, auth);
    const operator = { authorization: `Bearer ${made.body.token}` };
    assert.is((await call("GET", site, undefined, operator)).status, 200);
    assert.is((await call("PUT", site, await shown(), operator)).status, 403);
    await call("PUT", site, withMode(await shown(), "observe"), auth);
    const { body } = await call("GET", "/api/v1/audit?limit=20", undefined, auth);
    const text = JSON.stringify(body);
    assert.match(text, "/api/v1/site");
    assert.match(text, "configuration ");
    assert.not.match(text, secret);
  }, `api: { listen: 127.0.0.1:0, token: ${secret} }`));

test.run();
