/**
 * What does each layer of a test frame look like below GTP-U?
 *
 * A layer is a function from its payload to its octets. Lengths, checksums, protocol numbers and EtherTypes come out
 * right by themselves; every field can be given to make it wrong. Ethernet II, IEEE 802.1Q, RFC 791, 8200, 768, 9293,
 * 792, 4443, 826, 9260.
 */
import { address, checksum, concat, crc32c, isIpv6, mac, number, pseudoHeader, u8, u16, u32 } from "./bytes.ts";

/** What a layer must know about its surroundings to be built. */
export interface Context {
  /** The IP header that a checksum's pseudo header is made of. */
  ip?: { source: Uint8Array; destination: Uint8Array };
  /** Kind of the layer inside. */
  next?: string;
}

export interface Layer {
  kind: string;
  build(payload: Uint8Array, context: Context): Uint8Array;
  /** Only IP headers: the addresses for checksums inside. */
  addresses?: { source: Uint8Array; destination: Uint8Array };
}

const etherTypes: Record<string, number> = {
  ipv4: 0x0800,
  ipv6: 0x86dd,
  arp: 0x0806,
  vlan: 0x8100,
  lldp: 0x88cc,
};

const protocols: Record<string, number> = {
  hopByHop: 0,
  icmp: 1,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  icmpv6: 58,
  none: 59,
  destinationOptions: 60,
  sctp: 132,
};

export interface Eth {
  src?: string;
  dst?: string;
  type?: number;
}

export const eth = (f: Eth = {}): Layer => ({
  kind: "eth",
  build: (payload, { next }) =>
    concat(
      mac(f.dst ?? "02:00:00:00:00:02"),
      mac(f.src ?? "02:00:00:00:00:01"),
      u16(f.type ?? etherTypes[next ?? ""] ?? 0x88b6),
      payload,
    ),
});

/** A tag; its own EtherType is written by the layer before it (0x8100, or what that layer is told). */
export const vlan = (id: number, f: { pcp?: number; dei?: boolean; type?: number } = {}): Layer => ({
  kind: "vlan",
  build: (payload, { next }) =>
    concat(
      u16(((f.pcp ?? 0) << 13) | (f.dei ? 0x1000 : 0) | id),
      u16(f.type ?? etherTypes[next ?? ""] ?? 0x88b6),
      payload,
    ),
});

export interface Ipv4 {
  src?: string;
  dst?: string;
  tos?: number;
  ttl?: number;
  id?: number;
  df?: boolean;
  mf?: boolean;
  /** Fragment offset in octets. */
  offset?: number;
  protocol?: number;
  options?: Uint8Array;
  version?: number;
  /** In words of four octets. */
  ihl?: number;
  length?: number;
  checksum?: number;
}

export function ipv4(f: Ipv4 = {}): Layer {
  const source = address(f.src ?? "198.18.1.10");
  const destination = address(f.dst ?? "198.18.2.10");
  const options = f.options ?? new Uint8Array();
  return {
    kind: "ipv4",
    addresses: { source, destination },
    build: (payload, { next }) => {
      const size = 20 + options.length;
      const header = (sum: number) =>
        concat(
          u8(((f.version ?? 4) << 4) | (f.ihl ?? size / 4)),
          u8(f.tos ?? 0),
          u16(f.length ?? size + payload.length),
          u16(f.id ?? 0),
          u16((f.df ? 0x4000 : 0) | (f.mf ? 0x2000 : 0) | ((f.offset ?? 0) / 8)),
          u8(f.ttl ?? 64),
          u8(f.protocol ?? protocols[next ?? ""] ?? 253),
          u16(sum),
          source,
          destination,
          options,
        );
      return concat(header(f.checksum ?? checksum(header(0))), payload);
    },
  };
}

export interface Ipv6 {
  src?: string;
  dst?: string;
  /** Traffic class. */
  tos?: number;
  flow?: number;
  hops?: number;
  next?: number;
  version?: number;
  length?: number;
}

