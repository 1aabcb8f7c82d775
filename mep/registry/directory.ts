/**
 * Which services are there, and how is one found among ten thousand?
 *
 * In memory, with an index for each of the members that discovery can name; the rest of a filter is looked at one service at
 * a time. Answers are in the order of registration.
 */
import type { OfferedService } from "../parts.ts";
import type { About, Facts, Service } from "./service.ts";

/** Filters of GET …/services (GS MEC 011 §8.2.3.3.1); all that are there have to hold, of each list one value. */
export interface ServiceQuery {
  ids?: string[];
  names?: string[];
  category?: string;
  scopeOfLocality?: string;
  consumedLocalOnly?: boolean;
  isLocal?: boolean;
}

/** Does the filter let this one through? */
export function matches(query: ServiceQuery, facts: Facts): boolean {
  return (
    (query.ids?.includes(facts.id) ?? true) &&
    (query.names?.includes(facts.name) ?? true) &&
    (query.category === undefined || query.category === facts.category) &&
    (query.scopeOfLocality === undefined || query.scopeOfLocality === facts.scopeOfLocality) &&
    (query.consumedLocalOnly === undefined || query.consumedLocalOnly === facts.consumedLocalOnly) &&
    query.isLocal !== false
  );
}

const none: ReadonlySet<Service> = new Set();

/** Sets of services under a key; an empty set is no key. */
class Index {
  readonly #sets = new Map<string, Set<Service>>();

  add(key: string, service: Service): void {
    const set = this.#sets.get(key);
    if (set) set.add(service);
    else this.#sets.set(key, new Set([service]));
  }

  delete(key: string, service: Service): void {
    const set = this.#sets.get(key);
    set?.delete(service);
    if (set?.size === 0) this.#sets.delete(key);
  }

  get(key: string): ReadonlySet<Service> {
    return this.#sets.get(key) ?? none;
  }
}

export class Directory {
  readonly #services = new Map<string, Service>();
  readonly #names = new Index();
  readonly #categories = new Index();
  readonly #instances = new Index();
  #places = 0;
  #all: { base: string; body: Buffer } | undefined;

  get size(): number {
    return this.#services.size;
  }

  get(id: string): Service | undefined {
    return this.#services.get(id);
  }

  /** A new one, or another in the place of the one with its id. */
  put(service: Service): void {
    const old = this.#services.get(service.id);
    if (old) this.#unlist(old);
    this.#places += 1;
    service.place = old?.place ?? this.#places;
    this.#services.set(service.id, service);
    this.#names.add(service.name, service);
    if (service.category !== undefined) this.#categories.add(service.category, service);
    this.#instances.add(service.instance, service);
    this.#all = undefined;
  }

  remove(id: string): void {
    const service = this.#services.get(id);
    if (!service) return;
    this.#services.delete(id);
    this.#unlist(service);
    this.#all = undefined;
  }

  #unlist(service: Service): void {
    this.#names.delete(service.name, service);
    if (service.category !== undefined) this.#categories.delete(service.category, service);
    this.#instances.delete(service.instance, service);
  }

  all(): Iterable<Service> {
    return this.#services.values();
  }

  /** In the order of registration. */
  of(instance: string): Service[] {
    return inOrder(this.#instances.get(instance));
  }

  countOf(instance: string): number {
    return this.#instances.get(instance).size;
  }

  #candidates(query: ServiceQuery): Iterable<Service> {
    if (query.ids) return new Set(query.ids.map((id) => this.#services.get(id)).filter((found) => found !== undefined));
    if (query.names) return query.names.flatMap((name) => [...this.#names.get(name)]);
    if (query.category !== undefined) return this.#categories.get(query.category);
    return this.#services.values();
  }

  /** What a consumer discovers: not what is SUSPENDED (§8.1.6.6). */
  discover(query: ServiceQuery): Service[] {
    const found = new Set<Service>();
    for (const service of this.#candidates(query)) {
      if (service.state !== "SUSPENDED" && matches(query, service)) found.add(service);
    }
    return inOrder(found);
  }

  /** Of one app, in whatever state. */
  discoverOf(instance: string, query: ServiceQuery): Service[] {
    return this.of(instance).filter((service) => matches(query, service));
  }

  /** The JSON list of all that can be discovered; made once after each change. */
  everything(base: string): Buffer {
    if (this.#all?.base !== base) {
      const body = Buffer.from(listOf(this.discover({}).map((service) => service.shared(base).text)));
      this.#all = { base, body };
    }
    return this.#all.body;
  }
}

/** What is ACTIVE under a name. */
export const offersOf = (directory: Directory, name: string): OfferedService[] =>
  directory
    .discover({ names: [name] })
    .filter(({ state }) => state === "ACTIVE")
    .map(({ about }) => {
      const { version, transportInfo, serializer, serCategory } = JSON.parse(about) as About;
      return { version, transport: transportInfo, serializer, ...(serCategory && { category: serCategory.id }) };
    });

/** A JSON list of what is JSON already. */
export const listOf = (texts: readonly string[]): string => `[${texts.join(",")}]`;

const inOrder = (services: Iterable<Service>): Service[] => [...services].sort((a, b) => a.place - b.place);
