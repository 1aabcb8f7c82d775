/**
 * Does a Pulumi program reach sites that are a stack each, and come off again exactly, also when the coordinator dies (C1, C5)?
 *
 * The real engine with its language host, real sites in namespaces, `bin/offramp fleet` as a process of its own.
 */
// runs alone
// needs pulumi
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository } from "../lab/appliance.ts";
import { until } from "../lab/netns.ts";
import { engineFolder, providerPath } from "./pulumi.ts";
import { Sites, token } from "./sites.ts";

const test = suite("fleet of stacks");
const sites = new Sites(3);
const { directory } = sites.machines;
const program = join(directory, "program");
let root = "";

/** What a site's program says; a site that is told to be `sick` asks for something that is refused, after all else is there. */
const source = `import * as pulumi from "@pulumi/pulumi";
import { Provider, TofService } from "${repository}/dist/infra/resources.js";
const config = new pulumi.Config();
const [api, ca, sick] = [config.require("api"), config.require("ca"), config.require("sick")];
const provider = new Provider("site", { api, ca, token: config.requireSecret("token"), patience: 5 });
const group = new pulumi.ComponentResource("example:index:Group", "group");
const all = [];
for (const [name, serviceIP] of Object.entries(JSON.parse(config.require("services")))) {
  all.push(new TofService(name, { serviceIP, applicationIP: "10.60.0.10" }, { provider, parent: group }));
}
if (sick === pulumi.getStack())
  new TofService("sick", { serviceIP: "nowhere", applicationIP: "10.60.0.10" }, { provider, parent: group, dependsOn: all });
export const names = all.map((one) => one.name);
`;

function file(id: string, services: Record<string, string>, sick = "none", stack = "{name}"): string {
  return sites.file(id, {
    waves: [{ sites: ["site-1"] }, { rest: true }],
    gates: [{ metric: "offramp_ready", least: 1 }],
    looks: 0,
    change: {
      stack: {
        program,
        name: stack,
        pulumi: root,
        config: {
          ...{ "web:api": "{api}", "web:ca": readFileSync(sites.ca, "utf8") },
          ...{ "web:sick": sick, "web:services": JSON.stringify(services) },
        },
        secrets: { "web:token": { file: "token" } },
      },
    },
  });
}

test.before(async () => {
  root = await engineFolder();
  await sites.start();
  for (const name of ["backend", "home", "program"]) mkdirSync(join(directory, name));
  symlinkSync(join(repository, "node_modules"), join(program, "node_modules"));
  writeFileSync(
    join(program, "Pulumi.yaml"),
    `name: web
runtime: { name: nodejs, options: { typescript: false } }
plugins: { providers: [{ name: offramp, path: ${providerPath} }] }
`,
  );
  writeFileSync(join(program, "package.json"), '{ "main": "index.mjs", "private": true }\n');
  writeFileSync(join(program, "index.mjs"), source);
  sites.env = {
    PULUMI_BACKEND_URL: `file://${join(directory, "backend")}`,
    PULUMI_HOME: join(directory, "home"),
    PULUMI_CONFIG_PASSPHRASE: "test",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS: "true",
  };
});
test.after(() => sites.end());

const www = "203.0.113.80";
const shop = "203.0.113.81";
const video = "203.0.113.83";

/** What the state of a site's stack has: all that a program can say. */
async function state(name: string): Promise<unknown> {
  const path = join(directory, "backend", ".pulumi", "stacks", "web", `${name}.json`);
  if (!existsSync(path)) return undefined;
  const { checkpoint } = JSON.parse(readFileSync(path, "utf8"));
  type Known = { urn: string; id?: string; inputs?: unknown; parent?: string; dependencies?: string[] };
  return (checkpoint.latest.resources as Known[])
    .map(({ urn, id, parent, dependencies }) => ({
      urn,
      id: urn.includes("pulumi:providers") ? "" : id,
      parent,
      dependencies,
    }))
    .sort((a, b) => a.urn.localeCompare(b.urn));
}

const journalHas = (id: string, words: string): boolean => {
  const path = join(directory, `${id}.journal`);
  return existsSync(path) && readFileSync(path, "utf8").includes(words);
};

test("C1, C5: stacks are made in waves; a coordinator killed -9 in the middle of an update is followed by one that goes on", async () => {
  const path = file("one", { www });
  const first = sites.begin("run", "--file", path);
  await until("the second wave to be begun", () => journalHas("one", '"site":"site-3","state":"deploying"'), 400_000);
  // The engine has the stack, the program is under way.
  const locks = join(directory, "backend", ".pulumi", "locks", "organization", "web", "site-3");
  await until("the engine to be at it", () => existsSync(locks) && readdirSync(locks).length > 0, 100_000, 10);
  await first.end("SIGKILL");
  const { code, stdout, stderr } = await sites.fleet("resume", "--file", path);
  assert.is(code, 0, stdout + stderr);
  assert.equal(await sites.allServices(), [["www"], ["www"], ["www"]]);
  const status = await sites.fleet("status", "--file", path, "--all");
  assert.match(status.stdout, /site-1 +good +\d created/);
});

test("C5: what one site refuses half-way is taken back from its wave exactly; the canary keeps it", async () => {
  const before = [await state("site-2"), await state("site-3")];
  const path = file("two", { shop, video }, "site-3");
  const { code, stdout, stderr } = await sites.fleet("run", "--file", path);
  assert.is(code, 1, stdout + stderr);
  assert.match(stdout, /stopped at wave 2 rest: .*site-3: .*serviceIP/, stdout + stderr);
  assert.equal(await sites.allServices(), [["shop", "video"], ["www"], ["www"]]);
  assert.equal([await state("site-2"), await state("site-3")], before);
  // The program, as it was, has nothing to do there.
  const planned = await sites.fleet("plan", "--ask", "--file", file("one", { www }));
  assert.match(planned.stdout, /site-2: nothing changed/);
});

test("C5: a stack that was not there is destroyed again, and removed", async () => {
  const path = file("three", { other: "203.0.113.82" }, "site-1-more", "{name}-more");
  const { code, stdout, stderr } = await sites.fleet("run", "--file", path);
  assert.is(code, 1, stdout + stderr);
  assert.equal(await sites.services("site-1"), ["shop", "video"]);
  assert.is(await state("site-1-more"), undefined);
});

test("C1: the token is in no state, no journal and nothing that was kept, but as a secret", () => {
  const kept = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("node_modules"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path !== join(directory, "token"));
  assert.ok(kept.some((path) => path.endsWith("two.journal.states/site-2.json")));
  assert.equal(
    kept.filter((path) => readFileSync(path, "utf8").includes(token)),
    [],
  );
});

test.run();
