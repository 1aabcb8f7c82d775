/**
 * How does a test get fifty sites?
 *
 *   center (the coordinator's machine, 100.64.255.254/16, a bridge)
 *     ├─ mgmt0 100.64.0.1  site-1    acc0 ═ cor0 is a wire of its own
 *     ├─ mgmt0 100.64.0.2  site-2
 *     …
 *
 * Each is `bin/offramp run` in a namespace, on real adapters, with real programs in the kernel, its own state, and its API on the
 * management address with TLS and a token. Every tenth site has a GTP-U wire, the others a plain Ethernet wire: their program
 * is smaller, and the kernel's look at it is half of what a start costs.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { repository } from "../lab/appliance.ts";
import { Machines, must, type Output, type Process } from "../lab/netns.ts";
import { Authority, type Pair } from "../mep/auth/openssl.ts";

export const token = "token-of-the-fleet-0123456789";
const minutes = 60_000;

export class Sites {
  readonly machines = new Machines();
  readonly names: string[];
  readonly #runs = new Map<string, Process>();
  /** Of every site's API. */
  readonly ca = join(this.machines.directory, "ca.pem");
  /** Of `offramp fleet`. */
  env: Record<string, string> = {};
  /** Wall clock seconds that all starts together took. */
  seconds = 0;

  constructor(count: number) {
    this.names = Array.from({ length: count }, (_, index) => `site-${index + 1}`);
  }

  #number = (name: string): number => Number(name.slice("site-".length));
  address = (name: string): string => `100.64.${this.#number(name) >> 8}.${this.#number(name) & 255}`;
  api = (name: string): string => `https://${this.address(name)}:8090`;
  folder = (name: string): string => join(this.machines.directory, name);

  /** Builds all and returns when every site is ready; `atOnce` start at a time. */
  async start(atOnce = 3): Promise<void> {
    const { machines, names } = this;
    const authority = new Authority(machines.directory, "ca");
    const { cert, key } = authority.sign(
      "sites",
      "sites",
      names.map((name) => `IP:${this.address(name)}`),
    );
    writeFileSync(join(machines.directory, "token"), `${token}\n`, { mode: 0o600 });
    await machines.add("center");
    await machines.ip(
      "center",
      "link add sites type bridge",
      "link set sites up",
      "addr add 100.64.255.254/16 dev sites",
    );
    const began = Date.now();
    const queue = names.values();
    const worker = async () => {
      for (const name of queue) {
        await this.#build(name, { cert, key });
        await this.run(name);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    this.seconds = (Date.now() - began) / 1000;
  }

  async #build(name: string, tls: Pair): Promise<void> {
    const { machines } = this;
    const full = machines.ns(name);
    await machines.add(name);
    await machines.ip(
      "center",
      `link add ${name} type veth peer name mgmt0 netns ${full}`,
      `link set ${name} master sites up`,
    );
    await machines.ip(
      name,
      ...["acc0", "cor0"].flatMap((port) => [
        `link add ${port} type veth peer name far-${port}`,
        `link set ${port} up`,
        `link set far-${port} up`,
      ]),
      `addr add ${this.address(name)}/16 dev mgmt0`,
      "link set mgmt0 up",
    );
    mkdirSync(join(this.folder(name), "state"), { recursive: true });
    const plugin = this.#number(name) % 10 === 1 ? "gtp" : "ethernet";
    const site = {
      site: { name, stateDir: join(this.folder(name), "state") },
      dataplanes: [{ name: "s1", plugin, access: "acc0", core: "cor0" }],
      limits: { sessions: 64, flows: 64, rules: 64 },
      api: {
        listen: `${this.address(name)}:8090`,
        tls,
        tokenFile: join(machines.directory, "token"),
      },
    };
    writeFileSync(this.config(name), stringify(site));
  }

  config = (name: string): string => join(this.folder(name), "site.yaml");

  /** `bin/offramp run`, until it is ready. */
  async run(name: string): Promise<void> {
    const argv = [join(repository, "bin", "offramp"), "run", "--config", this.config(name)];
    const started = this.machines.start(name, name, argv);
    this.#runs.set(name, started);
    await started.said(/"msg":"ready"/, 5 * minutes);
  }

  process(name: string): Process {
    const found = this.#runs.get(name);
    if (!found) throw new Error(`${name} was not started`);
    return found;
  }

  /** Octets that this process alone holds. */
  memory = (name: string): number => {
    const rollup = readFileSync(`/proc/${this.process(name).pid}/smaps_rollup`, "utf8");
    return [...rollup.matchAll(/^Private_\w+:\s+(\d+) kB$/gm)].reduce((sum, [, kb]) => sum + Number(kb), 0) * 1024;
  };

  /** The link between the site and the world. */
  async link(name: string, state: "up" | "down"): Promise<void> {
    await this.machines.ip("center", `link set ${name} ${state}`);
  }

  /** Asked in the site's own namespace, so that no link matters. */
  async ask<T>(name: string, path: string): Promise<T> {
    const argv = ["curl", "-sSf", "-m", "60", "--cacert", this.ca, "-H", `authorization: Bearer ${token}`];
    const { stdout } = await must(["ip", "netns", "exec", this.machines.ns(name), ...argv, `${this.api(name)}${path}`]);
    return JSON.parse(stdout) as T;
  }

  async services(name: string): Promise<string[]> {
    return (await this.ask<{ name: string }[]>(name, "/service")).map((one) => one.name).sort();
  }

  /** Names of services at every site, in the sites' order. */
  async allServices(): Promise<string[][]> {
    const found: string[][] = [];
    for (const name of this.names) found.push(await this.services(name));
    return found;
  }

  #fleet = (args: readonly string[]): string[] => {
    const env = Object.entries(this.env).map(([name, value]) => `${name}=${value}`);
    return ["env", ...env, join(repository, "bin", "offramp"), "fleet", ...args];
  };

  /** `offramp fleet …` where the coordinator is. */
  fleet(...args: string[]): Promise<Output> {
    return this.machines.exec("center", this.#fleet(args), { timeoutMs: 10 * minutes });
  }

  /** The same, to be interrupted. */
  begin(...args: string[]): Process {
    return this.machines.start("center", "fleet", this.#fleet(args));
  }

  /** Writes a fleet.yaml for all of them; returns its path. */
  file(id: string, more: object): string {
    const path = join(this.machines.directory, `${id}.yaml`);
    const sites = this.names.map((name, index) => ({
      name,
      region: index < 10 ? "north" : "south",
      api: this.api(name),
    }));
    const defaults = { ca: "ca.pem", token: { file: "token" }, patience: "2s" };
    writeFileSync(path, stringify({ fleet: id, defaults, sites, soak: "0s", parallel: 10, ...more }));
    return path;
  }

  /** Programs go with the namespaces. */
  async end(): Promise<void> {
    await this.machines.destroy();
  }
}
