/**
 * Does a set of services reach real sites in waves, and come off them again (C3, C5)?
 *
 * Each site is the real agent with its real API and store on a data plane in memory.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ServicesDriver } from "../../infra/fleet/api-driver.ts";
import { Journal } from "../../infra/fleet/journal.ts";
import { type Outcome, type Plan, Rollout } from "../../infra/fleet/rollout.ts";
import { type Running, start } from "../api/harness.ts";

const test = suite("fleet over the API");
const folder = mkdtempSync(join(tmpdir(), "ofr-fleet-api-"));
const names = ["north-1", "north-2", "south-1", "south-2", "south-3"];
const www = { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const old = { name: "old", serviceIP: "203.0.113.70", applicationIP: "10.60.0.10" };
const running = new Map<string, Running>();

test.before(async () => {
  for (const name of names) {
    const site = await start({ limits: name === "south-2" ? "{ rules: 1 }" : "{ rules: 50 }" });
    running.set(name, site);
    await site.call("POST", "/service", old);
  }
});
test.after(async () => {
  for (const site of running.values()) await site.stop();
  rmSync(folder, { recursive: true });
});

const siteOf = (name: string): Running => running.get(name) as Running;
const servicesOf = async (name: string) =>
  ((await siteOf(name).call("GET", "/service")).body as { name: string }[]).map((one) => one.name).sort();
const all = () => Promise.all(names.map(servicesOf));

async function roll(id: string, services: object[], away: string[] = [], more: Partial<Plan> = {}): Promise<Outcome> {
  const journal = new Journal(join(folder, id));
  const plan: Plan = {
    id,
    sites: names.map((name) => ({ name, region: name.split("-")[0] ?? "" })),
    waves: [{ sites: ["north-1"] }, { region: "north" }, { rest: true }],
    soak: 0,
    looks: 0,
    gates: [{ metric: "offramp_ready", least: 1 }],
    ...more,
  };
  const driver = new ServicesDriver({
    access: ({ name }) => ({
      api: away.includes(name) ? "http://127.0.0.1:1" : siteOf(name).url,
      patience: 0,
    }),
    services: () => services as Record<string, unknown>[],
  });
  try {
    return await new Rollout({ plan, driver, journal }).run();
  } finally {
    journal.close();
  }
}

test("C5: what one site cannot take is taken back from its wave; the waves before it keep it", async () => {
  const outcome = await roll("both", [old, www]);
  assert.is(outcome.result, "stopped");
  assert.match(outcome.why ?? "", /south-2: .*rules/);
  assert.equal(await all(), [["old", "www"], ["old", "www"], ["old"], ["old"], ["old"]]);
});

test("C3: a site that is away is caught up when the same roll-out is run again", async () => {
  const first = await roll("www", [www], ["south-1"]);
  assert.equal([first.result, first.sites.good, first.sites.away], ["done", 4, 1]);
  assert.equal(await servicesOf("south-1"), ["old"]);
  const second = await roll("www", [www]);
  assert.equal([second.result, second.sites.good], ["done", 5]);
  assert.equal(
    await all(),
    names.map(() => ["www"]),
  );
});

test("C5: a gate that looks at the sites' own metrics stops it", async () => {
  const outcome = await roll("gated", [old], [], { gates: [{ metric: "offramp_services", least: 2 }] });
  assert.equal([outcome.result, outcome.wave], ["stopped", "1 canary"]);
  assert.equal(
    await all(),
    names.map(() => ["www"]),
  );
});

test.run();
