/**
 * Is the Debian package what it should be: built files alone, the same each time, and enough to run?
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository } from "../lab/appliance.ts";
import { must } from "../lab/netns.ts";

const test = suite("package");
let folder: string;
const packages: string[] = [];

async function build(name: string): Promise<string> {
  await must(["sh", "-c", `cd '${repository}' && bin/build && vagrant/image/package '${join(folder, name)}'`], {
    timeoutMs: 600_000,
  });
  const { stdout } = await must(["sh", "-c", `ls '${join(folder, name)}'/*.deb`]);
  return stdout.trim();
}

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "ofr-package-"));
  for (const name of ["one", "two"]) packages.push(await build(name));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("C2: the same sources give the same package, octet by octet", () => {
  const [one = "", two = ""] = packages.map((file) => readFileSync(file).toString("base64"));
  assert.ok(one.length > 1_000_000);
  assert.ok(one === two, "the two builds differ");
});

test("C2: it holds built files and what they need, and nothing of development, the centre, or this machine", async () => {
  const { stdout } = await must(["dpkg-deb", "-c", packages[0] ?? ""]);
  const paths = stdout.split("\n").map((line) => line.split(/\s+/)[5] ?? "");
  const has = (path: string): boolean => paths.includes(`./usr/${path}`);
  for (const path of [
    "bin/offramp",
    "lib/offramp/bin/node",
    "lib/offramp/build/offramp.bpf.o",
    "lib/systemd/system/offramp.service",
  ]) {
    assert.ok(has(path), path);
  }
  const foreign =
    /node_modules\/(@pulumi|@grpc|@biomejs|typescript|tsx|uvu|esbuild|@types)\/|\/dist\/(test|infra)\/|bench\.bpf\.o|[^.]\.ts$|\.cc$/;
  assert.equal(
    paths.filter((path) => foreign.test(path)),
    [],
  );
  const owners = new Set(
    stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => line.split(/\s+/)[1]),
  );
  assert.equal([...owners], ["root/root"]);
});

test("C2: unpacked elsewhere it runs with the Node that it brings: add-ons load, a configuration is checked, user-data is taken in", async () => {
  const root = join(folder, "root");
  await must(["dpkg-deb", "-x", packages[0] ?? "", root]);
  const offramp = join(root, "usr/lib/offramp/bin/offramp");
  const alone = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", offramp];
  const { version } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as { version: string };
  assert.is((await must([...alone, "--version"])).stdout.trim(), version);
  assert.is(
    (await must([...alone, "check", "--config", join(root, "usr/share/doc/offramp/site.example.yaml")])).stdout.trim(),
    "ok",
  );
  const node = join(root, "usr/lib/offramp/bin/node");
  mkdirSync(join(folder, "empty"));
  const load = `for (const name of ["koffi", "better-sqlite3", "pcap", "raw-socket"]) require(${JSON.stringify(join(root, "usr/lib/offramp/node_modules"))} + "/" + name); console.log("loaded")`;
  assert.is((await must([node, "-e", load])).stdout.trim(), "loaded");
});

test.run();
