/**
 * Which properties do the resources of the package have?
 *
 * The same as the interfaces and classes of resources.ts, for programs in other languages and for checks; a test compares the two.
 */
import type { Members, ResourceShape, Shape } from "./shape.ts";

const values: Shape = { oneOf: ["text", "whole number", { list: { oneOf: ["text", "whole number"] } }] };
const texts: Shape = { oneOf: ["text", { list: "text" }] };
const rate: Shape = { oneOf: ["text", "whole number"] };
const match = (is: Shape, about: string) => ({ is, about, optional: true }) as const;

const endpoint: Shape = {
  name: "Endpoint",
  members: {
    address: { is: "text", about: "of the application" },
    port: { is: "whole number", about: "default: that of the packet", optional: true },
    weight: { is: "whole number", about: "its share of new connections", optional: true },
    drain: { is: "boolean", about: "keeps what it has, and gets nothing new", optional: true },
  },
};

const rules: Members = {
  priority: { is: "whole number", about: "higher ones are looked at first" },
  nw_src: match(texts, "addresses or prefixes of UEs"),
  nw_dst: match(texts, "addresses or prefixes that UEs use"),
  protocol: match(values, "name or number"),
  tp_dst: match(values, "ports or ranges that UEs use"),
  tp_src: match(values, "ports or ranges of UEs"),
  nw_dscp: match(values, "code points"),
  in_port: match(texts, "data planes"),
  dl_src: match(texts, "MAC addresses"),
  dl_dst: match(texts, "MAC addresses"),
  dl_vlan: match(values, "VLAN identifiers"),
  tun_src: match(texts, "base stations"),
  tun_dst: match(texts, "gateways"),
  tun_id: match(values, "TEIDs"),
  qfi: match(values, "QoS flow identifiers"),
  gtpu_msgtype: match(values, "GTP-U message types"),
  endpoint: match("text", "`address` or `address:port` of the one application"),
  endpoints: match({ list: endpoint }, "applications"),
  affinity: match({ words: ["connection", "ue"] }, "what stays at one endpoint"),
  action: match({ words: ["pass", "drop"] }, "instead of endpoints"),
  output: match(
    {
      name: "Port",
      members: {
        port: { is: "text", about: "adapter" },
        vlan: { is: "whole number", about: "identifier", optional: true },
        mac: { is: "text", about: "of the receiver", optional: true },
      },
    },
    "adapter that packets leave by",
  ),
};

const transit: Shape = {
  list: {
    oneOf: [
      "text",
      {
        name: "TransitFunction",
        members: {
          address: { is: "text", about: "of the function" },
          encapsulation: { is: { words: ["vxlan", "nsh"] }, about: "default: vxlan", optional: true },
        },
      },
    ],
  },
};

const service: ResourceShape = {
  about: "A service of the TOF Service API. Imported by its name. Another name is another service.",
  inputs: {
    name: match("text", "default: the resource's own name"),
    serviceIP: match("text", "first form: address that UEs use"),
    applicationIP: match("text", "first form: address of the application at the edge"),
    appInitiated: match("boolean", "the application may speak to a UE first"),
    rules: match({ name: "ServiceRules", members: rules }, "second form, instead of both addresses"),
    chain: match(
      {
        name: "Chain",
        members: {
          ue_net: match(transit, "functions on the uplink, in order"),
          net_ue: match(transit, "functions on the downlink, in order"),
          unreachable: match({ words: ["bypass", "block"] }, "when one does not answer"),
        },
      },
      "functions that packets pass",
    ),
    mirror: match(
      {
        name: "Mirror",
        members: {
          port: { is: "text", about: "adapter that copies leave by" },
          form: match({ words: ["as-is", "decapsulated"] }, "with the tunnel or without"),
        },
      },
      "copies of its packets",
    ),
    rate: match(
      { name: "Rate", members: { uplink: match(rate, "bit/s"), downlink: match(rate, "bit/s") } },
      "most that a direction carries",
    ),
    health: match({ map: "anything" }, "how endpoints are asked whether they are there"),
  },
  outputs: {},
};

const appPackage: ResourceShape = {
  about: "An app package that is onboarded. Imported by its id (appPkgId). Another content is another package.",
  inputs: {
    archive: { is: "text", about: "the path of a zip that offramp app pack has made" },
    sha256: match("text", "of the zip, in hexadecimal: another file is refused; default: that of the file"),
  },
  outputs: {
    packageId: { is: "text", about: "appPkgId" },
    appDId: { is: "text", about: "of its AppD" },
    appName: { is: "text", about: "of its AppD" },
    appProvider: { is: "text", about: "the tenant" },
    appSoftwareVersion: { is: "text", about: "of its AppD" },
  },
};

