/**
 * What does a program say to get something at a site?
 *
 * Resources of the provider in provider/; each needs to know which site, from `new Provider("edge-7", { api, token })` or
 * from the configuration `offramp:api`, `offramp:token`, `offramp:ca`.
 */

import type { ResourceOptions } from "@pulumi/pulumi";
import {
  CustomResource,
  type CustomResourceOptions,
  type Input,
  type Output,
  output,
  ProviderResource,
  secret,
} from "@pulumi/pulumi";
import type { SiteDocument } from "./appliance/document.ts";
import type { Source } from "./appliance/file.ts";
import type { PlaceArgs } from "./appliance/places.ts";
import type { Adapters, Management, Tls } from "./appliance/user-data.ts";

/** Properties that the provider fills in have to be there for the program from the beginning. */
const outputs = (names: readonly string[]): Record<string, undefined> =>
  Object.fromEntries(names.map((name) => [name, undefined]));
/** Inputs that a state must not hold as they are, whatever the program has said of them. */
const kept = <Args extends object>(args: Args, names: readonly (keyof Args)[]): object =>
  Object.fromEntries(names.flatMap((name) => (args[name] === undefined ? [] : [[name, secret(args[name])]])));
const packageOutputs = ["packageId", "sha256", "appDId", "appName", "appProvider", "appSoftwareVersion"];
const appOutputs = ["instanceId", "appDId", "addresses", "external", "clientId", "clientSecret"];

const applianceOutputs = [
  ...["identity", "api", "address", "ssh"],
  ...["token", "ca", "privateKey", "serverName", "fingerprint"],
];

export interface ProviderArgs {
  /** URL of the management API: `https://edge-7.example.net:8090`. Absent: it makes appliances, and asks none. */
  api?: Input<string>;
  /** Of a management user with role operator or admin. Kept secret. */
  token?: Input<string>;
  /** PEM of the authority of the API's certificate; absent: those of the system. */
  ca?: Input<string>;
  /** Name in the API's certificate; absent: that of `api`. */
  serverName?: Input<string>;
  /** Which one it is; another one is another site, and all that is at it is made anew. */
  site?: Input<string>;
  /** Seconds for which a site that does not answer is asked again; default 60. */
  patience?: Input<number>;
}

/** One site, as resources name it with `{ provider }`. */
export class Provider extends ProviderResource {
  constructor(name: string, args: ProviderArgs, options: ResourceOptions = {}) {
    super("offramp", name, { ...args, ...kept(args, ["token"]) }, options);
  }
}

/** One value, or a list of which one has to hold. */
type OneOrMore<T> = T | T[];

/** The second form: docs/services.md says what each field matches, and which values it takes. */
export interface ServiceRules {
  priority: number;
  nw_src?: OneOrMore<string>;
  nw_dst?: OneOrMore<string>;
  protocol?: OneOrMore<string | number>;
  tp_dst?: OneOrMore<string | number>;
  tp_src?: OneOrMore<string | number>;
  nw_dscp?: OneOrMore<string | number>;
  in_port?: OneOrMore<string>;
  dl_src?: OneOrMore<string>;
  dl_dst?: OneOrMore<string>;
  dl_vlan?: OneOrMore<string | number>;
  tun_src?: OneOrMore<string>;
  tun_dst?: OneOrMore<string>;
  tun_id?: OneOrMore<string | number>;
  qfi?: OneOrMore<string | number>;
  gtpu_msgtype?: OneOrMore<string | number>;
  endpoint?: Input<string>;
  endpoints?: Input<Input<{ address: string; port?: number; weight?: number; drain?: boolean }>[]>;
  affinity?: "connection" | "ue";
  action?: "pass" | "drop";
  output?: { port: string; vlan?: number; mac?: string };
}

type TransitFunction = string | { address: string; encapsulation?: "vxlan" | "nsh" };

