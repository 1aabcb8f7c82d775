/**
 * Is a flow that stays in its tunnel treated both ways, and no other?
 */
import { test } from "uvu";
import type { SteeringRule } from "../../dataplane/steering.ts";
import type { Kernel } from "./kernel.ts";
import { dnsUp, down, learnt, other, otherDown, otherUp, rule, rules, up } from "./scene.ts";

const treated = (change: Partial<SteeringRule> = {}): SteeringRule =>
  rule(20, {
    match: { destination: [`${other}/32`] },
    action: "pass",
    treatment: { rate: { uplink: 1e12 } },
    ...change,
  });

/** The UE's uplink and downlink are known. */
const open = (list: readonly SteeringRule[]): Kernel => {
  const k = learnt();
  k.setRules(list);
  return k;
};

for (const destination of [`${other}/32`, "203.0.115.0/28", "0.0.0.0/0"]) {
  test(`A17: a flow to ${destination} that passes with a treatment is known both ways, and its frames stay as they are`, () => {
    const k = open([treated({ match: { destination: [destination] } })]);
    for (let n = 0; n < 3; n++) {
      k.expect("access", up(otherUp()), { counter: "pass_treated", verdict: "redirect", out: "same" });
      k.expect("core", down(otherDown()), { counter: "pass_treated", verdict: "redirect", out: "same" });
    }
  });
}

test("what the core begins, or sends of a flow without treatment, passes as ever", () => {
  const k = open([treated(), ...rules]);
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.expect("access", up(dnsUp()), { counter: "take_uplink" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test("when the treatment goes, the next packet passes for good; when it comes, the next one is treated (C7)", () => {
  const k = open([treated()]);
  k.expect("access", up(otherUp()), { counter: "pass_treated" });
  k.setRules([]);
  k.expect("access", up(otherUp()), { counter: "pass_no_rule" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
  k.setRules([treated()]);
  k.expect("access", up(otherUp()), { counter: "pass_treated" });
  k.expect("core", down(otherDown()), { counter: "pass_treated" });
});

test("observe mode treats nothing", () => {
  const k = open([treated()]);
  k.configure({ mode: "observe" });
  k.expect("access", up(otherUp()), { counter: "pass_observe" });
  k.expect("core", down(otherDown()), { counter: "pass_downlink" });
});

test.run();
