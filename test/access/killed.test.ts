/**
 * What is in the log, and who is a user, when the agent is killed at any step of a change (C6)?
 *
 * Promised: no change without an entry that came before it, no 2xx without its outcome in the log, and an attempt that was cut
 * off is named at the next start.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Audit } from "../../controlplane/access/audit.ts";
import type { Entry } from "../../controlplane/access/chain.ts";
import { Store } from "../../controlplane/store/store.ts";
import { Fate, Victim } from "../mortal.ts";

/** An agent that will die at that step. Resolves to where it listens. */
async function begin(stateDir: string, fatal: string, times = 1): Promise<{ victim: Victim; url: string }> {
  const fate = new Fate(join(stateDir, "fate"));
  const victim = new Victim("test/access/mortal.ts", stateDir, fate.file);
  const url = await victim.firstLine();
  fate.at(fatal, times);
  return { victim, url };
}

/** Undefined: the agent died before it answered. */
async function add(url: string, name: string): Promise<{ status: number; token: string } | undefined> {
  try {
    const response = await fetch(`${url}/api/v1/users`, {
      method: "POST",
      body: JSON.stringify({ name, role: "viewer" }),
      headers: { "content-type": "application/json" },
    });
    return { status: response.status, token: ((await response.json()) as { token: string }).token };
  } catch {
    return undefined;
  }
}

/** What the next start finds: users, whose the tokens are, and the log. */
async function found(
  stateDir: string,
  tokens: readonly string[] = [],
): Promise<{ users: string[]; holders: (string | undefined)[]; entries: Entry[] }> {
  const store = new Store(stateDir);
  const audit = new Audit(stateDir);
  try {
    assert.is((await audit.verify()).fault, undefined, "the chain is whole");
    return {
      users: store.users.list().map(({ name }) => name),
      holders: tokens.map((token) => store.users.holderOf(token)?.name),
      entries: audit.list({ api: "management", limit: 1000 }).entries.reverse(),
    };
  } finally {
    audit.close();
    store.close();
  }
}

async function inDirectory(body: (stateDir: string) => Promise<void>): Promise<void> {
  const stateDir = mkdtempSync(join(tmpdir(), "ofr-killed-"));
  try {
    await body(stateDir);
  } finally {
    await Victim.killAll();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

const steps: [string, boolean, string[]][] = [
  ["attemptTogether.before", false, []],
  ["attemptTogether.after", false, ["attempt", "interrupted"]],
  ["add.before", false, ["attempt", "interrupted"]],
  ["add.after", true, ["attempt", "interrupted"]],
  ["outcome.before", true, ["attempt", "interrupted"]],
  ["outcome.after", true, ["attempt", "outcome"]],
];
for (const [step, added, kinds] of steps) {
  test(`C6: killed at ${step} of a change: ${kinds.join(", ") || "nothing"} in the log, the user is ${added ? "" : "not "}there`, () =>
    inDirectory(async (stateDir) => {
      const { victim, url } = await begin(stateDir, step);
      assert.is(await add(url, "ada"), undefined, "not answered");
      assert.is(await victim.end(), "SIGKILL");
      const { users, entries } = await found(stateDir);
      assert.equal(users, added ? ["ada"] : []);
      assert.equal(
        entries.map(({ kind }) => kind),
        kinds,
      );
      for (const { who, path } of entries) assert.equal([who, path], ["loopback", "/api/v1/users"]);
    }));
}

test("C6: killed amid many changes: every one that was answered is there and in the log, and no other is without an attempt", () =>
  inDirectory(async (stateDir) => {
    const { victim, url } = await begin(stateDir, "outcome.before", 25);
    const lanes = Array.from({ length: 4 }, async (_, lane) => {
      const answered: [string, string][] = [];
      for (let i = 0; ; i += 1) {
        const answer = await add(url, `u${lane}-${i}`);
        if (!answer) return answered;
        assert.is(answer.status, 201);
        answered.push([`u${lane}-${i}`, answer.token]);
      }
    });
    const answered = (await Promise.all(lanes)).flat();
    await victim.end();
    assert.ok(answered.length > 0 && answered.length < 25);
    const { users, holders, entries } = await found(
      stateDir,
      answered.map(([, token]) => token),
    );
    const outcomes = entries.filter(({ kind, status }) => kind === "outcome" && status === 201);
    const told = new Set(outcomes.map(({ object }) => object));
    for (const [i, [name]] of answered.entries()) {
      assert.ok(told.has(`user ${name}, viewer`), `${name} is in the log`);
      assert.is(holders[i], name, `${name}'s token works`);
    }
    const attempts = entries.filter(({ kind }) => kind === "attempt").length;
    assert.ok(users.length <= attempts);
    assert.is(entries.filter(({ kind }) => kind === "interrupted").length, attempts - outcomes.length);
  }));

test.run();
