/**
 * What do the bodies of the service management API look like?
 *
 * GS MEC 011 clause 8.1, as TypeBox schemas and as types. They make /openapi.json, bodies of requests are read by them, and
 * tests hold every answer against them. Where the clause and the published YAML differ, the clause wins: bodies are not
 * wrapped, grantTypes is a list.
 */
import Type, { type Static, type TSchema } from "typebox";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { reader } from "./read.ts";

const text = (description: string, maxLength = 256) => Type.String({ minLength: 1, maxLength, description });
const uri = (description: string) =>
  Type.String({ minLength: 1, maxLength: 2048, pattern: "^[!-~]+$", description: `${description}; RFC 3986` });
/** Enumerations that the standard leaves open: its values are an example. */
const open = (values: readonly string[], description: string) =>
  Type.String({ pattern: "^[A-Za-z0-9_.-]{1,64}$", description: `${description}: ${values.join(", ")}, or another` });
const list = <T extends TSchema>(of: T, description: string, maxItems = 64) =>
  Type.Array(of, { minItems: 1, maxItems, description });
const optional = Type.Optional;

/** §6.3.2 */
export const linkType = Type.Object({ href: uri("URI of a resource") }, { title: "LinkType" });
export type LinkType = Static<typeof linkType>;

/** §8.1.5.2 */
export const categoryRef = Type.Object(
  {
    href: uri("of the catalogue"),
    id: text("of the category; what discovery and subscriptions compare"),
    name: text("of the category"),
    version: text("of the category", 64),
  },
  { title: "CategoryRef" },
);

/** §8.1.5.3; exactly one member. */
export const endPointInfo = Type.Object(
  {
    uris: optional(list(uri("entry point; for REST"), "URIs")),
    fqdn: optional(list(Type.String({ pattern: "^[A-Za-z0-9._-]{1,253}$" }), "domain names")),
    addresses: optional(
      list(
        Type.Object({
          host: text("address or name", 253),
          port: Type.Integer({ minimum: 0, maximum: 65_535 }),
        }),
        "host and port",
      ),
    ),
    alternative: optional(Type.Record(Type.String(), Type.Unknown(), { description: "in a form of the app's own" })),
  },
  { title: "EndPointInfo", description: "exactly one of its members" },
);

const grantTypes = [
  "OAUTH2_AUTHORIZATION_CODE",
  "OAUTH2_IMPLICIT_GRANT",
  "OAUTH2_RESOURCE_OWNER",
  "OAUTH2_CLIENT_CREDENTIALS",
] as const;

/** §8.1.5.4; other members are extensions, and kept. */
export const securityInfo = Type.Object(
  {
    oAuth2Info: optional(
      Type.Object({
        grantTypes: Type.Array(Type.Enum([...grantTypes]), { minItems: 1, maxItems: 4 }),
        tokenEndpoint: optional(uri("of the token endpoint; only the implicit grant has none")),
      }),
    ),
  },
  { title: "SecurityInfo", additionalProperties: true },
);

export const transportTypes = [
  "REST_HTTP",
  "MB_TOPIC_BASED",
  "MB_ROUTING",
  "MB_PUBSUB",
  "RPC",
  "RPC_STREAMING",
  "WEBSOCKET",
] as const;

/** §8.1.2.3 */
export const transportInfo = Type.Object(
  {
    id: text("of the transport", 128),
    name: text("of the transport"),
    description: optional(Type.String({ maxLength: 4096 })),
    type: open(transportTypes, "§8.1.6.4"),
    protocol: text("name of the protocol; HTTP for REST", 64),
    version: text("of the protocol", 64),
    endpoint: endPointInfo,
    security: securityInfo,
    implSpecificInfo: optional(Type.Record(Type.String(), Type.Unknown())),
  },
  { title: "TransportInfo" },
);
export type TransportInfo = Static<typeof transportInfo>;

/** §8.1.6.6 */
export const serviceState = Type.Enum(["ACTIVE", "INACTIVE", "SUSPENDED"], {
  description: "SUSPENDED: heartbeats are missing",
});
export type ServiceState = Static<typeof serviceState>;

