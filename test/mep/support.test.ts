/**
 * Application support but for rules (GS MEC 011 §7.2.5, §7.2.9 to §7.2.14; B1, B5): readiness, termination, time, registration.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Value } from "typebox/value";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { appInfo, currentTime, timingCaps } from "../../mep/model/support.ts";
import { kernelTime } from "../../mep/timing/adjtimex.ts";
import { chronyServers, timesyncdServers } from "../../mep/timing/servers.ts";
import { Timing } from "../../mep/timing/timing.ts";
import { base, isProblem, management, support, withMp1 } from "./enablement.ts";
import { makeInstance, offer } from "./fixtures.ts";

const test = suite("mp1 application support");

const ready = (instance = "early") => `${support}/applications/${instance}/confirm_ready`;
const ended = (instance = "app1") => `${support}/applications/${instance}/confirm_termination`;

test("B1: confirm_ready: 409 while the instance is being configured, then 204, and Mp1 is open to it", () =>
  withMp1(async (mp1) => {
    const body = { indication: "READY" };
    mp1.instances.set("early", makeInstance("early", { ready: false, configured: false }));
    isProblem(await mp1.call("GET", `${management}/services`, { as: "early" }), 403);
    isProblem(await mp1.call("POST", ready(), { as: "early", body }), 409);
    mp1.instances.set("early", makeInstance("early", { ready: false }));
    const done = await mp1.call("POST", ready(), { as: "early", body });
    assert.equal([done.status, done.text], [204, ""]);
    assert.equal(mp1.confirmed, ["early READY"]);
    assert.is((await mp1.call("GET", `${management}/services`, { as: "early" })).status, 200);
    for (const bad of [{}, { indication: "YES" }, { indication: ["READY"] }, [], "{"]) {
      isProblem(await mp1.call("POST", ready(), { as: "early", body: bad }), 400);
    }
    isProblem(await mp1.call("POST", ready("nobody"), { body }), 404);
    isProblem(await mp1.call("POST", ready("app2"), { body }), 403);
    isProblem(await mp1.call("POST", ready(), { as: "", body }), 401);
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) isProblem(await mp1.call(method, ready()), 405);
  }));

test("B1: confirm_termination: 409 unless that is what is going on; the standard's own spelling is taken as well", () =>
  withMp1(async (mp1) => {
    isProblem(await mp1.call("POST", ended(), { body: { operationAction: "TERMINATING" } }), 409);
    mp1.instances.set("app1", makeInstance("app1", { terminating: { operationAction: "STOPPING", deadline: 0 } }));
    isProblem(await mp1.call("POST", ended(), { body: { operationAction: "TERMINATING" } }), 409);
    for (const operationAction of ["STOPPING", "STOPPPING"]) {
      const done = await mp1.call("POST", ended(), { body: { operationAction } });
      assert.equal([done.status, done.text], [204, ""]);
    }
    assert.equal(mp1.confirmed, ["app1 STOPPING", "app1 STOPPING"]);
    for (const bad of [{}, { operationAction: "ENDING" }, "null"]) {
      isProblem(await mp1.call("POST", ended(), { body: bad }), 400);
    }
    isProblem(await mp1.call("POST", ended("app2"), { body: { operationAction: "STOPPING" } }), 403);
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) isProblem(await mp1.call(method, ended()), 405);
  }));

test("timing: the kernel's time and what it knows of UTC, also for an instance that is not ready", () =>
  withMp1(async (mp1) => {
    const before = kernelTime();
    const time = await mp1.call("GET", `${support}/timing/current_time`, { as: "early" });
    const after = kernelTime();
    assert.is(time.status, 200, time.text);
    assert.ok(Value.Check(currentTime, time.body), time.text);
    const ns = ({ seconds, nanoSeconds }: { seconds: number; nanoSeconds: number }) =>
      BigInt(seconds) * 1_000_000_000n + BigInt(nanoSeconds);
    assert.ok(ns(time.body) >= ns(before) && ns(time.body) <= ns(after), "no clock of another kind");
    assert.ok(Math.abs(before.seconds * 1000 - Date.now()) < 60_000);
    const caps = await mp1.call("GET", `${support}/timing/timing_caps`, { as: "early" });
    assert.is(caps.status, 200, caps.text);
    assert.ok(Value.Check(timingCaps, caps.body), caps.text);
    for (const which of ["current_time", "timing_caps"]) {
      isProblem(await mp1.call("GET", `${support}/timing/${which}`, { as: "" }), 401);
      isProblem(await mp1.call("GET", `${support}/timing/${which}?x=1`), 400);
      isProblem(await mp1.call("POST", `${support}/timing/${which}`, { body: {} }), 405);
    }
  }));

test("TRACEABLE only while the kernel says that it follows UTC, and by no more than a second", () => {
  const at = (synchronised: boolean, maxErrorUs: number) =>
    new Timing({ now: () => ({ seconds: 1, nanoSeconds: 2, synchronised, maxErrorUs }) }).currentTime();
  assert.equal(at(true, 2000), { seconds: 1, nanoSeconds: 2, timeSourceStatus: "TRACEABLE" });
  assert.is(at(false, 2000).timeSourceStatus, "NONTRACEABLE");
  assert.is(at(true, 1_000_001).timeSourceStatus, "NONTRACEABLE");
});

test("servers of time: as chronyd and timesyncd are configured, or as site.yaml says", () => {
  const plain = {
    minPollingInterval: 6,
    maxPollingInterval: 10,
    localPriority: 1,
    authenticationOption: "NONE" as const,
    authenticationKeyNum: 0,
  };
  assert.equal(
    chronyServers(
      "# server no.example\npool 2.debian.pool.ntp.org iburst # far\nserver 192.0.2.1 minpoll 2 maxpoll 20 prefer key 7\n" +
        "peer 2001:db8::1\nserver\nrtcsync\n",
    ),
    [
      { ntpServerAddrType: "DNS_NAME", ntpServerAddr: "2.debian.pool.ntp.org", ...plain },
      {
        ntpServerAddrType: "IP_ADDRESS",
        ntpServerAddr: "192.0.2.1",
        minPollingInterval: 3,
        maxPollingInterval: 17,
        localPriority: 0,
        authenticationOption: "SYMMETRIC_KEY",
        authenticationKeyNum: 7,
      },
      { ntpServerAddrType: "IP_ADDRESS", ntpServerAddr: "2001:db8::1", ...plain },
    ],
  );
  assert.equal(
    timesyncdServers("[Time]\n#NTP=no\nNTP=a.example 192.0.2.1\nFallbackNTP=c\nPollIntervalMinSec=64\n").map(
      ({ ntpServerAddr, minPollingInterval, maxPollingInterval, localPriority }) =>
        `${ntpServerAddr} ${minPollingInterval} ${maxPollingInterval} ${localPriority}`,
    ),
    ["a.example 6 11 0", "192.0.2.1 6 11 1"],
  );
  assert.equal(
    timesyncdServers("NTP=a\nNTP=\nFallbackNTP=c\n").map(({ ntpServerAddr }) => ntpServerAddr),
    ["c"],
  );

  const etc = mkdtempSync(join(tmpdir(), "ofr-etc-"));
  try {
    const names = (options: object = {}) =>
      new Timing({ etc, ...options }).timingCaps().ntpServers.map(({ ntpServerAddr }) => ntpServerAddr);
    assert.equal(names(), []);
    for (const directory of ["systemd", "chrony/sources.d"]) mkdirSync(join(etc, directory), { recursive: true });
    writeFileSync(join(etc, "systemd/timesyncd.conf"), "[Time]\nNTP=from.timesyncd\n");
    assert.equal(names(), ["from.timesyncd"]);
    writeFileSync(join(etc, "chrony/chrony.conf"), "server from.chrony\n");
    writeFileSync(join(etc, "chrony/sources.d/x.sources"), "server from.sources\n");
    assert.equal(names(), ["from.chrony", "from.sources"]);
    assert.equal(names({ ntpServers: ["from.site"] }), ["from.site"]);
  } finally {
    rmSync(etc, { recursive: true, force: true });
  }
});

const registrations = `${support}/registrations`;
const mine = { appName: "app1", appProvider: "tenant", appDId: "appd-app1", appInstanceId: "app1", isInsByMec: true };
const elsewhere = { appName: "far", endpoint: { uris: ["http://10.61.0.9/"] } };

test("B1: registration of an instance: 201 with Location, GET, PUT 204, DELETE 204, then 404; twice is refused", () =>
  withMp1(async ({ call }) => {
    const made = await call("POST", registrations, { body: { ...mine, colour: "red" } });
    assert.is(made.status, 201, made.text);
    assert.equal(made.body, mine);
    assert.ok(Value.Check(appInfo, made.body));
    const at = `${registrations}/app1`;
    assert.is(made.headers.location, `${base}${at}`);
    isProblem(await call("POST", registrations, { body: mine }), 403);
    const got = await call("GET", at);
    assert.equal([got.status, got.body], [200, mine]);
    const profile = { ...mine, appProfile: { easId: "x" }, appInstanceId: "app2" };
    isProblem(await call("PUT", at, { body: profile, headers: { "if-match": '"stale"' } }), 412);
    const put = await call("PUT", at, { body: profile });
    assert.equal([put.status, put.text], [204, ""]);
    assert.equal((await call("GET", at)).body, { ...profile, appInstanceId: "app1" }, "the path wins");
    assert.is((await call("DELETE", at)).status, 204);
    for (const method of ["GET", "DELETE"]) isProblem(await call(method, at), 404);
    isProblem(await call("PUT", at, { body: mine }), 404);
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) isProblem(await call(method, registrations), 405);
  }));

test("registrations that are refused: what the AppD says otherwise or already, an end point missing, another's instance", () =>
  withMp1(async ({ call }) => {
    const { appDId: _, ...incomplete } = mine;
    const cases: [object | string, number, string[]][] = [
      [{}, 400, ["appName"]],
      [{ appName: "x" }, 400, ["endpoint"]],
      [elsewhere, 400, ["appName", "isInsByMec"]],
      [incomplete, 400, ["appDId"]],
      [{ ...mine, appDId: "other" }, 400, ["appDId"]],
      [{ ...mine, appName: "other", appProvider: "other" }, 400, ["appName", "appProvider"]],
      [{ ...mine, appServiceRequired: [] }, 400, ["appServiceRequired"]],
      [{ ...mine, endpoint: { uris: ["http://a/"], fqdn: ["a"] } }, 400, ["endpoint"]],
      [{ ...mine, isInsByMec: "true" }, 400, ["isInsByMec"]],
      [{ ...mine, appInstanceId: "app2" }, 403, []],
      ["[]", 400, [""]],
    ];
    for (const [body, status, fields] of cases) {
      const answer = await call("POST", registrations, { body });
      isProblem(answer, status);
      if (fields.length > 0)
        assert.equal(
          answer.body.errors.map(({ field }: { field: string }) => field),
          fields,
        );
    }
    isProblem(await call("POST", registrations, { as: "", body: mine }), 401);
    isProblem(await call("GET", `${registrations}/app1`), 404);
    isProblem(await call("GET", `${registrations}/app2`), 403);
    isProblem(await call("GET", `${registrations}/nobody`), 403);
  }));

test("B5: an app of elsewhere becomes an instance by registering, offers services, and takes them along when it goes", () =>
  withMp1(async ({ call }) => {
    const as = "bare";
    isProblem(await call("POST", registrations, { as, body: { ...mine } }), 403);
    const made = await call("POST", registrations, { as, body: { ...elsewhere, appInstanceId: "app1" } });
    assert.is(made.status, 201, made.text);
    const id = made.body.appInstanceId;
    assert.match(id, /^[0-9a-f-]{36}$/);
    assert.equal(made.body, { ...elsewhere, appInstanceId: id });
    isProblem(await call("POST", registrations, { as, body: elsewhere }), 403);
    isProblem(await call("GET", `${registrations}/${id}`, { as: "other" }), 403);

    const services = `${management}/applications/${id}/services`;
    assert.is((await call("POST", services, { as, body: offer() })).status, 201);
    isProblem(await call("POST", services, { body: offer() }), 403);
    assert.is((await call("GET", `${management}/services`)).body.length, 1);

    const put = { ...elsewhere, appName: "farther" };
    assert.is((await call("PUT", `${registrations}/${id}`, { as, body: put })).status, 204);
    isProblem(await call("PUT", `${registrations}/${id}`, { as, body: mine }), 403);
    assert.is((await call("GET", `${registrations}/${id}`, { as })).body.appName, "farther");
    assert.is((await call("DELETE", `${registrations}/${id}`, { as })).status, 204);
    assert.equal((await call("GET", `${management}/services`)).body, []);
    isProblem(await call("GET", services, { as }), 404);
    assert.is((await call("POST", registrations, { as, body: elsewhere })).status, 201);
  }));

test("what was answered is there after a restart: services, subscriptions, registrations; heartbeats begin anew", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "ofr-mp1-"));
  try {
    let before: string[] = [];
    const paths = [
      `${management}/applications/app1/services`,
      `${management}/applications/app1/subscriptions`,
      `${support}/applications/app1/subscriptions`,
      `${registrations}/app1`,
    ];
    await withMp1(
      async (mp1) => {
        const add = async (path: string, body: object) =>
          assert.is((await mp1.call("POST", path, { body })).status, 201);
        for (const name of ["a", "b", "c"]) await add(paths[0] ?? "", offer(name, { livenessInterval: 0 }));
        await add(paths[1] ?? "", {
          subscriptionType: "SerAvailabilityNotificationSubscription",
          websockNotifConfig: { requestWebsocketUri: true },
        });
        await add(paths[2] ?? "", {
          subscriptionType: "AppTerminationNotificationSubscription",
          callbackReference: "http://10.61.0.5/",
        });
        await add(registrations, mine);
        before = await Promise.all(paths.map(async (path) => (await mp1.call("GET", path)).text));
      },
      { stateDir },
    );
    await withMp1(
      async (mp1) => {
        const after = await Promise.all(paths.map(async (path) => (await mp1.call("GET", path)).text));
        assert.equal(after, before);
        assert.is(mp1.admitted.length, 1);
        const [first] = JSON.parse(before[0] ?? "[]") as { _links: { liveness: { href: string } } }[];
        const liveness = first?._links.liveness.href.slice(base.length) ?? "";
        assert.is((await mp1.call("PATCH", liveness, { body: { state: "ACTIVE" } })).status, 204);
      },
      { stateDir },
    );
  } finally {
    rmSync(stateDir, { recursive: true, force: true });
  }
});

test.run();
