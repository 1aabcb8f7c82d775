/**
 * How is a point of the space told as a packet?
 *
 * Fields are those of a packet on the uplink, as `offramp trace` takes them. Of what may be anything, a usual value is taken.
 */
import { type Box, DOWNLINK, dimensionIndex, dimensions, G_PDU, type Interval, NO_QFI } from "../../dataplane/space.ts";
import type { Direction } from "../../dataplane/steering.ts";
import { dataplaneOf } from "./algebra.ts";
import { formatAddress } from "./prefix.ts";

/** Members that have nothing to say (no tag, no tunnel, no ports) are absent. */
export interface PacketExample {
  /** The UE. */
  source?: string;
  destination?: string;
  protocol?: number;
  sourcePort?: number;
  destinationPort?: number;
  dscp?: number;
  dataplane?: string;
  vlan?: number;
  innerVlan?: number;
  sourceMac?: string;
  destinationMac?: string;
  baseStation?: string;
  gateway?: string;
  teid?: number;
  qfi?: number;
  /** GTP-U message type other than 255. */
  message?: number;
  /** Of the packet; its fields are written as the uplink has them. */
  direction?: Direction;
}

const address = (value: bigint): string =>
  value >> 32n === 0xffffn
    ? formatAddress({ family: 4, value: value & 0xffffffffn })
    : formatAddress({ family: 6, value });
const mac = (value: bigint): string => (value.toString(16).padStart(12, "0").match(/../g) as string[]).join(":");

/** Tried in this order where any value would do. */
const usual: Partial<Record<(typeof dimensions)[number]["name"], bigint[]>> = {
  protocol: [6n, 262n, 17n, 273n],
  destinationPort: [443n, 80n],
  sourcePort: [50_000n, 1024n],
  qfi: [BigInt(NO_QFI)],
  message: [BigInt(G_PDU)],
  sourceMac: [0x020000000001n],
  destinationMac: [0x020000000002n],
  teid: [1n],
  source: [0xffff00000000n + 0x0a2d0002n, 0x20010db8000000000000000000000002n],
  destination: [0xffff00000000n + 0xcb007101n, 0x20010db8000100000000000000000001n],
  baseStation: [0xffff00000000n + 0xc6120102n],
  gateway: [0xffff00000000n + 0xc6120201n],
};

/** One value of each interval. */
export const pick = (piece: readonly Interval[]): bigint[] =>
  dimensions.map(({ name }, at) => {
    const [low, high] = piece[at]!;
    return usual[name]?.find((value) => value >= low && value <= high) ?? low;
  });

/** A point of a box that is not empty. */
export const pickOf = (box: Box): bigint[] =>
  dimensions.map(({ name, bits }, at) => {
    const intervals = box[at] ?? [[0n, (1n << BigInt(bits)) - 1n] as const];
    const inside = (value: bigint) => intervals.some(([low, high]) => value >= low && value <= high);
    return usual[name]?.find(inside) ?? intervals[0]![0];
  });

const value = (point: readonly bigint[], name: (typeof dimensions)[number]["name"]) => point[dimensionIndex[name]]!;

/** `about` are the boxes that the packet is to show something of: only dimensions in which they have conditions are told. */
export function packetOf(point: readonly bigint[], about: readonly Box[]): PacketExample {
  const told = (name: (typeof dimensions)[number]["name"]) =>
    about.some((box) => box[dimensionIndex[name]] !== undefined);
  const number = (name: (typeof dimensions)[number]["name"]) => Number(value(point, name));
  const message = number("message");
  const tunnel: PacketExample = {
    ...(told("dataplane") && { dataplane: dataplaneOf(number("dataplane")) ?? "" }),
    ...(told("vlan") && { vlan: number("vlan") }),
    ...(told("innerVlan") && { innerVlan: number("innerVlan") }),
    ...(told("sourceMac") && { sourceMac: mac(value(point, "sourceMac")) }),
    ...(told("destinationMac") && { destinationMac: mac(value(point, "destinationMac")) }),
    ...(told("baseStation") && { baseStation: address(value(point, "baseStation")) }),
    ...(told("gateway") && { gateway: address(value(point, "gateway")) }),
    ...(told("teid") && { teid: number("teid") }),
    ...(told("qfi") && number("qfi") !== NO_QFI && { qfi: number("qfi") }),
    ...(told("direction") && { direction: number("direction") === DOWNLINK ? "downlink" : "uplink" }),
  };
  if (message !== G_PDU) return { ...tunnel, message };
  const protocol = number("protocol") & 0xff;
  const ports = protocol === 6 || protocol === 17;
  return {
    source: address(value(point, "source")),
    destination: address(value(point, "destination")),
    protocol,
    ...(ports && { sourcePort: number("sourcePort"), destinationPort: number("destinationPort") }),
    ...(told("dscp") && { dscp: number("dscp") }),
    ...tunnel,
  };
}

/** As a person would say it: `10.45.0.2:50000 → 203.0.113.1:443 tcp, TEID 0x10`. */
export function packetText(packet: PacketExample): string {
  const { source, destination, sourcePort, destinationPort, protocol, message, ...rest } = packet;
  const end = (text: string, port: number | undefined) =>
    port === undefined ? text : `${text.includes(":") ? `[${text}]` : text}:${port}`;
  const names: Record<number, string> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6" };
  const first =
    message === undefined
      ? `${end(source ?? "", sourcePort)} → ${end(destination ?? "", destinationPort)} ${names[protocol ?? 0] ?? `protocol ${protocol}`}`
      : `GTP-U message ${message}`;
  const others = Object.entries(rest).map(([name, one]) =>
    name === "teid" ? `teid 0x${Number(one).toString(16)}` : `${name} ${one}`,
  );
  return [first, ...others].join(", ");
}
