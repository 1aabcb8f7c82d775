/**
 * What frame would carry this packet?
 *
 * For packets that are given by their fields: the smallest frame that has them, with lengths and checksums right. TCP is a SYN,
 * unless told; ICMP an echo request (from the core and from apps: a reply).
 */
import { addressOctets, checksum, concat, put16, sum16 } from "../sessions/octets.ts";
import type { Link, PacketFields, Tunnel } from "./frame.ts";

const letters = "FSRPAU";
const anyMac = { sourceMac: "02:00:00:00:00:01", destinationMac: "02:00:00:00:00:02" };

const u16 = (value: number): Uint8Array => Uint8Array.of((value >>> 8) & 0xff, value & 0xff);
const u32 = (value: number): Uint8Array => concat([u16(value >>> 16), u16(value)]);
const mac = (text: string): Uint8Array => Uint8Array.from(text.split(":").map((part) => Number.parseInt(part, 16)));

/** An IP header with `payload` behind it; addresses of one family. */
function ip(source: string, destination: string, protocol: number, dscp: number, payload: Uint8Array): Uint8Array {
  const [from, to] = [addressOctets(source)!, addressOctets(destination)!];
  if (from.length !== to.length) throw new Error(`${source} and ${destination} are of different families`);
  if (from.length === 16) {
    const first = u32(((6 << 28) | (dscp << 22)) >>> 0);
    return concat([first, u16(payload.length), Uint8Array.of(protocol, 64), from, to, payload]);
  }
  const header = concat([
    Uint8Array.of(0x45, dscp << 2),
    u16(20 + payload.length),
    u32(0),
    Uint8Array.of(64, protocol),
    u16(0),
    from,
    to,
  ]);
  put16(header, 10, checksum(header, 0, 20));
  return concat([header, payload]);
}

/** With the sum over pseudo header and payload written at `at`. */
function summed(payload: Uint8Array, at: number, protocol: number, ends?: [Uint8Array, Uint8Array]): Uint8Array {
  const pseudo = ends ? concat([...ends, u32(payload.length), u32(protocol)]) : new Uint8Array();
  const value = checksum(payload, 0, payload.length, sum16(pseudo, 0, pseudo.length));
  put16(payload, at, protocol === 17 && value === 0 ? 0xffff : value);
  return payload;
}

/** `reply`: an echo reply rather than a request. @throws Error when the two addresses are of different families, or none */
export function composePacket(packet: PacketFields, reply = false): Uint8Array {
  const { source, destination, protocol, sourcePort = 0, destinationPort = 0, dscp = 0 } = packet;
  const ends: [Uint8Array, Uint8Array] = [addressOctets(source)!, addressOctets(destination)!];
  const ports = [u16(sourcePort), u16(destinationPort)];
  let payload: Uint8Array = new Uint8Array(8);
  if (protocol === 6) {
    const flags = [...(packet.tcpFlags ?? "S")].reduce((all, one) => all | (1 << letters.indexOf(one)), 0);
    const rest = [u32(1), u32(0), Uint8Array.of(0x50, flags), u16(65535), u32(0)];
    payload = summed(concat([...ports, ...rest]), 16, 6, ends);
  } else if (protocol === 17) {
    payload = summed(concat([...ports, u16(8), u16(0)]), 6, 17, ends);
  } else if (protocol === 1) {
    payload = summed(concat([Uint8Array.of(reply ? 0 : 8, 0, 0, 0), u16(packet.echo ?? 1), u16(1)]), 2, 1);
  } else if (protocol === 58) {
    payload = summed(concat([Uint8Array.of(reply ? 129 : 128, 0, 0, 0), u16(packet.echo ?? 1), u16(1)]), 2, 58, ends);
  }
  return ip(source, destination, protocol, dscp, payload);
}

function ethernet(link: Partial<Link> | undefined, vlans: readonly number[], packet: Uint8Array): Uint8Array {
  const { sourceMac, destinationMac } = { ...anyMac, ...link };
  const type = u16((packet[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800);
  const tags = vlans.flatMap((id, place) => [u16(vlans.length === 2 && place === 0 ? 0x88a8 : 0x8100), u16(id)]);
  return concat([mac(destinationMac), mac(sourceMac), ...tags, type, packet]);
}

/** Ethernet and the packet. */
export const composePlain = (packet: Uint8Array, link?: Partial<Link>): Uint8Array =>
  ethernet(link, link?.vlans ?? [], packet);

/** The packet in a GTP-U tunnel; with a QFI there is a PDU Session Container (TS 38.415). */
export function composeFrame(packet: Uint8Array, tunnel: Tunnel, uplink: boolean, link?: Partial<Link>): Uint8Array {
  const { teid, source, destination, vlans, qfi } = tunnel;
  const container = qfi === undefined ? [] : [u32(0x0000_0085), Uint8Array.of(1, uplink ? 0x10 : 0, qfi, 0)];
  const message = concat([...container, packet]);
  const gtpu = concat([Uint8Array.of(qfi === undefined ? 0x30 : 0x34, 255), u16(message.length), u32(teid), message]);
  const udp = concat([u16(2152), u16(2152), u16(8 + gtpu.length), u16(0), gtpu]);
  const ends: [Uint8Array, Uint8Array] = [addressOctets(source)!, addressOctets(destination)!];
  if (ends[0].length === 16) summed(udp, 6, 17, ends);
  return ethernet(link, vlans, ip(source, destination, 17, 0, udp));
}
