/**
 * `offramp`: where the command starts.
 *
 * The verbs of the control plane (controlplane/cli/main.ts), and those of the MEC platform.
 */
import { api, main, program } from "../../controlplane/cli/main.ts";
import { appVerb } from "./app.ts";
import { clientVerb } from "./client.ts";
import { dnsVerb } from "./dns.ts";

const offramp = program(
  async () => [(await import("../platform.ts")).platformOf],
  async (config) => {
    await (await import("../dns/dns.ts")).endLeftNameService(config);
    await (await import("../runtime/site.ts")).takeDownInstances(config);
  },
  async (stateDir) => (await import("../platform.ts")).checkState(stateDir),
);
appVerb(offramp.command("app"), api);
clientVerb(offramp.command("client"), api);
dnsVerb(offramp.command("dns"), api);

process.exitCode = await main(offramp, process.argv);
