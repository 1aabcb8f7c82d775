/**
 * `offramp app`: packages of apps, and their instances.
 *
 * What takes time is waited for: when a verb returns 0, it is done.
 */
import { type Command, InvalidArgumentError } from "commander";
import { CliError, Client, type ClientOptions, query } from "../../controlplane/cli/client.ts";
import { print, type Show } from "../../controlplane/cli/output.ts";
import { milliseconds } from "../../controlplane/config/duration.ts";
import type { AppInstanceInfo, AppLcmOpOcc } from "../model/lcm.ts";
import type { AppPkgInfo } from "../model/pkgm.ts";
import type { Mp1Access } from "../mp1/management-route.ts";
import type { LogLine } from "../runtime/runtime.ts";
import {
  addPackage,
  at,
  ended,
  instanceOf,
  instancesPath,
  newSecret,
  operate,
  operationsPath,
  packageOf,
  packagesPath,
  requireInstance,
} from "./app-api.ts";
import { checkVerb, packVerb, vnfdVerb } from "./app-local.ts";
import { rulesVerb } from "./app-rules.ts";
import {
  instanceLines,
  type Listing,
  listingLines,
  logLines,
  operationLines,
  packageLines,
  secretLines,
  stateOf,
} from "./app-views.ts";

type Common = ClientOptions & Show;

function seconds(text: string): number {
  const time = milliseconds(text);
  if (!Number.isFinite(time) || time < 1000 || time % 1000 !== 0) {
    throw new InvalidArgumentError("must be whole seconds, as 30s or 5m");
  }
  return time / 1000;
}

const collect = (value: string, before: string[] = []): string[] => [...before, value];

interface CreateOptions extends Common {
  id?: string;
  name?: string;
  address?: string[];
}

const creation = (command: Command): Command =>
  command
    .option("--id <id>", "the instance's id; default: a new UUID")
    .option("--name <name>", "for people; default: the app's")
    .option("--address <address>", "of an app on a machine of its own; may be given several times", collect);

function create(client: Client, appDId: string, { id, name, address }: CreateOptions): Promise<AppInstanceInfo> {
  const body = { appDId, appInstanceId: id, appInstanceName: name, addresses: address };
  return client.json<AppInstanceInfo>("POST", instancesPath, body);
}

const shown = (client: Client, id: string) => requireInstance(client, id);
const word = (instance: AppInstanceInfo): string[] => [`${instance.id}: ${stateOf(instance)}`];

/** Brings an instance to run, from wherever it is. */
async function start(client: Client, id: string): Promise<AppInstanceInfo> {
  const { instantiationState } = await requireInstance(client, id);
  if (instantiationState === "NOT_INSTANTIATED") await operate(client, id, "instantiate");
  else await operate(client, id, "operate", { changeStateTo: "STARTED" });
  return shown(client, id);
}

const endBody = (type: string, time: string, grace: number | undefined) =>
  grace === undefined ? { [type]: "FORCEFUL" } : { [type]: "GRACEFUL", [time]: grace };

const terminate = (client: Client, id: string, grace?: number) =>
  operate(client, id, "terminate", endBody("terminationType", "gracefulTerminationTimeout", grace));

function packageVerbs(app: Command, api: (command: Command) => Command): void {
  packVerb(app.command("pack").option("--json", "print JSON"));
  checkVerb(app.command("check").option("--json", "print JSON"));
  vnfdVerb(app.command("vnfd").option("--json", "print JSON"));
  api(app.command("add"))
    .argument("<package>", "a zip")
    .description("onboard a package; it is there, and whole, when this returns")
    .action(async (zip: string, options: Common) => {
      const added = await addPackage(new Client(options), zip, { name: zip.slice(-256), version: "1" });
      print(added, packageLines, options);
    });
  for (const [name, state] of [
    ["enable", "ENABLED"],
    ["disable", "DISABLED"],
  ] as const) {
    api(app.command(name))
      .argument("<package>", "its id or appDId")
      .description(`instances may${state === "ENABLED" ? "" : " not"} be made of a package`)
      .action(async (id: string, options: Common) => {
        const client = new Client(options);
        await client.json("PATCH", at(packagesPath, id), { operationalState: state });
        print(await client.get<AppPkgInfo>(at(packagesPath, id)), packageLines, options);
      });
  }
}

