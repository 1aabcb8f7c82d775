// mostly waits
/**
 * Does a change on trial take itself back whenever the agent dies, at each step of arming, applying, confirming and taking
 * back? With the real process, the real store and the real programs; what is in force is seen by where a packet goes.
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Service } from "../../controlplane/intents/model.ts";
import { guardFile, lockOwner } from "../../controlplane/store/lock.ts";
import { Store } from "../../controlplane/store/store.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import { ENB, fromCore, ipv4, makeSite, marked, send, state, UE, udp, uplink } from "../ebpf/site.ts";
import { until } from "../lab/netns.ts";
import { Fate, Victim } from "../mortal.ts";

inNamespace(fileURLToPath(import.meta.url));

const config = join(state, "site.yaml");
const stateDir = join(state, "state");
const api = "http://127.0.0.1:8090";
const fate = new Fate(join(state, "fate"));

const web: Service = { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const other: Service = { name: "other", serviceIP: "203.0.113.81", applicationIP: "10.60.0.10" };
const names = (services: Service[]) => services.map((service) => service.name).sort();
const [older, newer] = [[web, other], [other]];

async function agent(): Promise<Victim> {
  fate.never();
  const victim = new Victim("dist/test/changes/mortal.js", config, fate.file);
  await victim.says('"msg":"ready"');
  return victim;
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
  const free = () => !stored().armed && lockOwner(stateDir, guardFile) === undefined;
  await until("nothing waits any more, and the guard ends", free, 120_000).catch((error: Error) => {
    throw new Error(`${error.message}; ${guardLog()}`);
  });
}

function guardLog(): string {
  const path = join(stateDir, "guard.log");
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** Nothing of an earlier test runs on. */
async function clear(): Promise<void> {
  await Victim.killAll();
  const guard = lockOwner(stateDir, guardFile);
  if (guard !== undefined) process.kill(guard, "SIGKILL");
  rmSync(stateDir, { recursive: true, force: true });
}

interface Trial {
  /** The step that is fatal, and at its which time since the trial began. */
  dies: [step: string, times: number];
  /** Seconds until the newer services are taken back. */
  confirm?: number;
  /** Is done while they are on trial. */
  meanwhile?: () => Promise<unknown>;
}

/** An agent with the older services in force; then the newer ones, to be confirmed, and somewhere on the way it dies. */
async function trial({ dies, confirm = 1, meanwhile }: Trial): Promise<void> {
  await clear();
  const victim = await agent();
  know();
  await call("PUT", "/api/v1/services", older);
  fate.at(...dies);
  const status = await call("PUT", `/api/v1/services?confirm=${confirm}`, newer);
  if (status !== undefined) {
    assert.is(status, 200);
    await meanwhile?.();
  }
  assert.is(await victim.end(), "SIGKILL", `dies at ${dies[0]}`);
}

test("set-up", () => {
  // What is built starts in half the time, and so does its guard.
  execFileSync(fileURLToPath(new URL("../../bin/build", import.meta.url)), { stdio: "ignore" });
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

for (const step of ["apply.before", "apply.after", "commit.before", "commit.after"]) {
  test(`killed at ${step} of the trial: the guard brings the older services back, and ends`, async () => {
    await trial({ dies: [step, 1] });
    await decided();
    assert.equal(stored().services, names(older));
    assert.is(stored().armed, false);
    assert.is(served(), "app0");
  });
}

for (const step of ["apply.before", "apply.after", "commit.before", "commit.after"]) {
  test(`killed at ${step} while taking the trial back at its deadline: it is taken back all the same`, async () => {
    // Once for the trial itself.
    await trial({ dies: [step, 2] });
    await decided();
    assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
    assert.is(served(), "app0");
  });
}

const confirming = async () => {
  assert.is(served(), "sgw0", "the newer services are in force");
  await call("POST", "/api/v1/confirm");
};

test("killed before a confirmation is written: it was not given", async () => {
  await trial({ dies: ["disarm.before", 1], confirm: 10, meanwhile: confirming });
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.is(served(), "app0");
});

test("killed after it is written: the newer services stay, and the guard ends", async () => {
  await trial({ dies: ["disarm.after", 1], confirm: 60, meanwhile: confirming });
  await decided();
  assert.equal(stored(), { services: names(newer), armed: false, who: "loopback" });
  assert.is(served(), "sgw0");
});

test("killed when armed but before anything else: nothing was in force, and the next start forgets it", async () => {
  for (const step of ["arm.before", "arm.after"]) {
    await trial({ dies: [step, 1] });
    assert.is(served(), "app0");
    const victim = await agent();
    assert.equal(stored(), { services: names(older), armed: false, who: "loopback" });
    assert.is(await call("PUT", "/api/v1/services", newer), 200);
    await victim.end("SIGTERM");
  }
});

test("an agent that starts again before the deadline goes on waiting, with a guard of its own, and takes back in time", async () => {
  await clear();
  const victim = await agent();
  know();
  await call("PUT", "/api/v1/services", older);
  assert.is(await call("PUT", "/api/v1/services?confirm=15", newer), 200);
  await until("a guard", () => lockOwner(stateDir, guardFile), 60_000);
  process.kill(lockOwner(stateDir, guardFile) ?? -1, "SIGKILL");
  await victim.end("SIGKILL");
  assert.is(served(), "sgw0");
  // The clock runs on while nobody is there.
  const next = await agent();
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.is(served(), "app0");
  await next.end("SIGTERM");
});

test("ended in good order while a change waits: the guard takes it back at the deadline", async () => {
  await clear();
  const victim = await agent();
  know();
  await call("PUT", "/api/v1/services", older);
  await call("PUT", "/api/v1/services?confirm=8", newer);
  await victim.end("SIGTERM");
  assert.is(served(), "sgw0");
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.is(served(), "app0");
});

test("after `down` the guard touches the store alone: no program comes back", async () => {
  await clear();
  await agent();
  await call("PUT", "/api/v1/services", older);
  await call("PUT", "/api/v1/services?confirm=8", newer);
  const down = new Victim("dist/mep/cli/main.js", "down", "--config", config, "--unwire");
  await down.end();
  assert.is(down.child.exitCode, 0, down.log);
  await decided();
  assert.equal(stored(), { services: names(older), armed: false, who: "deadline" });
  assert.not.match(ip("-d link show acc0"), "xdp");
});

test.after(async () => {
  await Victim.killAll();
  const guard = state ? lockOwner(stateDir, guardFile) : undefined;
  if (guard !== undefined) process.kill(guard, "SIGKILL");
});

test.run();
