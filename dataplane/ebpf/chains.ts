/**
 * What do chains of functions look like in the kernel's tables?
 *
 * A pure renderer: each hop is an entry with its prebuilt outer header, and with the function that comes next at the
 * moment. Functions that are down are left out of the way, or end it (`unreachable`); their own entries stay, for what is
 * still on its way to them.
 *
 *   Ethernet (filled in) · IPv4 or IPv6 · UDP · VXLAN · Ethernet      RFC 7348
 *   … · VXLAN-GPE · NSH with MD type 2 and no metadata                RFC 8300
 */
import { addressOctets, isMapped, macOctets } from "../address.ts";
import { functionMac, ownMac } from "../chain.ts";
import type { VxlanConfig } from "../dataplane.ts";
import { type Chain, type Copy, copiesOf, type Hop, type Steering } from "../steering.ts";
import * as c from "./consts.ts";
import { hop as hopCodec, treatment as treatmentCodec, vtep as vtepCodec } from "./layout.ts";

const TTL = 64;
/** NSH: hops that the service path may have, as its TTL says (RFC 8300 §2.2). */
const NSH_TTL = 63;
const UDP = 17;

/** Which function follows at this place: its VNI, or CHAIN_*. */
export function nextUp(hops: readonly Hop[], from: number, unreachable: Chain["unreachable"]): number {
  for (const { vni, state } of hops.slice(from)) {
    if (state !== "down") return vni;
    if (unreachable === "block") return c.CHAIN_BLOCKED;
  }
  return c.CHAIN_NONE;
}

/** TREATMENT_*: which directions do without a function at the moment? */
function bypassed(chain: Chain | undefined): number {
  if (!chain || chain.unreachable === "block") return 0;
  const without = (hops: readonly Hop[]) => hops.some(({ state }) => state === "down");
  return (without(chain.uplink) ? c.TREATMENT_BYPASS_UP : 0) | (without(chain.downlink) ? c.TREATMENT_BYPASS_DOWN : 0);
}

const u16 = (value: number): number[] => [value >> 8, value & 255];

/** NSH service index that we send at this position (RFC 8300 §2.3). */
export const serviceIndex = (position: number): number => 255 - position;

/** From the outer Ethernet header on. Lengths, identification, source port and inner type are zero. */
export function hopHeader(hop: Hop, position: number, vxlan: VxlanConfig): { header: Uint8Array; checksum: number } {
  const to = addressOctets(hop.address);
  const v6 = !isMapped(to);
  const own = v6 ? vxlan.address6 : vxlan.address;
  if (!own) throw new Error(`the function ${hop.address} needs vxlan.address${v6 ? "6" : ""}`);
  const from = addressOctets(own);
  const nsh = hop.encapsulation === "nsh";
  const l3 = v6
    ? [0x60, 0, 0, 0, 0, 0, UDP, TTL, ...from, ...to]
    : [0x45, 0, 0, 0, 0, 0, 0, 0, TTL, UDP, 0, 0, ...from.subarray(12), ...to.subarray(12)];
  const id = [hop.vni >> 16, (hop.vni >> 8) & 255, hop.vni & 255];
  const header = [
    ...new Array<number>(12).fill(0),
    ...u16(v6 ? 0x86dd : 0x0800),
    ...l3,
    ...u16(0),
    ...u16(nsh ? vxlan.gpePort : vxlan.port),
    ...u16(0),
    ...u16(0),
    ...(nsh ? [c.VXLAN_FLAG_VNI | c.GPE_FLAG_PROTOCOL, 0, 0, c.GPE_NSH] : [c.VXLAN_FLAG_VNI, 0, 0, 0]),
    ...id,
    0,
    ...(nsh
      ? [NSH_TTL >> 2, ((NSH_TTL & 3) << 6) | 2, 2, 0, ...id, serviceIndex(position)]
      : [...macOctets(functionMac(hop.vni)), ...macOctets(ownMac(hop.vni)), ...u16(0)]),
  ];
  // As the program adds it up: 16-bit words as they lie in memory.
  let checksum = 0;
  if (!v6) for (let i = 14; i < 34; i += 2) checksum += header[i]! | (header[i + 1]! << 8);
  return { header: Uint8Array.from(header), checksum };
}

/** Slower is not told apart: a longer time would not fit. */
export const SLOWEST = 64;

/** Nanoseconds that an octet takes at this rate (bits per second), with RATE_SHIFT binary places; 0: no limit. */
export function perOctet(rate: number | undefined): bigint {
  if (rate === undefined) return 0n;
  const bits = BigInt(Math.max(SLOWEST, Math.floor(rate)));
  // Rounded up: never faster than asked for.
  return ((8_000_000_000n << c.RATE_SHIFT) + bits - 1n) / bits;
}

export interface RenderedChains {
  /** By VNI. */
  hops: Map<number, Uint8Array>;
  /** By service index. */
  treatments: Map<number, Uint8Array>;
  /** Addresses of the functions. */
  functions: Set<string>;
}

/** `nextHop` gives the index of a function's entry in `next_hops`. @throws Error */
export function renderChains(
  steering: Steering,
  vxlan: VxlanConfig | undefined,
  nextHop: (address: string) => number,
  mirror: (copy: Copy) => number = () => 0,
): RenderedChains {
  const hops = new Map<number, Uint8Array>();
  const treatments = new Map<number, Uint8Array>();
  const functions = new Set<string>();
  for (const { name, service, treatment } of steering.rules) {
    if (!treatment) continue;
    const { chain } = treatment;
    const copies = copiesOf(treatment.mirror);
    if (chain && !vxlan) throw new Error(`rule ${name} has a chain, and the site has no section vxlan`);
    const walk = (list: readonly Hop[], down: boolean): number => {
      for (const [position, hop] of list.entries()) {
        const { header, checksum } = hopHeader(hop, position, vxlan!);
        const vnf = addressOctets(hop.address);
        functions.add(hop.address);
        hops.set(
          hop.vni,
          hopCodec.encode({
            vnf,
            next: nextUp(list, position + 1, chain!.unreachable),
            checksum,
            service,
            next_hop: nextHop(hop.address),
            flags:
              (isMapped(vnf) ? 0 : c.HOP_V6) |
              (hop.encapsulation === "nsh" ? c.HOP_NSH : 0) |
              (down ? c.HOP_DOWNLINK : 0),
            header_length: header.length,
            service_index: serviceIndex(position),
            header: Uint8Array.from({ length: c.HOP_HEADER_MAX }, (_, i) => header[i] ?? 0),
          }),
        );
      }
      return nextUp(list, 0, chain!.unreachable);
    };
    treatments.set(
      service,
      treatmentCodec.encode({
        chain_up: chain ? walk(chain.uplink, false) : c.CHAIN_NONE,
        chain_down: chain ? walk(chain.downlink, true) : c.CHAIN_NONE,
        mirror_up: copies.uplink ? mirror(copies.uplink) : 0,
        mirror_down: copies.downlink ? mirror(copies.downlink) : 0,
        flags: bypassed(chain),
        rate_up: perOctet(treatment.rate?.uplink),
        rate_down: perOctet(treatment.rate?.downlink),
      }),
    );
  }
  return { hops, treatments, functions };
}

/** `mtu`: of the apps adapter. */
export const renderVtep = (vxlan: VxlanConfig, mtu: number): Uint8Array =>
  vtepCodec.encode({
    address4: addressOctets(vxlan.address),
    ...(vxlan.address6 !== undefined && { address6: addressOctets(vxlan.address6) }),
    port: vxlan.port,
    gpe_port: vxlan.gpePort,
    mtu,
  });
