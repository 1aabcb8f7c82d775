/**
 * Which endpoints are there, and how is one relieved?
 */
import Type from "typebox";
import { drainEndpoint } from "../intents/drain.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const closed = { additionalProperties: false };
const whole = Type.Integer({ minimum: 0 });

const endpoint = Type.Object(
  {
    address: Type.String(),
    port: Type.Optional(whole),
    weight: Type.Optional(whole),
    state: Type.Enum(["up", "draining", "down", "unknown"], {
      description: "draining: keeps what it has; unknown: not answered yet, nothing is sent there",
    }),
    since: Type.Optional({ ...whole, description: "of the last change, milliseconds since the epoch" }),
    failure: Type.Optional(Type.String({ description: "of the last probe" })),
    flows: Type.Optional({ ...whole, description: "flows that lead there; of draining ones, or where asked for" }),
  },
  closed,
);

const health = Type.Object(
  {
    type: Type.Enum(["tcp", "http", "icmp"]),
    port: Type.Optional(whole),
    path: Type.Optional(Type.String()),
    host: Type.Optional(Type.String()),
    intervalMs: whole,
    timeoutMs: whole,
    up: whole,
    down: whole,
  },
  closed,
);

const views = Type.Array(
  Type.Object(
    {
      service: Type.String(),
      state: Type.Enum(["up", "aside"], { description: "aside: no endpoint is up, new connections go to the core" }),
      up: { ...whole, description: "endpoints that take new connections" },
      health: Type.Optional(health),
      endpoints: Type.Array(endpoint),
    },
    closed,
  ),
);

const query = Type.Object(
  { flows: Type.Optional(Type.Enum(["true", "false"], { description: "true: count the flows of every endpoint" })) },
  closed,
);

const drainBody = Type.Object(
  {
    endpoint: Type.String({ maxLength: 80, description: '"address:port"; an address alone means each of its ports' }),
    drain: Type.Optional(Type.Boolean({ description: "false: takes new connections again; default: true" })),
  },
  closed,
);

export const endpointRoutes: Routes = (app, { services, health: endpoints, dataplane, events, log, who }) => {
  app.get<{ Querystring: { flows?: "true" | "false" } }>(
    "/api/v1/health",
    {
      schema: {
        tags: ["Management"],
        summary: "Services with endpoints: which endpoints answer, which drain, and which services stand aside",
        querystring: query,
        response: { 200: views, ...schemas.commonProblems },
      },
    },
    async (request) => {
      const found = endpoints.views();
      const all = request.query.flows === "true";
      const asked = found.flatMap(({ service, endpoints: list }) =>
        list
          .filter(({ state }) => all || state === "draining")
          .map((view) => ({ view, service: endpoints.indexOf(service) ?? 0 })),
      );
      if (asked.length === 0) return found;
      const flows = await dataplane.endpointFlows(
        asked.map(({ view: { address, port }, service }) => ({
          service,
          address,
          ...(port !== undefined && { port }),
        })),
      );
      for (const [index, { view }] of asked.entries()) Object.assign(view, { flows: flows[index] });
      return found;
    },
  );

  app.post<{ Params: { name: string }; Body: { endpoint: string; drain?: boolean } }>(
    "/service/:name/drain",
    {
      schema: {
        tags: ["TOF Service API"],
        summary: "Send an endpoint nothing new, or something again; it keeps what it has",
        description: "The same as a PUT of the service with drain at this endpoint.",
        params: schemas.serviceName,
        querystring: schemas.nothing,
        body: drainBody,
        response: schemas.changedService,
      },
    },
    async (request) => {
      const { endpoint, drain = true } = request.body;
      const service = await drainEndpoint(services, request.params.name, { endpoint, drain }, who(request));
      log.info({ service: service.name, endpoint, drain, request: request.id }, "service-changed");
      events.publish({ type: "service-changed", time: Date.now(), service: service.name });
      return service;
    },
  );
};
