/**
 * How does a change of a Pulumi program reach a site that is a stack of its own?
 *
 * By the Automation API: one stack per site, `up` with the program as it is now. What the stack's state was before is kept in a
 * file per site, and `restore` makes the site that again (stack-state.ts); a stack that was not there before is destroyed.
 * An engine is a process of some hundred megabytes with a provider and a program beside it, so few run at a time. Engines run in
 * sessions of their own: Ctrl-C at the terminal does not cut them off. One whose coordinator was killed goes on, or leaves a lock:
 * the next one waits for the living and clears up after the dead.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, freemem, hostname } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  ConcurrentUpdateError,
  type Deployment,
  type InlineProgramArgs,
  LocalWorkspace,
  type OpMap,
  PulumiCommand,
  type PulumiFn,
  Stack,
  StackNotFoundError,
} from "@pulumi/pulumi/automation/index.js";
import { parse, stringify } from "yaml";
import type { SiteAccess } from "../site.ts";
import { observeSite } from "./api-driver.ts";
import type { Driver, Observation } from "./driver.ts";
import { decrypted, programOf } from "./stack-state.ts";
import type { FleetSite } from "./waves.ts";

export interface StackDriverOptions {
  /** A folder with Pulumi.yaml, or a program of this process. */
  project: string | { name: string; program: (site: FleetSite) => PulumiFn; plugins?: object };
  stack: (site: FleetSite) => string;
  config?: (site: FleetSite) => Record<string, string>;
  secrets?: (site: FleetSite) => Record<string, string>;
  /** Of the site's own API, whose readiness and metrics are looked at. */
  access: (site: FleetSite) => SiteAccess;
  /** Folder in which states are kept until the roll-out is forgotten. */
  states: string;
  /** Folder whose bin/pulumi is the engine; absent: the one of PATH. */
  pulumi?: string;
  /** Of the engine: where states are, and what secrets are kept by. */
  env?: Record<string, string>;
  /** Engines at a time. Default: as many as there are processors, and memory for. */
  atOnce?: number;
}

/** `absent`: there was no stack. Otherwise where its state is kept, and what it is. */
export type PreviousStack = { absent: true } | { file: string; sha256: string };

interface ProjectFile {
  name: string;
  plugins?: Record<string, { path?: string }[]>;
}

/** What an engine, its provider and its program take together, generously. */
const engineOctets = 600 << 20;
/** How long another engine is waited for. */
const lockedMs = 1_800_000;

export const enginesAtOnce = (): number =>
  Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / engineOctets)));

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** `2 created, 1 updated`. */
function changesText(changes: OpMap = {}): string {
  const words = { create: "created", update: "updated", delete: "deleted", replace: "replaced" };
  const said = Object.entries(words).flatMap(([op, word]) => {
    const count = changes[op as keyof typeof words];
    return count ? [`${count} ${word}`] : [];
  });
  return said.join(", ") || "nothing changed";
}

/** Of all that the engine said, its errors; secrets are none of it, the engine masks them. */
function reasonOf(error: unknown): Error {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.split("\n").map((line) => line.trim());
  const errors = lines.filter((line) => /\berror: /.test(line) && !/update failed|preview failed/.test(line));
  return new Error([...new Set(errors)].join("; ").slice(0, 1000) || text.slice(0, 1000), { cause: error });
}

/** Runs so many at a time. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#free = width;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((turn) => this.#waiting.push(turn));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}

/** The engine in a session of its own. @throws Error when there is none */
async function engineOf(root: string | undefined): Promise<PulumiCommand> {
  const base = await PulumiCommand.get({ ...(root !== undefined && { root }), skipVersionCheck: true });
  type Run = (args: string[], cwd: string, env: Record<string, string>, ...rest: unknown[]) => Promise<unknown>;
  const { run } = base as unknown as { run: Run };
  return Object.assign(Object.create(base) as PulumiCommand, {
    run: (args: string[], cwd: string, env: Record<string, string>, ...rest: unknown[]) => {
      const path = isAbsolute(base.command) ? `${dirname(base.command)}:${env.PATH ?? process.env.PATH}` : undefined;
      const own = { ...env, ...(path !== undefined && { PATH: path }) };
      return run.call({ command: "setsid" }, [base.command, ...args], cwd, own, ...rest);
    },
  });
}

