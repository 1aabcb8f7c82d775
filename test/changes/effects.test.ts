/** Is what a change of many services is said to do what verification of the whole set says, and is the wait bounded? (C7) */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Intent } from "../../controlplane/intents/model.ts";
import { effects } from "../../controlplane/intents/set-effects.ts";
import { validateService } from "../../controlplane/intents/validate.ts";
import { type Finding, verify } from "../../controlplane/intents/verify.ts";

const prefix = fc.constantFrom("203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25", "203.0.113.1");
const rules = fc.record(
  { nw_dst: prefix, protocol: fc.constantFrom("tcp", "udp"), tp_dst: fc.constantFrom("80", "80-90", "1-65535") },
  { requiredKeys: ["nw_dst", "protocol"] },
);

function intent(body: object, name: string): Intent {
  const checked = validateService({ name, rules: { nw_src: "0.0.0.0/0", endpoint: "10.60.0.9", ...body } });
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  return checked.intent;
}

const site = { protect: [] };
const idle = ({ kind }: Finding) => kind === "shadowed" || kind === "unreachable";

test("the findings of the whole set; and of a part, those that are new with it (C7)", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(rules, fc.boolean()), { maxLength: 10 }), async (bodies) => {
      const all = bodies.map(([body], i) => intent({ ...body, priority: i + 1 }, `s${i}`));
      const before = all.filter((_, i) => !bodies[i]?.[1]);
      const touched = all.filter((_, i) => bodies[i]?.[1]);
      const wanted = verify(all, site).filter(idle);
      assert.equal(await effects(all, all, site), wanted);
      const old = new Set(
        verify(before, site)
          .filter(idle)
          .map(({ services: [about] }) => about),
      );
      const told = new Set((await effects(touched, all, site)).map(({ services: [about] }) => about));
      for (const {
        services: [about],
      } of wanted)
        assert.ok(old.has(about) || told.has(about), about);
      for (const about of told) assert.ok(wanted.some(({ services }) => services[0] === about));
    }),
    { numRuns: 200 },
  );
});

const many = Array.from({ length: 10_000 }, (_, n) =>
  intent({ priority: 1 + (n % 100), nw_dst: `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}` }, `s${n}`),
);

test("ten thousand at once: others are served meanwhile, and an idle one is found (C7)", async () => {
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  try {
    const hidden = intent({ priority: 0, nw_dst: "198.18.0.7", tp_dst: "80", protocol: "tcp" }, "hidden");
    const found = await effects(many, [...many, hidden], site, Number.POSITIVE_INFINITY);
    assert.equal(
      found.map(({ kind, services }) => [kind, services]),
      [["shadowed", ["hidden", "s7"]]],
    );
    assert.ok(turns > 0);
  } finally {
    clearInterval(timer);
  }
});

test("what is not decided in time is said, by name (C7)", async () => {
  const found = await effects(many, many, site, 0);
  assert.is(found.length, 1);
  assert.is(found[0]?.kind, "undecided");
  assert.is(found[0]?.services.length, 20);
  assert.match(found[0]?.message ?? "", /s1099, .* and 9980 more; offramp verify/);
});

test.run();
