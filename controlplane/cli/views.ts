/**
 * What do people see of sessions, data planes, services and plans?
 *
 * Pure functions from the API's data to lines.
 */
import type { DataplaneStatus } from "../../dataplane/dataplane.ts";
import type { Hop, Range, SteeringRule, Treatment } from "../../dataplane/steering.ts";
import { mirrorText, outletText } from "../../dataplane/steering-text.ts";
import { type ChainEntry, isAddressService, type Service } from "../intents/model.ts";
import { type HealthView, healthyText } from "./endpoints.ts";
import { age, number, plural, table } from "./output.ts";

export interface SessionView {
  dataplane: string;
  ue: string;
  baseStation?: string;
  gateway?: string;
  station?: { mac: string; gatewayMac: string; vlans: number[]; claim?: { mac: string } };
  state: string;
  bearers: { direction: string; teid: string; state: string; baseStation: string; gateway: string; qfi?: number }[];
  flows: number;
  idle: number;
  age: number;
}

export interface SessionsView {
  total: number;
  offset: number;
  sessions: SessionView[];
}

export interface StatusView {
  ready: boolean;
  missing?: string;
  /** Members of site.yaml that the site is without for the moment. */
  without?: string[];
  version: string;
  dataplanes: (DataplaneStatus & { configuredMode: string })[];
  services: number;
  counters: { dataplane: string; name: string; kind: string; packets: number; bytes: number }[];
}

/** `vlan 100.200`, and who else claims the address. */
function stationText({ station }: SessionView): string | undefined {
  if (!station) return undefined;
  const { vlans, claim } = station;
  const tags = vlans.length > 0 ? `vlan ${vlans.join(".")}` : "untagged";
  return claim ? `${tags}, claimed by ${claim.mac}` : tags;
}

export function sessionLines({ total, offset, sessions }: SessionsView): string[] {
  const rows = sessions.map((session) => [
    session.ue,
    session.dataplane,
    session.state,
    session.station?.mac ?? session.baseStation ?? "-",
    session.station?.gatewayMac ?? session.gateway ?? "-",
    stationText(session) ??
      session.bearers
        .map(({ direction, teid, state, qfi }) => {
          const marks = [state === "live" ? "" : state, qfi === undefined ? "" : `qfi ${qfi}`]
            .filter(Boolean)
            .join(" ");
          return `${direction === "uplink" ? "up" : "down"} ${teid}${marks ? ` (${marks})` : ""}`;
        })
        .join(", "),
    number(session.flows),
    age(session.idle),
    age(session.age),
  ]);
  const head = ["UE", "DATAPLANE", "STATE", "STATION", "GATEWAY", "BEARERS", "FLOWS", "IDLE", "AGE"];
  const shown =
    sessions.length < total ? [`${offset + 1}–${offset + sessions.length} of ${plural(total, "session")}`] : [];
  return total === 0 ? ["no sessions"] : [...table(head, rows), ...shown];
}

export function statusLines({
  ready,
  missing,
  without,
  version,
  dataplanes,
  services,
  counters,
}: StatusView): string[] {
  const lines = [
    `offramp ${version}: ${ready ? "ready" : `not ready${missing ? ` (${missing})` : ""}`}, ${plural(services, "service")}`,
    ...(without ? [`without ${without.join(", ")}: the log says why`] : []),
  ];
  for (const { name, plugin, mode, configuredMode, ports, programs, adopted, sessions, flows } of dataplanes) {
    const set = mode === configuredMode ? "" : `, site.yaml says ${configuredMode}`;
    lines.push("", `${name}: ${plugin}, ${mode}${set}; ${plural(sessions, "session")}, ${plural(flows, "flow")}`);
    for (const { adapter, role, link, mtu, path, reason } of ports) {
      lines.push(
        `  ${role.padEnd(6)} ${adapter}  ${link ? "up" : "NO LINK"}  MTU ${mtu}  ${path}${reason ? `: ${reason}` : ""}`,
      );
    }
    const listed = programs.map((program) => `${program.name} id ${program.id} tag ${program.tag}`).join(", ");
    lines.push(`  programs: ${listed || "none"}${adopted ? " (adopted from an earlier run)" : ""}`);
  }
  const seen = counters.filter((counter) => counter.packets > 0);
  if (seen.length > 0) {
    const rows = seen.map((c) => [c.dataplane || "-", c.name, number(c.packets), number(c.bytes)]);
    lines.push("", ...table(["DATAPLANE", "COUNTER", "PACKETS", "BYTES"], rows));
  }
  return lines;
}

const listed = (value: unknown): string => (Array.isArray(value) ? value.join(",") : String(value));

/** How `service ls` words the fields of a match. */
const matchWords = [
  ["protocol", "proto"],
  ["tp_dst", "port"],
  ["nw_src", "from"],
  ["tp_src", "from port"],
  ["nw_dscp", "DSCP"],
  ["in_port", "on"],
  ["dl_src", "from MAC"],
  ["dl_dst", "to MAC"],
  ["dl_vlan", "VLAN"],
  ["tun_src", "base station"],
  ["tun_dst", "gateway"],
  ["tun_id", "TEID"],
  ["qfi", "QFI"],
  ["gtpu_msgtype", "message"],
  ["direction", "only"],
] as const;

