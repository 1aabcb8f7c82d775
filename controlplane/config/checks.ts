/**
 * What can be wrong with a `site.yaml` whose every member has the right type?
 *
 * Each check looks at the file as it was read and skips members of the wrong type: those have been reported already.
 */
import {
  AddressError,
  contains,
  formatAddress,
  formatPrefix,
  host,
  isLoopback,
  isUnicast,
  overlaps,
  type Prefix,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
  parseSocketAddress,
} from "../intents/prefix.ts";
import { milliseconds } from "./duration.ts";
import type { Path } from "./load.ts";
import { type DataplaneSection, defaults, type SiteFile } from "./schema.ts";

export interface Finding {
  path: Path;
  /** The name in front of the value is meant. */
  key?: boolean;
  message: string;
}

class Checker {
  readonly findings: Finding[] = [];

  fail(path: Path, message: string): undefined {
    this.findings.push({ path, message });
    return undefined;
  }

  /** Runs a reader on text; reports what it refuses. */
  read<T>(path: Path, text: unknown, reader: (text: string) => T): T | undefined {
    if (typeof text !== "string") return undefined;
    try {
      return reader(text);
    } catch (error) {
      if (error instanceof AddressError) return this.fail(path, error.message);
      throw error;
    }
  }

  prefixes(path: Path, list: unknown): { prefix: Prefix; path: Path }[] {
    return array(list).flatMap((text, index) => {
      const at = [...path, index];
      const prefix = this.read(at, text, parsePrefix);
      return prefix ? [{ prefix, path: at }] : [];
    });
  }

  range(path: Path, text: unknown, low: number, high: number, said: string): void {
    if (typeof text !== "string") return;
    const value = milliseconds(text);
    if (value < low || value > high) this.fail(path, `must be ${said}`);
  }
}

const array = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const group = <T extends object>(value: T | undefined): Partial<T> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};

function checkPorts(check: Checker, path: Path, section: Partial<DataplaneSection>): void {
  const { access, core, adapter } = section;
  if (adapter !== undefined) {
    for (const key of ["access", "core"] as const) {
      if (section[key] !== undefined) check.fail([...path, key], "does not go with adapter: give one or the other");
    }
    for (const key of ["accessPeers", "corePeers"] as const) {
      if (array(section[key]).length === 0) {
        check.fail([...path, "adapter"], `is shared by both sides, so ${key} must name the peers of one side`);
      }
    }
    return;
  }
  if (access === undefined && core === undefined) {
    check.fail(path, 'lacks its adapters: add "access" and "core", or "adapter" where one is shared');
  } else if (access === undefined || core === undefined) {
    check.fail(path, `lacks "${access === undefined ? "access" : "core"}"; add it`);
  } else if (access === core) {
    check.fail([...path, "core"], 'is the access adapter as well; one shared adapter is written "adapter: …"');
  }
}

function checkPinger(check: Checker, path: Path, section: Partial<DataplaneSection>): void {
  if (section.pinger === undefined) return;
  const pinger = group(section.pinger);
  for (const [key, family] of [
    ["target", 4],
    ["target6", 6],
  ] as const) {
    const at = [...path, "pinger", key];
    const address = check.read(at, pinger[key], parseAddress);
    if (address && address.family !== family) check.fail(at, `must be an IPv${family} address`);
    else if (address && !isUnicast(address)) check.fail(at, "is not an address that packets can be sent to");
  }
  if (pinger.target === undefined && pinger.target6 === undefined) {
    check.fail([...path, "pinger"], 'lacks "target" (IPv4) or "target6" (IPv6); add one');
  }
  check.range([...path, "pinger", "interval"], pinger.interval, 10, 60_000, "10ms to 60s");
  check.range([...path, "pinger", "giveUp"], pinger.giveUp, 10, 3_600_000, "10ms to 1h");
  const interval = milliseconds(pinger.interval ?? defaults.interval);
  const giveUp = milliseconds(pinger.giveUp ?? defaults.giveUp);
  if (giveUp < interval) check.fail([...path, "pinger", "giveUp"], "must not be shorter than the interval");
}

