/**
 * How does an appliance run in an OpenStack?
 *
 *   external network ── router ── management ──┐ floating address, security group
 *   base stations ──── access ─────────────────┤ mgmt0
 *   gateway ────────── core ───────────────────┤ acc0  cor0   appliance (Nova), seed on a config drive
 *   apps ───────────── apps ───────────────────┘ apps0
 *
 * Networks are made unless they are named. Ports on the wires and toward the apps have no port security: the appliance hands on
 * frames of others, which Neutron would drop as spoofed. MAC addresses are Neutron's own choice; the seed names them.
 */
import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import type { SiteDocument } from "./document.ts";
import { verified } from "./file.ts";
import { type Problem, renderUserData, unknownOf } from "./user-data.ts";

export interface OpenStackPlace {
  /** Name of the flavor: 512 MB of memory, a disk of 4 GB or more. */
  flavor: string;
  /** Network that floating addresses are from. */
  externalNetwork: string;
  /** Prefixes that may reach the API, and SSH where there are keys. */
  administrators: readonly string[];
  /** Makes a project of this name for all of it, which needs an administrator of OpenStack. Default: that of the credentials. */
  project?: string;
  /** Prefix of the management network. Default: `192.168.127.0/24`. */
  management?: string;
  /** Ids of networks that are there, as provider networks toward base stations and gateway are. Default: made. */
  networks?: { access?: pulumi.Input<string>; core?: pulumi.Input<string>; apps?: pulumi.Input<string> };
  availabilityZone?: string;
}

export interface Keys {
  token: pulumi.Output<string>;
  certificate: pulumi.Output<string>;
  privateKey: pulumi.Output<string>;
}

export interface OpenStackArgs {
  place: OpenStackPlace;
  /** At the machine that Pulumi runs on, so that its hash can be checked before it is uploaded. */
  image: { path: string; sha256: string };
  configuration: pulumi.Output<SiteDocument>;
  sshKeys: readonly string[];
  keys: Keys;
}

/** What was made, as far as others need it. */
export interface OpenStackSite {
  server: openstack.compute.Instance;
  /** URL of the management API. */
  api: pulumi.Output<string>;
}

const apiPort = 8090;
const sshPort = 22;
const wires = { acc0: "access", cor0: "core", apps0: "apps" } as const;

/** Makes all of it, below `parent`. */
export function openstackSite(name: string, args: OpenStackArgs, parent: pulumi.Resource): OpenStackSite {
  const { place, sshKeys, keys } = args;
  const options = { parent };
  const project = place.project && new openstack.identity.Project(name, { name: place.project }, options);
  const tenant = project ? { tenantId: project.id } : {};
  const management = managementNetwork(name, place, tenant, options);
  const group = securityGroup(name, place, sshKeys.length > 0, tenant, options);
  const mgmt0 = new openstack.networking.Port(
    `${name}-mgmt0`,
    {
      ...tenant,
      networkId: management.network.id,
      fixedIps: [{ subnetId: management.subnet.id }],
      securityGroupIds: [group.id],
    },
    options,
  );
  const ports = Object.entries(wires).map(([adapter, wire]) => ({
    adapter,
    port: wirePort(name, adapter, wire, place, tenant, options),
  }));
  const floating = new openstack.networking.FloatingIp(
    `${name}-address`,
    { ...tenant, pool: place.externalNetwork, portId: mgmt0.id },
    // Without a router there is no way to it.
    { parent, dependsOn: [management.route] },
  );
  const all = [{ adapter: "mgmt0", port: mgmt0 }, ...ports];
  const adapters = pulumi.all(Object.fromEntries(all.map(({ adapter, port }) => [adapter, port.macAddress])));
  const { token, certificate, privateKey } = keys;
  const userData = pulumi.secret(
    pulumi
      .all([adapters, args.configuration, token, certificate, privateKey])
      .apply(([macs, site, secret, cert, key]) =>
        renderUserData({
          hostname: name,
          sshAuthorizedKeys: sshKeys,
          site: site as SiteDocument,
          adapters: macs,
          token: secret,
          tls: { cert, key },
        }),
      ),
  );
  const image = new openstack.images.Image(
    `${name}-image`,
    {
      name: `offramp-${args.image.sha256.slice(0, 12)}`,
      containerFormat: "bare",
      diskFormat: "qcow2",
      properties: { hw_watchdog_action: "reset" },
      localFilePath: verified(args.image),
    },
    options,
  );
  const server = new openstack.compute.Instance(
    name,
    {
      name,
      flavorName: place.flavor,
      imageId: image.id,
      networks: all.map(({ port }) => ({ port: port.id })),
      configDrive: true,
      userData,
      stopBeforeDestroy: true,
      ...(place.availabilityZone !== undefined && { availabilityZone: place.availabilityZone }),
    },
    // The seed is read at the first boot alone: what changes later goes over the API.
    { parent, ignoreChanges: ["userData"], additionalSecretOutputs: ["userData"] },
  );
  const api = pulumi.all([floating.address, server.id]).apply(([address]) => `https://${address}:${apiPort}`);
  return { server, api };
}

