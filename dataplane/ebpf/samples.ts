/**
 * What do the kernel's counters say, by name?
 */
import { counters as counterNames } from "../counters.ts";
import type { CounterSample, ServiceCounter } from "../dataplane.ts";
import { APPLIANCE, type Kernel } from "./kernel.ts";
import type { Plane } from "./planes.ts";

/** Of each data plane, and of the appliance as a whole (""). */
export function counterSamples(kernel: Kernel, planes: Iterable<Plane>): CounterSample[] {
  const places = [...[...planes].map((plane) => [plane.config.name, plane.index] as const), ["", APPLIANCE] as const];
  return places.flatMap(([dataplane, index]) =>
    counterNames.map(({ name }, counter) => ({ dataplane, name, ...kernel.counterOf(index, counter) })),
  );
}

/** Both directions of these services. */
export function serviceSamples(kernel: Kernel, services: Iterable<number>): ServiceCounter[] {
  return [...services].flatMap((service) =>
    (["uplink", "downlink"] as const).map((direction, i) => ({
      service,
      direction,
      ...kernel.counter("service_counters", service * 2 + i),
    })),
  );
}
