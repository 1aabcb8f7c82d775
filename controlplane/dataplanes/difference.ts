/**
 * What has to happen so that the data planes at work become those that are wanted?
 *
 *   in force = site.yaml, as last read, less what the API removed, plus what the API added
 *
 * Pure. A note about a name is a section (added over the API) or null (removed over the API). Steps are ordered so that
 * what can fail and be taken back without harm comes first, and what ends sessions last:
 *
 *   changes in place ─▶ additions whose adapters are free ─▶ removals ─▶ additions that waited for an adapter
 */
import { isDeepStrictEqual } from "node:util";
import type { DataplaneConfig } from "../../dataplane/dataplane.ts";
import { findings, formatPath } from "../config/load.ts";
import type { DataplaneSection, SiteFile } from "../config/schema.ts";
import { type SiteConfig, siteConfig } from "../config/site.ts";
import type { FieldError } from "../intents/model.ts";

export type Notes = ReadonlyMap<string, DataplaneSection | null>;

export type Step =
  | { kind: "change"; before: DataplaneConfig; after: DataplaneConfig }
  | { kind: "add"; config: DataplaneConfig }
  | { kind: "remove"; config: DataplaneConfig; unwire: boolean };

/** A note about a name of site.yaml takes its place there, or takes it out; others come behind. */
export function sectionsInForce(file: SiteFile, notes: Notes): DataplaneSection[] {
  const named = new Set(file.dataplanes.map((section) => section.name));
  const base = file.dataplanes.flatMap((section) => {
    const note = notes.get(section.name);
    return note === undefined ? [section] : note === null ? [] : [note];
  });
  return [...base, ...[...notes].flatMap(([name, note]) => (note !== null && !named.has(name) ? [note] : []))];
}

/** `site.yaml` is right about every name that it has; what was removed under a name that it has no more is settled. */
export const notesAfterReload = (file: SiteFile, notes: Notes): Notes =>
  new Map([...notes].filter(([name, note]) => note !== null && !file.dataplanes.some((one) => one.name === name)));

/** A site with these data planes and no others. They have been checked. */
export const withSections = (config: SiteConfig, sections: DataplaneSection[]): SiteConfig =>
  siteConfig({ ...config.file, dataplanes: sections });

/** What is wrong with the last of these sections, in words that start where it starts: `uePools[0]`. */
export function wrongWithLast(file: SiteFile, sections: readonly unknown[]): FieldError[] {
  const last = sections.length - 1;
  return findings({ ...file, dataplanes: sections })
    .filter(({ path }) => path[0] === "dataplanes" && path[1] === last)
    .map(({ path, message }) => ({ field: formatPath(path.slice(2)), message }));
}

const adaptersOf = ({ access, core, adapter }: DataplaneConfig): string[] =>
  [access, core, adapter].filter((name) => name !== undefined);

/** Sessions do not outlive another wire. */
export const isOtherWire = (before: DataplaneConfig, after: DataplaneConfig): boolean =>
  before.plugin !== after.plugin ||
  before.backend !== after.backend ||
  !isDeepStrictEqual([before.access, before.core, before.adapter], [after.access, after.core, after.adapter]);

export function stepsBetween(before: DataplaneConfig[], after: DataplaneConfig[]): Step[] {
  const old = new Map(before.map((config) => [config.name, config]));
  const now = new Map(after.map((config) => [config.name, config]));
  const inUse = new Set(before.flatMap(adaptersOf));
  const steps: { change: Step[]; early: Step[]; remove: Step[]; late: Step[] } = {
    change: [],
    early: [],
    remove: [],
    late: [],
  };
  for (const config of before) {
    const wanted = now.get(config.name);
    if (!wanted) steps.remove.push({ kind: "remove", config, unwire: false });
    else if (isOtherWire(config, wanted)) steps.remove.push({ kind: "remove", config, unwire: true });
    else if (!isDeepStrictEqual(config, wanted)) steps.change.push({ kind: "change", before: config, after: wanted });
  }
  for (const config of after) {
    const there = old.get(config.name);
    if (there && !isOtherWire(there, config)) continue;
    const waits = there !== undefined || adaptersOf(config).some((adapter) => inUse.has(adapter));
    (waits ? steps.late : steps.early).push({ kind: "add", config });
  }
  // An adapter that another data plane gets must leave its bridge.
  const wantedAdapters = new Set(steps.late.flatMap((step) => (step.kind === "add" ? adaptersOf(step.config) : [])));
  for (const step of steps.remove) {
    if (step.kind === "remove" && adaptersOf(step.config).some((name) => wantedAdapters.has(name))) step.unwire = true;
  }
  return [...steps.change, ...steps.early, ...steps.remove, ...steps.late];
}

/** What takes a step back. */
export function inverse(step: Step): Step {
  if (step.kind === "change") return { kind: "change", before: step.after, after: step.before };
  return step.kind === "add"
    ? { kind: "remove", config: step.config, unwire: true }
    : { kind: "add", config: step.config };
}

/** Members of site.yaml that differ and take hold only when the agent starts. */
export function needsRestart(before: SiteFile, after: SiteFile): FieldError[] {
  const found: FieldError[] = [];
  const compare = (path: string, a: unknown, b: unknown): void => {
    if (isDeepStrictEqual(a, b)) return;
    const groups = [a, b].every((value) => typeof value === "object" && value !== null && !Array.isArray(value));
    if (!groups) {
      found.push({ field: path, message: "cannot change while the agent runs: restart it" });
      return;
    }
    const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
    for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
      compare(path === "" ? key : `${path}.${key}`, left[key], right[key]);
    }
  };
  const rest = ({ dataplanes: _, protect: __, ...others }: SiteFile) => others;
  compare("", rest(before), rest(after));
  return found;
}
