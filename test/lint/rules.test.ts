/**
 * Does the lint find what it is there for, and does the repository keep it?
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { lintRepository, show } from "./imports.ts";
import { check, importsOf, resolve } from "./rules.ts";

const header = "/** Which question? */\n";
const rulesOf = (path: string, body: string) => check({ path, text: header + body }).map((finding) => finding.rule);

test("the repository keeps all rules of the house", () => {
  assert.is(lintRepository().map(show).join("\n"), "");
});

test("dataplane may not import controlplane, controlplane may import dataplane", () => {
  assert.equal(rulesOf("dataplane/a.ts", 'import { b } from "../controlplane/b.ts";\n'), ["imports"]);
  assert.equal(rulesOf("dataplane/a.ts", 'import type { b } from "../controlplane/b.ts";\n'), ["imports"]);
  assert.equal(rulesOf("controlplane/a.ts", 'import { b } from "../dataplane/b.ts";\n'), []);
});

test("infra imports none of the appliance's folders, and no product folder imports test", () => {
  assert.equal(rulesOf("infra/a.ts", 'import { b } from "../controlplane/b.ts";\n'), ["imports"]);
  assert.equal(rulesOf("mep/a.ts", 'import { b } from "../test/b.ts";\n'), ["imports"]);
  assert.equal(rulesOf("test/a.ts", 'import { b } from "../mep/b.ts";\n'), []);
});

test("only appliers load koffi, child_process and sockets; types of them are free", () => {
  assert.equal(rulesOf("controlplane/a.ts", 'import koffi from "koffi";\n'), ["appliers"]);
  assert.equal(rulesOf("controlplane/a.ts", 'const c = await import("node:child_process");\n'), ["appliers"]);
  assert.equal(rulesOf("controlplane/a.ts", 'import type { Socket } from "node:net";\n'), []);
  assert.equal(rulesOf("dataplane/ebpf/libbpf.ts", 'import koffi from "koffi";\n'), []);
});

test("imports over several lines, re-exports and bare imports are seen", () => {
  const text = 'import {\n  a,\n  b,\n} from "x";\nexport * from "y";\nimport "z";\n';
  assert.equal(
    importsOf(text).map((found) => found.specifier),
    ["x", "y", "z"],
  );
  assert.is(resolve("a/b/c.ts", "../../d/e.ts"), "d/e.ts");
});

test("a long file, a file without opening comment and a note about unfinished work are found", () => {
  assert.equal(rulesOf("mep/a.ts", "const a = 1;\n".repeat(450)), ["length"]);
  assert.equal(
    check({ path: "mep/a.ts", text: "const a = 1;\n" }).map((finding) => finding.rule),
    ["opening"],
  );
  assert.equal(rulesOf("mep/a.ts", `// ${"TO"}${"DO"}: later\n`), ["words"]);
});

test.run();