function lookVerbs(app: Command, api: (command: Command) => Command): void {
  api(app.command("ls"))
    .description("list packages and instances")
    .action(async (options: Common) => {
      const client = new Client(options);
      const [packages, instances] = [
        client.get<AppPkgInfo[]>(packagesPath),
        client.get<AppInstanceInfo[]>(instancesPath),
      ];
      const listing: Listing = { packages: await packages, instances: await instances };
      print(listing, listingLines, options);
    });
  api(app.command("show"))
    .argument("<id>", "of an instance, or of a package")
    .description("one instance, or one package with its AppD")
    .action(async (id: string, options: Common) => {
      const client = new Client(options);
      const instance = await instanceOf(client, id);
      if (instance) return print(instance, instanceLines, options);
      const found = await packageOf(client, id);
      if (!found) throw new CliError(`there is no app instance and no package "${id}": offramp app ls`);
      const appd = found.appDId === undefined ? undefined : await client.get<object>(`${at(packagesPath, id)}/appd`);
      const lines = () => [...packageLines(found), ...(appd ? [JSON.stringify(appd, null, 2)] : [])];
      print({ ...found, appD: appd }, lines, options);
    });
  rulesVerb(api(app.command("rules")));
  api(app.command("ops"))
    .argument("[instance]", "default: of all")
    .description("what was done to instances, and what became of it")
    .action(async (id: string | undefined, options: Common) => {
      const client = new Client(options);
      const all = await client.get<AppLcmOpOcc[]>(operationsPath);
      const suffix = `/${encodeURIComponent(id ?? "")}`;
      const wanted = id === undefined ? all : all.filter((one) => one._links.appInstance.href.endsWith(suffix));
      print(wanted, operationLines, options);
    });
  api(app.command("logs"))
    .argument("<instance>")
    .option("--tail <n>", "the last lines; default: 100")
    .description("what an instance that runs here has printed")
    .action(async (id: string, { tail, ...options }: Common & { tail?: string }) => {
      const path = `/api/v1/apps/${encodeURIComponent(id)}/logs${query({ tail })}`;
      print(await new Client(options).get<LogLine[]>(path), logLines, options);
    });
}

