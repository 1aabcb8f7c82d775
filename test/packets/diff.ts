/**
 * In what do two frames differ?
 *
 * `sameFrame` is the assertion of all packet tests: it compares octet by octet and, when they differ, fails with the
 * fields that differ by name, the offset of the first differing octet, and both frames in words.
 */
import { toHex } from "./bytes.ts";
import { decode, describe } from "./parse.ts";

const equal = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** Lines such as `ipv4 ttl: 64 -> 63`; empty when the frames are equal. `a` is what was wanted. */
export function diff(a: Uint8Array, b: Uint8Array): string[] {
  if (equal(a, b)) return [];
  const lines: string[] = [];
  if (a.length !== b.length) lines.push(`length: ${a.length} -> ${b.length}`);
  const left = decode(a);
  const right = decode(b);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const x = left[i];
    const y = right[i];
    if (x === undefined || y === undefined || x.name !== y.name) {
      lines.push(`layer ${i}: ${x?.name ?? "nothing"} -> ${y?.name ?? "nothing"}`);
      if (x === undefined || y === undefined) continue;
      if (x.name.split("(")[0] !== y.name.split("(")[0]) break;
    }
    const names = new Set([...x.fields, ...y.fields].map(([name]) => name));
    for (const name of names) {
      const one = x.fields.find(([n]) => n === name)?.[1] ?? "none";
      const two = y.fields.find(([n]) => n === name)?.[1] ?? "none";
      if (one !== two) lines.push(`${x.name}[${i}] ${name}: ${one} -> ${two}`);
    }
  }
  const at = a.findIndex((byte, i) => byte !== b[i]);
  const first = at < 0 ? Math.min(a.length, b.length) : at;
  const around = (bytes: Uint8Array) => toHex(bytes.subarray(Math.max(0, first - 4), first + 12));
  lines.push(`first differing octet: ${first} (…${around(a)}… -> …${around(b)}…)`);
  return lines;
}

/** @throws Error that shows the differences when `actual` is not `expected`. */
export function sameFrame(actual: Uint8Array | undefined, expected: Uint8Array, message = "frame"): void {
  if (actual === undefined) throw new Error(`${message}: no frame; expected\n${describe(expected)}`);
  const lines = diff(expected, actual);
  if (lines.length === 0) return;
  throw new Error(
    `${message} differs (expected -> actual)\n${lines.join("\n")}\nexpected\n${describe(expected)}\nactual\n${describe(actual)}`,
  );
}
