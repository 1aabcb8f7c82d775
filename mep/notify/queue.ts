/**
 * When is which notification tried, and what happens to those that wait?
 *
 *   send ─▶ lane of the subscription, in order ─▶ turn of the instance ─▶ attempt ─▶ sent | refused | later | given up
 *             │ too many: the oldest goes            │ so many at a time,     └ place is open-circuited: all wait for
 *             │                                      │ instances in turn         one attempt to be answered
 *
 * A lane delivers one after the other, so a subscriber sees them in order; one that has to be tried again holds those behind
 * it. When an instance has more waiting than it may, its oldest goes: the newest says what is true now, and who
 * missed something reads the resource. Nothing here survives a restart. What an attempt does is not known here.
 */
import type { Subscriber } from "../parts.ts";
import { Breaker, type BreakerSettings } from "./breaker.ts";

export interface QueueSettings {
  /** Milliseconds between attempts; one attempt more than there are waits. Each is spread over 0.5 to 1.5 of itself. */
  retryMs: readonly number[];
  /** Notifications of one instance that may wait. */
  waiting: number;
  /** Octets of all that wait. */
  octets: number;
  /** Attempts at a time: of all, of one instance. */
  atOnce: number;
  atOnceOfInstance: number;
  /** What has waited longer is old news, and not sent. */
  ageMs: number;
  breaker: BreakerSettings;
}

export const queueDefaults: QueueSettings = {
  retryMs: [1000, 4000, 15_000, 60_000],
  waiting: 1000,
  octets: 64 << 20,
  atOnce: 128,
  atOnceOfInstance: 8,
  ageMs: 600_000,
  breaker: { failures: 5, openMs: 30_000, openAtMostMs: 300_000 },
};

/**
 * What an attempt came to. `again`: nobody answered, or not now. `refused`: somebody answered, and does not want it.
 * `blocked`: nothing was sent, since the app may not be reached there. `absent`: the other side is not connected; `wake` says
 * when it is.
 */
export type Outcome = "sent" | "again" | "refused" | "blocked" | "absent";

export interface Attempt {
  outcome: Outcome;
  why?: string;
}

/** Never rejects. The signal ends it early. */
export type Deliver = (subscriber: Subscriber, body: string, signal: AbortSignal) => Promise<Attempt>;

/** What became of notifications, as counted. `full`: one made room. `forgotten`: its subscription went first. */
export const ends = ["sent", "refused", "blocked", "given-up", "full", "expired", "forgotten", "stopped"] as const;
export type End = (typeof ends)[number];

interface Job {
  lane: Lane;
  body: string;
  /** On the clock of `performance`. */
  since: number;
  attempts: number;
}

interface Lane {
  subscriber: Subscriber;
  owner: Owner;
  waiting: Job[];
  /** Being tried, or between two attempts. */
  current?: Job;
  state: "idle" | "ready" | "running" | "resting" | "parked" | "gone";
  timer?: NodeJS.Timeout;
  abort?: AbortController;
  place?: Place;
}

/** Where callbacks of one instance lead: scheme, host and port. */
interface Place {
  key: string;
  breaker: Breaker;
  parked: Set<Lane>;
  lanes: Set<Lane>;
  timer?: NodeJS.Timeout;
}

/** An instance, or "" for all subscriptions of management users. */
interface Owner {
  id: string;
  lanes: number;
  places: Map<string, Place>;
  /** Oldest first. */
  waiting: Set<Job>;
  octets: number;
  running: number;
  ready: Lane[];
}

export interface QueueOptions {
  deliver: Deliver;
  /** What shares one breaker; undefined: has none. */
  placeOf: (subscriber: Subscriber) => string | undefined;
  settings?: Partial<QueueSettings>;
  ended?: (end: End, subscriber: Subscriber, why?: string) => void;
  /** A place no longer answers, or answers again. */
  turned?: (subscriber: Subscriber, place: string, answers: boolean) => void;
}

const firstOf = <T>(set: Iterable<T>): T | undefined => {
  for (const one of set) return one;
  return undefined;
};

export class Queue {
  readonly counts = Object.fromEntries(ends.map((end) => [end, 0])) as Record<End, number>;
  retries = 0;
  readonly #lanes = new Map<string, Lane>();
  readonly #owners = new Map<string, Owner>();
  /** Owners with something ready and attempts left, in turn. */
  readonly #turn = new Set<Owner>();
  readonly #settings: QueueSettings;
  #running = 0;
  #octets = 0;
  #stopped = false;
  #drained: (() => void) | undefined;

  constructor(private readonly options: QueueOptions) {
    this.#settings = { ...queueDefaults, ...options.settings };
  }

