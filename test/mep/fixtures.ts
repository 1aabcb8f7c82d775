/**
 * What do instances and services look like in tests and benchmarks of Mp1?
 */
import type { TransportInfo } from "../../mep/model/services.ts";
import type { Instance } from "../../mep/parts.ts";

export const makeInstance = (id: string, more: Partial<Instance> = {}): Instance => ({
  id,
  appDId: `appd-${id}`,
  name: id,
  provider: "tenant",
  instantiationState: "INSTANTIATED",
  operationalState: "STARTED",
  configured: true,
  ready: true,
  addresses: [],
  external: true,
  ...more,
});

export const transport: TransportInfo = {
  id: "own",
  name: "REST",
  type: "REST_HTTP",
  protocol: "HTTP",
  version: "1.1",
  endpoint: { uris: ["http://10.61.0.5/api"] },
  security: { oAuth2Info: { grantTypes: ["OAUTH2_CLIENT_CREDENTIALS"], tokenEndpoint: "http://10.61.0.5/token" } },
};

/** A traffic rule as a package has it: what phones send to one web server goes to the app. */
export const webRule = (changes: Record<string, unknown> = {}) => ({
  trafficRuleId: "web",
  filterType: "FLOW",
  priority: 10,
  trafficFilter: [{ dstAddress: ["203.0.113.20"], dstPort: ["80"], protocol: ["tcp"] }],
  action: "FORWARD_DECAPSULATED",
  dstInterface: [{ interfaceType: "IP", dstIpAddress: "10.60.0.20" }],
  ...changes,
});

export const category = (id: string) => ({ href: "http://catalogue/x", id, name: id, version: "1" });

/** A service as an app offers it. */
export const offer = (name = "camera", more: object = {}) => ({
  serName: name,
  version: "1.0",
  state: "ACTIVE",
  serializer: "JSON",
  transportInfo: transport,
  ...more,
});
