/**
 * May frames be redirected natively to this adapter, or would they vanish?
 *
 * Native redirect hands a frame to the driver of the target. A veth drops it without a word when its *peer*, which is in
 * somebody else's hands, has neither GRO nor a program of its own: the peer has then no ring to put it in. Adapters
 * without XDP transmit (bridges, VLAN and tunnel devices) drop it as well. The sender is told nothing: redirect has
 * succeeded by then. So before a program is attached natively, a marked frame is really redirected to the port (test run
 * with live frames), and the port's counters tell whether the driver took it:
 *
 *   veth   ethtool -S `tx_queue_N_xdp_xmit`, which counts on the peer's ring: unchanged when the peer has none
 *   others any statistic that names XDP transmission, or the link's own `tx_packets`
 *
 * Where nothing rises, frames to that port go generic. The marked frame has the local experimental type 0x88B5 and an
 * address that nobody has.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BpfObject } from "./bpf-object.ts";
import { ipJson, run } from "./command.ts";
import { ETH_P_SLOW } from "./consts.ts";
import type { Link } from "./netdev.ts";

const FRAMES = 4;

export interface ProbeResult {
  native: boolean;
  /** Why not native; undefined when it is. */
  reason?: string;
}

async function sent(name: string): Promise<{ xdp?: number; packets: number }> {
  let xdp: number | undefined;
  const text = await run("ethtool", "-S", name).catch(() => "");
  for (const [, , value] of text.matchAll(/^\s*(\w*xdp_(?:xmit|tx))(?:_packets)?: (\d+)$/gm))
    xdp = (xdp ?? 0) + Number(value);
  const [link] = await ipJson<{ stats64: { tx: { packets: number } } }[]>(`-s link show dev ${name}`);
  return { xdp, packets: link?.stats64.tx.packets ?? 0 };
}

/** `object`: path of build/probe.bpf.o. The adapter must be up. */
export async function probePort(object: string, link: Link): Promise<ProbeResult> {
  const kind = link.linkinfo?.info_kind;
  if (kind === "bridge" || kind === "vlan")
    return { native: false, reason: `a ${kind} device takes no redirected frames` };
  const before = await sent(link.ifname);
  const frame = new Uint8Array(64);
  frame.set([
    0x02,
    0x4f,
    0x66,
    0x66,
    0x72,
    0x01,
    0x02,
    0x4f,
    0x66,
    0x66,
    0x72,
    0x02,
    ETH_P_SLOW >> 8,
    ETH_P_SLOW & 0xff,
  ]);
  frame.set(Buffer.from("offramp probe"), 14);
  try {
    const probe = BpfObject.load(object);
    try {
      probe.map("target").update(0, new Uint8Array(Uint32Array.of(link.ifindex).buffer));
      probe.program("probe").sendThrough(frame, 0, FRAMES);
    } finally {
      probe.close();
    }
  } catch (error) {
    return { native: false, reason: `no frame could be redirected: ${(error as Error).message}` };
  }
  for (let attempt = 0; attempt < 10; attempt++) {
    const after = await sent(link.ifname);
    if ((after.xdp ?? 0) - (before.xdp ?? 0) >= FRAMES) return { native: true };
    if (after.xdp === undefined && after.packets - before.packets >= FRAMES) return { native: true };
    await sleep(5);
  }
  const reason =
    kind === "veth"
      ? "redirected frames do not arrive: the veth's peer has neither GRO nor a program"
      : "redirected frames do not appear in the adapter's counters";
  return { native: false, reason };
}
