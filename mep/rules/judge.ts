/**
 * May a rule of an app be as its package, or the app itself, wants it?
 *
 * What cannot be done at all is the writer's error and named by field (400). What could be done, but is not this app's to do,
 * is forbidden with the reason (403).
 */
import { isDeepStrictEqual } from "node:util";
import { Problem } from "../../controlplane/errors.ts";
import type { ValidationContext } from "../../controlplane/intents/context.ts";
import type { FieldError, Intent } from "../../controlplane/intents/model.ts";
import { parseAddress } from "../../controlplane/intents/prefix.ts";
import type { DNSRuleDescriptor, DnsRule, TrafficRule, TrafficRuleDescriptor } from "../model/rules.ts";
import { compileRule, type RuleOwner, type RuleSite } from "./compile.ts";
import { destinationErrors } from "./destinations.ts";
import { outsideGrant } from "./grants.ts";

export const siteOf = ({ apps, dataplanes = [] }: ValidationContext): RuleSite => ({
  adapter: apps?.interface,
  qfi: dataplanes.some((one) => one.interface === "n3"),
});

/** @throws Problem that names every error; none: nothing happens */
export function refuseErrors(errors: readonly FieldError[]): void {
  if (errors.length === 0) return;
  const said = errors.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join("; ");
  throw new Problem("invalid-request", said, { errors: [...errors] });
}

/** What a descriptor compiles to for its owner, or what is wrong with it; `field` is where it stands. */
export function judgeDescriptor(
  rule: TrafficRuleDescriptor,
  field: string,
  owner: RuleOwner,
  context: ValidationContext,
): { intents: Intent[]; errors: FieldError[] } {
  const { intents, errors } = compileRule(rule, owner, siteOf(context));
  const all = [...errors, ...destinationErrors(rule, owner.addresses, context)];
  return { intents, errors: all.map((error) => ({ ...error, field: `${field}.${error.field}` })) };
}

/** What a rule that the app has put compiles to. @throws Problem invalid-request, forbidden */
export function judgeTraffic(
  rule: TrafficRule,
  granted: readonly TrafficRuleDescriptor[],
  owner: RuleOwner,
  context: ValidationContext,
): Intent[] {
  const site = siteOf(context);
  const { intents, errors } = compileRule(rule, owner, site);
  refuseErrors(errors);
  const forbidden = destinationErrors(rule, owner.addresses, context);
  if (forbidden.length > 0) {
    throw new Problem("forbidden", forbidden.map(({ field, message }) => `${field}: ${message}`).join("; "), {
      errors: forbidden,
    });
  }
  const { state: _state, ...wanted } = rule;
  if (granted.some((one) => isDeepStrictEqual(one, wanted))) return intents;
  const outside = outsideGrant(rule, intents, granted, owner, site);
  if (outside !== undefined) throw new Problem("forbidden", `nothing has changed: ${outside}`);
  return intents;
}

/** The same for a DNS rule. @throws Problem forbidden */
export function judgeDns(
  rule: DnsRule,
  granted: readonly DNSRuleDescriptor[],
  addresses: readonly string[],
  context: ValidationContext,
): void {
  const forbid = (field: string, message: string): never => {
    throw new Problem("forbidden", `nothing has changed: ${field}: ${message}`, { errors: [{ field, message }] });
  };
  const names = granted.filter(({ domainName }) => domainName === rule.domainName);
  if (names.length === 0) forbid("domainName", `${rule.domainName} was not granted to its package`);
  const own = addresses.includes(rule.ipAddress) || granted.some(({ ipAddress }) => ipAddress === rule.ipAddress);
  if (!own) forbid("ipAddress", `${rule.ipAddress} is neither an address of the instance nor one that was granted`);
  const appliance = applianceHas(rule.ipAddress, context);
  if (appliance) forbid("ipAddress", `${rule.ipAddress} is the appliance itself`);
}

export function applianceHas(text: string, { own = [] }: ValidationContext): boolean {
  const { family, value } = parseAddress(text);
  return own.some((one) => one.family === family && one.value === value);
}
