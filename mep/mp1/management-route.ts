/**
 * What does somebody have to know to use Mp1?
 *
 * Where it is, where tokens come from, and by what its certificate is checked: on the management API, because over Mp1 itself
 * nobody could trust the answer. `offramp app ca` shows it.
 */
import Type from "typebox";
import type { Routes } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";

export interface Mp1Access {
  /** `https://host:port` */
  url: string;
  tokenEndpoint: string;
  /** Its description: OpenAPI. */
  description: string;
  /** PEM. Absent: the authorities that every system has know the certificate, or Mp1 is plain HTTP. */
  ca?: string;
}

const access = Type.Object(
  {
    url: Type.String(),
    tokenEndpoint: Type.String(),
    description: Type.String({ description: "OpenAPI; for people at /docs" }),
    ca: Type.Optional(
      Type.String({ description: "PEM: what its certificate is checked by; absent: any system's authorities" }),
    ),
  },
  { additionalProperties: false, title: "Mp1Access" },
);

/** Undefined: this site has no Mp1. */
export const mp1AccessRoutes =
  (find: () => { url: string; ca: string | undefined } | undefined): Routes =>
  (app) => {
    app.get(
      "/api/v1/mp1",
      {
        schema: {
          tags: ["Clients of Mp1"],
          summary: "Where Mp1 is, and by what its certificate is checked",
          querystring: schemas.nothing,
          response: { 200: access, ...schemas.commonProblems, ...schemas.notFound },
        },
      },
      (): Mp1Access => {
        const found = find();
        if (!found) throw new Problem("not-found", "this site has no Mp1: mep.mp1 in site.yaml");
        const { url, ca } = found;
        return {
          url,
          tokenEndpoint: `${url}/oauth2/token`,
          description: `${url}/openapi.json`,
          ...(ca !== undefined && { ca }),
        };
      },
    );
  };
