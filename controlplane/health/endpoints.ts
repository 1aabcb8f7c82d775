/**
 * Which endpoints of which services take new connections, and what follows when that changes?
 *
 *   prepare ─▶ watcher ──change──▶ turn: refresh the steering ─▶ end the flows of what is down ─▶ events
 *
 * An endpoint that has not answered yet counts as down: nothing is sent where nothing is known to listen, and until then
 * traffic stays where it was, at the core. A change of services waits a little for first answers, so that what is up is used
 * from the start. Only a failed probe ends flows, never the lack of one. A service none of whose endpoints is up stands
 * aside; one without `health` has all of them up.
 *
 * Targets are shared: two services with the same endpoint and the same health are asked about once.
 */
import type { Dataplane, EndpointOfService } from "../../dataplane/dataplane.ts";
import type { Endpoint } from "../../dataplane/steering.ts";
import type { SiteEvent } from "../api/events.ts";
import { socketText } from "../intents/endpoint-text.ts";
import type { Health, NumberedIntent } from "../intents/model.ts";
import type { Services } from "../intents/services.ts";
import type { Change, Target, TargetState, Watcher } from "./watcher.ts";

/** Of a change for what it adds. A probe may take longer; its answer comes when it comes. */
const waitMs = 3000;
/** What changes together, a host with all of its ports, is applied together. */
const gatherMs = 10;
const againMs = 1000;

export interface EndpointView extends Pick<Endpoint, "address" | "port" | "weight"> {
  state: NonNullable<Endpoint["state"]> | "unknown";
  /** Of the last change; absent where nobody asks. */
  since?: number;
  /** Of the last probe. */
  failure?: string;
}

export interface ServiceView {
  service: string;
  /** Aside: no endpoint is up, new connections go to the core. */
  state: "up" | "aside";
  /** Endpoints that take new connections. */
  up: number;
  health?: Health;
  endpoints: EndpointView[];
}

export interface EndpointHealthOptions {
  watcher: Watcher;
  /** Asked for when there is something to do: it is made after this. */
  services: () => Pick<Services, "refresh" | "alone">;
  dataplane: Pick<Dataplane, "flushEndpoints">;
  publish: (event: SiteEvent) => void;
  /** What could not be applied is tried again. */
  failed: (error: unknown) => void;
  /** When nothing is asked any more. */
  closed?: () => void;
}

const targetOf = ({ address, port }: Endpoint, health: Health): Target => {
  const asked = health.port ?? port;
  return { address, ...(health.type !== "icmp" && asked !== undefined && { port: asked }) };
};

/** Equal for what is asked in the same way. */
function keyOf(endpoint: Endpoint, health: Health): string {
  const { address, port } = targetOf(endpoint, health);
  const { type, path, host, intervalMs, timeoutMs, up, down } = health;
  return [type, address, port, path, host, intervalMs, timeoutMs, up, down].join(" ");
}

/** What is found counts, but for an endpoint that is up: that may be draining. `found` absent: nobody asks. */
const stateWith = ({ state = "up" }: Endpoint, found: TargetState = "up"): EndpointView["state"] =>
  found === "up" ? state : found;

const usable = (entries: Iterable<NumberedIntent>) => {
  const found = new Map<string, NumberedIntent & { endpoints: Endpoint[] }>();
  for (const entry of entries) {
    const { name, endpoints } = entry.intent;
    if (endpoints) found.set(name, { ...entry, endpoints });
  }
  return found;
};

