/**
 * Which secrets does the management API start with, by what site.yaml says?
 */
import { readFileSync } from "node:fs";
import type { ApiConfig } from "../config/site.ts";
import type { ServerOptions } from "./server.ts";

/** @throws Error when a file cannot be read, or holds no token */
export function readSecrets({ tls, token, tokenFile }: ApiConfig): ServerOptions {
  const fromFile = tokenFile === undefined ? undefined : (readFileSync(tokenFile, "utf8").split("\n")[0] ?? "").trim();
  if (fromFile !== undefined && !/^[!-~]{16,4096}$/.test(fromFile)) {
    throw new Error(`${tokenFile}: its first line must be a token of at least 16 characters without blanks`);
  }
  return {
    ...((fromFile ?? token) !== undefined && { token: fromFile ?? token }),
    ...(tls && {
      tls: {
        cert: readFileSync(tls.cert),
        key: readFileSync(tls.key),
        ...(tls.clientCa !== undefined && { clientCa: readFileSync(tls.clientCa) }),
      },
    }),
  };
}
