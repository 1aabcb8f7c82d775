/**
 * What is a service, as the Service API takes it and as everything behind it understands it?
 *
 * The API has two forms (seed 001 §4.3.4.1, seed 004 §5.2.2.2.1.3). Both are kept as they were given, because GET returns
 * what was posted; both mean one `Intent`, which is what compiler, verification and health checks work with.
 */
import type { Action, Endpoint, Hop, Match, SteeringRule, Treatment } from "../../dataplane/steering.ts";

/** First form: everything for `serviceIP` is served by `applicationIP`. */
export interface AddressService {
  name: string;
  serviceIP: string;
  applicationIP: string;
  /** Extension: the application may speak to a UE first. */
  appInitiated?: boolean;
}

/** A field of a match takes one value, or a list of which one has to hold. */
export type OneOrMore<T> = T | T[];
type Text = OneOrMore<string>;
type NumberOrText = OneOrMore<string | number>;

export interface ServiceRules {
  /** Highest is applied. */
  priority: string | number;
  nw_dst?: Text;
  nw_src?: Text;
  protocol?: NumberOrText;
  tp_dst?: NumberOrText;
  tp_src?: NumberOrText;
  nw_dscp?: NumberOrText;
  in_port?: Text;
  dl_src?: Text;
  dl_dst?: Text;
  dl_vlan?: NumberOrText;
  tun_src?: Text;
  tun_dst?: Text;
  tun_id?: NumberOrText;
  qfi?: NumberOrText;
  gtpu_msgtype?: NumberOrText;
  direction?: "uplink" | "downlink";
  /** Absent: what matches is left to the core. `local`: handed to the apps' network untranslated. */
  endpoint?: string;
  endpoints?: { address: string; port?: string | number; weight?: string | number; drain?: boolean }[];
  affinity?: "connection" | "ue";
  action?: "pass" | "drop";
  output?: ServiceOutlet;
  forward?: ServiceOutlet;
}

/** Where packets leave: an adapter, a next hop, a tunnel; at least one of them. */
export interface ServiceOutlet {
  port?: string;
  vlan?: string | number;
  mac?: string;
  sourceMac?: string;
  address?: string;
  tunnel?: { type: "gre" | "gtp-u"; source?: string; destination: string };
}

export type ChainEntry = string | { address: string; encapsulation?: "vxlan" | "nsh" };

export interface ServiceHealth {
  type: "tcp" | "http" | "icmp";
  port?: string | number;
  path?: string;
  host?: string;
  interval?: string;
  timeout?: string;
  up?: string | number;
  down?: string | number;
}

/** Second form: a rule as seen on the uplink; the downlink follows from it. */
export interface RuleService {
  name: string;
  rules: ServiceRules;
  /** The seeds spell the downlink list `net_ue` and `net_eu`. */
  chain?: { ue_net?: ChainEntry[]; net_ue?: ChainEntry[]; net_eu?: ChainEntry[]; unreachable?: "bypass" | "block" };
  mirror?: { port: string; form?: "as-is" | "decapsulated" };
  rate?: { uplink?: string | number; downlink?: string | number };
  health?: ServiceHealth;
  appInitiated?: boolean;
}

export type Service = AddressService | RuleService;

export const isAddressService = (service: Service): service is AddressService => "serviceIP" in service;

/** Priority of the first form, which has no field for it. */
export const addressServicePriority = 100;

/** A transit function; its VNI depends on the service's number and is given by the compiler. */
export type ChainFunction = Pick<Hop, "address" | "encapsulation">;

/** How the endpoints are asked whether they are there. */
export interface Health {
  type: "tcp" | "http" | "icmp";
  /** Absent: the endpoint's own. */
  port?: number;
  /** With `http`. */
  path?: string;
  /** Absent: the endpoint's address. */
  host?: string;
  intervalMs: number;
  timeoutMs: number;
  /** So many answers make it up, so many failures down. */
  up: number;
  down: number;
}

/** Meaning of a service, whatever its form. `match` is canonical: equal sets are written equally. */
export interface Intent extends Pick<SteeringRule, "affinity" | "output">, Pick<Treatment, "mirror" | "rate"> {
  name: string;
  priority: number;
  match: Match;
  action: Action;
  /** With `take`, and only there. `state` is "draining" or absent. */
  endpoints?: Endpoint[];
  /** At least one function in one direction. */
  chain?: { uplink: ChainFunction[]; downlink: ChainFunction[]; unreachable: "bypass" | "block" };
  health?: Health;
  appInitiated: boolean;
  /** Intents of one group are parts of one rule: where they meet, it does not matter which of them is met. */
  group?: string;
}

/** An intent with the numbers by which the kernel knows it; both are stable over the service's life. */
export interface NumberedIntent {
  intent: Intent;
  /** `SteeringRule.id` */
  rule: number;
  /** `SteeringRule.service` */
  index: number;
}

export interface FieldError {
  /** Dotted, as in the body: `rules.nw_dst`, `rules.endpoints.0.port`. */
  field: string;
  message: string;
}
