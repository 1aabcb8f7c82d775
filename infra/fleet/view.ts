/**
 * How does a roll-out look while it goes on, and when it is over?
 *
 * Pure: text of a given width.
 */
import type { SiteState } from "./journal.ts";
import type { Outcome } from "./rollout.ts";
import type { Wave } from "./waves.ts";

export interface Progress {
  wave: Wave;
  /** Of the wave, by state. */
  states: ReadonlyMap<SiteState, number>;
}

const over: readonly SiteState[] = ["good", "away", "restored", "stuck"];
const changed: readonly SiteState[] = ["deployed", "bad", "restoring"];

/** `2 25 %  [######====......]  61/100  good 40, deployed 21`: # is judged, = is changed. */
export function bar({ wave, states }: Progress, width = 40): string {
  const sum = (of: readonly SiteState[]) => of.reduce((total, state) => total + (states.get(state) ?? 0), 0);
  const all = wave.sites.length;
  const [done, begun] = [sum(over), sum(over) + sum(changed)];
  const columns = (sites: number) => Math.floor((sites * width) / Math.max(1, all));
  const drawn = "#".repeat(columns(done)) + "=".repeat(columns(begun) - columns(done));
  const said = [...states].filter(([, count]) => count > 0).map(([state, count]) => `${state} ${count}`);
  return `${wave.name}  [${drawn.padEnd(width, ".")}]  ${begun}/${all}  ${said.join(", ")}`;
}

const meanings: Record<keyof Outcome["sites"], string> = {
  good: "changed, and well",
  restored: "were bad; as before again",
  away: "could not be reached; the next run catches them up",
  stuck: "could not be taken back: look at these",
  bad: "bad, not taken back yet",
  deploying: "begun, outcome unknown",
  deployed: "changed, not judged",
  restoring: "being taken back",
  waiting: "not begun",
};

/** One line for each state that sites are in. */
export function summary({ result, wave, why, sites }: Outcome): string {
  const rows = (Object.keys(meanings) as (keyof typeof meanings)[]).filter((state) => sites[state] > 0);
  const width = Math.max(0, ...rows.map((state) => String(sites[state]).length));
  const lines = rows.map((state) => `${String(sites[state]).padStart(width)}  ${state.padEnd(9)}  ${meanings[state]}`);
  return [...lines, result === "done" ? "done" : `stopped at wave ${wave}: ${why}`].join("\n");
}
