/**
 * What did the data plane do with these packets?
 *
 * `offramp capture`: taps see nothing under native XDP (DESIGN 10), so the program itself copies what a filter meets.
 * The kernel's part of the filter is UE, TEID, outer or inner; verdicts, data plane and service are chosen here. Each
 * packet of the file carries the name of its verdict, the same as in metrics and trace.
 */
import { type CounterKind, type CounterName, counters } from "../../dataplane/counters.ts";
import type { CapturedPacket, CaptureFilter, SlowPath } from "../../dataplane/slow-path.ts";
import { pcapngHeader, pcapngPacket } from "./pcapng.ts";

export interface CaptureOptions extends Partial<CaptureFilter> {
  dataplane?: string;
  service?: number;
  /** Names or kinds of verdicts: `take_uplink`, `drop`. Absent or empty: any. */
  verdicts?: readonly string[];
  /** Packets after which the capture ends by itself. */
  count?: number;
}

export interface Capture {
  readonly packets: number;
  stop(): void;
  /** Settles when the capture has ended, by `stop` or by `count`. */
  readonly ended: Promise<void>;
}

const verdictOf = (packet: CapturedPacket): CounterName | undefined => counters[packet.verdict];

/** What the comment in the file says: `take_uplink dataplane=s1 port=66 service=3`. */
export function commentOf(packet: CapturedPacket): string {
  const verdict = verdictOf(packet)?.name ?? `verdict_${packet.verdict}`;
  const service = packet.service > 0 ? ` service=${packet.service}` : "";
  return `${verdict} dataplane=${packet.dataplane} port=${packet.port}${service}`;
}

/** The part of the filter that the kernel does not do. */
export function wanted(packet: CapturedPacket, options: CaptureOptions): boolean {
  if (options.dataplane !== undefined && packet.dataplane !== options.dataplane) return false;
  if (options.service !== undefined && packet.service !== options.service) return false;
  if (!options.verdicts || options.verdicts.length === 0) return true;
  const verdict = verdictOf(packet);
  return verdict !== undefined && options.verdicts.some((name) => name === verdict.name || name === verdict.kind);
}

/** @throws RangeError naming the first entry of `verdicts` that is neither a name nor a kind. */
export function checkVerdicts(verdicts: readonly string[]): void {
  const kinds = new Set<CounterKind>(counters.map((counter) => counter.kind));
  for (const name of verdicts) {
    if (!kinds.has(name as CounterKind) && !counters.some((counter) => counter.name === name)) {
      throw new RangeError(`no such verdict: ${name}`);
    }
  }
}

/**
 * Captures into `write`, which gets the octets of a pcapng file piece by piece.
 *
 * @throws DataplaneError when a capture runs already; RangeError for an unknown verdict.
 */
export function startCapture(
  slow: Pick<SlowPath, "capture">,
  options: CaptureOptions,
  write: (octets: Uint8Array) => void,
): Capture {
  checkVerdicts(options.verdicts ?? []);
  const { outer = true, inner = true, snap = 65535, teid, ue } = options;
  let packets = 0;
  let running = true;
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const halt = slow.capture({ outer, inner, snap, teid, ue }, (packet) => {
    if (!running || !wanted(packet, options)) return;
    packets++;
    write(pcapngPacket({ ...packet, comment: commentOf(packet) }));
    if (packets === options.count) stop();
  });
  const stop = (): void => {
    if (!running) return;
    running = false;
    halt();
    end();
  };
  write(pcapngHeader(snap));
  return {
    get packets() {
      return packets;
    },
    stop,
    ended,
  };
}
