/**
 * Does a change on trial take itself back whenever the agent dies, at each step of arming, applying, confirming and taking
 * back? With the real process, the real store and the real programs; what is in force is seen by where a packet goes.
 *
 * Needs root. Runs in a network namespace of its own.
 */
// runs alone
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Service } from "../../controlplane/intents/model.ts";
import { guardFile, lockOwner } from "../../controlplane/store/lock.ts";
import { Store } from "../../controlplane/store/store.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import { ENB, fromCore, ipv4, makeSite, marked, send, state, UE, udp, uplink } from "../ebpf/site.ts";

inNamespace(fileURLToPath(import.meta.url));

const root = fileURLToPath(new URL("../..", import.meta.url));
const config = join(state, "site.yaml");
const stateDir = join(state, "state");
const api = "http://127.0.0.1:8090";
const children = new Set<ChildProcess>();

const web: Service = { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const other: Service = { name: "other", serviceIP: "203.0.113.81", applicationIP: "10.60.0.10" };
const names = (services: Service[]) => services.map((service) => service.name).sort();
const [older, newer] = [[web, other], [other]];

type Process = ChildProcess & { log: () => string };

function begin(script: string, ...args: string[]): Process {
  const child = spawn(process.execPath, ["--import", "tsx", join(root, script), ...args], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      log += chunk.toString();
    });
  }
  return Object.assign(child, { log: () => log });
}

const ended = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

async function until(what: string, check: () => boolean | Promise<boolean>, log = () => ""): Promise<void> {
  for (let i = 0; i < 1200; i += 1) {
    if (await check()) return;
    await sleep(50);
  }
  throw new Error(`${what}: not in time; ${log()}`);
}

async function agent(fatal = "never", times = 1): Promise<Process> {
  const child = begin("test/changes/mortal.ts", config, fatal, String(times));
  await until("ready", () => ended(child) || child.log().includes('"msg":"ready"'), child.log);
  return child;
}

