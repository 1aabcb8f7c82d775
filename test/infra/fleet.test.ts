/**
 * Does a change reach a fleet in waves, stop at the first wave that it breaks, and go on after an interruption (C3, C5)?
 */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "../../infra/fleet/journal.ts";
import { type Outcome, type Plan, Rollout } from "../../infra/fleet/rollout.ts";
import { bar, summary } from "../../infra/fleet/view.ts";
import { type FleetSite, PlanError, type Step, wavesOf } from "../../infra/fleet/waves.ts";
import { type Fate, SimulatedFleet } from "./fleet-simulation.ts";

const test = suite("fleet");
const folder = mkdtempSync(join(tmpdir(), "ofr-fleet-"));
test.after(() => rmSync(folder, { recursive: true }));

let journals = 0;
function newJournal(): string {
  journals += 1;
  return join(folder, `journal-${journals}`);
}
const wait = async () => undefined;

const fleetOf = (count: number): FleetSite[] =>
  Array.from({ length: count }, (_, index) => ({ name: `site-${index}`, region: index % 3 === 0 ? "north" : "south" }));

async function roll(fleet: SimulatedFleet, more: Partial<Plan> = {}, path = newJournal()): Promise<Outcome> {
  const journal = new Journal(path);
  const plan: Plan = {
    id: "release-7",
    sites: fleet.sites,
    waves: [{ percent: 10 }, { percent: 50 }, { rest: true }],
    ...more,
  };
  try {
    return await new Rollout({ plan, driver: fleet, journal, wait }).run();
  } finally {
    journal.close();
  }
}

test("C5: canaries, percent of the whole, regions and the rest: each site in one wave, the same each time", () => {
  const sites = fleetOf(100);
  const steps: Step[] = [{ sites: ["site-7"] }, { percent: 10 }, { region: "north" }, { percent: 80 }, { rest: true }];
  const waves = wavesOf(sites, steps);
  assert.equal(
    waves.map(({ name, sites: of }) => `${name}: ${of.length}`),
    [
      "1 canary: 1",
      "2 10 %: 9",
      `3 region north: ${waves[2]?.sites.length}`,
      `4 80 %: ${waves[3]?.sites.length}`,
      "5 rest: 20",
    ],
  );
  assert.equal(
    waves.flatMap((wave) => wave.sites.map(({ name }) => name)).sort(),
    sites.map(({ name }) => name).sort(),
  );
  assert.equal(wavesOf([...sites].reverse(), steps), waves, "whatever order the fleet is told in");
});

test("C5: a plan that cannot be meant so is refused, with every reason", () => {
  const refused = (sites: FleetSite[], steps: Step[]) => {
    try {
      wavesOf(sites, steps);
    } catch (error) {
      if (error instanceof PlanError) return error.message;
    }
    throw new Error("it was taken");
  };
  const said = refused(
    [...fleetOf(3), { name: "site-1" }],
    [{ sites: ["nowhere"] }, { percent: 20 }, { percent: 20 }, { percent: 101 }, { region: "east" }],
  );
  assert.match(said, /"site-1" is there twice/);
  assert.match(said, /waves\[0\]\.sites: there is no site "nowhere"/);
  assert.match(said, /waves\[2\]\.percent: must be above 20/);
  assert.match(said, /waves\[3\]\.percent: .*at most 100/);
  assert.match(said, /waves\[4\]\.region: no site is in "east"/);
});

test("C5: a good change reaches all, so many at a time", async () => {
  const fleet = new SimulatedFleet(fleetOf(60), {});
  const { result, sites } = await roll(fleet, { parallel: 7 });
  assert.is(result, "done");
  assert.is(sites.good, 60);
  assert.is(fleet.mostAtOnce, 7);
  assert.ok([...fleet.versions.values()].every((version) => version === "new"));
});

test("C5: the wave that it breaks is taken back whole, waves before it stay, waves after it are not begun", async () => {
  const sites = fleetOf(60);
  const [first, second, third] = wavesOf(sites, [{ percent: 10 }, { percent: 50 }, { rest: true }]);
  const broken = second?.sites[3]?.name ?? "";
  const fleet = new SimulatedFleet(sites, { [broken]: { breaks: true } });
  const outcome = await roll(fleet, { gates: [{ metric: "drops", mostTimes: 2 }] });
  assert.is(outcome.result, "stopped");
  assert.is(outcome.wave, "2 50 %");
  assert.match(
    outcome.why ?? "",
    new RegExp(`1 of 24 sites are bad, 0 may be: ${broken}: it is not ready; drops is 50 after 1`),
  );
  const versions = (of: FleetSite[] = []) => new Set(of.map(({ name }) => fleet.versions.get(name)));
  assert.equal(
    [versions(first?.sites), versions(second?.sites), versions(third?.sites)],
    [new Set(["new"]), new Set(["old"]), new Set(["old"])],
  );
  assert.ok(third?.sites.every(({ name }) => !fleet.touched.includes(name)));
});

test("C5: as many bad sites as the plan allows are taken back alone; one that sticks is tried again, then named", async () => {
  const fleet = new SimulatedFleet(fleetOf(40), {
    "site-1": { breaks: true },
    "site-2": { refuses: true },
    "site-3": { breaks: true, sticks: 99 },
  });
  const { result, sites } = await roll(fleet, { allowed: { count: 3 } });
  assert.is(result, "done");
  assert.equal([sites.good, sites.restored, sites.stuck], [37, 2, 1]);
  assert.equal(
    ["site-1", "site-2", "site-3"].map((name) => fleet.versions.get(name)),
    ["old", "old", "new"],
  );
});

