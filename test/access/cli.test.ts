/** Do `offramp user` and `offramp audit` do what their help says, over the API and on the store itself (C6)? */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { siteText, withAgent } from "../api/harness.ts";
import { inDirectory, offramp, on } from "../cli/harness.ts";

test("user add, ls, token, rm over the API; the token works and is shown alone on a line", () =>
  withAgent(async (running) => {
    const run = (...args: string[]) => offramp(args, on(running));
    const added = await run("user", "add", "ada", "--role", "admin");
    assert.equal([added.code, added.err], [0, ""]);
    const token = added.out.trim().split("\n")[1] ?? "";
    assert.match(token, /^ofr_[A-Za-z0-9_-]{43}$/);
    assert.match((await run("user", "ls", "--token", token)).out, /^NAME .*\nada +admin +20/);
    const made = JSON.parse((await run("user", "token", "ada", "--json")).out);
    assert.is.not(made.token, token);
    assert.is((await run("user", "ls", "--token", token)).code, 1, "the old one is worth nothing");
    assert.match((await run("user", "ls", "--token", token)).err, "A valid bearer token is needed");
    assert.match((await run("user", "add", "ada")).err, "The name is taken");
    assert.is((await run("user", "add", "a b")).code, 2);
    assert.is((await run("user", "add", "eve", "--role", "root")).code, 2);
    assert.is((await run("user", "rm", "ada")).out, "removed ada\n");
    assert.match((await run("user", "rm", "ada")).err, "Not found");
    assert.is((await run("user", "ls")).out, "no users\n");
  }));

test("without an agent, --config changes the store itself, and the log says so; with one it is refused", () =>
  inDirectory(async (directory) => {
    const file = join(directory, "site.yaml");
    const stateDir = join(directory, "state");
    writeFileSync(file, siteText(stateDir, "api: { listen: 127.0.0.1:0, loopback: none }"));
    const made = await offramp(["user", "add", "ada", "--role", "admin", "--config", file, "--json"]);
    assert.is(made.code, 0, made.err);
    const { token } = JSON.parse(made.out);
    await withAgent(
      async (running) => {
        const answer = await running.call("GET", "/api/v1/whoami", undefined, { authorization: `Bearer ${token}` });
        assert.is(answer.body.user, "ada");
        const refused = await offramp(["user", "ls", "--config", file]);
        assert.is(refused.code, 1);
        assert.match(refused.err, "is in use by process");
        const log = await offramp(["audit", "ls", "--on", "command line", "--token", token], on(running));
        assert.match(log.out, /uid 0 .* 200 +user ada added, admin/);
      },
      { stateDir, extra: "api: { listen: 127.0.0.1:0, loopback: none }" },
    );
  }));

test("audit ls, verify, export and truncate; a changed export and a changed log are found, exit code 3", () =>
  withAgent((running) =>
    inDirectory(async (directory) => {
      const run = (...args: string[]) => offramp(args, on(running));
      const web = { serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" };
      await running.call("POST", "/service", { name: "web", ...web });
      await running.call("POST", "/service", { name: "web", ...web });
      const listed = await run("audit", "ls");
      assert.is(listed.code, 0, listed.err);
      assert.match(listed.out, /^NUMBER +TIME +WHO +FROM +STATUS +WHAT\n/);
      assert.match(listed.out, /3 +20.* loopback +127.0.0.1 +200 +POST \/service, service "web"\n/);
      assert.match(listed.out, /409 +POST \/service\n/);
      assert.is((await run("audit", "ls", "--status", "409", "--json")).code, 0);

      const verified = await run("audit", "verify");
      assert.match(verified.out, /^5 entries, all as they were written\nhead 5:[0-9a-f]{64}\n$/);
      const head = verified.out.trim().split("head ")[1] ?? "";
      assert.is((await run("audit", "verify", "--head", head)).code, 0);
      const other = await run("audit", "verify", "--head", `5:${"0".repeat(64)}`);
      assert.equal([other.code, /WRONG: entry 5 is not the one that was noted/.test(other.out)], [3, true]);
      assert.is((await run("audit", "verify", "--head", "5")).code, 2);

      const file = join(directory, "audit.jsonl");
      const exported = await run("audit", "export", "--file", file, "--truncate");
      assert.equal([exported.code, exported.err], [0, ""]);
      assert.match(exported.out, /^6 entries, .*\nhead 6:[0-9a-f]{64}\nremoved from the appliance\n$/);
      assert.is((await run("audit", "verify", "--file", file, "--head", head)).code, 0);
      assert.match((await run("audit", "ls")).out, "entries up to 6 removed");
      assert.is((await run("audit", "verify")).code, 0);
      const text = readFileSync(file, "utf8");
      writeFileSync(file, text.replace('"loopback"', '"nobody"'));
      const changed = await run("audit", "verify", "--file", file);
      assert.equal([changed.code, /WRONG: entry 2 is not what was written/.test(changed.out)], [3, true]);
      writeFileSync(file, "{}\n");
      assert.is((await run("audit", "verify", "--file", file)).code, 1);

      const config = join(directory, "site.yaml");
      writeFileSync(config, siteText(running.stateDir));
      assert.is((await offramp(["audit", "verify", "--config", config])).code, 0);
    }),
  ));

test.run();
