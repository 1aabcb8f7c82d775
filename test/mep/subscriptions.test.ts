/**
 * Subscriptions of apps, and who is told what (GS MEC 011 §7.2.3, §7.2.4, §8.1.4, §8.2.8, §8.2.9; B1, B5).
 */
import { Value } from "typebox/value";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  availabilitySubscription,
  serviceAvailabilityNotification,
  subscriptionLinkList,
} from "../../mep/model/services.ts";
import { appTerminationNotification, terminationSubscription } from "../../mep/model/support.ts";
import { base, isProblem, type Mp1, management, support, withMp1 } from "./enablement.ts";
import { category, makeInstance, offer } from "./fixtures.ts";

const test = suite("mp1 subscriptions");

const availability = (more: object = {}) => ({
  subscriptionType: "SerAvailabilityNotificationSubscription",
  callbackReference: "http://10.61.0.5/notify",
  ...more,
});
const termination = (more: object = {}) => ({
  subscriptionType: "AppTerminationNotificationSubscription",
  callbackReference: "http://10.61.0.5/end",
  appInstanceId: "app1",
  ...more,
});
const kinds = [
  { root: management, body: availability, schema: availabilitySubscription },
  { root: support, body: termination, schema: terminationSubscription },
];
const at = (root: string, instance = "app1") => `${root}/applications/${instance}/subscriptions`;

/** Registers, and returns the path of the service. */
async function register({ call }: Mp1, body: object, as = "app1"): Promise<string> {
  const { status, headers, text } = await call("POST", `${management}/applications/${as}/services`, { as, body });
  assert.is(status, 201, text);
  return String(headers.location).slice(base.length);
}

async function subscribe({ call }: Mp1, body: object, as = "app2"): Promise<string> {
  const { status, headers, text } = await call("POST", at(management, as), { as, body });
  assert.is(status, 201, text);
  return String(headers.location);
}

/** What was sent, and is then forgotten: for each subscription of `names` the changes in words. */
function told(mp1: Mp1, names: Record<string, string>): string[] {
  return mp1.sent.splice(0).map(({ to, body }) => {
    assert.ok(Value.Check(serviceAvailabilityNotification, body), JSON.stringify(body));
    assert.is(body._links.subscription.href.split("/").at(-1), to.id);
    const references = body.serviceReferences;
    for (const one of references) assert.is("link" in one, one.changeType !== "REMOVED");
    const words = references.map(({ changeType, serName, state }) => `${changeType} ${serName} ${state}`);
    return `${names[body._links.subscription.href]}: ${words.join(", ")}`;
  });
}

test("B1: both kinds: POST 201 with Location, GET one and all, DELETE 204, then 404; the path wins over the body", () =>
  withMp1(async (mp1) => {
    for (const { root, body, schema } of kinds) {
      const made = await mp1.call("POST", at(root), {
        body: body({ appInstanceId: "app2", colour: "red", _links: 1 }),
      });
      assert.is(made.status, 201, made.text);
      assert.ok(Value.Check(schema, made.body), made.text);
      const uri = String(made.headers.location);
      assert.match(uri, `${base}${at(root)}/`);
      const { appInstanceId: _, ...given } = body() as { appInstanceId?: string };
      assert.equal(made.body, {
        ...given,
        ...(root === support && { appInstanceId: "app1" }),
        _links: { self: { href: uri } },
      });
      const one = uri.slice(base.length);
      const again = await mp1.call("GET", one);
      assert.equal([again.status, again.body], [200, made.body]);
      const list = await mp1.call("GET", at(root));
      assert.is(list.status, 200);
      assert.ok(Value.Check(subscriptionLinkList, list.body), list.text);
      assert.equal(list.body._links, {
        self: { href: `${base}${at(root)}` },
        subscriptions: [{ href: uri, subscriptionType: made.body.subscriptionType }],
      });
      // Of the other kind it is none.
      const other = kinds.find((kind) => kind.root !== root)?.root ?? "";
      isProblem(await mp1.call("GET", one.replace(root, other)), 404);
      const gone = await mp1.call("DELETE", one);
      assert.equal([gone.status, gone.text], [204, ""]);
      assert.is(mp1.forgotten.at(-1), one.split("/").at(-1));
      isProblem(await mp1.call("GET", one), 404);
      isProblem(await mp1.call("DELETE", one), 404);
      assert.equal((await mp1.call("GET", at(root))).body._links.subscriptions, []);
    }
  }));

