/**
 * `offramp client`: who may ask for tokens of Mp1, and with which key are they signed?
 *
 * Instances are clients by themselves (`offramp app`); apps that run elsewhere and register themselves are added here. A secret
 * is shown once, alone on a line.
 */
import { type Command, InvalidArgumentError } from "commander";
import { Client, type ClientOptions } from "../../controlplane/cli/client.ts";
import { print, type Show, table } from "../../controlplane/cli/output.ts";
import { scopeNames } from "../auth/scopes.ts";
import { type AppClient, newSecret } from "./app-api.ts";
import { secretLines } from "./app-views.ts";

type Common = ClientOptions & Show;

interface ClientView {
  client: string;
  instance?: string;
  scopes: string[];
  created: string;
  rotated?: string;
}

const clients = "/api/v1/clients";
const of = (client: string): string => `${clients}/${encodeURIComponent(client)}`;

const clientLines = (all: readonly ClientView[]): string[] =>
  all.length === 0
    ? ["no clients"]
    : table(
        ["CLIENT", "IS", "ADDED", "SECRET MADE", "SCOPES"],
        all.map(({ client, instance, scopes, created, rotated }) => [
          client,
          instance === undefined ? "elsewhere" : "instance",
          created,
          rotated ?? "–",
          scopes.join(" ") || "–",
        ]),
      );

/** Of one that is known by its certificate there is no secret to show. */
const addedLines = ({ clientId, clientSecret }: Partial<AppClient>): string[] =>
  clientSecret === undefined
    ? [`client ${clientId}; its certificate names it: common name, or DNS name or URI of the alternative names`]
    : secretLines({ clientId: clientId ?? "", clientSecret });

function collect(value: string, before: string[] = []): string[] {
  if (scopeNames.some((name) => name === value)) return [...before, value];
  throw new InvalidArgumentError(`is none of ${scopeNames.join(", ")}`);
}

/** @param api adds the options by which verbs find the agent */
export function clientVerb(command: Command, api: (command: Command) => Command): void {
  command.description("who may ask for tokens of Mp1: instances, and apps that run elsewhere");
  api(command.command("ls"))
    .description("list all clients")
    .action(async (options: Common) => {
      print(await new Client(options).get<ClientView[]>(clients), clientLines, options);
    });
  api(command.command("add"))
    .argument("<client>", "its client_id")
    .option("--scope <scope>", `${scopeNames.join(", ")}; may be given several times; default: all but rules`, collect)
    .option("--certificate", "it proves itself by a certificate of mep.mp1.tls.clientCa, and gets no secret")
    .description("add an app that runs elsewhere, and show its secret once")
    .action(async (client: string, options: Common & { scope?: string[]; certificate?: boolean }) => {
      const { scope: scopes, certificate } = options;
      const body = { client, ...(scopes && { scopes }), ...(certificate && { certificate }) };
      print(await new Client(options).json<Partial<AppClient>>("POST", clients, body), addedLines, options);
    });
  api(command.command("secret"))
    .argument("<client>", "its client_id; of an instance the instance's id")
    .description("make a new secret: the one before, and its tokens, are worth nothing from then on")
    .action(async (client: string, options: Common) => {
      print(await newSecret(new Client(options), client), secretLines, options);
    });
  api(command.command("rm"))
    .argument("<client>")
    .description("end a client that was added; its tokens are worth nothing from then on")
    .action(async (client: string, options: Common) => {
      const removed = await new Client(options).json<ClientView>("DELETE", of(client));
      print(removed, () => [`removed ${removed.client}`], options);
    });
  api(command.command("rotate-key"))
    .option("--end", "tokens of before are worth nothing from now on: the key is known to others")
    .description("sign tokens with a new key; those of before stay good until they expire")
    .action(async ({ end, ...options }: Common & { end?: boolean }) => {
      const path = `/api/v1/keys/rotate${end ? "?end=true" : ""}`;
      const made = await new Client(options).json<{ kid: string }>("POST", path);
      print(made, ({ kid }) => [`tokens are signed with ${kid}`], options);
    });
}
