/**
 * How long is `300s`?
 *
 * A whole number and a unit; a bare number is refused by the schema, because nobody remembers which unit it is in.
 */
const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds. NaN when it is not a duration. */
export function milliseconds(text: string): number {
  const found = /^(\d{1,9})(ms|s|m|h)$/.exec(text);
  return found ? Number(found[1]) * (units[found[2] ?? ""] ?? Number.NaN) : Number.NaN;
}
