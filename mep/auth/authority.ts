/**
 * Who sends a request to Mp1, and may it do that?
 *
 *   address ─rate─▶ bearer token ─good─▶ client, still at its epoch ─rate─▶ its instance ─▶ scope
 *
 * Who somebody is comes from the token alone, never from a path, header or body. Answers as RFC 6750 §3 has them: 401 with
 * `invalid_token`, 403 with `insufficient_scope`; a token in the query is refused (RFC 9700 §4.3.2). Another instance's id and
 * one that does not exist are answered in the same way.
 */
import type { FastifyRequest } from "fastify";
import { addressKey, type Rate, RateLimit } from "../../controlplane/access/limits.ts";
import { Problem } from "../../controlplane/errors.ts";
import type { Authority, Identity } from "../parts.ts";
import { certificateOf } from "./certificates.ts";
import type { Credentials } from "./credentials.ts";
import { type Claims, TokenError, type Tokens } from "./tokens.ts";

export interface AuthorityOptions {
  credentials: Pick<Credentials, "get">;
  tokens: Pick<Tokens, "check">;
  /** The instance that a client without one has become by registering. */
  registered?: (client: string) => string | undefined;
  /** Of one client, and of one address. */
  rates?: { client?: Rate; address?: Rate };
  /** Counts why somebody was refused. */
  refused?: (reason: string) => void;
}

/** A client may do what a busy app does; an address may hold several apps. As site.yaml has it where it says nothing. */
const usualRates = { client: { perSecond: 200, burst: 1000 }, address: { perSecond: 500, burst: 2500 } } as const;

const realm = 'Bearer realm="mp1"';

function unauthorised(detail: string, error?: string): Problem {
  const said = error ? `${realm}, error="${error}", error_description="${detail}"` : realm;
  return new Problem("unauthorized", detail, {}, { headers: { "www-authenticate": said } });
}

export class AppAuthority implements Authority {
  readonly #options: AuthorityOptions;
  readonly #clients: RateLimit;
  readonly #addresses: RateLimit;

  constructor(options: AuthorityOptions) {
    this.#options = options;
    this.#clients = new RateLimit(options.rates?.client ?? usualRates.client);
    this.#addresses = new RateLimit(options.rates?.address ?? usualRates.address);
  }

  async authenticate(request: FastifyRequest): Promise<Identity> {
    this.#take(this.#addresses, addressKey(request.ip), "your address");
    const claims = await this.#claims(this.#token(request));
    const client = this.#options.credentials.get(claims.client);
    if (!client || client.epoch !== claims.epoch) {
      throw this.#refuse("revoked", unauthorised("the token was revoked: ask for another", "invalid_token"));
    }
    if (claims.bound !== undefined && certificateOf(request)?.thumbprint !== claims.bound) {
      const said = "the token is bound to a certificate that this connection does not have";
      throw this.#refuse("certificate", unauthorised(said, "invalid_token"));
    }
    this.#take(this.#clients, client.client, "this app");
    const instance = client.instance ?? this.#options.registered?.(client.client);
    return {
      client: client.client,
      ...(instance !== undefined && { instance }),
      scopes: new Set(claims.scopes.filter((scope) => client.scopes.has(scope))),
    };
  }

  authorise({ instance, scopes }: Identity, wanted: { scope?: string; appInstanceId?: string }): void {
    if (wanted.appInstanceId !== undefined && wanted.appInstanceId !== instance) {
      throw this.#refuse(
        "instance",
        new Problem("forbidden", "the token is not of this instance: an app sees its own"),
      );
    }
    if (wanted.scope === undefined || scopes.has(wanted.scope)) return;
    const detail = `the token lacks the scope ${wanted.scope}`;
    const said = `${realm}, error="insufficient_scope", error_description="${detail}", scope="${wanted.scope}"`;
    throw this.#refuse("scope", new Problem("forbidden", detail, {}, { headers: { "www-authenticate": said } }));
  }

  #refuse(reason: string, problem: Problem): Problem {
    this.#options.refused?.(reason);
    return problem;
  }

  #take(limit: RateLimit, key: string, whose: string): void {
    const retryAfter = limit.take(key);
    if (retryAfter === 0) return;
    const detail = `too many requests of ${whose}: wait ${retryAfter} s`;
    throw this.#refuse("rate", new Problem("too-many-requests", detail, { retryAfter }));
  }

  #token(request: FastifyRequest): string {
    if (new URLSearchParams((request.raw.url ?? "").split("?")[1]).has("access_token")) {
      const headers = { "www-authenticate": `${realm}, error="invalid_request"` };
      const said = "a token in the query ends up in logs: send it in the header Authorization";
      throw this.#refuse("query", new Problem("invalid-request", said, {}, { headers }));
    }
    const found = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(request.headers.authorization ?? "")?.[1];
    if (found === undefined) {
      const said = "send the header: Authorization: Bearer <token>; POST /oauth2/token gives tokens";
      throw this.#refuse("no-token", unauthorised(said));
    }
    return found;
  }

  async #claims(token: string): Promise<Claims> {
    try {
      return await this.#options.tokens.check(token);
    } catch (error) {
      if (!(error instanceof TokenError)) throw error;
      throw this.#refuse("token", unauthorised(error.message, "invalid_token"));
    }
  }
}
