/**
 * Which frames does the differential run send?
 *
 * Mostly what a network would send (bearers, handovers, reuse, signalling, replies), with all kinds of inner packets; a
 * third of the frames is spoilt afterwards by mutate.ts.
 */

import { opt, type Query, query, wire } from "../packets/dns.ts";
import {
  arp,
  concat,
  destinationOptions,
  echo,
  endMarker,
  errorIndication,
  eth,
  ext,
  fragmentHeader,
  fragments,
  fragments6,
  frame,
  type GtpExtension,
  get16,
  gtp0,
  gtpu,
  hopByHop,
  icmp,
  icmpv6,
  ip,
  isIpv6,
  type Layer,
  type Layers,
  lldp,
  packet,
  payload,
  psc,
  sctp,
  supportedExtensions,
  tcp,
  u16,
  udp,
  vlan,
  zeros,
} from "../packets/frame.ts";
import { mutate } from "../packets/mutate.ts";
import type { Random } from "../packets/prng.ts";
import {
  apps,
  cookie,
  gateways,
  nameServer,
  nameServer6,
  names,
  pingTarget,
  pingTarget6,
  resolver6,
  resolvers,
  services,
  stations,
  strangers,
  type Ue,
} from "./population.ts";
import type { Port } from "./state.ts";

export interface Sent {
  port: Port;
  frame: Uint8Array;
}

const link = (r: Random, ue: Ue): Layers => {
  const tags = r.oneIn(40) ? [r.below(4096)] : ue.tags;
  const type = tags.length === 2 ? 0x88a8 : undefined;
  return [eth({ type: type ?? (tags.length ? 0x8100 : undefined) }), tags.map((id) => vlan(id))];
};

export const raw = (bytes: Uint8Array, kind: string): Layer => ({ kind, build: () => bytes });

/** What a resolver might be asked: mostly a name that the platform answers, in any case of letters. */
function question(r: Random): Layer {
  const name = r.pick([...names, names[0]!, "example.com", "www.shop.example.com", "b"]);
  const asked = [...name].map((letter) => (r.oneIn(3) ? letter.toUpperCase() : letter)).join("");
  const odd: Query[] = [
    { flags: 0x8100 },
    { counts: [1, 1, 0, 0] },
    { counts: [2, 0, 0, 0] },
    { class: 3 },
    { question: concat(wire(asked), u16(1)) },
    { question: concat(u16(0xc00c), u16(1), u16(1)) },
    { question: wire(asked).subarray(0, -1) },
  ];
  return query(asked, r.oneIn(5) ? r.pick(odd) : { type: r.pick([1, 28, 65]), ...(r.oneIn(2) && { more: opt }) });
}

/** Something to say over IP; `up`: from the UE. Returns the layers behind the IP header. */
function transport(
  r: Random,
  ue: string,
  other: string,
  up: boolean,
  port: number,
  uePort: number,
  v6: boolean,
): Layers {
  const ports = up ? { sport: uePort, dport: port } : { sport: port, dport: uePort };
  const size = r.oneIn(12) ? r.between(1300, 1472) : r.below(60);
  if (port === 53 && up && r.oneIn(2)) return [udp(ports), question(r)];
  switch (r.below(10)) {
    case 0:
    case 1:
    case 2:
      return [
        tcp({
          ...ports,
          flags: r.pick(["S", "S", "S", "A", "PA", "SA", "FA", "R"]),
          mss: r.oneIn(2) ? r.pick([1460, 1360, 536, 8960]) : undefined,
        }),
        payload(r.oneIn(3) ? size : 0),
      ];
    case 3:
      return [
        tcp({
          ...ports,
          flags: "S",
          options: r.pick([
            Uint8Array.of(1, 2, 4, 5, 0xb4, 0, 0, 0),
            Uint8Array.of(1, 1, 2, 4, 0x22, 0x00, 1, 1),
            Uint8Array.of(3, 3, 7, 2, 4, 5, 0xdc, 0),
            Uint8Array.of(2, 0, 5, 5),
          ]),
        }),
      ];
    case 4:
    case 5:
    case 6:
      return [udp({ ...ports, checksum: v6 ? "auto" : r.pick(["auto", "auto", "zero", 0x1234]) }), payload(size)];
    case 7: {
      const f = { type: v6 ? (up ? 128 : 129) : up ? 8 : 0, id: uePort, seq: r.below(10) };
      return [v6 ? icmpv6(f) : icmp(f), payload(r.below(60))];
    }
    case 8: {
      // An error about a packet that went the other way.
      const quote: Layers = [
        ip(other, ue, { ttl: 60 }),
        r.pick([
          udp({ sport: port, dport: uePort, checksum: r.pick(["auto", "zero"]) }),
          tcp({ sport: port, dport: uePort }),
          v6 ? icmpv6({ type: 129, id: uePort }) : icmp({ type: 0, id: uePort }),
        ]),
        payload(r.below(20)),
      ];
      const f = v6
        ? { type: r.pick([1, 2, 3, 4, 135]), code: 0, rest: 1400 }
        : { type: r.pick([3, 11, 12, 5, 4]), code: r.below(5), rest: 1400 };
      return [v6 ? icmpv6(f) : icmp(f), r.oneIn(8) ? payload(packet(quote).slice(0, 28)) : quote];
    }
    default:
      return [payload(r.bytes(r.between(0, 40)))];
  }
}

