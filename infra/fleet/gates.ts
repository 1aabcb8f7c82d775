/**
 * Is a site as well as it was before the change?
 *
 * Pure. Looks at what the site says of itself, before and after: is it ready, and have its metrics stayed within the bounds
 * that the plan sets. A metric that is missing after the change is a reason too: silence is no health.
 */
import type { Observation } from "./driver.ts";

export interface Gate {
  /** As the site's /metrics names it, with labels if it has any. */
  metric: string;
  /** After the change it may be at most, at least this. */
  most?: number;
  least?: number;
  /** … or so many times what it was before. Where it was 0 before, `mostTimes` says nothing. */
  mostTimes?: number;
  leastTimes?: number;
}

/** Why the site is not well; empty: it is. */
export function judge(before: Observation, after: Observation, gates: readonly Gate[]): string[] {
  const reasons: string[] = [];
  if (!after.ready) reasons.push("it is not ready");
  for (const { metric, most, least, mostTimes, leastTimes } of gates) {
    const value = after.metrics[metric];
    const old = before.metrics[metric];
    if (value === undefined) {
      reasons.push(`${metric} is missing`);
      continue;
    }
    if (most !== undefined && value > most) reasons.push(`${metric} is ${value}, at most ${most} is good`);
    if (least !== undefined && value < least) reasons.push(`${metric} is ${value}, at least ${least} is good`);
    if (old === undefined || old === 0) continue;
    const times = value / old;
    const said = `${metric} is ${value} after ${old}`;
    if (mostTimes !== undefined && times > mostTimes) reasons.push(`${said}, at most ${mostTimes} times is good`);
    if (leastTimes !== undefined && times < leastTimes) reasons.push(`${said}, at least ${leastTimes} times is good`);
  }
  return reasons;
}

/** Metrics in Prometheus' text format, by name with labels as they stand. Lines that are none are left out. */
export function readMetrics(text: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const line of text.split("\n")) {
    const [, name, value] = /^([A-Za-z_:][\w:]*(?:\{.*\})?)\s+(\S+)(?:\s+\d+)?$/.exec(line) ?? [];
    if (name !== undefined) found[name] = Number(value);
  }
  return found;
}
