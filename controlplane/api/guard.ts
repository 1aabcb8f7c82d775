/**
 * Who may talk to the management API, and as what?
 *
 *   bearer token (RFC 6750 §2.1) of a user          that user, with its role
 *   bearer token of site.yaml                       admin "token"
 *   certificate of tls.clientCa                     the user that its common name names; admin while there are no users
 *   nothing, over loopback, with api.loopback admin admin "loopback"; not for a web page that made a browser resolve its own
 *                                                   name to 127.0.0.1 (the Host header must be an address or localhost)
 *
 * Tokens are hashed before they are compared, so that the comparison takes the same time whatever is sent. An address that
 * keeps sending wrong tokens is locked out for a while; users' own tokens, which nobody can guess, go on working from there.
 * /healthz and /readyz say nothing that needs a secret and are open, for those who only watch.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyContextConfig, FastifyRequest } from "fastify";
import { addressKey, Lockout } from "../access/limits.ts";
import { mayAct, type Role, roleForMethod } from "../access/roles.ts";
import { hashSecret, sameHash } from "../access/secrets.ts";
import type { Users } from "../access/users.ts";
import { Problem } from "../errors.ts";
import { AddressError, isLoopback, parseAddress } from "../intents/prefix.ts";

/** Somebody who was let in. */
export interface Actor {
  /** `token`, `loopback`, `certificate <name>`, `user <name>`: how, and as whom. */
  who: string;
  role: Role;
  /** Absent: not one of the site's users. */
  user?: string;
}

declare module "fastify" {
  interface FastifyRequest {
    /** Of the management API, once the guard has let it in. */
    actor?: Actor;
  }
}

export interface GuardOptions {
  /** Of site.yaml. */
  token?: string | undefined;
  /** TLS has asked for a certificate and seen it. */
  certificates?: boolean;
  /** Whoever is on this machine is admin. */
  loopback: boolean;
  users: Pick<Users, "holderOf" | "get" | "size">;
  lockout?: Lockout;
  /** Counts why somebody was refused. */
  refused?(reason: "no-token" | "wrong-token" | "locked" | "role"): void;
}

const open = new Set(["/healthz", "/readyz"]);

function isAddress(host: string): boolean {
  try {
    parseAddress(host.replace(/^\[(.*)\]$/, "$1"));
    return true;
  } catch (error) {
    if (error instanceof AddressError) return false;
    throw error;
  }
}

function fromLoopback(ip: string): boolean {
  try {
    return isLoopback(parseAddress(addressKey(ip).replace("::/64", "::1")));
  } catch {
    return false;
  }
}

/** The common name of the certificate that TLS has checked; undefined where it has none. */
function certificateName(request: FastifyRequest): string | undefined {
  const socket = request.raw.socket as Partial<TLSSocket>;
  const name = socket.getPeerCertificate?.().subject?.CN;
  return typeof name === "string" ? name : undefined;
}

export class Guard {
  readonly #options: GuardOptions;
  readonly #token: Buffer | undefined;
  readonly lockout: Lockout;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#token = options.token === undefined ? undefined : hashSecret(options.token);
    this.lockout = options.lockout ?? new Lockout();
  }

  /** Lets a request in, as `request.actor`. @throws Problem unauthorized, forbidden, too-many-requests, misdirected */
  check(request: FastifyRequest): void {
    if (open.has(request.routeOptions.url ?? "")) return;
    const actor = this.#actor(request);
    request.actor = actor;
    const needed = request.routeOptions.config?.role ?? roleForMethod(request.method);
    if (mayAct(actor.role, needed)) return;
    this.#options.refused?.("role");
    throw new Problem("forbidden", `this needs the role ${needed}, and ${actor.who} has the role ${actor.role}`);
  }

  #actor(request: FastifyRequest): Actor {
    const { users, certificates, loopback } = this.#options;
    if (request.headers.authorization !== undefined) return this.#byToken(request, request.headers.authorization);
    if (certificates && this.#token === undefined && users.size === 0) {
      return { who: `certificate ${(certificateName(request) ?? "without a name").slice(0, 80)}`, role: "admin" };
    }
    const name = certificates ? certificateName(request) : undefined;
    const user = name === undefined ? undefined : users.get(name);
    if (user) return { who: `user ${user.name}`, role: user.role, user: user.name };
    if (loopback && fromLoopback(request.ip)) {
      const host = request.hostname;
      if (host && host.toLowerCase() !== "localhost" && !isAddress(host)) {
        throw new Problem("misdirected", "without a token, requests must name an address or localhost as their host");
      }
      return { who: "loopback", role: "admin" };
    }
    this.#options.refused?.("no-token");
    throw unauthorized();
  }

  #byToken(request: FastifyRequest, header: string): Actor {
    const sent = /^Bearer +([!-~]+) *$/i.exec(header)?.[1] ?? "";
    const user = this.#options.users.holderOf(sent);
    if (user) return { who: `user ${user.name}`, role: user.role, user: user.name };
    const key = addressKey(request.ip);
    const retryAfter = this.lockout.lockedFor(key);
    if (retryAfter > 0) {
      this.#options.refused?.("locked");
      throw new Problem("too-many-requests", `too many wrong tokens from your address: wait ${retryAfter} s`, {
        retryAfter,
      });
    }
    if (this.#token !== undefined && sameHash(hashSecret(sent), this.#token)) return { who: "token", role: "admin" };
    this.lockout.fail(key);
    this.#options.refused?.("wrong-token");
    throw unauthorized();
  }
}

/** The role that a route needs; undefined: everybody may. */
export const roleOf = (route: { url: string; method: string | string[]; config?: FastifyContextConfig }) =>
  open.has(route.url) ? undefined : (route.config?.role ?? roleForMethod([route.method].flat()[0] ?? "GET"));

const unauthorized = () => new Problem("unauthorized", "send the header: Authorization: Bearer <token>");

/** Who asks, for the history: how they were let in, and from where. Never a secret. */
export function requester(request: FastifyRequest): string {
  const from = request.ip === "127.0.0.1" || request.ip === "::1" ? "" : ` from ${request.ip}`;
  return `${request.actor?.who ?? "nobody"}${from}`;
}
