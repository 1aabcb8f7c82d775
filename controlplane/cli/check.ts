/**
 * `offramp check`: is this site.yaml good? All errors at once, each with its line and column.
 */
import type { Command } from "commander";
import { loadSite } from "../config/load.ts";
import { siteSchema } from "../config/schema.ts";
import { CliError } from "./client.ts";
import { print } from "./output.ts";

export function checkVerb(offramp: Command): void {
  offramp
    .command("check")
    .description("check a configuration; prints ok, or every error")
    .option("-c, --config <file>", "site.yaml")
    .option("--schema", "print the JSON schema instead")
    .option("--json", "print JSON")
    .action((options: { config?: string; schema?: boolean; json?: boolean }) => {
      if (options.schema) return print(siteSchema, () => [], { json: true });
      if (options.config === undefined) throw new CliError("check needs --config <file> or --schema", 2);
      const site = loadSite(options.config);
      print({ ok: true, site: site.name, dataplanes: site.backend.dataplanes.length }, () => ["ok"], options);
    });
}
