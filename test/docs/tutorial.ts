/**
 * How is a page of documentation run as it is written?
 *
 *   ```sh      is typed into one shell, block after block, as a reader would
 *   ```json    right after it: what it has printed, compared as JSON
 *   ```text    right after it: what it has printed, line by line
 *
 * `…` stands for what differs: in text for anything within a line, in JSON also for a whole value, as a member's name for
 * further members, and as the last element for further elements.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Output {
  kind: "json" | "text";
  text: string;
}

export interface Step {
  /** Of the fence in the page. */
  line: number;
  code: string;
  output?: Output;
}

export interface Section {
  title: string;
  steps: Step[];
}

/** The sections of a page, by its second headings, that have something to run. */
export function sectionsOf(markdown: string): Section[] {
  const sections: Section[] = [];
  const lines = markdown.split("\n");
  let lastFence = -2;
  for (let at = 0; at < lines.length; at += 1) {
    const [, title] = /^## (.*)$/.exec(lines[at] ?? "") ?? [];
    if (title !== undefined) sections.push({ title, steps: [] });
    const [, kind] = /^```(\w+)$/.exec(lines[at] ?? "") ?? [];
    if (kind === undefined) continue;
    const end = lines.indexOf("```", at + 1);
    const text = lines.slice(at + 1, end).join("\n");
    const steps = sections.at(-1)?.steps;
    if (!steps || end < 0) throw new Error(`line ${at + 1}: this block is in no section, or has no end`);
    if (kind === "sh") steps.push({ line: at + 1, code: text });
    else if (kind === "json" || kind === "text") {
      const step = steps.at(-1);
      if (!step || at !== lastFence + 1) throw new Error(`line ${at + 1}: output stands right after its commands`);
      step.output = { kind, text };
    } else throw new Error(`line ${at + 1}: a block is sh, json or text, not ${kind}`);
    lastFence = end;
    at = end;
  }
  return sections.filter(({ steps }) => steps.length > 0);
}

export const readPage = (path: string): Section[] => sectionsOf(readFileSync(path, "utf8"));

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const pattern = (text: string, any: string): RegExp => new RegExp(`^${text.split("…").map(escaped).join(any)}$`);

function jsonMatches(expected: unknown, actual: unknown): boolean {
  if (typeof expected === "string") {
    if (expected === "…") return true;
    return typeof actual === "string" && pattern(expected, "[^]*").test(actual);
  }
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual)) return false;
    const open = expected.at(-1) === "…";
    const known = open ? expected.slice(0, -1) : expected;
    const enough = open ? actual.length >= known.length : actual.length === known.length;
    return enough && known.every((one, index) => jsonMatches(one, actual[index]));
  }
  if (typeof expected !== "object" || expected === null) return expected === actual;
  if (typeof actual !== "object" || actual === null || Array.isArray(actual)) return false;
  const { "…": more, ...known } = expected as Record<string, unknown>;
  const has = actual as Record<string, unknown>;
  const names = Object.keys(known);
  if (more === undefined && Object.keys(has).length !== names.length) return false;
  return names.every((name) => name in has && jsonMatches(known[name], has[name]));
}

/** As the page has it, with a bare `…` for any value. */
const expectedJson = (text: string): unknown =>
  JSON.parse(text.replace(/"[^"]*"|…/g, (found) => (found === "…" ? '"…"' : found)));

/** Is that what the page shows? */
export function matches({ kind, text }: Output, printed: string): boolean {
  if (kind === "text") return pattern(text.trimEnd(), "[^\n]*").test(printed.trimEnd());
  let actual: unknown;
  try {
    actual = JSON.parse(printed);
  } catch {
    return false;
  }
  return jsonMatches(expectedJson(text), actual);
}

const mark = "\x1e";
const patienceMs = 240_000;

/** One bash, with job control and without a terminal. */
export class Shell {
  readonly #child: ChildProcess;
  readonly #directory: string;
  #out = "";
  #err = "";
  #ended = false;
  #heard: () => void = () => undefined;

  /** @param setUp commands that come before, in a mount namespace of its own */
  constructor(directory: string, cwd: string, environment: Record<string, string>, setUp: string) {
    this.#directory = directory;
    const script = `set -e\n${setUp}\nexec bash --noprofile --norc`;
    const env = { ...process.env, ...environment };
    this.#child = spawn("unshare", ["--mount", "bash", "-c", script], { cwd, env, detached: true });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#out += text;
      this.#heard();
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#err += text;
    });
    this.#child.stdin?.on("error", () => undefined);
    this.#child.on("exit", () => {
      this.#ended = true;
      this.#heard();
    });
    // As an option it would ask for a terminal.
    this.#child.stdin?.write("set -m\n");
  }

  /** What it prints. @throws Error when it fails, or does not end */
  async run(code: string, limitMs = patienceMs): Promise<string> {
    const file = join(this.#directory, "block.sh");
    writeFileSync(file, `${code}\n`);
    this.#out = "";
    this.#child.stdin?.write(`. ${file} </dev/null; printf '${mark}%d${mark}' $?\n`);
    const finished = new RegExp(`^([^]*)${mark}(\\d+)${mark}$`);
    const deadline = Date.now() + limitMs;
    for (;;) {
      const [, printed = "", status] = finished.exec(this.#out) ?? [];
      if (status === "0") return printed;
      const why = status !== undefined ? `exit code ${status}` : this.#ended ? "the shell ended" : undefined;
      if (why !== undefined) throw new Error(`${why}\n${this.#out}${this.#err.slice(-4000)}`);
      if (Date.now() > deadline) throw new Error(`no end after ${limitMs} ms\n${this.#out}${this.#err.slice(-4000)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Ends it and what it has left in the background: all of its session. */
  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    const { pid } = this.#child;
    if (pid !== undefined) spawnSync("pkill", ["-KILL", "-s", String(pid)]);
    if (!this.#ended) await gone;
  }
}
