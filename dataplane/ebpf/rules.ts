/**
 * What do steering rules look like in the kernel's tables?
 *
 * A pure renderer: Steering in, octets out.
 *
 *   image     what the classifier searches (classifier.ts, image.ts)
 *   header    what the programs read first: how many rules, which fields their decisions depend on
 *   buckets   two octets tables over inner destinations: most packets need no more than one look here to pass
 *   protect   keys of the longest-prefix-match map
 *
 * Buckets (bpf/common.h `maybe_of`): IPv4 by the upper 16 bits; IPv6 behind them, by the two upper 16-bit groups xored.
 * A rule for a prefix marks all buckets it meets; one for a single address marks its bucket MAYBE_RULE_HOST, and its own
 * place among the hosts. Rules that only pass mark nothing: what no bucket names passes anyway.
 */

import { type Prefix, prefixOf } from "../address.ts";
import { DataplaneError } from "../dataplane.ts";
import { acts, isAboutPackets, ruleFamily } from "../space.ts";
import type { Match, Steering, SteeringRule } from "../steering.ts";
import { appEntries, fieldsOf, type Places, signalling, uplinkEntry } from "./classifier.ts";
import {
  HOST_RULE,
  HOST_TREATED,
  MAYBE_PROTECTED,
  MAYBE_RULE,
  MAYBE_RULE_HOST,
  MAYBE_TREATED,
  MAYBE_TREATED_HOST,
  MAYBE_V6,
  PREFIX_PROTECTED,
  RULES_DIRECTED,
  RULES_SIGNALLING,
  RULES_THROUGH,
} from "./consts.ts";
import { type Entry, IMAGE_MOST, renderImage } from "./image.ts";
import { prefixKey } from "./layout.ts";
import { leavesWhole } from "./outlet-record.ts";
import { TooLarge } from "./vectors.ts";

export const BUCKETS = 131072;
/** A rule's number in a vector has 16 bits. */
const MOST_RULES = 65535;

export interface RenderedRules {
  image: Uint8Array;
  /** Members of struct rules_header. */
  header: { count: number; fields: number; flags: number };
  bucket: Uint8Array;
  host: Uint8Array;
  protect: Uint8Array[];
}

/**
 * `most`: octets that the image may have.
 * @throws DataplaneError what is too much for the classifier; Error on what is no address or prefix.
 */
export function renderRules(steering: Steering, places: Places, most = IMAGE_MOST): RenderedRules {
  const { rules } = steering;
  const bucket = new Uint8Array(BUCKETS);
  const host = new Uint8Array(BUCKETS);
  let flags = signalling(rules) ? RULES_SIGNALLING : 0;
  for (const rule of rules) {
    if (!acts(rule) || !isAboutPackets(rule.match)) continue;
    const { direction } = rule.match;
    if (direction !== "downlink") markRule(rule, bucket, host, RULE_MARKS);
    // The core's packets are looked at.
    if (direction !== "uplink" && (direction || rule.action === "pass" || leavesWhole(rule))) {
      markRule(rule, bucket, host, TREATED_MARKS);
      flags |= RULES_THROUGH;
    }
  }
  if (rules.some(({ match }) => match.direction)) flags |= RULES_DIRECTED;
  const uplink = rules.map((rule) => uplinkEntry(rule, places));
  const app = rules.flatMap((rule) => (rule.appInitiated ? appEntries(rule, places) : []));
  const larger = Math.max(rules.length, app.length);
  if (larger > MOST_RULES)
    throw new DataplaneError(`${larger} rules, the classifier has room for ${MOST_RULES}`, "rules");
  const protect = steering.protect.map(prefixOf);
  for (const prefix of protect) markAll(bucket, prefix, MAYBE_PROTECTED);
  return {
    image: imageOf(uplink, app, signalling(rules), most),
    header: { count: rules.length, fields: fieldsOf(rules), flags },
    bucket,
    host,
    protect: protect.map((p) => lpmKey(PREFIX_PROTECTED, 0, p)),
  };
}

