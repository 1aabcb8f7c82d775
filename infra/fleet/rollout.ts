/**
 * How does a change reach thousands of sites without breaking them?
 *
 *   for each wave:  change its sites, so many at a time ─▶ wait ─▶ judge each ─▶ too many bad? take the wave back, and stop
 *   at the end:     those that were away are tried again; who still is stays for the next `run`
 *
 * A site that was away before anything was changed there is no failure: it is caught up later. One that is away after its change
 * may well be so because of it, and is bad. Bad sites within what the plan allows are taken back one by one. Everything is in the
 * journal before it counts, so whoever runs the same roll-out again goes on where it was, and a wave that was being taken back
 * is taken back to its end.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { AwayError, type Driver } from "./driver.ts";
import { type Gate, judge, type Sample, type Samples, sampleOf } from "./gates.ts";
import type { Entry, Journal, SiteState } from "./journal.ts";
import { type FleetSite, type Step, type Wave, wavesOf } from "./waves.ts";

export interface Plan {
  /** Of the roll-out; the journal is of this one alone. */
  id: string;
  sites: readonly FleetSite[];
  waves: readonly Step[];
  /** Sites that are worked on at a time. Default: 20. */
  parallel?: number;
  /** Milliseconds between the last change of a wave and its judgement. Default: 60 000. */
  soak?: number;
  /** Milliseconds for which a wave's sites are watched before they are changed: what gates compare with. Default: 0. */
  baseline?: number;
  gates?: readonly Gate[];
  /** Of a wave's sites, how many may be bad before it is taken back whole. Default: 0. */
  allowed?: { count?: number; percent?: number };
  /** How often a site that is bad is looked at again before it is believed. Default: 2. */
  looks?: number;
  /** Stands for what is rolled out: a journal is of this alone. */
  digest?: string;
  /** Rounds in which those that were away are tried again at the end. Default: 1. */
  catchUp?: number;
}

export interface Outcome {
  /** `done`: every wave has passed. `stopped`: a wave was taken back; those after it were not begun. */
  result: "done" | "stopped" | "under way";
  /** The wave that was taken back, and why. */
  wave?: string;
  why?: string;
  /** Sites by state; sites that were not begun are `waiting`. */
  sites: Record<SiteState | "waiting", number>;
}

export interface RolloutOptions<Previous> {
  plan: Plan;
  driver: Driver<Previous>;
  journal: Journal;
  /** For a progress bar. */
  changed?: (site: FleetSite, state: SiteState, wave: Wave) => void;
  /** Milliseconds. */
  wait?: (ms: number) => Promise<unknown>;
  signal?: AbortSignal;
}

type States = readonly (SiteState | undefined)[];
/** Of a wave under way: it was bad, whatever was done about it since. */
const wasBad: States = ["bad", "restoring", "restored", "stuck"];
/** Nothing more is to be deployed there. */
const settled: States = ["deployed", "good", ...wasBad];
const lookAgainMs = 2_000;

/** Runs `work` for each, so many at a time. Stops taking up more once `over` says so. */
async function pooled<T>(all: readonly T[], width: number, work: (one: T) => Promise<void>, over = () => false) {
  const queue = all.values();
  const worker = async () => {
    for (const one of queue) {
      if (over()) return;
      await work(one);
    }
  };
  // One that fails, as when the whole is interrupted, does not leave the others behind.
  const ends = await Promise.allSettled(Array.from({ length: Math.min(width, all.length) }, worker));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
}

/** What makes it this plan and no other. */
const planOf = ({ sites, waves, digest }: Plan): string => {
  const text = JSON.stringify([sites.map(({ name }) => name).sort(), waves, digest]);
  return createHash("sha256").update(text).digest("hex");
};

function countOf(plan: Plan, journal: Journal): Outcome["sites"] {
  const sites = {
    waiting: 0,
    deploying: 0,
    deployed: 0,
    good: 0,
    bad: 0,
    away: 0,
    restoring: 0,
    restored: 0,
    stuck: 0,
  };
  for (const { name } of plan.sites) sites[journal.sites.get(name)?.state ?? "waiting"] += 1;
  return sites;
}

