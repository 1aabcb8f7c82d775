/**
 * Do the programs leave the verifier room to spare?
 *
 * A program that the newest kernel just accepts is refused by another: the verifier may look at a million instructions,
 * and stacks of callers and callees share 512 octets. The second is checked by loading at all.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BpfObject } from "../../dataplane/ebpf/bpf-object.ts";
import { emptyImage } from "../../dataplane/ebpf/kernel.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const BUDGET = 700_000;

test("every program needs less than seven tenths of the verifier's million instructions, for any data plane", () => {
  execFileSync("bin/build", ["--no-dist"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  const inner = emptyImage();
  for (const DATAPLANE of [0, 31]) {
    const object = BpfObject.load(`${root}build/offramp.bpf.o`, { constants: { DATAPLANE }, inner: { rules: inner } });
    const verified = [...object.programs.values()].map((program) => [program.name, program.info.verifiedInstructions]);
    console.log(verified.map(([name, count]) => `${name} ${count}`).join(", "));
    for (const [name, count] of verified) assert.ok(Number(count) > 0 && Number(count) < BUDGET, `${name}: ${count}`);
    assert.is(verified.length, 14);
    object.close();
  }
  inner.close();
});

test.run();
