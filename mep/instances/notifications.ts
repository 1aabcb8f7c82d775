/**
 * What is told to whom about instances and operations (GS MEC 010-2 §6.2.2.10, §6.2.2.16, §6.2.2.22, §6.2.2.25)?
 *
 * Pure: an event in; for each subscription the notification, or nothing where its filter leaves the event out.
 */
import { randomUUID } from "node:crypto";
import { link, timeStamp } from "../management/links.ts";
import type { Subscription } from "../management/subscriptions.ts";
import type { AppD } from "../model/appd.ts";
import type { AppInstanceSubscriptionFilter, LcmSubscriptionRequest } from "../model/lcm.ts";
import type { InstanceEvent } from "../parts.ts";
import type { InstanceRecord, Operation } from "./record.ts";
import { lcmRoot, operationPath } from "./views.ts";

/** What is kept of a request for a subscription. */
export type LcmFilter = Omit<LcmSubscriptionRequest, "subscriptionType" | "callbackUri">;

/** Facts about an instance that filters look at. */
export interface About {
  instance: InstanceRecord;
  /** Of its package; absent when that is gone. */
  appd?: AppD;
}

const within = (wanted: unknown, value: string): boolean =>
  wanted === undefined || (Array.isArray(wanted) ? wanted.includes(value) : wanted === value);

function selected(filter: AppInstanceSubscriptionFilter | undefined, { instance, appd }: About): boolean {
  if (!filter) return true;
  const listed = (value: string) => (filter.appInstances ?? []).includes(value);
  switch (filter.appInstSelectorType) {
    case 1:
      return listed(instance.id);
    case 2:
      return listed(instance.name);
    case 3:
      return listed(instance.appDId);
    case 4:
      return (filter.appsFromProviders ?? []).some(
        ({ appProvider, appProducts }) =>
          appProvider === instance.provider &&
          (!appProducts ||
            appProducts.some(
              ({ appName, versions }) =>
                appName === appd?.appName &&
                (!versions ||
                  versions.some(
                    ({ appSoftVersion, appDVersion }) =>
                      appSoftVersion === appd?.appSoftVersion && within(appDVersion, appd?.appDVersion ?? ""),
                  )),
            )),
      );
    default:
      return true;
  }
}

const links = (subscription: Subscription, instance: string) => ({
  subscription: link(subscription.base, `${lcmRoot}/subscriptions/${subscription.id}`),
  appInstance: link(subscription.base, `${lcmRoot}/app_instances/${encodeURIComponent(instance)}`),
});

type Notify = (subscription: Subscription) => object | undefined;

const states: Partial<Record<InstanceEvent, "NOT_INSTANTIATED" | "STARTED" | "STOPPED">> = {
  started: "STARTED",
  stopped: "STOPPED",
  terminated: "NOT_INSTANTIATED",
};

const identifiers: Partial<Record<InstanceEvent, string>> = {
  created: "AppIdentifierCreationSubscription",
  deleted: "AppIdentifierDeletionSubscription",
};

export function instanceNotification(event: InstanceEvent, about: About, now = Date.now()): Notify | undefined {
  const { instance } = about;
  const id = randomUUID();
  const state = states[event];
  const type = state ? "AppInstanceStateChangeSubscription" : identifiers[event];
  if (type === undefined) return undefined;
  return (subscription) => {
    const filter = (subscription.filter ?? {}) as LcmFilter;
    if (subscription.subscriptionType !== type) return undefined;
    if (!selected(filter.appInstanceSubscriptionFilter, about)) return undefined;
    if (state && !within(filter.appInstanceState, state)) return undefined;
    const { appInstance, subscription: self } = links(subscription, instance.id);
    return {
      id,
      notificationType: type,
      ...(state && { appInstanceState: state }),
      subscriptionId: subscription.id,
      timeStamp: timeStamp(now),
      appInstanceId: instance.id,
      ...(state && { appPkgId: instance.package, appDId: instance.appDId }),
      _links: state ? { subscription: self } : { subscription: self, appInstance },
    };
  };
}

export function operationNotification(operation: Operation, about: About | undefined, now = Date.now()): Notify {
  const id = randomUUID();
  const type = "AppLcmOpOccStateChangeSubscription";
  return (subscription) => {
    const { appLcmOpOccSubscriptionFilter: filter } = (subscription.filter ?? {}) as LcmFilter;
    if (subscription.subscriptionType !== type) return undefined;
    if (!within(filter?.operationTypes, operation.kind) || !within(filter?.operationStates, operation.state)) {
      return undefined;
    }
    if (about && !selected(filter?.appInstanceSubscriptionFilter, about)) return undefined;
    return {
      id,
      notificationType: type,
      operationType: operation.kind,
      operationState: operation.state,
      subscriptionId: subscription.id,
      timeStamp: timeStamp(now),
      appLcmOpOccId: operation.id,
      appInstanceId: operation.instance,
      _links: {
        ...links(subscription, operation.instance),
        appLcmOpOcc: link(subscription.base, operationPath(operation.id)),
      },
    };
  };
}
