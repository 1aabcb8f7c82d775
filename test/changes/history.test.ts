/** Does the store keep what a change touched, and can every earlier set be told from what is there now? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Service } from "../../controlplane/intents/model.ts";
import { changeTo, countText } from "../../controlplane/intents/set.ts";
import { remaining } from "../../controlplane/store/boottime.ts";
import { Store, type StoreOptions } from "../../controlplane/store/store.ts";

const service = (name: string, app = 1): Service => ({
  name,
  serviceIP: "203.0.113.80",
  applicationIP: `10.60.0.${app}`,
});

/** The set becomes `wanted`; returns the revision. */
function set(store: Store, wanted: readonly Service[]): number {
  const change = changeTo(
    store.services(),
    wanted.map((each) => ({ service: each })),
    store,
  );
  const { touched, given } = change;
  return store.commit({ touched, who: "test", what: countText(change) }, { given });
}

function withStore(body: (store: Store) => void, options?: StoreOptions): () => void {
  return () => {
    const store = new Store(":memory:", options);
    try {
      body(store);
    } finally {
      store.close();
    }
  };
}

const byName = (a: Service, b: Service) => (a.name < b.name ? -1 : 1);

test(
  "any sequence of sets: each revision's set comes back whole, with unique numbers",
  withStore((store) => {
    const names = fc.uniqueArray(fc.constantFrom(..."abcdefgh"), { maxLength: 8 });
    const sets = fc.array(fc.tuple(names, fc.integer({ min: 1, max: 3 })), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sets, (sequence) => {
        const start = store.history.newest();
        const kept = [store.services().map((each) => each.service)];
        for (const [list, app] of sequence) {
          const wanted = list.map((name, i) => service(name, i % 2 ? app : 1));
          set(store, wanted);
          const stored = store.services();
          assert.equal(stored.map((each) => each.service).sort(byName), [...wanted].sort(byName));
          assert.is(new Set(stored.map((each) => each.rule)).size, stored.length);
          assert.is(new Set(stored.map((each) => each.index)).size, stored.length);
          kept.push(wanted);
        }
        for (const [back, wanted] of kept.entries()) {
          const told = store.history.at(start + back, store.services())?.map((each) => each.service);
          assert.equal(told?.sort(byName), [...wanted].sort(byName));
        }
      }),
      { numRuns: 60 },
    );
  }),
);

test(
  "what stays keeps its numbers, what comes back gets those that it had",
  withStore((store) => {
    set(store, [service("a"), service("b")]);
    const before = new Map(store.services().map((each) => [each.service.name, each]));
    set(store, [service("a", 2)]);
    assert.equal(store.services(), [{ ...before.get("a"), service: service("a", 2) }]);
    const target = store.history.at(1, store.services()) ?? [];
    const change = changeTo(store.services(), target, store);
    assert.equal(countText(change), "1 added, 1 changed");
    store.commit({ ...change, who: "test", what: "back" }, { given: change.given });
    assert.equal(new Map(store.services().map((each) => [each.service.name, each])), before);
    assert.is(store.allocate().rule, 3, "numbers that came back do not turn the circle back");
  }),
);

test(
  "numbers stay within what the data plane has room for; those of leaving services only when no others are left",
  withStore(
    (store) => {
      set(store, [service("a"), service("b"), service("c")]);
      set(store, [service("d"), service("e"), service("f")]);
      const indices = store.services().map((each) => each.index);
      assert.equal([...indices].sort(), [1, 4, 5]);
      assert.throws(
        () =>
          set(
            store,
            "ghijkl".split("").map((name) => service(name)),
          ),
        /all 5 numbers/,
      );
      assert.is(store.services().length, 3, "nothing has changed");
    },
    { indices: 5 },
  ),
);

test(
  "the oldest revisions go, by number and by octets; what is left still tells its sets",
  withStore(
    (store) => {
      for (let n = 1; n <= 9; n += 1) set(store, [service("a", n)]);
      assert.is(store.history.list().total, 5);
      assert.is(store.history.oldest(), 4);
      const told = store.history.at(4, store.services());
      assert.equal(told?.[0]?.service, service("a", 4));
      assert.is(store.history.at(3, store.services()), undefined);
      assert.is(store.history.at(10, store.services()), undefined);
      set(
        store,
        Array.from({ length: 400 }, (_, n) => service(`many-${n}-${Math.sin(n)}`, n % 200)),
      );
      assert.is(store.history.list().total, 1, "the newest stays, however large");
      assert.equal(store.history.at(9, store.services())?.[0]?.service, service("a", 9));
    },
    { history: { revisions: 5, octets: 4000 } },
  ),
);

test(
  "a change of one among ten thousand writes down one",
  withStore((store) => {
    const many = Array.from({ length: 10_000 }, (_, n) => service(`s${n}`, n % 200));
    set(store, many);
    const revision = set(store, [...many.slice(0, -1), service("s9999", 250)]);
    assert.is(store.history.touched(revision)?.length, 1);
    assert.is(JSON.stringify(store.history.touched(revision)).length < 300, true);
    assert.is(store.history.at(1, store.services())?.length, 10_000);
  }),
);

test("a deadline holds when the clock is set, and after a reboot by the clock alone", () => {
  const since = { wall: 1_000_000, uptime: 5000, boot: "one" };
  assert.is(remaining(since, 60_000, { wall: 9_999_999, uptime: 25_000, boot: "one" }), 40_000);
  assert.is(remaining(since, 60_000, { wall: 0, uptime: 65_000, boot: "one" }), 0);
  assert.is(remaining(since, 60_000, { wall: 1_050_000, uptime: 100, boot: "two" }), 10_000);
  assert.ok(remaining(since, 60_000, { wall: 1_070_000, uptime: 100, boot: "two" }) <= 0);
  assert.ok(remaining(since, 60_000, { wall: 10, uptime: 100, boot: "two" }) <= 0, "nobody knows: it is over");
});

test.run();
