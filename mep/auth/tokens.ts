/**
 * What is an access token, and when is it good?
 *
 * A JSON web token as RFC 9068 has it (`typ` at+jwt): signed with ES256 and nothing else, for this Mp1 alone (`aud`, `iss`),
 * for a time (`exp`), of one client (`sub`, `client_id`) at one of its epochs, with scopes, and with the thumbprint of the
 * certificate to which it is bound, where it is (`cnf`, RFC 8705 §3.1). `jti` tells tokens apart in logs elsewhere.
 */
import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import type { Client } from "./credentials.ts";
import { algorithm, type Keys } from "./keys.ts";

const type = "at+jwt";

export interface Claims {
  client: string;
  epoch: string;
  scopes: readonly string[];
  /** Seconds since the epoch. */
  expires: number;
  /** Thumbprint of the certificate to which it is bound. */
  bound?: string;
}

/** Why a token is not good; for `error_description`. */
export class TokenError extends Error {}

export interface TokensOptions {
  keys: Keys;
  /** `https://host:port` as apps reach Mp1: who gives the tokens, and for whom. */
  base: () => string;
  /** Seconds. */
  lifetime: number;
  /** Seconds since the epoch. */
  now?: () => number;
}

const remembered = 8192;

export class Tokens {
  readonly #options: TokensOptions;
  readonly #now: () => number;
  /** Tokens whose signature was checked; a client uses each many times. */
  readonly #checked = new Map<string, Claims>();

  constructor(options: TokensOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => Math.floor(Date.now() / 1000));
  }

  get lifetime(): number {
    return this.#options.lifetime;
  }

  issue({ client, epoch }: Client, scopes: readonly string[], bound?: string): Promise<string> {
    const { keys, base, lifetime } = this.#options;
    const { kid, key } = keys.signing;
    const now = this.#now();
    const claims = { client_id: client, scope: scopes.join(" "), epoch, ...(bound && { cnf: { "x5t#S256": bound } }) };
    return new SignJWT(claims)
      .setProtectedHeader({ alg: algorithm, kid, typ: type })
      .setIssuer(base())
      .setAudience(base())
      .setSubject(client)
      .setIssuedAt(now)
      .setExpirationTime(now + lifetime)
      .setJti(randomUUID())
      .sign(key);
  }

  /** By itself; whether its client is still there, and at this epoch, is for others to say. @throws TokenError */
  async check(token: string): Promise<Claims> {
    const known = this.#checked.get(token);
    if (known) {
      if (known.expires > this.#now()) return known;
      this.#checked.delete(token);
      throw new TokenError("the token has expired");
    }
    const claims = await this.#verify(token);
    this.#checked.set(token, claims);
    const [oldest] = this.#checked.keys();
    if (this.#checked.size > remembered && oldest !== undefined) this.#checked.delete(oldest);
    return claims;
  }

  /** A key was taken away, or the clock was set. */
  forget(): void {
    this.#checked.clear();
  }

  async #verify(token: string): Promise<Claims> {
    const { keys, base } = this.#options;
    try {
      const { payload } = await jwtVerify(
        token,
        ({ kid }) => {
          const key = keys.checking(kid);
          if (!key) throw new TokenError("the token is not signed with a key of this platform");
          return key;
        },
        {
          algorithms: [algorithm],
          typ: type,
          issuer: base(),
          audience: base(),
          requiredClaims: ["exp", "sub", "scope", "epoch"],
          currentDate: new Date(this.#now() * 1000),
        },
      );
      const { sub = "", exp = 0, scope, epoch, cnf } = payload as typeof payload & Record<string, unknown>;
      const bound = (cnf as { "x5t#S256"?: string } | undefined)?.["x5t#S256"];
      return {
        client: sub,
        epoch: String(epoch),
        scopes: String(scope).split(" ").filter(Boolean),
        expires: exp,
        ...(bound !== undefined && { bound }),
      };
    } catch (error) {
      if (error instanceof TokenError) throw error;
      if (error instanceof errors.JWTExpired) throw new TokenError("the token has expired");
      if (error instanceof errors.JWTClaimValidationFailed)
        throw new TokenError(`the token is not for here: ${error.claim}`);
      if (error instanceof errors.JOSEError) throw new TokenError("the token is not one of this platform");
      throw error;
    }
  }
}
