/**
 * Do certificates prove who an app or a management user is, and are tokens worth nothing over other connections (RFC 8705; B5, C6)?
 *
 * The whole platform behind real TLS sockets, certificates by openssl; and the rest of what site.yaml says of tokens.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt } from "jose";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "../../../controlplane/extension.ts";
import { Platform } from "../../../mep/platform.ts";
import { type Running, withAgent } from "../../api/harness.ts";
import { until } from "../../lab/netns.ts";
import { upload } from "../onboarding.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";
import { Authority, type Caller, caller, type Pair, type Reply } from "./openssl.ts";

const directory = mkdtempSync(join(tmpdir(), "ofr-tls-"));
const authority = new Authority(directory, "site");
mkdirSync(join(directory, "other"));
const stranger = new Authority(join(directory, "other"), "stranger");
const server = authority.sign("server", "server", ["IP:127.0.0.1"]);

const callers: Caller[] = [];
const as = (pair?: Pair, more?: Parameters<typeof caller>[2]): Caller => {
  const made = caller(authority, pair, more);
  callers.push(made);
  return made;
};

let platform: Platform | undefined;
const make = (host: Host) => {
  platform = new Platform(host);
  return platform;
};
const mp1At = (path: string) => `${platform?.mp1()}${path}`;
const own = (id: string) => `/mec_app_support/v1/applications/${id}`;

const tls = `tls: { cert: ${server.cert}, key: ${server.key}, clientCa: ${authority.own.cert} }`;
const site = (mp1 = tls) => `api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0, ${mp1} } }`;

/** External instances with these ids, configured and started. */
async function install({ call, url }: Running, ...ids: string[]): Promise<void> {
  const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "a", appPkgVersion: "1" });
  assert.is(
    (await upload(`${url}/app_pkgm/v1/app_packages/${created.body.id}`, goodPackage(externalAppD()))).status,
    202,
  );
  for (const id of ids) {
    assert.is((await call("POST", "/app_lcm/v1/app_instances", { appDId: "com.example.cache", id })).status, 201);
    await operate({ call }, id, "instantiate");
  }
}

async function operate({ call }: Pick<Running, "call">, id: string, task: string, body: object = {}): Promise<void> {
  const path = `/app_lcm/v1/app_instances/${id}`;
  assert.is((await call("POST", `${path}/${task}`, body)).status, 202);
  await until(task, async () => {
    const { body: all } = await call("GET", "/app_lcm/v1/app_lcm_op_occs");
    return (all as { operationState: string }[]).every(({ operationState }) => operationState === "COMPLETED");
  });
}

const token = (ask: Caller, client: string, secret?: string): Promise<Reply> =>
  ask("POST", mp1At("/oauth2/token"), {
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_id: client,
      ...(secret !== undefined && { client_secret: secret }),
    }).toString(),
  });

const bearer = ({ body }: Reply) => ({ authorization: `Bearer ${body.access_token}` });
const timing = (ask: Caller, given: Reply) =>
  ask("GET", mp1At("/mec_app_support/v1/timing/current_time"), { headers: bearer(given) });
const ready = (ask: Caller, id: string, given: Reply) =>
  ask("POST", mp1At(`${own(id)}/confirm_ready`), {
    headers: { ...bearer(given), "content-type": "application/json" },
    body: JSON.stringify({ indication: "READY" }),
  });
const fails = async (work: Promise<Reply>): Promise<string> =>
  work.then(
    ({ status }) => `answered ${status}`,
    (error: NodeJS.ErrnoException) => error.code ?? error.message,
  );

test("B5: a certificate is an app's credentials, and its token is worth nothing without it", () =>
  withAgent(
    async (running) => {
      await install(running, "one", "two");
      const [one, two, nobody] = [as(authority.sign("one", "one")), as(authority.sign("two", "two")), as()];
      const given = await token(one, "one");
      assert.is(given.status, 200, JSON.stringify(given.body));
      const { cnf, sub } = decodeJwt(given.body.access_token);
      assert.is(sub, "one");
      assert.match(JSON.stringify(cnf), /^\{"x5t#S256":"[\w-]{43}"\}$/);
      assert.is((await ready(one, "one", given)).status, 204);
      const again = await timing(one, given);
      assert.is(again.status, 200);
      assert.ok(again.resumed, "also over a connection that goes on with an earlier one's secrets");

      for (const [who, ask] of Object.entries({ nobody, two, renewed: as(authority.sign("one-renewed", "one")) })) {
        const refused = await timing(ask, given);
        assert.is(refused.status, 401, who);
        assert.match(String(refused.headers["www-authenticate"]), /error="invalid_token".*bound to a certificate/);
      }
      // Theirs are good for themselves, and for nobody else.
      const theirs = await token(two, "two");
      assert.is((await ready(two, "two", theirs)).status, 204);
      assert.is((await ready(two, "one", theirs)).status, 403);
      assert.is((await timing(one, theirs)).status, 401);

      await operate(running, "one", "terminate", { terminationType: "FORCEFUL" });
      assert.is((await timing(one, given)).status, 401);
      assert.is((await token(one, "one")).status, 401);
    },
    { extra: site(), extensions: [make] },
  ));

