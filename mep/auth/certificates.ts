/**
 * Which client does a TLS connection belong to (RFC 8705)?
 *
 * With `mep.mp1.tls.clientCa` a connection may carry a certificate of that authority. Its common name, or a DNS name or URI
 * of its subject alternative names, is then a client_id (§2.1, tls_client_auth), and tokens that are given over it are bound
 * to it (§3).
 */
import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";

export interface ClientCertificate {
  names: readonly string[];
  /** `x5t#S256`: SHA-256 of the DER form, base64url. */
  thumbprint: string;
}

/** Undefined: none was sent, or it is not of the authority. */
export function certificateOf(request: FastifyRequest): ClientCertificate | undefined {
  const socket = request.raw.socket as Partial<TLSSocket>;
  if (!socket.authorized || !socket.getPeerCertificate) return undefined;
  const { raw, subject, subjectaltname = "" } = socket.getPeerCertificate();
  if (!raw) return undefined;
  const common = subject?.CN as string | string[] | undefined;
  const others = subjectaltname.split(", ").flatMap((one) => /^(?:DNS|URI):([^"]+)$/.exec(one)?.[1] ?? []);
  const thumbprint = createHash("sha256").update(raw).digest("base64url");
  return { names: [...[common ?? []].flat(), ...others], thumbprint };
}
