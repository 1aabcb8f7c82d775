/**
 * Who says that a package is good?
 *
 * A detached Ed25519 signature (RFC 8032) over the octets of the manifest, in `<name>.mf.sig`: 64 octets, or their base64.
 * The manifest holds the hash of every other file, so it signs them all. Keys are in site.yaml, `mep.packages.keys`; with
 * keys there, a package without a good signature of one of them is refused. The CMS signatures of NFV-SOL 004 are not read.
 */
import { createPublicKey, type KeyObject, verify } from "node:crypto";

export interface SigningKey {
  name: string;
  key: KeyObject;
}

export const signatureFile = (manifest: string): string => `${manifest}.sig`;

/** SubjectPublicKeyInfo of Ed25519 less its 32 octets (RFC 8410 §10.1). */
const ed25519 = Buffer.from("302a300506032b6570032100", "hex");

/** A key as site.yaml has it: base64 of 32 octets. @throws Error when it is none */
export function signingKey(name: string, text: string): SigningKey {
  const octets = Buffer.from(text, "base64");
  if (octets.length !== 32 || !/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) {
    throw new Error("must be the base64 of an Ed25519 public key's 32 octets");
  }
  return { name, key: createPublicKey({ key: Buffer.concat([ed25519, octets]), format: "der", type: "spki" }) };
}

function octetsOf(signature: Buffer): Buffer {
  if (signature.length === 64) return signature;
  return Buffer.from(signature.toString("latin1").trim(), "base64");
}

/** Name of the key that has signed. What is wrong goes to `problems`; without keys nothing is. */
export function checkSignature(
  keys: readonly SigningKey[],
  manifest: Buffer,
  signature: Buffer | undefined,
  problems: string[],
): string | undefined {
  if (keys.length === 0) return undefined;
  if (!signature) {
    problems.push("it is not signed, and this site only takes packages that one of mep.packages.keys has signed");
    return undefined;
  }
  const octets = octetsOf(signature);
  const found = keys.find(({ key }) => octets.length === 64 && verify(null, manifest, key, octets));
  if (!found) problems.push(`its signature is of none of the keys ${keys.map(({ name }) => name).join(", ")}`);
  return found?.name;
}
