/**
 * How does Offramp itself run in the lab?
 *
 * As anywhere: `bin/offramp run --config site.yaml`, in the namespace `tof`, known only by its adapters, its
 * configuration file and its HTTP API (DESIGN.md, "External contract"). Nothing here looks inside.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { accessPrefix, corePrefix, internet, internet6, type Lab, uePool, uePool6 } from "./lab.ts";
import { type Output, type Process, until } from "./netns.ts";

export interface SiteOptions {
  mode?: "offload" | "observe" | "bypass";
  interface?: "s1u" | "n3";
  idleTimeout?: string;
  /** False leaves the pinger out. */
  pinger?: { interval?: string; giveUp?: string; target?: string } | false;
  /** False leaves out which peers and pools may teach: Offramp finds all by itself (A1). */
  peers?: boolean;
  /** Merged into the top level. */
  extra?: Record<string, unknown>;
  /** Merged into the one data plane. */
  dataplane?: Record<string, unknown>;
}

export interface Reply<T = unknown> {
  status: number;
  body: T;
  text: string;
}

/** A session as far as the tests look at it. */
export interface SessionView {
  ue: string;
  state: string;
  baseStation?: string;
  gateway?: string;
  bearers: { direction: "uplink" | "downlink"; teid: string; vlans: number[]; state: string; qfi?: number }[];
}

/** The repository, whether this runs from source (test/lab) or compiled (dist/test/lab). */
export const repository = ((): string => {
  let directory = new URL(".", import.meta.url).pathname;
  while (directory !== "/" && !existsSync(join(directory, "package.json"))) directory = join(directory, "..");
  return directory;
})();

/** `site.yaml` for this lab, as a value. */
export function site(lab: Lab, options: SiteOptions = {}): Record<string, unknown> {
  const gateways = [...Array(lab.options.gateways).keys()];
  const { pinger } = options;
  return {
    site: { name: "lab", stateDir: join(lab.machines.directory, "state") },
    dataplanes: [
      {
        name: "s1",
        plugin: "gtp",
        backend: "ebpf",
        ...(lab.options.shared ? { adapter: "s1u0" } : { access: "acc0", core: "cor0" }),
        ...(options.peers === false
          ? {}
          : {
              accessPeers: [accessPrefix, "2001:db8:198::1:0/112"],
              corePeers: [corePrefix, "2001:db8:198::2:0/112"],
              uePools: [...gateways.map(uePool), ...gateways.map(uePool6)],
            }),
        idleTimeout: options.idleTimeout ?? "300s",
        ...(pinger === false
          ? {}
          : {
              pinger: {
                target: pinger?.target ?? internet.host,
                target6: internet6.host,
                interval: pinger?.interval ?? "200ms",
                giveUp: pinger?.giveUp ?? "5s",
              },
            }),
        interface: options.interface ?? "s1u",
        mode: options.mode ?? "offload",
        ...options.dataplane,
      },
    ],
    protect: ["198.18.0.0/15", "192.0.2.0/24"],
    apps: { interface: "apps0", address: "10.60.0.1/24" },
    api: { listen: "127.0.0.1:8090" },
    ...options.extra,
  };
}

export class Appliance {
  readonly lab: Lab;
  readonly machine: string;
  readonly config: string;
  readonly stateDir: string;
  process: Process | undefined;
  /** What earlier runs of the process said. */
  private past = "";
  private readonly executable = join(repository, "bin", "offramp");

  /** @param machine where it runs; another than the lab's own has a state directory of its own */
  constructor(lab: Lab, options: SiteOptions = {}, machine = "tof") {
    this.lab = lab;
    this.machine = machine;
    const own = machine === "tof";
    this.config = join(lab.machines.directory, own ? "site.yaml" : `${machine}.yaml`);
    this.stateDir = join(lab.machines.directory, own ? "state" : `state-${machine}`);
    mkdirSync(this.stateDir, { recursive: true });
    this.configure(options);
  }