test("B5: certificates of another authority, of another name, or whose time is over prove nothing", () =>
  withAgent(
    async (running) => {
      await install(running, "one");
      const shown = {
        "none at all": undefined,
        "another authority's": stranger.sign("one", "one"),
        "another name": authority.sign("not-one", "not-one"),
        "a name that begins alike": authority.sign("one-x", "one.example"),
        expired: authority.signExpired("one-old", "one"),
      };
      for (const [what, pair] of Object.entries(shown)) {
        const refused = await token(as(pair), "one");
        assert.equal([refused.status, refused.body.error], [401, "invalid_client"], what);
      }
      // Whoever has the secret needs no certificate; one that is shown binds the token all the same.
      const { body } = await running.call("POST", "/api/v1/clients/one/secret");
      const bySecret = await token(as(), "one", body.clientSecret);
      assert.is(decodeJwt(bySecret.body.access_token).cnf, undefined);
      assert.is((await timing(as(), bySecret)).status, 200);
      const both = as(authority.sign("both", "somebody"));
      const bound = await token(both, "one", body.clientSecret);
      assert.ok(decodeJwt(bound.body.access_token).cnf);
      assert.is((await ready(as(), "one", bound)).status, 401);
      assert.is((await ready(both, "one", bound)).status, 204);
      assert.is((await token(both, "one", "wrong-secret")).status, 401);
      assert.match(await fails(token(as(undefined, { maxVersion: "TLSv1.1", minVersion: "TLSv1" }), "one")), /^E/);
    },
    { extra: site(), extensions: [make] },
  ));

test("B5: an app elsewhere is enrolled with a certificate only, by common name, DNS name or URI", () =>
  withAgent(
    async ({ call }) => {
      const shown: [string, Pair][] = [
        ["fleet-1", authority.sign("cn", "fleet-1")],
        ["car.example.com", authority.sign("dns", "x", ["DNS:car.example.com"])],
        ["urn:app:car", authority.sign("uri", "y", ["URI:urn:app:car", "DNS:unrelated.example"])],
      ];
      for (const [client, pair] of shown) {
        const made = await call("POST", "/api/v1/clients", { client, certificate: true });
        assert.equal([made.status, made.body], [201, { clientId: client }], "no secret exists");
        const given = await token(as(pair), client);
        assert.is(given.status, 200, `${client}: ${JSON.stringify(given.body)}`);
        for (const [other] of shown.filter(([one]) => one !== client)) {
          assert.is((await token(as(pair), other)).status, 401, `${client} as ${other}`);
        }
        assert.is((await token(as(pair), client, "anything-at-all")).status, 401);
      }
    },
    { extra: site(), extensions: [make] },
  ));

test("B5: where Mp1 asks nobody for certificates, none proves anything, and nobody is enrolled by one", () =>
  withAgent(
    async (running) => {
      await install(running, "one");
      assert.is((await token(as(authority.sign("one-2", "one")), "one")).status, 401);
      const made = await running.call("POST", "/api/v1/clients", { client: "car", certificate: true });
      assert.is(made.status, 409);
      assert.match(made.body.detail, "clientCa");
    },
    { extra: site(`tls: { cert: ${server.cert}, key: ${server.key} }`), extensions: [make] },
  ));

