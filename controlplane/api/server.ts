/**
 * How does an HTTP request reach a route of the management API?
 *
 * base.ts refuses what no route should see; the routes are one file per topic. Constructed without effects; the agent makes
 * it listen.
 */

import { auditRoutes } from "./audit-routes.ts";
import { createBase, type TlsSecrets } from "./base.ts";
import { chainRoutes } from "./chain-routes.ts";
import type { ApiContext, Server } from "./context.ts";
import { dataplaneRoutes } from "./dataplane-routes.ts";
import { endpointRoutes } from "./endpoint-routes.ts";
import { Guard, requester, roleOf } from "./guard.ts";
import { healthRoutes } from "./health-routes.ts";
import { managementRoutes } from "./management-routes.ts";
import { monitorRoutes } from "./monitor-routes.ts";
import { serviceRoutes } from "./service-routes.ts";
import { setRoutes } from "./set-routes.ts";
import { siteRoutes } from "./site-routes.ts";
import { streamRoutes } from "./stream-routes.ts";
import { traceRoutes } from "./trace-routes.ts";
import { userRoutes } from "./user-routes.ts";
import { verifyRoutes } from "./verify-routes.ts";

export interface ServerOptions {
  tls?: TlsSecrets;
  token?: string;
  /** Whoever is on this machine is admin, without a token. */
  open?: boolean;
}

export async function createServer(context: ApiContext, { tls, token, open = false }: ServerOptions): Promise<Server> {
  const { users, audit, metrics } = context;
  const certificates = tls?.clientCa !== undefined;
  const refused = (reason: string) => metrics.refused.inc({ api: "management", reason });
  const guard = new Guard({ token, certificates, loopback: open, users, refused });
  const app = await createBase({
    ...(tls && { tls }),
    check: (request) => guard.check(request),
    audit: { audit, api: "management", who: (request) => request.actor?.who ?? "nobody" },
    roleOf,
    metrics,
    log: context.log,
    title: "Offramp",
    description:
      "Traffic offloading at the edge: services, sessions, counters. Errors are problem documents (RFC 9457).",
    version: context.version,
  });
  const routed = { ...context, who: requester };
  serviceRoutes(app, routed);
  verifyRoutes(app, routed);
  setRoutes(app, routed);
  managementRoutes(app, routed);
  siteRoutes(app, routed);
  chainRoutes(app, routed);
  dataplaneRoutes(app, routed);
  streamRoutes(app, routed);
  monitorRoutes(app, routed);
  traceRoutes(app, routed);
  endpointRoutes(app, routed);
  userRoutes(app, routed, token !== undefined || open);
  auditRoutes(app, routed);
  healthRoutes(app, routed);
  for (const routes of context.extensions ?? []) routes(app, routed);
  await app.ready();
  return app;
}
