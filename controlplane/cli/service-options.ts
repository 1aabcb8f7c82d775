/**
 * Which body of a service do the options of `service add` mean?
 *
 * Only what was given is sent: the agent judges it. A value with commas is a list; `--endpoint` and the functions of a chain
 * are lists likewise. What is rarer than these goes by `--file`.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { CliError, type ClientOptions } from "./client.ts";
import type { Show } from "./output.ts";
import { readServices } from "./source.ts";

export interface AddOptions extends ClientOptions, Show {
  file?: string;
  ip?: string;
  app?: string;
  priority?: string;
  dst?: string;
  src?: string;
  protocol?: string;
  dport?: string;
  sport?: string;
  dscp?: string;
  on?: string;
  vlan?: string;
  srcMac?: string;
  dstMac?: string;
  baseStation?: string;
  gateway?: string;
  teid?: string;
  qfi?: string;
  message?: string;
  direction?: string;
  endpoint?: string;
  affinity?: string;
  drop?: boolean;
  output?: string | true;
  forward?: string | true;
  nextHop?: string;
  tunnel?: string;
  up?: string;
  down?: string;
  unreachable?: string;
  mirror?: string;
  decapsulated?: boolean;
  rateUp?: string;
  rateDown?: string;
  health?: string;
  appInitiated?: boolean;
  replace?: boolean;
}

export function addOptions(command: Command): Command {
  return command
    .option("-f, --file <file>", "one service or a list, YAML or JSON; - is standard input")
    .option("--ip <address>", "first form: address that UEs use")
    .option("--app <address>", "first form: address of the application")
    .option("--priority <n>", "second form: 0..65535, the highest is applied")
    .option("--dst <prefix>", "second form: destination on the uplink; this and what follows may be a list: a,b")
    .option("--src <prefix>", "source on the uplink (default: every UE)")
    .option("--protocol <p>", "icmp, tcp, udp or the number")
    .option("--dport <port>", "destination port or range")
    .option("--sport <port>", "source port or range")
    .option("--dscp <code>", "code point of the inner packet: 46, EF, AF41")
    .option("--on <dataplane>", "name of a data plane")
    .option("--vlan <id>", "VLAN id, range, none, or 100.200")
    .option("--src-mac <mac>", "source MAC address, from the access side")
    .option("--dst-mac <mac>", "destination MAC address")
    .option("--base-station <prefix>", "address of base stations")
    .option("--gateway <prefix>", "address of gateways")
    .option("--teid <id>", "TEID of the uplink tunnel, or a range")
    .option("--qfi <n>", "QoS flow identifier")
    .option("--message <type>", "GTP-U message type or name: they pass, or are dropped")
    .addOption(
      new Option("--direction <way>", "packets of one direction only, each by itself").choices(["uplink", "downlink"]),
    )
    .option("--endpoint <to>", "address, address:port, or local; several share the connections")
    .addOption(new Option("--affinity <what>", "what keeps to one endpoint").choices(["connection", "ue"]))
    .option("--drop", "drop what matches")
    .option("--output [port]", "untranslated out of this adapter: eth2, or eth2.100 for a VLAN tag")
    .option("--forward [port]", "the same with the tunnel, both directions")
    .option("--next-hop <address>", "with --output or --forward: to this IP address")
    .option("--tunnel <end>", "likewise: into gre/10.60.0.9, or with --forward to gtp-u/198.18.2.9")
    .option("--up <functions>", "chain of transit functions on the uplink: address, or address/nsh")
    .option("--down <functions>", "the same on the downlink")
    .addOption(new Option("--unreachable <do>", "when a function is down").choices(["bypass", "block"]))
    .option("--mirror <port>", "copy each packet to this adapter")
    .option("--decapsulated", "copy them without their tunnel")
    .option("--rate-up <bits>", "at most so many bits per second on the uplink: 10M, 1.5G")
    .option("--rate-down <bits>", "the same on the downlink")
    .option("--health <type>", "ask endpoints whether they are there: tcp, tcp:80, http:8080/path, icmp")
    .option("--app-initiated", "the application may speak first")
    .option("--replace", "change the service if it exists");
}

const listed = (text: string | undefined): string | string[] | undefined =>
  text?.includes(",") ? text.split(",") : text;

const functions = (text: string | undefined) =>
  text?.split(",").map((entry) => {
    const [address = "", encapsulation] = entry.split("/");
    return encapsulation === undefined ? address : { address, encapsulation };
  });

/** `10.60.0.2`, `10.60.0.2:80`, `[2001:db8::2]:80`. */
function endpoint(text: string): { address: string; port?: string } {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  return found ? { address: found[1] ?? found[2] ?? "", port: found[3] as string } : { address: text };
}

