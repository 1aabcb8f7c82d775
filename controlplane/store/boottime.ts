/**
 * What time is it, when nobody can be trusted to leave the clock alone?
 *
 * A deadline has to hold when the wall clock is set, when the machine sleeps, and over a restart of the process. The time
 * since boot (CLOCK_BOOTTIME, which /proc/uptime shows) does; it is worth nothing after a reboot, which the boot's own
 * identifier tells. Then the wall clock is all there is.
 */
import { readFileSync } from "node:fs";

/** Times in milliseconds. */
export interface Moment {
  /** Since the epoch. */
  wall: number;
  /** Since boot, sleep included. */
  uptime: number;
  /** Identifies the boot. */
  boot: string;
}

export const moment = (): Moment => ({
  wall: Date.now(),
  uptime: Math.round(Number(readFileSync("/proc/uptime", "utf8").split(" ", 1)[0]) * 1000),
  boot: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
});

/**
 * Milliseconds from `now` until `duration` after `since`; 0 or less when that is over. After a reboot whose clock says that
 * it is earlier than `since`, nobody knows how long it took: then it is over.
 */
export function remaining(since: Moment, duration: number, now: Moment = moment()): number {
  if (now.boot === since.boot) return since.uptime + duration - now.uptime;
  return now.wall < since.wall ? 0 : since.wall + duration - now.wall;
}
