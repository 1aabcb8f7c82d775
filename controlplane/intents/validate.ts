/**
 * Is this body a service, and if not, what is wrong with all of it?
 *
 * Written by hand rather than as a schema, because the two forms share a path: a schema's answer to a slip in one form is
 * a list of complaints about both. Every field is looked at, so one answer names all errors. Fields follow seed 001
 * §4.3.4.1 and seed 004 §5.2.2.2.1.3; values are strings there, numbers are taken as well.
 */
import {
  type AddressService,
  addressServicePriority,
  type FieldError,
  type Intent,
  type PortRange,
  type RuleService,
  type Service,
} from "./model.ts";
import {
  type Address,
  AddressError,
  contains,
  formatAddress,
  formatPrefix,
  host,
  isUnicast,
  type Prefix,
  parseAddress,
  parsePrefix,
  parseSocketAddress,
} from "./prefix.ts";
import { nearest } from "./spelling.ts";

export type Validation = { ok: true; service: Service; intent: Intent } | { ok: false; errors: FieldError[] };

/** What a site adds to the rules. */
export interface ValidationContext {
  /** UEs may not reach these, so a service in one of them would never see a packet. */
  protect: Prefix[];
}

const protocols: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 };
const accepted = [1, 6, 17, 58];
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Collects errors; every reader returns undefined where the field is absent or wrong. */
class Reader {
  readonly errors: FieldError[] = [];

  fail(field: string, message: string): undefined {
    this.errors.push({ field, message });
    return undefined;
  }

  /** Reports keys that the form does not have. */
  known(object: Record<string, unknown>, path: string, keys: readonly string[]): void {
    for (const key of Object.keys(object)) {
      if (keys.includes(key)) continue;
      const guess = nearest(key, keys);
      this.fail(`${path}${key.slice(0, 64)}`, `unknown field${guess ? `; did you mean "${guess}"?` : ""}`);
    }
  }

  name(value: unknown): string | undefined {
    if (value === undefined) return this.fail("name", "is required");
    if (typeof value !== "string") return this.fail("name", "must be a string");
    // Names stand in paths, logs, tables and metric labels.
    if (!/^[^\p{C}\p{Z}/\\](?:[^\p{C}/\\]{0,62}[^\p{C}\p{Z}/\\])?$/u.test(value) || value === "." || value === "..") {
      return this.fail(
        "name",
        "must be 1 to 64 printable characters without / and \\, not beginning or ending in a space",
      );
    }
    return value;
  }

  address(value: unknown, field: string): Address | undefined {
    if (value === undefined) return this.fail(field, "is required");
    if (typeof value !== "string") return this.fail(field, "must be a string with an IP address");
    const address = this.attempt(field, () => parseAddress(value));
    return address && this.unicast(address, field);
  }

  unicast(address: Address, field: string): Address | undefined {
    if (isUnicast(address)) return address;
    return this.fail(field, `${formatAddress(address)} is not an address that packets can be sent to`);
  }

  prefix(value: unknown, field: string): Prefix | undefined {
    if (value === undefined) return undefined;
    if (typeof value !== "string") return this.fail(field, 'must be a string: an IP address, or "address/mask"');
    return this.attempt(field, () => parsePrefix(value));
  }

  integer(value: unknown, field: string, low: number, high: number): number | undefined {
    const number = typeof value === "string" && /^\d{1,10}$/.test(value) ? Number(value) : value;
    if (typeof number !== "number" || !Number.isInteger(number) || number < low || number > high) {
      return this.fail(field, `must be a whole number ${low}..${high}`);
    }
    return number;
  }

  ports(value: unknown, field: string): PortRange | undefined {
    if (value === undefined) return undefined;
    const found = typeof value === "string" ? /^(\d{1,5})-(\d{1,5})$/.exec(value) : null;
    const low = found ? Number(found[1]) : Number(value);
    const high = found ? Number(found[2]) : low;
    const shaped =
      found !== null || typeof value === "number" || (typeof value === "string" && /^\d{1,5}$/.test(value));
    if (!shaped || !Number.isInteger(low) || low < 1 || high > 65535 || low > high) {
      return this.fail(field, 'must be a port 1..65535, or a range "8000-8099"');
    }
    return [low, high];
  }

