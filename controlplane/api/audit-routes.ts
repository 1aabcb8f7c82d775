/**
 * What is in the audit log, is it whole, and how does it get out of the appliance?
 */
import { Readable } from "node:stream";
import type { Entry, Kind } from "../access/chain.ts";
import { Problem } from "../errors.ts";
import * as bodies from "./access-schemas.ts";
import type { Routes } from "./context.ts";
import { requester } from "./guard.ts";
import * as schemas from "./schemas.ts";

const tags = ["Audit"];

interface Query {
  who?: string;
  api?: string;
  kind?: Kind;
  address?: string;
  status?: number;
  since?: string;
  until?: string;
  before?: number;
  limit?: number;
}

/** What is unknown is left out. */
export const entryBody = ({ time, ...rest }: Entry) => ({
  ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)),
  time: new Date(time).toISOString(),
});

const moment = (text: string | undefined) => (text === undefined ? undefined : Date.parse(text));

export const auditRoutes: Routes = (app, { audit, log }) => {
  app.get<{ Querystring: Query }>(
    "/api/v1/audit",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Who did what, when, and what became of it; newest first",
        querystring: bodies.auditQuery,
        response: { 200: bodies.audit, ...schemas.commonProblems },
      },
    },
    ({ query: { since, until, limit = 100, ...filter } }) => {
      const { total, entries } = audit.list({ ...filter, since: moment(since), until: moment(until), limit });
      return { total, entries: entries.map(entryBody) };
    },
  );

  app.get(
    "/api/v1/audit/verify",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Is every entry as it was written, and none missing?",
        querystring: schemas.nothing,
        response: { 200: bodies.verdict, ...schemas.commonProblems },
      },
    },
    async () => {
      const verdict = await audit.verify();
      if (verdict.fault !== undefined) log.error({ fault: verdict.fault }, "the audit log is not as it was written");
      return verdict;
    },
  );

  app.get(
    "/api/v1/audit/export",
    {
      exposeHeadRoute: false,
      config: { role: "admin", audit: "read" },
      schema: {
        tags,
        summary: "The whole log, one JSON object a line: first where it begins, then each entry with its digest",
        querystring: schemas.nothing,
        produces: ["application/x-ndjson"],
        response: { ...schemas.commonProblems },
      },
    },
    (request, reply) => {
      const lines = async function* () {
        for await (const line of audit.export()) yield `${JSON.stringify(line)}\n`;
      };
      log.info({ who: requester(request), request: request.id }, "audit-exported");
      return reply.header("content-type", "application/x-ndjson").serializer(String).send(Readable.from(lines()));
    },
  );

  app.post<{ Body: { through: number; digest: string } }>(
    "/api/v1/audit/truncate",
    {
      config: { role: "admin" },
      schema: {
        tags,
        summary: "Remove what has been exported, up to an entry whose digest the export has; the removal is an entry",
        querystring: schemas.nothing,
        body: bodies.truncateBody,
        response: { 200: bodies.verdict, ...schemas.commonProblems, ...schemas.notFound, ...schemas.refused },
      },
    },
    async (request) => {
      const { through, digest } = request.body;
      if (through >= (request.audited.attempt ?? 0)) {
        throw new Problem("invalid-request", "through: entries of this very request stay");
      }
      const who = request.actor?.who ?? "nobody";
      audit.truncate(through, digest, { api: "management", who, address: request.ip, request: request.id });
      log.info({ through, who: requester(request), request: request.id }, "audit-truncated");
      return audit.verify();
    },
  );
};