export class EndpointHealth {
  readonly #options: EndpointHealthOptions;
  readonly #stopListening: () => void;
  #entries = usable([]);
  /** Not yet in force: looked up first while a change is under way. */
  #coming = usable([]);
  /** Changes that the steering does not know of yet. */
  readonly #stale = new Set<string>();
  /** What the steering knows of those instead: that is what packets meet, and what is told. */
  readonly #inSteering = new Map<string, TargetState>();
  /** Changes whose flows and events are still to be seen to. */
  #untold = new Map<string, Change>();
  readonly #aside = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #turning: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: EndpointHealthOptions) {
    this.#options = options;
    this.#stopListening = options.watcher.on((change) => {
      this.#stale.add(change.key);
      if (!this.#inSteering.has(change.key)) this.#inSteering.set(change.key, change.was);
      this.#untold.set(change.key, change);
      this.#soon(gatherMs);
    });
  }

  /** For `Conditions`. */
  endpoint(service: string, endpoint: Endpoint): NonNullable<Endpoint["state"]> {
    const state = this.#stateOf(service, endpoint);
    return state === "unknown" ? "down" : state;
  }

  #stateOf(service: string, endpoint: Endpoint): EndpointView["state"] {
    const entry = this.#coming.get(service) ?? this.#entries.get(service);
    const health = entry?.intent.health;
    return stateWith(endpoint, health && this.#options.watcher.state(keyOf(endpoint, health))?.state);
  }

  /** Begins to ask what these services add, and waits a little for the answers. For `Conditions`. */
  async prepare(services: Iterable<NumberedIntent>): Promise<void> {
    const { watcher } = this.#options;
    this.#coming = usable(services);
    const added: string[] = [];
    for (const { intent, endpoints } of this.#coming.values()) {
      const { health } = intent;
      if (!health) continue;
      for (const endpoint of endpoints) {
        const key = keyOf(endpoint, health);
        if (watcher.state(key)) continue;
        watcher.watch(key, targetOf(endpoint, health), health);
        added.push(key);
      }
    }
    if (added.length === 0) return;
    await watcher.known(added, waitMs);
    // Compiled next, with these answers.
    for (const key of added) {
      this.#stale.delete(key);
      this.#inSteering.delete(key);
    }
  }

  /** These are in force now, whether a change was made or refused. For `Conditions`. */
  inForce(services: Iterable<NumberedIntent>): void {
    const { watcher } = this.#options;
    this.#entries = usable(services);
    this.#coming = usable([]);
    const used = new Set<string>();
    for (const { intent, endpoints } of this.#entries.values()) {
      if (intent.health) for (const endpoint of endpoints) used.add(keyOf(endpoint, intent.health));
    }
    for (const key of [...watcher.keys()]) {
      if (used.has(key)) continue;
      watcher.unwatch(key);
      this.#inSteering.delete(key);
    }
    this.#soon(0);
  }

  views(): ServiceView[] {
    const { watcher } = this.#options;
    return [...this.#entries.values()].map(({ intent: { name, health }, endpoints }) => {
      const views = endpoints.map((endpoint): EndpointView => {
        const { address, port, weight } = endpoint;
        const key = health && keyOf(endpoint, health);
        const watched = key === undefined ? undefined : watcher.state(key);
        const met = key === undefined ? undefined : (this.#inSteering.get(key) ?? watched?.state);
        return {
          address,
          ...(port !== undefined && { port }),
          ...(weight !== undefined && { weight }),
          state: stateWith(endpoint, met),
          ...(watched && { since: watched.since }),
          ...(watched?.failure !== undefined && { failure: watched.failure }),
        };
      });
      const up = views.filter(({ state }) => state === "up").length;
      return { service: name, state: up > 0 ? "up" : "aside", up, ...(health && { health }), endpoints: views };
    });
  }

  /** How many probes were answered as they should be, and how many were not. */
  probes(): Watcher["counts"] {
    return this.#options.watcher.counts;
  }

  /** Number of a service, for the data plane. */
  indexOf(service: string): number | undefined {
    return this.#entries.get(service)?.index;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#stopListening();
    await this.#turning;
    this.#options.watcher.stop();
    this.#options.closed?.();
  }

  #soon(ms: number): void {
    if (this.#timer || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#turning = this.#turning.then(() => this.#turn());
    }, ms);
  }

  async #turn(): Promise<void> {
    if (this.#stopped) return;
    const services = this.#options.services();
    try {
      // A change that is under way applies what is known by then.
      await services.alone(() => undefined);
      if (this.#stale.size > 0) {
        const stale = [...this.#stale];
        this.#stale.clear();
        try {
          await services.refresh();
          for (const key of stale) if (!this.#stale.has(key)) this.#inSteering.delete(key);
        } catch (error) {
          for (const key of stale) this.#stale.add(key);
          throw error;
        }
      }
      await this.#endFlows();
    } catch (error) {
      this.#options.failed(error);
      this.#soon(againMs);
      return;
    }
    this.#tell();
  }

  /** The steering sends nothing new there any more: what is there already shall not wait in vain. */
  async #endFlows(): Promise<void> {
    const { watcher, dataplane } = this.#options;
    const dead: EndpointOfService[] = [];
    for (const { intent, index, endpoints } of this.#entries.values()) {
      const { health } = intent;
      if (!health) continue;
      for (const endpoint of endpoints) {
        const key = keyOf(endpoint, health);
        if (!this.#untold.has(key) || watcher.state(key)?.state !== "down") continue;
        const { address, port } = endpoint;
        dead.push({ service: index, address, ...(port !== undefined && { port }) });
      }
    }
    if (dead.length > 0) await dataplane.flushEndpoints(dead);
  }

  #tell(): void {
    const changes = this.#untold;
    this.#untold = new Map();
    const { publish } = this.#options;
    const time = Date.now();
    for (const { intent, endpoints } of this.#entries.values()) {
      const { name: service, health } = intent;
      for (const endpoint of health && changes.size > 0 ? endpoints : []) {
        const change = changes.get(keyOf(endpoint, health as Health));
        if (!change) continue;
        const { state, failure } = change;
        const reason = failure !== undefined && { reason: failure };
        publish({ type: `endpoint-${state}`, time, service, endpoint: socketText(endpoint), ...reason });
      }
      const aside = !endpoints.some((endpoint) => this.endpoint(service, endpoint) === "up");
      if (aside === this.#aside.has(service)) continue;
      if (aside) this.#aside.add(service);
      else this.#aside.delete(service);
      publish({ type: aside ? "service-aside" : "service-back", time, service });
    }
    for (const service of this.#aside) if (!this.#entries.has(service)) this.#aside.delete(service);
  }
}