export interface TofServiceArgs {
  /** Default: the resource's own name. */
  name?: Input<string>;
  /** First form: address that UEs use. */
  serviceIP?: Input<string>;
  /** First form: address of the application at the edge. */
  applicationIP?: Input<string>;
  /** The application may speak to a UE first. */
  appInitiated?: Input<boolean>;
  /** Second form, instead of both addresses. */
  rules?: Input<ServiceRules>;
  chain?: Input<{ ue_net?: TransitFunction[]; net_ue?: TransitFunction[]; unreachable?: "bypass" | "block" }>;
  mirror?: Input<{ port: string; form?: "as-is" | "decapsulated" }>;
  rate?: Input<{ uplink?: string | number; downlink?: string | number }>;
  health?: Input<Record<string, unknown>>;
}

/** A service of the TOF Service API. Imported by its name. Another name is another service. */
export class TofService extends CustomResource {
  declare readonly name: Output<string>;

  constructor(name: string, args: TofServiceArgs, options?: CustomResourceOptions) {
    super("offramp:index:TofService", name, { ...outputs(["name"]), ...args }, options);
  }
}

export interface AppPackageArgs {
  /** Path of the zip that `offramp app pack` has made. */
  archive: Input<string>;
  /** SHA-256 of the zip in hexadecimal: another file is refused. Default: that of the file. */
  sha256?: Input<string>;
}

/** An app package that is onboarded. Imported by its id (appPkgId). Another content is another package. */
export class AppPackage extends CustomResource {
  declare readonly packageId: Output<string>;
  declare readonly sha256: Output<string>;
  declare readonly appDId: Output<string>;
  declare readonly appName: Output<string>;
  declare readonly appProvider: Output<string>;
  declare readonly appSoftwareVersion: Output<string>;

  constructor(name: string, args: AppPackageArgs, options?: CustomResourceOptions) {
    super("offramp:index:AppPackage", name, { ...outputs(packageOutputs), ...args }, options);
  }
}

export interface MecAppArgs {
  /** `packageId` of an AppPackage, or an appDId. */
  package: Input<string>;
  /** Default: the resource's own name. */
  instanceId?: Input<string>;
  description?: Input<string>;
  /** Of an app on a machine of its own: where it is on the apps' network. */
  addresses?: Input<Input<string>[]>;
  /** What configure_platform_for_app says instead of the AppD. */
  configuration?: Input<Record<string, unknown>>;
  /** Default: true. */
  running?: Input<boolean>;
  /** Seconds that the app has to say goodbye before it is stopped or removed; 0: none. Default: 30. */
  grace?: Input<number>;
}

/** An instance of an app. Imported by its id. */
export class MecApp extends CustomResource {
  declare readonly instanceId: Output<string>;
  declare readonly appDId: Output<string>;
  /** Toward the traffic offloading function. */
  declare readonly addresses: Output<string[]>;
  /** It runs on a machine of its own. */
  declare readonly external: Output<boolean>;
  declare readonly clientId: Output<string>;
  /** Of an external app; one that runs at the site has it from there. */
  declare readonly clientSecret: Output<string | undefined>;

  constructor(name: string, args: MecAppArgs, options?: CustomResourceOptions) {
    const additionalSecretOutputs = ["clientSecret", ...(options?.additionalSecretOutputs ?? [])];
    super("offramp:index:MecApp", name, { ...outputs(appOutputs), ...args }, { ...options, additionalSecretOutputs });
  }
}

export interface DnsRuleArgs {
  /** Default: the resource's own name. */
  name?: Input<string>;
  /** What phones ask for: `shop.example.com`. */
  domain: Input<string>;
  /** IPv4 and IPv6 that they are answered. */
  addresses: Input<Input<string>[]>;
  /** Seconds that they may keep the answer; default: 300. */
  ttl?: Input<number>;
  /** Default: ACTIVE. */
  state?: Input<"ACTIVE" | "INACTIVE">;
}

/** A name that is answered at the site, before apps' rules for it. Imported by its name. Another name is another rule. */
export class DnsRule extends CustomResource {
  declare readonly name: Output<string>;

  constructor(name: string, args: DnsRuleArgs, options?: CustomResourceOptions) {
    super("offramp:index:DnsRule", name, { ...outputs(["name"]), ...args }, options);
  }
}

