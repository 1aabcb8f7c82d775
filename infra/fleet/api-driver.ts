/**
 * How does a set of services reach a site by its own API?
 *
 * `PUT /api/v1/services` changes all of them in one step, or none. What was there before is what brings it back. Observed are
 * `/readyz` and `/metrics`.
 */
import { isDeepStrictEqual } from "node:util";
import { Site, type SiteAccess, SiteUnreachableError } from "../site.ts";
import { AwayError, type Driver, type Observation } from "./driver.ts";
import { readMetrics } from "./gates.ts";
import type { FleetSite } from "./waves.ts";

type Services = readonly Readonly<Record<string, unknown>>[];

export interface ServicesDriverOptions {
  /** Of the site, by its name. */
  access: (site: FleetSite) => SiteAccess;
  /** What the site is to have. */
  services: (site: FleetSite) => Services;
}

const path = "/api/v1/services";
const byName = (services: Services) => new Map(services.map((service) => [service.name, service]));

/** @throws AwayError */
async function atSite<T>(access: SiteAccess, work: (at: Site) => Promise<T>): Promise<T> {
  const at = new Site(access);
  try {
    return await work(at);
  } catch (error) {
    if (error instanceof SiteUnreachableError) throw new AwayError(error.message);
    throw error;
  } finally {
    await at.close();
  }
}

/** What a site says of itself. @throws AwayError */
export const observeSite = (access: SiteAccess): Promise<Observation> =>
  atSite(access, async (at) => ({
    ready: (await at.status("/readyz")) === 200,
    metrics: readMetrics((await at.text("/metrics")) ?? ""),
  }));

export class ServicesDriver implements Driver<Services> {
  readonly #options: ServicesDriverOptions;

  constructor(options: ServicesDriverOptions) {
    this.#options = options;
  }

  #at<T>(site: FleetSite, work: (at: Site) => Promise<T>): Promise<T> {
    return atSite(this.#options.access(site), work);
  }

  current(site: FleetSite): Promise<Services> {
    return this.#at(site, async (at) => (await at.get<Services>("/service")) ?? []);
  }

  async preview(site: FleetSite): Promise<string> {
    const [now, wanted] = [byName(await this.current(site)), byName(this.#options.services(site))];
    const added = [...wanted.keys()].filter((name) => !now.has(name)).length;
    const removed = [...now.keys()].filter((name) => !wanted.has(name)).length;
    const changed = [...wanted].filter(([name, one]) => now.has(name) && !isDeepStrictEqual(now.get(name), one)).length;
    if (added + removed + changed === 0) return "nothing changes";
    return `services: ${added} added, ${changed} changed, ${removed} removed`;
  }

  async deploy(site: FleetSite): Promise<string | undefined> {
    const services = this.#options.services(site);
    await this.restore(site, services);
    return `${services.length} services`;
  }

  restore(site: FleetSite, services: Services): Promise<void> {
    return this.#at(site, async (at) => {
      const has = async () => {
        const now = (await at.get<Services>("/service")) ?? [];
        return isDeepStrictEqual(byName(now), byName(services)) ? now : undefined;
      };
      await at.change<unknown>("PUT", path, services, has);
    });
  }

  observe(site: FleetSite): Promise<Observation> {
    return observeSite(this.#options.access(site));
  }
}
