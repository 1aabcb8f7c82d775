/**
 * What does the data plane have to know, as plain data?
 *
 * `Steering` is the only thing that travels from intent to packet: the control plane compiles intents to it, each back
 * end renders it to its own tables. It is JSON: it can be printed, compared and stored.
 */

/** What happens to a packet that a rule matches. */
export type Action =
  /** To the opposite port, untouched. */
  | "pass"
  /** Out of its tunnel, destination translated to the endpoint. */
  | "take"
  /** Out of its tunnel, routed to the apps' network as it is: the local gateway (A19). */
  | "route";

/** All members as seen on the uplink, inside the tunnel. Absent means any. */
export interface Match {
  /** Prefix, canonical: `203.0.113.80/32`, `2001:db8::/32`. */
  destination?: string;
  source?: string;
  /** IP protocol number. */
  protocol?: number;
  /** Inclusive range. */
  destinationPorts?: [number, number];
  sourcePorts?: [number, number];
}

export interface SteeringRule {
  /** Stable over the rule's life; names it in the kernel. 1..2^32-1. */
  id: number;
  /** Index of its service's counters, 1..65535, stable over the service's life. */
  service: number;
  /** The intent that caused it. */
  name: string;
  /** Highest wins. */
  priority: number;
  match: Match;
  action: Action;
  /** Only with `take`. `port` absent keeps the packet's own. */
  endpoint?: { address: string; port?: number };
  /** The app may speak first. */
  appInitiated: boolean;
}

export interface Steering {
  /** Ordered: highest priority first. */
  rules: SteeringRule[];
  /** Prefixes that UEs may not reach through their tunnels. */
  protect: string[];
}

export const emptySteering: Steering = { rules: [], protect: [] };
