/**
 * Do `run` and `down` keep their promises on a real data plane, in a network namespace of their own?
 *
 * Needs root. The wire is two veth pairs; what is tested is the life of the process, not the packets.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { lockOwner } from "../../controlplane/store/lock.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const [site, peers] = [`ofr-${process.pid}-run`, `ofr-${process.pid}-peers`];
const directory = mkdtempSync(join(tmpdir(), "ofr-run-"));
const config = join(directory, "site.yaml");
const stateDir = join(directory, "state");
const children = new Set<ChildProcess>();

const ip = (...args: string[]) => execFileSync("ip", args, { encoding: "utf8" });
const inside = (...args: string[]) => ["netns", "exec", site, ...args];
const offramp = (...args: string[]) =>
  execFileSync("ip", inside(join(root, "bin/offramp"), ...args), { encoding: "utf8" });

interface Link {
  ifname: string;
  master?: string;
  xdp?: unknown;
  mtu: number;
  promiscuity?: number;
}
/** What of the adapters `run` may change. */
const links = (): Link[] =>
  (JSON.parse(ip("-n", site, "-json", "-details", "link")) as Link[])
    .map(({ ifname, master, xdp, mtu, promiscuity }) => ({ ifname, master, xdp: xdp !== undefined, mtu, promiscuity }))
    .sort((a, b) => a.ifname.localeCompare(b.ifname));

function setUp(): void {
  for (const name of [site, peers]) ip("netns", "add", name);
  ip("-n", site, "link", "set", "lo", "up");
  for (const name of ["acc0", "cor0", "apps0"]) {
    ip("-n", site, "link", "add", name, "type", "veth", "peer", "name", name, "netns", peers);
    for (const where of [site, peers]) ip("-n", where, "link", "set", name, "up");
  }
  ip("-n", site, "address", "add", "10.60.0.1/24", "dev", "apps0");
  writeFileSync(
    config,
    `site: { name: run, stateDir: ${stateDir} }
dataplanes: [{ name: s1, access: acc0, core: cor0 }]
limits: { sessions: 1024, flows: 1024, rules: 64 }
apps: { interface: apps0, address: 10.60.0.1/24 }
`,
  );
}

async function tearDown(): Promise<void> {
  for (const child of children) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  const owner = lockOwner(stateDir);
  if (owner !== undefined) process.kill(owner, "SIGKILL");
  await sleep(200);
  for (const name of [site, peers]) {
    try {
      ip("netns", "delete", name);
    } catch {
      // was not made
    }
  }
  rmSync(directory, { recursive: true, force: true });
}

interface Run {
  child: ChildProcess;
  ended: Promise<number | null>;
  log: () => string;
}

function start(): Run {
  const child = spawn("ip", inside(join(root, "bin/offramp"), "run", "--config", config), {
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
  let log = "";
  const keep = (chunk: Buffer) => {
    log += chunk.toString();
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  const ended = new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code)));
  return { child, ended, log: () => log };
}

async function ready({ child, log }: Run): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${log()}`);
    if (log().includes('"msg":"ready"')) return;
    await sleep(100);
  }
  throw new Error(`not ready: ${log()}`);
}

const dataplanes = () => JSON.parse(offramp("status", "--json")).dataplanes as { adopted: boolean; mode: string }[];

test("run becomes ready, SIGTERM ends it with 0, kill -9 and a restart keep the services, down leaves the adapters as found", async () => {
  try {
    setUp();
    const found = links();

    const first = start();
    await ready(first);
    assert.is(dataplanes()[0]?.adopted, false);
    offramp("service", "add", "web", "--ip", "203.0.113.80", "--app", "10.60.0.80");
    offramp("bypass", "on", "s1");
    first.child.kill("SIGTERM");
    assert.is(await first.ended, 0, first.log());
    assert.not.equal(links(), found, "programs and bridge stay");

    const second = start();
    await ready(second);
    assert.is(dataplanes()[0]?.adopted, true, "what was left is adopted");
    assert.is(dataplanes()[0]?.mode, "bypass", "and the mode is remembered");
    assert.equal(JSON.parse(offramp("service", "ls", "--json")), [
      { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" },
    ]);
    process.kill(lockOwner(stateDir) ?? -1, "SIGKILL");
    await second.ended;

    const third = start();
    await ready(third);
    assert.is(JSON.parse(offramp("service", "ls", "--json")).length, 1);
    const down = JSON.parse(offramp("down", "--config", config, "--unwire", "--json"));
    assert.is(down.unwired, true);
    assert.is(await third.ended, 0, "down has asked the agent to end");
    assert.equal(links(), found, "the adapters are as they were found");
  } finally {
    await tearDown();
  }
});

test.run();
