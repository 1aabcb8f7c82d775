/**
 * What is a fleet that only exists in memory?
 *
 * Sites with a version each, that break, are away, or fail to change as they were told to. Time does not pass. What it costs to
 * simulate a site is next to nothing, so ten thousand of them show what the roll-out itself costs.
 */
import { AwayError, type Driver, type Observation } from "../../infra/fleet/driver.ts";
import type { FleetSite } from "../../infra/fleet/waves.ts";

export interface Fate {
  /** Cannot be reached for so many requests. */
  away?: number;
  /** Refuses the change. */
  refuses?: boolean;
  /** Is not ready with the new version. */
  breaks?: boolean;
  /** Cannot be taken back the first so many times. */
  sticks?: number;
}

export class SimulatedFleet implements Driver<string> {
  readonly versions = new Map<string, string>();
  readonly touched: string[] = [];
  running = 0;
  mostAtOnce = 0;
  readonly #fates: Map<string, Fate>;
  /** Called at each moment at which a crash would leave something else behind. */
  moment: () => void = () => undefined;

  constructor(
    readonly sites: readonly FleetSite[],
    fates: Readonly<Record<string, Fate>>,
    readonly target = "new",
  ) {
    for (const { name } of sites) this.versions.set(name, "old");
    this.#fates = new Map(Object.entries(fates).map(([name, fate]) => [name, { ...fate }]));
  }

  async #ask<T>({ name }: FleetSite, work: () => T): Promise<T> {
    this.running += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.running);
    await new Promise<void>((soon) => setImmediate(soon));
    this.running -= 1;
    const fate = this.#fates.get(name);
    if (fate?.away) {
      fate.away -= 1;
      throw new AwayError("no answer");
    }
    const done = work();
    this.moment();
    return done;
  }

  current = (site: FleetSite) => this.#ask(site, () => this.versions.get(site.name) as string);

  preview = async () => "new version";

  deploy = (site: FleetSite) =>
    this.#ask(site, () => {
      this.touched.push(site.name);
      if (this.#fates.get(site.name)?.refuses) throw new Error("refused");
      this.versions.set(site.name, this.target);
      return undefined;
    });

  restore = (site: FleetSite, previous: string) =>
    this.#ask(site, () => {
      const fate = this.#fates.get(site.name);
      if (fate?.sticks) {
        fate.sticks -= 1;
        throw new Error("cannot be taken back");
      }
      this.versions.set(site.name, previous);
    });

  observe = (site: FleetSite): Promise<Observation> =>
    this.#ask(site, () => {
      const broken = this.versions.get(site.name) === this.target && this.#fates.get(site.name)?.breaks === true;
      return { ready: !broken, metrics: { drops: broken ? 50 : 1 } };
    });
}
