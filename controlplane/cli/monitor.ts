/**
 * `offramp monitor`: what happens to packets, line by line, until Ctrl-C.
 *
 *   12:01:05  s1 uplink  drop_protected       12 packets  1 044 octets  10.45.0.2:40001 → 192.0.2.7:53 udp in 0x00000011
 */
import { type Command, InvalidArgumentError } from "commander";
import { messageOf } from "../errors.ts";
import type { MonitorLine } from "../sessions/monitor.ts";
import { CliError, Client, type ClientOptions, query } from "./client.ts";
import { number, plural } from "./output.ts";

const protocolNames: Record<number, string> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp" };

function whole(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("must be a whole number from 1 on");
  return Number(text);
}

const several = (word: string, before: string[] = []): string[] => [...before, word];
const end = (address: string, port: number | undefined): string =>
  port === undefined ? address : `${address.includes(":") ? `[${address}]` : address}:${port}`;

/** What is known of a packet: `10.45.0.2:40001 → 203.0.113.53:53 udp in 0x00000011 198.18.1.10 → 198.18.2.10`. */
function packetText({ way, packet, tunnel }: Extract<MonitorLine, { way: unknown }>): string {
  const parts: string[] = [];
  if (packet) {
    const ue = end(packet.ue, packet.uePort);
    const remote = end(packet.remote, packet.remotePort);
    parts.push(way === "uplink" || way === "pinger" ? `${ue} → ${remote}` : `${remote} → ${ue}`);
    if (packet.protocol !== undefined) parts.push(protocolNames[packet.protocol] ?? `protocol ${packet.protocol}`);
  }
  if (tunnel) {
    const { teid, source, destination, message, vlans, qfi } = tunnel;
    if (message !== 255) parts.push(message === 0 ? "not GTP-U" : `GTP-U message ${message}`);
    parts.push(`${packet ? "in " : ""}0x${teid.toString(16).padStart(8, "0")} ${source} → ${destination}`);
    if (vlans.length > 0) parts.push(`VLAN ${vlans.join(".")}`);
    if (qfi !== undefined) parts.push(`QFI ${qfi}`);
  }
  return parts.join(" ");
}

/** One line for people. `clock`: how a time is shown. */
export function monitorText(line: MonitorLine, clock = (time: number) => new Date(time).toTimeString().slice(0, 8)) {
  if (line.type === "lost")
    return `${clock(line.time)}  ${plural(line.packets, "packet")} came too fast to be described`;
  const { dataplane, way, verdict, service, rule, text } = line;
  const counts =
    line.type === "tally" ? `${plural(line.packets, "packet")}  ${number(line.bytes)} octets` : `${line.octets} octets`;
  const by = service === undefined ? "" : `  service "${service}"`;
  const of = rule === undefined ? "" : ` rule ${rule}`;
  const shown = packetText(line);
  const place = `${dataplane || "-"} ${way}`.padEnd(12);
  return `${clock(line.time)}  ${place}  ${verdict.padEnd(20)}  ${counts}${by}${of}${shown && `  ${shown}`}  (${text})`;
}

interface MonitorVerbOptions extends ClientOptions {
  json?: boolean;
  drops?: boolean;
  verdict?: string[];
  service?: string;
  ue?: string;
  packets?: boolean;
  count?: number;
  seconds?: number;
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const octets of body) {
    const lines = (rest + decoder.decode(octets, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

export function monitorVerb(command: Command): void {
  command
    .description("verdicts as they are given, summed up each second: why, by which rule, of which packets")
    .option("--drops", "only what is dropped")
    .option("--verdict <name>", "only this verdict, or kind (pass, take, reply, drop, slow); again for more", several)
    .option("--service <name>", "only this service's packets")
    .option("--ue <address>", "only this UE")
    .option("--packets", "a line for each packet")
    .option("--count <n>", "end after so many lines", whole)
    .option("--seconds <n>", "end after so long", whole)
    .action(async (options: MonitorVerbOptions) => {
      const { drops, service, ue, packets, count, seconds, json } = options;
      const verdict = [...(options.verdict ?? []), ...(drops ? ["drop"] : [])].join(",") || undefined;
      const each = packets ? "true" : undefined;
      const path = `/api/v1/monitor${query({ verdict, service, ue, each, lines: count, seconds })}`;
      const abort = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => abort.abort());
      try {
        const response = await new Client(options).request("GET", path, undefined, abort.signal);
        if (!response.body) return;
        for await (const line of linesOf(response.body)) {
          process.stdout.write(`${json ? line : monitorText(JSON.parse(line) as MonitorLine)}\n`);
        }
      } catch (error) {
        if (!abort.signal.aborted) throw error instanceof CliError ? error : new CliError(messageOf(error));
      }
    });
}
