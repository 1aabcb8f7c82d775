/**
 * How does a request of an app reach a route of Mp1, and what is refused before?
 *
 *   base (limits, JSON, 405, problem documents) ─▶ who (token) ─▶ may it (instance, scope) ─▶ is the instance ready ─▶ route
 *
 * Every route stands under both versions of its API: GS MEC 011 v2 says `v1`, tools of v3 also ask `v2`. Changes and
 * refusals are written to the audit log (controlplane/api/audit-hooks.ts).
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Logger } from "pino";
import type { TSchema } from "typebox";
import type { Audit } from "../../controlplane/access/audit.ts";
import { createBase, type TlsSecrets } from "../../controlplane/api/base.ts";
import type { Server } from "../../controlplane/api/context.ts";
import { Problem } from "../../controlplane/errors.ts";
import type { Metrics } from "../../controlplane/metrics/metrics.ts";
import type { Authority, Identity, Instances } from "../parts.ts";
import { heartbeatTypes, mp1Parts, schemaOf } from "./description.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Set before the handler of an Mp1 route that is not `open`. */
    identity?: Identity;
  }
}

export type Mp1Api = "mec_app_support" | "mec_service_mgmt";

export interface Mp1Request extends FastifyRequest {
  params: Record<string, string>;
  query: Record<string, string | string[]>;
  identity: Identity;
}

export interface Mp1Route {
  api: Mp1Api;
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** After the version: `/applications/:appInstanceId/services`. `:appInstanceId` is the caller's own, or it is refused. */
  path: string;
  /** That the token must carry. */
  scope: string;
  summary: string;
  body?: TSchema;
  /** Instead of `body`: the route judges the body itself, without coercion; this is for /openapi.json. */
  documentedBody?: TSchema;
  /** Absent: any query parameter is refused. */
  query?: TSchema;
  /** By status; problems that any resource may answer are added. */
  answers?: Record<number, TSchema>;
  /** Other problems that it answers: 409 in the wrong state, 412 when If-Match does not. */
  problems?: readonly (409 | 412)[];
  /** Most requests change nothing: the handler says `request.audited.begin()` before it changes something. */
  seldomChanges?: boolean;
  /** 200 and 201 have an ETag. */
  tagged?: boolean;
  /** Also for instances that have not confirmed that they are ready. */
  beforeReady?: boolean;
  handler(request: Mp1Request, reply: FastifyReply): unknown;
}

export interface Mp1Options {
  tls?: TlsSecrets;
  authority: Authority;
  instances: Pick<Instances, "get">;
  audit: Audit;
  metrics: Pick<Metrics, "requests">;
  log: Logger;
  version: string;
}

const versions = ["v1", "v2"];

/** Octets of path and query: what RFC 9110 §4.1 asks everybody to take. */
const longestUri = 8000;

function refuseLong({ raw }: FastifyRequest): void {
  if ((raw.url ?? "").length <= longestUri) return;
  throw new Problem("path-too-long", `path and query may have ${longestUri} octets: ask in several requests`);
}

/** Where a resource of an API is, as paths in answers name it. */
export const rootOf = (api: Mp1Api, request: FastifyRequest): string =>
  `/${api}/${(request.raw.url ?? "").startsWith(`/${api}/v2`) ? "v2" : "v1"}`;

export class Mp1Server {
  readonly #options: Mp1Options;

  private constructor(
    /** Routes that are no resource of GS MEC 011 (tokens, WebSockets) are added here. */
    readonly app: Server,
    options: Mp1Options,
  ) {
    this.#options = options;
  }

  static async create(options: Mp1Options): Promise<Mp1Server> {
    const { tls, audit, metrics, log, version } = options;
    const app = await createBase({
      ...(tls && { tls, certificates: "optional" as const }),
      check: refuseLong,
      // A heartbeat is a merge patch (RFC 7396).
      mediaTypes: heartbeatTypes,
      audit: { audit, api: "mp1", who: ({ identity }) => (identity ? `app ${identity.client}` : "nobody") },
      metrics,
      log,
      title: "Mp1",
      description:
        "ETSI GS MEC 011: application support and service management. Errors are problem documents (RFC 9457). " +
        "To try: Authorize, with client_id and client_secret, and no scopes for all that the client has.",
      version,
      openapi: mp1Parts,
    });
    return new Mp1Server(app, options);
  }

  /** Adds a resource's method, under every version. Before `app.ready()`. */
  route(route: Mp1Route): void {
    const { authority } = this.#options;
    for (const version of versions) {
      this.app.route({
        method: route.method,
        url: `/${route.api}/${version}${route.path}`,
        schema: { ...schemaOf(route), hide: version !== "v1" },
        onRequest: async (request) => {
          request.identity = await authority.authenticate(request);
          const { appInstanceId } = request.params as { appInstanceId?: string };
          authority.authorise(request.identity, {
            scope: route.scope,
            ...(appInstanceId !== undefined && { appInstanceId }),
          });
          if (!route.beforeReady) this.#refuseEarly(request.identity);
        },
        config: {
          ...(route.documentedBody && { documentedBody: route.documentedBody }),
          ...(route.seldomChanges && { audit: "own" as const }),
        },
        handler: (request, reply) => route.handler(request as Mp1Request, reply),
      });
    }
  }

  /** Until an instance has confirmed that it is ready, most of Mp1 is closed to it (GS MEC 011 §5.2.2). */
  #refuseEarly({ instance }: Identity): void {
    if (instance === undefined) return;
    const found = this.#options.instances.get(instance);
    if (!found || found.ready) return;
    throw new Problem("forbidden", "the instance has not confirmed that it is ready: POST confirm_ready first");
  }
}
