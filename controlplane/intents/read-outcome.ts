/**
 * What happens to the packets of the second form: where do they go, by which functions, and what is done beside that?
 *
 * One kind of output at most: `endpoint` or `endpoints`, `output`, `forward`, `action`. Beside it `chain`, `mirror`, `rate`; and
 * `health`, by which endpoints are asked whether they are there.
 */
import { MAX_FUNCTIONS } from "../../dataplane/chain.ts";
import type { Endpoint, Outlet, Treatment, TunnelEnd } from "../../dataplane/steering.ts";
import { milliseconds } from "../config/duration.ts";
import { adapterTaken, leadsNowhere, type ValidationContext } from "./context.ts";
import type { ChainFunction, Health, Intent } from "./model.ts";
import { type Address, formatAddress, parseAddress, parseSocketAddress } from "./prefix.ts";
import { type Fields, isObject, type Reader } from "./reader.ts";

/** Functions in one direction: positions in a chain have four bits. */
export const chainLimit = MAX_FUNCTIONS;
const endpointLimit = 64;

export interface EndpointRead {
  field: string;
  address: Address;
  endpoint: Endpoint;
}

const destinationFields = ["endpoint", "endpoints", "output", "forward", "action"] as const;
export const outcomeFields = [...destinationFields, "affinity"] as const;
export const beside = ["chain", "mirror", "rate", "health", "appInitiated"] as const;

/** The address of an endpoint or a function, where packets can be sent from here. */
function reachable(
  read: Reader,
  address: Address,
  field: string,
  what: Parameters<typeof leadsNowhere>[1],
  context: ValidationContext,
): Address | undefined {
  const why = leadsNowhere(address, what, context);
  return why === undefined ? address : read.fail(field, why);
}

function oneEndpoint(read: Reader, value: unknown, context: ValidationContext): EndpointRead | "local" | undefined {
  const field = "rules.endpoint";
  if (value === "local") return "local";
  if (typeof value !== "string") return read.fail(field, 'must be a string: "address", "address:port" or "local"');
  const plain = !value.startsWith("[") && (!value.includes(":") || value.split(":").length > 2);
  const parsed = read.attempt(field, (): { address: Address; port?: number } =>
    plain ? { address: parseAddress(value) } : parseSocketAddress(value),
  );
  if (!parsed || !reachable(read, parsed.address, field, "endpoint", context)) return undefined;
  const { address, port } = parsed;
  if (port === 0) return read.fail(field, "port 0 cannot be connected to");
  return { field, address, endpoint: { address: formatAddress(address), ...(port !== undefined && { port }) } };
}

function severalEndpoints(read: Reader, value: unknown, context: ValidationContext): EndpointRead[] | undefined {
  const field = "rules.endpoints";
  if (!Array.isArray(value) || value.length === 0) {
    return read.fail(field, 'must be a list of endpoints, each {"address": …}');
  }
  if (value.length > endpointLimit) return read.fail(field, `lists ${value.length}; ${endpointLimit} are allowed`);
  const seen = new Set<string>();
  const found = value.map((one: unknown, index): EndpointRead | undefined => {
    const at = `${field}.${index}`;
    if (!isObject(one)) return read.fail(at, 'must be an object such as {"address": "10.60.0.2", "port": 80}');
    read.known(one, `${at}.`, ["address", "port", "weight", "drain"]);
    const given = read.address(one.address, `${at}.address`);
    const address = given && reachable(read, given, `${at}.address`, "endpoint", context);
    const port = one.port === undefined ? undefined : read.integer(one.port, `${at}.port`, 1, 65535);
    const weight = one.weight === undefined ? undefined : read.integer(one.weight, `${at}.weight`, 1, 100);
    const draining = read.boolean(one.drain, `${at}.drain`);
    if (!address) return undefined;
    const key = `${formatAddress(address)} ${port}`;
    if (seen.has(key)) return read.fail(at, "is listed twice");
    seen.add(key);
    return {
      field: `${at}.${"port" in one ? "port" : "address"}`,
      address,
      endpoint: {
        address: formatAddress(address),
        ...(port !== undefined && { port }),
        ...(weight !== undefined && weight !== 1 && { weight }),
        ...(draining && { state: "draining" as const }),
      },
    };
  });
  return found.some((one) => one === undefined) ? undefined : (found as EndpointRead[]);
}

