/**
 * Does `offramp fleet` do what it says, from a fleet.yaml, and refuse one that cannot be meant so (C5)?
 *
 * The command as a process of its own; each site is the real agent with its real API on a data plane in memory.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { stringify } from "yaml";
import { FleetFileError, loadFleet, parseFleet } from "../../infra/fleet/file.ts";
import { type Running, start } from "../api/harness.ts";
import { until } from "../lab/netns.ts";

const test = suite("fleet command");
const offramp = fileURLToPath(new URL("../../bin/offramp", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "ofr-fleet-cli-"));
const file = join(folder, "fleet.yaml");
const names = ["north-1", "north-2", "south-1", "south-2"];
const www = { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const running = new Map<string, Running>();
const children = new Set<ChildProcess>();

test.before(async () => {
  for (const name of names) running.set(name, await start());
});
test.after(async () => {
  for (const child of children) if (child.exitCode === null) child.kill("SIGKILL");
  for (const site of running.values()) await site.stop();
  rmSync(folder, { recursive: true });
});

interface Began {
  child: ChildProcess;
  err: () => string;
  /** Until its end. */
  end: Promise<{ code: number | null; out: string; err: string }>;
}

function begin(...args: string[]): Began {
  const child = spawn(offramp, ["fleet", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  const said = { out: "", err: "" };
  child.stdout?.on("data", (data: Buffer) => {
    said.out += data.toString();
  });
  child.stderr?.on("data", (data: Buffer) => {
    said.err += data.toString();
  });
  return { child, err: () => said.err, end: once(child, "close").then(([code]) => ({ code, ...said })) };
}

const fleet = (...args: string[]) => begin(...args, "--file", file).end;

function write(id: string, more: object = {}, at: Record<string, string> = {}): void {
  const sites = names.map((name) => ({ name, region: name.split("-")[0], api: at[name] ?? running.get(name)?.url }));
  const plan = { soak: "0s", looks: 0, waves: [{ sites: ["north-1"] }, { region: "north" }, { rest: true }] };
  const given = { fleet: id, defaults: { patience: "500ms" }, sites, ...plan, change: { services: [www] }, ...more };
  writeFileSync(file, stringify(given));
}

const servicesOf = async (name: string) =>
  ((await running.get(name)?.call("GET", "/service"))?.body as { name: string }[] | undefined)?.map((one) => one.name);

test("C5: a fleet.yaml that cannot be meant so is refused with every fault, its place and its path", () => {
  const text = `fleet: "two words"
sites:
  - { name: paris, api: nowhere }
  - { name: lyon, token: { env: A, file: b } }
waves: [{ percent: 10, rest: true }]
soak: 5
extra: 1
change: { services: none.yaml }
`;
  const refused = (given: string) => {
    try {
      parseFleet(given, join(folder, "fleet.yaml"));
    } catch (error) {
      if (error instanceof FleetFileError) return error.message.split("\n");
      throw error;
    }
    throw new Error("it was taken");
  };
  assert.equal(refused(text), [
    "fleet.yaml:1:8: fleet must be 1 to 63 letters, digits, dots, dashes or underscores",
    "fleet.yaml:6:7: soak must be text",
    "fleet.yaml:7:1: extra is not a setting; remove it or spell it right",
  ]);
  const shaped = text.replace('"two words"', "two").replace("soak: 5", "soak: 5s").replace("extra: 1\n", "");
  assert.equal(
    refused(`${shaped}gates: [{ metric: "a b", most: 1 }, { steady: x, most: 1 }, { rate: x, mostTimes: 2 }]\n`),
    [
      "fleet.yaml:3:25: sites[0].api must be a URL such as https://{name}.example.net:8090",
      'fleet.yaml:4:5: sites[1] lacks "api"; add it here or in defaults',
      "fleet.yaml:4:26: sites[1].token must say one of env, file, not several",
      "fleet.yaml:5:9: waves[0] must say one of sites, percent, region, rest, not several",
      "fleet.yaml:7:21: change.services there is no file none.yaml",
      'fleet.yaml:8:9: gates[0] "a b" must be a metric such as offramp_ready or a{b="c"}',
      "fleet.yaml:8:37: gates[1] steady takes no bounds",
      "fleet.yaml:8:61: gates[2] compares with how it was before: set baseline, the time to watch that",
    ],
  );
});

test("C5: the fleet.yaml of the manual and that of the example are good", () => {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const manual = readFileSync(join(root, "docs/fleet.md"), "utf8");
  const [, yaml = ""] = /```yaml\n(# fleet.yaml\n[^`]*)```/.exec(manual) ?? [];
  writeFileSync(join(folder, "services.yaml"), stringify([www]));
  const { plan, access } = parseFleet(yaml, join(folder, "manual.yaml"));
  assert.equal([plan.id, plan.soak, plan.gates?.length], ["release-7", 300_000, 6]);
  assert.throws(() => access({ name: "paris" }), /ca of paris: the file .*ca.pem cannot be read/);
  assert.is(loadFleet(join(root, "docs/examples/three-sites/fleet.yaml")).plan.sites.length, 3);
});

test("C5: secrets come from files and the environment, and are no part of the journal or of what is said", async () => {
  const token = "a-token-that-nobody-may-see";
  writeFileSync(join(folder, "token-north-1"), `${token}\n`);
  write("secret", { defaults: { token: { file: "token-{name}" }, patience: "0s" } });
  const refused = await fleet("run");
  assert.is(refused.code, 2);
  assert.match(refused.err, /token of north-2: the file .*cannot be read\ntoken of south-1: .*\ntoken of south-2: /);
  for (const name of names) writeFileSync(join(folder, `token-${name}`), `${token}\n`);
  const { code, out, err } = await fleet("run");
  assert.is(code, 1, err);
  assert.match(out + err, /north-1: .*[Tt]oken/);
  const journal = readFileSync(join(folder, "secret.journal"), "utf8");
  assert.not.match(out + err + journal, new RegExp(token));
});

test("C5: plan, run, status, catch-up: a site that is away is caught up long after", async () => {
  const { port } = (await silent()).address() as AddressInfo;
  const away = { "south-1": `http://127.0.0.1:${port}` };
  write("www", { gates: [{ metric: "offramp_services", least: 1 }] }, away);
  const planned = await fleet("plan", "--ask");
  assert.match(
    planned.out,
    /^1 canary: 1 site\n {2}north-1: services: 1 added, 0 changed, 0 removed\n2 region north: 1/,
  );
  assert.match(planned.out, /south-1: no answer/);
  assert.equal(await servicesOf("north-1"), [], "nothing was changed");
  assert.is((await fleet("status")).code, 2, "nothing was begun");

  const first = await fleet("run");
  assert.is(first.code, 3, first.err);
  assert.match(first.err, /^1 canary: north-1 good\n2 region north: north-2 good\n/);
  assert.match(first.out, /^3 {2}good .*\n1 {2}away .*\ndone$/m);
  assert.equal(await servicesOf("south-2"), ["www"]);
  assert.match((await fleet("run")).err, /www.journal is there: resume goes on/);

  const status = await fleet("status");
  assert.is(status.code, 3);
  assert.match(
    status.out,
    /1 canary: passed\n2 region north: passed\n3 rest: passed\n {2}south-1 {2}away .*does not answer/,
  );
  write("www", { gates: [{ metric: "offramp_services", least: 1 }] });
  const caught = await fleet("catch-up", "--json");
  assert.is(caught.code, 0, caught.err);
  assert.equal(JSON.parse(caught.out).sites.good, 4);
  assert.equal(await servicesOf("south-1"), ["www"]);
  write("www", { change: { services: [] } });
  assert.match(
    (await fleet("resume")).err,
    /is of roll-out "www" to other sites, in other waves, or of something else/,
  );
});

