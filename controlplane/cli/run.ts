/**
 * `offramp run`: the appliance in the foreground, in whatever network namespace it is started in.
 *
 * SIGTERM and SIGINT end the process and leave offloaded traffic flowing; a second signal ends it at once. SIGHUP reads
 * site.yaml again.
 */
import pino from "pino";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { Agent } from "../agent.ts";
import { loadSite } from "../config/load.ts";
import { messageOf } from "../errors.ts";
import type { MakeExtension } from "../extension.ts";
import { CliError } from "./client.ts";
import { startGuard } from "./guard-process.ts";

export interface RunOptions {
  config: string;
  logLevel?: string;
}

export async function run(
  { config: path, logLevel = "info" }: RunOptions,
  extensions: readonly MakeExtension[] = [],
): Promise<void> {
  const config = loadSite(path);
  const log = pino({ name: "offramp", level: logLevel }, pino.destination({ dest: 2, sync: true }));
  const agent = new Agent({
    config,
    log,
    guard: () => startGuard(path, config.stateDir, (error) => log.error({ err: error }, "no guard could be started")),
    read: () => loadSite(path),
    extensions,
    backend: (backend) => {
      const dataplane = new EbpfDataplane(backend);
      return { dataplane, slow: dataplane.slow };
    },
  });

  let stopping = false;
  const ended = new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(1);
        stopping = true;
        log.info({ signal }, "stopping; offloaded traffic goes on");
        resolve();
      });
    }
  });
  process.on("SIGHUP", () => {
    agent.reload().catch((error: unknown) => log.error({ err: error }, `not reloaded: ${messageOf(error)}`));
  });
  process.on("uncaughtException", (error) => {
    // Programs and maps go on; a service manager starts the agent again, which adopts them.
    log.fatal({ err: error }, "the agent failed");
    process.exit(1);
  });
  try {
    await agent.start();
  } catch (error) {
    log.fatal({ err: error }, "the agent did not start");
    throw new CliError(`did not start: ${messageOf(error)}`);
  }
  await ended;
  await agent.stop();
}
