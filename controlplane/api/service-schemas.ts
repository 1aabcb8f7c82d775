/**
 * What does the body of a service look like, in its two forms?
 *
 * For readers and for /openapi.json; what judges a body is intents/validate.ts, which can say more.
 */
import Type, { type TSchema } from "typebox";

const text = (description: string) => Type.String({ description });
const closed = { additionalProperties: false };

const stringOrNumber = (description: string) => ({ ...Type.Union([Type.String(), Type.Integer()]), description });

/** One value, or a list of which one has to hold. */
const oneOrMore = (one: TSchema, description: string) =>
  Type.Optional({ ...Type.Union([one, Type.Array(one, { minItems: 1, maxItems: 1024 })]), description });
const texts = (description: string) => oneOrMore(Type.String(), description);
const amounts = (description: string) => oneOrMore(Type.Union([Type.String(), Type.Integer()]), description);
const amount = (description: string) => Type.Optional(stringOrNumber(description));

export const addressService = Type.Object(
  {
    name: text("unique"),
    serviceIP: text("address that UEs use"),
    applicationIP: text("address of the application at the edge"),
    appInitiated: Type.Optional(Type.Boolean({ description: "the application may speak to a UE first" })),
  },
  { ...closed, title: "First form", description: "Everything for serviceIP is served by applicationIP; priority 100." },
);

const endpoint = Type.Object(
  {
    address: Type.String(),
    port: amount("to translate to; tcp and udp only"),
    weight: amount("share of new connections, 1 (default) to 100"),
    drain: Type.Optional(Type.Boolean({ description: "keeps its connections and gets no new ones" })),
  },
  closed,
);

const outlet = (description: string) =>
  Type.Optional(
    Type.Object(
      {
        port: Type.Optional(text("adapter; required where neither address nor tunnel says where packets go")),
        vlan: amount("tag to leave with, 1..4094"),
        mac: Type.Optional(text("destination MAC address, in place of address")),
        sourceMac: Type.Optional(text("source MAC address; default: the adapter's own")),
        address: Type.Optional(text("IP next hop, whose MAC address is found")),
        tunnel: Type.Optional(
          Type.Object(
            {
              type: Type.Enum(["gre", "gtp-u"], { description: "gtp-u: with forward only" }),
              source: Type.Optional(text("default: the appliance's own address there; gtp-u: the packet's")),
              destination: text("where the tunnel ends"),
            },
            { ...closed, description: "what packets are put into (gre), or where their own tunnel leads now (gtp-u)" },
          ),
        ),
      },
      { ...closed, description },
    ),
  );

const rules = Type.Object(
  {
    priority: stringOrNumber("0..65535; the highest is applied"),
    nw_dst: texts("destination on the uplink: address or address/mask; required with an endpoint"),
    nw_src: texts(
      "source on the uplink: address or address/mask; 0.0.0.0/0 or ::/0 is every UE; required but with signalling",
    ),
    protocol: amounts("1 (icmp), 6 (tcp), 17 (udp) or 58 (icmpv6)"),
    tp_dst: amounts('destination port or range "8000-8099"; tcp and udp only'),
    tp_src: amounts("source port or range; tcp and udp only"),
    nw_dscp: amounts('code point 0..63 of the inner packet, a range, or a name: "EF", "AF41", "CS1"'),
    in_port: texts("name of a data plane"),
    dl_src: texts("source MAC address of the frame from the access side"),
    dl_dst: texts("destination MAC address of that frame"),
    dl_vlan: amounts('VLAN id, range, "none", or "100.200": outer and inner tag'),
    tun_src: texts("base station: address or address/mask"),
    tun_dst: texts("gateway: address or address/mask"),
    tun_id: amounts('TEID of the uplink tunnel: decimal, 0x…, or a range "0x10-0x20"'),
    qfi: amounts("QoS flow identifier 0..63"),
    gtpu_msgtype: amounts('GTP-U message type or name ("end-marker"); absent: 255, G-PDU. Others pass, or are dropped'),
    direction: Type.Optional(
      Type.Enum(["uplink", "downlink"], {
        description: "packets of this direction only, each by itself; absent: flows, as seen on the uplink",
      }),
    ),
    endpoint: Type.Optional(
      text(
        '"address", "address:port" or "[IPv6 address]:port" to translate to; "local" hands packets to the apps\' ' +
          "network untranslated; absent: what matches is left to the core",
      ),
    ),
    endpoints: Type.Optional(
      Type.Array(endpoint, { minItems: 1, maxItems: 64, description: "several, instead of endpoint" }),
    ),
    affinity: Type.Optional(
      Type.Enum(["connection", "ue"], { description: "what keeps to one endpoint; default: connection" }),
    ),
    action: Type.Optional(Type.Enum(["pass", "drop"], { description: "instead of an endpoint; default: pass" })),
    output: outlet("out of the tunnel, untranslated, and away; instead of an endpoint"),
    forward: outlet("away with the tunnel, both directions of a flow; instead of an endpoint"),
  },
  closed,
);

const functions = Type.Optional(
  Type.Array(
    Type.Union([
      text("address of a VXLAN tunnel end point"),
      Type.Object(
        { address: Type.String(), encapsulation: Type.Optional(Type.Enum(["vxlan", "nsh"])) },
        { ...closed, description: "nsh: RFC 8300 over VXLAN-GPE" },
      ),
    ]),
    { maxItems: 16 },
  ),
);

export const ruleService = Type.Object(
  {
    name: text("unique"),
    rules,
    chain: Type.Optional(
      Type.Object(
        {
          ue_net: functions,
          net_ue: functions,
          net_eu: functions,
          unreachable: Type.Optional(Type.Enum(["bypass", "block"], { description: "default: bypass" })),
        },
        { ...closed, description: "transit functions in the order in which packets meet them; net_eu means net_ue" },
      ),
    ),
    mirror: Type.Optional(
      Type.Object(
        { port: text("adapter"), form: Type.Optional(Type.Enum(["as-is", "decapsulated"])) },
        { ...closed, description: "a copy of each packet leaves by this adapter" },
      ),
    ),
    rate: Type.Optional(
      Type.Object(
        { uplink: amount('bits per second, or "10M", "1.5G"'), downlink: amount("likewise") },
        { ...closed, description: "what is more is dropped" },
      ),
    ),
    health: Type.Optional(
      Type.Object(
        {
          type: Type.Enum(["tcp", "http", "icmp"]),
          port: amount("default: the endpoint's own"),
          path: Type.Optional(text("http only; default: /")),
          host: Type.Optional(text("http only, what the Host header says; default: the endpoint's address")),
          interval: Type.Optional(text('default: "1s"')),
          timeout: Type.Optional(text('default: "500ms"')),
          up: amount("so many answers make an endpoint up; default: 2"),
          down: amount("so many failures make it down; default: 3"),
        },
        { ...closed, description: "how endpoints are asked whether they are there" },
      ),
    ),
    appInitiated: Type.Optional(Type.Boolean()),
  },
  { ...closed, title: "Second form", description: "A rule as seen on the uplink; the downlink is its reverse." },
);

export const service = Type.Union([addressService, ruleService]);
