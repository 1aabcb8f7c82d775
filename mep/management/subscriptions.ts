/**
 * Who wants to hear of packages and instances (GS MEC 010-2 §6.2.3)?
 *
 * Subscriptions of management users, of both APIs. They outlive a restart; notifications go out by the notifier, which decides
 * where nothing may be sent.
 */
import { randomUUID } from "node:crypto";
import { Problem } from "../../controlplane/errors.ts";
import type { Notifier } from "../parts.ts";
import type { MepStore } from "../store.ts";

export type ManagementApi = "app_pkgm" | "app_lcm";

export interface Subscription {
  id: string;
  api: ManagementApi;
  subscriptionType: string;
  callbackUri: string;
  /** As it was asked for; its meaning is the API's. */
  filter?: unknown;
  /** `http://host:port` under which the subscriber knows us. */
  base: string;
}

const most = 1000;

export class Subscriptions {
  readonly #store: Pick<MepStore, "database">;
  readonly #notifier: Notifier;
  readonly #all = new Map<string, Subscription>();

  constructor(store: Pick<MepStore, "database">, notifier: Notifier) {
    this.#store = store;
    this.#notifier = notifier;
    const rows = store.database.prepare("SELECT body FROM management_subscription ORDER BY rowid").pluck().all();
    for (const body of rows as string[]) {
      const subscription = JSON.parse(body) as Subscription;
      this.#all.set(subscription.id, subscription);
    }
  }

  /** @throws Problem invalid-request when nothing may be sent there, limit-reached */
  async add(wanted: Omit<Subscription, "id">): Promise<Subscription> {
    const refusal = await this.#notifier.refusal(undefined, wanted.callbackUri);
    if (refusal !== undefined) {
      const errors = [{ field: "callbackUri", message: refusal }];
      throw new Problem("invalid-request", `callbackUri: ${refusal}`, { errors });
    }
    if (this.#all.size >= most) throw new Problem("limit-reached", `there are ${most} subscriptions already`);
    const subscription: Subscription = { id: randomUUID(), ...wanted };
    this.#store.database
      .prepare("INSERT INTO management_subscription (id, api, body) VALUES (?, ?, ?)")
      .run(subscription.id, subscription.api, JSON.stringify(subscription));
    this.#all.set(subscription.id, subscription);
    return subscription;
  }

  list(api: ManagementApi): Subscription[] {
    return [...this.#all.values()].filter((one) => one.api === api);
  }

  /** @throws Problem not-found */
  get(api: ManagementApi, id: string): Subscription {
    const found = this.#all.get(id);
    if (found?.api !== api) throw new Problem("not-found", "there is no such subscription");
    return found;
  }

  /** @throws Problem not-found */
  remove(api: ManagementApi, id: string): void {
    this.get(api, id);
    this.#store.database.prepare("DELETE FROM management_subscription WHERE id = ?").run(id);
    this.#all.delete(id);
    this.#notifier.forget(id);
  }

  /** Tells everybody of the API whom `body` has something for. */
  publish(api: ManagementApi, body: (subscription: Subscription) => object | undefined): void {
    for (const subscription of this.list(api)) {
      const notification = body(subscription);
      if (notification === undefined) continue;
      this.#notifier.send({ id: subscription.id, callbackReference: subscription.callbackUri }, notification);
    }
  }
}
