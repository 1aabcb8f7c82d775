/**
 * Do connections spread over endpoints by weight, and stay where they are when the set changes?
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endpointSlots, SLOTS, slotOf } from "../../dataplane/ebpf/endpoints.ts";
import type { Endpoint } from "../../dataplane/steering.ts";

const list = (count: number): Endpoint[] =>
  Array.from({ length: count }, (_, i) => ({ address: `10.60.0.${i + 1}`, port: 8080 }));
const owners = (endpoints: Endpoint[]) => Array.from(endpointSlots(endpoints), (index) => endpoints[index]!.address);

test("one endpoint that goes leaves its slots to the others and moves no other slot; one that comes takes from all", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 40 }),
      fc.nat(),
      fc.constantFrom("down", "draining", undefined),
      (count, seed, state) => {
        const all = list(count);
        const gone = seed % count;
        const rest = state
          ? all.map((one, i) => (i === gone ? { ...one, state } : one))
          : all.filter((_, i) => i !== gone);
        const before = owners(all);
        const after = owners(rest as Endpoint[]);
        const leaving = all[gone]!.address;
        return before.every((owner, slot) => (owner === leaving ? after[slot] !== leaving : after[slot] === owner));
      },
    ),
  );
});

test("shares follow weights, the order of the list does not matter, nobody up is nobody", () => {
  for (const weights of [
    [1, 1],
    [1, 3],
    [1, 2, 5],
    [100, 1, 1],
  ]) {
    const endpoints = list(weights.length).map((one, i) => ({ ...one, weight: weights[i]! }));
    const sum = weights.reduce((a, b) => a + b);
    const slots = endpointSlots(endpoints);
    assert.is(slots.length, SLOTS);
    for (const [i, weight] of weights.entries()) {
      const share = slots.filter((index) => index === i).length / SLOTS;
      assert.ok(Math.abs(share - weight / sum) < 0.12, `${weights}: ${i} has ${share}`);
    }
    assert.equal(owners(endpoints.toReversed()), owners(endpoints));
  }
  assert.is(endpointSlots([]).length, 0);
  assert.is(endpointSlots([{ address: "10.60.0.1", state: "draining" }]).length, 0);
});

test("connections spread over all slots; a UE's stay together where that is asked for, an IPv6 UE being a /64", () => {
  const connection = { ue: "10.45.0.2", remote: "203.0.113.80", protocol: 6, uePort: 0, remotePort: 80 };
  const slots = Array.from({ length: 4000 }, (_, i) => slotOf({ ...connection, uePort: 1024 + i }));
  assert.is(new Set(slots).size, SLOTS);
  const of = (ue: string, uePort: number) => slotOf({ ...connection, ue, uePort }, "ue");
  assert.is(of("10.45.0.2", 1), of("10.45.0.2", 2));
  assert.is(of("2001:db8:45:2::1", 1), of("2001:db8:45:2::2", 2));
  assert.ok(new Set(Array.from({ length: 100 }, (_, i) => of(`10.45.0.${i}`, 1))).size > 60);
});

test.run();
