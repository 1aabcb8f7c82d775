/**
 * What does the control plane work with, once `site.yaml` is known to be good?
 *
 * Defaults are filled in, durations are numbers, prefixes are canonical. Pure, and total on checked input.
 */
import type { AppsConfig, BackendConfig, DataplaneConfig, Limits } from "../../dataplane/dataplane.ts";
import {
  formatPrefix,
  host,
  isLoopback,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
  parseSocketAddress,
} from "../intents/prefix.ts";
import { milliseconds } from "./duration.ts";
import { type DataplaneSection, defaults, type SiteFile } from "./schema.ts";

export interface TlsConfig {
  cert: string;
  key: string;
  clientCa?: string;
}

export interface ApiConfig {
  host: string;
  port: number;
  loopback: boolean;
  tls?: TlsConfig;
  token?: string;
  tokenFile?: string;
  /** Whoever is on this machine is admin, without a token. */
  open: boolean;
}

/** What the MEC platform (mep/) is configured with. */
export interface MepConfig {
  mp1?: {
    host: string;
    port: number;
    /** `ca`: by which apps check `cert`. */
    tls?: TlsConfig & { ca?: string };
    insecure: boolean;
    /** Seconds for which an access token is good. */
    tokenLifetime: number;
    /** Requests a second: of one app, of one address, and for tokens of one address. */
    rates: { app: number; address: number; token: number };
  };
  dns?: { host: string; port: number; upstream: string[] };
  /** Canonical prefixes. */
  apps?: { tof: string; platform: string; egress?: string };
  rules: { initial: "ACTIVE" | "INACTIVE" };
  /** Base64 of Ed25519 public keys. */
  packages: { keys: { name: string; key: string }[] };
  /** Seconds. */
  liveness: { shortest: number; longest: number; usual: number };
  timing: { ntpServers: string[] };
  transports: NonNullable<NonNullable<SiteFile["mep"]>["transports"]>;
  /** `ca`: path of a PEM file. */
  notifications: { ca?: string };
}

export interface SiteConfig {
  name: string;
  stateDir: string;
  backend: BackendConfig;
  /** As configured, and the appliance's own addresses. Canonical prefixes. */
  protect: string[];
  /** The appliance's own addresses among them: canonical prefixes of one address each. */
  own: string[];
  api: ApiConfig;
  /** As it was written: what is added to it later is checked against the whole. */
  file: SiteFile;
  /** Absent: this appliance has no MEC platform. */
  mep?: MepConfig;
}

const canonical = (prefixes: readonly string[] = []): string[] =>
  prefixes.map((text) => formatPrefix(parsePrefix(text)));

function dataplaneConfig(section: DataplaneSection): DataplaneConfig {
  const { pinger } = section;
  return {
    name: section.name,
    plugin: section.plugin ?? "gtp",
    backend: "ebpf",
    ...(section.access !== undefined && { access: section.access }),
    ...(section.core !== undefined && { core: section.core }),
    ...(section.adapter !== undefined && { adapter: section.adapter }),
    accessPeers: canonical(section.accessPeers),
    corePeers: canonical(section.corePeers),
    uePools: canonical(section.uePools),
    idleTimeout: milliseconds(section.idleTimeout ?? defaults.idleTimeout) / 1000,
    ...(pinger && {
      pinger: {
        ...(pinger.target !== undefined && { target: pinger.target }),
        ...(pinger.target6 !== undefined && { target6: pinger.target6 }),
        intervalMs: milliseconds(pinger.interval ?? defaults.interval),
        giveUpMs: milliseconds(pinger.giveUp ?? defaults.giveUp),
      },
    }),
    interface: section.interface ?? "s1u",
    mode: section.mode ?? "offload",
  };
}

const socketOf = (text: string) => {
  const { address, port } = parseSocketAddress(text);
  return { host: formatPrefix(host(address)).replace(/\/\d+$/, ""), port, loopback: isLoopback(address) };
};

