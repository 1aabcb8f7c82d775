/**
 * How does a program say a whole site?
 *
 *   EdgeSite paris
 *     ├ Appliance paris          VM, networks and first configuration, in the place that the program says
 *     ├ Provider paris           all below is asked of the API of that appliance
 *     ├ TofService paris-www     services: { www: { … } }
 *     ├ AppPackage paris-cache, MecApp paris-cache     apps: { cache: { … } }
 *     └ DnsRule paris-shop       dns: { shop: { … } }
 *
 * What is decided is decided in pure functions (`documentOf`, appliance/); here it is made. Children are called by the site and by
 * the key that the program gives: other options, or other things beside them, never rename one.
 */
import * as pulumi from "@pulumi/pulumi";
import { siteNetworks } from "./appliance/addresses.ts";
import type { SiteDocument } from "./appliance/document.ts";
import type { Source } from "./appliance/file.ts";
import { type OpenStackPlace, openstackProblems, openstackSite } from "./appliance/openstack.ts";
import { type PlaceArgs, placeProblems } from "./appliance/places.ts";
import {
  type Adapters,
  documentProblems,
  hostnameProblems,
  type Management,
  type Problem,
} from "./appliance/user-data.ts";
import {
  Appliance,
  ApplianceKeys,
  AppPackage,
  DnsRule,
  type DnsRuleArgs,
  MecApp,
  type MecAppArgs,
  Provider,
  TofService,
  type TofServiceArgs,
} from "./resources.ts";

/** The package of an app, and one instance of it. */
export interface EdgeApp extends Omit<MecAppArgs, "package" | "instanceId"> {
  /** Path of the zip that `offramp app pack` has made. */
  archive: pulumi.Input<string>;
  sha256?: pulumi.Input<string>;
}

export interface EdgeSiteArgs {
  /** Where the appliance runs. */
  place: PlaceArgs | { openstack: OpenStackPlace };
  /** Absent where the place brings its own (`ssh`, `provided`). */
  image?: Source;
  /** The whole `site.yaml`. `api`, and what `networks` decides, may be left out. */
  configuration: SiteDocument;
  /** The site's own part of a range for all sites: addresses of apps and instances follow. */
  networks?: {
    /** `10.64.0.0/10` */
    base: string;
    /** Of this site, and of no other. */
    number: number;
  };
  /** MiB; default: 512. With OpenStack the flavor says. */
  memory?: number;
  vcpus?: number;
  adapters?: Adapters;
  management?: Management;
  /** Public keys that may log in; none: there is no SSH. */
  sshKeys?: readonly string[];
  /** Of the API's admin. Default: one is made. */
  token?: pulumi.Input<string>;
  /** Seconds within which the appliance has to be ready; default: 600. */
  patience?: number;
  /** By name. */
  services?: Readonly<Record<string, Omit<TofServiceArgs, "name">>>;
  /** By the id of the instance. */
  apps?: Readonly<Record<string, EdgeApp>>;
  /** Names that phones are answered at the site, by the rule's name. */
  dns?: Readonly<Record<string, Omit<DnsRuleArgs, "name">>>;
}

/** `site.yaml` with what `networks` decides, where it says nothing else. @throws InputPropertyError naming a member of `networks` */
export function documentOf({
  configuration,
  networks,
}: Pick<EdgeSiteArgs, "configuration" | "networks">): SiteDocument {
  if (!networks) return configuration;
  const { appliance, tof, platform } = inside("networks", () => siteNetworks(networks.base, networks.number));
  const { mep } = configuration;
  const apps = { interface: "apps0", address: appliance, ...configuration.apps };
  const instances = mep?.apps === undefined ? undefined : { tof, platform, ...(mep.apps as object) };
  return { ...configuration, apps, ...(mep && { mep: { ...mep, ...(instances && { apps: instances }) } }) };
}

/** Errors name the property as the program calls it. */
function inside<T>(path: string, decide: () => T): T {
  try {
    return decide();
  } catch (error) {
    if (!pulumi.InputPropertyError.isInstance(error)) throw error;
    throw new pulumi.InputPropertyError({ propertyPath: `${path}.${error.propertyPath}`, reason: error.reason });
  }
}

const known = [
  ...["place", "image", "configuration", "networks", "memory", "vcpus", "adapters", "management", "sshKeys", "token"],
  ...["patience", "services", "apps", "dns"],
];