/** What stands in the bucket of a prefix, in that of a single address, and at the address itself. */
interface Marks {
  prefix: number;
  single: number;
  host: number;
}
const RULE_MARKS: Marks = { prefix: MAYBE_RULE, single: MAYBE_RULE_HOST, host: HOST_RULE };
const TREATED_MARKS: Marks = { prefix: MAYBE_TREATED, single: MAYBE_TREATED_HOST, host: HOST_TREATED };

function imageOf(uplink: readonly Entry[], app: readonly Entry[], aboutSignalling: boolean, most: number): Uint8Array {
  try {
    return renderImage(uplink, app, aboutSignalling, most);
  } catch (error) {
    if (!(error instanceof TooLarge)) throw error;
    const why = `${uplink.length} rules overlap so much that the classifier would need more than ${most >> 20} MB`;
    throw new DataplaneError(`${why}: name fewer wide ranges and prefixes that cross each other`, "rules");
  }
}

/** Matches are the same objects from one steering to the next where nothing changed. */
const parsed = new WeakMap<Match, Prefix[]>();

function prefixesOf(match: Match, destinations: readonly string[]): Prefix[] {
  let known = parsed.get(match);
  if (!known) {
    known = destinations.map(prefixOf);
    parsed.set(match, known);
  }
  return known;
}

function markRule(rule: SteeringRule, bucket: Uint8Array, host: Uint8Array, marks: Marks): void {
  const destinations = rule.match.destination;
  if (destinations === undefined) {
    const family = ruleFamily(rule);
    if (family !== 6) fill(bucket, 0, MAYBE_V6, marks.prefix);
    if (family !== 4) fill(bucket, MAYBE_V6, BUCKETS, marks.prefix);
    return;
  }
  for (const prefix of prefixesOf(rule.match, destinations)) {
    if (prefix.length === 128) markHost(prefix.octets, prefix.v6, bucket, host, marks);
    else markAll(bucket, prefix, marks.prefix);
  }
}

function markHost(octets: Uint8Array, v6: boolean, bucket: Uint8Array, host: Uint8Array, marks: Marks): void {
  const prefix = { octets, v6, length: 128 };
  bucket[bucketOf(prefix)]! |= marks.single;
  host[hostOf(prefix)]! |= marks.host;
}

/** Marks the destination of a flow that runs, so that its packets are found; of one that is forwarded, the core's too. */
export function markFlow(
  octets: Uint8Array,
  v6: boolean,
  forwarded: boolean,
  { bucket, host }: { bucket: Uint8Array; host: Uint8Array },
): void {
  markHost(octets, v6, bucket, host, RULE_MARKS);
  if (forwarded) markHost(octets, v6, bucket, host, TREATED_MARKS);
}

const group = (octets: Uint8Array, index: number): number => (octets[index * 2]! << 8) | octets[index * 2 + 1]!;

/** First bucket that a prefix meets. */
export function bucketOf({ octets, v6 }: Prefix): number {
  return v6 ? MAYBE_V6 + (group(octets, 0) ^ group(octets, 1)) : group(octets, 6);
}

export function hostOf({ octets, v6 }: Prefix): number {
  if (!v6) return group(octets, 6) ^ group(octets, 7);
  let folded = 0;
  for (let index = 0; index < 8; index++) folded ^= group(octets, index);
  return MAYBE_V6 + folded;
}

function fill(table: Uint8Array, from: number, to: number, bits: number): void {
  for (let index = from; index < to; index++) table[index]! |= bits;
}

function markAll(bucket: Uint8Array, prefix: Prefix, bits: number): void {
  const first = bucketOf(prefix);
  if (prefix.v6) {
    // Shorter than what the xor is made of: any bucket may be met.
    if (prefix.length < 32) fill(bucket, MAYBE_V6, BUCKETS, bits);
    else bucket[first]! |= bits;
  } else {
    const length = prefix.length - 96;
    fill(bucket, first, first + (length >= 16 ? 1 : 1 << (16 - length)), bits);
  }
}

/** Key in the map `prefixes`. `set` is one of PREFIX_*. */
export function lpmKey(set: number, dataplane: number, prefix: Prefix): Uint8Array {
  return prefixKey.encode({ length: 32 + prefix.length, set: (set << 8) | dataplane, address: prefix.octets });
}
