/**
 * How does a change of the services reach the kernel and the store, or neither?
 *
 *   validate → conflicts → compile → dataplane.apply → commit → answer
 *
 * One change at a time. When the data plane refuses, nothing has changed. When the commit fails, the old steering is
 * applied again. A crash between apply and commit leaves the store with the old services, and the next start applies
 * those: what was never answered with 200 does not come back.
 */
import { type Dataplane, DataplaneError } from "../../dataplane/dataplane.ts";
import type { Steering } from "../../dataplane/steering.ts";
import { messageOf, Problem, type ProblemCode } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { type Conflict, compile, conflicts } from "./compile.ts";
import type { Conditions } from "./conditions.ts";
import type { SiteFacts } from "./context.ts";
import { type Intent, isAddressService, type NumberedIntent, type Service } from "./model.ts";
import { AddressError, formatPrefix, host, type Prefix, parseAddress, parsePrefix } from "./prefix.ts";
import { validateService } from "./validate.ts";

interface Entry extends NumberedIntent {
  service: Service;
}

type Entries = Map<string, Entry>;

export interface ServicesOptions {
  store: Pick<Store, "services" | "allocate" | "put" | "remove">;
  dataplane: Pick<Dataplane, "apply" | "flushService">;
  /** Prefixes that UEs may not reach. */
  protect: string[];
  /** `limits.rules` */
  rules: number;
  /** Absent: everything is up. */
  conditions?: Conditions;
  /** What else the site says that bodies are judged by, asked for each. Absent: nothing is known of it. */
  site?: () => SiteFacts;
  /** `vxlan.vniBase` */
  vniBase?: number;
}

const codeOf: Record<Conflict["kind"], ProblemCode> = {
  "same-name": "name-taken",
  "same-match": "same-match",
  ambiguous: "ambiguous",
};

/** @throws Problem */
export function refuseConflicts(intent: Intent, others: Iterable<Intent>): void {
  const found = conflicts(intent, others);
  const first = found[0];
  if (!first) return;
  throw new Problem(codeOf[first.kind], found.map((conflict) => conflict.message).join("; "), {
    services: [...new Set(found.map((conflict) => conflict.service))],
  });
}

