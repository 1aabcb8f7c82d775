/**
 * Subscriptions of apps, of both APIs (GS MEC 011 §7.2.3, §7.2.4, §8.2.8, §8.2.9).
 *
 * Where notifications would go is judged before the subscription is made, and again at each delivery: an app must not make
 * the platform send to what it could not reach itself.
 */
import Type, { type TSchema } from "typebox";
import { invalid } from "../model/read.ts";
import {
  availabilityRequest,
  availabilitySubscription,
  type Delivery,
  readAvailability,
  subscriptionLinkList,
} from "../model/services.ts";
import { readTermination, terminationRequest, terminationSubscription } from "../model/support.ts";
import { websocketUri } from "../notify/websocket-route.ts";
import {
  availabilityKind,
  type Subscription,
  type SubscriptionKind,
  subscriptionsUri,
  subscriptionUri,
  terminationKind,
} from "../registry/subscriptions.ts";
import { type Mp1Routes, sendResource } from "./context.ts";
import { etagOf } from "./etag.ts";
import type { Mp1Api, Mp1Request } from "./server.ts";

interface Kind {
  api: Mp1Api;
  kind: SubscriptionKind;
  what: string;
  request: TSchema;
  answer: TSchema;
  /** @throws Problem 400 */
  read(body: unknown): Delivery;
}

const kinds: Kind[] = [
  {
    api: "mec_service_mgmt",
    kind: availabilityKind,
    what: "changes of services",
    request: availabilityRequest,
    answer: availabilitySubscription,
    read: readAvailability,
  },
  {
    api: "mec_app_support",
    kind: terminationKind,
    what: "the end of the instance",
    request: terminationRequest,
    answer: terminationSubscription,
    read: readTermination,
  },
];

const path = "/applications/:appInstanceId/subscriptions";
const instanceOf = ({ params }: Mp1Request): string => params.appInstanceId ?? "";
const idOf = ({ params }: Mp1Request): string => params.subscriptionId ?? "";

export const subscriptionRoutes: Mp1Routes = (server, { subscriptions, announcements, notifier, base }) => {
  /** The path wins where the body names an instance as well. */
  const representation = (subscription: Subscription) => {
    const { kind, instance, body } = subscription;
    const websocket = { requestWebsocketUri: true, websocketUri: websocketUri(base(), subscription.id) };
    const text = JSON.stringify({
      ...body,
      ...(body.websockNotifConfig?.requestWebsocketUri && { websockNotifConfig: websocket }),
      ...(kind === terminationKind && { appInstanceId: instance }),
      _links: { self: { href: subscriptionUri(base(), subscription) } },
    });
    return { text, etag: etagOf(text) };
  };

  for (const { api, kind, what, request: requested, answer, read } of kinds) {
    const [reads, writes] = api === "mec_service_mgmt" ? [`${api}:read`, `${api}:read`] : [api, api];

    server.route({
      api,
      method: "GET",
      path,
      scope: reads,
      beforeReady: true,
      summary: `The app's subscriptions to ${what}`,
      answers: { 200: subscriptionLinkList },
      handler: (request) => ({
        _links: {
          self: { href: subscriptionsUri(base(), kind, instanceOf(request)) },
          subscriptions: subscriptions
            .of(kind, instanceOf(request))
            .map((one) => ({ href: subscriptionUri(base(), one), subscriptionType: kind })),
        },
      }),
    });

    server.route({
      api,
      method: "POST",
      path,
      scope: writes,
      summary: `Be told of ${what}`,
      documentedBody: requested,
      tagged: true,
      answers: { 201: answer },
      handler: async (request, reply) => {
        const body = read(request.body);
        const callback = body.callbackReference;
        const refusal = callback !== undefined && (await notifier.refusal(instanceOf(request), callback));
        if (refusal) throw invalid([{ field: "callbackReference", message: refusal }]);
        const subscription = await subscriptions.create(kind, instanceOf(request), body);
        if (body.requestTestNotification) announcements.test(subscription);
        reply.code(201).header("location", subscriptionUri(base(), subscription));
        return sendResource(reply, representation(subscription));
      },
    });

    server.route({
      api,
      method: "GET",
      path: `${path}/:subscriptionId`,
      scope: reads,
      beforeReady: true,
      summary: "One subscription",
      tagged: true,
      answers: { 200: answer },
      handler: (request, reply) =>
        sendResource(reply, representation(subscriptions.find(kind, instanceOf(request), idOf(request)))),
    });

    server.route({
      api,
      method: "DELETE",
      path: `${path}/:subscriptionId`,
      scope: writes,
      summary: "Be told no more",
      answers: { 204: Type.Null() },
      handler: async (request, reply) => {
        await subscriptions.delete(kind, instanceOf(request), idOf(request));
        return reply.code(204).send();
      },
    });
  }
};
