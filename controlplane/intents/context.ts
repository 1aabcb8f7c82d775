/**
 * What does the site say that services are judged by, and can packets be sent to an address from here?
 *
 * A member that is absent is not known (a body is looked at without a site), and nothing is judged by it.
 */
import type { SiteConfig } from "../config/site.ts";
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  host,
  isUnicast,
  overlaps,
  type Prefix,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
} from "./prefix.ts";

export interface DataplaneFacts {
  name: string;
  plugin: "gtp" | "ethernet";
  /** Absent: not known. */
  interface?: "s1u" | "n3";
  /** Its adapters: wires, on which nothing else may send. */
  adapters: string[];
  /** UE addresses that it learns; empty: any. */
  pools: Prefix[];
  /** Base stations and gateways that teach; empty: any. */
  accessPeers: Prefix[];
  corePeers: Prefix[];
}

/** What a site adds to the rules. */
export interface ValidationContext {
  /** UEs may not reach these, so a service in one of them would never see a packet. */
  protect: Prefix[];
  dataplanes?: DataplaneFacts[];
  /** Toward the apps. The appliance's addresses there are open to apps and, by a service, to UEs. */
  apps?: { interface: string; addresses: Address[]; networks: Prefix[] };
  /** All addresses of the appliance, those toward the apps among them. */
  own?: Address[];
  /** To which transit functions send packets back; null: site.yaml has none, so there are no chains. */
  vxlan?: { addresses: Address[] } | null;
}

export type SiteFacts = Omit<ValidationContext, "protect">;

export const noContext: ValidationContext = { protect: [] };

const same = (a: Address, b: Address) => a.family === b.family && a.value === b.value;
const holds = (list: Address[] | undefined, address: Address) => list?.some((one) => same(one, address)) === true;

/** The UE pool that meets a prefix. */
export function poolThatMeets(prefix: Prefix, { dataplanes = [] }: ValidationContext): string | undefined {
  for (const { name, pools } of dataplanes) {
    const pool = pools.find((one) => overlaps(one, prefix));
    if (pool) return `${formatPrefix(pool)}, the UE addresses of data plane ${name}`;
  }
  return undefined;
}

/**
 * Why do packets that are sent to `address` never arrive, or come back? Undefined when they arrive.
 * `what` is an endpoint that they are translated to, a transit function that they are tunnelled to, or where an output leads.
 */
export function leadsNowhere(
  address: Address,
  what: "endpoint" | "function" | "next hop" | "tunnel end",
  context: ValidationContext,
): string | undefined {
  const { apps, own, vxlan, dataplanes = [] } = context;
  const text = formatAddress(address);
  if (!isUnicast(address)) return `${text} is not an address that packets can be sent to`;
  if (vxlan && holds(vxlan.addresses, address)) {
    return `${text} is the appliance's own VXLAN address: packets would come straight back`;
  }
  if (holds(own, address)) {
    if (what !== "endpoint") return `${text} is the appliance itself: packets would come straight back`;
    if (!holds(apps?.addresses, address)) return `${text} is an address of the appliance that UEs may not reach`;
  }
  const pool = poolThatMeets(host(address), context);
  if (pool) return `${text} lies in ${pool}: packets would come straight back`;
  // By an adapter of its own another gateway may be reached.
  if (what === "next hop" || what === "tunnel end") return undefined;
  if (apps?.networks.some((network) => contains(network, host(address)))) return undefined;
  for (const { name, accessPeers, corePeers } of dataplanes) {
    const peer = [...accessPeers, ...corePeers].find((one) => one.length > 0 && contains(one, host(address)));
    if (peer) {
      return `${text} lies in ${formatPrefix(peer)}, the base stations and gateways of data plane ${name}: packets would come back on the wire`;
    }
  }
  return undefined;
}

/** Why can nothing leave by this adapter? `copies` would meet what is sent there anyway. Undefined when it can. */
export function adapterTaken(
  adapter: string,
  copies: boolean,
  { apps, dataplanes = [] }: ValidationContext,
): string | undefined {
  const user = dataplanes.find(({ adapters }) => adapters.includes(adapter));
  if (user) return `"${adapter}" is a wire of data plane ${user.name}: what is sent there would come back`;
  if (adapter === "lo" || adapter.startsWith("ofr-")) return `"${adapter}" is an adapter of the appliance's own`;
  if (copies && adapter === apps?.interface) {
    return `"${adapter}" leads to the apps: endpoints and functions would get every packet twice`;
  }
  return undefined;
}

const prefixes = (texts: readonly string[]): Prefix[] => texts.map(parsePrefix);

/** What a checked `site.yaml` says, but for `protect`. */
export function siteFacts({ backend, own }: Pick<SiteConfig, "backend" | "own">): SiteFacts {
  const { apps, dataplanes, vxlan } = backend;
  const there =
    apps && [apps.address, ...(apps.address6 === undefined ? [] : [apps.address6])].map(parseInterfaceAddress);
  return {
    dataplanes: dataplanes.map((one) => ({
      name: one.name,
      plugin: one.plugin,
      interface: one.interface,
      adapters: [one.access, one.core, one.adapter].filter((adapter) => adapter !== undefined),
      pools: prefixes(one.uePools),
      accessPeers: prefixes(one.accessPeers),
      corePeers: prefixes(one.corePeers),
    })),
    ...(apps &&
      there && {
        apps: {
          interface: apps.interface,
          addresses: there.map(({ address }) => address),
          networks: there.map(({ network }) => network),
        },
      }),
    own: prefixes(own),
    vxlan: vxlan
      ? { addresses: [vxlan.address, ...(vxlan.address6 === undefined ? [] : [vxlan.address6])].map(parseAddress) }
      : null,
  };
}
