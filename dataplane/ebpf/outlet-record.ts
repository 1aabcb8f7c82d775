/**
 * What does an outlet look like in the kernel's tables (struct outlet, bpf/outlet.h)?
 *
 * Pure. The Ethernet header: what a rule gives, or the next hop that was found. A frame for which the rule gives nothing of it
 * leaves as it is where it leaves whole, else to everybody, or, copied, between the addresses that it has.
 */
import { addressOctets, isMapped, macOctets } from "../address.ts";
import type { Copy, Outlet, SteeringRule } from "../steering.ts";
import * as c from "./consts.ts";
import { outlet as codec } from "./layout.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";

/** Does what matches leave with its tunnel? */
export const leavesWhole = ({ action, output }: SteeringRule): boolean =>
  action === "forward" || (action === "route" && output?.tunnel?.type === "gtp-u");

/** Where an outlet leads at the moment. */
export interface Way {
  /** Adapter: MAC address, and MTU without the Ethernet header. */
  mac: string;
  mtu: number;
  /** Of the next hop; absent where the rule needs none, or it is not known. */
  nextHop?: string;
  /** The appliance's address there, for a tunnel whose rule gives none. */
  source?: string;
}

/** Has its next hop to be found? */
export const isFound = ({ mac, address, tunnel }: Outlet): boolean =>
  mac === undefined && (address !== undefined || tunnel !== undefined);

/** Members of its Ethernet header as far as they are known; `destination` undefined: the frame's own. */
export function macsOf(outlet: Outlet, way: Way): { destination?: Uint8Array; source: Uint8Array } {
  const destination = outlet.mac ?? way.nextHop;
  return {
    ...(destination !== undefined && { destination: macOctets(destination) }),
    source: macOctets(outlet.sourceMac ?? way.mac),
  };
}

function record(outlet: Outlet, way: Way, flags: number, everybody: boolean): Uint8Array {
  const { tunnel, vlan = 0 } = outlet;
  const { destination = everybody ? macOctets(BROADCAST) : undefined, source } = macsOf(outlet, way);
  const to = tunnel && addressOctets(tunnel.destination);
  const own = tunnel?.source ?? (tunnel?.type === "gre" ? way.source : undefined);
  const unknown = isFound(outlet) && way.nextHop === undefined;
  return codec.encode({
    ...(to && { destination: to }),
    ...(own !== undefined && { source: addressOctets(own) }),
    mtu: way.mtu,
    vlan,
    kind: !tunnel ? c.OUTLET_PLAIN : tunnel.type === "gre" ? c.OUTLET_GRE : c.OUTLET_GTPU,
    flags:
      flags |
      (to && !isMapped(to) ? c.OUTLET_V6 : 0) |
      (unknown ? c.OUTLET_UNKNOWN : 0) |
      (destination ? 0 : c.OUTLET_OWN_MACS),
    mac: Uint8Array.from([...(destination ?? new Uint8Array(6)), ...source]),
  });
}

const saysNothing = ({ vlan, mac, address, tunnel }: Outlet): boolean =>
  [vlan, mac, address, tunnel].every((member) => member === undefined);

/** `whole`: frames keep their tunnel. */
export const renderOutput = (outlet: Outlet, whole: boolean, way: Way): Uint8Array =>
  record(outlet, way, whole && saysNothing(outlet) ? c.OUTLET_AS_IS : 0, !whole);

/** Undefined: the copy is the frame as it is, and no program has to look at it. */
export function renderCopy(copy: Copy, way: Way): Uint8Array | undefined {
  const strip = copy.form === "decapsulated" && copy.tunnel?.type !== "gtp-u";
  if (!strip && saysNothing(copy)) return undefined;
  return record(copy, way, (strip ? c.OUTLET_STRIP : 0) | (saysNothing(copy) ? c.OUTLET_AS_IS : 0), false);
}