function tunnelOf(read: Reader, value: unknown, at: string, context: ValidationContext): TunnelEnd | undefined {
  if (!isObject(value)) return read.fail(at, 'must be an object such as {"type": "gre", "destination": "10.60.0.9"}');
  read.known(value, `${at}.`, ["type", "source", "destination"]);
  if (value.type === undefined) read.fail(`${at}.type`, 'is required: "gre" or "gtp-u"');
  const type = read.oneOf(value.type, `${at}.type`, ["gre", "gtp-u"] as const);
  const to = read.address(value.destination, `${at}.destination`);
  const destination = to && reachable(read, to, `${at}.destination`, "tunnel end", context);
  const source = value.source === undefined ? undefined : read.address(value.source, `${at}.source`);
  if (!type || !destination) return undefined;
  return { type, ...(source && { source: formatAddress(source) }), destination: formatAddress(destination) };
}

/** What does not go together in it is judged with the whole rule: `misfits`. */
function outletOf(read: Reader, value: unknown, at: string, context: ValidationContext): Outlet | undefined {
  if (!isObject(value)) return read.fail(at, 'must be an object such as {"port": "eth2", "vlan": 100}');
  read.known(value, `${at}.`, ["port", "vlan", "mac", "sourceMac", "address", "tunnel"]);
  const before = read.errors.length;
  const port = value.port === undefined ? undefined : read.adapter(value.port, `${at}.port`);
  const vlan = value.vlan === undefined ? undefined : read.integer(value.vlan, `${at}.vlan`, 1, 4094);
  const mac = value.mac === undefined ? undefined : read.mac(value.mac, `${at}.mac`);
  const sourceMac = value.sourceMac === undefined ? undefined : read.mac(value.sourceMac, `${at}.sourceMac`);
  const given = value.address === undefined ? undefined : read.address(value.address, `${at}.address`);
  const address = given && reachable(read, given, `${at}.address`, "next hop", context);
  const tunnel = value.tunnel === undefined ? undefined : tunnelOf(read, value.tunnel, `${at}.tunnel`, context);
  const taken = port && adapterTaken(port, false, context);
  if (taken) read.fail(`${at}.port`, taken);
  if (read.errors.length > before) return undefined;
  return {
    ...(port !== undefined && { port }),
    ...(vlan !== undefined && { vlan }),
    ...(mac !== undefined && { mac }),
    ...(sourceMac !== undefined && { sourceMac }),
    ...(address && { address: formatAddress(address) }),
    ...(tunnel && { tunnel }),
  };
}

export type DestinationRead = Pick<Intent, "action" | "affinity" | "output"> & {
  endpoints?: EndpointRead[];
  /** A field that says where packets go; undefined when they stay in their tunnel because none does. */
  said?: (typeof destinationFields)[number];
};

/** Undefined when something is wrong with it. */
export function readDestination(read: Reader, rules: Fields, context: ValidationContext): DestinationRead | undefined {
  const given = destinationFields.filter((field) => rules[field] !== undefined);
  const affinity = read.oneOf(rules.affinity, "rules.affinity", ["connection", "ue"] as const);
  for (const field of given.slice(1)) {
    read.fail(`rules.${field}`, `does not go with ${given[0]}: packets go one way, so give one of them`);
  }
  const taken = rules.endpoint !== undefined || rules.endpoints !== undefined;
  if (rules.affinity !== undefined && (!taken || rules.endpoint === "local")) {
    read.fail("rules.affinity", "says how endpoints are chosen, but there are none");
  }
  const said = given[0];
  const one = rules.endpoint === undefined ? undefined : oneEndpoint(read, rules.endpoint, context);
  const several = rules.endpoints === undefined ? undefined : severalEndpoints(read, rules.endpoints, context);
  const output = rules.output === undefined ? undefined : outletOf(read, rules.output, "rules.output", context);
  const whole = rules.forward === undefined ? undefined : outletOf(read, rules.forward, "rules.forward", context);
  if (output?.tunnel?.type === "gtp-u") {
    read.fail(
      "rules.output.tunnel.type",
      "gtp-u goes with forward: what leaves by output has no GTP-U tunnel any more",
    );
  }
  const action = read.oneOf(rules.action, "rules.action", ["pass", "drop"] as const);
  const ue = affinity === "ue" && { affinity };
  if (one === "local") return { action: "route", ...(said && { said }) };
  if (one) return { action: "take", endpoints: [one], ...ue, ...(said && { said }) };
  if (several) return { action: "take", endpoints: several, ...ue, ...(said && { said }) };
  if (output) return { action: "route", output, ...(said && { said }) };
  if (whole) return { action: "forward", output: whole, ...(said && { said }) };
  if (action) return { action, said: "action" };
  return given.length === 0 ? { action: "pass" } : undefined;
}