/** Of `--output` and `--forward`. */
function outlet(port: string | true | undefined, { nextHop, tunnel }: AddOptions): unknown {
  if (port === undefined) return undefined;
  const found = typeof port === "string" ? /^(.+)\.(\d{1,4})$/.exec(port) : undefined;
  const [type, destination] = tunnel?.split("/") ?? [];
  return {
    ...given({
      port: found ? found[1] : port === true ? undefined : port,
      vlan: found?.[2],
      address: nextHop,
      tunnel: given({ type, destination }),
    }),
  };
}

function health(text: string): { type: string; port?: string; path?: string } {
  const found = /^([a-z]+)(?::(\d+))?(\/.*)?$/.exec(text);
  if (!found) throw new InvalidArgumentError("--health is tcp, tcp:80, http:8080/path or icmp");
  const [, type = "", port, path] = found;
  return { type, ...(port !== undefined && { port }), ...(path !== undefined && { path }) };
}

/** Members that say nothing are gone. */
const given = (members: Record<string, unknown>): Record<string, unknown> | undefined => {
  const said = Object.entries(members).filter(([, value]) => value !== undefined);
  return said.length > 0 ? Object.fromEntries(said) : undefined;
};

function secondForm(name: string, options: AddOptions): unknown {
  const { dst, src, message, endpoint: to, drop } = options;
  const everyone = message === undefined ? ((dst ?? "").includes(":") ? "::/0" : "0.0.0.0/0") : undefined;
  const several = to?.includes(",");
  return {
    name,
    rules: given({
      priority: options.priority,
      nw_dst: listed(dst),
      nw_src: listed(src) ?? everyone,
      protocol: listed(options.protocol),
      tp_dst: listed(options.dport),
      tp_src: listed(options.sport),
      nw_dscp: listed(options.dscp),
      in_port: listed(options.on),
      dl_src: listed(options.srcMac),
      dl_dst: listed(options.dstMac),
      dl_vlan: listed(options.vlan),
      tun_src: listed(options.baseStation),
      tun_dst: listed(options.gateway),
      tun_id: listed(options.teid),
      qfi: listed(options.qfi),
      gtpu_msgtype: listed(message),
      direction: options.direction,
      endpoint: several ? undefined : to,
      endpoints: several ? to?.split(",").map(endpoint) : undefined,
      affinity: options.affinity,
      action: drop ? "drop" : undefined,
      output: outlet(options.output, options),
      forward: outlet(options.forward, options),
    }),
    ...given({
      chain: given({
        ue_net: functions(options.up),
        net_ue: functions(options.down),
        unreachable: options.unreachable,
      }),
      mirror: given({ port: options.mirror, form: options.decapsulated ? "decapsulated" : undefined }),
      rate: given({ uplink: options.rateUp, downlink: options.rateDown }),
      health: options.health === undefined ? undefined : health(options.health),
      appInitiated: options.appInitiated,
    }),
  };
}

/** Bodies as they are to be posted. @throws CliError */
export function servicesOf(name: string | undefined, options: AddOptions): unknown[] {
  if (options.file !== undefined) {
    if (name !== undefined) throw new CliError("give a name and options, or --file, not both", 2);
    return readServices(options.file);
  }
  if (name === undefined) throw new CliError("service add needs a name, or --file", 2);
  if ((options.nextHop ?? options.tunnel) !== undefined && (options.output ?? options.forward) === undefined) {
    throw new CliError("--next-hop and --tunnel say where --output or --forward lead: give one of those", 2);
  }
  if (options.ip === undefined && options.app === undefined) return [secondForm(name, options)];
  const extension = options.appInitiated ? { appInitiated: true } : {};
  return [{ name, serviceIP: options.ip, applicationIP: options.app, ...extension }];
}

/** What the header Offramp-Warning says, for people. */
export function warningLines(header: string | null): string[] {
  return (header ?? "").split(", ").flatMap((item) => {
    const found = /^(\w+);service="([^"]*)"(?:;by="([^"]*)")?$/.exec(item);
    if (!found) return [];
    const [, kind, about = "", by] = found.map((part) => part && decodeURIComponent(part));
    const why = by === undefined ? `it is ${kind} at this site` : `${by} has all of its packets`;
    return [`warning: service "${about}" never acts: ${why}; see offramp verify`];
  });
}
