/**
 * What happens to packets at this moment, and why?
 *
 * `offramp monitor`: each second one line for each thing that happened (data plane, side, verdict, service, rule), with how
 * often, and a packet that it happened to. The numbers are exact; with `each` the packets are lines of their own, and what
 * came too fast to be described is counted.
 */
import { type CounterKind, counters } from "../../dataplane/counters.ts";
import type { Dataplane } from "../../dataplane/dataplane.ts";
import type { Monitor, SeenPacket, Tally, Way } from "../../dataplane/monitor.ts";

export interface MonitorOptions {
  /** Names or kinds of verdicts: `drop_protected`, `drop`. Absent or empty: all. */
  verdicts?: readonly string[];
  /** Index of a service. */
  service?: number;
  ue?: string;
  each?: boolean;
}

/** What is the same for all packets of a line. */
interface Fate {
  /** Milliseconds since the epoch. */
  time: number;
  dataplane: string;
  way: Way;
  verdict: string;
  kind: CounterKind;
  /** What the verdict means. */
  text: string;
  service?: string;
  /** Id, as `plan` and `trace` show it. */
  rule?: number;
}
export type PacketLine = Fate & { type: "packet"; octets: number } & Pick<SeenPacket, "tunnel" | "packet">;
export type TallyLine = Fate & { type: "tally"; packets: number; bytes: number } & Pick<
    SeenPacket,
    "tunnel" | "packet"
  >;
/** So many packets were not described since the line before. */
export interface LostLine {
  type: "lost";
  time: number;
  packets: number;
}
export type MonitorLine = PacketLine | TallyLine | LostLine;

const byName = new Map(counters.map((counter) => [counter.name, counter]));
const everyMs = 1000;

/** Names of counters. @throws RangeError naming the first that is neither a name nor a kind */
export function verdictNames(wanted: readonly string[] = []): string[] {
  const all = counters.filter(({ kind }) => kind !== "note");
  if (wanted.length === 0) return all.map(({ name }) => name);
  for (const word of wanted) {
    if (!all.some(({ name, kind }) => name === word || kind === word)) throw new RangeError(`no such verdict: ${word}`);
  }
  return all.filter(({ name, kind }) => wanted.includes(name) || wanted.includes(kind)).map(({ name }) => name);
}

const keyOf = ({ dataplane, way, verdict, service, rule }: Tally | SeenPacket): string =>
  [dataplane, way, verdict, service, rule].join(" ");

export interface Running {
  stop(): void;
}

/**
 * `nameOf` knows the name of a service by its index, or by the id of one of its rules. `write` gets the lines; what it
 * refuses (false) counts as lost.
 *
 * @throws DataplaneError when one runs already; RangeError for an unknown verdict.
 */
export function startMonitor(
  monitor: NonNullable<Dataplane["monitor"]>,
  options: MonitorOptions,
  nameOf: (service: number, rule: number) => string | undefined,
  write: (line: MonitorLine) => boolean,
): Running {
  const { each = false, ue, service } = options;
  const before = new Map<string, Tally>();
  const examples = new Map<string, SeenPacket>();
  let refused = 0;
  let told = 0;
  const put = (line: MonitorLine): void => {
    if (!write(line)) refused++;
  };
  const fate = (one: Tally | SeenPacket, time: number): Fate => {
    const { kind = "note", text = "" } = byName.get(one.verdict) ?? {};
    const name = one.service || one.rule ? nameOf(one.service, one.rule) : undefined;
    const { dataplane, way, verdict, rule } = one;
    return { time, dataplane, way, verdict, kind, text, ...(name && { service: name }), ...(rule > 0 && { rule }) };
  };
  const seen = ({ tunnel, packet }: SeenPacket) => ({ ...(tunnel && { tunnel }), ...(packet && { packet }) });
  const running: Monitor = monitor(
    { verdicts: verdictNames(options.verdicts), each, ...(ue !== undefined && { ue }), ...(service && { service }) },
    (packet) => {
      if (each) put({ type: "packet", ...fate(packet, packet.time), octets: packet.octets, ...seen(packet) });
      else examples.set(keyOf(packet), packet);
    },
  );
  const turn = (): void => {
    const time = Date.now();
    if (!each) {
      for (const tally of running.tallies()) {
        const key = keyOf(tally);
        const old = before.get(key);
        const packets = tally.packets - (old?.packets ?? 0);
        if (packets === 0) continue;
        before.set(key, tally);
        const example = examples.get(key);
        const bytes = tally.bytes - (old?.bytes ?? 0);
        put({ type: "tally", ...fate(tally, time), packets, bytes, ...(example && seen(example)) });
      }
      examples.clear();
    }
    const lost = running.lost() + refused;
    if (lost > told) put({ type: "lost", time, packets: lost - told });
    told = lost;
  };
  const timer = setInterval(turn, everyMs);
  let ended = false;
  return {
    stop: () => {
      if (ended) return;
      ended = true;
      clearInterval(timer);
      turn();
      running.stop();
    },
  };
}
