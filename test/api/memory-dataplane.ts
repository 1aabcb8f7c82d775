/**
 * What is the least that satisfies the interface?
 *
 * A data plane without packets, for tests of what lies above it: it remembers what was applied, tells made-up sessions and
 * counters, and refuses when told to. The real one is tested elsewhere.
 */

import {
  type BackendConfig,
  type CounterSample,
  type Dataplane,
  type DataplaneConfig,
  DataplaneError,
  type DataplaneEvent,
  type DataplaneStatus,
  type Difference,
  type EndpointOfService,
  type Mode,
  type ServiceCounter,
  type Session,
  type TableEntry,
} from "../../dataplane/dataplane.ts";
import type { CapturedPacket, CaptureFilter, SlowPath } from "../../dataplane/slow-path.ts";
import { emptySteering, type Names, type Steering } from "../../dataplane/steering.ts";

export class MemoryDataplane implements Dataplane {
  steering: Steering = emptySteering;
  /** Every steering that was taken, in order. */
  readonly applied: Steering[] = [];
  readonly calls: string[] = [];
  readonly modes = new Map<string, Mode>();
  readonly known: Session[] = [];
  readonly planes: Map<string, DataplaneConfig>;
  /** Steps (`add s3`, `change s1`, `remove s2`) that are refused. */
  refuses: ((step: string) => boolean) | undefined;
  samples: CounterSample[] = [];
  serviceSamples: ServiceCounter[] = [];
  /** By address of their endpoint. */
  readonly flowsOf = new Map<string, number>();
  /** What refuses the next changes. */
  refuse: DataplaneError | Error | undefined;
  /** Runs while a change is being applied. */
  during: (() => void | Promise<void>) | undefined;
  capturing = 0;
  readonly #listeners = new Set<(event: DataplaneEvent) => void>();
  readonly #captures = new Set<(packet: CapturedPacket) => void>();

  constructor(readonly config: BackendConfig) {
    for (const { name, mode } of config.dataplanes) this.modes.set(name, mode);
    this.planes = new Map(config.dataplanes.map((one) => [one.name, one]));
  }

  async start(): Promise<void> {
    this.calls.push("start");
    if (this.refuse) throw this.refuse;
  }

  async stop(): Promise<void> {
    this.calls.push("stop");
  }

  async down({ unwire }: { unwire: boolean }): Promise<void> {
    this.calls.push(`down unwire=${unwire}`);
  }

  describe({ rules, protect, names }: Steering): TableEntry[] {
    return [
      ...(names?.names ?? []).map((name) => ({ table: "names", key: name, value: names!.server.address })),
      ...rules.map((rule) => ({ table: "rules", key: rule.name, value: JSON.stringify(rule) })),
      ...protect.map((prefix) => ({ table: "prefixes", key: prefix, value: "protected" })),
    ];
  }

  /** What the next comparisons find. */
  found: Difference[] = [];

  async differences(): Promise<Difference[]> {
    return this.found;
  }

  async apply(steering: Steering): Promise<void> {
    await this.during?.();
    if (this.refuse) throw this.refuse;
    const { names } = this.steering;
    this.steering = { ...(names && { names }), ...structuredClone(steering) };
    this.applied.push(this.steering);
  }

  async setNames(names: Names): Promise<void> {
    await this.during?.();
    if (this.refuse) throw this.refuse;
    if (names.names.length > 0) this.calls.push(`names ${names.names.join(" ")}`);
    this.steering = { ...this.steering, names: structuredClone(names) };
  }

  async flushServices(services: readonly number[]): Promise<number> {
    for (const service of services) this.calls.push(`flush ${service}`);
    return 0;
  }

  async flushEndpoints(endpoints: readonly EndpointOfService[]): Promise<number> {
    for (const { service, address, port } of endpoints) this.calls.push(`flush ${service} ${address} ${port ?? "any"}`);
    return endpoints.length;
  }

  async endpointFlows(endpoints: readonly EndpointOfService[]): Promise<number[]> {
    return endpoints.map(({ address }) => this.flowsOf.get(address) ?? 0);
  }

  async setMode(dataplane: string, mode: Mode): Promise<void> {
    if (this.refuse) throw this.refuse;
    this.modes.set(dataplane, mode);
  }

  async add(config: DataplaneConfig): Promise<void> {
    this.calls.push(`add ${config.name}`);
    if (this.refuse || this.refuses?.(`add ${config.name}`)) throw this.refuse ?? new DataplaneError("no", config.name);
    this.planes.set(config.name, config);
    this.modes.set(config.name, config.mode);
  }

  async change(config: DataplaneConfig): Promise<void> {
    this.calls.push(`change ${config.name}`);
    if (this.refuse || this.refuses?.(`change ${config.name}`))
      throw this.refuse ?? new DataplaneError("no", config.name);
    this.planes.set(config.name, config);
    this.modes.set(config.name, config.mode);
  }

  async remove(name: string, { unwire }: { unwire: boolean }): Promise<void> {
    this.calls.push(`remove ${name}${unwire ? " unwire" : ""}`);
    if (this.refuse || this.refuses?.(`remove ${name}`)) throw this.refuse ?? new DataplaneError("no", name);
    this.planes.delete(name);
  }

  status(): DataplaneStatus[] {
    return [...this.planes.values()].map(({ name, plugin, access = "acc0", core = "cor0" }) => ({
      name,
      plugin,
      mode: this.modes.get(name) ?? "offload",
      ports: [
        { adapter: access, role: "access", link: true, mtu: 1600, path: "native" },
        { adapter: core, role: "core", link: true, mtu: 1600, path: "generic", reason: "the probe did not arrive" },
      ],
      programs: [{ name: "offramp_wire", id: 1, tag: "0011223344556677" }],
      adopted: false,
      sessions: this.known.filter((session) => session.dataplane === name).length,
      flows: 0,
    }));
  }

  sessions({ ue, teid, dataplane, offset = 0, limit = 100 }: Parameters<Dataplane["sessions"]>[0]) {
    const found = this.known.filter(
      (session) =>
        (ue === undefined || session.ue === ue) &&
        (dataplane === undefined || session.dataplane === dataplane) &&
        (teid === undefined || session.bearers.some((bearer) => bearer.teid === teid)),
    );
    return { total: found.length, sessions: found.slice(offset, offset + limit) };
  }

  counters(): CounterSample[] {
    return this.samples;
  }

  serviceCounters(): ServiceCounter[] {
    return this.serviceSamples;
  }

  async collect(): Promise<{ sessions: number; flows: number }> {
    this.calls.push("collect");
    return { sessions: 0, flows: 0 };
  }

  on(listener: (event: DataplaneEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  emit(event: DataplaneEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** The part of the slow path that the API uses. */
  readonly slow: Pick<SlowPath, "capture"> = {
    capture: (_filter: CaptureFilter, listener: (packet: CapturedPacket) => void) => {
      if (this.capturing > 0) throw new DataplaneError("a capture runs already", "capture");
      this.capturing += 1;
      this.#captures.add(listener);
      return () => {
        this.capturing -= 1;
        this.#captures.delete(listener);
      };
    },
  };

  packet(packet: CapturedPacket): void {
    for (const listener of this.#captures) listener(packet);
  }
}
