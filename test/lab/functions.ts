/**
 * How do service functions stand on the apps' network of a lab?
 *
 * Each is a machine with one adapter and nothing of ours: an address, a default route, a kernel that forwards once it is
 * told to. The `app` machine becomes the switch that all of them are plugged into. What a function has to do for its chains
 * it does by running what `offramp chain show` printed, as it was printed.
 */
import type { Appliance } from "./appliance.ts";
import type { Lab } from "./lab.ts";

export const vxlanAddress = "10.60.0.2";
export const vxlanAddress6 = "2001:db8:60::2";

export const functionAddress = (n: number): string => `10.60.0.${20 + n}`;
export const functionAddress6 = (n: number): string => `2001:db8:60::${20 + n}`;

/** Functions 1..count, called fn1, fn2 … */
export async function plugFunctions(lab: Lab, count: number): Promise<void> {
  const m = lab.machines;
  await m.ip(
    "app",
    "link add sw0 type bridge mcast_snooping 0",
    "link set sw0 up",
    "addr flush dev eth0",
    "link set eth0 master sw0",
    `addr add ${lab.app.address}/24 dev sw0`,
    `addr add ${lab.app.second}/24 dev sw0`,
    "addr add 2001:db8:60::10/64 dev sw0 nodad",
    "route replace default via 10.60.0.1",
    "route replace default via 2001:db8:60::1",
  );
  for (let n = 1; n <= count; n++) {
    await m.add(`fn${n}`);
    await m.wire("app", `fn${n}`, `fn${n}`, "eth0");
    await m.ip("app", `link set fn${n} master sw0`);
    await m.ip(
      `fn${n}`,
      `addr add ${functionAddress(n)}/24 dev eth0`,
      `addr add ${functionAddress6(n)}/64 dev eth0 nodad`,
      "route add default via 10.60.0.1",
      "route add default via 2001:db8:60::1",
    );
  }
}

interface Shown {
  chains: Record<"uplink" | "downlink", { function: string; commands: string[] }[]>[];
}

/** Runs on each function what `chain show` prints for it. @throws when a command fails */
export async function configureFunctions(
  lab: Lab,
  appliance: Appliance,
  count: number,
  service: string,
): Promise<void> {
  const shown = await appliance.cli("chain", "show", service, "--json");
  if (shown.code !== 0) throw new Error(`chain show: ${shown.stderr}`);
  const places = (JSON.parse(shown.stdout) as Shown).chains.flatMap(({ uplink, downlink }) => [...uplink, ...downlink]);
  for (let n = 1; n <= count; n++) {
    const own = [functionAddress(n), functionAddress6(n)];
    const script = places.filter((place) => own.includes(place.function)).flatMap(({ commands }) => commands);
    await runOn(lab, n, script.join("\n"));
  }
}

/** Runs the lines of a shell on function `n`. @throws when one fails */
export async function runOn(lab: Lab, n: number, script: string): Promise<void> {
  const ran = await lab.exec(`fn${n}`, ["sh", "-e"], { input: `${script}\n` });
  if (ran.code !== 0) throw new Error(`fn${n}: ${ran.stderr}\n${script}`);
}

/** Packets that came to a function by its interfaces of these chains, in all. */
export async function passed(lab: Lab, n: number): Promise<number> {
  const { stdout } = await lab.exec(`fn${n}`, ["ip", "-j", "-s", "link", "show"]);
  type Link = { ifname: string; stats64: { rx: { packets: number } } };
  return (JSON.parse(stdout) as Link[])
    .filter(({ ifname }) => /^ofr\d/.test(ifname))
    .reduce((sum, { stats64 }) => sum + stats64.rx.packets, 0);
}
