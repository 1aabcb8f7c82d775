/**
 * Where do instances and operations lie, in memory and on disk?
 *
 * Whatever changes is written first, an instance and its operation in one transaction; then memory follows. Records are never
 * changed in place: who has got one keeps what it was.
 */
import type { MepStore } from "../store.ts";
import { type InstanceRecord, isOpen, type Operation } from "./record.ts";

/** Operations that are kept of one instance; the oldest that have ended go first. */
const kept = 64;

export class Ledger {
  readonly #store: Pick<MepStore, "database" | "transaction">;
  readonly #instances = new Map<string, InstanceRecord>();
  readonly #operations = new Map<string, Operation>();

  constructor(store: Pick<MepStore, "database" | "transaction">) {
    this.#store = store;
    const read = <T>(table: string): T[] => {
      const rows = store.database.prepare(`SELECT body FROM ${table} ORDER BY rowid`).pluck().all() as string[];
      return rows.map((body) => JSON.parse(body) as T);
    };
    for (const instance of read<InstanceRecord>("app_instance")) this.#instances.set(instance.id, instance);
    for (const operation of read<Operation>("app_operation")) this.#operations.set(operation.id, operation);
  }

  instance(id: string): InstanceRecord | undefined {
    return this.#instances.get(id);
  }

  instances(): InstanceRecord[] {
    return [...this.#instances.values()];
  }

  operation(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  /** Oldest first. */
  operations(instance?: string): Operation[] {
    const all = [...this.#operations.values()];
    return instance === undefined ? all : all.filter((one) => one.instance === instance);
  }

  /** Durable when it returns. */
  save({ instance, operation }: { instance?: InstanceRecord; operation?: Operation }): void {
    const old = operation && !this.#operations.has(operation.id) ? this.#tooMany(operation.instance) : [];
    const { database } = this.#store;
    this.#store.transaction(() => {
      const put = (table: string, columns: string, values: string[]) =>
        database
          .prepare(
            `INSERT INTO ${table} (${columns}) VALUES (${values.map(() => "?").join(", ")})
             ON CONFLICT (id) DO UPDATE SET body = excluded.body`,
          )
          .run(...values);
      if (instance) put("app_instance", "id, body", [instance.id, JSON.stringify(instance)]);
      if (operation) {
        put("app_operation", "id, instance, body", [operation.id, operation.instance, JSON.stringify(operation)]);
      }
      for (const id of old) database.prepare("DELETE FROM app_operation WHERE id = ?").run(id);
    });
    if (instance) this.#instances.set(instance.id, instance);
    if (operation) this.#operations.set(operation.id, operation);
    for (const id of old) this.#operations.delete(id);
  }

  #tooMany(instance: string): string[] {
    const ended = this.operations(instance).filter((one) => !isOpen(one));
    return ended.slice(0, Math.max(0, ended.length - kept + 1)).map(({ id }) => id);
  }

  /** With its operations. */
  remove(id: string): void {
    this.#store.database.prepare("DELETE FROM app_instance WHERE id = ?").run(id);
    this.#instances.delete(id);
    for (const operation of this.operations(id)) this.#operations.delete(operation.id);
  }
}
