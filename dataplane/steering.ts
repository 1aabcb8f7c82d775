/**
 * What does the data plane have to know, as plain data?
 *
 * `Steering` is the only thing that travels from intent to packet: the control plane compiles intents to it, each back
 * end renders it to its own tables. It is JSON: it can be printed, compared and stored. What depends on the moment (which
 * endpoint is healthy, which function of a chain answers) is written into it as well: a change of the moment is a new steering.
 */

/** What happens to a packet that a rule matches. */
export type Action =
  /** Stays in its tunnel, on its way. With a treatment: after that. */
  | "pass"
  /** Out of its tunnel, destination translated to an endpoint. */
  | "take"
  /** Out of its tunnel, untranslated: to the apps' network (local gateway, A19) or to `output`. */
  | "route"
  /** Whole, with its tunnel, to `output`: nothing is decapsulated. Of a flow both directions. */
  | "forward"
  /** Goes nowhere. */
  | "drop";

/** Inclusive. */
export type Range = [number, number];

export type Direction = "uplink" | "downlink";

/**
 * All members as seen on the uplink. Absent means any; a list means any of its members; a packet has to satisfy every
 * member. Lists are never empty. What a member means as a set of numbers is in space.ts.
 */
export interface Match {
  /**
   * Absent: a flow matches as its uplink packets do, and its downlink packets go with it. With it, only packets of this
   * direction match, each by itself, whatever became of others; the other members are still written as seen on the uplink.
   * Such rules pass, drop, route or forward, and may have a rate and a mirror.
   */
  direction?: Direction;
  /** Implied by addresses; needed where there are none. */
  family?: 4 | 6;
  /** Inner. Prefixes, canonical: `203.0.113.80/32`, `2001:db8::/32`. */
  destination?: string[];
  source?: string[];
  /** Inner IP protocol numbers. */
  protocol?: number[];
  destinationPorts?: Range[];
  sourcePorts?: Range[];
  /** Inner, 0..63. */
  dscp?: Range[];
  /** Names of data planes. */
  dataplanes?: string[];
  /** Outer VLAN id; 0 is untagged. */
  vlan?: Range[];
  /** Inner of two VLAN ids; 0 is none. */
  innerVlan?: Range[];
  /** Of the frame as it arrives from the access side: `02:00:00:00:00:01`. */
  sourceMac?: string[];
  destinationMac?: string[];
  /** Outer addresses, prefixes: GTP-U only. */
  baseStation?: string[];
  gateway?: string[];
  /** TEID of the uplink tunnel: GTP-U only. */
  teid?: Range[];
  /** QoS flow identifier of the uplink, 0..63: GTP-U with PDU Session Container only. */
  qfi?: Range[];
  /** GTP-U message types. Absent: 255 (G-PDU) only. Others are never part of a flow: `pass` and `drop` alone apply. */
  message?: Range[];
}

export interface Endpoint {
  address: string;
  /** Absent keeps the packet's own. */
  port?: number;
  /** Share of new connections, 1 (default) to 100. */
  weight?: number;
  /** Absent: up. Draining keeps what it has and gets nothing new; down has its flows ended. */
  state?: "up" | "draining" | "down";
}

/** One transit function of a chain, in one direction. */
export interface Hop {
  /** Of its VXLAN tunnel end point. */
  address: string;
  /** VXLAN network identifier that this hop alone has; with NSH it is the service path. */
  vni: number;
  encapsulation: "vxlan" | "nsh";
  /** Absent: up. */
  state?: "up" | "down";
}

export interface Chain {
  /** In the order in which packets meet them. */
  uplink: Hop[];
  downlink: Hop[];
  /** What packets do when a function is down: go on without it, or end. */
  unreachable: "bypass" | "block";
}

/** An end point that packets are tunnelled to. */
export interface TunnelEnd {
  /**
   * `gre` (RFC 2784): the packet, without its GTP-U tunnel if the action or form takes that off, is put into GRE.
   * `gtp-u`: the packet stays in its tunnel, whose outer addresses become these; TEID and all else stay. An action `route` is
   * then the same as `forward`, and a form `decapsulated` the same as `as-is`.
   */
  type: "gtp-u" | "gre";
  /** Absent: with `gre` the appliance's own address on that adapter, with `gtp-u` the one that the packet has. */
  source?: string;
  /** A packet whose outer header is of the other family is not put into `gtp-u` to it, and passes. */
  destination: string;
}

/** How packets leave that do not stay on their way. */
export interface Outlet {
  /** Adapter. Absent: the apps' adapter, and for a tunnel without `address` whatever the appliance's routing says. */
  port?: string;
  /** Id of the tag that is pushed. */
  vlan?: number;
  /** Destination MAC address, in place of `address`. */
  mac?: string;
  /** Absent: the adapter's own. */
  sourceMac?: string;
  /** IP next hop on that adapter; its MAC address is resolved, and kept current. While it is not known, packets pass. */
  address?: string;
  tunnel?: TunnelEnd;
}

/** A copy: the packet as it leaves us, or without its tunnel. */
export interface Copy extends Outlet {
  form: "as-is" | "decapsulated";
}

/** The same for both directions, or one for each; a direction that is absent is not copied. */
export type Mirror = Copy | { uplink?: Copy; downlink?: Copy };

export const copiesOf = (mirror: Mirror | undefined): { uplink?: Copy; downlink?: Copy } =>
  mirror === undefined ? {} : "form" in mirror ? { uplink: mirror, downlink: mirror } : mirror;

/** What is done with the packets of a rule beside its action. At least one member is there. */
export interface Treatment {
  chain?: Chain;
  /** A copy of each packet leaves. */
  mirror?: Mirror;
  /** Bits per second of inner packets, each direction; what is more is dropped. */
  rate?: { uplink?: number; downlink?: number };
}

export interface SteeringRule {
  /** Stable over the rule's life; names it in the kernel. 1..2^32-1. */
  id: number;
  /** Index of its service's counters and treatment, 1..65535, stable over the service's life. */
  service: number;
  /** The intent that caused it. */
  name: string;
  /** Highest wins. */
  priority: number;
  match: Match;
  action: Action;
  /** With `take`, and only there. When none is up, the rule stands aside: its packets pass. */
  endpoints?: Endpoint[];
  /** What keeps to one endpoint: a connection (default), or a UE with all of its connections. */
  affinity?: "connection" | "ue";
  /**
   * With `route`, where it is absent for the apps' network, and `forward`, where it is required. A forwarded frame for which
   * neither `vlan`, `mac`, `address` nor `tunnel` is given keeps its Ethernet header; else it gets one as routed packets do.
   */
  output?: Outlet;
  treatment?: Treatment;
  /** The app may speak first. */
  appInitiated: boolean;
}

/** Names that the platform's own name server answers, whatever resolver a UE asks for them. */
export interface Names {
  /** In lower case, labels of ASCII, without the dot at the end; each once. */
  names: string[];
  /** Who answers queries that come over IPv4. */
  server: { address: string; port: number };
  /** … and over IPv6. Absent: those pass. */
  server6?: { address: string; port: number };
}

/** No queries are taken. */
export const noNames: Names = { names: [], server: { address: "0.0.0.0", port: 0 } };

export interface Steering {
  /** Ordered: highest priority first. */
  rules: SteeringRule[];
  /** Prefixes that UEs may not reach through their tunnels. */
  protect: string[];
  /** For queries that no rule matches. Absent: the names that are in force stay. */
  names?: Names;
}

export const emptySteering: Steering = { rules: [], protect: [] };
