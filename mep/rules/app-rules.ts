/**
 * What are the rules of one app, compiled, and from one change to the next which of them differ?
 *
 * Pure.
 */
import type { Intent } from "../../controlplane/intents/model.ts";
import type { DnsRule } from "../model/rules.ts";
import type { DnsRecord } from "../parts.ts";
import type { StoredRules } from "./rule-store.ts";

export interface AppRules extends StoredRules {
  /** What each traffic rule compiles to, whether it is in force or not. */
  compiled: ReadonlyMap<string, Intent[]>;
}

/** Rules that are ACTIVE, whether their app is there or not. */
export function* active({ traffic, compiled }: AppRules): Generator<Intent> {
  for (const [id, { state }] of traffic) if (state === "ACTIVE") yield* compiled.get(id) ?? [];
}

export const recordOf = ({ domainName, ipAddressType, ipAddress, ttl }: DnsRule): DnsRecord => ({
  name: domainName,
  type: ipAddressType === "IP_V4" ? "A" : "AAAA",
  address: ipAddress,
  ...(ttl !== undefined && { ttl }),
});

export const same = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b);

/** By name; undefined: out of force. */
export type LayerDifference = ReadonlyMap<string, Intent | undefined>;

/** What has to change in the layer of rules, from what an app had in force to what it is to have. */
export function differenceOf(old: readonly Intent[], now: readonly Intent[]): Map<string, Intent | undefined> {
  const before = new Map(old.map((one) => [one.name, one]));
  const changed = new Map<string, Intent | undefined>();
  for (const one of now) {
    if (!same(before.get(one.name), one)) changed.set(one.name, one);
    before.delete(one.name);
  }
  for (const name of before.keys()) changed.set(name, undefined);
  return changed;
}

/** Changes of several apps that go to the kernel and the disk together; each sees those before it. */
export class Together {
  readonly #before = new Map<string, AppRules | undefined>();
  readonly after = new Map<string, AppRules>();
  readonly changed = new Map<string, Intent | undefined>();

  add(before: AppRules, next: AppRules, difference: LayerDifference): void {
    const { instance } = next;
    if (!this.#before.has(instance)) this.#before.set(instance, before);
    this.after.set(instance, next);
    for (const [name, intent] of difference) this.changed.set(name, intent);
  }

  /** For the store: what each is, and was before the first of them. */
  pairs(): [next: AppRules, before: AppRules | undefined][] {
    return [...this.after].map(([instance, next]) => [next, this.#before.get(instance)]);
  }
}
