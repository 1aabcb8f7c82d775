/**
 * Who may use the management API, by name?
 *
 * Users of the site, each with a role and one token, in the store. Only a token's hash is kept. What is asked for at every
 * request is answered from memory; a change is on disk before it is in force.
 */
import type Database from "better-sqlite3";
import { Problem } from "../errors.ts";
import type { Role } from "./roles.ts";
import { hashSecret, makeSecret, sameHash } from "./secrets.ts";

export interface User {
  name: string;
  role: Role;
  /** Milliseconds since the epoch. */
  created: number;
  /** When its token was made. */
  rotated: number;
}

/** Also of what a certificate may carry as its common name. */
export const userNamePattern = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$";
const usersAtMost = 1000;

interface Row extends User {
  token: Buffer;
}

export class Users {
  readonly #database: Database.Database;
  #byName = new Map<string, Row>();
  #byToken = new Map<string, Row>();

  constructor(database: Database.Database) {
    this.#database = database;
    this.#read();
  }

  #read(): void {
    const rows = this.#database.prepare("SELECT name, role, token, created, rotated FROM user ORDER BY name").all();
    this.#byName = new Map((rows as Row[]).map((row) => [row.name, row]));
    this.#byToken = new Map((rows as Row[]).map((row) => [row.token.toString("hex"), row]));
  }

  #change(sql: string, ...values: unknown[]): void {
    this.#database.prepare(sql).run(...values);
    this.#read();
  }

  get size(): number {
    return this.#byName.size;
  }

  list(): User[] {
    return [...this.#byName.values()].map(view);
  }

  get(name: string): User | undefined {
    const row = this.#byName.get(name);
    return row && view(row);
  }

  /** Whose token it is. Found by the token's hash, which nobody can steer, so the search tells nothing about tokens. */
  holderOf(token: string): User | undefined {
    const hash = hashSecret(token);
    const row = this.#byToken.get(hash.toString("hex"));
    return row && sameHash(row.token, hash) ? view(row) : undefined;
  }

  /** Returns the new user's token, which nobody can ask for again. @throws Problem */
  add(name: string, role: Role): { user: User; token: string } {
    if (this.#byName.has(name)) throw new Problem("name-taken", `there is a user "${name}" already`);
    if (this.size >= usersAtMost) throw new Problem("limit-reached", `a site has at most ${usersAtMost} users`);
    const token = makeSecret();
    const now = Date.now();
    this.#change("INSERT INTO user VALUES (?, ?, ?, ?, ?)", name, role, hashSecret(token), now, now);
    return { user: this.#known(name), token };
  }

  /** Gives it a new token; the old one is worth nothing from now on. @throws Problem */
  rotate(name: string): { user: User; token: string } {
    this.#known(name);
    const token = makeSecret();
    this.#change("UPDATE user SET token = ?, rotated = ? WHERE name = ?", hashSecret(token), Date.now(), name);
    return { user: this.#known(name), token };
  }

  /** @throws Problem */
  remove(name: string): User {
    const user = this.#known(name);
    this.#change("DELETE FROM user WHERE name = ?", name);
    return user;
  }

  /** Somebody would still be admin if `name` went. */
  hasAdminBeside(name: string): boolean {
    return [...this.#byName.values()].some((row) => row.role === "admin" && row.name !== name);
  }

  #known(name: string): User {
    const user = this.get(name);
    if (!user) throw new Problem("not-found", `there is no user "${name.slice(0, 64)}"`);
    return user;
  }
}

const view = ({ name, role, created, rotated }: Row): User => ({ name, role, created, rotated });
