/**
 * How do notifications reach apps?
 *
 *   send(subscriber, body) ─▶ queue (order, bounds, turns, breaker) ─▶ POST to a checked address, or a WebSocket frame
 *
 * The only way by which the platform speaks first. Delivery is at least once while the process lives: what timed out
 * may have arrived and is sent again. What waits does not survive a restart: resources do, and an app that was told
 * nothing reads them.
 */
import { Counter, Gauge, type Registry } from "prom-client";
import type { SiteEvent } from "../../controlplane/api/events.ts";
import { messageOf } from "../../controlplane/errors.ts";
import type { Notifier as NotifierPart, Subscriber } from "../parts.ts";
import { CallbackError, parseCallback } from "./callback.ts";
import { Guard, type Resolve, resolver, UnresolvedError } from "./guard.ts";
import { Poster } from "./post.ts";
import { type Attempt, type End, ends, Queue, type QueueSettings } from "./queue.ts";
import type { Place, Reach } from "./reach.ts";
import { Sockets, type SocketsSettings } from "./sockets.ts";

export interface NotifierOptions {
  instance: (id: string) => Place | undefined;
  reach: Reach;
  /** Default: DNS as the system asks it. */
  resolve?: Resolve;
  /** PEM of a CA that is trusted beside those of the system. */
  ca?: string;
  /** For one POST, all of it. */
  timeoutMs?: number;
  queue?: Partial<QueueSettings>;
  sockets?: Partial<SocketsSettings>;
  publish?: (event: SiteEvent) => void;
  warn?: (about: Record<string, unknown>, message: string) => void;
}

/** For attempts that run when the notifier stops. */
const farewellMs = 1000;
const warnEveryMs = 60_000;

export class Notifier implements NotifierPart {
  readonly sockets: Sockets;
  readonly #queue: Queue;
  readonly #guard: Guard;
  readonly #poster: Poster;
  readonly #options: NotifierOptions;
  /** When it was last said that notifications of an instance are lost. */
  readonly #said = new Map<string, number>();

  constructor(options: NotifierOptions) {
    this.#options = options;
    this.#guard = new Guard(options.reach, options.resolve ?? resolver());
    const { ca, timeoutMs } = options;
    this.#poster = new Poster({ guard: this.#guard, ...(ca && { ca }), ...(timeoutMs && { timeoutMs }) });
    this.#queue = new Queue({
      deliver: (subscriber, body, signal) => this.#deliver(subscriber, body, signal),
      placeOf: ({ callbackReference, websocket }) => (websocket ? undefined : originOf(callbackReference)),
      ended: (end, subscriber, why) => this.#ended(end, subscriber, why),
      turned: (subscriber, place, answers) => this.#turned(subscriber, place, answers),
      ...(options.queue && { settings: options.queue }),
    });
    this.sockets = new Sockets((id) => this.#queue.wake(id), options.sockets);
  }

  send(subscriber: Subscriber, body: object): void {
    this.#queue.send(subscriber, JSON.stringify(body));
  }

  test(subscriber: Subscriber, href: string): void {
    this.send(subscriber, { notificationType: "TestNotification", _links: { subscription: { href } } });
  }

  async refusal(instance: string | undefined, callbackReference: string): Promise<string | undefined> {
    const found = instance === undefined ? undefined : this.#options.instance(instance);
    if (instance !== undefined && !found) return "belongs to an instance that does not exist";
    try {
      await this.#guard.target(found, parseCallback(callbackReference));
      return undefined;
    } catch (error) {
      if (error instanceof CallbackError) return error.message;
      if (error instanceof UnresolvedError) return "names a host that has no address in DNS";
      throw error;
    }
  }

  admit(subscriber: Subscriber): void {
    this.sockets.admit(subscriber);
  }

  forget(id: string): void {
    this.#queue.forget(id);
    this.sockets.forget(id);
  }

  /** Soon: what waits is dropped. */
  async stop(): Promise<void> {
    await this.#queue.stop(farewellMs);
    this.sockets.stop();
    await this.#poster.close();
  }

  get counts(): Readonly<Record<End, number>> {
    return this.#queue.counts;
  }

  get waiting(): number {
    return this.#queue.waiting;
  }

  /** Labels are bounded: neither apps nor addresses. */
  register(registry: Registry): void {
    const queue = this.#queue;
    const { sockets } = this;
    const registers = [registry];
    new Counter({
      name: "offramp_notifications_total",
      help: "Notifications to apps, by what became of them",
      labelNames: ["end"],
      registers,
      collect() {
        this.reset();
        for (const end of ends) this.inc({ end }, queue.counts[end]);
      },
    });
    new Counter({
      name: "offramp_notification_retries_total",
      help: "Attempts that had to be made again",
      registers,
      collect() {
        this.reset();
        this.inc(queue.retries);
      },
    });
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    gauge("offramp_notifications_waiting", "Notifications that wait for their turn", () => queue.waiting);
    gauge("offramp_notifications_running", "Attempts that run", () => queue.running);
    gauge("offramp_notification_websockets", "WebSockets of subscriptions that are open", () => sockets.open);
    new Gauge({
      name: "offramp_notification_breakers",
      help: "Places that are notified at the moment, by the state of their circuit breaker",
      labelNames: ["state"],
      registers,
      collect() {
        for (const [state, count] of Object.entries(queue.breakers())) this.set({ state }, count);
      },
    });
  }

  async #deliver(subscriber: Subscriber, body: string, signal: AbortSignal): Promise<Attempt> {
    if (subscriber.websocket) return this.sockets.deliver(subscriber.id, body, signal);
    const { instance, callbackReference = "" } = subscriber;
    const found = instance === undefined ? undefined : this.#options.instance(instance);
    if (instance !== undefined && !found) return { outcome: "blocked", why: "the instance does not exist any more" };
    try {
      return await this.#poster.post(found, callbackReference, body, signal);
    } catch (error) {
      return { outcome: "again", why: messageOf(error) };
    }
  }

  #ended(end: End, { id, instance }: Subscriber, why: string | undefined): void {
    if (end === "sent" || end === "forgotten" || end === "stopped") return;
    // At most once a minute and instance: a dead app must not fill the log.
    const now = performance.now();
    if (now - (this.#said.get(instance ?? "") ?? Number.NEGATIVE_INFINITY) < warnEveryMs) return;
    if (this.#said.size > 10_000) this.#said.clear();
    this.#said.set(instance ?? "", now);
    const about = { instance, subscription: id, end, ...(why !== undefined && { why }) };
    this.#options.warn?.(about, "a notification did not reach its app");
    this.#options.publish?.({ type: "notification-lost", time: Date.now(), ...about });
  }

  #turned({ instance }: Subscriber, place: string, answers: boolean): void {
    const type = answers ? "callback-up" : "callback-down";
    this.#options.publish?.({ type, time: Date.now(), instance, callback: place });
  }
}

function originOf(callbackReference = ""): string {
  try {
    return parseCallback(callbackReference).origin;
  } catch {
    return callbackReference; // refused at its first attempt
  }
}
