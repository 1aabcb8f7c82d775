/**
 * What is remembered of the rules of apps?
 *
 * For each instance what its package was granted, and each rule as it is now. A change writes the rows that differ.
 */
import type { DNSRuleDescriptor, DnsRule, TrafficRule, TrafficRuleDescriptor } from "../model/rules.ts";
import type { MepStore } from "../store.ts";

export interface StoredRules {
  instance: string;
  /** The tenant. */
  provider: string;
  /** Of the instance, toward the traffic offloading function. */
  addresses: readonly string[];
  granted: { traffic: readonly TrafficRuleDescriptor[]; dns: readonly DNSRuleDescriptor[] };
  /** By id, in the order of the package. */
  traffic: ReadonlyMap<string, TrafficRule>;
  dns: ReadonlyMap<string, DnsRule>;
}

const tables = { traffic: "traffic_rule", dns: "dns_rule" } as const;

export class RuleStore {
  readonly #store: Pick<MepStore, "database" | "transaction">;

  constructor(store: Pick<MepStore, "database" | "transaction">) {
    this.#store = store;
  }

  all(): StoredRules[] {
    const { database } = this.#store;
    const owners = database.prepare("SELECT * FROM rule_owner ORDER BY rowid").all() as {
      instance: string;
      provider: string;
      addresses: string;
      traffic: string;
      dns: string;
    }[];
    const rules = <T>(table: string): Map<string, Map<string, T>> => {
      const rows = database.prepare(`SELECT instance, id, body FROM ${table} ORDER BY instance, position`).all() as {
        instance: string;
        id: string;
        body: string;
      }[];
      const found = new Map<string, Map<string, T>>();
      for (const { instance, id, body } of rows) {
        const list = found.get(instance) ?? new Map<string, T>();
        found.set(instance, list.set(id, JSON.parse(body) as T));
      }
      return found;
    };
    const [traffic, dns] = [rules<TrafficRule>(tables.traffic), rules<DnsRule>(tables.dns)];
    return owners.map((owner) => ({
      instance: owner.instance,
      provider: owner.provider,
      addresses: JSON.parse(owner.addresses) as string[],
      granted: {
        traffic: JSON.parse(owner.traffic) as TrafficRuleDescriptor[],
        dns: JSON.parse(owner.dns) as DNSRuleDescriptor[],
      },
      traffic: traffic.get(owner.instance) ?? new Map(),
      dns: dns.get(owner.instance) ?? new Map(),
    }));
  }

  /** All or nothing, durable when it returns. Rows of objects that `before` has as well are left alone. */
  save(next: StoredRules, before: StoredRules | undefined): void {
    const { database } = this.#store;
    this.#store.transaction(() => {
      const { instance, provider, addresses, granted } = next;
      if (granted !== before?.granted || addresses !== before.addresses || provider !== before.provider) {
        const texts = [addresses, granted.traffic, granted.dns].map((one) => JSON.stringify(one));
        database
          .prepare(
            `INSERT INTO rule_owner VALUES (?, ?, ?, ?, ?) ON CONFLICT (instance) DO UPDATE SET
             provider = excluded.provider, addresses = excluded.addresses, traffic = excluded.traffic, dns = excluded.dns`,
          )
          .run(instance, provider, ...texts);
      }
      for (const kind of ["traffic", "dns"] as const) {
        const old: ReadonlyMap<string, object> | undefined = before?.[kind];
        const table = tables[kind];
        const remove = database.prepare(`DELETE FROM ${table} WHERE instance = ? AND id = ?`);
        for (const id of old?.keys() ?? []) if (!next[kind].has(id)) remove.run(instance, id);
        const put = database.prepare(
          `INSERT INTO ${table} VALUES (?, ?, ?, ?) ON CONFLICT (instance, id) DO UPDATE SET
           position = excluded.position, body = excluded.body`,
        );
        for (const [position, [id, rule]] of [...next[kind]].entries()) {
          if (old?.get(id) !== rule) put.run(instance, id, position, JSON.stringify(rule));
        }
      }
    });
  }

  /** Several, of different instances, together: all or nothing. */
  saveAll(changes: readonly (readonly [next: StoredRules, before: StoredRules | undefined])[]): void {
    this.#store.transaction(() => {
      for (const [next, before] of changes) this.save(next, before);
    });
  }

  remove(instance: string): void {
    this.#store.database.prepare("DELETE FROM rule_owner WHERE instance = ?").run(instance);
  }
}
