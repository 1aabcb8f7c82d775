/** Do apply, confirm, rollback and history do what their help says, as text and as JSON? */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { siteText, withAgent } from "../api/harness.ts";
import { inDirectory, offramp, on } from "../cli/harness.ts";

const one = "- { name: web, serviceIP: 203.0.113.80, applicationIP: 10.60.0.80 }\n";
const two = "- { name: shop, serviceIP: 203.0.113.81, applicationIP: 10.60.0.81 }\n";
const withoutTimes = (text: string) => text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME");

test("apply, confirm, rollback, history: a file becomes the set, and the way back", () =>
  withAgent(async (running) => {
    const run = async (args: string[], input = "") => {
      const { code, out, err } = await offramp(args, { ...on(running), input });
      assert.is(code, 0, err);
      return withoutTimes(out);
    };
    assert.is(await run(["apply", "-f", "-"], one), "revision 1: 1 added, 0 changed, 0 removed, 0 kept\n+ web\n");
    assert.match(
      await run(["apply", "-f", "-", "--dry-run"], two),
      /^1 added, 0 changed, 1 removed, 0 kept\n\+ shop\n- web\n\nrules:\n {2}- web: .*\n {2}\+ shop: .*\n$/,
    );
    assert.is(
      await run(["apply", "-f", "-", "--confirm", "10m"], one + two),
      'revision 2: 1 added, 0 changed, 0 removed, 1 kept\n+ shop\nnot confirmed yet: "offramp confirm" before TIME keeps it, else it takes itself back\n',
    );
    const refused = await offramp(["apply", "-f", "-"], { ...on(running), input: two });
    assert.is(refused.code, 1);
    assert.match(refused.err, /A change waits to be confirmed: revision 2 waits to be confirmed until .*Z/);
    assert.match(
      await run(["history"]),
      /^REVISION +TIME +WHO +WHAT\n2 +TIME +loopback +2 services applied: 1 added, .*\n1 .*\nrevision 2 is not confirmed yet/,
    );
    assert.is(await run(["confirm"]), "revision 2 is confirmed\n");
    assert.is((await offramp(["confirm"], on(running))).code, 1);
    assert.is(await run(["rollback", "1"]), "revision 3: 0 added, 0 changed, 1 removed, 1 kept\n- shop\n");
    assert.is(
      await run(["history", "3", "--services"]),
      'revision 3, TIME, loopback: back to revision 1: 1 removed\n- {"name":"shop","serviceIP":"203.0.113.81","applicationIP":"10.60.0.81"}\n\nNAME  PRIORITY  MATCH         ENDPOINT\nweb   100       203.0.113.80  10.60.0.80\n',
    );
    assert.is(JSON.parse(await run(["history", "--json", "--limit", "1"])).revisions[0].removed, 1);
    assert.is(await run(["apply", "-f", "-"], "[]"), "revision 4: 0 added, 0 changed, 1 removed, 0 kept\n- web\n");
    await run(["apply", "-f", "-", "--confirm", "60s"], one);
    assert.match(await run(["rollback", "--json"]), '"removed": [\n    "web"\n  ]');
    const bad = await offramp(["apply", "-f", "-"], { ...on(running), input: `${one}- { name: x }\n` });
    assert.is(bad.code, 1);
    assert.match(bad.err, "[1]: give either serviceIP and applicationIP, or rules");
  }));

test("apply says what never acts, also in a dry run; the answer itself stays as it is", () =>
  withAgent(async (running) => {
    const hidden =
      "- { name: hidden, rules: { priority: 1, nw_src: 0.0.0.0/0, nw_dst: 203.0.113.80, tp_dst: 80, protocol: tcp, endpoint: 10.60.0.9 } }\n";
    for (const extra of [["--dry-run"], ["--json"]]) {
      const { code, out, err } = await offramp(["apply", "-f", "-", ...extra], { ...on(running), input: one + hidden });
      assert.is(code, 0, err);
      assert.match(err, /^warning: "hidden" never acts: "web", of higher priority, has all of its packets; .*\n$/);
      if (extra[0] === "--json") assert.is(JSON.parse(out).warnings[0].kind, "shadowed");
    }
  }));

test("usage errors are 2", async () => {
  for (const args of [
    ["apply"],
    ["apply", "-f", "/nowhere"],
    ["apply", "-f", "-", "--confirm", "120"],
    ["apply", "-f", "-", "--confirm", "10ms"],
    ["rollback", "yesterday"],
    ["history", "-1"],
    ["guard"],
  ]) {
    const { code, err } = await offramp(args, { input: "[]" });
    assert.is(code, 2, `${args.join(" ")}: ${err}`);
  }
});

test("a guard without anything to wait for ends at once", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "site.yaml");
    writeFileSync(file, siteText(join(directory, "state")));
    for (const once of [[], ["--once"]]) {
      assert.equal(await offramp(["guard", "--config", file, ...once]), { code: 0, out: "", err: "" });
    }
  }));

test.run();
