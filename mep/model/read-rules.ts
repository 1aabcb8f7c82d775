/**
 * Is this a rule of an app, and which one?
 *
 * Every spelling that packages and tools use is taken: InterfaceDescriptor with upper-case MAC and IP (GS MEC 010-2) and
 * DestinationInterface (GS MEC 011), GTP-U and GTP_U, FORWARD_AS_IS and DUPLICATE_AS_IS of version 1, `token` for `tag`, one
 * value where a list belongs. What comes out is canonical (rules.ts). All errors are named with their paths. A member that is
 * not known is refused, never dropped: a filter with one condition less would meet more packets.
 */
import { formatAddress, parseAddress } from "../../controlplane/intents/prefix.ts";
import { type Fields, isObject, type Reader } from "../../controlplane/intents/reader.ts";
import { readDomainName } from "./domain-name.ts";
import { rangeOfPorts, rangesOf } from "./ranges.ts";
import {
  type DestinationInterface,
  type DNSRuleDescriptor,
  type DnsRule,
  filterTypes,
  type RuleAction,
  type RuleState,
  ruleActions,
  ruleStates,
  type TrafficFilter,
  type TrafficRule,
  type TrafficRuleDescriptor,
  type TunnelInfo,
} from "./rules.ts";

const filterLimit = 32;
const valueLimit = 64;
/** Ids stand in paths, logs and names of steering rules. */
const idPattern = /^[A-Za-z0-9_.:~-]{1,64}$/;

const identity = <T extends string>(words: readonly T[]): Record<string, T> =>
  Object.fromEntries(words.map((word) => [word, word])) as Record<string, T>;

const actions: Record<string, RuleAction> = {
  ...identity(ruleActions),
  FORWARD_AS_IS: "FORWARD_ENCAPSULATED",
  DUPLICATE_AS_IS: "DUPLICATE_ENCAPSULATED",
};
const tunnels: Record<string, TunnelInfo["tunnelType"]> = {
  GTP_U: "GTP_U",
  "GTP-U": "GTP_U",
  GTPU: "GTP_U",
  GRE: "GRE",
};
const families: Record<string, DnsRule["ipAddressType"]> = {
  IP_V4: "IP_V4",
  IP_V6: "IP_V6",
  IPV4: "IP_V4",
  IPV6: "IP_V6",
};

/** One of the words, in any case. */
function word<T extends string>(read: Reader, value: unknown, field: string, words: Record<string, T>): T | undefined {
  if (value === undefined) return read.fail(field, "is required");
  const key = typeof value === "string" ? value.toUpperCase() : "";
  if (Object.hasOwn(words, key)) return words[key];
  return read.fail(field, `must be one of ${[...new Set(Object.values(words))].join(", ")}`);
}

function ruleId(read: Reader, value: unknown, field: string): string | undefined {
  if (value === undefined) return read.fail(field, "is required");
  if (typeof value === "string" && idPattern.test(value)) return value;
  return read.fail(field, "must be 1 to 64 letters, digits or _ . : ~ -");
}

/** Absent where the list is empty, which the standard allows and which says nothing. */
function list<T>(
  read: Reader,
  value: unknown,
  field: string,
  one: (value: unknown, field: string) => T | undefined,
): T[] | undefined {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return undefined;
  const values = Array.isArray(value) ? value : [value];
  if (values.length > valueLimit) return read.fail(field, `lists ${values.length} values; ${valueLimit} are allowed`);
  const found = values.map((each, index) => one(each, `${field}.${index}`));
  return found.some((each) => each === undefined) ? undefined : (found as T[]);
}

const text = (read: Reader, value: unknown, field: string): string | undefined =>
  typeof value === "string" && value.length > 0 && value.length <= 256
    ? value
    : read.fail(field, "must be a string of 1 to 256 characters");

function addresses(read: Reader, value: unknown, field: string): string | undefined {
  const said = text(read, value, field);
  const ranges = said === undefined ? undefined : read.attempt(field, () => rangesOf(said));
  return ranges && said;
}

