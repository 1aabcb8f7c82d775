/**
 * What does the seed of an appliance say at its first boot?
 *
 *   parts ─problemsOf─▶ every wrong one, with its path
 *         └renderUserData─▶ text of `user-data`, the same for the same parts
 *
 * A small dialect of cloud-config, which the appliance reads strictly (`offramp firstboot`). Pure; the text holds secrets.
 */
import { InputPropertiesError } from "@pulumi/pulumi";
import ipaddr from "ipaddr.js";
import { stringify } from "yaml";
import type { SiteDocument } from "./document.ts";

export const adapterNames = ["mgmt0", "acc0", "cor0", "apps0"] as const;
export type AdapterName = (typeof adapterNames)[number];
/** MAC address of each adapter that is there. */
export type Adapters = Partial<Record<AdapterName, string>>;

/** How the management adapter gets its address. */
export type Management =
  | { dhcp: true }
  | { /** With prefix length: `192.0.2.7/24`. */ address: string; gateway?: string; dns?: readonly string[] };

export interface Tls {
  /** PEM. */
  cert: string;
  key: string;
}

export interface UserData {
  hostname: string;
  sshAuthorizedKeys?: readonly string[];
  /** The whole `site.yaml`. */
  site: SiteDocument;
  adapters?: Adapters;
  /** Default: DHCP. */
  management?: Management;
  /** Of the API's admin. */
  token: string;
  /** Absent: the appliance makes itself a certificate. */
  tls?: Tls;
}

export interface Problem {
  /** As Pulumi writes it: `adapters.mgmt0`, `sshAuthorizedKeys[0]`. */
  path: string;
  reason: string;
}

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const mac = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
const sshKey = /^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?$/;
/** The least that nobody finds by trying. */
const shortestToken = 16;

/** IP version of an address; 0: it is none. */
const versionOf = (text: unknown): 0 | 4 | 6 =>
  typeof text !== "string"
    ? 0
    : ipaddr.IPv4.isValidFourPartDecimal(text)
      ? 4
      : text.includes(":") && ipaddr.IPv6.isValid(text)
        ? 6
        : 0;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** One for each member that is not known. */
export function unknownOf(value: Record<string, unknown>, known: readonly string[], path: string): Problem[] {
  return Object.keys(value)
    .filter((name) => !known.includes(name))
    .map((name) => ({ path: path ? `${path}.${name}` : name, reason: `is not known; there are ${known.join(", ")}` }));
}

export function adapterProblems(adapters: unknown, path = "adapters"): Problem[] {
  if (!isRecord(adapters)) return [{ path, reason: `must name adapters: ${adapterNames.join(", ")}` }];
  const problems = unknownOf(adapters, adapterNames, path);
  const seen = new Map<string, string>();
  for (const name of adapterNames) {
    const address = adapters[name];
    if (address === undefined) continue;
    const at = `${path}.${name}`;
    if (typeof address !== "string" || !mac.test(address)) {
      problems.push({ path: at, reason: "must be a MAC address such as 52:54:00:00:00:01" });
      continue;
    }
    if (Number.parseInt(address.slice(0, 2), 16) & 1) {
      problems.push({ path: at, reason: `${address} is a group address; an adapter has one of its own` });
    }
    const other = seen.get(address.toLowerCase());
    if (other) problems.push({ path: at, reason: `${address} is that of ${other}` });
    else seen.set(address.toLowerCase(), name);
  }
  return problems;
}

/** Address and prefix length. */
function isInterfaceAddress(text: unknown): boolean {
  const [address = "", length = "", more] = String(text).split("/");
  const version = versionOf(address);
  return version > 0 && more === undefined && /^\d{1,3}$/.test(length) && Number(length) <= (version === 4 ? 32 : 128);
}

export function managementProblems(management: unknown, path = "management"): Problem[] {
  if (!isRecord(management)) return [{ path, reason: "must be { dhcp: true } or { address, gateway?, dns? }" }];
  if ("dhcp" in management) {
    const problems = unknownOf(management, ["dhcp"], path);
    if (management.dhcp !== true) problems.push({ path: `${path}.dhcp`, reason: "must be true, or give an address" });
    return problems;
  }
  const problems = unknownOf(management, ["address", "gateway", "dns"], path);
  const { address, gateway, dns = [] } = management;
  if (!isInterfaceAddress(address)) {
    problems.push({ path: `${path}.address`, reason: "must be an address with prefix length such as 192.0.2.7/24" });
  }
  if (gateway !== undefined && versionOf(gateway) === 0) {
    problems.push({ path: `${path}.gateway`, reason: "must be an IP address" });
  } else if (gateway !== undefined && versionOf(gateway) !== versionOf(String(address).split("/")[0])) {
    problems.push({ path: `${path}.gateway`, reason: "is of another IP version than the address" });
  }
  if (!Array.isArray(dns)) problems.push({ path: `${path}.dns`, reason: "must be a list of IP addresses" });
  else {
    dns.forEach((one, index) => {
      if (versionOf(one) === 0) problems.push({ path: `${path}.dns[${index}]`, reason: "must be an IP address" });
    });
  }
  return problems;
}