const matchText = (service: Service): string => {
  if (isAddressService(service)) return service.serviceIP;
  const { rules } = service;
  const parts = [listed(rules.nw_dst ?? "any")];
  for (const [field, word] of matchWords) {
    const value = rules[field];
    if (value === undefined || (field === "nw_src" && /^[^,]*\/0$/.test(listed(value)))) continue;
    parts.push(`${word} ${listed(value)}`);
  }
  return parts.join(" ");
};

const functionsText = (list: ChainEntry[] = []) =>
  list.map((entry) => (typeof entry === "string" ? entry : entry.address)).join(" → ");

const outcomeText = (service: Service): string => {
  if (isAddressService(service)) return service.applicationIP;
  const { rules, chain, mirror, rate } = service;
  const { endpoint, endpoints, output, forward, action } = rules;
  const several = endpoints
    ?.map(({ address, port, drain }) => `${endOf(address, port)}${drain ? " (draining)" : ""}`)
    .join(", ");
  const leaves = output ?? forward;
  const way = leaves && outletText({ ...leaves, vlan: leaves.vlan === undefined ? undefined : Number(leaves.vlan) });
  const out = way && `${forward ? "with the tunnel: " : ""}${way}`;
  const parts = [endpoint ?? several ?? out ?? (action === "drop" ? "(dropped)" : "(left to the core)")];
  const [up, down] = [functionsText(chain?.ue_net), functionsText(chain?.net_ue ?? chain?.net_eu)];
  if (up) parts.push(`up by ${up}`);
  if (down) parts.push(`down by ${down}`);
  if (mirror) parts.push(`copied to ${mirror.port}`);
  if (rate) parts.push(`at most ${rate.uplink ?? "any"} up, ${rate.downlink ?? "any"} down`);
  return parts.join("; ");
};

/** With `health`, how many endpoints of each take new connections. */
export function serviceLines(services: Service[], health?: readonly HealthView[]): string[] {
  if (services.length === 0) return ["no services"];
  const rows = services.map((service) => [
    service.name,
    String(isAddressService(service) ? 100 : service.rules.priority),
    matchText(service),
    ...(health ? [healthyText(health, service.name)] : []),
    outcomeText(service),
  ]);
  return table(["NAME", "PRIORITY", "MATCH", ...(health ? ["HEALTHY"] : []), "ENDPOINT"], rows);
}

const endOf = (address: string, port: string | number | undefined): string =>
  port === undefined ? address : `${address.includes(":") ? `[${address}]` : address}:${port}`;

const ranges = (list: Range[] | undefined) =>
  list?.map(([low, high]) => (low === high ? low : `${low}-${high}`)).join(",");

const teids = (list: Range[] | undefined) =>
  list?.map((range) => [...new Set(range)].map((teid) => `0x${teid.toString(16)}`).join("-")).join(",");

/** The members of a match, each as a word and its values; what is absent has no values. */
function matchParts({ match }: SteeringRule): [string, string | undefined][] {
  return [
    ["to", match.destination?.join(",") ?? "any"],
    ["from", match.source?.join(",")],
    ["proto", match.protocol?.join(",")],
    ["port", ranges(match.destinationPorts)],
    ["from port", ranges(match.sourcePorts)],
    ["DSCP", ranges(match.dscp)],
    ["on", match.dataplanes?.join(",")],
    ["VLAN", ranges(match.vlan)],
    ["inner VLAN", ranges(match.innerVlan)],
    ["from MAC", match.sourceMac?.join(",")],
    ["to MAC", match.destinationMac?.join(",")],
    ["base station", match.baseStation?.join(",")],
    ["gateway", match.gateway?.join(",")],
    ["TEID", teids(match.teid)],
    ["QFI", ranges(match.qfi)],
    ["message", ranges(match.message)],
    ["only", match.direction],
  ];
}

function treatmentText({ chain, mirror, rate }: Treatment): string {
  const hops = (list: Hop[]) =>
    list.map(({ address, vni, state }) => `${address} (VNI ${vni}${state === "down" ? ", down" : ""})`).join(" → ");
  return [
    chain && chain.uplink.length > 0 && `up by ${hops(chain.uplink)}`,
    chain && chain.downlink.length > 0 && `down by ${hops(chain.downlink)}`,
    mirror && `copied ${mirrorText(mirror)}`,
    rate && `at most ${rate.uplink ?? "any"} bit/s up, ${rate.downlink ?? "any"} bit/s down`,
  ]
    .filter(Boolean)
    .join("; ");
}

/** One rule on one line, as `plan` and `trace` show it. */
export function ruleText(rule: SteeringRule): string {
  const { action, endpoints, output, treatment } = rule;
  const parts = matchParts(rule).flatMap(([word, values]) => (values === undefined ? [] : [`${word} ${values}`]));
  const ends = endpoints?.map(
    ({ address, port, state }) =>
      `${address.includes(":") ? `[${address}]` : address}${port === undefined ? "" : `:${port}`}${state ? ` (${state})` : ""}`,
  );
  const target = ends?.join(", ") ?? (output && outletText(output));
  const done = treatment ? `; ${treatmentText(treatment)}` : "";
  return `rule ${rule.id} "${rule.name}" priority ${rule.priority}: ${parts.join(" ")}: ${action}${target ? ` → ${target}` : ""}${done}`;
}
