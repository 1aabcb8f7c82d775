/**
 * The site's configuration as one document: look at it, replace it on trial, confirm it, take it back.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { Problem } from "../errors.ts";
import type { SiteChanges } from "../site/changes.ts";
import type { RouteContext, Server } from "./context.ts";
import * as schemas from "./schemas.ts";
import * as bodies from "./site-schemas.ts";

const tags = ["Management"];
const bodyLimit = 1 << 20;

/** The revision that a client has seen. @throws Problem for what is no entity tag (RFC 9110 §13.1.1) */
function matched({ headers }: FastifyRequest): string | undefined {
  const given = headers["if-match"]?.trim();
  if (given === undefined || given === "*") return given;
  const tag = /^"([0-9a-f]{16})"$/.exec(given)?.[1];
  if (tag === undefined) throw new Problem("precondition-failed", 'If-Match must be "<revision>", or *');
  return tag;
}

export function siteRoutes(app: Server, context: RouteContext): void {
  const { log, events, who } = context;
  const changes = (): SiteChanges => {
    if (context.site) return context.site;
    throw new Problem("not-ready", "this agent was started without a site.yaml that it could replace");
  };
  const tell = (type: string, body: Record<string, unknown>, request: string) => {
    log.info({ ...body, request }, type);
    events.publish({ type, time: Date.now(), ...body });
  };
  /** The answer first: whoever asked is to know what comes. */
  const thenRestart = (reply: FastifyReply) => {
    reply.raw.once("close", () => changes().answered());
  };

  app.get(
    "/api/v1/site",
    {
      schema: {
        tags,
        summary: "The site's configuration in force, without secrets",
        querystring: schemas.nothing,
        response: { 200: bodies.siteView, ...schemas.commonProblems },
      },
    },
    (_request, reply) => {
      const view = changes().view();
      reply.header("etag", `"${view.revision}"`);
      return view;
    },
  );

  app.put<{ Querystring: { confirm?: number; dryRun?: "true" | "false" } }>(
    "/api/v1/site",
    {
      bodyLimit,
      config: { role: "admin", documentedBody: bodies.document },
      schema: {
        tags,
        summary: "Replace the site's configuration, all of it or nothing",
        description:
          "The body is the whole of site.yaml; without api.token the token that is there stays. What a reload can do is done " +
          "when this is answered (200). The rest takes a restart, which the agent does by itself after the answer (202); when it " +
          "does not come up, the configuration before comes back. With confirm, it comes back unless somebody confirms it. " +
          'If-Match: "<revision>" refuses to replace anything else.',
        querystring: bodies.putQuery,
        response: {
          200: bodies.siteResult,
          202: bodies.siteResult,
          ...schemas.commonProblems,
          ...schemas.conflict,
          412: schemas.answer("It is another revision by now"),
          ...schemas.refused,
        },
      },
    },
    async (request, reply) => {
      const { confirm, dryRun } = request.query;
      request.audited.before = JSON.stringify(changes().view().site);
      const options = { match: matched(request), confirm, dryRun: dryRun === "true", who: who(request) };
      const done = await changes().put(request.body, options);
      request.audited.object = `configuration ${done.revision}${dryRun === "true" ? ", dry run" : ""}`;
      reply.header("etag", `"${done.revision}"`);
      if (options.dryRun || !done.different) return done;
      tell("configuration-put", { revision: done.revision, restart: done.restart.length > 0 }, request.id);
      if (done.restart.length > 0) {
        thenRestart(reply);
        reply.code(202);
      }
      return done;
    },
  );

  app.post(
    "/api/v1/site/confirm",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Keep the configuration that waits to be confirmed",
        querystring: schemas.nothing,
        response: { 200: bodies.waitingSite, ...schemas.commonProblems, ...schemas.conflict },
      },
    },
    async (request) => {
      const done = await changes().confirm();
      tell("configuration-confirmed", { revision: done.revision }, request.id);
      return done;
    },
  );

  app.post(
    "/api/v1/site/rollback",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Back to the configuration before the one that waits to be confirmed",
        querystring: schemas.nothing,
        response: {
          200: bodies.rolledBack,
          202: bodies.rolledBack,
          ...schemas.commonProblems,
          ...schemas.conflict,
          ...schemas.refused,
        },
      },
    },
    async (request, reply) => {
      const { waiting, restarting } = await changes().rollback(who(request));
      if (restarting) {
        thenRestart(reply);
        reply.code(202);
      }
      return { ...waiting, restarting };
    },
  );
}
