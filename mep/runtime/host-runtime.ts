/**
 * What runs app instances on this appliance?
 *
 *   podman (containers, units) · network (namespaces, ports, routes) · firewall (who reaches what) · cgroups (memory)
 *
 * Instances are no children of the agent: conmon holds them, and the next agent finds them again by the record of each, the id of
 * its main process and the time at which that was started. Changes are one after the other. A start that fails takes back
 * what it did; one that was cut off by a crash is taken back at the next `open`.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../controlplane/errors.ts";
import { type AppNetworks, addressesAt, takePlace } from "./addresses.ts";
import { limitMemory, limitsItself, metLimit, mountCgroups, removeGroup } from "./cgroups.ts";
import { writeFiles } from "./files.ts";
import type { FirewallInstance } from "./firewall.ts";
import { followLog, readLog } from "./log-file.ts";
import {
  closeEgress,
  hasFirewall,
  joinNetworks,
  leaveNetworks,
  loadFirewall,
  NAMESPACE,
  type NetworkSite,
  namesOfPorts,
  openEgress,
  removeFirewall,
  routeAgain,
} from "./network.ts";
import { caPath, credentialsPath, etcOfUnits, makeRoot, Podman } from "./podman.ts";
import { pause, processOf, startTimeOf } from "./processes.ts";
import { type InstanceRecord, Records } from "./records.ts";
import {
  type Addresses,
  type Exit,
  type InstanceSpec,
  type InstanceStatus,
  type LogLine,
  type Runtime,
  RuntimeError,
  type Started,
  type Surroundings,
} from "./runtime.ts";
import { exitReason, faultsOf } from "./spec.ts";

export interface HostRuntimeConfig {
  stateDir: string;
  networks: AppNetworks;
  site: NetworkSite;
  /** Name server of instances. */
  resolver?: string;
  /** Of all instances: where the platform is. */
  environment?: Record<string, string>;
  /** By what they check its certificate, PEM. */
  ca?: () => string | undefined;
  /** Its program has ended, its links are still there: whoever has connections to it can end them. */
  ended?: (id: string) => Promise<void>;
  warn: (message: string) => void;
}

/**
 * Users of instances, so many for each place: an image's user 0 is nobody on the appliance either. They begin where Debian gives
 * nobody a number.
 */
const users = { first: 0x10_0000, each: 0x1_0000, places: 60_000 };
const watchMs = 250;
/** The firewall is looked for, in case somebody has flushed the rules of the machine, at every so many looks at processes. */
const firewallEvery = 20;
const settleMs = 20_000;

const short = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 8);

export class HostRuntime implements Runtime {
  readonly #config: HostRuntimeConfig;
  #site: NetworkSite;
  readonly #directory: string;
  readonly #group: string;
  readonly #podman: Podman;
  readonly #running: string;
  readonly #listeners = new Set<(status: InstanceStatus) => void>();
  readonly #goneListeners = new Set<(id: string) => void>();
  /** Of whom everybody has been told that they are gone. */
  readonly #gone = new Set<string>();
  #records: Records | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looks = 0;
  #queue: Promise<unknown> = Promise.resolve();

  /** Constructing has no effects. */
  constructor(config: HostRuntimeConfig) {
    this.#config = config;
    this.#site = config.site;
    this.#directory = join(config.stateDir, "apps");
    const site = short(config.stateDir);
    this.#group = `/offramp-${site}`;
    this.#running = `/run/offramp/${site}`;
    this.#podman = new Podman({
      storage: join(this.#directory, "storage"),
      running: this.#running,
      settings: join(this.#directory, "containers.conf"),
    });
  }

  get #known(): Records {
    if (!this.#records) throw new RuntimeError("the runtime is not open");
    return this.#records;
  }

