/**
 * What does an application descriptor say (AppD, GS MEC 010-2 v3.1.1 §6.2.1; seed 000, Table 2)?
 *
 * Every attribute of the standard is kept and shown as it was given, with its type checked; v2 spellings are taken too, and
 * answered in v3's. What the platform acts on (rules, services, names, our own member) must be known to it, so that a
 * misspelt attribute is refused and not silently ignored. What it only carries (compute, storage, images, connection points)
 * may hold more than the standard names.
 *
 * One member is ours, `x-offramp`: how the app runs here. Without it an app whose image is in the package runs as a container,
 * any other on a machine of its own.
 */
import Type, { type Static, type TSchema } from "typebox";
import type { DNSRuleDescriptor, TrafficRuleDescriptor } from "./rules.ts";

const closed = { additionalProperties: false };
const optional = Type.Optional;

const text = (description: string, maxLength = 1024) => Type.String({ minLength: 1, maxLength, description });
const list = <T extends TSchema>(items: T, description: string, maxItems = 64) =>
  Type.Array(items, { description, maxItems });
/** Of which the platform only keeps what is said. */
const carried = <T extends Record<string, TSchema>>(members: T, description: string) =>
  Type.Object(members, { description });
/** Which the platform acts on. */
const known = <T extends Record<string, TSchema>>(members: T, description: string) =>
  Type.Object(members, { ...closed, description });
const strings = (description: string) => list(Type.String({ maxLength: 1024 }), description);
const pairs = (description: string) => Type.Record(Type.String(), Type.Unknown(), { description });

export const identifier = (description: string) =>
  Type.String({
    pattern: "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$",
    description: `${description}: 1 to 128 letters, digits, dots, colons, dashes or underscores, the first a letter or digit`,
  });

const checksum = carried(
  { algorithm: text("sha-256, …", 32), hash: Type.String({ maxLength: 256, description: "hexadecimal" }) },
  "ChecksumData",
);

/** §6.2.1.6; its twin SwImageDesc of NFV inside storage and containers is carried. */
export const swImageDescriptor = carried(
  {
    id: text("identifier of the image", 128),
    name: text("name of the image", 256),
    version: text("version of the image", 128),
    checksum: optional(checksum),
    containerFormat: optional(text("file format of the container", 64)),
    diskFormat: optional(text("file format of the disk", 64)),
    minDisk: optional(Type.Number({ minimum: 0, description: "GB" })),
    minRam: optional(Type.Number({ minimum: 0, description: "MB" })),
    size: optional(Type.Number({ minimum: 0, description: "bytes of the image file" })),
    swImage: Type.Unknown({ description: "path of the image in the package, or where it is otherwise" }),
    operatingSystem: optional(text("operating system of the image", 128)),
    supportedVirtualisationEnvironment: optional(strings("what the image runs in")),
  },
  "§6.2.1.6 SwImageDescriptor",
);

const virtualComputeDescriptor = carried(
  {
    virtualComputeDescId: optional(text("identifier", 128)),
    logicalNode: optional(Type.Unknown()),
    requestAdditionalCapabilities: optional(Type.Unknown()),
    computeRequirements: optional(Type.Unknown()),
    virtualCpu: carried(
      { numVirtualCpu: Type.Number({ minimum: 0, maximum: 1024, description: "vCPUs; a limit of the instance here" }) },
      "VirtualCpuData",
    ),
    virtualMemory: carried(
      {
        virtualMemSize: Type.Number({
          minimum: 0,
          maximum: 16_777_216,
          description: "MB; a limit of the instance here",
        }),
      },
      "VirtualMemoryData",
    ),
    virtualDisk: optional(Type.Unknown()),
  },
  "§6.2.1.5 VirtualComputeDescriptor: CPU, memory and acceleration",
);

const osContainerDescriptor = carried(
  {
    osContainerDescId: text("identifier", 128),
    name: optional(text("name", 256)),
    description: optional(Type.String({ maxLength: 4096 })),
    requestedCpuResources: optional(Type.Number({ minimum: 0, description: "millicores" })),
    requestedMemoryResources: optional(Type.Number({ minimum: 0, description: "MB" })),
    cpuResourceLimit: optional(Type.Number({ minimum: 0, description: "millicores; a limit of the instance here" })),
    memoryResourceLimit: optional(Type.Number({ minimum: 0, description: "MB; a limit of the instance here" })),
    swImageDesc: optional(Type.Unknown()),
  },
  "§6.2.1.30 OsContainerDescriptor",
);

const virtualStorageDescriptor = carried(
  {
    id: optional(text("identifier", 128)),
    typeOfStorage: optional(text("BLOCK, OBJECT or FILE", 32)),
  },
  "§6.2.1.7 VirtualStorageDescriptor",
);

const appExternalCpd = carried(
  {
    cpdId: optional(text("identifier", 128)),
    virtualNetworkInterfaceRequirements: optional(Type.Array(Type.Unknown())),
    additionalServiceData: optional(Type.Array(Type.Unknown())),
  },
  "§6.2.1.8 AppExternalCpd: an external connection point",
);

