/**
 * How does an appliance run in the QEMU of this machine?
 *
 *   <folder>/ machine.json   what it was made from, and its ports         (0600; the folder 0700)
 *             disk.qcow2     a copy of the image, with all its state
 *             seed.iso       first boot; holds secrets
 *             serial.log · pid · monitor
 *
 * The VM belongs to nobody's session: it goes on when Pulumi ends. Whether it is there is what the folder says; whether it
 * runs, what the process says. One whose process is gone has died, and is started again with its state.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./command.ts";
import { fetchTo } from "./file.ts";
import { digestOf } from "./keys.ts";
import {
  type Found,
  lastLines,
  type Machine,
  type Memo,
  type Place,
  type Size,
  shutdownMs,
  takenBack,
  type Where,
} from "./place.ts";
import { type Attachment, qemuArguments, type Wires, wireProblems } from "./qemu-arguments.ts";
import { freePorts, tell } from "./qmp.ts";
import { writeSeed } from "./seed.ts";
import { type Adapters, type Problem, renderMetaData, renderUserData, unknownOf } from "./user-data.ts";

export interface QemuPlace {
  /** All that the VM is. Default: `~/.local/state/offramp/<name>`. */
  folder?: string;
  /** Default: kvm. */
  accelerator?: "kvm" | "tcg";
  /** On 127.0.0.1; default: free ones, chosen once. */
  ports?: { api?: number; ssh?: number };
  /** Where acc0, cor0 and apps0 hang; absent: on nothing. */
  wires?: Wires;
}

const ports = ["api", "ssh"] as const;

export function qemuProblems(given: Record<string, unknown>, path: string): Problem[] {
  const problems = unknownOf(given, ["folder", "accelerator", "ports", "wires"], path);
  const { folder, accelerator, ports: chosen = {}, wires = {} } = given as QemuPlace;
  if (folder !== undefined && (typeof folder !== "string" || folder === "")) {
    problems.push({ path: `${path}.folder`, reason: "must be the path of a folder that is not there yet" });
  }
  if (accelerator !== undefined && !["kvm", "tcg"].includes(accelerator)) {
    problems.push({ path: `${path}.accelerator`, reason: "must be kvm or tcg (slow, but runs everywhere)" });
  }
  for (const name of ports) {
    const port = chosen[name];
    if (port === undefined || (Number.isInteger(port) && port > 0 && port < 65_536)) continue;
    problems.push({ path: `${path}.ports.${name}`, reason: "must be a port from 1 to 65535" });
  }
  return [...problems, ...unknownOf({ ...chosen }, ports, `${path}.ports`), ...wireProblems(wires, `${path}.wires`)];
}

/** What `machine.json` says. */
interface Kept {
  /** False while it is being made for the first time. */
  made: boolean;
  size: Size;
  adapters: Adapters;
  ports: { api: number; ssh: number };
  guest: string;
  memo?: Memo;
}

const tailBytes = 16_384;
const pollMs = 200;
/** For which disk and taps may still be held. */
const releaseMs = 30_000;

export const usualFolder = (name: string): string => join(homedir(), ".local/state/offramp", name);

export class Qemu implements Place {
  readonly #name: string;
  readonly #options: QemuPlace;
  readonly #folder: string;

  constructor(name: string, options: QemuPlace) {
    this.#name = name;
    this.#options = options;
    this.#folder = resolve(options.folder ?? usualFolder(name));
  }

  #at(file: string): string {
    return join(this.#folder, file);
  }