function lifeVerbs(app: Command, api: (command: Command) => Command): void {
  creation(api(app.command("create").argument("<package>", "its id or appDId")))
    .description("create an instance of a package; it is not begun yet")
    .action(async (id: string, options: CreateOptions) => {
      print(await create(new Client(options), id, options), instanceLines, options);
    });
  api(app.command("configure"))
    .argument("<instance>")
    .description("take on what its package asks for: credentials, rules")
    .action(async (id: string, options: Common) => {
      const client = new Client(options);
      await operate(client, id, "configure_platform_for_app");
      print(await shown(client, id), word, options);
    });
  api(app.command("start"))
    .argument("<instance>")
    .description("begin an instance, or start it again")
    .action(async (id: string, options: Common) => print(await start(new Client(options), id), word, options));
  api(app.command("stop"))
    .argument("<instance>")
    .option("--grace <time>", "time that the app has to say goodbye: 30s; default: none", seconds)
    .description("stop an instance; it may be started again")
    .action(async (id: string, { grace, ...options }: Common & { grace?: number }) => {
      const client = new Client(options);
      const body = { changeStateTo: "STOPPED", ...endBody("stopType", "gracefulStopTimeout", grace) };
      await operate(client, id, "operate", body);
      print(await shown(client, id), word, options);
    });
  api(app.command("terminate"))
    .argument("<instance>")
    .option("--grace <time>", "time that the app has to say goodbye: 30s; default: none", seconds)
    .description("end an instance: rules, services, subscriptions and credentials go")
    .action(async (id: string, { grace, ...options }: Common & { grace?: number }) => {
      const client = new Client(options);
      await terminate(client, id, grace);
      print(await shown(client, id), word, options);
    });
  api(app.command("rm"))
    .argument("<id>", "of an instance, or of a package of which there are no instances")
    .option("--force", "end the instance first")
    .description("remove an instance, or a package")
    .action(async (id: string, { force, ...options }: Common & { force?: boolean }) => {
      const client = new Client(options);
      const instance = await instanceOf(client, id);
      if (instance) {
        if (force && instance.instantiationState === "INSTANTIATED") await terminate(client, id);
        await client.request("DELETE", at(instancesPath, id));
      } else {
        const found = await packageOf(client, id);
        if (!found) throw new CliError(`there is no app instance and no package "${id}": offramp app ls`);
        const enabled = found.operationalState === "ENABLED";
        if (enabled) await client.json("PATCH", at(packagesPath, id), { operationalState: "DISABLED" });
        try {
          await client.request("DELETE", at(packagesPath, id));
        } catch (error) {
          if (enabled) await client.json("PATCH", at(packagesPath, id), { operationalState: "ENABLED" });
          throw error;
        }
      }
      print({ removed: id }, () => [`removed ${id}`], options);
    });
  for (const [name, summary] of [
    ["retry", "try an operation again that has failed for now"],
    ["fail", "do not try an operation again that has failed for now"],
  ] as const) {
    api(app.command(name))
      .argument("<operation>")
      .description(summary)
      .action(async (id: string, options: Common) => {
        const client = new Client(options);
        await client.request("POST", `${at(operationsPath, id)}/${name}`);
        const path = at(operationsPath, id);
        const operation = name === "retry" ? await ended(client, path) : await client.get<AppLcmOpOcc>(path);
        print(operation, (one) => operationLines([one]), options);
      });
  }
}

function installVerbs(app: Command, api: (command: Command) => Command): void {
  api(app.command("credentials"))
    .argument("<instance>")
    .description("make a new secret for an instance: the one before, and its tokens, are worth nothing from then on")
    .action(async (id: string, options: Common) => {
      const client = new Client(options);
      await requireInstance(client, id);
      print(await newSecret(client, id), secretLines, options);
    });
  api(app.command("ca"))
    .description("print what apps check Mp1's certificate by, PEM: curl --cacert")
    .action(async (options: Common) => {
      const found = await new Client(options).get<Mp1Access>("/api/v1/mp1");
      const { url, ca } = found;
      if (ca === undefined) {
        throw new CliError(`${url} has no certificate of its own: apps check it by their system's authorities`);
      }
      print(found, () => [ca.trimEnd()], options);
    });
  creation(api(app.command("install").argument("<package>", "a zip")))
    .description("add a package, create an instance of it, configure and begin it; prints its credentials once")
    .action(async (zip: string, options: CreateOptions) => {
      const client = new Client(options);
      const added = await addPackage(client, zip, { name: zip.slice(-256), version: "1" });
      const { id } = await create(client, added.id, options);
      await operate(client, id, "configure_platform_for_app");
      // An app that runs here is given its own by the platform.
      const external = (await requireInstance(client, id))["x-offramp"].external;
      const credentials = external ? await newSecret(client, id) : undefined;
      const instance = await start(client, id);
      const installed = await client.get<AppPkgInfo>(at(packagesPath, added.id));
      const data = { package: installed, instance, ...(credentials && { credentials }) };
      const lines = () => [
        ...packageLines(installed),
        ...instanceLines(instance),
        ...(credentials ? secretLines(credentials) : []),
      ];
      print(data, lines, options);
    });
}

/** @param api adds the options by which verbs find the agent */
export function appVerb(app: Command, api: (command: Command) => Command): void {
  app.description("packages of apps, and their instances");
  packageVerbs(app, api);
  lookVerbs(app, api);
  lifeVerbs(app, api);
  installVerbs(app, api);
}
