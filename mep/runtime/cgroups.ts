/**
 * How much memory may an instance have, and did it want more?
 *
 * podman limits CPU and processes. Memory is limited here, in a control group around the container's own: that one is gone
 * when the container ends, this one still tells whether the limit was met. Version 1 (also in hybrid mode) and version 2.
 *
 * Linux: Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../dataplane/ebpf/command.ts";

const ROOT = "/sys/fs/cgroup";

const version2 = (): boolean => existsSync(join(ROOT, "cgroup.controllers"));
const version1 = (): boolean =>
  existsSync(join(ROOT, "memory", "memory.limit_in_bytes")) || existsSync(join(ROOT, "memory", "cgroup.procs"));

/**
 * Mounts the control groups where nothing has: `ip netns exec` gives its program a /sys without them, in a mount namespace
 * of its own. @throws DataplaneError when that is refused
 */
export async function mountCgroups(): Promise<void> {
  if (version2() || version1()) return;
  const lines = readFileSync("/proc/self/cgroup", "utf8").trim().split("\n");
  const hierarchies = lines.map((line) => line.split(":")[1] ?? "").filter((name) => name !== "");
  if (hierarchies.length === 0) {
    await run("mount", "-t", "cgroup2", "cgroup2", ROOT);
    return;
  }
  await run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", ROOT);
  for (const name of hierarchies) {
    const directory = join(ROOT, name.replace(/^name=/, ""));
    mkdirSync(directory, { recursive: true });
    await run("mount", "-t", "cgroup", "-o", name.startsWith("name=") ? `none,${name}` : name, "cgroup", directory);
  }
}

/**
 * Makes the group of an instance, with its limit; starts counting anew. A group inside keeps podman from removing it when the
 * container ends. `path`: `/offramp-…/…`
 */
export function limitMemory(path: string, octets: number): void {
  removeGroup(path);
  const directory = version2() ? join(ROOT, path) : join(ROOT, "memory", path);
  mkdirSync(join(directory, "keep"), { recursive: true });
  if (version2()) return; // podman's own limit does: the group around it hears of what happens inside
  writeFileSync(join(directory, "memory.limit_in_bytes"), `${octets}`);
  // Memory and swap together; absent where the kernel does not account for swap.
  const swap = join(directory, "memory.memsw.limit_in_bytes");
  if (existsSync(swap)) writeFileSync(swap, `${octets}`);
}

/** Where podman is asked to limit memory itself. */
export const limitsItself = (): boolean => version2();

const read = (...parts: string[]): string => {
  try {
    return readFileSync(join(ROOT, ...parts), "utf8");
  } catch {
    return "";
  }
};

/** What the kernel charges at once, for a few CPUs: that near to the limit nothing more is given. */
const batch = 1 << 20;

/**
 * The group has met its limit. Exact with version 2. Version 1 counts what was refused in `failcnt`, but not every kernel does:
 * then the most that was ever used tells.
 */
export function metLimit(path: string, octets: number): boolean {
  if (version2()) return Number(/^oom_kill (\d+)$/m.exec(read(path, "memory.events"))?.[1] ?? 0) > 0;
  const value = (name: string): number => Number(read("memory", path, name));
  return value("memory.failcnt") > 0 || value("memory.max_usage_in_bytes") >= octets - batch;
}

/** Removes the group and those in it, in every hierarchy. Those with processes stay. */
export function removeGroup(path: string): void {
  const roots = version2() ? [ROOT] : (existsSync(ROOT) ? readdirSync(ROOT) : []).map((name) => join(ROOT, name));
  for (const root of roots) removeTree(join(root, path));
}

function removeTree(directory: string): void {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(directory, entry.name));
  }
  try {
    rmdirSync(directory);
  } catch {
    // Busy, or gone already.
  }
}