  #kept(): Kept | undefined {
    if (!existsSync(this.#at("machine.json"))) return undefined;
    return JSON.parse(readFileSync(this.#at("machine.json"), "utf8")) as Kept;
  }

  #write(kept: Kept): void {
    writeFileSync(this.#at("machine.json.new"), JSON.stringify(kept, undefined, 2), { mode: 0o600 });
    renameSync(this.#at("machine.json.new"), this.#at("machine.json"));
  }

  /** Undefined: its process is gone. */
  #pid(): number | undefined {
    try {
      const pid = Number(readFileSync(this.#at("pid"), "utf8"));
      // A number may have become that of somebody else.
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return words.includes(this.#at("pid").replaceAll(",", ",,")) ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  async create(machine: Machine): Promise<Where> {
    const had = this.#kept();
    if (had?.made) throw new Error(`${this.#folder} has an appliance already: import it, or name another folder`);
    if (had) await this.remove();
    else if (existsSync(this.#folder))
      throw new Error(`${this.#folder} is there and is no appliance: name another folder`);
    if (!machine.image) throw new Error("QEMU needs an image");
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const { memory, vcpus, adapters, userData, name } = machine;
    const { api = 0, ssh = 0 } = this.#options.ports ?? {};
    const [free = 0, second = 0] = await freePorts(2);
    const { management } = machine;
    const guest = management && "address" in management ? (management.address.split("/")[0] ?? "") : "10.0.2.15";
    const size = { memory, vcpus };
    this.#write({
      made: false,
      size,
      adapters,
      guest,
      ports: { api: api || free, ssh: ssh || second },
    });
    try {
      await fetchTo(machine.image, this.#at("disk.qcow2"));
      const text = renderUserData(userData);
      await writeSeed(this.#at("seed.iso"), {
        userData: text,
        metaData: renderMetaData(`${name}-${digestOf(text)}`, userData.hostname),
      });
      return await this.start(size);
    } catch (error) {
      return await takenBack(this, error);
    }
  }

  async keep(memo: Memo): Promise<void> {
    const kept = this.#kept();
    if (kept) this.#write({ ...kept, made: true, memo });
  }

  async read(): Promise<Found | undefined> {
    const kept = this.#kept();
    if (!kept?.made || !existsSync(this.#at("disk.qcow2"))) return undefined;
    return { running: this.#pid() !== undefined, where: where(kept), size: kept.size, memo: kept.memo };
  }

  async start(size: Size): Promise<Where> {
    const kept = this.#kept();
    if (!kept) throw new Error(`${this.#folder} has no appliance`);
    if (this.#pid() !== undefined) return where(kept);
    const now = { ...kept, size };
    this.#write(now);
    const { accelerator = "kvm", wires = {} } = this.#options;
    const { adapters, ports, guest } = now;
    const name = this.#name;
    const words = qemuArguments({ name, folder: this.#folder, accelerator, ...size, adapters, wires, ports, guest });
    await this.#launch(words);
    try {
      for (const wire of Object.values(wires)) await connect(wire);
    } catch (error) {
      await this.#end();
      throw error;
    }
    return where(now);
  }

  /** One that was killed keeps disk and taps for a moment after its command line is gone. */
  async #launch(words: readonly string[]): Promise<void> {
    for (const until = Date.now() + releaseMs; ; await sleep(pollMs)) {
      try {
        await run("qemu-system-x86_64", words, { limit: 120_000 });
        return;
      } catch (error) {
        if (Date.now() > until || !/Failed to get "[\w ]+" lock|resource busy/.test((error as Error).message))
          throw error;
      }
    }
  }

  async stop(): Promise<void> {
    if (this.#pid() === undefined) return;
    await tell(this.#at("monitor"), "system_powerdown").catch(() => undefined);
    if (!(await this.#gone(shutdownMs))) await this.#end();
  }

  /** Switched off. */
  async #end(): Promise<void> {
    await tell(this.#at("monitor"), "quit").catch(() => undefined);
    if (await this.#gone(5_000)) return;
    const pid = this.#pid();
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    if (!(await this.#gone(30_000))) throw new Error(`QEMU of ${this.#folder} (process ${pid}) does not end`);
  }

  async #gone(limitMs: number): Promise<boolean> {
    for (const until = Date.now() + limitMs; Date.now() < until; await sleep(pollMs)) {
      if (this.#pid() === undefined) return true;
    }
    return this.#pid() === undefined;
  }

  async remove(): Promise<void> {
    if (!existsSync(this.#at("machine.json"))) return;
    await this.#end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async console(): Promise<string[]> {
    const path = this.#at("serial.log");
    if (!existsSync(path)) return [];
    return lastLines(readFileSync(path).subarray(-tailBytes).toString("utf8"));
  }
}

const where = ({ ports }: Kept): Where => ({
  api: `https://127.0.0.1:${ports.api}`,
  ssh: `127.0.0.1:${ports.ssh}`,
});

/** A tap goes where it belongs, and is switched on. It ends with its QEMU. */
async function connect(attachment: Attachment): Promise<void> {
  if (!("tap" in attachment)) return;
  const { tap, namespace, bridge } = attachment;
  if (namespace !== undefined) await run("ip", ["link", "set", tap, "netns", namespace]);
  const inside = namespace === undefined ? [] : ["-n", namespace];
  if (bridge !== undefined) await run("ip", [...inside, "link", "set", tap, "master", bridge]);
  await run("ip", [...inside, "link", "set", tap, "up"]);
}
