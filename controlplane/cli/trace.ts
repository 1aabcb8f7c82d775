/**
 * Why is this packet taken, or left alone?
 *
 * Walks one uplink packet through the same rules that the kernel has, in the same order, and names each rule that is met.
 * What depends on the moment (is the tunnel proven, has the connection been seen from its SYN, is a table full) is not
 * known here; `capture` shows that.
 */
import { firstEndpoint, type Steering, type SteeringRule } from "../../dataplane/steering.ts";
import { contains, host, parseAddress, parsePrefix } from "../intents/prefix.ts";
import { decodeFrame, decodePacket, type PacketFields, type Tunnel } from "./frame.ts";
import type { CapturedFrame } from "./pcap.ts";
import { ruleText } from "./views.ts";

export interface TraceStep {
  rule: string;
  met: boolean;
  /** The first member of the match that does not hold. */
  because?: string;
}

export interface Trace {
  /** What the data plane said when it captured the packet. */
  comment?: string;
  packet?: PacketFields;
  tunnel?: Tunnel;
  steps: TraceStep[];
  /** `pass` to the opposite port, `take` or `route` out of the tunnel, `drop`. */
  verdict: "pass" | "take" | "route" | "drop";
  /** The name that metrics and captures have for it. */
  reason: string;
  text: string;
}

const within = (prefix: string, address: string) => contains(parsePrefix(prefix), host(parseAddress(address)));
const inRange = (range: [number, number], port: number | undefined) =>
  port !== undefined && port >= range[0] && port <= range[1];

/** Undefined when the rule matches. */
function mismatch({ match }: SteeringRule, packet: PacketFields): string | undefined {
  const { destination, source, protocol, destinationPorts, sourcePorts } = match;
  if (destination?.every((prefix) => !within(prefix, packet.destination)))
    return `destination is not in ${destination}`;
  if (source?.every((prefix) => !within(prefix, packet.source))) return `source is not in ${source}`;
  if (protocol?.every((one) => one !== packet.protocol)) return `protocol is not ${protocol}`;
  if (destinationPorts?.every((range) => !inRange(range, packet.destinationPort))) {
    return `destination port is not ${destinationPorts.map((range) => range.join("-"))}`;
  }
  if (sourcePorts?.every((range) => !inRange(range, packet.sourcePort))) {
    return `source port is not ${sourcePorts.map((range) => range.join("-"))}`;
  }
  return undefined;
}

/** @throws AddressError when a field is no address */
export function tracePacket(steering: Steering, packet: PacketFields): Trace {
  for (const address of [packet.source, packet.destination]) parseAddress(address);
  const protector = steering.protect.find((prefix) => within(prefix, packet.destination));
  if (protector) {
    const text = `dropped: ${packet.destination} is in ${protector}, which is protected from UEs`;
    return { packet, steps: [], verdict: "drop", reason: "drop_protected", text };
  }
  const steps: TraceStep[] = [];
  for (const rule of steering.rules) {
    const because = mismatch(rule, packet);
    steps.push({ rule: ruleText(rule), met: because === undefined, ...(because && { because }) });
    if (because !== undefined) continue;
    if (rule.action === "pass") {
      const text = `passes to the core: service "${rule.name}" leaves it there`;
      return { packet, steps, verdict: "pass", reason: "pass_no_rule", text };
    }
    if (rule.action === "route") {
      const text = `taken by service "${rule.name}", handed to the apps' network untranslated`;
      return { packet, steps, verdict: "route", reason: "take_routed", text };
    }
    const port = firstEndpoint(rule)?.port ?? packet.destinationPort;
    const text = `taken by service "${rule.name}": destination becomes ${firstEndpoint(rule)?.address}${port === undefined ? "" : ` port ${port}`}`;
    return { packet, steps, verdict: "take", reason: "take_uplink", text };
  }
  return { packet, steps, verdict: "pass", reason: "pass_no_rule", text: "passes to the core: no rule matches" };
}

/** A frame of the wire, or with `raw` a packet that was captured outside its tunnel. */
export function traceFrame(steering: Steering, { data, raw, comment }: CapturedFrame): Trace {
  const seen = comment === undefined ? {} : { comment };
  const decoded = raw ? decodePacket(data) : decodeFrame(data);
  if ("stopped" in decoded) {
    const text = `passes untouched: ${decoded.stopped}`;
    return { ...seen, steps: [], verdict: "pass", reason: "pass_not_understood", text };
  }
  const trace: Trace = { ...seen, ...tracePacket(steering, decoded.inner) };
  if ("tunnel" in decoded) trace.tunnel = decoded.tunnel as Tunnel;
  return trace;
}

const endOf = (address: string, port: number | undefined) =>
  port === undefined ? address : `${address.includes(":") ? `[${address}]` : address}:${port}`;

export function traceLines({ comment, packet, tunnel, steps, text }: Trace): string[] {
  const lines = comment === undefined ? [] : [`captured: ${comment}`];
  if (tunnel) {
    const tags = tunnel.vlans.length > 0 ? ` VLAN ${tunnel.vlans.join(".")}` : "";
    const qfi = tunnel.qfi === undefined ? "" : ` QFI ${tunnel.qfi}`;
    lines.push(
      `tunnel 0x${tunnel.teid.toString(16).padStart(8, "0")} ${tunnel.source} → ${tunnel.destination}${tags}${qfi}`,
    );
  }
  if (packet) {
    const { source, sourcePort, destination, destinationPort, protocol } = packet;
    lines.push(`packet ${endOf(source, sourcePort)} → ${endOf(destination, destinationPort)} protocol ${protocol}`);
  }
  for (const step of steps)
    lines.push(`  ${step.met ? "✓" : "·"} ${step.rule}${step.because ? `  (${step.because})` : ""}`);
  return [...lines, text];
}
