/**
 * What becomes of a service that an app offers?
 *
 *   POST ─▶ ACTIVE ◀──heartbeat── SUSPENDED ◀──no heartbeat in time── ACTIVE ─▶ DELETE, or the end of its instance
 *              └── PUT: any state, any attribute ──┘
 *
 * A change is durable before it can be seen (commits.ts), and is told to subscribers after. Heartbeats that change nothing
 * but the time are not written down: see liveness.ts. Changes of one instance keep their order.
 */
import { randomUUID } from "node:crypto";
import type Database from "better-sqlite3";
import { Problem } from "../../controlplane/errors.ts";
import type { Commits } from "../commits.ts";
import { invalid } from "../model/read.ts";
import type { ServiceRequest, TransportInfo } from "../model/services.ts";
import type { Instance, InstancePart } from "../parts.ts";
import { Directory } from "./directory.ts";
import { type IntervalBounds, intervalFor, Liveness, usualBounds } from "./liveness.ts";
import { aboutOf, Service, type ServiceRow } from "./service.ts";

export type ChangeType = "ADDED" | "REMOVED" | "STATE_CHANGED" | "ATTRIBUTES_CHANGED";

export interface ServiceChange {
  type: ChangeType;
  /** As it is now; of one that was removed, as it was. */
  service: Service;
}

/** What whoever passes a heartbeat on has to say to it. */
export interface Heartbeat {
  check: (service: Service) => void;
  changing?: () => void;
}

export interface Quotas {
  /** Services of one instance. */
  perInstance: number;
  /** Of all instances. */
  services: number;
}

export interface RegistryOptions {
  database: Database.Database;
  commits: Commits;
  /** Those of the platform, by id. */
  transports: () => readonly TransportInfo[];
  /** Called after each change, with all that changed together. */
  changed: (changes: readonly ServiceChange[]) => void;
  /** A lapse could not be written down; it is tried again. */
  failed?: (error: unknown) => void;
  bounds?: IntervalBounds;
  quotas?: Quotas;
}

export const usualQuotas: Quotas = { perInstance: 256, services: 65_536 };

/** What a PUT has changed; undefined: nothing that anybody could see. */
function changeType(before: Service, after: Service): ChangeType | undefined {
  if (before.about !== after.about || before.interval !== after.interval) return "ATTRIBUTES_CHANGED";
  return before.state === after.state ? undefined : "STATE_CHANGED";
}