function problemsOf(name: string, args: EdgeSiteArgs): Problem[] {
  const problems = Object.keys(args)
    .filter((property) => !known.includes(property))
    .map((property) => ({ path: property, reason: `is not known; a site has ${known.join(", ")}` }));
  problems.push(...hostnameProblems(name, "name"), ...documentProblems(args.configuration, "configuration"));
  if (!("openstack" in args.place)) return [...problems, ...placeProblems(args.place)];
  problems.push(...openstackProblems({ ...args.place.openstack }, "place.openstack"));
  if (args.image?.path === undefined || !/^[0-9a-f]{64}$/i.test(args.image.sha256)) {
    const reason = "must have path and sha256 here: it is checked before it is uploaded to OpenStack";
    problems.push({ path: "image", reason });
  }
  for (const property of ["memory", "vcpus", "adapters", "management", "token"] as const) {
    if (args[property] === undefined) continue;
    problems.push({ path: property, reason: "is decided by OpenStack here (flavor, ports), or made: leave it out" });
  }
  return problems;
}

/** A site with all that is at it. */
export class EdgeSite extends pulumi.ComponentResource {
  readonly appliance: Appliance;
  /** For more at the site: `new TofService(…, { provider: site.provider })`. */
  readonly provider: Provider;
  /** URL of the management API. */
  readonly api: pulumi.Output<string>;
  readonly address: pulumi.Output<string>;
  /** Of the API's admin. */
  readonly token: pulumi.Output<string>;
  /** PEM that the API's certificate is checked by, and the name in it. */
  readonly ca: pulumi.Output<string>;
  readonly serverName: pulumi.Output<string>;
  readonly fingerprint: pulumi.Output<string>;

  /**
   * @param name of the site, its VM and its host
   * @throws InputPropertiesError, InputPropertyError with the path of everything that is wrong
   */
  constructor(name: string, args: EdgeSiteArgs, options?: pulumi.ComponentResourceOptions) {
    super("offramp:index:EdgeSite", name, {}, options);
    const problems = problemsOf(name, args);
    if (problems.length > 0) {
      throw new pulumi.InputPropertiesError({
        message: `site ${name} cannot be made`,
        errors: problems.map(({ path, reason }) => ({ propertyPath: path, reason })),
      });
    }
    this.appliance = this.#appliance(name, args, documentOf(args));
    const { api, address, token, ca, serverName, fingerprint, identity } = this.appliance;
    this.api = api;
    this.address = address;
    this.token = pulumi.secret(token);
    this.ca = ca;
    this.serverName = serverName;
    this.fingerprint = fingerprint;
    this.provider = new Provider(name, { api, token, ca, serverName, site: identity }, { parent: this });
    this.#fill(name, args);
    this.registerOutputs({ api, address, token: this.token, ca, serverName, fingerprint });
  }

  #appliance(name: string, args: EdgeSiteArgs, configuration: SiteDocument): Appliance {
    const { place, image, memory, vcpus, adapters, management, sshKeys, token, patience } = args;
    // One that stood alone before, under the same name, is the same.
    const options = { parent: this, aliases: [{ parent: pulumi.rootStackResource }] };
    const common = { configuration, ...(patience !== undefined && { patience }) };
    if (!("openstack" in place)) {
      const machine = { place, image, memory, vcpus, adapters, management, sshKeys: sshKeys && [...sshKeys], token };
      return new Appliance(name, { ...machine, ...common }, options);
    }
    const keys = new ApplianceKeys(name, {}, { parent: this });
    const { path = "", sha256 = "" } = image ?? {};
    const site = { place: place.openstack, image: { path, sha256 }, configuration: pulumi.output(configuration), keys };
    const { api, server } = openstackSite(name, { ...site, sshKeys: sshKeys ?? [] }, this);
    const provided = pulumi.all([api, server.id]).apply(([url, id]) => ({ provided: { api: url, server: id } }));
    const tls = pulumi.all([keys.certificate, keys.privateKey]).apply(([cert, key]) => ({ cert, key }));
    return new Appliance(
      name,
      { place: provided, token: pulumi.secret(keys.token), tls: pulumi.secret(tls), ...common },
      options,
    );
  }

  /** What is at the site. With the VM it is gone, too: nobody has to be asked for it. */
  #fill(name: string, { services = {}, apps = {}, dns = {} }: EdgeSiteArgs): void {
    const options = { parent: this, provider: this.provider, deletedWith: this.appliance };
    for (const [key, service] of Object.entries(services)) {
      new TofService(`${name}-${key}`, { name: key, ...service }, options);
    }
    for (const [key, { archive, sha256, ...app }] of Object.entries(apps)) {
      const { packageId } = new AppPackage(`${name}-${key}`, { archive, sha256 }, options);
      new MecApp(`${name}-${key}`, { instanceId: key, package: packageId, ...app }, options);
    }
    for (const [key, rule] of Object.entries(dns)) new DnsRule(`${name}-${key}`, { name: key, ...rule }, options);
  }
}
