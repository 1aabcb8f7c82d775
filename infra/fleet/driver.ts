/**
 * What does a roll-out ask of whatever changes sites?
 *
 * A driver knows one way to change a site: a Pulumi stack, the site's own API. It is asked from many sites at once.
 */
import type { FleetSite } from "./waves.ts";

/** The site did not answer, so nothing was changed there, or nobody knows. */
export class AwayError extends Error {}

/** How a site is doing, by its own word. */
export interface Observation {
  /** Its readiness check is good. */
  ready: boolean;
  /** Its metrics, by name with labels; counters and gauges. */
  metrics: Readonly<Record<string, number>>;
}

/** `Previous` is JSON: it is kept in the journal. All reject with AwayError when the site cannot be reached. */
export interface Driver<Previous> {
  /** What brings the site back to how it is now. */
  current(site: FleetSite): Promise<Previous>;
  /** What `deploy` would change, in words; nothing is changed. */
  preview(site: FleetSite): Promise<string>;
  /** May be done again when nobody knows how far it came. What was changed, in words, where the driver knows. */
  deploy(site: FleetSite): Promise<string | undefined>;
  restore(site: FleetSite, previous: Previous): Promise<void>;
  observe(site: FleetSite): Promise<Observation>;
}
