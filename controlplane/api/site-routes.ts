/**
 * The site's configuration as one document: look at it, replace it on trial, confirm it, take it back. And all of the site as one file.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { backup } from "../backup/write.ts";
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

/** Shorter ones are guessed. */
const shortestPassphrase = 8;

/** @throws Problem when it is too short, or not encoded as it should be */
function passphraseOf({ headers }: FastifyRequest): string | undefined {
  const given = headers["offramp-passphrase"];
  if (given === undefined) return undefined;
  let text = "";
  try {
    text = decodeURIComponent(String(given));
  } catch {
    // told below
  }
  if (text.length >= shortestPassphrase) return text;
  const message = `must be percent-encoded, of ${shortestPassphrase} characters at least`;
  throw new Problem("invalid-request", `header Offramp-Passphrase: ${message}`);
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

  app.get(
    "/api/v1/backup",
    {
      config: { role: "admin", audit: "read" },
      schema: {
        tags,
        summary: "All that the site remembers, as one file, while it works",
        description:
          "A zip: stores as of one moment each, packages, site.yaml, manifest.json. With the header Offramp-Passphrase (percent-encoded " +
          "UTF-8) certificates, keys and the token are in it too, and the whole is sealed by it.",
        querystring: schemas.nothing,
        response: {
          200: { description: "application/zip, or application/octet-stream where it is sealed" },
          ...schemas.commonProblems,
        },
      },
    },
    async (request, reply) => {
      const passphrase = passphraseOf(request);
      const { stateDir, file } = context.state();
      const name = `${file.site.name}-${new Date().toISOString().slice(0, 10)}.backup`;
      const stream = await backup({ stateDir, file, ...(passphrase !== undefined && { passphrase }) });
      stream.once("error", (error) => log.error({ err: error }, "a backup has failed on the way"));
      tell("backup", { sealed: passphrase !== undefined }, request.id);
      return reply
        .headers({
          "content-type": passphrase === undefined ? "application/zip" : "application/octet-stream",
          "content-disposition": `attachment; filename="${name}"`,
          "cache-control": "no-store",
        })
        .send(stream);
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
