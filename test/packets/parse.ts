/**
 * What does a frame say, in words?
 *
 * Decodes frames for people: one line per layer, fields by name, and for every length and checksum whether it holds.
 * Never throws: what is cut off or unknown is shown as octets. Only for messages; the reference model has a reader of
 * its own with the appliance's rules.
 */
import { addressText, checksum, get16, get32, macText, pseudoHeader, sum16, toHex } from "./bytes.ts";

export interface DecodedLayer {
  name: string;
  /** Field name and text, in wire order. */
  fields: [string, string][];
}

type Decode = (bytes: Uint8Array, layers: DecodedLayer[], ip?: Ip) => void;
interface Ip {
  source: Uint8Array;
  destination: Uint8Array;
}

const hex16 = (value: number) => `0x${value.toString(16).padStart(4, "0")}`;
const hex32 = (value: number) => `0x${value.toString(16).padStart(8, "0")}`;

const rest: Decode = (bytes, layers) => {
  if (bytes.length === 0) return;
  const shown = toHex(bytes.subarray(0, 48));
  layers.push({ name: `octets(${bytes.length})`, fields: [["", bytes.length > 48 ? `${shown}…` : shown]] });
};

const etherType: Decode = (bytes, layers) => {
  const type = get16(bytes, 0);
  const inside = bytes.subarray(2);
  const last = layers[layers.length - 1];
  last?.fields.push(["type", hex16(type)]);
  if ((type === 0x8100 || type === 0x88a8) && inside.length >= 4) {
    const tag = get16(inside, 0);
    layers.push({
      name: "vlan",
      fields: [
        ["id", String(tag & 0xfff)],
        ["pcp", String(tag >> 13)],
      ],
    });
    etherType(inside.subarray(2), layers);
  } else if (type === 0x0800) ipv4(inside, layers);
  else if (type === 0x86dd) ipv6(inside, layers);
  else rest(inside, layers);
};

const ipv4: Decode = (bytes, layers) => {
  const ihl = ((bytes[0] ?? 0) & 15) * 4;
  if (bytes.length < 20 || ihl < 20 || bytes.length < ihl) return rest(bytes, layers);
  const length = get16(bytes, 2);
  const cut = get16(bytes, 6);
  const source = bytes.subarray(12, 16);
  const destination = bytes.subarray(16, 20);
  const protocol = bytes[9] ?? 0;
  const good = sum16(bytes.subarray(0, ihl)) === 0xffff ? "" : " bad";
  layers.push({
    name: "ipv4",
    fields: [
      ["src", addressText(source)],
      ["dst", addressText(destination)],
      ["version", String((bytes[0] ?? 0) >> 4)],
      ["tos", hex16(bytes[1] ?? 0)],
      ["length", `${length}${length > bytes.length ? ` of ${bytes.length}` : ""}`],
      ["id", String(get16(bytes, 4))],
      ["flags", `${cut & 0x8000 ? "reserved " : ""}${cut & 0x4000 ? "DF" : "-"}${cut & 0x2000 ? " MF" : ""}`],
      ["offset", String((cut & 0x1fff) * 8)],
      ["ttl", String(bytes[8])],
      ["protocol", String(protocol)],
      ["checksum", hex16(get16(bytes, 10)) + good],
      ...(ihl > 20 ? [["options", toHex(bytes.subarray(20, ihl))] as [string, string]] : []),
    ],
  });
  const end = length >= ihl && length <= bytes.length ? length : bytes.length;
  const body = bytes.subarray(ihl, end);
  if ((cut & 0x1fff) > 0) rest(body, layers);
  else transport(protocol, body, layers, { source, destination }, (cut & 0x2000) !== 0);
  trailer(bytes.subarray(end), layers);
};

const trailer: Decode = (bytes, layers) => {
  if (bytes.length > 0) layers.push({ name: "trailer", fields: [["", toHex(bytes.subarray(0, 48))]] });
};

const ipv6: Decode = (bytes, layers) => {
  if (bytes.length < 40) return rest(bytes, layers);
  const length = get16(bytes, 4);
  const source = bytes.subarray(8, 24);
  const destination = bytes.subarray(24, 40);
  layers.push({
    name: "ipv6",
    fields: [
      ["src", addressText(source)],
      ["dst", addressText(destination)],
      ["version", String((bytes[0] ?? 0) >> 4)],
      ["tos", hex16((get16(bytes, 0) >> 4) & 0xff)],
      ["flow", String(get32(bytes, 0) & 0xfffff)],
      ["length", `${length}${40 + length > bytes.length ? ` of ${bytes.length - 40}` : ""}`],
      ["next", String(bytes[6])],
      ["hops", String(bytes[7])],
    ],
  });
  const end = Math.min(40 + length, bytes.length);
  let next = bytes[6] ?? 59;
  let at = 40;
  let later = false;
  while ([0, 43, 44, 60].includes(next) && at + 8 <= end && !later) {
    const size = next === 44 ? 8 : ((bytes[at + 1] ?? 0) + 1) * 8;
    const name = { 0: "hop-by-hop", 43: "routing", 44: "fragment", 60: "destination options" }[next] ?? "";
    layers.push({ name, fields: [["", toHex(bytes.subarray(at, Math.min(end, at + size)))]] });
    later = next === 44 && get16(bytes, at + 2) >> 3 > 0;
    next = bytes[at] ?? 59;
    at += size;
  }
  const body = bytes.subarray(Math.min(at, end), end);
  if (later) rest(body, layers);
  else transport(next, body, layers, { source, destination }, false);
  trailer(bytes.subarray(end), layers);
};

