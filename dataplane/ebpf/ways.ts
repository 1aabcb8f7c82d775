/**
 * By which adapter and to whom do outlets lead, at the moment?
 *
 * Whatever a rule does not give is asked of the kernel: for a tunnel the route to its end, for a next hop its MAC address. The
 * kernel is made to look for a neighbour that it does not know; who calls asks again when netlink says that something has
 * changed.
 */
import { DataplaneError } from "../dataplane.ts";
import type { Outlet } from "../steering.ts";
import { ipJson, tryIp } from "./command.ts";
import type { Link } from "./netdev.ts";
import { isFound, type Way } from "./outlet-record.ts";

interface Route {
  type?: string;
  gateway?: string;
  dev?: string;
  prefsrc?: string;
}

const usable = new Set(["REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT", "NOARP"]);
const certain = new Set(["REACHABLE", "DELAY", "PROBE", "PERMANENT", "NOARP"]);

async function routeTo(address: string, adapter: string | undefined): Promise<Route | undefined> {
  const by = adapter === undefined ? "" : ` oif ${adapter}`;
  const [route] = await ipJson<Route[]>(`route get ${address}${by}`).catch(() => []);
  return route?.type === "local" ? undefined : route;
}

/** Its MAC address; undefined when the kernel does not know it, and is looking for it now. */
async function neighbour(address: string, adapter: string, ask: boolean): Promise<string | undefined> {
  const [known] = await ipJson<{ lladdr?: string; state?: string[] }[]>(`neigh show ${address} dev ${adapter}`);
  const states = known?.state ?? [];
  if (ask && !states.some((state) => certain.has(state))) await tryIp(`neigh replace ${address} dev ${adapter} use`);
  return states.some((state) => usable.has(state)) ? known?.lladdr : undefined;
}

/** `apps`: name of the adapter toward the apps. @throws DataplaneError when nothing says by which adapter it leaves */
export async function adapterOf({ port, address, tunnel }: Outlet, apps: string | undefined): Promise<string> {
  if (port !== undefined) return port;
  if (address !== undefined && apps !== undefined) return apps;
  const to = address ?? tunnel?.destination;
  const route = to === undefined ? undefined : await routeTo(to, undefined);
  if (route?.dev !== undefined) return route.dev;
  throw new DataplaneError(
    to === undefined ? "names no adapter" : `leads to ${to}: the appliance has no route there`,
    to ?? "output",
  );
}

/**
 * `ask`: a neighbour that is not certain is asked for.
 * @throws DataplaneError when there is no route to what it names, or no address to send from.
 */
export async function wayOf(outlet: Outlet, link: Link, ask: boolean): Promise<Way> {
  const { address, tunnel } = outlet;
  const way: Way = { mac: link.address, mtu: link.mtu };
  const to = address ?? tunnel?.destination;
  const ownNeeded = tunnel?.type === "gre" && tunnel.source === undefined;
  if (to === undefined || (!isFound(outlet) && !ownNeeded)) return way;
  const route = await routeTo(to, link.ifname);
  if (!route && (ownNeeded || address === undefined)) {
    throw new DataplaneError(`leads to ${to} by ${link.ifname}: the appliance has no route there`, to);
  }
  if (ownNeeded) {
    const family = (text: string): boolean => text.includes(":");
    const own = route?.prefsrc;
    if (own === undefined || family(own) !== family(tunnel.destination)) {
      throw new DataplaneError(
        `leads to ${to} by ${link.ifname}, where the appliance has no address of that family: give tunnel.source`,
        to,
      );
    }
    way.source = own;
  }
  if (!isFound(outlet)) return way;
  const nextHop = await neighbour(address ?? route?.gateway ?? to, link.ifname, ask);
  return nextHop === undefined ? way : { ...way, nextHop };
}
