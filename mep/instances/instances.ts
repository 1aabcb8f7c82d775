/**
 * Which app instances are there, and what do they say of themselves (GS MEC 010-2 §5.4; GS MEC 011 §5.2.2, §5.2.3)?
 *
 *   create ─▶ NOT_INSTANTIATED ─instantiate─▶ INSTANTIATED, STARTED ⇄ STOPPED ─terminate─▶ NOT_INSTANTIATED ─▶ delete
 *                   │                              │ confirm_ready
 *                   └─ configure_platform_for_app  └─▶ ready
 *
 * An instance that is instantiated without having been configured is configured by its AppD. What takes time is an operation
 * (operations.ts); what is said here is durable when it resolves.
 */
import { randomUUID } from "node:crypto";
import { Problem } from "../../controlplane/errors.ts";
import type { CreateAppInstanceRequest } from "../model/lcm.ts";
import { addressErrors } from "../model/read-appd.ts";
import type { Packages } from "../packages/packages.ts";
import type { Instance, InstanceEvent, InstancePart, Instances, OperationAction } from "../parts.ts";
import type { MepStore } from "../store.ts";
import { Grace } from "./grace.ts";
import { Ledger } from "./ledger.ts";
import { Operations, type OperationsOptions } from "./operations.ts";
import type { InstanceRecord, Operation } from "./record.ts";
import { isExternal, type Runner } from "./runner.ts";
import { Steps } from "./steps.ts";
import { Turns } from "./turns.ts";

export interface AppInstancesOptions {
  store: Pick<MepStore, "database" | "transaction">;
  packages: Pick<Packages, "onboarded">;
  /** In the order of the beginning. */
  parts: readonly InstancePart[];
  runner: Runner;
  /** See operations.ts. */
  announce?: OperationsOptions["announce"];
  missing?: OperationsOptions["missing"];
  /** What went wrong where nobody waits for an answer. */
  failed(error: unknown, what: string): void;
  /** Instances at once. */
  most?: number;
}

type Listener = (event: InstanceEvent, instance: Instance) => void;

export class AppInstances implements Instances {
  readonly operations: Operations;
  readonly #options: AppInstancesOptions;
  readonly #ledger: Ledger;
  readonly #steps: Steps;
  readonly #turns = new Turns();
  readonly #listeners = new Set<Listener>();
  readonly #operationListeners = new Set<(operation: Operation) => void>();
  #stopWatching: () => void = () => undefined;

  constructor(options: AppInstancesOptions) {
    this.#options = options;
    const { store, packages, parts, runner, announce, missing, failed } = options;
    this.#ledger = new Ledger(store);
    this.#steps = new Steps({ packages, parts, runner, failed });
    this.operations = new Operations({
      ledger: this.#ledger,
      steps: this.#steps,
      grace: new Grace(),
      turns: this.#turns,
      ...(announce && { announce }),
      ...(missing && { missing }),
      changed: (event, instance) => this.#emit(event, instance),
      operationChanged: (operation) => {
        for (const listener of this.#operationListeners) listener(operation);
      },
      failed,
    });
  }

  /** Takes up what was under way, and starts apps that a restart of the machine has ended. After the parts have started. */
  start(): void {
    const { runner, failed } = this.#options;
    const watches = [
      // Not in its turn: packets go on arriving while something else is done with the instance.
      runner.onGone((id) => {
        const instance = this.get(id);
        if (instance) this.#steps.absent(instance).catch((error) => failed(error, `the end of ${id}`));
        this.operations.gone(id);
      }),
      runner.onExit((id, reason) => {
        this.#turns.take(id, () => this.#exited(id, reason)).catch((error) => failed(error, `the end of ${id}`));
      }),
    ];
    this.#stopWatching = () => {
      for (const stop of watches) stop();
    };
    this.operations.resume();
    for (const { id } of this.list()) {
      this.#turns.take(id, () => this.#wake(id)).catch((error) => failed(error, `the start of ${id}`));
    }
  }

  async stop(): Promise<void> {
    this.#stopWatching();
    await this.operations.stop();
  }

  get(id: string): InstanceRecord | undefined {
    return this.#ledger.instance(id);
  }

  list(): InstanceRecord[] {
    return this.#ledger.instances();
  }

  /** Of all, or of one instance; oldest first. */
  operationsOf(instance?: string): Operation[] {
    return this.#ledger.operations(instance);
  }

  /** @throws Problem not-found */
  require(id: string): InstanceRecord {
    const found = this.get(id);
    if (!found) throw new Problem("not-found", `there is no app instance "${id.slice(0, 128)}"`);
    return found;
  }

  /** Its package asks to reach the world. */
  egress(id: string): boolean {
    const instance = this.get(id);
    if (!instance) return false;
    const { appd } = this.#options.packages.onboarded(instance.package).content;
    return appd["x-offramp"]?.runtime?.egress ?? false;
  }

  inUse(packageId: string): boolean {
    return this.list().some((instance) => instance.package === packageId);
  }