const categoryRef = known(
  { href: text("where the catalogue is"), id: text("identifier"), name: text("name"), version: text("version") },
  "§6.2.1.35 CategoryRef",
);

const securityInfo = carried({ oAuth2Info: optional(pairs("grant types, token endpoint")) }, "§6.2.1.17 SecurityInfo");

const transportDescriptor = known(
  {
    name: optional(text("name")),
    description: optional(Type.String({ maxLength: 4096 })),
    type: text("REST_HTTP, MB_TOPIC_BASED, MB_ROUTING, MB_PUBSUB, RPC, RPC_STREAMING, WEBSOCKET, …", 64),
    protocol: text("HTTP, …", 64),
    version: text("version of the protocol", 64),
    security: securityInfo,
    implSpecificInfo: optional(Type.Unknown()),
  },
  "§6.2.1.16 TransportDescriptor",
);

const serializers = list(text("JSON, XML, PROTOBUF3, …", 64), "serializers");

export const transportDependency = known(
  { transport: transportDescriptor, serializers, labels: strings("groups that the binding belongs to") },
  "§6.2.1.14 TransportDependency",
);

export const serviceDependency = known(
  {
    serName: text("name of the service", 256),
    serCategory: optional(categoryRef),
    version: text("version of the service", 64),
    serTransportDependencies: optional(list(transportDependency, "bindings, one of which is needed")),
    requestedPermissions: optional(list(Type.Unknown(), "permissions asked for")),
  },
  "§6.2.1.9 ServiceDependency",
);

export const serviceDescriptor = known(
  {
    serName: text("name of the service", 256),
    serCategory: optional(categoryRef),
    version: text("version of the service", 64),
    transportsSupported: optional(
      list(known({ transport: transportDescriptor, serializers }, "a binding"), "bindings that it offers"),
    ),
  },
  "§6.2.1.10 ServiceDescriptor",
);

export const featureDependency = known(
  { featureName: text("name of the feature", 256), version: text("version of the feature", 64) },
  "§6.2.1.11 FeatureDependency",
);

export const latencyDescriptor = known(
  { maxLatency: Type.Integer({ minimum: 0, maximum: 0xffff_ffff, description: "nanoseconds" }) },
  "§6.2.1.20 LatencyDescriptor",
);

const seconds = (description: string) =>
  Type.Number({ minimum: 0, maximum: 86_400, description: `seconds: ${description}` });

const terminateAppInstanceOpConfig = known(
  {
    minGracefulTerminationTimeout: seconds("a graceful termination gives at least this"),
    maxRecommendedGracefulTerminationTimeout: optional(seconds("a graceful termination needs no more")),
    parameter: optional(strings("parameters of the operation")),
  },
  "§6.2.1.21 TerminateAppInstanceOpConfig",
);

const changeAppInstanceStateOpConfig = known(
  {
    minGracefulStopTimeout: seconds("a graceful stop gives at least this"),
    maxRecommendedGracefulStopTimeout: optional(seconds("a graceful stop needs no more")),
    parameter: optional(strings("parameters of the operation")),
  },
  "§6.2.1.22 ChangeAppInstanceStateOpConfig",
);

export const userContextTransferCapability = known(
  { statefulApplication: Type.Boolean(), userContextTransferSupport: optional(Type.Boolean()) },
  "§6.2.1.32 UserContextTransferCapability",
);

export const appNetworkPolicy = known(
  {
    steeredNetwork: known(
      {
        cellularNetwork: optional(Type.Boolean()),
        "wi-fiNetwork": optional(Type.Boolean()),
        fixedAccessNetwork: optional(Type.Boolean()),
      },
      "SteeredNetwork",
    ),
  },
  "§6.2.1.33 AppNetworkPolicy",
);

const packagePath = (description: string) => Type.String({ minLength: 1, maxLength: 1024, description });

const runtime = known(
  {
    kind: optional(
      Type.Enum(["container", "unit", "external"], {
        description:
          "container: of an image in the package; unit: a program of the appliance; external: on a machine of its own on " +
          "the apps' network, which the platform neither starts nor stops",
      }),
    ),
    image: optional(text("id of the software image that runs; default: the first", 128)),
    command: optional(list(Type.String({ maxLength: 4096 }), "program and arguments; default: the image's", 256)),
    environment: optional(
      Type.Record(Type.String(), Type.String({ maxLength: 32_768 }), { description: "environment variables" }),
    ),
    files: optional(
      list(
        known(
          {
            source: packagePath("path of the file in the package"),
            path: Type.String({
              pattern: "^(/[A-Za-z0-9._+@-]{1,255})+$",
              maxLength: 1024,
              description: "an absolute path of letters, digits and . _ + @ -: where the instance sees the file",
            }),
          },
          "a file of the package that the instance reads",
        ),
        "read-only configuration",
      ),
    ),
    limits: optional(
      known(
        {
          cpu: optional(Type.Number({ minimum: 0.01, maximum: 1024, description: "cores, fractions of one too" })),
          memory: optional(Type.Integer({ minimum: 4_194_304, maximum: 2 ** 44, description: "bytes" })),
          pids: optional(Type.Integer({ minimum: 1, maximum: 32_768, description: "processes and threads" })),
        },
        "what the instance may use; default: what the standard's attributes say",
      ),
    ),
    egress: optional(Type.Boolean({ description: "it may reach the world; default: it may not" })),
  },
  "how the app runs here",
);