/** Members that only tunnels have a use for. */
const needsTunnels = {
  adapter: "one shared adapter needs tunnels to tell its sides apart: give access and core",
  accessPeers: "stations are not configured; uePools says whose addresses are learnt",
  corePeers: "stations are not configured; uePools says whose addresses are learnt",
  pinger: "a client's own frames show the way back",
  interface: "there is no tunnel",
} as const;

function checkEthernet(check: Checker, path: Path, section: Partial<DataplaneSection>): void {
  if (section.plugin !== "ethernet") return;
  for (const [key, why] of Object.entries(needsTunnels)) {
    if (section[key as keyof typeof needsTunnels] === undefined) continue;
    check.findings.push({ path: [...path, key], key: true, message: `does not go with plugin ethernet: ${why}` });
  }
}

function checkDataplanes(check: Checker, file: SiteFile): void {
  const names = new Map<string, number>();
  const adapters = new Map<string, string>();
  const pools: { prefix: Prefix; path: Path; dataplane: string; index: number }[] = [];
  const appsInterface = group(file.apps).interface;
  for (const [index, given] of array(file.dataplanes).entries()) {
    const section = group(given as DataplaneSection);
    const path = ["dataplanes", index];
    const name = String(section.name ?? index);
    const before = names.get(name);
    if (before !== undefined) check.fail([...path, "name"], `is taken by dataplanes[${before}]; names are unique`);
    else names.set(name, index);
    if (section.backend === "ovs") check.fail([...path, "backend"], '"ovs" is not in this release; use ebpf');
    checkEthernet(check, path, section);
    if (section.plugin !== "ethernet" || section.adapter === undefined) checkPorts(check, path, section);
    for (const key of ["access", "core", "adapter"] as const) {
      const adapter = section[key];
      if (typeof adapter !== "string") continue;
      const user = adapters.get(adapter);
      if (user !== undefined && user !== name) check.fail([...path, key], `"${adapter}" belongs to data plane ${user}`);
      adapters.set(adapter, name);
      if (adapter === appsInterface) check.fail([...path, key], `"${adapter}" is the apps' adapter`);
    }
    const accessPeers = check.prefixes([...path, "accessPeers"], section.accessPeers);
    const corePeers = check.prefixes([...path, "corePeers"], section.corePeers);
    // On a shared adapter the address alone says from which side a packet comes.
    if (section.adapter !== undefined) {
      for (const core of corePeers) {
        const both = accessPeers.find((access) => overlaps(access.prefix, core.prefix));
        if (both) check.fail(core.path, `overlaps accessPeers ${formatPrefix(both.prefix)}: a peer is on one side`);
      }
    }
    for (const pool of check.prefixes([...path, "uePools"], section.uePools)) {
      const other = pools.find((seen) => seen.index !== index && overlaps(seen.prefix, pool.prefix));
      if (other) {
        const said = `overlaps ${formatPrefix(other.prefix)} of data plane ${other.dataplane}: a UE lives on one`;
        check.fail(pool.path, said);
      }
      pools.push({ ...pool, dataplane: name, index });
    }
    check.range([...path, "idleTimeout"], section.idleTimeout, 1000, 86_400_000, "1s to 24h");
    checkPinger(check, path, section);
  }
}

function checkApps(check: Checker, file: SiteFile): void {
  const apps = group(file.apps);
  for (const [key, family] of [
    ["address", 4],
    ["address6", 6],
  ] as const) {
    const at = ["apps", key];
    const parsed = check.read(at, apps[key], parseInterfaceAddress);
    if (!parsed) continue;
    if (parsed.address.family !== family) check.fail(at, `must be an IPv${family} address`);
    else if (!isUnicast(parsed.address)) check.fail(at, "is not an address that packets can be sent to");
    else if (parsed.network.length < (family === 4 ? 31 : 127) && parsed.network.value === parsed.address.value) {
      check.fail(at, "is the address of the network itself: write the appliance's own");
    }
  }
}

