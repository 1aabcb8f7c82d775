/**
 * `offramp fleet …`: where the command starts.
 *
 *   plan      which sites come in which wave; --ask: what would change at each
 *   run       begin a roll-out           resume    go on after an interruption
 *   catch-up  those that were away       status    what has become of whom, from the journal alone
 *
 * Exit codes: 0 done everywhere, 1 stopped or failed, 2 usage or a file that is wrong, 3 done or under way, but not everywhere (away,
 * taken back), 130 interrupted. The first Ctrl-C waits for what is being done at sites, the second does not; `resume` goes on.
 */
import { existsSync, rmSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ServicesDriver } from "./api-driver.ts";
import type { Driver } from "./driver.ts";
import { type Fleet, FleetFileError, loadFleet } from "./file.ts";
import { Journal, type SiteState } from "./journal.ts";
import { lock, ownerOf } from "./lock.ts";
import { type Outcome, outcomeOf, Rollout } from "./rollout.ts";
import { StackDriver } from "./stack-driver.ts";
import { Screen, statusLines, summary, wavesText } from "./view.ts";
import { wavesOf } from "./waves.ts";

interface Options {
  file: string;
  json?: boolean;
}

/** Something is not as the verb needs it; exit code 2. */
class UsageError extends Error {}

function print(data: unknown, text: () => string, { json }: Options): void {
  process.stdout.write(`${json ? JSON.stringify(data, null, 2) : text()}\n`);
}

function driverOf(fleet: Fleet): Driver<unknown> {
  const { change, access } = fleet;
  if ("services" in change) return new ServicesDriver({ access, services: () => change.services }) as Driver<unknown>;
  const { program, name, ...more } = change.stack;
  return new StackDriver({
    ...more,
    project: program,
    stack: name,
    access,
    states: `${fleet.journal}.states`,
  }) as Driver<unknown>;
}

export function exitCodeOf({ result, sites }: Outcome): number {
  if (result === "stopped" || sites.stuck + sites.bad > 0) return 1;
  return sites.away + sites.restored > 0 ? 3 : 0;
}

function interruptible(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      process.stderr.write("\nstopping after what is being done; once more: at once\n");
      controller.abort(new Error("interrupted"));
    });
  }
  return controller.signal;
}

async function roll(fleet: Fleet, options: Options): Promise<void> {
  fleet.ready();
  const release = lock(fleet.journal);
  const journal = new Journal(fleet.journal);
  const driver = driverOf(fleet);
  const signal = interruptible();
  const screen = new Screen(process.stderr, wavesOf(fleet.plan.sites, fleet.plan.waves), journal);
  try {
    const changed = options.json ? undefined : screen.changed;
    const outcome = await new Rollout({ plan: fleet.plan, driver, journal, signal, changed }).run();
    screen.end();
    print(outcome, () => summary(outcome), options);
    process.exitCode = exitCodeOf(outcome);
  } catch (error) {
    screen.end();
    if (!signal.aborted) throw error;
    process.stderr.write(`interrupted; go on with: offramp fleet resume --file ${options.file}\n`);
    process.exitCode = 130;
  } finally {
    journal.close();
    release();
  }
}

/** What the journal says, without changing it. */
function outcomeSoFar(fleet: Fleet): { journal: Journal; outcome: Outcome } {
  const journal = new Journal(fleet.journal, "read");
  return { journal, outcome: outcomeOf(fleet.plan, journal) };
}

const needsJournal = ({ journal }: Fleet): void => {
  if (!existsSync(journal)) throw new UsageError(`there is no journal ${journal}: begin with run`);
};

