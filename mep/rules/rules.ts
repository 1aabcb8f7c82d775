/**
 * How does a rule of an app reach the kernel, the name server and the store, or none of them?
 *
 *   judge (grant, destinations, other apps) ─▶ DNS ─▶ steering applied ─▶ mep.sqlite ─▶ answer
 *
 * One change at a time; each is of one instance, from what its rules were to what they become. Traffic rules that are put while
 * another change is under way go to the kernel and the disk together, each judged after those before it. When a step refuses,
 * those before it are taken back and nothing has changed. A crash before the commit leaves the old rules in the store, and the next start
 * applies those: what was never answered does not come back.
 */
import type { Logger } from "pino";
import { messageOf, Problem } from "../../controlplane/errors.ts";
import { applyAndCommit } from "../../controlplane/intents/apply.ts";
import type { FieldError, Intent } from "../../controlplane/intents/model.ts";
import type { Services } from "../../controlplane/intents/services.ts";
import type { Dataplane } from "../../dataplane/dataplane.ts";
import type { AppD } from "../model/appd.ts";
import type { DNSRuleDescriptor, DnsRule, RuleState, TrafficRule } from "../model/rules.ts";
import type { DnsActivation, DnsRecord, Instance, InstancePart } from "../parts.ts";
import { type AppRules, active, differenceOf, type LayerDifference, recordOf, same, Together } from "./app-rules.ts";
import { compileRule, nameOfRule } from "./compile.ts";
import { refuseAmbiguous } from "./grants.ts";
import { applianceHas, judgeDescriptor, judgeDns, judgeTraffic, refuseErrors, siteOf } from "./judge.ts";
import type { RuleStore } from "./rule-store.ts";

export interface RulesOptions {
  store: RuleStore;
  services: Pick<Services, "layer" | "changeLayer" | "context">;
  dataplane: Pick<Dataplane, "serviceCounters" | "flushServices">;
  dns: DnsActivation;
  /** Of rules of an instance that has become ready, until it says otherwise. */
  initial: RuleState;
  /** Its program should run here and does not. Default: nobody's. Asked at the start, before anything runs. */
  absent?(instance: string): boolean;
  log: Logger;
}

/** A traffic rule that waits for its turn. `make` judges it, given what its instance's rules are by then. */
interface Waiting {
  instance: string;
  make: (app: AppRules | undefined) => { before: AppRules; next: AppRules; rule: TrafficRule };
  resolve: (rule: TrafficRule) => void;
  reject: (error: unknown) => void;
}

export interface RuleCounters {
  /** A rule of one direction has packets of that direction only. */
  uplink: { packets: number; bytes: number };
  downlink: { packets: number; bytes: number };
}

export class Rules implements InstancePart {
  readonly #options: RulesOptions;
  readonly #apps = new Map<string, AppRules>();
  /** Instances whose program is not there: their rules are what they were, and stand aside until it has confirmed anew. */
  readonly #absent = new Set<string>();
  /** Instances whose end has come: nothing of theirs becomes ACTIVE any more. */
  readonly #ended = new Set<string>();
  #last: Promise<unknown> = Promise.resolve();
  #waiting: Waiting[] = [];

  constructor(options: RulesOptions) {
    this.#options = options;
  }

