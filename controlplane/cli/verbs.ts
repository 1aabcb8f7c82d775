/**
 * The verbs that ask a running agent, or its store.
 *
 * Each declares its options, gets data, and hands data and a formatter to `print`.
 */
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Mode } from "../../dataplane/dataplane.ts";
import { messageOf } from "../errors.ts";
import type { Service } from "../intents/model.ts";
import { planLines } from "./change-views.ts";
import { CliError, Client, type ClientOptions, query } from "./client.ts";
import { drainVerb, type HealthView } from "./endpoints.ts";
import { print, type Show } from "./output.ts";
import { type AddOptions, addOptions, servicesOf, warningLines } from "./service-options.ts";
import { fromAgent, fromStore, plan, readServices, steeringOf } from "./source.ts";
import { type SessionsView, type StatusView, serviceLines, sessionLines, statusLines } from "./views.ts";

type Common = ClientOptions & Show;
type Dataplanes = StatusView["dataplanes"];

function whole(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("must be a whole number");
  return Number(text);
}

export function statusVerb(command: Command): void {
  command.description("mode, adapters, programs and counters").action(async (options: Common) => {
    const client = new Client(options);
    const health = await client.get<{ version: string }>("/healthz");
    let missing: string | undefined;
    let without: string[] | undefined;
    try {
      ({ without } = await client.get<{ without?: string[] }>("/readyz"));
    } catch (error) {
      if (!(error instanceof CliError) || !error.problem) throw error;
      missing = error.problem.detail ?? error.problem.title;
    }
    const [dataplanes, services, { counters }] = await Promise.all([
      client.get<Dataplanes>("/api/v1/dataplanes"),
      client.get<Service[]>("/service"),
      client.get<Pick<StatusView, "counters">>("/api/v1/counters"),
    ]);
    const status: StatusView = {
      ready: missing === undefined,
      ...(missing !== undefined && { missing }),
      ...(without && { without }),
      version: health.version,
      dataplanes,
      services: services.length,
      counters,
    };
    print(status, statusLines, options);
  });
}

export function sessionsVerb(command: Command): void {
  command
    .description("UE addresses and their tunnels")
    .option("--ue <address>", "only this UE")
    .option("--teid <teid>", "only sessions with this tunnel id, decimal or 0x…")
    .option("--dataplane <name>", "only on this data plane")
    .option("--offset <n>", "skip so many", whole, 0)
    .option("--limit <n>", "show so many", whole, 100)
    .action(
      async (options: Common & { ue?: string; teid?: string; dataplane?: string; offset: number; limit: number }) => {
        const { ue, teid, dataplane, offset, limit } = options;
        const path = `/api/v1/sessions${query({ ue, teid, dataplane, offset, limit })}`;
        print(await new Client(options).get<SessionsView>(path), sessionLines, options);
      },
    );
}

export function serviceVerb(command: Command, api: (command: Command) => Command): void {
  command.description("add, list and remove services");
  api(command.command("ls"))
    .description("list all services")
    .action(async (options: Common) => {
      const client = new Client(options);
      const services = await client.get<Service[]>("/service");
      const health = options.json ? [] : await client.get<HealthView[]>("/api/v1/health");
      print(services, (list) => serviceLines(list, health), options);
    });
  addOptions(api(command.command("add")).argument("[name]"))
    .description("add a service; active when this returns")
    .action(async (name: string | undefined, options: AddOptions) => {
      const client = new Client(options);
      const added: Service[] = [];
      const known = options.replace ? (await client.get<Service[]>("/service")).map((service) => service.name) : [];
      for (const body of servicesOf(name, options)) {
        const given = (body as { name?: unknown }).name;
        const exists = typeof given === "string" && known.includes(given);
        const path = exists ? `/service/${encodeURIComponent(given)}` : "/service";
        const response = await client.request(exists ? "PUT" : "POST", path, body);
        added.push((await response.json()) as Service);
        for (const line of warningLines(response.headers.get("offramp-warning"))) process.stderr.write(`${line}\n`);
      }
      print(added, (list) => serviceLines(list), options);
    });
  drainVerb(api(command.command("drain")));
  api(command.command("rm"))
    .argument("<name>", "name, or service IP")
    .description("remove a service; its flows run on to their end")
    .option("--flush", "end its flows at once")
    .action(async (name: string, options: Common & { flush?: boolean }) => {
      const path = `/service/${encodeURIComponent(name)}${query({ flush: options.flush ? "true" : undefined })}`;
      const removed = await new Client(options).json<Service>("DELETE", path);
      print(removed, () => [`removed ${removed.name}`], options);
    });
}

