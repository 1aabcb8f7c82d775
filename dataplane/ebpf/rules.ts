/**
 * What do steering rules look like in the kernel's tables?
 *
 * A pure renderer: Steering in, octets out.
 *
 *   rules     array of struct rule, highest priority first; the classifier takes the first that matches
 *   buckets   two octets tables over inner destinations: most packets need no more than one look here to pass
 *   protect   keys of the longest-prefix-match map
 *
 * Buckets (bpf/common.h `maybe_of`): IPv4 by the upper 16 bits; IPv6 behind them, by the two upper 16-bit groups xored.
 * A rule for a prefix marks all buckets it meets; one for a single address marks its bucket MAYBE_RULE_HOST, and its own
 * place among the hosts. Rules that only pass mark nothing: what no bucket names passes anyway.
 */

import { addressOctets, maskOctets, type Prefix, prefixOf } from "../address.ts";
import type { Steering, SteeringRule } from "../steering.ts";
import {
  ACTION_PASS,
  ACTION_ROUTE,
  ACTION_TAKE,
  HOST_RULE,
  HOST_TREATED,
  MAYBE_PROTECTED,
  MAYBE_RULE,
  MAYBE_RULE_HOST,
  MAYBE_TREATED,
  MAYBE_TREATED_HOST,
  MAYBE_V6,
  PREFIX_PROTECTED,
  RULE_APP_INITIATED,
  RULE_TREATED,
  RULES_THROUGH,
} from "./consts.ts";
import { prefixKey, rule as ruleCodec } from "./layout.ts";

export const BUCKETS = 131072;

export interface RenderedRules {
  count: number;
  /** RULES_* */
  flags: number;
  rules: Uint8Array;
  bucket: Uint8Array;
  host: Uint8Array;
  protect: Uint8Array[];
}

const actions = { pass: ACTION_PASS, take: ACTION_TAKE, route: ACTION_ROUTE, drop: ACTION_PASS } as const;
const NONE = new Uint8Array(16);

/** `nextHop` gives the index of an endpoint's entry in `next_hops`. @throws Error on what is no address or prefix. */
export function renderRules(steering: Steering, nextHop: (endpoint: string) => number): RenderedRules {
  const rules = new Uint8Array(steering.rules.length * ruleCodec.size);
  const bucket = new Uint8Array(BUCKETS);
  const host = new Uint8Array(BUCKETS);
  let flags = 0;
  for (const [index, rule] of steering.rules.entries()) {
    rules.set(renderRule(rule, nextHop), index * ruleCodec.size);
    if (rule.action !== "pass" || rule.treatment) markRule(rule, bucket, host, RULE_MARKS);
    if (rule.action === "pass" && rule.treatment) {
      markRule(rule, bucket, host, TREATED_MARKS);
      flags |= RULES_THROUGH;
    }
  }
  const protect = steering.protect.map(prefixOf);
  for (const prefix of protect) markAll(bucket, prefix, MAYBE_PROTECTED);
  return {
    count: steering.rules.length,
    flags,
    rules,
    bucket,
    host,
    protect: protect.map((p) => lpmKey(PREFIX_PROTECTED, 0, p)),
  };
}

/** 0 IPv4, 1 IPv6, 2 both: by whatever names an address. */
function familyOf(rule: SteeringRule): number {
  const named = rule.match.destination?.[0] ?? rule.match.source?.[0] ?? rule.endpoints?.[0]?.address;
  return named === undefined ? 2 : prefixOf(named).v6 ? 1 : 0;
}

function renderRule(rule: SteeringRule, nextHop: (endpoint: string) => number): Uint8Array {
  const { match } = rule;
  const endpoint = rule.endpoints?.[0];
  const destination = match.destination?.[0] === undefined ? undefined : prefixOf(match.destination[0]);
  const source = match.source?.[0] === undefined ? undefined : prefixOf(match.source[0]);
  const [low, high] = match.destinationPorts?.[0] ?? [0, 65535];
  const [sourceLow, sourceHigh] = match.sourcePorts?.[0] ?? [0, 65535];
  return ruleCodec.encode({
    destination: destination?.octets ?? NONE,
    destination_mask: maskOctets(destination?.length ?? 0),
    source: source?.octets ?? NONE,
    source_mask: maskOctets(source?.length ?? 0),
    endpoint: endpoint ? addressOctets(endpoint.address) : NONE,
    destination_port_low: low,
    destination_port_high: high,
    source_port_low: sourceLow,
    source_port_high: sourceHigh,
    endpoint_port: endpoint?.port ?? 0,
    service: rule.service,
    protocol: match.protocol?.[0] ?? 0,
    action: actions[rule.action],
    flags: (rule.appInitiated ? RULE_APP_INITIATED : 0) | (rule.treatment ? RULE_TREATED : 0),
    v6: familyOf(rule),
    next_hop: endpoint ? nextHop(endpoint.address) : 0,
    id: rule.id,
    teid_low: 0,
    teid_high: 0xffff_ffff,
    dscp: 255,
    qfi: 255,
  });
}

/** What stands in the bucket of a prefix, in that of a single address, and at the address itself. */
interface Marks {
  prefix: number;
  single: number;
  host: number;
}
const RULE_MARKS: Marks = { prefix: MAYBE_RULE, single: MAYBE_RULE_HOST, host: HOST_RULE };
const TREATED_MARKS: Marks = { prefix: MAYBE_TREATED, single: MAYBE_TREATED_HOST, host: HOST_TREATED };

function markRule(rule: SteeringRule, bucket: Uint8Array, host: Uint8Array, marks: Marks): void {
  const destination = rule.match.destination?.[0];
  if (destination === undefined) {
    const family = familyOf(rule);
    if (family !== 1) fill(bucket, 0, MAYBE_V6, marks.prefix);
    if (family !== 0) fill(bucket, MAYBE_V6, BUCKETS, marks.prefix);
    return;
  }
  const prefix = prefixOf(destination);
  if (prefix.length === 128) markHost(prefix.octets, prefix.v6, bucket, host, marks);
  else markAll(bucket, prefix, marks.prefix);
}

/** Marks a single address, as a rule for it would. */
export function markHost(
  octets: Uint8Array,
  v6: boolean,
  bucket: Uint8Array,
  host: Uint8Array,
  marks: Marks = RULE_MARKS,
): void {
  const prefix = { octets, v6, length: 128 };
  bucket[bucketOf(prefix)]! |= marks.single;
  host[hostOf(prefix)]! |= marks.host;
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
