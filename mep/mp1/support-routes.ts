/**
 * Application support: is the app ready, has it ended, what time is it, and which app is it (GS MEC 011 §7.2.9 to §7.2.14)?
 *
 * All of it is open to an instance that has not confirmed that it is ready.
 */
import Type from "typebox";
import {
  appInfo,
  appReadyConfirmation,
  appTerminationConfirmation,
  currentTime,
  readAppInfo,
  readConfirmation,
  readReady,
  timingCaps,
} from "../model/support.ts";
import { type Mp1Routes, sendResource } from "./context.ts";
import { checkIfMatch, etagOf } from "./etag.ts";
import type { Mp1Request, Mp1Route } from "./server.ts";

const api = "mec_app_support";
const instanceOf = ({ params }: Mp1Request): string => params.appInstanceId ?? "";
/** Not `:appInstanceId`: a client that has not registered yet is no instance, and asks for its own all the same. */
const registrationOf = ({ params }: Mp1Request): string => params.registrationId ?? "";

export const supportRoutes: Mp1Routes = (server, { instances, timing, registrations, base }) => {
  const route = (one: Omit<Mp1Route, "api" | "scope" | "beforeReady">) =>
    server.route({ api, scope: api, beforeReady: true, ...one });
  const done = { 204: Type.Null() };

  route({
    method: "POST",
    path: "/applications/:appInstanceId/confirm_ready",
    summary: "The app is up; 409 while the platform is still configuring it: try again",
    problems: [409],
    documentedBody: appReadyConfirmation,
    answers: done,
    handler: async (request, reply) => {
      readReady(request.body);
      await instances.confirmReady(instanceOf(request));
      return reply.code(204).send();
    },
  });

  route({
    method: "POST",
    path: "/applications/:appInstanceId/confirm_termination",
    summary: "The app has put its things in order, and may be ended before its time is over",
    problems: [409],
    documentedBody: appTerminationConfirmation,
    answers: done,
    handler: async (request, reply) => {
      const { operationAction } = readConfirmation(request.body);
      const action = operationAction === "TERMINATING" ? "TERMINATING" : "STOPPING";
      await instances.confirmTermination(instanceOf(request), action);
      return reply.code(204).send();
    },
  });

  route({
    method: "GET",
    path: "/timing/timing_caps",
    summary: "Servers that the platform has its time from",
    answers: { 200: timingCaps },
    handler: () => timing.timingCaps(),
  });

  route({
    method: "GET",
    path: "/timing/current_time",
    summary: "The platform's time, and whether it follows UTC",
    answers: { 200: currentTime },
    handler: () => timing.currentTime(),
  });

  const uri = (instance: string): string =>
    `${base()}/mec_app_support/v1/registrations/${encodeURIComponent(instance)}`;
  const representation = (info: object) => {
    const text = JSON.stringify(info);
    return { text, etag: etagOf(text) };
  };

  route({
    method: "POST",
    path: "/registrations",
    summary: "Register an app; one that the platform has not started becomes an instance by it",
    documentedBody: appInfo,
    tagged: true,
    answers: { 201: appInfo },
    handler: async (request, reply) => {
      const { instance, info } = await registrations.create(request.identity, readAppInfo(request.body));
      reply.code(201).header("location", uri(instance));
      return sendResource(reply, representation(info));
    },
  });

  const registration = "/registrations/:registrationId";

  route({
    method: "GET",
    path: registration,
    summary: "The app's registration",
    tagged: true,
    answers: { 200: appInfo },
    handler: (request, reply) =>
      sendResource(reply, representation(registrations.find(request.identity, registrationOf(request)).info)),
  });

  route({
    method: "PUT",
    path: registration,
    summary: "Replace the app's registration; If-Match is looked at",
    problems: [412],
    documentedBody: appInfo,
    answers: done,
    handler: async (request, reply) => {
      const found = registrations.find(request.identity, registrationOf(request));
      const info = readAppInfo(request.body);
      checkIfMatch(request, representation(found.info).etag);
      await registrations.replace(request.identity, registrationOf(request), info);
      return reply.code(204).send();
    },
  });

  route({
    method: "DELETE",
    path: registration,
    summary: "Deregister the app; with an app of elsewhere go its services and subscriptions",
    answers: done,
    handler: async (request, reply) => {
      await registrations.delete(request.identity, registrationOf(request));
      return reply.code(204).send();
    },
  });
};
