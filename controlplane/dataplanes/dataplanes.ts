/**
 * Which data planes are in force, and how do they change while others carry traffic (A13)?
 *
 *   POST, DELETE ─▶ check against the whole site ─▶ data plane ─▶ rules again ─▶ store ─▶ answer
 *   reload       ─▶ site.yaml checked ─▶ difference ─▶ steps, each taken back when a later one fails ─▶ store
 *
 * site.yaml is the base. What the API added stays until the API removes it; what the API removed stays away until the API
 * adds it again, or a reload finds its name in site.yaml: a reload makes site.yaml right about every name that it has.
 * A crash before the store has it leaves what was in force before: what was never answered does not come back.
 */
import type { BackendConfig, Dataplane, DataplaneConfig, Mode } from "../../dataplane/dataplane.ts";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import { ConfigurationError, findings, formatPath } from "../config/load.ts";
import type { DataplaneSection, SiteFile } from "../config/schema.ts";
import type { SiteConfig } from "../config/site.ts";
import { messageOf, Problem } from "../errors.ts";
import type { FieldError } from "../intents/model.ts";
import type { Services } from "../intents/services.ts";
import type { Store } from "../store/store.ts";
import {
  inverse,
  isOtherWire,
  type Notes,
  needsRestart,
  notesAfterReload,
  type Step,
  sectionsInForce,
  stepsBetween,
  withSections,
  wrongWithLast,
} from "./difference.ts";

export interface Reloaded {
  added: string[];
  changed: string[];
  replaced: string[];
  removed: string[];
  protect: boolean;
}

export interface DataplanesOptions {
  /** As site.yaml says it. */
  config: SiteConfig;
  store: Pick<Store, "dataplanes" | "noteDataplanes" | "modes" | "setMode" | "clearMode">;
  /** Reads site.yaml again. @throws ConfigurationError. Absent: there is no file to read. */
  read?: () => SiteConfig;
  warn: (message: string) => void;
}

/** What changes are applied to; known once they run. */
export interface Parts {
  dataplane: Pick<Dataplane, "add" | "change" | "remove" | "setMode">;
  services: Pick<Services, "refresh" | "setProtect">;
  /** Told when `config` has changed. */
  changed?(): Promise<void>;
}

const said = (errors: FieldError[]): string =>
  errors.map(({ field, message }) => (field ? `${field} ${message}` : message)).join("; ");

export class Dataplanes {
  readonly #options: DataplanesOptions;
  #config: SiteConfig;
  #notes: Notes = new Map();
  #parts: Parts | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** Reads the store. What the API added and site.yaml no longer allows is left out, and said. */
  constructor(options: DataplanesOptions) {
    this.#options = options;
    const { config, store, warn } = options;
    const stored = [...(store.dataplanes() as Map<string, DataplaneSection | null>)];
    const notes = new Map(stored.filter(([, note]) => note === null));
    for (const name of notes.keys()) warn(`data plane ${name} of site.yaml is left out: it was removed over the API`);
    for (const [name, note] of stored) {
      if (note === null) continue;
      const others = sectionsInForce(config.file, new Map([...notes, [name, null]]));
      const wrong = wrongWithLast(config.file, [...others, note]);
      if (wrong.length > 0) warn(`data plane ${name}, added over the API, is left out: ${said(wrong)}`);
      else notes.set(name, note);
    }
    this.#notes = notes;
    this.#config = withSections(config, sectionsInForce(config.file, notes));
  }

