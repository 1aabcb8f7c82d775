/**
 * Are names of the operator answered as they should be, before those of apps, and is what was answered kept (B2)?
 *
 * The real agent, store and API on a data plane in memory; the name server writes down what it is told. With real queries:
 * test/infra/names.test.ts.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Extension, Host } from "../../../controlplane/extension.ts";
import { operatorRuleRoutes } from "../../../mep/dns/operator-routes.ts";
import { OperatorRules, operatorTables } from "../../../mep/dns/operator-rules.ts";
import type { DnsActivation, DnsRecord } from "../../../mep/parts.ts";
import { MepStore } from "../../../mep/store.ts";
import { type Running, start } from "../../api/harness.ts";
import { offramp, on } from "../../cli/harness.ts";
import { RememberingDns } from "../rules/harness.ts";

const test = suite("DNS rules of the operator");
const path = "/api/v1/dns-rules";
const shop = { name: "shop", domain: "shop.example", addresses: ["10.60.0.10", "2001:db8:60::10"], ttl: 60 };
const kept = { ...shop, state: "ACTIVE" };
const own: DnsRecord[] = [
  { name: "shop.example", type: "A", address: "10.60.0.10", ttl: 60 },
  { name: "shop.example", type: "AAAA", address: "2001:db8:60::10", ttl: 60 },
];
const appShop: DnsRecord = { name: "shop.example", type: "A", address: "10.60.0.20" };
const appMail: DnsRecord = { name: "mail.example", type: "A", address: "10.60.0.20" };

let running: Running;
let dns: RememberingDns & { missing?: boolean };
let apps: DnsActivation;

const extension = ({ config, services, log }: Host): Extension => {
  const store = new MepStore(config.stateDir, operatorTables);
  const rules = new OperatorRules({ store, dns, context: () => services.context(), log });
  apps = rules.beneath;
  return {
    routes: [operatorRuleRoutes(rules)],
    prepare: () => rules.prepare(),
    start: () => apps.begin([]),
    stop: async () => store.close(),
  };
};

test.before.each(async () => {
  dns = new RememberingDns();
  running = await start({ extensions: [extension] });
});
test.after.each(() => running.stop());

test("B2: a rule is added, listed, changed and removed; what is answered is in force", async () => {
  const added = await running.call("POST", path, shop);
  assert.equal([added.status, added.headers.get("location"), added.body], [201, `${path}/shop`, kept]);
  assert.equal(dns.records, own);
  assert.equal((await running.call("GET", path)).body, [kept]);
  assert.equal((await running.call("GET", `${path}/shop`)).body, kept);

  const off = await running.call("PUT", `${path}/shop`, { ...shop, name: undefined, state: "INACTIVE" });
  assert.equal([off.status, off.body], [200, { ...shop, state: "INACTIVE" }]);
  assert.equal(dns.records, []);
  assert.is((await running.call("PUT", `${path}/shop`, shop)).status, 200, "ACTIVE, unless it says otherwise");

  assert.equal((await running.call("DELETE", `${path}/shop`)).body, kept);
  assert.equal(dns.records, []);
  for (const method of ["GET", "DELETE"]) assert.is((await running.call(method, `${path}/shop`)).status, 404);
  assert.is((await running.call("PUT", `${path}/shop`, shop)).status, 404);
});

test("B2: a name with a rule of the operator's is answered by that alone; without it, by the app's again", async () => {
  await apps.apply([appShop, appMail]);
  await running.call("POST", path, shop);
  assert.equal(dns.records, [...own, appMail]);
  await apps.apply([appShop]);
  assert.equal(dns.records, own);
  await running.call("PUT", `${path}/shop`, { ...shop, state: "INACTIVE" });
  assert.equal(dns.records, [appShop]);
  await running.call("PUT", `${path}/shop`, shop);
  await running.call("DELETE", `${path}/shop`);
  assert.equal(dns.records, [appShop]);
});

test("B2: a body that is wrong is refused whole, with every field", async () => {
  const { status, body } = await running.call("POST", path, {
    name: "a/b",
    domain: "com",
    addresses: ["10.60.0.10", "10.60.0.1", "nowhere", "10.60.0.10"],
    ttl: -1,
    state: "ON",
    adress: "x",
  });
  assert.is(status, 400);
  const fields = body.errors.map(({ field }: { field: string }) => field).sort();
  assert.equal(fields, ["addresses.2", "addresses.3", "adress", "domain", "name", "state", "ttl"]);
  const { body: again } = await running.call("POST", path, {
    ...shop,
    addresses: ["10.60.0.1", "10.60.0.9", "10.60.0.9"],
  });
  assert.equal(again.errors, [
    { field: "addresses.2", message: "10.60.0.9 is there twice" },
    { field: "addresses.0", message: "10.60.0.1 is the appliance itself, which phones cannot reach" },
  ]);
  for (const wrong of [{ ...shop, addresses: [] }, [], "shop"]) {
    assert.is((await running.call("POST", path, wrong)).status, 400, JSON.stringify(wrong));
  }
  assert.equal(dns.records, []);
});

test("B2: one name for one rule, and one rule for one domain; a rule does not become another", async () => {
  await running.call("POST", path, shop);
  const same = await running.call("POST", path, { ...shop, domain: "other.example" });
  assert.equal([same.status, same.body.type], [409, "/problems/name-taken"]);
  const domain = await running.call("POST", path, { ...shop, name: "shop2", domain: "SHOP.example." });
  assert.equal([domain.status, domain.body.type], [409, "/problems/conflict"]);
  assert.match(domain.body.detail, /shop.example has the DNS rule "shop" already/);
  assert.is((await running.call("PUT", `${path}/shop`, { ...shop, name: "other" })).status, 400);
  assert.equal((await running.call("GET", path)).body, [kept]);
});

test("B2: the name server refuses: 503, and nothing has changed, then and after a restart", async () => {
  await running.call("POST", path, shop);
  dns.refuse = new Error("it does not answer");
  const added = await running.call("POST", path, { name: "mail", domain: "mail.example", addresses: ["10.60.0.10"] });
  assert.equal([added.status, added.body.type], [503, "/problems/dataplane-refused"]);
  assert.match(added.body.detail, /nothing has changed; the name server: it does not answer/);
  assert.is((await running.call("DELETE", `${path}/shop`)).status, 503);
  dns.refuse = undefined;
  assert.equal((await running.call("GET", path)).body, [kept]);
  dns = new RememberingDns();
  running = await running.restart();
  assert.equal((await running.call("GET", path)).body, [kept]);
  assert.equal(dns.records, own, "answered from the start");
});

test("B2: a site that has no name server any more keeps its rules, INACTIVE", async () => {
  await running.call("POST", path, shop);
  dns = Object.assign(new RememberingDns(), { missing: true });
  running = await running.restart();
  assert.equal((await running.call("GET", path)).body, [{ ...kept, state: "INACTIVE" }]);
  assert.equal(dns.records, []);
});

test("B2: offramp dns add, ls and rm; every change is in the audit log", async () => {
  const address = ["--address", "10.60.0.10", "--address", "2001:db8:60::10"];
  const added = await offramp(
    ["dns", "add", "shop", "--domain", "shop.example", ...address, "--ttl", "60"],
    on(running),
  );
  assert.equal([added.code, added.err], [0, ""]);
  assert.equal(dns.records, own);
  const { out } = await offramp(["dns", "ls"], on(running));
  assert.match(
    out,
    /DNS RULE +STATE +DOMAIN +TTL +ADDRESSES\nshop +ACTIVE +shop\.example +60 s +10\.60\.0\.10 2001:db8:60::10/,
  );
  const refused = await offramp(["dns", "add", "x", "--domain", "com", "--address", "y"], on(running));
  assert.is(refused.code, 1);
  assert.match(refused.err, /domain: .*\n.*addresses\.0: /);
  assert.is((await offramp(["dns", "rm", "shop"], on(running))).out, "removed shop\n");
  assert.is((await offramp(["dns", "rm", "shop"], on(running))).code, 1);
  const { body } = await running.call("GET", "/api/v1/audit?limit=100");
  const written = JSON.stringify(body);
  assert.match(written, /"method":"DELETE","path":"\/api\/v1\/dns-rules\/shop"/);
});

test.run();
