/**
 * `offramp site show|check|set|confirm|rollback`: the site's configuration, over the API.
 *
 * `set` waits until what was set is in force, also where the agent has to start again for it.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError } from "commander";
import { parseDocument, stringify } from "yaml";
import { milliseconds } from "../config/duration.ts";
import { messageOf } from "../errors.ts";
import type { SiteResult, SiteView, WaitingSite } from "../site/changes.ts";
import { CliError, Client, type ClientOptions, query } from "./client.ts";
import { print, type Show } from "./output.ts";

type Common = ClientOptions & Show;

const path = "/api/v1/site";
const pollMs = 500;
/** Beyond the time in which the agent takes it back. */
const patienceMs = 60_000;

function seconds(text: string): number {
  const time = milliseconds(text);
  if (!Number.isFinite(time) || time < 1000 || time % 1000 !== 0) {
    throw new InvalidArgumentError("must be whole seconds, as 120s, 5m or 1h");
  }
  return time / 1000;
}

/** @throws CliError */
function readDocument(file: string): unknown {
  try {
    const document = parseDocument(readFileSync(file === "-" ? 0 : file, "utf8"), { prettyErrors: true });
    const wrong = document.errors[0];
    if (wrong) throw wrong;
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new CliError(`${file}: ${messageOf(error)}`, 2);
  }
}

const waitingLine = ({ revision, back, until, confirm }: WaitingSite): string =>
  confirm
    ? `${revision} goes back to ${back} unless it is confirmed by ${until}`
    : `${revision} goes back to ${back} unless it comes up by ${until}`;

/** YAML that `set` takes again; what is no part of it is said in comments. */
export function viewLines({ revision, site, secrets, dataplanes, unread, waiting }: SiteView): string[] {
  return [
    `# revision ${revision}`,
    ...secrets.map((member) => `# ${member} is set, and stays when it is left out`),
    ...dataplanes.added.map((name) => `# data plane ${name} was added over the API`),
    ...dataplanes.removed.map((name) => `# data plane ${name} was removed over the API`),
    ...(unread
      ? [`# site.yaml was written by hand since, and ${unread.wrong ?? `is revision ${unread.revision}`}`]
      : []),
    ...(waiting ? [`# on trial: ${waitingLine(waiting)}`] : []),
    ...stringify(site, { lineWidth: 0 }).trimEnd().split("\n"),
  ];
}

export function resultLines(done: SiteResult): string[] {
  if (!done.different) return [`${done.revision}: nothing has changed`];
  const { added, changed, replaced, removed } = done;
  const steps = Object.entries({ added, changed, replaced, removed }).flatMap(([word, names]) =>
    names.map((name) => `${word} data plane ${name}`),
  );
  const restart = done.restart.map(({ field }) => `${field}: takes a restart`);
  const until = done.until === undefined ? [] : [`back by itself at ${done.until} unless it is confirmed`];
  return [`revision ${done.revision}`, ...steps, ...(done.protect ? ["changed protect"] : []), ...restart, ...until];
}

/** @throws CliError when it was taken back, or nobody answers any more */
async function inForce(client: Client, { revision, until = "" }: SiteResult): Promise<SiteView> {
  const end = Date.parse(until) + patienceMs;
  for (;;) {
    await sleep(pollMs);
    let view: SiteView | undefined;
    try {
      view = await client.get<SiteView>(path);
    } catch (error) {
      // It starts again at this moment. Where it may listen elsewhere by then, only the deadline tells.
      if (Date.now() > end) throw error;
      continue;
    }
    const proved = view.waiting === undefined || view.waiting.confirm;
    if (view.revision === revision && proved) return view;
    if (view.waiting === undefined) {
      throw new CliError(`${revision} did not come up: the agent is back at ${view.revision}; its log says why`);
    }
    if (Date.now() > end) throw new CliError(`${revision} has not come up; its agent still tries`);
  }
}

interface SetOptions extends Common {
  match?: string;
  confirm?: number;
  dryRun?: boolean;
  wait: boolean;
}

async function put(file: string, { match, confirm, dryRun, wait, ...options }: SetOptions): Promise<void> {
  const client = new Client(options);
  const headers: Record<string, string> =
    match === undefined ? {} : { "if-match": match === "*" ? match : `"${match}"` };
  const target = `${path}${query({ confirm, dryRun: dryRun ? "true" : undefined })}`;
  const response = await client.request("PUT", target, readDocument(file), undefined, headers);
  const done = (await response.json()) as SiteResult;
  if (response.status === 202 && wait) {
    process.stderr.write("the agent starts again\n");
    await inForce(client, done);
    if (confirm === undefined) delete done.until;
  }
  print(done, resultLines, options);
}

export function siteVerb(command: Command, api: (command: Command) => Command): void {
  command.description("the configuration of the site, over the API");
  api(command.command("show"))
    .description("the configuration in force, as YAML that set takes; without secrets")
    .action(async (options: Common) => print(await new Client(options).get<SiteView>(path), viewLines, options));
  api(command.command("check"))
    .argument("<file>", "a whole site.yaml; - is standard input")
    .description("what would change if that were set, and what of it takes a restart")
    .action((file: string, options: Common) => put(file, { ...options, dryRun: true, wait: false }));
  api(command.command("set"))
    .argument("<file>", "a whole site.yaml; - is standard input")
    .description("make the configuration this, all of it or nothing; what does not come up is taken back")
    .option("--confirm <time>", "take it back unless it is confirmed in time: 120s", seconds)
    .option("--match <revision>", "only if this is the revision that it replaces; * replaces any")
    .option("--dry-run", "only say what would change")
    .option("--no-wait", "do not wait until an agent that has to start again has done so")
    .action((file: string, options: SetOptions) => put(file, options));
  api(command.command("confirm"))
    .description("keep the configuration that waits to be confirmed")
    .action(async (options: Common) => {
      const done = await new Client(options).json<WaitingSite>("POST", `${path}/confirm`);
      print(done, ({ revision }) => [`${revision} stays`], options);
    });
  api(command.command("rollback"))
    .description("back to the configuration before the one that waits to be confirmed")
    .action(async (options: Common) => {
      const done = await new Client(options).json<WaitingSite & { restarting: boolean }>("POST", `${path}/rollback`);
      print(
        done,
        ({ back, restarting }) => [`back to ${back}${restarting ? "; the agent starts again" : ""}`],
        options,
      );
    });
}
