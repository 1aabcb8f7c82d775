/**
 * `offramp firstboot`: a new appliance takes its user-data in. Called by the image at each start with another seed than before.
 */
import type { Command } from "commander";
import { print } from "./output.ts";

export function firstbootVerb(offramp: Command): void {
  offramp
    .command("firstboot")
    .description("take user-data in, whole or not at all; an instance-id that was taken in before changes nothing")
    .requiredOption("--seed <folder>", "holds user-data, and meta-data or meta_data.json")
    .option("--etc <folder>", "where configuration lies", "/etc/offramp")
    .option("--state <folder>", "where state lies", "/var/lib/offramp")
    .option("--json", "print JSON")
    .action(async ({ seed, etc, state, ...options }: { seed: string; etc: string; state: string; json?: boolean }) => {
      const { takeIn } = await import("../firstboot/apply.ts");
      const outcome = takeIn(seed, { etc, state });
      const changed = outcome.changed ? "; its user-data is another one now, which a new instance-id would apply" : "";
      print(
        outcome,
        () => [`instance ${outcome.instance}: ${outcome.did === "applied" ? "taken in" : `kept${changed}`}`],
        options,
      );
    });
}
