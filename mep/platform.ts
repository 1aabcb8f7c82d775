/**
 * What makes a MEC platform of the parts?
 *
 *   mep.sqlite ─▶ instances, rules, registry, … ─▶ rules of apps in the first steering ─▶ DNS, Mp1 listen
 *
 * Hosted by the agent (controlplane/extension.ts). Each part is constructed without effects, started in the order of what it
 * needs, and stopped the other way round.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Routes } from "../controlplane/api/context.ts";
import type { MepConfig } from "../controlplane/config/site.ts";
import { messageOf } from "../controlplane/errors.ts";
import type { Extension, Host } from "../controlplane/extension.ts";
import { noNames } from "../dataplane/steering.ts";
import { Auth, ratesOf } from "./auth/auth.ts";
import { authTables } from "./auth/tables.ts";
import { Commits } from "./commits.ts";
import { NameService } from "./dns/dns.ts";
import { noNameService } from "./dns/dns-rules.ts";
import { operatorRuleRoutes } from "./dns/operator-routes.ts";
import { OperatorRules, operatorTables } from "./dns/operator-rules.ts";
import { Eventually } from "./eventually.ts";
import { missingFor } from "./instances/requirements.ts";
import { Onboarding, onboardingTables } from "./management/onboarding.ts";
import { Enablement } from "./mp1/enablement.ts";
import { mp1Base, mp1Ca, mp1Secrets } from "./mp1/listen.ts";
import { mp1AccessRoutes } from "./mp1/management-route.ts";
import { ruleRoutes } from "./mp1/rule-routes.ts";
import { Mp1Server } from "./mp1/server.ts";
import { notifierAt } from "./notify/at-site.ts";
import type { Notifier } from "./notify/notifier.ts";
import type { Reach } from "./notify/reach.ts";
import { websocketRoute } from "./notify/websocket-route.ts";
import { signingKey } from "./packages/signature.ts";
import type { Instance, Instances } from "./parts.ts";
import { registryTables } from "./registry/tables.ts";
import { configuredTransport } from "./registry/transports.ts";
import { managementRuleRoutes } from "./rules/routes.ts";
import { RuleStore } from "./rules/rule-store.ts";
import { Rules } from "./rules/rules.ts";
import { ruleTables } from "./rules/tables.ts";
import type { Runtime } from "./runtime/runtime.ts";
import { runtimeOf, runtimeSettings } from "./runtime/site.ts";
import { MepStore, mepStoreFile, type PartMigration } from "./store.ts";

/** Tables of all parts. */
const migrations: readonly PartMigration[] = [
  ...authTables,
  ...onboardingTables,
  ...registryTables,
  ...ruleTables,
  ...operatorTables,
];

export interface PlatformOptions {
  /** Where apps may be notified. Default: where they can reach by themselves, by what the site says. */
  reach?: Reach;
}

export class Platform implements Extension {
  readonly routes: Routes[] = [];
  readonly notifier: Notifier;
  readonly enablement: Enablement;
  readonly rules: Rules;
  /** Of the operator. */
  readonly dnsRules: OperatorRules;
  readonly onboarding: Onboarding;
  /** Absent where site.yaml has no networks for instances. */
  readonly runtime: Runtime | undefined;
  readonly auth: Auth;
  readonly #host: Host;
  readonly #names: NameService | undefined;
  #server: Mp1Server | undefined;
  /** What the machine may lack for a while. */
  readonly #instancesUp: Eventually;
  readonly #mp1Up: Eventually;
  #partsUp = false;
  /** What `stop` has to undo, last first. */
  readonly #undo: (() => void | Promise<void>)[] = [];

