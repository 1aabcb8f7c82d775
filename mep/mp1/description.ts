/**
 * What does /openapi.json say of Mp1, beside what the schemas of bodies say?
 *
 * How one signs in (OAuth 2.0 client credentials, or a token that one has), which scope each resource asks for, its problems, and the
 * headers that matter: ETag and If-Match, Location, Retry-After. /docs shows the same to people, signed in or not: it tells
 * what Mp1 is, and nothing of the site.
 */
import Type, { type TSchema } from "typebox";
import type { OpenApiParts } from "../../controlplane/api/base.ts";
import { answer, commonProblems, nothing } from "../../controlplane/api/schemas.ts";
import { scopeTable } from "../auth/scopes.ts";
import type { Mp1Route } from "./server.ts";

export const heartbeatTypes = ["application/json", "application/merge-patch+json"];

/** Relative: Mp1 is asked under whatever name it was found by. */
const tokenUrl = "/oauth2/token";
const scopes = Object.fromEntries(scopeTable.map(({ name, opens }) => [name, opens]));

export const mp1Parts: OpenApiParts = {
  securitySchemes: {
    oauth2: {
      type: "oauth2",
      description: "id and secret of the instance; its scopes follow from its AppD",
      flows: { clientCredentials: { tokenUrl, scopes } },
    },
    bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "a token that one has already" },
    client: { type: "http", scheme: "basic", description: "client_id and client_secret; for tokens alone" },
  },
  tags: [
    {
      name: "mec_app_support",
      description: "Application support: GS MEC 011 clause 7. Also under /mec_app_support/v2",
    },
    {
      name: "mec_service_mgmt",
      description: "Service management: GS MEC 011 clause 8. Also under /mec_service_mgmt/v2",
    },
    { name: "mec_notifications", description: "Notifications by WebSocket: GS MEC 009 §6.12a" },
    { name: "OAuth 2.0", description: "Tokens for client credentials, and the keys that check them" },
  ],
};

/** Of a route that asks for a token with these scopes. */
export const security = (...scopes: string[]): Record<string, string[]>[] => [{ oauth2: scopes }, { bearer: scopes }];

const parametersOf = (path: string): TSchema =>
  Type.Object(
    Object.fromEntries([...path.matchAll(/:([A-Za-z]+)/g)].map(([, name]) => [name, Type.String({ maxLength: 256 })])),
  );

const titles = {
  403: "Not allowed: not yours, not in the token's scopes, not yet ready, or beyond a quota or grant",
  404: "Not found",
  409: "Not in this state",
  412: "It has changed since the ETag in If-Match was read",
  413: "The body is too large",
  414: "Path and query are too long",
  415: "The body is not JSON",
  503: "The data plane or the store refused; nothing has changed",
} as const;

const header = (description: string) => Type.String({ description });
/** Refusals that say in a header what to do. */
export const unauthorized = {
  401: {
    ...answer("A token is needed, or this one is good no more"),
    headers: { "WWW-Authenticate": header("RFC 6750 §3: what is wrong with the token") },
  },
};
export const tooMany = {
  429: {
    ...answer("Too many requests"),
    headers: { "Retry-After": Type.Integer({ minimum: 1, description: "seconds to wait" }) },
  },
};

/** GS MEC 009 §6.15 and GS MEC 011 §7.2.2, §8.2.2: what may go wrong with any resource. */
function problemsOf({ method, problems = [] }: Mp1Route): Record<number, object> {
  const always = [403, 404, 414] as const;
  const changing = method === "GET" ? [] : ([413, 415, 503] as const);
  const own = [...always, ...changing, ...problems].map((status) => [status, answer(titles[status])]);
  return { ...commonProblems, ...unauthorized, ...tooMany, ...Object.fromEntries(own) };
}

const successes: Record<string, string> = { 200: "As it is", 201: "Made" };

/** Answers with the headers that come with them. */
function answersOf({ answers = {}, tagged }: Mp1Route): Record<string, object> {
  const etag = tagged && { ETag: header("of exactly this representation, strong") };
  const location = { Location: header("URI of what was made") };
  return Object.fromEntries(
    Object.entries(answers).map(([status, schema]) => {
      const headers = { ...(status !== "204" && etag), ...(status === "201" && location) };
      const said = { "x-response-description": successes[status] ?? "Done" };
      return [status, { ...schema, ...said, ...(Object.keys(headers).length > 0 && { headers }) }];
    }),
  );
}

const ifMatch = Type.Object({ "if-match": Type.Optional(header("412 unless this is still its ETag")) });

/** Its schema, by which requests are judged and the document is made. */
export function schemaOf(route: Mp1Route) {
  const { api, scope, summary, path, query, body, method, problems, beforeReady } = route;
  const early = beforeReady ? " Also before the instance has confirmed that it is ready." : "";
  return {
    tags: [api],
    summary,
    description: `Scope: ${scope}.${early}`,
    security: security(scope),
    params: parametersOf(path),
    querystring: query ?? nothing,
    ...(problems?.includes(412) && { headers: ifMatch }),
    ...(body && { body }),
    ...(method === "PATCH" && { consumes: heartbeatTypes }),
    response: { ...answersOf(route), ...problemsOf(route) },
  };
}
