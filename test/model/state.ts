/**
 * What does the reference model know?
 *
 * The model says what must happen to one frame at one port, in plain TypeScript and without looking at the programs.
 * Time stands still in it: the differential run loads the programs with a clock so slow that no period ever ends.
 *
 * Addresses are 32 hexadecimal digits, IPv4 as ::ffff:a.b.c.d; IPv6 sessions are named by their /64 with zeros behind.
 * All numbers are in host order.
 */
import type { Names, Outlet, SteeringRule } from "../../dataplane/steering.ts";

export type Address = string;
export type Port = "access" | "core" | "return";

/** Rules are plain data; what they mean, the model reads for itself (match.ts). */
export type ModelRule = SteeringRule;

/** Where an output leads. */
export interface ModelWay {
  mac: string;
  mtu: number;
  /** The appliance's address there. */
  source: string;
  /** MAC address of the next hop; absent where there is none, or it does not answer. */
  nextHop?: string;
}

export interface ModelConfig {
  /** Frames without tunnels (ethernet.ts). */
  ethernet?: boolean;
  mode: "offload" | "observe" | "bypass";
  mtuAccess: number;
  peerSessions: number;
  ueFlows: number;
  maxSessions: number;
  /** Prefixes; absent means any. */
  accessPeers?: { address: Address; bits: number }[];
  corePeers?: { address: Address; bits: number }[];
  uePools?: { address: Address; bits: number }[];
  protect: { address: Address; bits: number }[];
  pinger?: { target4?: Address; target6?: Address; id: number; cookie: Uint8Array };
  /** A control plane holds the slow port. */
  slowPort: boolean;
  nextHops: { destination: Uint8Array; source: Uint8Array }[];
  /** Of every output; the next hop at the address `silent` never answers. */
  ways?: Omit<ModelWay, "source" | "nextHop"> & { source4: string; source6: string; nextHop: string; silent: string };
  /** The mirrors' adapters are there. */
  mirrors?: boolean;
  names?: Names;
  /** The name server has not answered what was asked long ago. */
  silent?: boolean;
}

export type BearerState = "free" | "live" | "stale" | "draining";

export interface Bearer {
  state: BearerState;
  epoch: number;
  /** Prebuilt outer header with lengths, id and checksum zero. */
  header: Uint8Array;
  l3: number;
  v6: boolean;
  /** Octets of outer IP, UDP and GTP-U. */
  overhead: number;
  portVaries: boolean;
  psc?: Uint8Array;
  key: string;
  /** Place in the order of events: of our last packet in it, 0 never. */
  injectedAt: number;
  confirmed: boolean;
  pairTeid: number;
}

export interface Session {
  index: number;
  epoch: number;
  ue: Address;
  baseStation: Address;
  gateway: Address;
  /** An uplink tunnel is proven. */
  uplink: boolean;
  hold: boolean;
  /** Replies handed over since the hold began. */
  held: number;
  wanted: boolean;
  moving: boolean;
  candidate: boolean;
  aside: boolean;
  flows: number;
  link: number;
  /** TEID of an uplink bearer whose downlink has not come yet, 0 none. */
  unpaired: number;
  /** Bearer slots that a reply of ours ever went through. */
  injected: Set<number>;
  /** 0..2 downlink, 3 the proven uplink, 4 the claim. */
  bearers: (Bearer | undefined)[];
}

/** One half of a tunnel: what it carries of one family. */
export interface Half {
  ue: Address;
  session: Session;
  epoch: number;
  slot: number;
  /** A claim: unproven. Of one family; the other may be proven in the same tunnel. */
  candidate: boolean;
}

export interface Tunnel {
  endpoint: Address;
  teid: number;
  peer: Address;
  uplink: boolean;
  psc?: Uint8Array;
  v4?: Half;
  v6?: Half;
  /** Place in the order of events. */
  lastSeen: number;
}

export interface Flow {
  source: Address;
  destination: Address;
  teid: number;
  link: number;
  action: "pass" | "take" | "route" | "reply" | "drop" | "forward" | "through";
  fin: boolean;
  rst: boolean;
  service: number;
  generation: number;
  session: Session;
  epoch: number;
  bearer: number;
  packets: number;
  translated: Address;
  translatedPort: number;
  translatedUePort: number;
  nextHop: number;
  /** In place of the next hop. */
  output?: { outlet: Outlet; whole: boolean };
  /** Its service may ask for more than its action. */
  treated?: boolean;
  /** Decided on a packet of the core. */
  begun?: boolean;
  qfi?: number;
  /** Decided with this DSCP and QFI. */
  decidedWith?: string;
  /** Passes because it did when the rules came. */
  running?: boolean;
  /** UDP source port of its replies where the gateway spreads its own. */
  outerPort?: number;
  rule: number;
}

export interface FragmentNote {
  /** Inner: of the first one. */
  ports?: { ue: number; remote: number };
  outer: "pass" | "slow";
}

export interface State {
  config: ModelConfig;
  rules: ModelRule[];
  generation: number;
  sessions: Map<Address, Session>;
  tunnels: Map<string, Tunnel>;
  flows: Map<string, Flow>;
  fragments: Map<string, FragmentNote>;
  /** Sessions that a peer taught, by `address/side`. */
  taught: Map<string, number>;
  nextIndex: number;
  freeIndexes: number[];
  /** Order of events, instead of time. */
  clock: number;
  counters: Map<string, number>;
  /** Has the name server been asked, and not answered yet? Long ago, it is silent. */
  waiting: "no" | "lately" | "long";
}

export function newState(config: ModelConfig, rules: ModelRule[] = []): State {
  return {
    config,
    rules,
    generation: 1,
    sessions: new Map(),
    tunnels: new Map(),
    flows: new Map(),
    fragments: new Map(),
    taught: new Map(),
    nextIndex: 0,
    freeIndexes: [],
    clock: 1,
    counters: new Map(),
    waiting: config.silent ? "long" : "no",
  };
}

export function count(state: State, name: string): void {
  state.counters.set(name, (state.counters.get(name) ?? 0) + 1);
}

export type Verdict = "redirect" | "drop" | "tx";

export interface Outcome {
  verdict: Verdict;
  frame: Uint8Array;
  /** Name of the counter that says what happened. */
  counter: string;
  /** The other answer that is right as well, where the order of two events within one tick decides. */
  or?: { verdict: Verdict; counter: string };
}
