/**
 * Who wants to be told what?
 *
 * Subscriptions of apps over Mp1, of both APIs: service availability (GS MEC 011 §8.1.3.2) and termination of the app itself
 * (§7.1.3.2). Durable before they are answered; they end with their instance, after its services.
 */
import { randomUUID } from "node:crypto";
import type Database from "better-sqlite3";
import { Problem } from "../../controlplane/errors.ts";
import type { Commits } from "../commits.ts";
import type { Delivery } from "../model/services.ts";
import type { Instance, InstancePart, Notifier, Subscriber } from "../parts.ts";

export const availabilityKind = "SerAvailabilityNotificationSubscription";
export const terminationKind = "AppTerminationNotificationSubscription";
export type SubscriptionKind = typeof availabilityKind | typeof terminationKind;

const roots: Record<SubscriptionKind, string> = {
  [availabilityKind]: "/mec_service_mgmt/v1",
  [terminationKind]: "/mec_app_support/v1",
};

export interface Subscription<Body extends Delivery = Delivery> {
  id: string;
  kind: SubscriptionKind;
  instance: string;
  /** As it was given. */
  body: Body;
}

export const subscriptionsUri = (base: string, kind: SubscriptionKind, instance: string): string =>
  `${base}${roots[kind]}/applications/${encodeURIComponent(instance)}/subscriptions`;

export const subscriptionUri = (base: string, { kind, instance, id }: Subscription): string =>
  `${subscriptionsUri(base, kind, instance)}/${id}`;

/** To whom its notifications go. */
export function subscriberOf({ id, instance, body }: Subscription): Subscriber {
  return {
    id,
    instance,
    ...(body.callbackReference !== undefined && { callbackReference: body.callbackReference }),
    ...(body.websockNotifConfig?.requestWebsocketUri && { websocket: true }),
  };
}

export interface SubscriptionsOptions {
  database: Database.Database;
  commits: Commits;
  /** What has to know which there are. */
  notifier: Pick<Notifier, "admit" | "forget">;
  /** Of one instance and kind. */
  quota?: number;
}

const usualQuota = 128;

interface Row {
  id: string;
  kind: SubscriptionKind;
  instance: string;
  body: string;
}

export class Subscriptions implements InstancePart {
  readonly #options: SubscriptionsOptions;
  readonly #kinds: Record<SubscriptionKind, Map<string, Subscription>> = {
    [availabilityKind]: new Map(),
    [terminationKind]: new Map(),
  };
  readonly #instances = new Map<string, Set<Subscription>>();
  readonly #ended = new Set<string>();

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  start(): void {
    const rows = this.#options.database.prepare("SELECT * FROM mp1_subscription ORDER BY rowid").all() as Row[];
    for (const { body, ...row } of rows) this.#take({ ...row, body: JSON.parse(body) as Delivery });
  }

  #take(subscription: Subscription): void {
    this.#kinds[subscription.kind].set(subscription.id, subscription);
    const set = this.#instances.get(subscription.instance);
    if (set) set.add(subscription);
    else this.#instances.set(subscription.instance, new Set([subscription]));
    const subscriber = subscriberOf(subscription);
    if (subscriber.websocket) this.#options.notifier.admit(subscriber);
  }

  #drop(subscription: Subscription): void {
    this.#kinds[subscription.kind].delete(subscription.id);
    const set = this.#instances.get(subscription.instance);
    set?.delete(subscription);
    if (set?.size === 0) this.#instances.delete(subscription.instance);
    this.#options.notifier.forget(subscription.id);
  }

  /** In the order in which they came. */
  of(kind: SubscriptionKind, instance: string): Subscription[] {
    return [...(this.#instances.get(instance) ?? [])].filter((one) => one.kind === kind);
  }

  all(kind: SubscriptionKind): Iterable<Subscription> {
    return this.#kinds[kind].values();
  }

  /** @throws Problem not-found, also where it is another instance's */
  find(kind: SubscriptionKind, instance: string, id: string): Subscription {
    const found = this.#kinds[kind].get(id);
    if (found?.instance === instance) return found;
    throw new Problem("not-found", `the instance has no subscription "${id.slice(0, 80)}"`);
  }

  /** @throws Problem */
  create(kind: SubscriptionKind, instance: string, body: Delivery): Promise<Subscription> {
    const subscription: Subscription = { id: randomUUID(), kind, instance, body };
    return this.#options.commits.change(instance, () => {
      if (this.#ended.has(instance)) throw new Problem("forbidden", "the instance has come to its end");
      const quota = this.#options.quota ?? usualQuota;
      if (this.of(kind, instance).length >= quota) {
        throw new Problem("forbidden", `an instance may have ${quota} of these subscriptions: delete one first`);
      }
      this.#options.database
        .prepare("INSERT INTO mp1_subscription VALUES (?, ?, ?, ?)")
        .run(subscription.id, kind, instance, JSON.stringify(body));
      return { value: subscription, apply: () => this.#take(subscription) };
    });
  }

  /** @throws Problem not-found */
  delete(kind: SubscriptionKind, instance: string, id: string): Promise<void> {
    return this.#options.commits.change(instance, () => {
      const subscription = this.find(kind, instance, id);
      this.#options.database.prepare("DELETE FROM mp1_subscription WHERE id = ?").run(id);
      return { value: undefined, apply: () => this.#drop(subscription) };
    });
  }

  async configure({ id }: Instance): Promise<void> {
    this.#ended.delete(id);
  }

  async ready({ id }: Instance): Promise<void> {
    this.#ended.delete(id);
  }

  async deactivate({ id: instance }: Instance): Promise<void> {
    this.#ended.add(instance);
    await this.#options.commits.change(instance, () => {
      this.#options.database.prepare("DELETE FROM mp1_subscription WHERE instance = ?").run(instance);
      const gone = [...(this.#instances.get(instance) ?? [])];
      return {
        value: undefined,
        apply: () => {
          for (const subscription of gone) this.#drop(subscription);
        },
      };
    });
  }
}
