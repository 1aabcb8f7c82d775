/** Does the sweep over a whole set find exactly the pairs that looking at every pair finds? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { conflicts } from "../../controlplane/intents/compile.ts";
import type { Intent } from "../../controlplane/intents/model.ts";
import { setConflicts } from "../../controlplane/intents/set-conflicts.ts";
import { validateService } from "../../controlplane/intents/validate.ts";

const prefix = fc.constantFrom("203.0.113.0/24", "203.0.113.0/25", "203.0.113.1", "203.0.113.200", "0.0.0.0/0");
const rules = fc.record(
  {
    priority: fc.constantFrom(1, 2),
    nw_dst: fc.oneof(prefix, fc.uniqueArray(prefix, { minLength: 1, maxLength: 3 })),
    nw_src: fc.constantFrom("0.0.0.0/0", "10.45.0.0/16", "10.45.1.0/24"),
    protocol: fc.constantFrom("tcp", "udp"),
    tp_dst: fc.constantFrom("80", "80-90", "443"),
  },
  { requiredKeys: ["priority", "nw_src", "protocol"] },
);

function intent(body: object, name: string): Intent {
  const checked = validateService({ name, rules: body });
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  return checked.intent;
}

const pair = (a: string, b: string) => [a, b].sort().join("/");

test("the same pairs, for any set and any part of it that is touched", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(rules, fc.boolean()), { maxLength: 12 }), (bodies) => {
      const all = bodies.map(([body], i) => intent(body, `s${i}`));
      const touched = all.filter((_, i) => bodies[i]?.[1]);
      const wanted = new Set<string>();
      for (const one of touched) {
        for (const { service } of conflicts(
          one,
          all.filter((other) => other !== one),
        )) {
          wanted.add(pair(one.name, service));
        }
      }
      const found = setConflicts(touched, all).map(({ intent: one, conflict }) => pair(one.name, conflict.service));
      assert.equal(found.sort(), [...wanted].sort());
    }),
    { numRuns: 300 },
  );
});

test.run();
