/**
 * How is site.yaml replaced, so that the one before comes back unless all is well?
 *
 *   site.yaml            what is wanted
 *   site.yaml.previous   what was there before it was last replaced over the API
 *   site.yaml.trial      while that has not proved itself: which it was, which it is, and how long it has
 *
 *   replace:    previous ─▶ trial ─▶ site.yaml        settle: trial away
 *   take back:  site.yaml = previous ─▶ trial away
 *
 * Each file is written whole, on disk before the next is begun. So a crash leaves the older or the newer site.yaml, and the note
 * that says which of both it is.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Moment, remaining } from "../store/boottime.ts";

/** A site.yaml that has not proved itself. */
export interface Trial {
  /** SHA-256 of the two files' texts. */
  before: string;
  after: string;
  since: Moment;
  /** Milliseconds that it has. */
  duration: number;
  /** Somebody has to say that all is well; else it is enough that the agent becomes ready. */
  confirm: boolean;
  /** It takes hold by a restart; else by a reload. */
  restart: boolean;
  /** Starts that have begun with it and did not become ready. */
  starts: number;
  /** What was missing at the site before. */
  missing: string[];
  /** Who put it there, and what it is called in the API. */
  who: string;
  revision: string;
  back: string;
}

export const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

export const trialLeft = ({ since, duration }: Trial): number => remaining(since, duration);

export class SiteYaml {
  /** Where it really lies. */
  readonly path: string;

  /** @throws Error when there is none */
  constructor(path: string) {
    this.path = realpathSync(path);
  }

  get previousPath(): string {
    return `${this.path}.previous`;
  }

  get trialPath(): string {
    return `${this.path}.trial`;
  }

  /** @throws Error when it cannot be read */
  text(): string {
    return readFileSync(this.path, "utf8");
  }

  /** Undefined where it was never replaced. */
  previous(): string | undefined {
    try {
      return readFileSync(this.previousPath, "utf8");
    } catch {
      return undefined;
    }
  }

  trial(): Trial | undefined {
    try {
      return JSON.parse(readFileSync(this.trialPath, "utf8")) as Trial;
    } catch {
      return undefined;
    }
  }

  /** @throws Error when it cannot be written, and site.yaml is what it was */
  replace(text: string, trial: Omit<Trial, "before" | "after" | "starts">): Trial {
    const now = this.text();
    const note = { ...trial, before: digest(now), after: digest(text), starts: 0 };
    this.write(this.previousPath, now);
    this.note(note);
    this.write(this.path, text);
    return note;
  }

  /** Writes down how the trial stands. */
  note(trial: Trial): void {
    this.write(this.trialPath, `${JSON.stringify(trial, null, 2)}\n`);
  }

  /** It stays as it is. */
  settle(): void {
    rmSync(this.trialPath, { force: true });
    this.#sync();
  }

  /** The one before is there again, unless somebody has written another by hand meanwhile. Returns whether it is. */
  takeBack(trial: Trial): boolean {
    const previous = this.previous();
    const ours = digest(this.text()) === trial.after && previous !== undefined && digest(previous) === trial.before;
    if (ours) this.write(this.path, previous);
    this.settle();
    return ours;
  }

  /** The whole of it, on disk under that name, or what was there before. */
  write(path: string, text: string): void {
    const like = statSync(this.path);
    const half = `${path}.new`;
    rmSync(half, { force: true });
    const file = openSync(half, "wx", 0o600);
    try {
      // Before there is anything to read in it.
      if (process.getuid?.() === 0) fchownSync(file, like.uid, like.gid);
      fchmodSync(file, like.mode & 0o777);
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(half, path);
    this.#sync();
  }

  #sync(): void {
    const directory = openSync(dirname(this.path), "r");
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  }
}

/** Starts that a site.yaml on trial may fail. */
const mostStarts = 3;

/**
 * What a start does about a trial before it reads site.yaml. Returns what there is to say about it.
 * @throws Error when a file cannot be written
 */
export function beginStart(yaml: SiteYaml): string | undefined {
  const trial = yaml.trial();
  if (!trial) return undefined;
  const now = digest(yaml.text());
  if (now !== trial.after) {
    yaml.settle();
    return now === trial.before
      ? `site.yaml ${trial.revision}, put by ${trial.who}, never came into force`
      : "site.yaml has been written by hand since it was put over the API: that one it is";
  }
  const why =
    trialLeft(trial) <= 0
      ? "was not confirmed in time"
      : trial.starts >= mostStarts
        ? `did not become ready in ${trial.starts} starts`
        : undefined;
  if (why === undefined) {
    yaml.note({ ...trial, starts: trial.starts + 1 });
    return undefined;
  }
  yaml.takeBack(trial);
  return `site.yaml ${trial.revision} ${why}: back to ${trial.back}`;
}
