/**
 * What does a platform remember that has run for a while?
 *
 * Written into a state directory before `offramp run` starts there: instances with credentials, rules and services, as if each
 * had come by its package. One transaction, where the true way would take a thousand operations.
 */
import { randomUUID } from "node:crypto";
import { Credentials } from "../../mep/auth/credentials.ts";
import { Keys } from "../../mep/auth/keys.ts";
import { authTables } from "../../mep/auth/tables.ts";
import { Tokens } from "../../mep/auth/tokens.ts";
import { Ledger } from "../../mep/instances/ledger.ts";
import { onboardingTables } from "../../mep/management/onboarding.ts";
import type { AppD } from "../../mep/model/appd.ts";
import type { DnsRule, TrafficRule, TrafficRuleDescriptor } from "../../mep/model/rules.ts";
import { aboutOf } from "../../mep/registry/service.ts";
import { registryTables } from "../../mep/registry/tables.ts";
import { RuleStore } from "../../mep/rules/rule-store.ts";
import { ruleTables } from "../../mep/rules/tables.ts";
import { MepStore } from "../../mep/store.ts";
import { makeInstance, transport } from "../mep/fixtures.ts";
import { appName, offerOf } from "./mp1-population.ts";

const lifetime = 24 * 3600;

export interface Population {
  /** Where Mp1 will be, as tokens name it. */
  base: string;
  apps: number;
  servicesOfEach: number;
  /** Of app `n`, all of them granted and ACTIVE unless they say otherwise. */
  rulesOf(n: number): readonly TrafficRule[];
  /** Of app `n`. Default: none. */
  namesOf?(n: number): readonly DnsRule[];
  /** Address of the apps toward the traffic offloading function. */
  address: string;
  /** Apps 0 to here get tokens. */
  tokens: number;
}

const descriptorOf = ({ state: _state, ...rule }: TrafficRule): TrafficRuleDescriptor => rule;

/** Returns tokens by name of the app. */
export async function fillState(stateDir: string, population: Population): Promise<Map<string, string>> {
  const { base, apps, servicesOfEach, rulesOf, namesOf = () => [], address, tokens } = population;
  const store = new MepStore(stateDir, [...authTables, ...onboardingTables, ...registryTables, ...ruleTables]);
  try {
    const credentials = new Credentials(store.database);
    const keys = new Keys(store.database, lifetime);
    const ledger = new Ledger(store);
    const rules = new RuleStore(store);
    const insert = store.database.prepare(
      "INSERT INTO mec_service VALUES (:id, :instance, :about, :state, :interval, :heartbeat)",
    );
    store.transaction(() => {
      for (let n = 0; n < apps; n += 1) {
        const instance = makeInstance(appName(n), { addresses: [address] });
        ledger.save({ instance: { ...instance, package: "none", created: Date.now() } });
        const traffic = rulesOf(n);
        const dns = namesOf(n);
        const granted = {
          traffic: traffic.map(descriptorOf),
          dns: dns.map(({ state: _state, ...rule }) => rule),
        };
        rules.save(
          {
            instance: instance.id,
            provider: instance.provider,
            addresses: instance.addresses,
            granted,
            traffic: new Map(traffic.map((rule) => [rule.trafficRuleId, rule])),
            dns: new Map(dns.map((rule) => [rule.dnsRuleId, rule])),
          },
          undefined,
        );
        // Resolves at once: nothing in it waits.
        void credentials.configure(instance, {
          appTrafficRule: granted.traffic,
          appServiceProduced: [{}],
        } as unknown as AppD);
        for (let i = 0; i < servicesOfEach; i += 1) {
          const offer = offerOf(n * servicesOfEach + i) as Parameters<typeof aboutOf>[0];
          const about = aboutOf(offer, transport);
          const [id, heartbeat] = [randomUUID(), Date.now()];
          insert.run({ id, instance: instance.id, about, state: "ACTIVE", interval: null, heartbeat });
        }
      }
    });
    await keys.start();
    const issuer = new Tokens({ keys, base: () => base, lifetime });
    const issued = new Map<string, string>();
    for (let n = 0; n < tokens; n += 1) {
      const client = credentials.get(appName(n));
      if (client) issued.set(client.client, await issuer.issue(client, [...client.scopes]));
    }
    return issued;
  } finally {
    store.close();
  }
}
