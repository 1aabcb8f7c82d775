/**
 * Is what is registered found, kept, and told to those who asked? The registry by itself, without HTTP.
 */
import Database from "better-sqlite3";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Commits } from "../../mep/commits.ts";
import { readServiceQuery } from "../../mep/mp1/service-query.ts";
import { concerns } from "../../mep/registry/announcements.ts";
import { Directory, type ServiceQuery } from "../../mep/registry/directory.ts";
import { allowance, intervalFor } from "../../mep/registry/liveness.ts";
import { aboutOf, Service } from "../../mep/registry/service.ts";
import { category, offer, transport } from "./fixtures.ts";

const test = suite("registry");

const localities = ["MEC_SYSTEM", "MEC_HOST", "ZONE"] as const;
const states = ["ACTIVE", "INACTIVE", "SUSPENDED"] as const;
const few = (prefix: string) => fc.integer({ min: 0, max: 3 }).map((n) => `${prefix}${n}`);

const arbitrary = fc.record({
  instance: few("app"),
  name: few("name"),
  category: fc.option(few("cat"), { nil: undefined }),
  scopeOfLocality: fc.constantFrom(...localities),
  consumedLocalOnly: fc.boolean(),
  state: fc.constantFrom(...states),
});
type Plain = typeof arbitrary extends fc.Arbitrary<infer T> ? T : never;

const make = (id: string, plain: Plain): Service => {
  const { instance, state, name, category: cat, ...rest } = plain;
  const request = { ...offer(name), state, ...rest, ...(cat !== undefined && { serCategory: category(cat) }) };
  const about = aboutOf(request as Parameters<typeof aboutOf>[0], transport);
  return new Service({ id, instance, about, state, interval: null, heartbeat: 0 });
};

const query = fc.record(
  {
    ids: fc.array(few("id"), { minLength: 1, maxLength: 3 }),
    names: fc.array(few("name"), { minLength: 1, maxLength: 3 }),
    category: few("cat"),
    scopeOfLocality: fc.constantFrom(...localities),
    consumedLocalOnly: fc.boolean(),
    isLocal: fc.boolean(),
  },
  { requiredKeys: [] },
);

/** The words of §8.2.3.3.1, one service at a time. */
function naive(id: string, plain: Plain, { ids, names, category: cat, ...rest }: ServiceQuery): boolean {
  if (ids && !ids.some((one) => one === id)) return false;
  if (names && !names.some((one) => one === plain.name)) return false;
  if (cat !== undefined && cat !== plain.category) return false;
  if (rest.scopeOfLocality !== undefined && rest.scopeOfLocality !== plain.scopeOfLocality) return false;
  if (rest.consumedLocalOnly !== undefined && rest.consumedLocalOnly !== plain.consumedLocalOnly) return false;
  return rest.isLocal !== false;
}

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ id: few("id"), put: arbitrary }) },
  { weight: 1, arbitrary: fc.record({ id: few("id") }) },
);

test("B1: whatever was put and removed, discovery finds what a look at every service finds, in order", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), query, (steps, asked) => {
      const directory = new Directory();
      const model = new Map<string, Plain>();
      for (const one of steps) {
        if ("put" in one) {
          const known = model.get(one.id);
          const plain = { ...one.put, instance: known?.instance ?? one.put.instance };
          directory.put(make(one.id, plain));
          model.set(one.id, plain);
        } else {
          directory.remove(one.id);
          model.delete(one.id);
        }
      }
      const wanted = [...model].filter(([id, plain]) => naive(id, plain, asked));
      const visible = wanted.filter(([, { state }]) => state !== "SUSPENDED");
      const ids = (list: Service[]) => list.map(({ id }) => id);
      assert.equal(
        ids(directory.discover(asked)),
        visible.map(([id]) => id),
      );
      for (const instance of ["app0", "app1"]) {
        const own = wanted.filter(([, plain]) => plain.instance === instance).map(([id]) => id);
        assert.equal(ids(directory.discoverOf(instance, asked)), own);
        assert.is(directory.countOf(instance), [...model.values()].filter((one) => one.instance === instance).length);
      }
      const everything = JSON.parse(directory.everything("https://a:1").toString()) as { serInstanceId: string }[];
      const seen = [...model].filter(([, { state }]) => state !== "SUSPENDED").map(([id]) => id);
      assert.equal(
        everything.map(({ serInstanceId }) => serInstanceId),
        seen,
      );
      assert.is(directory.size, model.size);
    }),
    { numRuns: 300 },
  );
});

