/**
 * Which rules stand below the services, and by which numbers does the kernel know them?
 *
 *   services        priority 0 … 65535
 *   ───────────────────────────────────
 *   rules of apps   priority -256 … -1     the MEC platform's (mep/rules/): a MEC priority p is -1 - p
 *
 * They are no services: lists and history of services do not show them, nobody probes their endpoints (an app says itself
 * whether it is there), and whoever owns them stores them. Here are only the
 * intents in force, and the numbers, which a rule keeps while it is out of force and over restarts, until it is forgotten.
 */
import type { Numbers, Store } from "../store/store.ts";
import type { Intent, NumberedIntent } from "./model.ts";

export type LayerEntries = ReadonlyMap<string, NumberedIntent>;

export interface LayerChange {
  /** In force from now on; one of the same name goes. Names are unique, priorities below 0. */
  put?: readonly Intent[];
  /** Names of those that are out of force from now on. */
  remove?: readonly string[];
}

/** Makes a change when it is its turn, or throws and nothing has changed. `commit` writes it down; if it throws, likewise. */
export type MakeLayerChange = () => LayerChange & { commit(): void };

type LayerStore = Pick<Store, "layerNumbers" | "giveLayer" | "forgetLayer">;

export class Layer {
  readonly #store: LayerStore;
  /** Of all rules that are known, in force or not. */
  readonly #numbers = new Map<string, Numbers>();
  readonly #names = new Map<number, string>();
  #entries: LayerEntries = new Map();

  constructor(store: LayerStore) {
    this.#store = store;
    for (const [name, numbers] of store.layerNumbers()) this.#know(name, numbers);
  }

  get entries(): LayerEntries {
    return this.#entries;
  }

  /** For Services alone: these are in force now. */
  set entries(entries: LayerEntries) {
    this.#entries = entries;
  }

  /**
   * What was in force when the process ended, before the services are applied for the first time. Numbers of rules that are no
   * longer `known` are free again. @throws Problem when there are more rules than numbers
   */
  load(intents: readonly Intent[], known: (name: string) => boolean): void {
    this.forget((name) => !known(name));
    this.#entries = this.after({ put: intents });
  }

  /** Numbers of new rules are written down at once: they stay free of harm if the change is never made. @throws Problem */
  after({ put = [], remove = [] }: LayerChange): LayerEntries {
    const next = new Map(this.#entries);
    for (const name of remove) next.delete(name);
    const fresh = put.filter(({ name }) => !this.#numbers.has(name)).map(({ name }) => name);
    if (fresh.length > 0) {
      for (const [name, numbers] of this.#store.giveLayer(fresh)) this.#know(name, numbers);
    }
    for (const intent of put) {
      if (intent.priority >= 0) throw new Error(`"${intent.name}" has a priority of services: ${intent.priority}`);
      next.set(intent.name, { intent, ...this.#numbers.get(intent.name)! });
    }
    return next;
  }

  /** Rules with these names are gone for good, and not in force: their numbers are free. */
  forget(gone: (name: string) => boolean): void {
    const names = [...this.#numbers.keys()].filter(gone);
    if (names.length === 0) return;
    this.#store.forgetLayer(names);
    for (const name of names) {
      const numbers = this.#numbers.get(name);
      if (numbers) this.#names.delete(numbers.index);
      this.#numbers.delete(name);
    }
  }

  /** Name of the rule whose counters have this index. */
  nameOf(index: number): string | undefined {
    return this.#names.get(index);
  }

  /** Index of a rule's counters; undefined when it has never been in force. */
  indexOf(name: string): number | undefined {
    return this.#numbers.get(name)?.index;
  }

  /** Indices of all rules whose names begin like that. */
  indicesOf(prefix: string): number[] {
    return [...this.#numbers].flatMap(([name, { index }]) => (name.startsWith(prefix) ? index : []));
  }

  #know(name: string, numbers: Numbers): void {
    this.#numbers.set(name, numbers);
    this.#names.set(numbers.index, name);
  }
}