const prefix = /^[0-9a-f.:]+\/\d{1,3}$/i;

export function openstackProblems(given: Record<string, unknown>, path: string): Problem[] {
  const known = [
    "flavor",
    "externalNetwork",
    "administrators",
    "project",
    "management",
    "networks",
    "availabilityZone",
  ];
  const problems = unknownOf(given, known, path);
  for (const name of ["flavor", "externalNetwork"]) {
    if (typeof given[name] !== "string" || given[name] === "") {
      problems.push({ path: `${path}.${name}`, reason: "is required: a name that OpenStack knows" });
    }
  }
  const { administrators, management = "192.168.127.0/24", networks = {} } = given;
  if (!Array.isArray(administrators) || administrators.length === 0) {
    problems.push({ path: `${path}.administrators`, reason: "is required: prefixes that may reach the API" });
  } else {
    administrators.forEach((one, index) => {
      if (prefix.test(String(one))) return;
      problems.push({ path: `${path}.administrators[${index}]`, reason: "must be a prefix such as 192.0.2.0/24" });
    });
  }
  if (!prefix.test(String(management))) {
    problems.push({ path: `${path}.management`, reason: "must be a prefix such as 192.168.127.0/24" });
  }
  return [...problems, ...unknownOf(networks as Record<string, unknown>, Object.values(wires), `${path}.networks`)];
}

type Tenant = { tenantId?: pulumi.Output<string> };
type Options = { parent: pulumi.Resource };

function managementNetwork(name: string, place: OpenStackPlace, tenant: Tenant, options: Options) {
  const network = new openstack.networking.Network(`${name}-management`, { ...tenant }, options);
  const cidr = place.management ?? "192.168.127.0/24";
  const subnet = new openstack.networking.Subnet(
    `${name}-management`,
    { ...tenant, networkId: network.id, cidr },
    options,
  );
  const external = openstack.networking.getNetworkOutput({ name: place.externalNetwork, external: true }, options);
  const router = new openstack.networking.Router(
    `${name}-router`,
    { ...tenant, externalNetworkId: external.id },
    options,
  );
  const route = new openstack.networking.RouterInterface(
    `${name}-router`,
    { routerId: router.id, subnetId: subnet.id },
    options,
  );
  return { network, subnet, route };
}

function securityGroup(name: string, place: OpenStackPlace, ssh: boolean, tenant: Tenant, options: Options) {
  const description = "API and SSH of the appliance, for administrators";
  const group = new openstack.networking.SecGroup(`${name}-management`, { ...tenant, description }, options);
  for (const port of ssh ? [apiPort, sshPort] : [apiPort]) {
    for (const prefix of place.administrators) {
      new openstack.networking.SecGroupRule(
        `${name}-${port}-${prefix.replaceAll(":", ".")}`,
        {
          ...tenant,
          securityGroupId: group.id,
          direction: "ingress",
          ethertype: prefix.includes(":") ? "IPv6" : "IPv4",
          protocol: "tcp",
          portRangeMin: port,
          portRangeMax: port,
          remoteIpPrefix: prefix,
        },
        options,
      );
    }
  }
  return group;
}

function wirePort(
  name: string,
  adapter: string,
  wire: keyof NonNullable<OpenStackPlace["networks"]>,
  place: OpenStackPlace,
  tenant: Tenant,
  options: Options,
) {
  const networkId =
    place.networks?.[wire] ??
    new openstack.networking.Network(`${name}-${wire}`, { ...tenant, portSecurityEnabled: false }, options).id;
  const open = { portSecurityEnabled: false, noSecurityGroups: true, noFixedIp: true };
  return new openstack.networking.Port(`${name}-${adapter}`, { ...tenant, networkId, ...open }, options);
}
