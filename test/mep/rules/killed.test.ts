/** Is what was answered there after kill -9, at any step of a change, and what was not, whole or not at all (B3)? */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Victim } from "../../mortal.ts";
import { platform } from "./harness.ts";
import { changes, descriptors } from "./mortal-changes.ts";

/** Lines that it said before it died. */
async function run(stateDir: string, step: string, times: number): Promise<{ lines: string[]; signal: string | null }> {
  const victim = new Victim("test/mep/rules/mortal.ts", stateDir, step, String(times));
  const signal = await victim.end();
  return { lines: victim.output.split("\n").filter(Boolean), signal };
}

/** Rules as they are after the first `count` changes. */
function after(count: number): object[] {
  const rules = new Map<string, object>(descriptors.map((one) => [one.trafficRuleId, { ...one, state: "INACTIVE" }]));
  for (const change of changes.slice(0, count)) rules.set(change.trafficRuleId, change);
  return [...rules.values()];
}

const moments: [step: string, times: number][] = [
  ["give.after", 2],
  ["apply.after", 1],
  ["apply.before", 4],
  ["save.before", 2],
  ["save.after", 2],
  ["apply.after", 6],
];

for (const [step, times] of moments) {
  test(`B3: killed at ${step}, time ${times}: answered changes are there, the one under way is whole or not there`, async () => {
    const stateDir = mkdtempSync(join(tmpdir(), "ofr-mep-"));
    try {
      const { lines, signal } = await run(stateDir, step, times);
      assert.is(signal, "SIGKILL");
      assert.ok(
        lines.every((line) => line.endsWith(" 200")),
        lines.join(),
      );
      const one = await platform({ stateDir });
      try {
        const found = JSON.stringify(one.rules.trafficRules("a1"));
        const possible = [after(lines.length), after(lines.length + 1)].map((rules) => JSON.stringify(rules));
        assert.ok(possible.includes(found), `${lines.length} answered, then:\n${found}`);
        if (step !== "save.after") assert.is(found, possible[0], "what was not committed is not there");
        const active = one.rules.trafficRules("a1").filter(({ state }) => state === "ACTIVE");
        assert.equal(
          one.running.dataplane.steering.rules.map(({ name, priority }) => [name, priority]),
          active
            .sort((a, b) => a.priority - b.priority)
            .flatMap(({ trafficRuleId, priority }) => [
              [`app:a1/${trafficRuleId}`, -1 - priority],
              [`app:a1/${trafficRuleId}#2`, -1 - priority],
            ]),
        );
        const numbers = one.running.dataplane.steering.rules.map(({ id }) => id);
        assert.is(new Set(numbers).size, numbers.length);
      } finally {
        await one.running.agent.stop();
      }
    } finally {
      rmSync(stateDir, { recursive: true, force: true });
    }
  });
}

test.after(() => Victim.killAll());

test.run();
