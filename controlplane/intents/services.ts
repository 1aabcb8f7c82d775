/**
 * How does a change of the services reach the kernel and the store, or neither?
 *
 *   validate → conflicts → compile → dataplane.apply → commit → answer
 *
 * One change at a time: of one service, of the whole set, or back to an earlier set. When the data plane refuses, nothing has
 * changed. When the commit fails, the old steering is applied again. A crash between apply and commit leaves the store with
 * the old services, and the next start applies those: what was never answered with 200 does not come back. Each commit is
 * a revision (store/history.ts); a change may have to be confirmed (confirmation.ts).
 */
import type { Dataplane } from "../../dataplane/dataplane.ts";
import type { Names, Steering } from "../../dataplane/steering.ts";
import { Problem } from "../errors.ts";
import type { Change, Touched } from "../store/history.ts";
import type { Numbers, Store, StoredService } from "../store/store.ts";
import { applyAndCommit } from "./apply.ts";
import { compile } from "./compile.ts";
import type { Conditions } from "./conditions.ts";
import { Confirmation, takeBackStored, takingBack, timeLeft } from "./confirmation.ts";
import type { SiteFacts, ValidationContext } from "./context.ts";
import { refuse } from "./judgement.ts";
import { Layer, type LayerEntries, type MakeLayerChange } from "./layer.ts";
import type { Intent, NumberedIntent, Service } from "./model.ts";
import { AddressError, formatPrefix, host, type Prefix, parseAddress, parsePrefix } from "./prefix.ts";
import { type Validation, validateService } from "./validate.ts";
import type { Finding } from "./verify.ts";

interface Entry extends NumberedIntent {
  service: Service;
}

type Entries = Map<string, Entry>;

export interface ServicesOptions {
  store: Store;
  dataplane: Pick<Dataplane, "apply" | "flushServices" | "setNames">;
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
  /** Names that the platform answers. Absent: those in force stay until `setNames`. */
  names?: Names;
  /** Starts a process that takes an armed change back should this one be dead by then. Absent: there is none. */
  guard?: () => void;
}

/** A change of services, ready to be applied and committed. */
export interface Transaction extends Change {
  /** Numbers given out last. */
  given?: Numbers | undefined;
  /** Seconds in which it has to be confirmed. */
  confirm?: number | undefined;
  /** Ends the wait for a confirmation. */
  disarms?: boolean;
  /** Judges the services that it touches, before anything happens. @throws Problem */
  judge?: Judge | undefined;
}

/** `touched` are among `all`. @throws Problem */
export type Judge = (touched: Intent[], all: Intent[]) => void | Promise<void>;

export class Services {
  readonly #options: ServicesOptions;
  #protect: Prefix[];
  readonly confirmation: Confirmation;
  /** Rules below the services; to be loaded before `start`. */
  readonly layer: Layer;
  #entries: Entries = new Map();
  #applied: Steering | undefined;
  /** Made when it is asked for, and again after a change. */
  #byIndex: { of: Entries; names: Map<number, string> } | undefined;
  #names: Names | undefined;
  #last: Promise<unknown> = Promise.resolve();
  readonly #warned = new WeakMap<Service, Finding[]>();

  constructor(options: ServicesOptions) {
    this.#options = options;
    this.#protect = options.protect.map(parsePrefix);
    this.#names = options.names;
    this.confirmation = new Confirmation(options.store, options.guard ?? (() => undefined));
    this.layer = new Layer(options.store);
  }

  /**
   * Reads the store and applies what it says. What was to be confirmed and is overdue is taken back: it is not applied, and
   * only when the older services are in force is the wait over.
   * @throws DataplaneError, Problem
   */
  async start(): Promise<void> {
    const { store } = this.#options;
    const entries: Entries = new Map();
    for (const each of store.services()) {
      entries.set(each.service.name, { ...each, intent: intentOf(each.service) });
    }
    this.#entries = entries;
    const armed = store.armed();
    const overdue = armed !== undefined && timeLeft(armed) <= 0;
    if (overdue) this.#entries = this.#entriesAfter(takingBack(store, armed).touched);
    const { conditions } = this.#options;
    await conditions?.prepare?.(this.#entries.values());
    await this.#apply(this.steering());
    conditions?.inForce?.(this.#entries.values());
    if (overdue) takeBackStored(store, armed);
  }

  /** Applies the same services again, because conditions have changed. @throws DataplaneError and the old steering stays */
  refresh(): Promise<void> {
    return this.#serialise(() => this.#apply(this.steering()));
  }

  /** Other prefixes are protected from now on. @throws DataplaneError and the old ones stay */
  setProtect(protect: string[]): Promise<void> {
    return this.#serialise(async () => {
      await this.#apply(this.#compile(this.#entries, protect));
      this.#options.protect = protect;
      this.#protect = protect.map(parsePrefix);
    });
  }