export class StackDriver implements Driver<PreviousStack> {
  readonly #options: StackDriverOptions;
  readonly #turns: Turns;
  #engine: Promise<PulumiCommand> | undefined;

  constructor(options: StackDriverOptions) {
    this.#options = options;
    this.#turns = new Turns(options.atOnce ?? enginesAtOnce());
    mkdirSync(options.states, { recursive: true, mode: 0o700 });
  }

  get #command(): Promise<PulumiCommand> {
    this.#engine ??= engineOf(this.#options.pulumi);
    return this.#engine;
  }

  get #project(): ProjectFile {
    const { project } = this.#options;
    if (typeof project === "string") return parse(readFileSync(join(project, "Pulumi.yaml"), "utf8")) as ProjectFile;
    return { name: project.name, ...(project.plugins && { plugins: project.plugins as ProjectFile["plugins"] }) };
  }

  /** With the paths of plugins from wherever the workspace is. */
  #settings(): ProjectFile & { runtime: string } {
    const { project } = this.#options;
    const { name, plugins = {} } = this.#project;
    const from = typeof project === "string" ? project : process.cwd();
    const found = Object.entries(plugins).map(([kind, all]) => [
      kind,
      all.map((one) => (one.path === undefined ? one : { ...one, path: resolve(from, one.path) })),
    ]);
    return { name, runtime: "nodejs", plugins: Object.fromEntries(found) };
  }

  /** Of a site, for inline programs: settings of the stack live there. */
  #folder(site: FleetSite): string {
    const folder = join(resolve(this.#options.states), "work", site.name);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
  }

  async #workspace(site: FleetSite) {
    const { project, env = {} } = this.#options;
    return {
      pulumiCommand: await this.#command,
      envVars: { ...env },
      workDir: typeof project === "string" ? project : this.#folder(site),
      ...(typeof project !== "string" && { projectSettings: this.#settings() as never }),
    };
  }

  /** @throws StackNotFoundError */
  async #select(site: FleetSite): Promise<Stack> {
    return Stack.select(this.#options.stack(site), await LocalWorkspace.create(await this.#workspace(site)));
  }

  async #open(site: FleetSite): Promise<Stack> {
    const { project, stack } = this.#options;
    const options = await this.#workspace(site);
    const stackName = stack(site);
    if (typeof project === "string")
      return LocalWorkspace.createOrSelectStack({ stackName, workDir: project }, options);
    const inline: InlineProgramArgs = { stackName, projectName: project.name, program: project.program(site) };
    const opened = await LocalWorkspace.createOrSelectStack(inline, options);
    return opened;
  }

  async #configured(site: FleetSite): Promise<Stack> {
    const { config, secrets } = this.#options;
    const stack = await this.#open(site);
    const all = [
      ...Object.entries(config?.(site) ?? {}).map(([name, value]) => [name, { value }] as const),
      ...Object.entries(secrets?.(site) ?? {}).map(([name, value]) => [name, { value, secret: true }] as const),
    ];
    if (all.length > 0) await stack.setAllConfig(Object.fromEntries(all));
    return stack;
  }

  /** Waits for another engine at this stack that lives, and clears up after one that does not. */
  async #unlocked<T>(stack: Stack, work: () => Promise<T>): Promise<T> {
    for (const end = Date.now() + lockedMs; ; ) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof ConcurrentUpdateError) || Date.now() > end) throw error;
        const [, host, pid] = /created by \S+?@(\S+) \(pid (\d+)\)/.exec(error.message) ?? [];
        if (pid === undefined || host !== hostname())
          throw new Error(
            `another engine${host ? ` on ${host}` : ""} has this stack: wait, or run pulumi cancel there`,
          );
        if (existsSync(`/proc/${pid}`)) await sleep(500);
        else await stack.cancel();
      }
    }
  }

  #at<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.run(work).catch((error: unknown) => {
      throw reasonOf(error);
    });
  }

  #settingsFile = (site: FleetSite, folder: string): string => join(folder, `Pulumi.${this.#options.stack(site)}.yaml`);

  current(site: FleetSite): Promise<PreviousStack> {
    return this.#at(async () => {
      const { states, stack: nameOf, env = {} } = this.#options;
      try {
        const stack = await this.#select(site);
        const { workDir } = stack.workspace;
        const command = (await this.#command) as unknown as {
          run(args: string[], cwd: string, env: Record<string, string>): Promise<{ stdout: string }>;
        };
        // Not exportStack: that one shows secrets.
        const { stdout } = await command.run(["stack", "export", "--stack", nameOf(site)], workDir, env);
        const settings = this.#settingsFile(site, workDir);
        const text = JSON.stringify({
          deployment: JSON.parse(stdout),
          settings: existsSync(settings) ? readFileSync(settings, "utf8") : undefined,
        });
        const file = `${site.name}.json`;
        writeFileSync(join(states, `${file}.new`), text, { mode: 0o600, flush: true } as never);
        renameSync(join(states, `${file}.new`), join(states, file));
        return { file, sha256: sha256(text) };
      } catch (error) {
        if (error instanceof StackNotFoundError) return { absent: true };
        throw error;
      }
    });
  }

  preview(site: FleetSite): Promise<string> {
    return this.#at(async () => {
      const stack = await this.#configured(site);
      return changesText((await stack.preview()).changeSummary).replaceAll(/(cre|upd|repl|delet)\w+/g, "to be $&");
    });
  }

  deploy(site: FleetSite): Promise<string> {
    return this.#at(async () => {
      const stack = await this.#configured(site);
      const { summary } = await this.#unlocked(stack, () => stack.up());
      return changesText(summary.resourceChanges);
    });
  }

  restore(site: FleetSite, previous: PreviousStack): Promise<void> {
    return this.#at(async () => {
      if ("absent" in previous) return this.#removed(site);
      const text = readFileSync(join(this.#options.states, previous.file), "utf8");
      if (sha256(text) !== previous.sha256) throw new Error(`${previous.file} is not what was kept of the stack`);
      const { deployment, settings } = JSON.parse(text) as { deployment: Deployment; settings?: string };
      await this.#settled(site);
      await this.#declare(site, deployment, settings);
    });
  }

  /** What a cut-off update began, and the state does not know of, is taken up by another one: only then can it be undone. */
  async #settled(site: FleetSite): Promise<void> {
    const stack = await this.#select(site);
    const { deployment } = await stack.exportStack();
    if (((deployment.pending_operations as unknown[] | undefined) ?? []).length === 0) return;
    const again = await this.#configured(site);
    await this.#unlocked(again, () => again.up()).catch(() => undefined);
  }

  async #declare(site: FleetSite, deployment: Deployment, settings: string | undefined): Promise<void> {
    const { env = {}, stack: nameOf, project } = this.#options;
    const command = await this.#command;
    const { name } = this.#project;
    const resources = await decrypted(deployment, { stack: nameOf(site), project: name, command, env });
    const folder = this.#folder(site);
    if (settings !== undefined) writeFileSync(this.#settingsFile(site, folder), settings, { mode: 0o600 });
    writeFileSync(join(folder, "Pulumi.yaml"), stringify(this.#settings()));
    const options = { pulumiCommand: command, envVars: { ...env }, workDir: folder, program: programOf(resources) };
    const stack = await Stack.select(nameOf(site), await LocalWorkspace.create(options));
    await this.#unlocked(stack, () => stack.up());
    if (typeof project !== "string") return;
    const own = this.#settingsFile(site, project);
    if (settings === undefined) rmSync(own, { force: true });
    else writeFileSync(own, settings);
  }

  async #removed(site: FleetSite): Promise<void> {
    try {
      await this.#settled(site);
      const stack = await this.#select(site);
      await this.#unlocked(stack, () => stack.destroy());
      await stack.workspace.removeStack(this.#options.stack(site));
    } catch (error) {
      if (!(error instanceof StackNotFoundError)) throw error;
    }
  }

  observe(site: FleetSite): Promise<Observation> {
    return observeSite(this.#options.access(site));
  }
}
