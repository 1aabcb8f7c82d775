/**
 * What do the rules of an app look like (GS MEC 011 v3.1.1 §7.1.2.2, §7.1.2.3, §7.1.5; GS MEC 010-2 v3.1.1 §6.2.1.9 to 13)?
 *
 * One canonical form, in the spelling of GS MEC 011: it is what Mp1 answers and what everything behind it works with. The
 * descriptors of a package and older spellings become it in read-rules.ts. Lists stand in the order in which they were given.
 */
import Type, { type Static } from "typebox";

const closed = { additionalProperties: false };
const words = <const T extends string[]>(values: [...T], description: string) => Type.Enum(values, { description });
const texts = (description: string) => Type.Optional(Type.Array(Type.String(), { minItems: 1, description }));
const whole = (low: number, high: number, description: string) =>
  Type.Optional(Type.Integer({ minimum: low, maximum: high, description }));

export const ruleStates = ["ACTIVE", "INACTIVE"] as const;
export const filterTypes = ["FLOW", "PACKET"] as const;
export const ruleActions = [
  "DROP",
  "FORWARD_DECAPSULATED",
  "FORWARD_ENCAPSULATED",
  "PASSTHROUGH",
  "DUPLICATE_DECAPSULATED",
  "DUPLICATE_ENCAPSULATED",
] as const;
export const interfaceTypes = ["TUNNEL", "MAC", "IP"] as const;
export const tunnelTypes = ["GTP_U", "GRE"] as const;
export const addressTypes = ["IP_V4", "IP_V6"] as const;

/** GS MEC 011 §7.1.5.2. Members are joined by and, the values of one member by or. */
export const trafficFilter = Type.Object(
  {
    srcAddress: texts("address, prefix, or range `low-high`; on the uplink: of the UE"),
    dstAddress: texts("address, prefix, or range `low-high`"),
    srcPort: texts("port, or range `low-high`"),
    dstPort: texts("port, or range `low-high`"),
    protocol: texts("name or number"),
    tag: texts("of a UE identity (GS MEC 014)"),
    uri: texts("GS MEC 010-2 only"),
    packetLabel: texts("GS MEC 010-2 only"),
    srcTunnelAddress: texts("outer source; on the uplink: the base station"),
    tgtTunnelAddress: texts("outer destination; on the uplink: the gateway"),
    srcTunnelPort: texts("outer UDP source port"),
    dstTunnelPort: texts("outer UDP destination port"),
    qCI: whole(0, 255, "QoS class; on N3 the QoS flow identifier"),
    dSCP: whole(0, 63, "code point of IPv4 packets"),
    tC: whole(0, 255, "traffic class of IPv6 packets"),
  },
  { ...closed, title: "TrafficFilter" },
);

/** GS MEC 011 §7.1.5.4. */
export const tunnelInfo = Type.Object(
  {
    tunnelType: words([...tunnelTypes], "tunnel protocol"),
    tunnelDstAddress: Type.Optional(Type.String()),
    tunnelSrcAddress: Type.Optional(Type.String()),
  },
  { ...closed, title: "TunnelInfo" },
);

/** GS MEC 011 §7.1.5.3; GS MEC 010-2 calls it InterfaceDescriptor. */
export const destinationInterface = Type.Object(
  {
    interfaceType: words([...interfaceTypes], "what the other members say"),
    tunnelInfo: Type.Optional(tunnelInfo),
    srcMacAddress: Type.Optional(Type.String()),
    dstMacAddress: Type.Optional(Type.String()),
    dstIpAddress: Type.Optional(Type.String({ description: "absent: the instance's own address" })),
  },
  { ...closed, title: "DestinationInterface" },
);

/** GS MEC 011 §7.1.2.2. */
export const trafficRule = Type.Object(
  {
    trafficRuleId: Type.String(),
    filterType: words(
      [...filterTypes],
      "FLOW: matched on the uplink, the downlink goes with it; PACKET: each direction on its own",
    ),
    priority: Type.Integer({ minimum: 0, maximum: 255, description: "0 is the highest" }),
    trafficFilter: Type.Array(trafficFilter, { minItems: 1, description: "any of them" }),
    action: words([...ruleActions], "what happens to the packets"),
    dstInterface: Type.Optional(
      Type.Array(destinationInterface, {
        maxItems: 2,
        description: "one for FORWARD; for DUPLICATE two: of the copies of the uplink, of the downlink",
      }),
    ),
    state: words([...ruleStates], "an ACTIVE rule is in the data plane"),
  },
  { ...closed, title: "TrafficRule" },
);

/** GS MEC 011 §7.1.2.3. */
export const dnsRule = Type.Object(
  {
    dnsRuleId: Type.String(),
    domainName: Type.String(),
    ipAddressType: words([...addressTypes], "family of the address"),
    ipAddress: Type.String(),
    ttl: Type.Optional(Type.Integer({ minimum: 0, maximum: 0x7fff_ffff, description: "seconds" })),
    state: words([...ruleStates], "an ACTIVE rule is answered to UEs"),
  },
  { ...closed, title: "DnsRule" },
);

export type RuleState = (typeof ruleStates)[number];
export type FilterType = (typeof filterTypes)[number];
export type RuleAction = (typeof ruleActions)[number];
export type TrafficFilter = Static<typeof trafficFilter>;
export type TunnelInfo = Static<typeof tunnelInfo>;
export type DestinationInterface = Static<typeof destinationInterface>;
export type TrafficRule = Static<typeof trafficRule>;
export type DnsRule = Static<typeof dnsRule>;

/** A rule of a package (GS MEC 010-2 §6.2.1.9) in the spelling of GS MEC 011: it has no state yet. */
export type TrafficRuleDescriptor = Omit<TrafficRule, "state">;
/** GS MEC 010-2 §6.2.1.13. Without an address: the instance's own of that family. */
export type DNSRuleDescriptor = Omit<DnsRule, "state" | "ipAddress"> & { ipAddress?: string };