export const extension = known(
  {
    runtime: optional(runtime),
    addresses: optional(
      list(Type.String({ maxLength: 64 }), "of an external app: its addresses on the apps' network", 16),
    ),
  },
  "what only this platform knows",
);

/** Attributes that configure_platform_for_app may give instead of the AppD: GS MEC 010-2 §6.2.2 ConfigPlatformForAppRequest. */
export const configurable = {
  appServiceRequired: optional(list(serviceDependency, "services that it requires to run")),
  appServiceOptional: optional(list(serviceDependency, "services that it uses if there are any")),
  appServiceProduced: optional(list(serviceDescriptor, "services that it produces")),
  appFeatureRequired: optional(list(featureDependency, "features that it requires to run")),
  appFeatureOptional: optional(list(featureDependency, "features that it uses if there are any")),
  transportDependencies: optional(list(transportDependency, "transports that it needs to deliver its services")),
  appTrafficRule: optional(
    list(Type.Unknown(), "§6.2.1.9 TrafficRuleDescriptor: traffic rules that it requires", 1024),
  ),
  appDNSRule: optional(list(Type.Unknown(), "§6.2.1.13 DNSRuleDescriptor: DNS rules that it requires", 1024)),
  appLatency: optional(latencyDescriptor),
  userContextTransferCapability: optional(userContextTransferCapability),
  appNetworkPolicy: optional(appNetworkPolicy),
};

/** §6.2.2.33 */
export const configurationRequest = Type.Object(configurable, { ...closed, title: "ConfigPlatformForAppRequest" });

export const appD = Type.Object(
  {
    appDId: identifier("globally unique; identifies the package as well"),
    appName: text("name of the app", 256),
    appProvider: text("provider of the app and of the AppD; the tenant here", 256),
    appSoftVersion: text("version of the software", 128),
    appDVersion: text("version of the descriptor", 128),
    mecVersion: Type.String({
      pattern: "^\\d{1,5}\\.\\d{1,5}\\.\\d{1,5}(,\\d{1,5}\\.\\d{1,5}\\.\\d{1,5}){0,63}$",
      description: "a list of versions x.y.z, separated by commas",
    }),
    appInfoName: optional(text("name of the product for people", 256)),
    appDescription: text("description for people", 16_384),
    virtualComputeDescriptor: optional(virtualComputeDescriptor),
    osContainerDescriptor: optional(list(osContainerDescriptor, "containers that make the app")),
    swImageDescriptor: optional(list(swImageDescriptor, "software images")),
    virtualStorageDescriptor: optional(list(virtualStorageDescriptor, "virtual storage")),
    appExtCpd: optional(list(appExternalCpd, "external connection points")),
    ...configurable,
    terminateAppInstanceOpConfig: optional(terminateAppInstanceOpConfig),
    changeAppInstanceStateOpConfig: optional(changeAppInstanceStateOpConfig),
    mciopId: optional(text("identifier of the MCIOP in the package", 128)),
    mcioIdentificationData: optional(carried({}, "name and type of the MCIO")),
    logicalNode: optional(list(carried({}, "LogicalNodeRequirements"), "logical node requirements")),
    requestAdditionalCapabilities: optional(
      list(carried({}, "RequestedAdditionalCapabilityData"), "additional capabilities"),
    ),
    mcioConstraintParams: optional(strings("parameter names for constraints of MCIOs")),
    "x-offramp": optional(extension),
  },
  { ...closed, title: "AppD", description: "GS MEC 010-2 v3.1.1 §6.2.1.2" },
);

/** As it is shown: v3's form, rules in the spelling in which they were given. */
export type AppDDocument = Static<typeof appD>;

/** What the platform works with: rules in the spelling of GS MEC 011. */
export type AppD = Omit<AppDDocument, "appTrafficRule" | "appDNSRule"> & {
  appTrafficRule?: TrafficRuleDescriptor[];
  appDNSRule?: DNSRuleDescriptor[];
};

/** What configure_platform_for_app may say; the rest is the AppD's. */
export type Configuration = Pick<AppD, keyof typeof configurable>;
export type SwImageDescriptor = Static<typeof swImageDescriptor>;
export type ServiceDependency = Static<typeof serviceDependency>;
export type ServiceDescriptor = Static<typeof serviceDescriptor>;
export type TransportDependency = Static<typeof transportDependency>;
export type RuntimeSection = Static<typeof runtime>;
