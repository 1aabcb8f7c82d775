/**
 * How does an endpoint of a service get nothing new, and something again?
 *
 * By the `drain` of its entry in `rules.endpoints`: a change of the service like any other, stored and undone like one.
 */

import { Problem } from "../errors.ts";
import { parseSocketText, socketText } from "./endpoint-text.ts";
import { isAddressService, type Service } from "./model.ts";
import { AddressError, formatAddress, parseAddress } from "./prefix.ts";
import type { Services } from "./services.ts";

/** The same object when nothing changes. @throws Problem */
export function withDrain(service: Service, endpoint: string, drain: boolean): Service {
  const list = isAddressService(service) ? undefined : service.rules.endpoints;
  if (isAddressService(service) || !list) {
    throw new Problem(
      "invalid-request",
      `service "${service.name}" has no list of endpoints: PUT it in the second form with rules.endpoints`,
    );
  }
  let wanted: ReturnType<typeof parseSocketText>;
  try {
    wanted = parseSocketText(endpoint);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new Problem("invalid-request", `endpoint: ${error.message}`, {
      errors: [{ field: "endpoint", message: error.message }],
    });
  }
  const own = list.map(({ address, port }) => ({
    address: formatAddress(parseAddress(address)),
    ...(port !== undefined && { port: Number(port) }),
  }));
  const meant = own.map(
    (one) => one.address === wanted.address && (wanted.port === undefined || one.port === wanted.port),
  );
  if (!meant.includes(true)) {
    const has = own.map(socketText).join(", ");
    throw new Problem("not-found", `service "${service.name}" has no endpoint ${socketText(wanted)}; it has ${has}`);
  }
  if (!list.some(({ drain: drains = false }, index) => meant[index] && drains !== drain)) return service;
  const endpoints = list.map((one, index) => {
    if (!meant[index]) return one;
    const { drain: _, ...rest } = one;
    return drain ? { ...rest, drain } : rest;
  });
  return { ...service, rules: { ...service.rules, endpoints } };
}

/** @throws Problem */
export async function drainEndpoint(
  services: Services,
  name: string,
  { endpoint, drain }: { endpoint: string; drain: boolean },
  who: string,
): Promise<Service> {
  let service: Service | undefined;
  await services.transact(() => {
    services.confirmation.refuseWhileArmed();
    const before = services.stored().find((one) => one.service.name === name);
    if (!before) throw new Problem("not-found", `there is no service "${name.slice(0, 80)}"`);
    service = withDrain(before.service, endpoint, drain);
    const touched = service === before.service ? [] : [{ before, after: { ...before, service } }];
    return { touched, who, what: `service "${name}": ${endpoint} ${drain ? "drains" : "drains no more"}` };
  });
  return service as Service;
}
