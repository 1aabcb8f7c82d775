/**
 * What do requests and answers of life-cycle management look like (GS MEC 010-2 v3.1.1 §6.2.2, §7.4)?
 *
 * Members that are ours: `appInstanceId` (or `id`) in a creation, so that migrations and fixtures keep their ids; `addresses`, of an app
 * on a machine of its own; `x-offramp` in what is answered. Attributes that tell an orchestrator's other platforms and clouds
 * apart (hosts, VIM connections, placement) are kept with the operation, and mean nothing here: there is one host.
 */
import Type, { type Static, type TSchema } from "typebox";
import { link, timeStamp } from "./pkgm.ts";

const closed = { additionalProperties: false };
const optional = Type.Optional;
const object = <T extends Record<string, TSchema>>(members: T, title: string) =>
  Type.Object(members, { ...closed, title });
const carried = (description: string) => optional(Type.Unknown({ description }));
const seconds = (description: string) =>
  optional(Type.Integer({ minimum: 1, maximum: 86_400, description: `seconds: ${description}` }));

const addresses = optional(
  Type.Array(Type.String({ maxLength: 64 }), {
    maxItems: 16,
    description: "of an app on a machine of its own: its addresses on the apps' network; default: its AppD's",
  }),
);
const instanceId = (description: string) =>
  optional(Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description }));

/** §6.2.2.2 */
export const createAppInstanceRequest = object(
  {
    appDId: Type.String({ maxLength: 128, description: "of an onboarded package; its appPkgId is taken too" }),
    appInstanceName: optional(Type.String({ maxLength: 256, description: "for people" })),
    appInstanceDescription: optional(Type.String({ maxLength: 4096, description: "for people" })),
    appPlacementInfo: carried("MepInformation: there is one platform here"),
    appInstanceId: instanceId(
      "the id that it shall have: a UUID, or up to 64 letters, digits, dots, dashes, underscores",
    ),
    id: instanceId("the same"),
    addresses,
  },
  "CreateAppInstanceRequest",
);

/** §6.2.2.6 */
export const instantiateAppRequest = object(
  {
    virtualComputeDescriptor: carried("as in the AppD"),
    osContainerDescriptor: carried("as in the AppD"),
    virtualStorageDescriptor: carried("as in the AppD"),
    selectedMECHostInfo: carried("MECHostInformation: there is one host here"),
    locationConstraints: carried("where it may run"),
    vimConnectionInfo: carried("clouds: there are none here"),
    appTermCandsForCoord: carried("candidates for termination"),
    addresses,
  },
  "InstantiateAppRequest",
);

/** §6.2.2.7 */
export const operateAppRequest = object(
  {
    changeStateTo: Type.Enum(["STARTED", "STOPPED"]),
    stopType: optional(Type.Enum(["FORCEFUL", "GRACEFUL"], { description: "default: FORCEFUL" })),
    gracefulStopTimeout: seconds("that a graceful stop gives the app"),
  },
  "OperateAppRequest",
);

/** §6.2.2.8 */
export const terminateAppRequest = object(
  {
    terminationType: Type.Enum(["FORCEFUL", "GRACEFUL"]),
    gracefulTerminationTimeout: seconds("that a graceful termination gives the app"),
  },
  "TerminateAppRequest",
);

/** §6.2.2.14; v3.1.1's YAML spells the member as the type. */
export const cancelMode = object(
  {
    cancelMode: optional(Type.Enum(["GRACEFUL", "FORCEFUL", "FORCED"])),
    CancelMode: optional(Type.Enum(["GRACEFUL", "FORCEFUL", "FORCED"])),
  },
  "CancelMode",
);

const operationalState = Type.Enum(["STARTED", "STOPPED"]);

/** §6.2.2.4 */
export const appInstanceInfo = object(
  {
    id: Type.String(),
    appInstanceName: optional(Type.String()),
    appInstanceDescription: optional(Type.String()),
    appDId: Type.String(),
    appProvider: Type.String(),
    appName: Type.String(),
    appSoftVersion: Type.String(),
    appDVersion: Type.String(),
    appPkgId: Type.String(),
    instantiationState: Type.Enum(["NOT_INSTANTIATED", "INSTANTIATED"]),
    instantiatedAppState: optional(object({ operationalState }, "InstantiatedAppState")),
    "x-offramp": object(
      {
        configured: Type.Boolean({ description: "the platform has taken on what its package asks for" }),
        ready: Type.Boolean({ description: "it has said confirm_ready since it was started" }),
        external: Type.Boolean({ description: "it runs on a machine of its own" }),
        addresses: Type.Array(Type.String()),
        terminating: optional(
          object(
            { operationAction: Type.Enum(["STOPPING", "TERMINATING"]), deadline: timeStamp },
            "until when the app has to say goodbye",
          ),
        ),
        exit: optional(
          object(
            { reason: Type.String(), time: timeStamp, code: optional(Type.Integer()) },
            "how its program has ended; code as shells have it, 128 and the number of the signal",
          ),
        ),
      },
      "InstanceExtension",
    ),
    _links: Type.Object(
      {
        self: link,
        instantiate: optional(link),
        terminate: optional(link),
        operate: optional(link),
        configure_platform_for_app: optional(link),
      },
      closed,
    ),
  },
  "AppInstanceInfo",
);

