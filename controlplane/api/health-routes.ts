/**
 * Does it live, is it ready, and what do its numbers say? For service managers, roll-outs and Prometheus.
 */
import { Problem, problems } from "../errors.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["Health"];

export const healthRoutes: Routes = (app, { missing, without, metrics, version }) => {
  app.get("/healthz", { schema: { tags, summary: "The process answers", querystring: schemas.nothing } }, () => ({
    status: "ok",
    version,
  }));

  app.get(
    "/readyz",
    { schema: { tags, summary: "Services are applied, traffic is served", querystring: schemas.nothing } },
    () => {
      const lacking = missing();
      if (lacking.length > 0) throw new Problem("not-ready", `not ready yet: ${lacking.join(", ")}`);
      const lost = without?.() ?? [];
      return { status: "ready", version, ...(lost.length > 0 && { without: lost }) };
    },
  );

  app.get(
    "/problems",
    { schema: { tags, summary: "Every error that this API answers, by code", querystring: schemas.nothing } },
    () => problems,
  );

  app.get<{ Params: { code: string } }>(
    "/problems/:code",
    {
      schema: { tags, summary: "One error: where the type of a problem document leads", querystring: schemas.nothing },
    },
    ({ params: { code } }) => {
      const found = Object.entries(problems).find(([name]) => name === code);
      if (!found) throw new Problem("not-found", "there is no such problem");
      return { type: `/problems/${code}`, ...found[1] };
    },
  );

  app.get(
    "/metrics",
    { schema: { tags, summary: "Prometheus text format", querystring: schemas.nothing, produces: ["text/plain"] } },
    async (_request, reply) => {
      const text = await metrics.registry.metrics();
      return reply.header("content-type", metrics.registry.contentType).serializer(String).send(text);
    },
  );
};
