/**
 * How does a test get machines of its own?
 *
 * One network namespace is one machine. A `Machines` is a set of them under a prefix that names the process that made
 * them (`ofr-<pid>-<n>-…`), so suites run beside each other, and what a dead process left can be recognised and swept.
 * Processes are started by `ip netns exec`, which execs: the pid we know is the pid of the program. Everything is
 * ended by that pid, on `destroy`, at the end of this process, and on SIGINT and SIGTERM.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end; a code other than 0 is no exception. */
export function command(argv: string[], options: { timeoutMs?: number; input?: string } = {}): Promise<Output> {
  return new Promise((resolve) => {
    const [file, ...args] = argv;
    const child = execFile(
      file ?? "false",
      args,
      { timeout: options.timeoutMs ?? 60_000, maxBuffer: 64 << 20, encoding: "utf8" },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 124;
        resolve({ code, stdout, stderr: stderr || (error && !stderr ? error.message : "") });
      },
    );
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}

/** As `command`, but throws with everything the command said. */
export async function must(argv: string[], options: { timeoutMs?: number; input?: string } = {}): Promise<Output> {
  const output = await command(argv, options);
  if (output.code !== 0) throw new Error(`${argv.join(" ")}: exit ${output.code}: ${output.stderr}${output.stdout}`);
  return output;
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `probe` gives something other than undefined or false; throws with `what` after `timeoutMs`. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 10_000,
  everyMs = 50,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const result = await probe();
    if (result !== undefined && result !== false) return result;
    if (Date.now() > end) throw new Error(`gave up after ${timeoutMs} ms waiting for ${what}`);
    await sleep(everyMs);
  }
}

const maxLog = 256 << 10;

/** A running program in a namespace, with the end of what it said. */
export class Process {
  readonly name: string;
  readonly child: ChildProcess;
  log = "";
  /** Exit code, or 128 + signal as shells have it; undefined while running. */
  code: number | undefined;
  readonly ended: Promise<number>;
  private readonly listeners = new Set<(line: string) => void>();

