/**
 * What does `site.yaml` mean for app instances?
 *
 * Where it names no networks for them, there is no runtime: then only apps on machines of their own are known.
 */
import type { SiteConfig } from "../../controlplane/config/site.ts";
import { networkOf, RETURN } from "../../dataplane/ebpf/plumbing.ts";
import { mp1Base, mp1Ca } from "../mp1/listen.ts";
import type { Server } from "./firewall.ts";
import { HostRuntime, type HostRuntimeConfig } from "./host-runtime.ts";

const isIPv4 = (text: string): boolean => !text.includes(":");

/** Pure. */
export function runtimeSettings(config: SiteConfig, warn: HostRuntimeConfig["warn"]): HostRuntimeConfig | undefined {
  const { mep, backend, protect, stateDir } = config;
  const { apps } = backend;
  if (!mep?.apps || !apps) return undefined;
  const { mp1, dns } = mep;
  const { tof, platform, egress } = mep.apps;
  const [ownAddress = "", bits = ""] = apps.address.split("/");
  const base = mp1 && mp1Base(mp1, config);
  const servers: Server[] = [
    ...(mp1 && base ? [{ protocol: "tcp" as const, address: new URL(base).hostname, port: mp1.port }] : []),
    ...(dns ? (["udp", "tcp"] as const).map((protocol) => ({ protocol, address: dns.host, port: dns.port })) : []),
  ];
  return {
    stateDir,
    networks: { tof, platform },
    site: {
      returnPort: RETURN,
      appsAdapter: apps.interface,
      ownAddress,
      servers: servers.filter(({ address }) => isIPv4(address)),
      platform,
      ...(egress !== undefined && { egress }),
      forbidden: [...new Set([...protect, networkOf(ownAddress, Number(bits)), tof, platform])].filter(isIPv4),
      uePools: [...new Set(backend.dataplanes.flatMap(({ uePools }) => uePools))].filter(isIPv4),
    },
    ...(dns && isIPv4(dns.host) && { resolver: dns.host }),
    ...(mp1 && { ca: () => mp1Ca(mp1, config) }),
    environment: base ? { OFFRAMP_MP1: base, OFFRAMP_TOKEN_ENDPOINT: `${base}/oauth2/token` } : {},
    warn,
  };
}

/** Constructing has no effects. */
export function runtimeOf(
  config: SiteConfig,
  warn: HostRuntimeConfig["warn"],
  ended: HostRuntimeConfig["ended"] = undefined,
): HostRuntime | undefined {
  const settings = runtimeSettings(config, warn);
  return settings && new HostRuntime({ ...settings, ...(ended && { ended }) });
}

/** For `offramp down`: nothing of any instance runs afterwards. */
export async function takeDownInstances(config: SiteConfig): Promise<void> {
  await runtimeOf(config, () => undefined)?.down();
}
