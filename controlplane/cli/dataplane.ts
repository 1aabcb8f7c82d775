/**
 * `offramp dataplane ls|add|rm` and `offramp reload`: which wires the running appliance has.
 *
 * `add` sends what one entry of site.yaml's `dataplanes` would say, from options or a file; the agent judges it.
 */
import type { Command } from "commander";
import { loadSite } from "../config/load.ts";
import type { Reloaded } from "../dataplanes/dataplanes.ts";
import { CliError, Client, type ClientOptions, query } from "./client.ts";
import { plural, print, type Show, table } from "./output.ts";
import { readServices } from "./source.ts";
import type { StatusView } from "./views.ts";

type Common = ClientOptions & Show;
type Dataplane = StatusView["dataplanes"][number] & { origin: string };

export const dataplaneLines = (all: readonly Dataplane[]): string[] =>
  all.length === 0
    ? ["no data planes"]
    : table(
        ["NAME", "MODE", "ADAPTERS", "PATH", "SESSIONS", "FLOWS", "FROM"],
        all.map(({ name, mode, ports, sessions, flows, origin }) => [
          name,
          mode,
          ports.map(({ adapter, role, link }) => `${role} ${adapter}${link ? "" : " (NO LINK)"}`).join(", "),
          [...new Set(ports.map(({ path }) => path))].join(", "),
          String(sessions),
          String(flows),
          origin,
        ]),
      );

interface AddOptions extends Common {
  file?: string;
  plugin?: string;
  access?: string;
  core?: string;
  adapter?: string;
  accessPeers?: string[];
  corePeers?: string[];
  uePools?: string[];
  idleTimeout?: string;
  pinger?: string;
  pinger6?: string;
  interface?: string;
  mode?: string;
}

/** Only what was given is sent. */
function sectionsOf(name: string | undefined, options: AddOptions): unknown[] {
  const { file, pinger, pinger6, api: _, token: __, json: ___, ...given } = options;
  if (file !== undefined) {
    if (name !== undefined) throw new CliError("give a name and options, or --file, not both", 2);
    return readServices(file);
  }
  if (name === undefined) throw new CliError("dataplane add needs a name, or --file", 2);
  const targets = { ...(pinger && { target: pinger }), ...(pinger6 && { target6: pinger6 }) };
  return [{ name, ...given, ...(Object.keys(targets).length > 0 && { pinger: targets }) }];
}

export function dataplaneVerb(command: Command, api: (command: Command) => Command): void {
  command.description("add, list and remove wires while the others carry traffic");
  api(command.command("ls"))
    .description("list all wires, and who named them")
    .action(async (options: Common) =>
      print(await new Client(options).get<Dataplane[]>("/api/v1/dataplanes"), dataplaneLines, options),
    );
  api(command.command("add"))
    .argument("[name]")
    .description("add a wire; kept over restarts until it is removed")
    .option(
      "-f, --file <file>",
      "an entry of site.yaml's dataplanes, or a list of them, YAML or JSON; - is standard input",
    )
    .option("--plugin <plugin>", "gtp or ethernet")
    .option("--access <adapter>", "toward the base stations")
    .option("--core <adapter>", "toward the core")
    .option("--adapter <adapter>", "one shared adapter instead")
    .option("--access-peers <prefixes...>", "only these base stations teach")
    .option("--core-peers <prefixes...>", "only these gateways teach")
    .option("--ue-pools <prefixes...>", "only these UE addresses are learnt")
    .option("--idle-timeout <duration>", "such as 300s")
    .option("--pinger <address>", "IPv4 target behind the core")
    .option("--pinger6 <address>", "IPv6 target behind the core")
    .option("--interface <interface>", "s1u or n3")
    .option("--mode <mode>", "offload, observe or bypass")
    .action(async (name: string | undefined, options: AddOptions) => {
      const client = new Client(options);
      const added: Dataplane[] = [];
      for (const section of sectionsOf(name, options)) {
        added.push(await client.json<Dataplane>("POST", "/api/v1/dataplanes", section));
      }
      print(added, dataplaneLines, options);
    });
  api(command.command("rm"))
    .argument("<name>")
    .description("remove a wire: its sessions end, the bridge carries it on")
    .option("--unwire", "take the bridge away too: adapters as they were found")
    .action(async (name: string, options: Common & { unwire?: boolean }) => {
      const path = `/api/v1/dataplanes/${encodeURIComponent(name)}${query({ unwire: options.unwire ? "true" : undefined })}`;
      const removed = await new Client(options).json<Dataplane>("DELETE", path);
      print(removed, () => [`removed ${removed.name}, ${plural(removed.sessions, "session")} ended`], options);
    });
}

function reloadLines({ added, changed, replaced, removed, protect }: Reloaded): string[] {
  const lines = Object.entries({ added, changed, replaced, removed }).flatMap(([word, names]) =>
    names.map((name) => `${word} ${name}`),
  );
  if (protect) lines.push("changed protect");
  return lines.length > 0 ? lines : ["nothing has changed"];
}

export function reloadVerb(command: Command): void {
  command
    .option("-c, --config <file>", "site.yaml: checked here first, and says where the agent's API is")
    .description("make the agent read its site.yaml again: all of it takes hold, or nothing")
    .action(async ({ config, ...options }: Common & { config?: string }) => {
      const site = config === undefined ? undefined : loadSite(config);
      const { host, port, tls, token } = site?.api ?? {};
      const api = host && `${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
      const client = new Client({ ...(api && { api }), ...(token && { token }), ...options });
      print(await client.json<Reloaded>("POST", "/api/v1/reload"), reloadLines, options);
    });
}
