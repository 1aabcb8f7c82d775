/**
 * How does an app written in TypeScript talk to the platform?
 *
 *   const mp1 = Mp1Client.fromEnvironment();
 *   await mp1.confirmReady();
 *   await mp1.activate("video");
 *
 * One method for each resource of GS MEC 011; bodies and answers are the types of mep/model. Tokens are fetched when they are
 * needed and again before they expire (RFC 6749 §4.4). Nothing is tried again by itself but a request whose token was refused.
 */
import { readFileSync } from "node:fs";
import { Agent, type Dispatcher, fetch, type RequestInit } from "undici";
import type { DnsRule, RuleState, TrafficRule } from "../model/rules.ts";
import type { ServiceInfo, ServiceLivenessInfo, ServiceRequest, TransportInfo } from "../model/services.ts";
import type { AppInfo, CurrentTime, TimingCaps } from "../model/support.ts";

export interface Mp1ClientOptions {
  /** `https://10.60.0.1:8091` */
  mp1: string;
  clientId: string;
  clientSecret: string;
  /** Absent: the client is its own instance. */
  appInstanceId?: string;
  /** PEM: what the platform's certificate is checked by. Absent: the system's authorities. */
  ca?: string;
  /** Milliseconds that one request may take; default 10 s. */
  timeoutMs?: number;
}

/** A problem document that the platform has answered with (RFC 9457). */
export class Mp1Error extends Error {
  constructor(
    readonly status: number,
    /** As it was answered; empty where it was no JSON. */
    readonly problem: { title?: string; detail?: string; errors?: { field: string; message: string }[] },
  ) {
    super(problem.detail ?? problem.title ?? `the platform answered ${status}`);
    this.name = "Mp1Error";
  }
}

/** A resource with the ETag that it was read with. */
export interface Tagged<T> {
  value: T;
  etag: string | undefined;
}

export interface ServiceFilter {
  serInstanceIds?: string[];
  serNames?: string[];
  serCategoryId?: string;
  scopeOfLocality?: string;
  consumedLocalOnly?: boolean;
  isLocal?: boolean;
}

interface Sent {
  body?: object;
  ifMatch?: string | undefined;
  type?: string;
}

const support = "/mec_app_support/v1";
const management = "/mec_service_mgmt/v1";
/** Tokens are fetched this long before they expire. */
const earlyMs = 30_000;

export class Mp1Client {
  readonly appInstanceId: string;
  readonly #options: Mp1ClientOptions;
  readonly #dispatcher: Dispatcher;
  #token: { text: string; until: number } | undefined;
  #fetching: Promise<string> | undefined;

  constructor(options: Mp1ClientOptions) {
    this.#options = options;
    this.appInstanceId = options.appInstanceId ?? options.clientId;
    this.#dispatcher = new Agent(options.ca === undefined ? {} : { connect: { ca: options.ca } });
  }

  /**
   * By what the platform gives to an instance that it runs: OFFRAMP_MP1, OFFRAMP_CREDENTIALS (a file), and OFFRAMP_CA (a file)
   * where there is one. @throws Error naming what is missing
   */
  static fromEnvironment(environment: NodeJS.ProcessEnv = process.env): Mp1Client {
    const { OFFRAMP_MP1: mp1, OFFRAMP_CREDENTIALS: file, OFFRAMP_CA: ca, OFFRAMP_APP_INSTANCE_ID: id } = environment;
    if (!mp1) throw new Error("OFFRAMP_MP1 is not set: https://address:port of the platform");
    if (!file) throw new Error("OFFRAMP_CREDENTIALS is not set: a file with clientId and clientSecret");
    const { clientId, clientSecret } = JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;
    if (!clientId || !clientSecret) throw new Error(`${file} has no clientId or no clientSecret`);
    const more = { ...(id && { appInstanceId: id }), ...(ca && { ca: readFileSync(ca, "utf8") }) };
    return new Mp1Client({ mp1, clientId, clientSecret, ...more });
  }

  /** Ends connections. */
  close(): Promise<void> {
    return this.#dispatcher.close();
  }

  // Application support: GS MEC 011 §7

  /** §7.2.12: from now on the rest of Mp1 is open to the instance. */
  async confirmReady(): Promise<void> {
    await this.#send("POST", `${this.#app(support)}/confirm_ready`, { body: { indication: "READY" } });
  }

