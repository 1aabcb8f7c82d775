/**
 * Could this app itself reach that address?
 *
 * The platform posts notifications to where apps tell it to, and it stands where apps do not: on loopback, beside the
 * management network, on the wire between base stations and core. So it goes only where the app could go by itself:
 *
 *   never            what is no place (loopback, link-local, multicast, metadata services, IPv4 in IPv6 clothes),
 *                    the appliance's own addresses, protected prefixes, peers of the data planes, pools of UEs
 *   its own          addresses of the instance
 *   its network      an app on a machine of its own reaches the apps' network, but no app of another provider there;
 *                    one that runs on the appliance reaches no other app
 *   the Internet     when the instance has egress: public addresses
 *
 * Subscriptions of management users have no instance: they may name what can be routed to, private networks too.
 * Pure; asked at subscription and again before each delivery, so what a site changes counts at once.
 */
import {
  type Address,
  contains,
  formatAddress,
  host,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../../controlplane/intents/prefix.ts";

/** What is asked of an instance; `Instance` of ../parts.ts has it. */
export interface Place {
  id: string;
  /** The tenant. */
  provider: string;
  addresses: readonly string[];
  /** The app runs on a machine of its own. */
  external: boolean;
}

/** Undefined when the instance may be reached there, else why not; completes "the address 10.0.0.1 …". */
export type Reach = (instance: Place | undefined, address: Address, port: number) => string | undefined;

export interface ReachOptions {
  /** The appliance's own addresses; canonical prefixes. */
  own: () => readonly string[];
  /** Where no app may send: `protect`, peers of the data planes, pools of UEs. Canonical prefixes. */
  barred: () => readonly string[];
  /** The networks that apps on machines of their own are on. Canonical prefixes. */
  networks: () => readonly string[];
  instances: () => Iterable<Place>;
  /** May the instance send to the Internet? */
  egress: (id: string) => boolean;
}

interface Range {
  prefix: Prefix;
  why: string;
}

const ranges = (why: string, ...prefixes: string[]): Range[] =>
  prefixes.map((text) => ({ prefix: parsePrefix(text), why }));

/** Nobody's place, whoever asks. The first that fits names the reason. */
const never: Range[] = [
  ...ranges("is a metadata service's", "169.254.169.254", "100.100.100.200", "fd00:ec2::254"),
  ...ranges("is unspecified", "0.0.0.0/8", "::/128"),
  ...ranges("is loopback", "127.0.0.0/8", "::1/128"),
  ...ranges("is link-local", "169.254.0.0/16", "fe80::/10"),
  ...ranges("is multicast", "224.0.0.0/4", "ff00::/8"),
  ...ranges("is reserved", "240.0.0.0/4", "fec0::/10"),
  // 6to4, NAT64 (RFC 6052, RFC 8215), Teredo, compatible, mapped, translated: each means an IPv4 address to some host.
  ...ranges("is an IPv4 address in IPv6 clothes", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32"),
  ...ranges("is an IPv4 address in IPv6 clothes", "::/96", "::ffff:0:0:0/96", "192.88.99.0/24"),
];

/**
 * Not of the Internet (RFC 6890 and the register it began), beyond what is in `never`. Prefixes for documentation are left
 * public: nobody routes them, and laboratories play the Internet with them.
 */
const notPublic = [
  ...["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15"],
].map(parsePrefix);
const global6 = parsePrefix("2000::/3");

function isPublic(at: Prefix): boolean {
  if (at.family === 6) return contains(global6, at);
  return !notPublic.some((range) => contains(range, at));
}

/** Prefixes are read once, as long as the site gives the same list. */
function reader(list: () => readonly string[]): () => readonly Prefix[] {
  let known: { of: readonly string[]; prefixes: Prefix[] } | undefined;
  return () => {
    const of = list();
    if (known?.of !== of) known = { of, prefixes: of.map(parsePrefix) };
    return known.prefixes;
  };
}

/** @param text of `address` */
function same(other: string, text: string, { family, value }: Address): boolean {
  if (family === 4 || other === text) return other === text;
  return other.includes(":") && parseAddress(other).value === value;
}

/** Why an address is no place at all, whatever the site looks like. */
export const neverReached = (address: Address): string | undefined =>
  never.find(({ prefix }) => contains(prefix, host(address)))?.why;

export function reach(options: ReachOptions): Reach {
  const { egress, instances } = options;
  const [own, barred, networks] = [reader(options.own), reader(options.barred), reader(options.networks)];

  return (instance, address) => {
    const at = host(address);
    const fixed = neverReached(address);
    if (fixed !== undefined) return fixed;
    if (own().some((range) => contains(range, at))) return "is the appliance's own";
    if (barred().some((range) => contains(range, at))) return "is where no app may send";
    if (!instance) return undefined;
    const text = formatAddress(address);
    if (instance.addresses.some((one) => same(one, text, address))) return undefined;
    for (const other of instances()) {
      if (other.id === instance.id || !other.addresses.some((one) => same(one, text, address))) continue;
      const neighbours = other.provider === instance.provider && other.external && instance.external;
      return neighbours ? undefined : "is another app's";
    }
    if (instance.external && networks().some((range) => contains(range, at))) return undefined;
    if (!isPublic(at)) return "is not on a network that the app is on";
    return egress(instance.id) ? undefined : "is beyond the site, and the app has no way out";
  };
}