  /** One change after the other, whatever became of those before. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  #name(id: string): string {
    return short(`${this.#config.stateDir}\0${id}`);
  }

  get #file(): string {
    return join(this.#directory, "instances.json");
  }

  #container = (id: string): string => `${NAMESPACE}${this.#name(id)}`;
  #groupOf = (id: string): string => `${this.#group}/${this.#name(id)}`;
  #directoryOf = (id: string): string => join(this.#directory, this.#name(id));
  #addresses = (record: InstanceRecord): Addresses => addressesAt(this.#config.networks, record.place);

  open(): Promise<void> {
    return this.#inTurn(async () => {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const records = new Records(this.#file);
      this.#records = records;
      const { egress } = this.#site;
      const found = egress === undefined ? undefined : openEgress(egress);
      if (found !== undefined) records.foundForwarding(found);
      if (records.list().some(({ phase }) => phase !== "reserved")) {
        await this.#prepare();
        for (const record of records.list()) await this.#adopt(record);
        await this.#clearStrays();
      }
      await this.#firewall();
      this.#timer = setInterval(() => void this.#look(), watchMs);
      this.#timer.unref();
    });
  }

  async #prepare(): Promise<void> {
    await mountCgroups();
    this.#podman.prepare();
  }

  async #adopt(record: InstanceRecord): Promise<void> {
    const { phase, pid, startTime } = record;
    if (phase === "starting" || phase === "stopping") {
      await this.#takeDown(record.id);
      const reason = phase === "starting" ? "the agent ended before it was started" : "stopped";
      this.#known.change(record, { phase: "exited", exit: { code: undefined, reason, time: Date.now() } });
    } else if (phase === "running" && (pid === undefined || startTimeOf(pid) !== startTime)) {
      this.#known.change(record, { phase: "exited", exit: await this.#exitOf(record) });
    } else if (phase === "running") {
      // It runs, and is reached: no reason for the agent not to start.
      await this.#route(record).catch((error) => this.#config.warn(`routes of ${record.id}: ${messageOf(error)}`));
    }
  }

  /** What belongs to no record: an earlier agent ended between two steps. */
  async #clearStrays(): Promise<void> {
    const ours = new Set(this.#known.list().map(({ id }) => this.#name(id)));
    for (const container of await this.#podman.names()) {
      if (!ours.has(container.slice(NAMESPACE.length))) await this.#podman.remove(container);
    }
    for (const name of await namesOfPorts()) if (!ours.has(name)) await leaveNetworks(name);
  }

