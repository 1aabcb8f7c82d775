/**
 * Is there what an app requires to run (GS MEC 010-2 §6.2.1.9, §6.2.1.11, §6.2.1.18)?
 *
 *   appServiceRequired      a service of that name in state ACTIVE, of a version that fits, over transports that fit
 *   appFeatureRequired      a feature of the platform
 *   transportDependencies   transports of the platform
 *
 * Pure: the AppD and what is there in, what is missing out. Bindings carry labels: all with one label are a group, and one group
 * has to be there whole. A version fits when it has the same first number and is not lower.
 */
import type { FieldError } from "../../controlplane/intents/model.ts";
import type { AppD, ServiceDependency, TransportDependency } from "../model/appd.ts";
import type { Binding, Provided } from "../parts.ts";

/** Optional features of GS MEC 002 that this platform has, with their versions. */
export const platformFeatures: ReadonlyMap<string, string> = new Map();

/** Is the version that is there good for whoever wants the other? Versions that are no numbers have to be equal. */
export function versionFits(there: string, wanted: string): boolean {
  if (there === wanted) return true;
  const numbers = (text: string) => /^[vV]?(\d+(?:\.\d+)*)$/.exec(text)?.[1]?.split(".").map(Number);
  const [has, wants] = [numbers(there), numbers(wanted)];
  if (!has || !wants || has[0] !== wants[0]) return false;
  for (let at = 1; at < Math.max(has.length, wants.length); at += 1) {
    const difference = (has[at] ?? 0) - (wants[at] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function fits({ transport, serializer }: Binding, wanted: TransportDependency): boolean {
  const { type, protocol, version } = wanted.transport;
  return (
    transport.type === type &&
    transport.protocol.toUpperCase() === protocol.toUpperCase() &&
    versionFits(transport.version, version) &&
    (serializer === undefined || wanted.serializers.includes(serializer))
  );
}

/** Is one group of the bindings there whole? */
function groupsFit(wanted: readonly TransportDependency[] | undefined, there: readonly Binding[]): boolean {
  if (!wanted || wanted.length === 0) return true;
  const labels = new Set(wanted.flatMap((one) => one.labels));
  // Without any label they are one group.
  const groups =
    labels.size === 0 ? [wanted] : [...labels].map((label) => wanted.filter((one) => one.labels.includes(label)));
  return groups.some((group) => group.every((one) => there.some((binding) => fits(binding, one))));
}

const sayBindings = (wanted: readonly TransportDependency[]): string =>
  wanted
    .map(
      ({ transport: { type, protocol, version }, serializers }) =>
        `${type} ${protocol} ${version} with ${serializers.join(" or ")}`,
    )
    .join("; ");

function serviceFault(wanted: ServiceDependency, provided: Provided): string | undefined {
  const { serName, version, serCategory, serTransportDependencies: bindings } = wanted;
  const named = provided.services(serName).filter(({ category }) => !serCategory || category === serCategory.id);
  const what = serCategory ? `"${serName}" of category ${serCategory.id}` : `"${serName}"`;
  if (named.length === 0) return `no service ${what} is ACTIVE here: start the app that produces it first`;
  const fitting = named.filter((one) => versionFits(one.version, version));
  if (fitting.length === 0) {
    return `the service ${what} is here in version ${named.map((one) => one.version).join(", ")}, not ${version}`;
  }
  if (groupsFit(bindings, fitting)) return undefined;
  return `the service ${what} is not here over ${sayBindings(bindings ?? [])}`;
}

/** What is missing, of everything; none: it may begin. What the app itself produces need not be there before it. */
export function missingFor(appd: AppD, provided: Provided): FieldError[] {
  const errors: FieldError[] = [];
  const own = new Set(appd.appServiceProduced?.map(({ serName }) => serName));
  for (const [index, wanted] of (appd.appServiceRequired ?? []).entries()) {
    if (own.has(wanted.serName)) continue;
    const message = serviceFault(wanted, provided);
    if (message !== undefined) errors.push({ field: `appServiceRequired.${index}`, message });
  }
  for (const [index, { featureName, version }] of (appd.appFeatureRequired ?? []).entries()) {
    const has = platformFeatures.get(featureName);
    if (has !== undefined && versionFits(has, version)) continue;
    const known =
      has === undefined ? "this platform does not have" : `this platform has version ${has} of, not ${version},`;
    errors.push({ field: `appFeatureRequired.${index}`, message: `${known} the feature "${featureName}"` });
  }
  const wanted = appd.transportDependencies ?? [];
  const there = provided.transports().map((transport) => ({ transport }));
  if (!groupsFit(wanted, there)) {
    const has = there.map(({ transport: { type, protocol, version } }) => `${type} ${protocol} ${version}`).join(", ");
    const message = `the platform does not provide ${sayBindings(wanted)}; it provides ${has}: see mep.transports in site.yaml`;
    errors.push({ field: "transportDependencies", message });
  }
  return errors;
}
