/**
 * What has to change for the services to be exactly those of a list?
 *
 * Pure. A service is the one of its name: it keeps its numbers, and where its body says the same, everything. One that
 * comes back gets the numbers that it had, if they are free; others are given new ones.
 */
import { isDeepStrictEqual } from "node:util";
import type { Touched } from "../store/history.ts";
import type { Numbers, Store, StoredService } from "../store/store.ts";
import type { Service } from "./model.ts";

export interface Wanted extends Partial<Numbers> {
  service: Service;
}

export interface SetChange {
  touched: Touched[];
  /** Names. */
  added: string[];
  changed: string[];
  removed: string[];
  kept: number;
  /** The numbers that were given out last. */
  given: Numbers | undefined;
}

/** Of the store: who gives out numbers, and knows those of rules that are no services. */
export type Allocation = Pick<Store, "allocateMany" | "isTaken">;

/** Names in `wanted` are unique. @throws Error when numbers run out */
export function changeTo(now: readonly StoredService[], wanted: readonly Wanted[], allocation: Allocation): SetChange {
  const leaving = new Map(now.map((stored) => [stored.service.name, stored]));
  const touched: Touched[] = [];
  const changed: string[] = [];
  const fresh: Wanted[] = [];
  const used = { rules: new Set<number>(), indices: new Set<number>() };
  const use = ({ rule, index }: Numbers) => {
    used.rules.add(rule);
    used.indices.add(index);
  };
  for (const { service, rule, index } of wanted) {
    const before = leaving.get(service.name);
    if (!before) {
      fresh.push({ service, rule, index });
      continue;
    }
    leaving.delete(service.name);
    use(before);
    if (isDeepStrictEqual(before.service, service)) continue;
    touched.push({ before, after: { ...before, service } });
    changed.push(service.name);
  }
  const restored: Numbers[] = [];
  const additions = fresh.map(({ service, rule, index }): { service: Service; numbers: Numbers | undefined } => {
    const had = rule !== undefined && index !== undefined ? { rule, index } : undefined;
    const taken = had && (used.rules.has(had.rule) || used.indices.has(had.index) || allocation.isTaken(had));
    if (!had || taken) return { service, numbers: undefined };
    use(had);
    restored.push(had);
    return { service, numbers: had };
  });
  const removed = [...leaving.values()];
  for (const before of removed) touched.push({ before });
  const lacking = additions.filter(({ numbers }) => !numbers).length;
  const given = allocation.allocateMany(lacking, {
    reserved: restored,
    leaving: removed.filter(({ rule, index }) => !used.rules.has(rule) && !used.indices.has(index)),
  });
  let next = 0;
  for (const { service, numbers = given[next++] } of additions) {
    if (!numbers) throw new Error("numbers of services have run out");
    touched.push({ after: { service, rule: numbers.rule, index: numbers.index } });
  }
  return {
    touched,
    added: fresh.map(({ service }) => service.name),
    changed,
    removed: removed.map(({ service }) => service.name),
    kept: wanted.length - fresh.length - changed.length,
    given: given.at(-1),
  };
}

/** `3 added, 1 changed, 2 removed`; of what is none, nothing is said. */
export function countText({ added, changed, removed }: Pick<SetChange, "added" | "changed" | "removed">): string {
  const parts = [
    added.length > 0 && `${added.length} added`,
    changed.length > 0 && `${changed.length} changed`,
    removed.length > 0 && `${removed.length} removed`,
  ].filter(Boolean);
  return parts.join(", ") || "nothing changed";
}
