/**
 * Through which device do programs and control plane exchange frames?
 *
 * A TAP that lives as long as this process: the kernel removes it, and its entry in the programs' `ports` map, when the
 * process ends in whatever way. So its presence tells the programs that somebody can hold replies.
 *
 *   program ──redirect──▶ TAP ──read──▶ control plane ──write──▶ TAP ── XDP (from_slow) ──▶ program
 */
import { ip, writeSysctl } from "./command.ts";
import { checked, errno, errnos, libc, type Poll, pollReadable } from "./libbpf.ts";
import { type Link, linkOf } from "./netdev.ts";

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const O_RDWR = 2;
const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x80000;

/** Largest frame: MTU 9000, Ethernet, two tags, and our header. */
const ROOM = 16384;

export class Tap {
  private poll: Poll | undefined;
  private readonly buffer = new Uint8Array(ROOM);

  private constructor(
    private readonly fd: number,
    readonly link: Link,
  ) {}

  /** @throws BpfError EBUSY while another process has it. */
  static async open(name: string, mtu: number): Promise<Tap> {
    const fd = checked(libc.open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), "opening", "/dev/net/tun");
    const request = new Uint8Array(40);
    request.set(Buffer.from(name.slice(0, 15), "latin1"));
    new DataView(request.buffer).setUint16(16, IFF_TAP | IFF_NO_PI, true);
    try {
      checked(libc.ioctl(fd, TUNSETIFF, request), "making", `device ${name}`);
      writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
      await ip(`link set dev ${name} mtu ${mtu} arp off addrgenmode none`);
      await ip(`link set dev ${name} up`);
      return new Tap(fd, await linkOf(name));
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  }

  /** A copy of the next frame; null when there is none. */
  read(): Uint8Array | null {
    const length = libc.read(this.fd, this.buffer, ROOM);
    if (length > 0) return this.buffer.slice(0, length);
    if (length < 0 && errno() !== errnos.EAGAIN && errno() !== errnos.EINTR) checked(-1, "reading", "the slow port");
    return null;
  }

  /** False when the kernel did not take it. */
  write(frame: Uint8Array): boolean {
    return libc.write(this.fd, frame, frame.length) === frame.length;
  }

  onReadable(listener: () => void): void {
    this.poll?.close();
    this.poll = pollReadable(this.fd, listener);
  }

  close(): void {
    this.poll?.close();
    this.poll = undefined;
    libc.close(this.fd);
  }
}

/** A longer frame than at the start may come. */
export async function setTapMtu(name: string, mtu: number): Promise<void> {
  await ip(`link set dev ${name} mtu ${mtu}`);
}
