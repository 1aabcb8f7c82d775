/** Does each verb do what its help says, with the exit codes 0, 1 and 2, as text and as JSON? */
import { spawn } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Running, siteText, withAgent } from "../api/harness.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The built program where it is up to date, as after `npm test`'s set-up; else the sources, which start slower. */
function commandLine(): string[] {
  const built = join(root, "dist/.built");
  const folders = ["controlplane", "dataplane"].map((folder) => join(root, folder));
  const files = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
  );
  const age = existsSync(built) ? statSync(built).mtimeMs : 0;
  if (files.every((file) => statSync(file).mtimeMs <= age)) return [join(root, "dist/controlplane/cli/main.js")];
  return ["--import", "tsx", join(root, "controlplane/cli/main.ts")];
}
const program = commandLine();

interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

function offramp(
  args: string[],
  { input = "", env = {} }: { input?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...program, ...args], {
      cwd: root,
      env: { ...process.env, OFFRAMP_API: "http://127.0.0.1:1", ...env },
    });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("latin1").on("data", (chunk: string) => {
      out += chunk;
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      err += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out: Buffer.from(out, "latin1").toString("utf8"), err }));
    child.stdin.end(input);
  });
}

const on = ({ url }: Running) => ({ env: { OFFRAMP_API: url } });

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "ofr-cli-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("check prints ok, or every error, with exit code 2", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "site.yaml");
    writeFileSync(file, siteText(directory));
    assert.equal(await offramp(["check", "--config", file]), { code: 0, out: "ok\n", err: "" });
    writeFileSync(file, siteText(directory).replace("core: cor0", "cor: cor0"));
    const bad = await offramp(["check", "--config", file]);
    assert.is(bad.code, 2);
    assert.is(bad.out, "");
    assert.match(
      bad.err,
      /^site.yaml:4:5: dataplanes\[0\] lacks "core"; add it\nsite.yaml:4:31: .*did you mean "core"\?\n$/,
    );
    const json = await offramp(["check", "--config", file, "--json"]);
    assert.is(json.code, 2);
    assert.equal(JSON.parse(json.err).errors[1].line, 4);
    const schema = await offramp(["check", "--schema"]);
    assert.is(JSON.parse(schema.out).title, "Offramp site");
  }));

test("usage errors are 2, an agent that is not there is 1", async () => {
  for (const args of [
    ["nonsense"],
    ["run"],
    ["check"],
    ["bypass", "maybe"],
    ["service", "add"],
    ["trace"],
    ["sessions", "--limit", "x"],
    ["status", "--api", "::"],
  ]) {
    const { code, err } = await offramp(args);
    assert.is(code, 2, `${args.join(" ")}: ${err}`);
    assert.ok(err.length > 0);
  }
  const away = await offramp(["status"]);
  assert.is(away.code, 1);
  assert.match(away.err, 'is "offramp run" running there?');
  assert.is((await offramp(["--help"])).code, 0);
  assert.match((await offramp(["--version"])).out, /^\d+\.\d+\.\d+\n$/);
});

test("run with a broken configuration is 2 before anything is touched", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "site.yaml");
    writeFileSync(file, "site: {}\n");
    const { code, err } = await offramp(["run", "--config", file]);
    assert.is(code, 2);
    assert.match(err, 'site.yaml:1:7: site lacks "name"; add it');
  }));

test("service add, ls and rm, both forms", () =>
  withAgent(async (running) => {
    const first = await offramp(["service", "add", "web", "--ip", "203.0.113.80", "--app", "10.60.0.80"], on(running));
    assert.is(first.code, 0, first.err);
    const second = await offramp(
      [
        "service",
        "add",
        "cache",
        "--priority",
        "200",
        "--dst",
        "203.0.113.0/24",
        "--protocol",
        "tcp",
        "--dport",
        "80",
        "--endpoint",
        "10.60.0.90:3128",
        "--json",
      ],
      on(running),
    );
    assert.is(second.code, 0, second.err);
    assert.is(JSON.parse(second.out)[0].rules.nw_src, "0.0.0.0/0");
    assert.is(
      (await offramp(["service", "ls"], on(running))).out,
      [
        "NAME   PRIORITY  MATCH                             ENDPOINT",
        "web    100       203.0.113.80                      10.60.0.80",
        "cache  200       203.0.113.0/24 proto tcp port 80  10.60.0.90:3128",
        "",
      ].join("\n"),
    );
    const again = await offramp(["service", "add", "web", "--ip", "203.0.113.81", "--app", "10.60.0.80"], on(running));
    assert.is(again.code, 1);
    assert.is(again.err, 'offramp: The name is taken: a service named "web" exists\n');
    const wrong = await offramp(
      ["service", "add", "x", "--priority", "9", "--dst", "1.2.3.4/8", "--dport", "80"],
      on(running),
    );
    assert.is(wrong.code, 1);
    assert.match(wrong.err, /rules.nw_dst: .*\n {2}rules.tp_dst: needs protocol/);
    const replaced = await offramp(
      ["service", "add", "web", "--ip", "203.0.113.80", "--app", "10.60.0.81", "--replace"],
      on(running),
    );
    assert.is(replaced.code, 0, replaced.err);
    assert.is((await offramp(["service", "rm", "203.0.113.80"], on(running))).out, "removed web\n");
    assert.is((await offramp(["service", "rm", "web"], on(running))).code, 1);
    assert.equal(JSON.parse((await offramp(["service", "ls", "--json"], on(running))).out).length, 1);
  }));

