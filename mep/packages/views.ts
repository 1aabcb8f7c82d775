/**
 * How are packages shown, and whom does a notification about one concern (GS MEC 010-2 §6.2.3.3, §6.2.3.6)?
 */
import { randomUUID } from "node:crypto";
import { link, timeStamp } from "../management/links.ts";
import type { Subscription } from "../management/subscriptions.ts";
import type { AppPkgFilter, AppPkgInfo } from "../model/pkgm.ts";
import { imageOf } from "../model/read-appd.ts";
import type { AppPackage, PackageEvent } from "./packages.ts";

export const pkgmRoot = "/app_pkgm/v1";

const sha256 = (hash: string) => ({ algorithm: "SHA-256", hash });

export function packageInfo(one: AppPackage, used: boolean, base: string): AppPkgInfo {
  const { id, request, content, failure } = one;
  const self = `${pkgmRoot}/app_packages/${id}`;
  const image = content && imageOf(content.appd);
  const images = content?.appd.swImageDescriptor ?? [];
  const paths = new Set(images.map(({ swImage }) => (typeof swImage === "string" ? swImage : undefined)));
  return {
    id,
    ...(content
      ? {
          appDId: content.appd.appDId,
          appProvider: content.appd.appProvider,
          appName: content.appd.appName,
          appSoftwareVersion: content.appd.appSoftVersion,
          appDVersion: content.appd.appDVersion,
          checksum: sha256(content.sha256),
          ...(content.signedBy !== undefined && { signingCertificate: content.signedBy }),
          softwareImages: images.map(({ id: imageId, name, version, checksum }) => ({
            id: imageId,
            name,
            version,
            ...(checksum && { checksum: { algorithm: checksum.algorithm, hash: checksum.hash } }),
            ...(imageId === image?.id && image.path !== undefined && { imagePath: image.path }),
          })),
          additionalArtifacts: content.files
            .filter(({ path }) => !paths.has(path))
            .map((file) => ({ artifactPath: file.path, checksum: sha256(file.sha256), size: file.size })),
          mecInfo: content.appd.mecVersion.split(","),
        }
      : {
          ...(request.appProvider !== undefined && { appProvider: request.appProvider }),
          ...(request.checksum && { checksum: request.checksum }),
        }),
    onboardingState: one.onboardingState,
    operationalState: one.operationalState,
    usageState: used ? "IN_USE" : "NOT_IN_USE",
    ...(request.userDefinedData && { userDefinedData: request.userDefinedData }),
    ...(failure && { onboardingFailureDetails: failure }),
    _links: {
      self: link(base, self),
      appD: link(base, `${self}/appd`),
      appPkgContent: link(base, `${self}/package_content`),
    },
  };
}

const kinds: Record<PackageEvent, { subscription: string; notification: string }> = {
  onboarded: { subscription: "AppPackageOnBoardingSubscription", notification: "AppPackageOnBoarded" },
  enabled: { subscription: "AppPackageChangeSubscription", notification: "AppPackageEnabled" },
  disabled: { subscription: "AppPackageChangeSubscription", notification: "AppPackageDisabled" },
  deleted: { subscription: "AppPackageDeletionSubscription", notification: "AppPackageDeleted" },
};

function concerns(filters: readonly AppPkgFilter[] | undefined, one: AppPackage, used: boolean): boolean {
  if (!filters || filters.length === 0) return true;
  const { appDId, appProvider, appName, appSoftwareVersion, appDVersion } = packageInfo(one, used, "");
  const facts: AppPkgFilter = {
    appPkgInfoId: one.id,
    appDId,
    appProvider,
    appName,
    appSoftwareVersion,
    appDVersion,
    operationalState: one.operationalState,
    usageState: used ? "IN_USE" : "NOT_IN_USE",
  };
  return filters.some((filter) =>
    Object.entries(filter).every(([name, wanted]) => facts[name as keyof AppPkgFilter] === wanted),
  );
}

/** The notification of an event for each subscription that it concerns. */
export function packageNotification(event: PackageEvent, one: AppPackage, used: boolean, now = Date.now()) {
  const { subscription: type, notification } = kinds[event];
  const id = randomUUID();
  return (subscription: Subscription): object | undefined =>
    subscription.subscriptionType === type && concerns(subscription.filter as AppPkgFilter[] | undefined, one, used)
      ? {
          id,
          notificationType: notification,
          subscriptionId: subscription.id,
          timeStamp: timeStamp(now),
          appPkgId: one.id,
          appDId: one.content?.appd.appDId,
          operationalState: one.operationalState,
          _links: { subscription: link(subscription.base, `${pkgmRoot}/subscriptions/${subscription.id}`) },
        }
      : undefined;
}
