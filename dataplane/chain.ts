/**
 * By which numbers do Offramp and the functions of its chains know each other?
 *
 * One VXLAN network identifier for each service, direction and place in the list: that is how a packet carries its
 * position through a function that knows nothing of chains. Ethernet addresses inside follow from it.
 */

/** In one direction. */
export const MAX_FUNCTIONS = 16;

/** `service`: its index, 1..65535. `position`: from 0. */
export const vniOf = (base: number, service: number, downlink: boolean, position: number): number =>
  base + service * 2 * MAX_FUNCTIONS + (downlink ? MAX_FUNCTIONS : 0) + position;

/** Locally administered; the last three octets are the VNI. */
const mac = (kind: string, vni: number): string =>
  `02:${kind}:00:${[vni >> 16, (vni >> 8) & 255, vni & 255].map((octet) => octet.toString(16).padStart(2, "0")).join(":")}`;

/** Of the function's adapter. */
export const functionMac = (vni: number): string => mac("fe", vni);
/** Of our end. */
export const ownMac = (vni: number): string => mac("fd", vni);
