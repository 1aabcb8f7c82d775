/**
 * How does an app get a token?
 *
 *   POST /oauth2/token    client credentials (RFC 6749 §4.4), by secret or by certificate (RFC 8705 §2.1)
 *   GET  /oauth2/jwks     the public keys with which tokens are checked (RFC 7517)
 *
 * Errors are as RFC 6749 §5.2 wants them, not problem documents; who asks too often gets 429 with Retry-After. A client that
 * sends wrong secrets is locked out for a while from the address that sends them, and from no other: nobody can lock an app out
 * from where it runs.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { addressKey, Lockout, type LockoutRule, type Rate, RateLimit } from "../../controlplane/access/limits.ts";
import { sendProblem, toProblem } from "../../controlplane/api/problems.ts";
import { Problem } from "../../controlplane/errors.ts";
import { certificateOf } from "./certificates.ts";
import type { Client, Credentials } from "./credentials.ts";
import type { Keys } from "./keys.ts";
import { OAuthError, readTokenRequest, type TokenRequest } from "./token-request.ts";
import { form, keysSchema, tokenBody, tokenSchema } from "./token-schemas.ts";
import type { Tokens } from "./tokens.ts";

export interface TokenRouteOptions {
  credentials: Pick<Credentials, "get" | "authenticate">;
  tokens: Pick<Tokens, "issue" | "lifetime">;
  keys: Pick<Keys, "jwks">;
  /** Of one address. */
  rate?: Rate;
  lockout?: LockoutRule;
  /** Counts why somebody was refused. */
  refused?: (reason: string) => void;
}

/** A token is good for an hour: an app asks seldom, and many apps may have one address. */
const usualTokenRate: Rate = { perSecond: 5, burst: 60 };

const bodyLimit = 8192;

interface Granted {
  client: Client;
  scopes: string[];
  bound?: string;
}

/** Before `app.ready()`. */
export function tokenRoutes(app: FastifyInstance, options: TokenRouteOptions): void {
  const { credentials, tokens, keys, refused } = options;
  const rate = new RateLimit(options.rate ?? usualTokenRate);
  const lockout = new Lockout(options.lockout);
  const granted = new WeakMap<FastifyRequest, Granted>();

  const tooMany = (retryAfter: number, detail: string, reason: string): Problem => {
    refused?.(reason);
    return new Problem("too-many-requests", `${detail}: wait ${retryAfter} s`, { retryAfter });
  };

  const clientOf = (request: FastifyRequest, asked: TokenRequest): { client: Client; bound?: string } => {
    const key = `${asked.client}\n${addressKey(request.ip)}`;
    const locked = lockout.lockedFor(key);
    if (locked > 0) throw tooMany(locked, "too many wrong secrets of this client from your address", "locked");
    const certificate = certificateOf(request);
    if (asked.secret === undefined && certificate?.names.includes(asked.client)) {
      const client = credentials.get(asked.client);
      if (client) return { client, bound: certificate.thumbprint };
    }
    const client = asked.secret === undefined ? undefined : credentials.authenticate(asked.client, asked.secret);
    if (client) {
      lockout.succeed(key);
      return { client, ...(certificate && { bound: certificate.thumbprint }) };
    }
    lockout.fail(key);
    refused?.("wrong-secret");
    throw new OAuthError("invalid_client", "there is no such client with such a secret or certificate");
  };

  const scopesOf = (client: Client, asked: readonly string[] | undefined): string[] => {
    if (client.scopes.size === 0) throw new OAuthError("unauthorized_client", "this client may do nothing here");
    const missing = asked?.filter((scope) => !client.scopes.has(scope)) ?? [];
    if (missing.length === 0) return [...(asked ?? client.scopes)];
    refused?.("scope");
    throw new OAuthError("invalid_scope", `this client does not have ${missing.length} of the scopes it asks for`);
  };

  void app.register(async (inner) => {
    inner.removeAllContentTypeParsers();
    inner.addContentTypeParser(form, { parseAs: "string" }, (_request, body, done) => done(null, body));
    inner.setErrorHandler(sendOAuthError);
    inner.addHook("onSend", async (_request, reply, payload) => {
      reply.headers({ "cache-control": "no-store", pragma: "no-cache" }); // RFC 6749 §5.1
      return payload;
    });

    inner.post<{ Body: string | undefined }>(
      "/oauth2/token",
      {
        bodyLimit,
        config: { secretAnswer: true, documentedBody: tokenBody },
        schema: tokenSchema,
        onRequest: async (request) => {
          const wait = rate.take(addressKey(request.ip));
          if (wait > 0) throw tooMany(wait, "too many requests for tokens from your address", "rate");
          if ((request.raw.url ?? "").includes("?")) {
            throw new OAuthError("invalid_request", "the query ends up in logs: send everything in the body");
          }
        },
        // Before anything is written down as tried.
        preValidation: async (request) => {
          const asked = readTokenRequest(request.body ?? "", request.headers.authorization);
          const { client, bound } = clientOf(request, asked);
          request.identity = {
            client: client.client,
            ...(client.instance !== undefined && { instance: client.instance }),
            scopes: client.scopes,
          };
          granted.set(request, { client, scopes: scopesOf(client, asked.scopes), ...(bound && { bound }) });
        },
      },
      async (request) => {
        const { client, scopes, bound } = granted.get(request) as Granted;
        const token = await tokens.issue(client, scopes, bound);
        return { access_token: token, token_type: "Bearer", expires_in: tokens.lifetime, scope: scopes.join(" ") };
      },
    );
  });

  app.get(
    "/oauth2/jwks",
    {
      schema: keysSchema,
    },
    () => keys.jwks(),
  );
}

/** Limits and what is broken are told as everywhere; what RFC 6749 names is told as there. */
function sendOAuthError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = error instanceof OAuthError ? undefined : toProblem(error);
  if (problem && (problem.status === 429 || problem.status >= 500)) return sendProblem(problem, request, reply);
  const said = problem
    ? new OAuthError("invalid_request", `send the body as ${form}, of at most ${bodyLimit} octets`)
    : error;
  const { code, status, description } = said as OAuthError;
  if (status === 401) reply.header("www-authenticate", 'Basic realm="mp1"');
  return reply
    .code(status)
    .header("content-type", "application/json; charset=utf-8")
    .serializer(JSON.stringify)
    .send({ error: code, error_description: description });
}
