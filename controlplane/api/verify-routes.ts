/**
 * Static verification over the API (C7): of the services that are configured, or of a list that might be.
 */
import { readSet, verifySet } from "../intents/whole.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["Management"];
const bodyLimit = 16 << 20;

export const verifyRoutes: Routes = (app, { services }) => {
  app.get(
    "/api/v1/verify",
    {
      schema: {
        tags,
        summary: "Which configured services contradict each other, never act, or send packets round in circles",
        querystring: schemas.nothing,
        response: { 200: schemas.verification, ...schemas.commonProblems },
      },
    },
    () =>
      verifySet(
        services.numbered().map(({ intent }) => intent),
        services.context(),
      ),
  );

  app.post<{ Body: unknown[] }>(
    "/api/v1/verify",
    {
      bodyLimit,
      config: { documentedBody: schemas.services },
      schema: {
        tags,
        summary: "The same of a list of services, as if these were all; changes nothing",
        querystring: schemas.nothing,
        body: { type: "array", items: {} },
        response: { 200: schemas.verification, ...schemas.commonProblems },
      },
    },
    async (request) => {
      const context = services.context();
      return verifySet(readSet(request.body, context), context);
    },
  );
};
