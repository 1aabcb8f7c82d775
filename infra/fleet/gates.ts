/**
 * Is a site as well as it was before the change?
 *
 *   first ──baseline──▶ before ──change──▶ after ──soak──▶ now
 *
 * Pure. Looks at what the site says of itself at these four moments: is it ready, and have its metrics stayed within the bounds
 * that the plan sets. What a counter says is how much it grew during the soak, beside how much it grew during the baseline. A
 * metric that is missing after the change is a reason too: silence is no health.
 */
import type { Observation } from "./driver.ts";

interface Bounds {
  /** It may be at most, at least this. */
  most?: number;
  least?: number;
  /** … or so many times what it was before. Where it was 0 before, or is not known, these say nothing. */
  mostTimes?: number;
  leastTimes?: number;
}

/** Metrics as a site's /metrics names them; labels that are not given may be anything, and what matches is summed. */
export type Gate = Bounds &
  (
    | /** Its value now, beside that before the change. */ { metric: string }
    | /** A counter: how much it grows a second. */ { rate: string }
    | /** Counters: how much one grows for each one of another. */ {
        share: string;
        of: string;
      } /** Must be the same when the soak ends as when it began: `process_start_time_seconds`, so that nothing restarts. */
    | { steady: string }
  );

/** What gates need of an observation; it is kept in the journal. */
export interface Sample {
  /** Milliseconds since 1970. */
  at: number;
  ready: boolean;
  /** By the gates' own names. What the site does not know is absent. */
  values: Readonly<Record<string, number>>;
}

export interface Samples {
  /** Absent: there was no baseline. */
  first?: Sample;
  before: Sample;
  /** Absent: the site did not answer just after the change. */
  after?: Sample;
}

const labelsOf = (text: string): string[] => [...text.matchAll(/[A-Za-z_]\w*="(?:[^"\\]|\\.)*"/g)].map(([one]) => one);
const nameOf = (metric: string): string => /^[^{]*/.exec(metric)?.[0] ?? "";

export const namesOf = (gate: Gate): string[] =>
  "metric" in gate
    ? [gate.metric]
    : "rate" in gate
      ? [gate.rate]
      : "share" in gate
        ? [gate.share, gate.of]
        : [gate.steady];

/** Is this how a metric is named? */
export const isMetric = (text: string): boolean =>
  /^[A-Za-z_:][\w:]*(\{[A-Za-z_]\w*="(?:[^"\\]|\\.)*"(,[A-Za-z_]\w*="(?:[^"\\]|\\.)*")*\})?$/.test(text);

/** Sum of all that match. A metric that the site knows, but has no such labels at the moment, is 0. */
function sumOf(metrics: Readonly<Record<string, number>>, wanted: string): number | undefined {
  if (metrics[wanted] !== undefined) return metrics[wanted];
  const [name, labels] = [nameOf(wanted), labelsOf(wanted)];
  let sum: number | undefined;
  for (const [metric, value] of Object.entries(metrics)) {
    if (nameOf(metric) !== name) continue;
    const has = labels.length === 0 ? [] : labelsOf(metric);
    sum = (sum ?? 0) + (labels.every((label) => has.includes(label)) ? value : 0);
  }
  return sum;
}

export function sampleOf({ ready, metrics }: Observation, gates: readonly Gate[], at: number): Sample {
  const values: Record<string, number> = {};
  for (const name of new Set(gates.flatMap(namesOf))) {
    const sum = sumOf(metrics, name);
    if (sum !== undefined) values[name] = sum;
  }
  return { at, ready, values };
}

/** Growth of a counter; one that has fallen was begun anew. Undefined: not known. */
function growth(from: Sample | undefined, to: Sample | undefined, name: string): number | undefined {
  const [old, value] = [from?.values[name], to?.values[name]];
  if (old === undefined || value === undefined) return undefined;
  return value < old ? value : value - old;
}