function functions(read: Reader, value: unknown, field: string, context: ValidationContext): ChainFunction[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    read.fail(field, "must be a list");
    return [];
  }
  if (value.length > chainLimit) {
    read.fail(field, `names ${value.length} functions; a chain has at most ${chainLimit} in one direction`);
    return [];
  }
  return value.flatMap((entry: unknown, index): ChainFunction[] => {
    const at = `${field}.${index}`;
    const object = isObject(entry) ? entry : undefined;
    if (object) read.known(object, `${at}.`, ["address", "encapsulation"]);
    else if (typeof entry !== "string") {
      read.fail(at, 'must be an address, or {"address": …, "encapsulation": "vxlan" or "nsh"}');
      return [];
    }
    const where = object ? `${at}.address` : at;
    const text = object ? object.address : entry;
    if (typeof text !== "string") {
      read.fail(where, "must be a string with an IP address");
      return [];
    }
    const parsed = read.attempt(where, () => parseAddress(text));
    const address = parsed && reachable(read, parsed, where, "function", context);
    const encapsulation =
      read.oneOf(object?.encapsulation, `${at}.encapsulation`, ["vxlan", "nsh"] as const) ?? "vxlan";
    if (address?.family === 6 && context.vxlan?.addresses.every(({ family }) => family === 4)) {
      read.fail(
        where,
        "is an IPv6 address, to which the appliance has none to send from: add vxlan.address6 to site.yaml",
      );
    }
    return address ? [{ address: formatAddress(address), encapsulation }] : [];
  });
}

function readChain(read: Reader, chain: unknown, context: ValidationContext): Intent["chain"] {
  if (chain === undefined) return undefined;
  if (!isObject(chain)) return read.fail("chain", "must be an object with the lists ue_net and net_ue");
  read.known(chain, "chain.", ["ue_net", "net_ue", "net_eu", "unreachable"]);
  const uplink = functions(read, chain.ue_net, "chain.ue_net", context);
  const downlink = functions(read, chain.net_ue, "chain.net_ue", context);
  const misspelt = functions(read, chain.net_eu, "chain.net_eu", context);
  if (chain.net_ue !== undefined && chain.net_eu !== undefined) {
    if (JSON.stringify(downlink) !== JSON.stringify(misspelt)) {
      read.fail("chain.net_eu", "is another list than net_ue: both name the downlink, so give one of them");
    }
  }
  const unreachable = read.oneOf(chain.unreachable, "chain.unreachable", ["bypass", "block"] as const) ?? "bypass";
  const back = downlink.length > 0 ? downlink : misspelt;
  if (uplink.length + back.length === 0) return undefined;
  if (context.vxlan === null) {
    return read.fail("chain", 'needs an address to which functions send packets back: add "vxlan" to site.yaml');
  }
  return { uplink, downlink: back, unreachable };
}

function readMirror(read: Reader, value: unknown, context: ValidationContext): Treatment["mirror"] {
  if (value === undefined) return undefined;
  if (!isObject(value)) return read.fail("mirror", 'must be an object such as {"port": "eth3", "form": "as-is"}');
  read.known(value, "mirror.", ["port", "form"]);
  const port = read.adapter(value.port, "mirror.port");
  const form = read.oneOf(value.form, "mirror.form", ["as-is", "decapsulated"] as const) ?? "as-is";
  const taken = port && adapterTaken(port, true, context);
  if (taken) return read.fail("mirror.port", taken);
  return port === undefined ? undefined : { port, form };
}

const multiples: Record<string, number> = { "": 1, k: 1e3, m: 1e6, g: 1e9 };

/** Bits per second: a number, `"10M"`, `"1.5G"`. */
function bitsPerSecond(read: Reader, value: unknown, field: string): number | undefined {
  const found = /^(\d{1,12}(?:\.\d{1,9})?)([kKmMgG]?)$/.exec(String(value));
  const usable = typeof value === "number" || typeof value === "string";
  const bits = found ? Math.round(Number(found[1]) * (multiples[(found[2] ?? "").toLowerCase()] ?? 1)) : Number.NaN;
  if (usable && bits >= 8000 && bits <= 1e12) return bits;
  return read.fail(field, 'must be bits per second, 8k to 1000G: a number, or "10M", "1.5G"');
}

