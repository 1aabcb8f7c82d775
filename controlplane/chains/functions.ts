/**
 * Which functions of chains can be reached, at the moment?
 *
 *   services in force ─▶ watcher (ICMP echo) ──change──▶ refresh the steering ─▶ event
 *
 * A function that has not been asked yet counts as up: a chain is not cut for want of an answer. Each is asked once, however
 * many chains it is in. When the control plane dies, what was last in force stays.
 */
import type { SiteEvent } from "../api/events.ts";
import type { Change, Watched, Watcher } from "../health/watcher.ts";
import type { Health, NumberedIntent } from "../intents/model.ts";

/** Down after three failures in a row, up again after two answers. */
const health: Health = { type: "icmp", intervalMs: 500, timeoutMs: 500, up: 2, down: 3 };
/** What changes together is applied together. */
const gatherMs = 10;
const againMs = 1000;

export interface FunctionsOptions {
  watcher: Watcher;
  /** Applies the services anew; asked for when there is something to do. */
  refresh: () => Promise<void>;
  publish: (event: SiteEvent) => void;
  /** What could not be applied is tried again. */
  failed: (error: unknown) => void;
}

export interface FunctionState extends Pick<Watched, "since" | "failure"> {
  function: string;
  state: "up" | "down";
  /** Names of the services whose chains it is in. */
  services: string[];
}

export class Functions {
  readonly #options: FunctionsOptions;
  readonly #stopListening: () => void;
  #services = new Map<string, string[]>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: FunctionsOptions) {
    this.#options = options;
    this.#stopListening = options.watcher.on((change) => this.#changed(change));
  }

  /** As `Conditions.vnf` has it. */
  state(address: string): "up" | "down" {
    return this.#options.watcher.state(address)?.state === "down" ? "down" : "up";
  }

  /** Whose functions are asked from now on. */
  follow(services: Iterable<NumberedIntent>): void {
    const { watcher } = this.#options;
    const wanted = new Map<string, string[]>();
    for (const { intent } of services) {
      const { chain, name } = intent;
      if (!chain) continue;
      for (const address of new Set([...chain.uplink, ...chain.downlink].map((one) => one.address))) {
        const names = wanted.get(address);
        if (names) names.push(name);
        else wanted.set(address, [name]);
      }
    }
    for (const address of [...watcher.keys()]) if (!wanted.has(address)) watcher.unwatch(address);
    this.#services = wanted;
    for (const address of wanted.keys()) watcher.watch(address, { address }, health);
  }

  states(): FunctionState[] {
    return [...this.#services].map(([address, services]) => {
      const { since = 0, failure } = this.#options.watcher.state(address) ?? {};
      return {
        function: address,
        state: this.state(address),
        services,
        since,
        ...(failure !== undefined && { failure }),
      };
    });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#stopListening();
    this.#options.watcher.stop();
  }

  #changed({ key, was, state, failure }: Change): void {
    // What is found as it was taken to be changes nothing.
    if (was === "unknown" && state === "up") return;
    this.#options.publish({
      type: `function-${state}`,
      time: Date.now(),
      function: key,
      services: this.#services.get(key) ?? [],
      ...(failure !== undefined && { failure }),
    });
    this.#soon(gatherMs);
  }

  #soon(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#options.refresh().catch((error: unknown) => {
        this.#options.failed(error);
        this.#soon(againMs);
      });
    }, ms);
  }
}