function rateOf(from: Sample | undefined, to: Sample | undefined, name: string): number | undefined {
  const grown = growth(from, to, name);
  const seconds = ((to?.at ?? 0) - (from?.at ?? 0)) / 1000;
  return grown === undefined || seconds <= 0 ? undefined : grown / seconds;
}

/** Undefined also where the other did not grow. */
function shareOf(from: Sample | undefined, to: Sample | undefined, name: string, of: string): number | undefined {
  const [part, whole] = [growth(from, to, name), growth(from, to, of)];
  return part === undefined || !whole ? undefined : part / whole;
}

const text = (value: number): string => String(Number(value.toPrecision(4)));

function within(what: string, value: number, old: number | undefined, bounds: Bounds): string[] {
  const { most, least, mostTimes, leastTimes } = bounds;
  const reasons: string[] = [];
  if (most !== undefined && value > most) reasons.push(`${what} is ${text(value)}, at most ${most} is good`);
  if (least !== undefined && value < least) reasons.push(`${what} is ${text(value)}, at least ${least} is good`);
  if (old === undefined || old === 0) return reasons;
  const times = value / old;
  const said = `${what} is ${text(value)} after ${text(old)}`;
  if (mostTimes !== undefined && times > mostTimes) reasons.push(`${said}, at most ${mostTimes} times is good`);
  if (leastTimes !== undefined && times < leastTimes) reasons.push(`${said}, at least ${leastTimes} times is good`);
  return reasons;
}

/** Why the site is not well; empty: it is. */
export function judge({ first, before, after }: Samples, now: Sample, gates: readonly Gate[]): string[] {
  const reasons: string[] = [];
  if (!now.ready) reasons.push("it is not ready");
  // Where nobody answered just after the change, what came since then counts as well.
  const since = after ?? before;
  for (const gate of gates) {
    const missing = namesOf(gate).filter((name) => now.values[name] === undefined);
    if (missing.length > 0) {
      reasons.push(...missing.map((name) => `${name} is missing`));
    } else if ("metric" in gate) {
      reasons.push(...within(gate.metric, now.values[gate.metric] as number, before.values[gate.metric], gate));
    } else if ("rate" in gate) {
      const rate = rateOf(since, now, gate.rate);
      const old = rateOf(first, before, gate.rate);
      if (rate !== undefined) reasons.push(...within(`${gate.rate} per second`, rate, old, gate));
    } else if ("share" in gate) {
      const { share, of } = gate;
      const what = `${share} of ${of}`;
      const [grown, old] = [shareOf(since, now, share, of), shareOf(first, before, share, of)];
      if (grown !== undefined) reasons.push(...within(what, grown, old, gate));
      else if (old && (gate.least !== undefined || gate.leastTimes !== undefined))
        reasons.push(`${what} was ${text(old)}, and now ${of} stands still`);
    } else if (since.values[gate.steady] !== now.values[gate.steady]) {
      const old = since.values[gate.steady];
      reasons.push(`${gate.steady} has changed from ${old ?? "nothing"} to ${now.values[gate.steady]}`);
    }
  }
  return reasons;
}

/** Metrics in Prometheus' text format, by name with labels as they stand. One that is announced without samples is 0. */
export function readMetrics(body: string): Record<string, number> {
  const found: Record<string, number> = {};
  const announced: string[] = [];
  const seen = new Set<string>();
  for (const line of body.split("\n")) {
    const [, name, value] = /^([A-Za-z_:][\w:]*(?:\{.*\})?)\s+(\S+)(?:\s+\d+)?$/.exec(line) ?? [];
    if (name !== undefined) {
      found[name] = Number(value);
      seen.add(nameOf(name));
    } else {
      const [, type] = /^# TYPE (\S+) (?:counter|gauge)$/.exec(line) ?? [];
      if (type !== undefined) announced.push(type);
    }
  }
  for (const name of announced) if (!seen.has(name)) found[name] = 0;
  return found;
}
