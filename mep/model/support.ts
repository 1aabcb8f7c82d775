/**
 * What do the bodies of the application support API look like, beside those of rules?
 *
 * GS MEC 011 clause 7.1, as TypeBox schemas and as types; see services.ts.
 */
import Type, { type Static } from "typebox";
import type { FieldError } from "../../controlplane/intents/model.ts";
import { reader } from "./read.ts";
import { categoryRef, delivery, deliveryErrors, endPointErrors, endPointInfo, linkType } from "./services.ts";

const optional = Type.Optional;
const text = (description: string, maxLength = 256) => Type.String({ minLength: 1, maxLength, description });
const uint32 = (description: string) => Type.Integer({ minimum: 0, maximum: 0xffff_ffff, description });

const terminationType = "AppTerminationNotificationSubscription";
const termination = {
  subscriptionType: Type.Enum([terminationType]),
  ...delivery,
};

/** §7.1.3.2. The path names the instance; what the body says is not looked at. */
export const terminationRequest = Type.Object(
  { ...termination, appInstanceId: optional(text("of the instance")) },
  { title: `${terminationType} (request)` },
);
export type TerminationRequest = Static<typeof terminationRequest>;
export const terminationSubscription = Type.Object(
  { ...termination, appInstanceId: text("of the instance"), _links: Type.Object({ self: linkType }) },
  { title: terminationType },
);

const operationAction = Type.Enum(["STOPPING", "TERMINATING"]);

/** §7.1.4.2 */
export const appTerminationNotification = Type.Object(
  {
    notificationType: Type.Enum(["AppTerminationNotification"]),
    operationAction,
    maxGracefulTimeout: Type.Integer({ minimum: 1, description: "seconds" }),
    _links: Type.Object({ subscription: linkType, confirmTermination: optional(linkType) }),
  },
  { title: "AppTerminationNotification" },
);

/** §7.1.4.3; STOPPPING is how its table spells STOPPING. */
export const appTerminationConfirmation = Type.Object(
  { operationAction: Type.Enum(["STOPPING", "STOPPPING", "TERMINATING"]) },
  { title: "AppTerminationConfirmation" },
);
/** §7.1.4.4 */
export const appReadyConfirmation = Type.Object(
  { indication: Type.Enum(["READY"]) },
  { title: "AppReadyConfirmation" },
);

/** §7.1.2.5 */
export const currentTime = Type.Object(
  {
    seconds: uint32("since 1970-01-01T00:00:00Z"),
    nanoSeconds: uint32("of the second"),
    timeSourceStatus: Type.Enum(["TRACEABLE", "NONTRACEABLE"], { description: "TRACEABLE: locked to UTC" }),
  },
  { title: "CurrentTime" },
);
export type CurrentTime = Static<typeof currentTime>;

const polling = (description: string) => Type.Integer({ minimum: 3, maximum: 17, description });

/** §7.1.2.4, ntpServers */
export const ntpServer = Type.Object(
  {
    ntpServerAddrType: Type.Enum(["IP_ADDRESS", "DNS_NAME"]),
    ntpServerAddr: text("address or name"),
    minPollingInterval: polling("seconds, as a power of two"),
    maxPollingInterval: polling("seconds, as a power of two"),
    localPriority: uint32("the lowest is preferred"),
    authenticationOption: Type.Enum(["NONE", "SYMMETRIC_KEY", "AUTO_KEY"]),
    authenticationKeyNum: uint32("of the symmetric key; 0: none"),
  },
  { title: "NtpServer" },
);
export type NtpServer = Static<typeof ntpServer>;

/** §7.1.2.4 */
export const timingCaps = Type.Object(
  {
    timeStamp: Type.Object({
      seconds: uint32("since 1970-01-01T00:00:00Z"),
      nanoSeconds: uint32("of the second"),
    }),
    ntpServers: Type.Array(ntpServer),
    ptpMasters: Type.Array(
      Type.Object({
        ptpMasterIpAddress: text("address"),
        ptpMasterLocalPriority: uint32(""),
        delayReqMaxRate: uint32(""),
      }),
      { description: "the platform serves no PTP" },
    ),
  },
  { title: "TimingCaps" },
);
export type TimingCaps = Static<typeof timingCaps>;

/** GS MEC 010-2 §6.2.1.17 and §6.2.1.8, as far as a registration says them. */
const dependency = Type.Object(
  { serName: text("of the service"), version: text("", 64) },
  { additionalProperties: true },
);
const feature = Type.Object(
  { featureName: text("of the feature"), version: text("", 64) },
  { additionalProperties: true },
);
const dependencies = {
  appServiceRequired: optional(Type.Array(dependency, { maxItems: 64 })),
  appServiceOptional: optional(Type.Array(dependency, { maxItems: 64 })),
  appFeatureRequired: optional(Type.Array(feature, { maxItems: 64 })),
  appFeatureOptional: optional(Type.Array(feature, { maxItems: 64 })),
};

/** §7.1.2.6, v3.1.1 */
export const appInfo = Type.Object(
  {
    appName: text("as in the AppD"),
    appProvider: optional(text("as in the AppD")),
    appCategory: optional(categoryRef),
    appDId: optional(text("of the descriptor; with isInsByMec")),
    appInstanceId: optional(text("of the instance; with isInsByMec")),
    endpoint: optional(endPointInfo),
    ...dependencies,
    isInsByMec: optional(Type.Boolean({ description: "instantiated by the MEC management; default: false" })),
    appProfile: optional(Type.Record(Type.String(), Type.Unknown(), { description: "EAS profile, TS 29.558" })),
  },
  { title: "AppInfo" },
);
export type AppInfo = Static<typeof appInfo>;

function appInfoErrors(info: AppInfo): FieldError[] {
  const errors = info.endpoint ? endPointErrors(info.endpoint, "endpoint") : [];
  if (!info.isInsByMec) {
    if (!info.endpoint) errors.push({ field: "endpoint", message: "is required unless isInsByMec is true" });
    return errors;
  }
  for (const field of ["appDId", "appInstanceId"] as const) {
    if (info[field] === undefined) errors.push({ field, message: "is required where isInsByMec is true" });
  }
  for (const field of Object.keys(dependencies) as (keyof typeof dependencies)[]) {
    if (info[field]) errors.push({ field, message: "is in the AppD, and is not said again here" });
  }
  return errors;
}

/** All throw Problem 400. */
export const readTermination = reader<TerminationRequest>(terminationRequest, deliveryErrors);
export const readConfirmation = reader<Static<typeof appTerminationConfirmation>>(appTerminationConfirmation);
export const readReady = reader<Static<typeof appReadyConfirmation>>(appReadyConfirmation);
export const readAppInfo = reader<AppInfo>(appInfo, appInfoErrors);