/** The address must be on the apps' network, and nobody's. */
function checkVxlan(check: Checker, file: SiteFile): void {
  if (file.vxlan === undefined) return;
  const [vxlan, apps] = [group(file.vxlan), group(file.apps)];
  if (file.apps === undefined) {
    check.fail(["vxlan"], 'needs "apps": functions of chains are reached through the apps\' adapter');
  }
  for (const [key, family] of [
    ["address", 4],
    ["address6", 6],
  ] as const) {
    const at = ["vxlan", key];
    const address = check.read(at, vxlan[key], parseAddress);
    if (!address) continue;
    const own = apps[key];
    if (address.family !== family) {
      check.fail(at, `must be an IPv${family} address`);
      continue;
    }
    if (!isUnicast(address)) check.fail(at, "is not an address that packets can be sent to");
    if (typeof own !== "string") {
      if (file.apps !== undefined) check.fail(at, `needs apps.${key}: it has to be on the apps' network`);
      continue;
    }
    const parsed = new Checker().read(at, own, parseInterfaceAddress);
    if (!parsed) continue;
    if (parsed.address.value === address.value) {
      check.fail(at, "is the appliance's own address: give one that nobody has");
    } else if (!contains(parsed.network, host(address))) {
      check.fail(at, `is not on the apps' network ${formatPrefix(parsed.network)}: give a free address of it`);
    }
  }
  const { port, gpePort } = { ...defaults.vxlan, ...vxlan };
  if (port === gpePort) check.fail(["vxlan", "gpePort"], "is the port of VXLAN as well: the two need one each");
}

function checkApi(check: Checker, file: SiteFile): void {
  const api = group(file.api);
  const listen = check.read(["api", "listen"], api.listen, parseSocketAddress);
  if (api.token !== undefined && api.tokenFile !== undefined) {
    check.fail(["api", "tokenFile"], "does not go with token: give one or the other");
  }
  if (!listen || isLoopback(listen.address)) return;
  if (api.loopback === "admin") {
    check.fail(["api", "loopback"], "is for an API that listens on loopback: this one is reached from elsewhere");
  }
  if (api.tls === undefined) {
    check.fail(
      ["api", "listen"],
      'is not loopback, so it needs TLS: add "tls" with cert and key, or listen on 127.0.0.1',
    );
  }
  const credentials = [api.token, api.tokenFile, group(api.tls).clientCa].some((one) => one !== undefined);
  if (!credentials && api.loopback !== "none") {
    const users = 'or "loopback: none" and users (offramp user add --config)';
    check.fail(
      ["api", "listen"],
      `is not loopback, so it needs a token: add "tokenFile", "token" or "tls.clientCa", ${users}`,
    );
  }
}

/** The appliance's own addresses there, as far as they can be read. */
function ownTowardApps(file: SiteFile): string[] {
  const { address, address6 } = group(file.apps);
  return [address, address6].flatMap((text) => {
    try {
      return typeof text === "string" ? [formatAddress(parseInterfaceAddress(text).address)] : [];
    } catch {
      return [];
    }
  });
}

function checkEnablement(check: Checker, mep: Partial<NonNullable<SiteFile["mep"]>>): void {
  const liveness = group(mep.liveness);
  const seconds = (["shortest", "usual", "longest"] as const).map((key) => {
    const text = liveness[key] ?? defaults.liveness[key];
    const value = typeof text === "string" ? milliseconds(text) / 1000 : Number.NaN;
    if (!Number.isNaN(value) && (value < 1 || value > 86_400 || value % 1 !== 0)) {
      check.fail(["mep", "liveness", key], "must be whole seconds, 1s to 24h");
    }
    return value;
  });
  const [shortest = 0, usual = 0, longest = 0] = seconds;
  if (usual < shortest) check.fail(["mep", "liveness", "usual"], "must not be shorter than shortest");
  if (usual > longest) check.fail(["mep", "liveness", "usual"], "must not be longer than longest");
  const ids = array(mep.transports).map((one) => group(one as { id: string }).id);
  for (const [index, id] of ids.entries()) {
    const path = ["mep", "transports", index, "id"];
    if (id === "mp1-rest") check.fail(path, "is the platform's own transport: choose another");
    else if (id !== undefined && ids.indexOf(id) !== index)
      check.fail(path, `is taken by transports[${ids.indexOf(id)}]`);
  }
}