  /** §7.2.11: what was to be ended is ended. */
  async confirmTermination(operationAction: "STOPPING" | "TERMINATING"): Promise<void> {
    await this.#send("POST", `${this.#app(support)}/confirm_termination`, { body: { operationAction } });
  }

  trafficRules(): Promise<TrafficRule[]> {
    return this.#json("GET", `${this.#app(support)}/traffic_rules`);
  }

  trafficRule(id: string): Promise<Tagged<TrafficRule>> {
    return this.#tagged(`${this.#app(support)}/traffic_rules/${encodeURIComponent(id)}`);
  }

  /** Returns when the data plane has it. With `ifMatch` only if it is still what was read. */
  putTrafficRule(rule: TrafficRule, ifMatch?: string): Promise<TrafficRule> {
    const path = `${this.#app(support)}/traffic_rules/${encodeURIComponent(rule.trafficRuleId)}`;
    return this.#json("PUT", path, { body: rule, ifMatch });
  }

  /** Makes a traffic rule ACTIVE, or INACTIVE, and leaves it otherwise as it is. */
  async activate(trafficRuleId: string, state: RuleState = "ACTIVE"): Promise<TrafficRule> {
    const { value, etag } = await this.trafficRule(trafficRuleId);
    return this.putTrafficRule({ ...value, state }, etag);
  }

  dnsRules(): Promise<DnsRule[]> {
    return this.#json("GET", `${this.#app(support)}/dns_rules`);
  }

  dnsRule(id: string): Promise<Tagged<DnsRule>> {
    return this.#tagged(`${this.#app(support)}/dns_rules/${encodeURIComponent(id)}`);
  }

  /** Returns when phones are answered by it. */
  putDnsRule(rule: DnsRule, ifMatch?: string): Promise<DnsRule> {
    const path = `${this.#app(support)}/dns_rules/${encodeURIComponent(rule.dnsRuleId)}`;
    return this.#json("PUT", path, { body: rule, ifMatch });
  }

  async activateDns(dnsRuleId: string, state: RuleState = "ACTIVE"): Promise<DnsRule> {
    const { value, etag } = await this.dnsRule(dnsRuleId);
    return this.putDnsRule({ ...value, state }, etag);
  }

  /** Who is told before the instance is ended. Returns the URI of the subscription. */
  onTermination(callbackReference: string): Promise<string> {
    const subscriptionType = "AppTerminationNotificationSubscription";
    const body = { subscriptionType, callbackReference, appInstanceId: this.appInstanceId };
    return this.#created(`${this.#app(support)}/subscriptions`, body);
  }

  timing(): Promise<TimingCaps> {
    return this.#json("GET", `${support}/timing/timing_caps`);
  }

  currentTime(): Promise<CurrentTime> {
    return this.#json("GET", `${support}/timing/current_time`);
  }

  /** An app that the platform has not instantiated makes itself known. Returns what it has become, with its id. */
  register(info: AppInfo): Promise<AppInfo> {
    return this.#json("POST", `${support}/registrations`, { body: info });
  }

  // Service management: GS MEC 011 §8

  /** Services that can be used: SUSPENDED ones are not among them. */
  services(filter: ServiceFilter = {}): Promise<ServiceInfo[]> {
    const query = new URLSearchParams();
    for (const id of filter.serInstanceIds ?? []) query.append("ser_instance_id", id);
    for (const name of filter.serNames ?? []) query.append("ser_name", name);
    if (filter.serCategoryId !== undefined) query.set("ser_category_id", filter.serCategoryId);
    if (filter.scopeOfLocality !== undefined) query.set("scope_of_locality", filter.scopeOfLocality);
    if (filter.consumedLocalOnly !== undefined) query.set("consumed_local_only", `${filter.consumedLocalOnly}`);
    if (filter.isLocal !== undefined) query.set("is_local", `${filter.isLocal}`);
    return this.#json("GET", `${management}/services${query.size > 0 ? `?${query}` : ""}`);
  }

  service(id: string): Promise<ServiceInfo> {
    return this.#json("GET", `${management}/services/${encodeURIComponent(id)}`);
  }

  transports(): Promise<TransportInfo[]> {
    return this.#json("GET", `${management}/transports`);
  }

  /** Offers a service; the answer has its serInstanceId. */
  offer(service: ServiceRequest): Promise<ServiceInfo> {
    return this.#json("POST", `${this.#app(management)}/services`, { body: service });
  }

