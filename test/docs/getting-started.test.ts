/**
 * Does docs/getting-started.md do what it says, as it is written (B1, B2, B3, B5, B7, B8)?
 *
 * In the lab that `npm start` makes, with a real phone behind a real gateway.
 */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository } from "../lab/appliance.ts";
import { PageInLab } from "./page-in-lab.ts";
import { matches, readPage, sectionsOf } from "./tutorial.ts";

const test = suite("getting started");
const page = join(repository, "docs/getting-started.md");
let inLab: PageInLab;

test.before(async () => {
  inLab = await PageInLab.open(page);
});

test.after(async () => {
  await inLab?.close();
});

test("B1: what a page shows is compared with what is printed, but for what differs from run to run", () => {
  const json = (text: string, printed: unknown) => matches({ kind: "json", text }, JSON.stringify(printed));
  assert.ok(json('{ "a": …, "b": ["x…"], "…": "…" }', { a: 1, b: ["xy"], c: 2 }));
  for (const printed of [{ a: 1 }, { a: 1, b: ["yx"] }, { a: 1, b: ["x", "y"] }, [], null]) {
    assert.not.ok(json('{ "a": …, "b": ["x…"], "…": "…" }', printed), JSON.stringify(printed));
  }
  assert.ok(json('["a", "…"]', ["a", "b"]));
  assert.not.ok(json('{ "a": 1 }', { a: 1, b: 2 }));
  assert.ok(matches({ kind: "text", text: "a … c\n…" }, "a b c\nd\n"));
  assert.not.ok(matches({ kind: "text", text: "a … c" }, "a b\nc\n"));
  const fence = "```";
  assert.throws(() => sectionsOf(`## a\n${fence}json\n1\n${fence}`), /right after its commands/);
  assert.throws(() => sectionsOf(`## a\n${fence}ruby\n1\n${fence}`), /not ruby/);
});

for (const section of readPage(page)) test(`B1, B3, B5: ${section.title}`, () => inLab.follow(section));

test.run();