/** Undefined when the agent died before it answered. */
async function call(method: string, path: string, body?: unknown): Promise<number | undefined> {
  try {
    const response = await fetch(api + path, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return undefined;
  }
}

function stored(): { services: string[]; armed: boolean; who: string | undefined } {
  const store = new Store(stateDir);
  try {
    const services = names(store.services().map(({ service }) => service));
    return { services, armed: store.armed() !== undefined, who: store.history.list({ limit: 1 }).revisions[0]?.who };
  } finally {
    store.close();
  }
}

let port = 5000;
/** Where a new connection to `web` goes at this moment. */
function served(): string {
  port += 1;
  const text = marked(`question ${port}`);
  const frame = uplink(ipv4(UE, "203.0.113.80", 17, udp(port, 80, text)));
  const where = ["test/changes/where.py", "enb0", frame, text, "app0", "sgw0"];
  return execFileSync("python3", where, { encoding: "utf8" }).trim();
}

function know(): void {
  send("enb0", uplink(ipv4(UE, "203.0.113.99", 17, udp(4000, 53, marked("known up")))), "sgw0", marked("known up"));
  send("sgw0", fromCore("known down"), "enb0", marked("known down"));
}

/** Somebody decides what waits, and no guard is left. */
async function decided(): Promise<void> {
  await until("nothing waits any more", () => !stored().armed, guardLog);
  await until("the guard ends", () => lockOwner(stateDir, guardFile) === undefined, guardLog);
}

function guardLog(): string {
  const path = join(stateDir, "guard.log");
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

async function end(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  child.kill(signal);
  await until("the agent ends", () => ended(child));
}

/** Nothing of an earlier test runs on. */
async function clear(): Promise<void> {
  for (const child of children) if (!ended(child)) await end(child, "SIGKILL");
  const guard = lockOwner(stateDir, guardFile);
  if (guard !== undefined) process.kill(guard, "SIGKILL");
  rmSync(stateDir, { recursive: true, force: true });
}

/** An agent with the older services in force, which dies at a step; then the newer ones, to be confirmed in some seconds. */
async function trial(fatal: string, times: number, then?: () => Promise<unknown>, confirm = 6): Promise<void> {
  await clear();
  const child = await agent(fatal, times);
  know();
  await call("PUT", "/api/v1/services", older);
  const status = await call("PUT", `/api/v1/services?confirm=${confirm}`, newer);
  if (!ended(child) && status !== undefined) {
    assert.is(status, 200);
    assert.is(served(), "sgw0", "the newer services are in force");
    await then?.();
  }
  await until(
    `dies at ${fatal}`,
    () => ended(child),
    () => (child as { log?: () => string }).log?.() ?? "",
  );
  assert.is(child.signalCode, "SIGKILL");
}

test("set-up", () => {
  makeSite();
  ip("address add 10.60.0.1/24 dev apps0");
  writeFileSync(
    config,
    `site: { name: trial, stateDir: ${stateDir} }
dataplanes: [{ name: s1, access: acc0, core: cor0 }]
limits: { sessions: 1024, flows: 4096, rules: 64 }
apps: { interface: apps0, address: 10.60.0.1/24 }
`,
  );
  assert.ok(ENB);
});

// Once at the start and once for the older services, each step has been taken before the trial.
for (const [step, times] of [
  ["apply.before", 3],
  ["apply.after", 3],
  ["commit.before", 2],
  ["commit.after", 2],
] as const) {
  test(`killed at ${step} of the trial: the guard brings the older services back, and ends`, async () => {
    await trial(step, times);
    await decided();
    assert.equal(stored().services, names(older));
    assert.is(stored().armed, false);
    assert.is(served(), "app0");
  });
}

for (const [step, times] of [
  ["apply.before", 4],
  ["apply.after", 4],
  ["commit.before", 3],
  ["commit.after", 3],
] as const) {
  test(`killed at ${step} while taking the trial back at its deadline: it is taken back all the same`, async () => {
    await trial(step, times);
    await decided();
    assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
    assert.is(served(), "app0");
  });
}

test("killed before a confirmation is written: it was not given", async () => {
  await trial("disarm.before", 1, () => call("POST", "/api/v1/confirm"));
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.is(served(), "app0");
});

test("killed after it is written: the newer services stay, and the guard ends", async () => {
  await trial("disarm.after", 1, () => call("POST", "/api/v1/confirm"));
  await decided();
  assert.equal(stored(), { services: names(newer), armed: false, who: "loopback" });
  assert.is(served(), "sgw0");
});

test("killed when armed but before anything else: nothing was in force, and the next start forgets it", async () => {
  for (const step of ["arm.before", "arm.after"]) {
    await trial(step, 1);
    assert.is(served(), "app0");
    const child = await agent();
    assert.equal(stored(), { services: names(older), armed: false, who: "loopback" });
    assert.is(await call("PUT", "/api/v1/services", newer), 200);
    await end(child);
  }
});

test("an agent that starts again before the deadline goes on waiting, with a guard of its own, and takes back in time", async () => {
  await trial(
    "never",
    1,
    async () => {
      await until("a guard", () => lockOwner(stateDir, guardFile) !== undefined, guardLog);
      process.kill(lockOwner(stateDir, guardFile) ?? -1, "SIGKILL");
      process.kill(lockOwner(stateDir) ?? -1, "SIGKILL");
    },
    20,
  );
  // The clock runs on while nobody is there.
  const child = await agent();
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.is(served(), "app0");
  await end(child);
});

test("ended in good order while a change waits: the guard takes it back at the deadline", async () => {
  await clear();
  const child = await agent();
  know();
  await call("PUT", "/api/v1/services", older);
  await call("PUT", "/api/v1/services?confirm=15", newer);
  await end(child);
  assert.is(served(), "sgw0");
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.is(served(), "app0");
});

test("after `down` the guard touches the store alone: no program comes back", async () => {
  await clear();
  await agent();
  await call("PUT", "/api/v1/services", older);
  await call("PUT", "/api/v1/services?confirm=15", newer);
  const down = begin("mep/cli/main.ts", "down", "--config", config, "--unwire");
  await until("down", () => ended(down), down.log);
  assert.is(down.exitCode, 0, down.log());
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.not.match(ip("-d link show acc0"), "xdp");
});

test.after(async () => {
  for (const child of children) if (!ended(child)) child.kill("SIGKILL");
  const guard = state ? lockOwner(stateDir, guardFile) : undefined;
  if (guard !== undefined) process.kill(guard, "SIGKILL");
  await sleep(100);
});

test.run();
