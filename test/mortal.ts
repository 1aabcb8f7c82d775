/**
 * How does a test end a program at one step of what it does, as `kill -9` would?
 *
 *   test     fate.at("commit.after", 2) ─▶ a file
 *   program  at the second `commit.after` from then on ─▶ SIGKILL to itself
 *
 * The program names its steps: `<name>.before` and `<name>.after` of each method that it watches. The count begins when the
 * file is written, so it does not matter how often a start takes a step; to end a program in its start, write the
 * file before.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { until } from "./lab/netns.ts";

/** The test's side. */
export class Fate {
  readonly file: string;
  #number = 0;

  constructor(file: string) {
    this.file = file;
  }

  /** The program ends at the `times`-th time of that step from now on. `*` is any step. */
  at(step: string, times = 1): void {
    // Numbered: the same words again begin a new count.
    this.#number += 1;
    writeFileSync(`${this.file}.new`, `${step} ${times} ${this.#number}`);
    renameSync(`${this.file}.new`, this.file);
  }

  /** It lives, and notes its steps from now on. */
  record(): void {
    rmSync(`${this.file}.steps`, { force: true });
    this.at("record");
  }

  /** The steps that it has noted. */
  recorded(): string[] {
    try {
      return readFileSync(`${this.file}.steps`, "utf8").split("\n").filter(Boolean);
    } catch {
      return [];
    }
  }

  /** It lives. */
  never(): void {
    rmSync(this.file, { force: true });
  }
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** The program's side. */
export class Mortal {
  readonly #file: string;
  #fate: string | undefined;
  #seen = 0;

  constructor(file: string) {
    this.#file = file;
  }

  #read(): string | undefined {
    try {
      return readFileSync(this.#file, "utf8");
    } catch {
      return undefined;
    }
  }

  step(name: string): void {
    const fate = this.#read();
    if (fate !== this.#fate) this.#seen = 0;
    this.#fate = fate;
    const [fatal, times] = fate?.split(" ") ?? [];
    if (fatal === "record") appendFileSync(`${this.#file}.steps`, `${name}\n`);
    if (fatal !== name && fatal !== "*") return;
    this.#seen += 1;
    if (this.#seen === Number(times)) process.kill(process.pid, "SIGKILL");
  }

  /** Every call of the method is a step before and a step after; of one that is asynchronous, when it resolves. */
  watch(prototype: object, method: string, name = method): void {
    const methods = prototype as Record<string, Method>;
    const original = methods[method];
    if (!original) throw new Error(`there is no method ${method} to watch`);
    const mortal = this;
    methods[method] = function (...args) {
      mortal.step(`${name}.before`);
      const result = original.apply(this, args);
      if (!(result instanceof Promise)) {
        mortal.step(`${name}.after`);
        return result;
      }
      return result.then((value: unknown) => {
        mortal.step(`${name}.after`);
        return value;
      });
    };
  }
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** A program that a test starts, and whose end is the test's business. */
export class Victim {
  static readonly #all = new Set<Victim>();
  readonly child: ChildProcess;
  #output = "";
  #log = "";
  #closed = false;

  /** @param script below the repository; TypeScript, or what bin/build has made of it, which starts in half the time */
  constructor(script: string, ...args: string[]) {
    const how = script.endsWith(".ts") ? ["--import", "tsx"] : ["--enable-source-maps"];
    this.child = spawn(process.execPath, [...how, script, ...args], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout?.on("data", (chunk: Buffer) => {
      this.#output += chunk.toString();
      this.#log += chunk.toString();
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.#log += chunk.toString();
    });
    Victim.#all.add(this);
    this.child.on("close", () => {
      this.#closed = true;
      Victim.#all.delete(this);
    });
  }

  /** What it has said on standard output. */
  get output(): string {
    return this.#output;
  }

  /** What it has said. */
  get log(): string {
    return this.#log;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Returns when it has said that, or has ended. */
  async says(text: string): Promise<void> {
    await until(text, () => this.ended || this.#log.includes(text), 120_000).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.#log.slice(-4000)}`);
    });
  }

  /** The first line that it prints. @throws when it ends without one */
  async firstLine(): Promise<string> {
    await until("a first line", () => this.ended || this.#output.includes("\n"), 120_000);
    const [line = "", rest] = this.#output.split("\n");
    if (rest === undefined) throw new Error(`it ended without a word; ${this.#log.slice(-4000)}`);
    return line;
  }

  /** Returns when it has ended, with all that it has said. @param signal to be sent to it; absent: it ends by itself */
  async end(signal?: NodeJS.Signals): Promise<NodeJS.Signals | null> {
    if (signal) this.child.kill(signal);
    await until("the program to end", () => this.#closed, 120_000).catch((error: Error) => {
      throw new Error(`${error.message}; it said:\n${this.#log.slice(-4000)}`);
    });
    return this.child.signalCode;
  }

  /** All that run still. */
  static async killAll(): Promise<void> {
    for (const one of [...Victim.#all]) await one.end("SIGKILL");
  }
}
