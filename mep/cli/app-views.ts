/**
 * How are packages, instances and operations shown to people?
 */
import { plural, table } from "../../controlplane/cli/output.ts";
import type { AppInstanceInfo, AppLcmOpOcc } from "../model/lcm.ts";
import type { AppPkgInfo } from "../model/pkgm.ts";
import type { PackageContent } from "../packages/archive.ts";
import type { LogLine } from "../runtime/runtime.ts";
import type { Converted } from "../vnfd/convert.ts";
import type { AppClient } from "./app-api.ts";

const instant = ({ seconds }: { seconds: number }): string =>
  new Date(seconds * 1000).toISOString().replace(".000Z", "Z");

/** In one word, what an instance does. */
export function stateOf(instance: AppInstanceInfo): string {
  const { configured, ready, terminating } = instance["x-offramp"];
  if (terminating) return terminating.operationAction.toLowerCase();
  if (instance.instantiationState === "NOT_INSTANTIATED") return configured ? "configured" : "created";
  if (instance.instantiatedAppState?.operationalState === "STOPPED") return "stopped";
  return ready ? "ready" : "started";
}

export interface Listing {
  packages: AppPkgInfo[];
  instances: AppInstanceInfo[];
}

export function listingLines({ packages, instances }: Listing): string[] {
  const packageRows = packages.map((one) => [
    one.id,
    one.appDId ?? "–",
    one.appName ?? "–",
    one.appSoftwareVersion ?? "–",
    one.onboardingState === "ONBOARDED" ? one.operationalState.toLowerCase() : one.onboardingState.toLowerCase(),
  ]);
  const instanceRows = instances.map((one) => [
    one.id,
    one.appInstanceName ?? one.appName,
    one.appDId,
    stateOf(one),
    one["x-offramp"].addresses.join(" ") || "–",
  ]);
  return [
    ...(packages.length === 0 ? ["no packages"] : table(["PACKAGE", "APPD", "APP", "VERSION", "STATE"], packageRows)),
    "",
    ...(instances.length === 0
      ? ["no instances"]
      : table(["INSTANCE", "NAME", "APPD", "STATE", "ADDRESSES"], instanceRows)),
  ];
}

export function packageLines(one: AppPkgInfo): string[] {
  return [
    `package ${one.id}`,
    `  ${one.appName ?? "no content yet"} ${one.appSoftwareVersion ?? ""} of ${one.appProvider ?? "nobody"}, AppD ${one.appDId ?? "–"}`,
    `  ${one.onboardingState}, ${one.operationalState}, ${one.usageState}`,
  ];
}

export function instanceLines(one: AppInstanceInfo): string[] {
  const { addresses, external, terminating, exit } = one["x-offramp"];
  return [
    `instance ${one.id} (${one.appInstanceName ?? one.appName}): ${stateOf(one)}`,
    `  ${one.appName} ${one.appSoftVersion} of ${one.appProvider}, AppD ${one.appDId}, package ${one.appPkgId}`,
    `  ${external ? "on a machine of its own" : "runs here"}${addresses.length > 0 ? `, at ${addresses.join(", ")}` : ""}`,
    ...(terminating ? [`  has until ${instant(terminating.deadline)} to say goodbye`] : []),
    ...(exit ? [`  its program ended at ${instant(exit.time)}: ${exit.reason}`] : []),
  ];
}

export function operationLines(operations: readonly AppLcmOpOcc[]): string[] {
  if (operations.length === 0) return ["no operations"];
  return table(
    ["OPERATION", "INSTANCE", "WHAT", "STATE", "SINCE", "WHY"],
    operations.map((one) => [
      one.id,
      decodeURIComponent(one._links.appInstance.href.split("/").at(-1) ?? ""),
      one.lcmOperation,
      one.operationState,
      instant(one.stateEnteredTime),
      (one.error as { detail?: string } | undefined)?.detail ?? "",
    ]),
  );
}

/** The secret stands alone on a line, to be copied. */
export const secretLines = ({ clientId, clientSecret }: AppClient): string[] => [
  `client ${clientId}; its secret, which is shown this once:`,
  clientSecret,
];

export const contentLines = (file: string, { appd, files, signedBy }: PackageContent): string[] => [
  `${file}: good; ${appd.appName} ${appd.appSoftVersion} of ${appd.appProvider}, AppD ${appd.appDId}, ${plural(files.length, "file")}` +
    (signedBy === undefined ? "" : `, signed by ${signedBy}`),
];

export const logLines = (lines: readonly LogLine[]): string[] =>
  lines.map(({ time, stream, text }) => `${time} ${stream === "stderr" ? "!" : " "} ${text}`);

/** What a conversion could not carry, for standard error. */
export function conversionNotes({ lost, missing }: Converted): string[] {
  return [
    ...lost.map(({ path, why }) => `not carried: ${path}: ${why}`),
    ...missing.map((name) => `to be added: ${name}`),
  ];
}
