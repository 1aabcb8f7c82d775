/**
 * What does Prometheus see?
 *
 * One registry of our own. Counters of the kernel are read when they are asked for, so a scrape costs one pass over the
 * maps and nothing in between. Labels are bounded: data planes, named reasons, services, directions; never UEs, tunnels or
 * addresses. `reason` is the name from dataplane/counters.ts, the same as in C, in captures and in traces.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { counters as table } from "../../dataplane/counters.ts";
import type { Dataplane, Limits, Mode } from "../../dataplane/dataplane.ts";
import type { ServiceView } from "../health/endpoints.ts";

export interface MetricsSources {
  dataplane: Pick<Dataplane, "counters" | "serviceCounters" | "status">;
  serviceName: (index: number) => string | undefined;
  serviceCount: () => number;
  /** Of chains. */
  functions?: () => { state: "up" | "down" }[];
  ready: () => boolean;
  /** Members of site.yaml that the site is without at the moment. */
  missing?: () => string[];
  /** Where the data plane does not hold what was applied, at the last look. */
  differences?: () => number | undefined;
  limits: Limits;
  health: () => ServiceView[];
  probes: () => { answered: number; failed: number };
  /** The audit log: entries written since the start, by kind; those that could not be; octets of its file. */
  audit?: () => { written: ReadonlyMap<string, number>; failures: number; octets: number };
  /** Numbers of the sessions runtime; those named in `levels` may fall. */
  runtime?: () => Record<string, number>;
  version: string;
}

const modes: readonly Mode[] = ["offload", "observe", "bypass"];
const levels = ["pinger_active", "hold_packets", "hold_octets", "fragments_waiting"];
const kindOf = new Map(table.map((counter) => [counter.name, counter.kind]));

export class Metrics {
  readonly registry = new Registry();
  readonly requests: Counter<"method" | "route" | "status">;
  readonly events: Counter<"dataplane" | "type">;
  readonly refused: Counter<"api" | "reason">;

