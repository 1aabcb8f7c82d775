/**
 * What may a client of Mp1 ask for, and where does that follow from?
 *
 * One table. An instance gets what its AppD shows that it needs; a client that management enrols gets what it is given. A
 * scope opens a part of the API; what is another app's stays closed whatever the scopes.
 */
import type { AppD } from "../model/appd.ts";

interface Scope {
  name: string;
  /** For people. */
  opens: string;
  /** The descriptor asks for it. */
  follows(appd: Pick<AppD, Needs>): boolean;
  from: string;
}

type Needs = "appServiceRequired" | "appServiceOptional" | "appServiceProduced" | "appTrafficRule" | "appDNSRule";

const some = (list: readonly unknown[] | undefined): boolean => (list?.length ?? 0) > 0;

export const scopeTable = [
  {
    name: "mec_app_support",
    opens: "readiness, termination, timing, registration; its own subscriptions; its own rules, to look at",
    follows: () => true,
    from: "every app",
  },
  {
    name: "mec_app_support:rules",
    opens: "to change its own traffic and DNS rules",
    follows: ({ appTrafficRule, appDNSRule }) => some(appTrafficRule) || some(appDNSRule),
    from: "appTrafficRule or appDNSRule",
  },
  {
    name: "mec_service_mgmt:read",
    opens: "to find services and transports, and to subscribe to their availability",
    follows: ({ appServiceRequired, appServiceOptional, appServiceProduced }) =>
      some(appServiceRequired) || some(appServiceOptional) || some(appServiceProduced),
    from: "appServiceRequired, appServiceOptional or appServiceProduced",
  },
  {
    name: "mec_service_mgmt:write",
    opens: "to offer services, change and withdraw them, and say that they live",
    follows: ({ appServiceProduced }) => some(appServiceProduced),
    from: "appServiceProduced",
  },
] as const satisfies readonly Scope[];

export type ScopeName = (typeof scopeTable)[number]["name"];

export const scopeNames: readonly ScopeName[] = scopeTable.map(({ name }) => name);

/** Of an instance, by its descriptor. */
export const scopesOf = (appd: Pick<AppD, Needs>): ScopeName[] =>
  scopeTable.filter(({ follows }) => follows(appd)).map(({ name }) => name);

/** Of an app that runs elsewhere, unless management says otherwise: it has no descriptor, so no rules. */
export const scopesElsewhere: readonly ScopeName[] = scopeNames.filter((name) => name !== "mec_app_support:rules");
