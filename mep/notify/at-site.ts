/**
 * What does a site say about notifications?
 *
 * Its own addresses and the prefixes that no app may send to bar the way, its networks open it; names are looked up as apps look
 * them up, at the platform's own name server where there is one. All of it is asked again for each delivery.
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import type { SiteConfig } from "../../controlplane/config/site.ts";
import type { Host } from "../../controlplane/extension.ts";
import { formatPrefix, parseInterfaceAddress } from "../../controlplane/intents/prefix.ts";
import type { Instances } from "../parts.ts";
import { resolver } from "./guard.ts";
import { Notifier } from "./notifier.ts";
import { type Reach, type ReachOptions, reach } from "./reach.ts";

export interface AtSite {
  host: Pick<Host, "config" | "site" | "events" | "metrics" | "log">;
  instances: Pick<Instances, "get" | "list">;
  /** May the instance send to the Internet? */
  egress: (id: string) => boolean;
  /** Another policy than the site's. */
  reach?: Reach;
}

/** Milliseconds for which the adapters' addresses are believed. */
const believed = 5000;

/** Made anew when the site has changed. */
function perSite<T>(site: () => SiteConfig, make: (site: SiteConfig) => T): () => T {
  let known: { of: SiteConfig; made: T } | undefined;
  return () => {
    const of = site();
    if (known?.of !== of) known = { of, made: make(of) };
    return known.made;
  };
}

/** Addresses of all adapters, also of those that site.yaml does not name. */
function adapterAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.map(({ address, family }) => `${address.split("%", 1)[0]}/${family === "IPv4" ? 32 : 128}`),
  );
}

/** By site.yaml, as it is now, and the adapters. */
export function reachAt(site: () => SiteConfig, who: Pick<ReachOptions, "instances" | "egress">): Reach {
  const barred = perSite(site, ({ protect, backend }) => [
    ...protect,
    ...backend.dataplanes.flatMap(({ accessPeers, corePeers, uePools }) => [...accessPeers, ...corePeers, ...uePools]),
  ]);
  const networks = perSite(site, ({ file }) =>
    [file.apps?.address, file.apps?.address6]
      .filter((text) => text !== undefined)
      .map((text) => formatPrefix(parseInterfaceAddress(text).network)),
  );
  let seen = { at: Number.NEGATIVE_INFINITY, own: [] as string[] };
  const own = () => {
    const now = performance.now();
    if (now - seen.at > believed) seen = { at: now, own: [...site().own, ...adapterAddresses()] };
    return seen.own;
  };
  return reach({ own, barred, networks, ...who });
}

export function notifierAt({ host, instances, egress, reach: given }: AtSite): Notifier {
  const { ca } = host.config.mep?.notifications ?? {};
  const { dns } = host.config.mep ?? {};
  const servers = dns && [dns.host.includes(":") ? `[${dns.host}]:${dns.port}` : `${dns.host}:${dns.port}`];
  const notifier = new Notifier({
    instance: (id) => instances.get(id),
    reach: given ?? reachAt(host.site, { instances: () => instances.list(), egress }),
    resolve: resolver({ ...(servers && { servers }) }),
    ...(ca !== undefined && { ca: readFileSync(ca, "utf8") }),
    publish: (event) => host.events.publish(event),
    warn: (about, message) => host.log.warn(about, message),
  });
  notifier.register(host.metrics.registry);
  return notifier;
}
