/**
 * What do the octets in the kernel's maps mean?
 *
 * One codec for each struct of bpf/structs.h, under the same names; test/ebpf/layout.test.ts compares names, offsets and
 * sizes with the object's BTF. Alignment follows C on 64 bit machines, integers are little endian. Addresses are 16
 * octets in network order (IPv4 as ::ffff:a.b.c.d, see `address.ts`). Members that C documents as network order are
 * `be16` and `be32` here, so that everything in TypeScript is a plain number.
 */

export interface Field<T> {
  size: number;
  align: number;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
}

const u8: Field<number> = {
  size: 1,
  align: 1,
  read: (view, at) => view.getUint8(at),
  write: (view, at, value) => view.setUint8(at, value),
};
const u16: Field<number> = {
  size: 2,
  align: 2,
  read: (view, at) => view.getUint16(at, true),
  write: (view, at, value) => view.setUint16(at, value, true),
};
const u32: Field<number> = {
  size: 4,
  align: 4,
  read: (view, at) => view.getUint32(at, true),
  write: (view, at, value) => view.setUint32(at, value, true),
};
const u64: Field<bigint> = {
  size: 8,
  align: 8,
  read: (view, at) => view.getBigUint64(at, true),
  write: (view, at, value) => view.setBigUint64(at, value, true),
};
const be16: Field<number> = {
  size: 2,
  align: 2,
  read: (view, at) => view.getUint16(at),
  write: (view, at, value) => view.setUint16(at, value),
};
const be32: Field<number> = {
  size: 4,
  align: 4,
  read: (view, at) => view.getUint32(at),
  write: (view, at, value) => view.setUint32(at, value),
};
/** Octets as they are; `read` copies. */
const bytes = (size: number, align = 1): Field<Uint8Array> => ({
  size,
  align,
  read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, size).slice(),
  write: (view, at, value) => new Uint8Array(view.buffer, view.byteOffset + at, size).set(value),
});
/** struct address */
const addr = bytes(16, 8);
const be64 = bytes(8, 8);

// The value types of a record of fields.
type Fields = Record<string, Field<never> | Field<number> | Field<bigint> | Field<Uint8Array> | Struct<Fields>>;
type Value<F> = F extends Field<infer T> ? T : never;
export type Values<F extends Fields> = { [K in keyof F]: Value<F[K]> };

export interface Struct<F extends Fields> extends Field<Values<F>> {
  name: string;
  offset: { readonly [K in keyof F]: number };
  fields: F;
  /** Octets of one value; members left out are zero. */
  encode(value: Partial<Values<F>>): Uint8Array;
  decode(octets: Uint8Array): Values<F>;
}

function struct<F extends Fields>(name: string, fields: F): Struct<F> {
  const offset: Record<string, number> = {};
  let size = 0;
  let align = 1;
  for (const [key, field] of Object.entries(fields)) {
    size = Math.ceil(size / field.align) * field.align;
    offset[key] = size;
    size += field.size;
    align = Math.max(align, field.align);
  }
  size = Math.ceil(size / align) * align;
  const list = Object.entries(fields) as [string, Field<unknown>][];
  const self: Struct<F> = {
    name,
    size,
    align,
    fields,
    offset: offset as { readonly [K in keyof F]: number },
    read(view, at) {
      const value: Record<string, unknown> = {};
      for (const [key, field] of list) value[key] = field.read(view, at + offset[key]!);
      return value as Values<F>;
    },
    write(view, at, value) {
      for (const [key, field] of list) {
        const member = (value as Record<string, unknown>)[key];
        if (member !== undefined) field.write(view, at + offset[key]!, member);
      }
    },
    encode(value) {
      const octets = new Uint8Array(size);
      self.write(new DataView(octets.buffer), 0, value as Values<F>);
      return octets;
    },
    decode: (octets) => self.read(viewOver(octets), 0),
  };
  return self;
}

