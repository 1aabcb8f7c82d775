/**
 * Which services of a set cannot stand beside each other?
 *
 * The same answer as `conflicts` for every pair of which one is touched, without looking at every pair: equal matches are
 * found by their text, and only services of one priority whose destinations meet are compared at all, in one sweep over
 * the destinations. What was there already stands.
 */
import { type Box, dimensionIndex, largest } from "../../dataplane/space.ts";
import { Problem } from "../errors.ts";
import { boxOfMatch } from "./algebra.ts";
import { type Conflict, conflicts } from "./compile.ts";
import type { Intent } from "./model.ts";

const mostConflicts = 100;
const codes = { "same-name": "name-taken", "same-match": "same-match", ambiguous: "ambiguous" } as const;
const { destination } = dimensionIndex;

const textOf = (box: Box): string =>
  box.map((intervals) => intervals?.map(([low, high]) => `${low}-${high}`).join() ?? "").join("|");

function group<K>(intents: Iterable<Intent>, keyOf: (intent: Intent) => K): Intent[][] {
  const groups = new Map<K, Intent[]>();
  for (const intent of intents) {
    const key = keyOf(intent);
    const known = groups.get(key);
    if (known) known.push(intent);
    else groups.set(key, [intent]);
  }
  return [...groups.values()].filter((one) => one.length > 1);
}

/** Each pair whose destinations meet, at least once. */
function* neighbours(intents: readonly Intent[]): Generator<[Intent, Intent]> {
  const spans = intents.flatMap((intent) =>
    (boxOfMatch(intent.match)[destination] ?? [[0n, largest(destination)] as const]).map(([low, high]) => ({
      low,
      high,
      intent,
    })),
  );
  spans.sort((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
  let open: typeof spans = [];
  for (const span of spans) {
    open = open.filter(({ high }) => high >= span.low);
    for (const { intent } of open) if (intent !== span.intent) yield [intent, span.intent];
    open.push(span);
  }
}

function* candidates(all: readonly Intent[]): Generator<[Intent, Intent]> {
  for (const same of group(all, ({ match }) => textOf(boxOfMatch(match)))) {
    for (const [i, one] of same.entries()) for (const other of same.slice(i + 1)) yield [one, other];
  }
  for (const equals of group(all, ({ priority }) => priority)) yield* neighbours(equals);
}

/** Names in `all` are unique. */
export function setConflicts(
  touched: readonly Intent[],
  all: readonly Intent[],
): { intent: Intent; conflict: Conflict }[] {
  const fresh = new Set(touched);
  const found = new Map<string, { intent: Intent; conflict: Conflict }>();
  for (const [a, b] of candidates(all)) {
    const [intent, other] = fresh.has(a) ? [a, b] : [b, a];
    if (!fresh.has(intent)) continue;
    const key = [a.name, b.name].sort().join("/");
    if (found.has(key)) continue;
    for (const conflict of conflicts(intent, [other])) found.set(key, { intent, conflict });
  }
  return [...found.values()];
}

/** @throws Problem naming the services of every pair that conflicts */
export function refuseSet(touched: readonly Intent[], all: readonly Intent[]): void {
  const found = setConflicts(touched, all);
  const first = found[0];
  if (!first) return;
  const shown = found.slice(0, mostConflicts);
  const said = shown.map(({ intent, conflict }) => `"${intent.name}": ${conflict.message}`).join("; ");
  const rest = found.length - shown.length;
  throw new Problem(codes[first.conflict.kind], rest > 0 ? `${said}; and ${rest} more` : said, {
    services: [...new Set(shown.flatMap(({ intent, conflict }) => [intent.name, conflict.service]))],
  });
}
