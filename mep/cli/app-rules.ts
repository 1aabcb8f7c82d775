/**
 * `offramp app rules`: which rules does an app instance have, and do packets meet them?
 */
import type { Command } from "commander";
import { Client, type ClientOptions } from "../../controlplane/cli/client.ts";
import { print, type Show, table } from "../../controlplane/cli/output.ts";
import type { DestinationInterface, TrafficFilter } from "../model/rules.ts";
import type { RulesView } from "../rules/routes.ts";

const filterText = (filter: TrafficFilter): string =>
  Object.entries(filter)
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(",") : value}`)
    .join(" ") || "everything";

function interfaceText({ interfaceType, tunnelInfo, dstMacAddress, dstIpAddress }: DestinationInterface): string {
  if (interfaceType === "MAC") return `${dstMacAddress}`;
  if (interfaceType === "IP") return dstIpAddress ?? "itself";
  return `${tunnelInfo?.tunnelType} ${tunnelInfo?.tunnelDstAddress}`;
}

export function rulesLines({ traffic, dns }: RulesView): string[] {
  const rows = traffic.map(({ rule, counters: { uplink, downlink } }) => [
    rule.trafficRuleId,
    rule.state,
    String(rule.priority),
    rule.filterType,
    rule.trafficFilter.map(filterText).join(" | "),
    rule.action,
    (rule.dstInterface ?? []).map(interfaceText).join(" ") || "–",
    String(uplink.packets),
    String(downlink.packets),
  ]);
  const names = dns.map((rule) => [
    rule.dnsRuleId,
    rule.state,
    rule.domainName,
    rule.ipAddress,
    rule.ttl === undefined ? "–" : `${rule.ttl} s`,
  ]);
  return [
    ...(rows.length === 0
      ? ["no traffic rules"]
      : table(["TRAFFIC RULE", "STATE", "PRIO", "TYPE", "FILTER", "ACTION", "TO", "UPLINK", "DOWNLINK"], rows)),
    "",
    ...(names.length === 0 ? ["no DNS rules"] : table(["DNS RULE", "STATE", "NAME", "ADDRESS", "TTL"], names)),
  ];
}

/** `command` has the options of the API already. */
export const rulesVerb = (command: Command): Command =>
  command
    .argument("<instance>", "its id")
    .description("traffic and DNS rules of an instance, with the packets that met each")
    .action(async (id: string, options: ClientOptions & Show) => {
      const path = `/api/v1/apps/${encodeURIComponent(id)}/rules`;
      print(await new Client(options).get<RulesView>(path), rulesLines, options);
    });
