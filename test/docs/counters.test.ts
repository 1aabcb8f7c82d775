/**
 * Does the documentation say what the code has?
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { counters } from "../../dataplane/counters.ts";
import { countersPage } from "../../dataplane/counters-page.ts";

const page = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");

test("docs/counters.md is what dataplane/counters.ts gives", () => {
  assert.fixture(page("counters.md"), countersPage());
});

test("every counter that docs/packet-path.md names exists", () => {
  const names = new Set(counters.map((counter) => counter.name));
  const named = [...page("packet-path.md").matchAll(/`((?:pass|take|reply|drop|slow|note)_[a-z_]+)`/g)].map(
    (m) => m[1]!,
  );
  assert.ok(named.length > 30, "the page names counters");
  assert.equal(
    named.filter((name) => !names.has(name)),
    [],
  );
});

test.run();
