/**
 * What can every back end do?
 *
 * The control plane knows data planes only by this interface. One back end, one folder (`ebpf/`), one implementation.
 */
import type { Monitor, MonitorFilter, SeenPacket } from "./monitor.ts";
import type { Names, Steering } from "./steering.ts";
import type { Trial, TrialRequest } from "./trial.ts";

export type Mode = "offload" | "observe" | "bypass";

/** One data plane as `site.yaml` names it (`dataplanes[]`), checked and with defaults filled in. */
export interface DataplaneConfig {
  name: string;
  /** What the wire carries: GTP-U, or plain Ethernet. */
  plugin: "gtp" | "ethernet";
  backend: "ebpf";
  /** Adapters: either both of `access` and `core`, or `adapter` alone (shared, with peers). */
  access?: string;
  core?: string;
  adapter?: string;
  accessPeers: string[];
  corePeers: string[];
  uePools: string[];
  /** Seconds. */
  idleTimeout: number;
  pinger?: { target?: string; target6?: string; intervalMs: number; giveUpMs: number };
  /** GTP-U only. */
  interface: "s1u" | "n3";
  mode: Mode;
}

export interface Limits {
  sessions: number;
  flows: number;
  rules: number;
  /** Sessions one base station or gateway may teach. */
  peerSessions: number;
  /** New tunnels per second and peer, and how many at once. */
  learnRate: number;
  learnBurst: number;
  /** Flows of one UE. */
  ueFlows: number;
}

export interface AppsConfig {
  /** Adapter toward the apps. */
  interface: string;
  /** The appliance's own address there, with its prefix length: `10.60.0.1/24`. */
  address: string;
  address6?: string;
  /** IPv4 prefixes of apps that run on the appliance itself, behind adapters that come and go. */
  instances?: {
    /** What comes from there are replies, as from the apps' adapter. */
    tof: string;
    /** Reached by the appliance's own routing, also by its servers at `address`. */
    platform: string;
  };
}

/** Our end of the tunnels to functions of chains. */
export interface VxlanConfig {
  /** Where functions send to: an address of the apps' network that nobody has. */
  address: string;
  address6?: string;
  /** UDP ports of VXLAN and of VXLAN-GPE, which carries NSH. */
  port: number;
  gpePort: number;
  /** Identifiers are counted from here (dataplane/chain.ts). */
  vniBase: number;
}

export interface BackendConfig {
  site: string;
  stateDir: string;
  dataplanes: DataplaneConfig[];
  limits: Limits;
  apps?: AppsConfig;
  /** Only with `apps`. */
  vxlan?: VxlanConfig;
}

export interface Bearer {
  direction: "uplink" | "downlink";
  /** As a number; printed as 0x%08x. */
  teid: number;
  /** Outer addresses. */
  baseStation: string;
  gateway: string;
  vlans: number[];
  state: "live" | "stale" | "candidate";
  /** Downlink: QFI of the PDU Session Container last observed. */
  qfi?: number;
  /** Octets that the tunnel adds to the inner packet. */
  overhead: number;
  /** DSCP of the observed outer header. */
  dscp?: number;
}

/** Where a client on plain Ethernet is. */
export interface Station {
  mac: string;
  gatewayMac: string;
  /** Outermost first. */
  vlans: number[];
  /** Another MAC that has used the address, as long as the core side has not confirmed it. */
  claim?: { mac: string; vlans: number[] };
}

export interface Session {
  dataplane: string;
  /** `10.45.0.2`, or the /64 `2001:db8:1::/64`; on Ethernet the whole address `2001:db8:1::7`. */
  ue: string;
  index: number;
  epoch: number;
  baseStation?: string;
  gateway?: string;
  /** On Ethernet, instead of base station, gateway and bearers. */
  station?: Station;
  state: "up" | "half-open" | "holding" | "moving" | "aside";
  bearers: Bearer[];
  flows: number;
  /** Seconds since the last packet was seen. */
  idle: number;
  /** Seconds since it was learnt. */
  age: number;
}

export interface PortStatus {
  adapter: string;
  role: "access" | "core" | "shared";
  link: boolean;
  mtu: number;
  /** How frames cross: by native or generic XDP, or by the bridge alone. */
  path: "native" | "generic" | "bridge" | "routed";
  /** Why not native. */
  reason?: string;
}

export interface DataplaneStatus {
  name: string;
  plugin: DataplaneConfig["plugin"];
  mode: Mode;
  ports: PortStatus[];
  programs: { name: string; id: number; tag: string }[];
  adopted: boolean;
  sessions: number;
  flows: number;
}

export interface CounterSample {
  /** Data plane, or "" where it belongs to the appliance. */
  dataplane: string;
  /** Name from `counters.ts`. */
  name: string;
  packets: bigint;
  bytes: bigint;
}

export interface ServiceCounter {
  service: number;
  direction: "uplink" | "downlink";
  packets: bigint;
  bytes: bigint;
}