export interface ApplianceArgs {
  /** Also the VM's, and its host name. Default: the resource's own name. */
  name?: Input<string>;
  /** Where it runs. */
  place: Input<PlaceArgs>;
  /** Absent where the place brings its own (`ssh`, `provided`). */
  image?: Input<Source>;
  /** MiB; default: 512. */
  memory?: Input<number>;
  /** Default: 1. */
  vcpus?: Input<number>;
  /** The whole `site.yaml`; `api` may be left out. */
  configuration: Input<SiteDocument>;
  /** MAC addresses. Default: made from the name, always the same. */
  adapters?: Input<Adapters>;
  /** Default: DHCP. */
  management?: Input<Management>;
  /** Public keys that may log in; none: there is no SSH. */
  sshKeys?: Input<Input<string>[]>;
  /** Of the API's admin. Default: one is made. Kept secret. */
  token?: Input<string>;
  /** Default: a certificate is made. Kept secret. */
  tls?: Input<Tls>;
  /** Default: true. */
  running?: Input<boolean>;
  /** Seconds within which it has to be ready; default: 600. */
  patience?: Input<number>;
}

/**
 * An appliance with its VM, ready when it is there. Imported by `<name>|qemu|<folder>`. Another configuration or size is a change
 * of this one; another image, place or network is another appliance, and the old one goes first.
 */
export class Appliance extends CustomResource {
  declare readonly name: Output<string>;
  /** Another one for another VM. */
  declare readonly identity: Output<string>;
  /** URL of the management API. */
  declare readonly api: Output<string>;
  declare readonly address: Output<string>;
  /** Where it can be reached by SSH, if it has keys: `127.0.0.1:2222`. */
  declare readonly ssh: Output<string | undefined>;
  /** Of the API's admin. */
  declare readonly token: Output<string>;
  /** PEM that the API's certificate is checked by, */
  declare readonly ca: Output<string>;
  /** and the name in it. */
  declare readonly serverName: Output<string>;
  /** SHA-256 of the certificate, as its console shows it. */
  declare readonly fingerprint: Output<string>;

  constructor(name: string, args: ApplianceArgs, options?: CustomResourceOptions) {
    const additionalSecretOutputs = ["token", "privateKey", "tls", ...(options?.additionalSecretOutputs ?? [])];
    super(
      "offramp:index:Appliance",
      name,
      { ...outputs(["name", ...applianceOutputs]), ...args, ...kept(args, ["token", "tls"]) },
      { ...options, additionalSecretOutputs },
    );
  }
}

const keyOutputs = ["token", "certificate", "privateKey", "serverName", "fingerprint"];

export interface ApplianceKeysArgs {
  /** Of the appliance; the name in the certificate. Default: the resource's own name. */
  hostname?: Input<string>;
}

/** Token and certificate for the seed of an appliance that others make the VM of. */
export class ApplianceKeys extends CustomResource {
  declare readonly hostname: Output<string>;
  /** Of the API's admin. */
  declare readonly token: Output<string>;
  /** PEM. */
  declare readonly certificate: Output<string>;
  declare readonly privateKey: Output<string>;
  declare readonly serverName: Output<string>;
  declare readonly fingerprint: Output<string>;

  constructor(name: string, args: ApplianceKeysArgs = {}, options?: CustomResourceOptions) {
    const secret = {
      ...options,
      additionalSecretOutputs: ["token", "privateKey", ...(options?.additionalSecretOutputs ?? [])],
    };
    super("offramp:index:ApplianceKeys", name, { ...outputs(["hostname", ...keyOutputs]), ...args }, secret);
  }
}

export interface SiteConfigurationArgs {
  /** The whole `site.yaml`; `api` and `site.stateDir` may be left out, and stay as the appliance has them. */
  configuration: Input<SiteDocument>;
  /** Seconds within which the site has to be reached with it, or it goes back by itself; default: 300. */
  confirm?: Input<number>;
}

/** The configuration of a site that is there. Imported by the site's name. When it is removed, the site stays as it is. */
export class SiteConfiguration extends CustomResource {
  declare readonly configuration: Output<SiteDocument>;
  /** Of what is in force, without its secret. */
  declare readonly revision: Output<string>;

  constructor(name: string, args: SiteConfigurationArgs, options?: CustomResourceOptions) {
    const configuration = output(args.configuration).apply((document) =>
      document.api?.token === undefined ? document : secret(document),
    );
    super("offramp:index:SiteConfiguration", name, { ...outputs(["revision"]), ...args, configuration }, options);
  }
}
