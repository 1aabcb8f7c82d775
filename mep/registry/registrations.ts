/**
 * Which apps have registered themselves (GS MEC 011 v3.1.1 §7.2.13)?
 *
 * An app that the MEC management has instantiated registers as the instance that its credentials name. An app that runs
 * elsewhere has credentials of its own and no instance; registering makes it one, under an id of the platform's, with which
 * it then uses the rest of Mp1. Deregistering takes its services and subscriptions with it.
 */
import { randomUUID } from "node:crypto";
import type Database from "better-sqlite3";
import { Problem } from "../../controlplane/errors.ts";
import type { FieldError } from "../../controlplane/intents/model.ts";
import type { Commits } from "../commits.ts";
import { invalid } from "../model/read.ts";
import type { AppInfo } from "../model/support.ts";
import type { Identity, Instance, InstancePart, Instances } from "../parts.ts";

export interface Registration {
  /** appInstanceId */
  instance: string;
  /** client_id of who registered it. */
  client: string;
  info: AppInfo;
}

export interface RegistrationsOptions {
  database: Database.Database;
  commits: Commits;
  instances: Pick<Instances, "get">;
  /** What a registration that goes takes with it, in this order. */
  parts: readonly InstancePart[];
}

interface Row {
  instance: string;
  client: string;
  body: string;
}

/** An app that runs elsewhere, as the rest of the platform looks at it. */
const asInstance = ({ instance: id, info }: Registration): Instance => ({
  id,
  appDId: info.appDId ?? "",
  name: info.appName,
  provider: info.appProvider ?? "",
  instantiationState: "INSTANTIATED",
  operationalState: "STARTED",
  configured: true,
  ready: true,
  addresses: [],
  external: true,
});

export class Registrations implements InstancePart {
  readonly #options: RegistrationsOptions;
  readonly #byInstance = new Map<string, Registration>();
  /** Of clients without an instance. */
  readonly #byClient = new Map<string, Registration>();

  constructor(options: RegistrationsOptions) {
    this.#options = options;
  }

  start(): void {
    const rows = this.#options.database.prepare("SELECT * FROM mp1_registration").all() as Row[];
    for (const { body, ...row } of rows) this.#take({ ...row, info: JSON.parse(body) as AppInfo });
  }

  #take(registration: Registration): void {
    this.#byInstance.set(registration.instance, registration);
    if (!registration.info.isInsByMec) this.#byClient.set(registration.client, registration);
  }

  #drop({ instance, client }: Registration): void {
    this.#byInstance.delete(instance);
    if (this.#byClient.get(client)?.instance === instance) this.#byClient.delete(client);
  }

  /** The instance that a client without one has become by registering. */
  instanceOf(client: string): string | undefined {
    return this.#byClient.get(client)?.instance;
  }

  /** Apps that have registered from elsewhere, as instances. */
  asInstance(id: string): Instance | undefined {
    const found = this.#byInstance.get(id);
    return found && !found.info.isInsByMec ? asInstance(found) : undefined;
  }

  /** What is stored: the path and the credentials say which instance it is, never the body. */
  #checked(identity: Identity, info: AppInfo): AppInfo {
    const own = identity.instance === undefined ? undefined : this.#options.instances.get(identity.instance);
    if (!own) {
      if (info.isInsByMec) {
        throw new Problem("forbidden", "these are not the credentials of an instance: isInsByMec cannot be true");
      }
      const { appInstanceId: _ignored, ...rest } = info;
      return rest;
    }
    const errors: FieldError[] = (
      [
        ["appDId", info.appDId, own.appDId],
        ["appName", info.appName, own.name],
        ["appProvider", info.appProvider, own.provider],
      ] as const
    )
      .filter(([, said, known]) => said !== undefined && known !== "" && said !== known)
      .map(([field, , known]) => ({ field, message: `is not what the descriptor says: ${known}` }));
    if (!info.isInsByMec) errors.push({ field: "isInsByMec", message: "must be true: the instance has a descriptor" });
    if (errors.length > 0) throw invalid(errors);
    return { ...info, appInstanceId: own.id };
  }

  /** @throws Problem */
  async create(identity: Identity, given: AppInfo): Promise<Registration> {
    const known = identity.instance;
    if (given.isInsByMec && known !== undefined && given.appInstanceId !== known) {
      throw new Problem("forbidden", "an app may only register the instance that it is");
    }
    const info = this.#checked(identity, given);
    const instance = info.appInstanceId ?? randomUUID();
    const registration = { instance, client: identity.client, info: { ...info, appInstanceId: instance } };
    return this.#options.commits.change(`client ${identity.client}`, () => {
      const before = this.#byInstance.get(instance) ?? this.#byClient.get(identity.client);
      if (before) {
        throw new Problem("forbidden", `it is registered already: PUT …/registrations/${before.instance}`);
      }
      this.#options.database
        .prepare("INSERT INTO mp1_registration VALUES (?, ?, ?)")
        .run(instance, identity.client, JSON.stringify(registration.info));
      return { value: registration, apply: () => this.#take(registration) };
    });
  }

  /** @throws Problem forbidden, where it is another's or there is none: that must not show */
  find(identity: Identity, instance: string): Registration {
    const found = this.#byInstance.get(instance);
    if (found && found.client === identity.client) return found;
    if (identity.instance === instance) throw new Problem("not-found", "the instance is not registered");
    throw new Problem("forbidden", "an app may only look at its own registration");
  }

  /** @throws Problem */
  async replace(identity: Identity, instance: string, given: AppInfo): Promise<void> {
    const { client } = this.find(identity, instance);
    const registration = { instance, client, info: { ...this.#checked(identity, given), appInstanceId: instance } };
    await this.#options.commits.change(`client ${client}`, () => {
      this.find(identity, instance);
      this.#options.database
        .prepare("UPDATE mp1_registration SET body = ? WHERE instance = ?")
        .run(JSON.stringify(registration.info), instance);
      return { value: undefined, apply: () => this.#take(registration) };
    });
  }

  /** @throws Problem */
  async delete(identity: Identity, instance: string): Promise<void> {
    const registration = this.find(identity, instance);
    const external = this.asInstance(instance);
    if (external) for (const part of this.#options.parts) await part.deactivate?.(external);
    await this.#forget(registration);
  }

  #forget(registration: Registration): Promise<void> {
    return this.#options.commits.change(`client ${registration.client}`, () => {
      this.#options.database.prepare("DELETE FROM mp1_registration WHERE instance = ?").run(registration.instance);
      return { value: undefined, apply: () => this.#drop(registration) };
    });
  }

  async deactivate({ id }: Instance): Promise<void> {
    const found = this.#byInstance.get(id);
    if (found) await this.#forget(found);
  }
}
