/**
 * What do requests and answers of package management look like (GS MEC 010-2 v3.1.1 §6.2.3, §7.3)?
 *
 * v2.1.1 names are taken beside v3's: `operationState`, `subsctiptionType`, and its names of subscription types.
 */
import Type, { type Static } from "typebox";

const closed = { additionalProperties: false };
const optional = Type.Optional;
const text = (description: string, maxLength = 1024) => Type.String({ minLength: 1, maxLength, description });

export const link = Type.Object({ href: Type.String() }, { ...closed, title: "LinkType" });
export const timeStamp = Type.Object(
  { seconds: Type.Integer({ minimum: 0 }), nanoSeconds: Type.Integer({ minimum: 0, maximum: 999_999_999 }) },
  { ...closed, title: "TimeStamp" },
);
export const checksum = Type.Object(
  { algorithm: text("SHA-256", 32), hash: text("hexadecimal", 256) },
  { ...closed, title: "Checksum" },
);

/** §6.2.3.2 */
export const createAppPkg = Type.Object(
  {
    appPkgName: text("name of the package", 256),
    appPkgVersion: text("version of the package", 128),
    appProvider: optional(text("its provider; must be that of the AppD", 256)),
    checksum: optional(checksum),
    userDefinedData: optional(Type.Record(Type.String(), Type.Unknown(), { description: "kept and shown" })),
    appPkgPath: optional(
      Type.String({ maxLength: 2048, description: "kept and shown; nothing is fetched: the content is uploaded" }),
    ),
  },
  { ...closed, title: "CreateAppPkg" },
);

export const onboardingState = Type.Enum(["CREATED", "UPLOADING", "PROCESSING", "ONBOARDED"]);
export const operationalState = Type.Enum(["ENABLED", "DISABLED"]);
export const usageState = Type.Enum(["IN_USE", "NOT_IN_USE"]);

const artifact = Type.Object(
  { artifactPath: Type.String(), checksum, size: Type.Integer({ minimum: 0, description: "bytes" }) },
  { ...closed, title: "AppPkgArtifactInfo" },
);
const softwareImage = Type.Object(
  {
    id: Type.String(),
    name: Type.String(),
    version: Type.String(),
    checksum: optional(checksum),
    imagePath: optional(Type.String()),
  },
  { ...closed, title: "AppPkgSWImageInfo" },
);

/** §6.2.3.3; what comes from the AppD is there when the package is onboarded. */
export const appPkgInfo = Type.Object(
  {
    id: Type.String(),
    appDId: optional(Type.String()),
    appProvider: optional(Type.String()),
    appName: optional(Type.String()),
    appSoftwareVersion: optional(Type.String()),
    appDVersion: optional(Type.String()),
    checksum: optional(checksum),
    signingCertificate: optional(Type.String({ description: "name of the key that has signed the package" })),
    softwareImages: optional(Type.Array(softwareImage)),
    additionalArtifacts: optional(Type.Array(artifact)),
    onboardingState,
    operationalState,
    usageState,
    mecInfo: optional(Type.Array(Type.String())),
    userDefinedData: optional(Type.Record(Type.String(), Type.Unknown())),
    onboardingFailureDetails: optional(Type.Unknown()),
    _links: Type.Object({ self: link, appD: link, appPkgContent: link }, closed),
  },
  { ...closed, title: "AppPkgInfo" },
);

/** §6.2.3.8 */
export const appPkgInfoModifications = Type.Object(
  { operationalState: optional(operationalState), operationState: optional(operationalState) },
  { ...closed, minProperties: 1, maxProperties: 1, title: "AppPkgInfoModifications" },
);

const word = (description: string) => optional(Type.String({ maxLength: 256, description }));
export const appPkgFilter = Type.Object(
  {
    appPkgInfoId: word("id of the package"),
    appDId: word("appDId"),
    appProvider: word("appProvider"),
    appName: word("appName"),
    appSoftwareVersion: word("appSoftVersion of the AppD"),
    appDVersion: word("appDVersion"),
    operationalState: optional(operationalState),
    usageState: optional(usageState),
  },
  { ...closed, title: "AppPkgFilter" },
);

export const packageSubscriptionTypes = [
  "AppPackageOnBoardingSubscription",
  "AppPackageChangeSubscription",
  "AppPackageDeletionSubscription",
] as const;
/** v2.1.1 */
export const oldSubscriptionTypes: Record<string, (typeof packageSubscriptionTypes)[number]> = {
  AppPackageOnBoarding: "AppPackageOnBoardingSubscription",
  AppPacakgeOperationChange: "AppPackageChangeSubscription",
  AppPackageOperationChange: "AppPackageChangeSubscription",
  AppPackageDeletion: "AppPackageDeletionSubscription",
};
const subscriptionType = Type.Enum([...packageSubscriptionTypes, ...Object.keys(oldSubscriptionTypes)]);

export const appPkgSubscription = Type.Object(
  {
    callbackUri: Type.String({ minLength: 1, maxLength: 2048 }),
    subscriptionType: optional(subscriptionType),
    subsctiptionType: optional(subscriptionType),
    appPkgFilter: optional(Type.Array(appPkgFilter, { maxItems: 64, description: "any of them" })),
  },
  { ...closed, title: "AppPkgSubscription" },
);

export const subscriptionInfo = Type.Object(
  {
    id: Type.String(),
    subscriptionType: Type.String(),
    callbackUri: Type.String(),
    _links: Type.Object({ self: link }, closed),
  },
  { title: "SubscriptionInfo" },
);
export const subscriptionLinkList = Type.Object(
  {
    _links: Type.Object(
      {
        self: link,
        subscriptions: Type.Array(Type.Object({ href: Type.String(), subscriptionType: Type.String() }, closed)),
      },
      closed,
    ),
  },
  { ...closed, title: "SubscriptionLinkList" },
);

export type CreateAppPkg = Static<typeof createAppPkg>;
export type AppPkgInfo = Static<typeof appPkgInfo>;
export type AppPkgFilter = Static<typeof appPkgFilter>;
