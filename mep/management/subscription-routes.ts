/**
 * Subscriptions over HTTP, as both management APIs have them: GS MEC 010-2 §7.3.5, §7.4.9.
 */
import type { FastifyRequest } from "fastify";
import Type, { type TSchema } from "typebox";
import type { Server } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { subscriptionInfo, subscriptionLinkList } from "../model/pkgm.ts";
import { baseOf } from "./links.ts";
import type { ManagementApi, Subscription, Subscriptions } from "./subscriptions.ts";

export interface SubscriptionRoutesOptions {
  api: ManagementApi;
  tags: string[];
  summary: string;
  body: TSchema;
  /** Reads a body that fits the schema. @throws Problem invalid-request */
  read(body: Record<string, unknown>): Pick<Subscription, "subscriptionType" | "callbackUri" | "filter">;
}

interface ById {
  Params: { id: string };
}

const byId = Type.Object({ id: Type.String({ maxLength: 64 }) }, { additionalProperties: false });
const byType = Type.Object(
  { subscriptiontype: Type.Optional(Type.String({ maxLength: 128 })) },
  { additionalProperties: false },
);

export function subscriptionRoutes(app: Server, all: Subscriptions, options: SubscriptionRoutesOptions): void {
  const { api, tags, summary } = options;
  const path = `/${api}/v1/subscriptions`;
  const view = ({ id, subscriptionType, callbackUri }: Subscription, request: FastifyRequest) => ({
    id,
    subscriptionType,
    callbackUri,
    _links: { self: { href: `${baseOf(request)}${path}/${id}` } },
  });

  app.post<{ Body: Record<string, unknown> }>(
    path,
    {
      schema: {
        tags,
        summary,
        querystring: schemas.nothing,
        body: options.body,
        response: { 201: subscriptionInfo, ...schemas.commonProblems },
      },
    },
    async (request, reply) => {
      const added = await all.add({ api, ...options.read(request.body), base: baseOf(request) });
      const shown = view(added, request);
      return reply.code(201).header("location", shown._links.self.href).send(shown);
    },
  );

  app.get<{ Querystring: { subscriptiontype?: string } }>(
    path,
    {
      schema: {
        tags,
        summary: "List subscriptions",
        querystring: byType,
        response: { 200: subscriptionLinkList, ...schemas.commonProblems },
      },
    },
    (request) => {
      const { subscriptiontype } = request.query;
      return {
        _links: {
          self: { href: `${baseOf(request)}${path}` },
          subscriptions: all
            .list(api)
            .filter((one) => subscriptiontype === undefined || one.subscriptionType === subscriptiontype)
            .map((one) => ({ href: `${baseOf(request)}${path}/${one.id}`, subscriptionType: one.subscriptionType })),
        },
      };
    },
  );

  app.get<ById>(
    `${path}/:id`,
    {
      schema: {
        tags,
        summary: "One subscription",
        params: byId,
        querystring: schemas.nothing,
        response: { 200: subscriptionInfo, ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    (request) => view(all.get(api, request.params.id), request),
  );

  app.delete<ById>(
    `${path}/:id`,
    {
      schema: {
        tags,
        summary: "End a subscription",
        params: byId,
        querystring: schemas.nothing,
        response: { 204: Type.Null(), ...schemas.commonProblems, ...schemas.notFound },
      },
    },
    (request, reply) => {
      all.remove(api, request.params.id);
      return reply.code(204).send();
    },
  );
}
