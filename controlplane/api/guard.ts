/**
 * Who may talk to this API?
 *
 * On loopback without a token: whoever is on the machine, but not a web page that made a browser resolve its own name to
 * 127.0.0.1 (the Host header must be an address or localhost). With a token: whoever sends it as a bearer (RFC 6750
 * §2.1) or, with `tls.clientCa`, whoever has a certificate of that authority; both sides are hashed first, so that the comparison takes the same time whatever is sent. /healthz and /readyz
 * say nothing that needs a secret and are open, for those who only watch.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { Problem } from "../errors.ts";
import { AddressError, parseAddress } from "../intents/prefix.ts";

const digest = (text: string) => createHash("sha256").update(text).digest();
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

/** A check for each request; throws a Problem where the answer is no. */
export function guard(token: string | undefined, clientCertificates = false): (request: FastifyRequest) => void {
  const wanted = token === undefined ? undefined : digest(token);
  return (request) => {
    if (open.has(request.routeOptions.url ?? "")) return;
    if (wanted === undefined) {
      if (clientCertificates) return; // TLS has asked already
      const host = request.hostname;
      if (host && host.toLowerCase() !== "localhost" && !isAddress(host)) {
        throw new Problem("misdirected", "without a token, requests must name an address or localhost as their host");
      }
      return;
    }
    const found = /^Bearer +([!-~]+) *$/i.exec(request.headers.authorization ?? "");
    if (!timingSafeEqual(digest(found?.[1] ?? ""), wanted) || !found) {
      throw new Problem("unauthorized", "send the header: Authorization: Bearer <token>");
    }
  };
}

/** Who asks, for the history: how they were let in, and from where. Never a secret. */
export function requester(token: boolean, clientCertificates: boolean): (request: FastifyRequest) => string {
  return (request) => {
    const from = request.ip === "127.0.0.1" || request.ip === "::1" ? "" : ` from ${request.ip}`;
    if (token) return `token${from}`;
    if (!clientCertificates) return `loopback${from}`;
    const socket = request.raw.socket as Partial<TLSSocket>;
    const name = socket.getPeerCertificate?.().subject?.CN;
    return `certificate ${(typeof name === "string" ? name : "without a name").slice(0, 80)}${from}`;
  };
}
