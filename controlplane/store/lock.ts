/**
 * Does another agent already work with this state directory?
 *
 * A file with the process id and its start time (the number may belong to someone else by now). A dead owner's file is
 * taken over, so a crash needs no clearing up.
 */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const lockFile = "agent.pid";
/** The process that takes an unconfirmed change back when the agent is dead. */
export const guardFile = "guard.pid";

/** Field 22 of proc(5)'s stat: ticks since boot. Undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A process that has ended and only waits for its parent holds nothing.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** The process that holds the directory, if it lives. */
export function lockOwner(stateDir: string, file = lockFile): number | undefined {
  let text: string;
  try {
    text = readFileSync(join(stateDir, file), "utf8");
  } catch {
    return undefined;
  }
  const [pid, started] = text.trim().split(" ");
  const running = startTime(Number(pid));
  return running !== undefined && running === started ? Number(pid) : undefined;
}

/**
 * Takes the directory. Returns how to let go of it.
 * @throws Error naming the process that holds it
 */
export function lock(stateDir: string, file = lockFile): () => void {
  mkdirSync(stateDir, { recursive: true, mode: 0o750 });
  const path = join(stateDir, file);
  const own = `${path}.${process.pid}`;
  const mine = `${process.pid} ${startTime(process.pid)}\n`;
  writeFileSync(own, mine);
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        linkSync(own, path); // fails when the name exists, and is never half written
        break;
      } catch (error) {
        const owner = lockOwner(stateDir, file);
        if (owner !== undefined || attempt > 2) {
          throw new Error(`${stateDir} is in use by process ${owner ?? "unknown"}: stop it first`, { cause: error });
        }
        rmSync(path, { force: true });
      }
    }
  } finally {
    rmSync(own, { force: true });
  }
  return () => release(stateDir, file);
}

/** This process lets go of the directory, where it has it. */
export function release(stateDir: string, file = lockFile): void {
  if (lockOwner(stateDir, file) === process.pid) rmSync(join(stateDir, file), { force: true });
}
