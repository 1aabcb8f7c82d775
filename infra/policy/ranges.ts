/**
 * Do two sites of a stack call the same addresses their UEs'?
 *
 * Pure. A phone's address says at which site it is; where two sites have the same, replies and counters of one are taken for the
 * other's, and a service that names a range means both.
 */
import ipaddr from "ipaddr.js";
import { group, list, nameOf, type SiteSeen } from "./documents.ts";

interface Pool {
  site: string;
  /** `configuration.dataplanes[0].uePools[1]` */
  path: string;
  text: string;
  family: "ipv4" | "ipv6";
  first: bigint;
  last: bigint;
}

function poolOf(text: unknown): Pick<Pool, "text" | "family" | "first" | "last"> | undefined {
  if (typeof text !== "string" || !ipaddr.isValidCIDR(text)) return undefined;
  const [address, length] = ipaddr.parseCIDR(text);
  const octets = address.toByteArray();
  const value = octets.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n);
  const free = BigInt(octets.length * 8 - length);
  const first = (value >> free) << free;
  return { text, family: address.kind(), first, last: first + (1n << free) - 1n };
}

const poolsOf = (seen: SiteSeen): Pool[] =>
  list(seen.document.dataplanes).flatMap((dataplane, index) =>
    list(group(dataplane).uePools).flatMap((text, at) => {
      const pool = poolOf(text);
      return pool ? [{ site: nameOf(seen), path: `${seen.at}.dataplanes[${index}].uePools[${at}]`, ...pool }] : [];
    }),
  );

export interface Overlap {
  /** Of the second of both. */
  resource: SiteSeen["resource"];
  message: string;
}

/** Each pair of sites once for each range of the second. A site that several resources tell of is one site. */
export function overlaps(sites: readonly SiteSeen[]): Overlap[] {
  const seen: Pool[] = [];
  const found: Overlap[] = [];
  // The engine hands them over in whatever order they were ready.
  for (const site of [...sites].sort((one, other) => nameOf(one).localeCompare(nameOf(other)))) {
    const pools = poolsOf(site);
    for (const pool of pools) {
      const named = new Set<string>();
      for (const other of seen) {
        const meet = other.family === pool.family && other.first <= pool.last && pool.first <= other.last;
        if (!meet || other.site === pool.site || named.has(other.site)) continue;
        named.add(other.site);
        const what = `${pool.path} of site ${pool.site} is ${pool.text}, which overlaps ${other.text} (${other.path}) of site ${other.site}`;
        found.push({ resource: site.resource, message: `${what}: give each site UE addresses of its own` });
      }
    }
    seen.push(...pools);
  }
  return found;
}
