/**
 * Where is Mp1, and with what does it speak TLS?
 *
 * At `mep.mp1.listen` of site.yaml. GS MEC 011 forbids HTTP without TLS, so there is always some: the certificate of site.yaml,
 * or one that Mp1 makes for itself; plain HTTP needs `insecure: true`.
 */
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import type { TlsSecrets } from "../../controlplane/api/base.ts";
import type { Server } from "../../controlplane/api/context.ts";
import type { SiteConfig } from "../../controlplane/config/site.ts";
import { ownCertificate } from "./certificate.ts";

type Listen = NonNullable<NonNullable<SiteConfig["mep"]>["mp1"]>;

/** Undefined: plain HTTP. @throws Error when a file cannot be read */
export function mp1Secrets({ host, tls, insecure }: Listen, stateDir: string): TlsSecrets | undefined {
  if (insecure) return undefined;
  if (!tls) {
    const { cert, key } = ownCertificate(stateDir, host);
    return { cert, key };
  }
  return {
    cert: readFileSync(tls.cert),
    key: readFileSync(tls.key),
    ...(tls.clientCa !== undefined && { clientCa: readFileSync(tls.clientCa) }),
  };
}

/**
 * `https://host:port`, with which links begin. Where Mp1 listens on every address, the appliance's own on the apps' network
 * is told. `app`: asked for the port when the kernel has chosen it.
 */
export function mp1Base({ host, port, insecure }: Listen, config: SiteConfig, app?: Server): string {
  const everywhere = host === "0.0.0.0" || host === "::";
  const own = everywhere ? (config.backend.apps?.address.split("/")[0] ?? host) : host;
  const bound = app?.server.address() as AddressInfo | null | undefined;
  const at = own.includes(":") ? `[${own}]` : own;
  return `${insecure ? "http" : "https"}://${at}:${bound?.port ?? port}`;
}
