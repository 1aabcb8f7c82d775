/** Do the rules of an app whose program is missing stand aside, with nothing forgotten, and come back with it (B2, B3, B7)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DataplaneError } from "../../../dataplane/dataplane.ts";
import { webRule } from "../fixtures.ts";
import { type Platform, withPlatform } from "./harness.ts";

const web = webRule();
const name = { dnsRuleId: "name", domainName: "shop.example", ipAddressType: "IP_V4", ipAddress: "10.60.0.20" };
const active = (rule: object) => ({ ...rule, state: "ACTIVE" });

const steered = ({ running, dns }: Platform) => [
  ...running.dataplane.steering.rules.map((rule) => rule.name),
  ...dns.records.map((record) => record.name),
];

async function add(one: Platform, id: string): Promise<void> {
  await one.add(id, [web], [name]);
  assert.is((await one.ask(id, "PUT", "/traffic_rules/web", active(web))).status, 200);
  assert.is((await one.ask(id, "PUT", "/dns_rules/name", active(name))).status, 200);
}

test("B7: gone, its rules stand aside and stay ACTIVE; ready again, they are back", () =>
  withPlatform(async (one) => {
    await add(one, "a1");
    const all = ["app:a1/web", "shop.example"];
    assert.equal(steered(one), all);
    for (let round = 0; round < 3; round += 1) {
      await Promise.all([one.rules.absent({ id: "a1" }), one.rules.absent({ id: "a1" })]);
      assert.equal(steered(one), []);
      assert.equal(one.rules.trafficRules("a1"), [active(web)]);
      assert.equal(one.rules.dnsRules("a1"), [active(name)]);
      await one.rules.ready({ id: "a1" });
      assert.equal(steered(one), all);
    }
    await one.rules.absent({ id: "a1" });
    await one.rules.deactivate({ id: "a1" });
    await one.rules.ready({ id: "a1" });
    assert.equal(steered(one), [], "what went off with the instance does not come back");
    await one.rules.absent({ id: "nobody" });
  }));

test("B7: at a start, rules of programs that are missing are not in the first steering", () => {
  const missing = new Set<string>();
  return withPlatform(
    async (one) => {
      await add(one, "a1");
      const there = await one.restart();
      assert.equal(there.running.dataplane.steering.rules.length, 1);
      missing.add("a1");
      const next = await there.restart();
      assert.equal(
        next.running.dataplane.applied.flatMap(({ rules }) => rules),
        [],
      );
      assert.equal(steered(next), []);
      assert.equal(next.rules.trafficRules("a1"), [active(web)]);
      await next.rules.ready({ id: "a1" });
      assert.equal(steered(next), ["app:a1/web", "shop.example"]);
      await next.running.agent.stop();
    },
    { absent: (id) => missing.has(id) },
  );
});

test("B3: what stands aside keeps its place: nobody else gets its packets at its priority, and nothing is lost when it cannot come back", () =>
  withPlatform(async (one) => {
    await add(one, "a1");
    await one.add("a2", [web]);
    await one.rules.absent({ id: "a1" });
    const refused = await one.ask("a2", "PUT", "/traffic_rules/web", active(web));
    assert.is(refused.status, 403);
    assert.match(refused.body.detail, "app:a1/web");
    one.running.dataplane.refuse = new DataplaneError("no room", "rules");
    const failed = await one.rules.ready({ id: "a1" }).catch((error) => error.status);
    assert.is(failed, 503);
    assert.equal(steered(one), []);
    one.running.dataplane.refuse = undefined;
    await one.rules.ready({ id: "a1" });
    assert.equal(steered(one), ["app:a1/web", "shop.example"]);
  }));

test.run();