  /**
   * Queries for these names are taken from now on, and for no others; also before `start`. Not stored: who knows them says
   * so at each start. @throws DataplaneError and the old ones stay
   */
  setNames(names: Names): Promise<void> {
    return this.#serialise(async () => {
      if (this.#applied) {
        await this.#options.dataplane.setNames(names);
        this.#applied = { ...this.#applied, names };
      }
      this.#names = names;
    });
  }

  list(): Service[] {
    return [...this.#entries.values()].map((entry) => entry.service);
  }

  get(name: string): Service | undefined {
    return this.#entries.get(name)?.service;
  }

  /** Name of the service, or of the rule below the services, whose counters have this index. */
  nameOf(index: number): string | undefined {
    if (this.#byIndex?.of !== this.#entries) {
      const names = new Map([...this.#entries.values()].map((entry) => [entry.index, entry.service.name]));
      this.#byIndex = { of: this.#entries, names };
    }
    return this.#byIndex.names.get(index) ?? this.layer.nameOf(index);
  }

  /** Services, and the rules below them. */
  numbered(): NumberedIntent[] {
    return [...this.#entries.values(), ...this.layer.entries.values()];
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
    this.#refuse(intent, others);
    const numbers = old ?? this.#options.store.allocate();
    others.set(intent.name, { service, intent, rule: numbers.rule, index: numbers.index });
    return { intent, before: this.steering(), after: this.#compile(others) };
  }

  /** @throws Problem */
  create(body: unknown, who: string): Promise<Service> {
    const { service, intent } = this.#validate(body);
    return this.#unarmed(() => {
      this.#warned.set(service, this.#refuse(intent, this.#entries));
      const numbers = this.#options.store.allocate();
      const touched = [{ after: { service, ...numbers } }];
      return { touched, given: numbers, who, what: `service "${intent.name}" added` };
    }).then(() => service);
  }

  /** Replaces the service called `name`; the body may give it another name. @throws Problem */
  update(name: string, body: unknown, who: string): Promise<Service> {
    // A body is judged before the question whether its target exists: 400 says more than 404.
    const { service, intent } = this.#validate(body);
    return this.#unarmed(() => {
      const before = this.#entries.get(name);
      if (!before) throw notFound(name);
      const others: Entries = new Map(this.#entries);
      others.delete(name);
      this.#warned.set(service, this.#refuse(intent, others));
      const renamed = name === intent.name ? "" : `, now called "${intent.name}"`;
      const touched = [{ before: stored(before), after: { ...stored(before), service } }];
      return { touched, who, what: `service "${name}" changed${renamed}` };
    }).then(() => service);
  }

  /**
   * Removes the service called `nameOrAddress`, else the one with that service IP. Flows that it has taken run on to
   * their end, unless `flush`.
   * @throws Problem
   */
  async remove(nameOrAddress: string, who: string, { flush = false } = {}): Promise<Service> {
    let entry: Entry | undefined;
    await this.#unarmed(() => {
      entry = this.#entries.get(nameOrAddress) ?? this.#byAddress(nameOrAddress);
      return { touched: [{ before: stored(entry) }], who, what: `service "${entry.service.name}" removed` };
    });
    if (!entry) throw notFound(nameOrAddress);
    if (flush) await this.#options.dataplane.flushServices([entry.index]);
    return entry.service;
  }

  /** What is there, with its numbers. */
  stored(): StoredService[] {
    return [...this.#entries.values()].map(stored);
  }

  /**
   * One change, after those that were asked for before: `make` sees what is there then, and says what is touched. Returns
   * the revision that it became; undefined when nothing is touched.
   * @throws Problem, and whatever `make` throws, and nothing has changed
   */
  transact(make: () => Transaction): Promise<number | undefined> {
    return this.#serialise(async () => {
      const transaction = make();
      const { touched, judge, confirm, given, disarms = false } = transaction;
      if (touched.length === 0 && !disarms) return undefined;
      const { store } = this.#options;
      const next = this.#entriesAfter(touched);
      this.#refuseTooMany(next, this.layer.entries);
      if (judge) await this.#judge(touched, next, judge);
      const arms = confirm !== undefined;
      if (arms) this.confirmation.arm(store.history.newest(), confirm);
      let revision: number | undefined;
      try {
        await this.#change(next, this.layer.entries, () => {
          revision = store.commit(transaction, { arms, disarms, given });
        });
      } catch (error) {
        if (arms) this.confirmation.disarm();
        throw error;
      }
      return revision;
    });
  }

  /**
   * A change of the rules below the services, after those changes that were asked for before: in the kernel and committed
   * when it resolves. @throws Problem, and whatever `make` throws, and nothing has changed
   */
  changeLayer(make: MakeLayerChange): Promise<void> {
    return this.#serialise(async () => {
      const change = make();
      const next = this.layer.after(change);
      this.#refuseTooMany(this.#entries, next);
      await this.#change(this.#entries, next, change.commit);
    });
  }

  /** What a change would lead to, judged; makes none. @throws Problem */
  async preview(touched: readonly Touched[], judge: Judge): Promise<Steering> {
    const next = this.#entriesAfter(touched);
    this.#refuseTooMany(next, this.layer.entries);
    await this.#judge(touched, next, judge);
    return this.#compile(next);
  }

  async #judge(touched: readonly Touched[], next: Entries, judge: Judge): Promise<void> {
    await judge(
      touched.flatMap(({ after }) => next.get(after?.service.name ?? "")?.intent ?? []),
      [...next.values()].map(({ intent }) => intent),
    );
  }

  #refuseTooMany(next: Entries, layer: LayerEntries): void {
    const { rules } = this.#options;
    const count = next.size + layer.size;
    if (count <= rules || count <= this.#entries.size + this.layer.entries.size) return;
    throw new Problem("limit-reached", `limits.rules allows ${rules} rules, and this would be ${count}`);
  }

  /** Runs `work` when no change is under way. */
  alone<T>(work: () => T | Promise<T>): Promise<T> {
    return this.#serialise(async () => work());
  }

  /** What the data plane took last. */
  get applied(): Steering | undefined {
    return this.#applied;
  }

  async #apply(steering: Steering): Promise<void> {
    await this.#options.dataplane.apply(steering);
    this.#applied = steering;
  }

  /** A change that has to wait while another waits to be confirmed. */
  #unarmed(make: () => Transaction): Promise<number | undefined> {
    return this.transact(() => {
      this.confirmation.refuseWhileArmed();
      return make();
    });
  }

  /** Entries that are not touched stay the same objects. */
  #entriesAfter(touched: readonly Touched[]): Entries {
    const next: Entries = new Map(this.#entries);
    for (const { before, after } of touched) {
      if (before && before.service.name !== after?.service.name) next.delete(before.service.name);
    }
    for (const { after } of touched) {
      if (after) next.set(after.service.name, { ...after, intent: intentOf(after.service) });
    }
    return next;
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

  /** Is this body a service at this site? */
  check(body: unknown): Validation {
    return validateService(body, this.context());
  }

  #validate(body: unknown): { service: Service; intent: Intent } {
    const checked = this.check(body);
    if (checked.ok) return checked;
    const said = checked.errors.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join("; ");
    throw new Problem("invalid-service", said, { errors: checked.errors });
  }

  #refuse(intent: Intent, entries: Entries): Finding[] {
    const others = [...entries.values()].map((entry) => entry.intent);
    return refuse(intent, others, this.context());
  }

  /** What services are judged by at the moment. */
  context(): ValidationContext {
    return { ...this.#options.site?.(), protect: this.#protect };
  }

  /** What there was to say of a service that `create` or `update` returned. */
  warnings(service: Service): Finding[] {
    return this.#warned.get(service) ?? [];
  }

  #compile(entries: Entries, protect = this.#options.protect, layer = this.layer.entries): Steering {
    const { conditions, vniBase } = this.#options;
    return compile([...entries.values(), ...layer.values()], protect, { conditions, vniBase, names: this.#names });
  }

  async #change(next: Entries, layer: LayerEntries, commit: () => void): Promise<void> {
    const { conditions } = this.#options;
    try {
      await conditions?.prepare?.(next.values());
      const wanted = this.#compile(next, undefined, layer);
      const restore = () => this.#apply(this.steering());
      await applyAndCommit({ apply: () => this.#apply(wanted), commit, restore });
      this.#entries = next;
      this.layer.entries = layer;
    } finally {
      conditions?.inForce?.(this.#entries.values());
    }
  }

  #serialise<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** `protect` may have grown since it was stored; such a service stays listed and simply meets nothing. @throws Problem */
function intentOf(service: Service): Intent {
  const checked = validateService(service);
  if (checked.ok) return checked.intent;
  throw new Problem("store-failed", `the stored service "${service.name}" is not valid in this release`, {
    errors: checked.errors,
  });
}

const stored = ({ service, rule, index }: StoredService): StoredService => ({ service, rule, index });

const notFound = (name: string) => new Problem("not-found", `there is no service "${name.slice(0, 80)}"`);
