/**
 * Which services of a set cannot stand beside each other?
 *
 * Only pairs of which one is touched are looked at: what was there already stands.
 */
import { Problem } from "../errors.ts";
import { type Conflict, conflicts } from "./compile.ts";
import type { Intent } from "./model.ts";

const mostConflicts = 100;
const codes = { "same-name": "name-taken", "same-match": "same-match", ambiguous: "ambiguous" } as const;

/** @throws Problem naming the services of every pair that conflicts */
export function refuseSet(touched: readonly Intent[], all: readonly Intent[]): void {
  const pending = new Set(all);
  const found: { intent: Intent; conflict: Conflict }[] = [];
  for (const intent of touched) {
    pending.delete(intent);
    for (const conflict of conflicts(intent, pending)) found.push({ intent, conflict });
  }
  const first = found[0];
  if (!first) return;
  const shown = found.slice(0, mostConflicts);
  const said = shown.map(({ intent, conflict }) => `"${intent.name}": ${conflict.message}`).join("; ");
  const rest = found.length - shown.length;
  throw new Problem(codes[first.conflict.kind], rest > 0 ? `${said}; and ${rest} more` : said, {
    services: [...new Set(shown.flatMap(({ intent, conflict }) => [intent.name, conflict.service]))],
  });
}
