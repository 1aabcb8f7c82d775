/**
 * How do rendered rules get into force, all or nothing, without a packet meeting half of them?
 *
 *   buckets := old or new   nothing that either set could match is passed unseen
 *   chains, treatments      new ones enter
 *   protected prefixes      new ones enter
 *   rules                   a new image, filled through a mapping, swapped in whole
 *   generation              raised: flows that pass are decided again, flows that are taken stay taken
 *   protected prefixes      those that are no longer wanted leave; chains and treatments likewise
 *   buckets := new          later, by `Buckets.settle`: a taken flow outlives its rule, and must be found until it ends
 *
 * A step that fails takes back the steps before it.
 */
import { DataplaneError, type Limits } from "../dataplane.ts";
import type { Steering } from "../steering.ts";
import { BpfMap, MapFlag, MapType } from "./bpf-map.ts";
import type { Places } from "./classifier.ts";
import { MAYBE_TREATED, MAYBE_TREATED_HOST, PREFIX_PROTECTED, RULES_THROUGH } from "./consts.ts";
import { LINE } from "./image.ts";
import type { Kernel } from "./kernel.ts";
import { prefixKey, viewOver } from "./layout.ts";
import { BUCKETS, type RenderedRules, renderRules } from "./rules.ts";
import type { Treatments } from "./treatments.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const MAX_SERVICE = 65535;

/** Who gives endpoints their place in `next_hops`. */
export interface NextHopIndex {
  indexOf(endpoint: string): number;
  /** These endpoints are in use now, and no others. */
  keep(endpoints: Set<string>): void;
}

/** The prefilter in the kernel's memory, and what the rules in force need of it. */
export class Buckets {
  private readonly memory: Uint8Array;
  private wanted: { bucket: Uint8Array; host: Uint8Array } | undefined;
  /** Raised with each change of rules. */
  version = 0;

  constructor(kernel: Kernel) {
    this.memory = new Uint8Array(kernel.map("maybe").memory(), 0, 2 * BUCKETS);
  }

  /** Adds what the new rules need. Returns how to take it back. */
  widen(bucket: Uint8Array, host: Uint8Array): () => void {
    const before = this.memory.slice();
    for (let i = 0; i < BUCKETS; i++) {
      this.memory[i]! |= bucket[i]!;
      this.memory[BUCKETS + i]! |= host[i]!;
    }
    return () => this.memory.set(before);
  }

  /** May some packet of the core be treated, by a rule or in a flow that runs? */
  get treated(): boolean {
    return this.memory.subarray(0, BUCKETS).some((marks) => (marks & (MAYBE_TREATED | MAYBE_TREATED_HOST)) !== 0);
  }

  /** From now on these are all that rules need. */
  want(bucket: Uint8Array, host: Uint8Array): void {
    this.wanted = { bucket, host };
    this.version++;
  }

  /** A copy to mark the destinations of running flows in, then to settle on. Undefined before the first rules. */
  draft(): { version: number; bucket: Uint8Array; host: Uint8Array } | undefined {
    if (!this.wanted) return undefined;
    return { version: this.version, bucket: this.wanted.bucket.slice(), host: this.wanted.host.slice() };
  }

  /** Narrows to rules and running flows, unless the rules have changed since the draft was made. */
  settle(draft: { version: number; bucket: Uint8Array; host: Uint8Array }): void {
    if (draft.version !== this.version) return;
    this.memory.set(draft.bucket);
    this.memory.set(draft.host, BUCKETS);
  }
}

/** A map of its own for the image. The caller closes it. */
export function imageMap(image: Uint8Array): BpfMap {
  const size = { key: 4, value: LINE, entries: image.length / LINE };
  const map = BpfMap.create(MapType.array, "image", size, { map_flags: MapFlag.innerMap | MapFlag.mmapable });
  new Uint8Array(map.memory()).set(image);
  map.unmap();
  return map;
}

/** @throws DataplaneError and the old rules stay in force. */
export function applyRules(
  kernel: Kernel,
  steering: Steering,
  limits: Limits,
  nextHops: NextHopIndex,
  buckets: Buckets,
  treatments: Treatments,
  places: Places,
): void {
  if (steering.rules.length > limits.rules) {
    throw new DataplaneError(`${steering.rules.length} rules, limits.rules is ${limits.rules}`, "rules");
  }
  for (const { service, name } of steering.rules) {
    if (!Number.isInteger(service) || service < 1 || service > MAX_SERVICE) {
      throw new DataplaneError(`rule ${name}: service index ${service} is not in 1..${MAX_SERVICE}`, name);
    }
  }
  let rendered: RenderedRules;
  try {
    rendered = renderRules(steering, places);
  } catch (error) {
    if (error instanceof DataplaneError) throw error;
    throw new DataplaneError(`rules: ${(error as Error).message}`, "rules");
  }
  const begun = treatments.begin(steering, places.nextHop, places.mirror);
  const prefixes = kernel.map("prefixes");
  const present = prefixKeys(prefixes, [PREFIX_PROTECTED], 0);
  const added: Uint8Array[] = [];
  const inner = imageMap(rendered.image);
  const takeBack = buckets.widen(rendered.bucket, rendered.host);
  try {
    for (const key of rendered.protect) {
      if (present.has(text(key))) continue;
      prefixes.update(key, Uint8Array.of(1));
      added.push(key);
    }
    kernel.map("rules").update(0, u32(inner.fd));
  } catch (error) {
    for (const key of added) prefixes.delete(key);
    takeBack();
    begun.takeBack();
    throw error;
  } finally {
    // The outer map holds it from now on.
    inner.close();
  }
  // Flows of rules that are gone go on: the core's packets are looked at for theirs.
  const flags = rendered.header.flags | (buckets.treated ? RULES_THROUGH : 0);
  kernel.raiseGeneration({ ...rendered.header, flags });
  buckets.want(rendered.bucket, rendered.host);
  const wanted = new Set(rendered.protect.map(text));
  for (const [key, octets] of present) if (!wanted.has(key)) prefixes.delete(octets);
  begun.finish();
  const endpoints = steering.rules.flatMap((rule) => rule.endpoints?.map((endpoint) => endpoint.address) ?? []);
  nextHops.keep(new Set([...endpoints, ...begun.functions]));
}

const text = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.length).toString("hex");

/** Keys of these sets of a data plane that are in the map. */
export function prefixKeys(prefixes: BpfMap, sets: number[], dataplane: number): Map<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const key of prefixes.keys()) {
    const set = viewOver(key).getUint32(prefixKey.offset.set);
    if ((set & 0xff) === dataplane && sets.includes(set >>> 8)) keys.set(text(key), key);
  }
  return keys;
}

/** Makes `wanted` all that these sets of a data plane hold; what is in both never leaves. */
export function replacePrefixes(prefixes: BpfMap, sets: number[], dataplane: number, wanted: Uint8Array[]): void {
  const present = prefixKeys(prefixes, sets, dataplane);
  const names = new Set(wanted.map(text));
  for (const key of wanted) prefixes.update(key, Uint8Array.of(1));
  for (const [name, key] of present) if (!names.has(name)) prefixes.delete(key);
}
