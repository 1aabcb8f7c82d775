/**
 * Static verification over the API (C7): of the services that are configured, or of a list that might be.
 */
import { messageOf } from "../errors.ts";
import { type DeployedCheck, differenceText } from "../intents/deployed.ts";
import { readSet, type Verification, verifySet } from "../intents/whole.ts";
import type { Routes } from "./context.ts";
import * as schemas from "./schemas.ts";

const tags = ["Management"];
const bodyLimit = 16 << 20;

/** What cannot be read does not agree, but is no reason to keep the findings back. */
async function compared(check: Pick<DeployedCheck, "look">): Promise<Verification["deployed"]> {
  try {
    const { agrees, differences } = await check.look();
    return { agrees, differences: differences.map(differenceText) };
  } catch (error) {
    return { agrees: false, differences: [`the tables cannot be read: ${messageOf(error)}`] };
  }
}

export const verifyRoutes: Routes = (app, { services, deployed }) => {
  app.get(
    "/api/v1/verify",
    {
      schema: {
        tags,
        summary: "Which configured services contradict each other, never act, or send packets round in circles",
        description: "And whether the data plane holds what they mean; /api/v1/deployed tells the differences apart.",
        querystring: schemas.nothing,
        response: { 200: schemas.verification, ...schemas.commonProblems },
      },
    },
    async () => {
      const intents = services.numbered().map(({ intent }) => intent);
      const verification = await verifySet(intents, services.context());
      return { ...verification, deployed: await compared(deployed) };
    },
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
