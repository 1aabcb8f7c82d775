/**
 * Who is who in the packet tests?
 *
 *   UE 10.45.0.2 ── base station 198.18.1.10 ═ TEID 0x100 up, 0x200 down ═ gateway 198.18.2.10
 *   web  203.0.113.80 TCP 80   -> 10.60.0.10:8080        dns  203.0.113.53 UDP 53 -> 10.60.0.11:53
 *   any  203.0.113.90          -> 10.60.0.12             route 198.51.100.20 as it is, next hop 1
 *
 * `up` and `down` put inner layers into the tunnel; `learnt` is the state after one packet each way that no rule takes.
 */
import type { SteeringRule } from "../../dataplane/steering.ts";
import * as f from "../packets/frame.ts";
import { hopMac, type Kernel, kernel, pinger, type Settings } from "./kernel.ts";

export const ue = "10.45.0.2";
export const ue6 = "2001:db8:45:2::7";
export const station = "198.18.1.10";
export const station2 = "198.18.1.11";
export const gateway = "198.18.2.10";
export const gateway2 = "198.18.2.11";
export const station6 = "2001:db8:1::10";
export const gateway6 = "2001:db8:2::10";
export const other = "203.0.115.1";
export const other6 = "2001:db8:81::9";

export const service = { web: "203.0.113.80", web2: "203.0.113.81", dns: "203.0.113.53", any: "203.0.113.90" };
export const route = "198.51.100.20";
export const first = "203.0.113.44";
export const web6 = "2001:db8:80::80";
export const app = {
  web: "10.60.0.10",
  dns: "10.60.0.11",
  any: "10.60.0.12",
  first: "10.60.0.14",
  web6: "2001:db8:60::10",
};

const rule = (id: number, partial: Partial<SteeringRule>): SteeringRule => ({
  id,
  service: id,
  name: `rule-${id}`,
  priority: 1000 - id,
  match: {},
  action: "take",
  appInitiated: false,
  ...partial,
});

export const rules: SteeringRule[] = [
  rule(1, {
    match: { destination: [`${service.web}/32`], protocol: [6], destinationPorts: [[80, 80]] },
    endpoints: [{ address: app.web, port: 8080 }],
  }),
  rule(2, {
    match: { destination: [`${service.dns}/32`], protocol: [17], destinationPorts: [[53, 53]] },
    endpoints: [{ address: app.dns }],
  }),
  rule(3, { match: { destination: [`${service.any}/32`] }, endpoints: [{ address: app.any }] }),
  rule(4, { match: { destination: [`${route}/32`] }, action: "route", endpoints: undefined }),
  rule(5, {
    match: { destination: [`${web6}/128`] },
    endpoints: [{ address: app.web6 }],
  }),
  rule(6, {
    match: { destination: [`${first}/32`], protocol: [17], destinationPorts: [[5000, 5000]] },
    endpoints: [{ address: app.first, port: 6000 }],
    appInitiated: true,
  }),
  rule(7, {
    match: { destination: [`${service.web2}/32`], protocol: [6], destinationPorts: [[80, 80]] },
    endpoints: [{ address: app.web, port: 8080 }],
  }),
];
export { rule };

/** A rule of `rules` by its id, changed. */
export function changed(id: number, change: Partial<SteeringRule>): SteeringRule {
  return rule(id, { ...rules.find((one) => one.id === id), ...change });
}

/** Next hops in the order in which the endpoints appear in `rules`. */
export const hop = { web: 1, dns: 2, any: 3, web6: 4, first: 5 };

export interface Tunnel {
  from: string;
  to: string;
  teid: number;
  tags?: f.Layer[];
  gtp?: f.Gtpu;
  sport?: number;
  /** Of the outer IP header. */
  ip?: f.Ipv4 & f.Ipv6;
  sum?: "zero" | "auto";
  mac?: f.Eth;
}

export const upTunnel: Tunnel = { from: station, to: gateway, teid: 0x100 };
export const downTunnel: Tunnel = { from: gateway, to: station, teid: 0x200 };

export function inTunnel(tunnel: Tunnel, inner: f.Layers, behind: f.Layers = []): Uint8Array {
  return f.frame([
    f.eth(tunnel.mac),
    tunnel.tags ?? [],
    f.ip(tunnel.from, tunnel.to, tunnel.ip),
    f.udp({
      sport: tunnel.sport ?? 2152,
      dport: 2152,
      checksum: tunnel.sum ?? (tunnel.from.includes(":") ? "auto" : "zero"),
    }),
    f.gtpu({ teid: tunnel.teid, ...tunnel.gtp }),
    inner,
    behind,
  ]);
}