  constructor(name: string, argv: string[], env: Record<string, string> = {}) {
    this.name = name;
    const [file, ...args] = argv;
    this.child = spawn(file ?? "false", args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...env } });
    this.child.stdin?.on("error", () => undefined);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on("line", (line) => {
        this.log = `${this.log}${line}\n`.slice(-maxLog);
        for (const listener of this.listeners) listener(line);
      });
    }
    this.ended = new Promise((resolve) => {
      this.child.on("error", (error) => {
        this.log += `${error.message}\n`;
        this.code ??= 127;
        resolve(127);
      });
      this.child.on("exit", (code, signal) => {
        this.code ??= code ?? 128 + (signal ? constants.signals[signal] : 0);
        resolve(this.code);
      });
    });
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  onLine(listener: (line: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  write(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  /** Waits until the log holds a match; throws with the log when the program ends first or time runs out. */
  async said(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpMatchArray> {
    return until(
      `"${pattern.source}" from ${this.name}`,
      () => {
        const match = this.log.match(pattern);
        if (match) return match;
        if (this.code !== undefined) throw new Error(`${this.name} ended with ${this.code}:\n${this.log}`);
        return undefined;
      },
      timeoutMs,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log.slice(-4000)}`);
    });
  }

  /** Sends the signal and waits for the end; after `graceMs` it is SIGKILL. */
  async end(signal: NodeJS.Signals = "SIGTERM", graceMs = 3000): Promise<number> {
    if (this.code === undefined && this.child.pid !== undefined) {
      this.child.kill(signal);
      const timer = setTimeout(() => this.child.kill("SIGKILL"), graceMs);
      await this.ended;
      clearTimeout(timer);
    }
    return this.code ?? 0;
  }
}

let serial = 0;
const living = new Set<Machines>();

/** A set of namespaces, their processes and a scratch directory. */
export class Machines {
  readonly prefix: string;
  readonly directory: string;
  private readonly names = new Set<string>();
  private readonly processes = new Set<Process>();

  /**
   * @param name a fixed prefix instead of the unique one, for a lab whose commands people type; taken only when no
   * living process has it.
   */
  constructor(name?: string) {
    if (serial === 0) {
      sweep();
      process.on("exit", endAll);
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
        process.on(signal, () => {
          // Whoever listens as well (the demonstration does) cleans up in its own time.
          if (process.listenerCount(signal) === 1) process.exit(signal === "SIGINT" ? 130 : 143);
        });
      }
    }
    serial += 1;
    this.prefix = name && claim(name) ? name : `ofr-${process.pid}-${serial}`;
    this.directory = mkdtempSync(join(tmpdir(), `${this.prefix}-`));
    living.add(this);
  }

  /** Full name of a namespace, as `ip netns` lists it. */
  ns(name: string): string {
    return `${this.prefix}-${name}`;
  }

  /** Makes a namespace with loopback up and nothing in it that netfilter or the host could disturb. */
  async add(name: string): Promise<string> {
    const full = this.ns(name);
    await must(["ip", "netns", "add", full]);
    this.names.add(full);
    await must(["ip", "-n", full, "link", "set", "lo", "up"]);
    await must([
      ...["ip", "netns", "exec", full, "sh", "-c"],
      // Duplicate address detection would make the first second of IPv6 a gamble. Reverse path filters are off, since
      // a bump in the wire answers from where the kernel does not expect it.
      "for k in net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.accept_dad=0 " +
        "net.ipv6.conf.default.accept_dad=0 net.ipv4.ping_group_range='0 2147483647'; do sysctl -qw \"$k\"; done; " +
        "for k in iptables ip6tables arptables; do sysctl -qw net.bridge.bridge-nf-call-$k=0 2>/dev/null; done; true",
    ]);
    return full;
  }

  /** `ip -n <ns> …`, each string one command. */
  async ip(name: string, ...commands: string[]): Promise<void> {
    await must(["ip", "-n", this.ns(name), "-batch", "-"], { input: `${commands.join("\n")}\n` });
  }

  /** A wire between two machines. */
  async wire(a: string, portA: string, b: string, portB: string, mtu = 1500): Promise<void> {
    await must([
      ...["ip", "link", "add", portA, "mtu", `${mtu}`, "netns", this.ns(a), "type", "veth"],
      ...["peer", "name", portB, "mtu", `${mtu}`, "netns", this.ns(b)],
    ]);
    await this.ip(a, `link set ${portA} up`);
    await this.ip(b, `link set ${portB} up`);
  }

  /**
   * Makes a veth end behave as an adapter at the far end of a cable: whole checksums, VLAN tags in the frame. GRO makes
   * it poll, without which native XDP redirect onto its peer loses everything.
   */
  async asCable(name: string, port: string): Promise<void> {
    await must([
      ...["ip", "netns", "exec", this.ns(name), "ethtool", "-K", port],
      ...["tx", "off", "rx", "off", "txvlan", "off", "gro", "on"],
    ]);
  }

  /** Runs a command in a namespace to its end. */
  exec(name: string, argv: string[], options: { timeoutMs?: number; input?: string } = {}): Promise<Output> {
    return command(["ip", "netns", "exec", this.ns(name), ...argv], options);
  }

  /** Starts a program in a namespace. */
  start(name: string, label: string, argv: string[], env: Record<string, string> = {}): Process {
    const started = new Process(label, ["ip", "netns", "exec", this.ns(name), ...argv], env);
    this.processes.add(started);
    void started.ended.then(() => this.processes.delete(started));
    return started;
  }

  /** Starts one of the helpers beside this file, whether this runs from source or compiled. */
  helper(name: string, label: string, file: string, args: string[] = []): Process {
    return this.start(name, label, [process.execPath, ...program(file), ...args]);
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.processes].map((one) => one.end("SIGTERM", 1500)));
    for (const name of this.names) await removeNamespace(name);
    this.forget();
  }

  private forget(): void {
    this.names.clear();
    rmSync(this.directory, { recursive: true, force: true });
    rmSync(ownerFile(this.prefix), { force: true });
    living.delete(this);
  }

  /** The same without waiting, for the end of the process. */
  destroyNow(): void {
    for (const one of this.processes) one.child.kill("SIGKILL");
    for (const name of this.names) removeNamespaceNow(name);
    this.forget();
  }
}

/** A helper's file and what node needs to run it: as built, when that is current (it starts in a tenth of the time). */
function program(file: string): string[] {
  const own = new URL(`./${file}.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url).pathname;
  if (own.endsWith(".js")) return [own];
  const built = new URL(`../../dist/test/lab/${file}.js`, import.meta.url).pathname;
  const age = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = [own, new URL("./pattern.ts", import.meta.url).pathname].map(age);
  if (age(built) > Math.max(...sources)) return [built];
  return ["--import", import.meta.resolve("tsx"), own];
}

const ownerFile = (prefix: string): string => join("/run", `offramp-${prefix}.pid`);

/** True when the prefix is ours now; what its last owner left is swept. */
function claim(prefix: string): boolean {
  const file = ownerFile(prefix);
  const owner = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
  if (owner > 0 && owner !== process.pid && existsSync(`/proc/${owner}`)) return false;
  writeFileSync(file, `${process.pid}\n`);
  for (const name of existsSync("/run/netns") ? readdirSync("/run/netns", { encoding: "utf8" }) : []) {
    if (name.startsWith(`${prefix}-`)) removeNamespaceNow(name);
  }
  return true;
}

function endAll(): void {
  for (const machines of living) machines.destroyNow();
}

/** Whoever still runs in a namespace is ended with it: a namespace with processes would live on, nameless. */
async function removeNamespace(name: string): Promise<void> {
  const pids = (await command(["ip", "netns", "pids", name])).stdout.split("\n").filter(Boolean);
  for (const pid of pids) kill(Number(pid));
  await command(["ip", "netns", "del", name]);
}

function removeNamespaceNow(name: string): void {
  try {
    const pids = execFileSync("ip", ["netns", "pids", name], { encoding: "utf8" });
    for (const pid of pids.split("\n").filter(Boolean)) kill(Number(pid));
    execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
  } catch {
    // Gone already.
  }
}

function kill(pid: number): void {
  try {
    if (pid > 1 && pid !== process.pid) process.kill(pid, "SIGKILL");
  } catch {
    // Ended meanwhile.
  }
}

/** Removes what runs of this lab left behind that were killed: namespaces named after a process that is no more. */
export function sweep(): void {
  const directory = "/run/netns";
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    const pid = name.match(/^ofr-(\d+)-\d+-/)?.[1];
    if (pid && !existsSync(`/proc/${pid}`)) removeNamespaceNow(name);
  }
}
