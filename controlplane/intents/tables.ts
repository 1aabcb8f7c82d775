/**
 * Which entries of the data plane's tables does a change touch?
 *
 * Pure: two descriptions in (`Dataplane.describe`), what differs out.
 */
import type { TableEntry } from "../../dataplane/dataplane.ts";

export interface TableChange {
  table: string;
  key: string;
  /** Absent: the entry is new. */
  before?: string;
  /** Absent: the entry goes. */
  after?: string;
}

/** Grouped by table, in the order of `after`; what goes comes before what is new. */
export function tableChanges(before: readonly TableEntry[], after: readonly TableEntry[]): TableChange[] {
  const byTable = new Map<string, { old: Map<string, string>; now: Map<string, string> }>();
  const of = (table: string) => {
    const known = byTable.get(table) ?? { old: new Map<string, string>(), now: new Map<string, string>() };
    byTable.set(table, known);
    return known;
  };
  for (const { table, key, value } of after) of(table).now.set(key, value);
  for (const { table, key, value } of before) of(table).old.set(key, value);
  return [...byTable].flatMap(([table, { old, now }]) => {
    const changes: TableChange[] = [];
    for (const [key, value] of old) {
      const other = now.get(key);
      if (other !== value) changes.push({ table, key, before: value, ...(other !== undefined && { after: other }) });
    }
    for (const [key, value] of now) if (!old.has(key)) changes.push({ table, key, after: value });
    return changes;
  });
}
