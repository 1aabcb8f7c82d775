/**
 * What may stand in `site.yaml`?
 *
 * One declarative table: names, types, defaults and what each is for. `offramp check --schema` prints it as JSON schema
 * (draft 2020-12) for editors. What needs more than one member to judge is in checks.ts.
 */
import Type, { type Static, type TSchema } from "typebox";

/** The default that the table has for a member of `limits`, `dataplanes[]` and so on. */
export const defaults = {
  limits: {
    sessions: 65_536,
    flows: 262_144,
    rules: 16_384,
    learnRate: 1000,
    learnBurst: 4096,
    ueFlows: 4096,
  },
  idleTimeout: "300s",
  interval: "200ms",
  giveUp: "5s",
  listen: "127.0.0.1:8090",
  liveness: { shortest: "1s", longest: "1h", usual: "30s" },
  vxlan: { port: 4789, gpePort: 4790, vniBase: 4096 },
  tokenLifetime: "1h",
  mp1Rates: { app: 200, address: 500, token: 5 },
} as const;

const object = <T extends Record<string, TSchema>>(members: T, description: string) =>
  Type.Object(members, { additionalProperties: false, description });

/** `300s`, `200ms`, `5m`, `1h`. */
export const durationPattern = "^[0-9]{1,9}(ms|s|m|h)$";
const duration = (description: string, standard?: string) =>
  Type.String({ pattern: durationPattern, description, ...(standard && { default: standard }) });

const adapter = (description: string) =>
  // IFNAMSIZ less the closing zero; the kernel refuses / and blanks, and : belongs to aliases.
  Type.String({ pattern: "^(?!\\.{1,2}$)[^/:\\s]{1,15}$", description });
const prefixes = (description: string) =>
  Type.Array(Type.String({ maxLength: 64 }), { description, default: [], maxItems: 4096 });
const address = (description: string) => Type.String({ maxLength: 64, description });
const socket = (description: string, standard?: string) =>
  Type.String({ maxLength: 64, description, ...(standard && { default: standard }) });
const count = (description: string, standard: number, minimum: number, maximum: number) =>
  Type.Integer({ minimum, maximum, default: standard, description });
const name = (description: string) => Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", description });
const file = (description: string) => Type.String({ minLength: 1, maxLength: 4096, description });

const pinger = object(
  {
    target: Type.Optional(address("IPv4 address behind the core that answers ICMP echo")),
    target6: Type.Optional(address("IPv6 address behind the core that answers ICMP echo")),
    interval: Type.Optional(duration("between two echo requests of one UE", "200ms")),
    giveUp: Type.Optional(duration("after this long without an answer the UE's traffic goes to the core", "5s")),
  },
  "makes the core reveal a UE's downlink tunnel",
);

const dataplane = object(
  {
    name: name("unique"),
    plugin: Type.Optional(
      Type.Enum(["gtp", "ethernet"], {
        default: "gtp",
        description: "what the wire carries: GTP-U, or plain Ethernet",
      }),
    ),
    backend: Type.Optional(Type.Enum(["ebpf", "ovs"], { default: "ebpf", description: "what forwards" })),
    access: Type.Optional(adapter("adapter toward the base stations")),
    core: Type.Optional(adapter("adapter toward the core")),
    adapter: Type.Optional(
      adapter("one shared adapter, instead of access and core; then both peer lists are required"),
    ),
    accessPeers: Type.Optional(prefixes("only base stations in these teach tunnels; absent: any")),
    corePeers: Type.Optional(prefixes("only gateways in these teach tunnels; absent: any")),
    uePools: Type.Optional(prefixes("only UE addresses in these are learnt; absent: any")),
    idleTimeout: Type.Optional(duration("tunnels idle for this long are purged", "300s")),
    pinger: Type.Optional(pinger),
    interface: Type.Optional(
      Type.Enum(["s1u", "n3"], { default: "s1u", description: "n3 brings the PDU Session Container" }),
    ),
    mode: Type.Optional(
      Type.Enum(["offload", "observe", "bypass"], {
        default: "offload",
        description: "observe learns and counts but takes nothing; bypass passes everything",
      }),
    ),
  },
  "one wire between base stations or stations and core",
);

