/** Who is let in to Mp1, as whom, and what ends that (B5; HOSTILE §4, Authentication, Tenant isolation, Secrets)? */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { base64url, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { scopeNames, scopesOf, scopeTable } from "../../../mep/auth/scopes.ts";
import { type Answer, base, basic, instance, type Site, withSite } from "./harness.ts";

const scopes = ["mec_app_support", "mec_service_mgmt:read"];

/** What was taken does not come back while a test runs, however slow the machine. */
const slow = (burst: number) => ({ perSecond: 0.0001, burst });

async function tokenOf({ auth, token }: Site, client = "one", granted = scopes): Promise<string> {
  const { clientSecret } = auth.credentials.get(client)
    ? auth.credentials.rotate(client)
    : auth.credentials.enrol({ client, instance: client, scopes: granted });
  const answer = await token({}, { headers: basic(client, clientSecret) });
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  return answer.body.access_token;
}

function isUnauthorised(answer: Answer, description: string | RegExp): void {
  assert.is(answer.status, 401, JSON.stringify(answer.body));
  assert.is(answer.headers["content-type"], "application/problem+json; charset=utf-8");
  const header = String(answer.headers["www-authenticate"]);
  assert.match(header, /^Bearer realm="mp1", error="invalid_token", error_description="[^"\\]+"$/);
  assert.match(header, description);
}

test("B5: a token opens its own instance, within its scopes, and nothing else", () =>
  withSite(async (site) => {
    const token = await tokenOf(site);
    await tokenOf(site, "two");
    const { things, call } = site;
    assert.equal((await things(token)).body, ["thing"]);
    const others = await things(token, "two");
    const unknown = await things(token, "nobody");
    assert.equal([others.status, unknown.status], [403, 403]);
    assert.equal({ ...others.body, instance: "" }, { ...unknown.body, instance: "" }, "the two cannot be told apart");
    const write = await call("POST", "/mec_service_mgmt/v1/applications/one/things", {
      body: "{}",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    });
    assert.is(write.status, 403);
    assert.is(
      write.headers["www-authenticate"],
      'Bearer realm="mp1", error="insufficient_scope", error_description="the token lacks the scope mec_service_mgmt:write", scope="mec_service_mgmt:write"',
    );
    // What an app can choose does not say who it is.
    const forged = { "x-appinstanceid": "two", "x-forwarded-for": "127.0.0.1" };
    assert.is((await things(token, "two", { headers: forged })).status, 403);
    assert.equal(site.refused, ["instance", "instance", "scope", "instance"]);
  }));

test("B5: without a token 401 without an error code; in the query it is refused", () =>
  withSite(async (site) => {
    const token = await tokenOf(site);
    const url = "/mec_service_mgmt/v1/applications/one/things";
    for (const authorization of ["", "Basic b25lOm5v", "Bearer", "Bearer ", "Bearer a b", `Token ${token}`, token]) {
      const answer = await site.call("GET", url, { headers: authorization ? { authorization } : {} });
      assert.equal([answer.status, answer.headers["www-authenticate"]], [401, 'Bearer realm="mp1"'], authorization);
    }
    for (const headers of [undefined, { authorization: `Bearer ${token}` }]) {
      const answer = await site.call("GET", `${url}?access_token=${token}`, headers && { headers });
      assert.equal(
        [answer.status, answer.headers["www-authenticate"]],
        [400, 'Bearer realm="mp1", error="invalid_request"'],
      );
      assert.not.match(JSON.stringify(answer.body), token);
    }
  }));

test("B5: forged tokens are refused: no algorithm, another key, another algorithm, another audience, another type, cut, changed", () =>
  withSite(async (site) => {
    const good = await tokenOf(site);
    const { auth, things } = site;
    const client = auth.credentials.get("one");
    const claims = { client_id: "one", scope: scopes.join(" "), epoch: client?.epoch };
    const { kid, key } = auth.keys.signing;
    const make = (change: (token: SignJWT) => SignJWT, header = {}, body: Record<string, unknown> = claims) =>
      change(
        new SignJWT(body)
          .setProtectedHeader({ alg: "ES256", kid, typ: "at+jwt", ...header })
          .setIssuer(base)
          .setAudience(base)
          .setSubject("one")
          .setIssuedAt()
          .setExpirationTime("1h"),
      );
    const same = (token: SignJWT) => token;
    assert.is((await things(await make(same).sign(key))).status, 200, "the recipe itself is good");

    const stranger = await generateKeyPair("ES256", { extractable: true });
    const publicJwk = auth.keys.jwks().keys[0];
    const shared = new TextEncoder().encode(JSON.stringify(publicJwk));
    const [head = "", body = "", signature = ""] = good.split(".");
    const bodyOf = (change: object) =>
      base64url.encode(JSON.stringify({ ...JSON.parse(new TextDecoder().decode(base64url.decode(body))), ...change }));
    const none = base64url.encode(JSON.stringify({ alg: "none", typ: "at+jwt", kid }));
    const forged: [string, string][] = [
      ["alg none", `${none}.${body}.`],
      ["alg none with a signature", `${none}.${body}.${signature}`],
      [
        "an unsecured token",
        new UnsecuredJWT(claims).setIssuer(base).setAudience(base).setSubject("one").setExpirationTime("1h").encode(),
      ],
      ["another key under our kid", await make(same).sign(stranger.privateKey)],
      ["an unknown kid", await make(same, { kid: "x" }).sign(key)],
      ["no kid", await make(same, { kid: undefined }).sign(key)],
      [
        "its own key in the header",
        await make(same, { jwk: await exportJWK(stranger.publicKey) }).sign(stranger.privateKey),
      ],
      ["HMAC with the public key", await make(same, { alg: "HS256" }).sign(shared)],
      ["another audience", await make((token) => token.setAudience("https://elsewhere")).sign(key)],
      ["another issuer", await make((token) => token.setIssuer("https://elsewhere")).sign(key)],
      ["another type", await make(same, { typ: "JWT" }).sign(key)],
      ["expired", await make((token) => token.setExpirationTime("-1s")).sign(key)],
      [
        "no expiry",
        await new SignJWT(claims)
          .setProtectedHeader({ alg: "ES256", kid, typ: "at+jwt" })
          .setIssuer(base)
          .setAudience(base)
          .setSubject("one")
          .sign(key),
      ],
      ["no epoch", await make(same, {}, { scope: "mec_service_mgmt:read" }).sign(key)],
      ["another epoch", await make(same, {}, { ...claims, epoch: "0" }).sign(key)],
      ["an unknown client", await make((token) => token.setSubject("nobody")).sign(key)],
      ["another subject under the old signature", `${head}.${bodyOf({ sub: "two" })}.${signature}`],
      ["more scopes under the old signature", `${head}.${bodyOf({ scope: scopeNames.join(" ") })}.${signature}`],
      ["cut", good.slice(0, -8)],
      ["no token at all", "aaaa.bbbb.cccc"],
      ["one part", "aaaa"],
      ["much", `${"a".repeat(4000)}.b.c`],
    ];
    for (const [sentence, token] of forged) {
      const answer = await things(token);
      assert.is(answer.status, 401, sentence);
      isUnauthorised(answer, /error_description/);
    }
    // Scopes that the client does not have any more, or never had, open nothing.
    const all = await make(same, {}, { ...claims, scope: scopeNames.join(" ") }).sign(key);
    assert.is(
      (
        await site.call("POST", "/mec_service_mgmt/v1/applications/one/things", {
          body: "{}",
          headers: { authorization: `Bearer ${all}`, "content-type": "application/json" },
        })
      ).status,
      403,
    );
  }));

test("B5: a token ends with its time, also one that was good a moment ago", async () => {
  let now = 1_800_000_000;
  await withSite(
    async (site) => {
      const token = await tokenOf(site);
      assert.is((await site.things(token)).status, 200);
      now += 59;
      assert.is((await site.things(token)).status, 200);
      now += 1;
      isUnauthorised(await site.things(token), "the token has expired");
      isUnauthorised(await site.things(token), "the token has expired");
    },
    { lifetime: 60, now: () => now },
  );
});

test("B5: a new secret, or the end of the instance, ends all tokens of before at once; coming back does not bring them back", () =>
  withSite(async (site) => {
    const { auth, things, token } = site;
    const first = await tokenOf(site);
    assert.is((await things(first)).status, 200);
    const second = await tokenOf(site); // rotates
    isUnauthorised(await things(first), "the token was revoked");
    assert.is((await things(second)).status, 200);
    const appd = { appServiceRequired: [{}] } as never;
    await auth.credentials.remove(instance("one"));
    isUnauthorised(await things(second), "the token was revoked");
    await auth.credentials.configure(instance("one"), appd);
    isUnauthorised(await things(second), "the token was revoked");
    assert.is((await token({ client_id: "one", client_secret: "x" })).status, 401, "no secret yet");
    assert.is((await things(await tokenOf(site))).status, 200);
    // Configured again with less: the token of now opens less at once.
    const third = await tokenOf(site);
    await auth.credentials.configure(instance("one"), {} as never);
    assert.is((await things(third)).status, 403);
  }));

test("B5: secrets, keys and epochs survive a restart; the store has no secret; keys are changed without ending tokens", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "ofr-auth-"));
  try {
    let secret = "";
    let token = "";
    await withSite(
      async (site) => {
        secret = site.auth.credentials.enrol({ client: "one", instance: "one", scopes }).clientSecret;
        token = (await site.token({}, { headers: basic("one", secret) })).body.access_token;
      },
      { stateDir },
    );
    await withSite(
      async ({ auth, things, token: ask, call }) => {
        assert.is((await things(token)).status, 200);
        const kid = await auth.keys.rotate();
        const { keys } = (await call("GET", "/oauth2/jwks")).body;
        assert.equal([keys.length, keys[1].kid], [2, kid]);
        const fresh = (await ask({}, { headers: basic("one", secret) })).body.access_token;
        assert.equal([(await things(token)).status, (await things(fresh)).status], [200, 200]);
      },
      { stateDir },
    );
    const { default: Database } = await import("better-sqlite3");
    const database = new Database(join(stateDir, "mep.sqlite"), { readonly: true });
    const row = database.prepare("SELECT * FROM auth_client").get() as { secret: Buffer };
    database.close();
    assert.is(row.secret.length, 32);
    assert.not.match(JSON.stringify(row), secret);
  } finally {
    rmSync(stateDir, { recursive: true, force: true });
  }
});