  replaceService(id: string, service: ServiceRequest, ifMatch?: string): Promise<ServiceInfo> {
    return this.#json("PUT", `${this.#app(management)}/services/${encodeURIComponent(id)}`, { body: service, ifMatch });
  }

  async withdraw(id: string): Promise<void> {
    await this.#send("DELETE", `${this.#app(management)}/services/${encodeURIComponent(id)}`);
  }

  /** Says that the service is alive. Returns the interval in which the platform wants to hear it again, where that changes. */
  async heartbeat(id: string): Promise<ServiceLivenessInfo | undefined> {
    const path = `${this.#app(management)}/services/${encodeURIComponent(id)}/liveness`;
    const { text } = await this.#send("PATCH", path, { body: { state: "ACTIVE" } });
    return text === "" ? undefined : (JSON.parse(text) as ServiceLivenessInfo);
  }

  /** Who is told of services that come, change and go. Returns the URI of the subscription. */
  onServices(callbackReference: string, filteringCriteria?: object): Promise<string> {
    const subscriptionType = "SerAvailabilityNotificationSubscription";
    const body = { subscriptionType, callbackReference, ...(filteringCriteria && { filteringCriteria }) };
    return this.#created(`${this.#app(management)}/subscriptions`, body);
  }

  /** Ends a subscription by the URI that it was made with. */
  async unsubscribe(uri: string): Promise<void> {
    await this.#send("DELETE", new URL(uri, this.#options.mp1).pathname);
  }

  #app(root: string): string {
    return `${root}/applications/${encodeURIComponent(this.appInstanceId)}`;
  }

  async #json<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    return JSON.parse((await this.#send(method, path, sent)).text) as T;
  }

  async #tagged<T>(path: string): Promise<Tagged<T>> {
    const { text, headers } = await this.#send("GET", path);
    return { value: JSON.parse(text) as T, etag: headers.get("etag") ?? undefined };
  }

  async #created(path: string, body: object): Promise<string> {
    const { headers } = await this.#send("POST", path, { body });
    return headers.get("location") ?? "";
  }

  async #send(
    method: string,
    path: string,
    sent: Sent = {},
    again = true,
  ): Promise<{ text: string; headers: Headers }> {
    const { body, ifMatch, type = "application/json" } = sent;
    const response = await this.#fetch(path, {
      method,
      headers: {
        authorization: `Bearer ${await this.#bearer()}`,
        ...(body && { "content-type": type }),
        ...(ifMatch !== undefined && { "if-match": ifMatch }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.status === 401 && again) {
      this.#token = undefined;
      return this.#send(method, path, sent, false);
    }
    if (!response.ok) throw new Mp1Error(response.status, parsed(text));
    return { text, headers: response.headers as unknown as Headers };
  }

  /** Several requests at once share one that fetches the token. */
  async #bearer(): Promise<string> {
    if (this.#token && Date.now() < this.#token.until) return this.#token.text;
    this.#fetching ??= this.#fetchToken().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetchToken(): Promise<string> {
    const { clientId, clientSecret } = this.#options;
    const basic = [clientId, clientSecret].map(encodeURIComponent).join(":"); // RFC 6749 §2.3.1
    const response = await this.#fetch("/oauth2/token", {
      method: "POST",
      headers: {
        authorization: `Basic ${Buffer.from(basic).toString("base64")}`,
        "content-type": "application/x-www-form-urlencoded",
      },
      body: "grant_type=client_credentials",
    });
    const text = await response.text();
    if (!response.ok) throw new Mp1Error(response.status, parsed(text));
    const { access_token: token, expires_in: seconds } = JSON.parse(text) as {
      access_token: string;
      expires_in: number;
    };
    this.#token = { text: token, until: Date.now() + Math.max(seconds * 500, seconds * 1000 - earlyMs) };
    return token;
  }

  #fetch(path: string, init: RequestInit) {
    const { mp1, timeoutMs = 10_000 } = this.#options;
    return fetch(new URL(path, mp1), {
      ...init,
      redirect: "error",
      dispatcher: this.#dispatcher,
      signal: AbortSignal.timeout(timeoutMs),
    });
  }
}

function parsed(text: string): Mp1Error["problem"] {
  try {
    const value = JSON.parse(text) as { detail?: string; error_description?: string; error?: string };
    return { ...value, ...(value.error && { detail: value.error_description ?? value.error }) };
  } catch {
    return {};
  }
}
