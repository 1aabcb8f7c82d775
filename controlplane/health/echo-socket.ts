/**
 * Does a host answer an ICMP echo?
 *
 * RFC 792, RFC 4443 §4.1, through npm `raw-socket`: one raw socket per address family, opened with the first question and
 * closed after the last one is answered and a while has passed. The payload tells our answers from others' and from those
 * of other processes on this machine:
 *
 *   octets 0..7  random, of this process     8..11 number of the question, big endian
 *
 * The kernel fills in the checksum of ICMPv6 (RFC 3542 §3.1); that of ICMP is ours.
 */
import { randomBytes, randomInt } from "node:crypto";
import raw, { type RawSocket } from "raw-socket";
import { checksum, put16, u32 } from "../sessions/octets.ts";

const ECHO = { 4: { request: 8, reply: 0 }, 6: { request: 128, reply: 129 } } as const;
const protocol = { 4: 1, 6: 58 } as const;
const PAYLOAD = 24;
const idleMs = 5000;

interface Question {
  family: 4 | 6;
  answered: () => void;
}

export class EchoSocket {
  private readonly sockets = new Map<4 | 6, RawSocket>();
  private readonly open = new Map<number, Question>();
  private readonly cookie = randomBytes(8);
  private readonly id = randomInt(0x10000);
  private number = randomInt(0x10000);
  private idle: NodeJS.Timeout | undefined;

  /** Resolves with the answer. @throws Error when the kernel refuses to send, or what the signal was aborted with. */
  ask(address: string, signal: AbortSignal): Promise<void> {
    const family = address.includes(":") ? 6 : 4;
    this.number = (this.number + 1) >>> 0;
    const { number } = this;
    clearTimeout(this.idle);
    return new Promise<void>((resolve, reject) => {
      const end = (error?: Error) => {
        if (!this.open.delete(number)) return;
        signal.removeEventListener("abort", abort);
        if (this.open.size === 0) this.rest();
        if (error) reject(error);
        else resolve();
      };
      const abort = () => end(signal.reason instanceof Error ? signal.reason : new Error("the probe was ended"));
      this.open.set(number, { family, answered: () => end() });
      signal.addEventListener("abort", abort);
      try {
        const socket = this.sockets.get(family) ?? this.openSocket(family);
        const packet = this.request(family, number);
        socket.send(packet, 0, packet.length, address, (error) => error && end(error));
      } catch (error) {
        end(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  close(): void {
    clearTimeout(this.idle);
    for (const socket of this.sockets.values()) socket.close();
    this.sockets.clear();
  }

  /** An open raw socket is given a copy of every ICMP packet to this machine. */
  private rest(): void {
    clearTimeout(this.idle);
    this.idle = setTimeout(() => this.close(), idleMs);
    this.idle.unref();
  }

  private request(family: 4 | 6, number: number): Buffer {
    const packet = Buffer.alloc(8 + PAYLOAD);
    packet[0] = ECHO[family].request;
    put16(packet, 4, this.id);
    put16(packet, 6, number & 0xffff);
    packet.set(this.cookie, 8);
    packet.writeUInt32BE(number, 16);
    if (family === 4) put16(packet, 2, checksum(packet, 0, packet.length));
    return packet;
  }

  /** @throws Error when the kernel refuses: no privilege, or no such family. */
  private openSocket(family: 4 | 6): RawSocket {
    const addressFamily = family === 6 ? raw.AddressFamily.IPv6 : raw.AddressFamily.IPv4;
    const socket = raw.createSocket({ protocol: protocol[family], addressFamily });
    const forget = () => {
      if (this.sockets.get(family) === socket) this.sockets.delete(family);
    };
    socket.on("error", forget);
    socket.on("close", forget);
    socket.on("message", (octets) => this.received(family, octets));
    this.sockets.set(family, socket);
    return socket;
  }

  private received(family: 4 | 6, octets: Buffer): void {
    // IPv4 packets come with their header (raw(7)), IPv6 ones without (RFC 3542 §3).
    const at = family === 4 ? ((octets[0] ?? 0) & 15) * 4 : 0;
    if (octets.length < at + 20 || octets[at] !== ECHO[family].reply) return;
    if (this.cookie.compare(octets, at + 8, at + 16) !== 0) return;
    const question = this.open.get(u32(octets, at + 16));
    if (question?.family === family) question.answered();
  }
}
