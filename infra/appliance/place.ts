/**
 * What does a place have to do for an appliance?
 *
 * A place is where its VM runs: this machine's QEMU, a libvirt, an existing Debian machine over SSH, or somewhere that others
 * take care of. All that differs between them is behind this interface; what is said over the appliance's API is the same
 * everywhere and is not here.
 */
import type { Source } from "./file.ts";
import type { Adapters, Management, UserData } from "./user-data.ts";

/** What the place keeps for whoever finds the VM there later. Holds secrets. */
export type Memo = Readonly<Record<string, unknown>>;

/** Which one it is, and what of it never changes. */
export interface Identity {
  /** Unlike that of any other in the same place. */
  name: string;
  adapters: Adapters;
  management?: Management;
}

/** An appliance as it is wanted, with all that was left out filled in. */
export interface Machine extends Identity {
  /** Absent where the place brings its own. */
  image?: Source;
  /** MiB. */
  memory: number;
  vcpus: number;
  /** Holds secrets. */
  userData: UserData;
}

/** What a power cycle can change. */
export type Size = Pick<Machine, "memory" | "vcpus">;

export interface Where {
  /** URL of the management API. */
  api: string;
  /** Where it can be reached by SSH, if it has keys: `127.0.0.1:2222`. */
  ssh?: string;
}

/** As it is at the place. */
export interface Found {
  running: boolean;
  where: Where;
  size?: Size;
  /** Absent: the place keeps none. */
  memo?: Memo;
}

export interface Place {
  /**
   * Makes it and starts it. What an earlier attempt, whose end nobody heard of, has left behind goes first.
   * @throws Error, and nothing is left then
   */
  create(machine: Machine): Promise<Where>;
  /** It has come up, or is as it is wanted again: from here on it is there, and not the rest of an attempt. */
  keep(memo: Memo): Promise<void>;
  /** Undefined: there is none. */
  read(): Promise<Found | undefined>;
  /** Fine when it runs. Its state is as it was. */
  start(size: Size): Promise<Where>;
  /** Fine when it is off. It is asked to shut down, and switched off when it takes too long. */
  stop(): Promise<void>;
  /** With all that was made for it, and nothing else. One that is gone is fine. */
  remove(): Promise<void>;
  /** The last lines of its serial console; empty: there is none. */
  console(): Promise<string[]>;
}

/** Milliseconds that a VM has to shut down before it is switched off. */
export const shutdownMs = 60_000;

/** The last lines of a console's text, without what moves a terminal's cursor. */
export function lastLines(text: string, count = 20): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences of terminals are what goes
  const plain = text.replace(/\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>c])/g, "").replace(/[\x00-\x08\x0b-\x1f]/g, "");
  return plain
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "")
    .slice(-count);
}

/** Takes back what was made before `error`, which is thrown then; what could not be taken back is told beside it. */
export async function takenBack(place: Pick<Place, "remove">, error: unknown): Promise<never> {
  try {
    await place.remove();
  } catch (another) {
    const [first, second] = [error, another].map((one) => (one instanceof Error ? one.message : String(one)));
    throw new Error(`${first}\nWhat was made for it could not be removed: ${second}`);
  }
  throw error;
}
