/**
 * Runs a test file inside a network namespace of its own: call first thing in the file.
 *
 * The file starts itself again under `ip netns exec`; the outer process waits, removes the namespace and leaves with the
 * inner one's exit code, so that nothing of a test touches the machine's adapters.
 */
import { execFileSync, spawnSync } from "node:child_process";

export const prefix = `ofr-${process.pid}`;

/** Returns only inside the namespace. */
export function inNamespace(file: string): void {
  if (process.env.OFFRAMP_TEST_NETNS) return;
  const name = `ofr-${process.pid}-ebpf`;
  execFileSync("ip", ["netns", "add", name]);
  let code = 1;
  try {
    execFileSync("ip", ["-n", name, "link", "set", "lo", "up"]);
    const run = spawnSync("ip", ["netns", "exec", name, process.execPath, "--import", "tsx", file], {
      stdio: "inherit",
      env: { ...process.env, OFFRAMP_TEST_NETNS: name },
    });
    code = run.status ?? 1;
  } finally {
    execFileSync("ip", ["netns", "del", name]);
  }
  process.exit(code);
}

/** `ip ...` with the words of `line`. */
export const ip = (line: string): string =>
  execFileSync("ip", line.split(" "), { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
