/** Do the rules of apps reach data plane, name server and store over Mp1, all or nothing (B2, B3, B5)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DataplaneError } from "../../../dataplane/dataplane.ts";
import { rulesLines } from "../../../mep/cli/app-rules.ts";
import { noNameService } from "../../../mep/dns/dns-rules.ts";
import { webRule } from "../fixtures.ts";
import { appdOf, type Platform, withPlatform } from "./harness.ts";

const web = webRule();
const ads = {
  trafficRuleId: "ads",
  filterType: "PACKET",
  priority: 5,
  trafficFilter: [{ dstAddress: ["198.51.100.0/24"] }, { srcAddress: ["198.51.100.0/24"] }],
  action: "DROP",
};
const name = {
  dnsRuleId: "name",
  domainName: "shop.example",
  ipAddressType: "IP_V4",
  ipAddress: "10.60.0.20",
  ttl: 60,
};

const active = <T extends object>(rule: T) => ({ ...rule, state: "ACTIVE" });
const inactive = <T extends object>(rule: T) => ({ ...rule, state: "INACTIVE" });
const names = ({ running }: Platform) => running.dataplane.steering.rules.map((rule) => rule.name);

test("B3: rules of a configured instance are there, INACTIVE, and in the data plane once they are put ACTIVE", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, ads], [name]);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules")).body, [inactive(web), inactive(ads)]);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules/web")).body, inactive(web));
    assert.equal(names(one), []);
    const put = await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    assert.equal([put.status, put.body], [200, active(web)]);
    assert.equal(one.running.dataplane.steering.rules, [
      {
        id: 1,
        service: 1,
        name: "app:a1/web",
        priority: -11,
        match: { destination: ["203.0.113.20/32"], protocol: [6], destinationPorts: [[80, 80]] },
        action: "take",
        endpoints: [{ address: "10.60.0.20" }],
        appInitiated: false,
      },
    ]);
    await one.ask("a1", "PUT", "/traffic_rules/ads", active(ads));
    assert.equal(names(one), ["app:a1/ads", "app:a1/ads#2", "app:a1/ads#3", "app:a1/ads#4", "app:a1/web"]);
    const off = await one.ask("a1", "PUT", "/traffic_rules/web", inactive(web));
    assert.equal([off.status, off.body], [200, inactive(web)]);
    assert.equal(names(one).includes("app:a1/web"), false);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules")).body, [inactive(web), active(ads)]);
  }));

test("B3: a PUT that changes nothing is fine and touches nothing; the path wins over the id in the body", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web]);
    await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    const applied = one.running.dataplane.applied.length;
    const again = await one.ask("a1", "PUT", "/traffic_rules/web", { ...active(web), trafficRuleId: "other" });
    assert.equal([again.status, again.body], [200, active(web)]);
    assert.is(one.running.dataplane.applied.length, applied);
  }));

test("B3: ETag is of the representation, If-Match with another one is 412, and nothing has changed", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web], [name]);
    for (const [path, rule] of [
      ["/traffic_rules/web", web],
      ["/dns_rules/name", name],
    ] as const) {
      const { etag } = await one.ask("a1", "GET", path);
      assert.ok(etag);
      const stale = await one.ask("a1", "PUT", path, active(rule), { "if-match": '"stale"' });
      assert.is(stale.status, 412);
      assert.is((await one.ask("a1", "GET", path)).body.state, "INACTIVE");
      const fresh = await one.ask("a1", "PUT", path, active(rule), { "if-match": etag! });
      assert.is(fresh.status, 200);
      assert.is.not(fresh.etag, etag);
      assert.is((await one.ask("a1", "GET", path)).etag, fresh.etag);
      assert.is((await one.ask("a1", "PUT", path, active(rule), { "if-match": etag! })).status, 412);
    }
  }));

test("B3: unknown rules are 404, other methods 405, bad bodies 400 with every field, early apps 403", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web], [name]);
    for (const kind of ["traffic_rules", "dns_rules"]) {
      assert.is((await one.ask("a1", "GET", `/${kind}/none`)).status, 404);
      assert.is((await one.ask("a1", "PUT", `/${kind}/none`, active(web))).status, 404);
      assert.is((await one.ask("a1", "POST", `/${kind}`, {})).status, 405);
      assert.is((await one.ask("a1", "GET", `/${kind}?state=ACTIVE`)).status, 400);
    }
    assert.is((await one.ask("a1", "DELETE", "/traffic_rules/web")).status, 405);
    assert.is((await one.ask("a1", "PUT", "/traffic_rules/web", "{")).status, 400);
    const bad = await one.ask("a1", "PUT", "/traffic_rules/web", { ...web, priority: 300, state: "ON" });
    assert.is(bad.status, 400);
    assert.equal(
      bad.body.errors.map(({ field }: { field: string }) => field),
      ["priority", "state"],
    );
    assert.is((await one.ask("a1", "PUT", "/traffic_rules/web", '{"__proto__": {"state": "ACTIVE"}}')).status, 400);
    const tagged = { ...active(web), trafficFilter: [{ tag: ["ue-1"] }] };
    const unable = await one.ask("a1", "PUT", "/traffic_rules/web", tagged);
    assert.equal([unable.status, unable.body.errors[0].field], [400, "trafficFilter.0.tag"]);
    one.instances.set("a1", { ...one.instances.get("a1")!, ready: false });
    assert.is((await one.ask("a1", "PUT", "/traffic_rules/web", active(web))).status, 403);
    assert.equal(names(one), []);
  }));

test("B3: what the data plane refuses has changed nothing, and neither has what the store does not take", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, ads]);
    one.running.dataplane.refuse = new DataplaneError("no room", "classifier");
    const refused = await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    assert.is(refused.status, 503);
    assert.match(refused.body.detail, /nothing has changed.*no room/);
    one.running.dataplane.refuse = undefined;
    assert.equal((await one.ask("a1", "GET", "/traffic_rules/web")).body, inactive(web));
    one.store.database.exec("CREATE TRIGGER full BEFORE UPDATE ON traffic_rule BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert.is((await one.ask("a1", "PUT", "/traffic_rules/web", active(web))).status, 503);
    assert.equal(names(one), []);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules/web")).body, inactive(web));
    one.store.database.exec("DROP TRIGGER full");
    assert.is((await one.ask("a1", "PUT", "/traffic_rules/web", active(web))).status, 200);
  }));

/** While one change is under way in the data plane, the others come. */
async function together(one: Platform, puts: [instance: string, rule: { trafficRuleId: string }][]): Promise<number[]> {
  const { dataplane } = one.running;
  const apply = dataplane.apply.bind(dataplane);
  let go = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  dataplane.apply = async (steering) => {
    await gate;
    return apply(steering);
  };
  const first = one.ask("gate", "PUT", "/traffic_rules/ads", active(ads));
  const answers = puts.map(([instance, rule]) =>
    one.ask(instance, "PUT", `/traffic_rules/${rule.trafficRuleId}`, rule),
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  go();
  dataplane.apply = apply;
  assert.is((await first).status, 200);
  return (await Promise.all(answers)).map(({ status }) => status);
}

const other = { ...web, trafficFilter: [{ dstAddress: ["203.0.113.21"] }] };

test("B3: rules that come together are each judged after those before them, and one that is refused leaves the others", () =>
  withPlatform(async (one) => {
    await one.add("gate", [ads]);
    await one.add("a1", [web]);
    await one.add("a2", [web]);
    await one.add("a3", [other]);
    assert.equal(
      await together(one, [
        ["a1", active(web)],
        ["a2", active(web)], // some of the same packets
        ["a3", active(other)],
        ["a1", inactive(web)],
        ["a2", active(web)], // now they are free
        ["a3", active({ ...other, trafficFilter: [{ dstAddress: ["203.0.113.22"] }] })], // was not granted
      ]),
      [200, 403, 200, 200, 200, 403],
    );
    assert.equal(
      names(one)
        .filter((text) => text.endsWith("web"))
        .sort(),
      ["app:a2/web", "app:a3/web"],
    );
    assert.equal((await one.ask("a1", "GET", "/traffic_rules")).body, [inactive(web)]);
    const again = await one.restart();
    try {
      assert.equal((await again.ask("a2", "GET", "/traffic_rules")).body, [active(web)]);
      assert.equal(
        names(again)
          .filter((text) => text.endsWith("web"))
          .sort(),
        ["app:a2/web", "app:a3/web"],
      );
    } finally {
      await again.stop();
    }
  }));

test("B3: when the data plane refuses rules that came together, each has its own turn", () =>
  withPlatform(async (one) => {
    await one.add("gate", [ads]);
    await one.add("a1", [web]);
    await one.add("a3", [other]);
    const { dataplane } = one.running;
    const apply = dataplane.apply.bind(dataplane);
    dataplane.apply = async (steering) => {
      if (steering.rules.some((rule) => rule.name === "app:a1/web")) throw new DataplaneError("no room", "classifier");
      return apply(steering);
    };
    assert.equal(
      await together(one, [
        ["a1", active(web)],
        ["a3", active(other)],
      ]),
      [503, 200],
    );
    assert.equal(
      names(one).filter((text) => text.endsWith("web")),
      ["app:a3/web"],
    );
    assert.equal((await one.ask("a1", "GET", "/traffic_rules")).body, [inactive(web)]);
  }));

test("B2: an ACTIVE DNS rule is answered, an INACTIVE one never; what the name server refuses has changed nothing", () =>
  withPlatform(async (one) => {
    const own = { dnsRuleId: "own", domainName: "own.shop.example", ipAddressType: "IP_V4" };
    await one.add("a1", [], [name, own]);
    assert.equal(one.dns.records, []);
    assert.equal((await one.ask("a1", "GET", "/dns_rules/own")).body, inactive({ ...own, ipAddress: "10.60.0.20" }));
    const put = await one.ask("a1", "PUT", "/dns_rules/name", active(name));
    assert.equal([put.status, put.body], [200, active(name)]);
    assert.equal(one.dns.records, [{ name: "shop.example", type: "A", address: "10.60.0.20", ttl: 60 }]);
    one.dns.refuse = new Error("no answer on the control socket");
    assert.is((await one.ask("a1", "PUT", "/dns_rules/name", inactive(name))).status, 503);
    assert.is((await one.ask("a1", "GET", "/dns_rules/name")).body.state, "ACTIVE");
    one.dns.refuse = undefined;
    one.store.database.exec("CREATE TRIGGER full BEFORE UPDATE ON dns_rule BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert.is((await one.ask("a1", "PUT", "/dns_rules/name", inactive(name))).status, 503);
    assert.is(one.dns.records.length, 1, "taken back");
    one.store.database.exec("DROP TRIGGER full");
    const changed = { ...active(name), ttl: 5 };
    assert.is((await one.ask("a1", "PUT", "/dns_rules/name", changed)).status, 200);
    assert.is(one.dns.records[0]?.ttl, 5);
    assert.is((await one.ask("a1", "PUT", "/dns_rules/name", inactive(name))).status, 200);
    assert.equal(one.dns.records, []);
  }));

test("B2: a name belongs to the tenant to whom it was granted first, as long as an instance of theirs has it", () =>
  withPlatform(async (one) => {
    await one.add("a1", [], [name], { provider: "acme" });
    await one.add("a2", [], [name], { provider: "acme" });
    const other = one.add("b1", [], [name], { provider: "rival" });
    const error = await other.catch((caught: unknown) => caught as { code: string; detail: string });
    assert.equal(
      [(error as { code: string }).code, /acme/.test((error as { detail: string }).detail)],
      ["conflict", true],
    );
    assert.is(one.rules.has("b1"), false);
    await one.rules.remove({ id: "a1" } as never);
    await one.rules.remove({ id: "a2" } as never);
    await one.add("b1", [], [name], { provider: "rival" });
  }));

test("B3: what was answered is there after a restart, in the first steering, with its counters' index", () =>
  withPlatform(async (first) => {
    await first.add("a1", [web, ads], [name]);
    await first.ask("a1", "PUT", "/traffic_rules/ads", active(ads));
    await first.ask("a1", "PUT", "/traffic_rules/web", { ...active(web), priority: 20 });
    await first.ask("a1", "PUT", "/dns_rules/name", active(name));
    const before = first.running.dataplane.steering;
    const second = await first.restart();
    assert.equal(second.running.dataplane.applied[0], before, "no moment without them");
    assert.equal((await second.ask("a1", "GET", "/traffic_rules")).body, [
      { ...active(web), priority: 20 },
      active(ads),
    ]);
    assert.equal(second.dns.records.length, 1);
    await second.rules.remove({ id: "a1" } as never);
    assert.equal(names(second), []);
    const third = await second.restart();
    assert.equal((await third.ask("a1", "GET", "/traffic_rules")).body, []);
    assert.is(third.running.agent.services!.nameOf(1), undefined, "its numbers are free");
    await third.stop();
  }));

test("B8: the end of an instance takes all of its rules off at once, and its app cannot put them on again", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, ads], [name]);
    await one.add("a2", [{ ...web, trafficFilter: [{ dstAddress: ["203.0.113.21"] }] }]);
    for (const [path, rule] of [
      ["/traffic_rules/web", web],
      ["/traffic_rules/ads", ads],
      ["/dns_rules/name", name],
    ] as const) {
      assert.is((await one.ask("a1", "PUT", path, active(rule))).status, 200);
    }
    await one.ask(
      "a2",
      "PUT",
      "/traffic_rules/web",
      active({ ...web, trafficFilter: [{ dstAddress: ["203.0.113.21"] }] }),
    );
    const applied = one.running.dataplane.applied.length;
    await one.rules.deactivate({ id: "a1" });
    assert.equal(names(one), ["app:a2/web"]);
    assert.is(one.running.dataplane.applied.length, applied + 1);
    assert.equal(one.dns.records, []);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules")).body, [inactive(web), inactive(ads)]);
    const late = await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    assert.is(late.status, 403);
    await one.rules.deactivate({ id: "a1" });
    const { calls } = one.running.dataplane;
    const flushed = () => calls.filter((call) => call.startsWith("flush")).sort();
    // "ads" is four rules in the data plane.
    const own = ["", "#2", "#3", "#4"].map((piece) => `app:a1/ads${piece}`);
    const { layer } = one.running.agent.services!;
    const expected = ["app:a1/web", ...own].map((rule) => `flush ${layer.indexOf(rule)}`).sort();
    await one.rules.endFlows("a1");
    assert.equal(flushed(), expected, "flows of its own rules, and of no others");
    calls.length = 0;
    await one.rules.remove({ id: "a1" });
    assert.equal(flushed(), expected, "before their numbers are free");
    await one.rules.remove({ id: "a1" });
    assert.is((await one.ask("a1", "GET", "/traffic_rules/web")).status, 404);
  }));