function l4sum(protocol: number, bytes: Uint8Array, ip: Ip): string {
  const pseudo = protocol === 1 ? new Uint8Array() : pseudoHeader(ip.source, ip.destination, protocol, bytes.length);
  return checksum(pseudo, bytes) === 0 ? "" : " bad";
}

function transport(protocol: number, bytes: Uint8Array, layers: DecodedLayer[], ip: Ip, cut: boolean): void {
  const sum = (at: number) => hex16(get16(bytes, at)) + (cut ? "" : l4sum(protocol, bytes, ip));
  if (protocol === 17 && bytes.length >= 8) {
    layers.push({
      name: "udp",
      fields: [
        ["sport", String(get16(bytes, 0))],
        ["dport", String(get16(bytes, 2))],
        ["length", `${get16(bytes, 4)}${get16(bytes, 4) === bytes.length ? "" : ` of ${bytes.length}`}`],
        ["checksum", get16(bytes, 6) === 0 ? "none" : sum(6)],
      ],
    });
    const body = bytes.subarray(8);
    if (get16(bytes, 2) === 2152) gtpu(body, layers);
    else rest(body, layers);
  } else if (protocol === 6 && bytes.length >= 20) {
    const offset = ((bytes[12] ?? 0) >> 4) * 4;
    const flags = bytes[13] ?? 0;
    layers.push({
      name: "tcp",
      fields: [
        ["sport", String(get16(bytes, 0))],
        ["dport", String(get16(bytes, 2))],
        ["seq", String(get32(bytes, 4))],
        ["ack", String(get32(bytes, 8))],
        ["offset", String(offset)],
        ["flags", [..."FSRPAU"].filter((_, bit) => flags & (1 << bit)).join("")],
        ["window", String(get16(bytes, 14))],
        ["checksum", sum(16)],
        ...(offset > 20 ? [["options", toHex(bytes.subarray(20, offset))] as [string, string]] : []),
      ],
    });
    rest(bytes.subarray(Math.max(20, offset)), layers);
  } else if ((protocol === 1 || protocol === 58) && bytes.length >= 8) {
    layers.push({
      name: protocol === 1 ? "icmp" : "icmpv6",
      fields: [
        ["type", String(bytes[0])],
        ["code", String(bytes[1])],
        ["checksum", sum(2)],
        ["rest", hex32(get32(bytes, 4))],
      ],
    });
    const quotes = protocol === 1 ? [3, 4, 5, 11, 12] : [1, 2, 3, 4];
    if (quotes.includes(bytes[0] ?? 0)) ipAny(bytes.subarray(8), layers);
    else rest(bytes.subarray(8), layers);
  } else if (protocol === 4 || protocol === 41) ipAny(bytes, layers);
  else rest(bytes, layers);
}

const ipAny: Decode = (bytes, layers) => {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4) ipv4(bytes, layers);
  else if (version === 6) ipv6(bytes, layers);
  else rest(bytes, layers);
};

const gtpu: Decode = (bytes, layers) => {
  if (bytes.length < 8) return rest(bytes, layers);
  const flags = bytes[0] ?? 0;
  const type = bytes[1] ?? 0;
  const length = get16(bytes, 2);
  const fields: [string, string][] = [
    ["flags", `0x${flags.toString(16)}`],
    ["type", String(type)],
    ["length", `${length}${length === bytes.length - 8 ? "" : ` of ${bytes.length - 8}`}`],
    ["teid", hex32(get32(bytes, 4))],
  ];
  layers.push({ name: "gtpu", fields });
  let at = 8;
  if (flags & 7) {
    fields.push(["seq", String(get16(bytes, 8))], ["npdu", String(bytes[10])], ["next", hex16(bytes[11] ?? 0)]);
    at = 12;
    let next = flags & 4 ? (bytes[11] ?? 0) : 0;
    for (let i = 0; next !== 0 && i < 16 && at < bytes.length; i++) {
      const size = (bytes[at] ?? 0) * 4;
      if (size === 0 || at + size > bytes.length) break;
      fields.push([`ext ${hex16(next)}`, toHex(bytes.subarray(at, at + size))]);
      next = bytes[at + size - 1] ?? 0;
      at += size;
    }
  }
  const body = bytes.subarray(Math.min(at, bytes.length));
  if (type === 255) ipAny(body, layers);
  else rest(body, layers);
};

/** A frame from its Ethernet header on. */
export function decode(bytes: Uint8Array): DecodedLayer[] {
  const layers: DecodedLayer[] = [];
  if (bytes.length < 14) {
    rest(bytes, layers);
    return layers;
  }
  layers.push({
    name: "eth",
    fields: [
      ["dst", macText(bytes.subarray(0, 6))],
      ["src", macText(bytes.subarray(6, 12))],
    ],
  });
  etherType(bytes.subarray(12), layers);
  return layers;
}

/** A packet from its IP header on. */
export function decodePacket(bytes: Uint8Array): DecodedLayer[] {
  const layers: DecodedLayer[] = [];
  ipAny(bytes, layers);
  return layers;
}

const line = ({ name, fields }: DecodedLayer) => `${name} ${fields.map(([n, v]) => (n ? `${n}=${v}` : v)).join(" ")}`;

/** One line per layer. */
export const describe = (bytes: Uint8Array): string =>
  decode(bytes)
    .map((layer, depth) => `${"  ".repeat(depth)}${line(layer)}`)
    .join("\n");
