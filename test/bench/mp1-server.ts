/**
 * Mp1 with 1 000 apps that offer 10 services each, or a bare fastify server that answers the same bytes; for mp1.ts.
 *
 * Usage: mp1-server.ts mp1 <state directory>     the platform's own server, store and registry, plain HTTP
 *        mp1-server.ts bare <file>                answers what the file has for a path: { "/path": "body" }
 *
 * Prints the port when it is ready. A bearer token is an app's name: what tokens cost is not measured here.
 */
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import fastify from "fastify";
import pino from "pino";
import { Audit } from "../../controlplane/access/audit.ts";
import { Problem } from "../../controlplane/errors.ts";
import type { Metrics } from "../../controlplane/metrics/metrics.ts";
import { Commits } from "../../mep/commits.ts";
import { Enablement } from "../../mep/mp1/enablement.ts";
import { Mp1Server } from "../../mep/mp1/server.ts";
import { registryTables } from "../../mep/registry/tables.ts";
import { MepStore } from "../../mep/store.ts";
import { makeInstance } from "../mep/fixtures.ts";
import { appName, apps, offerOf, servicesOfEach } from "./mp1-population.ts";

async function mp1(stateDir: string): Promise<number> {
  const store = new MepStore(stateDir, registryTables);
  const instances = new Map(Array.from({ length: apps }, (_, n) => [appName(n), makeInstance(appName(n))]));
  const log = pino({ level: "silent" });
  let base = "";
  const refuse = async () => {
    throw new Problem("conflict", "not here");
  };
  const enablement = new Enablement({
    database: store.database,
    commits: new Commits(store.database),
    instances: { get: (id) => instances.get(id), confirmReady: refuse, confirmTermination: refuse },
    notifier: {
      send: () => undefined,
      refusal: async () => undefined,
      test: () => undefined,
      admit: () => undefined,
      forget: () => undefined,
    },
    base: () => base,
    log,
  });
  const scopes = new Set(["mec_service_mgmt:read", "mec_service_mgmt:write"]);
  const server = await Mp1Server.create({
    authority: {
      authenticate: async ({ headers }) => {
        const client = headers.authorization?.slice("Bearer ".length) ?? "";
        if (!instances.has(client)) throw new Problem("unauthorized", "there is no such app");
        return { client, instance: client, scopes };
      },
      authorise: (identity, { appInstanceId = identity.instance }) => {
        if (appInstanceId !== identity.instance) throw new Problem("forbidden", "not its own");
      },
    },
    instances: { get: (id) => instances.get(id) },
    audit: new Audit(stateDir),
    metrics: { requests: { inc: () => undefined } } as unknown as Pick<Metrics, "requests">,
    log,
    version: "bench",
  });
  enablement.routes(server);
  enablement.start();
  await Promise.all(
    Array.from({ length: apps * servicesOfEach }, (_, n) =>
      enablement.registry.create(appName(n), offerOf(n, { livenessInterval: 3600 }) as never),
    ),
  );
  await server.app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = server.app.server.address() as AddressInfo;
  base = `http://127.0.0.1:${port}`;
  return port;
}

async function bare(file: string): Promise<number> {
  const bodies = new Map(Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, string>));
  const app = fastify();
  const answer = (status: number) => (request: { url: string }, reply: import("fastify").FastifyReply) =>
    reply.code(status).type("application/json; charset=utf-8").send(bodies.get(request.url));
  app.get("/*", answer(200));
  app.post("/*", answer(201));
  app.patch("/*", (_request, reply) => reply.code(204).send());
  await app.listen({ host: "127.0.0.1", port: 0 });
  return (app.server.address() as AddressInfo).port;
}

const [mode = "", argument = ""] = process.argv.slice(2);
process.stdout.write(`${await (mode === "mp1" ? mp1(argument) : bare(argument))}\n`);
