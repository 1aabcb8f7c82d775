/**
 * Is there a counter that no packet test ever reaches?
 *
 * Runs all packet tests of this folder in this one process, then asks which names of dataplane/counters.ts never rose.
 * What cannot happen in a test run is listed with its reason; a name listed here that does rise is an error as well.
 */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite, test } from "uvu";
import * as assert from "uvu/assert";
import { counters } from "../../dataplane/counters.ts";
import { seenCounters } from "./kernel.ts";

/** Name: why no frame of a test run can reach it. */
const impossible: Record<string, string> = {};

const folder = fileURLToPath(new URL(".", import.meta.url));
test("the packet tests are there", () => {
  assert.ok(readdirSync(folder).filter((name) => name.endsWith(".test.ts")).length > 9);
});
// uvu runs whatever was registered when the first of them is due: every file is imported before that.
for (const name of readdirSync(folder).sort()) {
  if (name.endsWith(".test.ts") && name !== "coverage.test.ts") await import(`./${name}`);
}

const last = suite("coverage");
last("every counter is reached by some packet, but for those that cannot be", () => {
  const never = counters.map(({ name }) => name).filter((name) => !seenCounters().has(name));
  assert.equal(never, Object.keys(impossible));
});
test.run();
last.run();
