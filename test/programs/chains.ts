/**
 * What do packets to and from the functions of a chain look like in the packet tests?
 */
import * as assert from "uvu/assert";
import { functionMac, ownMac, vniOf } from "../../dataplane/chain.ts";
import type { Chain, Hop, SteeringRule } from "../../dataplane/steering.ts";
import { sameFrame } from "../packets/diff.ts";
import * as f from "../packets/frame.ts";
import { hopMac, type Kernel, vxlan } from "./kernel.ts";
import { app, learnt, other, renumbered, rule, service, type Tunnel, ue, ue6 } from "./scene.ts";

export const SERVICE = 3;
export const functions = ["10.60.0.21", "10.60.0.22", "10.60.0.23", "10.60.0.24"];
export type Function = string | Partial<Hop>;

export function hops(list: readonly Function[], downlink: boolean): Hop[] {
  return list.map((one, position) => ({
    vni: vniOf(vxlan.vniBase, SERVICE, downlink, position),
    encapsulation: "vxlan",
    address: "",
    ...(typeof one === "string" ? { address: one } : one),
  }));
}
export const chain = (
  up_: readonly Function[],
  down_: readonly Function[],
  unreachable: Chain["unreachable"] = "bypass",
) => ({
  treatment: { chain: { uplink: hops(up_, false), downlink: hops(down_, true), unreachable } },
});
export const upVni = (position: number): number => vniOf(vxlan.vniBase, SERVICE, false, position);
export const downVni = (position: number): number => vniOf(vxlan.vniBase, SERVICE, true, position);

export const taken = (treatment: Partial<SteeringRule>, change: Partial<SteeringRule> = {}): SteeringRule =>
  rule(SERVICE, {
    match: { destination: [`${service.any}/32`] },
    endpoints: [{ address: app.any, port: 7000 }],
    ...treatment,
    ...change,
  });
export const passed = (treatment: Partial<SteeringRule>, destination = `${other}/32`): SteeringRule =>
  rule(SERVICE, { match: { destination: [destination] }, action: "pass", ...treatment });

export const open = (
  list: readonly SteeringRule[],
  change: { up?: Partial<Tunnel>; down?: Partial<Tunnel> } = {},
): Kernel => {
  const k = learnt({}, change);
  k.setRules(list);
  return k;
};

export const vxlanHeader = (vni: number): f.Layer => f.payload(f.concat(f.u32(0x08000000), f.u32(vni * 256)));
export const nshHeader = (vni: number, index: number, v6 = false): f.Layer =>
  f.payload(
    f.concat(
      f.u32(0x0c000004),
      f.u32(vni * 256),
      f.u32((63 << 22) | (2 << 16) | (2 << 8) | (v6 ? 2 : 1)),
      f.u32(vni * 256 + index),
    ),
  );
export const ethernet = (vni: number, v6: boolean): f.Layer =>
  f.eth({ dst: functionMac(vni), src: ownMac(vni), type: v6 ? 0x86dd : 0x0800 });
/** Layers of unlike kinds, one after the other: the frame builder does not know what VXLAN carries. */
export const whole = (...parts: (f.Layer | f.Layers)[]): f.Layer =>
  f.payload(f.concat(...parts.map((part) => f.packet(Array.isArray(part) ? (part as f.Layers) : [part as f.Layer]))));

export interface Wrap {
  vni: number;
  to: string;
  next: number;
  inner: f.Layers;
  nsh?: number;
  sport?: number;
  v6?: boolean;
}
export const wrap = ({ vni, to, next, inner, nsh, sport = 0xc000, v6 = false }: Wrap): Uint8Array =>
  f.frame([
    f.eth(hopMac(next)),
    to.includes(":")
      ? f.ipv6({ src: vxlan.address6, dst: to, hop: 64 } as f.Ipv6)
      : f.ipv4({ src: vxlan.address, dst: to }),
    f.udp({ sport, dport: nsh === undefined ? 4789 : 4790, checksum: "zero" }),
    nsh === undefined ? whole(vxlanHeader(vni), ethernet(vni, v6), inner) : whole(nshHeader(vni, nsh, v6), inner),
  ]);

/** The frame went to this function: all of it but the source port, which is some of 49152.., and the identification. */
export function goes(
  k: Kernel,
  from: "access" | "core" | "from_apps",
  frame: Uint8Array,
  counter: string,
  to: Wrap,
): Uint8Array {
  const ran = k.expect(from, frame, { counter });
  const at = to.to.includes(":") ? 54 : 34;
  const sport = f.get16(ran.frame, at);
  assert.ok(sport >= 49152, `source port ${sport}`);
  sameFrame(renumbered(ran.frame, wrap(to)), renumbered(wrap({ ...to, sport }), wrap(to)), counter);
  return ran.frame;
}

/** What the function at `from` sends back: `inner` may be another packet than the one it got. */
export function back(
  vni: number,
  from: string,
  inner: f.Layers,
  change: { nsh?: number; v6?: boolean; to?: string; src?: string } = {},
) {
  const to = change.to ?? (from.includes(":") ? vxlan.address6 : vxlan.address);
  return f.frame([
    f.eth(),
    f.ip(from, to),
    f.udp({ sport: 40123, dport: change.nsh === undefined ? 4789 : 4790, checksum: "zero" }),
    change.nsh === undefined
      ? whole(
          vxlanHeader(vni),
          f.eth({ dst: ownMac(vni), src: functionMac(vni), type: change.v6 ? 0x86dd : 0x0800 }),
          inner,
        )
      : whole(nshHeader(vni, change.nsh, change.v6), inner),
  ]);
}

export const ask = (from = ue, to = service.any, text = "ask"): f.Layers => [
  f.ip(from, to),
  f.udp({ sport: 4000, dport: 5000 }),
  f.payload(text),
];
export const answer = (from = service.any, to = ue, sport = 5000, text = "answer"): f.Layers => [
  f.ip(from, to),
  f.udp({ sport, dport: 4000 }),
  f.payload(text),
];
export const asked = (to = app.any): f.Layers => [
  f.ip(to.includes(":") ? ue6 : ue, to),
  f.udp({ sport: 4000, dport: 7000 }),
  f.payload("ask"),
];
/** The inner packet of a frame in a tunnel without extension headers. */
export const innerOf = (frame: Uint8Array, outer = 36): Uint8Array => frame.slice(14 + outer);