export function ipv6(f: Ipv6 = {}): Layer {
  const source = address(f.src ?? "2001:db8:1::10");
  const destination = address(f.dst ?? "2001:db8:2::10");
  return {
    kind: "ipv6",
    addresses: { source, destination },
    build: (payload, { next }) =>
      concat(
        u32((((f.version ?? 6) << 28) | ((f.tos ?? 0) << 20) | (f.flow ?? 0)) >>> 0),
        u16(f.length ?? payload.length),
        u8(f.next ?? protocols[next ?? ""] ?? 253),
        u8(f.hops ?? 64),
        source,
        destination,
        payload,
      ),
  };
}

/** IPv4 or IPv6, whichever the addresses are. */
export const ip = (src: string, dst: string, f: Ipv4 & Ipv6 = {}): Layer =>
  isIpv6(src) ? ipv6({ ...f, src, dst }) : ipv4({ ...f, src, dst });

interface Extension {
  next?: number;
  /** In words of eight octets after the first. */
  length?: number;
}

/** An IPv6 extension header with `body` (6 + n * 8 octets) after next header and length. */
const extension = (kind: string, body: Uint8Array, f: Extension): Layer => ({
  kind,
  build: (payload, { next }) =>
    concat(
      u8(f.next ?? protocols[next ?? ""] ?? 253),
      u8(f.length ?? Math.ceil((body.length + 2) / 8) - 1),
      body,
      payload,
    ),
});

const pad6 = new Uint8Array([1, 4, 0, 0, 0, 0]);
export const hopByHop = (f: Extension & { body?: Uint8Array } = {}) => extension("hopByHop", f.body ?? pad6, f);
export const destinationOptions = (f: Extension & { body?: Uint8Array } = {}) =>
  extension("destinationOptions", f.body ?? pad6, f);
export const routing = (f: Extension & { type?: number; left?: number; body?: Uint8Array } = {}) =>
  extension("routing", concat(u8(f.type ?? 0), u8(f.left ?? 1), f.body ?? u32(0)), f);

/** IPv6 fragment header; `offset` in octets. */
export const fragmentHeader = (f: { next?: number; offset?: number; more?: boolean; id?: number } = {}): Layer => ({
  kind: "fragment",
  build: (payload, { next }) =>
    concat(
      u8(f.next ?? protocols[next ?? ""] ?? 253),
      u8(0),
      u16((f.offset ?? 0) | (f.more ? 1 : 0)),
      u32(f.id ?? 1),
      payload,
    ),
});

type Sum = number | "auto" | "zero";

/** Puts the checksum into `bytes` at `at`; the field must be zero. UDP sends 0 as 0xffff (RFC 768). */
function withChecksum(bytes: Uint8Array, at: number, protocol: number, sum: Sum | undefined, ip: Context["ip"]) {
  let value = 0;
  if (typeof sum === "number") value = sum;
  else if (sum !== "zero") {
    const pseudo = ip ? pseudoHeader(ip.source, ip.destination, protocol, bytes.length) : new Uint8Array();
    value = checksum(pseudo, bytes);
    if (protocol === 17 && value === 0) value = 0xffff;
  }
  bytes.set(u16(value), at);
  return bytes;
}

export interface Udp {
  sport?: number;
  dport?: number;
  length?: number;
  checksum?: Sum;
}

export const udp = (f: Udp = {}): Layer => ({
  kind: "udp",
  build: (payload, { ip }) =>
    withChecksum(
      concat(u16(f.sport ?? 40000), u16(f.dport ?? 9000), u16(f.length ?? 8 + payload.length), u16(0), payload),
      6,
      17,
      f.checksum,
      ip,
    ),
});

const tcpFlags = { F: 1, S: 2, R: 4, P: 8, A: 16, U: 32 };

export interface Tcp {
  sport?: number;
  dport?: number;
  seq?: number;
  ack?: number;
  /** Letters of FSRPAU. */
  flags?: string;
  window?: number;
  mss?: number;
  options?: Uint8Array;
  /** Data offset in words. */
  offset?: number;
  urgent?: number;
  checksum?: Sum;
}

