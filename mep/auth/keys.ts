/**
 * With which key are tokens signed, and with which are they checked?
 *
 * ECDSA P-256 (ES256, RFC 7518 §3.4), made by the platform itself and kept in its store, which only it can read. A new key
 * signs from the moment it is made; the one before checks on until the last token that it signed has expired.
 */
import type Database from "better-sqlite3";
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from "jose";

export const algorithm = "ES256";

interface Row {
  kid: string;
  jwk: string;
  created: number;
  retired: number | null;
}

interface Key {
  kid: string;
  private: CryptoKey;
  public: CryptoKey;
  publicJwk: JWK;
  retired: number | null;
}

export class Keys {
  readonly #database: Database.Database;
  /** Seconds for which a token is good at most. */
  readonly #lifetime: number;
  #keys: Key[] = [];

  constructor(database: Database.Database, lifetime: number) {
    this.#database = database;
    this.#lifetime = lifetime;
  }

  /** Reads the keys; makes the first. */
  async start(): Promise<void> {
    const rows = this.#database.prepare("SELECT * FROM auth_key ORDER BY created, kid").all() as Row[];
    this.#keys = await Promise.all(rows.map(keyOf));
    this.#forget();
    if (!this.#keys.some(({ retired }) => retired === null)) await this.rotate();
  }

  /** A new key signs from now on. Returns its kid. `end`: those of before check nothing any more, from this moment. */
  async rotate({ end = false }: { end?: boolean } = {}): Promise<string> {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    const jwk = await exportJWK(pair.privateKey);
    const row = {
      kid: await calculateJwkThumbprint(jwk),
      jwk: JSON.stringify(jwk),
      created: Date.now(),
      retired: null,
    };
    const key = await keyOf(row);
    this.#database.transaction(() => {
      if (end) this.#database.prepare("DELETE FROM auth_key").run();
      this.#database.prepare("UPDATE auth_key SET retired = ? WHERE retired IS NULL").run(row.created);
      this.#database.prepare("INSERT INTO auth_key VALUES (?, ?, ?, ?)").run(row.kid, row.jwk, row.created, null);
    })();
    const before = end ? [] : this.#keys.map((one) => ({ ...one, retired: one.retired ?? row.created }));
    this.#keys = [...before, key];
    this.#forget();
    return row.kid;
  }

  /** Keys of which no token can be good any more. */
  #forget(): void {
    const before = Date.now() - this.#lifetime * 1000;
    this.#database.prepare("DELETE FROM auth_key WHERE retired < ?").run(before);
    this.#keys = this.#keys.filter(({ retired }) => retired === null || retired >= before);
  }

  get signing(): { kid: string; key: CryptoKey } {
    const found = this.#keys.find(({ retired }) => retired === null);
    if (!found) throw new Error("the keys have not been read");
    return { kid: found.kid, key: found.private };
  }

  /** Undefined: there is no such key, or no longer. */
  checking(kid: string | undefined): CryptoKey | undefined {
    return this.#keys.find((one) => one.kid === kid)?.public;
  }

  /** RFC 7517 §5: the public halves. */
  jwks(): { keys: JWK[] } {
    return { keys: this.#keys.map(({ publicJwk }) => publicJwk) };
  }
}

async function keyOf({ kid, jwk, retired }: Row): Promise<Key> {
  const whole = JSON.parse(jwk) as JWK;
  const { d: _, ...rest } = whole;
  const publicJwk = { ...rest, kid, alg: algorithm, use: "sig" };
  const load = async (one: JWK) => (await importJWK(one, algorithm)) as CryptoKey;
  return { kid, private: await load(whole), public: await load(publicJwk), publicJwk, retired };
}
