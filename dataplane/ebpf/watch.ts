/**
 * How does the control plane see verdicts while somebody looks?
 *
 * Switches the programs' reports on (bpf/fate.h), reads tallies from their table and packets from their ring. What the
 * caches answer is not reported: where such verdicts are asked for, nothing is cached meanwhile. One at a time.
 */
import { addressOctets, addressText, isMapped, stationText } from "../address.ts";
import { counters } from "../counters.ts";
import { DataplaneError } from "../dataplane.ts";
import type { Monitor, MonitorFilter, SeenPacket, Tally, Way } from "../monitor.ts";
import type { BpfMap } from "./bpf-map.ts";
import * as c from "./consts.ts";
import type { Kernel } from "./kernel.ts";
import * as layout from "./layout.ts";
import { Ring } from "./ring.ts";

const ways: readonly Way[] = ["uplink", "downlink", "apps", "pinger"];
/** What bpf/fast.h counts by itself. */
const cached = new Set(["pass_no_rule", "pass_downlink", "take_uplink", "reply_downlink"]);
const LOST = counters.findIndex(({ name }) => name === "note_monitor_lost");

const verdictName = (index: number): string => counters[index]?.name ?? `verdict_${index}`;

/** struct monitor. @throws DataplaneError for a name that no counter has */
export function renderMonitor(filter: MonitorFilter): Uint8Array {
  const verdicts = new Uint8Array(16);
  for (const name of filter.verdicts) {
    const index = counters.findIndex((counter) => counter.name === name);
    if (index < 0) throw new DataplaneError(`no such verdict: ${name}`, "monitor");
    verdicts[index >> 3]! |= 1 << (index & 7);
  }
  const ue = filter.ue === undefined ? new Uint8Array(16) : addressOctets(filter.ue.split("/")[0]!);
  if (!isMapped(ue)) ue.fill(0, 8);
  const uncached = filter.verdicts.some((name) => cached.has(name));
  const enabled = c.MONITOR_ON | (filter.each ? c.MONITOR_EACH : 0) | (uncached ? c.MONITOR_UNCACHED : 0);
  return layout.monitor.encode({ enabled, service: filter.service ?? 0, ue, verdicts });
}

/** `offset`: milliseconds from CLOCK_MONOTONIC to the epoch. */
export function renderSeen(record: Uint8Array, nameOf: (dataplane: number) => string, offset: number): SeenPacket {
  const v = layout.verdictRecord.decode(record);
  const vlans = [(v.link >>> 12) & 0xfff, v.link & 0xfff].filter((id) => id !== 0);
  const icmp = v.protocol === 1 || v.protocol === 58;
  const ports = (icmp && v.ue_port !== 0) || v.protocol === 6 || v.protocol === 17;
  return {
    time: Math.round(Number(v.time / 1000n) / 1000 + offset),
    dataplane: nameOf(v.dataplane),
    way: ways[v.way] ?? "uplink",
    verdict: verdictName(v.verdict),
    service: v.service,
    rule: v.rule,
    octets: v.octets,
    ...(v.outer === 1 && {
      tunnel: {
        source: stationText(v.source),
        destination: stationText(v.destination),
        teid: v.teid,
        vlans,
        ...(v.psc !== 0 && { qfi: (v.psc >>> 8) & 0x3f }),
        message: v.message,
      },
    }),
    ...(v.inner_v6 < 2 && {
      packet: {
        ue: addressText(v.ue),
        remote: addressText(v.remote),
        ...(v.protocol !== 0 && { protocol: v.protocol, dscp: v.dscp }),
        ...(ports && { uePort: v.ue_port, remotePort: v.remote_port }),
      },
    }),
  };
}

function clear(tallies: BpfMap): void {
  for (const key of [...tallies.keys()]) tallies.delete(key);
}

export class Watch {
  #running: Ring | undefined;

  constructor(
    private readonly kernel: Kernel,
    private readonly nameOf: (dataplane: number) => string,
  ) {
    this.#off(); // an earlier run may have ended while somebody looked
  }

  #off(): void {
    this.kernel.map("monitor").update(0, new Uint8Array(layout.monitor.size));
    clear(this.kernel.map("tallies"));
  }

  #lost(): number {
    let lost = 0n;
    for (let plane = 0; plane < c.MAX_DATAPLANES; plane++) lost += this.kernel.counterOf(plane, LOST).packets;
    return Number(lost);
  }

  /** @throws DataplaneError when one runs already, or for an unknown verdict. */
  start(filter: MonitorFilter, listener: (packet: SeenPacket) => void): Monitor {
    if (this.#running) throw new DataplaneError("a monitor runs already", "monitor");
    const { kernel, nameOf } = this;
    const settings = renderMonitor(filter);
    const offset = Date.now() - Number(process.hrtime.bigint() / 1000n) / 1000;
    const ring = new Ring(kernel.map("verdicts"), (record) => listener(renderSeen(record, nameOf, offset)));
    ring.skip();
    ring.start();
    this.#running = ring;
    const before = this.#lost();
    kernel.map("monitor").update(0, settings);
    if (layout.monitor.decode(settings).enabled & c.MONITOR_UNCACHED) kernel.raiseGeneration();
    return {
      tallies: () => this.#tallies(),
      lost: () => this.#lost() - before,
      stop: () => {
        if (this.#running === ring) this.stop();
      },
    };
  }

  #tallies(): Tally[] {
    const all: Tally[] = [];
    for (const { keys, values, count } of this.kernel.map("tallies").batches(512)) {
      const [key, value] = [layout.viewOver(keys), layout.viewOver(values)];
      for (let i = 0; i < count; i++) {
        const k = layout.tallyKey.read(key, i * layout.tallyKey.size);
        const t = layout.tally.read(value, i * layout.tally.size);
        all.push({
          dataplane: this.nameOf(k.dataplane),
          way: ways[k.way] ?? "uplink",
          verdict: verdictName(k.verdict),
          service: k.service,
          rule: k.rule,
          packets: Number(t.packets),
          bytes: Number(t.bytes),
        });
      }
    }
    return all;
  }

  stop(): void {
    const ring = this.#running;
    if (!ring) return;
    this.#running = undefined;
    this.#off();
    ring.close();
  }
}
