/**
 * What do the bodies of the Service API and of the management API look like?
 *
 * These schemas make /openapi.json, and the tests hold every answer against them. Bodies of services are judged by
 * intents/validate.ts instead, which can say more; queries and the small bodies are judged by these.
 */
import Type from "typebox";
import { siteSchema } from "../config/schema.ts";
import { service } from "./service-schemas.ts";

const text = (description: string) => Type.String({ description });
const closed = { additionalProperties: false };
const whole = Type.Integer({ minimum: 0 });

export { service };
export const services = Type.Array(service);

export const packet = Type.Object(
  {
    source: Type.Optional(text("the UE")),
    destination: Type.Optional(Type.String()),
    protocol: Type.Optional(whole),
    sourcePort: Type.Optional(whole),
    destinationPort: Type.Optional(whole),
    dscp: Type.Optional(whole),
    dataplane: Type.Optional(Type.String()),
    vlan: Type.Optional(whole),
    innerVlan: Type.Optional(whole),
    sourceMac: Type.Optional(Type.String()),
    destinationMac: Type.Optional(Type.String()),
    baseStation: Type.Optional(Type.String()),
    gateway: Type.Optional(Type.String()),
    teid: Type.Optional(whole),
    qfi: Type.Optional(whole),
    message: Type.Optional({ ...whole, description: "GTP-U message type other than 255" }),
  },
  {
    ...closed,
    title: "Packet",
    description: "A packet on the uplink that shows something; what may be anything is absent",
  },
);

export const problem = Type.Object(
  {
    type: text("/problems/<code>"),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.Optional(Type.String()),
    instance: Type.Optional(Type.String()),
    errors: Type.Optional(Type.Array(Type.Object({ field: Type.String(), message: Type.String() }, closed))),
    services: Type.Optional(Type.Array(Type.String())),
    dataplanes: Type.Optional(Type.Array(Type.String())),
    packet: Type.Optional(packet),
    object: Type.Optional(Type.String()),
    until: Type.Optional(text("when the change that waits to be confirmed takes itself back")),
    retryAfter: Type.Optional({ ...whole, description: "seconds after which to ask again" }),
  },
  { ...closed, title: "Problem", description: "RFC 9457" },
);

/** A problem document as an answer. */
export const answer = (description: string) => ({
  description,
  content: { "application/problem+json": { schema: problem } },
});

/** What every route may answer beside its own. */
export const commonProblems = {
  400: answer("The request is not valid"),
  401: answer("A valid bearer token is needed"),
  403: answer("Not allowed; says what would be needed"),
  429: answer("Too many requests; Retry-After says how many seconds to wait"),
  500: answer("Internal error"),
};
export const notFound = { 404: answer("Not found") };
export const conflict = {
  409: answer("Conflict: same name, same match, ambiguous priority; or another change waits to be confirmed"),
};
export const refused = { 503: answer("The data plane or the store refused; nothing has changed") };
/** Of a request that changes one service. */
export const changedService = { 200: service, ...commonProblems, ...notFound, ...conflict, ...refused };
export const notInRelease = { 501: answer("Not in this release") };

export const serviceName = Type.Object({ name: text("name of the service") }, closed);
export const serviceNameOrAddress = Type.Object({ name: text("name, or service IP") }, closed);
const flag = Type.Enum(["true", "false"]);
export const removeQuery = Type.Object(
  { flush: Type.Optional({ ...flag, description: "true: end its flows at once instead of letting them finish" }) },
  closed,
);

export const nothing = Type.Object({}, closed);
export const dataplaneName = Type.Object({ name: text("name of the data plane") }, closed);

export const sessionsQuery = Type.Object(
  {
    ue: Type.Optional(Type.String({ maxLength: 64, description: "UE address" })),
    teid: Type.Optional(
      Type.String({ pattern: "^(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10})$", description: "tunnel id, decimal or 0x…" }),
    ),
    dataplane: Type.Optional(Type.String({ maxLength: 64 })),
    offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1e9, default: 0 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000, default: 100 })),
  },
  closed,
);

const bearer = Type.Object(
  {
    direction: Type.Enum(["uplink", "downlink"]),
    teid: text("0x and eight digits"),
    baseStation: Type.String(),
    gateway: Type.String(),
    vlans: Type.Array(whole),
    state: Type.Enum(["live", "stale", "candidate"]),
    qfi: Type.Optional(whole),
    overhead: { ...whole, description: "octets that the tunnel adds" },
    dscp: Type.Optional(whole),
  },
  closed,
);