  get waiting(): number {
    let sum = 0;
    for (const { waiting } of this.#owners.values()) sum += waiting.size;
    return sum;
  }

  get running(): number {
    return this.#running;
  }

  /** Places by the state of their breaker. */
  breakers(): Record<Breaker["state"], number> {
    const found = { closed: 0, open: 0, "half-open": 0 };
    for (const { places } of this.#owners.values()) {
      for (const { breaker } of places.values()) found[breaker.state] += 1;
    }
    return found;
  }

  /** Never throws, never waits. */
  send(subscriber: Subscriber, body: string): void {
    if (this.#stopped) {
      this.#end("stopped", subscriber);
      return;
    }
    const lane = this.#lane(subscriber);
    const job: Job = { lane, body, since: performance.now(), attempts: 0 };
    const { owner } = lane;
    lane.waiting.push(job);
    owner.waiting.add(job);
    this.#weigh(owner, body.length);
    while (owner.waiting.size > this.#settings.waiting) this.#dropOldest(owner);
    while (this.#octets > this.#settings.octets && this.#dropOldest(this.#heaviest()));
    this.#makeReady(lane);
    this.#pump();
  }

  /** The other side of a lane that was `absent` is there. */
  wake(id: string): void {
    const lane = this.#lanes.get(id);
    if (lane?.state !== "parked" || lane.place) return;
    lane.state = "idle";
    this.#makeReady(lane);
    this.#pump();
  }

  /** Nothing more is sent, and an attempt that runs is cut off. */
  forget(id: string): void {
    const lane = this.#lanes.get(id);
    if (lane) this.#remove(lane, "forgotten");
  }

  /** Resolves when no attempt runs any more; what runs after `graceMs` is cut off. What waits is dropped, and counted. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    for (const lane of [...this.#lanes.values()]) if (lane.state !== "running") this.#remove(lane, "stopped");
    // Nobody learns from what attempts come to now.
    for (const owner of [...this.#owners.values()]) {
      for (const { timer } of owner.places.values()) clearTimeout(timer);
      owner.places.clear();
      this.#tidyOwner(owner);
    }
    if (this.#running === 0) return;
    const cut = setTimeout(() => {
      for (const lane of [...this.#lanes.values()]) this.#remove(lane, "stopped");
    }, graceMs);
    await new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
    clearTimeout(cut);
  }

  #end(end: End, subscriber: Subscriber, why?: string): void {
    this.counts[end] += 1;
    this.options.ended?.(end, subscriber, why);
  }

  #owner(id: string): Owner {
    let owner = this.#owners.get(id);
    if (!owner) {
      owner = { id, lanes: 0, places: new Map(), waiting: new Set(), octets: 0, running: 0, ready: [] };
      this.#owners.set(id, owner);
    }
    return owner;
  }

  #lane(subscriber: Subscriber): Lane {
    const known = this.#lanes.get(subscriber.id);
    if (known) return known;
    const owner = this.#owner(subscriber.instance ?? "");
    const lane: Lane = { subscriber, owner, waiting: [], state: "idle" };
    owner.lanes += 1;
    this.#lanes.set(subscriber.id, lane);
    const key = this.options.placeOf(subscriber);
    if (key !== undefined) {
      let place = owner.places.get(key);
      if (!place) {
        place = { key, breaker: new Breaker(this.#settings.breaker), parked: new Set(), lanes: new Set() };
        owner.places.set(key, place);
      }
      place.lanes.add(lane);
      lane.place = place;
    }
    return lane;
  }

  /** Takes the lane away with all that is in it. */
  #remove(lane: Lane, end: End): void {
    const { owner, place, current, subscriber } = lane;
    const was = lane.state;
    lane.state = "gone";
    clearTimeout(lane.timer);
    lane.abort?.abort();
    if (current) this.#end(end, subscriber);
    for (const job of lane.waiting.splice(0)) {
      this.#unlist(job);
      this.#end(end, subscriber);
    }
    if (was === "ready") owner.ready = owner.ready.filter((other) => other !== lane);
    this.#lanes.delete(subscriber.id);
    owner.lanes -= 1;
    if (place) {
      place.lanes.delete(lane);
      place.parked.delete(lane);
      if (was === "running" && place.breaker.state === "half-open") this.#rearm(place);
      this.#tidyPlace(owner, place);
    }
    this.#tidyOwner(owner);
  }

  #tidyPlace(owner: Owner, place: Place): void {
    // An open one is remembered until its time is up.
    if (place.lanes.size > 0 || place.breaker.state === "open") return;
    owner.places.delete(place.key);
  }

  #tidyOwner(owner: Owner): void {
    if (owner.lanes === 0 && owner.places.size === 0 && owner.running === 0) {
      this.#owners.delete(owner.id);
      this.#turn.delete(owner);
    }
  }

