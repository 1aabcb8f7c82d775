/** Who may do what over the management API, who is locked out, and what of it is in the audit log (C6; HOSTILE §4)? */
import { Value } from "typebox/value";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as bodies from "../../controlplane/api/access-schemas.ts";
import { problem } from "../../controlplane/api/schemas.ts";
import { type Answer, type Running, withAgent } from "../api/harness.ts";

const siteToken = "0123456789abcdef";
const withToken = { extra: `api: { listen: 127.0.0.1:0, token: ${siteToken} }` };
const usersOnly = { extra: "api: { listen: 127.0.0.1:0, loopback: none, token: 0123456789abcdef }" };
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const root = bearer(siteToken);
const web = { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" };

function isProblem(answer: Answer, status: number, type: string): void {
  assert.is(answer.status, status, JSON.stringify(answer.body));
  assert.is(answer.type, "application/problem+json; charset=utf-8");
  assert.ok(Value.Check(problem, answer.body), JSON.stringify(answer.body));
  assert.is(answer.body.type, `/problems/${type}`);
}

async function add({ call }: Running, name: string, role: string, headers = root): Promise<string> {
  const answer = await call("POST", "/api/v1/users", { name, role }, headers);
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  assert.ok(Value.Check(bodies.userWithToken, answer.body), JSON.stringify(answer.body));
  assert.is(answer.headers.get("cache-control"), "no-store");
  assert.is(answer.headers.get("location"), `/api/v1/users/${name}`);
  return answer.body.token;
}

// biome-ignore lint/suspicious/noExplicitAny: entries as they are answered
const entries = async ({ call }: Running, query = "", headers = root): Promise<any[]> => {
  const answer = await call("GET", `/api/v1/audit${query}`, undefined, headers);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.ok(Value.Check(bodies.audit, answer.body), JSON.stringify([...Value.Errors(bodies.audit, answer.body)]));
  return answer.body.entries.reverse();
};

test("C6: viewer, operator and admin may do what their role says, and nothing above", () =>
  withAgent(async (running) => {
    const { call } = running;
    const viewer = bearer(await add(running, "vera", "viewer"));
    const operator = bearer(await add(running, "otto", "operator"));
    const admin = bearer(await add(running, "ada", "admin"));
    const tried: [string, string, unknown, number, number, number][] = [
      ["GET", "/service", undefined, 200, 200, 200],
      ["GET", "/api/v1/sessions", undefined, 200, 200, 200],
      ["GET", "/api/v1/whoami", undefined, 200, 200, 200],
      ["GET", "/metrics", undefined, 200, 200, 200],
      ["GET", "/openapi.json", undefined, 200, 200, 200],
      ["GET", "/nothing", undefined, 404, 404, 404],
      ["POST", "/service", web, 403, 200, 409],
      ["PUT", "/service/web", web, 403, 200, 200],
      ["DELETE", "/service/nobody", undefined, 403, 404, 404],
      ["PUT", "/api/v1/services?dryRun=true", [], 403, 200, 200],
      ["PUT", "/api/v1/dataplanes/s1/mode", { mode: "bypass" }, 403, 200, 200],
      ["POST", "/api/v1/dataplanes", {}, 403, 403, 400],
      ["DELETE", "/api/v1/dataplanes/none", undefined, 403, 403, 404],
      ["POST", "/api/v1/reload", undefined, 403, 403, 200],
      ["GET", "/api/v1/users", undefined, 403, 403, 200],
      ["GET", "/api/v1/users/vera", undefined, 403, 403, 200],
      ["POST", "/api/v1/users", { name: "eve", role: "admin" }, 403, 403, 201],
      ["POST", "/api/v1/users/eve/token", undefined, 403, 403, 200],
      ["DELETE", "/api/v1/users/eve", undefined, 403, 403, 200],
      ["GET", "/api/v1/audit", undefined, 403, 403, 200],
      ["GET", "/api/v1/audit/verify", undefined, 403, 403, 200],
      ["GET", "/api/v1/audit/export", undefined, 403, 403, 200],
      ["POST", "/api/v1/audit/truncate", { through: 1, digest: "0".repeat(64) }, 403, 403, 400],
    ];
    for (const [method, path, body, ...wanted] of tried) {
      for (const [i, headers] of [viewer, operator, admin].entries()) {
        const answer = await call(method, path, body, headers);
        assert.is(answer.status, wanted[i], `${i} ${method} ${path} ${JSON.stringify(answer.body).slice(0, 200)}`);
        if (answer.status === 403) isProblem(answer, 403, "forbidden");
      }
    }
    const refused = await call("GET", "/api/v1/capture?seconds=1", undefined, viewer);
    isProblem(refused, 403, "forbidden");
    assert.is(refused.body.detail, "this needs the role operator, and user vera has the role viewer");
    assert.equal((await call("GET", "/api/v1/whoami", undefined, operator)).body, {
      who: "user otto",
      role: "operator",
      user: "otto",
    });
    assert.equal((await call("GET", "/api/v1/whoami", undefined, root)).body, { who: "token", role: "admin" });
    // The user is in the history as well.
    assert.is((await call("GET", "/api/v1/history", undefined, root)).body.revisions.at(-1).who, "user otto");
  }, withToken));

test("C6: every route of the API says in /openapi.json which role it needs", () =>
  withAgent(async ({ call }) => {
    const { body } = await call("GET", "/openapi.json");
    const needs: Record<string, string | undefined> = {};
    for (const [path, methods] of Object.entries(body.paths as Record<string, Record<string, { security: [] }>>)) {
      for (const [method, { security }] of Object.entries(methods)) {
        const [first] = security as { bearer: string[] }[];
        needs[`${method} ${path}`] = first?.bearer[0];
      }
    }
    assert.is(needs["get /healthz"], undefined);
    assert.is(needs["get /service"], "viewer");
    assert.is(needs["post /service"], "operator");
    assert.is(needs["get /api/v1/capture"], "operator");
    assert.is(needs["get /api/v1/audit"], "admin");
    assert.is(needs["post /api/v1/dataplanes"], "admin");
    for (const [route, role] of Object.entries(needs)) {
      if (!/ \/(healthz|readyz)$/.test(route)) assert.ok(role, route);
    }
    assert.match(body.paths["/api/v1/users"].post.description, "Role: admin.");
  }));

test("C6: tokens are shown once, replaced by rotation, gone with their user, kept over a restart, and stored as hashes", () =>
  withAgent(async (running) => {
    const first = await add(running, "ada", "admin");
    const { call } = running;
    for (const path of ["/api/v1/users", "/api/v1/users/ada", "/api/v1/audit", "/api/v1/audit/export"]) {
      assert.not.match(JSON.stringify((await call("GET", path, undefined, root)).body), first);
    }
    const rotated = await call("POST", "/api/v1/users/ada/token", undefined, root);
    assert.is(rotated.headers.get("cache-control"), "no-store");
    const second = rotated.body.token;
    assert.is((await call("GET", "/service", undefined, bearer(first))).status, 401);
    assert.is((await call("GET", "/service", undefined, bearer(second))).status, 200);
    const again = await running.restart();
    assert.is((await again.call("GET", "/api/v1/users", undefined, bearer(second))).body[0].name, "ada");
    assert.is((await again.call("DELETE", "/api/v1/users/ada", undefined, bearer(second))).status, 200);
    isProblem(await again.call("GET", "/service", undefined, bearer(second)), 401, "unauthorized");
    await again.stop();
  }, withToken));

test("users: what is wrong is refused with its reason, and nothing has changed", () =>
  withAgent(async (running) => {
    const { call } = running;
    await add(running, "ada", "admin");
    const wrong: [unknown, number, string][] = [
      [{ name: "ada", role: "viewer" }, 409, "name-taken"],
      [{ name: "a b", role: "viewer" }, 400, "invalid-request"],
      [{ name: "", role: "viewer" }, 400, "invalid-request"],
      [{ name: "-a", role: "viewer" }, 400, "invalid-request"],
      [{ name: "x".repeat(65), role: "viewer" }, 400, "invalid-request"],
      [{ name: "eve", role: "root" }, 400, "invalid-request"],
      [{ name: "eve" }, 400, "invalid-request"],
      [{ name: "eve", role: "admin", token: "mine" }, 400, "invalid-request"],
      [[], 400, "invalid-request"],
      ['{"name":"eve","role":"admin","__proto__":{"x":1}}', 400, "invalid-body"],
    ];
    for (const [body, status, type] of wrong) isProblem(await call("POST", "/api/v1/users", body, root), status, type);
    for (const [method, path] of [
      ["GET", "/api/v1/users/__proto__"],
      ["DELETE", "/api/v1/users/constructor"],
      ["POST", "/api/v1/users/nobody/token"],
    ] as const) {
      isProblem(await call(method, path, undefined, root), 404, "not-found");
    }
    assert.equal(
      (await call("GET", "/api/v1/users", undefined, root)).body.map((one: { name: string }) => one.name),
      ["ada"],
    );
  }, withToken));

test("loopback: admin without users and with them, until api.loopback says none; then a token is needed", () =>
  withAgent(async (running) => {
    assert.equal((await running.call("GET", "/api/v1/whoami")).body, { who: "loopback", role: "admin" });
    const token = await add(running, "vera", "viewer", {} as typeof root);
    assert.equal((await running.call("GET", "/api/v1/whoami")).body, { who: "loopback", role: "admin" });
    assert.is((await running.call("GET", "/api/v1/whoami", undefined, bearer(token))).body.user, "vera");
    isProblem(await running.call("GET", "/service", undefined, bearer("wrong-token-wrong")), 401, "unauthorized");
    running.file.text = running.file.text.replace("api: {", "api: { loopback: none,");
  }).then(() =>
    withAgent(async ({ call }) => {
      isProblem(await call("GET", "/service"), 401, "unauthorized");
      assert.is((await call("GET", "/service", undefined, root)).status, 200);
      assert.is((await call("GET", "/healthz")).status, 200);
    }, usersOnly),
  ));

test("nobody takes away the last way in", () =>
  withAgent(
    async (running) => {
      // Only users can be admin here: the first comes from the command line.
      const { Store } = await import("../../controlplane/store/store.ts");
      const store = new Store(running.stateDir);
      const { token } = store.users.add("ada", "admin");
      store.close();
      const again = await running.restart();
      isProblem(await again.call("GET", "/service"), 401, "unauthorized");
      isProblem(await again.call("DELETE", "/api/v1/users/ada", undefined, bearer(token)), 409, "conflict");
      await add(again, "bob", "viewer", bearer(token));
      isProblem(await again.call("DELETE", "/api/v1/users/ada", undefined, bearer(token)), 409, "conflict");
      await add(again, "eve", "admin", bearer(token));
      assert.is((await again.call("DELETE", "/api/v1/users/ada", undefined, bearer(token))).status, 200);
      await again.stop();
    },
    { extra: "api: { listen: 127.0.0.1:0, loopback: none }" },
  ));

test("C6: ten wrong tokens lock an address out of guessing, with Retry-After; users' own tokens go on working", () =>
  withAgent(async (running) => {
    const { call } = running;
    const token = await add(running, "otto", "operator");
    for (let i = 0; i < 10; i += 1) {
      isProblem(await call("GET", "/service", undefined, bearer(`guess-number-${i}`)), 401, "unauthorized");
    }
    const locked = await call("GET", "/service", undefined, bearer("guess-number-11"));
    isProblem(locked, 429, "too-many-requests");
    assert.ok(Number(locked.headers.get("retry-after")) >= 1);
    assert.is(locked.body.retryAfter, Number(locked.headers.get("retry-after")));
    isProblem(await call("GET", "/service", undefined, root), 429, "too-many-requests");
    assert.is((await call("GET", "/service", undefined, bearer(token))).status, 200);
    const metrics = (await call("GET", "/metrics", undefined, bearer(token))).body as string;
    assert.match(metrics, /offramp_access_refused_total\{api="management",reason="wrong-token"\} 10/);
    assert.match(metrics, /offramp_access_refused_total\{api="management",reason="locked"\} 2/);
  }, withToken));

test("C6: every change and every refusal is in the log, with who, what, outcome, request, address; looking is not", () =>
  withAgent(async (running) => {
    const { call } = running;
    const token = bearer(await add(running, "otto", "operator"));
    await call("POST", "/service", web, token);
    await call("PUT", "/service/web", { ...web, applicationIP: "10.60.0.81" }, token);
    await call("POST", "/service", { name: 7 }, token);
    await call("POST", "/service", "{", token);
    await call("DELETE", "/service/web?flush=true", undefined, token);
    await call("GET", "/service", undefined, token);
    await call("GET", "/api/v1/users", undefined, token);
    await call("GET", "/service");
    await call("DELETE", "/nothing", undefined, token);
    const found = (await entries(running)).filter(({ kind }) => kind !== "started");
    assert.equal(
      found.map(({ kind, who, method, path, status, object }) =>
        [kind, who, method, path, status, object].filter((one) => one !== undefined).join(" "),
      ),
      [
        "attempt token POST /api/v1/users",
        "outcome token POST /api/v1/users 201 user otto, operator",
        "attempt user otto POST /service",
        'outcome user otto POST /service 200 service "web"',
        "attempt user otto PUT /service/web",
        'outcome user otto PUT /service/web 200 service "web"',
        "attempt user otto POST /service",
        "outcome user otto POST /service 400",
        "refused user otto POST /service 400",
        "attempt user otto DELETE /service/web",
        'outcome user otto DELETE /service/web 200 service "web"',
        "refused user otto GET /api/v1/users 403",
        "refused nobody GET /service 401",
        "refused user otto DELETE /nothing 404",
      ],
    );
    for (const entry of found) {
      assert.is(entry.address, "127.0.0.1");
      assert.match(entry.request, /^req-/);
      assert.ok(!Number.isNaN(Date.parse(entry.time)));
    }
    const outcomes = found.filter(({ kind }) => kind === "outcome");
    assert.equal(
      outcomes.map(({ detail = {} }) => Object.keys(detail).join()),
      ["", "after", "before,after", "", "before,after"],
    );
    assert.is(outcomes[1].detail.after, outcomes[2].detail.before, "the same text has the same fingerprint");
    assert.equal(
      outcomes.map(({ of, number }) => number - of),
      [1, 1, 1, 1, 1],
    );
    assert.is((await entries(running, "?who=user%20otto&kind=outcome&status=200")).length, 3);
    assert.is((await entries(running, `?since=${new Date(Date.now() + 3_600_000).toISOString()}`)).length, 0);
    isProblem(await call("GET", "/api/v1/audit?since=yesterday", undefined, root), 400, "invalid-request");
  }, withToken));

test("C6: failed logins are in the log, bounded however many there are", () =>
  withAgent(async (running) => {
    for (let i = 0; i < 60; i += 1) await running.call("GET", "/service", undefined, bearer(`guess-number-${i}`));
    const mine = bearer(
      (await running.call("POST", "/api/v1/users", { name: "a", role: "admin" }, {})).body.token ?? "",
    );
    assert.ok(mine);
    const found = await entries(running, "?limit=1000", {} as typeof root);
    const failed = found.filter(({ who, kind }) => who === "nobody" && kind === "refused");
    assert.equal(
      failed.map(({ status }) => status),
      [401, 401, 401, 401, 401, 429, 429, 429, 429, 429],
    );
    assert.not.match(JSON.stringify(found), "guess-number");
    // What was only counted is told when the agent ends, at the latest.
    const again = await running.restart();
    const repeated = (await entries(again, "?kind=repeated", {} as typeof root)).map(({ detail, status }) => [
      status,
      detail.times,
    ]);
    assert.equal(repeated.sort(), [
      [401, 5],
      [429, 45],
    ]);
    await again.stop();
  }));

test("C6: when the log cannot be written, changes are refused and nothing has changed; looking goes on", () =>
  withAgent(async ({ call, stateDir }) => {
    const { default: Database } = await import("better-sqlite3");
    const other = new Database(`${stateDir}/audit.sqlite`);
    other.exec("CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT raise(ABORT, 'disk full'); END");
    const refused = await call("POST", "/service", web);
    isProblem(refused, 503, "store-failed");
    assert.match(refused.body.detail, "nothing has changed: the audit log cannot be written");
    assert.equal((await call("GET", "/service")).body, []);
    isProblem(await call("GET", "/api/v1/audit/export"), 503, "store-failed");
    // Written before, not after: the change is made, but not answered as if all were well.
    other.exec("DROP TRIGGER full");
    other.exec(
      "CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.kind = 'outcome' BEGIN SELECT raise(ABORT, 'disk full'); END",
    );
    const unsure = await call("POST", "/service", web);
    isProblem(unsure, 503, "store-failed");
    assert.match(unsure.body.detail, "it may have been done, but the audit log could not be written");
    other.exec("DROP TRIGGER full");
    other.close();
    assert.match((await call("GET", "/metrics")).body, /offramp_audit_failures_total 4/);
    assert.is((await call("DELETE", "/service/web")).status, 200);
    assert.is((await call("GET", "/api/v1/audit/verify")).body.fault, undefined);
  }));

test("C6: export is recorded, whole, and can be cut off only with the digest that it has", () =>
  withAgent(async (running) => {
    const { call } = running;
    for (let i = 0; i < 5; i += 1)
      await call("POST", "/service", { ...web, name: `w${i}`, serviceIP: `203.0.113.${i}` });
    const text = (await call("GET", "/api/v1/audit/export")).body as string;
    const [anchor, ...lines] = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(anchor, { anchor: { number: 0, digest: "0".repeat(64) } });
    assert.equal([lines.length, lines.at(-1).kind, lines.at(-1).path], [12, "read", "/api/v1/audit/export"]);
    isProblem(
      await call("POST", "/api/v1/audit/truncate", { through: 12, digest: "0".repeat(64) }),
      400,
      "invalid-request",
    );
    isProblem(
      await call("POST", "/api/v1/audit/truncate", { through: 999, digest: "0".repeat(64) }),
      400,
      "invalid-request",
    );
    const cut = await call("POST", "/api/v1/audit/truncate", { through: 12, digest: lines.at(-1).digest });
    assert.is(cut.status, 200, JSON.stringify(cut.body));
    assert.ok(Value.Check(bodies.verdict, cut.body), JSON.stringify(cut.body));
    assert.equal([cut.body.anchor.number, cut.body.fault], [12, undefined]);
    const left = await entries(running, "", {} as typeof root);
    assert.equal([left[0].number, left.some(({ kind, of }) => kind === "exported" && of === 12)], [13, true]);
  }));

test.run();
