/**
 * How does management see to the clients of Mp1?
 *
 * Instances become clients by themselves; management gives them secrets. Apps that run elsewhere are enrolled. A secret is in
 * exactly one answer.
 */
import Type from "typebox";
import type { Routes } from "../../controlplane/api/context.ts";
import * as schemas from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import { identifier } from "../model/appd.ts";
import type { Client, Credentials } from "./credentials.ts";
import type { Keys } from "./keys.ts";
import { scopeNames, scopesElsewhere } from "./scopes.ts";

const tags = ["Clients of Mp1"];
const closed = { additionalProperties: false };
const time = Type.String({ format: "date-time" });

const client = Type.Object(
  {
    client: Type.String({ description: "client_id; of an instance its appInstanceId" }),
    instance: Type.Optional(Type.String({ description: "absent: an app that runs elsewhere and registers itself" })),
    scopes: Type.Array(Type.String()),
    created: time,
    rotated: Type.Optional({ ...time, description: "when its secret was made; absent: it has none" }),
  },
  { ...closed, title: "Client" },
);
const clientId = Type.String();
const clientSecret = Type.String({ description: "shown this once; only its hash is kept" });
const secret = Type.Object({ clientId, clientSecret }, closed);
const enrolled = Type.Object({ clientId, clientSecret: Type.Optional(clientSecret) }, closed);
const params = Type.Object({ client: Type.String({ maxLength: 128 }) });
const enrolment = Type.Object(
  {
    client: identifier("client_id"),
    scopes: Type.Optional(Type.Array(Type.Enum([...scopeNames]), { uniqueItems: true, maxItems: 32 })),
    certificate: Type.Optional(
      Type.Boolean({ description: "it proves itself by a certificate that names it, and gets no secret" }),
    ),
  },
  closed,
);
const rotation = Type.Object(
  {
    end: Type.Optional(
      Type.Enum(["true", "false"], { description: "true: tokens of before are worth nothing from this moment" }),
    ),
  },
  closed,
);

const body = ({ client, instance, scopes, created, rotated }: Client) => ({
  client,
  ...(instance !== undefined && { instance }),
  scopes: [...scopes],
  created: new Date(created).toISOString(),
  ...(rotated !== undefined && { rotated: new Date(rotated).toISOString() }),
});

interface ByClient {
  Params: { client: string };
}

interface Enrolled {
  client: string;
  scopes?: string[];
  certificate?: boolean;
}

export interface ClientRoutesOptions {
  credentials: Credentials;
  keys: Keys;
  /** Tokens that were found good are checked again. */
  forget(): void;
  /** Clients may prove themselves with certificates. */
  certificates: boolean;
}

export const clientRoutes =
  ({ credentials, keys, forget, certificates }: ClientRoutesOptions): Routes =>
  (app, { log }) => {
    const known = (id: string): Client => {
      const found = credentials.get(id);
      if (!found) throw new Problem("not-found", `there is no client "${id}"`);
      return found;
    };
    const answers = { ...schemas.commonProblems, ...schemas.notFound, ...schemas.refused };

    app.get(
      "/api/v1/clients",
      {
        schema: {
          tags,
          summary: "Who may ask for tokens of Mp1",
          querystring: schemas.nothing,
          response: { 200: Type.Array(client), ...schemas.commonProblems },
        },
      },
      () => credentials.list().map(body),
    );

    app.get<ByClient>(
      "/api/v1/clients/:client",
      {
        schema: {
          tags,
          summary: "One client",
          params,
          querystring: schemas.nothing,
          response: { 200: client, ...answers },
        },
      },
      ({ params }) => body(known(params.client)),
    );

    app.post<{ Body: Enrolled }>(
      "/api/v1/clients",
      {
        config: { secretAnswer: true },
        schema: {
          tags,
          summary: "Enrol an app that runs elsewhere; the answer has its secret, which is shown this once",
          querystring: schemas.nothing,
          body: enrolment,
          response: { 201: enrolled, ...schemas.commonProblems, ...schemas.conflict, ...schemas.refused },
        },
      },
      (request, reply) => {
        const { client, scopes = scopesElsewhere, certificate = false } = request.body;
        request.audited.object = `client ${client}`;
        if (certificate && !certificates) {
          throw new Problem("conflict", "Mp1 asks nobody for a certificate: set mep.mp1.tls.clientCa in site.yaml");
        }
        if (certificate) credentials.enrolWithCertificate({ client, scopes });
        const made = certificate ? { clientId: client } : credentials.enrol({ client, scopes });
        log.info({ client, request: request.id }, "client-enrolled");
        const location = `/api/v1/clients/${encodeURIComponent(client)}`;
        return reply.code(201).headers({ location, "cache-control": "no-store" }).send(made);
      },
    );

    app.post<ByClient>(
      "/api/v1/clients/:client/secret",
      {
        config: { secretAnswer: true },
        schema: {
          tags,
          summary: "A new secret; the old one and all tokens of before are worth nothing from then on",
          params,
          querystring: schemas.nothing,
          response: { 200: secret, ...answers },
        },
      },
      (request, reply) => {
        const made = credentials.rotate(known(request.params.client).client);
        log.info({ client: made.clientId, request: request.id }, "client-secret-made");
        return reply.header("cache-control", "no-store").send(made);
      },
    );

    app.delete<ByClient>(
      "/api/v1/clients/:client",
      {
        schema: {
          tags,
          summary: "End a client that was enrolled; its tokens are worth nothing from then on",
          params,
          querystring: schemas.nothing,
          response: { 200: client, ...answers, ...schemas.conflict },
        },
      },
      (request) => {
        const found = known(request.params.client);
        if (found.instance !== undefined) {
          throw new Problem("conflict", `"${found.client}" is an instance, and a client until it is terminated`);
        }
        credentials.revoke(found.client);
        log.info({ client: found.client, request: request.id }, "client-revoked");
        return body(found);
      },
    );

    app.post<{ Querystring: { end?: "true" | "false" } }>(
      "/api/v1/keys/rotate",
      {
        config: { role: "admin" },
        schema: {
          tags,
          summary: "Sign tokens with a new key; those of before stay good until they expire, unless end=true",
          querystring: rotation,
          response: {
            200: Type.Object({ kid: Type.String({ description: "of the key that signs now" }) }, closed),
            ...schemas.commonProblems,
            ...schemas.refused,
          },
        },
      },
      async (request) => {
        const kid = await keys.rotate({ end: request.query.end === "true" });
        forget();
        log.info({ kid, request: request.id }, "signing key changed");
        return { kid };
      },
    );
  };
