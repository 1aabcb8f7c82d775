/**
 * What holds at the moment and changes what an intent compiles to?
 *
 * Health of endpoints and of the functions of chains. Whoever finds out (health/, chains/) changes its answer and calls
 * `Services.refresh`; the compiler asks each time.
 */
import type { Endpoint, Hop } from "../../dataplane/steering.ts";
import type { NumberedIntent } from "./model.ts";

export interface Conditions {
  /** `service` is the name of the service that the endpoint belongs to. */
  endpoint(service: string, endpoint: Endpoint): NonNullable<Endpoint["state"]>;
  /** By the address of its tunnel end point. */
  vnf(address: string): NonNullable<Hop["state"]>;
  /** Before these services are applied: begins to find out what is not known of them yet, and waits a little for it. */
  prepare?(services: Iterable<NumberedIntent>): Promise<void>;
  /** These are in force now: applied, or left in force because a change was refused. */
  inForce?(services: Iterable<NumberedIntent>): void;
}

/** Nobody has said otherwise. */
export const allUp: Conditions = { endpoint: (_, { state }) => state ?? "up", vnf: () => "up" };
