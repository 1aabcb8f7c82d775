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

/** The address by which apps name Mp1: where it listens on every address, the appliance's own on the apps' network. */
function addressOf({ host }: Listen, config: SiteConfig): string {
  const everywhere = host === "0.0.0.0" || host === "::";
  return everywhere ? (config.backend.apps?.address.split("/")[0] ?? host) : host;
}

/** Undefined: plain HTTP. @throws Error when a file cannot be read */
export function mp1Secrets(mp1: Listen, config: SiteConfig): TlsSecrets | undefined {
  const { tls, insecure } = mp1;
  if (insecure) return undefined;
  if (!tls) {
    const { cert, key } = ownCertificate(config.stateDir, addressOf(mp1, config));
    return { cert, key };
  }
  return {
    cert: readFileSync(tls.cert),
    key: readFileSync(tls.key),
    ...(tls.clientCa !== undefined && { clientCa: readFileSync(tls.clientCa) }),
  };
}

/**
 * By what apps check Mp1's certificate, PEM: by itself where Mp1 has made it, else by `tls.ca` of site.yaml. Undefined: by the
 * authorities that every system has, or there is no TLS. @throws Error when a file cannot be read
 */
export function mp1Ca(mp1: Listen, config: SiteConfig): string | undefined {
  const { tls, insecure } = mp1;
  if (insecure) return undefined;
  if (!tls) return ownCertificate(config.stateDir, addressOf(mp1, config)).cert;
  return tls.ca === undefined ? undefined : readFileSync(tls.ca, "utf8");
}

/** `https://host:port`, with which links begin. `app`: asked for the port when the kernel has chosen it. */
export function mp1Base(mp1: Listen, config: SiteConfig, app?: Server): string {
  const { port, insecure } = mp1;
  const own = addressOf(mp1, config);
  const bound = app?.server.address() as AddressInfo | null | undefined;
  const at = own.includes(":") ? `[${own}]` : own;
  return `${insecure ? "http" : "https"}://${at}:${bound?.port ?? port}`;
}
