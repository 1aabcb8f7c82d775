/**
 * Which addresses do the adapters and networks of many sites have?
 *
 * Decided from what a site is called or numbered and from nothing else: a site that is added, or removed, changes nothing at
 * the others. Pure.
 *
 *   base 10.64.0.0/10, 22 bits a site, number 5
 *     10.64.20.0/24 apps   10.64.21.0/24 instances, toward the TOF   10.64.22.0/24 instances, toward the platform   (rest free)
 */
import { createHash } from "node:crypto";
import { InputPropertyError } from "@pulumi/pulumi";
import { type AdapterName, type Adapters, adapterNames } from "./user-data.ts";

/**
 * MAC addresses of a VM. Locally administered; 40 bits of them come from the name, so that of ten thousand sites with four
 * adapters each two share one with a probability under one in a thousand.
 * @param identity what the VM is called, unlike any other on the same networks
 */
export function macAddresses(identity: string, names: readonly AdapterName[] = adapterNames): Required<Adapters> {
  const entries = names.map((name) => {
    const octets = createHash("sha256").update(`${identity}\0${name}`).digest().subarray(0, 5);
    return [name, ["02", ...[...octets].map((octet) => octet.toString(16).padStart(2, "0"))].join(":")];
  });
  return Object.fromEntries(entries) as Required<Adapters>;
}

export interface SiteNetworks {
  /** `10.64.20.0/24` */
  apps: string;
  /** The appliance in it: `10.64.20.1/24`. */
  appliance: string;
  /** Of instances at the site, toward the traffic offloading function: `mep.apps.tof`. */
  tof: string;
  /** Of instances at the site, toward the platform: `mep.apps.platform`. */
  platform: string;
}

/** Prefix length of what one site gets. */
export const siteLength = 22;

const dotted = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");

/** @throws InputPropertyError naming `base` or `number` */
export function siteNetworks(base: string, number: number): SiteNetworks {
  const [, address = "", length = ""] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(base) ?? [];
  const octets = address.split(".").map(Number);
  const bits = Number(length);
  if (address === "" || octets.some((octet) => octet > 255) || bits < 1 || bits > siteLength) {
    throw new InputPropertyError({
      propertyPath: "base",
      reason: `must be an IPv4 network of prefix length 1 to ${siteLength}, such as 10.64.0.0/10`,
    });
  }
  const first = octets.reduce((value, octet) => value * 256 + octet, 0);
  if (first % 2 ** (32 - bits) !== 0) {
    throw new InputPropertyError({ propertyPath: "base", reason: `${base} has bits beyond its prefix length` });
  }
  const most = 2 ** (siteLength - bits);
  if (!Number.isInteger(number) || number < 0 || number >= most) {
    throw new InputPropertyError({
      propertyPath: "number",
      reason: `must be a whole number from 0 to ${most - 1}: so many sites fit into ${base}`,
    });
  }
  const own = first + number * 2 ** (32 - siteLength);
  const network = (index: number) => `${dotted(own + index * 256)}/24`;
  return {
    apps: network(0),
    appliance: `${dotted(own + 1)}/24`,
    tof: network(1),
    platform: network(2),
  };
}
