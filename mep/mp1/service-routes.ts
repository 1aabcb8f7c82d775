/**
 * Service management: which services are there, and which does an app offer (GS MEC 011 §8.2.3 to §8.2.7, §8.2.10)?
 *
 * 2xx is answered when the store holds the change. Everybody with the scope discovers; an app changes its own only.
 */
import Type from "typebox";
import { Problem } from "../../controlplane/errors.ts";
import {
  readHeartbeat,
  readService,
  serviceInfo,
  serviceLivenessInfo,
  serviceLivenessUpdate,
  serviceRequest,
  transportInfo,
} from "../model/services.ts";
import { listOf } from "../registry/directory.ts";
import type { Service } from "../registry/service.ts";
import { type Mp1Routes, sendJson, sendResource } from "./context.ts";
import { checkIfMatch, etagOf } from "./etag.ts";
import type { Mp1Request, Mp1Route } from "./server.ts";
import { readServiceQuery, serviceQuery } from "./service-query.ts";

const api = "mec_service_mgmt";
const [read, write] = ["mec_service_mgmt:read", "mec_service_mgmt:write"];
const own = "/applications/:appInstanceId/services";
const list = Type.Array(serviceInfo);

const idsOf = ({ params }: Mp1Request): [instance: string, id: string] => [
  params.appInstanceId ?? "",
  params.serviceId ?? "",
];

export const serviceRoutes: Mp1Routes = (server, { registry, transports, base }) => {
  const { directory } = registry;
  const route = (one: Omit<Mp1Route, "api">) => server.route({ api, ...one });

  route({
    method: "GET",
    path: "/services",
    scope: read,
    summary: "Discover services; those whose heartbeats are missing are not told",
    query: serviceQuery,
    answers: { 200: list },
    handler: (request, reply) => {
      if (Object.keys(request.query).length === 0) return sendJson(reply, directory.everything(base()));
      const found = directory.discover(readServiceQuery(request.query));
      return sendJson(reply, listOf(found.map((service) => service.shared(base()).text)));
    },
  });

  route({
    method: "GET",
    path: "/services/:serviceId",
    scope: read,
    summary: "One service, in whatever state",
    tagged: true,
    answers: { 200: serviceInfo },
    handler: (request, reply) => {
      const service = directory.get(request.params.serviceId ?? "");
      if (!service) throw new Problem("not-found", "there is no such service");
      return sendResource(reply, service.shared(base()));
    },
  });

  route({
    method: "GET",
    path: "/transports",
    scope: read,
    summary: "Transports that the platform provides",
    answers: { 200: Type.Array(transportInfo) },
    handler: () => transports(),
  });

  route({
    method: "GET",
    path: own,
    scope: read,
    summary: "The app's own services, in whatever state",
    query: serviceQuery,
    answers: { 200: list },
    handler: (request, reply) => {
      const found = directory.discoverOf(idsOf(request)[0], readServiceQuery(request.query));
      return sendJson(reply, listOf(found.map((service) => service.own(base()).text)));
    },
  });

  route({
    method: "POST",
    path: own,
    scope: write,
    summary: "Offer a service",
    documentedBody: serviceRequest,
    tagged: true,
    answers: { 201: serviceInfo },
    handler: async (request, reply) => {
      const service = await registry.create(idsOf(request)[0], readService(request.body));
      reply.code(201).header("location", service.ownUri(base()));
      return sendResource(reply, service.own(base()));
    },
  });

  const matching = (request: Mp1Request) => (service: Service) => checkIfMatch(request, service.own(base()).etag);

  route({
    method: "GET",
    path: `${own}/:serviceId`,
    scope: read,
    summary: "One of the app's own services",
    tagged: true,
    answers: { 200: serviceInfo },
    handler: (request, reply) => sendResource(reply, registry.find(...idsOf(request)).own(base())),
  });

  route({
    method: "PUT",
    path: `${own}/:serviceId`,
    scope: write,
    summary: "Replace a service: its state, or anything else; If-Match is looked at",
    problems: [412],
    documentedBody: serviceRequest,
    tagged: true,
    answers: { 200: serviceInfo },
    handler: async (request, reply) => {
      registry.find(...idsOf(request));
      const service = await registry.replace(...idsOf(request), readService(request.body), matching(request));
      return sendResource(reply, service.own(base()));
    },
  });

  route({
    method: "DELETE",
    path: `${own}/:serviceId`,
    scope: write,
    summary: "Offer a service no longer",
    problems: [412],
    answers: { 204: Type.Null() },
    handler: async (request, reply) => {
      await registry.withdraw(...idsOf(request), matching(request));
      return reply.code(204).send();
    },
  });

  const livenessText = (service: Service): string => JSON.stringify(service.liveness());

  route({
    method: "GET",
    path: `${own}/:serviceId/liveness`,
    scope: read,
    summary: "Is the service alive, and when did the platform hear of it last?",
    tagged: true,
    answers: { 200: serviceLivenessInfo },
    handler: (request, reply) => {
      const text = livenessText(registry.findLive(...idsOf(request)));
      return sendResource(reply, { text, etag: etagOf(text) });
    },
  });

  route({
    method: "PATCH",
    path: `${own}/:serviceId/liveness`,
    scope: write,
    summary: "Heartbeat; 200 when the platform requires another interval from now on",
    problems: [409, 412],
    seldomChanges: true,
    documentedBody: serviceLivenessUpdate,
    answers: { 200: serviceLivenessInfo, 204: Type.Null() },
    handler: async (request, reply) => {
      registry.findLive(...idsOf(request));
      readHeartbeat(request.body);
      const changed = await registry.heartbeat(...idsOf(request), {
        check: (service) => checkIfMatch(request, etagOf(livenessText(service))),
        changing: () => request.audited.begin(),
      });
      return changed ? sendJson(reply, livenessText(changed)) : reply.code(204).send();
    },
  });
};
