/**
 * Is that process still the one that was started, and which others are there?
 *
 * A process id alone is given again; with the time of its start (proc_pid_stat(5), field 22) it names one process for good.
 */
import { readdirSync, readFileSync } from "node:fs";

/** In clock ticks since boot; undefined when there is no such process, or only its remains (a zombie). */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name, in parentheses, may hold anything: count from its end.
    const [state, ...rest] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === "Z" || state === "X" ? undefined : rest[18];
  } catch {
    return undefined;
  }
}

export const processOf = (pid: number | undefined): string | undefined =>
  pid === undefined ? undefined : startTimeOf(pid);

/** The words of every process's command line. */
export function commandLines(): string[][] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return [readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0")];
    } catch {
      return []; // ended meanwhile
    }
  });
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
