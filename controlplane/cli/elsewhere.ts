/**
 * Verbs that live elsewhere: the lab and the benchmark with the tests, roll-outs to a fleet with the site as code.
 *
 * They are programs of their own, which the control plane does not know; the verb hands over everything behind it.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { CliError } from "./client.ts";

/** `folder`: where its main file is, from the root. */
export function elsewhere(offramp: Command, verb: string, folder: string, description: string): void {
  offramp
    .command(verb)
    .description(description)
    .argument("[args...]", `see: offramp ${verb} --help`)
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (args: string[]) => {
      const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
      const url = new URL(`../../${folder}/main.${extension}`, import.meta.url);
      const path = fileURLToPath(url);
      if (!existsSync(path)) throw new CliError(`${path} is not there: run bin/build`);
      process.argv = [process.argv[0] ?? "node", path, ...args];
      await import(url.href);
    });
}
