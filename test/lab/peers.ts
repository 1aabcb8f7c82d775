/**
 * How are the real GTP peers told what to be?
 *
 * osmo-ggsn and sgsnemu (Debian package osmo-ggsn) speak GTP-C version 1 on UDP 2123 (TS 29.060) and GTP-U version 1 on
 * UDP 2152 (TS 29.281), with sequence numbers in every G-PDU. One sgsnemu owns both ports of its address.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { gatewayAddress, uePool, uePool6 } from "./topology.ts";

/** Configuration file of gateway `g`: an IPv4 access point `internet` and an IPv6 one `inet6`. */
export function ggsnConfig(options: { directory: string; g: number }): string {
  const { directory, g } = options;
  const state = join(directory, `ggsn${g}`);
  mkdirSync(state, { recursive: true });
  return `log stderr
 logging filter all 1
 logging color 0
 logging timestamp 0
 logging level ip notice
 logging level tun notice
 logging level ggsn info
 logging level lgtp notice
line vty
 no login
ggsn ggsn0
 gtp state-dir ${state}
 gtp bind-ip ${gatewayAddress(g)}
 apn internet
  gtpu-mode tun
  tun-device tun4
  type-support v4
  ip prefix dynamic ${uePool(g)}
  ip dns 0 203.0.113.53
  ip dns 1 203.0.113.53
  ip ifconfig ${uePool(g)}
  no shutdown
 apn inet6
  gtpu-mode tun
  tun-device tun6
  type-support v6
  ipv6 prefix dynamic ${uePool6(g)}
  ipv6 dns 0 2001:db8:113::53
  ipv6 dns 1 2001:db8:113::53
  ipv6 ifconfig ${uePool6(g)}
  no shutdown
 default-apn internet
 no shutdown ggsn
`;
}

/** Command line of a base station with one phone, whose TUN is made in the phone's namespace. */
export function sgsnemu(options: {
  directory: string;
  index: number;
  listen: string;
  remote: string;
  netns: string;
  type: "v4" | "v6";
}): string[] {
  const { directory, index, listen, remote, netns, type } = options;
  const state = join(directory, `sgsnemu${index}-${listen}`);
  mkdirSync(state, { recursive: true });
  return [
    ...["sgsnemu", "--listen", listen, "--remote", remote, "--createif", "--defaultroute", "--netns", netns],
    ...["--tun-device", "tun0", "--apn", type === "v6" ? "inet6" : "internet", "--pdp-type", type],
    ...["--imsi", `00101${`${index + 1}`.padStart(10, "0")}`, "--msisdn", `4670${`${index + 1}`.padStart(7, "0")}`],
    ...["--timelimit", "0", "--pidfile", join(state, "pid"), "--statedir", state],
  ];
}
