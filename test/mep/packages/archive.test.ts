/**
 * Does a package that is not good stay out, with every reason (B6, HOSTILE §4)?
 */
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../../controlplane/errors.ts";
import { openFile, type ReadOptions, readPackage } from "../../../mep/packages/archive.ts";
import { packageLimits } from "../../../mep/packages/limits.ts";
import { pack } from "../../../mep/packages/pack.ts";
import { signingKey } from "../../../mep/packages/signature.ts";
import { externalAppD, goodPackage, type Member, members, zip } from "./zip.ts";

const folder = mkdtempSync(join(tmpdir(), "ofr-pkg-"));
const file = join(folder, "package.zip");

async function read(bytes: Buffer, options?: ReadOptions) {
  writeFileSync(file, bytes);
  return readPackage(file, options);
}

/** All reasons for which it is refused. */
async function reasons(bytes: Buffer, options?: ReadOptions): Promise<string> {
  try {
    await read(bytes, options);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    assert.is(error.code, "invalid-package");
    return [error.detail, ...(error.extras.errors ?? []).map((one) => `${one.field}: ${one.message}`)].join("\n");
  }
  return "accepted";
}

const appdText = JSON.stringify(externalAppD());
/** A good package with more members in it. */
const plus = (...more: Member[]) => zip([...members({ "appd.json": appdText }), ...more]);

test("a good package is read: AppD as JSON or YAML, files with their hashes (B6)", async () => {
  const content = await read(goodPackage(externalAppD(), { "conf/squid.conf": "http_port 3128\n" }));
  assert.is(content.appd.appDId, "com.example.cache");
  assert.equal(
    content.files.map(({ path, size }) => [path, size]),
    [
      ["appd.json", appdText.length],
      ["conf/squid.conf", 15],
      ["package.mf", content.files[2]!.size],
    ],
  );
  const yaml = `appDId: a\nappName: a\nappProvider: p\nappSoftVersion: "1"\nappDVersion: "1"\nmecVersion: [2.1.1, 3.1.1]
appDescription: d\nx-offramp: { runtime: { kind: external } }\n`;
  assert.is((await read(zip(members({ "appd.yaml": yaml })))).appd.mecVersion, "2.1.1,3.1.1");
});

test("the content of one file is read from the package; of another there is none", async () => {
  writeFileSync(file, goodPackage(externalAppD(), { "a/b.txt": "content" }));
  const chunks: Buffer[] = [];
  for await (const chunk of (await openFile(file, "a/b.txt"))!.stream) chunks.push(chunk as Buffer);
  assert.is(Buffer.concat(chunks).toString(), "content");
  assert.is(await openFile(file, "a"), undefined);
  assert.is(await openFile(file, "../package.zip"), undefined);
});

for (const [name, reason] of [
  ["../evil", "invalid relative path|leads out"],
  ["a/../../evil", "invalid relative path|leads out"],
  ["/etc/passwd", "absolute path|not relative"],
  ["C:/windows", "absolute path|not relative"],
  ["a\\..\\evil", "invalid characters|backslash"],
  ["a//b", "empty part"],
  ["./a", "empty part"],
  ["a\0b", "control characters"],
  ["a\nb", "control characters"],
  ["e\u0301", "normal form C"],
  [`${"x".repeat(256)}`, "more than 255 bytes"],
  [`${"x/".repeat(40)}y`, "directories deep"],
] as const) {
  test(`path ${JSON.stringify(name.slice(0, 20))} is refused`, async () => {
    assert.match(await reasons(plus({ name, data: "x" })), new RegExp(reason));
  });
}

test("links, devices and pipes are refused, also when they are in the manifest", async () => {
  for (const [mode, said] of [
    [0o120777, "symbolic link"],
    [0o020644, "neither a file nor a directory"],
    [0o010644, "neither a file nor a directory"],
    [0o060644, "neither a file nor a directory"],
  ] as const) {
    assert.match(await reasons(plus({ name: "link", data: "/etc/passwd", mode })), said);
  }
});

test("names that are there twice are refused, whatever the case; so is a file that is a directory", async () => {
  assert.match(await reasons(plus({ name: "appd.json", data: "{}" })), "is there twice");
  assert.match(await reasons(plus({ name: "APPD.JSON", data: "{}" })), "is there twice");
  assert.match(await reasons(plus({ name: "a", data: "x" }, { name: "a/b", data: "x" })), "a file and a directory");
});