  constructor(private readonly sources: MetricsSources) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.requests = new Counter({
      name: "offramp_http_requests_total",
      help: "Requests answered by the API",
      labelNames: ["method", "route", "status"],
      registers,
    });
    this.events = new Counter({
      name: "offramp_events_total",
      help: "Events of the data plane",
      labelNames: ["dataplane", "type"],
      registers,
    });
    this.refused = new Counter({
      name: "offramp_access_refused_total",
      help: "Requests that were refused because of who asked, or how often",
      labelNames: ["api", "reason"],
      registers,
    });
    new Gauge({ name: "offramp_build_info", help: "Version of the agent", labelNames: ["version"], registers }).set(
      { version: sources.version },
      1,
    );
    const limit = new Gauge({ name: "offramp_limit", help: "Sizes of the tables", labelNames: ["table"], registers });
    for (const table of ["sessions", "flows", "rules"] as const) limit.set({ table }, sources.limits[table]);
    this.#packets(registers);
    this.#services(registers);
    this.#health(registers);
    this.#dataplanes(registers);
    this.#runtime(registers);
    this.#audit(registers);
    this.#missing(registers);
  }

  #missing(registers: Registry[]): void {
    const { missing } = this.sources;
    if (!missing) return;
    new Gauge({
      name: "offramp_missing",
      help: "1 for each member of site.yaml that the site is without at the moment: mep.dns is a name server that does not answer",
      labelNames: ["member"],
      registers,
      collect() {
        this.reset();
        for (const member of missing()) this.set({ member }, 1);
      },
    });
  }

  #audit(registers: Registry[]): void {
    const { audit } = this.sources;
    if (!audit) return;
    new Counter({
      name: "offramp_audit_entries_total",
      help: "Entries written to the audit log since the start",
      labelNames: ["kind"],
      registers,
      collect() {
        this.reset();
        for (const [kind, count] of audit().written) this.inc({ kind }, count);
      },
    });
    new Counter({
      name: "offramp_audit_failures_total",
      help: "Entries that could not be written; while there are any, changes are refused",
      registers,
      collect() {
        this.reset();
        this.inc(audit().failures);
      },
    });
    new Gauge({
      name: "offramp_audit_bytes",
      help: "Size of the audit log; offramp audit export --truncate makes it smaller",
      registers,
      collect() {
        this.set(audit().octets);
      },
    });
  }

  #packets(registers: Registry[]): void {
    const { dataplane } = this.sources;
    const each = (name: string, help: string, label: string, pick: "packets" | "bytes", notes: boolean) =>
      new Counter({
        name,
        help,
        labelNames: notes ? ["dataplane", label] : ["dataplane", "verdict", label],
        registers,
        collect() {
          this.reset();
          for (const sample of dataplane.counters()) {
            const kind = kindOf.get(sample.name) ?? "note";
            if ((kind === "note") !== notes) continue;
            const labels = { dataplane: sample.dataplane, ...(!notes && { verdict: kind }), [label]: sample.name };
            this.inc(labels, Number(sample[pick]));
          }
        },
      });
    each("offramp_packets_total", "Packets by what happened to them", "reason", "packets", false);
    each("offramp_bytes_total", "Octets by what happened to them", "reason", "bytes", false);
    each("offramp_notes_total", "What was noticed beside the verdict", "note", "packets", true);
  }

  #services(registers: Registry[]): void {
    const { dataplane, serviceName, serviceCount } = this.sources;
    const each = (name: string, help: string, pick: "packets" | "bytes") =>
      new Counter({
        name,
        help,
        labelNames: ["service", "direction"],
        registers,
        collect() {
          this.reset();
          for (const sample of dataplane.serviceCounters()) {
            const service = serviceName(sample.service);
            if (service !== undefined) this.inc({ service, direction: sample.direction }, Number(sample[pick]));
          }
        },
      });
    each("offramp_service_packets_total", "Packets taken for a service, and its replies", "packets");
    each("offramp_service_bytes_total", "Octets of inner packets taken for a service, and of its replies", "bytes");
    new Gauge({
      name: "offramp_services",
      help: "Services configured",
      registers,
      collect() {
        this.set(serviceCount());
      },
    });
    const { functions } = this.sources;
    new Gauge({
      name: "offramp_functions",
      help: "Functions of chains, by whether they answer",
      labelNames: ["state"],
      registers,
      collect() {
        const all = functions?.() ?? [];
        for (const state of ["up", "down"] as const)
          this.set({ state }, all.filter((one) => one.state === state).length);
      },
    });
  }

  #health(registers: Registry[]): void {
    const { health, probes } = this.sources;
    new Gauge({
      name: "offramp_service_endpoints",
      help: "Endpoints of a service with health, by state; with none up the service stands aside",
      labelNames: ["service", "state"],
      registers,
      collect() {
        this.reset();
        for (const { service, health: asked, endpoints } of health()) {
          if (!asked) continue;
          for (const state of ["up", "draining", "down", "unknown"]) this.set({ service, state }, 0);
          for (const { state } of endpoints) this.inc({ service, state });
        }
      },
    });
    new Counter({
      name: "offramp_health_probes_total",
      help: "Probes of endpoints by whether they were answered as they should be",
      labelNames: ["result"],
      registers,
      collect() {
        this.reset();
        for (const [result, count] of Object.entries(probes())) this.inc({ result }, count);
      },
    });
  }

  #dataplanes(registers: Registry[]): void {
    const { dataplane, ready } = this.sources;
    const each = (name: string, help: string, pick: "sessions" | "flows") =>
      new Gauge({
        name,
        help,
        labelNames: ["dataplane"],
        registers,
        collect() {
          this.reset();
          for (const status of dataplane.status()) this.set({ dataplane: status.name }, status[pick]);
        },
      });
    each("offramp_sessions", "UE addresses known", "sessions");
    each("offramp_flows", "Flows known", "flows");
    new Gauge({
      name: "offramp_dataplane_mode",
      help: "1 for the mode that the data plane is in",
      labelNames: ["dataplane", "mode"],
      registers,
      collect() {
        this.reset();
        for (const status of dataplane.status()) {
          for (const mode of modes) this.set({ dataplane: status.name, mode }, status.mode === mode ? 1 : 0);
        }
      },
    });
    new Gauge({
      name: "offramp_port_up",
      help: "1 when the adapter has link",
      labelNames: ["dataplane", "adapter", "role", "path"],
      registers,
      collect() {
        this.reset();
        for (const { name, ports } of dataplane.status()) {
          for (const { adapter, role, path, link } of ports) {
            this.set({ dataplane: name, adapter, role, path }, link ? 1 : 0);
          }
        }
      },
    });
    const { differences } = this.sources;
    new Gauge({
      name: "offramp_deployed_differences",
      help: "Entries in which the data plane differed from what was applied, when it was last looked at",
      registers,
      collect() {
        const found = differences?.();
        if (found === undefined) this.reset();
        else this.set(found);
      },
    });
    new Gauge({
      name: "offramp_ready",
      help: "1 when services are applied and the API is up",
      registers,
      collect() {
        this.set(ready() ? 1 : 0);
      },
    });
  }

  #runtime(registers: Registry[]): void {
    const { runtime } = this.sources;
    if (!runtime) return;
    new Counter({
      name: "offramp_slow_path_events_total",
      help: "Pings, held replies and fragments that the control plane saw to",
      labelNames: ["event"],
      registers,
      collect() {
        this.reset();
        for (const [event, value] of Object.entries(runtime())) if (!levels.includes(event)) this.inc({ event }, value);
      },
    });
    new Gauge({
      name: "offramp_slow_path_level",
      help: "What the control plane holds at the moment",
      labelNames: ["what"],
      registers,
      collect() {
        this.reset();
        const now = runtime();
        for (const what of levels) if (now[what] !== undefined) this.set({ what }, now[what]);
      },
    });
  }
}
