/**
 * Which names does the operator have answered at this site, and how do they stand before those of apps (B2)?
 *
 *   operator's rules ──┐
 *                      ├─▶ one set of records ─▶ DnsActivation (name server, data plane)
 *   apps' ACTIVE rules ┘     a name with a rule of the operator's is answered by that rule alone
 *
 * As on the ladder of steering, where services stand before rules of apps. Either side changes by itself; changes are made one
 * after the other. What was answered 2xx is in force and in mep.sqlite; when a step refuses, nothing has changed.
 */
import type { Logger } from "pino";
import { messageOf, Problem } from "../../controlplane/errors.ts";
import type { ValidationContext } from "../../controlplane/intents/context.ts";
import { Reader } from "../../controlplane/intents/reader.ts";
import type { DnsActivation, DnsRecord } from "../parts.ts";
import type { MepStore, PartMigration } from "../store.ts";
import { type OperatorRule, readOperatorRule, recordsOf } from "./operator-rule.ts";

export const operatorTables: readonly PartMigration[] = [
  {
    part: "dns",
    version: 1,
    sql: `
      CREATE TABLE operator_dns_rule (
        name TEXT PRIMARY KEY,
        body TEXT NOT NULL              -- OperatorRule, JSON
      ) STRICT;
    `,
  },
];

export interface OperatorRulesOptions {
  store: Pick<MepStore, "database">;
  dns: DnsActivation;
  context(): ValidationContext;
  log: Logger;
}

export class OperatorRules {
  readonly #options: OperatorRulesOptions;
  #rules: ReadonlyMap<string, OperatorRule> = new Map();
  /** Records of apps' rules that are active. */
  #apps: readonly DnsRecord[] = [];
  #last: Promise<unknown> = Promise.resolve();

  /** Constructing has no effects. */
  constructor(options: OperatorRulesOptions) {
    this.#options = options;
  }

  /** In place of the activation, for those who keep the rules of apps. */
  get beneath(): DnsActivation {
    const { dns } = this.#options;
    const through = (way: "begin" | "apply") => (active: readonly DnsRecord[]) =>
      this.#alone(async () => {
        await dns[way](this.#records(this.#rules, active));
        this.#apps = active;
      });
    return { ...(dns.missing && { missing: true }), begin: through("begin"), apply: through("apply") };
  }

  /** Before anything begins. Where the site has no name server any more, nothing of it is active. */
  prepare(): void {
    const { store, dns, log } = this.#options;
    const rows = store.database.prepare("SELECT body FROM operator_dns_rule ORDER BY rowid").all() as {
      body: string;
    }[];
    const rules = rows.map(({ body }) => JSON.parse(body) as OperatorRule);
    this.#rules = new Map(
      rules.map((rule) => {
        if (!dns.missing || rule.state === "INACTIVE") return [rule.name, rule];
        log.warn({ rule: rule.name }, "this site has no name server any more: a DNS rule of the operator is INACTIVE");
        return [rule.name, { ...rule, state: "INACTIVE" }];
      }),
    );
  }

  list(): OperatorRule[] {
    return [...this.#rules.values()];
  }

  get(name: string): OperatorRule | undefined {
    return this.#rules.get(name);
  }

  /** @throws Problem invalid-request, name-taken, conflict; from the name server and the data plane */
  add(body: unknown): Promise<OperatorRule> {
    return this.#alone(async () => {
      const rule = this.#read(body);
      if (this.#rules.has(rule.name)) {
        throw new Problem(
          "name-taken",
          `there is a DNS rule "${rule.name}" already: change that one, or take another name`,
        );
      }
      return this.#become(rule.name, rule);
    });
  }

  /** The same of one that is there. @throws Problem */
  replace(name: string, body: unknown): Promise<OperatorRule> {
    return this.#alone(async () => {
      this.#known(name);
      return this.#become(name, this.#read(body, name));
    });
  }

  /** Returns what it was. @throws Problem */
  remove(name: string): Promise<OperatorRule> {
    return this.#alone(async () => {
      const rule = this.#known(name);
      await this.#become(name, undefined);
      return rule;
    });
  }

  #known(name: string): OperatorRule {
    const rule = this.#rules.get(name);
    if (rule) return rule;
    throw new Problem("not-found", `there is no DNS rule "${name.slice(0, 80)}" of the operator`);
  }

  #read(body: unknown, name?: string): OperatorRule {
    const read = new Reader();
    const rule = readOperatorRule(read, body, this.#options.context(), name);
    if (!rule) {
      const said = read.errors.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join("; ");
      throw new Problem("invalid-request", said, { errors: read.errors });
    }
    for (const other of this.#rules.values()) {
      if (other.domain !== rule.domain || other.name === rule.name) continue;
      const what = `${rule.domain} has the DNS rule "${other.name}" already: give that one more addresses, or remove it`;
      throw new Problem("conflict", what, { errors: [{ field: "domain", message: what }] });
    }
    return rule;
  }

  async #become<Rule extends OperatorRule | undefined>(name: string, rule: Rule): Promise<Rule> {
    const { store, dns, log } = this.#options;
    const before = this.#rules;
    const after = new Map(before);
    if (rule) after.set(name, rule);
    else after.delete(name);
    const active = (rules: ReadonlyMap<string, OperatorRule>) => this.#records(rules, this.#apps);
    const asks = JSON.stringify(active(before)) !== JSON.stringify(active(after));
    if (asks) {
      await dns.apply(active(after)).catch((error: unknown) => {
        if (error instanceof Problem) throw error;
        const why = `nothing has changed; the name server: ${messageOf(error)}`;
        throw new Problem("dataplane-refused", why, {}, { cause: error });
      });
    }
    try {
      this.#write(store.database, name, rule);
    } catch (error) {
      if (asks) {
        await dns
          .apply(active(before))
          .catch((again: unknown) => log.error({ err: again }, "a DNS rule could not be taken back"));
      }
      throw new Problem(
        "store-failed",
        `nothing has changed; the store said: ${messageOf(error)}`,
        {},
        { cause: error },
      );
    }
    this.#rules = after;
    return rule;
  }

  #write(database: MepStore["database"], name: string, rule: OperatorRule | undefined): void {
    if (!rule) {
      database.prepare("DELETE FROM operator_dns_rule WHERE name = ?").run(name);
      return;
    }
    const put = "INSERT INTO operator_dns_rule VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body";
    database.prepare(put).run(name, JSON.stringify(rule));
  }

  #records(rules: ReadonlyMap<string, OperatorRule>, apps: readonly DnsRecord[]): DnsRecord[] {
    const own = [...rules.values()].flatMap(recordsOf);
    const names = new Set(own.map(({ name }) => name));
    return [...own, ...apps.filter(({ name }) => !names.has(name))];
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
