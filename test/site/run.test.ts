/**
 * Does a site whose configuration is replaced over the API come up with the new one or the old one, whatever dies on the way (C1, C3)?
 *
 * The real `offramp run` and the real command; killed at each step of writing, reloading and starting again.
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { stringify } from "yaml";
import { parseSite } from "../../controlplane/config/load.ts";
import type { SiteView } from "../../controlplane/site/changes.ts";
import { SiteYaml } from "../../controlplane/site/file.ts";
import { guardFile, lockOwner } from "../../controlplane/store/lock.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import { makeSite, state } from "../ebpf/site.ts";
import { until } from "../lab/netns.ts";
import { Fate, Victim } from "../mortal.ts";

inNamespace(fileURLToPath(import.meta.url));

const config = join(state, "site.yaml");
const wanted = join(state, "wanted.yaml");
const stateDir = join(state, "state");
const api = "http://127.0.0.1:8090";
const fate = new Fate(join(state, "fate"));
const offramp = fileURLToPath(new URL("../../bin/offramp", import.meta.url));

interface Said {
  code: number;
  text: string;
}

const cli = (...args: string[]): Promise<Said> =>
  new Promise((resolve) => {
    execFile(offramp, args, { encoding: "utf8" }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, text: stdout + stderr });
    });
  });

async function agent(): Promise<Victim> {
  const victim = new Victim("dist/test/site/mortal.js", config, fate.file);
  await victim.says('"msg":"ready"');
  return victim;
}

const view = async () => (await (await fetch(`${api}/api/v1/site`)).json()) as SiteView;
const mode = async () => ((await (await fetch(`${api}/api/v1/dataplanes`)).json()) as { mode: string }[])[0]?.mode;
const onDisk = () => parseSite(readFileSync(config, "utf8")).file;

/** Undefined when the agent died before it answered. */
async function put(change: (site: SiteView["site"]) => object, query = ""): Promise<number | undefined> {
  const body = JSON.stringify(change((await view()).site));
  try {
    const headers = { "content-type": "application/json" };
    return (await fetch(`${api}/api/v1/site${query}`, { method: "PUT", body, headers })).status;
  } catch {
    return undefined;
  }
}

const withMode = (mode: string) => (site: SiteView["site"]) => ({
  ...site,
  dataplanes: [{ ...site.dataplanes[0], mode }],
});
const withRules = (rules: number) => (site: SiteView["site"]) => ({ ...site, limits: { ...site.limits, rules } });

let victim: Victim;

test("set-up", async () => {
  execFileSync(fileURLToPath(new URL("../../bin/build", import.meta.url)), { stdio: "ignore" });
  makeSite();
  ip("address add 10.60.0.1/24 dev apps0");
  writeFileSync(
    config,
    `site: { name: trial, stateDir: ${stateDir} }
dataplanes: [{ name: s1, access: acc0, core: cor0, mode: offload }]
limits: { sessions: 1024, flows: 4096, rules: 64 }
apps: { interface: apps0, address: 10.60.0.1/24 }
`,
  );
  victim = await agent();
});

test("C1: what takes a restart is in force when `site set` returns, in the same process", async () => {
  const { pid } = victim.child;
  const shown = await cli("site", "show");
  writeFileSync(wanted, shown.text.replace("rules: 64", "rules: 65"));
  const check = await cli("site", "check", wanted);
  assert.match(check.text, "limits.rules: takes a restart");
  const set = await cli("site", "set", wanted);
  assert.is(set.code, 0, set.text);
  assert.is((await view()).site.limits?.rules, 65);
  assert.is((await view()).waiting, undefined);
  assert.is(lockOwner(stateDir), pid);
  assert.not.ok(existsSync(`${config}.trial`));
});

test("C3: what does not come up gives way to the one before, and `site set` says so", async () => {
  const taken = createServer().listen(8099, "127.0.0.1");
  try {
    const before = readFileSync(config, "utf8");
    writeFileSync(wanted, stringify({ ...onDisk(), api: { listen: "127.0.0.1:8099" } }));
    const set = await cli("site", "set", wanted);
    assert.is(set.code, 1, set.text);
    assert.match(set.text, "did not come up");
    assert.is(readFileSync(config, "utf8"), before);
    assert.match(victim.log, "does not start: back to the one before");
    assert.is(await mode(), "offload");
  } finally {
    taken.close();
  }
});

/** Somebody has started the agent again: it is the older one or the newer one, whole, and nothing waits. */
async function comesUpWith(...rules: (number | undefined)[]): Promise<void> {
  const now = await view();
  assert.ok(rules.includes(now.site.limits?.rules), `rules are ${now.site.limits?.rules}, not one of ${rules}`);
  assert.is(now.unread, undefined, "what is in force is what site.yaml says");
  assert.is(now.waiting, undefined);
  assert.equal(onDisk(), now.site);
}

for (const [step, times] of [
  ["write.before", 1],
  ["write.before", 2],
  ["write.before", 3],
  ["write.after", 3],
  ["ready.before", 1],
] as const) {
  test(`C3: killed at ${step} ${times} of a change that takes a restart: the next start has one of both`, async () => {
    const old = onDisk().limits?.rules ?? 0;
    fate.at(step, times);
    await put(withRules(old + 1));
    assert.is(await victim.end(), "SIGKILL");
    fate.never();
    victim = await agent();
    await comesUpWith(old, old + 1);
  });
}

for (const step of ["reload.before", "reload.after", "settle.before"]) {
  test(`C3: killed at ${step} of a change that a reload can do: the next start has one of both`, async () => {
    const mode = onDisk().dataplanes[0]?.mode === "offload" ? "observe" : "offload";
    fate.at(step, 1);
    await put(withMode(mode));
    assert.is(await victim.end(), "SIGKILL");
    fate.never();
    victim = await agent();
    await comesUpWith(onDisk().limits?.rules);
  });
}

test("C3: not confirmed after a restart: the agent starts once more, with the one before", async () => {
  const before = onDisk();
  assert.is(await put(withRules(200), "?confirm=30"), 202);
  await until("it is in force", async () => (await view().catch(() => undefined))?.site.limits?.rules === 200, 60_000);
  assert.is((await view()).waiting?.confirm, true);
  const back = async () => (await view().catch(() => undefined))?.site.limits?.rules === before.limits?.rules;
  await until("it is back", back, 180_000);
  assert.equal(onDisk(), before);
});

test("C3: an agent that is dead at the deadline: the guard puts the one before back, and ends", async () => {
  const before = readFileSync(config, "utf8");
  assert.is(await put(withMode("bypass"), "?confirm=4"), 200);
  await until("a guard", () => lockOwner(stateDir, guardFile), 60_000);
  await victim.end("SIGKILL");
  const free = () => new SiteYaml(config).trial() === undefined && lockOwner(stateDir, guardFile) === undefined;
  await until("nothing waits, and the guard ends", free, 120_000);
  assert.is(readFileSync(config, "utf8"), before);
  victim = await agent();
  await comesUpWith(onDisk().limits?.rules);
  assert.is(await mode(), onDisk().dataplanes[0]?.mode);
});

test.after(async () => {
  await Victim.killAll();
  const guard = state ? lockOwner(stateDir, guardFile) : undefined;
  if (guard !== undefined) process.kill(guard, "SIGKILL");
});

test.run();