  configure(options: SiteOptions): void {
    const name = this.machine === "tof" ? "lab" : this.machine;
    const whole = { ...site(this.lab, options), site: { name, stateDir: this.stateDir }, ...options.extra };
    writeFileSync(this.config, stringify(whole));
  }

  /** Starts the process and returns when `/readyz` answers 200. @throws with its log when it does not. */
  async start(timeoutMs = 120_000): Promise<void> {
    if (this.process) this.past += this.process.log;
    const started = this.lab.machines.start(this.machine, "offramp", [this.executable, "run", "--config", this.config]);
    this.process = started;
    await until(
      "/readyz",
      async () => {
        if (started.code !== undefined) throw new Error(`offramp ended with ${started.code}`);
        return (await this.curl("GET", "/readyz", undefined, 2)).status === 200;
      },
      timeoutMs,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.log().slice(-6000)}`);
    });
  }

  log(): string {
    return this.past + (this.process?.log ?? "");
  }

  /** `kill -9`: programs and maps have to go on by themselves. */
  async kill(): Promise<void> {
    await this.process?.end("SIGKILL");
  }

  async stop(): Promise<number> {
    return (await this.process?.end("SIGTERM", 15_000)) ?? 0;
  }

  /** `offramp …` inside the namespace. */
  cli(...argv: string[]): Promise<Output> {
    return this.lab.exec(this.machine, [this.executable, ...argv], { timeoutMs: 60_000 });
  }

  down(...flags: string[]): Promise<Output> {
    return this.cli("down", "--config", this.config, ...flags);
  }

  /** A request to an API that listens inside the namespace. `status` 0 means that nobody answered. */
  async curl<T = unknown>(method: string, path: string, body?: unknown, timeoutS = 20): Promise<Reply<T>> {
    const data =
      body === undefined ? [] : ["-H", "content-type: application/json", "--data-binary", JSON.stringify(body)];
    const { stdout } = await this.lab.exec(this.machine, [
      ...["curl", "-sS", "-g", "-m", `${timeoutS}`, "-X", method, "-w", "\n%{http_code}", ...data],
      `http://127.0.0.1:8090${path}`,
    ]);
    const cut = stdout.lastIndexOf("\n");
    const text = stdout.slice(0, Math.max(cut, 0));
    let parsed: unknown;
    try {
      parsed = text === "" ? undefined : JSON.parse(text);
    } catch {
      parsed = text;
    }
    return { status: Number(stdout.slice(cut + 1)) || 0, body: parsed as T, text };
  }

  /** As `curl`, but throws unless the status is 2xx. */
  async api<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
    const reply = await this.curl<T>(method, path, body);
    if (reply.status < 200 || reply.status > 299) {
      throw new Error(`${method} ${path}: ${reply.status} ${reply.text}\n${this.log().slice(-3000)}`);
    }
    return reply.body;
  }

  addService(service: Record<string, unknown>): Promise<unknown> {
    return this.api("POST", "/service", service);
  }

  async sessions(): Promise<SessionView[]> {
    return (await this.api<{ sessions: SessionView[] }>("GET", "/api/v1/sessions?limit=1000")).sessions;
  }

  /** Counters by name, summed over data planes. */
  async counters(): Promise<Map<string, number>> {
    type Sample = { name: string; packets: number };
    const { counters } = await this.api<{ counters: Sample[] }>("GET", "/api/v1/counters");
    const sums = new Map<string, number>();
    for (const one of counters) {
      sums.set(one.name, (sums.get(one.name) ?? 0) + one.packets);
    }
    return sums;
  }

  /** Ends the process and takes everything away that it left in the kernel. */
  async destroy(): Promise<void> {
    await this.stop().catch(() => undefined);
    if (existsSync(this.config)) await this.down("--unwire").catch(() => undefined);
  }
}