/** §8.1.6.5 */
export const localities = ["MEC_SYSTEM", "MEC_HOST", "NFVI_POP", "ZONE", "ZONE_GROUP", "NFVI_NODE"] as const;
export const localityType = Type.Enum([...localities]);

/** Longest interval that may be proposed: a day. */
const day = 86_400;

const described = {
  serName: text("name of the service"),
  serCategory: optional(categoryRef),
  version: text("of the service", 64),
  state: serviceState,
  serializer: open(["JSON", "XML", "PROTOBUF3"], "§8.1.6.3"),
  scopeOfLocality: optional(localityType),
  consumedLocalOnly: optional(Type.Boolean({ description: "default: true" })),
  isLocal: optional(Type.Boolean({ description: "as the consumer sees it: in a request it says nothing" })),
};

/** §8.1.2.2 as it is sent to the platform: either transportId or transportInfo. */
export const serviceRequest = Type.Object(
  {
    ...described,
    transportId: optional(text("one of GET /transports", 128)),
    transportInfo: optional(transportInfo),
    livenessInterval: optional(
      Type.Integer({
        minimum: 0,
        maximum: day,
        description: "seconds between heartbeats that the app offers; 0: the platform chooses",
      }),
    ),
  },
  { title: "ServiceInfo (request)" },
);
export type ServiceRequest = Static<typeof serviceRequest>;

/** §8.1.2.2 as the platform answers. */
export const serviceInfo = Type.Object(
  {
    serInstanceId: text("given by the platform", 128),
    ...described,
    scopeOfLocality: localityType,
    consumedLocalOnly: Type.Boolean(),
    isLocal: Type.Boolean(),
    transportInfo,
    livenessInterval: optional(Type.Integer({ minimum: 1, description: "seconds; where heartbeats are required" })),
    _links: Type.Object({ self: linkType, liveness: optional(linkType) }),
  },
  { title: "ServiceInfo" },
);
export type ServiceInfo = Static<typeof serviceInfo>;

/** §8.1.2.4 */
export const serviceLivenessInfo = Type.Object(
  {
    state: serviceState,
    timeStamp: Type.Object(
      { seconds: Type.Integer({ minimum: 0 }), nanoSeconds: Type.Integer({ minimum: 0, maximum: 999_999_999 }) },
      { description: "of the last heartbeat" },
    ),
    interval: Type.Integer({ minimum: 1, description: "seconds" }),
  },
  { title: "ServiceLivenessInfo" },
);
export type ServiceLivenessInfo = Static<typeof serviceLivenessInfo>;

/** §8.1.2.5 */
export const serviceLivenessUpdate = Type.Object(
  { state: Type.Enum(["ACTIVE"]) },
  { title: "ServiceLivenessUpdate", description: "a heartbeat" },
);

const ids = (description: string) => optional(list(text(description), description, 256));

/** §8.1.3.2, filteringCriteria */
export const filteringCriteria = Type.Object(
  {
    serInstanceIds: ids("service instances"),
    serNames: ids("names of services"),
    serCategories: optional(list(categoryRef, "categories", 256)),
    states: optional(list(serviceState, "states after the change", 3)),
    isLocal: optional(Type.Boolean()),
  },
  { description: "all of them have to hold; of the first three only one may be there. Absent: everything" },
);
export type FilteringCriteria = Static<typeof filteringCriteria>;

/** GS MEC 009 §6.12a */
export const websockNotifConfig = Type.Object(
  {
    requestWebsocketUri: optional(Type.Boolean({ description: "deliver over a WebSocket that the app connects" })),
    websocketUri: optional(uri("where it connects; the platform answers it")),
  },
  { title: "WebsockNotifConfig" },
);

/** Members that every subscription of Mp1 has. */
export const delivery = {
  callbackReference: optional(uri("where notifications are POSTed to")),
  requestTestNotification: optional(Type.Boolean({ description: "send a TestNotification" })),
  websockNotifConfig: optional(websockNotifConfig),
};
export interface Delivery {
  callbackReference?: string;
  requestTestNotification?: boolean;
  websockNotifConfig?: Static<typeof websockNotifConfig>;
}