test("B5: no token 401, another app's 403, an unknown one's 404; an instance that is not ready may look, not subscribe", () =>
  withMp1(async (mp1) => {
    for (const { root, body } of kinds) {
      const one = `${at(root)}/x`;
      for (const [method, where] of [
        ["GET", at(root)],
        ["POST", at(root)],
        ["GET", one],
        ["DELETE", one],
      ] as const) {
        const sent = method === "POST" ? { body: body() } : {};
        isProblem(await mp1.call(method, where, { as: "", ...sent }), 401);
        isProblem(await mp1.call(method, where, { as: "app2", ...sent }), 403);
        isProblem(await mp1.call(method, where.replace("app1", "nobody"), { as: "app2", ...sent }), 404);
      }
      isProblem(await mp1.call("POST", at(root, "early"), { as: "early", body: body() }), 403);
      assert.is((await mp1.call("GET", at(root, "early"), { as: "early" })).status, 200);
      for (const method of ["PUT", "PATCH", "DELETE"]) isProblem(await mp1.call(method, at(root)), 405);
      for (const method of ["PUT", "PATCH", "POST"]) isProblem(await mp1.call(method, one), 405);
      isProblem(await mp1.call("GET", `${at(root)}?a=b`), 400);
    }
  }));

test("bodies that are refused, each with its field: type, callback, exclusive criteria, a callback it could not reach", () =>
  withMp1(async ({ call, sent }) => {
    const filter = (filteringCriteria: object) => availability({ filteringCriteria });
    const cases: [string, object | string, string[]][] = [
      [management, {}, ["subscriptionType"]],
      [management, availability({ subscriptionType: "AppTerminationNotificationSubscription" }), ["subscriptionType"]],
      [management, availability({ callbackReference: 5 }), ["callbackReference"]],
      [management, availability({ callbackReference: "http://127.0.0.1/" }), ["callbackReference"]],
      [management, { subscriptionType: availability().subscriptionType }, ["callbackReference"]],
      [management, filter({ serNames: ["a"], serInstanceIds: ["b"] }), ["filteringCriteria"]],
      [management, filter({ serNames: ["a"], serCategories: [category("b")] }), ["filteringCriteria"]],
      [management, filter({ states: ["ON"] }), ["filteringCriteria.states.0"]],
      [management, filter({ serNames: [] }), ["filteringCriteria.serNames"]],
      [management, filter({ isLocal: "yes" }), ["filteringCriteria.isLocal"]],
      [support, termination({ callbackReference: "http://127.0.0.1:80/x" }), ["callbackReference"]],
      [support, termination({ subscriptionType: "x" }), ["subscriptionType"]],
    ];
    for (const [root, body, fields] of cases) {
      const answer = await call("POST", at(root), { body });
      isProblem(answer, 400);
      assert.equal(
        answer.body.errors.map(({ field }: { field: string }) => field),
        fields,
      );
      assert.equal((await call("GET", at(root))).body._links.subscriptions, []);
    }
    assert.equal(sent, []);
  }));

test("B1: ADDED, STATE_CHANGED, ATTRIBUTES_CHANGED, REMOVED, each to those whose criteria it meets; no change, no word", () =>
  withMp1(async (mp1) => {
    const all = await subscribe(mp1, availability());
    const active = await subscribe(mp1, availability({ filteringCriteria: { states: ["ACTIVE"] } }));
    const named = await subscribe(mp1, availability({ filteringCriteria: { serNames: ["b"], states: ["INACTIVE"] } }));
    const video = await subscribe(mp1, availability({ filteringCriteria: { serCategories: [category("video")] } }));
    const remote = await subscribe(mp1, availability({ filteringCriteria: { isLocal: false } }));
    const names = { [all]: "all", [active]: "active", [named]: "named", [video]: "video", [remote]: "remote" };

    const a = await register(mp1, offer("a", { serCategory: category("video") }));
    const link = mp1.sent[0]?.body.serviceReferences[0].link.href.slice(base.length);
    assert.is((await mp1.call("GET", link, { as: "app2" })).status, 200, "everybody told can follow the link");
    assert.equal(told(mp1, names), ["all: ADDED a ACTIVE", "active: ADDED a ACTIVE", "video: ADDED a ACTIVE"]);

    const b = await register(mp1, offer("b"));
    assert.equal(told(mp1, names), ["all: ADDED b ACTIVE", "active: ADDED b ACTIVE"]);

    const put = async (path: string, sent: object) =>
      assert.is((await mp1.call("PUT", path, { body: sent })).status, 200);
    await put(b, offer("b", { state: "INACTIVE" }));
    assert.equal(told(mp1, names), ["all: STATE_CHANGED b INACTIVE", "named: STATE_CHANGED b INACTIVE"]);

    await put(b, offer("b", { state: "INACTIVE" }));
    assert.equal(told(mp1, names), []);

    await put(b, offer("b", { state: "ACTIVE", version: "2.0" }));
    assert.equal(told(mp1, names), ["all: ATTRIBUTES_CHANGED b ACTIVE", "active: ATTRIBUTES_CHANGED b ACTIVE"]);

    await mp1.call("DELETE", a);
    assert.equal(told(mp1, names), ["all: REMOVED a ACTIVE", "active: REMOVED a ACTIVE", "video: REMOVED a ACTIVE"]);
    assert.is((await mp1.call("DELETE", all.slice(base.length), { as: "app2" })).status, 204);
    await mp1.call("DELETE", b);
    assert.equal(told(mp1, names), ["active: REMOVED b ACTIVE"]);
  }));

