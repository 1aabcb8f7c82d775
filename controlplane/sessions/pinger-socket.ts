/**
 * How does an echo request in a UE's name leave this machine?
 *
 * Through npm `raw-socket`: a raw socket per address family with the IP header included (`ip(7)`, `raw(7)`), bound to
 * the pinger device (SO_BINDTODEVICE), so that no routing table is asked which way to go. Protocol IPPROTO_RAW: the
 * socket receives nothing, the answers never come here but are swallowed by the data plane. The only file that touches
 * these sockets.
 *
 * The device must be up and `arp off` (IFF_NOARP): the kernel looks for the neighbour of the destination in the packet,
 * and nobody answers there. No address and no route is needed: `sendto` is given a link-local group of which this host
 * is no member, and the packet's own destination stays as it is.
 */
import raw, { type RawSocket } from "raw-socket";

const IPPROTO_RAW = 255;
/** Linux, <linux/in6.h>; the package does not name it. */
const IPV6_HDRINCL = 36;
/** Groups for experiments (RFC 4727 §2.3; RFC 4291 §2.7 with an unassigned number): nobody here listens. */
const VIA_IPV4 = "224.0.0.254";
const VIA_IPV6 = "ff02::4f46";

/** What the runtime needs of it. */
export interface PingSender {
  /** @param packet whole IP packet. `done` gets the error when the kernel refuses it. */
  send(packet: Uint8Array, done: (error: Error | null) => void): void;
  close(): void;
}

export class PingerSocket implements PingSender {
  private readonly sockets = new Map<4 | 6, RawSocket>();

  /** @param device name of the pinger device in this network namespace. */
  constructor(private readonly device: string) {}

  send(packet: Uint8Array, done: (error: Error | null) => void): void {
    const family = (packet[0] ?? 0) >> 4 === 6 ? 6 : 4;
    let socket: RawSocket;
    try {
      socket = this.sockets.get(family) ?? this.open(family);
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    const buffer = Buffer.from(packet);
    const via = family === 6 ? `${VIA_IPV6}%${this.device}` : VIA_IPV4;
    socket.send(buffer, 0, buffer.length, via, (error) => done(error));
  }

  close(): void {
    for (const socket of this.sockets.values()) socket.close();
    this.sockets.clear();
  }

  /** @throws Error when the kernel refuses: no privilege, or no such device. */
  private open(family: 4 | 6): RawSocket {
    const socket = raw.createSocket({
      protocol: IPPROTO_RAW,
      addressFamily: family === 6 ? raw.AddressFamily.IPv6 : raw.AddressFamily.IPv4,
    });
    try {
      socket.on("error", () => this.forget(family, socket));
      socket.on("close", () => this.forget(family, socket));
      const name = Buffer.from(`${this.device}\0`);
      socket.setOption(raw.SocketLevel.SOL_SOCKET, raw.SocketOption.SO_BINDTODEVICE, name, name.length);
      if (family === 6) socket.setOption(raw.SocketLevel.IPPROTO_IPV6, IPV6_HDRINCL, 1);
      else socket.setOption(raw.SocketLevel.IPPROTO_IP, raw.SocketOption.IP_HDRINCL, 1);
      // Nothing is awaited: an idle socket must not keep the process alive.
      socket.pauseRecv();
    } catch (error) {
      socket.close();
      throw error;
    }
    this.sockets.set(family, socket);
    return socket;
  }

  /** A socket that failed is opened again with the next packet: its device may have come back. */
  private forget(family: 4 | 6, socket: RawSocket): void {
    if (this.sockets.get(family) === socket) this.sockets.delete(family);
  }
}