const vlans = Type.Array(whole, { description: "outermost first" });
const station = Type.Object(
  {
    mac: text("MAC address that its packets come from"),
    gatewayMac: text("MAC address that it sends to, and that replies come from"),
    vlans,
    claim: Type.Optional({
      ...Type.Object({ mac: Type.String(), vlans }, closed),
      description: "another MAC address that has used the client's address, unconfirmed by the core side",
    }),
  },
  { ...closed, description: "plug-in ethernet: where the client is, instead of base station, gateway and bearers" },
);

export const session = Type.Object(
  {
    dataplane: Type.String(),
    ue: Type.String(),
    index: whole,
    epoch: whole,
    baseStation: Type.Optional(Type.String()),
    gateway: Type.Optional(Type.String()),
    station: Type.Optional(station),
    state: Type.Enum(["up", "half-open", "holding", "moving", "aside"]),
    bearers: Type.Array(bearer),
    flows: whole,
    idle: Type.Number({ description: "seconds since the last packet" }),
    age: Type.Number({ description: "seconds since it was learnt" }),
  },
  closed,
);

export const sessions = Type.Object(
  { total: whole, offset: whole, limit: whole, sessions: Type.Array(session) },
  closed,
);

export const mode = Type.Enum(["offload", "observe", "bypass"]);
export const modeBody = Type.Object(
  {
    mode: Type.Enum(["offload", "observe", "bypass", "configured"], {
      description: "kept over restarts; configured: forget what was set, do what site.yaml says",
    }),
  },
  closed,
);

export const dataplane = Type.Object(
  {
    name: Type.String(),
    plugin: Type.Enum(["gtp", "ethernet"]),
    mode,
    configuredMode: mode,
    origin: Type.Enum(["site.yaml", "api"], { description: "who named it" }),
    ports: Type.Array(
      Type.Object(
        {
          adapter: Type.String(),
          role: Type.Enum(["access", "core", "shared"]),
          link: Type.Boolean(),
          mtu: whole,
          path: Type.Enum(["native", "generic", "bridge", "routed"]),
          reason: Type.Optional(text("why not native")),
        },
        closed,
      ),
    ),
    programs: Type.Array(Type.Object({ name: Type.String(), id: whole, tag: Type.String() }, closed)),
    adopted: Type.Boolean({ description: "programs of an earlier run were found and kept" }),
    sessions: whole,
    flows: whole,
  },
  closed,
);
export const dataplanes = Type.Array(dataplane);
/** Judged with the whole site by config/checks.ts, which can say more. */
export const dataplaneSection = siteSchema.properties.dataplanes.items;
export const overlap = { 409: answer("It meets another data plane: name, adapter or UE pool; says which") };
export const removeDataplaneQuery = Type.Object(
  {
    unwire: Type.Optional({
      ...flag,
      description: "true: leave the adapters as found; else the bridge carries the wire",
    }),
  },
  closed,
);
export const reloaded = Type.Object(
  {
    added: Type.Array(Type.String()),
    changed: Type.Array(Type.String()),
    replaced: Type.Array(Type.String({ description: "other adapters or another plug-in: its sessions have ended" })),
    removed: Type.Array(Type.String()),
    protect: Type.Boolean({ description: "other prefixes are protected" }),
  },
  closed,
);
export const needsRestart = {
  409: answer("Overlap with another data plane, or a change that needs a restart; says which"),
};

export const counters = Type.Object(
  {
    counters: Type.Array(
      Type.Object(
        {
          dataplane: Type.String(),
          name: Type.String(),
          kind: Type.Enum(["pass", "take", "reply", "drop", "slow", "chain", "note"]),
          packets: whole,
          bytes: whole,
        },
        closed,
      ),
    ),
    services: Type.Array(
      Type.Object(
        { service: Type.String(), direction: Type.Enum(["uplink", "downlink"]), packets: whole, bytes: whole },
        closed,
      ),
    ),
  },
  closed,
);

export const captureQuery = Type.Object(
  {
    ue: Type.Optional(Type.String({ maxLength: 64 })),
    teid: sessionsQuery.properties.teid,
    layer: Type.Optional(
      Type.Enum(["outer", "inner", "both"], { default: "outer", description: "with the tunnel, without, or each" }),
    ),
    snap: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, default: 65_535, description: "octets of each" })),
    packets: Type.Optional(Type.Integer({ minimum: 1, maximum: 1e9, description: "end after so many" })),
    seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400, description: "end after so long" })),
  },
  closed,
);

