/**
 * What is a service, as the Service API takes it and as everything behind it understands it?
 *
 * The API has two forms (seed 001 §4.3.4.1, seed 004 §5.2.2.2.1.3). Both are kept as they were given, because GET returns
 * what was posted; both mean one `Intent`, which is what the compiler, the conflict test and `trace` work with.
 */
import type { Prefix } from "./prefix.ts";

/** First form: everything for `serviceIP` is served by `applicationIP`. */
export interface AddressService {
  name: string;
  serviceIP: string;
  applicationIP: string;
  /** Extension: the application may speak to a UE first. */
  appInitiated?: boolean;
}

export interface ServiceRules {
  /** Highest is applied. */
  priority: string | number;
  nw_dst?: string;
  nw_src: string;
  protocol?: string | number;
  tp_dst?: string | number;
  tp_src?: string | number;
  /** Absent: what matches is left to the core. `local`: handed to the apps' network untranslated. */
  endpoint?: string;
}

/** Second form: a rule as seen on the uplink; the downlink follows from it. */
export interface RuleService {
  name: string;
  rules: ServiceRules;
  /** The seeds spell the downlink list `net_ue` and `net_eu`. */
  chain?: { ue_net?: string[]; net_ue?: string[]; net_eu?: string[] };
  appInitiated?: boolean;
}

export type Service = AddressService | RuleService;

export const isAddressService = (service: Service): service is AddressService => "serviceIP" in service;

/** Priority of the first form, which has no field for it. */
export const addressServicePriority = 100;

/** Inclusive. */
export type PortRange = [number, number];

/** Meaning of a service, whatever its form. Absent members of the match mean any. */
export interface Intent {
  name: string;
  priority: number;
  family: 4 | 6;
  destination?: Prefix;
  source?: Prefix;
  protocol?: number;
  destinationPorts?: PortRange;
  sourcePorts?: PortRange;
  action: "pass" | "take" | "route";
  endpoint?: { address: string; port?: number };
  appInitiated: boolean;
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
  /** Dotted, as in the body: `rules.nw_dst`. */
  field: string;
  message: string;
}