  /** Before the services are applied: what was ACTIVE is in the first steering, where its app is there. */
  prepare(): void {
    const { store, services, dns, log } = this.#options;
    const site = siteOf(services.context());
    for (const stored of store.all()) {
      const compiled = new Map<string, Intent[]>();
      const traffic = new Map(stored.traffic);
      for (const [id, rule] of stored.traffic) {
        const { intents, errors } = compileRule(rule, stored, site);
        compiled.set(id, intents);
        if (errors.length === 0 || rule.state === "INACTIVE") continue;
        // The site has changed since it was activated.
        log.warn({ instance: stored.instance, rule: id, errors }, "a traffic rule fits this site no more: INACTIVE");
        traffic.set(id, { ...rule, state: "INACTIVE" });
      }
      const names = new Map(stored.dns);
      for (const [id, rule] of dns.missing ? stored.dns : []) {
        if (rule.state === "INACTIVE") continue;
        log.warn(
          { instance: stored.instance, rule: id },
          "this site has no name server any more: a DNS rule is INACTIVE",
        );
        names.set(id, { ...rule, state: "INACTIVE" });
      }
      const app = { ...stored, traffic, dns: names, compiled };
      store.save(app, stored);
      this.#apps.set(stored.instance, app);
      if (this.#options.absent?.(stored.instance)) this.#absent.add(stored.instance);
    }
    const groups = new Set(
      [...this.#apps.values()].flatMap((app) => [...app.traffic.keys()].map((id) => nameOfRule(app.instance, id))),
    );
    services.layer.load(
      [...this.#apps.values()].flatMap((app) => this.#inForce(app)),
      (name) => groups.has(name.replace(/#\d+$/, "")),
    );
  }

  /** Once the name server is up: what was ACTIVE is answered. */
  async start(): Promise<void> {
    await this.#options.dns.begin(this.#records());
  }

  /** Has the platform taken on this instance's rules? */
  has(instance: string): boolean {
    return this.#apps.has(instance);
  }

  trafficRules(instance: string): TrafficRule[] {
    return [...(this.#apps.get(instance)?.traffic.values() ?? [])];
  }

  trafficRule(instance: string, id: string): TrafficRule | undefined {
    return this.#apps.get(instance)?.traffic.get(id);
  }

  dnsRules(instance: string): DnsRule[] {
    return [...(this.#apps.get(instance)?.dns.values() ?? [])];
  }

  dnsRule(instance: string, id: string): DnsRule | undefined {
    return this.#apps.get(instance)?.dns.get(id);
  }

  /**
   * Makes a traffic rule what `read` returns of what it is: in the kernel when it resolves.
   * @throws Problem, and what `read` throws, and nothing has changed
   */
  putTraffic(instance: string, id: string, read: (current: TrafficRule) => TrafficRule): Promise<TrafficRule> {
    const make = (app: AppRules | undefined) => {
      const current = app?.traffic.get(id);
      if (!app || !current) throw unknown("traffic rule", id);
      const rule = read(current);
      this.#refuseEnded(instance, rule);
      const intents = judgeTraffic(rule, app.granted.traffic, app, this.#options.services.context());
      const old = app.compiled.get(id) ?? [];
      const traffic = new Map(app.traffic).set(id, same(rule, current) ? current : rule);
      const compiled = new Map(app.compiled).set(id, same(intents, old) ? old : intents);
      return { rule, before: app, next: { ...app, traffic, compiled } };
    };
    return new Promise<TrafficRule>((resolve, reject) => {
      this.#waiting.push({ instance, make, resolve, reject });
      if (this.#waiting.length > 1) return;
      void this.#alone(() => {
        const waiting = this.#waiting;
        this.#waiting = [];
        return this.#putAll(waiting);
      });
    });
  }

  /** Settles all of them. When the data plane or the store refuses them together, each has its own turn. */
  async #putAll(waiting: readonly Waiting[]): Promise<void> {
    const together = new Together();
    const { after, changed } = together;
    const done: { one: Waiting; rule: TrafficRule }[] = [];
    for (const one of waiting) {
      try {
        const { before, next, rule } = one.make(after.get(one.instance) ?? this.#apps.get(one.instance));
        const inForce = [this.#inForce(before), this.#inForce(next)] as const;
        together.add(before, next, this.#difference(one.instance, ...inForce, changed));
        done.push({ one, rule });
      } catch (error) {
        one.reject(error);
      }
    }
    try {
      if (done.length > 0) await this.#change(changed, () => this.#options.store.saveAll(together.pairs()));
    } catch (error) {
      if (done.length === 1) done[0]?.one.reject(error);
      else for (const { one } of done) await this.#putAll([one]);
      return;
    }
    for (const [instance, next] of after) this.#apps.set(instance, next);
    for (const { one, rule } of done) one.resolve(rule);
  }

  /** The same for a DNS rule: answered to UEs when it resolves. @throws Problem, and what `read` throws */
  putDns(instance: string, id: string, read: (current: DnsRule) => DnsRule): Promise<DnsRule> {
    return this.#alone(async () => {
      const app = this.#apps.get(instance);
      const current = app?.dns.get(id);
      if (!app || !current) throw unknown("DNS rule", id);
      const rule = read(current);
      this.#refuseEnded(instance, rule);
      judgeDns(rule, app.granted.dns, app.addresses, this.#options.services.context());
      await this.#become(instance, { ...app, dns: new Map(app.dns).set(id, same(rule, current) ? current : rule) });
      return rule;
    });
  }

  #refuseEnded(instance: string, { state }: { state: RuleState }): void {
    if (state === "INACTIVE" || !this.#ended.has(instance)) return;
    throw new Problem("forbidden", "nothing has changed: the instance is ending, so its rules stay INACTIVE");
  }

  /** How often a traffic rule was met; undefined when there is none. */
  counters(instance: string, id: string): RuleCounters | undefined {
    const app = this.#apps.get(instance);
    if (!app?.traffic.has(id)) return undefined;
    const { layer } = this.#options.services;
    const indices = new Set((app.compiled.get(id) ?? []).flatMap(({ name }) => layer.indexOf(name) ?? []));
    const sum: RuleCounters = { uplink: { packets: 0, bytes: 0 }, downlink: { packets: 0, bytes: 0 } };
    if (indices.size === 0) return sum;
    for (const { service, direction, packets, bytes } of this.#options.dataplane.serviceCounters()) {
      if (!indices.has(service)) continue;
      sum[direction].packets += Number(packets);
      sum[direction].bytes += Number(bytes);
    }
    return sum;
  }

  /**
   * Takes on what the instance's package asks for: its descriptors are the grant, and its rules are there, INACTIVE. Where an
   * earlier configuration asked for something else, its rules go. @throws Problem that names every error, and nothing has changed
   */
  configure(instance: Instance, appd: AppD): Promise<void> {
    return this.#alone(async () => {
      const context = this.#options.services.context();
      const { id, provider, addresses } = instance;
      const granted = { traffic: appd.appTrafficRule ?? [], dns: appd.appDNSRule ?? [] };
      const before = this.#apps.get(id);
      this.#ended.delete(id);
      // Nothing new is asked for: what the app has made of its rules since stays.
      if (before && same([before.provider, before.addresses, before.granted], [provider, addresses, granted])) return;
      const errors: FieldError[] = [];
      const compiled = new Map<string, Intent[]>();
      for (const [index, rule] of granted.traffic.entries()) {
        const judged = judgeDescriptor(rule, `appTrafficRule.${index}`, { instance: id, addresses }, context);
        errors.push(...judged.errors);
        compiled.set(rule.trafficRuleId, judged.intents);
      }
      const dns = granted.dns.map((rule, index) => this.#dnsRule(rule, `appDNSRule.${index}`, addresses, errors));
      refuseErrors(errors);
      this.#refuseForeignNames(granted.dns, provider, id);
      const inactive = { state: "INACTIVE" as const };
      await this.#become(id, {
        instance: id,
        provider,
        addresses: [...addresses],
        granted,
        traffic: new Map(granted.traffic.map((rule) => [rule.trafficRuleId, { ...rule, ...inactive }])),
        dns: new Map(dns.map((rule) => [rule.dnsRuleId, rule])),
        compiled,
      });
    });
  }

  #dnsRule(
    { ipAddress, ...rule }: DNSRuleDescriptor,
    field: string,
    addresses: readonly string[],
    errors: FieldError[],
  ): DnsRule {
    const v6 = rule.ipAddressType === "IP_V6";
    const address = ipAddress ?? addresses.find((one) => one.includes(":") === v6);
    const at = `${field}.ipAddress`;
    if (address === undefined) {
      errors.push({ field: at, message: `is required: the instance has no address of type ${rule.ipAddressType}` });
    } else if (applianceHas(address, this.#options.services.context())) {
      errors.push({ field: at, message: `${address} is the appliance itself` });
    }
    const { ttl, ...named } = rule;
    return { ...named, ipAddress: address ?? "", ...(ttl !== undefined && { ttl }), state: "INACTIVE" };
  }

  /** A name is the tenant's to whom it was granted first, as long as an instance of theirs has it. @throws Problem */
  #refuseForeignNames(granted: readonly DNSRuleDescriptor[], provider: string, instance: string): void {
    const wanted = new Set(granted.map(({ domainName }) => domainName));
    if (wanted.size === 0) return;
    for (const app of this.#apps.values()) {
      if (app.provider === provider || app.instance === instance) continue;
      const taken = app.granted.dns.find(({ domainName }) => wanted.has(domainName));
      if (!taken) continue;
      throw new Problem(
        "conflict",
        `the name ${taken.domainName} belongs to ${app.provider}, to whose instance ${app.instance} it was granted first`,
      );
    }
  }

  /** Where the site says so, its rules become ACTIVE. One that cannot stays INACTIVE, and the log says why. */
  async ready({ id }: Pick<Instance, "id">): Promise<void> {
    const { initial, log } = this.#options;
    const app = this.#apps.get(id);
    this.#ended.delete(id);
    await this.#setAbsent(id, false);
    if (initial !== "ACTIVE" || !app) return;
    const activate = <T extends object>(rule: T): T => ({ ...rule, state: "ACTIVE" as const });
    for (const [work, rule] of [
      ...[...app.traffic.keys()].map((one) => [() => this.putTraffic(id, one, activate), one] as const),
      ...[...app.dns.keys()].map((one) => [() => this.putDns(id, one, activate), one] as const),
    ]) {
      await work().catch((error: unknown) => {
        log.warn({ instance: id, rule, reason: messageOf(error) }, "a rule of an app stays INACTIVE");
      });
    }
  }

  /** Its rules are out of force when it resolves, ACTIVE all the same, and what they had taken is ended. @throws Problem */
  async absent({ id }: Pick<Instance, "id">): Promise<void> {
    await this.#setAbsent(id, true);
    await this.endFlows(id);
  }

  #setAbsent(id: string, absent: boolean): Promise<void> {
    return this.#alone(async () => {
      const app = this.#apps.get(id);
      if (!app || this.#absent.has(id) === absent) return;
      await this.#become(id, app, absent);
    });
  }

  /** All of its rules are INACTIVE when it resolves, or none has changed. @throws Problem */
  deactivate({ id }: Pick<Instance, "id">): Promise<void> {
    return this.#alone(async () => {
      const app = this.#apps.get(id);
      if (!app) return;
      this.#ended.add(id);
      const off = <T extends { state: RuleState }>(rules: ReadonlyMap<string, T>): Map<string, T> =>
        new Map(
          [...rules].map(([key, rule]) => [key, rule.state === "ACTIVE" ? { ...rule, state: "INACTIVE" } : rule]),
        );
      await this.#become(id, { ...app, traffic: off(app.traffic), dns: off(app.dns) });
    });
  }

  /**
   * Ends what the instance's rules have taken and is still open: nobody answers there any more. The next packet of the UE goes to
   * the core, whose side answers a TCP connection with a reset.
   */
  async endFlows(id: string): Promise<void> {
    const indices = this.#options.services.layer.indicesOf(nameOfRule(id, ""));
    if (indices.length > 0) await this.#options.dataplane.flushServices(indices);
  }

  /** The instance and its rules are gone. @throws Problem */
  remove({ id }: Pick<Instance, "id">): Promise<void> {
    return this.#alone(async () => {
      if (!this.#apps.has(id)) return;
      await this.#become(id, undefined);
      this.#ended.delete(id);
      this.#absent.delete(id);
      // Before their numbers are another rule's.
      await this.endFlows(id);
      this.#options.services.layer.forget((name) => name.startsWith(nameOfRule(id, "")));
    });
  }

  /** What steers now. @param absent whether the app's program is missing */
  #inForce(app: AppRules | undefined, absent = app !== undefined && this.#absent.has(app.instance)): Intent[] {
    return app && !absent ? [...active(app)] : [];
  }

