/**
 * Does everything that is claimed hold, on this machine, now?
 *
 * Finds the files test/…/*.test.ts and runs each in a process of its own (`node --import tsx <file>`), two at a time. Files that
 * say `// mostly waits` in their first five lines run beside those, one by one: they need a processor for less than half of their time.
 * Files that say `// needs pulumi` run after them: Pulumi's engine takes minutes to make on a machine that does not have it yet
 * (bin/pulumi-engine), and is made meanwhile. Files that say `// runs alone` run afterwards, one by one. A file has 900 s. Nothing
 * passes by being skipped: skipped tests, files without tests, crashed files and whatever a file leaves behind (network namespaces,
 * processes) count as failed. The last line is `N passed, N failed`; the exit code is 1 when anything failed.
 *
 * Usage: node --import tsx test/run.ts [pattern ...]     runs the files whose path contains one of the patterns
 *
 * Processes are recognised by an environment variable that every descendant inherits, so daemons that detach
 * themselves are found too. Namespaces are recognised by the process id in their name (`ofr-<pid>-...`).
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const secondsPerFile = 900;
const atOnce = 2;
const marker = "OFFRAMP_TEST_RUN";

interface Outcome {
  file: string;
  pid: number;
  passed: number;
  failed: number;
  output: string;
  /** Why a file counts as failed although its own tests did not say so. */
  reasons: string[];
  seconds: number;
}

function findTests(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return findTests(path);
      return entry.name.endsWith(".test.ts") ? [path] : [];
    })
    .sort();
}

const says = (file: string, words: string) =>
  readFileSync(file, "utf8")
    .split("\n", 5)
    .some((line) => line.includes(words));
const runsAlone = (file: string) => says(file, "// runs alone");
const mostlyWaits = (file: string) => says(file, "// mostly waits");

/** Processes that were started by the test process `pid`, at whatever distance. */
function descendants(pid: number): number[] {
  const wanted = `${marker}=${process.pid}.${pid}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/environ`, "latin1").split("\0").includes(wanted);
      } catch {
        return false; // ended meanwhile, or a kernel thread
      }
    })
    .map(Number)
    .filter((found) => found !== pid && found !== process.pid);
}

function describeProcess(pid: number): string {
  try {
    return `${pid} (${readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim().slice(0, 100)})`;
  } catch {
    return String(pid);
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // already gone
  }
}

function namespaces(): string[] {
  try {
    return execFileSync("ip", ["netns", "list"], { encoding: "utf8" })
      .split("\n")
      .map((line) => line.split(" ")[0] ?? "")
      .filter((name) => name.startsWith("ofr-"));
  } catch {
    return [];
  }
}

const count = (output: string, word: string) =>
  [...output.matchAll(new RegExp(`^\\s*${word}:\\s+(\\d+)\\s*$`, "gm"))].reduce((sum, m) => sum + Number(m[1]), 0);

/** A shell sets the marker to its own process id and becomes node, so the id is known to all that node starts. */
function start(file: string): ChildProcess {
  const script = `export ${marker}=${process.pid}.$$; exec "$0" --import tsx "$1"`;
  return spawn("sh", ["-c", script, process.execPath, file], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
}

function run(file: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const began = Date.now();
    const child = start(file);
    const pid = child.pid ?? 0;
    let output = "";
    let late = false;
    const collect = (data: Buffer) => {
      output += data.toString();
    };
    child.stdout?.on("data", collect);
    child.stderr?.on("data", collect);
    const timer = setTimeout(() => {
      late = true;
      end(pid);
      for (const other of descendants(pid)) end(other);
    }, secondsPerFile * 1000);
    // A process left behind keeps the pipes open: wait for the exit, then a moment for the rest of the output.
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        const total = count(output, "Total");
        const passed = count(output, "Passed");
        const skipped = count(output, "Skipped");
        const reasons: string[] = [];
        if (late) reasons.push(`no end after ${secondsPerFile} s`);
        else if (total + skipped === 0) reasons.push(`ran no test (${signal ?? `exit code ${code}`})`);
        else if (code !== 0 && total === passed && skipped === 0) reasons.push(`${signal ?? `exit code ${code}`}`);
        const left = descendants(pid);
        if (left.length > 0 && !late) reasons.push(`left processes behind: ${left.map(describeProcess).join(", ")}`);
        for (const other of left) end(other);
        if (skipped > 0) reasons.push(`${skipped} skipped`);
        const extra = reasons.length > 0 && total === passed && skipped === 0 ? 1 : 0;
        resolve({
          file,
          pid,
          passed,
          failed: total - passed + skipped + extra,
          output,
          reasons,
          seconds: (Date.now() - began) / 1000,
        });
      }, 200);
    });
  });
}

