/**
 * How does the guard get to run beside the agent?
 *
 * As a process of its own session, so that neither the agent's death nor its terminal's ends it. It ends by itself. What it
 * has to say goes to `guard.log` in the state directory: the agent that could have said it may be gone.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { guardFile, lockOwner } from "../store/lock.ts";

export const guardLog = "guard.log";

/** One at a time; the running one looks after every change. A failure is told to `failed`: the change goes on without. */
export function startGuard(config: string, stateDir: string, failed: (error: unknown) => void): void {
  if (lockOwner(stateDir, guardFile) !== undefined) return;
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const main = fileURLToPath(new URL(`./guard-main.${extension}`, import.meta.url));
  try {
    const log = openSync(join(stateDir, guardLog), "w", 0o640);
    try {
      const child = spawn(process.execPath, [...process.execArgv, main, config], {
        detached: true,
        stdio: ["ignore", log, log],
      });
      child.on("error", failed);
      child.unref();
    } finally {
      closeSync(log);
    }
  } catch (error) {
    failed(error);
  }
}
