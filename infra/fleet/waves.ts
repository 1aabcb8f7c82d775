/**
 * Which sites come in which wave?
 *
 * Pure and repeatable: the same fleet and the same plan give the same waves, so that an interrupted roll-out goes on where it
 * was. Sites come in an order that looks random and never changes (by a hash of their names), so that ten percent of a fleet are
 * not its ten percent in one corner.
 */
import { createHash } from "node:crypto";

export interface FleetSite {
  /** Unique. */
  name: string;
  region?: string;
}

/** One step of a plan. Each takes of the sites that no step before has taken. */
export type Step =
  /** These: the canaries. */
  | { sites: readonly string[] }
  /** Until so many percent of the whole fleet have been taken, those of the steps before counted. */
  | { percent: number }
  /** All of a region. */
  | { region: string }
  /** All that are left. */
  | { rest: true };

export interface Wave {
  /** Unique: `1 canary`, `2 25 %`, `3 region north`, `4 rest`. */
  name: string;
  sites: FleetSite[];
}

/** A plan that cannot be meant so; each line names where. */
export class PlanError extends Error {}

const rank = ({ name }: FleetSite): string => createHash("sha256").update(name).digest("hex");

function nameOf(step: Step): string {
  if ("sites" in step) return "canary";
  if ("percent" in step) return `${step.percent} %`;
  return "region" in step ? `region ${step.region}` : "rest";
}

function faultsOf(sites: readonly FleetSite[], steps: readonly Step[]): string[] {
  const faults: string[] = [];
  const names = new Set<string>();
  for (const { name } of sites) {
    if (names.has(name)) faults.push(`sites: "${name}" is there twice`);
    names.add(name);
  }
  let least = 0;
  for (const [index, step] of steps.entries()) {
    const at = `waves[${index}]`;
    if ("sites" in step) {
      for (const name of step.sites) if (!names.has(name)) faults.push(`${at}.sites: there is no site "${name}"`);
    } else if ("percent" in step) {
      if (!(step.percent > least && step.percent <= 100)) {
        faults.push(`${at}.percent: must be above ${least}, which the steps before reach, and at most 100`);
      }
      least = Math.max(least, step.percent);
    } else if ("region" in step && !sites.some(({ region }) => region === step.region)) {
      faults.push(`${at}.region: no site is in "${step.region}"`);
    }
  }
  return faults;
}

/** Waves without sites are left out. What no step takes is in no wave. @throws PlanError that names every fault */
export function wavesOf(sites: readonly FleetSite[], steps: readonly Step[]): Wave[] {
  const faults = faultsOf(sites, steps);
  if (faults.length > 0) throw new PlanError(faults.join("\n"));
  const ranked = new Map(sites.map((site) => [site, rank(site)]));
  const order = [...sites].sort((a, b) => ((ranked.get(a) ?? "") < (ranked.get(b) ?? "") ? -1 : 1));
  const taken = new Set<FleetSite>();
  const waves: Wave[] = [];
  for (const [index, step] of steps.entries()) {
    const left = order.filter((site) => !taken.has(site));
    let chosen: FleetSite[];
    if ("sites" in step) chosen = left.filter(({ name }) => step.sites.includes(name));
    else if ("region" in step) chosen = left.filter(({ region }) => region === step.region);
    else if ("rest" in step) chosen = left;
    else chosen = left.slice(0, Math.max(0, Math.ceil((sites.length * step.percent) / 100) - taken.size));
    for (const site of chosen) taken.add(site);
    if (chosen.length > 0) waves.push({ name: `${index + 1} ${nameOf(step)}`, sites: chosen });
  }
  return waves;
}
