/**
 * How does a packet leave that does not stay on its way, and who gets a copy?
 *
 * docs/packet-path.md, "Output" and "Mirror". Copies are counted; what they look like is for test/ebpf/outlets.test.ts.
 */
import { copiesOf, type Direction, type Outlet, type SteeringRule } from "../../dataplane/steering.ts";
import { concat, get16, mac, sum16, u16 } from "../packets/bytes.ts";
import type { Oracle } from "./flow.ts";
import { addressOf, isMapped, type Packet, wireAddress } from "./read.ts";
import { count, type Flow, type ModelConfig, type ModelWay, type Outcome, type State } from "./state.ts";
import { updated } from "./translate.ts";

/** Do packets that a rule sends away keep their tunnel? */
export const leavesWhole = ({ action, output }: SteeringRule): boolean =>
  action === "forward" || (action === "route" && output?.tunnel?.type === "gtp-u");

const isFound = ({ mac, address, tunnel }: Outlet) => mac === undefined && (address ?? tunnel) !== undefined;
const saysNothing = ({ vlan, mac, address, tunnel }: Outlet) =>
  [vlan, mac, address, tunnel].every((one) => one === undefined);

/** Where an output leads: its own adapter's MAC address, and the next hop's where it has one that answers. */
export function wayOf({ ways }: ModelConfig, outlet: Outlet): ModelWay {
  if (!ways) throw new Error("nothing leaves by an output here");
  const { nextHop, ...way } = ways;
  const silent = outlet.address === ways.silent || outlet.tunnel?.destination === ways.silent;
  const v6 = outlet.tunnel?.destination.includes(":");
  return {
    ...way,
    source: v6 ? ways.source6 : ways.source4,
    ...(isFound(outlet) && !silent && { nextHop }),
  };
}

/** Can a packet be sent there? `outer6`: the family of its outer header; undefined: it has none. */
export function hasWay(state: State, outlet: Outlet, whole: boolean, outer6: boolean | undefined): boolean {
  if (isFound(outlet) && wayOf(state.config, outlet).nextHop === undefined) return false;
  if (!whole || outlet.tunnel?.type !== "gtp-u") return true;
  return outer6 === outlet.tunnel.destination.includes(":");
}

export const overheadOf = ({ tunnel }: Outlet): number =>
  tunnel?.type !== "gre" ? 0 : tunnel.destination.includes(":") ? 44 : 24;

/** Other ends for the outer packet at `at`, UDP inside; checksums are updated, and none stays none. */
function newEnds(
  frame: Uint8Array,
  at: number,
  { source, destination }: { source?: string; destination: string },
): void {
  const v6 = destination.includes(":");
  const [from, size] = v6 ? [at + 8, 16] : [at + 12, 4];
  const before = frame.slice(from, from + 2 * size);
  const after = concat(
    source ? wireAddress(addressOf(source)) : before.slice(0, size),
    wireAddress(addressOf(destination)),
  );
  frame.set(after, from);
  if (!v6) frame.set(u16(updated(get16(frame, at + 10), before, after)), at + 10);
  const sum = at + (v6 ? 46 : 26);
  if (get16(frame, sum) !== 0) frame.set(u16(updated(get16(frame, sum), before, after) || 0xffff), sum);
}

/** RFC 2784: what stands in front of the packet. */
function gre(packet: Uint8Array, source: string, destination: string, id: number): Uint8Array {
  const inner6 = (packet[0] ?? 0) >> 4 === 6;
  const traffic = inner6 ? (get16(packet, 0) >> 4) & 0xff : (packet[1] ?? 0);
  const ends = concat(wireAddress(addressOf(source)), wireAddress(addressOf(destination)));
  const header = concat(u16(0), u16(inner6 ? 0x86dd : 0x0800));
  if (!isMapped(addressOf(destination))) {
    const length = u16(packet.length + 4);
    return concat(u16(0x6000 | (traffic << 4)), u16(0), length, Uint8Array.of(47, 64), ends, header);
  }
  const ip = concat(
    Uint8Array.of(0x45, traffic),
    u16(packet.length + 24),
    u16(id),
    u16(0),
    Uint8Array.of(64, 47, 0, 0),
    ends,
  );
  ip.set(u16(~sum16(ip) & 0xffff), 10);
  return concat(ip, header);
}

/** By an output: the IP packet of the frame is at `at`. `whole`: with its tunnel. */
export function leaveBy(
  state: State,
  frame: Uint8Array,
  at: number,
  output: { outlet: Outlet; whole: boolean },
  counter: string,
  oracle: Oracle,
): Outcome {
  const { outlet, whole } = output;
  const { tunnel, vlan } = outlet;
  const way = wayOf(state.config, outlet);
  const drop = (name: string): Outcome => ({ verdict: "drop", frame, counter: name });
  const outer6 = (frame[at] ?? 0) >> 4 === 6;
  if (!hasWay(state, outlet, whole, outer6)) return drop("drop_redirect");
  if (frame.length - at + overheadOf(outlet) > way.mtu) return drop("drop_too_big");
  if (whole && saysNothing(outlet)) return { verdict: "redirect", frame, counter };
  const destination = outlet.mac ?? way.nextHop ?? (whole ? undefined : "ff:ff:ff:ff:ff:ff");
  const macs =
    destination === undefined ? frame.slice(0, 12) : concat(mac(destination), mac(outlet.sourceMac ?? way.mac));
  const packet = frame.slice(at);
  let front = new Uint8Array();
  let v6 = outer6;
  if (tunnel?.type === "gtp-u") newEnds(packet, 0, tunnel);
  if (tunnel?.type === "gre") {
    v6 = tunnel.destination.includes(":");
    const length = outer6 ? get16(packet, 4) + 40 : get16(packet, 2);
    const ethernet = 14 + (vlan ? 4 : 0);
    const own = tunnel.source ?? way.source;
    // Its lengths are those of the packet; padding that came with the frame stays behind it.
    front = gre(
      packet.subarray(0, length),
      own,
      tunnel.destination,
      oracle.outerId(ethernet),
    ) as Uint8Array<ArrayBuffer>;
  }
  const tag = vlan ? concat(u16(0x8100), u16(vlan)) : new Uint8Array();
  const type = u16(v6 ? 0x86dd : 0x0800);
  return { verdict: "redirect", frame: concat(macs, tag, type, front, packet), counter };
}

/** The inner packet, out of its tunnel, goes to its endpoint, to the apps' network, or by an output. */
export function deliver(
  state: State,
  p: Packet,
  ip: Uint8Array,
  flow: Pick<Flow, "nextHop" | "output">,
  counter: string,
  oracle: Oracle,
): Outcome {
  if (flow.output) return leaveBy(state, concat(new Uint8Array(14), ip), 14, flow.output, counter, oracle);
  const hop = state.config.nextHops[flow.nextHop];
  if (!hop) throw new Error(`no next hop ${flow.nextHop}`);
  const type = u16(p.innerVersion === 6 ? 0x86dd : 0x0800);
  return { verdict: "redirect", frame: concat(hop.destination, hop.source, type, ip), counter };
}

/** What is asked for the flow's service at the moment, beside its action. */
export const treatmentOf = (state: State, flow: Flow) =>
  flow.treated
    ? state.rules.find(({ service, treatment }) => service === flow.service && treatment)?.treatment
    : undefined;

/** The packet leaves for the last time: is it copied? */
export function copied(state: State, flow: Flow, direction: Direction): void {
  if (!copiesOf(treatmentOf(state, flow)?.mirror)[direction]) return;
  count(state, state.config.mirrors ? "note_mirrored" : "note_not_mirrored");
}
