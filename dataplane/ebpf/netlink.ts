/**
 * When does something change about links, neighbours or routes?
 *
 * A route netlink socket (rtnetlink(7)) that listens to those groups. What exactly changed is not parsed: whoever cares
 * looks again, once things have been quiet for a moment.
 */
import { checked, libc, type Poll, pollReadable } from "./libbpf.ts";

const AF_NETLINK = 16;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x800 | 0x80000;
// RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
const GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;
const QUIET_MS = 20;

export class NetlinkWatch {
  private readonly fd: number;
  private readonly poll: Poll;
  private timer: NodeJS.Timeout | undefined;
  private readonly buffer = new Uint8Array(65536);

  constructor(private readonly changed: () => void) {
    this.fd = checked(libc.socket(AF_NETLINK, SOCK_RAW_NONBLOCK_CLOEXEC, 0), "opening", "netlink socket");
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(8, GROUPS, true);
    checked(libc.bind(this.fd, address, address.length), "binding", "netlink socket");
    this.poll = pollReadable(this.fd, () => this.drain());
  }

  private drain(): void {
    // An overrun (ENOBUFS) is a change as well.
    while (libc.read(this.fd, this.buffer, this.buffer.length) > 0);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.changed();
    }, QUIET_MS);
  }

  close(): void {
    if (this.timer) clearTimeout(this.timer);
    this.poll.close();
    libc.close(this.fd);
  }
}
