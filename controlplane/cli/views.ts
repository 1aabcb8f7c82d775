/**
 * What do people see of sessions, data planes, services and plans?
 *
 * Pure functions from the API's data to lines.
 */
import type { DataplaneStatus } from "../../dataplane/dataplane.ts";
import { firstEndpoint, type Range, type SteeringRule } from "../../dataplane/steering.ts";
import { isAddressService, type Service } from "../intents/model.ts";
import { age, number, plural, table } from "./output.ts";

export interface SessionView {
  dataplane: string;
  ue: string;
  baseStation?: string;
  gateway?: string;
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
  version: string;
  dataplanes: (DataplaneStatus & { configuredMode: string })[];
  services: number;
  counters: { dataplane: string; name: string; kind: string; packets: number; bytes: number }[];
}

export function sessionLines({ total, offset, sessions }: SessionsView): string[] {
  const rows = sessions.map((session) => [
    session.ue,
    session.dataplane,
    session.state,
    session.baseStation ?? "-",
    session.gateway ?? "-",
    session.bearers
      .map(({ direction, teid, state, qfi }) => {
        const marks = [state === "live" ? "" : state, qfi === undefined ? "" : `qfi ${qfi}`].filter(Boolean).join(" ");
        return `${direction === "uplink" ? "up" : "down"} ${teid}${marks ? ` (${marks})` : ""}`;
      })
      .join(", "),
    number(session.flows),
    age(session.idle),
    age(session.age),
  ]);
  const head = ["UE", "DATAPLANE", "STATE", "BASE STATION", "GATEWAY", "BEARERS", "FLOWS", "IDLE", "AGE"];
  const shown =
    sessions.length < total ? [`${offset + 1}–${offset + sessions.length} of ${plural(total, "session")}`] : [];
  return total === 0 ? ["no sessions"] : [...table(head, rows), ...shown];
}

export function statusLines({ ready, missing, version, dataplanes, services, counters }: StatusView): string[] {
  const lines = [
    `offramp ${version}: ${ready ? "ready" : `not ready${missing ? ` (${missing})` : ""}`}, ${plural(services, "service")}`,
  ];
  for (const { name, mode, configuredMode, ports, programs, adopted, sessions, flows } of dataplanes) {
    const set = mode === configuredMode ? "" : `, site.yaml says ${configuredMode}`;
    lines.push("", `${name}: ${mode}${set}; ${plural(sessions, "session")}, ${plural(flows, "flow")}`);
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

const matchText = (service: Service): string => {
  if (isAddressService(service)) return service.serviceIP;
  const { nw_dst, nw_src, protocol, tp_dst, tp_src } = service.rules;
  const parts = [nw_dst ?? "any"];
  if (protocol !== undefined) parts.push(`proto ${protocol}`);
  if (tp_dst !== undefined) parts.push(`port ${tp_dst}`);
  if (!/\/0$/.test(nw_src)) parts.push(`from ${nw_src}`);
  if (tp_src !== undefined) parts.push(`from port ${tp_src}`);
  return parts.join(" ");
};

export function serviceLines(services: Service[]): string[] {
  if (services.length === 0) return ["no services"];
  const rows = services.map((service) => [
    service.name,
    String(isAddressService(service) ? 100 : service.rules.priority),
    matchText(service),
    isAddressService(service) ? service.applicationIP : (service.rules.endpoint ?? "(left to the core)"),
  ]);
  return table(["NAME", "PRIORITY", "MATCH", "ENDPOINT"], rows);
}

/** One rule on one line, as `plan` and `trace` show it. */
export function ruleText(rule: SteeringRule): string {
  const { destination, source, protocol, destinationPorts, sourcePorts } = rule.match;
  const ranges = (list: Range[]) => list.map(([low, high]) => (low === high ? low : `${low}-${high}`)).join(",");
  const parts = [
    `to ${destination ?? "any"}`,
    source && `from ${source}`,
    protocol && `proto ${protocol}`,
    destinationPorts && `port ${ranges(destinationPorts)}`,
    sourcePorts && `from port ${ranges(sourcePorts)}`,
  ].filter(Boolean);
  const { action } = rule;
  const endpoint = firstEndpoint(rule);
  const to = endpoint && (endpoint.address.includes(":") ? `[${endpoint.address}]` : endpoint.address);
  const target = endpoint ? ` → ${to}${endpoint.port === undefined ? "" : `:${endpoint.port}`}` : "";
  return `rule ${rule.id} "${rule.name}" priority ${rule.priority}: ${parts.join(" ")}: ${action}${target}`;
}

export interface PlanView {
  service: string;
  change: "add" | "replace" | "none";
  remove: SteeringRule[];
  add: SteeringRule[];
}

export function planLines(plans: PlanView[]): string[] {
  return plans.flatMap(({ service, change, remove, add }) => [
    {
      add: `+ service "${service}" is added`,
      replace: `~ service "${service}" changes`,
      none: `= service "${service}" stays`,
    }[change],
    ...remove.map((rule) => `  - ${ruleText(rule)}`),
    ...add.map((rule) => `  + ${ruleText(rule)}`),
  ]);
}
