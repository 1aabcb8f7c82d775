/**
 * Is this body a service, and if not, what is wrong with all of it?
 *
 * Written by hand rather than as a schema, because the two forms share a path: a schema's answer to a slip in one form is
 * a list of complaints about both. Every field is looked at, so one answer names all errors. Fields follow seed 001
 * §4.3.4.1 and seed 004 §5.2.2.2.1.3; what is beyond them is in read-match.ts and read-outcome.ts.
 */
import { misfits } from "../../dataplane/steering-checks.ts";
import { leadsNowhere, noContext, type ValidationContext } from "./context.ts";
import {
  type AddressService,
  addressServicePriority,
  type FieldError,
  type Intent,
  type RuleService,
  type Service,
} from "./model.ts";
import { contains, formatAddress, formatPrefix, host, type Prefix } from "./prefix.ts";
import { matchFields, namesSignalling, readMatch } from "./read-match.ts";
import { beside, outcomeFields, readBeside, readDestination } from "./read-outcome.ts";
import { type Fields, isObject, Reader } from "./reader.ts";

export type Validation = { ok: true; service: Service; intent: Intent } | { ok: false; errors: FieldError[] };

const secondForm = ["name", "rules", ...beside] as const;

function refuseProtected(
  read: Reader,
  destinations: readonly Prefix[] | undefined,
  field: string,
  { protect }: ValidationContext,
): void {
  const protectors = destinations?.map((one) => protect.find((prefix) => contains(prefix, one)));
  const first = protectors?.[0];
  if (first && protectors.every((one) => one !== undefined)) {
    read.fail(field, `lies in ${formatPrefix(first)}, which is protected from UEs: the service would never be reached`);
  }
}

function addressIntent(read: Reader, body: Fields, context: ValidationContext): Intent | undefined {
  read.known(body, "", ["name", "serviceIP", "applicationIP", "appInitiated"]);
  const name = read.name(body.name);
  const destination = read.address(body.serviceIP, "serviceIP");
  const endpoint = read.address(body.applicationIP, "applicationIP");
  const appInitiated = read.boolean(body.appInitiated, "appInitiated");
  const why = endpoint && leadsNowhere(endpoint, "endpoint", context);
  if (why) read.fail("applicationIP", why);
  if (destination && endpoint && destination.family !== endpoint.family) {
    read.fail(
      "applicationIP",
      `is IPv${endpoint.family}, but serviceIP is IPv${destination.family}: both must be of one family`,
    );
  }
  refuseProtected(read, destination && [host(destination)], "serviceIP", context);
  if (read.errors.length > 0 || !name || !destination || !endpoint) return undefined;
  return {
    name,
    priority: addressServicePriority,
    match: { destination: [formatPrefix(host(destination))] },
    action: "take",
    endpoints: [{ address: formatAddress(endpoint) }],
    appInitiated,
  };
}

/** Signalling is never part of a flow: it passes, or goes nowhere. */
function refuseOnSignalling(read: Reader, body: Fields, rules: Fields): void {
  const said = "does not go with gtpu_msgtype other than 255 (g-pdu): such messages pass, or are dropped";
  for (const field of ["endpoint", "endpoints", "output", "forward", "affinity", "direction"] as const) {
    if (rules[field] !== undefined) read.fail(`rules.${field}`, said);
  }
  const lists = isObject(body.chain) ? [body.chain.ue_net, body.chain.net_ue, body.chain.net_eu] : [];
  if (lists.some((list) => Array.isArray(list) && list.length > 0)) read.fail("chain", said);
  for (const field of ["mirror", "rate", "health"] as const) if (body[field] !== undefined) read.fail(field, said);
  if (body.appInitiated === true) read.fail("appInitiated", said);
}

/** What does not go together, whatever the back end; fields are those of the second form. */
function refuseMisfits(read: Reader, intent: Omit<Intent, "name" | "priority">, context: ValidationContext): void {
  const { chain, ...rest } = intent;
  const whole = intent.action === "forward";
  const treatment = chain && { chain: { ...chain, uplink: [], downlink: [] } };
  const rule = { ...rest, id: 1, service: 1, name: "", priority: 0, ...(treatment && { treatment }) };
  for (const { field, message } of misfits(rule)) {
    const own = field
      .replace("match.direction", "rules.direction")
      .replace(/^output/, whole ? "rules.forward" : "rules.output")
      .replace("treatment.chain", "chain");
    read.fail(own, message);
  }
  if (intent.output?.tunnel?.type !== "gtp-u") return;
  const { dataplanes: names } = intent.match;
  const meant = (context.dataplanes ?? []).filter(({ name }) => names?.includes(name) ?? true);
  if (meant.length > 0 && meant.every(({ plugin }) => plugin === "ethernet")) {
    const of = meant.map(({ name }) => name).join(", ");
    read.fail("rules.forward.tunnel.type", `gtp-u needs a data plane with plugin gtp: ${of} carries plain Ethernet`);
  }
}

