/**
 * How does a test run the real Pulumi engine?
 *
 * The CLI that `bin/pulumi-engine` makes, with a state of its own in a folder that goes away afterwards, and no network: no
 * update check, no plugin is fetched. Programs are functions of the test (Automation API) or folders with a Pulumi.yaml (the
 * CLI and the language host as a user runs them). The provider is that of this repository, from dist/.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  LocalWorkspace,
  type ProjectSettings,
  PulumiCommand,
  type PulumiFn,
  type Stack,
} from "@pulumi/pulumi/automation/index.js";
import { repository } from "../lab/appliance.ts";

export { repository };
/** As Pulumi.yaml names it. */
export const providerPath = join(repository, "infra", "provider");

let made: Promise<string> | undefined;

/** Folder of the engine; made when it is not there, which takes minutes. @throws Error with what the making said */
export function engineFolder(): Promise<string> {
  made ??= promisify(execFile)(join(repository, "bin", "pulumi-engine"), { maxBuffer: 1 << 24 }).then(({ stdout }) =>
    stdout.trim(),
  );
  return made;
}

export interface Said {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface WorkspaceOptions {
  /** Of the stacks' secrets. */
  passphrase?: string;
  /** Policy packs run here: programs have to be functions then (bin/pulumi-engine says why). */
  policies?: boolean;
}

/** Stacks that know nothing of each other's backends; one folder holds everything that they leave. */
export class PulumiWorkspace {
  /** Of all that belongs to it; `remove` takes it away. */
  readonly folder: string;
  readonly env: Record<string, string>;
  /** The CLI is `<root>/bin/pulumi`. */
  readonly root: string;
  #command: PulumiCommand | undefined;

  private constructor(root: string, folder: string, passphrase: string) {
    this.root = root;
    this.folder = folder;
    for (const name of ["state", "home", "work"]) mkdirSync(join(folder, name), { recursive: true });
    this.env = {
      PULUMI_BACKEND_URL: `file://${join(folder, "state")}`,
      PULUMI_HOME: join(folder, "home"),
      PULUMI_CONFIG_PASSPHRASE: passphrase,
      PULUMI_SKIP_UPDATE_CHECK: "true",
      PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
      PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS: "true",
      PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK: "true",
      PATH: `${join(root, "bin")}:${process.env.PATH ?? ""}`,
    };
  }

  static async create({ passphrase = "test", policies = false }: WorkspaceOptions = {}): Promise<PulumiWorkspace> {
    const root = await engineFolder();
    const folder = mkdtempSync(join(tmpdir(), "ofr-pulumi-"));
    return new PulumiWorkspace(policies ? join(root, "policies") : root, folder, passphrase);
  }

  /** A stack whose program is a function of this process. */
  async stack(stackName: string, program: PulumiFn, projectName = "try"): Promise<Stack> {
    this.#command ??= await PulumiCommand.get({ root: this.root, skipVersionCheck: true });
    const workDir = join(this.folder, "work", projectName);
    mkdirSync(workDir, { recursive: true });
    return LocalWorkspace.createOrSelectStack(
      { stackName, projectName, program },
      {
        pulumiCommand: this.#command,
        workDir,
        pulumiHome: this.env.PULUMI_HOME as string,
        secretsProvider: "passphrase",
        envVars: this.env,
        // The type knows no plugins; Pulumi.yaml does.
        projectSettings: {
          name: projectName,
          runtime: "nodejs",
          plugins: { providers: [{ name: "offramp", path: providerPath }] },
        } as ProjectSettings,
      },
    );
  }

  /** A project folder for the CLI: JavaScript that finds the packages of this repository. */
  project(name: string, program: string): string {
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      join(folder, "Pulumi.yaml"),
      `name: ${name}
runtime: { name: nodejs, options: { typescript: false } }
plugins: { providers: [{ name: offramp, path: ${providerPath} }] }
`,
    );
    writeFileSync(join(folder, "package.json"), '{ "main": "index.mjs", "private": true }\n');
    writeFileSync(join(folder, "index.mjs"), program);
    symlinkSync(join(repository, "node_modules"), join(folder, "node_modules"));
    return folder;
  }

  /** Begins `pulumi ARGUMENTS` in a folder. */
  begin(folder: string, ...args: string[]): ChildProcess {
    return spawn(join(this.root, "bin", "pulumi"), ["--non-interactive", ...args], {
      cwd: folder,
      env: { ...process.env, ...this.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** What `pulumi ARGUMENTS` says, run to its end. */
  async run(folder: string, ...args: string[]): Promise<Said> {
    return said(this.begin(folder, ...args));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What a process says until it ends. */
export async function said(child: ChildProcess): Promise<Said> {
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr?.on("data", (data: Buffer) => {
    stderr += data.toString();
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}
