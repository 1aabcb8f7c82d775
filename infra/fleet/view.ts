/**
 * How does a roll-out look while it goes on, and when it is over?
 *
 * Text is made by pure functions; a terminal has a bar that moves, anything else gets a line for each site that came to an end.
 */
import type { Journal, SiteState } from "./journal.ts";
import type { Outcome } from "./rollout.ts";
import type { FleetSite, Wave } from "./waves.ts";

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
  const end = result === "stopped" ? `stopped at wave ${wave}: ${why}` : result;
  return [...lines, end].join("\n");
}

/** `would`: what changes at a site, where it was asked. */
export function wavesText(waves: readonly Wave[], would: ReadonlyMap<string, string>): string {
  const lines = waves.flatMap(({ name, sites }) => [
    `${name}: ${sites.length} ${sites.length === 1 ? "site" : "sites"}`,
    ...sites
      .slice(0, would.size > 0 ? undefined : 5)
      .map((site) => `  ${site.name}${would.has(site.name) ? `: ${would.get(site.name)}` : ""}`),
    ...(would.size === 0 && sites.length > 5 ? [`  … and ${sites.length - 5} more`] : []),
  ]);
  return lines.join("\n");
}

export interface Status {
  process?: number;
  waves: { wave: string; state: string }[];
  at: { site: string; wave: string; state: string; why?: string; changes?: string }[];
}

export function statusLines({ process, waves, at }: Status, all: boolean): string[] {
  const shown = at.filter(({ state }) => all || !["good", "waiting"].includes(state));
  const width = (of: readonly string[]) => Math.max(0, ...of.map((one) => one.length));
  const [names, states] = [width(shown.map(({ site }) => site)), width(shown.map(({ state }) => state))];
  return [
    ...(process === undefined ? [] : [`process ${process} is at it`]),
    ...waves.map(({ wave, state }) => `${wave}: ${state}`),
    ...shown.map(({ site, state, why, changes }) =>
      `  ${site.padEnd(names)}  ${state.padEnd(states)}  ${why ?? changes ?? ""}`.trimEnd(),
    ),
  ];
}

/** Follows a roll-out. */
export class Screen {
  readonly #states = new Map<string, Map<string, SiteState>>();
  readonly #out: NodeJS.WriteStream;
  #drawn = false;

  constructor(out: NodeJS.WriteStream, waves: readonly Wave[], journal: Pick<Journal, "sites">) {
    this.#out = out;
    for (const { name, sites } of waves) {
      const known = sites.flatMap((site): [string, SiteState][] => {
        const state = journal.sites.get(site.name)?.state;
        return state === undefined ? [] : [[site.name, state]];
      });
      this.#states.set(name, new Map(known));
    }
  }

  changed = (site: FleetSite, state: SiteState, wave: Wave): void => {
    const of = this.#states.get(wave.name);
    of?.set(site.name, state);
    if (!this.#out.isTTY) {
      if (over.includes(state) || state === "bad") this.#out.write(`${wave.name}: ${site.name} ${state}\n`);
      return;
    }
    const states = new Map<SiteState, number>();
    for (const one of of?.values() ?? []) states.set(one, (states.get(one) ?? 0) + 1);
    this.#out.write(`\r\x1b[K${bar({ wave, states }, 30).slice(0, (this.#out.columns ?? 80) - 1)}`);
    this.#drawn = true;
  };

  end(): void {
    if (this.#drawn) this.#out.write("\n");
    this.#drawn = false;
  }
}
