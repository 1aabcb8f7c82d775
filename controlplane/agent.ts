/**
 * What makes an appliance of the parts?
 *
 *   store ─▶ data plane (attach or adopt) ─▶ services applied ─▶ sessions runtime ─▶ API listens ─▶ ready
 *
 * `start` and `stop` mirror each other. `stop` leaves programs, maps and bridge where they are: offloaded traffic flows
 * on, and the next start adopts it. The data plane comes from outside, so that everything here also runs on one in memory.
 */
import type { AddressInfo } from "node:net";
import type { Logger } from "pino";
import type { BackendConfig, Dataplane } from "../dataplane/dataplane.ts";
import type { SlowPath } from "../dataplane/slow-path.ts";
import { noNames } from "../dataplane/steering.ts";
import { Audit } from "./access/audit.ts";
import type { ApiContext, Server } from "./api/context.ts";
import { EventHub } from "./api/events.ts";
import { createServer } from "./api/server.ts";
import { readSecrets } from "./api/site-secrets.ts";
import { clearCopies } from "./backup/write.ts";
import { Functions } from "./chains/functions.ts";
import type { SiteConfig } from "./config/site.ts";
import { Dataplanes, type Reloaded } from "./dataplanes/dataplanes.ts";
import { Problem } from "./errors.ts";
import type { Extension, MakeExtension } from "./extension.ts";
import { EchoSocket } from "./health/echo-socket.ts";
import { EndpointHealth } from "./health/endpoints.ts";
import { probeWith } from "./health/probes.ts";
import { Watcher } from "./health/watcher.ts";
import type { Conditions } from "./intents/conditions.ts";
import { type SiteFacts, siteFacts } from "./intents/context.ts";
import { DeployedCheck, differenceText } from "./intents/deployed.ts";
import { Services, type ServicesOptions } from "./intents/services.ts";
import { ServiceSets } from "./intents/sets.ts";
import { Metrics } from "./metrics/metrics.ts";
import { SessionsRuntime } from "./sessions/runtime.ts";
import { SiteChanges } from "./site/changes.ts";
import type { SiteYaml } from "./site/file.ts";
import { moment } from "./store/boottime.ts";
import { lock } from "./store/lock.ts";
import { Store } from "./store/store.ts";
import { version } from "./version.ts";

export interface Backend {
  dataplane: Dataplane;
  /** Absent where the back end has none: then nothing is pinged, held or captured. */
  slow?: SlowPath;
  /** Where `slow` is absent but packets can be captured. */
  capture?: Pick<SlowPath, "capture">;
}

export interface AgentOptions {
  config: SiteConfig;
  /** Called once, with the modes that were set over the API already in place. Constructing has no effects. */
  backend: (config: BackendConfig) => Backend;
  log: Logger;
  /** Starts the process that takes an armed change back when this one is dead by then. */
  guard?: () => void;
  /** Reads site.yaml again, for `reload`. @throws ConfigurationError */
  read?: () => SiteConfig;
  /** site.yaml as a file that the API may replace, and how this process begins again with what it says then. */
  yaml?: { file: SiteYaml; restart: () => void };
  /** Built on top, in this process. */
  extensions?: readonly MakeExtension[];
}

/** What a site says about services; asked for whenever a service is judged, because data planes come and go. */
export function servicesAt(site: () => SiteConfig): Pick<ServicesOptions, "protect" | "rules" | "site" | "vniBase"> {
  const { protect, backend } = site();
  let known: { of: SiteConfig; facts: SiteFacts } | undefined;
  const facts = (): SiteFacts => {
    const config = site();
    if (known?.of !== config) known = { of: config, facts: siteFacts(config) };
    return known.facts;
  };
  const { limits, vxlan } = backend;
  return { protect, rules: limits.rules, site: facts, ...(vxlan && { vniBase: vxlan.vniBase }) };
}

const collectMs = 1000;
const warnEveryMs = 60_000;
const noteHeadMs = 3_600_000;

