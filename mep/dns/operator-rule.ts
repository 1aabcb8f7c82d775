/**
 * What is a DNS rule of the operator?
 *
 * A name that phones are answered at this site, whatever apps say of it: `{ name, domain, addresses, ttl?, state }`. Its name is for
 * people and programs; the domain is what phones ask for. All errors are named with their paths.
 */
import Type, { type Static } from "typebox";
import type { ValidationContext } from "../../controlplane/intents/context.ts";
import { formatAddress, parseAddress } from "../../controlplane/intents/prefix.ts";
import { isObject, type Reader } from "../../controlplane/intents/reader.ts";
import { readDomainName } from "../model/domain-name.ts";
import { ruleStates } from "../model/rules.ts";
import type { DnsRecord } from "../parts.ts";

const longestTtl = 0x7fff_ffff;
const mostAddresses = 64;

export const operatorRule = Type.Object(
  {
    name: Type.String({ description: "of the rule: 1 to 64 printable characters" }),
    domain: Type.String({ description: "that phones ask for: shop.example.com" }),
    addresses: Type.Array(Type.String(), { description: "IPv4 and IPv6 that they are answered" }),
    ttl: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: longestTtl,
        description: "seconds that they may keep the answer; default 300",
      }),
    ),
    state: Type.Enum([...ruleStates], { description: "an ACTIVE rule is answered; default: ACTIVE" }),
  },
  { additionalProperties: false, title: "OperatorDnsRule" },
);
export type OperatorRule = Static<typeof operatorRule>;

const members = ["name", "domain", "addresses", "ttl", "state"];

/** @param name of the path, which a body need not repeat; another one there is refused */
export function readOperatorRule(
  read: Reader,
  body: unknown,
  { own = [] }: ValidationContext,
  name?: string,
): OperatorRule | undefined {
  if (!isObject(body)) return read.fail("", "must be an object");
  read.known(body, "", members);
  const given = read.name(body.name ?? name);
  if (name !== undefined && given !== undefined && given !== name) {
    read.fail("name", `is "${given}", and the path says "${name}": remove the one and add the other`);
  }
  const domain = readDomainName(read, body.domain, "domain");
  const addresses = readAddresses(read, body.addresses);
  for (const [at, text] of addresses?.entries() ?? []) {
    const { family, value } = parseAddress(text);
    if (own.some((one) => one.family === family && one.value === value)) {
      read.fail(`addresses.${at}`, `${text} is the appliance itself, which phones cannot reach`);
    }
  }
  const ttl = body.ttl === undefined ? undefined : read.integer(body.ttl, "ttl", 0, longestTtl);
  const state = read.oneOf(body.state ?? "ACTIVE", "state", ruleStates);
  if (read.errors.length > 0 || given === undefined || domain === undefined || !addresses || !state) return undefined;
  return { name: given, domain, addresses, ...(ttl !== undefined && { ttl }), state };
}

function readAddresses(read: Reader, value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0 || value.length > mostAddresses) {
    return read.fail("addresses", `must be a list of 1 to ${mostAddresses} IP addresses`);
  }
  const texts = value.map((one, at) => {
    const address = read.address(one, `addresses.${at}`);
    return address && formatAddress(address);
  });
  for (const [at, text] of texts.entries()) {
    if (text !== undefined && texts.indexOf(text) < at) read.fail(`addresses.${at}`, `${text} is there twice`);
  }
  return texts.some((one) => one === undefined) ? undefined : (texts as string[]);
}

/** None while it is INACTIVE. */
export const recordsOf = ({ domain, addresses, ttl, state }: OperatorRule): DnsRecord[] =>
  state === "INACTIVE"
    ? []
    : addresses.map((address) => ({
        name: domain,
        type: parseAddress(address).family === 4 ? "A" : "AAAA",
        address,
        ...(ttl !== undefined && { ttl }),
      }));