const words = Type.Optional(Type.Array(Type.String()));
const ranges = Type.Optional(Type.Array(Type.Array(whole, { minItems: 2, maxItems: 2 })));
const hops = Type.Array(
  Type.Object(
    {
      address: Type.String(),
      vni: whole,
      encapsulation: Type.Enum(["vxlan", "nsh"]),
      state: Type.Optional(Type.Enum(["up", "down"])),
    },
    closed,
  ),
);
const outletMembers = {
  port: Type.Optional(Type.String()),
  vlan: Type.Optional(whole),
  mac: Type.Optional(Type.String()),
  sourceMac: Type.Optional(Type.String()),
  address: Type.Optional(Type.String()),
  tunnel: Type.Optional(
    Type.Object(
      { type: Type.Enum(["gtp-u", "gre"]), source: Type.Optional(Type.String()), destination: Type.String() },
      closed,
    ),
  ),
};
const copy = Type.Object({ ...outletMembers, form: Type.Enum(["as-is", "decapsulated"]) }, closed);
const treatment = Type.Object(
  {
    chain: Type.Optional(
      Type.Object({ uplink: hops, downlink: hops, unreachable: Type.Enum(["bypass", "block"]) }, closed),
    ),
    mirror: Type.Optional(
      Type.Union([copy, Type.Object({ uplink: Type.Optional(copy), downlink: Type.Optional(copy) }, closed)]),
    ),
    rate: Type.Optional(Type.Object({ uplink: Type.Optional(whole), downlink: Type.Optional(whole) }, closed)),
  },
  closed,
);

const steeringRule = Type.Object(
  {
    id: whole,
    service: whole,
    name: Type.String(),
    priority: whole,
    match: Type.Object(
      {
        direction: Type.Optional(Type.Enum(["uplink", "downlink"])),
        family: Type.Optional(Type.Enum([4, 6])),
        destination: words,
        source: words,
        protocol: Type.Optional(Type.Array(whole)),
        destinationPorts: ranges,
        sourcePorts: ranges,
        dscp: ranges,
        dataplanes: words,
        vlan: ranges,
        innerVlan: ranges,
        sourceMac: words,
        destinationMac: words,
        baseStation: words,
        gateway: words,
        teid: ranges,
        qfi: ranges,
        message: ranges,
      },
      closed,
    ),
    action: Type.Enum(["pass", "take", "route", "forward", "drop"]),
    endpoints: Type.Optional(
      Type.Array(
        Type.Object(
          {
            address: Type.String(),
            port: Type.Optional(whole),
            weight: Type.Optional(whole),
            state: Type.Optional(Type.Enum(["up", "draining", "down"])),
          },
          closed,
        ),
      ),
    ),
    affinity: Type.Optional(Type.Enum(["connection", "ue"])),
    output: Type.Optional(Type.Object(outletMembers, closed)),
    treatment: Type.Optional(treatment),
    appInitiated: Type.Boolean(),
  },
  closed,
);
export const steering = Type.Object({ rules: Type.Array(steeringRule), protect: Type.Array(Type.String()) }, closed);
export const plan = Type.Object(
  {
    service: Type.String(),
    change: Type.Enum(["add", "replace", "none"]),
    remove: Type.Array(steeringRule),
    add: Type.Array(steeringRule),
  },
  closed,
);

export const finding = Type.Object(
  {
    kind: Type.Enum(["conflict", "shadowed", "unreachable", "loop", "undecided"]),
    services: Type.Array(Type.String(), { description: "the one that it is about first, then those that it meets" }),
    field: Type.Optional(text("of its body")),
    message: Type.String(),
    packet: Type.Optional(packet),
  },
  closed,
);
export const verification = Type.Object(
  {
    rules: { ...whole, description: "how many were looked at" },
    complete: Type.Boolean({ description: "false: there may be more findings than are told" }),
    findings: Type.Array(finding),
    deployed: Type.Optional(
      Type.Object(
        { agrees: Type.Boolean(), differences: Type.Array(Type.String()) },
        { ...closed, description: "what is in the data plane, compared with what the services mean" },
      ),
    ),
  },
  closed,
);
