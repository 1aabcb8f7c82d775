/**
 * How does tampering with the audit log show?
 *
 *   digest(n) = SHA-256(digest(n−1) ‖ entry n as JSON)          digest(0) = 32 zero octets
 *
 * Entries are numbered without gaps. Whoever changes, inserts or removes one has to make all later digests again, and then the
 * head (number and digest of the newest entry) differs from the one that was noted elsewhere: in the agent's log, in an
 * export, on paper. Pure; the same for the log itself and for exported files.
 */
import { createHash } from "node:crypto";

/**
 * attempt: somebody who may is about to change something · outcome: what became of attempt `of` · interrupted: the agent died
 * before it knew · refused: nothing was tried · repeated: so many more refusals of the same kind · read: something was looked at
 * that not everybody sees · exported: entries up to `of` were exported and then removed · started, stopped: the agent
 */
export const kinds = [
  "attempt",
  "outcome",
  "interrupted",
  "refused",
  "repeated",
  "read",
  "exported",
  "started",
  "stopped",
] as const;
export type Kind = (typeof kinds)[number];

/** What stands in an entry besides its number, time, kind and digest; what is unknown is null. */
export interface Content {
  /** Number of the entry that this one is about. */
  of: number | null;
  /** `management`, `mp1`; of what the agent itself did: `agent`. */
  api: string;
  /** How somebody was let in and as whom; `nobody`. */
  who: string;
  address: string | null;
  method: string | null;
  /** Without query; what must not be known is `…`. */
  path: string | null;
  object: string | null;
  /** Id of the request, as in the agent's log. */
  request: string | null;
  /** HTTP status. */
  status: number | null;
  detail: Record<string, unknown> | null;
}

export interface Entry extends Content {
  number: number;
  /** Milliseconds since the epoch by the system's clock; the number gives the order. */
  time: number;
  kind: Kind;
  /** Lower-case hexadecimal. */
  digest: string;
}

export const noDigest = "0".repeat(64);

/** One JSON text for one entry: members in a fixed order. */
const canonical = (entry: Omit<Entry, "digest">): string =>
  JSON.stringify([
    entry.number,
    entry.time,
    entry.kind,
    entry.of,
    entry.api,
    entry.who,
    entry.address,
    entry.method,
    entry.path,
    entry.object,
    entry.request,
    entry.status,
    entry.detail,
  ]);

export const digestOf = (previous: string, entry: Omit<Entry, "digest">): string =>
  createHash("sha256").update(Buffer.from(previous, "hex")).update(canonical(entry)).digest("hex");

/** Where a chain begins: what came before is elsewhere. */
export interface Anchor {
  /** Number of the entry before the first; 0 where nothing was ever removed. */
  number: number;
  digest: string;
}

export const origin: Anchor = { number: 0, digest: noDigest };

/** Follows a chain, entry by entry. */
export class ChainReader {
  #at: Anchor;
  /** Entries that were in order. */
  count = 0;

  constructor(anchor: Anchor = origin) {
    this.#at = anchor;
  }

  /** What is wrong with the entry; undefined: it follows. */
  follow(entry: Entry): string | undefined {
    const wanted = this.#at.number + 1;
    if (entry.number !== wanted) {
      const missing = entry.number === wanted + 1 ? `entry ${wanted} is` : `entries ${wanted}–${entry.number - 1} are`;
      return entry.number > wanted ? `${missing} missing` : `entry ${entry.number} stands where ${wanted} should`;
    }
    const { digest, ...rest } = entry;
    if (digestOf(this.#at.digest, rest) !== digest) {
      return `entry ${entry.number} is not what was written, or one before it is not`;
    }
    this.#at = { number: entry.number, digest };
    this.count += 1;
    return undefined;
  }

  /** The newest entry that was in order. */
  get head(): Anchor {
    return this.#at;
  }
}