/** What a service for one direction cannot ask for, beside what no rule can. */
function refuseOneWay(read: Reader, body: Fields, rules: Fields, direction: "uplink" | "downlink" | undefined): void {
  if (!direction) return;
  if (rules.endpoint === "local") {
    const why = "what the apps' network sends back belongs to a flow, so leave direction out, or give output";
    read.fail("rules.direction", `does not go with endpoint local: ${why}`);
  }
  const other = direction === "uplink" ? "downlink" : "uplink";
  if (isObject(body.rate) && body.rate[other] !== undefined) {
    read.fail(`rate.${other}`, `limits nothing: the service is for the ${direction} only`);
  }
}

function ruleIntent(read: Reader, body: Fields, context: ValidationContext): Intent | undefined {
  read.known(body, "", secondForm);
  const name = read.name(body.name);
  const appInitiated = read.boolean(body.appInitiated, "appInitiated");
  const rules = body.rules;
  if (!isObject(rules)) return read.fail("rules", "must be an object");
  read.known(rules, "rules.", ["priority", ...matchFields, ...outcomeFields]);
  const priority =
    rules.priority === undefined
      ? read.fail("rules.priority", "is required")
      : read.integer(rules.priority, "rules.priority", 0, 65535);
  const { match, family, destination, hasPorts, protocolUnread } = readMatch(read, rules, context);
  const outcome = readDestination(read, rules, context);
  const treatments = readBeside(read, body, outcome, context);
  const { action = "pass", output } = outcome ?? {};
  if (!namesSignalling(match)) {
    refuseOneWay(read, body, rules, match.direction);
    refuseMisfits(read, { match, action, ...(output && { output }), ...treatments, appInitiated }, context);
  }
  if (namesSignalling(match)) refuseOnSignalling(read, body, rules);
  else if (outcome?.endpoints && rules.nw_dst === undefined) {
    read.fail("rules.nw_dst", "is required when an endpoint is given");
  }
  for (const { field, address, endpoint } of outcome?.endpoints ?? []) {
    if (family && address.family !== family) read.fail(field, `is IPv${address.family}, but the match is IPv${family}`);
    if (endpoint.port !== undefined && !protocolUnread && !hasPorts) {
      read.fail(field, "a port needs protocol 6 (tcp) or 17 (udp)");
    }
  }
  if (outcome?.said !== undefined) refuseProtected(read, destination, "rules.nw_dst", context);
  if (read.errors.length > 0 || !name || priority === undefined || !outcome) return undefined;
  const { endpoints, affinity } = outcome;
  return {
    name,
    priority,
    match,
    action,
    ...(endpoints && { endpoints: endpoints.map(({ endpoint }) => endpoint) }),
    ...(affinity && { affinity }),
    ...(output && { output }),
    ...treatments,
    appInitiated,
  };
}

/** Never throws: whatever JSON holds is either a service or a list of errors. */
export function validateService(body: unknown, context: ValidationContext = noContext): Validation {
  const read = new Reader();
  if (!isObject(body)) return { ok: false, errors: [{ field: "", message: "must be an object" }] };
  const first = "serviceIP" in body || "applicationIP" in body;
  const second = "rules" in body || "chain" in body;
  if (first && second) {
    read.fail("", "mixes the two forms: give either serviceIP and applicationIP, or rules");
  } else if (!first && !second) {
    read.name(body.name);
    read.fail("", "give either serviceIP and applicationIP, or rules");
    read.known(body, "", ["serviceIP", "applicationIP", ...secondForm]);
  }
  if (read.errors.length > 0) return { ok: false, errors: read.errors };
  const intent = first ? addressIntent(read, body, context) : ruleIntent(read, body, context);
  if (!intent) return { ok: false, errors: read.errors };
  // The reader has looked at every member, so the body is what its form says.
  return { ok: true, service: body as unknown as AddressService | RuleService, intent };
}