export class Agent {
  readonly #options: AgentOptions;
  /** What `stop` has to undo, last first. */
  readonly #undo: (() => void | Promise<void>)[] = [];
  readonly #missing = new Set(["data plane", "services", "api"]);
  readonly #warnedFull = new Map<string, number>();
  #server: Server | undefined;
  #services: Services | undefined;
  #dataplanes: Dataplanes | undefined;
  #events: EventHub | undefined;
  #site: SiteChanges | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
  }

  /** Everything up, in order. When a step fails, the steps before are taken back and the error is thrown. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { config, log, read } = this.#options;
    const secrets = readSecrets(config.api);
    this.#undo.push(lock(config.stateDir));
    clearCopies(config.stateDir);
    const audit = this.#audit();
    const store = new Store(config.stateDir, { indices: config.backend.limits.rules });
    this.#undo.push(() => store.close());

    const warn = (message: string) => log.warn({ part: "dataplanes" }, message);
    const dataplanes = new Dataplanes({ config, store, warn, ...(read && { read }) });
    const { dataplane, slow, capture = slow } = this.#options.backend(dataplanes.wanted());

    const events = new EventHub();
    this.#events = events;
    const limits = config.backend.limits;
    const { guard } = this.#options;
    const functions = this.#functions(events, () => services);
    const health = this.#health(dataplane, events, () => services);
    const conditions: Conditions = {
      endpoint: (service, endpoint) => health.endpoint(service, endpoint),
      vnf: (address) => functions.state(address),
      prepare: (all) => health.prepare(all),
      // Each reads them from the beginning.
      inForce: (all) => {
        const list = [...all];
        health.inForce(list);
        functions.follow(list);
      },
    };
    const services: Services = new Services({
      ...servicesAt(() => dataplanes.config),
      store,
      dataplane,
      conditions,
      ...(guard && { guard }),
    });
    this.#services = services;
    const sets = new ServiceSets({
      services,
      store,
      dataplane,
      failed: (error) => log.error({ err: error }, "what was not confirmed could not be taken back; trying again"),
      tookBack: (revision) => {
        log.warn({ revision }, "a change was not confirmed in time, and has been taken back");
        events.publish({ type: "services-taken-back", time: Date.now(), ...(revision !== undefined && { revision }) });
      },
    });
    const deployed = new DeployedCheck(services, dataplane);
    const runtime =
      slow && new SessionsRuntime({ dataplane, slow, warn: (message) => log.warn({ part: "sessions" }, message) });
    let extensions: Extension[] = [];
    const without = () => extensions.flatMap((one) => one.missing?.() ?? []);
    const metrics = new Metrics({
      dataplane,
      serviceName: (index) => services.nameOf(index),
      serviceCount: () => services.list().length,
      functions: () => functions.states(),
      ready: () => this.#missing.size === 0,
      missing: without,
      differences: () => deployed.found,
      limits,
      health: () => health.views(),
      probes: () => health.probes(),
      audit: () => audit,
      ...(runtime && { runtime: () => runtime.counters() }),
      version,
    });
    this.#undo.push(
      dataplane.on((event) => {
        metrics.events.inc({ dataplane: event.dataplane, type: event.type });
        if (events.listeners > 0) events.publish({ ...event });
        if (event.type === "table-full") this.#warnFull(event.dataplane);
      }),
    );

    const host = { config, site: () => dataplanes.config, services, dataplane, events, metrics, audit, log, version };
    extensions = (this.#options.extensions ?? []).map((make) => make(host));

    await dataplane.start();
    this.#undo.push(() => dataplane.stop());
    // Names that an earlier run left stay in force, unless nobody answers for them any more.
    if (!config.mep?.dns) await dataplane.setNames(noNames);
    this.#missing.delete("data plane");
    // Before the services: an adopted data plane may be holding replies already.
    if (runtime) {
      runtime.start();
      this.#undo.push(() => runtime.stop());
    }
    this.#undo.push(() => health.stop());
    for (const extension of extensions) {
      this.#undo.push(() => extension.stop());
      await extension.prepare?.();
    }
    await services.start();
    sets.start();
    this.#undo.push(() => sets.stop());
    deployed.start(
      (differences) => {
        log.error({ differences: differences.map(differenceText) }, "the data plane does not hold what was applied");
        events.publish({ type: "drift", time: Date.now(), differences: differences.length });
      },
      (error) => log.warn({ err: error }, "what the data plane holds could not be read"),
    );
    this.#undo.push(() => deployed.stop());
    this.#missing.delete("services");
    const changed = async () => {
      for (const extension of extensions) await extension.siteChanged?.();
    };
    dataplanes.connect({ dataplane, services, changed });
    this.#dataplanes = dataplanes;
    this.#collectEverySecond(dataplane);
    for (const extension of extensions) await extension.start();

    const missing = () => [...this.#missing];
    const reload = () => this.reload();
    const site = this.#siteChanges(dataplanes, services, without);
    const context: ApiContext = {
      services,
      sets,
      deployed,
      dataplane,
      backend: config.backend,
      dataplanes,
      state: () => ({ stateDir: config.stateDir, file: dataplanes.file }),
      reload,
      ...(site && { site }),
      health,
      events,
      metrics,
      users: store.users,
      audit,
      missing,
      without,
      log,
      version,
      extensions: extensions.flatMap(({ routes }) => routes),
    };
    if (capture) context.capture = capture;
    const server = await createServer(context, { ...secrets, open: config.api.open });
    if (config.api.open && store.users.size > 0) {
      log.warn("there are users, but whoever is on this machine is admin without being one: see api.loopback");
    }
    this.#server = server;
    this.#undo.push(() => server.close());
    await server.listen({ host: config.api.host, port: config.api.port });
    this.#missing.delete("api");
    log.info({ site: config.name, services: services.list().length, listen: this.address() }, "ready");
    site?.started();
  }

  #siteChanges(dataplanes: Dataplanes, services: Services, missing: () => string[]): SiteChanges | undefined {
    const { log, yaml, guard } = this.#options;
    if (!yaml) return undefined;
    const site = new SiteChanges({
      yaml: yaml.file,
      dataplanes,
      reload: () => this.#reload(dataplanes),
      refuseWhileArmed: () => services.confirmation.refuseWhileArmed(),
      guard: () => guard?.(),
      restart: yaml.restart,
      missing,
      tookBack: (revision, back, why) => {
        log.warn({ revision, back }, `configuration ${revision} ${why}: back to ${back}`);
        this.#events?.publish({ type: "configuration-taken-back", time: Date.now(), revision, back, why });
      },
      failed: (error) => log.error({ err: error }, "a configuration could not be taken back by a reload"),
    });
    this.#site = site;
    this.#undo.push(() => site.stop());
    return site;
  }

  /** Opens the log, and notes its head where whoever changes the log does not reach: in ours. */
  #audit(): Audit {
    const { config, log } = this.#options;
    const audit = new Audit(config.stateDir, { facts: { version, site: config.name, boot: moment().boot } });
    const note = () => log.info({ head: `${audit.head.number}:${audit.head.digest}` }, "audit log");
    note();
    const timer = setInterval(note, noteHeadMs);
    timer.unref();
    this.#undo.push(() => {
      clearInterval(timer);
      note();
      audit.close();
    });
    return audit;
  }

  /** Functions of chains are asked whether they are there. */
  #functions(events: EventHub, services: () => Services): Functions {
    const { log } = this.#options;
    const echo = new EchoSocket();
    const functions = new Functions({
      watcher: new Watcher(probeWith(echo)),
      refresh: () => services().refresh(),
      publish: (event) => {
        log.info(event, "a function of chains has changed");
        events.publish(event);
      },
      failed: (error) => log.error({ err: error }, "a change of functions could not be applied; trying again"),
    });
    this.#undo.push(() => {
      functions.stop();
      echo.close();
    });
    return functions;
  }

  /** Reads site.yaml again and makes it true, all or nothing. @throws Problem */
  async reload(): Promise<Reloaded> {
    if (!this.#dataplanes) throw new Problem("not-ready", "the agent is still starting: try again");
    this.#site?.refuseWhileWaiting();
    return this.#reload(this.#dataplanes);
  }

  async #reload(dataplanes: Dataplanes): Promise<Reloaded> {
    const reloaded = await dataplanes.reload();
    this.#options.log.info(reloaded, "reloaded");
    this.#events?.publish({ type: "reloaded", time: Date.now(), ...reloaded });
    return reloaded;
  }

  #health(dataplane: Dataplane, events: EventHub, services: () => Services): EndpointHealth {
    const { log } = this.#options;
    const echo = new EchoSocket();
    return new EndpointHealth({
      watcher: new Watcher(probeWith(echo)),
      services,
      dataplane,
      publish: (event) => {
        log.info(event, event.type);
        events.publish(event);
      },
      failed: (error) => log.error({ err: error }, "a change of endpoints could not be applied; trying again"),
      closed: () => echo.close(),
    });
  }

  /** At most once a minute and data plane: a flood must not fill the log. */
  #warnFull(dataplane: string): void {
    const now = performance.now();
    if (now - (this.#warnedFull.get(dataplane) ?? Number.NEGATIVE_INFINITY) < warnEveryMs) return;
    this.#warnedFull.set(dataplane, now);
    this.#options.log.warn({ dataplane }, "a table is full: what is new passes to the core; see limits in site.yaml");
  }

  #collectEverySecond(dataplane: Dataplane): void {
    const { log } = this.#options;
    let timer: NodeJS.Timeout;
    let running: Promise<unknown> = Promise.resolve();
    let failed = false;
    const turn = () => {
      running = dataplane
        .collect()
        .then(() => {
          failed = false;
        })
        .catch((error: unknown) => {
          if (!failed) log.error({ err: error }, "collecting idle sessions failed");
          failed = true;
        })
        .finally(() => {
          if (!stopped) timer = setTimeout(turn, collectMs);
        });
    };
    let stopped = false;
    timer = setTimeout(turn, collectMs);
    this.#undo.push(async () => {
      stopped = true;
      clearTimeout(timer);
      await running;
    });
  }

  /** Ends the process's part; traffic goes on. Does what it can when a part refuses. */
  async stop(): Promise<void> {
    this.#missing.add("stopping");
    for (let step = this.#undo.pop(); step; step = this.#undo.pop()) {
      try {
        await step();
      } catch (error) {
        this.#options.log.error({ err: error }, "a part did not stop cleanly");
      }
    }
    this.#server = undefined;
  }

  /** Where the API listens: `http://127.0.0.1:8090`. */
  address(): string | undefined {
    const bound = this.#server?.server.address() as AddressInfo | null | undefined;
    if (!bound) return undefined;
    const host = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
    return `${this.#options.config.api.tls ? "https" : "http"}://${host}:${bound.port}`;
  }

  /** For tests: requests without a socket. */
  get server(): Server | undefined {
    return this.#server;
  }

  get services(): Services | undefined {
    return this.#services;
  }
}