const app: ResourceShape = {
  about: "An instance of an app. Imported by its id.",
  inputs: {
    package: { is: "text", about: "the packageId of an AppPackage, or an appDId" },
    instanceId: match("text", "default: the resource's own name"),
    description: match("text", "for people"),
    addresses: match({ list: "text" }, "of an app on a machine of its own: where it is on the apps' network"),
    configuration: match({ map: "anything" }, "what configure_platform_for_app says instead of the AppD"),
    running: match("boolean", "default: true"),
    grace: match("number", "seconds to say goodbye before it is stopped or removed; 0: none; default: 30"),
  },
  outputs: {
    appDId: { is: "text", about: "of its package" },
    external: { is: "boolean", about: "it runs on a machine of its own" },
    clientId: { is: "text", about: "with which it asks for tokens of Mp1" },
    clientSecret: { is: "text", about: "of an external app", optional: true, secret: true },
  },
};

const dnsRule: ResourceShape = {
  about:
    "A name that is answered at the site, before apps' rules for it. Imported by its name. Another name is another rule.",
  inputs: {
    name: match("text", "default: the resource's own name"),
    domain: { is: "text", about: "what phones ask for: shop.example.com" },
    addresses: { is: { list: "text" }, about: "IPv4 and IPv6 that they are answered" },
    ttl: match("whole number", "seconds that they may keep the answer; default: 300"),
    state: match({ words: ["ACTIVE", "INACTIVE"] }, "default: ACTIVE"),
  },
  outputs: {},
};

const options: Shape = { map: "anything" };
const source: Shape = {
  name: "Source",
  members: {
    path: match("text", "at the machine that Pulumi runs on; one of path and url"),
    url: match("text", "https://…"),
    sha256: { is: "text", about: "in hexadecimal: another file is refused" },
  },
};

const appliance: ResourceShape = {
  about: "An appliance with its VM, ready when it is there. Another image, place or network is another appliance.",
  inputs: {
    name: match("text", "also the VM's, and its host name; default: the resource's own name"),
    place: {
      is: {
        name: "Place",
        members: {
          qemu: match(options, "QEMU of the machine that Pulumi runs on"),
          libvirt: match(options, "a libvirt"),
          ssh: match(options, "a Debian machine that is there already"),
          provided: match(options, "others have made it, with the token and certificate that it was given"),
        },
      },
      about: "where it runs: one of them",
    },
    image: match(source, "absent where the place brings its own"),
    memory: match("whole number", "MiB; default: 512"),
    vcpus: match("whole number", "default: 1"),
    configuration: { is: options, about: "the whole site.yaml; api may be left out" },
    adapters: match({ map: "text" }, "MAC addresses; default: made from the name, always the same"),
    management: match(options, "default: DHCP"),
    sshKeys: match({ list: "text" }, "public keys that may log in; none: there is no SSH"),
    token: { is: "text", about: "of the API's admin; default: one is made", optional: true, secret: true },
    tls: { is: { map: "text" }, about: "default: a certificate is made", optional: true, secret: true },
    running: match("boolean", "default: true"),
    patience: match("whole number", "seconds within which it has to be ready; default: 600"),
  },
  outputs: {
    identity: { is: "text", about: "another one for another VM" },
    api: { is: "text", about: "URL of the management API" },
    address: { is: "text", about: "of the management API" },
    ssh: match("text", "where it can be reached by SSH, if it has keys"),
    ca: { is: "text", about: "PEM that the API's certificate is checked by" },
    serverName: { is: "text", about: "the name in it" },
    fingerprint: { is: "text", about: "SHA-256 of the certificate, as its console shows it" },
  },
};

const applianceKeys: ResourceShape = {
  about: "Token and certificate for the seed of an appliance that others make the VM of.",
  inputs: { hostname: match("text", "the name in the certificate; default: the resource's own name") },
  outputs: {
    token: { is: "text", about: "of the API's admin", secret: true },
    certificate: { is: "text", about: "PEM" },
    privateKey: { is: "text", about: "PEM", secret: true },
    serverName: { is: "text", about: "the name in the certificate" },
    fingerprint: { is: "text", about: "SHA-256 of the certificate" },
  },
};

const siteConfiguration: ResourceShape = {
  about:
    "The configuration of a site that is there. Imported by the site's name. When it is removed, the site stays as it is.",
  inputs: {
    configuration: { is: options, about: "what site.yaml says; api and site.stateDir may be left out" },
    confirm: match(
      "whole number",
      "seconds within which the site has to be reached with it, or it goes back; default: 300",
    ),
  },
  outputs: { revision: { is: "text", about: "of what is in force, without its secret" } },
};

/** By type. */
export const resourceShapes: Readonly<Record<string, ResourceShape>> = {
  TofService: service,
  AppPackage: appPackage,
  MecApp: app,
  DnsRule: dnsRule,
  Appliance: appliance,
  ApplianceKeys: applianceKeys,
  SiteConfiguration: siteConfiguration,
};

/** Of the provider: which site, and how it is reached. */
export const settingShapes: Members = {
  api: match("text", "URL of the management API; absent: it makes appliances, and asks none"),
  token: { is: "text", about: "of a management user with role operator or admin", optional: true, secret: true },
  ca: match("text", "PEM of the authority of the API's certificate; absent: those of the system"),
  serverName: match("text", "name in the API's certificate; absent: that of api"),
  site: match("text", "which one it is; another one is another site, and all that is at it is made anew"),
  patience: match("number", "seconds for which a site that does not answer is asked again; default: 60"),
};
