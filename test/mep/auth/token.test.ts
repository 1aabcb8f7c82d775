/** Does the token endpoint answer as RFC 6749 has it, and keep out who does not belong there (B5; HOSTILE §4)? */
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readTokenRequest } from "../../../mep/auth/token-request.ts";
import { type Answer, base, basic, instance, withSite } from "./harness.ts";

const scopes = ["mec_app_support", "mec_service_mgmt:read"];
/** What was taken does not come back while a test runs, however slow the machine. */
const slow = (burst: number) => ({ perSecond: 0.0001, burst });
const form = { "content-type": "application/x-www-form-urlencoded" };

function isError(answer: Answer, status: number, error: string): void {
  assert.equal([answer.status, answer.body.error], [status, error], JSON.stringify(answer.body));
  assert.match(answer.body.error_description, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/, "RFC 6749 §5.2");
  assert.equal(Object.keys(answer.body), ["error", "error_description"]);
  assert.is(answer.headers["content-type"], "application/json; charset=utf-8");
  assert.is(answer.headers["cache-control"], "no-store");
}

test("B5: client credentials in header or body give a token that its keys verify, with what it says", () =>
  withSite(async ({ auth, token, call }) => {
    const { clientId, clientSecret } = auth.credentials.enrol({ client: "one", instance: "one", scopes });
    const before = Math.floor(Date.now() / 1000);
    const byHeader = await token({}, { headers: basic(clientId, clientSecret) });
    const byBody = await token({ client_id: clientId, client_secret: clientSecret });
    for (const { status, body, headers } of [byHeader, byBody]) {
      assert.is(status, 200, JSON.stringify(body));
      assert.equal([headers["cache-control"], headers.pragma], ["no-store", "no-cache"]);
      assert.equal(
        { ...body, access_token: "" },
        { access_token: "", token_type: "Bearer", expires_in: 3600, scope: scopes.join(" ") },
      );
      const keys = (await call("GET", "/oauth2/jwks")).body;
      const { payload, protectedHeader } = await jwtVerify(body.access_token, createLocalJWKSet(keys), {
        issuer: base,
        audience: base,
      });
      assert.equal(
        [protectedHeader.alg, protectedHeader.typ, protectedHeader.kid],
        ["ES256", "at+jwt", keys.keys[0].kid],
      );
      assert.equal([payload.sub, payload.client_id, payload.scope], ["one", "one", scopes.join(" ")]);
      assert.ok((payload.iat as number) >= before && payload.exp === (payload.iat as number) + 3600);
      assert.is(keys.keys[0].d, undefined, "the private half stays");
    }
    assert.is.not(decodeJwt(byHeader.body.access_token).jti, decodeJwt(byBody.body.access_token).jti);
    assert.not.match(JSON.stringify(decodeJwt(byBody.body.access_token)), clientSecret);
    assert.ok(decodeProtectedHeader(byBody.body.access_token));
  }));

test("B5: fewer scopes may be asked for, others may not", () =>
  withSite(async ({ auth, token }) => {
    const { clientSecret: secret } = auth.credentials.enrol({ client: "one", scopes });
    const headers = basic("one", secret);
    assert.is((await token({ scope: "mec_service_mgmt:read" }, { headers })).body.scope, "mec_service_mgmt:read");
    isError(await token({ scope: "mec_service_mgmt:write" }, { headers }), 400, "invalid_scope");
    isError(await token({ scope: "mec_app_support admin" }, { headers }), 400, "invalid_scope");
    isError(await token({ scope: "a  b" }, { headers }), 400, "invalid_scope");
    isError(await token({ scope: 'a"b' }, { headers }), 400, "invalid_scope");
    auth.credentials.enrol({ client: "none", scopes: [] });
    const none = auth.credentials.rotate("none");
    isError(await token({}, { headers: basic("none", none.clientSecret) }), 400, "unauthorized_client");
  }));

