/**
 * What does the runtime have to do for an instance?
 *
 *   AppD, files of its package ─▶ InstanceSpec ─▶ runtime
 *
 * External instances (apps on machines of their own) need nothing of it. Limits that the AppD does not name under x-offramp are
 * taken from the standard's attributes, and else are these: one core, 512 MiB, 256 processes.
 */
import { Problem } from "../../controlplane/errors.ts";
import type { AppD } from "../model/appd.ts";
import { imageOf, runtimeOf } from "../model/read-appd.ts";
import type { AppPackage, Content, Packages } from "../packages/packages.ts";
import type { Exit, InstanceSpec, LogLine, Runtime } from "../runtime/runtime.ts";
import type { InstanceRecord } from "./record.ts";

const usual = { cpu: 1, memory: 512 * 2 ** 20, pids: 256 };
const mega = 1_000_000;

/** What an instance may use. */
export function limitsOf(appd: AppD): InstanceSpec["limits"] {
  const compute = appd.virtualComputeDescriptor;
  const containers = appd.osContainerDescriptor ?? [];
  const sum = (value: (one: (typeof containers)[number]) => number | undefined) => {
    const values = containers.flatMap((one) => value(one) ?? []);
    return values.length === 0 ? undefined : values.reduce((total, one) => total + one, 0);
  };
  const millicores = sum((one) => one.cpuResourceLimit ?? one.requestedCpuResources);
  const megabytes = sum((one) => one.memoryResourceLimit ?? one.requestedMemoryResources);
  const memory = megabytes ?? compute?.virtualMemory.virtualMemSize;
  const standard = {
    cpu: (millicores === undefined ? compute?.virtualCpu.numVirtualCpu : millicores / 1000) || usual.cpu,
    memory: memory ? Math.round(memory * mega) : usual.memory,
    pids: usual.pids,
  };
  return { ...standard, ...appd["x-offramp"]?.runtime?.limits };
}

/** Whether instances of a package run on machines of their own. */
export const isExternal = ({ appd, files }: Content): boolean =>
  runtimeOf(appd, (path) => files.some((file) => file.path === path)).kind === "external";

export interface RunnerOptions {
  /** Absent: site.yaml has no `mep.apps`. */
  runtime?: Runtime;
  packages: Pick<Packages, "unpacked">;
  /** New credentials for an instance that is about to start; older ones end. */
  credentials?(instance: InstanceRecord): Promise<{ clientId: string; clientSecret: string }>;
}

export class Runner {
  readonly #options: RunnerOptions;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** @throws Problem conflict where the site runs no apps */
  #runtime(): Runtime {
    const { runtime } = this.#options;
    if (runtime) return runtime;
    throw new Problem("conflict", "this site runs no apps: site.yaml has no mep.apps");
  }

  /** Addresses of an instance that runs here. */
  async reserve(id: string): Promise<string[]> {
    const { tof } = await this.#runtime().reserve(id);
    return [tof];
  }

  async #spec(instance: InstanceRecord, one: AppPackage & { content: Content }): Promise<InstanceSpec> {
    const { appd, files } = one.content;
    const section = runtimeOf(appd, (path) => files.some((file) => file.path === path));
    const { packages, credentials } = this.#options;
    const image = section.kind === "container" ? imageOf(appd) : undefined;
    const file = files.find(({ path }) => path === image?.path);
    if (section.kind === "container" && !file) throw new Problem("conflict", "the package has no image to run");
    const mounts = [];
    for (const { source, path } of section.files ?? []) {
      mounts.push({ source: await packages.unpacked(one, source), target: path });
    }
    return {
      id: instance.id,
      tenant: instance.provider,
      kind: section.kind === "unit" ? "unit" : "container",
      ...(file && { image: { archive: await packages.unpacked(one, file.path), digest: `sha256:${file.sha256}` } }),
      command: section.command ?? [],
      environment: section.environment ?? {},
      ...(credentials && { credentials: await credentials(instance) }),
      files: mounts,
      limits: limitsOf(appd),
      egress: section.egress ?? false,
    };
  }

  async start(instance: InstanceRecord, one: AppPackage & { content: Content }): Promise<void> {
    await this.#runtime().start(await this.#spec(instance, one));
  }

  async stop(id: string, graceMs: number): Promise<void> {
    await this.#options.runtime?.stop(id, graceMs);
  }

  async remove(id: string): Promise<void> {
    await this.#options.runtime?.remove(id);
  }

  running(id: string): boolean {
    return this.#options.runtime?.state(id)?.state === "running";
  }

  /** How the program of one that does not run has ended. */
  exit(id: string): Exit | undefined {
    return this.#options.runtime?.state(id)?.exit;
  }

  /** The moment at which one is found gone by itself. Returns how to stop listening. */
  onGone(listener: (id: string) => void): () => void {
    return this.#options.runtime?.onGone(listener) ?? (() => undefined);
  }

  /** When one has ended by itself. Returns how to stop listening. */
  onExit(listener: (id: string, reason: string) => void): () => void {
    return (
      this.#options.runtime?.on(({ id, exit }) => listener(id, exit?.reason ?? "it has ended")) ?? (() => undefined)
    );
  }

  /** @throws Problem conflict where the site runs no apps */
  logs(id: string, tail: number): Promise<LogLine[]> {
    return this.#runtime().logs(id, tail);
  }
}
