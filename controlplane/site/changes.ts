/**
 * How does the whole configuration change over the API?
 *
 *   PUT ─▶ judged ─▶ site.yaml on trial ─┬─ a reload can do it ─▶ reloaded ─────────▶ settled, or to be confirmed
 *                                        └─ it takes a restart ─▶ the agent again ─▶ ready: settled, or to be confirmed
 *
 * What is not confirmed in time, or does not come up, is taken back by the agent; by the guard when the agent is dead; by the
 * next start when both are.
 */
import { isDeepStrictEqual } from "node:util";
import { parseSite } from "../config/load.ts";
import type { SiteFile } from "../config/schema.ts";
import type { Dataplanes, Reloaded } from "../dataplanes/dataplanes.ts";
import { messageOf, Problem } from "../errors.ts";
import type { FieldError } from "../intents/model.ts";
import { moment } from "../store/boottime.ts";
import { readDocument, revisionOf, shown, textOf } from "./document.ts";
import { type SiteYaml, type Trial, trialLeft } from "./file.ts";

export interface SiteChangesOptions {
  yaml: SiteYaml;
  dataplanes: Pick<Dataplanes, "file" | "notes" | "preview">;
  /** Makes true what site.yaml says, all or nothing. @throws Problem */
  reload(): Promise<unknown>;
  /** @throws Problem while services wait to be confirmed */
  refuseWhileArmed(): void;
  /** Starts the process that takes back when this one is dead by then. */
  guard(): void;
  /** The agent ends its part, and begins again with what site.yaml says then. */
  restart(): void;
  /** What of site.yaml could not be had at this site. */
  missing(): string[];
  tookBack(revision: string, back: string, why: string): void;
  failed(error: unknown): void;
}

/** What waits to prove itself, as the API tells it. */
export interface WaitingSite {
  revision: string;
  back: string;
  who: string;
  /** ISO 8601. */
  until: string;
  /** Somebody has to confirm it. */
  confirm: boolean;
}

export interface SiteView {
  revision: string;
  site: SiteFile;
  /** Members that are set and not shown. */
  secrets: string[];
  /** Data planes that the API added to, or removed from, what site.yaml says. */
  dataplanes: { added: string[]; removed: string[] };
  /** site.yaml has been written by hand since it was read; absent: it says what is in force. */
  unread?: { revision?: string; wrong?: string };
  waiting?: WaitingSite;
}

export interface SiteResult extends Reloaded {
  revision: string;
  /** False: it says what is in force already. */
  different: boolean;
  /** What takes a restart of the agent; empty: it was done by a reload. */
  restart: FieldError[];
  /** When it goes back unless it is confirmed, or has come up: ISO 8601. */
  until?: string;
}

export interface PutOptions {
  /** Revision that is to be replaced; `*`: any. */
  match?: string | undefined;
  /** Seconds in which somebody has to say that all is well. */
  confirm?: number | undefined;
  dryRun?: boolean;
  who: string;
}

/** Milliseconds in which a restarted agent has to be ready. */
const comeUpMs = 180_000;
const lookMs = 1000;

