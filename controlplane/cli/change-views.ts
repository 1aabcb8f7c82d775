/**
 * What do people see of plans, changes and the history?
 *
 * Pure functions from the API's data to lines.
 */

import type { SteeringRule } from "../../dataplane/steering.ts";
import type { Service } from "../intents/model.ts";
import type { SetResult, Waiting } from "../intents/sets.ts";
import type { TableChange } from "../intents/tables.ts";
import { plural, table } from "./output.ts";
import { ruleText, serviceLines } from "./views.ts";

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

const mostEntries = 50;

/** Entries of tables that a change touches, under their table's name. */
export function tableLines(changes: readonly TableChange[]): string[] {
  const lines: string[] = [];
  let last = "";
  for (const change of changes.slice(0, mostEntries)) {
    if (change.table !== last) lines.push(`${change.table}:`);
    last = change.table;
    const { key, before, after } = change;
    const value = before === undefined ? after : after === undefined ? before : `${before} ⇒ ${after}`;
    lines.push(`  ${before === undefined ? "+" : after === undefined ? "-" : "~"} ${key}: ${value}`);
  }
  const rest = changes.length - mostEntries;
  return rest > 0 ? [...lines, `  and ${plural(rest, "other")}`] : lines;
}

export function setLines(view: SetResult & { tables?: TableChange[] }): string[] {
  const { revision, added, changed, removed, kept, until, tables = [] } = view;
  const counts = `${added.length} added, ${changed.length} changed, ${removed.length} removed, ${kept} kept`;
  return [
    revision === undefined ? counts : `revision ${revision}: ${counts}`,
    ...names("+", added),
    ...names("~", changed),
    ...names("-", removed),
    ...(until === undefined ? [] : [waits({ until })]),
    ...(tables.length > 0 ? ["", ...tableLines(tables)] : []),
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

export interface PlanView {
  service: string;
  change: "add" | "replace" | "none";
  remove: SteeringRule[];
  add: SteeringRule[];
}

export interface PlansView {
  services: PlanView[];
  /** The same as objects of the kernel. */
  tables: TableChange[];
}

export function planLines({ services, tables }: PlansView): string[] {
  const lines = services.flatMap(({ service, change, remove, add }) => [
    {
      add: `+ service "${service}" is added`,
      replace: `~ service "${service}" changes`,
      none: `= service "${service}" stays`,
    }[change],
    ...remove.map((rule) => `  - ${ruleText(rule)}`),
    ...add.map((rule) => `  + ${ruleText(rule)}`),
  ]);
  return tables.length > 0 ? [...lines, "", ...tableLines(tables)] : lines;
}
