/**
 * What are tokens and client secrets made of, and how are they kept?
 *
 * 256 random bits each, so that guessing is hopeless at any rate, and a fast hash (SHA-256) keeps them as safe as a slow one
 * would: a slow hash protects secrets that people choose, and would let anybody keep the appliance busy with wrong ones. Only
 * the hash is stored; the secret is shown once. `ofr_` in front lets scanners of logs and repositories recognise them.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const prefix = "ofr_";

/** 47 characters of `[A-Za-z0-9_-]`. */
export const makeSecret = (): string => prefix + randomBytes(32).toString("base64url");

/** SHA-256, 32 octets. */
export const hashSecret = (secret: string): Buffer => createHash("sha256").update(secret).digest();

/** Takes the same time whatever is compared; both are hashes, so lengths say nothing either. */
export const sameHash = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && timingSafeEqual(one, other);