test("C6: management users by certificate have their role, and the first user ends that any certificate is admin", () =>
  withAgent(
    async ({ url }) => {
      const [ada, vera, eve] = ["ada", "vera", "eve"].map((name) => as(authority.sign(`user-${name}`, name)));
      if (!ada || !vera || !eve) throw new Error("no callers");
      const json = { "content-type": "application/json" };
      const whoami = async (ask: Caller, headers = {}) => {
        const { status, body } = await ask("GET", `${url}/api/v1/whoami`, { headers });
        return `${status} ${body.who ?? ""} ${body.role ?? ""}`.trim();
      };
      assert.is(await whoami(eve), "200 certificate eve admin");
      const add = (ask: Caller, name: string, role: string) =>
        ask("POST", `${url}/api/v1/users`, { headers: json, body: JSON.stringify({ name, role }) });
      assert.is((await add(eve, "ada", "admin")).status, 201);
      assert.match(await whoami(eve), /^401/);
      const made = await add(ada, "vera", "viewer");
      assert.is(made.status, 201);
      assert.is(await whoami(ada), "200 user ada admin");
      assert.is(await whoami(vera), "200 user vera viewer");
      assert.is((await add(vera, "eve", "admin")).status, 403);
      assert.match(await whoami(eve), /^401/);
      assert.is(await whoami(ada, { authorization: `Bearer ${made.body.token}` }), "200 user vera viewer");
      assert.match(await whoami(ada, { authorization: "Bearer ofr_wrong" }), /^401/);

      // No request is heard of them.
      for (const pair of [undefined, stranger.sign("ada", "ada"), authority.signExpired("ada-old", "ada")]) {
        assert.match(await fails(as(pair)("GET", `${url}/healthz`)), /^(E|ERR_)/);
      }
      const { body } = await ada("GET", `${url}/api/v1/audit?kind=outcome`);
      assert.equal(
        (body.entries as { who: string; object: string }[]).map(({ who, object }) => `${who}: ${object}`).reverse(),
        ["certificate eve: user ada, admin", "user ada: user vera, viewer"],
      );
      assert.is((await ada("DELETE", `${url}/api/v1/users/vera`)).status, 200);
      assert.match(await whoami(vera), /^401/);
    },
    { extra: `api: { listen: 127.0.0.1:0, ${tls}, loopback: none }` },
  ));

test("B5: the lifetime of tokens is what site.yaml says", () =>
  withAgent(
    async (running) => {
      await install(running, "one");
      const given = await token(as(authority.sign("one-3", "one")), "one");
      assert.is(given.body.expires_in, 90);
      const { iat = 0, exp = 0 } = decodeJwt(given.body.access_token);
      assert.is(exp - iat, 90);
    },
    { extra: site(`${tls}, tokenLifetime: 90s`), extensions: [make] },
  ));

test("B5: so are the rates, each for itself: what comes faster is 429, with a time to wait", () => {
  const crowd = async (count: number, ask: () => Promise<Reply>) => {
    const answers = await Promise.all(Array.from({ length: count }, ask));
    const late = answers.filter(({ status }) => status === 429);
    for (const { headers } of late) assert.ok(Number(headers["retry-after"]) >= 1);
    return { served: answers.filter(({ status }) => status === 200).length, late: late.length };
  };
  const rates = (app: number, address: number, perToken: number) =>
    site(`${tls}, rates: { app: ${app}, address: ${address}, token: ${perToken} }`);
  const trial = (extra: string, body: (ask: Caller, other: Caller) => Promise<void>) =>
    withAgent(
      async (running) => {
        await install(running, "one", "two");
        await body(as(authority.sign("one-4", "one")), as(authority.sign("two-4", "two")));
      },
      { extra, extensions: [make] },
    );
  return (async () => {
    // One a second: a crowd of 200 would have to take minutes for nobody to be told to wait.
    await trial(rates(1, 10_000, 10_000), async (one, two) => {
      const [given, theirs] = [await token(one, "one"), await token(two, "two")];
      await ready(one, "one", given);
      assert.is((await ready(two, "two", theirs)).status, 204);
      const { served, late } = await crowd(200, () => timing(one, given));
      assert.ok(served >= 1 && late >= 1, `${served} served, ${late} late`);
      assert.is((await timing(two, theirs)).status, 200, "another app does not suffer");
    });
    await trial(rates(10_000, 1, 10_000), async (one) => {
      const given = await token(one, "one");
      await ready(one, "one", given);
      assert.ok((await crowd(200, () => timing(one, given))).late >= 1);
      assert.is((await token(one, "one")).status, 200, "tokens have a rate of their own");
    });
    await trial(rates(10_000, 10_000, 1), async (one) => {
      const { served, late } = await crowd(200, () => token(one, "one"));
      assert.ok(served >= 1 && late >= 1, `${served} served, ${late} late`);
    });
  })();
});

test.after(() => {
  for (const one of callers) one.close();
  rmSync(directory, { recursive: true, force: true });
});

test.run();
