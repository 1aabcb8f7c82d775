/**
 * `offramp verify`: is what the services say free of contradictions?
 *
 * Of a running agent's services, of the store of a site, or of a file as if its services were all. Exit code 0: nothing was
 * found; 1: something was; 3: the data plane does not have what the services mean.
 */
import type { Command } from "commander";
import { Problem } from "../errors.ts";
import { noContext, type ValidationContext } from "../intents/context.ts";
import { parsePrefix } from "../intents/prefix.ts";
import { readSet, type Verification, verifySet } from "../intents/whole.ts";
import { CliError, Client, type ClientOptions } from "./client.ts";
import { plural, print, type Show } from "./output.ts";
import { fromStore, readServices } from "./source.ts";

export function verificationLines({ rules, complete, findings, deployed }: Verification): string[] {
  const lines = findings.map(({ kind, message }) => `${kind}: ${message}`);
  if (!complete) lines.push("… and perhaps more: these are as many as are told at a time");
  for (const difference of deployed?.differences ?? []) lines.push(`drift: ${difference}`);
  const found = findings.length === 0 ? "nothing found" : plural(findings.length, "finding");
  const kernel = deployed?.agrees ? "; the data plane has what they mean" : "";
  return [...lines, `${plural(rules, "rule")} verified: ${found}${kernel}`];
}

async function offline(config: string, file: string | undefined): Promise<Verification> {
  const { site, protect, services } = fromStore(config);
  const context: ValidationContext = { ...site, protect: protect.map(parsePrefix) };
  if (file !== undefined) return verifySet(readSet(readServices(file, true), context), context);
  // What is stored was accepted by a site that may have been another one.
  const stored = services.map(({ service }) => service);
  return verifySet(readSet(stored, noContext), context);
}

export function verifyVerb(command: Command): void {
  command
    .description("rules that contradict each other, never act, or send packets round in circles, each with a packet")
    .option("-f, --file <file>", "a list of services, YAML or JSON, as if these were all; - is standard input")
    .option("-c, --config <file>", "judge by this site.yaml and its store instead of asking a running agent")
    .action(async (options: ClientOptions & Show & { file?: string; config?: string }) => {
      const { file, config } = options;
      let verification: Verification;
      if (config !== undefined) {
        try {
          verification = await offline(config, file);
        } catch (error) {
          if (error instanceof Problem) throw new CliError(error.detail, 1, error.document());
          throw error;
        }
      } else {
        const client = new Client(options);
        verification =
          file === undefined
            ? await client.get<Verification>("/api/v1/verify")
            : await client.json<Verification>("POST", "/api/v1/verify", readServices(file, true));
      }
      print(verification, verificationLines, options);
      if (verification.findings.length > 0) process.exitCode = 1;
      else if (verification.deployed?.agrees === false) process.exitCode = 3;
    });
}