export class SiteChanges {
  readonly #options: SiteChangesOptions;
  #timer: NodeJS.Timeout | undefined;
  #restarting = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: SiteChangesOptions) {
    this.#options = options;
  }

  waiting(): WaitingSite | undefined {
    const trial = this.#options.yaml.trial();
    if (!trial) return undefined;
    const { revision, back, who, confirm } = trial;
    return { revision, back, who, until: untilOf(trial), confirm };
  }

  /** @throws Problem while a configuration waits */
  refuseWhileWaiting(): void {
    const waiting = this.waiting();
    if (!waiting) return;
    const { revision, until, confirm } = waiting;
    const todo = confirm ? "confirm it (offramp site confirm), or roll it back" : "it is coming up";
    throw new Problem("unconfirmed", `configuration ${revision} is on trial until ${until}: ${todo}`, { until });
  }

  view(): SiteView {
    const { dataplanes } = this.#options;
    const { file } = dataplanes;
    const revision = revisionOf(file);
    const disk = this.#onDisk();
    const waiting = this.waiting();
    return {
      revision,
      site: shown(file),
      secrets: file.api?.token === undefined ? [] : ["api.token"],
      dataplanes: dataplanes.notes,
      ...(disk.revision !== revision && { unread: disk.wrong === undefined ? { revision: disk.revision } : disk }),
      ...(waiting && { waiting }),
    } as SiteView;
  }

  #onDisk(): { file?: SiteFile; revision?: string; wrong?: string } {
    try {
      const { file } = parseSite(this.#options.yaml.text());
      return { file, revision: revisionOf(file) };
    } catch (error) {
      return { wrong: messageOf(error) };
    }
  }

  /** The document becomes site.yaml and takes hold, or nothing changes. @throws Problem */
  put(document: unknown, options: PutOptions): Promise<SiteResult> {
    return this.#serialise(() => this.#put(document, options));
  }

  async #put(document: unknown, { match, confirm, dryRun = false, who }: PutOptions): Promise<SiteResult> {
    const { yaml, dataplanes } = this.#options;
    if (!dryRun) {
      if (this.#restarting) throw new Problem("not-ready", "the agent is about to start again: wait for it");
      this.refuseWhileWaiting();
      this.#options.refuseWhileArmed();
    }
    const disk = this.#onDisk();
    this.#refuseOutdated(match, disk.revision);
    const config = readDocument(document, disk.file ?? dataplanes.file);
    const { reloaded, restart } = dataplanes.preview(config);
    const revision = revisionOf(config.file);
    const different = !isDeepStrictEqual(config.file, dataplanes.file) || !isDeepStrictEqual(config.file, disk.file);
    const result = { revision, different, ...reloaded, restart };
    if (dryRun || !different) return result;
    const trial = this.#replace(textOf(config, heading(who, yaml.previousPath)), {
      since: moment(),
      duration: confirm === undefined ? comeUpMs : confirm * 1000,
      confirm: confirm !== undefined,
      restart: restart.length > 0,
      missing: this.#options.missing(),
      who,
      revision,
      back: revisionOf(disk.file ?? dataplanes.file),
    });
    if (restart.length > 0) {
      this.#restarting = true;
      return { ...result, until: untilOf(trial) };
    }
    try {
      await this.#options.reload();
    } catch (error) {
      yaml.takeBack(trial);
      throw error;
    }
    if (confirm === undefined) {
      yaml.settle();
      return result;
    }
    this.#watch();
    return { ...result, until: untilOf(trial) };
  }

  #replace(text: string, trial: Omit<Trial, "before" | "after" | "starts">): Trial {
    const { yaml, guard } = this.#options;
    try {
      const begun = yaml.replace(text, trial);
      guard();
      return begun;
    } catch (error) {
      const left = yaml.trial();
      if (left) yaml.takeBack(left);
      const detail = `nothing has changed; ${yaml.path} cannot be written: ${messageOf(error)}`;
      throw new Problem("store-failed", detail, {}, { cause: error });
    }
  }

  #refuseOutdated(match: string | undefined, disk: string | undefined): void {
    const inForce = revisionOf(this.#options.dataplanes.file);
    if (match === "*" || match === disk) return;
    if (match !== undefined) {
      throw new Problem(
        "precondition-failed",
        `site.yaml is revision ${disk ?? "unreadable"}, not ${match}: look again`,
      );
    }
    if (disk === inForce) return;
    const detail =
      "site.yaml has been written by hand since it was read: reload it, or say that it is to be replaced (If-Match: *)";
    throw new Problem("precondition-failed", detail);
  }

  /** To be called when the answer has gone out. */
  answered(): void {
    if (this.#restarting) this.#options.restart();
  }

  /** What is on trial stays. @throws Problem when nothing is */
  confirm(): Promise<WaitingSite> {
    return this.#serialise(async () => {
      const waiting = this.#expect();
      this.#options.yaml.settle();
      return waiting;
    });
  }

  /** What is on trial goes, at once. True: the agent starts again for it. @throws Problem when nothing is */
  rollback(who: string): Promise<{ waiting: WaitingSite; restarting: boolean }> {
    return this.#serialise(async () => {
      const waiting = this.#expect();
      await this.#takeBack(`was rolled back by ${who}`);
      return { waiting, restarting: this.#restarting };
    });
  }

  #expect(): WaitingSite {
    const waiting = this.waiting();
    if (!waiting || this.#restarting) throw new Problem("not-armed", "no configuration waits to be confirmed");
    return waiting;
  }

  /** The agent is ready with what is on trial. */
  started(): void {
    const { yaml, missing, guard, failed } = this.#options;
    const trial = yaml.trial();
    if (!trial) return;
    const worse = missing().filter((one) => !trial.missing.includes(one));
    if (worse.length > 0) {
      this.#takeBack(`is without ${worse.join(", ")}`)
        .then(() => this.answered())
        .catch(failed);
    } else if (!trial.confirm) yaml.settle();
    else {
      yaml.note({ ...trial, starts: 0 });
      guard();
      this.#watch();
    }
  }

  /** Looks at the time since boot, so that it does not matter who sets the clock. */
  #watch(): void {
    clearTimeout(this.#timer);
    const trial = this.#options.yaml.trial();
    if (!trial) return;
    const left = trialLeft(trial);
    const look = () => {
      if (left > 0) return this.#watch();
      this.#serialise(() => this.#takeBack("was not confirmed in time"))
        .then(() => this.answered())
        .catch(this.#options.failed);
    };
    this.#timer = setTimeout(look, Math.max(0, Math.min(left, lookMs)));
  }

  async #takeBack(why: string): Promise<void> {
    const { yaml, tookBack, failed } = this.#options;
    const trial = yaml.trial();
    if (!trial || !yaml.takeBack(trial)) return;
    tookBack(trial.revision, trial.back, why);
    if (!trial.restart) {
      try {
        await this.#options.reload();
        return;
      } catch (error) {
        failed(error);
      }
    }
    this.#restarting = true;
  }

  /** The deadline stays; nobody here waits for it any more. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #serialise<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

const untilOf = (trial: Trial): string => new Date(Date.now() + Math.max(0, trialLeft(trial))).toISOString();

const heading = (who: string, previous: string): string =>
  `Put over the API by ${who.replace(/[^\x20-\x7e]/g, "?")}, ${new Date().toISOString()}; what was before is in ${previous}`;
