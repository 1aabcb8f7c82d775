/**
 * What makes a MEC platform of the parts?
 *
 *   mep.sqlite ─▶ instances, rules, registry, … ─▶ rules of apps in the first steering ─▶ DNS, Mp1 listen
 *
 * Hosted by the agent (controlplane/extension.ts). Each part is constructed without effects, started in the order of what it
 * needs, and stopped the other way round.
 */
import type { Routes } from "../controlplane/api/context.ts";
import type { Extension, Host } from "../controlplane/extension.ts";
import { ruleTables } from "./rules/tables.ts";
import { MepStore, type PartMigration } from "./store.ts";

/** Tables of all parts. */
const migrations: readonly PartMigration[] = [...ruleTables];

export class Platform implements Extension {
  readonly routes: Routes[] = [];
  readonly #host: Host;
  /** What `stop` has to undo, last first. */
  readonly #undo: (() => void | Promise<void>)[] = [];

  constructor(host: Host) {
    this.#host = host;
    const store = new MepStore(host.config.stateDir, migrations);
    this.#undo.push(() => store.close());
  }

  async start(): Promise<void> {
    this.#host.log.info({ mp1: this.#host.config.mep?.mp1 }, "the MEC platform is up");
  }

  async stop(): Promise<void> {
    for (let step = this.#undo.pop(); step; step = this.#undo.pop()) {
      try {
        await step();
      } catch (error) {
        this.#host.log.error({ err: error }, "a part of the MEC platform did not stop cleanly");
      }
    }
  }
}

/** Nothing where site.yaml has no section `mep`. */
export const platformOf = (host: Host): Extension =>
  host.config.mep ? new Platform(host) : { routes: [], start: async () => undefined, stop: async () => undefined };
