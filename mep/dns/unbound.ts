/**
 * How is the platform's name server kept running, and given what it answers?
 *
 *   start ─▶ adopt one that runs with this very configuration, else begin ─▶ ready ─▶ set … set ─▶ stop
 *                                   ▲ begin again, with the same records ◀── it has ended
 *
 * Unbound is a process of its own, so that it outlives an agent that is killed; the next start finds it by its control
 * socket. Records come and go while it runs; the file beside its configuration holds them too, so that it begins with them.
 * A name whose records change is silent for a moment (zone type `deny`), so that nobody gets half of them, or none: resolvers
 * ask again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { messageOf, Problem } from "../../controlplane/errors.ts";
import { controlPath, type DnsSettings, recordsPath, renderConfig } from "./config.ts";
import { control } from "./control.ts";
import { type DnsRecord, linesByName, readBack, renderRecords } from "./records.ts";

type Lines = Map<string, string[]>;

const readyMs = 30_000;
const lookMs = 1000;
const firstPauseMs = 250;
const longestPauseMs = 30_000;
/** Who has run for so long has not failed to begin. */
const steadyMs = 60_000;
const endMs = 5000;
/** A local socket's path has no more (unix(7)). */
const longestPath = 107;
const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` };

/** Debian's package brings a user of its own. */
const systemUser = (): string | undefined =>
  process.getuid?.() === 0 && /^unbound:/m.test(readFileSync("/etc/passwd", "utf8")) ? "unbound" : undefined;

/** What has ended and waits for its parent to notice does not run any more (proc(5): `pid (name) state`). */
function alive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

async function end(pid: number): Promise<void> {
  const kill = (signal: NodeJS.Signals): void => {
    if (alive(pid)) process.kill(pid, signal);
  };
  kill("SIGTERM");
  const last = Date.now() + endMs;
  while (alive(pid) && Date.now() < last) await sleep(20);
  kill("SIGKILL");
}

/** Pid of whoever answers on the control socket. */
async function whoAnswers(directory: string): Promise<number | undefined> {
  const status = await control(controlPath(directory), "status", undefined, 2000).catch(() => "");
  const pid = /\(pid (\d+)\) is running/.exec(status)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** Ends what an agent that was killed has left in this directory. */
export async function endLeft(directory: string): Promise<void> {
  const pid = await whoAnswers(directory);
  if (pid !== undefined) await end(pid);
}

export interface DnsServerOptions extends Omit<DnsSettings, "user"> {
  log: Logger;
  /** It answers, or answers no more, as long as it is not stopped. Not told of the first time. */
  changed?: (up: boolean) => void;
}

export class DnsServer {
  readonly #directory: string;
  readonly #config: string;
  readonly #log: Logger;
  readonly #changed: (up: boolean) => void;
  #child: ChildProcess | undefined;
  /** Of the process, ours or one that was found. */
  #pid: number | undefined;
  #up = false;
  #stopping = false;
  #pause = firstPauseMs;
  #begun = 0;
  #timer: NodeJS.Timeout | undefined;
  /** What it answers. */
  #held: Lines = new Map();
  #last: Promise<unknown> = Promise.resolve();
  /** What it said last, for errors. */
  #said: string[] = [];

  /** Constructing has no effects. */
  constructor({ log, changed = () => undefined, ...settings }: DnsServerOptions) {
    const user = systemUser();
    this.#directory = settings.directory;
    this.#config = renderConfig({ ...settings, ...(user !== undefined && { user }) });
    this.#log = log;
    this.#changed = changed;
  }

  /** Its process, while there is one. */
  get pid(): number | undefined {
    return this.#pid;
  }

  get up(): boolean {
    return this.#up;
  }

  /** Names that it answers. */
  get names(): string[] {
    return [...this.#held.keys()];
  }

  /** Returns when it answers. @throws Error with what it said when it does not come up */
  async start(): Promise<void> {
    if (controlPath(this.#directory).length > longestPath) {
      throw new Error(`${controlPath(this.#directory)} is too long for a local socket: choose a shorter stateDir`);
    }
    this.#stopping = false;
    mkdirSync(this.#directory, { recursive: true, mode: 0o755 });
    if (await this.#adopt()) return;
    this.#write("unbound.conf", this.#config);
    if (!existsSync(recordsPath(this.#directory))) this.#writeRecords();
    this.#spawn();
    try {
      await this.#untilReady();
      this.#held = await this.#read();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends it. What it answered is asked elsewhere from now on: who takes queries for it, stops that before. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    await this.#last;
    await this.#end();
  }

  /**
   * These records and no others, all or nothing; with `keep`, other names stay as they are.
   * @throws Problem and it answers what it did
   */
  set(records: readonly DnsRecord[], { keep = false } = {}): Promise<void> {
    const lines = linesByName(records);
    const result = this.#last.then(() => this.#set(keep ? new Map([...this.#held, ...lines]) : lines));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #set(wanted: Lines): Promise<void> {
    if (!this.#up) throw new Problem("not-ready", "the name server is being started: try again");
    const before = this.#held;
    try {
      this.#writeRecords(wanted);
      await this.#change(before, wanted);
      this.#held = wanted;
    } catch (error) {
      this.#writeRecords(before);
      // Half of a change is not left behind: if it cannot be taken back, it begins again with what it had.
      await this.#change(await this.#read().catch(() => wanted), before).catch(() => {
        if (this.#pid !== undefined && alive(this.#pid)) process.kill(this.#pid, "SIGKILL");
      });
      throw new Problem("not-ready", `nothing has changed; the name server: ${messageOf(error)}`, {}, { cause: error });
    }
  }

  async #change(before: Lines, wanted: Lines): Promise<void> {
    const text = (lines: string[] | undefined): string => lines?.join("\n") ?? "";
    const changed = [...wanted.keys()].filter((name) => text(before.get(name)) !== text(wanted.get(name)));
    const gone = [...before.keys()].filter((name) => !wanted.has(name));
    if (changed.length > 0) {
      const zones = (type: string) => changed.map((name) => `${name}. ${type}`);
      await this.#tell("local_zones", zones("deny"));
      await this.#tell(
        "local_datas_remove",
        changed.filter((name) => before.has(name)).map((name) => `${name}.`),
      );
      await this.#tell(
        "local_datas",
        changed.flatMap((name) => wanted.get(name) ?? []),
      );
      await this.#tell("local_zones", zones("transparent"));
    }
    await this.#tell(
      "local_zones_remove",
      gone.map((name) => `${name}.`),
    );
  }

  async #tell(command: string, lines: string[]): Promise<void> {
    if (lines.length > 0) await control(controlPath(this.#directory), command, lines);
  }

  async #read(): Promise<Lines> {
    const path = controlPath(this.#directory);
    return readBack(await control(path, "list_local_zones"), await control(path, "list_local_data"));
  }

  #write(name: string, text: string): void {
    const path = join(this.#directory, name);
    writeFileSync(`${path}.new`, text, { mode: 0o644 });
    renameSync(`${path}.new`, path);
  }

  #writeRecords(lines: Lines = this.#held): void {
    this.#write("records.conf", renderRecords(lines));
  }

  /** One that an earlier agent has left goes on if it runs with our configuration; else it ends. */
  async #adopt(): Promise<boolean> {
    this.#pid = await whoAnswers(this.#directory);
    if (this.#pid === undefined) return false;
    const path = join(this.#directory, "unbound.conf");
    if (existsSync(path) && readFileSync(path, "utf8") === this.#config) {
      this.#held = await this.#read();
      this.#up = true;
      this.#log.info({ pid: this.#pid, names: this.#held.size }, "the name server runs already");
      this.#watch(this.#pid);
      return true;
    }
    await this.#end();
    return false;
  }

  /** Of one that is not our child, nobody says that it has ended. */
  #watch(pid: number): void {
    this.#timer = setTimeout(() => {
      if (alive(pid)) this.#watch(pid);
      else this.#ended("it is gone");
    }, lookMs);
  }

  #spawn(): void {
    this.#begun = Date.now();
    this.#said = [];
    const child = spawn("unbound", ["-d", "-c", join(this.#directory, "unbound.conf")], {
      // Not of our process group: what is typed at our terminal is not for it.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env,
    });
    this.#child = child;
    this.#pid = child.pid;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => this.#heard(line));
    }
    const once = (why: string): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#ended(why);
    };
    child.on("error", (error) => once(`${error.message}: is the Debian package unbound installed?`));
    child.on("exit", (code, signal) => once(signal ? `killed by ${signal}` : `ended with ${code}`));
  }

  #heard(line: string): void {
    const [, level = "", text = line] = /^\[\d+\] unbound\[[\d:]+\] (\w+): (.*)$/.exec(line) ?? [];
    this.#said = [...this.#said.slice(-9), text];
    const at = level.startsWith("err") || level === "fatal" ? "error" : level === "warning" ? "warn" : "debug";
    this.#log[at]({ part: "unbound" }, text);
  }

  #ended(why: string): void {
    const was = this.#up;
    this.#up = false;
    this.#pid = undefined;
    if (this.#stopping) return;
    if (was) this.#changed(false);
    else this.#said = [...this.#said.slice(-9), why];
    if (Date.now() - this.#begun > steadyMs) this.#pause = firstPauseMs;
    this.#log.error(
      { part: "unbound", said: this.#said.at(-1) },
      `the name server ${why}; it begins again in ${this.#pause} ms`,
    );
    this.#timer = setTimeout(() => {
      this.#spawn();
      const again = this.#last.then(async () => {
        await this.#untilReady();
        await this.#change(await this.#read(), this.#held);
        this.#changed(true);
      });
      this.#last = again.catch((error: unknown) => this.#log.warn({ err: error }, "the name server is not up yet"));
    }, this.#pause);
    this.#pause = Math.min(longestPauseMs, this.#pause * 2);
  }

  async #untilReady(): Promise<void> {
    const child = this.#child;
    const last = Date.now() + readyMs;
    while (this.#child === child && child && Date.now() < last) {
      if ((await whoAnswers(this.#directory)) === child.pid && this.#child === child) {
        this.#up = true;
        this.#log.info({ pid: child.pid }, "the name server answers");
        return;
      }
      await sleep(50);
    }
    throw new Error(`the name server does not come up: ${this.#said.join("; ") || "it says nothing"}`);
  }

  async #end(): Promise<void> {
    const pid = this.#pid;
    this.#up = false;
    if (pid !== undefined) await end(pid);
    this.#pid = undefined;
    this.#child = undefined;
  }
}
