/**
 * How is an instance brought from one state into another, whatever happens on the way (GS MEC 010-2 §5.4, §6.2.2.13)?
 *
 *   STARTING ─▶ PROCESSING ─▶ COMPLETED
 *      │             ├──────▶ FAILED_TEMP ──retry──▶ STARTING …        ──fail, or another operation──▶ FAILED
 *      └─cancel──────┴──────▶ FAILED        what the same request would meet again
 *
 * An operation is on disk before it is answered. The instance changes on disk in the transaction that completes the operation, so
 * whoever looks sees the state before or the state after. Steps in between can all be done again: after kill -9 the next
 * start takes an operation up where it was, three times, then gives it up and takes back what it had done. The time that
 * an app has to say goodbye is counted from the first notification, across restarts.
 */
import { randomUUID } from "node:crypto";
import { Problem } from "../../controlplane/errors.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import type { AppD } from "../model/appd.ts";
import type { InstanceEvent, OperationAction } from "../parts.ts";
import type { Grace } from "./grace.ts";
import type { Ledger } from "./ledger.ts";
import { type InstanceRecord, isOpen, type Operation, type OperationKind, type OperationState } from "./record.ts";
import { checkAllowed, checkRequirements, checkTime, type End, endOf, isStart } from "./requests.ts";
import { EndError, type Steps } from "./steps.ts";
import type { Turns } from "./turns.ts";

const mostAttempts = 3;
/** Milliseconds that a program has between SIGTERM and SIGKILL when its app was given no time of grace. */
const forcefulMs = 2_000;
const gracefulMs = 10_000;

export interface OperationsOptions {
  ledger: Ledger;
  steps: Steps;
  grace: Grace;
  turns: Turns;
  /** Tells the app that it has to end; returns how many of its subscriptions heard it. Absent: as if one had. */
  announce?(instance: string, action: OperationAction, seconds: number): number;
  /** What the app requires to run and is not there. Absent: nothing is. */
  missing?(appd: AppD): FieldError[];
  changed(event: InstanceEvent, instance: InstanceRecord): void;
  operationChanged(operation: Operation): void;
  failed(error: unknown, what: string): void;
}

/** What an operation has made of its instance. */
interface Result {
  event: InstanceEvent;
  instance: InstanceRecord;
}

/** The agent stops: the operation goes on at the next start. */
class Suspended extends Error {}
class Cancelled extends Error {}

export class Operations {
  readonly #options: OperationsOptions;
  #stopping = false;

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  /** @throws Problem not-found */
  get(id: string): Operation {
    const found = this.#options.ledger.operation(id);
    if (!found) throw new Problem("not-found", "there is no such operation occurrence");
    return found;
  }

  /** The one that is under way. */
  open(instance: string): Operation | undefined {
    return this.#options.ledger.operations(instance).find(isOpen);
  }

