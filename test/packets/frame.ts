/**
 * How does a test write down a frame?
 *
 *   frame([eth(), vlan(10), ipv4({ dst: "198.18.2.10" }), udp({ dport: 2152, checksum: "zero" }),
 *          gtpu({ teid: 0x100, ext: [psc({ qfi: 9 })] }),
 *          ipv4({ src: "10.45.0.2", dst: "203.0.113.80" }), tcp({ dport: 80, flags: "S" }), payload("GET /")])
 *
 * Read from the outside in; lists in lists are flattened. Fragments are cut from a whole packet by `fragments`.
 */
import { concat, get16, u16, u32 } from "./bytes.ts";
import type { Context, Layer } from "./layers.ts";

export * from "./bytes.ts";
export * from "./gtp.ts";
export * from "./layers.ts";

export type Layers = readonly (Layer | Layers)[];

const flat = (layers: Layers): Layer[] =>
  layers.flatMap((layer) => ("build" in layer ? [layer as Layer] : flat(layer as Layers)));

function build(layers: Layer[], at: number, ip: Context["ip"]): Uint8Array {
  const layer = layers[at];
  if (layer === undefined) return new Uint8Array();
  const inside = build(layers, at + 1, layer.addresses ?? ip);
  return layer.build(inside, { ip, next: layers[at + 1]?.kind });
}

/** The octets of the layers, first one outermost. Without `eth` it is a packet, not a frame. */
export const frame = (layers: Layers): Uint8Array => build(flat(layers), 0, undefined);
export const packet = frame;

/**
 * Cuts an IPv4 packet (no Ethernet header) into fragments of at most `size` octets of payload (a multiple of 8) each.
 * Options stay in each fragment; checksums are right.
 */
export function fragments(whole: Uint8Array, size: number): Uint8Array[] {
  const ihl = ((whole[0] ?? 0) & 15) * 4;
  const body = whole.subarray(ihl, get16(whole, 2));
  const parts: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += size) {
    const piece = body.subarray(at, at + size);
    const header = whole.slice(0, ihl);
    header.set(u16(ihl + piece.length), 2);
    const more = at + size < body.length ? 0x2000 : 0;
    header.set(u16((get16(whole, 6) & 0x4000) | more | (at / 8)), 6);
    header.set(u16(0), 10);
    let sum = 0;
    for (let i = 0; i < ihl; i += 2) sum += get16(header, i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    header.set(u16(~sum & 0xffff), 10);
    parts.push(concat(header, piece));
  }
  return parts;
}

/** The same for IPv6 without extension headers: a fragment header with `id` is put in. */
export function fragments6(whole: Uint8Array, size: number, id = 1): Uint8Array[] {
  const body = whole.subarray(40);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += size) {
    const piece = body.subarray(at, at + size);
    const header = whole.slice(0, 40);
    header.set(u16(8 + piece.length), 4);
    header[6] = 44;
    const more = at + size < body.length ? 1 : 0;
    parts.push(concat(header, new Uint8Array([whole[6] ?? 0, 0]), u16(at | more), u32(id), piece));
  }
  return parts;
}