  protocol(value: unknown, family: 4 | 6 | undefined): number | undefined {
    const field = "rules.protocol";
    if (value === undefined) return undefined;
    let number: unknown = value;
    if (typeof value === "string") {
      const word = value.toLowerCase();
      number = /^\d{1,3}$/.test(word) ? Number(word) : Object.hasOwn(protocols, word) ? protocols[word] : undefined;
      if (word === "icmp" && family === 6) number = 58; // the name means the family's own
    }
    if (typeof number !== "number" || !accepted.includes(number)) {
      return this.fail(field, "must be 1 (icmp), 6 (tcp), 17 (udp) or 58 (icmpv6)");
    }
    if (number === 58 && family === 4)
      return this.fail(field, "58 is ICMP for IPv6, but the addresses are IPv4: use 1");
    if (number === 1 && family === 6) return this.fail(field, "1 is ICMP for IPv4, but the addresses are IPv6: use 58");
    return number;
  }

  endpoint(value: unknown): { address: Address; port?: number } | "local" | undefined {
    const field = "rules.endpoint";
    if (value === undefined) return undefined;
    if (value === "local") return "local";
    if (typeof value !== "string") return this.fail(field, 'must be a string: "address", "address:port" or "local"');
    const plain = !value.startsWith("[") && (!value.includes(":") || value.split(":").length > 2);
    const parsed = this.attempt(field, () => (plain ? { address: parseAddress(value) } : parseSocketAddress(value)));
    if (!parsed || !this.unicast(parsed.address, field)) return undefined;
    if ("port" in parsed && parsed.port === 0) return this.fail(field, "port 0 cannot be connected to");
    return parsed;
  }

  boolean(value: unknown, field: string): boolean {
    if (value !== undefined && typeof value !== "boolean") this.fail(field, "must be true or false");
    return value === true;
  }

  notProtected(destination: Prefix | undefined, field: string, context: ValidationContext): void {
    const protector = destination && context.protect.find((prefix) => contains(prefix, destination));
    if (protector) {
      this.fail(
        field,
        `lies in ${formatPrefix(protector)}, which is protected from UEs: the service would never be reached`,
      );
    }
  }

  private attempt<T>(field: string, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (error instanceof AddressError) return this.fail(field, error.message);
      throw error;
    }
  }
}

function addressIntent(read: Reader, body: Record<string, unknown>, context: ValidationContext): Intent | undefined {
  read.known(body, "", ["name", "serviceIP", "applicationIP", "appInitiated"]);
  const name = read.name(body.name);
  const destination = read.address(body.serviceIP, "serviceIP");
  const endpoint = read.address(body.applicationIP, "applicationIP");
  const appInitiated = read.boolean(body.appInitiated, "appInitiated");
  if (destination && endpoint && destination.family !== endpoint.family) {
    read.fail(
      "applicationIP",
      `is IPv${endpoint.family}, but serviceIP is IPv${destination.family}: both must be of one family`,
    );
  }
  read.notProtected(destination && host(destination), "serviceIP", context);
  if (read.errors.length > 0 || !name || !destination || !endpoint) return undefined;
  return {
    name,
    priority: addressServicePriority,
    family: destination.family,
    destination: host(destination),
    action: "take",
    endpoint: { address: formatAddress(endpoint) },
    appInitiated,
  };
}

function checkChain(read: Reader, chain: unknown): void {
  if (chain === undefined) return;
  if (!isObject(chain)) return void read.fail("chain", "must be an object with the lists ue_net and net_ue");
  read.known(chain, "chain.", ["ue_net", "net_ue", "net_eu"]);
  for (const list of ["ue_net", "net_ue", "net_eu"]) {
    const value = chain[list];
    if (value === undefined) continue;
    if (!Array.isArray(value)) read.fail(`chain.${list}`, "must be a list");
    else if (value.length > 0) {
      read.fail(`chain.${list}`, "chains of transit functions are not available in this release: leave the list empty");
    }
  }
}

