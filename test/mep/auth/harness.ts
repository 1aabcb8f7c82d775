/**
 * How does a test get an Mp1 with real authorisation?
 *
 * The real server, store, token endpoint and authority; one resource of an app's own behind them. Requests go in without a
 * socket, from whatever address the test says.
 */
import pino from "pino";
import Type from "typebox";
import { Audit } from "../../../controlplane/access/audit.ts";
import type { TlsSecrets } from "../../../controlplane/api/base.ts";
import type { Metrics } from "../../../controlplane/metrics/metrics.ts";
import { Auth, type AuthOptions } from "../../../mep/auth/auth.ts";
import { authTables } from "../../../mep/auth/tables.ts";
import { Mp1Server } from "../../../mep/mp1/server.ts";
import type { Instance } from "../../../mep/parts.ts";
import { MepStore } from "../../../mep/store.ts";

export const base = "https://10.60.0.1:8091";

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | number | undefined>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever was answered
  body: any;
}

export interface Sent {
  body?: string;
  headers?: Record<string, string>;
  from?: string;
}

export interface Site {
  auth: Auth;
  server: Mp1Server;
  audit: Audit;
  refused: string[];
  call(method: "GET" | "POST" | "PUT", url: string, sent?: Sent): Promise<Answer>;
  /** A token, or the error that came instead. */
  token(form: Record<string, string>, sent?: Sent): Promise<Answer>;
  /** The things of an instance, asked for with this token. */
  things(token: string, instance?: string, sent?: Sent): Promise<Answer>;
}

export const instance = (id: string): Instance => ({
  id,
  appDId: "d",
  name: id,
  provider: "p",
  instantiationState: "INSTANTIATED",
  operationalState: "STARTED",
  configured: true,
  ready: true,
  addresses: [],
  external: true,
});

export interface SiteOptions extends Partial<AuthOptions> {
  stateDir?: string;
  tls?: TlsSecrets;
}

export async function withSite(body: (site: Site) => Promise<void>, options: SiteOptions = {}): Promise<void> {
  const { stateDir = ":memory:", tls, ...rest } = options;
  const store = new MepStore(stateDir, authTables);
  const refused: string[] = [];
  const auth = new Auth({ database: store.database, base: () => base, refused: (why) => refused.push(why), ...rest });
  await auth.start();
  const audit = new Audit(":memory:");
  const server = await Mp1Server.create({
    ...(tls && { tls }),
    authority: auth.authority,
    instances: { get: instance },
    audit,
    metrics: { requests: { inc: () => undefined } } as unknown as Pick<Metrics, "requests">,
    log: pino({ level: "silent" }),
    version: "test",
  });
  auth.serve(server.app);
  const path = "/applications/:appInstanceId/things";
  const common = { api: "mec_service_mgmt" as const, path, summary: "Things" };
  server.route({ ...common, method: "GET", scope: "mec_service_mgmt:read", handler: () => ["thing"] });
  server.route({
    ...common,
    method: "POST",
    scope: "mec_service_mgmt:write",
    body: Type.Object({}),
    handler: (_request, reply) => reply.code(204).send(),
  });
  await server.app.ready();
  const call: Site["call"] = async (method, url, { body, headers = {}, from = "10.61.0.7" } = {}) => {
    const answer = await server.app.inject({
      method,
      url,
      headers,
      remoteAddress: from,
      ...(body !== undefined && { payload: body }),
    });
    const text = answer.payload;
    const json = String(answer.headers["content-type"] ?? "").includes("json");
    return { status: answer.statusCode, headers: answer.headers, body: json && text ? JSON.parse(text) : text };
  };
  try {
    await body({
      auth,
      server,
      audit,
      refused,
      call,
      token: (form, { headers = {}, ...sent } = {}) =>
        call("POST", "/oauth2/token", {
          ...sent,
          body: new URLSearchParams({ grant_type: "client_credentials", ...form }).toString(),
          headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
        }),
      things: (token, id = "one", { headers = {}, ...sent } = {}) =>
        call("GET", `/mec_service_mgmt/v1/applications/${id}/things`, {
          ...sent,
          headers: { authorization: `Bearer ${token}`, ...headers },
        }),
    });
  } finally {
    await server.app.close();
    audit.close();
    store.close();
  }
}

/** `Authorization` of RFC 6749 §2.3.1. */
export const basic = (client: string, secret: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(secret)}`).toString("base64")}`,
});
