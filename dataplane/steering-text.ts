/**
 * How are outlets and mirrors said to people?
 */
import { copiesOf, type Mirror, type Outlet } from "./steering.ts";

/** `out0 VLAN 7 to 02:00:00:00:00:01`, `the apps' network by GRE to 10.60.0.9`. */
export function outletText({ port, vlan, mac, address, tunnel }: Outlet): string {
  return [
    port ?? "the apps' network",
    vlan !== undefined && `VLAN ${vlan}`,
    (address ?? mac) !== undefined && `to ${address ?? mac}`,
    tunnel && `by ${tunnel.type === "gre" ? "GRE" : "GTP-U"} to ${tunnel.destination}`,
  ]
    .filter(Boolean)
    .join(" ");
}

/** `as-is to tap0`; with two copies: `uplink as-is to tap0, downlink decapsulated to tap1`. */
export function mirrorText(mirror: Mirror): string {
  if ("form" in mirror) return `${mirror.form} to ${outletText(mirror)}`;
  return Object.entries(copiesOf(mirror))
    .map(([direction, copy]) => `${direction} ${copy.form} to ${outletText(copy)}`)
    .join(", ");
}