export const viewOver = (octets: Uint8Array): DataView =>
  new DataView(octets.buffer, octets.byteOffset, octets.byteLength);

export const tunnelKey = struct("tunnel_key", { endpoint: addr, teid: be32, link: u32 });

export const tunnel = struct("tunnel", {
  peer: addr,
  ue6: be64,
  ue4: be32,
  session4: u32,
  session6: u32,
  epoch4: u32,
  epoch6: u32,
  last_seen: u32,
  flags: u8,
  slot4: u8,
  slot6: u8,
  format: u8,
  psc: be32,
});

export const sessionKey = struct("session_key", { ue: addr });

export const session = struct("session", {
  sequence: u32,
  epoch: u32,
  ue: addr,
  base_station: addr,
  gateway: addr,
  flags: u32,
  dataplane: u32,
  created: u32,
  last_seen: u32,
  wanted_at: u32,
  aside_until: u32,
  held: u32,
  flows: u32,
  link: u32,
  unpaired: be32,
  overlap_at: u32,
});

export const bearer = struct("bearer", {
  sequence: u32,
  epoch: u32,
  state: u8,
  dataplane: u8,
  header_length: u8,
  l3_offset: u8,
  v6: u8,
  port_varies: u8,
  overhead: u16,
  reserved: u32,
  learnt_at: u32,
  checksum: u32,
  pair_teid: be32,
  header: bytes(96),
  key: tunnelKey,
  confirm_at: u32,
  psc: be32,
  core_at: u32,
  unused: bytes(28, 4),
});

export const flowKey = struct("flow_key", {
  remote: addr,
  ue: addr,
  remote_port: be16,
  ue_port: be16,
  protocol: u8,
  reply: u8,
  pad: u16,
});

export const flow = struct("flow", {
  source: addr,
  destination: addr,
  teid: be32,
  link: u32,
  action: u8,
  flags: u8,
  service: u16,
  generation: u32,
  session: u32,
  epoch: u32,
  bearer: u32,
  last_seen: u32,
  translated: addr,
  translated_port: be16,
  translated_ue_port: be16,
  l3_delta: u16,
  l4_delta: u16,
  next_hop: u16,
  qfi: u8,
  pad: u8,
  rule: u32,
});

export const nextHop = struct("next_hop", { port: u32, destination: bytes(6), source: bytes(6) });

export const treatment = struct("treatment", {
  chain_up: u32,
  chain_down: u32,
  mirror: u32,
  mirror_flags: u32,
  unused: bytes(16),
});

export const rule = struct("rule", {
  destination: addr,
  destination_mask: addr,
  source: addr,
  source_mask: addr,
  endpoint: addr,
  destination_port_low: u16,
  destination_port_high: u16,
  source_port_low: u16,
  source_port_high: u16,
  endpoint_port: be16,
  service: u16,
  protocol: u8,
  action: u8,
  flags: u8,
  v6: u8,
  next_hop: u16,
  pad: u16,
  id: u32,
  teid_low: u32,
  teid_high: u32,
  dscp: u8,
  qfi: u8,
  dataplanes: u16,
});

export const rulesHeader = struct("rules_header", {
  generation: u32,
  count: u32,
  cache_epoch: u32,
  cache_for: u32,
  flags: u32,
});
export const cached = struct("cached", {
  key: bytes(32, 8),
  stamp: u32,
  version: u32,
  sequence: u32,
  address: be32,
  ports: u32,
  l3_delta: u16,
  l4_delta: u16,
  service: u16,
  next_hop: u16,
  bearer: u32,
});
export const injection = struct("injection", { at: u32, slots: u32 });
export const cachedReply = struct("cached_reply", {
  key: bytes(16, 8),
  stamp: u32,
  version: u32,
  sequence: u32,
  session_version: u32,
  bearer: u32,
  address: be32,
  ports: u32,
  l3_delta: u16,
  l4_delta: u16,
  service: u16,
  overhead: u16,
  qfi: u8,
  header_length: u8,
  l3_offset: u8,
  port_varies: u8,
  psc: be32,
  checksum: u16,
  dataplane: u8,
  pad: u8,
  header: bytes(64),
});