/** One inner packet, perhaps cut into fragments. */
export function inner(r: Random, ue: Ue, up: boolean): Uint8Array[] {
  const v6 = ue.v6 !== undefined && (ue.v4 === undefined || r.oneIn(2));
  const own = (v6 ? ue.v6 : ue.v4) ?? "10.45.0.1";
  const mine = r.oneIn(30) ? r.pick(["10.45.0.3", "10.46.0.9", "192.0.2.7", "0.0.0.0", "127.0.0.1", "224.0.0.1"]) : own;
  const ueAddress = v6 === isIpv6(mine) ? mine : own;
  const four = [
    services.web,
    services.web,
    services.dns,
    services.any,
    services.any,
    services.net,
    services.gateway,
    services.first,
    services.other,
    services.protected,
    services.many,
    services.many,
    services.whole,
    services.whole,
    services.out,
    services.treated,
    services.down,
    ...resolvers,
    pingTarget,
  ];
  const other = v6
    ? r.pick([
        services.web6,
        services.web6,
        services.other6,
        services.whole6,
        services.treated6,
        resolver6,
        "2001:db8:2::10",
        pingTarget6,
      ])
    : r.pick(four);
  const asked = other === resolver6 || resolvers.includes(other);
  const port = asked ? 53 : r.pick([80, 80, 53, 53, 443, 5000, 2152, 2123]);
  const uePort = 40000 + r.below(6);
  const options = {
    ttl: r.oneIn(20) ? r.below(3) : 64,
    hops: r.oneIn(20) ? r.below(3) : 64,
    tos: r.pick([0, 0, 0xb8]),
    df: r.oneIn(2),
    id: r.below(8),
    flow: r.below(3),
  };
  const source = up ? ueAddress : other;
  const destination = up ? other : ueAddress;
  const more = transport(r, ueAddress, other, up, port, uePort, v6);
  const extra = v6 && r.oneIn(15) ? r.pick([hopByHop(), destinationOptions(), fragmentHeader({ id: r.below(4) })]) : [];
  const layers: Layers = [ip(source, destination, options), extra, more];
  const whole = packet(layers);
  if (!r.oneIn(12) || whole.length < 80) return [whole];
  const parts = v6 ? fragments6(whole, 48, r.below(4)) : fragments(whole, 40);
  return r.oneIn(3) ? parts.reverse() : parts;
}

function headers(r: Random, ue: Ue, up: boolean): { seq?: number; npdu?: number; ext?: GtpExtension[] } {
  const list: GtpExtension[] = [];
  if (ue.n3 ? !r.oneIn(20) : r.oneIn(30))
    list.push(psc({ type: up ? 1 : 0, qfi: ue.qfi, ppi: !up && r.oneIn(6) ? 3 : undefined }));
  if (r.oneIn(30)) list.push(ext(r.pick([0x40, 0x20, 0xc0, 0x81]), r.pick([2, 6])));
  return { seq: ue.sequence ? r.below(65536) : undefined, npdu: r.oneIn(40) ? 1 : undefined, ext: list };
}