test("zip bombs are refused before they are unpacked: ratio, total, count, and sizes that lie", async () => {
  const zeros = Buffer.alloc(4 * 2 ** 20);
  assert.match(await reasons(plus({ name: "bomb", data: zeros, method: 8 })), "unpacks to more than 200 times");
  const limits = { ...packageLimits, unpacked: 1000 };
  assert.match(await reasons(plus({ name: "a", data: "x".repeat(2000) }), { limits }), /unpacks to \d+ bytes; 1000/);
  const many = Array.from({ length: 5000 }, (_, index) => ({ name: `f${index}`, data: "" }));
  assert.match(await reasons(plus(...many)), "5002 entries; 4096 are allowed");
  // What claims less than it unpacks to.
  const [manifest, appd] = members({ "appd.json": appdText, liar: zeros });
  const liar = { name: "liar", data: zeros, method: 8, size: 1000 };
  assert.match(await reasons(zip([manifest!, appd!, liar])), /liar.*too many bytes/);
});

test("what is encrypted or packed in an unknown way is refused", async () => {
  assert.match(await reasons(plus({ name: "a", data: "x", method: 8, flags: 0x801 })), "is encrypted");
  assert.match(await reasons(plus({ name: "a", data: "x", method: 14 })), "compressed by method 14");
});

test("no zip, half a zip, an empty one, and one of noise are refused", async () => {
  const good = goodPackage();
  for (const bytes of [Buffer.alloc(0), Buffer.from("PK"), Buffer.alloc(1000, 7), good.subarray(0, good.length - 30)]) {
    assert.match(await reasons(bytes), /not a zip|cannot be read/);
  }
  assert.match(await reasons(zip([])), "lacks appd.json");
  assert.match(await reasons(zip(members({ "appd.json": appdText }), { count: 7 })), /cannot be read|not a zip/);
});