test("service add and plan read a file of several services", () =>
  withAgent(async (running) => {
    const list = JSON.stringify([
      { name: "a", serviceIP: "203.0.113.1", applicationIP: "10.60.0.1" },
      { name: "b", serviceIP: "203.0.113.2", applicationIP: "10.60.0.1" },
    ]);
    const planned = await offramp(["plan", "--file", "-"], { ...on(running), input: list });
    assert.is(
      planned.out,
      [
        '+ service "a" is added',
        '  + rule 1 "a" priority 100: to 203.0.113.1/32: take → 10.60.0.1',
        '+ service "b" is added',
        '  + rule 2 "b" priority 100: to 203.0.113.2/32: take → 10.60.0.1',
        "",
      ].join("\n"),
    );
    assert.equal((await running.call("GET", "/service")).body, [], "a plan changes nothing");
    assert.is((await offramp(["service", "add", "--file", "-"], { ...on(running), input: list })).code, 0);
    const moved = "name: a\nserviceIP: 203.0.113.1\napplicationIP: 10.60.0.9\n";
    assert.is(
      (await offramp(["plan", "--file", "-"], { ...on(running), input: moved })).out,
      [
        '~ service "a" changes',
        '  - rule 1 "a" priority 100: to 203.0.113.1/32: take → 10.60.0.1',
        '  + rule 1 "a" priority 100: to 203.0.113.1/32: take → 10.60.0.9',
        "",
      ].join("\n"),
    );
    const clash = await offramp(["plan", "--file", "-"], {
      ...on(running),
      input: moved.replace("name: a", "name: c"),
    });
    assert.is(clash.code, 1);
    assert.match(clash.err, 'service "a" has the same match');
  }));

test("plan and trace work on the store of a site whose agent does not run", () =>
  withAgent(async (running) => {
    await running.call("POST", "/service", { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });
    await running.agent.stop();
    const file = join(running.stateDir, "site.yaml");
    writeFileSync(file, siteText(running.stateDir));
    assert.is(
      (await offramp(["plan", "--config", file])).out,
      'rule 1 "web" priority 100: to 203.0.113.80/32: take → 10.60.0.80\nprotect 192.0.2.0/24 10.60.0.1/32\n',
    );
    const traced = await offramp([
      "trace",
      "--config",
      file,
      "--ue",
      "10.45.0.2",
      "--dst",
      "203.0.113.80",
      "--dport",
      "80",
      "--json",
    ]);
    assert.is(JSON.parse(traced.out).verdict, "take", traced.err);
  }));

test("trace names each rule that is met, from fields and from a frame of a capture", () =>
  withAgent(async (running) => {
    await running.call("POST", "/service", { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });
    const rules = { priority: "200", nw_dst: "203.0.113.80", nw_src: "10.45.9.0/24", protocol: "tcp", tp_dst: "80" };
    await running.call("POST", "/service", { name: "not-these", rules });
    const trace = async (...args: string[]) => (await offramp(["trace", ...args], on(running))).out;
    assert.is(
      await trace("--ue", "10.45.0.2", "--dst", "203.0.113.80", "--sport", "5000", "--dport", "80"),
      [
        "packet 10.45.0.2:5000 → 203.0.113.80:80 protocol 6",
        '  · rule 2 "not-these" priority 200: to 203.0.113.80/32 from 10.45.9.0/24 proto 6 port 80: pass  (source is not in 10.45.9.0/24)',
        '  ✓ rule 1 "web" priority 100: to 203.0.113.80/32: take → 10.60.0.80',
        'taken by service "web": destination becomes 10.60.0.80 port 80',
        "",
      ].join("\n"),
    );
    assert.match(
      await trace("--ue", "10.45.9.2", "--dst", "203.0.113.80", "--dport", "80"),
      'service "not-these" leaves it there',
    );
    assert.match(await trace("--ue", "10.45.0.2", "--dst", "192.0.2.1"), "dropped: 192.0.2.1 is in 192.0.2.0/24");
    assert.match(await trace("--ue", "10.45.0.2", "--dst", "198.51.100.1"), "no rule matches");
    assert.is((await offramp(["trace", "--ue", "x", "--dst", "1.2.3.4"], on(running))).code, 2);
  }));