export const tcp = (f: Tcp = {}): Layer => ({
  kind: "tcp",
  build: (payload, { ip }) => {
    const options = f.options ?? (f.mss === undefined ? new Uint8Array() : concat(u8(2), u8(4), u16(f.mss)));
    const flags = [...(f.flags ?? "A")].reduce(
      (all, letter) => all | (tcpFlags[letter as keyof typeof tcpFlags] ?? 0),
      0,
    );
    return withChecksum(
      concat(
        u16(f.sport ?? 40000),
        u16(f.dport ?? 80),
        u32(f.seq ?? 1000),
        u32(f.ack ?? 0),
        u8((f.offset ?? 5 + options.length / 4) << 4),
        u8(flags),
        u16(f.window ?? 65535),
        u16(0),
        u16(f.urgent ?? 0),
        options,
        payload,
      ),
      16,
      6,
      f.checksum,
      ip,
    );
  },
});

export interface Icmp {
  type?: number;
  code?: number;
  /** Identifier and sequence of an echo, … */
  id?: number;
  seq?: number;
  /** … or the four octets of any other message, as a number: unused, MTU, pointer. */
  rest?: number;
  checksum?: Sum;
}

const icmpBody = (f: Icmp, type: number, payload: Uint8Array) =>
  concat(
    u8(f.type ?? type),
    u8(f.code ?? 0),
    u16(0),
    f.rest === undefined ? concat(u16(f.id ?? 1), u16(f.seq ?? 1)) : u32(f.rest),
    payload,
  );

/** Echo request unless told. For errors, put the quoted packet in as the following layers. */
export const icmp = (f: Icmp = {}): Layer => ({
  kind: "icmp",
  build: (payload) => withChecksum(icmpBody(f, 8, payload), 2, 1, f.checksum, undefined),
});

export const icmpv6 = (f: Icmp = {}): Layer => ({
  kind: "icmpv6",
  build: (payload, { ip }) => withChecksum(icmpBody(f, 128, payload), 2, 58, f.checksum, ip),
});

/** SCTP with one DATA-like chunk as payload; the CRC is right. */
export const sctp = (f: { sport?: number; dport?: number; tag?: number } = {}): Layer => ({
  kind: "sctp",
  build: (payload) => {
    const head = (crc: number) =>
      concat(u16(f.sport ?? 36412), u16(f.dport ?? 36412), u32(f.tag ?? 1), u32(crc), payload);
    return head(crc32c(head(0)));
  },
});

export const arp = (f: { op?: number; sha?: string; spa?: string; tha?: string; tpa?: string } = {}): Layer => ({
  kind: "arp",
  build: (payload) =>
    concat(
      u16(1),
      u16(0x0800),
      u8(6),
      u8(4),
      u16(f.op ?? 1),
      mac(f.sha ?? "02:00:00:00:00:01"),
      address(f.spa ?? "198.18.1.10"),
      mac(f.tha ?? "00:00:00:00:00:00"),
      address(f.tpa ?? "198.18.2.10"),
      payload,
    ),
});

/** A chassis id, port id, TTL and end TLV (IEEE 802.1AB). */
export const lldp = (): Layer => ({
  kind: "lldp",
  build: () =>
    concat(
      u16((1 << 9) | 7),
      u8(4),
      mac("02:00:00:00:00:01"),
      u16((2 << 9) | 2),
      u8(7),
      u8(49),
      u16((3 << 9) | 2),
      u16(120),
      u16(0),
    ),
});

/** Octets as they are: text, `n` octets counting up, or given ones. */
export function payload(what: number | string | Uint8Array = 0): Layer {
  const bytes =
    typeof what === "number"
      ? Uint8Array.from({ length: what }, (_, i) => i & 0xff)
      : typeof what === "string"
        ? new TextEncoder().encode(what)
        : what;
  return { kind: "payload", build: (rest) => concat(bytes, rest) };
}

/** Zero octets up to Ethernet's minimum and the like. */
export const zeros = (n: number): Layer => payload(new Uint8Array(n));

export { number };
