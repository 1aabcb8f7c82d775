/**
 * What does the provider have to know of one kind of resource?
 *
 * Pulumi's engine asks for each resource: is what is wanted well formed (`check`), make it, read it, change it, remove it. What
 * differs between wanted and had is found for all kinds alike (difference.ts). A kind is a table of these answers.
 */
import { type Site, SiteError } from "../site.ts";

export type Properties = Readonly<Record<string, unknown>>;

export interface CheckFailure {
  /** Path of the property: `rules.nw_dst[0]`. */
  property: string;
  reason: string;
}

/** A failure for each property that is not among those that are known. @param has them, in words: `an app has …` */
export const unknownProperties = (given: Properties, known: readonly string[], has: string): CheckFailure[] =>
  Object.keys(given)
    .filter((property) => !known.includes(property))
    .map((property) => ({ property, reason: `is not known; ${has}` }));

export interface Checked {
  inputs: Properties;
  failures: CheckFailure[];
}

/** A resource as it is at the site. */
export interface Found {
  /** Where it is imported by another one than it has from then on. */
  id?: string;
  /** What a program would have to say to get it. */
  inputs: Properties;
  /** Outputs beyond the inputs. */
  outputs?: Properties;
}

export interface Created {
  id: string;
  outputs?: Properties;
  /** The site had it already, exactly as it is wanted. */
  found?: boolean;
}

export interface Kind {
  /** Behind the last colon of its type token. */
  type: string;
  /** Properties that cannot change: another value is another resource. The old one goes first. */
  fixed: readonly string[];
  /** Properties that say nothing about what is at the site: another value changes nothing. */
  aside?: readonly string[];
  /** It makes a site, and asks nothing of the one that the provider was told. */
  makesSite?: boolean;
  /** Outputs that only `create` could know. */
  kept?: readonly string[];
  /**
   * Inputs with what was left out filled in. Values that are not known yet are `unknownValue`.
   * @param name of the resource in the program
   */
  check(inputs: Properties, name: string): Checked | Promise<Checked>;
  /** Returns its id. @throws SiteError, SiteUnreachableError, and there is none then */
  create(site: Site, inputs: Properties): Promise<Created>;
  /**
   * Undefined: there is none. @param had inputs that the program gave; empty where it is imported
   * @param state inputs and outputs that were known last
   * @throws SiteError, SiteUnreachableError
   */
  read(site: Site, id: string, had: Properties, state: Properties): Promise<Found | undefined>;
  /** @throws SiteError, SiteUnreachableError, and it is as it was then */
  update(
    site: Site,
    id: string,
    inputs: Properties,
    had: Properties,
    state: Properties,
  ): Promise<{ outputs?: Properties }>;
  /** One that is gone is fine. @throws SiteError, SiteUnreachableError */
  remove(site: Site, id: string, had: Properties): Promise<void>;
}

/**
 * Makes what may be there from an update that was cut off before the engine could write it down: what the site refuses as taken
 * is looked at, and is what was wanted if `same` finds it so.
 */
export async function made(make: () => Promise<unknown>, same: () => Promise<unknown>): Promise<{ found?: boolean }> {
  try {
    await make();
    return {};
  } catch (error) {
    if (error instanceof SiteError && error.status === 409 && (await same()) !== undefined) return { found: true };
    throw error;
  }
}

/** What stands for a value that will be known only when other resources are there (Pulumi's protocol fixes it). */
export const unknownValue = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
