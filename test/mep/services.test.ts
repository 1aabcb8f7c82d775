/**
 * Service management, resource by resource and code by code (GS MEC 011 §8.2; B1, B5): is every answer what the table says?
 */
import { Value } from "typebox/value";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { serviceInfo, serviceLivenessInfo, transportInfo } from "../../mep/model/services.ts";
import { type Answer, base, isProblem, type Mp1, management, withMp1 } from "./enablement.ts";
import { category, offer, transport } from "./fixtures.ts";

const test = suite("mp1 services");

const own = (instance = "app1") => `${management}/applications/${instance}/services`;
const isService = (body: unknown) => assert.ok(Value.Check(serviceInfo, body), JSON.stringify(body));

async function register({ call }: Mp1, body: object = offer(), as = "app1"): Promise<Answer> {
  const answer = await call("POST", own(as), { as, body });
  assert.is(answer.status, 201, answer.text);
  isService(answer.body);
  return answer;
}

/** Path of a URI of ours. */
const path = (uri: unknown): string => {
  assert.ok(String(uri).startsWith(`${base}/`), String(uri));
  return String(uri).slice(base.length);
};

const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  for (let i = 0; i < 600; i += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not in time`);
};

test("B1: POST a service: 201, Location, ETag, defaults filled in, what the platform gives and what it ignores", () =>
  withMp1(async (mp1) => {
    const { status, headers, body } = await register(mp1, {
      ...offer("camera", { serCategory: category("video"), livenessInterval: 0 }),
      serInstanceId: "mine",
      isLocal: false,
      _links: { self: { href: "http://evil/" } },
      colour: "red",
    });
    assert.is(status, 201);
    const id = body.serInstanceId;
    assert.match(id, /^[0-9a-f-]{36}$/);
    assert.is(headers.location, `${base}${own()}/${id}`);
    assert.match(String(headers.etag), /^"[^"]{22}"$/);
    assert.equal(body, {
      serInstanceId: id,
      serName: "camera",
      serCategory: category("video"),
      version: "1.0",
      transportInfo: transport,
      serializer: "JSON",
      scopeOfLocality: "MEC_HOST",
      consumedLocalOnly: true,
      state: "ACTIVE",
      isLocal: true,
      livenessInterval: 30,
      _links: { self: { href: headers.location }, liveness: { href: `${headers.location}/liveness` } },
    });
    const again = await mp1.call("GET", path(headers.location));
    assert.equal([again.status, again.body, again.headers.etag], [200, body, headers.etag]);
  }));

test("transports: those of the platform; transportId becomes transportInfo; either of both, and one that exists", () =>
  withMp1(
    async (mp1) => {
      const { status, body } = await mp1.call("GET", `${management}/transports`);
      assert.is(status, 200);
      assert.equal(
        body.map(({ id }: { id: string }) => id),
        ["mp1-rest", "own"],
      );
      for (const one of body) assert.ok(Value.Check(transportInfo, one));
      const { transportInfo: _, ...rest } = offer();
      const made = await register(mp1, { ...rest, transportId: "mp1-rest" });
      assert.equal(made.body.transportInfo, body[0]);
      assert.not("transportId" in made.body);
      for (const bad of [rest, { ...offer(), transportId: "mp1-rest" }, { ...rest, transportId: "none" }]) {
        isProblem(await mp1.call("POST", own(), { body: bad }), 400);
      }
    },
    { transports: [transport] },
  ));

test("discovery: every filter, alone and together; repeated keys and commas; v2; suspended ones are not told", () =>
  withMp1(async (mp1) => {
    const a = (await register(mp1, offer("a", { serCategory: category("video"), scopeOfLocality: "ZONE" }))).body;
    const b = (await register(mp1, offer("b", { consumedLocalOnly: false }))).body;
    const c = (await register(mp1, offer("c", { serCategory: category("video") }), "app2")).body;
    await register(mp1, offer("d", { state: "SUSPENDED" }));
    const found = async (query: string, as = "reader1", from = `${management}/services`) => {
      const answer = await mp1.call("GET", `${from}${query}`, { as });
      assert.is(answer.status, 200, answer.text);
      for (const one of answer.body) isService(one);
      return answer.body.map(({ serName }: { serName: string }) => serName).join("");
    };
    const cases: [string, string][] = [
      ["", "abc"],
      [`?ser_instance_id=${a.serInstanceId}`, "a"],
      [`?ser_instance_id=${c.serInstanceId}&ser_instance_id=${b.serInstanceId}`, "bc"],
      [`?ser_instance_id=${c.serInstanceId},${b.serInstanceId}`, "bc"],
      ["?ser_name=b&ser_name=a", "ab"],
      ["?ser_name=b,a", "ab"],
      ["?ser_name=d", ""],
      ["?ser_category_id=video", "ac"],
      ["?ser_category_id=sound", ""],
      ["?scope_of_locality=ZONE", "a"],
      ["?scope_of_locality=MEC_HOST", "bc"],
      ["?consumed_local_only=false", "b"],
      ["?is_local=true", "abc"],
      ["?is_local=false", ""],
      ["?ser_category_id=video&scope_of_locality=MEC_HOST&consumed_local_only=true&is_local=true", "c"],
    ];
    for (const [query, wanted] of cases) assert.is(await found(query), wanted, query);
    assert.is(await found("", "app1", own()), "abd");
    assert.is(await found("?ser_name=d", "app1", own()), "d");
    assert.is(await found("", "app1", "/mec_service_mgmt/v2/services"), "abc");
    // A link to a service is one that everybody can follow.
    const [first] = (await mp1.call("GET", `${management}/services`, { as: "reader1" })).body;
    const followed = await mp1.call("GET", path(first._links.self.href), { as: "reader1" });
    assert.equal([followed.status, followed.body], [200, first]);
  }));

test("queries that are refused: unknown parameters, exclusive ones, values that are none (400); too long (414)", () =>
  withMp1(async ({ call }) => {
    for (const at of [`${management}/services`, own()]) {
      for (const query of [
        "colour=red",
        "ser_name=a&colour=red",
        "ser_name=a&ser_instance_id=b",
        "ser_name=a&ser_category_id=b",
        "ser_instance_id=a&ser_category_id=b",
        "scope_of_locality=MOON",
        "is_local=maybe",
        "consumed_local_only=1&consumed_local_only=2",
        "ser_name=",
        "__proto__=x",
      ]) {
        isProblem(await call("GET", `${at}?${query}`), 400);
      }
      isProblem(await call("GET", `${at}?ser_name=${"x".repeat(8000)}`), 414);
    }
    isProblem(await call("GET", `${management}/transports?a=b`), 400);
    isProblem(await call("GET", `${own()}/x?a=b`), 400);
  }));

test("B1: PUT replaces everything, the path wins over ids in the body; If-Match that is stale: 412, nothing changed", () =>
  withMp1(async (mp1) => {
    const { body, headers } = await register(mp1, offer("a", { serCategory: category("video"), livenessInterval: 60 }));
    const at = path(headers.location);
    const etag = String(headers.etag);
    const changed = { ...offer("b"), state: "INACTIVE", serInstanceId: "another" };
    isProblem(await mp1.call("PUT", at, { body: changed, headers: { "if-match": '"stale"' } }), 412);
    assert.equal((await mp1.call("GET", at)).body, body);
    const put = await mp1.call("PUT", at, { body: changed, headers: { "if-match": `"stale", ${etag}` } });
    assert.is(put.status, 200);
    isService(put.body);
    assert.equal(
      [put.body.serInstanceId, put.body.serName, put.body.state, put.body.serCategory, put.body.livenessInterval],
      [body.serInstanceId, "b", "INACTIVE", undefined, undefined],
    );
    assert.is.not(put.headers.etag, etag);
    isProblem(await mp1.call("PUT", at, { body: changed, headers: { "if-match": etag } }), 412);
    isProblem(await mp1.call("DELETE", at, { headers: { "if-match": etag } }), 412);
    assert.is((await mp1.call("PUT", at, { body: offer("c"), headers: { "if-match": "*" } })).status, 200);
    // Two that have read the same: one of them has changed it first.
    const now = String((await mp1.call("GET", at)).headers.etag);
    const both = await Promise.all(
      ["x", "y"].map((name) => mp1.call("PUT", at, { body: offer(name), headers: { "if-match": now } })),
    );
    assert.equal(both.map(({ status }) => status).sort(), [200, 412]);
  }));

test("DELETE: 204 without a body, then 404 everywhere", () =>
  withMp1(async (mp1) => {
    const { headers, body } = await register(mp1);
    const at = path(headers.location);
    const gone = await mp1.call("DELETE", at);
    assert.equal([gone.status, gone.text], [204, ""]);
    for (const [method, where] of [
      ["GET", at],
      ["DELETE", at],
      ["GET", `${at}/liveness`],
      ["GET", `${management}/services/${body.serInstanceId}`],
    ] as const) {
      isProblem(await mp1.call(method, where), 404);
    }
    isProblem(await mp1.call("PUT", at, { body: offer() }), 404);
    isProblem(await mp1.call("PATCH", `${at}/liveness`, { body: { state: "ACTIVE" } }), 404);
  }));

test("B5: no token 401; without the scope, or for another app, 403; an unknown one 404; not ready 403; nothing changed", () =>
  withMp1(async (mp1) => {
    const { headers, body } = await register(mp1);
    const at = path(headers.location);
    const requests: [string, string, unknown][] = [
      ["GET", own(), undefined],
      ["POST", own(), offer("evil")],
      ["GET", at, undefined],
      ["PUT", at, offer("evil")],
      ["DELETE", at, undefined],
      ["GET", `${at}/liveness`, undefined],
      ["PATCH", `${at}/liveness`, { state: "ACTIVE" }],
    ];
    for (const [method, where, sent] of requests) {
      isProblem(await mp1.call(method, where, { as: "", body: sent }), 401);
      isProblem(await mp1.call(method, where, { as: "app2", body: sent }), 403);
      isProblem(await mp1.call(method, where.replace("app1", "nobody"), { as: "app2", body: sent }), 404);
      isProblem(await mp1.call(method, where.replace("app1", "early"), { as: "early", body: sent }), 403);
    }
    // Another's service under one's own name is not there.
    isProblem(await mp1.call("GET", `${own("app2")}/${body.serInstanceId}`, { as: "app2" }), 404);
    isProblem(await mp1.call("DELETE", `${own("app2")}/${body.serInstanceId}`, { as: "app2" }), 404);
    isProblem(await mp1.call("POST", own("reader1"), { as: "reader1", body: offer() }), 403);
    for (const where of ["/services", "/transports", `/services/${body.serInstanceId}`]) {
      isProblem(await mp1.call("GET", `${management}${where}`, { as: "" }), 401);
      isProblem(await mp1.call("GET", `${management}${where}`, { as: "early" }), 403);
    }
    assert.equal((await mp1.call("GET", at)).body, body);
  }));

test("methods that a resource does not have: 405 with Allow", () =>
  withMp1(async ({ call }) => {
    const cases: [string, string, string][] = [
      [`${management}/services`, "POST PUT PATCH DELETE", "GET, HEAD"],
      [`${management}/services/x`, "POST PUT PATCH DELETE", "GET, HEAD"],
      [`${management}/transports`, "POST PUT PATCH DELETE", "GET, HEAD"],
      [own(), "PUT PATCH DELETE", "GET, HEAD, POST"],
      [`${own()}/x`, "POST PATCH", "DELETE, GET, HEAD, PUT"],
      [`${own()}/x/liveness`, "POST PUT DELETE", "GET, HEAD, PATCH"],
    ];
    for (const [at, methods, allow] of cases) {
      for (const method of methods.split(" ")) {
        const answer = await call(method, at, method === "DELETE" ? {} : { body: {} });
        isProblem(answer, 405);
        assert.is(answer.headers.allow, allow);
      }
    }
  }));

test("bodies that are refused, with every wrong field named, and nothing registered", () =>
  withMp1(async ({ call }) => {
    const cases: [unknown, number, string[]][] = [
      ["{", 400, []],
      ["", 400, []],
      ['{"serName":"a","__proto__":{"x":1}}', 400, []],
      ['{"constructor":{"prototype":{}}}', 400, []],
      [[], 400, [""]],
      ["null", 400, [""]],
      [{}, 400, ["serName", "version", "state", "serializer"]],
      [offer("a", { state: "ON", version: 5 }), 400, ["version", "state"]],
      [offer("a", { state: "ACTIVE", consumedLocalOnly: "true" }), 400, ["consumedLocalOnly"]],
      [offer("", {}), 400, ["serName"]],
      [offer("x".repeat(257)), 400, ["serName"]],
      [offer("a", { livenessInterval: "5" }), 400, ["livenessInterval"]],
      [offer("a", { livenessInterval: -1 }), 400, ["livenessInterval"]],
      [offer("a", { livenessInterval: 1.5 }), 400, ["livenessInterval"]],
      [offer("a", { scopeOfLocality: "MOON" }), 400, ["scopeOfLocality"]],
      [offer("a", { serCategory: { id: "x" } }), 400, ["serCategory.href", "serCategory.name", "serCategory.version"]],
      [offer("a", { transportInfo: { ...transport, endpoint: {} } }), 400, ["transportInfo.endpoint"]],
      [
        offer("a", { transportInfo: { ...transport, endpoint: { uris: ["http://a/"], fqdn: ["a"] } } }),
        400,
        ["transportInfo.endpoint"],
      ],
      [
        offer("a", { transportInfo: { ...transport, endpoint: { uris: ["not a uri"] } } }),
        400,
        ["transportInfo.endpoint.uris.0"],
      ],
      [
        offer("a", { transportInfo: { ...transport, security: { oAuth2Info: { grantTypes: [] } } } }),
        400,
        ["transportInfo.security.oAuth2Info.grantTypes"],
      ],
      [
        offer("a", {
          transportInfo: { ...transport, security: { oAuth2Info: { grantTypes: ["OAUTH2_CLIENT_CREDENTIALS"] } } },
        }),
        400,
        ["transportInfo.security.oAuth2Info.tokenEndpoint"],
      ],
      [JSON.stringify(offer("x".repeat(70_000))), 413, []],
    ];
    for (const [body, status, fields] of cases) {
      const answer = await call("POST", own(), { body });
      isProblem(answer, status);
      if (fields.length === 0) continue;
      assert.equal(answer.body.errors.map(({ field }: { field: string }) => field).sort(), [...fields].sort());
    }
    const deep = `${'{"a":'.repeat(5000)}1${"}".repeat(5000)}`;
    const alternative = JSON.stringify(offer()).replace('{"uris":["http://10.61.0.5/api"]}', `{"alternative":${deep}}`);
    isProblem(await call("POST", own(), { body: alternative }), 400);
    isProblem(await call("POST", own(), { body: "a=b", headers: { "content-type": "text/plain" } }), 415);
    assert.equal((await call("GET", own())).body, []);
  }));

test("GET with whatever Content-Type is answered", () =>
  withMp1(async ({ call }) => {
    for (const type of ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"]) {
      for (const at of [`${management}/services`, `${management}/transports`, own()]) {
        assert.is((await call("GET", at, { headers: { "content-type": type } })).status, 200, type);
      }
    }
  }));

test("liveness: GET, heartbeats as JSON and as merge patch, another interval imposed, 409 while INACTIVE", () =>
  withMp1(
    async (mp1) => {
      const { headers, body } = await register(mp1, offer("a", { livenessInterval: 3600 }));
      assert.is(body.livenessInterval, 600, "the platform has its own bounds");
      const at = path(headers.location);
      const liveness = path(body._links.liveness.href);
      const first = await mp1.call("GET", liveness);
      assert.is(first.status, 200);
      assert.ok(Value.Check(serviceLivenessInfo, first.body), first.text);
      assert.equal([first.body.state, first.body.interval], ["ACTIVE", 600]);
      for (const type of ["application/json", "application/merge-patch+json"]) {
        const beat = await mp1.call("PATCH", liveness, {
          body: { state: "ACTIVE" },
          headers: { "content-type": type },
        });
        assert.equal([beat.status, beat.text], [204, ""]);
      }
      const at1 = ({ timeStamp }: { timeStamp: { seconds: number; nanoSeconds: number } }) =>
        timeStamp.seconds * 1e9 + timeStamp.nanoSeconds;
      assert.ok(at1((await mp1.call("GET", liveness)).body) >= at1(first.body));
      for (const bad of [{}, { state: "INACTIVE" }, { state: "SUSPENDED" }, [], "null", { state: 1 }]) {
        isProblem(await mp1.call("PATCH", liveness, { body: bad }), 400);
      }
      isProblem(
        await mp1.call("PATCH", liveness, { body: { state: "ACTIVE" }, headers: { "if-match": '"old"' } }),
        412,
      );
      const inactive = offer("a", { livenessInterval: 600, state: "INACTIVE" });
      assert.is((await mp1.call("PUT", at, { body: inactive })).status, 200);
      isProblem(await mp1.call("PATCH", liveness, { body: { state: "ACTIVE" } }), 409);
      const none = await register(mp1, offer("b"));
      assert.not("liveness" in none.body._links);
      isProblem(await mp1.call("GET", `${path(none.headers.location)}/liveness`), 404);
    },
    { bounds: { shortest: 1, longest: 600, usual: 30 } },
  ));

test("heartbeats are missing: SUSPENDED, not discoverable, told; a heartbeat makes it ACTIVE again, and is told", () =>
  withMp1(async (mp1) => {
    const subscription = {
      subscriptionType: "SerAvailabilityNotificationSubscription",
      callbackReference: "http://x/",
    };
    await mp1.call("POST", `${management}/applications/app2/subscriptions`, { as: "app2", body: subscription });
    const { headers, body } = await register(mp1, offer("a", { livenessInterval: 1 }));
    const told = () =>
      mp1.sent
        .map(
          ({
            body: {
              serviceReferences: [one],
            },
          }) => `${one.changeType} ${one.state}`,
        )
        .join(", ");
    await until("suspended", () => told() === "ADDED ACTIVE, STATE_CHANGED SUSPENDED");
    assert.equal((await mp1.call("GET", `${management}/services`)).body, []);
    const single = await mp1.call("GET", `${management}/services/${body.serInstanceId}`);
    assert.is(single.body.state, "SUSPENDED");
    assert.is((await mp1.call("GET", path(headers.location))).body.state, "SUSPENDED");
    const liveness = path(body._links.liveness.href);
    assert.is((await mp1.call("GET", liveness)).body.state, "SUSPENDED");
    assert.is((await mp1.call("PATCH", liveness, { body: { state: "ACTIVE" } })).status, 204);
    assert.match(told(), /^ADDED ACTIVE, STATE_CHANGED SUSPENDED, STATE_CHANGED ACTIVE/);
    assert.is((await mp1.call("PUT", path(headers.location), { body: offer("a") })).status, 200);
    assert.is((await mp1.call("GET", `${management}/services`)).body.length, 1);
  }));

test("quotas: of one app, and of all; the audit log has every change with its outcome", () =>
  withMp1(
    async (mp1) => {
      await register(mp1, offer("a"));
      await register(mp1, offer("b"));
      isProblem(await mp1.call("POST", own(), { body: offer("c") }), 403);
      await register(mp1, offer("a"), "app2");
      isProblem(await mp1.call("POST", own("app2"), { as: "app2", body: offer("b") }), 503);
      assert.equal(
        mp1.audit
          .list({ kind: "outcome", limit: 100 })
          .entries.reverse()
          .map(({ who, method, path, status }) => `${who} ${method} ${path?.replace(management, "")} ${status}`),
        ["201", "201", "403"]
          .map((outcome) => `app app1 POST /applications/app1/services ${outcome}`)
          .concat(["201", "503"].map((outcome) => `app app2 POST /applications/app2/services ${outcome}`)),
      );
    },
    { quotas: { perInstance: 2, services: 3 } },
  ));

test.run();
