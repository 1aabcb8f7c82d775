/**
 * Do the verbs of `offramp app` do what they say, from a folder to an instance and back (B6, B7)?
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { type Running, withAgent } from "../../api/harness.ts";
import { inDirectory, offramp, on } from "../../cli/harness.ts";
import { externalAppD } from "../packages/zip.ts";

const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0 } }";

function folderOf(directory: string, appd: object): string {
  const folder = join(directory, "app");
  mkdirSync(join(folder, "conf"), { recursive: true });
  writeFileSync(join(folder, "appd.yaml"), JSON.stringify(appd));
  writeFileSync(join(folder, "conf/a.conf"), "a\n");
  return folder;
}

test("a folder is packed and checked; a bad one is refused with every reason, exit code 2 (B6)", async () => {
  await inDirectory(async (directory) => {
    const zip = join(directory, "app.zip");
    const folder = folderOf(directory, externalAppD());
    const packed = await offramp(["app", "pack", folder, "-o", zip]);
    assert.equal([packed.code, packed.err], [0, ""]);
    assert.match(packed.out, /app\.zip: good; cache 1\.0 of example, AppD com\.example\.cache, 3 files/);
    const checked = await offramp(["app", "check", zip, "--json"]);
    assert.is(JSON.parse(checked.out).files.length, 3);
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const pem = join(directory, "key.pem");
    writeFileSync(pem, privateKey.export({ format: "pem", type: "pkcs8" }));
    const raw = publicKey.export({ format: "der", type: "spki" }).subarray(12).toString("base64");
    assert.is((await offramp(["app", "check", zip, "--key", raw])).code, 2);
    await offramp(["app", "pack", folder, "-o", zip, "--key", pem]);
    assert.match((await offramp(["app", "check", zip, "--key", raw])).out, /signed by --key/);

    folderOf(directory, externalAppD({ appDId: "a b", mecVersion: "x" }));
    const bad = await offramp(["app", "pack", folder, "-o", zip]);
    assert.is(bad.code, 2);
    assert.match(bad.err, /is not a good package:\n {2}appDId: must be.*\n {2}mecVersion: must be/);
    for (const args of [
      ["check", "/nowhere.zip"],
      ["pack", "/nowhere", "-o", zip],
      ["vnfd", "/nowhere"],
      ["pack", folder],
    ]) {
      assert.is((await offramp(["app", ...args])).code, 2, args.join(" "));
    }
  });
});

test("an AppD becomes a VNFD and comes back; what is lost is said on standard error (B6)", async () => {
  const appd = externalAppD({ appLatency: { maxLatency: 5 } });
  const there = await offramp(["app", "vnfd", "-"], { input: JSON.stringify(appd) });
  assert.is(there.code, 0);
  assert.match(there.err, /not carried: appLatency: a VNFD has no such attribute \(Table 3\)/);
  assert.match(there.err, /to be added: vnfmInfo/);
  assert.is(parse(there.out).vnfdId, "com.example.cache");
  const back = await offramp(["app", "vnfd", "-"], { input: there.out });
  const { mecVersion: _lost, "x-offramp": _ours, ...carried } = externalAppD();
  assert.equal(parse(back.out), carried);
  assert.is((await offramp(["app", "vnfd", "-"], { input: "a: 1" })).code, 2);
});

test("a package is added, an instance created, started, stopped, removed (B7)", async () => {
  await inDirectory((directory) =>
    withAgent(
      async (running: Running) => {
        const app = async (...args: string[]) => {
          const { code, out, err } = await offramp(["app", ...args], on(running));
          return code === 0 ? out : `${code} ${err}`;
        };
        const zip = join(directory, "app.zip");
        await offramp(["app", "pack", folderOf(directory, externalAppD()), "-o", zip]);
        assert.match(await app("add", zip), /ONBOARDED, ENABLED, NOT_IN_USE/);
        assert.match(await app("add", zip), /^1 .*appDId "com\.example\.cache" already/);
        assert.is((await running.call("GET", "/app_pkgm/v1/app_packages")).body.length, 1);
        assert.match(
          await app("create", "com.example.cache", "--id", "one", "--name", "first"),
          /instance one \(first\): created/,
        );
        assert.match(await app("create", "com.example.cache", "--id", "one"), /^1 .*already/);
        assert.is(await app("start", "one"), "one: started\n");
        assert.match(await app("start", "one"), /^1 .*STARTED already/);
        assert.match(await app("ls"), /^one +first +com\.example\.cache +started +10\.60\.0\.10$/m);
        assert.match(await app("show", "one"), /on a machine of its own, at 10\.60\.0\.10/);
        assert.is(JSON.parse(await app("show", "com.example.cache", "--json")).appD.appName, "cache");
        assert.match(await app("logs", "one"), /^1 .*machine of its own/);
        assert.is(await app("stop", "one", "--grace", "1s"), "one: stopped\n");
        assert.match(await app("rm", "one"), /^1 .*terminate it first/);
        assert.match(await app("ops", "one"), /OPERATE +COMPLETED/);
        assert.is(await app("rm", "one", "--force"), "removed one\n");
        assert.is(await app("rm", "com.example.cache"), "removed com.example.cache\n");
        assert.match(await app("rm", "com.example.cache"), /^1 .*no app instance and no package/);
        assert.match(await app("ls"), /no packages\n\nno instances/);
        rmSync(zip);
        assert.match(await app("add", zip), /^2 .*app\.zip/);
      },
      { extra },
    ),
  );
});

test.run();