test("B8: when the data plane refuses the end of an instance, its rules and names are as they were", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web], [name]);
    await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    await one.ask("a1", "PUT", "/dns_rules/name", active(name));
    one.running.dataplane.refuse = new DataplaneError("busy", "rules");
    assert.instance(await one.rules.deactivate({ id: "a1" }).catch((error: unknown) => error), Error);
    one.running.dataplane.refuse = undefined;
    assert.is(one.dns.records.length, 1);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules/web")).body, active(web));
    await one.rules.deactivate({ id: "a1" });
    assert.equal([names(one), one.dns.records], [[], []]);
  }));

test("B3: a descriptor that cannot be done is refused when the instance is configured, each error with its path", () =>
  withPlatform(async (one) => {
    const appd = appdOf(
      [
        web,
        { ...web, trafficRuleId: "x", trafficFilter: [{ uri: ["http://a"] }, { srcTunnelPort: ["2152"], qCI: 5 }] },
        { ...web, trafficRuleId: "y", filterType: "PACKET" },
        { ...web, trafficRuleId: "z", trafficFilter: [{ dstAddress: ["192.0.2.7"] }] },
        { ...web, trafficRuleId: "w", dstInterface: [{ interfaceType: "IP", dstIpAddress: "10.60.0.1" }] },
      ],
      [{ ...name, ipAddressType: "IP_V6", ipAddress: undefined }],
    );
    const instance = { id: "a1", provider: "acme", addresses: ["10.60.0.20"] } as never;
    const error = await one.rules.configure(instance, appd).catch((caught: unknown) => caught);
    assert.equal(
      (error as { extras: { errors: { field: string }[] } }).extras.errors.map(({ field }) => field).sort(),
      [
        "appDNSRule.0.ipAddress",
        "appTrafficRule.1.trafficFilter.0.uri",
        "appTrafficRule.1.trafficFilter.1.qCI",
        "appTrafficRule.1.trafficFilter.1.srcTunnelPort",
        "appTrafficRule.2.filterType",
        "appTrafficRule.3.trafficFilter.0.dstAddress",
        "appTrafficRule.4.dstInterface.0.dstIpAddress",
      ],
    );
    assert.is(one.rules.has("a1"), false);
  }));