const limits = object(
  {
    sessions: Type.Optional(count("UE addresses known at a time", 65536, 16, 16_777_216)),
    flows: Type.Optional(count("taken or judged flows at a time", 262_144, 16, 67_108_864)),
    rules: Type.Optional(count("rules of all services", 16_384, 1, 65_535)),
    peerSessions: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 16_777_216,
        description: "sessions that one base station or gateway may teach; default: half of sessions",
      }),
    ),
    learnRate: Type.Optional(count("new tunnels per second and peer", 1000, 1, 1_000_000)),
    learnBurst: Type.Optional(count("new tunnels at once and peer", 4096, 1, 1_000_000)),
    ueFlows: Type.Optional(count("flows of one UE", 4096, 1, 1_000_000)),
  },
  "sizes of the tables; memory follows",
);

const tlsMembers = {
  cert: file("certificate chain, PEM"),
  key: file("private key, PEM"),
};
const tls = object(
  { ...tlsMembers, clientCa: Type.Optional(file("clients need a certificate of this authority, PEM")) },
  "TLS 1.2 or later",
);
const mp1Tls = object(
  {
    ...tlsMembers,
    clientCa: Type.Optional(file("apps may prove themselves with a certificate of this authority, PEM")),
    ca: Type.Optional(file("apps are given this authority, PEM, to check cert by; absent: their systems know it")),
  },
  "TLS 1.2 or later; absent: Mp1 makes itself a certificate",
);

const api = object(
  {
    listen: Type.Optional(socket("address:port; anything but loopback needs tls and a token", "127.0.0.1:8090")),
    tls: Type.Optional(tls),
    token: Type.Optional(
      Type.String({ minLength: 16, maxLength: 4096, pattern: "^[!-~]+$", description: "bearer token" }),
    ),
    tokenFile: Type.Optional(file("file whose first line is the bearer token")),
    loopback: Type.Optional(
      Type.Enum(["admin", "none"], {
        description:
          "what whoever is on this machine may do without a token; default: admin where the API listens on loopback and has neither token nor tls.clientCa",
      }),
    ),
  },
  "Service API, management, metrics",
);

const vxlan = object(
  {
    address: address("IPv4 address of the apps' network that nobody has: functions of chains send there"),
    address6: Type.Optional(address("the same for functions with IPv6 addresses")),
    port: Type.Optional(count("UDP port of VXLAN (RFC 7348)", 4789, 1, 65_535)),
    gpePort: Type.Optional(count("UDP port of VXLAN-GPE, which carries NSH (RFC 8300)", 4790, 1, 65_535)),
    vniBase: Type.Optional(count("network identifiers are counted from here", 4096, 1, 14_000_000)),
  },
  "our end of the tunnels to the functions of chains",
);

const transport = object(
  {
    id: name("by which services name it; unique"),
    name: Type.String({ minLength: 1, maxLength: 256, description: "for people" }),
    description: Type.Optional(Type.String({ maxLength: 4096 })),
    type: Type.Enum(["REST_HTTP", "MB_TOPIC_BASED", "MB_ROUTING", "MB_PUBSUB", "RPC", "RPC_STREAMING", "WEBSOCKET"], {
      description: "TransportType of GS MEC 011 §8.1.6.4",
    }),
    protocol: Type.String({ minLength: 1, maxLength: 64, description: "MQTT, for example" }),
    version: Type.String({ minLength: 1, maxLength: 64, description: "of the protocol, in quotes" }),
    uris: Type.Array(Type.String({ pattern: "^[!-~]{1,2048}$", description: "a URI without blanks" }), {
      minItems: 1,
      maxItems: 16,
      description: "where it is",
    }),
  },
  "what apps may exchange messages by",
);

