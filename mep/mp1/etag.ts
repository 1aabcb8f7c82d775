/**
 * Has a resource changed since the client saw it (RFC 9110 §8.8.3, §13.1.1)?
 */
import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { Problem } from "../../controlplane/errors.ts";

/** Strong: equal only where the representation is, octet for octet. `text` is the JSON that is sent. */
export const etagOf = (text: string): string =>
  `"${createHash("sha256").update(text).digest("base64url").slice(0, 22)}"`;

/** @throws Problem precondition-failed when If-Match names none that is current; `current` absent: there is no such resource */
export function checkIfMatch(request: FastifyRequest, current: string | undefined): void {
  const wanted = request.headers["if-match"];
  if (wanted === undefined) return;
  if (
    wanted.trim() === "*"
      ? current !== undefined
      : current !== undefined && wanted.split(",").some((one) => one.trim() === current)
  )
    return;
  throw new Problem(
    "precondition-failed",
    "it has changed since its ETag was read: read it again, then send the change with its new ETag",
  );
}