test("B3: where the site says ACTIVE, rules are in force once the instance is ready, each that can be", () =>
  withPlatform(
    async (one) => {
      await one.add("a1", [web], [name]);
      assert.equal(names(one), ["app:a1/web"]);
      assert.is(one.dns.records.length, 1);
      await one.add("a2", [web, ads]);
      assert.equal(names(one).sort(), ["app:a1/web", "app:a2/ads", "app:a2/ads#2", "app:a2/ads#3", "app:a2/ads#4"]);
    },
    { initial: "ACTIVE" },
  ));

test("B3: hits of a rule are the sum over all that it compiles to, by direction", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, ads]);
    const none = { packets: 0, bytes: 0 };
    assert.equal((await one.ask("a1", "GET", "/traffic_rules/ads/counters")).body, { uplink: none, downlink: none });
    await one.ask("a1", "PUT", "/traffic_rules/ads", active(ads));
    one.running.dataplane.serviceSamples = [1, 2, 3, 4, 9].flatMap((service) => [
      { service, direction: "uplink" as const, packets: 1n, bytes: 100n },
      { service, direction: "downlink" as const, packets: 2n, bytes: 300n },
    ]);
    assert.equal((await one.ask("a1", "GET", "/traffic_rules/ads/counters")).body, {
      uplink: { packets: 4, bytes: 400 },
      downlink: { packets: 8, bytes: 1200 },
    });
    assert.is((await one.ask("a1", "GET", "/traffic_rules/none/counters")).status, 404);
  }));

