/**
 * Which members of a steering rule do not go together, whatever the back end?
 *
 * Who makes rules asks here first, so that what is refused is refused by field, before anything is applied. Fields are those
 * of `SteeringRule`: `match.direction`, `output.tunnel.destination`.
 */
import { UnfitError } from "./dataplane.ts";
import { type Copy, copiesOf, type Outlet, type Steering, type SteeringRule } from "./steering.ts";

export interface Misfit {
  field: string;
  message: string;
}

const isV6 = (address: string): boolean => address.includes(":");

function outletMisfits(outlet: Outlet, at: string): Misfit[] {
  const { port, mac, address, tunnel } = outlet;
  const found: Misfit[] = [];
  if (mac !== undefined && address !== undefined) {
    found.push({
      field: `${at}.mac`,
      message: "does not go with address, whose MAC address is found: give one of them",
    });
  }
  if (port === undefined && address === undefined && tunnel === undefined) {
    found.push({ field: `${at}.port`, message: "is required where neither address nor tunnel says where packets go" });
  }
  if (outlet.sourceMac !== undefined && mac === undefined && address === undefined && tunnel === undefined) {
    found.push({ field: `${at}.sourceMac`, message: "goes with mac, address or tunnel" });
  }
  if (tunnel?.source !== undefined && isV6(tunnel.source) !== isV6(tunnel.destination)) {
    found.push({ field: `${at}.tunnel.source`, message: "must be of the same family as the tunnel's destination" });
  }
  return found;
}

function directionMisfits({ match, action, treatment, appInitiated }: SteeringRule): Misfit[] {
  if (!match.direction) return [];
  const found: Misfit[] = [];
  if (action === "take") {
    const message = "does not go with endpoints: what is translated one way has to be translated back";
    found.push({ field: "match.direction", message });
  }
  if (treatment?.chain) {
    const message = "does not go with a rule for one direction: functions return packets to their flow";
    found.push({ field: "treatment.chain", message });
  }
  if (match.message) {
    found.push({
      field: "match.message",
      message: "does not go with a direction: only the access side's are looked at",
    });
  }
  if (appInitiated) found.push({ field: "appInitiated", message: "does not go with a rule for one direction" });
  return found;
}

/** Empty: the rule can be applied, as far as the rule alone says. */
export function misfits(rule: SteeringRule): Misfit[] {
  const { action, output, treatment } = rule;
  const found = directionMisfits(rule);
  if (action === "forward" && !output) {
    found.push({ field: "output", message: "is required with forward: it says where packets go" });
  }
  if (output && action !== "forward" && action !== "route") {
    found.push({ field: "output", message: `does not go with ${action}` });
  }
  if (action === "forward" && treatment?.chain) {
    found.push({
      field: "treatment.chain",
      message: "does not go with forward: functions get packets without their tunnel",
    });
  }
  if (output) found.push(...outletMisfits(output, "output"));
  const copies: [string, Copy | undefined][] = treatment?.mirror
    ? "form" in treatment.mirror
      ? [["treatment.mirror", treatment.mirror]]
      : Object.entries(copiesOf(treatment.mirror)).map(([name, copy]) => [`treatment.mirror.${name}`, copy])
    : [];
  if (treatment?.mirror && copies.length === 0) {
    found.push({ field: "treatment.mirror", message: "copies nothing: give uplink, downlink or both" });
  }
  for (const [at, copy] of copies) if (copy) found.push(...outletMisfits(copy, at));
  return found;
}

/** @throws UnfitError naming rule and field */
export function demandFit({ rules }: Steering): void {
  for (const rule of rules) {
    const [misfit] = misfits(rule);
    if (misfit) throw new UnfitError(`rule ${rule.name}: ${misfit.field} ${misfit.message}`, rule.name);
  }
}