function ruleIntent(read: Reader, body: Record<string, unknown>, context: ValidationContext): Intent | undefined {
  read.known(body, "", ["name", "rules", "chain", "appInitiated"]);
  const name = read.name(body.name);
  const appInitiated = read.boolean(body.appInitiated, "appInitiated");
  checkChain(read, body.chain);
  const rules = body.rules;
  if (!isObject(rules)) return read.fail("rules", "must be an object");
  read.known(rules, "rules.", ["priority", "nw_dst", "nw_src", "protocol", "tp_dst", "tp_src", "endpoint"]);

  const priority =
    rules.priority === undefined
      ? read.fail("rules.priority", "is required")
      : read.integer(rules.priority, "rules.priority", 0, 65535);
  const destination = read.prefix(rules.nw_dst, "rules.nw_dst");
  const source =
    rules.nw_src === undefined
      ? read.fail("rules.nw_src", "is required; 0.0.0.0/0 or ::/0 means every UE")
      : read.prefix(rules.nw_src, "rules.nw_src");
  const endpoint = read.endpoint(rules.endpoint);
  const family = (destination ?? source)?.family;
  if (destination && source && destination.family !== source.family) {
    read.fail(
      "rules.nw_src",
      `is IPv${source.family}, but nw_dst is IPv${destination.family}: both must be of one family`,
    );
  }
  if (endpoint && endpoint !== "local") {
    if (rules.nw_dst === undefined) read.fail("rules.nw_dst", "is required when an endpoint is given");
    if (family && endpoint.address.family !== family) {
      read.fail("rules.endpoint", `is IPv${endpoint.address.family}, but the match is IPv${family}`);
    }
  }
  const protocol = read.protocol(rules.protocol, family);
  const destinationPorts = read.ports(rules.tp_dst, "rules.tp_dst");
  const sourcePorts = read.ports(rules.tp_src, "rules.tp_src");
  const hasPorts = protocol === 6 || protocol === 17;
  const protocolRead = rules.protocol === undefined || protocol !== undefined;
  for (const field of ["tp_dst", "tp_src"] as const) {
    if (rules[field] !== undefined && protocolRead && !hasPorts) {
      read.fail(`rules.${field}`, "needs protocol 6 (tcp) or 17 (udp)");
    }
  }
  if (endpoint && endpoint !== "local" && endpoint.port !== undefined && protocolRead && !hasPorts) {
    read.fail("rules.endpoint", "a port needs protocol 6 (tcp) or 17 (udp)");
  }
  if (endpoint) read.notProtected(destination, "rules.nw_dst", context);
  if (read.errors.length > 0 || !name || priority === undefined || !source || !family) return undefined;
  return {
    name,
    priority,
    family,
    ...(destination && { destination }),
    source,
    ...(protocol !== undefined && { protocol }),
    ...(destinationPorts && { destinationPorts }),
    ...(sourcePorts && { sourcePorts }),
    ...meaning(endpoint),
    appInitiated,
  };
}

function meaning(endpoint: ReturnType<Reader["endpoint"]>): Pick<Intent, "action" | "endpoint"> {
  if (endpoint === undefined) return { action: "pass" };
  if (endpoint === "local") return { action: "route" };
  const { address, port } = endpoint;
  return { action: "take", endpoint: { address: formatAddress(address), ...(port !== undefined && { port }) } };
}

/** Never throws: whatever JSON holds is either a service or a list of errors. */
export function validateService(body: unknown, context: ValidationContext = { protect: [] }): Validation {
  const read = new Reader();
  if (!isObject(body)) return { ok: false, errors: [{ field: "", message: "must be an object" }] };
  const first = "serviceIP" in body || "applicationIP" in body;
  const second = "rules" in body || "chain" in body;
  if (first && second) {
    read.fail("", "mixes the two forms: give either serviceIP and applicationIP, or rules");
  } else if (!first && !second) {
    read.name(body.name);
    read.fail("", "give either serviceIP and applicationIP, or rules");
    read.known(body, "", ["name", "serviceIP", "applicationIP", "rules", "chain", "appInitiated"]);
  }
  if (read.errors.length > 0) return { ok: false, errors: read.errors };
  const intent = first ? addressIntent(read, body, context) : ruleIntent(read, body, context);
  if (!intent) return { ok: false, errors: read.errors };
  // The reader has looked at every member, so the body is what its form says.
  return { ok: true, service: body as unknown as AddressService | RuleService, intent };
}
