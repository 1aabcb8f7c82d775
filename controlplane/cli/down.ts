/**
 * `offramp down`: takes programs, maps and rules away; the bridge keeps the wire up.
 *
 * With `--unwire` the adapters are left as they were found. A running agent is asked to end first: it would otherwise
 * go on with a data plane that is gone.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { loadSite } from "../config/load.ts";
import type { SiteConfig } from "../config/site.ts";
import { lock, lockOwner } from "../store/lock.ts";
import { CliError } from "./client.ts";

const patienceMs = 10_000;

async function endAgent(stateDir: string): Promise<number | undefined> {
  const owner = lockOwner(stateDir);
  if (owner === undefined) return undefined;
  process.kill(owner, "SIGTERM");
  for (let waited = 0; waited < patienceMs; waited += 50) {
    if (lockOwner(stateDir) === undefined) return owner;
    await sleep(50);
  }
  throw new CliError(`the agent (process ${owner}) does not end; end it, then try again`);
}

/** `more`: takes away what others have built on top. */
export async function down(
  { config: path, unwire = false }: { config: string; unwire?: boolean },
  more: (config: SiteConfig) => Promise<void> = async () => undefined,
) {
  const config = loadSite(path);
  const ended = await endAgent(config.stateDir);
  const unlock = lock(config.stateDir);
  try {
    await new EbpfDataplane(config.backend).down({ unwire });
    await more(config);
  } finally {
    unlock();
  }
  return { site: config.name, unwired: unwire, ...(ended !== undefined && { agentEnded: ended }) };
}
