/**
 * Do all files of the repository keep the rules in rules.ts?
 *
 * Prints one line per finding as `path:line: rule: text` and exits with 1 when there is one. Part of `npm run check`.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { check, type Finding, type SourceFile } from "./rules.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folders = ["dataplane", "controlplane", "mep", "infra", "vagrant", "test"];
const generated = new Set(["vmlinux.h"]);

function walk(folder: string): SourceFile[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ["node_modules", "build", "dist"].includes(entry.name) ? [] : walk(path);
    if (!/\.(ts|c|h)$/.test(entry.name) || generated.has(entry.name)) return [];
    return [{ path: relative(root, path), text: readFileSync(path, "utf8") }];
  });
}

export function lintRepository(): Finding[] {
  return folders.flatMap((folder) => walk(join(root, folder))).flatMap(check);
}

export const show = ({ path, line, rule, text }: Finding): string => `${path}:${line}: ${rule}: ${text}`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const findings = lintRepository();
  for (const finding of findings) console.log(show(finding));
  console.log(
    findings.length === 0 ? "imports, appliers, lengths, openings, words: fine" : `${findings.length} findings`,
  );
  process.exit(findings.length === 0 ? 0 : 1);
}
