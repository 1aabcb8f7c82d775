/**
 * `offramp run`: the appliance in the foreground, in whatever network namespace it is started in.
 *
 * SIGTERM and SIGINT end the process and leave offloaded traffic flowing; a second signal ends it at once. SIGHUP reads
 * site.yaml again. A configuration that came over the API and takes a restart makes the process begin again by itself; one that
 * does not start gives way to the one before.
 */

import { existsSync } from "node:fs";
import pino from "pino";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { Agent } from "../agent.ts";
import { loadSite } from "../config/load.ts";
import { messageOf } from "../errors.ts";
import type { MakeExtension } from "../extension.ts";
import { beginStart, SiteYaml, trialLeft } from "../site/file.ts";
import { release } from "../store/lock.ts";
import { beginAgain } from "./again.ts";
import { CliError } from "./client.ts";
import { startGuard } from "./guard-process.ts";
import { serviceManager } from "./service-manager.ts";

export interface RunOptions {
  config: string;
  logLevel?: string;
}

export async function run(
  { config: path, logLevel = "info" }: RunOptions,
  extensions: readonly MakeExtension[] = [],
): Promise<void> {
  const manager = serviceManager(process.env);
  const log = pino({ name: "offramp", level: logLevel }, pino.destination({ dest: 2, sync: true }));
  const yaml = existsSync(path) ? new SiteYaml(path) : undefined;
  const said = yaml && beginStart(yaml);
  if (said !== undefined) log.warn(said);
  const config = loadSite(path);

  let end = (_again: boolean): void => undefined;
  const ended = new Promise<boolean>((resolve) => {
    end = resolve;
  });
  const agent = new Agent({
    config,
    log,
    guard: () => startGuard(path, config.stateDir, (error) => log.error({ err: error }, "no guard could be started")),
    read: () => loadSite(path),
    ...(yaml && { yaml: { file: yaml, restart: () => end(true) } }),
    extensions,
    backend: (backend) => {
      const dataplane = new EbpfDataplane(backend);
      return { dataplane, slow: dataplane.slow };
    },
  });

  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1);
      stopping = true;
      log.info({ signal }, "stopping; offloaded traffic goes on");
      manager.tell("STOPPING=1");
      end(false);
    });
  }
  process.on("SIGHUP", () => {
    agent.reload().catch((error: unknown) => log.error({ err: error }, `not reloaded: ${messageOf(error)}`));
  });
  process.on("uncaughtException", (error) => {
    // Programs and maps go on; a service manager starts the agent again, which adopts them.
    log.fatal({ err: error }, "the agent failed");
    process.exit(1);
  });

  /** The configuration before comes back where this one was on trial. Returns where it was not. */
  const withoutTrial = (why: string): void => {
    const trial = yaml?.trial();
    if (!trial || !yaml?.takeBack(trial)) return;
    log.error({ revision: trial.revision, back: trial.back }, `configuration ${why}: back to the one before`);
    release(config.stateDir);
    manager.end();
    beginAgain();
  };
  const trial = yaml?.trial();
  const late = trial && setTimeout(() => withoutTrial("did not become ready in time"), Math.max(0, trialLeft(trial)));
  try {
    await agent.start();
  } catch (error) {
    log.fatal({ err: error }, "the agent did not start");
    withoutTrial("does not start");
    throw new CliError(`did not start: ${messageOf(error)}`);
  } finally {
    clearTimeout(late);
  }
  manager.tell("READY=1", `STATUS=site ${config.name}`);
  manager.alive();
  const again = await ended;
  if (again) log.info("beginning again, with site.yaml as it is now");
  await agent.stop();
  manager.end();
  if (again && !stopping) beginAgain();
}