  /** @throws Problem not-found, conflict, name-taken, invalid-request */
  create(request: CreateAppInstanceRequest): InstanceRecord {
    const { most = 4096 } = this.#options;
    if (request.id !== undefined && request.appInstanceId !== undefined && request.id !== request.appInstanceId) {
      throw new Problem("invalid-request", "id and appInstanceId are the same member: give one of them");
    }
    const one = this.#options.packages.onboarded(request.appDId);
    if (one.operationalState !== "ENABLED") throw new Problem("conflict", "the package is disabled: enable it first");
    const id = request.appInstanceId ?? request.id ?? randomUUID();
    if (this.get(id)) throw new Problem("name-taken", `there is an app instance "${id}" already`);
    if (this.list().length >= most) throw new Problem("limit-reached", `there are ${most} app instances already`);
    const { appd } = one.content;
    const external = isExternal(one.content);
    this.#checkAddresses(external, request.addresses);
    const instance: InstanceRecord = {
      id,
      appDId: appd.appDId,
      name: request.appInstanceName ?? appd.appName,
      ...(request.appInstanceDescription !== undefined && { description: request.appInstanceDescription }),
      provider: appd.appProvider,
      package: one.id,
      created: Date.now(),
      instantiationState: "NOT_INSTANTIATED",
      operationalState: "STOPPED",
      configured: false,
      ready: false,
      addresses: external ? (request.addresses ?? appd["x-offramp"]?.addresses ?? []) : [],
      external,
    };
    this.#ledger.save({ instance });
    this.#emit("created", instance);
    return instance;
  }

  #checkAddresses(external: boolean, addresses: readonly string[] | undefined): void {
    if (addresses === undefined) return;
    const errors = external
      ? addressErrors(addresses, "addresses")
      : [{ field: "addresses", message: "is for apps on machines of their own: this one gets its address here" }];
    if (errors.length === 0) return;
    const detail = errors.map(({ field, message }) => `${field}: ${message}`).join("; ");
    throw new Problem("invalid-request", detail, { errors });
  }

  /** @throws Problem not-found, conflict, invalid-request */
  instantiate(id: string, params: Record<string, unknown>): Operation {
    const instance = this.require(id);
    this.#checkAddresses(instance.external, params.addresses as string[] | undefined);
    const one = this.#options.packages.onboarded(instance.package);
    if (one.operationalState !== "ENABLED") throw new Problem("conflict", "the package is disabled: enable it first");
    return this.operations.begin("INSTANTIATE", id, params);
  }

  /** Gone, with its operations, when this resolves. @throws Problem not-found, conflict */
  async remove(id: string): Promise<void> {
    this.#checkRemovable(id);
    await this.#turns.take(id, async () => {
      const instance = this.#checkRemovable(id);
      if (instance.configured) await this.#steps.forget(instance);
      this.#ledger.remove(id);
      this.#emit("deleted", instance);
    });
  }

  #checkRemovable(id: string): InstanceRecord {
    const instance = this.require(id);
    const open = this.operations.open(id);
    if (open) throw new Problem("conflict", `${open.kind} is under way: operation ${open.id}`);
    if (instance.instantiationState === "INSTANTIATED") {
      throw new Problem("conflict", "the instance is instantiated: terminate it first");
    }
    return instance;
  }

  async confirmReady(id: string): Promise<void> {
    this.#checkMayBeReady(id);
    await this.#turns.take(id, async () => {
      const instance = this.#checkMayBeReady(id);
      if (instance.ready) return;
      const ready: InstanceRecord = { ...instance, ready: true };
      await this.#steps.ready(ready);
      this.#ledger.save({ instance: ready });
      this.#emit("ready", ready);
    });
  }

  #checkMayBeReady(id: string): InstanceRecord {
    const instance = this.require(id);
    const open = this.operations.open(id);
    const retry = "try again in a moment";
    if (instance.terminating) throw new Problem("conflict", "the instance is being ended");
    if (open) throw new Problem("conflict", `the platform is still at work on the instance (${open.kind}): ${retry}`);
    if (!instance.configured || instance.operationalState !== "STARTED") {
      throw new Problem("conflict", `the instance is not started and configured: ${retry}`);
    }
    return instance;
  }

  async confirmTermination(id: string, action: OperationAction): Promise<void> {
    this.operations.confirmTermination(id, action);
  }

  on(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onOperation(listener: (operation: Operation) => void): () => void {
    this.#operationListeners.add(listener);
    return () => this.#operationListeners.delete(listener);
  }

  #emit(event: InstanceEvent, instance: InstanceRecord): void {
    for (const listener of this.#listeners) listener(event, instance);
  }

  /** Its program has ended by itself: nothing may be sent to it any more. */
  async #exited(id: string, reason: string): Promise<void> {
    const instance = this.get(id);
    if (instance?.operationalState !== "STARTED" || this.operations.open(id)) return;
    if (this.#options.runner.running(id)) return;
    this.#options.failed(new Error(reason), `instance ${id} has ended`);
    await this.#fall(instance);
  }

  async #fall(instance: InstanceRecord): Promise<void> {
    await this.#steps.stop(instance, 0).catch((error) => this.#options.failed(error, `the end of ${instance.id}`));
    const stopped: InstanceRecord = { ...instance, ready: false, operationalState: "STOPPED" };
    this.#ledger.save({ instance: stopped });
    this.#emit("stopped", stopped);
  }

  /**
   * After a restart of the machine nothing runs that was running. Its rules stand aside (rules.ts) until the app has confirmed
   * anew that it is ready.
   */
  async #wake(id: string): Promise<void> {
    const instance = this.get(id);
    if (!instance || instance.external || instance.operationalState !== "STARTED") return;
    if (this.operations.open(id) || this.#options.runner.running(id)) return;
    const unready: InstanceRecord = { ...instance, ready: false };
    this.#ledger.save({ instance: unready });
    try {
      const configured = await this.#steps.configure(unready, {});
      await this.#steps.start(configured);
      this.#ledger.save({ instance: configured });
      this.#emit("started", configured);
    } catch (error) {
      this.#options.failed(error, `instance ${id} could not be started again`);
      await this.#fall(instance);
    }
  }
}