test("C3: sites that are away hold nobody up, are caught up at the end, and by the next run", async () => {
  const fleet = new SimulatedFleet(fleetOf(30), { "site-4": { away: 1 }, "site-5": { away: 2 } });
  const path = newJournal();
  const once = await roll(fleet, {}, path);
  assert.equal([once.result, once.sites.good, once.sites.away], ["done", 29, 1]);
  const text = readFileSync(path, "utf8");
  const again = await roll(fleet, {}, path);
  assert.equal([again.result, again.sites.good, again.sites.away], ["done", 30, 0]);
  assert.ok(readFileSync(path, "utf8").startsWith(text), "a journal only grows");
  assert.is(fleet.touched.length, 30, "nobody was changed twice");
});

test("C5: a journal is of one roll-out; a line that was cut off is not there; nonsense is named with its line", async () => {
  const fleet = new SimulatedFleet(fleetOf(3), {});
  const path = newJournal();
  await roll(fleet, {}, path);
  await roll(fleet, { id: "other" }, path).then(
    () => assert.unreachable("another roll-out goes on with it"),
    (error: Error) => assert.match(error.message, /is of roll-out "release-7"/),
  );
  const whole = readFileSync(path, "utf8");
  writeFileSync(path, `${whole}{"kind":"site","site":"si`);
  await roll(fleet, {}, path);
  assert.is(readFileSync(path, "utf8"), whole);
  writeFileSync(path, `${whole}nonsense\n`);
  assert.throws(() => new Journal(path), new RegExp(`${path}:${whole.split("\n").length}: is no entry`));
});

const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({}) },
  fc.constant({ breaks: true }),
  fc.constant({ refuses: true }),
  fc.record({ away: fc.integer({ min: 1, max: 4 }) }),
);

test("C5: killed at any moment and begun again, it ends as if it had not been, and no site is left in between", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fate, { minLength: 1, maxLength: 14 }),
      fc.integer({ min: 0, max: 6 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      async (fates, count, when) => {
        const sites = fleetOf(fates.length);
        const all = Object.fromEntries(fates.map((one, index) => [`site-${index}`, one]));
        const plan = { allowed: { count }, parallel: 3, waves: [{ percent: 30 }, { rest: true }] as Step[] };

        const path = newJournal();
        const moments: { journal: string; versions: Map<string, string> }[] = [];
        const first = new SimulatedFleet(sites, all);
        first.moment = () => moments.push({ journal: readFileSync(path, "utf8"), versions: new Map(first.versions) });
        await roll(first, plan, path);

        const moment = moments[Math.floor(when * moments.length)];
        if (!moment) return;
        const second = new SimulatedFleet(sites, all);
        for (const [name, version] of moment.versions) second.versions.set(name, version);
        const killed = newJournal();
        writeFileSync(killed, moment.journal);
        copyFileSync(killed, `${killed}.before`);
        const outcome = await roll(second, plan, killed);
        const journal = new Journal(killed);
        for (const { name } of sites) {
          const state = journal.sites.get(name)?.state;
          const wanted = state === "good" ? "new" : "old";
          assert.is(second.versions.get(name), wanted, `${name} is ${state}`);
          assert.ok([undefined, "good", "restored", "away"].includes(state), `${name} is ${state}`);
        }
        const wave = wavesOf(sites, plan.waves).find(({ name }) => name === outcome.wave);
        if (outcome.result === "stopped")
          assert.ok(wave?.sites.every(({ name }) => second.versions.get(name) === "old"));
        journal.close();
      },
    ),
    { numRuns: 100 },
  );
});

test("C5: ten thousand sites, some away, some bad: each ends as it should", async () => {
  const fates = Object.fromEntries(
    Array.from({ length: 10_000 }, (_, index): [string, Fate] => [
      `site-${index}`,
      index % 100 === 7 ? { away: 1 } : index % 500 === 9 ? { breaks: true } : index % 1000 === 11 ? { away: 9 } : {},
    ]),
  );
  const fleet = new SimulatedFleet(fleetOf(10_000), fates);
  const { result, sites } = await roll(fleet, { parallel: 500, allowed: { percent: 1 } });
  assert.equal([result, sites.good, sites.restored, sites.away], ["done", 9970, 20, 10]);
  assert.is([...fleet.versions.values()].filter((version) => version === "new").length, 9970);
});

test("C5: it is seen how far it is, and what became of whom", async () => {
  const [wave] = wavesOf(fleetOf(10), [{ rest: true }]);
  if (!wave) throw new Error("no wave");
  const states = new Map([["good", 5] as const, ["deployed", 2] as const]);
  assert.is(bar({ wave, states }, 20), "1 rest  [##########====......]  7/10  good 5, deployed 2");
  const outcome = await roll(new SimulatedFleet(fleetOf(12), { "site-2": { away: 9 }, "site-3": { refuses: true } }), {
    allowed: { percent: 50 },
  });
  assert.match(summary(outcome), /^10 {2}good .*\n 1 {2}restored .*\n 1 {2}away .*\ndone$/);
});

test.run();