  /** What the back end has to start: with the modes that were set by hand. */
  wanted(): BackendConfig {
    const { backend } = this.#config;
    return { ...backend, dataplanes: backend.dataplanes.map((config) => this.#withMode(config)) };
  }

  /** From now on changes have effects. */
  connect(parts: Parts): void {
    this.#parts = parts;
  }

  /** The site as it is in force. */
  get config(): SiteConfig {
    return this.#config;
  }

  configured(name: string): Mode | undefined {
    return this.#find(name)?.mode;
  }

  origin(name: string): "site.yaml" | "api" {
    return this.#notes.get(name) ? "api" : "site.yaml";
  }

  #find(name: string): DataplaneConfig | undefined {
    return this.#config.backend.dataplanes.find((config) => config.name === name);
  }

  #withMode(config: DataplaneConfig): DataplaneConfig {
    return { ...config, mode: this.#options.store.modes().get(config.name) ?? config.mode };
  }

  get #running(): Parts {
    if (!this.#parts) throw new Problem("not-ready", "the data planes have not started yet: try again");
    return this.#parts;
  }

  /** Sets a mode at once; "configured" forgets what was set. @throws Problem */
  async set(name: string, mode: Mode | "configured"): Promise<void> {
    const configured = this.configured(name);
    if (configured === undefined) throw notFound(name);
    // Bypass is for emergencies: it comes first, and is remembered if that is possible.
    try {
      await this.#running.dataplane.setMode(name, mode === "configured" ? configured : mode);
    } catch (error) {
      throw new Problem("dataplane-refused", `the mode has not changed: ${messageOf(error)}`, {}, { cause: error });
    }
    try {
      if (mode === "configured") this.#options.store.clearMode(name);
      else this.#options.store.setMode(name, mode);
    } catch (error) {
      const detail = `${name} is in mode ${mode}, but a restart will not remember it: ${messageOf(error)}`;
      throw new Problem("store-failed", detail, {}, { cause: error });
    }
  }

  /** Adds what `section` (an entry of site.yaml's `dataplanes`) describes. Returns its name. @throws Problem */
  add(section: unknown): Promise<string> {
    return this.#serialise(async () => {
      this.#refuse(section);
      const given = section as DataplaneSection;
      const notes = new Map(this.#notes);
      // Last in order, as the store gives it back.
      notes.delete(given.name);
      notes.set(given.name, given);
      await this.#change(withSections(this.#config, sectionsInForce(this.file, notes)), notes);
      return given.name;
    });
  }

  /** site.yaml without what the API did to it, as last read. */
  get file(): SiteFile {
    return this.#options.config.file;
  }