test("B5: every other request is refused with RFC 6749's error", () =>
  withSite(async ({ auth, token, call }) => {
    const { clientSecret: secret } = auth.credentials.enrol({ client: "one", scopes });
    await auth.credentials.configure(instance("silent"), { appServiceProduced: [] } as never);
    const good = basic("one", secret);
    const refusedClient = [
      await token({}),
      await token({}, { headers: basic("one", `${secret}x`) }),
      await token({}, { headers: basic("one", "") }),
      await token({}, { headers: basic("nobody", secret) }),
      await token({}, { headers: basic("__proto__", secret) }),
      await token({}, { headers: basic("silent", "") }),
      await token({ client_id: "silent" }),
      await token({ client_id: "one" }),
      await token({}, { headers: { authorization: `Bearer ${secret}` } }),
      await token({}, { headers: { authorization: "Basic !!!" } }),
      await token({}, { headers: { authorization: `Basic ${Buffer.from("nocolon").toString("base64")}` } }),
      await token({}, { headers: { authorization: `Basic ${Buffer.from("%zz:x").toString("base64")}` } }),
      await token({ client_id: "x".repeat(300), client_secret: "y" }),
    ];
    for (const answer of refusedClient) {
      isError(answer, 401, "invalid_client");
      assert.is(answer.headers["www-authenticate"], 'Basic realm="mp1"');
    }
    isError(await token({ grant_type: "password" }, { headers: good }), 400, "unsupported_grant_type");
    isError(await token({ grant_type: "" }, { headers: good }), 400, "invalid_request");
    isError(await token({ client_id: "two" }, { headers: good }), 400, "invalid_request");
    isError(await token({ client_id: "one", client_secret: secret }, { headers: good }), 400, "invalid_request");
    const raw = (body: string, headers: Record<string, string> = form) =>
      call("POST", "/oauth2/token", { body, headers: { ...headers, ...good } });
    isError(await raw("grant_type=client_credentials&grant_type=client_credentials"), 400, "invalid_request");
    isError(await raw(""), 400, "invalid_request");
    isError(
      await raw('{"grant_type":"client_credentials"}', { "content-type": "application/json" }),
      400,
      "invalid_request",
    );
    isError(await raw("x".repeat(9000)), 400, "invalid_request");
    const query = await call(
      "POST",
      `/oauth2/token?grant_type=client_credentials&client_id=one&client_secret=${secret}`,
      {
        body: "",
        headers: form,
      },
    );
    isError(query, 400, "invalid_request");
    assert.is((await call("GET", "/oauth2/token")).status, 405);
    assert.is(
      (await raw("grant_type=client_credentials&unknown=1&scope=")).status,
      200,
      "unknown and empty ones are ignored",
    );
  }));

test("B5: wrong secrets lock a client out from where they come, and not from where it runs", () =>
  withSite(async ({ auth, token, refused }) => {
    const { clientSecret: secret } = auth.credentials.enrol({ client: "one", scopes });
    const other = auth.credentials.enrol({ client: "two", scopes });
    for (let i = 0; i < 10; i += 1)
      isError(await token({ client_id: "one", client_secret: "no" }), 401, "invalid_client");
    const locked = await token({}, { headers: basic("one", secret) });
    assert.equal([locked.status, locked.body.type], [429, "/problems/too-many-requests"]);
    assert.ok(Number(locked.headers["retry-after"]) > 0);
    assert.is((await token({}, { headers: basic("one", secret), from: "10.61.0.8" })).status, 200);
    assert.is((await token({}, { headers: basic("two", other.clientSecret) })).status, 200);
    assert.equal(
      [refused.filter((why) => why === "wrong-secret").length, refused.filter((why) => why === "locked").length],
      [10, 1],
    );
  }));

test("B5: who asks for tokens too often gets 429 and Retry-After; others go on", () =>
  withSite(
    async ({ auth, token }) => {
      const headers = basic("one", auth.credentials.enrol({ client: "one", scopes }).clientSecret);
      const answers = [];
      for (let i = 0; i < 15; i += 1) answers.push((await token({}, { headers })).status);
      assert.equal(answers, [...Array(12).fill(200), 429, 429, 429]);
      assert.is((await token({}, { headers })).headers["retry-after"], "10000");
      assert.is((await token({}, { headers, from: "10.61.0.9" })).status, 200);
    },
    { rates: { client: slow(9), address: slow(9), token: slow(12) } },
  ));

test("B5: what was asked for is in the audit log; secrets and tokens are not", () =>
  withSite(async ({ auth, token, audit }) => {
    const { clientSecret: secret } = auth.credentials.enrol({ client: "one", scopes });
    const { body } = await token({}, { headers: basic("one", secret) });
    await token({}, { headers: basic("one", "a-wrong-secret") });
    const entries = audit.list({ limit: 100 }).entries.reverse().slice(1);
    assert.equal(
      entries.map(({ kind, who, method, path, status }) => [kind, who, method, path, status]),
      [
        ["attempt", "app one", "POST", "/oauth2/token", null],
        ["outcome", "app one", "POST", "/oauth2/token", 200],
        ["refused", "nobody", "POST", "/oauth2/token", 401],
      ],
    );
    const text = JSON.stringify(entries);
    for (const hidden of [secret, body.access_token, "a-wrong-secret"]) assert.not.match(text, hidden);
    assert.is(entries[1]?.detail, null, "no fingerprint of a token either");
  }));

test("a client and a secret with every character come through the header", () => {
  const odd = "a:b c%d+é&=";
  const body = "grant_type=client_credentials";
  const read = readTokenRequest(body, basic(odd, odd).authorization);
  assert.equal(read, { client: odd, secret: odd });
});

test.run();
