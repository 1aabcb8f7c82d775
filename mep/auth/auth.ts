/**
 * What makes the authorisation of apps of its parts?
 *
 *   management ─▶ credentials ─▶ POST /oauth2/token ─▶ tokens ─▶ authority: who is it, may it
 *   AppD ─scopes─▲                       keys ─▲──────────▲
 */
import type Database from "better-sqlite3";
import type { FastifyInstance } from "fastify";
import type { LockoutRule, Rate } from "../../controlplane/access/limits.ts";
import type { Routes } from "../../controlplane/api/context.ts";
import { AppAuthority } from "./authority.ts";
import { clientRoutes } from "./client-routes.ts";
import { Credentials } from "./credentials.ts";
import { Keys } from "./keys.ts";
import { tokenRoutes } from "./token-route.ts";
import { Tokens } from "./tokens.ts";

export interface AuthOptions {
  database: Database.Database;
  /** `https://host:port` as apps reach Mp1. */
  base: () => string;
  /** Seconds for which a token is good; default: an hour. */
  lifetime?: number;
  /** The instance that a client without one has become by registering. */
  registered?: (client: string) => string | undefined;
  rates?: Rates;
  /** Clients may prove themselves with certificates. */
  certificates?: boolean;
  lockout?: LockoutRule;
  /** Counts why somebody was refused. */
  refused?: (reason: string) => void;
  /** Seconds since the epoch. */
  now?: () => number;
}

/** Of one app, of one address, and of one address for tokens. */
export interface Rates {
  client: Rate;
  address: Rate;
  token: Rate;
}

/** As site.yaml has them, in requests a second; some seconds' worth may come at once. */
export const ratesOf = ({ app, address, token }: { app: number; address: number; token: number }): Rates => ({
  client: { perSecond: app, burst: app * 5 },
  address: { perSecond: address, burst: address * 5 },
  token: { perSecond: token, burst: token * 12 },
});

export class Auth {
  readonly credentials: Credentials;
  readonly authority: AppAuthority;
  readonly keys: Keys;
  /** On the management API. */
  readonly routes: Routes;
  readonly #tokens: Tokens;
  readonly #options: AuthOptions;

  constructor(options: AuthOptions) {
    const { database, base, lifetime = 3600, registered, rates, refused, now } = options;
    this.#options = options;
    this.credentials = new Credentials(database);
    this.keys = new Keys(database, lifetime);
    this.#tokens = new Tokens({ keys: this.keys, base, lifetime, ...(now && { now }) });
    this.authority = new AppAuthority({
      credentials: this.credentials,
      tokens: this.#tokens,
      ...(registered && { registered }),
      ...(rates && { rates }),
      ...(refused && { refused }),
    });
    const forget = () => this.#tokens.forget();
    this.routes = clientRoutes({
      credentials: this.credentials,
      keys: this.keys,
      forget,
      certificates: options.certificates ?? false,
    });
  }

  /** Reads the keys, or makes the first. */
  start(): Promise<void> {
    return this.keys.start();
  }

  /** Adds the token endpoint to Mp1. Before `app.ready()`. */
  serve(app: FastifyInstance): void {
    const { rates, lockout, refused } = this.#options;
    tokenRoutes(app, {
      credentials: this.credentials,
      tokens: this.#tokens,
      keys: this.keys,
      ...(rates && { rate: rates.token }),
      ...(lockout && { lockout }),
      ...(refused && { refused }),
    });
  }
}