/** Networks of instances: two of their own, apart from everybody else's. */
function checkAppNetworks(check: Checker, file: SiteFile): void {
  const networks = group(group(file.mep).apps);
  if (networks.tof === undefined && networks.platform === undefined) return;
  if (file.apps === undefined) check.fail(["mep", "apps"], 'needs "apps": instances reach the platform at its address');
  const quiet = new Checker();
  const others = array(file.dataplanes).flatMap((section, index) =>
    quiet.prefixes([], group(section as DataplaneSection).uePools).map(({ prefix }) => ({
      prefix,
      of: `dataplanes[${index}].uePools`,
    })),
  );
  const own = quiet.read([], group(file.apps).address, parseInterfaceAddress);
  if (own) others.push({ prefix: own.network, of: "the apps' network" });
  for (const key of ["tof", "platform"] as const) {
    const at = ["mep", "apps", key];
    const prefix = check.read(at, networks[key], parsePrefix);
    if (!prefix) continue;
    if (prefix.family !== 4 || prefix.length < 16 || prefix.length > 29) {
      check.fail(at, "must be an IPv4 prefix of 16 to 29 bits");
      continue;
    }
    const other = others.find((one) => overlaps(one.prefix, prefix));
    if (other) check.fail(at, `overlaps ${formatPrefix(other.prefix)} of ${other.of}: give a prefix that nobody has`);
    others.push({ prefix, of: `mep.apps.${key}` });
  }
  const wires = array(file.dataplanes).flatMap((section) => {
    const { access, core, adapter } = group(section as DataplaneSection);
    return [access, core, adapter];
  });
  if (typeof networks.egress === "string" && wires.includes(networks.egress)) {
    check.fail(["mep", "apps", "egress"], `"${networks.egress}" is a data plane's: the world is reached another way`);
  }
}

function checkMep(check: Checker, file: SiteFile): void {
  const mep = group(file.mep);
  checkEnablement(check, mep);
  const mp1 = group(mep.mp1);
  check.read(["mep", "mp1", "listen"], mp1.listen, parseSocketAddress);
  if (mp1.insecure === true && mp1.tls !== undefined) {
    check.fail(["mep", "mp1", "insecure"], "does not go with tls: give one or the other");
  }
  check.range(["mep", "mp1", "tokenLifetime"], mp1.tokenLifetime, 60_000, 86_400_000, "1m to 24h");
  checkAppNetworks(check, file);
  const dns = check.read(["mep", "dns", "listen"], group(mep.dns).listen, parseSocketAddress);
  if (dns && !ownTowardApps(file).includes(formatAddress(dns.address))) {
    check.fail(["mep", "dns", "listen"], "is not the appliance's address in apps: UEs' queries and apps come there");
  }
  for (const [index, text] of array(group(mep.dns).upstream).entries()) {
    check.read(["mep", "dns", "upstream", index], text, parseAddress);
  }
}

/** Everything that the schema cannot say. */
export function check(file: SiteFile): Finding[] {
  const checker = new Checker();
  const { stateDir } = group(file.site);
  if (typeof stateDir === "string" && !stateDir.startsWith("/")) {
    checker.fail(["site", "stateDir"], "must be an absolute path");
  }
  checkDataplanes(checker, file);
  const protect = checker.prefixes(["protect"], file.protect);
  for (const { prefix, path } of protect) {
    if (prefix.length === 0) checker.fail(path, "protects everything, so UEs could reach nothing: name the networks");
  }
  checkApps(checker, file);
  const apps = group(file.apps);
  const own = typeof apps.address === "string" && checker.findings.length === 0 && parseInterfaceAddress(apps.address);
  for (const [index, section] of array(file.dataplanes).entries()) {
    for (const [number, text] of array(group(section as DataplaneSection).uePools).entries()) {
      const pool = own && typeof text === "string" && parsePrefix(text);
      if (own && pool && contains(pool, host(own.address))) {
        checker.fail(["dataplanes", index, "uePools", number], "holds the appliance's own address on the apps' side");
      }
    }
  }
  checkVxlan(checker, file);
  checkApi(checker, file);
  checkMep(checker, file);
  return checker.findings;
}
