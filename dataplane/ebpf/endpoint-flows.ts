/**
 * Which endpoint does an entry of `flows` lead to?
 *
 * Both entries of a flow name it: the uplink one as what the destination becomes, the other as where replies come from. A
 * flow is of an endpoint without a port whatever its port; one of ICMP, which has none, belongs to every endpoint of its
 * address.
 */
import { addressOctets } from "../address.ts";
import type { EndpointOfService } from "../dataplane.ts";
import * as c from "./consts.ts";
import * as layout from "./layout.ts";

const ICMP: readonly number[] = [1, 58];

/** Position of the endpoint in the list; undefined when the entry at `at` of `view` is of none of them. */
export type EndpointOf = (view: DataView, at: number, key: Uint8Array) => number | undefined;

/** @throws Error when an address is none */
export function endpointFinder(endpoints: readonly EndpointOfService[]): EndpointOf {
  const byService = new Map<number, { index: number; octets: Buffer; port: number | undefined }[]>();
  for (const [index, { service, address, port }] of endpoints.entries()) {
    const known = byService.get(service) ?? [];
    known.push({ index, octets: Buffer.from(addressOctets(address)), port });
    byService.set(service, known);
  }
  const { offset } = layout.flow;
  const of = layout.flowKey.offset;
  const number = (octets: Uint8Array, at: number) => (octets[at]! << 8) | octets[at + 1]!;
  return (view, at, key) => {
    const list = byService.get(view.getUint16(at + offset.service, true));
    if (!list) return undefined;
    const action = view.getUint8(at + offset.action);
    if (action !== c.ACTION_TAKE && action !== c.ACTION_REPLY) return undefined;
    const reply = key[of.reply] !== 0;
    const octets = reply
      ? key.subarray(of.remote, of.remote + 16)
      : new Uint8Array(view.buffer, view.byteOffset + at + offset.translated, 16);
    const port = reply ? number(key, of.remote_port) : view.getUint16(at + offset.translated_port);
    const anyPort = ICMP.includes(key[of.protocol]!);
    return list.find((one) => (anyPort || one.port === undefined || one.port === port) && one.octets.equals(octets))
      ?.index;
  };
}
