/**
 * Which files does a seed become? Pure.
 *
 *   Seed ─▶ /etc/offramp/{site.yaml, token, tls.crt, tls.key, hostname, adapters, authorized_keys, 10-mgmt0.network}
 *
 * The system reads them at each start (vagrant/image/overlay/usr/lib/offramp-appliance). An absent one is removed: what a seed does not
 * say is as on an appliance without one.
 */
import { stringify } from "yaml";
import type { Seed } from "./user-data.ts";

export interface SeedFile {
  /** Below /etc/offramp. */
  name: string;
  mode: number;
  /** `undefined`: there must be none. */
  text: string | undefined;
}

/** The bridges of the wires: lines `bridge adapter adapter`, by which they are open before Offramp runs. */
export function wires(seed: Seed, bridgeName: (dataplane: string) => string): string | undefined {
  const lines = (seed.offramp?.site.dataplanes ?? []).flatMap(({ name, access, core }) =>
    access === undefined || core === undefined ? [] : [`${bridgeName(name)} ${access} ${core}\n`],
  );
  return lines.length > 0 ? lines.join("") : undefined;
}

/** systemd.network(5) of the management adapter; absent: DHCP, as the image has it. */
function network({ offramp }: Seed): string | undefined {
  const { address, gateway, dns = [] } = offramp?.management ?? {};
  if (address === undefined) return undefined;
  const lines = [`Address=${address}`, ...(gateway ? [`Gateway=${gateway}`] : []), ...dns.map((one) => `DNS=${one}`)];
  return `[Match]\nName=mgmt0\n\n[Network]\nDHCP=no\n${lines.join("\n")}\n`;
}

export function seedFiles(seed: Seed): SeedFile[] {
  const { hostname, keys, offramp } = seed;
  const lines = (all: readonly string[]) => (all.length > 0 ? `${all.join("\n")}\n` : undefined);
  const adapters = Object.entries(offramp?.adapters ?? {}).map(([name, mac]) => `${name} ${String(mac).toLowerCase()}`);
  return [
    { name: "hostname", mode: 0o644, text: hostname && `${hostname}\n` },
    { name: "authorized_keys", mode: 0o644, text: lines(keys) },
    { name: "adapters", mode: 0o644, text: lines(adapters) },
    { name: "10-mgmt0.network", mode: 0o644, text: network(seed) },
    { name: "token", mode: 0o600, text: offramp?.token && `${offramp.token}\n` },
    { name: "tls.crt", mode: 0o644, text: offramp?.tls?.cert },
    { name: "tls.key", mode: 0o600, text: offramp?.tls?.key },
    { name: "site.yaml", mode: 0o600, text: offramp && stringify(offramp.site) },
  ];
}
