/**
 * `offramp dns add|ls|rm`: which names does the operator have answered at this site?
 */
import { type Command, InvalidArgumentError } from "commander";
import { Client, type ClientOptions } from "../../controlplane/cli/client.ts";
import { print, type Show, table } from "../../controlplane/cli/output.ts";
import type { OperatorRule } from "../dns/operator-rule.ts";

type Common = ClientOptions & Show;

const path = "/api/v1/dns-rules";
const at = (name: string): string => `${path}/${encodeURIComponent(name)}`;

const lines = (rules: readonly OperatorRule[]): string[] =>
  rules.length === 0
    ? ["no DNS rules of the operator"]
    : table(
        ["DNS RULE", "STATE", "DOMAIN", "TTL", "ADDRESSES"],
        rules.map(({ name, state, domain, ttl, addresses }) => [
          name,
          state,
          domain,
          ttl === undefined ? "–" : `${ttl} s`,
          addresses.join(" "),
        ]),
      );

function seconds(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("must be a number of seconds");
}

interface AddOptions extends Common {
  domain: string;
  address: string[];
  ttl?: number;
  inactive?: boolean;
}

/** @param api adds the options by which verbs find the agent */
export function dnsVerb(command: Command, api: (command: Command) => Command): void {
  command.description("names that phones are answered at this site, before those of apps");
  api(command.command("add"))
    .argument("<name>", "of the rule")
    .requiredOption("--domain <domain>", "that phones ask for")
    .requiredOption(
      "--address <address>",
      "IPv4 or IPv6 that they are answered; may be given several times",
      (value: string, before: string[] = []) => [...before, value],
    )
    .option("--ttl <seconds>", "that they may keep the answer; default: 300", seconds)
    .option("--inactive", "not yet")
    .description("have a name answered here; when it returns, it is")
    .action(async (name: string, { domain, address, ttl, inactive, ...options }: AddOptions) => {
      const body = {
        name,
        domain,
        addresses: address,
        ...(ttl !== undefined && { ttl }),
        ...(inactive && { state: "INACTIVE" }),
      };
      print([await new Client(options).json<OperatorRule>("POST", path, body)], lines, options);
    });
  api(command.command("ls"))
    .description("list them")
    .action(async (options: Common) => {
      print(await new Client(options).get<OperatorRule[]>(path), lines, options);
    });
  api(command.command("rm"))
    .argument("<name>")
    .description("answer it here no more")
    .action(async (name: string, options: Common) => {
      const removed = await new Client(options).json<OperatorRule>("DELETE", at(name));
      print(removed, () => [`removed ${removed.name}`], options);
    });
}
