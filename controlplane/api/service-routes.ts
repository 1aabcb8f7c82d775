/**
 * The TOF Service API, both forms: seed 001 §4.3.4.1 and seed 004 §5.2.2.2.1 (A10, A11).
 *
 * 200 is answered when the kernel has the change and the store holds it, not before. What was posted is what GET returns.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { Problem } from "../errors.ts";
import { warningHeader } from "../intents/judgement.ts";
import type { Service } from "../intents/model.ts";
import { validateService } from "../intents/validate.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["TOF Service API"];

/** Bodies of services are judged by intents/validate.ts, which names every wrong field of the form that is meant. */
const openBody = { config: { documentedBody: schemas.service } };

interface ByName {
  Params: { name: string };
}

const nameOfBody = (body: unknown): string => {
  const checked = validateService(body);
  return checked.ok ? checked.service.name : "";
};

export const serviceRoutes: Routes = (app, { services, events, log, who }) => {
  const changed = (type: string, name: string, request: FastifyRequest) => {
    request.audited.object = `service "${name}"`;
    log.info({ service: name, request: request.id }, type);
    events.publish({ type, time: Date.now(), service: name });
  };

  /** For the audit log. */
  const noteBefore = (request: FastifyRequest<ByName>) => {
    const before = services.get(request.params.name);
    if (before) request.audited.before = JSON.stringify(before);
  };

  /** What the change does to other services is no reason to refuse it, but is said. */
  const warn = (service: Service, reply: FastifyReply) => {
    const findings = services.warnings(service);
    const header = warningHeader(findings);
    if (header !== undefined) reply.header("offramp-warning", header);
    for (const {
      kind,
      services: [about, ...by],
      message,
    } of findings) {
      log.warn({ service: about }, message);
      events.publish({ type: `service-${kind}`, time: Date.now(), service: about, by, message });
    }
  };

  app.get(
    "/service",
    {
      schema: {
        tags,
        summary: "List all configured services",
        querystring: schemas.nothing,
        response: { 200: schemas.services, ...schemas.commonProblems },
      },
    },
    () => services.list(),
  );

  app.post(
    "/service",
    {
      ...openBody,
      schema: {
        tags,
        summary: "Configure a new service",
        description:
          "What could never act is refused with the services that have its packets. A service that takes all packets from " +
          "an older one is accepted, and the header Offramp-Warning says so; see /api/v1/verify.",
        querystring: schemas.nothing,
        response: { 200: schemas.service, ...schemas.commonProblems, ...schemas.conflict, ...schemas.refused },
      },
    },
    async (request, reply) => {
      const service = await services.create(request.body, who(request));
      changed("service-added", service.name, request);
      warn(service, reply);
      return service;
    },
  );

  app.get<ByName>(
    "/service/:name",
    {
      schema: {
        tags,
        summary: "One service",
        params: schemas.serviceName,
        querystring: schemas.nothing,
        response: { 200: schemas.service, ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    (request) => {
      const service = services.get(request.params.name);
      if (!service) throw new Problem("not-found", `there is no service "${request.params.name.slice(0, 80)}"`);
      return service;
    },
  );

  app.put<ByName>(
    "/service/:name",
    {
      ...openBody,
      schema: {
        tags,
        summary: "Update a service",
        description: "Flows that it has taken stay where they are. The body may give it another name.",
        params: schemas.serviceName,
        querystring: schemas.nothing,
        response: schemas.changedService,
      },
    },
    async (request, reply) => {
      noteBefore(request);
      const service = await services.update(request.params.name, request.body, who(request));
      changed("service-changed", service.name, request);
      warn(service, reply);
      return service;
    },
  );

  app.delete<ByName & { Querystring: { flush?: "true" | "false" } }>(
    "/service/:name",
    {
      schema: {
        tags,
        summary: "Delete a service by name, or by service IP",
        description: "A service IP that several services have is refused with their names.",
        params: schemas.serviceNameOrAddress,
        querystring: schemas.removeQuery,
        response: schemas.changedService,
      },
    },
    async (request) => {
      noteBefore(request);
      const service = await services.remove(request.params.name, who(request), {
        flush: request.query.flush === "true",
      });
      changed("service-removed", service.name, request);
      return service;
    },
  );

  app.get(
    "/api/v1/steering",
    {
      schema: {
        tags: ["Management"],
        summary: "What the services mean to the data plane: the rules, highest priority first",
        querystring: schemas.nothing,
        response: { 200: schemas.steering, ...schemas.commonProblems },
      },
    },
    () => services.steering(),
  );

  app.post(
    "/api/v1/plan",
    {
      ...openBody,
      schema: {
        tags: ["Management"],
        summary: "What would change if this service were added, or replaced the one of its name; changes nothing",
        querystring: schemas.nothing,
        response: { 200: schemas.plan, ...schemas.commonProblems, ...schemas.conflict },
      },
    },
    (request) => {
      const exists = services.get(nameOfBody(request.body)) !== undefined;
      const { intent, before, after } = services.plan(request.body);
      const text = (rule: unknown) => JSON.stringify(rule);
      const [old, now] = [new Set(before.rules.map(text)), new Set(after.rules.map(text))];
      const remove = before.rules.filter((rule) => !now.has(text(rule)));
      const add = after.rules.filter((rule) => !old.has(text(rule)));
      const change = !exists ? "add" : add.length > 0 ? "replace" : "none";
      return { service: intent.name, change, remove, add };
    },
  );
};