test("B5: an app, and an address, that asks too much gets 429 with Retry-After; others go on", () =>
  withSite(
    async (site) => {
      const [one, two] = [await tokenOf(site), await tokenOf(site, "two")];
      const statuses = [];
      for (let i = 0; i < 25; i += 1) statuses.push((await site.things(one)).status);
      assert.equal(statuses, [...Array(20).fill(200), ...Array(5).fill(429)]);
      assert.ok(Number((await site.things(one)).headers["retry-after"]) >= 1);
      assert.is((await site.things(two, "two")).status, 200);
      // Without a good token the address is what counts.
      const flood = [];
      for (let i = 0; i < 505; i += 1) flood.push((await site.things("x.y.z", "one", { from: "192.0.2.66" })).status);
      assert.equal(flood, [...Array(500).fill(401), ...Array(5).fill(429)]);
      assert.is((await site.things(two, "two")).status, 200);
    },
    { rates: { client: slow(20), address: slow(500), token: slow(500) } },
  ));

test("B5: a client of its own is no instance until it has registered", async () => {
  const registered = new Map<string, string>();
  await withSite(
    async (site) => {
      const { clientSecret } = site.auth.credentials.enrol({ client: "away", scopes });
      const token = (await site.token({}, { headers: basic("away", clientSecret) })).body.access_token;
      assert.is((await site.things(token, "away")).status, 403);
      registered.set("away", "one");
      assert.is((await site.things(token, "one")).status, 200);
      assert.is((await site.things(token, "away")).status, 403);
    },
    { registered: (client) => registered.get(client) },
  );
});

test("B5: scopes follow from the descriptor, by one table", () => {
  const of = (appd: object) => scopesOf(appd as never);
  assert.equal(of({}), ["mec_app_support"]);
  assert.equal(of({ appServiceRequired: [], appTrafficRule: [] }), ["mec_app_support"]);
  assert.equal(of({ appTrafficRule: [{}] }), ["mec_app_support", "mec_app_support:rules"]);
  assert.equal(of({ appDNSRule: [{}] }), ["mec_app_support", "mec_app_support:rules"]);
  assert.equal(of({ appServiceOptional: [{}] }), scopes);
  assert.equal(of({ appServiceProduced: [{}] }), [...scopes, "mec_service_mgmt:write"]);
  assert.is(new Set(scopeNames).size, scopeTable.length);
});

test.run();
