/**
 * Does the provider bring a site another configuration, confirm it only where it can be reached, and see what was changed by hand (C1)?
 *
 * The provider's own process over its own protocol; the agent is real, on a data plane in memory.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseSite } from "../../controlplane/config/load.ts";
import type { Properties } from "../../infra/provider/kind.ts";
import { type Running, start } from "../api/harness.ts";
import { Engine, refusal, urnOf } from "./engine.ts";

const test = suite("site configuration");
const urn = urnOf("SiteConfiguration", "paris");
const token = "the-token-of-this-site";
const directory = mkdtempSync(join(tmpdir(), "ofr-conf-"));
const path = join(directory, "site.yaml");

let engine: Engine;
let running: Running;
let restarts = 0;

/** As a service manager would, on the same address. */
const restart = () => {
  restarts += 1;
  void running.restart().then((next) => {
    running = next;
  });
};

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

const onDisk = () => parseSite(readFileSync(path, "utf8")).file;
const auth = { authorization: `Bearer ${token}` };
const shown = async () => (await running.call("GET", "/api/v1/site", undefined, auth)).body;

/** What a program says: without what the appliance knows by itself. */
function document(): Properties {
  const { api: _, site, ...rest } = onDisk();
  return { site: { name: site.name }, ...rest };
}

test.before(async () => {
  const extra = `api: { listen: 127.0.0.1:${await freePort()}, token: ${token} }`;
  running = await start({ extra, yaml: { path, restart } });
  engine = await Engine.start();
  await engine.configure({ api: running.url, token });
});
test.after(async () => {
  await engine?.stop();
  await running?.stop();
  rmSync(directory, { recursive: true, force: true });
});

test("C1: what a program does not say of api and stateDir stays; what is there makes no difference", async () => {
  const before = onDisk();
  const { inputs } = await engine.check(urn, { configuration: document() });
  const { id, state } = await engine.create(urn, inputs);
  assert.is(id, "test");
  assert.is(state.revision, (await shown()).revision);
  assert.equal(onDisk(), before);
  const read = await engine.read(urn, id, inputs);
  assert.equal(read?.inputs, inputs);
  assert.not.match(JSON.stringify(read), token);
});

test("C1: another configuration is put, reached and confirmed; also where the agent has to start again for it", async () => {
  const had = { configuration: document(), confirm: 300 };
  const observing = { ...had, configuration: { ...had.configuration, protect: ["192.0.2.0/24", "198.51.100.0/24"] } };
  await engine.update(urn, "test", had, observing);
  assert.equal(onDisk().protect, ["192.0.2.0/24", "198.51.100.0/24"]);
  assert.is((await shown()).waiting, undefined);
  const larger = { ...had, configuration: { ...document(), limits: { rules: 77 } } };
  await engine.update(urn, "test", observing, larger);
  assert.is(restarts, 1);
  assert.is((await shown()).site.limits.rules, 77);
  assert.is((await shown()).waiting, undefined);
  assert.is(onDisk().api?.token, token, "the token stays");
});

test("C1: what was changed by hand is seen, with its path", async () => {
  const had = { configuration: document(), confirm: 300 };
  const now = (await shown()).site;
  await running.call("PUT", "/api/v1/site", { ...now, protect: ["192.0.2.0/24"] }, auth);
  const found = await engine.read(urn, "test", had);
  assert.equal((found?.inputs.configuration as Properties | undefined)?.protect, ["192.0.2.0/24"]);
  assert.equal((await engine.diff(urn, found?.inputs ?? {}, had)).paths, ["configuration.protect[1]"]);
});

test("C1: what is wrong is told with its path, and nothing has changed", async () => {
  const before = onDisk();
  const { failures } = await engine.check(urn, { configuration: { dataplanes: [] }, confirm: 0, colour: "red" });
  assert.equal(failures.map((one) => one.split(":")[0]).sort(), ["colour", "configuration.site.name", "confirm"]);
  const bad = { configuration: { ...document(), protect: ["nowhere"] }, confirm: 300 };
  assert.match(await refusal(engine.create(urn, bad)), "protect[0]");
  assert.equal(onDisk(), before);
});

test("C1: it is imported by the site's name, and removing it leaves the site as it is", async () => {
  const before = onDisk();
  const found = await engine.read(urn, "test");
  assert.is((found?.inputs.configuration as { site: Properties } | undefined)?.site.name, "test");
  assert.is(await engine.read(urn, "london"), undefined);
  await engine.remove(urn, "test");
  assert.equal(onDisk(), before);
});

test.run();
