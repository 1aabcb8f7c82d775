/**
 * Which addresses does an instance get?
 *
 * One in each of `mep.apps.tof` and `mep.apps.platform`, at the same place in both. An instance keeps its place until it is
 * removed. Places are given out in turn, so that one which has become free is not soon another app's: flows to it may live on.
 * Pure.
 */
import { addressOctets, prefixOf } from "../../dataplane/address.ts";
import { type Addresses, RuntimeError } from "./runtime.ts";

export interface AppNetworks {
  /** IPv4 prefixes. */
  tof: string;
  platform: string;
}

/** Neither end of the prefix is anybody's address; the first address behind the network's own is left to a router. */
const first = 2;

function hosts(prefix: string): { network: number; count: number } {
  const { octets, length } = prefixOf(prefix);
  const network = new DataView(octets.buffer, octets.byteOffset).getUint32(12);
  return { network, count: 2 ** (128 - length) };
}

/** How many instances the networks have room for. */
export const capacity = (networks: AppNetworks): number =>
  Math.max(0, Math.min(hosts(networks.tof).count, hosts(networks.platform).count) - first - 1);

function at(prefix: string, place: number): string {
  const address = hosts(prefix).network + first + place;
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

export const addressesAt = (networks: AppNetworks, place: number): Addresses => ({
  tof: at(networks.tof, place),
  platform: at(networks.platform, place),
});

/** The first free place from `next` on, and round. @throws RuntimeError when all are taken */
export function takePlace(networks: AppNetworks, taken: ReadonlySet<number>, next: number): number {
  const count = capacity(networks);
  for (let i = 0; i < count; i++) {
    const place = (next + i) % count;
    if (!taken.has(place)) return place;
  }
  throw new RuntimeError(`all ${count} addresses of mep.apps are taken: give it larger prefixes, or remove instances`);
}

/** Whether the address lies in the prefix; IPv4. */
export function isWithin(address: string, prefix: string): boolean {
  const { network, count } = hosts(prefix);
  const octets = addressOctets(address);
  const value = new DataView(octets.buffer, octets.byteOffset).getUint32(12);
  return value >= network && value < network + count;
}