function readRate(read: Reader, value: unknown): Treatment["rate"] {
  if (value === undefined) return undefined;
  if (!isObject(value)) return read.fail("rate", 'must be an object such as {"uplink": "10M", "downlink": "50M"}');
  read.known(value, "rate.", ["uplink", "downlink"]);
  if (value.uplink === undefined && value.downlink === undefined) {
    return read.fail("rate", "limits nothing: give uplink, downlink or both");
  }
  const uplink = value.uplink === undefined ? undefined : bitsPerSecond(read, value.uplink, "rate.uplink");
  const downlink = value.downlink === undefined ? undefined : bitsPerSecond(read, value.downlink, "rate.downlink");
  return { ...(uplink !== undefined && { uplink }), ...(downlink !== undefined && { downlink }) };
}

function duration(read: Reader, value: unknown, field: string, low: number, standard: number): number {
  if (value === undefined) return standard;
  const found = typeof value === "string" ? milliseconds(value) : Number.NaN;
  if (found >= low && found <= 3_600_000) return found;
  read.fail(field, `must be a duration ${low}ms to 1h, such as "1s" or "500ms"`);
  return standard;
}

function readHealth(read: Reader, value: unknown, endpoints: EndpointRead[] | undefined): Health | undefined {
  if (value === undefined) return undefined;
  if (!isObject(value)) return read.fail("health", 'must be an object such as {"type": "tcp"}');
  read.known(value, "health.", ["type", "port", "path", "host", "interval", "timeout", "up", "down"]);
  if (value.type === undefined) return read.fail("health.type", 'is required: "tcp", "http" or "icmp"');
  const type = read.oneOf(value.type, "health.type", ["tcp", "http", "icmp"] as const);
  if (!type) return undefined;
  const port = value.port === undefined ? undefined : read.integer(value.port, "health.port", 1, 65535);
  if (type === "icmp" && value.port !== undefined) read.fail("health.port", "does not go with type icmp");
  if (type === "tcp" && value.port === undefined && endpoints?.some(({ endpoint }) => endpoint.port === undefined)) {
    read.fail("health.port", "is required where an endpoint has no port of its own");
  }
  const path = value.path ?? (type === "http" ? "/" : undefined);
  if (value.path !== undefined && type !== "http") read.fail("health.path", "goes with type http only");
  else if (path !== undefined && (typeof path !== "string" || !/^\/[!-~]{0,1023}$/.test(path))) {
    read.fail("health.path", 'must begin with "/" and have no blanks');
  }
  const { host } = value;
  if (host !== undefined && type !== "http") read.fail("health.host", "goes with type http only");
  else if (host !== undefined && (typeof host !== "string" || !/^[\w.:[\]-]{1,255}$/.test(host))) {
    read.fail("health.host", 'must be a host name, as in "shop.example" or "shop.example:8080"');
  }
  const intervalMs = duration(read, value.interval, "health.interval", 100, 1000);
  const timeoutMs = duration(read, value.timeout, "health.timeout", 10, Math.min(500, intervalMs));
  if (timeoutMs > intervalMs) read.fail("health.timeout", "must not be longer than the interval");
  const count = (field: "up" | "down", standard: number) =>
    value[field] === undefined ? standard : (read.integer(value[field], `health.${field}`, 1, 100) ?? standard);
  return {
    type,
    ...(port !== undefined && { port }),
    ...(typeof path === "string" && { path }),
    ...(typeof host === "string" && { host }),
    intervalMs,
    timeoutMs,
    up: count("up", 2),
    down: count("down", 3),
  };
}

/** What stands beside the rule. */
export function readBeside(
  read: Reader,
  body: Fields,
  destination: DestinationRead | undefined,
  context: ValidationContext,
): Pick<Intent, "chain" | "mirror" | "rate" | "health"> {
  const chain = readChain(read, body.chain, context);
  const mirror = readMirror(read, body.mirror, context);
  const rate = readRate(read, body.rate);
  const health = readHealth(read, body.health, destination?.endpoints);
  if (body.health !== undefined && destination && !destination.endpoints) {
    read.fail("health", "asks endpoints whether they are there, but there are none");
  }
  if (destination?.action === "drop") {
    const members = { chain, mirror, rate };
    for (const field of ["chain", "mirror", "rate"] as const) {
      if (members[field]) read.fail(field, "does not go with action drop: nothing is left of the packets");
    }
    if (body.appInitiated === true) read.fail("appInitiated", "does not go with action drop: there is no application");
  }
  return { ...(chain && { chain }), ...(mirror && { mirror }), ...(rate && { rate }), ...(health && { health }) };
}
