/**
 * Is a program at work on any of these adapters, ours or another's?
 */
import type { BackendConfig } from "../dataplane.ts";
import { xdpQuery } from "./bpf-object.ts";
import { linkOrNone } from "./netdev.ts";
import { adaptersOf } from "./planes.ts";

export async function inForce({ dataplanes }: Pick<BackendConfig, "dataplanes">): Promise<boolean> {
  for (const name of dataplanes.flatMap(adaptersOf)) {
    const link = await linkOrNone(name);
    if (link && xdpQuery(link.ifindex)) return true;
  }
  return false;
}
