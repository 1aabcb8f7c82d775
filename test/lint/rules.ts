/**
 * Which rules of the house can be checked by reading the files?
 *
 *   imports   go one way: dataplane <- controlplane <- mep; infra knows only HTTP; nobody but test/ knows test/
 *   appliers  only the files listed here may load a module that reaches the kernel or starts processes
 *   length    a file of more than 450 lines wants to become two
 *   opening   every .ts, .c and .h opens with a comment that says which question it answers
 *   words     no notes about unfinished work
 *
 * `check` is a pure function of path and text, so that the tests can show it what is wrong.
 */
export interface SourceFile {
  /** Relative to the root of the repository, with `/`. */
  path: string;
  text: string;
}

export interface Finding {
  path: string;
  line: number;
  rule: "imports" | "appliers" | "length" | "opening" | "words";
  text: string;
}

const mayImport: Record<string, readonly string[]> = {
  dataplane: ["dataplane"],
  controlplane: ["dataplane", "controlplane"],
  mep: ["dataplane", "controlplane", "mep"],
  infra: ["infra"],
  vagrant: ["vagrant"],
};

/** Modules that have effects outside the process, other than files and HTTP. */
const effects = ["koffi", "raw-socket", "pcap", "child_process", "dgram", "net", "cluster", "worker_threads"];

/** Which file may load which of them. */
export const appliers: Record<string, readonly string[]> = {
  "dataplane/ebpf/libbpf.ts": ["koffi"],
  "dataplane/ebpf/command.ts": ["child_process"],
  "controlplane/sessions/pinger-socket.ts": ["raw-socket"],
  "controlplane/cli/guard-process.ts": ["child_process"],
  "infra/appliance/command.ts": ["child_process"],
  "infra/appliance/qmp.ts": ["net"],
  "controlplane/cli/again.ts": ["koffi"],
  "controlplane/cli/service-manager.ts": ["koffi"],
  "mep/mp1/certificate.ts": ["child_process"],
  "mep/timing/adjtimex.ts": ["koffi"],
  "mep/dns/control.ts": ["net"],
  "mep/dns/unbound.ts": ["child_process"],
  "controlplane/health/probes.ts": ["net"],
  "controlplane/health/echo-socket.ts": ["raw-socket"],
};

const longest = 450;
/* Spelled so that this file does not contain what it looks for. */
const words = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`);

interface Import {
  specifier: string;
  line: number;
  /** `import type` is erased: it has no effect at run time, but it is a dependency. */
  type: boolean;
}

export function importsOf(text: string): Import[] {
  const found: Import[] = [];
  const patterns = [
    /^[ \t]*(?:import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?["']([^"']+)["']/gm,
    /\bimport\(\s*()["']([^"']+)["']\s*\)/g,
    /\brequire\(\s*()["']([^"']+)["']\s*\)/g,
  ];
  for (const pattern of patterns) {
    for (const match of text.matchAll(pattern)) {
      const line = text.slice(0, match.index).split("\n").length;
      found.push({ specifier: match[2] ?? "", line, type: Boolean(match[1]) });
    }
  }
  return found;
}

/** The path that a relative specifier means, relative to the root. */
export function resolve(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function checkImports(file: SourceFile): Finding[] {
  const folder = file.path.split("/")[0] ?? "";
  const allowed = mayImport[folder];
  if (allowed === undefined) return [];
  const findings: Finding[] = [];
  for (const { specifier, line, type } of importsOf(file.text)) {
    if (specifier.startsWith(".")) {
      const target = resolve(file.path, specifier).split("/")[0] ?? "";
      if (!allowed.includes(target) && !target.endsWith("package.json")) {
        findings.push({ path: file.path, line, rule: "imports", text: `${folder} must not import ${target}` });
      }
      continue;
    }
    const name = specifier.replace(/^node:/, "");
    const effect = effects.find((module) => name === module || name.startsWith(`${module}/`));
    if (effect === undefined || type) continue;
    if (!appliers[file.path]?.includes(effect)) {
      findings.push({ path: file.path, line, rule: "appliers", text: `${specifier} belongs into an applier file` });
    }
  }
  return findings;
}

/** All findings of one file. */
export function check(file: SourceFile): Finding[] {
  const findings = file.path.endsWith(".ts") ? checkImports(file) : [];
  const lines = file.text.replace(/\n$/, "").split("\n");
  if (lines.length > longest) {
    findings.push({ path: file.path, line: longest + 1, rule: "length", text: `${lines.length} lines` });
  }
  const first = lines[0]?.startsWith("#!") ? lines[1] : lines[0];
  if (!/^(\/\*|\/\/)/.test(first ?? "")) {
    findings.push({ path: file.path, line: 1, rule: "opening", text: "does not open with a comment" });
  }
  lines.forEach((line, index) => {
    const match = words.exec(line);
    if (match) findings.push({ path: file.path, line: index + 1, rule: "words", text: `says ${match[0]}` });
  });
  return findings;
}
