/**
 * How does a test get rules of apps?
 *
 * The real agent, services, store and Mp1 server on a data plane in memory; instances are made up, the name server writes down
 * what it is told. A restart keeps the state directory.
 */
import type { Extension, Host } from "../../../controlplane/extension.ts";
import { Reader } from "../../../controlplane/intents/reader.ts";
import type { AppD } from "../../../mep/model/appd.ts";
import { readDNSRuleDescriptor, readTrafficRuleDescriptor } from "../../../mep/model/read-rules.ts";
import type { RuleState } from "../../../mep/model/rules.ts";
import { ruleRoutes } from "../../../mep/mp1/rule-routes.ts";
import { Mp1Server } from "../../../mep/mp1/server.ts";
import type { DnsActivation, DnsRecord, Instance } from "../../../mep/parts.ts";
import { managementRuleRoutes } from "../../../mep/rules/routes.ts";
import { RuleStore } from "../../../mep/rules/rule-store.ts";
import { Rules } from "../../../mep/rules/rules.ts";
import { ruleTables } from "../../../mep/rules/tables.ts";
import { MepStore } from "../../../mep/store.ts";
import { type Running, type StartOptions, start } from "../../api/harness.ts";
import { conforming } from "../conformance/conforming.ts";

export interface Answered {
  status: number;
  etag: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
}

/** A name server that remembers. */
export class RememberingDns {
  records: readonly DnsRecord[] = [];
  refuse: Error | undefined;
  applied = 0;

  begin(records: readonly DnsRecord[]): Promise<void> {
    return this.apply(records);
  }

  async apply(records: readonly DnsRecord[]): Promise<void> {
    if (this.refuse) throw this.refuse;
    this.records = records;
    this.applied += 1;
  }
}

export interface Platform {
  running: Running;
  rules: Rules;
  store: MepStore;
  dns: RememberingDns;
  mp1: Mp1Server;
  instances: Map<string, Instance>;
  /** As the instance itself, to `/mec_app_support/v1/applications/<instance>`. */
  ask(
    instance: string,
    method: "GET" | "PUT" | "POST" | "DELETE",
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answered>;
  /** Takes on the descriptors and is ready. */
  add(id: string, traffic: readonly unknown[], dns?: readonly unknown[], more?: Partial<Instance>): Promise<Instance>;
  restart(more?: PlatformOptions): Promise<Platform>;
  stop(): Promise<void>;
}

/** As a package's AppD is read. */
export function appdOf(traffic: readonly unknown[], dns: readonly unknown[] = []): AppD {
  const read = new Reader();
  const appTrafficRule = traffic.map((one, at) => readTrafficRuleDescriptor(read, one, `appTrafficRule.${at}`));
  const appDNSRule = dns.map((one, at) => readDNSRuleDescriptor(read, one, `appDNSRule.${at}`));
  if (read.errors.length > 0) throw new Error(JSON.stringify(read.errors));
  return { appTrafficRule, appDNSRule } as unknown as AppD;
}

export interface PlatformOptions extends StartOptions {
  initial?: RuleState;
  /** Instances whose program is missing at the start. */
  absent?: (instance: string) => boolean;
  /** In place of one that remembers. */
  dns?: DnsActivation;
}

export async function platform(options: PlatformOptions = {}, before?: Platform): Promise<Platform> {
  const instances = before?.instances ?? new Map<string, Instance>();
  const dns = new RememberingDns();
  let made: { rules: Rules; store: MepStore; mp1: Mp1Server } | undefined;
  const extension = (host: Host): Extension => {
    const store = new MepStore(host.config.stateDir, ruleTables);
    const { services, dataplane, log } = host;
    const rules = new Rules({
      store: new RuleStore(store),
      services,
      dataplane,
      dns: options.dns ?? dns,
      initial: options.initial ?? "INACTIVE",
      ...(options.absent && { absent: options.absent }),
      log,
    });
    return {
      routes: [managementRuleRoutes(rules)],
      prepare: () => rules.prepare(),
      start: async () => {
        await rules.start();
        const mp1 = await Mp1Server.create({
          authority: {
            authenticate: async ({ headers }) => {
              const client = String(headers.authorization);
              return { client, instance: client, scopes: new Set() };
            },
            authorise: () => undefined,
          },
          instances: { get: (id) => instances.get(id) },
          audit: host.audit,
          metrics: host.metrics,
          log,
          version: host.version,
        });
        ruleRoutes(mp1, rules);
        await mp1.app.ready();
        made = { rules, store, mp1 };
      },
      stop: async () => {
        await made?.mp1.app.close();
        store.close();
      },
    };
  };
  const running = await start({
    ...options,
    ...(before && { stateDir: before.running.stateDir }),
    extensions: [extension],
  });
  const { rules, store, mp1 } = made!;
  const check = conforming(mp1.app);
  const self: Platform = {
    running,
    rules,
    store,
    dns,
    mp1,
    instances,
    async ask(instance, method, path, body, headers = {}) {
      const answer = await mp1.app.inject({
        method,
        url: `/mec_app_support/v1/applications/${instance}${path}`,
        headers: {
          authorization: instance,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(body !== undefined && { payload: typeof body === "string" ? body : JSON.stringify(body) }),
      });
      const { statusCode: status, headers: answered, payload: text } = answer;
      check({ method, url: answer.raw.req.url ?? "", body, status, headers: answered, text });
      return { status, etag: answered.etag as string | undefined, body: answer.json() };
    },
    async add(id, traffic, dnsRules = [], more = {}) {
      const instance: Instance = {
        id,
        appDId: id,
        name: id,
        provider: "acme",
        instantiationState: "INSTANTIATED",
        operationalState: "STARTED",
        configured: true,
        ready: true,
        addresses: ["10.60.0.20"],
        external: true,
        ...more,
      };
      await rules.configure(instance, appdOf(traffic, dnsRules));
      instances.set(id, instance);
      await rules.ready(instance);
      return instance;
    },
    async restart(more = {}) {
      await running.agent.stop();
      return platform({ ...options, ...more }, self);
    },
    stop: () => running.stop(),
  };
  return self;
}

/** Runs `body` with a platform, and ends it whatever happens. */
export async function withPlatform(body: (one: Platform) => Promise<void>, options?: PlatformOptions): Promise<void> {
  const one = await platform(options);
  try {
    await body(one);
  } finally {
    await one.stop();
  }
}