  #recordsOf(app: AppRules | undefined, absent = app !== undefined && this.#absent.has(app.instance)): DnsRecord[] {
    return absent ? [] : [...(app?.dns.values() ?? [])].filter(({ state }) => state === "ACTIVE").map(recordOf);
  }

  #records(): DnsRecord[] {
    return [...this.#apps.values()].flatMap((app) => this.#recordsOf(app));
  }

  /** The one way in which anything changes. @throws Problem */
  async #become(
    instance: string,
    next: AppRules | undefined,
    absent: boolean = this.#absent.has(instance),
  ): Promise<void> {
    const { store, dns, log } = this.#options;
    const before = this.#apps.get(instance);
    const difference = this.#difference(instance, this.#inForce(before), this.#inForce(next, absent));
    const records = this.#recordsOf(next, absent);
    const asks = !same(this.#recordsOf(before), records);
    if (asks) {
      const others = [...this.#apps.values()].filter((app) => app.instance !== instance);
      await dns.apply([...others.flatMap((app) => this.#recordsOf(app)), ...records]).catch(refusedByDns);
    }
    const commit = () => (next ? store.save(next, before) : store.remove(instance));
    try {
      await this.#change(difference, commit);
    } catch (error) {
      if (asks) {
        await dns
          .apply(this.#records())
          .catch((again: unknown) => log.error({ err: again }, "DNS rules could not be taken back"));
      }
      throw error;
    }
    if (next) this.#apps.set(instance, next);
    else this.#apps.delete(instance);
    if (absent) this.#absent.add(instance);
    else this.#absent.delete(instance);
  }

  /** In the layer; `changed` by changes before it. @throws Problem where rules could not stand beside those in force */
  #difference(
    instance: string,
    old: readonly Intent[],
    now: readonly Intent[],
    changed: LayerDifference = new Map(),
  ): Map<string, Intent | undefined> {
    const difference = differenceOf(old, now);
    const put = [...difference.values()].filter((intent) => intent !== undefined);
    if (put.length === 0) return difference;
    const priorities = new Set(put.map(({ priority }) => priority));
    const own = new Set(old.map(({ name }) => name));
    const beside = [...now, ...[...changed.values()].filter((intent) => intent !== undefined && !own.has(intent.name))];
    for (const [name, { intent }] of this.#options.services.layer.entries) {
      if (priorities.has(intent.priority) && !own.has(name) && !changed.has(name)) beside.push(intent);
    }
    // What stands aside comes back.
    for (const other of this.#absent) {
      const app = other === instance ? undefined : this.#apps.get(other);
      if (app) beside.push(...active(app));
    }
    refuseAmbiguous(put, beside as Intent[]);
    return difference;
  }

  async #change(difference: LayerDifference, commit: () => void): Promise<void> {
    const { services } = this.#options;
    const put = [...difference.values()].filter((intent) => intent !== undefined);
    const remove = [...difference].flatMap(([name, intent]) => (intent ? [] : [name]));
    if (difference.size > 0) await services.changeLayer(() => ({ put, remove, commit }));
    else await applyAndCommit({ apply: async () => undefined, commit, restore: async () => undefined });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

const unknown = (what: string, id: string) => new Problem("not-found", `there is no ${what} "${id.slice(0, 80)}"`);

function refusedByDns(error: unknown): never {
  if (error instanceof Problem) throw error;
  throw new Problem(
    "dataplane-refused",
    `nothing has changed; the name server: ${messageOf(error)}`,
    {},
    { cause: error },
  );
}
