/**
 * Which transports does the platform provide (GS MEC 011 §8.2.5)?
 *
 * Its own REST server, and those that the operator has in site.yaml (`mep.transports`), a message broker for example.
 */
import type { MepConfig } from "../../controlplane/config/site.ts";
import type { TransportInfo } from "../model/services.ts";

/** As site.yaml has it, in the words of §8.1.2.3. */
export const configuredTransport = ({ uris, ...rest }: MepConfig["transports"][number]): TransportInfo => ({
  ...rest,
  endpoint: { uris },
  security: {},
});

/** `base`: `https://host:port`. */
export const platformTransport = (base: string): TransportInfo => ({
  id: "mp1-rest",
  name: "REST of the platform",
  description: "HTTP/1.1 on the server that also answers Mp1",
  type: "REST_HTTP",
  protocol: "HTTP",
  version: "1.1",
  endpoint: { uris: [`${base}/`] },
  security: {
    oAuth2Info: { grantTypes: ["OAUTH2_CLIENT_CREDENTIALS"], tokenEndpoint: `${base}/oauth2/token` },
  },
});
