/**
 * Does the benchmark measure what it says, and say so when it cannot?
 *
 * Verdicts, completeness and the arithmetic; no times.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { chain } from "./chain.ts";
import { dns } from "./dns.ts";
import { asMarkdown, asText, between, figure, median, met, quantile, ratios, type Section } from "./figures.ts";
import { path } from "./inside.ts";
import { mp1Rules } from "./mp1-rules.ts";

const said: string[] = [];
const quick = { quick: true, say: (text: string) => void said.push(text) };

test("a quick run of the path ends with the expected verdicts, and gives a figure and a ratio for each program", () => {
  const section = path(quick);
  assert.equal(
    section.rows.map(({ what }) => what),
    [
      "empty",
      "minimal, uplink",
      "pass through, uplink",
      "pass through, downlink",
      "uplink taken",
      "empty, downlink",
      "minimal, downlink",
      "downlink back",
    ],
  );
  for (const row of section.rows) {
    // A restless machine may fail a comparison, and must say so; a wrong verdict would have ended the run.
    if ("failed" in row) assert.match(row.failed, /rounds can be compared/);
    else if (!/^(empty|minimal)/.test(row.what)) {
      assert.type(row.ratio, "number");
      assert.type(row.bar?.most, "number");
      assert.type(met(row), "boolean");
    }
  }
});

test("A12: a chain of two functions and the same by plain routing, each seen by every function it was measured through", async () => {
  const { rows } = await chain(quick, 2, 1);
  const ways = ["plain routing", "a Linux router by VXLAN", "Offramp"];
  const lines = ["1 function", "2 functions"].flatMap((count) => ways.map((way) => `${count}: ${way}`));
  assert.equal(
    rows.map((row) => ("failed" in row ? row : { what: row.what, compared: row.ratio !== undefined })),
    ["TCP", "UDP, 64 octets"].flatMap((kind) =>
      lines.map((line) => ({ what: `${kind}, ${line}`, compared: !line.endsWith("plain routing") })),
    ),
  );
});

/** What a section has measured, or why not. */
const measured = (rows: Section["rows"]): string[] =>
  rows.map((row) => ("failed" in row ? `${row.what}: ${row.failed}` : row.what));

test("B3: rules put over Mp1 are in the kernel when 200 comes, alone and many together", async () => {
  const scale = { what: "few", apps: 40, servicesOfEach: 2, rulesOfEach: 2 };
  const { rows } = await mp1Rules(quick, [scale], { rounds: 1, alone: 2, together: 2 });
  const texts = ["PUT until active, p50", "PUT until active, p99", "32 apps at once", "32 apps at once, p99"];
  assert.equal(
    measured(rows),
    texts.map((text) => `few: ${text}`),
  );
});

test("B2: a UE's query for a name is answered through its tunnel, another one passes, and both are measured", async () => {
  const { rows } = await dns(quick, { rounds: 1, single: 20, many: 100 });
  assert.is(rows.length, 9, measured(rows).join("\n"));
});

test("medians, quantiles and ratios of rounds", () => {
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 2, 3]), 2.5);
  const hundred = [...Array(100).keys()].map((n) => n + 1);
  assert.is(quantile(hundred, 0.5), 50);
  assert.is(quantile(hundred, 0.99), 99);
  assert.throws(() => median([]), "no values");
  assert.equal(ratios([10, 30, 5], [10, 10, 0]), [1, 3]);
  assert.throws(() => ratios([1, 1, 1], [0, -1, 1]), "only 1 of 3 rounds");
});

test("a bar is judged on what is printed, and the ratio goes before the value", () => {
  assert.is(met(figure("a", "ns", [5], { bar: { most: 4 } })), false);
  assert.is(met(figure("a", "ns", [5], { ratios: [1.604], bar: { most: 1.6 } })), true);
  assert.is(met(figure("a", "ns", [5], { ratios: [1.606], bar: { most: 1.6 } })), false);
  assert.is(met(figure("a", "kpps", [5], { ratios: [3], bar: { least: 3 } })), true);
  assert.is(met(figure("a", "ns", [5])), undefined);
});

test("a check that failed leaves no figure in text and Markdown", () => {
  const section = {
    name: "x",
    title: "X",
    rows: [
      { what: "a", failed: "verdict 2, expected 4" },
      figure("b", "ns", [1, 2, 1200], { ratios: [0.5], bar: { most: 1 } }),
    ],
  };
  assert.is(
    asMarkdown(section),
    [
      "**X**",
      "",
      "|  | median | range | ratio | bar |  |",
      "| --- | ---: | ---: | ---: | ---: | ---: |",
      "| a | no figure: verdict 2, expected 4 |  |  |  |  |",
      "| b | 2 ns | 1 … 1 200 | 0.50 | ≤ 1 | met |",
    ].join("\n"),
  );
  assert.match(asText(section), /^X\n.*\n {2}a {2}no figure: verdict 2, expected 4\n/);
});

test("docs/benchmarks.md has a place for each section", () => {
  const document = readFileSync(new URL("../../docs/benchmarks.md", import.meta.url), "utf8");
  for (const name of [
    "path",
    "scale",
    "learn",
    "wire",
    "service",
    "memory",
    "loss",
    "rules",
    "chain",
    "mp1",
    "mp1-rules",
    "notify",
    "dns",
  ]) {
    assert.match(between(document, name, "here"), `<!-- bench:${name} -->\nhere\n<!-- /bench:${name} -->`);
  }
  assert.throws(() => between(document, "nothing", ""), "no markers");
});

test.run();