/** §6.2.2.13 */
export const appLcmOpOcc = object(
  {
    id: Type.String(),
    operationState: Type.Enum(["STARTING", "PROCESSING", "COMPLETED", "FAILED", "FAILED_TEMP"]),
    stateEnteredTime: timeStamp,
    startTime: timeStamp,
    lcmOperation: Type.Enum(["INSTANTIATE", "OPERATE", "TERMINATE", "CONFIGURE_PLATFORM_FOR_APP"]),
    operationParams: optional(Type.Unknown({ description: "the request" })),
    isCancelPending: Type.Boolean(),
    cancelMode: optional(Type.Enum(["GRACEFUL", "FORCEFUL"])),
    error: optional(Type.Unknown({ description: "ours: a problem document, why it failed" })),
    _links: Type.Object({ self: link, appInstance: link }, closed),
  },
  "AppLcmOpOcc",
);

const strings = (description: string) =>
  optional(Type.Array(Type.String({ maxLength: 256 }), { maxItems: 256, description }));

/** §6.2.2.12 */
export const appInstanceSubscriptionFilter = object(
  {
    appInstSelectorType: Type.Integer({
      minimum: 0,
      maximum: 4,
      description: "0 void, 1 APP_IDENTITY, 2 APP_NAME, 3 APP_D_ID, 4 APP_FROM_PROVIDER",
    }),
    appInstances: strings("ids, names, or appDIds"),
    appsFromProviders: optional(
      Type.Array(
        object(
          {
            appProvider: Type.String({ maxLength: 256 }),
            appProducts: optional(
              Type.Array(
                object(
                  {
                    appName: Type.String({ maxLength: 256 }),
                    versions: optional(
                      Type.Array(
                        object(
                          { appSoftVersion: Type.String({ maxLength: 128 }), appDVersion: strings("any of them") },
                          "Versions",
                        ),
                        { maxItems: 64 },
                      ),
                    ),
                  },
                  "AppProducts",
                ),
                { maxItems: 64 },
              ),
            ),
          },
          "AppsFromProviders",
        ),
        { maxItems: 64 },
      ),
    ),
  },
  "AppInstanceSubscriptionFilter",
);

export const lcmSubscriptionTypes = [
  "AppInstanceStateChangeSubscription",
  "AppLcmOpOccStateChangeSubscription",
  "AppIdentifierCreationSubscription",
  "AppIdentifierDeletionSubscription",
] as const;

const oneOrMore = <const T extends string[]>(values: [...T]) =>
  optional(Type.Union([Type.Enum(values), Type.Array(Type.Enum(values), { minItems: 1, maxItems: 16 })]));

/** §6.2.2.9, §6.2.2.15, §6.2.2.21, §6.2.2.24 */
export const lcmSubscriptionRequest = object(
  {
    subscriptionType: Type.Enum([...lcmSubscriptionTypes]),
    callbackUri: Type.String({ minLength: 1, maxLength: 2048 }),
    appInstanceState: oneOrMore(["NOT_INSTANTIATED", "STARTED", "STOPPED"]),
    appInstanceSubscriptionFilter: optional(appInstanceSubscriptionFilter),
    appLcmOpOccSubscriptionFilter: optional(
      object(
        {
          appInstanceSubscriptionFilter: optional(appInstanceSubscriptionFilter),
          notificationTypes: carried("there is one type"),
          operationTypes: oneOrMore(["INSTANTIATE", "OPERATE", "TERMINATE", "CONFIGURE_PLATFORM_FOR_APP"]),
          operationStates: oneOrMore(["STARTING", "PROCESSING", "COMPLETED", "FAILED", "FAILED_TEMP"]),
        },
        "AppLcmOpOccSubscriptionFilter",
      ),
    ),
  },
  "LcmSubscriptionRequest",
);

export type CreateAppInstanceRequest = Static<typeof createAppInstanceRequest>;
export type InstantiateAppRequest = Static<typeof instantiateAppRequest>;
export type OperateAppRequest = Static<typeof operateAppRequest>;
export type TerminateAppRequest = Static<typeof terminateAppRequest>;
export type AppInstanceInfo = Static<typeof appInstanceInfo>;
export type AppLcmOpOcc = Static<typeof appLcmOpOcc>;
export type AppInstanceSubscriptionFilter = Static<typeof appInstanceSubscriptionFilter>;
export type LcmSubscriptionRequest = Static<typeof lcmSubscriptionRequest>;
