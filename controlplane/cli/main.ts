/**
 * Which verbs does the control plane have, and how does the command end?
 *
 * One command, one verb per file; mep/cli/main.ts is where it starts, and adds the verbs of the MEC platform.
 *
 * Exit codes: 0 done, 1 failed, 2 usage or invalid configuration. What is asked for goes to standard output, what is wrong to
 * standard error; with `--json` both are JSON.
 */
import { Command, CommanderError, Option } from "commander";
import { ConfigurationError } from "../config/load.ts";
import type { SiteConfig } from "../config/site.ts";
import { messageOf } from "../errors.ts";
import type { MakeExtension } from "../extension.ts";
import { version } from "../version.ts";
import { auditVerb } from "./audit.ts";
import { backupVerb, restoreVerb } from "./backup.ts";
import { chainVerb } from "./chain.ts";
import { applyVerb, confirmVerb, historyVerb, rollbackVerb } from "./changes.ts";
import { checkVerb } from "./check.ts";
import { CliError, defaultApi } from "./client.ts";
import { dataplaneVerb, reloadVerb } from "./dataplane.ts";
import { elsewhere } from "./elsewhere.ts";
import { healthVerb } from "./endpoints.ts";
import { firstbootVerb } from "./firstboot.ts";
import { monitorVerb } from "./monitor.ts";
import { siteVerb } from "./site.ts";
import { traceVerb } from "./trace.ts";
import { userVerb } from "./user.ts";
import { bypassVerb, captureVerb, planVerb, serviceVerb, sessionsVerb, statusVerb } from "./verbs.ts";
import { verifyVerb } from "./verify.ts";

const levels = ["trace", "debug", "info", "warn", "error", "silent"];
const logLevel = () => new Option("--log-level <level>", "what is logged").choices(levels).default("info");
const config = () => new Option("-c, --config <file>", "site.yaml").makeOptionMandatory();

/** The options of every verb that talks to an agent. */
export function api(command: Command): Command {
  return command
    .option("--api <url>", `the agent's API (or OFFRAMP_API; default ${defaultApi})`)
    .option("--token <token>", "bearer token (or OFFRAMP_TOKEN)")
    .option("--json", "print JSON");
}

/**
 * `extensions`: what `run` builds on top of the control plane. `downMore`: what `down` takes away of that; `checkState`:
 * throws where it could not start with a state directory.
 */
export function program(
  extensions: () => Promise<readonly MakeExtension[]> = async () => [],
  downMore?: (config: SiteConfig) => Promise<void>,
  checkState?: (stateDir: string) => Promise<void>,
): Command {
  const offramp = new Command("offramp")
    .description("An edge appliance: takes the GTP-U traffic of local services off the wire, and puts the replies back")
    .version(version)
    .enablePositionalOptions()
    .showHelpAfterError("(--help shows how)")
    .exitOverride();

  offramp
    .command("run")
    .description("run the appliance in the foreground; SIGTERM ends it and leaves offloaded traffic flowing")
    .addOption(config())
    .addOption(logLevel())
    .action(async (options) => (await import("./run.ts")).run(options, await extensions()));
  offramp
    .command("down")
    .description("take programs and rules away; the bridge keeps the wire up")
    .addOption(config())
    .option("--unwire", "take the bridge away too: adapters as they were found")
    .option("--json", "print JSON")
    .action(async (options) => {
      const { down } = await import("./down.ts");
      const done = await down(options, downMore);
      const { print } = await import("./output.ts");
      print(done, () => [`${done.site}: down${done.unwired ? ", unwired" : "; the bridge carries the wire"}`], options);
    });
  checkVerb(offramp);
  firstbootVerb(offramp);
  statusVerb(api(offramp.command("status")));
  sessionsVerb(api(offramp.command("sessions")));
  serviceVerb(offramp.command("service"), api);
  healthVerb(api(offramp.command("health")));
  applyVerb(api(offramp.command("apply")));
  confirmVerb(api(offramp.command("confirm")));
  rollbackVerb(api(offramp.command("rollback")));
  historyVerb(api(offramp.command("history")));
  offramp
    .command("guard")
    .description("take an unconfirmed change back at its deadline if no agent does; run starts it where it is needed")
    .addOption(config())
    .option("--once", "look once: for a service manager's timer")
    .action(async (options) => (await import("./guard.ts")).guard(options));
  chainVerb(offramp.command("chain"), api);
  dataplaneVerb(offramp.command("dataplane"), api);
  reloadVerb(api(offramp.command("reload")));
  backupVerb(api(offramp.command("backup")));
  restoreVerb(offramp.command("restore"), checkState);
  siteVerb(offramp.command("site"), api);
  bypassVerb(api(offramp.command("bypass")));
  captureVerb(api(offramp.command("capture")));
  monitorVerb(api(offramp.command("monitor")));
  planVerb(api(offramp.command("plan")));
  verifyVerb(api(offramp.command("verify")));
  traceVerb(api(offramp.command("trace")));
  userVerb(offramp.command("user"), api);
  auditVerb(offramp.command("audit"), api);
  elsewhere(
    offramp,
    "lab",
    "test/lab",
    "a whole network on this machine: phones, base stations, core, appliance, apps",
  );
  elsewhere(offramp, "bench", "test/bench", "measure the data plane on this machine");
  elsewhere(offramp, "fleet", "infra/fleet", "roll a change out to many sites, in waves");
  return offramp;
}

/** What is printed for an error, and the exit code. */
function report(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has said it
  const lines = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
  if (error instanceof ConfigurationError) {
    process.stderr.write(json ? lines({ file: error.file, errors: error.errors }) : `${error.message}\n`);
    return 2;
  }
  if (error instanceof CliError) {
    process.stderr.write(json ? lines(error.problem ?? { detail: error.message }) : `offramp: ${error.message}\n`);
    return error.exitCode;
  }
  process.stderr.write(`offramp: ${messageOf(error)}\n`);
  if (process.env.OFFRAMP_DEBUG) console.error(error);
  return 1;
}

/** Runs the command; returns the exit code. */
export async function main(offramp: Command, argv: readonly string[]): Promise<number> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0); // `| head`
    throw error;
  });
  try {
    await offramp.parseAsync([...argv]);
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    return report(error, argv.includes("--json"));
  }
}