function port(read: Reader, value: unknown, field: string): string | undefined {
  const said = typeof value === "number" ? String(value) : value;
  if (typeof said === "string" && rangeOfPorts(said)) return said;
  return read.fail(field, 'must be a port 0..65535, or a range "8000-8099"');
}

const protocol = (read: Reader, value: unknown, field: string): string | undefined =>
  text(read, typeof value === "number" ? String(value) : value, field);

const members = {
  srcAddress: addresses,
  dstAddress: addresses,
  srcPort: port,
  dstPort: port,
  protocol,
  tag: text,
  uri: text,
  packetLabel: text,
  srcTunnelAddress: addresses,
  tgtTunnelAddress: addresses,
  srcTunnelPort: port,
  dstTunnelPort: port,
} as const;
const numbers = { qCI: 255, dSCP: 63, tC: 255 } as const;

function filter(read: Reader, value: unknown, field: string): TrafficFilter | undefined {
  if (!isObject(value)) return read.fail(field, "must be an object");
  const { token, ...rest } = value;
  const given: Fields = token === undefined ? rest : { tag: token, ...rest };
  const found: Record<string, string[] | number> = {};
  const before = read.errors.length;
  read.known(given, `${field}.`, [...Object.keys(members), ...Object.keys(numbers)]);
  for (const [name, one] of Object.entries(members)) {
    const values = list(read, given[name], `${field}.${name}`, (each, at) => one(read, each, at));
    if (values) found[name] = values;
  }
  for (const [name, high] of Object.entries(numbers)) {
    if (given[name] === undefined) continue;
    const number = read.integer(given[name], `${field}.${name}`, 0, high);
    if (number !== undefined) found[name] = number;
  }
  return read.errors.length > before ? undefined : (found as TrafficFilter);
}

/** Canonical. */
const address = (read: Reader, value: unknown, field: string): string | undefined => {
  const found = read.address(value, field);
  return found && formatAddress(found);
};

function tunnel(read: Reader, value: unknown, field: string): TunnelInfo | undefined {
  if (!isObject(value)) return read.fail(field, "must be an object with tunnelType and tunnelDstAddress");
  read.known(value, `${field}.`, ["tunnelType", "tunnelDstAddress", "tunnelSrcAddress", "tunnelSpecificData"]);
  const { tunnelSpecificData: data } = value;
  if (data !== undefined && !(isObject(data) && Object.keys(data).length === 0)) {
    read.fail(`${field}.tunnelSpecificData`, "must be empty: the data plane takes no such parameters");
  }
  const tunnelType = word(read, value.tunnelType, `${field}.tunnelType`, tunnels);
  const tunnelDstAddress = address(read, value.tunnelDstAddress, `${field}.tunnelDstAddress`);
  const tunnelSrcAddress =
    value.tunnelSrcAddress === undefined
      ? undefined
      : address(read, value.tunnelSrcAddress, `${field}.tunnelSrcAddress`);
  if (!tunnelType || tunnelDstAddress === undefined) return undefined;
  return { tunnelType, tunnelDstAddress, ...(tunnelSrcAddress !== undefined && { tunnelSrcAddress }) };
}

/** GS MEC 010-2 writes MAC and IP in capitals. */
const interfaceSpellings = new Map([
  ["srcMACAddress", "srcMacAddress"],
  ["dstMACAddress", "dstMacAddress"],
  ["dstIPAddress", "dstIpAddress"],
]);

