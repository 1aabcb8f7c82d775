/**
 * Which rule treats a flow that the core begins?
 *
 * Rules are written as the uplink sees them, so its packet is looked up as if the UE had answered it in its own tunnel.
 */
import type { Steering, SteeringRule } from "../../dataplane/steering.ts";
import type { Known } from "../../dataplane/trial.ts";
import type { Tunnel } from "./frame.ts";
import { meet, type Subject } from "./rules.ts";

/** A packet of the core as if the UE had sent it: rules are written so. */
function answered({ packet, link, tunnel, ...rest }: Subject, known?: Known): Subject {
  const { source, destination, sourcePort, destinationPort, ...more } = packet;
  const above = known
    ? known.session?.tunnel
    : tunnel && { ...tunnel, source: tunnel.destination, destination: tunnel.source };
  const { qfi: _unknown, ...own }: Partial<Tunnel> = above ?? {};
  return {
    ...rest,
    packet: {
      ...more,
      source: destination,
      destination: source,
      ...(destinationPort !== undefined && { sourcePort: destinationPort }),
      ...(sourcePort !== undefined && { destinationPort: sourcePort }),
    },
    ...(above && { tunnel: own as Tunnel }),
    ...(link && !tunnel && { link: { ...link, sourceMac: link.destinationMac, destinationMac: link.sourceMac } }),
  };
}

/** The rule that this packet of the core meets first, where that is one for the downlink. */
export function metDownlink(
  steering: Steering,
  subject: Subject,
  planes: readonly string[],
  known?: Known,
): SteeringRule | undefined {
  const { packet, tunnel } = subject;
  if (packet.unfit || (known && known.mode !== "offload")) return undefined;
  if (!steering.rules.some(({ match }) => match.direction)) return undefined;
  const as = answered({ ...subject, direction: "downlink" }, known);
  const own = tunnel && {
    ...tunnel,
    source: tunnel.destination,
    destination: tunnel.source,
    teid: known?.session?.tunnel?.teid ?? 0,
  };
  const { rule } = meet(steering.rules, { ...as, ...(own && { tunnel: own }) }, planes);
  return rule?.match.direction ? rule : undefined;
}

/** The rule that treats a flow which the core begins with this packet, or forwards it. */
export function beginsThrough(
  steering: Steering,
  subject: Subject,
  planes: readonly string[],
  known?: Known,
): SteeringRule | undefined {
  const { packet, tunnel } = subject;
  if (packet.error || packet.unfit || packet.fragment === "later") return undefined;
  if (known && (known.mode !== "offload" || known.settled || !known.session?.uplink)) return undefined;
  if (known && tunnel && (known.tunnel !== "own" || known.movedFrom)) return undefined;
  const syn = packet.tcpFlags === undefined || /^S$/.test(packet.tcpFlags.replace(/[PU]/g, ""));
  if (packet.protocol === 6 && !syn && !known?.flow) return undefined;
  const { rule } = meet(steering.rules, answered(subject, known), planes);
  if (rule?.match.direction) return undefined;
  return rule?.action === "forward" || (rule?.action === "pass" && rule.treatment) ? rule : undefined;
}
