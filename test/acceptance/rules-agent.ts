/**
 * The agent as `offramp run` starts it, with the rules of one app that runs elsewhere, and Mp1 on 127.0.0.1:8092 that asks nobody
 * who they are.
 *
 * Usage: node --import tsx test/acceptance/rules-agent.ts <site.yaml> <file with descriptors> <address of the app>
 */
import { readFileSync } from "node:fs";
import { run } from "../../controlplane/cli/run.ts";
import type { Extension, Host } from "../../controlplane/extension.ts";
import { noNameService } from "../../mep/dns/dns-rules.ts";
import { ruleRoutes } from "../../mep/mp1/rule-routes.ts";
import { Mp1Server } from "../../mep/mp1/server.ts";
import type { Instance } from "../../mep/parts.ts";
import { RuleStore } from "../../mep/rules/rule-store.ts";
import { Rules } from "../../mep/rules/rules.ts";
import { ruleTables } from "../../mep/rules/tables.ts";
import { MepStore } from "../../mep/store.ts";
import { appdOf } from "../mep/rules/harness.ts";

const [config = "", descriptors = "", address = ""] = process.argv.slice(2);

const extension = ({ config: { stateDir }, services, dataplane, metrics, audit, log, version }: Host): Extension => {
  const store = new MepStore(stateDir, ruleTables);
  const rules = new Rules({
    store: new RuleStore(store),
    services,
    dataplane,
    dns: noNameService,
    initial: "INACTIVE",
    log,
  });
  const instance = { id: "app", provider: "acme", addresses: [address], ready: true } as unknown as Instance;
  let server: Mp1Server | undefined;
  return {
    routes: [],
    prepare: () => rules.prepare(),
    start: async () => {
      await rules.start();
      await rules.configure(instance, appdOf(JSON.parse(readFileSync(descriptors, "utf8")) as unknown[]));
      server = await Mp1Server.create({
        authority: {
          authenticate: async () => ({ client: "app", instance: "app", scopes: new Set<string>() }),
          authorise: () => undefined,
        },
        instances: { get: () => instance },
        audit,
        metrics,
        log,
        version,
      });
      ruleRoutes(server, rules);
      await server.app.listen({ host: "127.0.0.1", port: 8092 });
    },
    stop: async () => {
      await server?.app.close();
      store.close();
    },
  };
};

await run({ config }, [extension]);
