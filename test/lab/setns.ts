/**
 * How does one process have sockets in several namespaces?
 *
 * A socket stays in the network namespace in which it was made (namespaces(7)), so the main thread goes there, makes
 * it, and comes back before anything else can run. That lets a test be two base stations, a core and a phone at once,
 * in one readable sequence. TUN devices likewise: ioctl TUNSETIFF makes one where the thread is (tun.txt of the kernel).
 */
import type { Socket } from "node:dgram";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const setns = libc.func("int setns(int fd, int kind)");
const ioctl = libc.func("int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)");
const poll = libc.func("int poll(_Inout_ uint8_t *descriptors, unsigned long count, int timeout)");
const setsockopt = libc.func("int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)");

const CLONE_NEWNET = 0x40000000;
const TUNSETIFF = 0x400454ca;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const POLLIN = 0x0001;
const O_RDWR_NONBLOCK = 0o2 | 0o4000;

/** Runs `make`, which must not wait for anything, in a namespace. `name` as `ip netns` lists it. */
export function inNamespace<T>(name: string, make: () => T): T {
  const home = openSync("/proc/self/ns/net", "r");
  const there = openSync(`/run/netns/${name}`, "r");
  try {
    if (setns(there, CLONE_NEWNET) !== 0) throw new Error(`setns ${name} failed`);
    try {
      return make();
    } finally {
      if (setns(home, CLONE_NEWNET) !== 0) process.abort();
    }
  } finally {
    closeSync(there);
    closeSync(home);
  }
}

const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_IP = 0;
const IP_TOS = 1;

function setOption(socket: Socket, level: number, name: number, value: number): void {
  // The descriptor is the only way to options that Node has no name for.
  const symbol = Object.getOwnPropertySymbols(socket).find((one) => one.description === "state symbol");
  const state = symbol ? (socket as unknown as Record<symbol, { handle?: { fd?: number } }>)[symbol] : undefined;
  const fd = state?.handle?.fd ?? -1;
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  if (fd < 0 || setsockopt(fd, level, name, bytes, 4) !== 0) throw new Error(`setsockopt ${level} ${name} failed`);
}

/** Room for a burst of thousands of small packets, beyond net.core.rmem_max. */
export const roomy = (socket: Socket): void => setOption(socket, SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20);

/** Sets the TOS octet of what an IPv4 socket sends; it must be bound. */
export const setTos = (socket: Socket, tos: number): void => setOption(socket, SOL_IP, IP_TOS, tos);

/** A TUN device of this process: IP packets in and out, no header in front. */
export class Tun {
  private readonly fd: number;
  private open = true;
  private readonly buffer = Buffer.alloc(65536);
  private reading: Promise<void> | undefined;

  /** Makes the device in the namespace; addresses, routes and `up` are the caller's. */
  constructor(namespace: string, device: string) {
    this.fd = inNamespace(namespace, () => {
      const fd = openSync("/dev/net/tun", O_RDWR_NONBLOCK);
      const request = Buffer.alloc(40);
      request.write(device, 0, 15, "latin1");
      request.writeUInt16LE(IFF_TUN | IFF_NO_PI, 16);
      if (ioctl(fd, TUNSETIFF, request) !== 0) throw new Error(`TUNSETIFF ${device} failed`);
      return fd;
    });
  }

  /** Delivers what the kernel sends into the device. Polling ends within 20 ms of `close`. */
  start(deliver: (packet: Buffer) => void): void {
    const descriptor = Buffer.alloc(8);
    descriptor.writeInt32LE(this.fd, 0);
    descriptor.writeInt16LE(POLLIN, 4);
    const wait = (): Promise<number> =>
      new Promise((resolve, reject) => {
        poll.async(descriptor, 1, 20, (error: Error | null, ready: number) => (error ? reject(error) : resolve(ready)));
      });
    this.reading = (async () => {
      while (this.open) if ((await wait()) > 0) this.drain(deliver);
    })();
  }

  private drain(deliver: (packet: Buffer) => void): void {
    while (this.open) {
      let length: number;
      try {
        length = readSync(this.fd, this.buffer);
      } catch {
        // EAGAIN: all read. Anything else ends with the device.
        return;
      }
      if (length <= 0) return;
      deliver(Buffer.from(this.buffer.subarray(0, length)));
    }
  }

  write(packet: Uint8Array): void {
    try {
      if (this.open) writeSync(this.fd, packet);
    } catch {
      // A packet the kernel refuses (device down, malformed) is lost, as in a radio.
    }
  }

  async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    await this.reading;
    closeSync(this.fd);
  }
}
