/**
 * What would the programs do with this very frame, now?
 *
 * A trial runs the real program over a copy of what it knows about the frame's UE; nothing of it shows in the live tables.
 */
import type { Mode } from "./dataplane.ts";

export interface TrialRequest {
  dataplane: string;
  /** Which side it comes from; `apps`: Ethernet and IP, as the kernel routes it to us. */
  way: "uplink" | "downlink" | "apps";
  /** Whole, from the Ethernet header on. */
  frame: Uint8Array;
  /** What was read of the frame, to find what is known about it. Outer addresses; VLAN ids, outer first. */
  tunnel?: { source: string; destination: string; teid: number; vlans: number[]; qfi?: number };
  /** `ue`: the inner source on the uplink, else the inner destination. ICMP echo: its identifier as both ports. */
  packet?: { ue: string; uePort: number; remote: string; remotePort: number; protocol: number; dscp?: number };
}

/** A flow that the packet belongs to. */
export interface KnownFlow {
  action: "pass" | "take" | "route" | "forward" | "reply" | "drop" | "through";
  /** Index, and id of the rule that decided; 0 none. */
  service: number;
  rule: number;
  /** Decided by the rules as they are now. */
  current: boolean;
  /** Decided for a packet with the same DSCP and QFI, as far as there are rules about them. */
  alike: boolean;
  /** Passes because it did when the rules came; its next SYN is decided anew. */
  running: boolean;
  /** Of its session as it is now, through this very tunnel. */
  live: boolean;
  sameTunnel: boolean;
  /** FIN or RST was seen. */
  closed: boolean;
  /** The core began it, and it was decided then. */
  begun: boolean;
  /** What the packet's remote end becomes. */
  translated: { address: string; port: number };
}

/** What the tables hold about the frame before it is run. */
export interface Known {
  mode: Mode;
  session?: {
    /** An uplink tunnel of its own is proven. */
    uplink: boolean;
    /** That tunnel; absent on Ethernet. */
    tunnel?: { source: string; destination: string; teid: number; vlans: number[] };
    /** Replies have a way. */
    downlink: boolean;
    aside: boolean;
    holding: boolean;
    flows: number;
  };
  /** Of the tunnel that an uplink frame came in. */
  tunnel: "unknown" | "own" | "another-ue" | "claim";
  /** The tunnel's own base station, where the frame came from another. */
  movedFrom?: string;
  flow?: KnownFlow;
  /** Of a packet of the core: its flow was decided on the uplink, and stays as it is. */
  settled: boolean;
  /** Somebody can hold replies. */
  slowPort: boolean;
  /** Are the addresses among those that are configured as UEs and peers? */
  permitted: { ue: boolean; source: boolean; destination: boolean };
  /** Flows that one UE may have. */
  ueFlows: number;
}

export interface Trial {
  known: Known;
  /** Name of the counter; "" where the kernel took the frame uncounted. */
  verdict: string;
  /** Names of counters that rose beside it. */
  notes: string[];
  /** What decided: index of the service and id of the rule, 0 none. */
  service: number;
  rule: number;
  /** What the control plane would have been told. */
  events: string[];
  /** `s1 core`, `apps`, `return`, `slow port`, …; absent where it goes nowhere. */
  leaves?: string;
  /** The frame that leaves. */
  frame?: Uint8Array;
}