export class Registry implements InstancePart {
  readonly directory = new Directory();
  readonly #options: RegistryOptions;
  readonly #bounds: IntervalBounds;
  readonly #quotas: Quotas;
  readonly #liveness = new Liveness((id) => this.#lapsed(id));
  /** Instances that have come to their end in this process. */
  readonly #ended = new Set<string>();
  readonly #insert: Database.Statement;
  readonly #update: Database.Statement;
  readonly #delete: Database.Statement;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#bounds = options.bounds ?? usualBounds;
    this.#quotas = options.quotas ?? usualQuotas;
    const { database } = options;
    this.#insert = database.prepare(
      "INSERT INTO mec_service VALUES (:id, :instance, :about, :state, :interval, :heartbeat)",
    );
    this.#update = database.prepare(
      "UPDATE mec_service SET about = :about, state = :state, interval = :interval, heartbeat = :heartbeat WHERE id = :id",
    );
    this.#delete = database.prepare("DELETE FROM mec_service WHERE id = ?");
  }

  start(): void {
    const rows = this.#options.database.prepare("SELECT * FROM mec_service ORDER BY rowid").all() as ServiceRow[];
    for (const row of rows) this.#take(new Service(row));
  }

  stop(): void {
    this.#liveness.stop();
  }

  /** Into memory. */
  #take(service: Service): void {
    this.directory.put(service);
    if (service.interval !== undefined && service.state === "ACTIVE") {
      this.#liveness.beat(service.id, service.interval);
    } else this.#liveness.forget(service.id);
  }

  #drop(service: Service): void {
    this.directory.remove(service.id);
    this.#liveness.forget(service.id);
  }

  #transport({ transportId, transportInfo }: ServiceRequest): TransportInfo {
    if (transportInfo) return transportInfo;
    const known = this.#options.transports();
    const found = known.find(({ id }) => id === transportId);
    if (found) return found;
    const names = known.map(({ id }) => id).join(", ");
    throw invalid([{ field: "transportId", message: `is none of the platform's transports: ${names}` }]);
  }

  #row(id: string, instance: string, request: ServiceRequest): ServiceRow {
    const proposed = request.livenessInterval;
    return {
      id,
      instance,
      about: aboutOf(request, this.#transport(request)),
      state: request.state,
      interval: proposed === undefined ? null : intervalFor(proposed, this.#bounds),
      heartbeat: Date.now(),
    };
  }

  /** @throws Problem not-found, also where it is another instance's */
  find(instance: string, id: string): Service {
    const service = this.directory.get(id);
    if (service?.instance === instance) return service;
    throw new Problem("not-found", `the instance has no service "${id.slice(0, 80)}"`);
  }

  /** @throws Problem */
  create(instance: string, request: ServiceRequest): Promise<Service> {
    const row = this.#row(randomUUID(), instance, request);
    return this.#options.commits.change(instance, () => {
      this.#refuseEnded(instance);
      const { perInstance, services } = this.#quotas;
      if (this.directory.countOf(instance) >= perInstance) {
        throw new Problem("forbidden", `an instance may offer ${perInstance} services: delete one first`);
      }
      if (this.directory.size >= services) throw new Problem("limit-reached", `${services} services are registered`);
      this.#insert.run(row);
      const service = new Service(row);
      return {
        value: service,
        apply: () => {
          this.#take(service);
          this.#options.changed([{ type: "ADDED", service }]);
        },
      };
    });
  }

  #refuseEnded(instance: string): void {
    if (this.#ended.has(instance)) throw new Problem("forbidden", "the instance has come to its end");
  }

  /** Everything of it is replaced. `check` may refuse, given what is there. @throws Problem */
  replace(instance: string, id: string, request: ServiceRequest, check: (service: Service) => void): Promise<Service> {
    const row = this.#row(id, instance, request);
    return this.#options.commits.change(instance, () => {
      const before = this.find(instance, id);
      check(before);
      return this.#change(before, new Service(row));
    });
  }

  #change(before: Service, after: Service): { value: Service; apply: () => void } {
    this.#update.run(after.row());
    return {
      value: after,
      apply: () => {
        this.#take(after);
        const type = changeType(before, after);
        if (type) this.#options.changed([{ type, service: after }]);
      },
    };
  }

  /** @throws Problem */
  withdraw(instance: string, id: string, check: (service: Service) => void): Promise<void> {
    return this.#options.commits.change(instance, () => {
      const service = this.find(instance, id);
      check(service);
      this.#delete.run(id);
      return {
        value: undefined,
        apply: () => {
          this.#drop(service);
          this.#options.changed([{ type: "REMOVED", service }]);
        },
      };
    });
  }

  /** The service with that liveness resource. @throws Problem not-found where no heartbeats are required */
  findLive(instance: string, id: string): Service {
    const service = this.find(instance, id);
    if (service.interval !== undefined) return service;
    throw new Problem("not-found", "the platform requires no heartbeats of this service");
  }

  /**
   * A heartbeat. Resolves to the service when the platform requires another interval from now on, which the app has to be
   * told. `check` may refuse; `changing` is called before anything but the time changes, and may refuse too.
   * @throws Problem not-found; conflict while the service is INACTIVE
   */
  async heartbeat(instance: string, id: string, { check, changing }: Heartbeat): Promise<Service | undefined> {
    const service = this.findLive(instance, id);
    check(service);
    const interval = service.interval ?? 0;
    if (service.state === "ACTIVE" && intervalFor(interval, this.#bounds) === interval) {
      service.heartbeat = Date.now();
      this.#liveness.beat(id, interval);
      return undefined;
    }
    if (service.state !== "INACTIVE") changing?.();
    const after = await this.#options.commits.change(instance, () => {
      const before = this.findLive(instance, id);
      if (before.state === "INACTIVE") {
        throw new Problem("conflict", "the service is INACTIVE: PUT it as ACTIVE before its heartbeats");
      }
      const required = intervalFor(before.interval ?? 0, this.#bounds);
      return this.#change(before, before.with({ state: "ACTIVE", interval: required, heartbeat: Date.now() }));
    });
    return after.interval === interval ? undefined : after;
  }

  #lapsed(id: string): void {
    const instance = this.directory.get(id)?.instance;
    if (instance === undefined) return;
    this.#options.commits
      .change(instance, () => {
        const before = this.directory.get(id);
        // A heartbeat, or something else, has come meanwhile.
        if (before?.state !== "ACTIVE" || this.#liveness.watches(id)) return { value: undefined };
        return { ...this.#change(before, before.with({ state: "SUSPENDED" })), value: undefined };
      })
      .catch((error: unknown) => {
        const service = this.directory.get(id);
        if (service?.interval !== undefined) this.#liveness.beat(id, service.interval);
        this.#options.failed?.(error);
      });
  }

  async configure({ id }: Instance): Promise<void> {
    this.#ended.delete(id);
  }

  async ready({ id }: Instance): Promise<void> {
    this.#ended.delete(id);
  }

  /** Its services go, and those who asked are told. */
  async deactivate({ id: instance }: Instance): Promise<void> {
    this.#ended.add(instance);
    await this.#options.commits.change(instance, () => {
      const services = this.directory.of(instance);
      for (const { id } of services) this.#delete.run(id);
      return {
        value: undefined,
        apply: () => {
          for (const service of services) this.#drop(service);
          if (services.length > 0) this.#options.changed(services.map((service) => ({ type: "REMOVED", service })));
        },
      };
    });
  }
}
