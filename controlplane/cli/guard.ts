/**
 * `offramp guard`: takes an unconfirmed change back at its deadline when no agent is there to do it: of services, and of
 * the configuration.
 *
 *   nothing armed ─▶ ends        agent runs, or time is left ─▶ looks again in a second
 *   overdue and no agent ─▶ takes the agent's lock, adopts the data plane, applies the older services, ends
 *
 * The agent starts one when a change is armed. With `--once` it looks once, which is what a service manager's timer wants.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { servicesAt } from "../agent.ts";
import { loadSite } from "../config/load.ts";
import type { SiteConfig } from "../config/site.ts";
import { Dataplanes } from "../dataplanes/dataplanes.ts";
import { messageOf } from "../errors.ts";
import { takeBackStored, timeLeft } from "../intents/confirmation.ts";
import { Services } from "../intents/services.ts";
import { SiteYaml, trialLeft } from "../site/file.ts";
import { guardFile, lock, lockOwner } from "../store/lock.ts";
import { Store, storeFile } from "../store/store.ts";

const lookMs = 1000;
const againMs = 5000;
/** After so many failures the store alone is taken back: the next start applies what it says. */
const attempts = 12;
/** After its deadline, in which the agent takes a configuration back itself. */
const agentsTurnMs = 15_000;

const say = (message: string) => process.stderr.write(`${new Date().toISOString()} offramp guard: ${message}\n`);

/** Holds the agent's lock meanwhile. @throws Error, and nothing is taken back */
async function takeBack(config: SiteConfig, storeOnly: boolean): Promise<void> {
  const unlock = lock(config.stateDir);
  try {
    const store = new Store(config.stateDir, { indices: config.backend.limits.rules });
    try {
      const armed = store.armed();
      if (!armed || timeLeft(armed) > 0) return;
      const { EbpfDataplane } = await import("../../dataplane/ebpf/ebpf.ts");
      const { inForce } = await import("../../dataplane/ebpf/in-force.ts");
      const dataplanes = new Dataplanes({ config, store, warn: say });
      const backend = dataplanes.wanted();
      if (storeOnly || !(await inForce(backend))) {
        takeBackStored(store, armed);
        say(`taken back in the store; ${storeOnly ? "the data plane refuses" : "no program is in force"}`);
        return;
      }
      const dataplane = new EbpfDataplane(backend);
      await dataplane.start();
      try {
        await new Services({ ...servicesAt(() => dataplanes.config), store, dataplane }).start();
        say("taken back, no agent was there");
      } finally {
        await dataplane.stop();
      }
    } finally {
      store.close();
    }
  } finally {
    unlock();
  }
}

/**
 * The site.yaml before comes back at the deadline of one on trial; an agent that has not done it by then cannot, and is ended:
 * its service manager starts the next. Returns whether there is one to wait for.
 */
function guardSiteYaml(path: string, stateDir: string): boolean {
  const yaml = new SiteYaml(path);
  const trial = yaml.trial();
  if (!trial) return false;
  if (trialLeft(trial) > -agentsTurnMs) return true;
  const owner = lockOwner(stateDir);
  if (yaml.takeBack(trial)) say(`configuration ${trial.revision} is taken back: ${trial.back}`);
  if (owner === undefined) return false;
  say(`the agent, process ${owner}, has let the deadline pass: ended`);
  process.kill(owner, "SIGKILL");
  return false;
}

export async function guard({ config: path, once = false }: { config: string; once?: boolean }): Promise<void> {
  const config = loadSite(path);
  const { stateDir } = config;
  const file = join(stateDir, storeFile);
  if (!existsSync(file) || lockOwner(stateDir, guardFile) !== undefined) return;
  const release = lock(stateDir, guardFile);
  const store = new Store(stateDir);
  try {
    for (let failures = 0; ; ) {
      const trial = guardSiteYaml(path, stateDir);
      const armed = existsSync(file) ? store.armed() : undefined;
      if (!armed && !trial) return;
      if (!armed || timeLeft(armed) > 0 || lockOwner(stateDir) !== undefined) {
        if (once) return;
        await sleep(lookMs);
        continue;
      }
      try {
        // As the next start would: with site.yaml as it is now.
        const last = failures >= attempts;
        await takeBack(last ? config : loadSite(path), last);
      } catch (error) {
        // An agent that starts at this moment has taken the lock; any other reason is tried again as well.
        say(messageOf(error));
        failures += 1;
        if (once || failures > attempts) throw error;
        await sleep(againMs);
      }
    }
  } finally {
    store.close();
    release();
  }
}
