/**
 * How does a test get Mp1 without a data plane?
 *
 * The real server, store, registry and routes in this process. Instances are a table of the test's; a bearer token is the
 * client's name, and the client of an instance has the instance's id; what would be sent is written down.
 */
import pino from "pino";
import { Value } from "typebox/value";
import * as assert from "uvu/assert";
import { Audit } from "../../controlplane/access/audit.ts";
import { problem } from "../../controlplane/api/schemas.ts";
import { Problem } from "../../controlplane/errors.ts";
import type { Metrics } from "../../controlplane/metrics/metrics.ts";
import { Commits } from "../../mep/commits.ts";
import { Enablement, type EnablementOptions } from "../../mep/mp1/enablement.ts";
import { Mp1Server } from "../../mep/mp1/server.ts";
import type { Authority, Instance, OperationAction, Subscriber } from "../../mep/parts.ts";
import { registryTables } from "../../mep/registry/tables.ts";
import { MepStore } from "../../mep/store.ts";
import { conforming, conformingNotification } from "./conformance/conforming.ts";
import { makeInstance } from "./fixtures.ts";

export const base = "https://10.60.0.1:8091";
export const management = "/mec_service_mgmt/v1";
export const support = "/mec_app_support/v1";

export interface Answer {
  status: number;
  headers: Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
  text: string;
}

export interface CallOptions {
  /** Default: "app1". Empty: no token. */
  as?: string;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Mp1 {
  server: Mp1Server;
  enablement: Enablement;
  instances: Map<string, Instance>;
  /** What the notifier was given, in order. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was sent
  sent: { to: Subscriber; body: any }[];
  forgotten: string[];
  /** Subscriptions whose WebSocket may be connected. */
  admitted: string[];
  audit: Audit;
  confirmed: string[];
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  stop(): Promise<void>;
}

/** Scopes of clients whose name begins with `reader`. */
const readOnly = new Set(["mec_service_mgmt:read", "mec_app_support"]);
const all = new Set([...readOnly, "mec_service_mgmt:write"]);

export interface Mp1Options extends Partial<Pick<EnablementOptions, "bounds" | "quotas" | "timing" | "transports">> {
  stateDir?: string;
}

export async function startMp1({ stateDir = ":memory:", ...options }: Mp1Options = {}): Promise<Mp1> {
  const store = new MepStore(stateDir, registryTables);
  const commits = new Commits(store.database);
  const instances = new Map(["app1", "app2", "reader1"].map((id) => [id, makeInstance(id)] as [string, Instance]));
  instances.set("early", makeInstance("early", { ready: false }));
  const sent: Mp1["sent"] = [];
  const forgotten: string[] = [];
  const admitted: string[] = [];
  const audit = new Audit(":memory:");
  const confirmed: string[] = [];
  const log = pino({ level: "silent" });
  const enablement = new Enablement({
    database: store.database,
    commits,
    instances: {
      get: (id) => instances.get(id),
      confirmReady: async (id) => {
        const found = instances.get(id);
        if (!found?.configured) throw new Problem("conflict", "the instance is still being configured: try again");
        found.ready = true;
        confirmed.push(`${id} READY`);
      },
      confirmTermination: async (id: string, action: OperationAction) => {
        if (instances.get(id)?.terminating?.operationAction !== action) throw new Problem("conflict", "nothing ends");
        confirmed.push(`${id} ${action}`);
      },
    },
    notifier: {
      send: (to, body) => {
        conformingNotification(body);
        sent.push({ to, body: structuredClone(body) });
      },
      refusal: async (_instance, uri) => (uri.includes("127.0.0.1") ? "is a loopback address" : undefined),
      test: (to, href) => void sent.push({ to, body: { test: href } }),
      admit: ({ id }) => void admitted.push(id),
      forget: (id) => void forgotten.push(id),
    },
    base: () => base,
    log,
    ...options,
  });
  const get = (id: string) => instances.get(id) ?? enablement.instance(id);
  const authority: Authority = {
    authenticate: async ({ headers }) => {
      const client = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1];
      if (!client) throw new Problem("unauthorized", "send the header: Authorization: Bearer <token>");
      const scopes = client.startsWith("reader") ? readOnly : all;
      const instance = instances.has(client) ? client : enablement.registrations.instanceOf(client);
      return { client, ...(instance !== undefined && { instance }), scopes };
    },
    authorise: (identity, { scope, appInstanceId }) => {
      if (scope && !identity.scopes.has(scope)) throw new Problem("forbidden", `the token lacks the scope ${scope}`);
      if (appInstanceId === undefined || appInstanceId === identity.instance) return;
      throw new Problem(get(appInstanceId) ? "forbidden" : "not-found", "it is not an instance of this client");
    },
  };
  const server = await Mp1Server.create({
    authority,
    instances: { get },
    audit,
    metrics: { requests: { inc: () => undefined } } as unknown as Pick<Metrics, "requests">,
    log,
    version: "test",
  });
  enablement.routes(server);
  await server.app.ready();
  enablement.start();
  const check = conforming(server.app);
  return {
    server,
    enablement,
    instances,
    sent,
    forgotten,
    admitted,
    audit,
    confirmed,
    async call(method, path, { as = "app1", body, headers = {} } = {}) {
      const payload = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
      const answer = await server.app.inject({
        method: method as "GET",
        url: path,
        headers: {
          ...(as && { authorization: `Bearer ${as}` }),
          ...(payload !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(payload !== undefined && { payload: payload as string }),
      });
      const text = answer.payload;
      const { statusCode: status } = answer;
      check({ method, url: path, body, status, headers: answer.headers, text });
      const json = String(answer.headers["content-type"] ?? "").includes("json");
      return { status: answer.statusCode, headers: answer.headers, text, body: json && text ? JSON.parse(text) : text };
    },
    async stop() {
      enablement.stop();
      await server.app.close();
      commits.close();
      audit.close();
      store.close();
    },
  };
}

/** Runs `body` with Mp1, and ends it whatever happens. */
export async function withMp1(body: (mp1: Mp1) => Promise<void>, options?: Mp1Options): Promise<void> {
  const mp1 = await startMp1(options);
  try {
    await body(mp1);
  } finally {
    await mp1.stop();
  }
}

/** A problem document with a detail, and nothing of the inside. */
export function isProblem(answer: Answer, status: number): void {
  assert.is(answer.status, status, answer.text);
  assert.is(answer.headers["content-type"], "application/problem+json; charset=utf-8");
  assert.ok(Value.Check(problem, answer.body), answer.text);
  assert.ok(answer.body.detail, "a problem says what is wrong");
  assert.not.match(answer.text, /node_modules|\.ts:|at .*\(/);
}
