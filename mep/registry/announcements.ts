/**
 * Who is told of a change of services, and in which words (GS MEC 011 §8.1.3.2, §8.1.4.2)?
 *
 * Changes that happened together become one notification for each subscription that they concern. They are handed to the
 * Notifier when they are durable; a crash in between loses the notification, not the change.
 */
import type { AvailabilityRequest, FilteringCriteria, ServiceAvailabilityNotification } from "../model/services.ts";
import type { Notifier, OperationAction } from "../parts.ts";
import type { ServiceChange } from "./registry.ts";
import type { Facts } from "./service.ts";
import {
  availabilityKind,
  type Subscription,
  type Subscriptions,
  subscriberOf,
  subscriptionUri,
  terminationKind,
} from "./subscriptions.ts";

/** Do the criteria let a change of this service through? `facts`: as the change has left it. */
export function concerns(criteria: FilteringCriteria | undefined, facts: Facts): boolean {
  if (!criteria) return true;
  const { serInstanceIds, serNames, serCategories, states, isLocal } = criteria;
  return (
    (serInstanceIds?.includes(facts.id) ?? true) &&
    (serNames?.includes(facts.name) ?? true) &&
    (serCategories?.some(({ id }) => id === facts.category) ?? true) &&
    (states?.includes(facts.state) ?? true) &&
    isLocal !== false
  );
}

/** Undefined when none of the changes concerns the subscription. */
export function notification(
  changes: readonly ServiceChange[],
  subscription: Subscription<AvailabilityRequest>,
  base: string,
): ServiceAvailabilityNotification | undefined {
  const { filteringCriteria } = subscription.body;
  const serviceReferences = changes
    .filter(({ service }) => concerns(filteringCriteria, service))
    .map(({ type, service }) => ({
      ...(type !== "REMOVED" && { link: { href: service.sharedUri(base) } }),
      serName: service.name,
      serInstanceId: service.id,
      state: service.state,
      changeType: type,
    }));
  if (serviceReferences.length === 0) return undefined;
  return {
    notificationType: "SerAvailabilityNotification",
    serviceReferences,
    _links: { subscription: { href: subscriptionUri(base, subscription) } },
  };
}

export class Announcements {
  readonly #subscriptions: Subscriptions;
  readonly #notifier: Pick<Notifier, "send" | "test">;
  readonly #base: () => string;

  constructor(
    subscriptions: Subscriptions,
    notifier: Pick<Notifier, "send" | "test">,
    /** `https://host:port`, with which links begin. */
    base: () => string,
  ) {
    this.#subscriptions = subscriptions;
    this.#notifier = notifier;
    this.#base = base;
  }

  changed(changes: readonly ServiceChange[]): void {
    const base = this.#base();
    for (const one of this.#subscriptions.all(availabilityKind)) {
      const subscription = one as Subscription<AvailabilityRequest>;
      const body = notification(changes, subscription, base);
      if (body) this.#notifier.send(subscriberOf(subscription), body);
    }
  }

  /** One that was asked for with the subscription (GS MEC 009 §6.12a). */
  test(subscription: Subscription): void {
    this.#notifier.test(subscriberOf(subscription), subscriptionUri(this.#base(), subscription));
  }

  /**
   * Tells an instance that it has to end (§7.1.4.2), over each of its subscriptions; returns how many there are.
   * @param maxGracefulTimeout seconds, not 0
   */
  termination(instance: string, operationAction: OperationAction, maxGracefulTimeout: number): number {
    const base = this.#base();
    const subscriptions = this.#subscriptions.of(terminationKind, instance);
    const confirm = `${base}/mec_app_support/v1/applications/${encodeURIComponent(instance)}/confirm_termination`;
    for (const subscription of subscriptions) {
      this.#notifier.send(subscriberOf(subscription), {
        notificationType: "AppTerminationNotification",
        operationAction,
        maxGracefulTimeout,
        _links: {
          subscription: { href: subscriptionUri(base, subscription) },
          confirmTermination: { href: confirm },
        },
      });
    }
    return subscriptions.length;
  }
}