test("a subscription by WebSocket says where to connect, may be connected, and again after a restart; a test is sent", () =>
  withMp1(async (mp1) => {
    const asked = { requestWebsocketUri: true, websocketUri: "ws://evil/" };
    const { status, body } = await mp1.call("POST", at(management), {
      body: { subscriptionType: availability().subscriptionType, websockNotifConfig: asked },
    });
    assert.is(status, 201);
    const id = body._links.self.href.split("/").at(-1);
    assert.equal(body.websockNotifConfig, {
      requestWebsocketUri: true,
      websocketUri: `wss://10.60.0.1:8091/mec_notifications/v1/${id}`,
    });
    assert.equal(mp1.admitted, [id]);
    const tested = await mp1.call("POST", at(support), { body: termination({ requestTestNotification: true }) });
    assert.equal(
      mp1.sent.map(({ to, body: sent }) => [to.callbackReference, sent]),
      [["http://10.61.0.5/end", { test: tested.headers.location }]],
    );
  }));

test("B7: the end of an instance: it is told, its services go with REMOVED in one notification, then its subscriptions", () =>
  withMp1(async (mp1) => {
    const { enablement, instances, sent } = mp1;
    const watching = await subscribe(mp1, availability());
    await subscribe(mp1, availability(), "app1");
    await mp1.call("POST", at(support), { body: termination() });
    await register(mp1, offer("a", { livenessInterval: 0 }));
    await register(mp1, offer("b"));
    await register(mp1, offer("c"), "app2");
    sent.length = 0;

    assert.is(enablement.announceTermination("app1", "TERMINATING", 30), 1);
    assert.is(enablement.announceTermination("app2", "TERMINATING", 30), 0);
    const [{ to, body }] = sent.splice(0) as [Mp1["sent"][number]];
    assert.ok(Value.Check(appTerminationNotification, body), JSON.stringify(body));
    assert.equal([to.instance, to.callbackReference], ["app1", "http://10.61.0.5/end"]);
    const confirm = `${base}${support}/applications/app1/confirm_termination`;
    assert.equal([body.maxGracefulTimeout, body._links.confirmTermination?.href], [30, confirm]);

    const app1 = instances.get("app1");
    assert.ok(app1);
    const end = async () => {
      for (const part of enablement.parts) await part.deactivate?.(app1);
    };
    await end();
    // It has been told as well, for its subscriptions outlive its services.
    const words = "REMOVED a ACTIVE, REMOVED b ACTIVE";
    const lines = told(mp1, { [watching]: "watching" });
    assert.equal(lines.sort(), [`undefined: ${words}`, `watching: ${words}`]);
    assert.is(mp1.forgotten.length, 2);
    assert.equal((await mp1.call("GET", `${management}/services`, { as: "app2" })).body.length, 1);
    for (const root of [management, support]) {
      assert.equal((await mp1.call("GET", at(root))).body._links.subscriptions, []);
      isProblem(await mp1.call("POST", at(root), { body: root === support ? termination() : availability() }), 403);
    }
    isProblem(await mp1.call("POST", `${management}/applications/app1/services`, { body: offer() }), 403);
    // Once more is nothing more; and when it begins anew, it may offer again.
    await end();
    assert.equal(sent, []);
    for (const part of enablement.parts) await part.ready?.(makeInstance("app1"));
    await register(mp1, offer("again"));
  }));

test.run();
