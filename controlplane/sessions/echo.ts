/**
 * What does an echo request in a UE's name look like?
 *
 * ICMP (RFC 792) or ICMPv6 (RFC 4443 §4.1) with its IP header, as the phone itself would send it. The payload is what
 * the data plane recognises the answer by, and finds the session with:
 *
 *   octets 0..7  cookie of the data plane     8..11 session, little endian     12..15 its epoch, little endian
 *
 * The top bit of the sequence number asks for the candidate tunnel instead of the proven one.
 */
import { addressOctets, checksum, mendIpv4Checksum, put16, sum16 } from "./octets.ts";

export const CANDIDATE_BIT = 0x8000;
const PAYLOAD = 16;

export interface Echo {
  /** The UE's full address; of the same family as `target`. */
  ue: string;
  target: string;
  /** 0..65535. */
  id: number;
  sequence: number;
  /** Eight octets, as on the wire. */
  cookie: Uint8Array;
  session: number;
  epoch: number;
}

/** @returns the IP packet; undefined when the addresses are none or of two families. */
export function buildEcho(echo: Echo): Uint8Array | undefined {
  const source = addressOctets(echo.ue);
  const destination = addressOctets(echo.target);
  if (!source || !destination || source.length !== destination.length) return undefined;
  const v6 = source.length === 16;
  const header = v6 ? 40 : 20;
  const packet = new Uint8Array(header + 8 + PAYLOAD);

  const view = new DataView(packet.buffer);
  packet[header] = v6 ? 128 : 8;
  put16(packet, header + 4, echo.id);
  put16(packet, header + 6, echo.sequence);
  packet.set(echo.cookie.subarray(0, 8), header + 8);
  view.setUint32(header + 16, echo.session >>> 0, true);
  view.setUint32(header + 20, echo.epoch >>> 0, true);

  if (v6) {
    packet[0] = 0x60;
    put16(packet, 4, 8 + PAYLOAD);
    packet[6] = 58;
    packet[7] = 64;
    packet.set(source, 8);
    packet.set(destination, 24);
    const pseudo = sum16(packet, 8, 40, 8 + PAYLOAD + 58);
    put16(packet, header + 2, checksum(packet, header, packet.length, pseudo));
  } else {
    packet[0] = 0x45;
    put16(packet, 2, packet.length);
    packet[8] = 64;
    packet[9] = 1;
    packet.set(source, 12);
    packet.set(destination, 16);
    put16(packet, header + 2, checksum(packet, header, packet.length));
    mendIpv4Checksum(packet, 0, 20);
  }
  return packet;
}