  surroundedBy({ forbidden, uePools }: Surroundings): Promise<void> {
    return this.#inTurn(async () => {
      this.#site = { ...this.#site, forbidden, uePools };
      if (!this.#records) return;
      // What is barred is so before there is a way.
      await this.#firewall();
      for (const record of this.#records.list()) {
        if (record.phase === "running") await this.#route(record);
      }
    });
  }

  #route = (record: InstanceRecord) =>
    routeAgain(this.#site, this.#name(record.id), this.#addresses(record), record.pid ?? 0);

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#queue;
  }

  /** The table is there while any instance has been started and not been removed. */
  async #firewall(): Promise<void> {
    const instances = this.#known.list().flatMap((record): FirewallInstance[] => {
      if (record.phase === "reserved" || !record.spec) return [];
      return [{ name: this.#name(record.id), addresses: this.#addresses(record), egress: record.spec.egress }];
    });
    if (instances.length === 0) await removeFirewall();
    else await loadFirewall(this.#site, instances, join(this.#directory, "firewall.nft"));
  }

  reserve(id: string): Promise<Addresses> {
    return this.#inTurn(async () => this.#addresses(this.#reserve(id)));
  }

  #reserve(id: string): InstanceRecord {
    const records = this.#known;
    const there = records.get(id);
    if (there) return there;
    const taken = new Set(records.list().map(({ place }) => place));
    return records.add({ id, place: takePlace(this.#config.networks, taken, records.next), phase: "reserved" });
  }

  start(spec: InstanceSpec): Promise<Started> {
    return this.#inTurn(async () => {
      const faults = faultsOf(spec, existsSync);
      if (faults.length > 0) throw new RuntimeError(faults.join("; "));
      const record = this.#reserve(spec.id);
      const { credentials: _, ...known } = spec;
      if (record.phase === "running") {
        if (JSON.stringify(record.spec) !== JSON.stringify(known))
          throw new RuntimeError(`${spec.id} runs already: stop it first`);
        return { addresses: this.#addresses(record) };
      }
      delete record.exit;
      this.#gone.delete(spec.id);
      this.#known.change(record, { phase: "starting", spec: known });
      try {
        await this.#launch(record, spec);
      } catch (error) {
        await this.#takeDown(spec.id);
        const exit = { code: undefined, reason: `not started: ${messageOf(error)}`, time: Date.now() };
        this.#known.change(record, { phase: "exited", exit });
        throw error instanceof RuntimeError
          ? error
          : new RuntimeError(`${spec.id} was not started: ${messageOf(error)}`);
      }
      return { addresses: this.#addresses(record) };
    });
  }

  async #launch(record: InstanceRecord, spec: InstanceSpec): Promise<void> {
    const { id } = spec;
    const [addresses, name, directory] = [this.#addresses(record), this.#name(id), this.#directoryOf(id)];
    const user = users.first + (record.place % users.places) * users.each;
    await this.#prepare();
    await this.#takeDown(id);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const ca = this.#config.ca?.();
    writeFiles(directory, { spec, user, ca, resolver: this.#config.resolver });
    const root = join(directory, "root");
    if (spec.kind === "unit") makeRoot(root);
    const from = spec.kind === "unit" ? root : await this.#podman.load(spec.image!);
    // The rules are there before the links are.
    await this.#firewall();
    await joinNetworks(this.#site, { name, addresses, egress: spec.egress });
    limitMemory(this.#groupOf(id), spec.limits.memory);
    const environment = {
      ...spec.environment,
      ...this.#config.environment,
      OFFRAMP_APP_INSTANCE_ID: id,
      OFFRAMP_TOF_ADDRESS: addresses.tof,
      OFFRAMP_PLATFORM_ADDRESS: addresses.platform,
      ...(spec.credentials && { OFFRAMP_CREDENTIALS: credentialsPath }),
      ...(ca !== undefined && { OFFRAMP_CA: caPath }),
    };
    const cgroup = this.#groupOf(id);
    const trusts = ca !== undefined;
    const launch = { spec, name: this.#container(id), directory, from, user, cgroup, environment, trusts };
    await this.#podman.run({ ...launch, limitsMemory: limitsItself() }, etcOfUnits(existsSync));
    const pid = Number(readFileSync(join(directory, "pid"), "utf8"));
    // One that has ended already is found so by the next look.
    this.#known.change(record, { phase: "running", pid, startTime: startTimeOf(pid) ?? "ended" });
  }

  /** Container, links and control group; what is left are directory and record. */
  async #takeDown(id: string, between: () => Promise<unknown> = async () => undefined): Promise<void> {
    await this.#podman.remove(this.#container(id));
    await between();
    await leaveNetworks(this.#name(id));
    removeGroup(this.#groupOf(id));
  }

  stop(id: string, graceMs: number): Promise<void> {
    const { ended, warn } = this.#config;
    const between = async () =>
      ended?.(id).catch((error: unknown) => warn(`connections to ${id} were not ended: ${messageOf(error)}`));
    return this.#inTurn(async () => {
      const record = this.#records?.get(id);
      if (record?.phase !== "running" && record?.phase !== "exited") return;
      if (record.phase === "exited") return this.#takeDown(id, between);
      this.#known.change(record, { phase: "stopping" });
      await this.#podman.stop(this.#container(id), graceMs);
      const state = await this.#podman.state(this.#container(id));
      const exit: Exit = { code: state?.exitCode, reason: "stopped", time: Date.now() };
      await this.#takeDown(id, between);
      this.#known.change(record, { phase: "exited", exit });
    });
  }

  remove(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const record = this.#records?.get(id);
      if (!record) return;
      if (record.phase !== "reserved") {
        this.#known.change(record, { phase: "stopping" });
        await this.#prepare();
        await this.#takeDown(id);
      }
      rmSync(this.#directoryOf(id), { recursive: true, force: true });
      this.#known.remove(id);
      await this.#firewall();
      if (this.#known.list().length === 0) removeGroup(this.#group);
    });
  }

  state(id: string): InstanceStatus | undefined {
    const record = this.#known.get(id);
    return record && this.#status(record);
  }

  alive(id: string): boolean {
    const record = (this.#records ?? new Records(this.#file)).get(id);
    return record?.phase === "running" && processOf(record.pid) === record.startTime;
  }

  list(): InstanceStatus[] {
    return this.#known.list().map((record) => this.#status(record));
  }

  #status(record: InstanceRecord): InstanceStatus {
    const { id, phase, spec, pid, exit } = record;
    const runs = phase === "running" || phase === "stopping";
    return {
      id,
      tenant: spec?.tenant ?? "",
      state: runs ? "running" : phase === "exited" ? "exited" : "absent",
      addresses: this.#addresses(record),
      ...(runs && pid !== undefined && { pid }),
      ...(phase === "exited" && exit && { exit }),
    };
  }

  async logs(id: string, tail: number): Promise<LogLine[]> {
    return readLog(join(this.#directoryOf(id), "log"), tail);
  }

  follow(id: string, listener: (line: LogLine) => void): () => void {
    return followLog(join(this.#directoryOf(id), "log"), listener);
  }

  on(listener: (status: InstanceStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onGone(listener: (id: string) => void): () => void {
    this.#goneListeners.add(listener);
    return () => this.#goneListeners.delete(listener);
  }

  /** Who has ended? Costs one read of /proc for each. */
  async #look(): Promise<void> {
    this.#looks += 1;
    const gone = this.#known
      .list()
      .filter(({ phase, pid, startTime }) => phase === "running" && processOf(pid) !== startTime);
    for (const { id } of gone) {
      if (this.#gone.has(id)) continue;
      this.#gone.add(id);
      for (const listener of this.#goneListeners) listener(id);
    }
    const looksForFirewall = this.#looks % firewallEvery === 0;
    if (gone.length === 0 && !looksForFirewall) return;
    await this.#inTurn(async () => {
      for (const record of gone) {
        if (record.phase !== "running" || processOf(record.pid) === record.startTime) continue;
        this.#known.change(record, { phase: "exited", exit: await this.#exitOf(record) });
        for (const listener of this.#listeners) listener(this.#status(record));
      }
      if (!looksForFirewall || !this.#known.list().some(({ phase }) => phase !== "reserved")) return;
      if (await hasFirewall()) return;
      await this.#firewall();
      this.#config.warn("the firewall of app instances was gone; it is back");
    }).catch((error: unknown) => this.#config.warn(`app instances could not be looked after: ${messageOf(error)}`));
  }

  /** conmon notes the end a moment after it. */
  async #exitOf(record: InstanceRecord): Promise<Exit> {
    const until = Date.now() + settleMs;
    for (;;) {
      const state = await this.#podman.state(this.#container(record.id));
      const time = Date.now();
      if (!state || time > until) return { code: undefined, reason: "it ended while nobody looked", time };
      if (state.status === "exited" || state.status === "stopped") {
        const limit = record.spec?.limits.memory ?? 0;
        const metIt = metLimit(this.#groupOf(record.id), limit);
        return { code: state.exitCode, reason: exitReason(state.exitCode, metIt ? limit : undefined), time };
      }
      // After a restart of the machine podman knows containers, but no ends.
      if (state.status === "created" || state.status === "configured") {
        return { code: undefined, reason: "the machine was restarted", time };
      }
      await pause(100);
    }
  }

  removeImage(digest: string): Promise<void> {
    return this.#inTurn(async () => {
      const user = this.#known
        .list()
        .find(({ phase, spec }) => phase !== "reserved" && phase !== "exited" && spec?.image?.digest === digest);
      if (user) throw new RuntimeError(`${user.id} runs with this image: terminate it first`);
      if (!existsSync(join(this.#directory, "storage"))) return;
      await this.#prepare();
      await this.#podman.removeImage(digest);
    });
  }

  down(): Promise<void> {
    return this.#inTurn(async () => {
      clearInterval(this.#timer);
      if (!existsSync(this.#file)) return;
      const records = this.#records ?? new Records(this.#file);
      await this.#prepare();
      for (const record of records.list()) {
        if (record.phase === "reserved") continue;
        await this.#takeDown(record.id);
        if (record.phase === "exited") continue;
        records.change(record, { phase: "exited", exit: { code: undefined, reason: "taken down", time: Date.now() } });
      }
      await this.#podman.unmount();
      removeGroup(this.#group);
      await removeFirewall();
      const { egress } = this.#site;
      if (egress !== undefined && records.egressForwarding !== undefined) closeEgress(egress, records.egressForwarding);
      rmSync(this.#running, { recursive: true, force: true });
      this.#records = undefined;
    });
  }
}