test("B2: at a site that has a name server no more, DNS rules are INACTIVE after the start; traffic rules stay", () =>
  withPlatform(async (first) => {
    await first.add("a1", [web], [name]);
    await first.ask("a1", "PUT", "/traffic_rules/web", active(web));
    await first.ask("a1", "PUT", "/dns_rules/name", active(name));
    const second = await first.restart({ dns: noNameService });
    assert.equal(second.rules.dnsRules("a1"), [inactive(name)]);
    assert.is(second.rules.trafficRule("a1", "web")?.state, "ACTIVE");
    assert.is((await second.ask("a1", "PUT", "/dns_rules/name", active(name))).status, 403);
    await second.stop();
  }));

test("B3, B8: management sees the rules of an instance, and how often each was met; the command shows them", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, ads], [name]);
    await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    one.running.dataplane.serviceSamples = [{ service: 1, direction: "uplink", packets: 7n, bytes: 700n }];
    const answer = await one.running.call("GET", "/api/v1/apps/a1/rules");
    const none = { packets: 0, bytes: 0 };
    assert.equal(answer.body, {
      traffic: [
        { rule: active(web), counters: { uplink: { packets: 7, bytes: 700 }, downlink: none } },
        { rule: inactive(ads), counters: { uplink: none, downlink: none } },
      ],
      dns: [inactive(name)],
    });
    assert.equal(rulesLines(answer.body), [
      "TRAFFIC RULE  STATE     PRIO  TYPE    FILTER                                                   ACTION                TO          UPLINK  DOWNLINK",
      "web           ACTIVE    10    FLOW    dstAddress 203.0.113.20 dstPort 80 protocol tcp          FORWARD_DECAPSULATED  10.60.0.20  7       0",
      "ads           INACTIVE  5     PACKET  dstAddress 198.51.100.0/24 | srcAddress 198.51.100.0/24  DROP                  –           0       0",
      "",
      "DNS RULE  STATE     NAME          ADDRESS     TTL",
      "name      INACTIVE  shop.example  10.60.0.20  60 s",
    ]);
    assert.is((await one.running.call("GET", "/api/v1/apps/none/rules")).status, 404);
  }));

test("B3: another configuration brings its own rules and the old ones are gone; the same one changes nothing", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, ads]);
    await one.ask("a1", "PUT", "/traffic_rules/web", active(web));
    await one.add("a1", [web, ads]);
    assert.equal(names(one), ["app:a1/web"], "the same configuration again changes nothing");
    await one.add("a1", [ads]);
    assert.equal([names(one), (await one.ask("a1", "GET", "/traffic_rules")).body], [[], [inactive(ads)]]);
  }));

test.run();