  constructor(host: Host, { reach }: PlatformOptions = {}) {
    this.#host = host;
    const without = (what: string) => (error: unknown) =>
      host.log.error({ err: error }, `the MEC platform is without ${what}, and goes on trying: ${messageOf(error)}`);
    this.#instancesUp = new Eventually(() => this.#openRuntime(), without("instances that run here"));
    this.#mp1Up = new Eventually(() => this.#listen(), without("Mp1"));
    const store = new MepStore(host.config.stateDir, migrations);
    this.#undo.push(() => store.close());
    this.runtime = runtimeOf(
      host.site(),
      (message) => host.log.warn({ part: "runtime" }, message),
      (id) => this.rules.endFlows(id),
    );
    // Parts ask of each other only once they have started.
    const managed = () => this.onboarding.instances;
    const instances: Omit<Instances, "on"> = {
      get: (id) => managed().get(id),
      list: () => managed().list(),
      confirmReady: (id) => managed().confirmReady(id),
      confirmTermination: (id, action) => managed().confirmTermination(id, action),
    };
    this.notifier = notifierAt({
      host,
      instances: { ...instances, get: (id) => this.#instance(id) },
      egress: (id) => managed().egress(id),
      ...(reach && { reach }),
    });
    this.#undo.push(() => this.notifier.stop());
    this.enablement = this.#enablement(store, instances);
    const { mp1 } = host.config.mep ?? {};
    this.auth = new Auth({
      database: store.database,
      base: () => this.mp1() ?? "",
      registered: (client) => this.enablement.registrations.instanceOf(client),
      refused: (reason) => host.metrics.refused.inc({ api: "mp1", reason }),
      ...(mp1 && { lifetime: mp1.tokenLifetime, rates: ratesOf(mp1.rates) }),
      certificates: mp1?.tls?.clientCa !== undefined,
    });
    if (host.config.mep?.dns) this.#names = new NameService(host);
    this.dnsRules = new OperatorRules({
      store,
      dns: this.#names?.activation ?? noNameService,
      context: () => host.services.context(),
      log: host.log,
    });
    this.rules = this.#rules(store);
    this.onboarding = this.#onboarding(store);
    const access = mp1AccessRoutes(() => mp1 && { url: this.mp1() ?? "", ca: mp1Ca(mp1, host.config) });
    this.routes.push(
      managementRuleRoutes(this.rules),
      operatorRuleRoutes(this.dnsRules),
      ...this.onboarding.routes,
      this.auth.routes,
      access,
    );
  }

  /** Also of an app that has registered from elsewhere. */
  #instance(id: string): Instance | undefined {
    return this.onboarding.instances.get(id) ?? this.enablement.instance(id);
  }

  /** `https://host:port` as apps reach Mp1. Undefined where the site has none. */
  mp1(): string | undefined {
    const { config } = this.#host;
    return config.mep?.mp1 && mp1Base(config.mep.mp1, config, this.#server?.app);
  }

  #enablement({ database }: MepStore, instances: Omit<Instances, "on">): Enablement {
    const { config, log } = this.#host;
    const { liveness, timing, transports } = config.mep as MepConfig;
    const commits = new Commits(database);
    this.#undo.push(() => commits.close());
    const enablement = new Enablement({
      database,
      commits,
      instances,
      notifier: this.notifier,
      base: () => this.mp1() ?? "",
      bounds: liveness,
      timing,
      transports: transports.map(configuredTransport),
      log,
    });
    this.#undo.push(() => enablement.stop());
    return enablement;
  }

