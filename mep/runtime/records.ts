/**
 * What does the runtime remember, so that a later one can adopt what runs?
 *
 * One file, replaced whole and synchronised with the disk before anything that depends on it happens. Secrets are not in it.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { Exit, InstanceSpec } from "./runtime.ts";

export interface InstanceRecord {
  id: string;
  /** Of its addresses (addresses.ts). */
  place: number;
  /** What it was last started with. */
  spec?: Omit<InstanceSpec, "credentials">;
  /** `starting`: nobody has been told yet that it runs. `stopping`: somebody has asked for its end. */
  phase: "reserved" | "starting" | "running" | "stopping" | "exited";
  /** Main process, and when it was started, in clock ticks since boot: together they name one process for good. */
  pid?: number;
  startTime?: string;
  exit?: Exit;
}

interface Contents {
  /** Where the search for a free place begins. */
  next: number;
  /** What the adapter toward the world had before it became a router's. */
  egressForwarding?: string;
  instances: InstanceRecord[];
}

export class Records {
  readonly #file: string;
  readonly #contents: Contents;
  readonly #byId: Map<string, InstanceRecord>;

  /** @throws SyntaxError when the file is not what was written */
  constructor(file: string) {
    this.#file = file;
    this.#contents = existsSync(file)
      ? (JSON.parse(readFileSync(file, "utf8")) as Contents)
      : { next: 0, instances: [] };
    this.#byId = new Map(this.#contents.instances.map((record) => [record.id, record]));
  }

  get(id: string): InstanceRecord | undefined {
    return this.#byId.get(id);
  }

  list(): InstanceRecord[] {
    return [...this.#byId.values()];
  }

  get next(): number {
    return this.#contents.next;
  }

  get egressForwarding(): string | undefined {
    return this.#contents.egressForwarding;
  }

  /** Durable when it returns. */
  add(record: InstanceRecord): InstanceRecord {
    this.#byId.set(record.id, record);
    this.#contents.next = record.place + 1;
    this.#save();
    return record;
  }

  change(record: InstanceRecord, members: Partial<InstanceRecord>): void {
    Object.assign(record, members);
    this.#save();
  }

  remove(id: string): void {
    if (this.#byId.delete(id)) this.#save();
  }

  foundForwarding(value: string): void {
    this.#contents.egressForwarding ??= value;
    this.#save();
  }

  #save(): void {
    this.#contents.instances = this.list();
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    const draft = `${this.#file}.new`;
    const descriptor = openSync(draft, "w", 0o600);
    writeSync(descriptor, JSON.stringify(this.#contents, null, 1));
    fsyncSync(descriptor);
    closeSync(descriptor);
    renameSync(draft, this.#file);
    const directory = openSync(dirname(this.#file), "r");
    fsyncSync(directory);
    closeSync(directory);
  }
}
