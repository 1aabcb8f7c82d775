/**
 * How does a site get another configuration from afar, without being lost?
 *
 *   PUT, to be confirmed ─▶ (the agent starts again) ─▶ in force, ready, reached from here ─▶ confirm
 *
 * A configuration by which the site cannot be reached any more is confirmed by nobody, and goes back by itself.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { SiteDocument } from "./appliance/document.ts";
import { type Site, SiteError } from "./site.ts";

export const configurationPath = "/api/v1/site";
/** Seconds that the new configuration has to be reached with. */
export const usualConfirm = 300;
const pollMs = 500;

export interface Configured {
  revision: string;
  site: SiteDocument & { site: { name: string; stateDir: string } };
  secrets: string[];
  waiting?: { revision: string; confirm: boolean };
}

/** The document with what the appliance has, where it may be left out: `api`, `site.stateDir`. */
export const whole = (document: SiteDocument, { site }: Configured): SiteDocument => ({
  ...document,
  site: { stateDir: site.site.stateDir, ...document.site },
  ...(document.api === undefined && site.api !== undefined && { api: site.api }),
});

/** A token is never shown. */
const without = ({ api, ...rest }: SiteDocument): SiteDocument => {
  const { token: _, ...shown } = (api ?? {}) as Record<string, unknown>;
  return { ...rest, ...(api && { api: shown }) };
};

/** @throws SiteError when there is none */
export async function configurationOf(site: Site): Promise<Configured> {
  const found = await site.get<Configured>(configurationPath);
  if (!found) throw new SiteError(404, "", "the site has no configuration that could be changed over its API");
  return found;
}

/**
 * The document is in force, and confirmed, when this resolves.
 * @throws SiteError what the site refuses; SiteUnreachableError; Error when it went back. Then the one before is in force
 */
export async function configure(site: Site, document: SiteDocument, confirm = usualConfirm): Promise<Configured> {
  const wanted = whole(document, await configurationOf(site));
  const done = async () => {
    const now = await configurationOf(site);
    return isDeepStrictEqual(now.site, without(wanted)) ? { revision: now.revision } : undefined;
  };
  const path = `${configurationPath}?confirm=${confirm}`;
  const { revision } = await site.change<{ revision: string }>("PUT", path, wanted, done);
  for (;;) {
    const now = await configurationOf(site);
    if (now.revision === revision) {
      if (!now.waiting) return now;
      if ((await site.status("/readyz")) === 200) {
        const confirmed = async () => ((await configurationOf(site)).waiting ? undefined : true);
        await site.change("POST", `${configurationPath}/confirm`, undefined, confirmed);
        return { ...now, waiting: undefined } as unknown as Configured;
      }
    } else if (!now.waiting) {
      throw new Error(
        `configuration ${revision} did not come up: the site is back at ${now.revision}; its log says why`,
      );
    }
    await sleep(pollMs);
  }
}
