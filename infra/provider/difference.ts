/**
 * Where does what is wanted differ from what there is?
 *
 * Pure. Paths are as Pulumi writes them: `rules.nw_dst[0]`, `["two words"].x`.
 */
import { isDeepStrictEqual } from "node:util";
import type { Properties } from "./kind.ts";

export interface Difference {
  path: string;
  change: "add" | "delete" | "update";
}

const isRecord = (value: unknown): value is Properties =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function member(path: string, name: string): string {
  if (!/^[A-Za-z_]\w*$/.test(name)) return `${path}[${JSON.stringify(name)}]`;
  return path === "" ? name : `${path}.${name}`;
}

export function differences(had: unknown, wanted: unknown, path = ""): Difference[] {
  if (isDeepStrictEqual(had, wanted)) return [];
  if (had === undefined) return [{ path, change: "add" }];
  if (wanted === undefined) return [{ path, change: "delete" }];
  if (isRecord(had) && isRecord(wanted)) {
    const names = new Set([...Object.keys(had), ...Object.keys(wanted)]);
    return [...names].sort().flatMap((name) => differences(had[name], wanted[name], member(path, name)));
  }
  if (Array.isArray(had) && Array.isArray(wanted)) {
    return Array.from({ length: Math.max(had.length, wanted.length) }).flatMap((_, index) =>
      differences(had[index], wanted[index], `${path}[${index}]`),
    );
  }
  return [{ path, change: "update" }];
}