export const config = struct("config", {
  mode: u32,
  flags: u32,
  mtu_access: u32,
  mtu_core: u32,
  ping_cookie: be64,
  ping_target4: addr,
  ping_target6: addr,
  ping_id: be16,
  reserved_overhead: u16,
  peer_sessions: u32,
  learn_rate: u32,
  learn_burst: u32,
  ue_flows: u32,
  return_mac: bytes(6),
  own_mac: bytes(6),
  max_sessions: u32,
});

export const peer = struct("peer", { sessions: u32, tokens: u32, refilled: u32, refused: u32 });
export const peerKey = struct("peer_key", { address: addr, dataplane: u32, core: u32 });
export const prefixKey = struct("prefix_key", { length: u32, set: be32, address: addr });

export const fragmentKey = struct("fragment_key", {
  source: addr,
  destination: addr,
  id: be32,
  link: u32,
  protocol: u32,
  pad: u32,
});
export const fragment = struct("fragment", { flow: flowKey, outer: u32, last_seen: u32 });

export const slowHeader = struct("slow_header", {
  destination: bytes(6),
  source: bytes(6),
  protocol: be16,
  op: u8,
  port: u8,
  session: u32,
  epoch: u32,
  sequence: u32,
  reason: u32,
});

export const event = struct("event", {
  type: u8,
  dataplane: u8,
  slot: u8,
  cause: u8,
  session: u32,
  epoch: u32,
  teid: be32,
  time: u64,
  ue: addr,
  base_station: addr,
  gateway: addr,
});

export const buckets = struct("buckets", { bucket: bytes(131072), host: bytes(131072) });
export const slots = struct("slots", { next: u32, layout: u32 });
export const clock = struct("clock", { jiffies: u64, time: u64 });
export const counter = struct("counter", { packets: u64, bytes: u64 });
export const capture = struct("capture", { enabled: u32, snap: u32, teid: be32, pad: u32, ue: addr });
export const captureRecord = struct("capture_record", {
  time: u64,
  length: u32,
  captured: u32,
  dataplane: u8,
  port: u8,
  verdict: u8,
  inner: u8,
  service: u32,
});

export const monitor = struct("monitor", { enabled: u32, service: u32, ue: addr, verdicts: bytes(16, 8) });
export const tallyKey = struct("tally_key", {
  dataplane: u8,
  way: u8,
  verdict: u8,
  pad: u8,
  service: u32,
  rule: u32,
});
export const tally = struct("tally", { packets: u64, bytes: u64, shown: u32, pad: u32 });
export const verdictRecord = struct("verdict_record", {
  time: u64,
  source: addr,
  destination: addr,
  ue: addr,
  remote: addr,
  teid: be32,
  link: u32,
  psc: be32,
  octets: u32,
  service: u32,
  rule: u32,
  ue_port: be16,
  remote_port: be16,
  dataplane: u8,
  way: u8,
  verdict: u8,
  outer: u8,
  inner_v6: u8,
  protocol: u8,
  dscp: u8,
  tcp_flags: u8,
  message: u8,
  pad: bytes(3),
});

export const structs = [
  tunnelKey,
  tunnel,
  sessionKey,
  session,
  bearer,
  flowKey,
  flow,
  nextHop,
  treatment,
  rule,
  rulesHeader,
  cached,
  injection,
  cachedReply,
  config,
  peer,
  peerKey,
  prefixKey,
  fragmentKey,
  fragment,
  slowHeader,
  event,
  buckets,
  slots,
  clock,
  counter,
  capture,
  captureRecord,
  monitor,
  tallyKey,
  tally,
  verdictRecord,
];
