/**
 * `offramp trace`: why is this packet taken, left alone, or dropped?
 *
 * A running agent walks it through its rules and lets the real program confirm the answer; exit code 1 when the two differ.
 * With `--config` the rules of the store are walked through here, and nothing is confirmed.
 */
import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Steering } from "../../dataplane/steering.ts";
import { messageOf } from "../errors.ts";
import { AddressError, parseAddress } from "../intents/prefix.ts";
import { explain, type ProgramAnswer, type Trace, type TraceRequest, type TraceWay } from "../trace/explain.ts";
import type { PacketFields, Tunnel } from "../trace/frame.ts";
import { CliError, Client, type ClientOptions } from "./client.ts";
import { plural, print } from "./output.ts";
import { type CapturedFrame, frameOf } from "./pcap.ts";
import { fromStore, steeringOf } from "./source.ts";
import { ruleText } from "./views.ts";

export type TraceView = Trace & {
  /** What the data plane said when it captured the packet. */
  comment?: string;
};

/** A frame of the wire, or with `raw` a packet that was captured outside its tunnel; by the rules alone. */
export function traceFrame(steering: Steering, { data, raw, comment }: CapturedFrame): TraceView {
  const trace = explain(steering, { frame: Buffer.from(data).toString("hex"), raw });
  return { ...(comment !== undefined && { comment }), ...trace };
}

const endOf = (address: string, port: number | undefined) =>
  port === undefined ? address : `${address.includes(":") ? `[${address}]` : address}:${port}`;

const tunnelText = ({ teid, source, destination, vlans, qfi }: Tunnel): string =>
  `tunnel 0x${teid.toString(16).padStart(8, "0")} ${source} → ${destination}${vlans.length > 0 ? ` VLAN ${vlans.join(".")}` : ""}${qfi === undefined ? "" : ` QFI ${qfi}`}`;

function packetText({ source, sourcePort, destination, destinationPort, protocol, tcpFlags, fragment }: PacketFields) {
  const marks = [tcpFlags && `flags ${tcpFlags}`, fragment && `${fragment} fragment`].filter(Boolean).join(", ");
  const ends = `${endOf(source, sourcePort)} → ${endOf(destination, destinationPort)}`;
  return `packet ${ends} protocol ${protocol}${marks && ` (${marks})`}`;
}

function programLines({
  verdict,
  text,
  service,
  rule,
  leaves,
  tunnel,
  packet,
  notes,
  events,
  function: hop,
}: ProgramAnswer): string[] {
  const by = `${service === undefined ? "" : `, service "${service}"`}${rule === undefined ? "" : ` rule ${rule}`}`;
  const lines = [`program: ${verdict || "nothing is counted"}${text && ` (${text})`}${by}`];
  if (leaves !== undefined) lines.push(`  leaves by ${leaves}`);
  if (leaves !== undefined && tunnel) lines.push(`  in ${tunnelText(tunnel)}`);
  if (leaves !== undefined && hop) lines.push(`  to function ${hop.address} VNI ${hop.vni}`);
  if (leaves !== undefined && packet) lines.push(`  as ${packetText(packet)}`);
  if (notes.length > 0) lines.push(`  beside it: ${notes.join(", ")}`);
  if (events.length > 0) lines.push(`  would say: ${events.join(", ")}`);
  return lines;
}

export function traceLines(trace: TraceView): string[] {
  const { comment, way, dataplane, packet, tunnel, assumed, steps, others, text, detail, program, differences } = trace;
  const lines = comment === undefined ? [] : [`captured: ${comment}`];
  if (way !== "uplink")
    lines.push(way === "apps" ? "from an app" : `from the core${dataplane ? ` on ${dataplane}` : ""}`);
  if (tunnel) lines.push(tunnelText(tunnel));
  if (packet) lines.push(packetText(packet));
  if (assumed !== undefined) lines.push(`assumed: ${assumed}`);
  for (const step of steps) {
    lines.push(`  ${step.met ? "✓" : "·"} ${ruleText(step.rule)}${step.because ? `  (${step.because})` : ""}`);
  }
  if (others > 0) lines.push(`  … and ${plural(others, "other rule")}, for other destinations`);
  lines.push(text, ...detail.map((line) => `  ${line}`));
  if (!program) return lines;
  lines.push(...programLines(program));
  return [...lines, ...(differences!.length === 0 ? ["agrees"] : differences!.map((line) => `DIFFERS: ${line}`))];
}

function whole(text: string): number {
  const value = Number(text);
  if (!/^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(text) || value > 0xffff_ffff) {
    throw new InvalidArgumentError("must be a whole number");
  }
  return value;
}

interface TraceOptions extends ClientOptions {
  json?: boolean;
  config?: string;
  pcap?: string;
  frame: number;
  from?: "access" | "core" | "apps";
  dataplane?: string;
  ue?: string;
  dst?: string;
  src?: string;
  protocol: string;
  sport?: number;
  dport?: number;
  dscp?: number;
  flags?: string;
  teid?: number;
  baseStation?: string;
  gateway?: string;
  vlan?: number[];
  qfi?: number;
  sourceMac?: string;
  destinationMac?: string;
}

