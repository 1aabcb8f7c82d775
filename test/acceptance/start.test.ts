/**
 * Does `npm start` show what it says, and end with 0 (A22)?
 */
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { repository } from "../lab/appliance.ts";
import { Process, until } from "../lab/netns.ts";

test("A22: offramp lab --once: everything is answered by whom it should be, the web cache too, and all of it is gone", async () => {
  const lab = new Process("offramp lab", [join(repository, "bin/offramp"), "lab", "--once"]);
  try {
    await until("the scene to end", () => lab.code !== undefined, 600_000);
    assert.is(lab.code, 0, lab.log);
    assert.not.match(lab.log, /FAIL/);
    assert.match(lab.log, /^ {3}ok {3}5 misses, 25 hits, every page intact$/m);
    assert.match(lab.log, /^ {3}400 kB +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms$/m);
    assert.match(lab.log, /^All as it should be\.$/m);
  } finally {
    await lab.end("SIGTERM", 60_000);
  }
});

test.run();
