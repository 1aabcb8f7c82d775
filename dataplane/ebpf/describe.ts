/**
 * What does a steering become in the kernel's tables, said so that people can read it?
 *
 * Pure, and made by the same renderers as the octets. Names of tables are those of the maps. Keys name what an entry is
 * for and stay the same as long as that does, so that two descriptions can be compared: indices that the running back end
 * chooses (of next hops) are shown by what they lead to.
 */
import type { TableEntry, VxlanConfig } from "../dataplane.ts";
import type { Endpoint, Hop, Names, Steering, SteeringRule } from "../steering.ts";
import { mirrorText, outletText } from "../steering-text.ts";
import { renderChains } from "./chains.ts";
import { MAYBE_PROTECTED, MAYBE_RULE, MAYBE_RULE_HOST, MAYBE_TREATED, MAYBE_TREATED_HOST, MAYBE_V6 } from "./consts.ts";
import { LINE } from "./image.ts";
import { BUCKETS, renderRules } from "./rules.ts";

const socket = ({ address, port }: { address: string; port?: number }): string =>
  port === undefined ? address : `${address.includes(":") ? `[${address}]` : address}:${port}`;

function endpointText(endpoint: Endpoint): string {
  const { weight = 1, state = "up" } = endpoint;
  return [socket(endpoint), weight !== 1 && `weight ${weight}`, state !== "up" && state].filter(Boolean).join(" ");
}

/** `take → 10.60.0.10:8080, 10.60.0.11:8080 draining; service 3` */
export function outcomeText(rule: SteeringRule): string {
  const { action, endpoints, output, affinity, service, appInitiated, treatment } = rule;
  const to = endpoints?.map(endpointText).join(", ");
  const target = to ?? (output && outletText(output));
  return [
    target ? `${action} → ${target}` : action,
    `service ${service}`,
    affinity === "ue" && "by UE",
    appInitiated && "app may speak first",
    treatment && "treated",
  ]
    .filter(Boolean)
    .join("; ");
}

const matchText = ({ match }: SteeringRule): string =>
  Object.entries(match)
    .map(
      ([name, value]) =>
        `${name} ${Array.isArray(value) ? value.map((one) => [one].flat().join("-")).join(",") : value}`,
    )
    .join(" ") || "everything";

const hopText = ({ address, encapsulation, state }: Hop, next: string): string =>
  `${encapsulation} to ${address}${state === "down" ? " (down)" : ""}, then ${next}`;

function chainEntries(rule: SteeringRule): TableEntry[] {
  const { treatment, name, service } = rule;
  if (!treatment) return [];
  const { chain, mirror, rate } = treatment;
  const hops = (list: Hop[], direction: string): TableEntry[] =>
    list.map((hop, at) => ({
      table: "hops",
      key: `VNI ${hop.vni} of "${name}", ${direction}`,
      value: hopText(hop, list[at + 1] ? `VNI ${list[at + 1]?.vni}` : "out of the chain"),
    }));
  const says = [
    chain && `chain ${chain.uplink.length} up, ${chain.downlink.length} down, ${chain.unreachable} when unreachable`,
    mirror && `copy ${mirrorText(mirror)}`,
    rate && `rate ${rate.uplink ?? "any"} up, ${rate.downlink ?? "any"} down`,
  ];
  return [
    { table: "treatments", key: `service ${service} "${name}"`, value: says.filter(Boolean).join("; ") },
    ...(chain ? [...hops(chain.uplink, "uplink"), ...hops(chain.downlink, "downlink")] : []),
  ];
}

const marks: [number, string][] = [
  [MAYBE_RULE, "a rule"],
  [MAYBE_RULE_HOST, "a rule for one address"],
  [MAYBE_PROTECTED, "protected"],
  [MAYBE_TREATED, "treated"],
  [MAYBE_TREATED_HOST, "treated, one address"],
];
const marksText = (bits: number): string =>
  marks
    .filter(([bit]) => bits & bit)
    .map(([, text]) => text)
    .join(", ");

const bucketText = (bucket: number): string =>
  bucket < MAYBE_V6 ? `${bucket >> 8}.${bucket & 255}` : `IPv6 ${(bucket - MAYBE_V6).toString(16).padStart(4, "0")}`;

/** Neighbours that say the same are one entry. */
function bucketEntries(table: Uint8Array): TableEntry[] {
  const entries: TableEntry[] = [];
  for (let from = 0; from < BUCKETS; ) {
    const bits = table[from] ?? 0;
    const edge = from < MAYBE_V6 ? MAYBE_V6 : BUCKETS;
    let to = from;
    while (to + 1 < edge && table[to + 1] === bits) to += 1;
    if (bits !== 0) {
      const key = from === to ? bucketText(from) : `${bucketText(from)} to ${bucketText(to)}`;
      entries.push({ table: "maybe", key, value: marksText(bits) });
    }
    from = to + 1;
  }
  return entries;
}

const nameEntries = ({ names, server, server6 }: Names): TableEntry[] => {
  const value = `queries to ${[server, ...(server6 ? [server6] : [])].map(socket).join(", ")}`;
  return names.map((name) => ({ table: "names", key: name, value }));
};

/** Without `vxlan`, chains are taken on trust. @throws DataplaneError or Error on what cannot be rendered */
export function describe(steering: Steering, vxlan?: VxlanConfig): TableEntry[] {
  const places = new Map<string, number>();
  const nextHop = (address: string): number => {
    if (!places.has(address)) places.set(address, places.size + 1);
    return places.get(address) ?? 0;
  };
  const dataplanes: string[] = [];
  const dataplane = (name: string): number => {
    if (!dataplanes.includes(name)) dataplanes.push(name);
    return dataplanes.indexOf(name);
  };
  const rendered = renderRules(steering, { nextHop, dataplane });
  const { rules, protect, names } = steering;
  if (vxlan) renderChains(steering, vxlan, nextHop);
  for (const { treatment } of rules) {
    for (const { address } of [...(treatment?.chain?.uplink ?? []), ...(treatment?.chain?.downlink ?? [])])
      nextHop(address);
  }
  return [
    {
      table: "rules",
      key: "size",
      value: `${rules.length} rules in ${rendered.image.length / LINE} lines of ${LINE} octets`,
    },
    ...rules.map((rule) => ({
      table: "rules",
      key: `rule ${rule.id} "${rule.name}"`,
      value: `priority ${rule.priority}: ${matchText(rule)}: ${outcomeText(rule)}`,
    })),
    ...rules.flatMap(chainEntries),
    ...[...places.keys()].map((address) => ({ table: "next_hops", key: address, value: "a place of its own" })),
    ...(names ? nameEntries(names) : []),
    ...protect.map((prefix) => ({ table: "prefixes", key: prefix, value: "protected" })),
    ...bucketEntries(rendered.bucket),
  ];
}
