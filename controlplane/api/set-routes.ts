/**
 * Many services at once, and changes that can be taken back: apply, confirm, rollback, history.
 */
import type { FastifyReply } from "fastify";
import { Problem } from "../errors.ts";
import { warningHeader } from "../intents/judgement.ts";
import type { SetResult } from "../intents/sets.ts";
import type { Revision } from "../store/history.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";
import * as sets from "./set-schemas.ts";

const tags = ["Changes"];
const bodyLimit = 16 << 20;

const revisionBody = ({ time, ...rest }: Revision) => ({ ...rest, time: new Date(time).toISOString() });

export const setRoutes: Routes = (app, { sets: changes, deployed, events, log, who }) => {
  const changed = (type: string, revision: number | undefined, request: { id: string }) => {
    if (revision === undefined) return;
    log.info({ revision, request: request.id }, type);
    events.publish({ type, time: Date.now(), revision });
  };

  /** What is accepted but never acts is said to whoever asked, and to the log when it is done. */
  const warn = <R extends SetResult>(done: R, reply: FastifyReply): R => {
    const { revision, warnings = [] } = done;
    const header = warningHeader(warnings);
    if (header !== undefined) reply.header("offramp-warning", header);
    if (revision !== undefined) for (const { message } of warnings) log.warn({ revision }, message);
    return done;
  };

  app.put<{ Body: unknown[]; Querystring: { confirm?: number; dryRun?: "true" | "false" } }>(
    "/api/v1/services",
    {
      bodyLimit,
      schema: {
        tags,
        summary: "Make the services exactly these, or change nothing",
        description:
          "A service is the one of its name and keeps its numbers and flows. With confirm, the change takes itself " +
          "back after so many seconds unless it is confirmed; until then every other change is refused. Services that never " +
          "act are accepted, and told in warnings and in the header Offramp-Warning.",
        querystring: sets.applyQuery,
        body: { type: "array", items: {} },
        response: { 200: sets.setResult, ...schemas.commonProblems, ...schemas.conflict, ...schemas.refused },
      },
      config: { documentedBody: schemas.services },
    },
    async (request, reply) => {
      const { confirm, dryRun } = request.query;
      if (dryRun === "true") return warn(await changes.plan(request.body), reply);
      const done = await changes.apply(request.body, who(request), confirm);
      changed("services-applied", done.revision, request);
      return warn(done, reply);
    },
  );

  app.get(
    "/api/v1/confirm",
    {
      schema: {
        tags,
        summary: "The change that waits to be confirmed",
        querystring: schemas.nothing,
        response: { 200: sets.waiting, ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    () => {
      const waiting = changes.waiting();
      if (!waiting) throw new Problem("not-found", "nothing waits to be confirmed");
      return waiting;
    },
  );

  app.post(
    "/api/v1/confirm",
    {
      schema: {
        tags,
        summary: "Keep the change that waits to be confirmed",
        querystring: schemas.nothing,
        response: { 200: sets.waiting, ...schemas.commonProblems, ...schemas.conflict, ...schemas.refused },
      },
    },
    async (request) => {
      const done = await changes.confirm();
      changed("services-confirmed", done.revision, request);
      return done;
    },
  );

  app.post<{ Body: { revision?: number } | undefined }>(
    "/api/v1/rollback",
    {
      schema: {
        tags,
        summary: "Back to the services of an earlier revision; a new revision",
        querystring: schemas.nothing,
        body: sets.rollbackBody,
        response: {
          200: sets.setResult,
          ...schemas.commonProblems,
          ...schemas.notFound,
          ...schemas.conflict,
          ...schemas.refused,
        },
      },
    },
    async (request, reply) => {
      const done = await changes.rollback(request.body?.revision, who(request));
      changed("services-rolled-back", done.revision, request);
      return warn(done, reply);
    },
  );

  app.get<{ Querystring: { offset?: number; limit?: number } }>(
    "/api/v1/history",
    {
      schema: {
        tags,
        summary: "Changes of the services, newest first",
        querystring: sets.historyQuery,
        response: { 200: sets.history, ...schemas.commonProblems },
      },
    },
    (request) => {
      const { offset = 0, limit = 100 } = request.query;
      const { total, revisions } = changes.list({ offset, limit });
      const waiting = changes.waiting();
      return { total, offset, limit, ...(waiting && { waiting }), revisions: revisions.map(revisionBody) };
    },
  );

  app.get<{ Params: { revision: number }; Querystring: { services?: "true" | "false" } }>(
    "/api/v1/history/:revision",
    {
      schema: {
        tags,
        summary: "One change: what each service that it touched was and became",
        params: sets.revisionNumber,
        querystring: sets.revisionQuery,
        response: { 200: sets.revision, ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    (request) => {
      const number = request.params.revision;
      const { touched, ...revision } = changes.revision(number);
      return {
        ...revisionBody(revision),
        touched: touched.map(({ before, after }) => ({
          ...(before && { before: before.service }),
          ...(after && { after: after.service }),
        })),
        ...(request.query.services === "true" && { services: changes.servicesOf(number) }),
      };
    },
  );

  app.get(
    "/api/v1/deployed",
    {
      schema: {
        tags,
        summary: "Does the data plane hold what was applied? Its tables are read and compared, octet by octet",
        querystring: schemas.nothing,
        response: { 200: sets.deployed, ...schemas.commonProblems, ...schemas.refused },
      },
    },
    () => deployed.look(),
  );
};
