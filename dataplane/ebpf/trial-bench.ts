/**
 * How is the real program run on a frame without touching what is live?
 *
 * The object is loaded a second time, attached to nothing, with BPF_PROG_TEST_RUN as its only input. What the programs only
 * read (`shared`) is the live map itself; everything that they write is a small map of this load alone (`own`), filled with
 * what the live tables know about the frame (trial-state.ts). Loaded when first asked, kept while asked, freed when idle.
 *
 * A redirect does not say where to: the frame is run again with one port after the other taken away.
 */
import { addressOctets, masked, prefixOf } from "../address.ts";
import { counters } from "../counters.ts";
import type { Limits } from "../dataplane.ts";
import type { Known, Trial, TrialRequest } from "../trial.ts";
import type { BpfMap } from "./bpf-map.ts";
import { BpfObject, type Program } from "./bpf-object.ts";
import * as c from "./consts.ts";
import { renderEvent } from "./events.ts";
import { APPLIANCE, type Kernel, objectPath } from "./kernel.ts";
import * as layout from "./layout.ts";
import type { Plane } from "./planes.ts";
import { Ring } from "./ring.ts";
import type { Tables } from "./tables.ts";
import { type Findings, find, TRIAL_SESSIONS, teach } from "./trial-state.ts";
import { renderMonitor, renderSeen } from "./watch.ts";

/** Read by the programs, written by the control plane alone. */
export const shared: readonly string[] = [
  "config",
  "rules",
  "maybe",
  "prefixes",
  "treatments",
  "mirrors",
  "outlets",
  "copies",
  "hops",
  "vtep",
  "next_hops",
  "names",
];
/** Written by the programs as well, or no matter here; entries of the trial's own. 0: as in the source. */
export const own: Readonly<Record<string, number>> = {
  ports: 0,
  ue_sessions: 64,
  sessions: TRIAL_SESSIONS,
  bearers: TRIAL_SESSIONS * c.BEARER_SLOTS,
  injections: TRIAL_SESSIONS,
  tunnels: 256,
  free_slots: TRIAL_SESSIONS,
  slot_state: 0,
  clock: 0,
  flows: 256,
  fragments: 256,
  cache: 2,
  reply_cache: 2,
  session_versions: 0,
  rules_state: 0,
  peers: 64,
  from_slow_programs: 0,
  counters: 0,
  service_counters: 2,
  meters: 2,
  events: 65536,
  capture: 0,
  captured: 4096,
  monitor: 0,
  tallies: 256,
  verdicts: 65536,
  flow_scratch: 0,
  lookups: 0,
  scratch: 0,
  packets: 0,
  station_scratch: 0,
  wrappings: 0,
  name_server: 0,
  questions: 0,
};

export type TrialProgram = "access" | "core" | "ether_access" | "ether_core" | "shared" | "from_apps";
const programOf = { uplink: "access", downlink: "core", apps: "from_apps" } as const;

const idleMs = 60_000;
const REDIRECT = 4;
const TX = 3;
const verdictNames = counters.filter(({ kind }) => kind !== "note").map(({ name }) => name);

type Configured = Omit<Known, keyof Findings["known"]>;

/** What the bench has to know about data planes. */
export interface TrialPlane {
  index: number;
  shared: boolean;
  ethernet: boolean;
}

export const trialPlane = ({ index, shared, config }: Plane): TrialPlane => ({
  index,
  shared,
  ethernet: config.plugin === "ethernet",
});

export function portName(port: number, nameOf: (dataplane: number) => string): string {
  if (port < c.PORT_SLOW) return `${nameOf(port >> 1)} ${port & 1 ? "core" : "access"}`;
  if (port === c.PORT_SLOW) return "the control plane";
  if (port === c.PORT_RETURN) return "the appliance's own routing";
  return port === c.PORT_APPS ? "apps" : `port ${port}`;
}

const among = (prefixes: readonly string[], address: string | undefined): boolean => {
  if (prefixes.length === 0 || address === undefined) return true;
  const octets = addressOctets(address.split("/")[0]!);
  return prefixes.map(prefixOf).some((prefix) => same(masked(octets, prefix.length), prefix.octets));
};
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** What the configuration says about a frame. */
export function permitted({ config, mode }: Plane, limits: Limits, { way, tunnel, packet }: TrialRequest): Configured {
  const { accessPeers, corePeers, uePools } = config;
  const [from, to] = way === "uplink" ? [accessPeers, corePeers] : [corePeers, accessPeers];
  return {
    mode,
    permitted: {
      ue: among(uePools, packet?.ue),
      source: among(from, tunnel?.source),
      destination: among(to, tunnel?.destination),
    },
    ueFlows: limits.ueFlows,
  };
}

export class TrialBench {
  #maps: BpfObject | undefined;
  #verdicts: Ring | undefined;
  #events: Ring | undefined;
  readonly #objects = new Map<string, BpfObject>();
  #timer: NodeJS.Timeout | undefined;
  #seen: { verdict: string; service: number; rule: number }[] = [];
  #told: string[] = [];

  constructor(
    private readonly kernel: Kernel,
    private readonly tables: Tables,
    /** Name of an egress port. */
    private readonly portName: (port: number) => string,
  ) {}

  #map = (name: string): BpfMap => this.#maps!.map(name);