function tunnelled(r: Random, ue: Ue, up: boolean): Uint8Array[] {
  const t = r.oneIn(ue.calm ? 60 : 4) ? r.pick(ue.tunnels) : ue.tunnels[0]!;
  const same = (list: string[]) => r.pick(list.filter((text) => isIpv6(text) === isIpv6(t.station)));
  const station = r.oneIn(ue.calm ? 80 : 12) ? same([...stations, ...strangers]) : t.station;
  const gateway = r.oneIn(ue.calm ? 80 : 20) ? same([...gateways, ...strangers]) : t.gateway;
  const outer = up
    ? ip(station, gateway, { id: r.below(5), tos: r.pick([0, 0xb8]), df: r.oneIn(3) })
    : ip(gateway, station, { ttl: 60, tos: 0x28 });
  const l4 = udp({
    sport: up ? 2152 : ue.sport,
    dport: 2152,
    checksum: isIpv6(station) ? "auto" : r.pick(["auto", "zero"]),
  });
  const trailer = r.oneIn(15) ? zeros(r.below(20)) : [];
  return inner(r, ue, up).flatMap((bytes) => {
    const g = gtpu({ teid: r.oneIn(40) ? r.below(0x300) : up ? t.up : t.down, ...headers(r, ue, up) });
    if (r.oneIn(25)) {
      const whole = packet([outer, l4, g, payload(bytes)]);
      const parts = isIpv6(station) ? fragments6(whole, 64, r.below(3)) : fragments(whole, 64);
      return parts.map((part) => frame([link(r, ue), raw(part, isIpv6(station) ? "ipv6" : "ipv4")]));
    }
    return [concat(frame([link(r, ue), outer, l4, g, payload(bytes)]), frame([trailer]))];
  });
}

function signalling(r: Random, ue: Ue, up: boolean): Uint8Array {
  const t = r.oneIn(3) ? r.pick(ue.tunnels) : ue.tunnels[0]!;
  const from = up ? t.station : t.gateway;
  const to = up ? t.gateway : t.station;
  const base: Layers = [link(r, ue), ip(from, to), udp({ sport: 2152, dport: 2152 })];
  const peer = r.oneIn(5) ? r.pick(strangers) : from;
  const message: Layers = r.pick([
    () => echo({ response: r.oneIn(2), recovery: r.below(256) }),
    () => errorIndication({ teid: up ? t.down : t.up, peer }),
    () => errorIndication({ teid: up ? t.down : t.up, peer }),
    () => [endMarker(up ? t.up : t.down, r.oneIn(3) ? { ext: [psc()] } : {})],
    () => [supportedExtensions()],
    () => [gtpu({ type: r.below(256), teid: t.up }), payload(r.below(30))],
    () => [gtpu({ teid: up ? t.up : t.down })],
  ])();
  return frame([base, message]);
}

/** The core's answer to a ping, as the pinger recognises it. */
function answer(r: Random, ue: Ue): Uint8Array {
  const t = ue.calm ? ue.tunnels[0]! : r.pick(ue.tunnels);
  const v6 = ue.v6 !== undefined && r.oneIn(2);
  const own = (v6 ? ue.v6 : ue.v4) ?? ue.v6 ?? "10.45.0.1";
  const data = new Uint8Array(16);
  data.set(r.oneIn(6) ? r.bytes(8) : cookie);
  const view = new DataView(data.buffer);
  view.setUint32(8, r.below(5), true);
  view.setUint32(12, r.pick([1, 1, 1, 2]), true);
  const f = { type: isIpv6(own) ? 129 : 0, id: 0x4f52, seq: r.pick([1, 0x8001]) };
  return frame([
    link(r, ue),
    ip(t.gateway, t.station),
    udp({ sport: ue.sport, dport: 2152 }),
    gtpu({ teid: t.down, ...headers(r, ue, false) }),
    ip(isIpv6(own) ? pingTarget6 : pingTarget, own),
    isIpv6(own) ? icmpv6(f) : icmp(f),
    payload(data),
  ]);
}

export function fromApp(r: Random, ue: Ue): Uint8Array[] {
  const v6 = ue.v6 !== undefined && (ue.v4 === undefined || r.oneIn(2));
  const own = (v6 ? ue.v6 : ue.v4) ?? "10.45.0.1";
  const [app, port] = v6
    ? r.pick([
        [apps.web6, 8080],
        [nameServer6.address, nameServer6.port],
      ] as [string, number][])
    : r.pick([
        [apps.web, 8080],
        [apps.dns, 53],
        [apps.any, 80],
        [apps.any, 53],
        [apps.any, 443],
        [apps.net, 80],
        [services.gateway, 80],
        [services.gateway, 53],
        [apps.first, 6000],
        [apps.first, 6001],
        [nameServer.address, nameServer.port],
        [apps.many[0], 9000],
        [apps.many[1], 9001],
        [apps.many[1], 80],
        [apps.many[2], 9000],
      ] as [string, number][]);
  const layers = transport(r, own, app, false, port, 40000 + r.below(6), v6);
  const base = ip(app, own, { ttl: 63, df: r.oneIn(2), id: r.below(5), tos: r.pick([0, 0x48]) });
  const whole = packet([base, layers]);
  const type = v6 ? "ipv6" : "ipv4";
  if (r.oneIn(12) && whole.length > 80) {
    return (v6 ? fragments6(whole, 48, r.below(3)) : fragments(whole, 40)).map((part) =>
      frame([eth(), raw(part, type)]),
    );
  }
  return [frame([eth(), base, layers, r.oneIn(20) ? zeros(r.below(12)) : []])];
}

