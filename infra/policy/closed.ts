/**
 * Is an API of the site open to somebody who should not have it, and is an image one whose content nobody has fixed?
 *
 * Pure; each finding says where, what, and what to do. The appliance itself refuses most of this as well: here it is seen before
 * anything is made, and what the appliance would allow on its own is not allowed to a stack.
 */
import ipaddr from "ipaddr.js";
import { group, isKnown, type Seen, siteOf } from "./documents.ts";

/** False also where it cannot be read: the appliance says so. */
function leavesTheMachine(listen: unknown): boolean {
  if (typeof listen !== "string") return false;
  const host = listen.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  return ipaddr.isValid(host) && ipaddr.process(host).range() !== "loopback";
}

/** Places that are machines of others as well. */
const shared = ["ssh", "provided"];

export function openApis(resource: Seen): string[] {
  const { type, props } = resource;
  const findings: string[] = [];
  if (type === "pulumi:providers:offramp" && typeof props.api === "string" && URL.canParse(props.api)) {
    const { protocol, hostname, host } = new URL(props.api);
    if (protocol === "http:" && leavesTheMachine(ipaddr.isValid(hostname) ? hostname : "0.0.0.0")) {
      if (hostname !== "localhost")
        findings.push(`api is http://${host}: whoever is between sees the token: use https`);
    }
  }
  const site = siteOf(resource);
  if (!site) return findings;
  const at = (path: string) => `${site.at}.${path}`;
  const api = group(site.document.api);
  // What an appliance makes of its own gets a certificate and a token.
  const given = site.document.api !== undefined && type !== "offramp:index:Appliance" && site.at !== "userData";
  if (given && leavesTheMachine(api.listen)) {
    const { clientCa } = group(api.tls);
    if (api.tls === undefined) {
      findings.push(`${at("api.listen")} is ${api.listen} without TLS: add ${at("api.tls")}, or listen on 127.0.0.1`);
    }
    if (api.token === undefined && api.tokenFile === undefined && clientCa === undefined) {
      findings.push(
        `${at("api.listen")} is ${api.listen} and nobody has to prove who they are: add ${at("api.tokenFile")}`,
      );
    }
  }
  const place = Object.keys(group(props.place)).find((one) => shared.includes(one));
  if (api.loopback === "admin" && (place !== undefined || type !== "offramp:index:Appliance")) {
    findings.push(
      `${at("api.loopback")} is admin: whoever can start a program on that machine is admin of the site: set it to none`,
    );
  }
  const mp1 = group(group(site.document.mep).mp1);
  if (mp1.insecure === true) {
    findings.push(
      `${at("mep.mp1.insecure")} is true: apps' secrets and tokens cross their network as they are: leave it out, Mp1 makes itself a certificate`,
    );
  }
  return findings;
}

const isHash = (value: unknown): boolean => typeof value === "string" && /^[0-9a-f]{64}$/i.test(value);

export function unfixedImages({ type, props }: Seen): string[] {
  if (type === "offramp:index:Appliance" && props.image !== undefined && isKnown(props.image)) {
    const { path, url, sha256 } = group(props.image);
    if (isHash(sha256) || !isKnown(sha256)) return [];
    return [`image.sha256 of ${path ?? url} is missing: another file could take its place: copy it from SHA256SUMS`];
  }
  if (type === "offramp:index:AppPackage" && isKnown(props.sha256) && !isHash(props.sha256)) {
    return [`sha256 of ${props.archive} is missing: another file could take its place: sha256sum says it`];
  }
  if (type === "openstack:images/image:Image" && props.verifyChecksum === false) {
    return ["verifyChecksum is false: what was uploaded may be something else: leave it out"];
  }
  if (type === "openstack:compute/instance:Instance" && props.imageName !== undefined && props.imageId === undefined) {
    return [`imageName is ${props.imageName}, whatever that is by then: set imageId to that of an image of this stack`];
  }
  return [];
}
