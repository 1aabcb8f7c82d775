/**
 * What makes application enablement (GS MEC 011, without rules) of its parts?
 *
 *   registry ─changed─▶ announcements ─▶ notifier
 *      ▲                     ▲
 *   routes ──▶ subscriptions, registrations, timing
 *
 * What its instances leave behind goes in the order of the standard: services, then subscriptions, then the registration.
 */
import type Database from "better-sqlite3";
import type { Logger } from "pino";
import type { Commits } from "../commits.ts";
import type { TransportInfo } from "../model/services.ts";
import type { Instance, InstancePart, Instances, Notifier, OperationAction, Provided } from "../parts.ts";
import { Announcements } from "../registry/announcements.ts";
import { offersOf } from "../registry/directory.ts";
import type { IntervalBounds } from "../registry/liveness.ts";
import { Registrations } from "../registry/registrations.ts";
import { type Quotas, Registry } from "../registry/registry.ts";
import { Subscriptions } from "../registry/subscriptions.ts";
import { platformTransport } from "../registry/transports.ts";
import { Timing, type TimingOptions } from "../timing/timing.ts";
import type { Mp1Context } from "./context.ts";
import type { Mp1Server } from "./server.ts";
import { serviceRoutes } from "./service-routes.ts";
import { subscriptionRoutes } from "./subscription-routes.ts";
import { supportRoutes } from "./support-routes.ts";

export interface EnablementOptions {
  database: Database.Database;
  commits: Commits;
  instances: Pick<Instances, "get" | "confirmReady" | "confirmTermination">;
  notifier: Notifier;
  /** `https://host:port` as apps reach Mp1. */
  base: () => string;
  /** Beside the platform's own. */
  transports?: readonly TransportInfo[];
  timing?: TimingOptions;
  bounds?: IntervalBounds;
  quotas?: Quotas;
  log: Logger;
}

export class Enablement {
  readonly registry: Registry;
  readonly subscriptions: Subscriptions;
  readonly registrations: Registrations;
  /** In the order in which they let go of an instance at its end; at its beginning it is the other way round. */
  readonly parts: readonly InstancePart[];
  /** To apps that require something before they begin. */
  readonly provided: Provided;
  readonly #context: Mp1Context;

  constructor(options: EnablementOptions) {
    const { database, commits, instances, notifier, base, log, bounds, quotas } = options;
    const transports = () => [platformTransport(base()), ...(options.transports ?? [])];
    this.subscriptions = new Subscriptions({ database, commits, notifier });
    const announcements = new Announcements(this.subscriptions, notifier, base);
    this.registry = new Registry({
      database,
      commits,
      transports,
      changed: (changes) => announcements.changed(changes),
      failed: (error) => log.error({ err: error }, "a service without heartbeats could not be suspended; trying again"),
      ...(bounds && { bounds }),
      ...(quotas && { quotas }),
    });
    const parts = [this.registry, this.subscriptions];
    this.registrations = new Registrations({ database, commits, instances, parts });
    this.parts = [...parts, this.registrations];
    this.provided = { services: (name) => offersOf(this.registry.directory, name), transports };
    this.#context = {
      registry: this.registry,
      subscriptions: this.subscriptions,
      announcements,
      registrations: this.registrations,
      instances,
      notifier,
      timing: new Timing(options.timing),
      transports,
      base,
    };
  }

  /** Reads what is stored; services that have promised heartbeats are watched from now on. */
  start(): void {
    this.registry.start();
    this.subscriptions.start();
    this.registrations.start();
  }

  stop(): void {
    this.registry.stop();
  }

  routes(server: Mp1Server): void {
    for (const routes of [serviceRoutes, subscriptionRoutes, supportRoutes]) routes(server, this.#context);
  }

  /** Also apps that have registered from elsewhere. */
  instance(id: string): Instance | undefined {
    return this.registrations.asInstance(id);
  }

  /** Tells an instance that it has to end; returns over how many subscriptions. `maxGracefulTimeout`: seconds, not 0. */
  announceTermination(instance: string, action: OperationAction, maxGracefulTimeout: number): number {
    return this.#context.announcements.termination(instance, action, maxGracefulTimeout);
  }
}