test("a query: repeated and with commas is the same; of id, name and category at most one; no empty value", () => {
  assert.equal(readServiceQuery({ ser_name: "a,b" }), readServiceQuery({ ser_name: ["a", "b"] }));
  assert.equal(readServiceQuery({ ser_name: ["a,b", "c"], is_local: "false" }), {
    names: ["a", "b", "c"],
    isLocal: false,
  });
  assert.equal(readServiceQuery({ ser_category_id: "x", scope_of_locality: "ZONE", consumed_local_only: "true" }), {
    category: "x",
    scopeOfLocality: "ZONE",
    consumedLocalOnly: true,
  });
  for (const bad of [
    { ser_name: "a", ser_instance_id: "b" },
    { ser_name: "a", ser_category_id: "b" },
    { ser_name: "a,,b" },
    { ser_instance_id: "" },
  ]) {
    assert.throws(
      () => readServiceQuery(bad),
      (error: { status?: number }) => error.status === 400,
    );
  }
});

test("filteringCriteria: all of them have to hold; states are those after the change; nothing is remote", () => {
  const camera = make("id1", {
    instance: "app1",
    name: "camera",
    category: "video",
    scopeOfLocality: "MEC_HOST",
    consumedLocalOnly: true,
    state: "INACTIVE",
  });
  const cases: [Parameters<typeof concerns>[0], boolean][] = [
    [undefined, true],
    [{}, true],
    [{ serInstanceIds: ["id0", "id1"] }, true],
    [{ serInstanceIds: ["id0"] }, false],
    [{ serNames: ["camera"] }, true],
    [{ serNames: ["camera"], states: ["ACTIVE"] }, false],
    [{ serNames: ["camera"], states: ["ACTIVE", "INACTIVE"] }, true],
    [{ serCategories: [category("video")] }, true],
    [{ serCategories: [category("sound")] }, false],
    [{ serCategories: [category("video")], isLocal: true }, true],
    [{ isLocal: false }, false],
  ];
  for (const [criteria, wanted] of cases) assert.is(concerns(criteria, camera), wanted, JSON.stringify(criteria));
});

test("intervals: what the app offers, within the platform's bounds; 0 leaves it to the platform", () => {
  const bounds = { shortest: 5, longest: 60, usual: 30 };
  assert.equal(
    [0, 1, 5, 42, 60, 3600].map((proposed) => intervalFor(proposed, bounds)),
    [30, 5, 5, 42, 60, 60],
  );
  assert.is(allowance(10), 15_000);
});

const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (let i = 0; i < 600; i += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not in time`);
};

test("changes of one turn share a transaction; one that throws undoes itself alone; one key keeps its order", async () => {
  const database = new Database(":memory:");
  database.exec("CREATE TABLE t (x INTEGER NOT NULL UNIQUE) STRICT");
  const commits = new Commits(database);
  const insert = database.prepare("INSERT INTO t VALUES (?)");
  const memory: number[] = [];
  const add = (key: string, ...values: number[]) =>
    commits.change(key, () => {
      for (const x of values) insert.run(x);
      return { value: values.length, apply: () => void memory.push(...values) };
    });
  const results = await Promise.allSettled([add("a", 1), add("b", 2, 1), add("c", 3), add("a", 4)]);
  assert.equal(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled", "fulfilled"],
  );
  assert.equal(database.prepare("SELECT x FROM t ORDER BY x").pluck().all(), [1, 3, 4]);
  assert.equal(memory, [1, 3, 4]);

  let seen: number | undefined;
  await Promise.all([
    add("a", 5),
    commits.change("a", () => {
      seen = memory.at(-1);
      return { value: undefined };
    }),
  ]);
  assert.is(seen, 5);

  // What waits is made durable by closing; what comes after is refused.
  const last = add("a", 6);
  const next = add("a", 7);
  commits.close();
  await Promise.all([last, next]);
  assert.equal(memory, [1, 3, 4, 5, 6, 7]);
  assert.is(await add("a", 8).catch((error: { code: string }) => error.code), "not-ready");
  database.close();
});

test("a transaction that cannot be committed: all of it is refused, and memory stays as it was", async () => {
  const database = new Database(":memory:");
  database.exec("CREATE TABLE p (x INTEGER PRIMARY KEY) STRICT");
  database.exec("CREATE TABLE t (x INTEGER REFERENCES p (x) DEFERRABLE INITIALLY DEFERRED) STRICT");
  database.pragma("foreign_keys = ON");
  const commits = new Commits(database);
  let applied = 0;
  const add = (key: string, sql: string) =>
    commits.change(key, () => {
      database.exec(sql);
      return {
        value: undefined,
        apply: () => {
          applied += 1;
        },
      };
    });
  const results = await Promise.allSettled([
    add("a", "INSERT INTO p VALUES (1)"),
    add("b", "INSERT INTO t VALUES (2)"),
  ]);
  assert.equal(
    results.map((one) => one.status === "rejected" && one.reason.code),
    ["store-failed", "store-failed"],
  );
  assert.is(applied, 0);
  assert.is(database.prepare("SELECT count(*) FROM p").pluck().get(), 0);
  await add("a", "INSERT INTO p VALUES (3)");
  await until("applied", () => applied === 1);
  database.close();
});

test.run();