async function plan(options: Options & { ask?: boolean }): Promise<void> {
  const fleet = loadFleet(options.file);
  const waves = wavesOf(fleet.plan.sites, fleet.plan.waves);
  const driver = options.ask ? driverOf(fleet) : undefined;
  if (driver) fleet.ready();
  const would = new Map<string, string>();
  const queue = waves.flatMap(({ sites }) => sites).values();
  const worker = async () => {
    for (const site of queue)
      would.set(site.name, (await driver?.preview(site).catch((error: Error) => `no answer: ${error.message}`)) ?? "");
  };
  if (driver) await Promise.all(Array.from({ length: fleet.plan.parallel ?? 20 }, worker));
  const data = waves.map(({ name, sites }) => ({
    wave: name,
    sites: sites.map((site) => ({ ...site, ...(driver && { change: would.get(site.name) }) })),
  }));
  print({ fleet: fleet.plan.id, waves: data }, () => wavesText(waves, would), options);
}

async function run(options: Options & { again?: boolean }): Promise<void> {
  const fleet = loadFleet(options.file);
  if (ownerOf(fleet.journal) !== undefined) lock(fleet.journal); // says who has it
  if (existsSync(fleet.journal)) {
    if (!options.again)
      throw new UsageError(`${fleet.journal} is there: resume goes on, run --again forgets it and begins anew`);
    fleet.ready();
    rmSync(fleet.journal);
  }
  await roll(fleet, options);
}

async function resume(options: Options): Promise<void> {
  const fleet = loadFleet(options.file);
  needsJournal(fleet);
  await roll(fleet, options);
}

async function catchUp(options: Options): Promise<void> {
  const fleet = loadFleet(options.file);
  needsJournal(fleet);
  const { outcome } = outcomeSoFar(fleet);
  if (outcome.result === "under way") throw new UsageError("the roll-out is not over: resume goes on with it");
  await roll(fleet, options);
}

function status(options: Options & { all?: boolean }): void {
  const fleet = loadFleet(options.file);
  needsJournal(fleet);
  const { journal, outcome } = outcomeSoFar(fleet);
  const waves = wavesOf(fleet.plan.sites, fleet.plan.waves);
  const rows = waves.flatMap((wave) =>
    wave.sites.map(({ name }) => {
      const { state, why, changes } = journal.sites.get(name) ?? { state: "waiting" as SiteState | "waiting" };
      return { site: name, wave: wave.name, state, ...(why && { why }), ...(changes && { changes }) };
    }),
  );
  const runs = ownerOf(fleet.journal);
  const states = waves.map(({ name }) => ({ wave: name, state: journal.waves.get(name) ?? "waiting" }));
  const data = { fleet: fleet.plan.id, ...outcome, ...(runs && { process: runs }), waves: states, at: rows };
  print(data, () => [...statusLines(data, options.all ?? false), summary(outcome)].join("\n"), options);
  process.exitCode = outcome.result === "under way" ? 3 : exitCodeOf(outcome);
}

const fleet = new Command("offramp fleet")
  .description("Roll a change out to many sites: in waves, judged by the sites' own word, taken back where it harms")
  .showHelpAfterError("(--help shows how)")
  .exitOverride();
const verb = (name: string, description: string) =>
  fleet
    .command(name)
    .description(description)
    .requiredOption("-f, --file <file>", "fleet.yaml")
    .option("--json", "print JSON");
verb("plan", "which sites come in which wave; nothing is changed")
  .option("--ask", "ask each site what would change")
  .action(plan);
verb("run", "begin the roll-out").option("--again", "forget an earlier run's journal").action(run);
verb("status", "what has become of whom, from the journal; no site is asked")
  .option("--all", "every site, not only those that are not good")
  .action(status);
verb("resume", "go on with a roll-out that was interrupted").action(resume);
verb("catch-up", "after it is over: those that were away, and those that could not be taken back").action(catchUp);

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${error instanceof FleetFileError ? "" : "offramp fleet: "}${message}\n`);
  return error instanceof FleetFileError || error instanceof UsageError ? 2 : 1;
}

try {
  await fleet.parseAsync(process.argv);
} catch (error) {
  process.exitCode = report(error);
}