const availabilityType = "SerAvailabilityNotificationSubscription";
const availability = {
  subscriptionType: Type.Enum([availabilityType]),
  ...delivery,
  filteringCriteria: optional(filteringCriteria),
};

/** §8.1.3.2 */
export const availabilityRequest = Type.Object(availability, { title: `${availabilityType} (request)` });
export type AvailabilityRequest = Static<typeof availabilityRequest>;
export const availabilitySubscription = Type.Object(
  { ...availability, _links: Type.Object({ self: linkType }) },
  { title: availabilityType },
);

/** §6.2.2 */
export const subscriptionLinkList = Type.Object(
  {
    _links: Type.Object({
      self: linkType,
      subscriptions: Type.Array(
        Type.Object({ href: uri("of the subscription"), subscriptionType: text("its data type") }),
      ),
    }),
  },
  { title: "SubscriptionLinkList" },
);

/** §8.1.4.2 */
export const serviceAvailabilityNotification = Type.Object(
  {
    notificationType: Type.Enum(["SerAvailabilityNotification"]),
    serviceReferences: Type.Array(
      Type.Object({
        link: optional(linkType),
        serName: text("name of the service"),
        serInstanceId: text("of the service"),
        state: serviceState,
        changeType: Type.Enum(["ADDED", "REMOVED", "STATE_CHANGED", "ATTRIBUTES_CHANGED"]),
      }),
      { minItems: 1 },
    ),
    _links: Type.Object({ subscription: linkType }),
  },
  { title: "ServiceAvailabilityNotification" },
);
export type ServiceAvailabilityNotification = Static<typeof serviceAvailabilityNotification>;

const members = ["uris", "fqdn", "addresses", "alternative"] as const;

/** What is wrong with an end point beside its types: exactly one member. */
export function endPointErrors(endpoint: Static<typeof endPointInfo>, field: string): FieldError[] {
  const found = members.filter((name) => endpoint[name] !== undefined);
  return found.length === 1 ? [] : [{ field, message: `needs exactly one of ${members.join(", ")}` }];
}

export function transportErrors({ endpoint, security }: TransportInfo, field: string): FieldError[] {
  const errors = endPointErrors(endpoint, `${field}.endpoint`);
  const oAuth2 = security.oAuth2Info;
  if (oAuth2 && !oAuth2.tokenEndpoint && oAuth2.grantTypes.some((type) => type !== "OAUTH2_IMPLICIT_GRANT")) {
    errors.push({ field: `${field}.security.oAuth2Info.tokenEndpoint`, message: "is required" });
  }
  return errors;
}

/** @throws Problem 400 */
export const readService = reader<ServiceRequest>(serviceRequest, ({ transportId, transportInfo: own }) => {
  if ((transportId === undefined) === (own === undefined)) {
    return [{ field: "transportInfo", message: "either transportId or transportInfo has to be there, not both" }];
  }
  return own ? transportErrors(own, "transportInfo") : [];
});

/** Notifications need somewhere to go; a WebSocket that is asked for is preferred. */
export function deliveryErrors({ callbackReference, websockNotifConfig: websocket }: Delivery): FieldError[] {
  if (callbackReference !== undefined || websocket?.requestWebsocketUri) return [];
  return [{ field: "callbackReference", message: "is required, or websockNotifConfig.requestWebsocketUri: true" }];
}

/** @throws Problem 400 */
export const readAvailability = reader<AvailabilityRequest>(availabilityRequest, (body) => {
  const errors = deliveryErrors(body);
  const sets = (["serInstanceIds", "serNames", "serCategories"] as const).filter(
    (name) => body.filteringCriteria?.[name] !== undefined,
  );
  if (sets.length > 1) {
    errors.push({ field: "filteringCriteria", message: `only one of ${sets.join(", ")} may be there` });
  }
  return errors;
});

/** @throws Problem 400 */
export const readHeartbeat = reader<Static<typeof serviceLivenessUpdate>>(serviceLivenessUpdate);