  #rules(store: MepStore): Rules {
    const { config, services, dataplane, log } = this.#host;
    return new Rules({
      store: new RuleStore(store),
      services,
      dataplane,
      dns: this.dnsRules.beneath,
      initial: config.mep?.rules.initial ?? "INACTIVE",
      absent: (id) => {
        const instance = this.onboarding.instances.get(id);
        return instance !== undefined && !instance.external && !this.runtime?.alive(id);
      },
      log,
    });
  }

  #onboarding(store: MepStore): Onboarding {
    const { config, log } = this.#host;
    return new Onboarding({
      store,
      stateDir: config.stateDir,
      notifier: this.notifier,
      ...(this.runtime && { runtime: this.runtime }),
      // In the order of the beginning; the end goes the other way: rules, services, subscriptions, registration, credentials.
      parts: [this.auth.credentials, ...[...this.enablement.parts].reverse(), this.rules],
      credentials: async ({ id }) => this.auth.credentials.rotate(id),
      announce: (instance, action, seconds) => this.enablement.announceTermination(instance, action, seconds),
      missing: (appd) => missingFor(appd, this.enablement.provided),
      failed: (error, what) => log.error({ err: error }, `app instances: ${what}`),
      keys: config.mep?.packages.keys.map(({ name, key }) => signingKey(name, key)),
    });
  }

  prepare(): void {
    this.onboarding.prepare();
    this.dnsRules.prepare();
    this.rules.prepare();
  }

  async start(): Promise<void> {
    // Constructed in this order, so that what is under way ends before what it works with.
    this.#undo.push(() => this.#instancesUp.stop());
    await this.#instancesUp.begin();
    await this.auth.start();
    this.enablement.start();
    if (this.#names) {
      await this.#names.start();
      this.#undo.push(() => this.#names?.stop());
    }
    await this.rules.start();
    this.#partsUp = true;
    if (this.#instancesUp.done) this.#takeUpInstances();
    this.#undo.push(() => this.#mp1Up.stop());
    await this.#mp1Up.begin();
    this.#host.log.info({ mp1: this.mp1(), missing: this.missing() }, "the MEC platform is up");
  }

  /** What an earlier agent left running is adopted. @throws RuntimeError what the machine lacks */
  async #openRuntime(): Promise<void> {
    const { runtime } = this;
    if (runtime) {
      await runtime.open();
      this.#undo.push(() => runtime.close());
    }
    if (this.#partsUp) this.#takeUpInstances();
  }

  #takeUpInstances(): void {
    this.#undo.push(() => this.onboarding.stop());
    this.onboarding.start();
  }

  missing(): string[] {
    const { mp1, dns } = this.#host.config.mep as MepConfig;
    return [
      ...(mp1 && !this.#mp1Up.done ? ["mep.mp1"] : []),
      ...(dns && !this.#names?.up ? ["mep.dns"] : []),
      ...(this.runtime && !this.#instancesUp.done ? ["mep.apps"] : []),
    ];
  }

  async #listen(): Promise<void> {
    const { config, log, metrics, audit, version } = this.#host;
    const { mp1 } = config.mep as MepConfig;
    if (!mp1) return;
    const { authority } = this.auth;
    const instances = { get: (id: string) => this.#instance(id) };
    const tls = mp1Secrets(mp1, config);
    const server = await Mp1Server.create({ ...(tls && { tls }), authority, instances, audit, metrics, log, version });
    this.auth.serve(server.app);
    this.enablement.routes(server);
    ruleRoutes(server, this.rules);
    websocketRoute(server.app, this.notifier.sockets, authority);
    await server.app.ready();
    try {
      await server.app.listen({ host: mp1.host, port: mp1.port });
    } catch (error) {
      await server.app.close();
      throw new Error(`Mp1 cannot listen where mep.mp1.listen says: ${messageOf(error)}`);
    }
    this.#undo.push(() => server.app.close());
    this.#server = server;
  }

  async siteChanged(): Promise<void> {
    const settings = runtimeSettings(this.#host.site(), () => undefined);
    if (settings) await this.runtime?.surroundedBy(settings.site);
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

/**
 * Nothing where site.yaml has no section `mep`. Where the platform's own files cannot be used, it says so, and the site is without
 * it until a restart: the traffic offloading function is not.
 */
export function platformOf(host: Host): Extension {
  const nothing = { routes: [], start: async () => undefined, stop: async () => undefined };
  if (!host.config.mep) return nothing;
  try {
    return new Platform(host);
  } catch (error) {
    host.log.error({ err: error }, `this site is without its MEC platform until a restart: ${messageOf(error)}`);
    // Nobody would answer the names that an earlier run has left.
    return { ...nothing, prepare: () => host.dataplane.setNames(noNames), missing: () => ["mep"] };
  }
}

/** Opens the platform's store as a start would, carried forward. @throws Error where a newer release has written it */
export function checkState(stateDir: string): void {
  if (existsSync(join(stateDir, mepStoreFile))) new MepStore(stateDir, migrations).close();
}