  #refuse(section: unknown): void {
    const { file } = this.#config;
    const name = String((section as { name?: unknown } | null)?.name ?? "");
    const wrong = wrongWithLast(file, [...file.dataplanes, section]);
    if (wrong.length === 0) return;
    const met = wrong.flatMap(({ message }) => /data plane ([\w.-]+)/.exec(message)?.[1] ?? []);
    const taken = this.#find(name) !== undefined;
    const alone = wrongWithLast(file, [section]).length > 0;
    const text = taken
      ? `there is a data plane "${name}" already`
      : `data plane "${name.slice(0, 80)}": ${said(wrong)}`;
    throw new Problem(alone ? "invalid-configuration" : taken ? "name-taken" : "overlap", text, {
      errors: wrong,
      ...(met.length > 0 && !alone && { dataplanes: [...new Set([name, ...met])] }),
    });
  }

  /** Removes a data plane: its sessions end, and its wire stays bridged unless `unwire`. @throws Problem */
  remove(name: string, { unwire = false } = {}): Promise<void> {
    return this.#serialise(async () => {
      if (!this.#find(name)) throw notFound(name);
      const notes = new Map(this.#notes);
      notes.delete(name);
      if (this.file.dataplanes.some((one) => one.name === name)) notes.set(name, null);
      await this.#change(withSections(this.#config, sectionsInForce(this.file, notes)), notes, { unwire });
    });
  }

  /** What a reload would do if site.yaml said this, and what of it takes a restart. Nothing is done. @throws Problem */
  preview(read: SiteConfig): { reloaded: Reloaded; restart: FieldError[] } {
    const { next, restart } = this.#judge(read);
    const steps = stepsBetween(
      this.wanted().dataplanes,
      next.backend.dataplanes.map((config) => this.#withMode(config)),
    );
    return { reloaded: this.#told(steps, next), restart };
  }

  /** @throws Problem where it does not fit what was added over the API */
  #judge(read: SiteConfig): { notes: Notes; next: SiteConfig; restart: FieldError[] } {
    const notes = notesAfterReload(read.file, this.#notes);
    const file = { ...read.file, dataplanes: sectionsInForce(read.file, notes) };
    const wrong = findings(file).map(({ path, message }) => ({ field: formatPath(path), message }));
    if (wrong.length > 0) {
      const detail = `nothing has changed; with what was added over the API: ${said(wrong)}`;
      throw new Problem("overlap", detail, { errors: wrong });
    }
    return { notes, next: withSections(read, file.dataplanes), restart: needsRestart(this.file, read.file) };
  }

  /** To be called with what is in force before the steps. */
  #told(steps: readonly Step[], next: SiteConfig): Reloaded {
    const before = new Map(this.#config.backend.dataplanes.map((config) => [config.name, config]));
    const names = (kind: Step["kind"]) =>
      steps.flatMap((step) => (step.kind === kind ? ["config" in step ? step.config.name : step.after.name] : []));
    const isReplaced = (name: string): boolean => {
      const [old, now] = [before.get(name), next.backend.dataplanes.find((config) => config.name === name)];
      return old !== undefined && now !== undefined && isOtherWire(old, now);
    };
    return {
      added: names("add").filter((name) => !isReplaced(name)),
      changed: names("change"),
      replaced: names("add").filter(isReplaced),
      removed: names("remove").filter((name) => !isReplaced(name)),
      protect: this.#config.protect.join() !== next.protect.join(),
    };
  }

  /** Reads site.yaml again and makes it true, all or nothing. @throws Problem */
  reload(): Promise<Reloaded> {
    return this.#serialise(async () => {
      const read = this.#read();
      const { notes, next, restart } = this.#judge(read);
      if (restart.length > 0) {
        throw new Problem("needs-restart", `nothing has changed; ${said(restart)}`, { errors: restart });
      }
      const { reloaded } = this.preview(read);
      await this.#change(next, notes);
      this.#options.config = read;
      return reloaded;
    });
  }

  /** What the API did to site.yaml. */
  get notes(): { added: string[]; removed: string[] } {
    const all = [...this.#notes];
    const named = (which: (note: DataplaneSection | null) => boolean) =>
      all.filter(([, note]) => which(note)).map(([name]) => name);
    return { added: named((note) => note !== null), removed: named((note) => note === null) };
  }

  #read(): SiteConfig {
    const { read } = this.#options;
    if (!read) throw new Problem("not-ready", "this agent was started without a site.yaml to read again");
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      const errors = error.errors.map(({ line, column, path, message }) => ({
        field: path,
        message: `${message} (${error.file}:${line}:${column})`,
      }));
      throw new Problem("invalid-configuration", `nothing has changed; ${said(errors)}`, { errors });
    }
  }

  /** Steps to `next`, then the store; what fails takes back what came before. Returns the steps. */
  async #change(next: SiteConfig, notes: Notes, { unwire = false } = {}): Promise<Step[]> {
    const { services } = this.#running;
    const steps = stepsBetween(
      this.wanted().dataplanes,
      next.backend.dataplanes.map((config) => this.#withMode(config)),
    );
    for (const step of steps) if (step.kind === "remove") step.unwire ||= unwire;
    const before = this.#config;
    const done: Step[] = [];
    let refreshed = false;
    const gone = steps.flatMap((step) => (step.kind === "remove" ? [step.config.name] : []));
    const remain = new Set(next.backend.dataplanes.map((config) => config.name));
    try {
      for (const step of steps) {
        await this.#take(step);
        done.push(step);
      }
      // Rules name data planes: what was added is meant by them from now on, and a place that is free by nobody.
      refreshed = true;
      if (before.protect.join() === next.protect.join()) await services.refresh();
      else await services.setProtect(next.protect);
    } catch (error) {
      const left = await this.#takeBack(done, refreshed ? before.protect : undefined);
      throw refused(error, left);
    }
    try {
      this.#options.store.noteDataplanes(
        notes,
        gone.filter((name) => !remain.has(name)),
      );
    } catch (error) {
      const left = await this.#takeBack(done, before.protect);
      const detail = `${left ?? "nothing has changed"}; the store said: ${messageOf(error)}`;
      throw new Problem("store-failed", detail, {}, { cause: error });
    }
    this.#config = next;
    this.#notes = notes;
    await this.#running.changed?.().catch((error: unknown) => this.#options.warn(messageOf(error)));
    return steps;
  }

  #take(step: Step): Promise<void> {
    const { dataplane } = this.#running;
    if (step.kind === "add") return dataplane.add(step.config);
    if (step.kind === "change") return dataplane.change(step.after);
    return dataplane.remove(step.config.name, { unwire: step.unwire });
  }

  /** Returns what could not be taken back. */
  async #takeBack(done: Step[], protect: string[] | undefined): Promise<string | undefined> {
    const failed: string[] = [];
    for (const step of done.reverse().map(inverse)) {
      await this.#take(step).catch((error: unknown) => failed.push(messageOf(error)));
    }
    if (protect) {
      await this.#running.services.setProtect(protect).catch((error: unknown) => failed.push(messageOf(error)));
    }
    return failed.length > 0 ? `not all could be taken back (${failed.join("; ")}): restart the agent` : undefined;
  }

  #serialise<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

function refused(error: unknown, left: string | undefined): Problem {
  const object = error instanceof DataplaneError ? error.object : undefined;
  const why = error instanceof DataplaneError ? error.message : "the data plane failed";
  const detail = `${left ?? "nothing has changed"}; ${why}`;
  return new Problem("dataplane-refused", detail, object ? { object } : {}, { cause: error });
}

const notFound = (name: string) => new Problem("not-found", `there is no data plane "${name.slice(0, 80)}"`);
