/**
 * With what does a site that is still to be made prove itself, and who is its first admin?
 *
 * A certificate of its own (ECDSA P-256, ten years) for the appliance's name, and a token of 256 random bits. Made before
 * the VM, so that the first answer that comes from its address is already checked: nobody in between is trusted even once.
 */
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";
import type { Tls } from "./user-data.ts";

/** Of the API's admin. */
export const makeToken = (): string => `ofr_${randomBytes(32).toString("base64url")}`;

/**
 * @param hostname the name in the certificate
 * @param addresses by which it can be reached, as far as they are known before it is there
 * @throws CommandError where openssl is missing
 */
export async function makeCertificate(hostname: string, addresses: readonly string[] = []): Promise<Tls> {
  // The key never is in a file that others may read.
  const folder = mkdtempSync(join(tmpdir(), "offramp-keys-"));
  const [keyPath, certPath] = [join(folder, "key"), join(folder, "cert")];
  try {
    const kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"];
    const alternatives = [`DNS:${hostname}`, ...addresses.map((address) => `IP:${address}`)];
    const names = ["-subj", `/CN=${hostname}`, "-addext", `subjectAltName=${alternatives.join(",")}`];
    await run("openssl", [...kind, ...names, "-keyout", keyPath, "-out", certPath], { limit: 60_000 });
    return { cert: readFileSync(certPath, "utf8"), key: readFileSync(keyPath, "utf8") };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** SHA-256 of the certificate, as the appliance's console prints it. @throws Error when it is no certificate */
export const fingerprintOf = (cert: string): string => new X509Certificate(cert).fingerprint256;

/** The name by which a certificate is checked: the first DNS name, else the common name. */
export function nameIn(cert: string): string | undefined {
  const { subjectAltName, subject } = new X509Certificate(cert);
  return /DNS:([^,\s]+)/.exec(subjectAltName ?? "")?.[1] ?? /^CN=(.+)$/m.exec(subject)?.[1];
}

/** Short, and another one for another text. */
export const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 16);
