/**
 * Does another process already work with this journal?
 *
 * A file beside it with the process id and its start time (the number may belong to someone else by now). A dead owner's is
 * taken over, so a crash needs no clearing up.
 */
import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/** Field 22 of proc(5)'s stat. Undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** The process that works with it, if it lives. */
export function ownerOf(journal: string): number | undefined {
  try {
    const [pid, started] = readFileSync(`${journal}.pid`, "utf8").trim().split(" ");
    const now = startTime(Number(pid));
    return now !== undefined && now === started ? Number(pid) : undefined;
  } catch {
    return undefined;
  }
}

/** Returns how to let go of it. @throws Error naming the process that has it */
export function lock(journal: string): () => void {
  const path = `${journal}.pid`;
  const own = `${path}.${process.pid}`;
  writeFileSync(own, `${process.pid} ${startTime(process.pid)}\n`);
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        linkSync(own, path); // fails when the name exists, and is never half written
        return () => rmSync(path, { force: true });
      } catch (error) {
        const owner = ownerOf(journal);
        if (owner !== undefined || attempt > 2)
          throw new Error(`process ${owner ?? "unknown"} works with ${journal}: wait for it, or stop it`, {
            cause: error,
          });
        rmSync(path, { force: true });
      }
    }
  } finally {
    rmSync(own, { force: true });
  }
}
