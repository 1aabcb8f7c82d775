/**
 * Which inner packet does a frame of the wire carry?
 *
 * As much as `trace` needs: Ethernet, up to two VLAN tags, IPv4 or IPv6 without extension headers, UDP, GTP-U with its
 * optional octets and extension chain (TS 29.281 §5.1, §5.2), and of the inner packet addresses, protocol and ports. Says
 * where it stopped and why. Every length is checked before it is used.
 */
import { formatAddress } from "../intents/prefix.ts";

/** What rules are matched against. */
export interface PacketFields {
  source: string;
  destination: string;
  protocol: number;
  sourcePort?: number;
  destinationPort?: number;
}

export interface Tunnel {
  teid: number;
  source: string;
  destination: string;
  vlans: number[];
  /** Of the PDU Session Container, where there is one (TS 38.415). */
  qfi?: number;
}

export type Decoded = { tunnel: Tunnel; inner: PacketFields } | { stopped: string };

interface Ip extends PacketFields {
  payload: DataView;
  fragment: boolean;
}

const slice = (view: DataView, from: number, length = view.byteLength - from): DataView =>
  new DataView(view.buffer, view.byteOffset + from, length);

function address(view: DataView, offset: number, family: 4 | 6): string {
  if (family === 4) return formatAddress({ family, value: BigInt(view.getUint32(offset)) });
  return formatAddress({ family, value: (view.getBigUint64(offset) << 64n) | view.getBigUint64(offset + 8) });
}

function readIp(view: DataView): Ip | string {
  const version = view.byteLength > 0 ? view.getUint8(0) >> 4 : 0;
  if (version === 4) {
    if (view.byteLength < 20) return "an IPv4 header that is cut off";
    const header = (view.getUint8(0) & 15) * 4;
    const total = view.getUint16(2);
    if (header < 20 || total < header || total > view.byteLength)
      return "an IPv4 header whose lengths contradict each other";
    return withPorts({
      source: address(view, 12, 4),
      destination: address(view, 16, 4),
      protocol: view.getUint8(9),
      fragment: (view.getUint16(6) & 0x1fff) !== 0,
      payload: slice(view, header, total - header),
    });
  }
  if (version === 6) {
    if (view.byteLength < 40) return "an IPv6 header that is cut off";
    const length = view.getUint16(4);
    if (length + 40 > view.byteLength) return "an IPv6 header whose length is too large";
    return withPorts({
      source: address(view, 8, 6),
      destination: address(view, 24, 6),
      protocol: view.getUint8(6),
      fragment: false,
      payload: slice(view, 40, length),
    });
  }
  return "neither IPv4 nor IPv6";
}

function withPorts(ip: Ip): Ip {
  if (ip.fragment || ![6, 17, 132].includes(ip.protocol) || ip.payload.byteLength < 4) return ip;
  return { ...ip, sourcePort: ip.payload.getUint16(0), destinationPort: ip.payload.getUint16(2) };
}

/** The T-PDU behind a GTP-U header. */
function readGtpu(udp: DataView): { teid: number; qfi?: number; payload: DataView } | string {
  if (udp.byteLength < 8) return "GTP-U that is cut off";
  const flags = udp.getUint8(0);
  if (flags >> 5 !== 1 || !(flags & 0x10)) return "GTP of another version, or GTP′";
  const type = udp.getUint8(1);
  if (type !== 255) return `GTP-U signalling, message type ${type}`;
  const length = udp.getUint16(2);
  if (length + 8 > udp.byteLength) return "GTP-U whose length is too large";
  const end = length + 8;
  let at = 8;
  let qfi: number | undefined;
  if (flags & 7) {
    if (end < 12) return "GTP-U that lacks its optional octets";
    at = 12;
    let next = flags & 4 ? udp.getUint8(11) : 0;
    for (let count = 0; next !== 0; count += 1) {
      if (count === 8) return "more than eight extension headers";
      if (at >= end) return "an extension header that is cut off";
      const size = udp.getUint8(at) * 4;
      if (size === 0 || at + size > end) return "an extension header with an impossible length";
      if (next === 0x85) qfi = udp.getUint8(at + 2) & 0x3f;
      else if (next >= 0x80) return `extension header 0x${next.toString(16)}, which only its receiver may interpret`;
      next = udp.getUint8(at + size - 1);
      at += size;
    }
  }
  return { teid: udp.getUint32(4), ...(qfi !== undefined && { qfi }), payload: slice(udp, at, end - at) };
}

const fields = ({ source, destination, protocol, sourcePort, destinationPort }: Ip): PacketFields => ({
  source,
  destination,
  protocol,
  ...(sourcePort !== undefined && { sourcePort }),
  ...(destinationPort !== undefined && { destinationPort }),
});

/** A packet that was captured without link layer and tunnel. Never throws. */
export function decodePacket(packet: Uint8Array): { inner: PacketFields } | { stopped: string } {
  const ip = readIp(new DataView(packet.buffer, packet.byteOffset, packet.byteLength));
  return typeof ip === "string" ? { stopped: ip } : { inner: fields(ip) };
}

/** A frame of the wire. Never throws. */
export function decodeFrame(frame: Uint8Array): Decoded {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const vlans: number[] = [];
  if (view.byteLength < 14) return { stopped: "a frame that is cut off" };
  let at = 12;
  while ([0x8100, 0x88a8].includes(view.getUint16(at)) && vlans.length < 2) {
    if (view.byteLength < at + 6) return { stopped: "a VLAN tag that is cut off" };
    vlans.push(view.getUint16(at + 2) & 0xfff);
    at += 4;
  }
  const type = view.getUint16(at);
  if (type !== 0x0800 && type !== 0x86dd)
    return { stopped: `not IP: Ethernet type 0x${type.toString(16).padStart(4, "0")}` };
  const outer = readIp(slice(view, at + 2));
  if (typeof outer === "string") return { stopped: outer };
  if (outer.fragment) return { stopped: "an outer fragment that is not the first" };
  if (outer.protocol !== 17 || outer.destinationPort !== 2152 || outer.payload.byteLength < 8) {
    return { stopped: "not GTP-U: not UDP to port 2152" };
  }
  const gtpu = readGtpu(slice(outer.payload, 8));
  if (typeof gtpu === "string") return { stopped: gtpu };
  const inner = readIp(gtpu.payload);
  if (typeof inner === "string") return { stopped: `inside the tunnel: ${inner}` };
  const { teid, qfi } = gtpu;
  const { source, destination } = outer;
  return { tunnel: { teid, source, destination, vlans, ...(qfi !== undefined && { qfi }) }, inner: fields(inner) };
}
