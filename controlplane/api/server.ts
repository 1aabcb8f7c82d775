/**
 * How does an HTTP request reach a route of the management API?
 *
 * base.ts refuses what no route should see; the routes are one file per topic. Constructed without effects; the agent makes
 * it listen.
 */
import { createBase, type TlsSecrets } from "./base.ts";
import { chainRoutes } from "./chain-routes.ts";
import type { ApiContext, Server } from "./context.ts";
import { dataplaneRoutes } from "./dataplane-routes.ts";
import { endpointRoutes } from "./endpoint-routes.ts";
import { guard, requester } from "./guard.ts";
import { healthRoutes } from "./health-routes.ts";
import { managementRoutes } from "./management-routes.ts";
import { monitorRoutes } from "./monitor-routes.ts";
import { serviceRoutes } from "./service-routes.ts";
import { setRoutes } from "./set-routes.ts";
import { streamRoutes } from "./stream-routes.ts";
import { traceRoutes } from "./trace-routes.ts";
import { verifyRoutes } from "./verify-routes.ts";

export interface ServerOptions {
  tls?: TlsSecrets;
  token?: string;
}

export async function createServer(context: ApiContext, { tls, token }: ServerOptions = {}): Promise<Server> {
  const certificates = tls?.clientCa !== undefined;
  const app = await createBase({
    ...(tls && { tls }),
    check: guard(token, certificates),
    metrics: context.metrics,
    log: context.log,
    title: "Offramp",
    description:
      "Traffic offloading at the edge: services, sessions, counters. Errors are problem documents (RFC 9457).",
    version: context.version,
    bearer: token !== undefined,
  });
  const routed = { ...context, who: requester(token !== undefined, certificates) };
  serviceRoutes(app, routed);
  verifyRoutes(app, routed);
  setRoutes(app, routed);
  managementRoutes(app, routed);
  chainRoutes(app, routed);
  dataplaneRoutes(app, routed);
  streamRoutes(app, routed);
  monitorRoutes(app, routed);
  traceRoutes(app, routed);
  endpointRoutes(app, routed);
  healthRoutes(app, routed);
  for (const routes of context.extensions ?? []) routes(app, routed);
  await app.ready();
  return app;
}
