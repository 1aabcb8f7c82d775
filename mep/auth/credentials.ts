/**
 * Which clients has Mp1, what may they do, and by which secret are they known?
 *
 * An instance is a client from when the platform is configured for it until it ends; its client_id is its appInstanceId. An app
 * that runs elsewhere is one when management enrols it. Of a secret only the hash is kept (controlplane/access/secrets.ts says
 * why it is a fast one). Every token carries its client's epoch: a new secret or the end of a client makes another, and all
 * tokens of before are worth nothing at that moment.
 */
import { randomUUID } from "node:crypto";
import type Database from "better-sqlite3";
import { hashSecret, makeSecret, sameHash } from "../../controlplane/access/secrets.ts";
import { Problem } from "../../controlplane/errors.ts";
import type { AppD } from "../model/appd.ts";
import type { Instance, InstancePart } from "../parts.ts";
import { scopesOf } from "./scopes.ts";

export interface Client {
  /** client_id */
  client: string;
  instance?: string;
  scopes: ReadonlySet<string>;
  epoch: string;
  /** Milliseconds since the epoch. */
  created: number;
  /** When its secret was made; absent: it has none yet. */
  rotated?: number;
}

export interface ClientSecret {
  clientId: string;
  /** Shown this once. */
  clientSecret: string;
}

export interface Enrolment {
  client: string;
  instance?: string;
  scopes: readonly string[];
}

interface Row {
  client: string;
  instance: string | null;
  secret: Buffer | null;
  scopes: string;
  epoch: string;
  created: number;
  rotated: number | null;
}

type Known = Client & { secret: Buffer | null };

/** Compared with where there is no such client: the answer takes as long. */
const nobody = hashSecret("");
const clientsAtMost = 10_000;

export class Credentials implements InstancePart {
  readonly #database: Database.Database;
  readonly #clients = new Map<string, Known>();

  constructor(database: Database.Database) {
    this.#database = database;
    const rows = database.prepare("SELECT * FROM auth_client").all() as Row[];
    for (const row of rows) this.#clients.set(row.client, known(row));
  }

  get(client: string): Client | undefined {
    const found = this.#clients.get(client);
    return found && view(found);
  }

  list(): Client[] {
    return [...this.#clients.values()].map(view).sort((a, b) => (a.client < b.client ? -1 : 1));
  }

  /** The client whose secret this is. Takes the same time whatever is wrong. */
  authenticate(client: string, secret: string): Client | undefined {
    const found = this.#clients.get(client);
    const same = sameHash(hashSecret(secret), found?.secret ?? nobody);
    return found?.secret && same ? view(found) : undefined;
  }

  /** A new client, with a secret. @throws Problem name-taken */
  enrol(enrolment: Enrolment): ClientSecret {
    const clientSecret = makeSecret();
    this.#add(enrolment, hashSecret(clientSecret));
    return { clientId: enrolment.client, clientSecret };
  }

  /** A new client without a secret: only its certificate proves it. @throws Problem name-taken */
  enrolWithCertificate(enrolment: Enrolment): void {
    this.#add(enrolment, null);
  }

  #add({ client, instance, scopes }: Enrolment, secret: Buffer | null): void {
    if (this.#clients.has(client)) throw new Problem("name-taken", `there is a client "${client}" already`);
    this.#insert(client, instance ?? null, scopes, secret);
  }

  #insert(client: string, instance: string | null, scopes: readonly string[], secret: Buffer | null): void {
    if (this.#clients.size >= clientsAtMost) {
      throw new Problem("limit-reached", `Mp1 has at most ${clientsAtMost} clients`);
    }
    const now = Date.now();
    this.#put({
      client,
      instance,
      secret,
      scopes: JSON.stringify(scopes),
      epoch: randomUUID(),
      created: now,
      rotated: secret && now,
    });
  }

  /** On disk first, then in force. */
  #put(row: Row): void {
    this.#database
      .prepare("INSERT OR REPLACE INTO auth_client VALUES (?, ?, ?, ?, ?, ?, ?)")
      .run(row.client, row.instance, row.secret, row.scopes, row.epoch, row.created, row.rotated);
    this.#clients.set(row.client, known(row));
  }

  /** A new secret; the old one and all tokens of before are worth nothing from now on. @throws Problem not-found */
  rotate(client: string): ClientSecret {
    const found = this.#clients.get(client);
    if (!found) throw new Problem("not-found", `there is no client "${client.slice(0, 80)}"`);
    const clientSecret = makeSecret();
    this.#put({ ...rowOf(found), secret: hashSecret(clientSecret), epoch: randomUUID(), rotated: Date.now() });
    return { clientId: client, clientSecret };
  }

  /** The client is gone, and its tokens with it. Nothing happens where there is none. */
  revoke(client: string): void {
    this.#database.prepare("DELETE FROM auth_client WHERE client = ?").run(client);
    this.#clients.delete(client);
  }

  /** Instances become clients by their descriptor; one that is a client keeps its secret, and gets the scopes of now. */
  async configure(instance: Instance, appd: AppD): Promise<void> {
    const scopes = scopesOf(appd);
    const found = this.#clients.get(instance.id);
    if (!found) return this.#insert(instance.id, instance.id, scopes, null);
    if (found.instance !== instance.id) {
      throw new Problem("name-taken", `"${instance.id}" is a client of its own already: revoke it first`);
    }
    this.#put({ ...rowOf(found), scopes: JSON.stringify(scopes) });
  }

  async remove({ id }: Instance): Promise<void> {
    if (this.#clients.get(id)?.instance === id) this.revoke(id);
  }
}

const known = ({ instance, scopes, rotated, ...rest }: Row): Known => ({
  ...rest,
  ...(instance !== null && { instance }),
  ...(rotated !== null && { rotated }),
  scopes: new Set(JSON.parse(scopes) as string[]),
});

const rowOf = ({ instance, scopes, rotated, ...rest }: Known): Row => ({
  ...rest,
  instance: instance ?? null,
  rotated: rotated ?? null,
  scopes: JSON.stringify([...scopes]),
});

const view = ({ secret: _, ...client }: Known): Client => client;