export class Services {
  readonly #options: ServicesOptions;
  readonly #protect: Prefix[];
  #entries: Entries = new Map();
  /** Made when it is asked for, and again after a change. */
  #names: { of: Entries; byIndex: Map<number, string> } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ServicesOptions) {
    this.#options = options;
    this.#protect = options.protect.map(parsePrefix);
  }

  /**
   * Reads the store and applies what it says.
   * @throws DataplaneError, Problem
   */
  async start(): Promise<void> {
    const entries: Entries = new Map();
    for (const { service, rule, index } of this.#options.store.services()) {
      // `protect` may have grown since; such a service stays listed and simply meets nothing.
      const checked = validateService(service);
      if (!checked.ok) {
        throw new Problem("store-failed", `the stored service "${service.name}" is not valid in this release`, {
          errors: checked.errors,
        });
      }
      entries.set(service.name, { service, rule, index, intent: checked.intent });
    }
    await this.#options.dataplane.apply(this.#compile(entries));
    this.#entries = entries;
  }

  /** Applies the same services again, because conditions have changed. @throws DataplaneError and the old steering stays */
  refresh(): Promise<void> {
    return this.#serialise(() => this.#options.dataplane.apply(this.steering()));
  }

  list(): Service[] {
    return [...this.#entries.values()].map((entry) => entry.service);
  }

  get(name: string): Service | undefined {
    return this.#entries.get(name)?.service;
  }

  /** Name of the service whose counters have this index. */
  nameOf(index: number): string | undefined {
    if (this.#names?.of !== this.#entries) {
      const byIndex = new Map([...this.#entries.values()].map((entry) => [entry.index, entry.service.name]));
      this.#names = { of: this.#entries, byIndex };
    }
    return this.#names.byIndex.get(index);
  }

  numbered(): NumberedIntent[] {
    return [...this.#entries.values()];
  }

  steering(): Steering {
    return this.#compile(this.#entries);
  }

  /** The steering that would come of adding this service, or of replacing the one of its name. @throws Problem */
  plan(body: unknown): { intent: Intent; before: Steering; after: Steering } {
    const { service, intent } = this.#validate(body);
    const old = this.#entries.get(intent.name);
    const others = new Map(this.#entries);
    others.delete(intent.name);
    refuseConflicts(
      intent,
      [...others.values()].map((entry) => entry.intent),
    );
    const numbers = old ?? this.#options.store.allocate();
    others.set(intent.name, { service, intent, rule: numbers.rule, index: numbers.index });
    return { intent, before: this.steering(), after: this.#compile(others) };
  }

  /** @throws Problem */
  create(body: unknown): Promise<Service> {
    const { service, intent } = this.#validate(body);
    return this.#serialise(async () => {
      this.#refuse(intent, this.#entries);
      if (this.#entries.size >= this.#options.rules) {
        throw new Problem("limit-reached", `limits.rules allows ${this.#options.rules} rules, and all are in use`);
      }
      const entry = { service, intent, ...this.#options.store.allocate() };
      const next = new Map(this.#entries).set(intent.name, entry);
      await this.#change(next, () => this.#options.store.put(entry));
      return service;
    });
  }

  /** Replaces the service called `name`; the body may give it another name. @throws Problem */
  update(name: string, body: unknown): Promise<Service> {
    // A body is judged before the question whether its target exists: 400 says more than 404.
    const { service, intent } = this.#validate(body);
    return this.#serialise(async () => {
      const old = this.#entries.get(name);
      if (!old) throw notFound(name);
      const next: Entries = new Map(this.#entries);
      next.delete(name);
      this.#refuse(intent, next);
      const entry = { service, intent, rule: old.rule, index: old.index };
      next.set(intent.name, entry);
      await this.#change(next, () => this.#options.store.put(entry, name));
      return service;
    });
  }

  /**
   * Removes the service called `nameOrAddress`, else the one with that service IP. Flows that it has taken run on to
   * their end, unless `flush`.
   * @throws Problem
   */
  remove(nameOrAddress: string, { flush = false } = {}): Promise<Service> {
    return this.#serialise(async () => {
      const entry = this.#entries.get(nameOrAddress) ?? this.#byAddress(nameOrAddress);
      const name = entry.service.name;
      const next: Entries = new Map(this.#entries);
      next.delete(name);
      await this.#change(next, () => this.#options.store.remove(name));
      if (flush) await this.#options.dataplane.flushService(entry.index);
      return entry.service;
    });
  }

  #byAddress(text: string): Entry {
    let address: string;
    try {
      address = formatPrefix(text.includes("/") ? parsePrefix(text) : host(parseAddress(text)));
    } catch (error) {
      if (error instanceof AddressError) throw notFound(text);
      throw error;
    }
    const found = [...this.#entries.values()].filter(
      ({ intent }) => intent.match.destination?.length === 1 && intent.match.destination[0] === address,
    );
    const only = found[0];
    if (!only) throw notFound(text);
    if (found.length > 1) {
      const names = found.map((entry) => entry.service.name);
      throw new Problem("several-services", `${text} is the service IP of ${names.join(", ")}: delete by name`, {
        services: names,
      });
    }
    return only;
  }

  #validate(body: unknown): { service: Service; intent: Intent } {
    const checked = validateService(body, { ...this.#options.site?.(), protect: this.#protect });
    if (checked.ok) return checked;
    const said = checked.errors.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join("; ");
    throw new Problem("invalid-service", said, { errors: checked.errors });
  }

  #refuse(intent: Intent, entries: Entries): void {
    refuseConflicts(
      intent,
      [...entries.values()].map((entry) => entry.intent),
    );
  }

  #compile(entries: Entries): Steering {
    const { protect, conditions, vniBase } = this.#options;
    return compile(entries.values(), protect, { conditions, vniBase });
  }

  async #change(next: Entries, commit: () => void): Promise<void> {
    const { dataplane } = this.#options;
    try {
      await dataplane.apply(this.#compile(next));
    } catch (error) {
      const object = error instanceof DataplaneError ? error.object : undefined;
      throw new Problem(
        "dataplane-refused",
        `nothing has changed; ${object ? `${object}: ` : ""}${error instanceof DataplaneError ? error.message : "the data plane failed"}`,
        object ? { object } : {},
        { cause: error },
      );
    }
    try {
      commit();
    } catch (error) {
      await dataplane.apply(this.steering()).catch((again: unknown) => {
        throw new Problem(
          "store-failed",
          "the change was not stored, and could not be taken back: restart the agent",
          {},
          {
            cause: new AggregateError([error, again]),
          },
        );
      });
      throw new Problem(
        "store-failed",
        `nothing has changed; the store said: ${messageOf(error)}`,
        {},
        { cause: error },
      );
    }
    this.#entries = next;
  }

  #serialise<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

const notFound = (name: string) => new Problem("not-found", `there is no service "${name.slice(0, 80)}"`);

/** Services whose match holds a destination; for lists that sort by it. */
export const serviceAddress = (service: Service): string =>
  isAddressService(service) ? service.serviceIP : String(service.rules.nw_dst ?? "any");
