/**
 * What was answered 2xx is there after kill -9, and what was not is whole or not there at all (B1).
 *
 * A process with the real server, store and registry is killed while ten apps register, change and withdraw services as fast
 * as they are answered; each time it starts again on the same state.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Victim } from "../../mortal.ts";
import { management } from "../enablement.ts";
import { offer } from "../fixtures.ts";

const test = suite("mp1 killed");

const stateDir = mkdtempSync(join(tmpdir(), "ofr-mp1-"));

async function start(): Promise<{ victim: Victim; url: string }> {
  const victim = new Victim("test/mep/killed/mortal-mp1.ts", stateDir);
  return { victim, url: `http://127.0.0.1:${await victim.firstLine()}` };
}

const own = (app: string) => `${management}/applications/${app}/services`;

async function call(url: string, app: string, method: string, path: string, body?: object) {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${app}`, ...(body && { "content-type": "application/json" }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : undefined };
}

/** Versions that a service may have now: the one that was answered last, and the one that was asked for and not answered. */
interface Known {
  versions: (string | undefined)[];
}

/** Registers, replaces and withdraws until the server is gone. */
async function busy(url: string, app: string, known: Map<string, Known>, answered: () => void): Promise<void> {
  for (let n = 0; ; n += 1) {
    try {
      const made = await call(url, app, "POST", own(app), offer(`s${n}`));
      assert.is(made.status, 201, JSON.stringify(made.body));
      const id: string = made.body.serInstanceId;
      const fate: Known = { versions: ["1.0"] };
      known.set(id, fate);
      answered();
      const path = `${own(app)}/${id}`;
      const change = async (method: string, version: string | undefined, body?: object) => {
        fate.versions.push(version);
        const { status } = await call(url, app, method, path, body);
        assert.ok(status === 200 || status === 204, String(status));
        fate.versions = [version];
        answered();
      };
      if (n % 2 === 0) await change("PUT", "2.0", offer(`s${n}`, { version: "2.0" }));
      if (n % 3 === 0) await change("DELETE", undefined);
    } catch (error) {
      if (error instanceof TypeError) return; // fetch: the connection is gone
      throw error;
    }
  }
}

test("B1: answered registrations, changes and withdrawals outlive kill -9, four times over", async () => {
  const known = new Map<string, Known>();
  const appOf = new Map<string, string>();
  let { victim, url } = await start();
  for (let round = 0; round < 4; round += 1) {
    let answers = 0;
    const wanted = 40 + round * 7;
    const apps = Array.from({ length: 10 }, (_, n) => `app${n}`);
    const maps = apps.map(() => new Map<string, Known>());
    const done = apps.map((app, n) =>
      busy(url, app, maps[n] as Map<string, Known>, () => {
        answers += 1;
        if (answers === wanted) victim.child.kill("SIGKILL");
      }),
    );
    await Promise.all(done);
    await victim.end("SIGKILL");
    for (const [n, map] of maps.entries()) {
      for (const [id, fate] of map) {
        known.set(id, fate);
        appOf.set(id, apps[n] ?? "");
      }
    }
    ({ victim, url } = await start());
    const found = new Map<string, string>();
    for (const app of apps) {
      const { status, body } = await call(url, app, "GET", own(app));
      assert.is(status, 200);
      for (const one of body) found.set(one.serInstanceId, one.version);
    }
    assert.ok(known.size >= 10);
    for (const [id, { versions }] of known) {
      assert.ok(versions.includes(found.get(id)), `${appOf.get(id)} ${id}: ${found.get(id)} is none of ${versions}`);
      // Whatever it was, from now on it is that.
      known.set(id, { versions: [found.get(id)] });
    }
  }
  await victim.end("SIGKILL");
});

test.after(async () => {
  await Victim.killAll();
  rmSync(stateDir, { recursive: true, force: true });
});

test.run();