/** As far as the journal says; nobody is asked. */
export function outcomeOf(plan: Plan, journal: Journal): Outcome {
  const states = wavesOf(plan.sites, plan.waves).map(({ name }) => [name, journal.waves.get(name)] as const);
  const sites = countOf(plan, journal);
  const [stopped] = states.find(([, state]) => state === "stopped") ?? [];
  if (stopped !== undefined)
    return { result: "stopped", wave: stopped, why: journal.reasons.get(stopped) ?? "it was taken back", sites };
  return { result: states.every(([, state]) => state === "passed") ? "done" : "under way", sites };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Rollout<Previous> {
  readonly waves: readonly Wave[];
  readonly #options: RolloutOptions<Previous>;
  readonly #wait: (ms: number) => Promise<unknown>;
  /** Samples at the beginning of the baseline. */
  readonly #first = new Map<string, Sample>();

  /** @throws PlanError */
  constructor(options: RolloutOptions<Previous>) {
    this.#options = options;
    this.waves = wavesOf(options.plan.sites, options.plan.waves);
    this.#wait = options.wait ?? ((ms) => sleep(ms, undefined, { signal: options.signal }));
  }

  /** @throws Error when the journal is of another roll-out, or cannot be written; `signal`'s reason when it was interrupted */
  async run(): Promise<Outcome> {
    const { plan, journal } = this.#options;
    await journal.begin(plan.id, planOf(plan));
    for (const wave of this.waves) {
      const known = journal.waves.get(wave.name);
      if (known === "passed") continue;
      const why =
        known === "stopping" || known === "stopped"
          ? (journal.reasons.get(wave.name) ?? "it was being taken back")
          : await this.#pass(wave);
      if (why === undefined) continue;
      if (known !== "stopped") await this.#takeBack(wave, why);
      else await this.#each(this.#of("stuck"), (site) => this.#restore(wave, site));
      return { result: "stopped", wave: wave.name, why, sites: this.#count() };
    }
    for (let round = 0; round < (plan.catchUp ?? 1); round += 1) if (!(await this.#catchUp())) break;
    return { result: "done", sites: this.#count() };
  }

  #count = (): Outcome["sites"] => countOf(this.#options.plan, this.#options.journal);

  #stateOf = ({ name }: FleetSite): SiteState | undefined => this.#options.journal.sites.get(name)?.state;

  #of = (...states: States): FleetSite[] =>
    this.waves.flatMap(({ sites }) => sites).filter((site) => states.includes(this.#stateOf(site)));

  async #note(
    wave: Wave,
    site: FleetSite,
    state: SiteState,
    more: Omit<Extract<Entry, { kind: "site" }>, "kind" | "site" | "state"> = {},
  ) {
    await this.#options.journal.write({ kind: "site", site: site.name, state, ...more });
    this.#options.changed?.(site, state, wave);
  }

  #most({ sites }: Wave): number {
    const { count, percent } = this.#options.plan.allowed ?? {};
    return Math.max(count ?? 0, Math.floor((sites.length * (percent ?? 0)) / 100));
  }

  #bad = ({ sites }: Wave): FleetSite[] => sites.filter((site) => wasBad.includes(this.#stateOf(site)));

  /** Undefined: it has passed, and what was bad of it is as before. Otherwise why it has not. */
  async #pass(wave: Wave): Promise<string | undefined> {
    const { journal, plan } = this.#options;
    await journal.write({ kind: "wave", wave: wave.name, state: "begun" });
    const tooMany = () => this.#bad(wave).length > this.#most(wave);
    await this.#watch(wave.sites);
    await this.#each(wave.sites, (site) => this.#deploy(wave, site), tooMany);
    const changed = () => wave.sites.filter((site) => this.#stateOf(site) === "deployed");
    if (!tooMany() && changed().length > 0) {
      await this.#wait(plan.soak ?? 60_000);
      await this.#each(changed(), (site) => this.#judge(wave, site), tooMany);
    }
    if (tooMany()) return this.#reason(wave);
    await this.#each(this.#bad(wave), (site) => this.#restore(wave, site));
    await journal.write({ kind: "wave", wave: wave.name, state: "passed" });
    return undefined;
  }

  #reason(wave: Wave): string {
    const bad = this.#bad(wave);
    const first = bad.slice(0, 3).map(({ name }) => `${name}: ${this.#options.journal.sites.get(name)?.why ?? "bad"}`);
    const more = bad.length > first.length ? `; and ${bad.length - first.length} more` : "";
    return `${bad.length} of ${wave.sites.length} sites are bad, ${this.#most(wave)} may be: ${first.join("; ")}${more}`;
  }

  /** @throws the reason of the signal, between two sites */
  async #each(
    sites: readonly FleetSite[],
    work: (site: FleetSite) => Promise<void>,
    over = () => false,
  ): Promise<void> {
    const { plan, signal } = this.#options;
    await pooled(sites, plan.parallel ?? 20, work, () => signal?.aborted === true || over());
    signal?.throwIfAborted();
  }

  async #sample(site: FleetSite): Promise<Sample> {
    const { driver, plan } = this.#options;
    return sampleOf(await driver.observe(site), plan.gates ?? [], Date.now());
  }

  /** The baseline of sites that were not changed yet. */
  async #watch(sites: readonly FleetSite[]): Promise<void> {
    const { journal, plan } = this.#options;
    const untouched = sites.filter(({ name }) => journal.sites.get(name)?.previous === undefined);
    if (!plan.baseline || untouched.length === 0) return;
    await this.#each(untouched, async (site) => {
      try {
        this.#first.set(site.name, await this.#sample(site));
      } catch {
        // Whoever is away now is asked again when it is changed.
      }
    });
    if (this.#first.size > 0) await this.#wait(plan.baseline);
  }

  async #deploy(wave: Wave, site: FleetSite): Promise<void> {
    const { driver, journal } = this.#options;
    if (settled.includes(this.#stateOf(site))) return;
    const known = journal.sites.get(site.name);
    try {
      if (known?.previous === undefined) {
        const previous = await driver.current(site);
        const first = this.#first.get(site.name);
        this.#first.delete(site.name);
        const before = { ...(first && { first }), before: await this.#sample(site) };
        await this.#note(wave, site, "deploying", { previous, before });
      } else await this.#note(wave, site, "deploying");
    } catch (error) {
      if (!(error instanceof AwayError)) return this.#note(wave, site, "bad", { why: messageOf(error) });
      return this.#note(wave, site, "away", { why: error.message });
    }
    try {
      const changes = await driver.deploy(site);
      // Who is silent now may only be starting: it is judged after the soak.
      const after = await this.#sample(site).catch(() => undefined);
      await this.#note(wave, site, "deployed", { ...(changes !== undefined && { changes }), ...(after && { after }) });
    } catch (error) {
      await this.#note(wave, site, "bad", { why: messageOf(error) });
    }
  }

  async #judge(wave: Wave, site: FleetSite): Promise<void> {
    const { journal, plan } = this.#options;
    const { before, after } = journal.sites.get(site.name) ?? {};
    const samples = { ...before, ...(after && { after }) } as Samples;
    for (let left = plan.looks ?? 2; ; left -= 1) {
      let reasons: string[];
      try {
        reasons = judge(samples, await this.#sample(site), plan.gates ?? []);
      } catch (error) {
        reasons = [messageOf(error)];
      }
      if (reasons.length === 0) return this.#note(wave, site, "good");
      if (left <= 0) return this.#note(wave, site, "bad", { why: reasons.join("; ") });
      await this.#wait(lookAgainMs);
    }
  }

  async #restore(wave: Wave, site: FleetSite): Promise<void> {
    const { driver, journal } = this.#options;
    const record = journal.sites.get(site.name);
    if (!record || ["away", "restored"].includes(record.state)) return;
    if (record.previous === undefined) return this.#note(wave, site, "restored");
    await this.#note(wave, site, "restoring", record.why === undefined ? {} : { why: record.why });
    for (let left = this.#options.plan.looks ?? 2; ; left -= 1) {
      try {
        await driver.restore(site, record.previous as Previous);
        return await this.#note(wave, site, "restored", record.why === undefined ? {} : { why: record.why });
      } catch (error) {
        if (left <= 0) return this.#note(wave, site, "stuck", { why: messageOf(error) });
        await this.#wait(lookAgainMs);
      }
    }
  }

  /** Every site of the wave that was touched; waves before it stay. */
  async #takeBack(wave: Wave, why: string): Promise<void> {
    const { journal } = this.#options;
    await journal.write({ kind: "wave", wave: wave.name, state: "stopping", why });
    await this.#each(wave.sites, (site) => this.#restore(wave, site));
    await journal.write({ kind: "wave", wave: wave.name, state: "stopped", why });
  }

  /**
   * Those that were away, once more: each is judged, and taken back by itself. Those that could not be taken back as well.
   * Returns whether any is left.
   */
  async #catchUp(): Promise<boolean> {
    const { plan } = this.#options;
    const waveOf = new Map(this.waves.flatMap((wave) => wave.sites.map((site) => [site, wave] as const)));
    const each = (sites: readonly FleetSite[], work: (wave: Wave, site: FleetSite) => Promise<void>) =>
      this.#each(sites, (site) => work(waveOf.get(site) as Wave, site));
    if (this.#of("away", "stuck", "deploying", "deployed", "bad", "restoring").length === 0) return false;
    await this.#watch(this.#of("away"));
    await each(this.#of("away", "deploying"), (wave, site) => this.#deploy(wave, site));
    if (this.#of("deployed").length > 0) await this.#wait(plan.soak ?? 60_000);
    await each(this.#of("deployed"), (wave, site) => this.#judge(wave, site));
    await each(this.#of("bad", "restoring", "stuck"), (wave, site) => this.#restore(wave, site));
    return this.#of("away", "stuck").length > 0;
  }
}
