/**
 * What does a lab need to have clients on plain Ethernet as well: Wi-Fi, fixed access, VLANs?
 *
 *   sta0 sta1        10.80.0.10, .11 (sta0: 2001:db8:800::10 too)
 *   home             a router, 10.80.0.20, with pc (10.81.0.10) behind it
 *     │ wap: a switch; with `tags` its uplink carries them (tagger.py)
 *   wifi0 ┐
 *         │ tof      a second wire of the appliance, data plane "wifi"
 *   lan0  ┘
 *     │ with `tags`: lsw takes them off
 *   gw               10.80.0.1, 2001:db8:800::1; routes to the Internet of the lab
 */
import type { Lab, ScriptedUe } from "./lab.ts";
import { must, type Process, until } from "./netns.ts";

const station = (index: number, ns: string, ip: string): ScriptedUe => ({ index, ns, tun: "eth0", ip });
export const stations = {
  first: station(0, "sta0", "10.80.0.10"),
  second: station(1, "sta1", "10.80.0.11"),
  first6: station(0, "sta0", "2001:db8:800::10"),
  behindRouter: station(2, "pc", "10.81.0.10"),
};
export const stationPools = ["10.80.0.0/15", "2001:db8:800::/64"];

/** The data plane's entry in site.yaml. */
export const wifi = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  name: "wifi",
  plugin: "ethernet",
  access: "wifi0",
  core: "lan0",
  uePools: stationPools,
  ...more,
});

const tagger = new URL("./tagger.py", import.meta.url).pathname.replace("/dist/", "/");

async function tag(lab: Lab, ns: string, outer: string, tags: string): Promise<Process> {
  const m = lab.machines;
  await m.ip(
    ns,
    "link add in0 type veth peer name in1",
    "link set in0 up",
    "link set in1 up",
    "link set in1 master br0",
  );
  await m.asCable(ns, "in0");
  // What the tagger reads must be what it may send: packets are not joined on their way to it.
  await m.ip(ns, "link set in0 gro_max_size 1", `link set ${outer} gro_max_size 1`);
  await m.asCable(ns, "in1");
  const started = m.start(ns, `tagger ${ns}`, ["python3", tagger, "in0", outer, tags]);
  await started.said(/ready/);
  return started;
}

/** Adds all of it to a lab. `tags`: as tagger.py has them. */
export async function addStations(lab: Lab, tags?: string): Promise<void> {
  const m = lab.machines;
  // Tags need room on the wire.
  const mtu = tags === undefined ? 1500 : 1600;
  for (const name of ["wap", "lsw", "sta0", "sta1", "home", "pc", "gw"]) await m.add(name);
  for (const [ns, adapter] of [
    ["wap", "wifi0"],
    ["lsw", "lan0"],
  ] as const) {
    await m.ip(ns, "link add br0 type bridge mcast_snooping 0", "link set br0 up");
    await m.wire("tof", adapter, ns, "up0", mtu);
    await m.asCable(ns, "up0");
    if (tags === undefined) await m.ip(ns, "link set up0 master br0");
    else await tag(lab, ns, "up0", tags);
  }
  for (const [index, name] of ["sta0", "sta1", "home"].entries()) {
    await m.wire("wap", `p${index}`, name, "eth0");
    await m.ip("wap", `link set p${index} master br0`);
    await m.asCable("wap", `p${index}`);
    await m.asCable(name, "eth0");
  }
  await m.wire("lsw", "p0", "gw", "eth0");
  await m.ip("lsw", "link set p0 master br0");
  await m.asCable("lsw", "p0");
  await m.asCable("gw", "eth0");
  await m.wire("home", "lan0", "pc", "eth0");
  await m.wire("inet", "gwe", "gw", "sgi0");
  await m.ip("sta0", "addr add 10.80.0.10/24 dev eth0", "route add default via 10.80.0.1");
  await m.ip("sta0", "addr add 2001:db8:800::10/64 dev eth0 nodad", "route add default via 2001:db8:800::1");
  await m.ip("sta1", "addr add 10.80.0.11/24 dev eth0", "route add default via 10.80.0.1");
  await m.ip(
    "home",
    "addr add 10.80.0.20/24 dev eth0",
    "addr add 10.81.0.1/24 dev lan0",
    "route add default via 10.80.0.1",
  );
  await m.ip("pc", "addr add 10.81.0.10/24 dev eth0", "route add default via 10.81.0.1");
  await m.ip(
    "gw",
    "addr add 10.80.0.1/24 dev eth0",
    "addr add 2001:db8:800::1/64 dev eth0 nodad",
    "addr add 203.0.113.200/24 dev sgi0",
    "addr add 2001:db8:113::c8/64 dev sgi0 nodad",
    "route add 10.81.0.0/24 via 10.80.0.20",
  );
  await m.ip(
    "inet",
    "link set gwe master br0",
    "route add 10.80.0.0/15 via 203.0.113.200",
    "route add 2001:db8:800::/64 via 2001:db8:113::c8",
  );
  for (const router of ["home", "gw"]) {
    for (const key of ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]) {
      await must(["ip", "netns", "exec", m.ns(router), "sysctl", "-qw", `${key}=1`]);
    }
  }
}

/** MAC address of a machine's adapter. */
export async function macOf(lab: Lab, ns: string, device = "eth0"): Promise<string> {
  return (await lab.exec(ns, ["cat", `/sys/class/net/${device}/address`])).stdout.trim();
}

/** Waits until the station reaches the Internet: ports of a switch take a moment. */
export const reaches = (lab: Lab, from: ScriptedUe, to: string): Promise<boolean> =>
  until(`${from.ns} to reach ${to}`, async () => (await lab.phonePing(from, to)).received === 1, 20_000);
