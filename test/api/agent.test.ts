/** Does the agent start in order, end in order, and leave nothing half done? */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { lock, lockFile, lockOwner } from "../../controlplane/store/lock.ts";
import { migrations } from "../../controlplane/store/migrations.ts";
import { Store, storeFile } from "../../controlplane/store/store.ts";
import { start, withAgent } from "./harness.ts";

function withDirectory(body: (directory: string) => void | Promise<void>) {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), "ofr-store-"));
    try {
      await body(directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };
}

const message = async (work: () => Promise<unknown>): Promise<string> => {
  try {
    await work();
  } catch (error) {
    return (error as Error).message;
  }
  return "";
};

const newest = migrations.at(-1)?.version ?? 0;
const service = (name: string) => ({ name, serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });

function put(store: Store, name: string, numbers = store.allocate()): void {
  store.commit(
    { touched: [{ after: { service: service(name), ...numbers } }], who: "test", what: name },
    { given: numbers },
  );
}

test("ready when services are applied; stopped without taking anything down", () =>
  withAgent(async ({ agent, dataplane, call }) => {
    assert.is((await call("GET", "/readyz")).status, 200);
    assert.is(dataplane.applied.length, 1);
    await agent.stop();
    assert.equal(
      dataplane.calls.filter((entry) => entry !== "collect"),
      ["start", "stop"],
    );
  }));

test(
  "a data plane that does not start is taken back, and the state directory is free again",
  withDirectory(async (stateDir) => {
    const refuse = new Error("no such adapter: acc0");
    const said = await message(() =>
      start({
        stateDir,
        prepare: (dataplane) => {
          dataplane.refuse = refuse;
        },
      }),
    );
    assert.is(said, "no such adapter: acc0");
    assert.is(lockOwner(stateDir), undefined);
    const running = await start({ stateDir });
    await running.agent.stop();
  }),
);

test(
  "two agents do not share a state directory",
  withDirectory(async (stateDir) => {
    const first = await start({ stateDir });
    try {
      assert.match(await message(() => start({ stateDir })), `is in use by process ${process.pid}`);
    } finally {
      await first.agent.stop();
    }
    assert.not.ok(existsSync(join(stateDir, lockFile)));
  }),
);

test(
  "what a killed agent left is taken over, also when its process number lives on as somebody else",
  withDirectory((stateDir) => {
    for (const left of ["999999999 1\n", "1 1\n", "", "nonsense"]) {
      writeFileSync(join(stateDir, lockFile), left);
      const unlock = lock(stateDir);
      assert.is(lockOwner(stateDir), process.pid);
      unlock();
    }
  }),
);

test(
  "a token file must hold a token",
  withDirectory(async (stateDir) => {
    const tokenFile = join(stateDir, "token");
    for (const text of ["", "short\n", "has blanks in the middle of it\n"]) {
      writeFileSync(tokenFile, text);
      const extra = `api: { listen: 127.0.0.1:0, tokenFile: ${tokenFile} }`;
      assert.match(await message(() => start({ stateDir, extra })), "must be a token of at least 16 characters");
    }
  }),
);

test(
  "the store is WAL with full synchronisation, private, and knows its version",
  withDirectory((stateDir) => {
    const store = new Store(stateDir);
    assert.is(store.version(), newest);
    put(store, "web");
    store.close();
    const database = new Database(join(stateDir, storeFile));
    assert.is(database.pragma("journal_mode", { simple: true }), "wal");
    database.prepare("INSERT INTO migration VALUES (99, 'later')").run();
    database.close();
    assert.throws(() => new Store(stateDir), new RegExp(`the store has version 99, this release knows ${newest}`));
  }),
);

test(
  "numbers are given out in a circle, and one in use is never given again",
  withDirectory((stateDir) => {
    const store = new Store(stateDir);
    try {
      for (const name of ["a", "b", "c"]) put(store, name);
      const [, b] = store.services();
      assert.ok(b);
      store.commit({ touched: [{ before: b }], who: "test", what: "b goes" });
      assert.equal(store.allocate(), { rule: 4, index: 4 });
      put(store, "last", { rule: 9, index: 65_535 });
      assert.equal(store.allocate(), { rule: 10, index: 2 }, "round the corner, past 1, which a has");
    } finally {
      store.close();
    }
  }),
);

test.run();
