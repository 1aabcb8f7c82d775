/**
 * Which of a service's endpoints gets a new connection?
 *
 * 256 slots, given to the endpoints that are up by weighted rendezvous hashing: in each slot every endpoint draws a lot
 * that depends on nothing but the slot, its address, port and weight, and the best lot has it. So an endpoint that goes
 * leaves its slots to the others and moves nothing else, and one that comes takes its share from all alike. A connection,
 * or a UE with all of its connections, is put into a slot by a hash; bpf/search.h does the same.
 */
import { addressNumber } from "../space.ts";
import type { Endpoint } from "../steering.ts";

export const SLOTS = 256;

export const isUp = (endpoint: Endpoint): boolean => (endpoint.state ?? "up") === "up";

/** FNV-1a with a final avalanche: 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Position in `endpoints` by slot; empty when none is up. Draining endpoints and those that are down get none. */
export function endpointSlots(endpoints: readonly Endpoint[]): Uint8Array {
  const up = [...endpoints.entries()].filter(([, endpoint]) => isUp(endpoint));
  if (up.length === 0) return new Uint8Array();
  return Uint8Array.from({ length: SLOTS }, (_, slot) => {
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    for (const [index, { address, port, weight }] of up) {
      // Exponentially distributed with the weight as its rate: the least of all is this one in proportion to its weight.
      const lot = -Math.log((hash(`${slot}/${address}/${port ?? ""}`) + 1) / 0x1_0000_0001) / (weight ?? 1);
      if (lot < least) {
        least = lot;
        best = index;
      }
    }
    return best;
  });
}

const FACTOR = 0x9e3779b97f4a7c15n;
const mix = (h: bigint, value: bigint): bigint => {
  const product = BigInt.asUintN(64, (h ^ value) * FACTOR);
  return product ^ (product >> 32n);
};
const halves = (address: string): [bigint, bigint] => {
  const number = addressNumber(address);
  return [number >> 64n, BigInt.asUintN(64, number)];
};

/** As the UE has it; ports are 0 where the protocol has none, ICMP included. */
export interface Connection {
  ue: string;
  remote: string;
  protocol: number;
  uePort: number;
  remotePort: number;
}

/** The slot of a connection, 0..255. */
export function slotOf(connection: Connection, affinity: "connection" | "ue" = "connection"): number {
  const { ue, remote, protocol, uePort, remotePort } = connection;
  const v6 = ue.includes(":");
  const [high, low] = halves(ue);
  let h = mix(mix(0n, high), affinity === "ue" && v6 ? 0n : low);
  if (affinity === "connection") {
    const [remoteHigh, remoteLow] = halves(remote);
    h = mix(mix(h, remoteHigh), remoteLow);
    const numbers = (BigInt(protocol | (v6 ? 256 : 0)) << 32n) | (BigInt(uePort) << 16n) | BigInt(remotePort);
    h = mix(h, numbers);
  }
  return Number(mix(h, 0n) & 255n);
}
