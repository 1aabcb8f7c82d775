/**
 * Is a backup, made while the agent works, the whole site and its platform on another machine (B8)? And a plain copy of the state
 * directory, made while the agent is stopped?
 *
 * The agent on a data plane in memory.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { restore } from "../../controlplane/backup/restore.ts";
import { Mp1Client } from "../../mep/client/mp1.ts";
import { checkState } from "../../mep/platform.ts";
import { type Running, siteText, start } from "../api/harness.ts";
import { Fate, Victim } from "../mortal.ts";
import { offer, webRule } from "./fixtures.ts";
import { upload } from "./onboarding.ts";
import { externalAppD, goodPackage } from "./packages/zip.ts";

const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0 } }";
const ofTheMachine = ["lock", "as-found.json", "dns"];
const category = { href: "/c", id: "c", name: "c", version: "1" };
const appd = externalAppD({
  appServiceProduced: [{ serName: "camera", version: "1", serCategory: category }],
  appTrafficRule: [webRule({ dstInterface: [{ interfaceType: "IP" }] })],
});

async function clientOf({ call }: Running, credentials: { clientId: string; clientSecret: string }) {
  const { body } = await call("GET", "/api/v1/mp1");
  return new Mp1Client({ mp1: body.url, ca: body.ca, ...credentials });
}

/** An instance that is ready; its credentials. */
async function install({ call, url }: Running): Promise<{ clientId: string; clientSecret: string }> {
  const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "a", appPkgVersion: "1" });
  assert.is((await upload(`${url}/app_pkgm/v1/app_packages/${created.body.id}`, goodPackage(appd))).status, 202);
  await call("POST", "/app_lcm/v1/app_instances", { appDId: "com.example.cache", appInstanceId: "one" });
  const begun = await call("POST", "/app_lcm/v1/app_instances/one/instantiate", {});
  const { pathname } = new URL(begun.headers.get("location") ?? "", url);
  for (let i = 0; i < 3000 && (await call("GET", pathname)).body.operationState !== "COMPLETED"; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return (await call("POST", "/api/v1/clients/one/secret")).body;
}

const files = (directory: string): string[] =>
  readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.path, one.name));

interface Site {
  credentials: { clientId: string; clientSecret: string };
  serInstanceId: string;
  ca: string;
  audit: { number: number };
}

