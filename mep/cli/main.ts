/**
 * `offramp`: where the command starts.
 *
 * The verbs of the control plane (controlplane/cli/main.ts), and those of the MEC platform.
 */
import { main, program } from "../../controlplane/cli/main.ts";

const offramp = program(
  async () => [(await import("../platform.ts")).platformOf],
  async (config) => (await import("../dns/dns.ts")).endLeftNameService(config),
);

process.exitCode = await main(offramp, process.argv);