/** An endpoint of a service, as `SteeringRule` has them. */
export interface EndpointOfService {
  /** `SteeringRule.service` */
  service: number;
  address: string;
  /** Absent: whatever the port. */
  port?: number;
}

export type EventType =
  | "session-new"
  | "downlink-learnt"
  | "moved"
  | "bearer-new"
  | "owner-changed"
  | "candidate"
  | "wanted"
  | "stale"
  | "pinger-answer"
  | "table-full"
  | "session-idle"
  | "overlap";

/** What the data plane tells the control plane; times in milliseconds since the epoch. */
export interface DataplaneEvent {
  type: EventType;
  dataplane: string;
  time: number;
  session: number;
  epoch: number;
  ue: string;
  teid: number;
  /** Outer addresses; on Ethernet the MAC addresses of the client's station and of its gateway. */
  baseStation?: string;
  gateway?: string;
  /** GTP-U message type that caused it, 255 for a G-PDU. */
  cause: number;
  slot: number;
  /** `overlap`: the data plane on which the address was met, while it lives on `dataplane`. */
  other?: string;
}

/** One entry of a back end's tables, for people. */
export interface TableEntry {
  table: string;
  /** What the entry is for; unique in its table. */
  key: string;
  value: string;
}

/** Where what is in force is not what was intended. */
export interface Difference {
  table: string;
  key: string;
  /** Absent: nothing should be there. */
  intended?: string;
  /** Absent: nothing is there. */
  found?: string;
}

export class DataplaneError extends Error {
  constructor(
    message: string,
    /** What refused, for the log: a map, a program, an adapter. */
    readonly object: string,
  ) {
    super(message);
  }
}

/** What was asked for cannot be done here, whatever the moment: members that do not go together, an adapter that is not there. */
export class UnfitError extends DataplaneError {}

export interface Dataplane {
  /** Attaches, or adopts what an earlier run left, and starts delivering events. */
  start(): Promise<void>;
  /** Stops delivering; programs, maps and bridge stay and go on working. */
  stop(): Promise<void>;
  /** Takes programs and maps away; the bridge keeps the wire up. With `unwire` the adapters are left as found. */
  down(options: { unwire: boolean }): Promise<void>;
  /** All or nothing. @throws DataplaneError and the old steering stays. */
  apply(steering: Steering): Promise<void>;
  /**
   * The same for its names alone, at a cost that does not depend on the rules; the name server is known to answer.
   * @throws DataplaneError and the old ones stay
   */
  setNames(names: Names): Promise<void>;
  /** What a steering becomes in the tables, all of it; has no effects. @throws DataplaneError as `apply` would */
  describe(steering: Steering): TableEntry[];
  /** Compares what is in force with `steering`, which was applied last. Empty: it is as intended. */
  differences(steering: Steering): Promise<Difference[]>;
  /** Ends flows of these services (`SteeringRule.service`) at once instead of letting them finish. Returns how many. */
  flushServices(services: readonly number[]): Promise<number>;
  /** Ends the flows that lead to these endpoints; their next packets are decided anew. Returns how many. */
  flushEndpoints(endpoints: readonly EndpointOfService[]): Promise<number>;
  /** How many flows lead to each of these endpoints, in their order. Costs a walk over all flows. */
  endpointFlows(endpoints: readonly EndpointOfService[]): Promise<number[]>;
  setMode(dataplane: string, mode: Mode): Promise<void>;
  /** Adds a data plane while the others carry traffic. @throws DataplaneError and nothing has changed */
  add(config: DataplaneConfig): Promise<void>;
  /**
   * Gives a data plane other settings in place; its adapters and plugin stay. Sessions that its pools and peers no longer
   * allow end. @throws DataplaneError and the old settings hold
   */
  change(config: DataplaneConfig): Promise<void>;
  /** Takes a data plane away: its sessions end, its wire stays bridged. With `unwire` the adapters are left as found. */
  remove(dataplane: string, options: { unwire: boolean }): Promise<void>;
  status(): DataplaneStatus[];
  /** Pages through sessions. `ue` and `teid` filter; `offset` and `limit` page; `total` counts what matches. */
  sessions(query: { ue?: string; teid?: number; dataplane?: string; offset?: number; limit?: number }): {
    total: number;
    sessions: Session[];
  };
  counters(): CounterSample[];
  serviceCounters(): ServiceCounter[];
  /** Removes what has been idle, frees slots. Called by the control plane about every second. */
  collect(): Promise<{ sessions: number; flows: number }>;
  on(listener: (event: DataplaneEvent) => void): () => void;
  /** Reports verdicts while it runs; one at a time. Absent where the back end cannot. @throws DataplaneError */
  monitor?(filter: MonitorFilter, listener: (packet: SeenPacket) => void): Monitor;
  /** Runs the real program on a frame, apart from what is live. Absent where the back end cannot. @throws DataplaneError */
  trial?(request: TrialRequest): Trial;
}
