/**
 * What does a large body look like whose every octet can be checked at the far end?
 *
 * The generator is a 32-bit linear congruential one (the constants of Numerical Recipes), of which the high octet is
 * kept: no period that a lost or doubled segment could hide in.
 */
import { createHash } from "node:crypto";

/** `length` octets, the same for the same `seed` everywhere. */
export function pattern(length: number, seed = 1): Buffer {
  const data = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[at] = state >>> 24;
  }
  return data;
}

export const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
