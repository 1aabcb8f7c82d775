/**
 * What do the octets in the kernel's maps mean?
 *
 * One codec for each struct of bpf/structs.h, under the same names; test/ebpf/layout.test.ts compares names, offsets and
 * sizes with the object's BTF. Alignment follows C on 64 bit machines, integers are little endian. Addresses are 16
 * octets in network order (IPv4 as ::ffff:a.b.c.d, see `address.ts`). Members that C documents as network order are
 * `be16` and `be32` here, so that everything in TypeScript is a plain number.
 */

import { addr, be16, be32, be64, bytes, struct, u8, u16, u32, u64 } from "./codec.ts";

export { type Field, type Fields, type Struct, type Values, viewOver } from "./codec.ts";

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
  dscp: u8,
  rule: u32,
});

export const nextHop = struct("next_hop", { port: u16, vlan: be16, destination: bytes(6), source: bytes(6) });

export const outlet = struct("outlet", {
  source: addr,
  destination: addr,
  mtu: u32,
  vlan: be16,
  kind: u8,
  flags: u8,
  mac: bytes(12),
  unused: u32,
});

export const treatment = struct("treatment", {
  chain_up: u32,
  chain_down: u32,
  mirror_up: u16,
  mirror_down: u16,
  flags: u32,
  rate_up: u64,
  rate_down: u64,
});

export const hop = struct("hop", {
  vnf: addr,
  next: u32,
  checksum: u32,
  service: u16,
  next_hop: u16,
  flags: u8,
  header_length: u8,
  service_index: u8,
  pad: u8,
  header: bytes(88),
});

export const vtep = struct("vtep", { address4: addr, address6: addr, port: be16, gpe_port: be16, mtu: u32 });

export const root = struct("root", { rules: u32, outcomes: u32, dimensions: u32, first: u32, unused: bytes(48, 4) });
export const dimension = struct("dimension", {
  index: u32,
  levels: u32,
  any: u32,
  own: u32,
  level: bytes(44, 4),
  unused: u32,
});
export const group = struct("group", { words: u64, first: u32, unused: u32 });
export const outcome = struct("outcome", {
  endpoint: addr,
  id: u32,
  members: u32,
  slots: u32,
  endpoint_port: be16,
  service: u16,
  next_hop: u16,
  action: u8,
  flags: u8,
  unused: bytes(28, 4),
});
export const member = struct("member", { endpoint: addr, port: be16, next_hop: u16, unused: bytes(12, 4) });

export const rulesHeader = struct("rules_header", {
  generation: u32,
  count: u32,
  cache_epoch: u32,
  cache_for: u32,
  flags: u32,
  fields: u32,
  names: u32,
});
export const nameKey = struct("name_key", { words: bytes(256, 8) });
export const nameServer = struct("name_server", {
  address4: addr,
  address6: addr,
  port4: be16,
  port6: be16,
  waiting: u32,
  unused: u64,
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
  outlet,
  treatment,
  hop,
  vtep,
  root,
  dimension,
  group,
  outcome,
  member,
  rulesHeader,
  nameKey,
  nameServer,
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
