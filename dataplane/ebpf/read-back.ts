/**
 * Is what the kernel holds what the steering means (C7)?
 *
 * Renders the steering once more and compares it, octet by octet, with what the maps hold. Rules, their number, protected
 * prefixes, chains and treatments must be equal. The prefilter may hold more than the rules need (running flows, `Buckets`),
 * never less.
 */
import type { Difference, VxlanConfig } from "../dataplane.ts";
import type { Steering } from "../steering.ts";
import { prefixKeys } from "./apply.ts";
import { BpfMap } from "./bpf-map.ts";
import { renderChains } from "./chains.ts";
import type { Places } from "./classifier.ts";
import { PREFIX_PROTECTED, RULES_THROUGH } from "./consts.ts";
import { LINE } from "./image.ts";
import type { Kernel } from "./kernel.ts";
import { root as rootCodec, rulesHeader, treatment as treatmentCodec, viewOver } from "./layout.ts";
import { NameTable } from "./names.ts";
import { BUCKETS, type RenderedRules, renderRules } from "./rules.ts";

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex");
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const mostShown = 20;

/** All elements of an array, one after the other. */
function contents(map: BpfMap): Uint8Array {
  const all = new Uint8Array(map.maxEntries * map.valueSize);
  for (const { keys, values, count } of map.batches(4096)) {
    const view = viewOver(keys);
    for (let i = 0; i < count; i++) {
      const value = values.subarray(i * map.valueSize, (i + 1) * map.valueSize);
      all.set(value, view.getUint32(i * 4, true) * map.valueSize);
    }
  }
  return all;
}

/** What a line of the image is for. */
function lineName(image: Uint8Array, line: number, { rules }: Steering): string {
  const { outcomes } = rootCodec.read(viewOver(image), 0);
  const rule = line >= outcomes ? rules[line - outcomes] : undefined;
  return rule ? `rule ${rule.id} "${rule.name}"` : `line ${line}`;
}

function compareRules(kernel: Kernel, { image, header }: RenderedRules, steering: Steering): Difference[] {
  const found: Difference[] = [];
  const outer = kernel.map("rules").lookup(0);
  if (!outer) return [{ table: "rules", key: "all", intended: `${header.count} rules`, found: "no rules" }];
  const inner = BpfMap.byId(viewOver(outer).getUint32(0, true));
  try {
    const held = contents(inner);
    for (let at = 0; at < image.length; at += LINE) {
      const want = image.subarray(at, at + LINE);
      const is = held.subarray(at, at + LINE);
      if (same(want, is)) continue;
      found.push({ table: "rules", key: lineName(image, at / LINE, steering), intended: hex(want), found: hex(is) });
    }
    if (held.length > image.length) {
      const lines = (all: Uint8Array) => `${all.length / LINE} lines`;
      found.push({ table: "rules", key: "size", intended: lines(image), found: lines(held) });
    }
  } finally {
    inner.close();
  }
  const held = rulesHeader.decode(kernel.map("rules_state").lookup(0)!);
  for (const [key, wanted] of Object.entries(header) as [keyof typeof header, number][]) {
    // Set for flows as well that are forwarded by a rule that is gone.
    const also = key === "flags" ? RULES_THROUGH : 0;
    if (wanted === held[key] || (wanted | also) === held[key]) continue;
    found.push({ table: "rules_state", key, intended: String(wanted), found: String(held[key]) });
  }
  return found;
}

function comparePrefilter(kernel: Kernel, { bucket, host }: RenderedRules): Difference[] {
  const held = new Uint8Array(kernel.map("maybe").memory(), 0, 2 * BUCKETS);
  let lacking = 0;
  for (let i = 0; i < BUCKETS; i++) {
    if ((bucket[i]! & ~held[i]!) !== 0 || (host[i]! & ~held[BUCKETS + i]!) !== 0) lacking += 1;
  }
  if (lacking === 0) return [];
  return [{ table: "maybe", key: "buckets", intended: "all that the rules need", found: `${lacking} lack a mark` }];
}

function compareKeyed(table: string, wanted: Map<string, Uint8Array>, held: Map<string, Uint8Array>): Difference[] {
  const found: Difference[] = [];
  for (const [key, value] of wanted) {
    const is = held.get(key);
    if (!is) found.push({ table, key, intended: hex(value) });
    else if (!same(is, value)) found.push({ table, key, intended: hex(value), found: hex(is) });
  }
  for (const [key, value] of held) if (!wanted.has(key)) found.push({ table, key, found: hex(value) });
  return found;
}

function comparePrefixes(kernel: Kernel, { protect }: RenderedRules): Difference[] {
  const held = prefixKeys(kernel.map("prefixes"), [PREFIX_PROTECTED], 0);
  const wanted = new Map(protect.map((key) => [hex(key), Uint8Array.of(1)]));
  return compareKeyed("prefixes", wanted, new Map([...held.keys()].map((key) => [key, Uint8Array.of(1)])));
}

function compareChains(
  kernel: Kernel,
  steering: Steering,
  vxlan: VxlanConfig | undefined,
  { nextHop, mirror }: Places,
): Difference[] {
  const { hops, treatments } = renderChains(steering, vxlan, nextHop, mirror);
  const named = (noun: string, map: Map<number, Uint8Array>) =>
    new Map([...map].map(([key, value]) => [`${noun} ${key}`, value]));
  const hopMap = kernel.map("hops");
  const heldHops = new Map<number, Uint8Array>();
  for (const key of hopMap.keys()) {
    const value = hopMap.lookup(key);
    if (value) heldHops.set(viewOver(key).getUint32(0, true), value);
  }
  const octets = contents(kernel.map("treatments"));
  const heldTreatments = new Map<number, Uint8Array>();
  for (let service = 0; service * treatmentCodec.size < octets.length; service += 1) {
    const value = octets.subarray(service * treatmentCodec.size, (service + 1) * treatmentCodec.size);
    if (value.some((octet) => octet !== 0)) heldTreatments.set(service, value);
  }
  return [
    ...compareKeyed("hops", named("VNI", hops), named("VNI", heldHops)),
    ...compareKeyed("treatments", named("service", treatments), named("service", heldTreatments)),
  ];
}

/** Empty: all is as intended. At most 20 of a table are told, and how many more there are. */
export function readBack(
  kernel: Kernel,
  steering: Steering,
  vxlan: VxlanConfig | undefined,
  places: Places,
): Difference[] {
  const rendered = renderRules(steering, places);
  const all = [
    compareRules(kernel, rendered, steering),
    comparePrefilter(kernel, rendered),
    comparePrefixes(kernel, rendered),
    compareChains(kernel, steering, vxlan, places),
    new NameTable(kernel).differences(steering),
  ];
  return all.flatMap((some) => {
    const rest = some.length - mostShown;
    const table = some[0]?.table ?? "";
    return rest <= 0 ? some : [...some.slice(0, mostShown), { table, key: `and ${rest} more`, found: "differs" }];
  });
}
