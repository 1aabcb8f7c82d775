/**
 * What makes a MEC platform of the parts?
 *
 *   mep.sqlite ─▶ instances, rules, registry, … ─▶ rules of apps in the first steering ─▶ DNS, Mp1 listen
 *
 * Hosted by the agent (controlplane/extension.ts). Each part is constructed without effects, started in the order of what it
 * needs, and stopped the other way round.
 */
import type { Routes } from "../controlplane/api/context.ts";
import type { MepConfig } from "../controlplane/config/site.ts";
import { Problem } from "../controlplane/errors.ts";
import type { Extension, Host } from "../controlplane/extension.ts";
import { Commits } from "./commits.ts";
import { NameService } from "./dns/dns.ts";
import { Enablement } from "./mp1/enablement.ts";
import { mp1Base } from "./mp1/listen.ts";
import { notifierAt } from "./notify/at-site.ts";
import type { Notifier } from "./notify/notifier.ts";
import type { Reach } from "./notify/reach.ts";
import type { Instances } from "./parts.ts";
import { registryTables } from "./registry/tables.ts";
import { configuredTransport } from "./registry/transports.ts";
import { ruleTables } from "./rules/tables.ts";
import { MepStore, type PartMigration } from "./store.ts";

/** Tables of all parts. */
const migrations: readonly PartMigration[] = [...registryTables, ...ruleTables];

export interface PlatformOptions {
  /** Where apps may be notified. Default: where they can reach by themselves, by what the site says. */
  reach?: Reach;
}

export class Platform implements Extension {
  readonly routes: Routes[] = [];
  readonly notifier: Notifier;
  readonly enablement: Enablement;
  readonly #host: Host;
  readonly #names: NameService | undefined;
  /** What `stop` has to undo, last first. */
  readonly #undo: (() => void | Promise<void>)[] = [];

  constructor(host: Host, { reach }: PlatformOptions = {}) {
    this.#host = host;
    const store = new MepStore(host.config.stateDir, migrations);
    this.#undo.push(() => store.close());
    const none = async () => {
      throw new Problem("not-found", "there is no such instance");
    };
    const instances: Omit<Instances, "on"> = {
      get: () => undefined,
      list: () => [],
      confirmReady: none,
      confirmTermination: none,
    };
    this.notifier = notifierAt({ host, instances, egress: () => false, ...(reach && { reach }) });
    this.#undo.push(() => this.notifier.stop());
    this.enablement = this.#enablement(store, instances);
    if (host.config.mep?.dns) this.#names = new NameService(host);
  }

  #enablement({ database }: MepStore, instances: Omit<Instances, "on">): Enablement {
    const { config, log } = this.#host;
    const { mp1, liveness, timing, transports } = config.mep as MepConfig;
    const commits = new Commits(database);
    this.#undo.push(() => commits.close());
    const enablement = new Enablement({
      database,
      commits,
      instances,
      notifier: this.notifier,
      base: () => (mp1 ? mp1Base(mp1, config) : ""),
      bounds: liveness,
      timing,
      transports: transports.map(configuredTransport),
      log,
    });
    this.#undo.push(() => enablement.stop());
    return enablement;
  }

  async start(): Promise<void> {
    this.enablement.start();
    if (this.#names) {
      await this.#names.start();
      this.#undo.push(() => this.#names?.stop());
    }
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