test("any octet that is changed is noticed, or changes nothing that is read", async () => {
  const good = goodPackage();
  const wanted = await read(good);
  for (let at = 0; at < good.length; at += 3) {
    const bytes = Buffer.from(good);
    bytes[at] = (bytes[at] ?? 0) ^ 0x55;
    writeFileSync(file, bytes);
    try {
      const { appd, files } = await readPackage(file);
      assert.equal(appd, wanted.appd, `octet ${at}`);
      assert.equal(
        files.filter(({ path }) => !path.endsWith(".mf")),
        wanted.files.filter(({ path }) => !path.endsWith(".mf")),
        `octet ${at}`,
      );
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }
});

test("the manifest and the files are the same set, with the right hashes", async () => {
  assert.match(await reasons(zip(members({ "appd.json": appdText }, false))), "lacks a manifest");
  assert.match(await reasons(plus({ name: "extra", data: "x" })), '"extra" is not in the manifest');
  const [manifest] = members({ "appd.json": appdText, gone: "x" });
  const appd = { name: "appd.json", data: appdText };
  assert.match(await reasons(zip([manifest!, appd])), '"gone" is in the manifest, but not in the package');
  const [wrong] = members({ "appd.json": `${appdText} ` });
  assert.match(await reasons(zip([wrong!, appd])), '"appd.json" is not what its hash in the manifest says');
  const two = members({ "appd.json": appdText });
  assert.match(await reasons(zip([...two, { name: "other.mf", data: "" }])), "several of a manifest");
  for (const [text, said] of [
    ["Source: a\nHash: 00", "Algorithm must be"],
    ["Source: a\nAlgorithm: SHA-256\nHash: zz", "64 hexadecimal digits"],
    ["Source: a\nAlgorithm: MD5\nHash: 00", "SHA-256 or SHA-512"],
    ["Algorithm: SHA-256", "without Source"],
    ["what is this", "Name: value"],
  ] as const) {
    assert.match(await reasons(zip([{ name: "p.mf", data: text }, appd])), said);
  }
  assert.match(await reasons(zip([{ name: "p.mf", data: Buffer.from([0xff, 0xfe]) }, appd])), "p.mf");
});

test("an AppD that is missing, there twice, too large, no JSON or no YAML is refused", async () => {
  assert.match(await reasons(zip(members({ "readme.txt": "x" }))), "lacks appd.json");
  assert.match(await reasons(zip(members({ "appd.json": "{}", "appd.yaml": "{}" }))), "several of appd.json");
  assert.match(await reasons(zip(members({ "appd.json": `{"a": "${"x".repeat(2 ** 20)}"}` }))), "larger than");
  for (const [name, text] of [
    ["appd.json", "{"],
    ["appd.json", "{'a': 1}"],
    ["appd.json", '{"appDId": "a", "appDId": "b"}'],
    ["appd.yaml", "a: [1"],
    ["appd.yaml", "a: 1\na: 2"],
    ["appd.yaml", "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: *c"],
    ["appd.yaml", "- a list"],
    ["appd.json", "null"],
    ["appd.yaml", ""],
  ] as const) {
    assert.not.match(await reasons(zip(members({ [name]: text }))), "accepted", `${name}: ${text.slice(0, 40)}`);
  }
  const text = '{"__proto__": {"appDId": "a"}, "constructor": 1}';
  assert.match(await reasons(zip(members({ "appd.json": text }))), "key that no document may have");
});

test("all that is wrong with an AppD is named at once, with its path; files it names are there", async () => {
  const said = await reasons(
    goodPackage({
      ...externalAppD({ appDId: "a/b", mecVersion: "two", appTraficRule: [], appLatency: { maxLatency: -1 } }),
      appName: undefined,
    }),
  );
  for (const wanted of ["appDId: must be", "mecVersion: must be a list of versions", "appName: is required"]) {
    assert.ok(said.includes(wanted), `${wanted}\n${said}`);
  }
  assert.match(said, 'appTraficRule: is not known; did you mean "appTrafficRule"');
  assert.match(said, "appLatency.maxLatency: must be 0 to");
  const image = { id: "i", name: "i", version: "1", containerFormat: "OCI", swImage: "image.tar", size: 3 };
  const container = { runtime: { kind: "container", files: [{ source: "conf", path: "/etc/conf" }] } };
  const appd = externalAppD({ swImageDescriptor: image, "x-offramp": container });
  assert.match(await reasons(goodPackage(appd)), 'no file "conf"');
  assert.match(await reasons(goodPackage(appd)), "path of an OCI archive");
  assert.match(await reasons(goodPackage(appd, { conf: "", "image.tar": "four" })), "size: is not that of");
  assert.is(await reasons(goodPackage(appd, { conf: "", "image.tar": "abc" })), "accepted");
});

test("with keys, only what one of them has signed is taken", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const other = generateKeyPairSync("ed25519");
  const raw = (key: typeof publicKey) => key.export({ format: "der", type: "spki" }).subarray(12).toString("base64");
  const keys = [signingKey("other", raw(other.publicKey)), signingKey("release", raw(publicKey))];
  const all = members({ "appd.json": appdText });
  const signature = sign(null, Buffer.from(all[0]!.data ?? ""), privateKey);
  const signed = (data: Buffer | string) => zip([...all, { name: "package.mf.sig", data }]);
  assert.is((await read(signed(signature), { keys })).signedBy, "release");
  assert.is((await read(signed(signature.toString("base64")), { keys })).signedBy, "release");
  assert.match(await reasons(zip(all), { keys }), "it is not signed");
  assert.match(await reasons(signed(Buffer.alloc(64)), { keys }), "of none of the keys other, release");
  assert.match(await reasons(signed(signature), { keys: keys.slice(0, 1) }), "of none of the keys other");
  assert.match(await reasons(signed("short"), { keys }), "of none of the keys");
  assert.is(await reasons(signed("whatever")), "accepted");
  for (const text of ["", "AAAA", raw(publicKey).slice(1), "not base64 at all"]) {
    assert.throws(() => signingKey("k", text), /Ed25519/);
  }
});

test("a folder is packed: the same files make the same package, links are refused, it is signed on request", async () => {
  const source = join(folder, "app");
  mkdirSync(join(source, "conf"), { recursive: true });
  writeFileSync(join(source, "appd.yaml"), JSON.stringify(externalAppD()));
  writeFileSync(join(source, "conf/a.conf"), "a\n");
  const [one, two] = [join(folder, "one.zip"), join(folder, "two.zip")];
  const content = await pack(source, one);
  assert.equal(
    content.files.map(({ path }) => path),
    ["appd.yaml", "conf/a.conf", "package.mf"],
  );
  await pack(source, two);
  assert.ok(readFileSync(one).equals(readFileSync(two)));
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ format: "der", type: "spki" }).subarray(12).toString("base64");
  await pack(source, two, { key: privateKey });
  assert.is((await readPackage(two, { keys: [signingKey("mine", raw)] })).signedBy, "mine");

  symlinkSync("/etc/passwd", join(source, "link"));
  await pack(source, two).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, "link is neither"),
  );
  rmSync(join(source, "link"));
  writeFileSync(join(source, "appd.yaml"), "appDId: 1\n");
  const broken = join(folder, "broken.zip");
  await pack(source, broken).then(
    () => assert.unreachable(),
    (error) => assert.is((error as Problem).code, "invalid-package"),
  );
  assert.throws(() => readFileSync(broken));
});

test.after(() => rmSync(folder, { recursive: true, force: true }));
test.run();
