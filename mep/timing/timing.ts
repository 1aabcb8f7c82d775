/**
 * What does the platform say of time (GS MEC 011 §7.2.9, §7.2.10)?
 *
 * TRACEABLE when the kernel says that its clock follows UTC, and is off by no more than a second. The servers are read from
 * the machine's own configuration whenever they are asked for; nothing is guessed where there is none.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { CurrentTime, NtpServer, TimingCaps } from "../model/support.ts";
import { type KernelTime, kernelTime } from "./adjtimex.ts";
import { chronyServers, ntpServer, timesyncdServers } from "./servers.ts";

const traceableUs = 1_000_000;

export interface TimingOptions {
  /** Of site.yaml; these and no others, where there are any. */
  ntpServers?: readonly string[];
  /** Where the configuration of the machine is; default: /etc. */
  etc?: string;
  /** Asks the kernel. */
  now?: () => KernelTime;
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** All files of the directory with that ending, one after the other. */
function readAll(directory: string, ending: string): string {
  try {
    const names = readdirSync(directory).filter((name) => name.endsWith(ending));
    return names
      .sort()
      .map((name) => `${read(join(directory, name))}\n`)
      .join("");
  } catch {
    return "";
  }
}

export class Timing {
  readonly #options: TimingOptions;

  constructor(options: TimingOptions = {}) {
    this.#options = options;
  }

  currentTime(): CurrentTime {
    const { seconds, nanoSeconds, synchronised, maxErrorUs } = this.#now();
    const traceable = synchronised && maxErrorUs <= traceableUs;
    return { seconds, nanoSeconds, timeSourceStatus: traceable ? "TRACEABLE" : "NONTRACEABLE" };
  }

  #now(): KernelTime {
    return (this.#options.now ?? kernelTime)();
  }

  /** chronyd's configuration, where it names servers; else that of systemd-timesyncd. */
  #configured(): NtpServer[] {
    const { etc = "/etc" } = this.#options;
    const chrony = chronyServers(
      read(join(etc, "chrony/chrony.conf")) +
        readAll(join(etc, "chrony/conf.d"), ".conf") +
        readAll(join(etc, "chrony/sources.d"), ".sources"),
    );
    if (chrony.length > 0) return chrony;
    const timesyncd = join(etc, "systemd/timesyncd.conf");
    return timesyncdServers(`${read(timesyncd)}\n${readAll(`${timesyncd}.d`, ".conf")}`);
  }

  timingCaps(): TimingCaps {
    const { seconds, nanoSeconds } = this.#now();
    const { ntpServers = [] } = this.#options;
    const servers = ntpServers.length > 0 ? ntpServers.map((address) => ntpServer(address)) : this.#configured();
    return { timeStamp: { seconds, nanoSeconds }, ntpServers: servers, ptpMasters: [] };
  }
}