/** With an app that is ready, its rule and service, a user, a service and a DNS rule. */
async function fill(first: Running): Promise<Site> {
  const credentials = await install(first);
  const app = await clientOf(first, credentials);
  await app.confirmReady();
  const { serInstanceId } = await app.offer(offer() as never);
  await app.activate("web");
  await app.close();
  const { ca } = (await first.call("GET", "/api/v1/mp1")).body;
  await first.call("POST", "/service", { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" });
  assert.is((await first.call("POST", "/api/v1/users", { name: "eve", role: "viewer" })).status, 201);
  const rule = { name: "shop", domain: "shop.example.com", addresses: ["10.60.0.10"], state: "INACTIVE" };
  assert.is((await first.call("POST", "/api/v1/dns-rules", rule)).status, 201);
  const [audit] = (await first.call("GET", "/api/v1/audit?limit=1")).body.entries;
  return { credentials, serInstanceId, ca, audit };
}

/** All of it is there; `whole`: its keys too. */
async function check(second: Running, { credentials, serInstanceId, ca, audit }: Site, whole: boolean): Promise<void> {
  const now = (await second.call("GET", "/api/v1/mp1")).body.ca;
  if (whole) assert.is(now, ca);
  else assert.is.not(now, ca);
  assert.equal(second.dataplane.steering.rules.map(({ name }) => name).sort(), ["app:one/web", "www"]);
  const again = await clientOf(second, credentials);
  assert.is((await again.trafficRule("web")).value.state, "ACTIVE");
  assert.equal(
    (await again.services()).map((one) => one.serInstanceId),
    [serInstanceId],
  );
  await again.close();
  const { body } = await second.call("GET", "/app_pkgm/v1/app_packages/com.example.cache");
  assert.is(body.usageState, "IN_USE");
  const content = await fetch(`${second.url}/app_pkgm/v1/app_packages/${body.id}/package_content`);
  assert.ok((await content.arrayBuffer()).byteLength > 0);
  assert.equal(
    (await second.call("GET", "/api/v1/users")).body.map(({ name }: { name: string }) => name),
    ["eve"],
  );
  assert.is((await second.call("GET", "/api/v1/dns-rules")).body[0].name, "shop");
  const log = (await second.call("GET", "/api/v1/audit?limit=1000")).body.entries as { number: number }[];
  assert.equal(
    log.find(({ number }) => number === audit.number),
    audit,
  );
  assert.is((await second.call("GET", "/api/v1/audit/verify")).status, 200);
}

async function save({ url }: Running, path: string, passphrase?: string): Promise<void> {
  const headers: Record<string, string> =
    passphrase === undefined ? {} : { "offramp-passphrase": encodeURIComponent(passphrase) };
  const response = await fetch(`${url}/api/v1/backup`, { headers });
  assert.is(response.status, 200);
  writeFileSync(path, Buffer.from(await response.arrayBuffer()));
}

async function refusal(options: Parameters<typeof restore>[0]): Promise<string> {
  try {
    await restore(options);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it was restored");
}

async function inFolder(body: (folder: string, first: Running) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "ofr-backup-"));
  const first = await start({ extra });
  try {
    await body(folder, first);
  } finally {
    await first.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const site = (stateDir: string) => siteText(stateDir, extra);

for (const passphrase of [undefined, "zwölf Boxkämpfer"]) {
  test(`B8: ${passphrase ? "a sealed" : "an open"} backup of a site at work is the whole site elsewhere`, () =>
    inFolder(async (folder, first) => {
      const filled = await fill(first);
      const [file, config, stateDir] = ["b", "site.yaml", "state"].map((name) => join(folder, name)) as [
        string,
        string,
        string,
      ];
      await save(first, file, passphrase);
      assert.not.ok(
        readdirSync(first.stateDir).some((name) => name.startsWith(".backup-")),
        "no copies are left",
      );
      writeFileSync(config, site(stateDir));
      if (passphrase) {
        assert.match(await refusal({ backup: file, config }), "give its passphrase");
        assert.match(await refusal({ backup: file, config, passphrase: "another" }), "another passphrase");
        assert.not.match(readFileSync(file).toString("latin1"), "offramp.sqlite");
      }
      const done = await restore({ backup: file, config, ...(passphrase && { passphrase }), check: checkState });
      assert.is(done.stateDir, stateDir);
      assert.equal(done.left, [config], "site.yaml that was there stays");
      assert.match(await refusal({ backup: file, config, ...(passphrase && { passphrase }) }), "not empty");
      const second = await start({ extra, stateDir });
      try {
        await check(second, filled, passphrase !== undefined);
      } finally {
        await second.agent.stop();
      }
    }));
}

test("B8: backups made while the site changes without a pause are each whole", () =>
  inFolder(async (folder, first) => {
    await fill(first);
    let changes = 0;
    let going = true;
    const busy = (async () => {
      for (; going; changes += 1) {
        const body = {
          name: `s${changes}`,
          serviceIP: `203.0.113.${100 + (changes % 100)}`,
          applicationIP: "10.60.0.10",
        };
        await first.call("POST", "/service", body);
        await first.call("DELETE", `/service/${body.name}`);
      }
    })();
    const files = [0, 1, 2].map((n) => join(folder, `b${n}`));
    await Promise.all(files.map((file) => save(first, file)));
    going = false;
    await busy;
    assert.ok(changes > 0);
    for (const [n, file] of files.entries()) {
      const config = join(folder, `${n}.yaml`);
      writeFileSync(config, site(join(folder, `state${n}`)));
      await restore({ backup: file, config, check: checkState });
    }
  }));

test("B8: a file that is damaged, cut off or of a newer release is refused whole; nothing is there then", () =>
  inFolder(async (folder, first) => {
    await fill(first);
    const [open, sealed, bad, config] = ["o", "s", "bad", "site.yaml"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
      string,
    ];
    const passphrase = "a long one";
    await save(first, open);
    await save(first, sealed, passphrase);
    const stateDir = join(folder, "state");
    writeFileSync(config, site(stateDir));
    for (const file of [open, sealed]) {
      const whole = readFileSync(file);
      for (const part of [0.1, 0.5, 0.9]) {
        const damaged = Buffer.from(whole);
        const at = Math.floor(whole.length * part);
        // Longer than what no one reads of a zip: dates, versions.
        for (let octet = at; octet < at + 64; octet += 1) damaged[octet] = (damaged[octet] ?? 0) ^ 0xff;
        for (const bytes of [damaged, whole.subarray(0, at)]) {
          writeFileSync(bad, bytes);
          await refusal({ backup: bad, config, passphrase });
          assert.not.ok(existsSync(stateDir));
          assert.not.ok(existsSync(`${stateDir}.restoring`));
        }
      }
    }
    const newer = () => {
      throw new Error("a newer release");
    };
    assert.match(await refusal({ backup: open, config, check: newer }), "a newer release");
    assert.not.ok(existsSync(stateDir));
  }));

test("B8: a restore that is killed has restored nothing or all, and is begun again", () =>
  inFolder(async (folder, first) => {
    const filled = await fill(first);
    const file = join(folder, "b");
    await save(first, file);
    const fate = new Fate(join(folder, "fate"));
    for (const [at, step] of ["opened.before", "opened.after", "placed.before"].entries()) {
      const [config, stateDir] = [join(folder, `${at}.yaml`), join(folder, `state${at}`)];
      writeFileSync(config, site(stateDir));
      fate.at(step);
      const victim = new Victim("test/mep/mortal-restore.ts", file, config, fate.file);
      assert.is(await victim.end(), "SIGKILL", victim.log);
      if (step === "placed.before") assert.ok(existsSync(join(stateDir, "mep.sqlite")));
      else {
        assert.not.ok(existsSync(stateDir));
        await restore({ backup: file, config });
      }
      const second = await start({ extra, stateDir });
      await check(second, filled, false).finally(() => second.agent.stop());
    }
    fate.never();
  }));

test("B8: an empty machine gets site.yaml too, and says what it lacks", () =>
  inFolder(async (folder, first) => {
    const file = join(folder, "b");
    await save(first, file, "a long one");
    const config = join(folder, "etc", "site.yaml");
    await first.agent.stop();
    rmSync(first.stateDir, { recursive: true });
    const done = await restore({ backup: file, config, passphrase: "a long one" });
    assert.equal([done.stateDir, done.written, done.todo], [first.stateDir, [config], []]);
    assert.ok(files(first.stateDir).length > 0);
  }));

test("B8: only an admin gets a backup, and it is in the audit log", () =>
  inFolder(async (_folder, first) => {
    const { token } = (await first.call("POST", "/api/v1/users", { name: "op", role: "operator" })).body;
    const asked = await first.call("GET", "/api/v1/backup", undefined, { authorization: `Bearer ${token}` });
    assert.is(asked.status, 403);
    assert.is((await first.call("GET", "/api/v1/backup", undefined, { "offramp-passphrase": "short" })).status, 400);
    await (await fetch(`${first.url}/api/v1/backup`)).arrayBuffer();
    const { entries } = (await first.call("GET", "/api/v1/audit?limit=20")).body;
    assert.match(JSON.stringify(entries), "/api/v1/backup");
  }));

test("B8: a copy of the state directory, made while the agent is stopped, is the whole site", async () => {
  const first = await start({ extra });
  const copy = mkdtempSync(join(tmpdir(), "ofr-backup-"));
  try {
    const filled = await fill(first);
    await first.agent.stop();
    cpSync(first.stateDir, copy, { recursive: true, filter: (path) => !ofTheMachine.includes(basename(path)) });
    const second = await start({ extra, stateDir: copy });
    await check(second, filled, true).finally(() => second.agent.stop());
  } finally {
    await first.stop();
    rmSync(copy, { recursive: true, force: true });
  }
});

test.run();