const protocolNumbers: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 };
const ways: Record<NonNullable<TraceOptions["from"]>, TraceWay> = { access: "uplink", core: "downlink", apps: "apps" };
const isMac = (text: string) => /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text);

/** Leaves out what is not given. */
const given = <T extends object>(members: T): Partial<T> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Partial<T>;

/** @throws CliError */
function packetOf(options: TraceOptions, up: boolean): PacketFields {
  const { ue, dst, src, sport, dport, dscp, flags } = options;
  const remote = up ? dst : (src ?? dst);
  if (ue === undefined || remote === undefined) {
    throw new CliError(`trace needs --pcap <file>, or --ue and ${up ? "--dst" : "--src"}`, 2);
  }
  for (const address of [ue, remote]) {
    try {
      parseAddress(address);
    } catch (error) {
      throw error instanceof AddressError ? new CliError(error.message, 2) : error;
    }
  }
  const protocol = protocolNumbers[options.protocol] ?? Number(options.protocol);
  if (!Number.isInteger(protocol) || protocol > 255) {
    throw new CliError(`--protocol ${options.protocol}: not a protocol`, 2);
  }
  if (flags !== undefined && !/^[FSRPAU]*$/.test(flags)) throw new CliError("--flags: letters of FSRPAU", 2);
  const [source, destination] = up ? [ue, remote] : [remote, ue];
  const echo = protocol === 1 || protocol === 58 ? sport : undefined;
  const ports = protocol === 6 || protocol === 17 ? { sourcePort: sport ?? 40000, destinationPort: dport ?? 0 } : {};
  return { source, destination, protocol, ...ports, ...given({ dscp, tcpFlags: flags, echo }) };
}

/** @throws CliError */
export function requestOf(options: TraceOptions): { request: TraceRequest; comment?: string } {
  const { pcap, frame, from, dataplane, teid, vlan, qfi, baseStation, gateway, sourceMac, destinationMac } = options;
  const way = from && ways[from];
  if (pcap !== undefined) {
    try {
      const { data, raw, comment } = frameOf(readFileSync(pcap), frame);
      return { request: { ...given({ way, dataplane }), frame: Buffer.from(data).toString("hex"), raw }, comment };
    } catch (error) {
      throw new CliError(`${pcap}: ${messageOf(error)}`);
    }
  }
  for (const mac of [sourceMac, destinationMac])
    if (mac && !isMac(mac)) throw new CliError(`${mac}: not a MAC address`, 2);
  const up = way === undefined || way === "uplink";
  const [source, destination] = up ? [baseStation, gateway] : [gateway, baseStation];
  const tunnel = given({ teid, source, destination, vlans: vlan, qfi });
  const link = given({ sourceMac, destinationMac });
  return { request: { ...given({ way, dataplane }), packet: packetOf(options, up), tunnel, link } };
}

const alone = "by the rules of the store alone: no agent was asked, nothing is confirmed";

export function traceVerb(command: Command): void {
  const several = (text: string, before: number[] = []) => [...before, whole(text)];
  command
    .description("walk one packet through the rules, naming each it meets; the real program confirms the answer")
    .option("-c, --config <file>", "use the store of this site.yaml instead of a running agent: nothing is confirmed")
    .option("--pcap <file>", "take the packet from a capture file (pcap or pcapng)")
    .option("--frame <n>", "which frame of it, from 1", whole, 1)
    .addOption(
      new Option("--from <side>", "where it comes from (default: access; of a capture: found out)").choices([
        "access",
        "core",
        "apps",
      ]),
    )
    .option("--dataplane <name>", "on this data plane (default: the UE's)")
    .option("--ue <address>", "the UE")
    .option("--dst <address>", "from the access side: destination")
    .option("--src <address>", "from the core or an app: source")
    .option("--protocol <p>", "tcp, udp, icmp, icmpv6 or the number", "tcp")
    .option("--sport <port>", "source port; of an echo: its identifier", whole)
    .option("--dport <port>", "destination port", whole)
    .option("--flags <letters>", "TCP flags, of FSRPAU (default: S)")
    .option("--dscp <n>", "DSCP", whole)
    .option("--teid <teid>", "tunnel id, decimal or 0x… (default: the UE's)", whole)
    .option("--base-station <address>", "the tunnel's end at the access side")
    .option("--gateway <address>", "the tunnel's end at the core")
    .option("--vlan <id>", "VLAN id; again for an inner one", several)
    .option("--qfi <n>", "QoS flow identifier", whole)
    .option("--source-mac <mac>", "of the frame")
    .option("--destination-mac <mac>", "of the frame")
    .action(async (options: TraceOptions) => {
      const { request, comment } = requestOf(options);
      let trace: Trace;
      if (options.config === undefined) {
        trace = await new Client(options).json<Trace>("POST", "/api/v1/trace", request);
      } else {
        try {
          trace = explain(await steeringOf(fromStore(options.config)), request);
        } catch (error) {
          if (error instanceof AddressError) throw new CliError(error.message, 2);
          throw error;
        }
      }
      const view: TraceView = { ...(comment !== undefined && { comment }), ...trace };
      const note = options.config === undefined ? [] : [alone];
      print(view, (one) => [...traceLines(one), ...note], options);
      if (trace.agrees === false) process.exitCode = 1;
    });
}
