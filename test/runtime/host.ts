/**
 * What does a runtime need around it, and what may be left of it?
 *
 * A test runs in a network namespace of its own (test/ebpf/namespace.ts); that is the appliance here. `left` names all that
 * a runtime can leave behind there, so that a test can ask for nothing.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AsFound } from "../../dataplane/ebpf/netdev.ts";
import { makeVeths, routeReplies } from "../../dataplane/ebpf/plumbing.ts";
import { HostRuntime, type HostRuntimeConfig } from "../../mep/runtime/host-runtime.ts";
import type { InstanceSpec } from "../../mep/runtime/runtime.ts";
import { ip } from "../ebpf/namespace.ts";
import { until } from "../lab/netns.ts";

export const ownAddress = "10.60.0.1";

/** The appliance without programs: its adapter toward apps, and the return port with the data plane's own routing. */
export async function makeAppliance(): Promise<void> {
  const directory = stateDirectory();
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  ip("link add apps0 type veth peer name apps0x");
  ip("link set dev apps0x up");
  const found = new AsFound(join(directory, "as-found.json"));
  await makeVeths(found, 1464);
  const instances = { tof: "10.61.0.0/24", platform: "10.62.0.0/24" };
  await routeReplies(found, { interface: "apps0", address: `${ownAddress}/24`, instances }, 1464);
}

export const stateDirectory = (): string => mkdtempSync(join(tmpdir(), `ofr-${process.pid}-runtime-`));

export function configOf(stateDir: string, more: Partial<HostRuntimeConfig["site"]> = {}): HostRuntimeConfig {
  return {
    stateDir,
    networks: { tof: "10.61.0.0/24", platform: "10.62.0.0/24" },
    site: {
      returnPort: "ofr-ret",
      appsAdapter: "apps0",
      ownAddress,
      servers: [{ protocol: "tcp", address: ownAddress, port: 8091 }],
      platform: "10.62.0.0/24",
      forbidden: ["198.18.0.0/15", "10.60.0.0/24", "10.61.0.0/24", "10.62.0.0/24"],
      uePools: ["10.45.0.0/16"],
      ...more,
    },
    resolver: ownAddress,
    warn: (message) => process.stderr.write(`${message}\n`),
  };
}

export const specOf = (more: Partial<InstanceSpec> = {}): InstanceSpec => ({
  id: "one",
  tenant: "acme",
  kind: "unit",
  command: ["/usr/bin/sleep", "600"],
  environment: {},
  files: [],
  limits: { cpu: 0.5, memory: 64 << 20, pids: 32 },
  egress: false,
  ...more,
});

/** Lines that a program prints; none where it fails. */
export const words = (file: string, ...args: string[]): string[] => {
  try {
    return execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .split("\n")
      .filter(Boolean);
  } catch {
    return [];
  }
};

/** Ports, namespaces, tables, control groups, mounts and processes that runtimes of this state directory have left. */
export function left(stateDir: string, before: Set<string> = new Set()): string[] {
  const ports = words("ip", "-br", "link", "show").filter((line) => /^oa[tp]-/.test(line));
  const namespaces = (existsSync("/run/netns") ? readdirSync("/run/netns") : []).filter((name) =>
    name.startsWith("oa-"),
  );
  const tables = words("nft", "list", "tables");
  const groups = words("find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", "offramp-*");
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(stateDir));
  const processes = words("pgrep", "-af", stateDir);
  return [...ports, ...namespaces, ...tables, ...groups, ...mounts, ...processes].filter((one) => !before.has(one));
}

/** A runtime over a directory of its own; both gone afterwards. */
export const withRuntime =
  (body: (runtime: HostRuntime, stateDir: string) => Promise<void>, more: Partial<HostRuntimeConfig["site"]> = {}) =>
  async (): Promise<void> => {
    const stateDir = stateDirectory();
    const runtime = new HostRuntime(configOf(stateDir, more));
    try {
      await runtime.open();
      await body(runtime, stateDir);
    } finally {
      await runtime.down();
      rmSync(stateDir, { recursive: true, force: true });
    }
  };

/** Waits until the instance has printed that, and gives all that it has printed. */
export const said = (runtime: HostRuntime, text: string, id = "one"): Promise<string[]> =>
  until(
    `"${text}" from ${id}`,
    async () => {
      const lines = (await runtime.logs(id, 10_000)).map((line) => line.text);
      return lines.some((line) => line.includes(text)) ? lines : undefined;
    },
    60_000,
  );

/** The work must fail, and say this. */
export async function refused(work: () => Promise<unknown>, why: RegExp): Promise<void> {
  const message = await work().then(
    () => "nothing was refused",
    (error: Error) => error.message,
  );
  if (!why.test(message)) throw new Error(`expected ${why}, but: ${message}`);
}
