/**
 * The agent as `offramp run` starts it, with the name service of the platform, and one route more: what Mp1 would do with DNS
 * rules, without apps and packages.
 *
 * Usage: node dist/test/acceptance/named.js <site.yaml>     PUT /test/dns: the records that are active
 */
import { run } from "../../controlplane/cli/run.ts";
import type { MakeExtension } from "../../controlplane/extension.ts";
import { NameService } from "../../mep/dns/dns.ts";
import type { DnsRecord } from "../../mep/dns/records.ts";

const named: MakeExtension = (host) => {
  const names = new NameService(host);
  return {
    routes: [
      (app) => {
        app.put<{ Body: DnsRecord[] }>("/test/dns", async (request, reply) => {
          await names.activation.apply(request.body);
          return reply.code(204).send();
        });
      },
    ],
    start: () => names.start(),
    stop: () => names.stop(),
  };
};
await run({ config: process.argv[2] ?? "", logLevel: "debug" }, [named]);