export function plain(r: Random): Uint8Array {
  return frame(
    r.pick([
      () => [eth(), arp()],
      () => [eth({ dst: "01:80:c2:00:00:0e" }), lldp()],
      () => [eth(), ip(stations[0]!, gateways[0]!), sctp(), payload(16)],
      () => [eth(), ip(stations[0]!, gateways[0]!), icmp(), payload(20)],
      () => [eth(), ip(stations[0]!, gateways[0]!), udp({ dport: 2123 }), payload(20)],
      () => [eth(), ip(stations[0]!, gateways[0]!), udp({ dport: 2152 }), gtp0(), payload(30)],
      () => [
        eth(),
        ip(stations[0]!, gateways[0]!, { options: Uint8Array.of(1, 1, 1, 1) }),
        udp({ dport: 2152 }),
        gtpu(),
        payload(30),
      ],
      () => [eth(), ip("2001:db8:1::10", "2001:db8:2::10"), hopByHop(), udp({ dport: 2152 }), gtpu(), payload(30)],
      () => [eth(), payload(r.bytes(r.below(100)))],
    ])(),
  );
}

/** What an app would answer to a packet that it got: everything turned round. */
export function answerTo(r: Random, taken: Uint8Array): Uint8Array {
  const out = taken.slice();
  const swap = (a: number, b: number, size: number) => {
    const first = out.slice(a, a + size);
    out.copyWithin(a, b, b + size);
    out.set(first, b);
  };
  swap(0, 6, 6);
  const v4 = get16(out, 12) === 0x0800;
  if (v4) swap(26, 30, 4);
  else swap(22, 38, 16);
  const protocol = out[v4 ? 23 : 20];
  const l4 = v4 ? 34 : 54;
  if ((protocol === 6 || protocol === 17) && (!v4 || (get16(out, 20) & 0x1fff) === 0)) swap(l4, l4 + 2, 2);
  if ((protocol === 1 && out[l4] === 8) || (protocol === 58 && out[l4] === 128)) {
    // Echo request to reply: the checksum rises by what the type falls.
    const type = protocol === 1 ? 0 : 129;
    const sum = get16(out, l4 + 2) + (((out[l4] ?? 0) - type) << 8);
    out.set(u16(sum < 0 ? sum + 0xffff : sum > 0xffff ? sum - 0xffff : sum), l4 + 2);
    out[l4] = type;
  }
  if (protocol === 6 && out[l4 + 13] === 2 && r.oneIn(2)) {
    // SYN becomes SYN, ACK.
    const sum = get16(out, l4 + 16) - 0x10;
    out.set(u16(sum < 0 ? sum + 0xffff : sum), l4 + 16);
    out[l4 + 13] = 0x12;
  }
  return out;
}

/** One or several frames that belong together. */
/** `taken`: what the apps got lately. */
export function generate(r: Random, ues: readonly Ue[], taken: readonly Uint8Array[]): Sent[] {
  const ue = r.pick(ues);
  const many = (port: Port, frames: Uint8Array[]): Sent[] => frames.map((bytes) => ({ port, frame: bytes }));
  const n = r.below(100);
  let sent: Sent[];
  if (n < 46) sent = many("access", tunnelled(r, ue, true));
  else if (n < 66) sent = many("core", tunnelled(r, ue, false));
  else if (n < 79 && taken.length > 0) sent = many("return", [answerTo(r, r.pick(taken))]);
  else if (n < 86) sent = many("return", fromApp(r, ue));
  else if (n < 90) sent = many("access", [signalling(r, ue, true)]);
  else if (n < 94) sent = many("core", [signalling(r, ue, false)]);
  else if (n < 97) sent = many("core", [answer(r, ue)]);
  else sent = many(r.pick(["access", "core", "return"]), [plain(r)]);
  return sent.map((one) => (r.below(100) < 30 ? { ...one, frame: mutate(one.frame, r) } : one));
}