/** Members that the interface's type does not use are kept, and mean nothing. */
function destination(read: Reader, value: unknown, field: string): DestinationInterface | undefined {
  if (!isObject(value)) return read.fail(field, "must be an object with interfaceType");
  const given = Object.create(null) as Fields;
  const spelt = Object.create(null) as Record<string, string>;
  for (const [name, member] of Object.entries(value)) {
    const canonical = interfaceSpellings.get(name) ?? name;
    if (Object.hasOwn(given, canonical)) read.fail(`${field}.${name}`, `is there twice, also as ${spelt[canonical]}`);
    given[canonical] = member;
    spelt[canonical] = name;
  }
  const at = (name: string) => `${field}.${spelt[name] ?? name}`;
  read.known(given, `${field}.`, ["interfaceType", "tunnelInfo", "srcMacAddress", "dstMacAddress", "dstIpAddress"]);
  const interfaceType = word(
    read,
    given.interfaceType,
    at("interfaceType"),
    identity(["TUNNEL", "MAC", "IP"] as const),
  );
  const mac = (name: string) => {
    if (given[name] === undefined) return undefined;
    const found = read.mac(given[name], at(name));
    if (found === undefined || !(Number.parseInt(found.slice(0, 2), 16) & 1)) return found;
    return read.fail(at(name), `${found} is a group address`);
  };
  const srcMacAddress = mac("srcMacAddress");
  const dstMacAddress = mac("dstMacAddress");
  const dstIpAddress =
    given.dstIpAddress === undefined ? undefined : address(read, given.dstIpAddress, at("dstIpAddress"));
  const tunnelInfo = given.tunnelInfo === undefined ? undefined : tunnel(read, given.tunnelInfo, at("tunnelInfo"));
  const needed = { TUNNEL: "tunnelInfo", MAC: "dstMacAddress" } as const;
  if (interfaceType && interfaceType !== "IP" && given[needed[interfaceType]] === undefined) {
    read.fail(at(needed[interfaceType]), `is required where interfaceType is ${interfaceType}`);
  }
  if (!interfaceType) return undefined;
  return {
    interfaceType,
    ...(tunnelInfo && { tunnelInfo }),
    ...(srcMacAddress !== undefined && { srcMacAddress }),
    ...(dstMacAddress !== undefined && { dstMacAddress }),
    ...(dstIpAddress !== undefined && { dstIpAddress }),
  };
}

/** How many interfaces each action has: fewest, most. */
const interfaceCounts: Record<RuleAction, [number, number]> = {
  DROP: [0, 0],
  PASSTHROUGH: [0, 1],
  FORWARD_DECAPSULATED: [1, 1],
  FORWARD_ENCAPSULATED: [1, 1],
  DUPLICATE_DECAPSULATED: [1, 2],
  DUPLICATE_ENCAPSULATED: [1, 2],
};

function destinations(
  read: Reader,
  value: unknown,
  field: string,
  action: RuleAction | undefined,
): DestinationInterface[] {
  const values = value === undefined ? [] : Array.isArray(value) ? value : [value];
  const [fewest, most] = action ? interfaceCounts[action] : [0, 2];
  if (values.length < fewest || values.length > most) {
    const count = fewest === most ? `${most === 0 ? "no" : most} interface` : `${fewest} to ${most} interfaces`;
    read.fail(field, `must have ${count} with ${action ?? "any action"}; it has ${values.length}`);
  }
  const one = (each: unknown, index: number) =>
    destination(read, each, Array.isArray(value) ? `${field}.${index}` : field);
  return values.slice(0, 2).flatMap((each, index) => one(each, index) ?? []);
}

const inside = (field: string, name: string) => (field === "" ? name : `${field}.${name}`);

const descriptorMembers = ["trafficRuleId", "filterType", "priority", "trafficFilter", "action", "dstInterface"];

function traffic(
  read: Reader,
  value: Fields,
  field: string,
  id: string | undefined,
): TrafficRuleDescriptor | undefined {
  const at = (name: string) => inside(field, name);
  const before = read.errors.length;
  const trafficRuleId = id ?? ruleId(read, value.trafficRuleId, at("trafficRuleId"));
  const filterType = word(read, value.filterType, at("filterType"), identity(filterTypes));
  const priority =
    value.priority === undefined
      ? read.fail(at("priority"), "is required")
      : read.integer(value.priority, at("priority"), 0, 255);
  const action = word(read, value.action, at("action"), actions);
  const filters = Array.isArray(value.trafficFilter) ? value.trafficFilter : [];
  if (filters.length === 0) read.fail(at("trafficFilter"), "must be a list of at least one filter");
  if (filters.length > filterLimit) {
    read.fail(at("trafficFilter"), `lists ${filters.length} filters; ${filterLimit} are allowed`);
  }
  const trafficFilter = filters
    .slice(0, filterLimit)
    .flatMap((each, index) => filter(read, each, `${at("trafficFilter")}.${index}`) ?? []);
  const dstInterface = destinations(read, value.dstInterface, at("dstInterface"), action);
  if (read.errors.length > before || trafficRuleId === undefined || !filterType || priority === undefined || !action) {
    return undefined;
  }
  return {
    trafficRuleId,
    filterType,
    priority,
    trafficFilter,
    action,
    ...(dstInterface.length > 0 && { dstInterface }),
  };
}