  #record(id: string): InstanceRecord {
    const found = this.#options.ledger.instance(id);
    if (!found) throw new Problem("not-found", `there is no app instance "${id.slice(0, 128)}"`);
    return found;
  }

  /** Durable when it returns; the work follows. @throws Problem not-found, conflict, invalid-request */
  begin(kind: OperationKind, instance: string, params: Record<string, unknown>): Operation {
    const { ledger, steps } = this.#options;
    if (this.#stopping) throw new Problem("not-ready", "the agent is stopping");
    const record = this.#record(instance);
    const open = this.open(instance);
    if (open) throw new Problem("conflict", `${open.kind} is under way: operation ${open.id}`);
    checkAllowed(kind, record, params);
    const appd = steps.appdOf(record);
    checkTime({ kind, params }, appd);
    if (isStart({ kind, params })) checkRequirements(this.#options.missing?.(appd));
    for (const older of ledger.operations(instance)) if (older.state === "FAILED_TEMP") this.#move(older, "FAILED");
    const now = Date.now();
    const operation: Operation = {
      id: randomUUID(),
      instance,
      kind,
      state: "STARTING",
      params,
      started: now,
      entered: now,
      attempts: 0,
    };
    ledger.save({ operation });
    this.#options.operationChanged(operation);
    this.#schedule(operation);
    return operation;
  }

  #schedule({ id, instance }: Operation): void {
    const { turns, failed } = this.#options;
    turns.take(instance, () => this.#run(id)).catch((error) => failed(error, `operation ${id}`));
  }

  /** Takes up what was under way when the agent ended. */
  resume(): void {
    for (const operation of this.#options.ledger.operations()) if (isOpen(operation)) this.#schedule(operation);
  }

  #move(
    operation: Operation,
    state: OperationState,
    more: Partial<Operation> = {},
    instance?: InstanceRecord,
  ): Operation {
    const moved: Operation = { ...operation, ...more, state, entered: Date.now() };
    for (const [name, value] of Object.entries(more)) if (value === undefined) delete moved[name as keyof Operation];
    this.#options.ledger.save({ operation: moved, ...(instance && { instance }) });
    this.#options.operationChanged(moved);
    return moved;
  }

  async #run(id: string): Promise<void> {
    const { ledger, failed } = this.#options;
    const found = ledger.operation(id);
    if (!found || !isOpen(found) || this.#stopping) return;
    const before = this.#record(found.instance);
    let error: unknown;
    try {
      const operation = this.#move(found, "PROCESSING", { attempts: found.attempts + 1 });
      if (operation.attempts > mostAttempts) {
        throw new Error(`the agent was killed ${mostAttempts} times on the way: it was given up`);
      }
      const { event, instance } = await this.#work(operation, before);
      this.#move(ledger.operation(id) ?? operation, "COMPLETED", { cancel: undefined, deadline: undefined }, instance);
      this.#options.changed(event, instance);
      return;
    } catch (thrown) {
      error = thrown;
    }
    if (error instanceof Suspended) return;
    if (!(error instanceof Problem || error instanceof Cancelled || error instanceof EndError)) {
      failed(error, `${found.kind} of ${found.instance}`);
    }
    await this.#takeBack(id, before, error);
  }

  /** The instance is as it was before; an end that has begun stays begun, and is retried. */
  async #takeBack(id: string, before: InstanceRecord, error: unknown): Promise<void> {
    const { steps, failed } = this.#options;
    const operation = this.get(id);
    if (operation.attempts > mostAttempts && !operation.ending) {
      // Nobody knows how far it came.
      const undo = () => (before.configured ? steps.stop(before, forcefulMs) : steps.forget(before));
      if (before.operationalState === "STOPPED") await undo().catch((second) => failed(second, operation.kind));
    }
    const { terminating: _over, ...left } = before;
    const instance: InstanceRecord = operation.ending ? { ...left, ready: false, operationalState: "STOPPED" } : left;
    const again =
      error instanceof Problem ? error.status >= 500 : !(error instanceof Error && operation.attempts > mostAttempts);
    this.#move(
      operation,
      operation.ending || again ? "FAILED_TEMP" : "FAILED",
      { error: this.#document(error), cancel: undefined, deadline: undefined },
      instance,
    );
    if (operation.ending && before.operationalState === "STARTED") this.#options.changed("stopped", instance);
  }

  #document(error: unknown) {
    if (error instanceof Problem) return error.document();
    if (error instanceof Cancelled) return new Problem("conflict", "it was cancelled").document();
    return new Problem("internal", error instanceof Error ? error.message : "it failed").document();
  }

  #checkCancelled(id: string): void {
    if (this.get(id).cancel) throw new Cancelled();
  }

  async #work(operation: Operation, before: InstanceRecord): Promise<Result> {
    const { steps } = this.#options;
    const end = endOf(operation, steps.appdOf(before));
    if (end) return this.#end(operation, before, end);
    switch (operation.kind) {
      case "CONFIGURE_PLATFORM_FOR_APP": {
        const configuration = Object.keys(operation.params).length > 0 ? operation.params : undefined;
        return { event: "configured", instance: await steps.configure(before, { configuration }) };
      }
      case "INSTANTIATE":
        return this.#instantiate(operation, before);
      default:
        return this.#start(operation, before);
    }
  }

  async #instantiate({ id, params }: Operation, before: InstanceRecord): Promise<Result> {
    const { steps, failed } = this.#options;
    const addresses = params.addresses as string[] | undefined;
    // Configured before it had these addresses: once more.
    const wanted = addresses === undefined ? before.addresses : addresses;
    const stale = !before.configured || JSON.stringify(wanted) !== JSON.stringify(before.addresses);
    const configured = stale
      ? await steps.configure(before, { ...(before.external && { addresses: wanted }) })
      : before;
    try {
      this.#checkCancelled(id);
      await steps.start(configured);
    } catch (error) {
      if (!before.configured) await steps.forget(configured).catch((second) => failed(second, "an instantiation"));
      throw error;
    }
    return {
      event: "started",
      instance: { ...configured, instantiationState: "INSTANTIATED", operationalState: "STARTED", ready: false },
    };
  }

  async #start({ id }: Operation, before: InstanceRecord): Promise<Result> {
    const { steps } = this.#options;
    const configured = await steps.configure(before, {});
    try {
      this.#checkCancelled(id);
      await steps.start(configured);
    } catch (error) {
      await steps.stop(configured, 0).catch((second) => this.#options.failed(second, "a start"));
      throw error;
    }
    return { event: "started", instance: { ...configured, operationalState: "STARTED", ready: false } };
  }

  async #end(operation: Operation, before: InstanceRecord, { action, seconds }: End): Promise<Result> {
    const { ledger, steps } = this.#options;
    const graceful = seconds !== undefined && before.operationalState === "STARTED";
    if (graceful && !operation.ending) await this.#sayGoodbye(operation, before, action, seconds);
    const current = this.#record(before.id);
    const { terminating: _over, ...left } = current;
    ledger.save({ operation: { ...this.get(operation.id), ending: true }, instance: { ...left, ready: false } });
    await steps.stop(left, seconds === undefined ? forcefulMs : gracefulMs);
    const stopped: InstanceRecord = { ...left, ready: false, operationalState: "STOPPED" };
    if (action === "STOPPING") return { event: "stopped", instance: stopped };
    await steps.forget(left);
    const { configuration: _forgotten, ...rest } = stopped;
    return {
      event: "terminated",
      instance: {
        ...rest,
        instantiationState: "NOT_INSTANTIATED",
        configured: false,
        addresses: rest.external ? rest.addresses : [],
      },
    };
  }

  /** The app is told, and has its time. After a restart it is told again: it may not have heard the first time. */
  async #sayGoodbye(
    operation: Operation,
    before: InstanceRecord,
    action: OperationAction,
    seconds: number,
  ): Promise<void> {
    const { ledger, grace, announce } = this.#options;
    const deadline = operation.deadline ?? Date.now() + seconds * 1000;
    const told: InstanceRecord = { ...before, terminating: { operationAction: action, deadline } };
    ledger.save({ operation: { ...this.get(operation.id), deadline }, instance: told });
    const left = Math.max(1, Math.ceil((deadline - Date.now()) / 1000));
    const heard = announce?.(before.id, action, left) ?? 1;
    this.#options.changed("terminating", told);
    // Whoever has no subscription cannot know.
    const outcome = heard > 0 ? await grace.wait(operation.id, deadline) : "expired";
    if (outcome === "stopped") throw new Suspended();
    if (outcome === "cancelled") throw new Cancelled();
  }

  /** The app has said goodbye. @throws Problem conflict */
  confirmTermination(instance: string, action: OperationAction): void {
    const { ledger, grace } = this.#options;
    const record = this.#record(instance);
    const { terminating } = record;
    const operation = this.open(instance);
    if (!terminating || !operation) throw new Problem("conflict", "nothing of the instance is being ended");
    if (terminating.operationAction !== action) {
      throw new Problem("conflict", `it was told ${terminating.operationAction}, not ${action}`);
    }
    ledger.save({ operation: { ...operation, ending: true } });
    grace.end(operation.id, "confirmed");
  }

  /** Its program has ended by itself: nobody is left to say goodbye. */
  gone(instance: string): void {
    const operation = this.open(instance);
    if (operation) this.#options.grace.end(operation.id, "expired");
  }

  /** @throws Problem not-found, conflict */
  cancel(id: string, mode: "GRACEFUL" | "FORCEFUL"): void {
    const { ledger, grace } = this.#options;
    const operation = this.get(id);
    if (operation.state === "STARTING") {
      this.#move(operation, "FAILED", { error: this.#document(new Cancelled()) });
      return;
    }
    if (operation.state !== "PROCESSING") throw new Problem("conflict", `the operation is ${operation.state}`);
    if (operation.ending) throw new Problem("conflict", "the end of the instance has begun: there is no way back");
    ledger.save({ operation: { ...operation, cancel: mode } });
    grace.end(id, "cancelled");
  }

  /** Once more. @throws Problem not-found, conflict */
  retry(id: string): void {
    const operation = this.get(id);
    this.#checkFailed(operation);
    const record = this.#record(operation.instance);
    checkAllowed(operation.kind, record, operation.ending ? {} : operation.params);
    if (isStart(operation)) checkRequirements(this.#options.missing?.(this.#options.steps.appdOf(record)));
    this.#schedule(this.#move(operation, "STARTING", { attempts: 0, error: undefined }));
  }

  /** It is not tried again. @throws Problem not-found, conflict */
  fail(id: string): Operation {
    const operation = this.get(id);
    this.#checkFailed(operation);
    return this.#move(operation, "FAILED");
  }

  #checkFailed({ state }: Operation): void {
    if (state !== "FAILED_TEMP") throw new Problem("conflict", `the operation is ${state}, not FAILED_TEMP`);
  }

  /** Nothing begins any more; what waits for an app goes on waiting at the next start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#options.grace.stop();
    await this.#options.turns.idle();
  }
}