export function hostnameProblems(hostname: unknown, path = "hostname"): Problem[] {
  if (typeof hostname === "string" && label.test(hostname)) return [];
  return [{ path, reason: "must be one label of a DNS name: small letters, digits, hyphens, at most 63" }];
}

export function sshKeyProblems(keys: unknown, path = "sshAuthorizedKeys"): Problem[] {
  if (!Array.isArray(keys)) return [{ path, reason: "must be a list of public keys" }];
  return keys.flatMap((key, index) =>
    typeof key === "string" && sshKey.test(key)
      ? []
      : [{ path: `${path}[${index}]`, reason: "must be one public key as in authorized_keys: ssh-ed25519 AAAA… name" }],
  );
}

export function tokenProblems(token: unknown, path = "token"): Problem[] {
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token) && token.length >= shortestToken) return [];
  return [{ path, reason: `must be at least ${shortestToken} printable characters without blanks` }];
}

/** The appliance itself judges what the document says; here it is seen that it is one. */
export function documentProblems(document: unknown, path = "site"): Problem[] {
  if (!isRecord(document)) return [{ path, reason: "must be the whole site.yaml as an object" }];
  const problems: Problem[] = [];
  if (!isRecord(document.site) || typeof document.site.name !== "string") {
    problems.push({ path: `${path}.site.name`, reason: "is required: the name of the site" });
  }
  if (!Array.isArray(document.dataplanes) || document.dataplanes.length === 0) {
    problems.push({ path: `${path}.dataplanes`, reason: "must have at least one data plane" });
  }
  return problems;
}

export function tlsProblems(tls: unknown, path = "tls"): Problem[] {
  const pem = (value: unknown, of: RegExp) => typeof value === "string" && of.test(value);
  if (!isRecord(tls)) return [{ path, reason: "must have cert and key" }];
  const problems = unknownOf(tls, ["cert", "key"], path);
  if (!pem(tls.cert, /-----BEGIN CERTIFICATE-----/)) problems.push({ path: `${path}.cert`, reason: "must be PEM" });
  if (!pem(tls.key, /-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/)) {
    problems.push({ path: `${path}.key`, reason: "must be a private key in PEM" });
  }
  return problems;
}

/** Everything that is wrong. */
export function problemsOf(parts: UserData): Problem[] {
  const { hostname, sshAuthorizedKeys = [], site, adapters = {}, management = { dhcp: true }, token, tls } = parts;
  const known = ["hostname", "sshAuthorizedKeys", "site", "adapters", "management", "token", "tls"];
  return [
    ...unknownOf({ ...parts }, known, ""),
    ...hostnameProblems(hostname),
    ...sshKeyProblems(sshAuthorizedKeys),
    ...documentProblems(site),
    ...adapterProblems(adapters),
    ...managementProblems(management),
    ...tokenProblems(token),
    ...(tls === undefined ? [] : tlsProblems(tls)),
  ];
}

/** Text of `user-data`. @throws InputPropertiesError with the path of everything that is wrong */
export function renderUserData(parts: UserData): string {
  const problems = problemsOf(parts);
  if (problems.length > 0) {
    throw new InputPropertiesError({
      message: "this cannot be the seed of an appliance",
      errors: problems.map(({ path, reason }) => ({ propertyPath: path, reason })),
    });
  }
  const { hostname, sshAuthorizedKeys = [], site, adapters = {}, management = { dhcp: true }, token, tls } = parts;
  const named = adapterNames.filter((name) => adapters[name] !== undefined);
  const document = {
    hostname,
    ...(sshAuthorizedKeys.length > 0 && { ssh_authorized_keys: [...sshAuthorizedKeys] }),
    offramp: {
      version: 1,
      site,
      ...(named.length > 0 && {
        adapters: Object.fromEntries(named.map((name) => [name, adapters[name]?.toLowerCase()])),
      }),
      management,
      token,
      ...(tls && { tls }),
    },
  };
  // Readers of YAML 1.1 take 52:54:00 for a number of seconds.
  return `#cloud-config\n${stringify(document, { lineWidth: 0, aliasDuplicateObjects: false, compat: "yaml-1.1" })}`;
}

/** Text of `meta-data`. Another instance id is another first boot. */
export const renderMetaData = (instanceId: string, hostname: string): string =>
  stringify({ "instance-id": instanceId, "local-hostname": hostname });
