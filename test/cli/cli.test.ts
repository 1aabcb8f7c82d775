/** Does each verb do what its help says, with the exit codes 0, 1 and 2, as text and as JSON? */
import { spawn } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { siteText, withAgent } from "../api/harness.ts";
import { inDirectory, type Outcome, offramp, on, root } from "./harness.ts";

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

test("A13: dataplane ls, add and rm, and reload, as text and as JSON; what is wrong is told with all reasons", () =>
  withAgent((running) =>
    inDirectory(async (directory) => {
      const run = (...args: string[]) => offramp(args, on(running));
      const added = await run(
        "dataplane",
        "add",
        "s3",
        "--access",
        "acc3",
        "--core",
        "cor3",
        "--ue-pools",
        "10.48.0.0/16",
      );
      assert.equal([added.code, added.err], [0, ""]);
      assert.match(added.out, /^NAME .*\ns3 +offload +access acc3, core cor3 /);
      assert.equal(running.dataplane.planes.get("s3")?.uePools, ["10.48.0.0/16"]);
      const file = join(directory, "s4.yaml");
      writeFileSync(file, "{ name: s4, access: acc4, core: cor4, pinger: { target: 203.0.113.10 } }\n");
      assert.is(JSON.parse((await run("dataplane", "add", "-f", file, "--json")).out)[0].origin, "api");
      const both = await run("dataplane", "add", "s5", "--access", "acc3", "--core", "cor0");
      assert.is(both.code, 1);
      assert.match(both.err, /access: "acc3" belongs to data plane s3\n +core: "cor0" belongs to data plane s1\n$/);
      assert.is((await run("dataplane", "add")).code, 2);
      assert.match((await run("dataplane", "rm", "s3", "--unwire")).out, /^removed s3, 0 sessions ended\n$/);
      assert.is((await run("dataplane", "rm", "s3")).code, 1);
      assert.is((await run("dataplane", "ls")).out.trim().split("\n").length, 4);
      assert.is((await run("reload")).out, "nothing has changed\n");
      running.file.text = running.file.text.replace("mode: observe", "mode: offload");
      assert.is((await run("reload")).out, "changed s2\n");
    }),
  ));

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
        "NAME   PRIORITY  MATCH                             HEALTHY  ENDPOINT",
        "web    100       203.0.113.80                      -        10.60.0.80",
        "cache  200       203.0.113.0/24 proto tcp port 80  -        10.60.0.90:3128",
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
    // How many octets the rules have is the data plane's own affair.
    const withoutSize = (text: string) => text.replace(/ {2}~ size: .*\n/, "");
    assert.is(
      withoutSize(planned.out),
      [
        '+ service "a" is added',
        '  + rule 1 "a" priority 100: to 203.0.113.1/32: take → 10.60.0.1',
        '+ service "b" is added',
        '  + rule 2 "b" priority 100: to 203.0.113.2/32: take → 10.60.0.1',
        "",
        "rules:",
        '  + rule 1 "a": priority 100: destination 203.0.113.1/32: take → 10.60.0.1; service 1',
        '  + rule 2 "b": priority 100: destination 203.0.113.2/32: take → 10.60.0.1; service 2',
        "next_hops:",
        "  + 10.60.0.1: a place of its own",
        "maybe:",
        "  + 203.0: a rule for one address",
        "",
      ].join("\n"),
    );
    assert.equal((await running.call("GET", "/service")).body, [], "a plan changes nothing");
    assert.is((await offramp(["service", "add", "--file", "-"], { ...on(running), input: list })).code, 0);
    const moved = "name: a\nserviceIP: 203.0.113.1\napplicationIP: 10.60.0.9\n";
    assert.is(
      withoutSize((await offramp(["plan", "--file", "-"], { ...on(running), input: moved })).out),
      [
        '~ service "a" changes',
        '  - rule 1 "a" priority 100: to 203.0.113.1/32: take → 10.60.0.1',
        '  + rule 1 "a" priority 100: to 203.0.113.1/32: take → 10.60.0.9',
        "",
        "rules:",
        '  ~ rule 1 "a": priority 100: destination 203.0.113.1/32: take → 10.60.0.1; service 1 ⇒ priority 100: destination 203.0.113.1/32: take → 10.60.0.9; service 1',
        "next_hops:",
        "  + 10.60.0.9: a place of its own",
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
test.run();
