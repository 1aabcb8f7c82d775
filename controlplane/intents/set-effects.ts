/**
 * What does a change of many services do to the set, and may it? (C7)
 *
 * Refused: services whose packets would come back (loops.ts). Told: those that never act, because of the change or as part of
 * it. A set has no order, and what one POST after the other may build must be possible at once, so these are accepted.
 * Only the services that are touched and those below them are looked at. Time is bounded: what is left over is told as
 * undecided, and `offramp verify` takes the time that it needs.
 */
import { Problem } from "../errors.ts";
import { boxOfMatch } from "./algebra.ts";
import type { ValidationContext } from "./context.ts";
import { loops } from "./loops.ts";
import { Meeting } from "./meeting.ts";
import type { FieldError, Intent } from "./model.ts";
import { universeOf } from "./universe.ts";
import { type Finding, findingLimit, neverActs } from "./verify.ts";

const mostErrors = 100;
/** Steps for one service; about ten milliseconds in which nobody else is served. */
const questionLimit = 1_000_000;
/** Milliseconds for all of them. */
const patience = 5_000;

/** @throws Problem that names every field of every service whose packets would come back */
export function refuseLoops(touched: readonly Intent[], context: ValidationContext): void {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const intent of touched) {
    for (const { field, message } of loops(intent, context)) {
      errors.push({ field: `"${intent.name}".${field}`, message });
      names.add(intent.name);
    }
  }
  if (errors.length === 0) return;
  const shown = errors.slice(0, mostErrors);
  const said = shown.map(({ field, message }) => `${field}: ${message}`).join("; ");
  const rest = errors.length - shown.length;
  throw new Problem("invalid-service", rest > 0 ? `${said}; and ${rest} more` : said, {
    errors: shown,
    services: [...names].slice(0, mostErrors),
  });
}

function leftOver(rules: readonly Intent[]): Finding {
  const names = rules.slice(0, 20).map(({ name }) => name);
  const which =
    rules.length > names.length ? `${names.join(", ")} and ${rules.length - names.length} more` : names.join(", ");
  const message = `whether these ever act was not decided in time: ${which}; offramp verify takes the time it needs`;
  return { kind: "undecided", services: names, message };
}

/**
 * Services of `all` that never act, of those that are touched or lie below one that is. Others are served meanwhile.
 * `milliseconds` are spent at most, but for one question.
 */
export async function effects(
  touched: readonly Intent[],
  all: readonly Intent[],
  context: ValidationContext,
  milliseconds = patience,
): Promise<Finding[]> {
  if (touched.length === 0) return [];
  const universe = universeOf(context);
  const rules = [...all].sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
  const meeting = new Meeting(rules.map(({ match }) => boxOfMatch(match)));
  const fresh = new Set(touched);
  const started = performance.now();
  let since = started;
  const found: Finding[] = [];
  for (const [at, rule] of rules.entries()) {
    const now = performance.now();
    if (now - started >= milliseconds || found.length >= findingLimit) {
      return [...found, leftOver(rules.slice(at))];
    }
    if (now - since >= 10) {
      await new Promise((resolve) => setImmediate(resolve));
      since = performance.now();
    }
    const higher = meeting.of(at).flatMap((other) => {
      const one = rules[other]!;
      return one.priority > rule.priority ? [one] : [];
    });
    if (!fresh.has(rule) && !higher.some((one) => fresh.has(one))) continue;
    const dead = neverActs(rule, higher, universe, questionLimit);
    if (dead) found.push(dead);
  }
  return found;
}