export function bypassVerb(command: Command): void {
  command
    .argument("<on|off>", "on: everything passes, at once; off: back to what site.yaml says")
    .argument("[dataplane]", "default: all")
    .description("take nothing any more, or again; remembered over restarts")
    .action(async (state: string, only: string | undefined, options: Common) => {
      if (state !== "on" && state !== "off") throw new CliError(`bypass is "on" or "off", not "${state}"`, 2);
      const client = new Client(options);
      const names =
        only === undefined ? (await client.get<Dataplanes>("/api/v1/dataplanes")).map((one) => one.name) : [only];
      const mode: Mode | "configured" = state === "on" ? "bypass" : "configured";
      const done: Dataplanes = [];
      for (const name of names) {
        done.push(await client.json("PUT", `/api/v1/dataplanes/${encodeURIComponent(name)}/mode`, { mode }));
      }
      print(done, () => done.map((one) => `${one.name}: ${one.mode}`), options);
    });
}

/** Ends without an error when the reader has had enough, so that the file is closed in good order. */
async function* untilAborted(body: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

interface CaptureVerbOptions extends Common {
  write?: string;
  ue?: string;
  teid?: string;
  layer?: string;
  snap?: number;
  count?: number;
  seconds?: number;
}

export function captureVerb(command: Command): void {
  command
    .description("packets from the program itself, as pcapng, until Ctrl-C")
    .option("-w, --write <file>", "file; - or none is standard output")
    .option("--ue <address>", "only this UE")
    .option("--teid <teid>", "only this tunnel id")
    .addOption(new Option("--layer <layer>", "with the tunnel, without, or each").choices(["outer", "inner", "both"]))
    .option("--snap <octets>", "copy so many of each packet", whole)
    .option("--count <n>", "end after so many packets", whole)
    .option("--seconds <n>", "end after so long", whole)
    .action(async ({ write = "-", ue, teid, layer, snap, count, seconds, ...options }: CaptureVerbOptions) => {
      if (write === "-" && process.stdout.isTTY)
        throw new CliError("a capture is not for a terminal: use --write <file>", 2);
      const abort = new AbortController();
      let failed: Error | undefined;
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => abort.abort());
      const path = `/api/v1/capture${query({ ue, teid, layer, snap, packets: count, seconds })}`;
      try {
        const response = await new Client(options).request("GET", path, undefined, abort.signal);
        if (!response.body) return;
        const out = write === "-" ? process.stdout : createWriteStream(write);
        // Nobody would notice while no packet comes.
        out.once("error", (error) => {
          failed = error;
          abort.abort();
        });
        await pipeline(untilAborted(response.body, abort.signal), out);
      } catch (error) {
        if (!abort.signal.aborted) throw error instanceof CliError ? error : new CliError(messageOf(error));
      }
      if (failed) throw new CliError(`${write}: ${failed.message}`);
    });
}

export function planVerb(command: Command): void {
  command
    .description("what adding the services of a file would change; without a file, the rules as they are")
    .option("-f, --file <file>", "one service or a list, YAML or JSON; - is standard input")
    .option("-c, --config <file>", "use the store of this site.yaml instead of a running agent")
    .action(async (options: Common & { file?: string; config?: string }) => {
      const source = options.config === undefined ? await fromAgent(new Client(options)) : fromStore(options.config);
      if (options.file !== undefined) return print(await plan(source, readServices(options.file)), planLines, options);
      const steering = await steeringOf(source);
      const { ruleText } = await import("./views.ts");
      print(
        steering,
        () => [...steering.rules.map(ruleText), `protect ${steering.protect.join(" ") || "nothing"}`],
        options,
      );
    });
}