function mepConfig(mep: NonNullable<SiteFile["mep"]>): MepConfig {
  const { mp1, dns, apps, rules, notifications, liveness, timing, transports } = mep;
  const at = (text: string) => {
    const { host, port } = socketOf(text);
    return { host, port };
  };
  return {
    ...(mp1 && {
      mp1: {
        ...at(mp1.listen),
        ...(mp1.tls && { tls: mp1.tls }),
        insecure: mp1.insecure ?? false,
        tokenLifetime: milliseconds(mp1.tokenLifetime ?? defaults.tokenLifetime) / 1000,
        rates: { ...defaults.mp1Rates, ...mp1.rates },
      },
    }),
    ...(dns && { dns: { ...at(dns.listen), upstream: dns.upstream ?? [] } }),
    ...(apps && {
      apps: {
        tof: formatPrefix(parsePrefix(apps.tof)),
        platform: formatPrefix(parsePrefix(apps.platform)),
        ...(apps.egress !== undefined && { egress: apps.egress }),
      },
    }),
    rules: { initial: rules?.initial ?? "INACTIVE" },
    packages: { keys: mep.packages?.keys ?? [] },
    liveness: {
      shortest: milliseconds(liveness?.shortest ?? defaults.liveness.shortest) / 1000,
      longest: milliseconds(liveness?.longest ?? defaults.liveness.longest) / 1000,
      usual: milliseconds(liveness?.usual ?? defaults.liveness.usual) / 1000,
    },
    timing: { ntpServers: timing?.ntpServers ?? [] },
    transports: transports ?? [],
    notifications: { ...(notifications?.ca !== undefined && { ca: notifications.ca }) },
  };
}

function apiConfig(section: SiteFile["api"] = {}): ApiConfig {
  const listen = socketOf(section.listen ?? defaults.listen);
  const credentials = [section.token, section.tokenFile, section.tls?.clientCa].some((one) => one !== undefined);
  return {
    ...listen,
    open: section.loopback === undefined ? listen.loopback && !credentials : section.loopback === "admin",
    ...(section.tls && { tls: section.tls }),
    ...(section.token !== undefined && { token: section.token }),
    ...(section.tokenFile !== undefined && { tokenFile: section.tokenFile }),
  };
}

/** The appliance's own addresses that a UE could send to; loopback cannot be sent to. */
function ownAddresses(file: SiteFile): string[] {
  const own = [file.apps?.address, file.apps?.address6].filter((text) => text !== undefined);
  const vxlan = [file.vxlan?.address, file.vxlan?.address6].filter((text) => text !== undefined);
  const sockets = [file.api?.listen, file.mep?.mp1?.listen, file.mep?.dns?.listen].filter((text) => text !== undefined);
  return [
    ...own.map((text) => parseInterfaceAddress(text).address),
    ...vxlan.map(parseAddress),
    ...sockets.map((text) => parseSocketAddress(text).address),
  ]
    .filter((address) => !isLoopback(address) && address.value !== 0n)
    .map((address) => formatPrefix(host(address)));
}

/** `file` has passed schema and checks. */
export function siteConfig(file: SiteFile): SiteConfig {
  const sessions = file.limits?.sessions ?? defaults.limits.sessions;
  // One peer, taken over or out of order, leaves half of the table to the others.
  const limits: Limits = { ...defaults.limits, peerSessions: Math.ceil(sessions / 2), ...file.limits };
  const mep = file.mep && mepConfig(file.mep);
  const instances = mep?.apps && { tof: mep.apps.tof, platform: mep.apps.platform };
  const apps: AppsConfig | undefined = file.apps && { ...file.apps, ...(instances && { instances }) };
  return {
    name: file.site.name,
    stateDir: file.site.stateDir,
    backend: {
      site: file.site.name,
      stateDir: file.site.stateDir,
      dataplanes: file.dataplanes.map(dataplaneConfig),
      limits,
      ...(apps && { apps }),
      ...(apps && file.vxlan && { vxlan: { ...defaults.vxlan, ...file.vxlan } }),
    },
    protect: [...new Set([...canonical(file.protect), ...ownAddresses(file)])],
    own: [...new Set(ownAddresses(file))],
    api: apiConfig(file.api),
    file,
    ...(mep && { mep }),
  };
}
