/**
 * What do people see of changes and of the history?
 *
 * Pure functions from the API's data to lines.
 */

import type { Service } from "../intents/model.ts";
import type { SetResult, Waiting } from "../intents/sets.ts";
import { plural, table } from "./output.ts";
import { serviceLines } from "./views.ts";

export interface RevisionRow {
  revision: number;
  /** ISO 8601. */
  time: string;
  who: string;
  what: string;
  added: number;
  changed: number;
  removed: number;
}

export interface HistoryView {
  total: number;
  offset: number;
  waiting?: Waiting;
  revisions: RevisionRow[];
}

export interface RevisionView extends RevisionRow {
  touched: { before?: Service; after?: Service }[];
  services?: Service[];
}

const mostNames = 20;

function names(sign: string, list: readonly string[]): string[] {
  const rest = list.length - mostNames;
  return [
    ...list.slice(0, mostNames).map((name) => `${sign} ${name}`),
    ...(rest > 0 ? [`${sign} and ${plural(rest, "other")}`] : []),
  ];
}

const waits = ({ until }: { until: string }): string =>
  `not confirmed yet: "offramp confirm" before ${until} keeps it, else it takes itself back`;

export function setLines({ revision, added, changed, removed, kept, until }: SetResult): string[] {
  const counts = `${added.length} added, ${changed.length} changed, ${removed.length} removed, ${kept} kept`;
  return [
    revision === undefined ? counts : `revision ${revision}: ${counts}`,
    ...names("+", added),
    ...names("~", changed),
    ...names("-", removed),
    ...(until === undefined ? [] : [waits({ until })]),
  ];
}

export const waitingLines = ({ revision }: Waiting): string[] => [`revision ${revision} is confirmed`];

export function historyLines({ total, offset, waiting, revisions }: HistoryView): string[] {
  if (total === 0) return ["no changes yet"];
  const rows = revisions.map(({ revision, time, who, what }) => [String(revision), time, who, what]);
  const shown = revisions.length < total ? [`${offset + 1}–${offset + revisions.length} of ${total}`] : [];
  return [
    ...table(["REVISION", "TIME", "WHO", "WHAT"], rows),
    ...shown,
    ...(waiting ? [`revision ${waiting.revision} is ${waits(waiting)}`] : []),
  ];
}

export function revisionLines({ revision, time, who, what, touched, services }: RevisionView): string[] {
  return [
    `revision ${revision}, ${time}, ${who}: ${what}`,
    ...touched.flatMap(({ before, after }) => [
      ...(before ? [`- ${JSON.stringify(before)}`] : []),
      ...(after ? [`+ ${JSON.stringify(after)}`] : []),
    ]),
    ...(services ? ["", ...serviceLines(services)] : []),
  ];
}
