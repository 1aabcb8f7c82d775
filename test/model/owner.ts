/**
 * Whose is an uplink packet, by the tunnel that it came in?
 */
import { halfOf, isBound, isOwn, keyOf, learnUplink, uplinkMoved } from "./learn.ts";
import type { Packet } from "./read.ts";
import type { State, Tunnel } from "./state.ts";

/** Shows whose a packet is: the tunnel that it came in, or the name that it passes with. `wanted`: a rule could match. */
export type Owner = (state: State, p: Packet, wanted: boolean) => Tunnel | string;

export function ownTunnel(state: State, p: Packet): Tunnel | string {
  let t = state.tunnels.get(keyOf(p, true));
  if (!t || !isBound(t, p)) {
    const refused = learnUplink(state, p);
    if (refused !== undefined) return refused;
    t = state.tunnels.get(keyOf(p, true));
    if (!t) return "pass_unproven";
  } else {
    if (!isOwn(t, p)) return "pass_not_own_source";
    t.lastSeen = ++state.clock;
    if (halfOf(t, p)?.candidate) return "pass_unproven";
    if (t.peer !== p.source) {
      const refused = uplinkMoved(state, p, t);
      if (refused !== undefined) return refused;
    }
  }
  return t;
}