  #load(): void {
    const { kernel } = this;
    const reuse = new Map(shared.map((name) => [name, kernel.map(name)]));
    const maxEntries = Object.fromEntries(Object.entries(own).filter(([, entries]) => entries > 0));
    const constants = { DATAPLANE: APPLIANCE, HZ: kernel.hz };
    const object = BpfObject.load(objectPath("offramp.bpf.o"), {
      reuse,
      maxEntries,
      constants,
      programs: ["read_clock"],
    });
    this.#maps = object;
    this.#map("monitor").update(0, renderMonitor({ verdicts: verdictNames, each: true }));
    this.#verdicts = new Ring(this.#map("verdicts"), (record) => {
      this.#seen.push(renderSeen(record, () => "", 0));
    });
    this.#events = new Ring(this.#map("events"), (record) => {
      const event = renderEvent(record, () => "");
      if (event) this.#told.push(event.type);
    });
  }

  #program(name: TrialProgram, dataplane: number): Program {
    const key = `${name} ${dataplane}`;
    let object = this.#objects.get(key);
    if (!object) {
      const reuse = new Map([...this.#maps!.maps].filter(([map]) => !map.endsWith(".rodata")));
      object = BpfObject.load(objectPath("offramp.bpf.o"), {
        reuse,
        programs: [name],
        constants: { DATAPLANE: dataplane, HZ: this.kernel.hz, CACHE_MASK: 0, REPLY_CACHE_MASK: 0 },
      });
      this.#objects.set(key, object);
    }
    return object.program(name);
  }

  /** Ports as they are; `without` one. Returns those that are there. */
  #plug(without?: number): number[] {
    const [live, mine] = [this.kernel.map("ports"), this.#map("ports")];
    const there: number[] = [];
    for (let port = 0; port < c.MAX_PORTS; port++) {
      const value = live.lookup(port);
      if (value) there.push(port);
      if (value && port !== without) mine.update(port, value.subarray(0, 4));
      else mine.delete(port);
    }
    return there;
  }

  #counts(): bigint[] {
    const map = this.#map("counters");
    const sums = counters.map(() => 0n);
    for (const [index] of counters.entries()) {
      for (let plane = 0; plane < c.MAX_DATAPLANES; plane++) {
        const octets = map.lookup(plane * c.COUNTERS_STRIDE + index)!;
        const view = layout.viewOver(octets);
        for (let at = 0; at < octets.length; at += 16) sums[index]! += view.getBigUint64(at, true);
      }
    }
    return sums;
  }

  #once(program: Program, frame: Uint8Array, findings: Findings) {
    const state = this.kernel.map("rules_state").lookup(0)!;
    this.#map("name_server").update(0, this.kernel.map("name_server").lookup(0)!);
    teach(this.#map, this.tables, findings);
    this.#map("rules_state").update(0, state);
    while (this.#verdicts!.consume() > 0);
    while (this.#events!.consume() > 0);
    this.#seen = [];
    this.#told = [];
    const ran = program.testRun(frame);
    while (this.#verdicts!.consume() > 0);
    while (this.#events!.consume() > 0);
    return ran;
  }

  /** @throws BpfError */
  run(plane: TrialPlane, request: TrialRequest, configured: Configured): Trial {
    clearTimeout(this.#timer);
    try {
      if (!this.#maps) this.#load();
      return this.#run(plane, request, configured);
    } catch (error) {
      this.close();
      throw error;
    } finally {
      if (this.#maps) this.#timer = setTimeout(() => this.close(), idleMs).unref();
    }
  }

  #run(plane: TrialPlane, request: TrialRequest, configured: Configured): Trial {
    const { way, frame } = request;
    let name: TrialProgram = programOf[way];
    if (plane.shared && name !== "from_apps") name = "shared";
    else if (plane.ethernet && name !== "from_apps") name = `ether_${name as "access" | "core"}`;
    const program = this.#program(name, way === "apps" ? APPLIANCE : plane.index);
    const findings = find(this.kernel, this.tables, plane.index, request);
    const there = this.#plug();
    const before = this.#counts();
    const ran = this.#once(program, frame, findings);
    const rose = this.#counts().map((count, index) => count > before[index]!);
    const [last] = this.#seen.slice(-1);
    const events = [...this.#told];
    const trial: Trial = {
      known: { ...findings.known, ...configured },
      verdict: last?.verdict ?? "",
      notes: counters.filter(({ kind }, index) => kind === "note" && rose[index]).map((counter) => counter.name),
      service: last?.service ?? 0,
      rule: last?.rule ?? 0,
      events,
    };
    if (ran.verdict === TX) Object.assign(trial, { leaves: "back to where it came from", frame: ran.data });
    if (ran.verdict !== REDIRECT) return trial;
    const port = this.#egress(program, frame, findings, there, plane.index);
    return { ...trial, ...(port !== undefined && { leaves: this.portName(port) }), frame: ran.data };
  }

  /** The slow port comes last: without it programs decide otherwise. */
  #egress(program: Program, frame: Uint8Array, findings: Findings, there: number[], plane: number): number | undefined {
    const likely = [c.PORT_CORE(plane), c.PORT_ACCESS(plane), c.PORT_RETURN, c.PORT_APPS];
    const rest = there.filter((port) => !likely.includes(port) && port !== c.PORT_SLOW);
    for (const port of [...likely.filter((one) => there.includes(one)), ...rest, c.PORT_SLOW]) {
      this.#plug(port);
      if (this.#once(program, frame, findings).verdict !== REDIRECT) return port;
    }
    return undefined;
  }

  /** Gives everything back; the next trial loads again. */
  close(): void {
    clearTimeout(this.#timer);
    this.#verdicts?.close();
    this.#events?.close();
    for (const object of this.#objects.values()) object.close();
    this.#objects.clear();
    this.#maps?.close();
    this.#maps = this.#verdicts = this.#events = undefined;
  }

  /** For tests: is anything loaded? */
  get loaded(): boolean {
    return this.#maps !== undefined;
  }
}
