/**
 * What does Mp1 refuse before a route sees it?
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import Type from "typebox";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Audit } from "../../controlplane/access/audit.ts";
import { Problem } from "../../controlplane/errors.ts";
import type { Metrics } from "../../controlplane/metrics/metrics.ts";
import { ownCertificate } from "../../mep/mp1/certificate.ts";
import { Mp1Server } from "../../mep/mp1/server.ts";
import type { Instance } from "../../mep/parts.ts";
import { MepStore } from "../../mep/store.ts";

const test = suite("mp1 server");

const audit = new Audit(":memory:");
const instances = new Map<string, Partial<Instance>>([
  ["one", { id: "one", ready: true }],
  ["early", { id: "early", ready: false }],
]);

async function server(): Promise<Mp1Server> {
  const mp1 = await Mp1Server.create({
    authority: {
      authenticate: async ({ headers }) => {
        const client = headers.authorization?.replace("Bearer ", "");
        if (!client) throw new Problem("unauthorized", "send a token");
        return { client, instance: client, scopes: new Set(["read"]) };
      },
      authorise: (identity, { scope, appInstanceId }) => {
        if (scope && !identity.scopes.has(scope)) throw new Problem("forbidden", "the scope is missing");
        if (appInstanceId !== undefined && appInstanceId !== identity.instance)
          throw new Problem("forbidden", "not yours");
      },
    },
    instances: { get: (id) => instances.get(id) as Instance | undefined },
    audit,
    metrics: { requests: { inc: () => undefined } } as unknown as Pick<Metrics, "requests">,
    log: pino({ level: "silent" }),
    version: "test",
  });
  const path = "/applications/:appInstanceId/things";
  const common = { api: "mec_app_support" as const, scope: "read", summary: "Things" };
  mp1.route({ ...common, method: "GET", path, handler: () => ["thing"] });
  mp1.route({
    ...common,
    method: "POST",
    path,
    body: Type.Object({ a: Type.Integer() }, { additionalProperties: false }),
    handler: (_request, reply) => reply.code(204).send(),
  });
  mp1.route({ ...common, method: "GET", path: "/timing", beforeReady: true, handler: () => ({ seconds: 1 }) });
  mp1.route({ ...common, method: "GET", path: "/secret", scope: "write", handler: () => ({}) });
  await mp1.app.ready();
  return mp1;
}

const ask = async (mp1: Mp1Server, method: "GET" | "POST" | "PUT", url: string, client = "one", payload?: object) => {
  const { statusCode, headers, body } = await mp1.app.inject({
    method,
    url: `/mec_app_support/v1${url}`,
    ...(client && { headers: { authorization: `Bearer ${client}` } }),
    ...(payload && { payload }),
  });
  return { status: statusCode, headers, body };
};

test("B1, B5: token, instance, scope, readiness, method, query and body, each with its own answer", async () => {
  const mp1 = await server();
  const things = "/applications/one/things";
  assert.is((await ask(mp1, "GET", things)).body, '["thing"]');
  assert.is(
    (await mp1.app.inject({ url: `/mec_app_support/v2${things}`, headers: { authorization: "Bearer one" } }))
      .statusCode,
    200,
  );
  assert.is((await ask(mp1, "GET", things, "")).status, 401);
  assert.is((await ask(mp1, "GET", things, "other")).status, 403);
  assert.is((await ask(mp1, "GET", "/secret")).status, 403);
  assert.is((await ask(mp1, "GET", "/applications/early/things", "early")).status, 403);
  assert.is((await ask(mp1, "GET", "/timing", "early")).status, 200);
  const put = await ask(mp1, "PUT", things);
  assert.is(put.status, 405);
  assert.is(put.headers.allow, "GET, HEAD, POST");
  assert.is((await ask(mp1, "GET", `${things}?colour=red`)).status, 400);
  assert.is((await ask(mp1, "POST", things, "one", { a: "x" })).status, 400);
  assert.is((await ask(mp1, "POST", things, "one", { a: 1 })).status, 204);
  const written = audit.list({ limit: 100 }).entries.reverse();
  assert.equal(
    written.map(({ kind, who, method, path, status }) =>
      [kind, who, method, path?.replace(/.*v1/, ""), status].join(" "),
    ),
    [
      "started agent   ",
      "refused nobody GET /applications/one/things 401",
      "refused app other GET /applications/one/things 403",
      "refused app one GET /secret 403",
      "refused app early GET /applications/early/things 403",
      "refused nobody PUT /applications/one/things 405",
      "refused app one POST /applications/one/things 400",
      "attempt app one POST /applications/one/things ",
      "outcome app one POST /applications/one/things 204",
    ],
  );
  await mp1.app.close();
});

test("a certificate is made once, and stays; tables of a part are made once, and a newer file is refused", () => {
  const directory = mkdtempSync(join(tmpdir(), "ofr-mep-"));
  try {
    const made = ownCertificate(directory, "10.60.0.1");
    assert.match(made.cert, /BEGIN CERTIFICATE/);
    assert.equal(ownCertificate(directory, "10.60.0.1"), made);
    const first = { part: "a", version: 1, sql: "CREATE TABLE a (x INTEGER) STRICT" };
    new MepStore(directory, [first]).close();
    const store = new MepStore(directory, [first, { part: "a", version: 2, sql: "INSERT INTO a VALUES (7)" }]);
    assert.equal(store.database.prepare("SELECT x FROM a").pluck().all(), [7]);
    store.close();
    assert.throws(() => new MepStore(directory, [first]), /version 2, this release knows 1/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test.run();