function report(outcome: Outcome): void {
  const { file, passed, failed, reasons, seconds, output } = outcome;
  const mark = failed === 0 ? "ok  " : "FAIL";
  const why = reasons.length > 0 ? `  ${reasons.join("; ")}` : "";
  console.log(`${mark} ${relative(root, file)}  ${passed} passed, ${failed} failed  ${seconds.toFixed(1)} s${why}`);
  if (failed > 0) console.log(output.replace(/^/gm, "     | "));
}

async function inTurn(files: string[], width: number, outcomes: Outcome[]): Promise<void> {
  const queue = [...files];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await run(file);
      outcomes.push(outcome);
      report(outcome);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Resolves when it is there. When it could not be made, it has said why, and the tests that need it fail. */
async function makeEngine(): Promise<void> {
  await once(spawn(join(root, "bin", "pulumi-engine"), { stdio: ["ignore", "ignore", "inherit"] }), "close");
}

const patterns = process.argv.slice(2);
const chosen = findTests(join(root, "test")).filter(
  (file) => patterns.length === 0 || patterns.some((pattern) => relative(root, file).includes(pattern)),
);
const shared = existsSync(join(root, "..", "shared"));
const overShared = chosen.filter((file) => says(file, "// needs ../shared"));
const names = overShared.map((file) => relative(root, file)).join(", ");
console.log(`suites over ../shared (${names || "none chosen"}): ${shared ? "run" : "not run (folder absent)"}`);
const files = shared ? chosen : chosen.filter((file) => !overShared.includes(file));

const needsPulumi = (file: string) => says(file, "// needs pulumi");
const engine = files.some(needsPulumi) ? makeEngine() : undefined;

const before = new Set(namespaces());
const outcomes: Outcome[] = [];
/** @param when which of those that do not run alone */
const together = async (when: (file: string) => boolean): Promise<void> => {
  const beside = files.filter((file) => !runsAlone(file) && when(file));
  await Promise.all([
    inTurn(
      beside.filter((file) => !mostlyWaits(file)),
      atOnce,
      outcomes,
    ),
    inTurn(beside.filter(mostlyWaits), 1, outcomes),
  ]);
};
await together((file) => !needsPulumi(file));
await engine;
await together(needsPulumi);
await inTurn(files.filter(runsAlone), 1, outcomes);

const ours = new Set(outcomes.map((outcome) => String(outcome.pid)));
const left = namespaces().filter((name) => !before.has(name) && ours.has(name.split("-")[1] ?? ""));
for (const name of left) {
  execFileSync("ip", ["netns", "delete", name]);
}
const strays = outcomes.flatMap((outcome) => descendants(outcome.pid));
for (const pid of strays) end(pid);
console.log(
  left.length + strays.length === 0
    ? "left behind: no network namespace, no process"
    : `left behind, now removed: ${[...left, ...strays.map(String)].join(", ")}`,
);

const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
const failed =
  outcomes.reduce((sum, outcome) => sum + outcome.failed, 0) +
  (left.length + strays.length > 0 ? 1 : 0) +
  (outcomes.length === 0 ? 1 : 0);
if (outcomes.length === 0) console.log("no test file matches");
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
