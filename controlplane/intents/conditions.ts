/**
 * What holds at the moment and changes what an intent compiles to?
 *
 * Health of endpoints and of the functions of chains. Whoever finds out (health/, chains/) changes its answer and calls
 * `Services.refresh`; the compiler asks each time.
 */
import type { Endpoint, Hop } from "../../dataplane/steering.ts";

export interface Conditions {
  /** `service` is the name of the service that the endpoint belongs to. */
  endpoint(service: string, endpoint: Endpoint): NonNullable<Endpoint["state"]>;
  /** By the address of its tunnel end point. */
  vnf(address: string): NonNullable<Hop["state"]>;
}

/** Nobody has said otherwise. */
export const allUp: Conditions = { endpoint: (_, { state }) => state ?? "up", vnf: () => "up" };