const mep = object(
  {
    mp1: Type.Optional(
      object(
        {
          listen: socket("address:port toward the apps"),
          tls: Type.Optional(mp1Tls),
          insecure: Type.Optional(
            Type.Boolean({ default: false, description: "plain HTTP: for laboratories only (GS MEC 011 forbids it)" }),
          ),
          tokenLifetime: Type.Optional(
            duration("for which an access token is good, 1m to 24h", defaults.tokenLifetime),
          ),
          rates: Type.Optional(
            object(
              {
                app: Type.Optional(count("of one app", defaults.mp1Rates.app, 1, 1_000_000)),
                address: Type.Optional(count("of one address", defaults.mp1Rates.address, 1, 1_000_000)),
                token: Type.Optional(count("for tokens, of one address", defaults.mp1Rates.token, 1, 1_000_000)),
              },
              "requests a second; what comes faster is answered 429",
            ),
          ),
        },
        "reference point Mp1; without tls it makes itself a certificate",
      ),
    ),
    dns: Type.Optional(
      object(
        {
          listen: socket("address:port toward the apps"),
          upstream: Type.Optional(Type.Array(address("resolver for names of others"), { default: [], maxItems: 16 })),
        },
        "name server of the platform",
      ),
    ),
    apps: Type.Optional(
      object(
        {
          tof: address("IPv4 prefix: addresses of instances toward the traffic offloading function"),
          platform: address("IPv4 prefix: addresses of instances toward the platform"),
          egress: Type.Optional(adapter("adapter by which instances reach the world, where their package asks for it")),
        },
        "networks of app instances that run on the appliance; absent: none do",
      ),
    ),
    rules: Type.Optional(
      object(
        {
          initial: Type.Optional(
            Type.Enum(["ACTIVE", "INACTIVE"], {
              default: "INACTIVE",
              description: "state of an instance's rules once it is ready, until it says otherwise",
            }),
          ),
        },
        "traffic and DNS rules of apps",
      ),
    ),
    liveness: Type.Optional(
      object(
        {
          shortest: Type.Optional(duration("shortest interval between heartbeats of a service", "1s")),
          longest: Type.Optional(duration("longest interval", "1h")),
          usual: Type.Optional(duration("for apps that leave it to the platform", "30s")),
        },
        "heartbeats of services that offer them, in whole seconds",
      ),
    ),
    timing: Type.Optional(
      object(
        {
          ntpServers: Type.Optional(
            Type.Array(
              Type.String({ pattern: "^[A-Za-z0-9:._-]{1,253}$", description: "address or name of an NTP server" }),
              { maxItems: 16, description: "told to apps; default: those of chrony or systemd-timesyncd" },
            ),
          ),
        },
        "time",
      ),
    ),
    transports: Type.Optional(
      Type.Array(transport, { maxItems: 32, description: "beside the platform's own REST: brokers of this site" }),
    ),
    packages: Type.Optional(
      object(
        {
          keys: Type.Optional(
            Type.Array(
              object(
                {
                  name: name("as packages show it"),
                  key: Type.String({
                    pattern: "^[A-Za-z0-9+/_-]{43}=?$",
                    description: "Ed25519 public key: the base64 of its 32 octets",
                  }),
                },
                "who signs packages",
              ),
              { default: [], maxItems: 64 },
            ),
          ),
        },
        "app packages; with keys, only those that one of them has signed are taken",
      ),
    ),
    notifications: Type.Optional(
      object(
        {
          ca: Type.Optional(
            file("certificates (PEM) that callbacks of apps are checked by, beside those of the system; absolute"),
          ),
        },
        "how apps are told what happens",
      ),
    ),
  },
  "MEC platform",
);

export const siteSchema = Type.Object(
  {
    site: object(
      { name: name("of the site"), stateDir: file("directory of the store; absolute") },
      "what this appliance is called and where it remembers",
    ),
    dataplanes: Type.Array(dataplane, { minItems: 1, maxItems: 32, description: "any number; names are unique" }),
    limits: Type.Optional(limits),
    protect: Type.Optional(
      prefixes("UE traffic to these is dropped, by name; the appliance's own addresses always are"),
    ),
    apps: Type.Optional(
      object(
        {
          interface: adapter("adapter toward the apps"),
          address: address("the appliance's IPv4 address there, with prefix length"),
          address6: Type.Optional(address("the appliance's IPv6 address there, with prefix length")),
        },
        "where the apps are",
      ),
    ),
    vxlan: Type.Optional(vxlan),
    api: Type.Optional(api),
    mep: Type.Optional(mep),
  },
  { $schema: "https://json-schema.org/draft/2020-12/schema", title: "Offramp site", additionalProperties: false },
);

/** `site.yaml` as it is written. */
export type SiteFile = Static<typeof siteSchema>;
export type DataplaneSection = SiteFile["dataplanes"][number];
