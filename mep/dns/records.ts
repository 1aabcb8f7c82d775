/**
 * What does the platform's name server answer, and how is that written for Unbound?
 *
 * Pure. Records of one name and type are one answer (RFC 2181 §5): all of them are given, with one TTL, the smallest. A name
 * with a rule is answered by us alone: a type that no rule has is "no data", never what the Internet says; the SOA beside the
 * records lets resolvers remember that for a minute (RFC 2308).
 */

import { Problem } from "../../controlplane/errors.ts";
import { formatAddress, parseAddress } from "../../controlplane/intents/prefix.ts";
import type { DnsRecord } from "../parts.ts";

export type { DnsRecord } from "../parts.ts";

/**
 * Of a rule without a TTL. GS MEC 011 lets such a rule hold until it is taken back; what phones keep of it has to end some
 * minutes after that.
 */
export const defaultTtl = 300;
const noDataTtl = 60;
/** A longer answer would come by TCP, and that passes to the resolver that the phone asked (RFC 1035 §4.2.1). */
const mostOctets = 512;

/** Octets of the answer with `count` addresses. */
function answerOctets(name: string, type: DnsRecord["type"], count: number): number {
  return 12 + (name.length + 2) + 4 + count * (12 + (type === "A" ? 4 : 16));
}

/**
 * Lines of local data by name, each list in a definite order: equal answers are equal text.
 * @throws Problem where a name has more addresses than one answer holds
 */
export function linesByName(records: Iterable<DnsRecord>): Map<string, string[]> {
  const sets = new Map<string, { name: string; type: DnsRecord["type"]; addresses: Set<string>; ttl: number }>();
  for (const { name, type, address, ttl = defaultTtl } of records) {
    const key = `${name} ${type}`;
    const set = sets.get(key) ?? { name, type, addresses: new Set<string>(), ttl };
    set.addresses.add(formatAddress(parseAddress(address)));
    set.ttl = Math.min(set.ttl, ttl);
    sets.set(key, set);
  }
  const lines = new Map<string, string[]>();
  for (const { name, type, addresses, ttl } of sets.values()) {
    const octets = answerOctets(name, type, addresses.size);
    if (octets > mostOctets) {
      const detail = `${name} has ${addresses.size} records of type ${type}: that is more than one answer over UDP holds`;
      throw new Problem("limit-reached", `${detail}; deactivate some`);
    }
    const list = lines.get(name) ?? [soa(name)];
    for (const address of addresses) list.push(`${name}. ${ttl} IN ${type} ${address}`);
    lines.set(name, list.sort());
  }
  return lines;
}

const soa = (name: string): string =>
  `${name}. ${noDataTtl} IN SOA ${name}. nobody.invalid. 1 3600 1200 604800 ${noDataTtl}`;

/** The same as configuration: what Unbound begins with. */
export function renderRecords(lines: ReadonlyMap<string, readonly string[]>): string {
  const text: string[] = ["server:"];
  for (const [name, list] of lines) {
    text.push(`  local-zone: "${name}." transparent`, ...list.map((line) => `  local-data: "${line}"`));
  }
  return `${text.join("\n")}\n`;
}

/**
 * What a running Unbound holds, from `list_local_zones` and `list_local_data`. Zones of ours are transparent, or `deny` in the
 * middle of a change; those have no lines here.
 */
export function readBack(zones: string, data: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const open = new Set<string>();
  for (const line of zones.split("\n")) {
    const [zone = "", type] = line.trim().split(/\s+/);
    if (type !== "transparent" && type !== "deny") continue;
    const name = zone.replace(/\.$/, "");
    found.set(name, []);
    if (type === "transparent") open.add(name);
  }
  for (const line of data.split("\n")) {
    const words = line.trim().split(/\s+/);
    const name = (words[0] ?? "").replace(/\.$/, "");
    if (open.has(name)) found.get(name)?.push(words.join(" "));
  }
  for (const list of found.values()) list.sort();
  return found;
}