  #weigh(owner: Owner, octets: number): void {
    owner.octets += octets;
    this.#octets += octets;
  }

  #unlist(job: Job): void {
    const { owner } = job.lane;
    if (owner.waiting.delete(job)) this.#weigh(owner, -job.body.length);
  }

  #heaviest(): Owner | undefined {
    let found: Owner | undefined;
    for (const owner of this.#owners.values()) if (!found || owner.octets > found.octets) found = owner;
    return found;
  }

  /** The oldest of an instance is the first of its lane. */
  #dropOldest(owner: Owner | undefined): boolean {
    const job = owner && firstOf(owner.waiting);
    if (!job) return false;
    job.lane.waiting.shift();
    this.#unlist(job);
    this.#end("full", job.lane.subscriber);
    return true;
  }

  #makeReady(lane: Lane): void {
    if (lane.state !== "idle") return;
    lane.state = "ready";
    lane.owner.ready.push(lane);
    this.#offer(lane.owner);
  }

  #offer(owner: Owner): void {
    if (owner.ready.length > 0 && owner.running < this.#settings.atOnceOfInstance) this.#turn.add(owner);
  }

  #pump(): void {
    while (this.#running < this.#settings.atOnce) {
      const owner = firstOf(this.#turn);
      if (!owner) return;
      this.#turn.delete(owner);
      const lane = owner.ready.shift();
      if (lane) this.#begin(lane);
      this.#offer(owner);
    }
  }

  /** The next that is not too old. */
  #next(lane: Lane): Job | undefined {
    const oldest = performance.now() - this.#settings.ageMs;
    if (lane.current && lane.current.since < oldest) this.#finish(lane, "expired");
    while (!lane.current) {
      const job = lane.waiting.shift();
      if (!job) return undefined;
      this.#unlist(job);
      lane.current = job;
      if (job.since < oldest) this.#finish(lane, "expired");
    }
    return lane.current;
  }

  #finish(lane: Lane, end: End, why?: string): void {
    delete lane.current;
    this.#end(end, lane.subscriber, why);
  }

  #begin(lane: Lane): void {
    const { owner, place } = lane;
    lane.state = "idle";
    const job = this.#next(lane);
    if (!job) {
      this.#remove(lane, "expired");
      const other = place?.breaker.state === "half-open" ? firstOf(place.parked) : undefined;
      if (place && other) this.#unpark(other, place);
      return;
    }
    if (place && !place.breaker.admit()) {
      lane.state = "parked";
      place.parked.add(lane);
      return;
    }
    lane.state = "running";
    lane.abort = new AbortController();
    owner.running += 1;
    this.#running += 1;
    void this.options.deliver(lane.subscriber, job.body, lane.abort.signal).then((attempt) => {
      owner.running -= 1;
      this.#running -= 1;
      if (lane.state === "gone") this.#tidyOwner(owner);
      else this.#after(lane, job, attempt);
      this.#offer(owner);
      this.#pump();
      if (this.#running === 0) this.#drained?.();
    });
  }

  #after(lane: Lane, job: Job, { outcome, why }: Attempt): void {
    delete lane.abort;
    lane.state = "idle";
    this.#learn(lane, outcome);
    if (outcome === "absent") {
      lane.state = "parked";
    } else if (outcome === "again") {
      job.attempts += 1;
      const wait = this.#settings.retryMs[job.attempts - 1];
      if (wait === undefined) this.#finish(lane, "given-up", why);
      else this.#rest(lane, wait);
    } else {
      this.#finish(lane, outcome, why);
    }
    if (this.#stopped) this.#remove(lane, "stopped");
    else this.#makeReady(lane);
  }

  #rest(lane: Lane, wait: number): void {
    this.retries += 1;
    lane.state = "resting";
    lane.timer = setTimeout(
      () => {
        lane.state = "idle";
        this.#makeReady(lane);
        this.#pump();
      },
      wait * (0.5 + Math.random()),
    );
  }

  /** What an attempt says about the place. */
  #learn({ owner, place, subscriber }: Lane, outcome: Outcome): void {
    if (!place || this.#stopped) return;
    const { breaker } = place;
    if (outcome === "again") {
      if (!breaker.failed()) return;
      if (!place.timer) this.options.turned?.(subscriber, place.key, false);
      place.timer = setTimeout(() => {
        this.#rearm(place);
        this.#tidyPlace(owner, place);
        this.#tidyOwner(owner);
      }, breaker.openMs);
    } else if (outcome === "blocked") {
      if (breaker.state === "half-open") this.#rearm(place);
    } else {
      const opened = place.timer !== undefined;
      clearTimeout(place.timer);
      delete place.timer;
      breaker.succeeded();
      if (opened) this.options.turned?.(subscriber, place.key, true);
      for (const lane of [...place.parked]) this.#unpark(lane, place);
    }
  }

  /** One of those that wait may try. */
  #rearm(place: Place): void {
    place.breaker.rearm();
    const lane = firstOf(place.parked);
    if (!lane) return;
    this.#unpark(lane, place);
    this.#pump();
  }

  #unpark(lane: Lane, place: Place): void {
    place.parked.delete(lane);
    lane.state = "idle";
    this.#makeReady(lane);
  }
}
