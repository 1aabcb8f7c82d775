/**
 * What can be seen of packets and their fate while they pass?
 *
 * A back end that can tell reports verdicts in two ways at once: tallies, which are exact however many packets there are,
 * and descriptions of single packets, of which some may be lost.
 */
export type Way = "uplink" | "downlink" | "apps" | "pinger";

export interface MonitorFilter {
  /** Names of counters; at least one. */
  verdicts: readonly string[];
  ue?: string;
  /** Index, as in `SteeringRule.service`. */
  service?: number;
  /** Describe each packet; else the first one of each second, verdict, service and rule. */
  each: boolean;
}

/** One packet and what became of it. What the program had no reason to read is absent. */
export interface SeenPacket {
  /** Milliseconds since the epoch. */
  time: number;
  dataplane: string;
  /** Where it came in. */
  way: Way;
  /** Name of a counter. */
  verdict: string;
  /** Index, 0 none; the rule's id, 0 none or not known. */
  service: number;
  rule: number;
  /** As its counter counts them. */
  octets: number;
  tunnel?: { source: string; destination: string; teid: number; vlans: number[]; qfi?: number; message: number };
  /** `remote` is the other end: what the UE asked, or the app that speaks. ICMP echo: its identifier as both ports. */
  packet?: { ue: string; uePort?: number; remote: string; remotePort?: number; protocol?: number; dscp?: number };
}

/** Since the monitor began. */
export interface Tally {
  dataplane: string;
  way: Way;
  verdict: string;
  service: number;
  rule: number;
  packets: number;
  bytes: number;
}

export interface Monitor {
  tallies(): Tally[];
  /** Packets that could not be described or tallied, since the monitor began. */
  lost(): number;
  stop(): void;
}
