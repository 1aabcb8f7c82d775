/**
 * Verbs that live with the tests: the lab and the benchmark.
 *
 * They are programs of their own and parts of no release of the appliance; the verb hands over everything behind it.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { CliError } from "./client.ts";

export function elsewhere(offramp: Command, verb: string, description: string): void {
  offramp
    .command(verb)
    .description(description)
    .argument("[args...]", `see: offramp ${verb} --help`)
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (args: string[]) => {
      const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
      const url = new URL(`../../test/${verb}/main.${extension}`, import.meta.url);
      const path = fileURLToPath(url);
      if (!existsSync(path)) throw new CliError(`${path} is not there: run bin/build`);
      process.argv = [process.argv[0] ?? "node", path, ...args];
      await import(url.href);
    });
}