test("status, sessions and bypass", () =>
  withAgent(async (running) => {
    running.dataplane.known.push({
      dataplane: "s1",
      ue: "10.45.0.2",
      index: 1,
      epoch: 1,
      baseStation: "198.18.1.2",
      gateway: "198.18.2.2",
      state: "up",
      bearers: [
        {
          direction: "uplink",
          teid: 1,
          baseStation: "198.18.1.2",
          gateway: "198.18.2.2",
          vlans: [],
          state: "live",
          overhead: 36,
        },
        {
          direction: "downlink",
          teid: 2,
          baseStation: "198.18.1.2",
          gateway: "198.18.2.2",
          vlans: [],
          state: "stale",
          overhead: 44,
          qfi: 9,
        },
      ],
      flows: 3,
      idle: 1,
      age: 3700,
    });
    assert.is(
      (await offramp(["sessions", "--ue", "10.45.0.2"], on(running))).out,
      [
        "UE         DATAPLANE  STATE  BASE STATION  GATEWAY     BEARERS                                       FLOWS  IDLE  AGE",
        "10.45.0.2  s1         up     198.18.1.2    198.18.2.2  up 0x00000001, down 0x00000002 (stale qfi 9)  3      1s    1h1m",
        "",
      ].join("\n"),
    );
    assert.is((await offramp(["sessions", "--ue", "10.45.0.3"], on(running))).out, "no sessions\n");
    running.dataplane.samples = [{ dataplane: "s1", name: "pass_no_rule", packets: 1234567n, bytes: 9n }];
    const status = await offramp(["status"], on(running));
    assert.match(status.out, /^offramp \S+: ready, 0 services\n\ns1: offload; 1 session, 0 flows\n/);
    assert.match(status.out, "core   cor0  up  MTU 1600  generic: the probe did not arrive");
    assert.match(status.out, /s1 +pass_no_rule +1 234 567 +9/);
    assert.is((await offramp(["bypass", "on"], on(running))).out, "s1: bypass\ns2: bypass\n");
    assert.match((await offramp(["status"], on(running))).out, "s1: bypass, site.yaml says offload");
    assert.is((await offramp(["bypass", "off", "s2"], on(running))).out, "s2: observe\n");
    assert.is(running.dataplane.modes.get("s1"), "bypass");
    assert.is((await offramp(["bypass", "on", "nobody"], on(running))).code, 1);
    assert.equal(JSON.parse((await offramp(["status", "--json"], on(running))).out).dataplanes.length, 2);
  }));

test("capture writes pcapng, and ends by itself when told how many", () =>
  withAgent(async (running) =>
    inDirectory(async (directory) => {
      const file = join(directory, "x.pcapng");
      const data = new Uint8Array(60);
      const feed = setInterval(
        () =>
          running.dataplane.packet({
            time: 1n,
            dataplane: "s1",
            port: 0,
            verdict: 0,
            service: 0,
            inner: false,
            length: 60,
            data,
          }),
        5,
      );
      const { code, err } = await offramp(["capture", "--count", "3", "-w", file], on(running));
      clearInterval(feed);
      assert.is(code, 0, err);
      assert.is(readFileSync(file).readUInt32LE(0), 0x0a0d0d0a);
      const traced = await offramp(["trace", "--pcap", file, "--frame", "3"], on(running));
      assert.is(
        traced.out,
        "captured: pass_not_gtpu dataplane=s1 port=0\npasses untouched: not IP: Ethernet type 0x0000\n",
        traced.err,
      );
      assert.match(
        (await offramp(["trace", "--pcap", file, "--frame", "4"], on(running))).err,
        "there is no frame 4: the file has 3",
      );
    }),
  ));

test("bin/offramp finds itself through symbolic links", () =>
  inDirectory(async (directory) => {
    symlinkSync(join(root, "bin/offramp"), join(directory, "one"));
    symlinkSync("one", join(directory, "two"));
    const { out, err } = await new Promise<Outcome>((resolve) => {
      const child = spawn(join(directory, "two"), ["--version"], { cwd: directory });
      let [out, err] = ["", ""];
      child.stdout.on("data", (chunk) => {
        out += chunk;
      });
      child.stderr.on("data", (chunk) => {
        err += chunk;
      });
      child.on("close", (code) => resolve({ code, out, err }));
    });
    // Where nothing is built yet it says so, naming the right place.
    assert.ok(/^\d+\.\d+\.\d+\n$/.test(out) || err.includes(join(root, "bin/setup")), out + err);
  }));

test.run();
