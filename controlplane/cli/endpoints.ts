/**
 * `offramp health` and `offramp service drain`: which endpoints answer, and who is relieved.
 */
import type { Command } from "commander";
import type { ServiceView } from "../health/endpoints.ts";
import { socketText } from "../intents/endpoint-text.ts";
import type { Service } from "../intents/model.ts";
import { Client, type ClientOptions, query } from "./client.ts";
import { age, print, type Show, table } from "./output.ts";

type Common = ClientOptions & Show;
export type HealthView = Omit<ServiceView, "endpoints"> & {
  endpoints: (ServiceView["endpoints"][number] & { flows?: number })[];
};

export function healthLines(views: readonly HealthView[], now = Date.now()): string[] {
  if (views.length === 0) return ["no service has endpoints"];
  const rows = views.flatMap(({ service, state, health, endpoints }) =>
    endpoints.map((endpoint) => [
      service,
      state,
      socketText(endpoint),
      health ? endpoint.state : `${endpoint.state} (not asked)`,
      endpoint.since === undefined ? "-" : age((now - endpoint.since) / 1000),
      endpoint.flows === undefined ? "-" : String(endpoint.flows),
      endpoint.failure ?? "",
    ]),
  );
  return table(["SERVICE", "STATE", "ENDPOINT", "IS", "FOR", "FLOWS", "LAST FAILURE"], rows);
}

export function healthVerb(command: Command): void {
  command
    .argument("[service]", "default: all")
    .description("endpoints of services: which answer, which drain and how many flows they still have")
    .option("--flows", "count the flows of every endpoint, not only of draining ones")
    .action(async (service: string | undefined, options: Common & { flows?: boolean }) => {
      const path = `/api/v1/health${query({ flows: options.flows ? "true" : undefined })}`;
      const views = await new Client(options).get<HealthView[]>(path);
      print(
        views.filter((view) => service === undefined || view.service === service),
        healthLines,
        options,
      );
    });
}

export function drainVerb(command: Command): void {
  command
    .argument("<service>")
    .argument("<endpoint>", "address:port; an address alone means each of its ports")
    .description("send an endpoint nothing new; its connections run on to their end")
    .option("--undo", "let it take new connections again")
    .action(async (name: string, endpoint: string, options: Common & { undo?: boolean }) => {
      const drain = !options.undo;
      const path = `/service/${encodeURIComponent(name)}/drain`;
      const service = await new Client(options).json<Service>("POST", path, { endpoint, drain });
      const said = `${name}: ${endpoint} ${drain ? "drains; offramp health shows how many flows are left" : "takes new connections"}`;
      print(service, () => [said], options);
    });
}

/** `2/3`, `0/2 aside`; `-` where nobody asks and nothing drains. */
export function healthyText(views: readonly HealthView[], service: string): string {
  const view = views.find((one) => one.service === service);
  if (!view || (!view.health && view.up === view.endpoints.length)) return "-";
  return `${view.up}/${view.endpoints.length}${view.state === "aside" ? " aside" : ""}`;
}
