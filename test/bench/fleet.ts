/**
 * What does a roll-out cost whoever coordinates it?
 *
 * Section `fleet`. Ten thousand sites that exist only in memory: a hundredth away, some that break and are taken back, the journal on
 * disk as always; so what is measured is the roll-out itself. Then real sites: `bin/offramp run` in namespaces with programs in
 * the kernel, and `bin/offramp fleet` with TLS and a token. Every outcome is looked at.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../infra/fleet/journal.ts";
import { Rollout } from "../../infra/fleet/rollout.ts";
import { type Fate, SimulatedFleet } from "../infra/fleet-simulation.ts";
import { Sites } from "../infra/sites.ts";
import { type Figure, figure, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";

const simulated = 10_000;
const megabyte = 2 ** 20;

interface Round {
  seconds: number;
  /** Resident octets at most, above what the process had before. */
  memory: number;
  journal: number;
}

async function simulate(): Promise<Round> {
  const folder = mkdtempSync(join(tmpdir(), "ofr-bench-fleet-"));
  const sites = Array.from({ length: simulated }, (_, index) => ({ name: `site-${index}` }));
  const fates = Object.fromEntries(
    sites.map(({ name }, index): [string, Fate] => [
      name,
      index % 100 === 7 ? { away: 1 } : index % 500 === 9 ? { breaks: true } : {},
    ]),
  );
  const path = join(folder, "journal");
  const journal = new Journal(path);
  const fleet = new SimulatedFleet(sites, fates);
  const plan = {
    ...{ id: "bench", sites, waves: [{ percent: 1 }, { percent: 25 }, { rest: true as const }], parallel: 500 },
    ...{ allowed: { percent: 2 }, gates: [{ metric: "drops", mostTimes: 2 }] },
  };
  const before = process.memoryUsage().rss;
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 20);
  const began = performance.now();
  try {
    const outcome = await new Rollout({ plan, driver: fleet, journal, wait: async () => undefined }).run();
    const seconds = (performance.now() - began) / 1000;
    const { good, restored } = outcome.sites;
    const changed = [...fleet.versions.values()].filter((version) => version === "new").length;
    if (outcome.result !== "done" || good !== 9980 || restored !== 20 || changed !== good)
      throw new Error(`it ended otherwise than it should: ${JSON.stringify({ ...outcome, changed })}`);
    return { seconds, memory: most - before, journal: statSync(path).size };
  } finally {
    clearInterval(timer);
    journal.close();
    rmSync(folder, { recursive: true });
  }
}

async function real(count: number, say: (text: string) => void): Promise<Figure[]> {
  const sites = new Sites(count);
  try {
    say(`${count} sites start`);
    await sites.start(2);
    const services = [{ name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" }];
    const waves = [{ sites: ["site-1"] }, { percent: 40 }, { rest: true }];
    const gates = [{ metric: "offramp_ready", least: 1 }];
    const times: number[] = [];
    for (const [round, wanted] of [services, [], services].entries()) {
      const began = performance.now();
      const file = sites.file(`round-${round}`, { waves, gates, change: { services: wanted } });
      const { code, stdout, stderr } = await sites.fleet("run", "--file", file);
      times.push((performance.now() - began) / 1000);
      if (code !== 0) throw new Error(`the roll-out ended with ${code}: ${stdout}${stderr}`);
    }
    const has = await sites.allServices();
    if (!has.every((names) => names.join() === "www")) throw new Error("not every site has the service");
    const memory = sites.names.map((name) => sites.memory(name) / megabyte);
    return [
      figure(`${count} real sites: all started`, "s", [sites.seconds], { digits: 1, note: "2 at a time" }),
      figure(`${count} real sites: a service at all of them`, "s", times, { digits: 1, note: "3 waves, no soak" }),
      figure(`${count} real sites: memory of one process of its own`, "MB", memory),
    ];
  } finally {
    await sites.end();
  }
}

export async function fleet({ quick, say }: Effort): Promise<Section> {
  const rounds: Round[] = [];
  for (let round = 0; round < (quick ? 1 : 5); round += 1) rounds.push(await simulate());
  const of = (pick: (round: Round) => number) => rounds.map(pick);
  const rows = [
    figure(
      "10 000 simulated sites",
      "s",
      of(({ seconds }) => seconds),
      { digits: 1 },
    ),
    figure(
      "10 000 simulated sites",
      "sites/s",
      of(({ seconds }) => simulated / seconds),
    ),
    figure(
      "10 000 simulated sites: memory on top",
      "MB",
      of(({ memory }) => memory / megabyte),
    ),
    figure(
      "10 000 simulated sites: journal",
      "MB",
      of(({ journal }) => journal / megabyte),
      { digits: 1 },
    ),
    ...(await real(quick ? 10 : 50, say)),
  ];
  return { name: "fleet", title: "A change rolled out to a fleet", rows };
}
