/**
 * `offramp bench`: what does the data plane cost on this machine?
 *
 * One run measures what was asked for and prints it beside the bars that the project has set itself. A figure whose check
 * failed (a wrong verdict, a packet at the wrong end) is not printed; the run then ends with 1. A bar that is not met is
 * said, and is no failure of the run: the machine may be a slow one.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { repository } from "../lab/appliance.ts";
import { chain } from "./chain.ts";
import { dns } from "./dns.ts";
import { asMarkdown, asText, between, met, type Section } from "./figures.ts";
import { fleet } from "./fleet.ts";
import { type Effort, learn, path, scale } from "./inside.ts";
import { loss } from "./loss.ts";
import { mp1 } from "./mp1.ts";
import { mp1Rules } from "./mp1-rules.ts";
import { notify } from "./notify.ts";
import { memory, service, wire } from "./outside.ts";
import { pulumi } from "./pulumi.ts";
import { rules } from "./rules.ts";

const sections: Record<string, (effort: Effort) => Section | Promise<Section>> = {
  path,
  scale,
  learn,
  wire,
  service,
  memory,
  loss,
  rules,
  mp1,
  "mp1-rules": (effort) => mp1Rules(effort),
  chain: (effort) => chain(effort),
  notify,
  dns,
  fleet,
  pulumi,
};

const help = `usage: offramp bench [options]   (as root)

  --only SECTIONS   ${Object.keys(sections).join(", ")}; several with commas
  --quick           fewer rounds and smaller tables: a minute or two
  --json            the figures as JSON
  --markdown        also writes the tables into docs/benchmarks.md
  --help
`;

interface Options {
  only: string[];
  quick: boolean;
  json: boolean;
  markdown: boolean;
}

/** @throws Error with what is wrong with the arguments; undefined when help is wanted */
function options(args: readonly string[]): Options | undefined {
  const found: Options = { only: Object.keys(sections), quick: false, json: false, markdown: false };
  for (let i = 0; i < args.length; i++) {
    const [flag, glued] = (args[i] ?? "").split("=", 2);
    if (flag === "--help" || flag === "-h") return undefined;
    if (flag === "--quick" || flag === "--json" || flag === "--markdown") {
      found[flag.slice(2) as "quick" | "json" | "markdown"] = true;
    } else if (flag === "--only") {
      found.only = (glued ?? args[++i] ?? "").split(",").filter(Boolean);
      const unknown = found.only.find((name) => !(name in sections));
      if (unknown !== undefined || found.only.length === 0) throw new Error(`there is no section "${unknown ?? ""}"`);
    } else throw new Error(`unknown option ${args[i]}`);
  }
  return found;
}

interface Machine {
  cpu: string;
  cores: number;
  memoryGB: number;
  kernel: string;
  load: string;
}

const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  memoryGB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  load: readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" "),
});

const machineText = ({ cpu, cores, memoryGB, kernel, load }: Machine): string =>
  `${cpu}, ${cores} cores, ${memoryGB} GB, Linux ${kernel}; load when the run began ${load}`;

/** Each section between its markers; sections that were not measured stay as they are. */
function intoDocument(on: string, command: string, results: readonly Section[]): void {
  const file = join(repository, "docs", "benchmarks.md");
  let document = readFileSync(file, "utf8");
  const day = new Date().toISOString().slice(0, 10);
  for (const section of results) {
    document = between(
      document,
      section.name,
      `${asMarkdown(section)}\n\n${day}, \`${command}\` on ${on.replace(/;/, ",")}.`,
    );
  }
  writeFileSync(file, document);
}

async function main(args: readonly string[]): Promise<number> {
  let chosen: Options | undefined;
  try {
    chosen = options(args);
  } catch (error) {
    process.stderr.write(`offramp bench: ${(error as Error).message}\n${help}`);
    return 2;
  }
  if (!chosen) {
    process.stdout.write(help);
    return 0;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write("offramp bench: needs root: it loads programs and makes network namespaces\n");
    return 1;
  }
  const on = machine();
  const command = `bin/offramp bench${args.map((one) => ` ${one}`).join("")}`;
  if (!chosen.json) process.stdout.write(`${machineText(on)}\nrepeat with: ${command}\n\n`);
  const results: Section[] = [];
  for (const name of chosen.only) {
    const say = (text: string): void => void process.stderr.write(`  ${name}: ${text}\n`);
    say("…");
    const effort = { quick: chosen.quick, say };
    const section = await Promise.resolve(effort)
      .then(sections[name]!)
      .catch((error: Error): Section => ({ name, title: name, rows: [{ what: "all", failed: error.message }] }));
    results.push(section);
    if (!chosen.json) process.stdout.write(`${asText(section)}\n`);
    if (chosen.markdown) intoDocument(machineText(on), command, [section]);
  }
  if (chosen.json) {
    const judged = results.map((section) => ({
      ...section,
      rows: section.rows.map((row) => ("failed" in row ? row : { ...row, met: met(row) })),
    }));
    process.stdout.write(`${JSON.stringify({ machine: on, command, sections: judged }, null, 2)}\n`);
  }
  return results.some(({ rows }) => rows.some((row) => "failed" in row)) ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
