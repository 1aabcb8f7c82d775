/**
 * `MecApp`: an instance of an app at the site (GS MEC 010-2).
 *
 * Its id is that of the instance, which is the resource's name unless the program says another. It is brought from whatever
 * state it is in to the one that is wanted, step by step, and looked at before each: so it does not matter where an earlier
 * attempt stopped.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Site, SiteError } from "../../site.ts";
import { type CheckFailure, type Kind, made, type Properties, unknownProperties } from "../kind.ts";

const instancesPath = "/app_lcm/v1/app_instances";

interface Info {
  id: string;
  appDId: string;
  appPkgId: string;
  appInstanceName?: string;
  appInstanceDescription?: string;
  instantiationState: "NOT_INSTANTIATED" | "INSTANTIATED";
  instantiatedAppState?: { operationalState: "STARTED" | "STOPPED" };
  "x-offramp": { external: boolean; configured: boolean; addresses: string[] };
}

interface Operation {
  operationState: string;
  lcmOperation: string;
  error?: { detail?: string };
}

const known = ["instanceId", "package", "description", "addresses", "configuration", "running", "grace"];
const usualGrace = 30;
const pollMs = 200;

const at = (id: string): string => `${instancesPath}/${encodeURIComponent(id)}`;
const look = (site: Site, id: string) => site.get<Info>(at(id));
const runs = (info: Info): boolean => info.instantiatedAppState?.operationalState === "STARTED";

/** @throws SiteError with what became of it, when it failed */
async function ended(site: Site, operation: string | undefined): Promise<void> {
  if (operation === undefined) return;
  for (;;) {
    const found = await site.get<Operation>(operation);
    if (!found || found.operationState === "COMPLETED") return;
    if (found.operationState.startsWith("FAILED")) {
      throw new SiteError(409, "", `${found.lcmOperation}: ${found.error?.detail ?? "no reason was given"}`);
    }
    await sleep(pollMs);
  }
}

async function operate(site: Site, id: string, task: string, body: object, done: (info: Info) => boolean) {
  const over = async () => {
    const info = await look(site, id);
    return info && done(info) ? true : undefined;
  };
  await ended(site, await site.begin(`${at(id)}/${task}`, body, over));
}

const goodbye = ({ grace = usualGrace }: Properties) => (Number(grace) > 0 ? "GRACEFUL" : "FORCEFUL");

/** As it is wanted, when it resolves. @param afresh its configuration is to be taken on again */
async function bring(site: Site, id: string, inputs: Properties, afresh: boolean): Promise<Info> {
  const { addresses, configuration, running = true, grace = usualGrace } = inputs;
  const info = await look(site, id);
  if (!info) throw new Error(`instance ${id} is gone`);
  const instantiated = info.instantiationState === "INSTANTIATED";
  if (afresh || (configuration !== undefined && !info["x-offramp"].configured)) {
    await operate(site, id, "configure_platform_for_app", configuration ?? {}, (now) => now["x-offramp"].configured);
  }
  if (!instantiated && running) {
    const body = addresses === undefined ? {} : { addresses };
    await operate(site, id, "instantiate", body, (now) => now.instantiationState === "INSTANTIATED");
  } else if (instantiated && running !== runs(info)) {
    const stop = {
      changeStateTo: "STOPPED",
      stopType: goodbye(inputs),
      gracefulStopTimeout: Number(grace) || undefined,
    };
    await operate(site, id, "operate", running ? { changeStateTo: "STARTED" } : stop, (now) => runs(now) === running);
  }
  return (await look(site, id)) ?? info;
}

async function take(site: Site, id: string, grace: Properties): Promise<void> {
  const info = await look(site, id);
  if (!info) return;
  if (info.instantiationState === "INSTANTIATED") {
    const terminationType = goodbye(grace);
    const timeout = { gracefulTerminationTimeout: Number(grace.grace ?? usualGrace) };
    const body = { terminationType, ...(terminationType === "GRACEFUL" && timeout) };
    await operate(site, id, "terminate", body, (now) => now.instantiationState === "NOT_INSTANTIATED");
  }
  await site.change("DELETE", at(id), undefined, async () => ((await look(site, id)) ? undefined : true));
}

const outputsOf = (info: Info): Properties => ({
  appDId: info.appDId,
  addresses: info["x-offramp"].addresses,
  external: info["x-offramp"].external,
  clientId: info.id,
});

function failuresOf(inputs: Properties): CheckFailure[] {
  const failures = unknownProperties(inputs, known, `an app has ${known.join(", ")}`);
  if (inputs.package === undefined) {
    failures.push({ property: "package", reason: "is required: the packageId of an AppPackage, or an appDId" });
  }
  return failures;
}

export const app: Kind = {
  type: "MecApp",
  fixed: ["instanceId", "package", "addresses", "description"],
  aside: ["grace"],
  kept: ["clientSecret"],

  check(inputs, name) {
    const filled = { instanceId: name, running: true, ...inputs };
    return { inputs: filled, failures: failuresOf(filled) };
  },

  async create(site, inputs) {
    const id = String(inputs.instanceId);
    const body = {
      appInstanceId: id,
      appDId: inputs.package,
      appInstanceName: id,
      ...(inputs.description !== undefined && { appInstanceDescription: inputs.description }),
    };
    const same = async () => {
      const info = await look(site, id);
      return info && [info.appDId, info.appPkgId].includes(String(inputs.package)) ? info : undefined;
    };
    const had = await made(() => site.change("POST", instancesPath, body, () => look(site, id)), same);
    try {
      const info = await bring(site, id, inputs, false);
      if (!info["x-offramp"].external || !info["x-offramp"].configured) return { id, outputs: outputsOf(info), ...had };
      // One that runs here has its secret from the runtime; to one elsewhere somebody has to bring it.
      const path = `/api/v1/clients/${encodeURIComponent(id)}/secret`;
      const { clientSecret } = await site.change<{ clientSecret: string }>(
        "POST",
        path,
        undefined,
        async () => undefined,
      );
      return { id, outputs: { ...outputsOf(info), clientSecret }, ...had };
    } catch (error) {
      if (error instanceof SiteError && !had.found) await take(site, id, { grace: 0 }).catch(() => undefined);
      throw error;
    }
  },

  async read(site, id, had) {
    const info = await look(site, id);
    if (!info) return undefined;
    const { package: given = info.appPkgId } = had;
    const inputs = {
      ...had,
      instanceId: id,
      package: given === info.appDId ? given : info.appPkgId,
      running: runs(info),
      ...(had.addresses !== undefined && { addresses: info["x-offramp"].addresses }),
    };
    return { inputs, outputs: outputsOf(info) };
  },

  async update(site, id, inputs, had) {
    const afresh = JSON.stringify(inputs.configuration) !== JSON.stringify(had.configuration);
    return { outputs: outputsOf(await bring(site, id, inputs, afresh)) };
  },

  remove: take,
};
