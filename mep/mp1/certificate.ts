/**
 * With what does Mp1 speak TLS when nobody has given it a certificate?
 *
 * With one that it makes once for itself, in the state directory: ECDSA P-256, for the address it listens on, ten years.
 * Apps get it with their credentials, to check it by. GS MEC 011 §7.2 and §8.2 want TLS; plain HTTP needs `insecure: true`.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../controlplane/errors.ts";

export interface Certificate {
  /** PEM. */
  cert: string;
  key: string;
  /** Where the certificate lies. */
  path: string;
}

/** @throws Error when openssl is missing or the directory cannot be written */
export function ownCertificate(stateDir: string, host: string): Certificate {
  const directory = join(stateDir, "mp1");
  const path = join(directory, `${host.replaceAll(":", "-")}.pem`);
  const keyPath = `${path}.key`;
  if (!existsSync(path) || !existsSync(keyPath)) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const argv = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"];
    const names = ["-subj", `/CN=${host}`, "-addext", `subjectAltName=IP:${host}`];
    // Under other names first: half a pair is never taken for one.
    const files = ["-keyout", `${keyPath}.new`, "-out", `${path}.new`];
    try {
      execFileSync("openssl", [...argv, ...names, ...files], { stdio: ["ignore", "ignore", "pipe"], timeout: 30_000 });
    } catch (error) {
      throw new Error(
        `Mp1 cannot make itself a certificate: ${messageOf(error)}: install the Debian package openssl, or give mep.mp1.tls`,
      );
    }
    renameSync(`${keyPath}.new`, keyPath);
    renameSync(`${path}.new`, path);
  }
  return { cert: readFileSync(path, "utf8"), key: readFileSync(keyPath, "utf8"), path };
}