test("C5: Ctrl-C stops after what runs, and resume goes on; a second one ends at once", async () => {
  write("stopped", { soak: "1h", change: { services: [] } });
  const first = begin("run", "--file", file);
  const journal = join(folder, "stopped.journal");
  const has = (words: string) => existsSync(journal) && readFileSync(journal, "utf8").includes(words);
  await until("the canary to be changed", () => has('"deployed"'), 60_000);
  const other = await fleet("resume");
  assert.match(other.err, new RegExp(`process ${first.child.pid} works with`));
  first.child.kill("SIGINT");
  const { code, err } = await first.end;
  assert.is(code, 130, err);
  assert.match(err, /go on with: offramp fleet resume/);
  write("stopped", { soak: "0s", change: { services: [] } });
  const resumed = await fleet("resume");
  assert.is(resumed.code, 0, resumed.err);
  assert.equal((await Promise.all(names.map(servicesOf))).flat(), []);

  const silence = await silent();
  const { port } = silence.address() as AddressInfo;
  write("hangs", { defaults: { patience: "1h" } }, { "north-1": `http://127.0.0.1:${port}` });
  const hanging = begin("run", "--file", file);
  await until("it to ask", () => (connections.get(silence) ?? 0) > 0, 60_000);
  hanging.child.kill("SIGINT");
  await until("it to say so", () => hanging.err().includes("once more: at once"), 60_000);
  hanging.child.kill("SIGINT");
  assert.is((await hanging.end).code, 130);
});

const connections = new Map<Server, number>();

/** A place where connections are taken and nothing is ever answered. */
async function silent(): Promise<Server> {
  const server = createServer(() => undefined);
  server.on("connection", (socket) => {
    connections.set(server, (connections.get(server) ?? 0) + 1);
    if (connections.get(server) === 1) return;
    socket.destroy();
  });
  server.unref();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

test.run();