/** A rule of a package. `field` is where it stands: `appTrafficRule.0`. */
export function readTrafficRuleDescriptor(
  read: Reader,
  value: unknown,
  field: string,
): TrafficRuleDescriptor | undefined {
  if (!isObject(value)) return read.fail(field, "must be an object");
  read.known(value, field === "" ? "" : `${field}.`, descriptorMembers);
  return traffic(read, value, field, undefined);
}

const state = (read: Reader, value: unknown, field: string): RuleState | undefined =>
  word(read, value, field, identity(ruleStates));

/** The body of a PUT; `id` is that of the path, which wins over the body's. */
export function readTrafficRule(read: Reader, value: unknown, id: string): TrafficRule | undefined {
  if (!isObject(value)) return read.fail("", "must be an object");
  read.known(value, "", [...descriptorMembers, "state"]);
  const rule = traffic(read, value, "", id);
  const wanted = state(read, value.state, "state");
  return rule && wanted && { ...rule, state: wanted };
}

const dnsMembers = ["dnsRuleId", "domainName", "ipAddressType", "ipAddress", "ttl"];

function dns(read: Reader, value: Fields, field: string, id: string | undefined): DNSRuleDescriptor | undefined {
  const at = (name: string) => inside(field, name);
  const before = read.errors.length;
  const dnsRuleId = id ?? ruleId(read, value.dnsRuleId, at("dnsRuleId"));
  const domainName = readDomainName(read, value.domainName, at("domainName"));
  const ipAddressType = word(read, value.ipAddressType, at("ipAddressType"), families);
  const ipAddress = value.ipAddress === undefined ? undefined : address(read, value.ipAddress, at("ipAddress"));
  if (ipAddressType && ipAddress !== undefined && parseAddress(ipAddress).family !== Number(ipAddressType.slice(-1))) {
    read.fail(at("ipAddress"), `is not of the type ${ipAddressType} that ipAddressType says`);
  }
  const ttl = value.ttl === undefined ? undefined : read.integer(value.ttl, at("ttl"), 0, 0x7fff_ffff);
  if (read.errors.length > before || dnsRuleId === undefined || domainName === undefined || !ipAddressType) {
    return undefined;
  }
  return {
    dnsRuleId,
    domainName,
    ipAddressType,
    ...(ipAddress !== undefined && { ipAddress }),
    ...(ttl !== undefined && { ttl }),
  };
}

/** A DNS rule of a package. `field` is where it stands: `appDNSRule.0`. */
export function readDNSRuleDescriptor(read: Reader, value: unknown, field: string): DNSRuleDescriptor | undefined {
  if (!isObject(value)) return read.fail(field, "must be an object");
  read.known(value, field === "" ? "" : `${field}.`, dnsMembers);
  return dns(read, value, field, undefined);
}

/** The body of a PUT; `id` is that of the path, which wins over the body's. */
export function readDnsRule(read: Reader, value: unknown, id: string): DnsRule | undefined {
  if (!isObject(value)) return read.fail("", "must be an object");
  read.known(value, "", [...dnsMembers, "state"]);
  const rule = dns(read, value, "", id);
  if (value.ipAddress === undefined) read.fail("ipAddress", "is required");
  const wanted = state(read, value.state, "state");
  return rule?.ipAddress === undefined || !wanted ? undefined : { ...rule, ipAddress: rule.ipAddress, state: wanted };
}
