/**
 * Is this user-data good, and what does it say?
 *
 *   text ─yaml─▶ document ─schema─▶ UserData ─fill in─▶ site.yaml ─its own checks─▶ Seed
 *
 * All errors at once, each with its place: `user-data:12:9: offramp.site.dataplanes[0].access …`. Values of secrets are in none
 * of them. Pure.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { Finding } from "../config/checks.ts";
import { findings, formatPath, parseChecked, schemaErrors } from "../config/load.ts";
import type { SiteFile } from "../config/schema.ts";
import { messageOf } from "../errors.ts";
import { isLoopback, parseAddress, parseInterfaceAddress, parseSocketAddress } from "../intents/prefix.ts";
import { type UserData, userDataSchema } from "./schema.ts";

/** Where things lie on an appliance. */
export const places = {
  etc: "/etc/offramp",
  state: "/var/lib/offramp",
  cert: "/etc/offramp/tls.crt",
  key: "/etc/offramp/tls.key",
  token: "/etc/offramp/token",
} as const;

const port = 8090;

/** User-data that was found good; `site` is complete. Absent `offramp`: nothing but host name and keys. */
export interface Seed {
  hostname?: string;
  keys: string[];
  offramp?: Omit<NonNullable<UserData["offramp"]>, "site"> & { site: SiteFile };
}

type Settings = NonNullable<UserData["offramp"]>;

const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

const usesDhcp = ({ management = {} }: Settings): boolean => management.address === undefined;

/** The site with what the appliance knows by itself. What was written stays as it is. */
export function complete(settings: Settings): Record<string, unknown> {
  const { site, management } = settings;
  const api = record(site.api);
  const [host = "0.0.0.0"] = usesDhcp(settings) ? [] : (management?.address ?? "").split("/");
  const listen = api.listen ?? `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const tls = settings.tls !== undefined || !listensOnLoopback(listen);
  return {
    ...site,
    site: { stateDir: places.state, ...record(site.site) },
    ...(site.site !== undefined && typeof site.site !== "object" && { site: site.site }),
    api: {
      ...api,
      listen,
      ...(tls && api.tls === undefined && { tls: { cert: places.cert, key: places.key } }),
      ...(settings.token !== undefined &&
        api.token === undefined &&
        api.tokenFile === undefined && { tokenFile: places.token }),
    },
  };
}

function listensOnLoopback(listen: unknown): boolean {
  try {
    return isLoopback(parseSocketAddress(String(listen)).address);
  } catch {
    return false;
  }
}

function attempt(found: Finding[], path: Finding["path"], ask: () => unknown, what: string): void {
  try {
    ask();
  } catch (error) {
    found.push({ path, message: `${what}: ${messageOf(error)}` });
  }
}

function managementErrors({ management }: Settings): Finding[] {
  if (management === undefined) return [];
  const found: Finding[] = [];
  const at = (...path: (string | number)[]) => ["offramp", "management", ...path];
  const { dhcp, address, gateway, dns = [] } = management;
  if (dhcp === true && address !== undefined) found.push({ path: at(), message: "has dhcp and address: choose one" });
  if (dhcp !== true && address === undefined) found.push({ path: at(), message: "needs dhcp: true or an address" });
  if (address === undefined && gateway !== undefined) found.push({ path: at("gateway"), message: "needs an address" });
  if (address !== undefined) {
    attempt(found, at("address"), () => parseInterfaceAddress(address), "is no address such as 192.0.2.7/24");
  }
  if (gateway !== undefined) attempt(found, at("gateway"), () => parseAddress(gateway), "is no address");
  for (const [index, one] of dns.entries()) attempt(found, at("dns", index), () => parseAddress(one), "is no address");
  return found;
}

function adapterErrors({ adapters = {} }: Settings): Finding[] {
  const seen = new Map<string, string>();
  return Object.entries(adapters).flatMap(([name, mac]) => {
    const other = seen.get(String(mac).toLowerCase());
    seen.set(String(mac).toLowerCase(), name);
    return other === undefined
      ? []
      : [{ path: ["offramp", "adapters", name], message: `is the adapter ${other}, too` }];
  });
}

/** Neither OpenSSL's words nor the value: only what to do. */
function tlsErrors({ tls }: Settings): Finding[] {
  if (tls === undefined) return [];
  let certificate: X509Certificate | undefined;
  const found: Finding[] = [];
  try {
    certificate = new X509Certificate(tls.cert);
  } catch {
    found.push({ path: ["offramp", "tls", "cert"], message: "is no certificate in PEM" });
  }
  try {
    const key = createPrivateKey(tls.key);
    if (certificate && !certificate.checkPrivateKey(key)) {
      found.push({ path: ["offramp", "tls", "key"], message: "does not belong to offramp.tls.cert" });
    }
  } catch {
    found.push({ path: ["offramp", "tls", "key"], message: "is no private key in PEM without a passphrase" });
  }
  return found;
}

function siteErrors(settings: Settings): Finding[] {
  const below = ["offramp", "site"];
  const site = complete(settings);
  const found: Finding[] = findings(site).map((one) => ({ ...one, path: [...below, ...one.path] }));
  const stateDir = record(site.site).stateDir;
  if (stateDir !== places.state) {
    found.push({
      path: [...below, "site", "stateDir"],
      message: `must be ${places.state}, which is on the state partition; or leave it out`,
    });
  }
  return found;
}

function judge(value: object): Finding[] {
  const fromSchema = schemaErrors(userDataSchema, value);
  const { offramp } = value as UserData;
  if (typeof offramp !== "object" || offramp === null || typeof offramp.site !== "object" || offramp.site === null) {
    return fromSchema;
  }
  const checks = [siteErrors, managementErrors, adapterErrors, tlsErrors];
  const broken = new Set(fromSchema.map(({ path }) => formatPath(path)));
  const more = fromSchema.length > 0 ? checks.slice(0, 1) : checks;
  const said = new Set<string>();
  return [
    ...fromSchema,
    ...more.flatMap((check) => check(offramp)).filter(({ path }) => !broken.has(formatPath(path))),
  ].filter(({ path, message }) => {
    const line = `${formatPath(path)} ${message}`;
    return !said.has(line) && said.add(line);
  });
}

/** @throws ConfigurationError with everything that is wrong */
export function readUserData(text: string): Seed {
  const holds = "hostname, ssh_authorized_keys, offramp";
  const marked: (value: object) => Finding[] = (value) =>
    /^#cloud-config[ \t]*\r?(\n|$)/.test(text)
      ? judge(value)
      : [{ path: [], message: "must begin with the line #cloud-config" }, ...judge(value)];
  const { hostname, ssh_authorized_keys, offramp } = parseChecked(text, "user-data", holds, marked) as UserData;
  return {
    ...(hostname !== undefined && { hostname }),
    keys: ssh_authorized_keys ?? [],
    ...(offramp && { offramp: { ...offramp, site: complete(offramp) as unknown as SiteFile } }),
  };
}