export const up = (inner: f.Layers, change: Partial<Tunnel> = {}): Uint8Array =>
  inTunnel({ ...upTunnel, ...change }, inner);
export const down = (inner: f.Layers, change: Partial<Tunnel> = {}): Uint8Array =>
  inTunnel({ ...downTunnel, ...change }, inner);
/** What an app's next hop gets. */
export const toApp = (next: number, inner: f.Layers): Uint8Array => f.frame([f.eth(hopMac(next)), inner]);
/** What the kernel routes to the return veth. */
export const fromApp = (inner: f.Layers): Uint8Array => f.frame([f.eth(), inner]);

export const tcpUp = (change: f.Tcp = {}, to = service.web, from = ue): f.Layers => [
  f.ip(from, to),
  f.tcp({ sport: 40000, dport: 80, flags: "S", ...change }),
];
export const dnsUp = (text = "query", sport = 40001): f.Layers => [
  f.ipv4({ src: ue, dst: service.dns }),
  f.udp({ sport, dport: 53 }),
  f.payload(text),
];
export const dnsDown = (text = "answer", dport = 40001): f.Layers => [
  f.ipv4({ src: app.dns, dst: ue }),
  f.udp({ sport: 53, dport }),
  f.payload(text),
];
/** The same as the UE sees it. */
export const dnsSeen = (text = "answer", dport = 40001): f.Layers => [
  f.ipv4({ src: service.dns, dst: ue }),
  f.udp({ sport: 53, dport }),
  f.payload(text),
];
export const otherUp = (from = ue): f.Layers => [
  f.ip(from, from.includes(":") ? other6 : other),
  f.udp({ sport: 1234, dport: 9 }),
  f.payload("up"),
];
export const otherDown = (to = ue): f.Layers => [
  f.ip(to.includes(":") ? other6 : other, to),
  f.udp({ sport: 9, dport: 1234 }),
  f.payload("down"),
];

/** The core's answer to a ping of ours. */
export function pingAnswer(
  k: Kernel,
  change: { candidate?: boolean; id?: number; to?: string; epoch?: number } = {},
): f.Layers {
  const to = change.to ?? ue;
  const s = k.session(to) ?? { index: 0, epoch: 0 };
  const data = f.concat(pinger.cookie, new Uint8Array(Uint32Array.of(s.index, change.epoch ?? s.epoch).buffer));
  const message = { id: change.id ?? pinger.id, seq: change.candidate ? 0x8001 : 1 };
  return to.includes(":")
    ? [f.ip(pinger.target6, to), f.icmpv6({ type: 129, ...message }), f.payload(data)]
    : [f.ip(pinger.target, to), f.icmp({ type: 0, ...message }), f.payload(data)];
}

/** The programs with nothing learnt. */
export function fresh(settings: Partial<Settings> = {}, list: readonly SteeringRule[] = rules): Kernel {
  const k = kernel();
  k.reset(list, settings);
  return k;
}

/** … with the UE's uplink and downlink learnt, through these tunnels. */
export function learnt(
  settings: Partial<Settings> = {},
  change: { up?: Partial<Tunnel>; down?: Partial<Tunnel> } = {},
  of = ue,
): Kernel {
  const k = fresh(settings);
  k.expect("access", up(otherUp(of), change.up), { counter: "pass_no_rule", events: ["session-new"] });
  k.expect("core", down(otherDown(of), change.down), { counter: "pass_downlink", events: ["downlink-learnt"] });
  return k;
}

/** `frame` with the outer IPv4 identification of `like`: each reply has one of its own (RFC 6864), all else may be equal. */
export function renumbered(frame: Uint8Array, like: Uint8Array): Uint8Array {
  const out = frame.slice();
  let l3 = 14;
  while ([0x8100, 0x88a8].includes(f.get16(out, l3 - 2))) l3 += 4;
  if (f.get16(out, l3 - 2) !== 0x0800) return out;
  out.set(like.subarray(l3 + 4, l3 + 6), l3 + 4);
  out.set([0, 0], l3 + 10);
  out.set(f.u16(f.checksum(out.subarray(l3, l3 + 20))), l3 + 10);
  return out;
}
