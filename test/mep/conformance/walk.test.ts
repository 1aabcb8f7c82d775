/** Does Mp1 have every resource and method that ETSI's descriptions of GS MEC 011 list, and answer 405 to all others (B1)? */
// needs ../shared
import { test } from "uvu";
import * as assert from "uvu/assert";
import { withMp1 } from "../enablement.ts";
import { category, offer } from "../fixtures.ts";
import { withPlatform } from "../rules/harness.ts";
import { conforming } from "./conforming.ts";
import type { Contract } from "./contract.ts";
import { mec011 } from "./etsi.ts";
import { walk } from "./walk.ts";

const [support, management] = mec011() as [Contract, Contract];
const rules = (path: string) => /traffic_rules|dns_rules/.test(path);
const app = "/applications/{appInstanceId}";

for (const version of ["v1", "v2"]) {
  test(`B1: every path and method of service management, ${version}`, () =>
    withMp1(async ({ call }) => {
      const subscription = {
        subscriptionType: "SerAvailabilityNotificationSubscription",
        callbackReference: "http://10.60.0.10/notify",
        filteringCriteria: { serCategories: [category("video")], states: ["ACTIVE"], isLocal: true },
      };
      const walked = await walk({
        contract: management,
        root: `/mec_service_mgmt/${version}`,
        has: () => true,
        parameters: { appInstanceId: "app1" },
        bodies: {
          [`POST ${app}/services`]: offer("camera", { serCategory: category("video"), livenessInterval: 0 }),
          [`PUT ${app}/services/{serviceId}`]: offer("camera", { livenessInterval: 30 }),
          [`PATCH ${app}/services/{serviceId}/liveness`]: { state: "ACTIVE" },
          [`POST ${app}/subscriptions`]: subscription,
        },
        call: (method, url, body) => call(method, url, { body }),
      });
      assert.equal(walked, { listed: 14, unlisted: 26 });
    }));

  test(`B1: every path and method of application support, ${version}`, () =>
    withMp1(async ({ call, instances }) => {
      const subscription = {
        subscriptionType: "AppTerminationNotificationSubscription",
        callbackReference: "http://10.60.0.10/notify",
        appInstanceId: "app1",
      };
      const endpoint = { uris: ["http://10.60.0.77/"] };
      const walked = await walk({
        contract: support,
        root: `/mec_app_support/${version}`,
        has: (path) => !rules(path),
        parameters: { appInstanceId: "app1" },
        bodies: {
          [`POST ${app}/subscriptions`]: subscription,
          [`POST ${app}/confirm_ready`]: { indication: "READY" },
          [`POST ${app}/confirm_termination`]: { operationAction: "STOPPING" },
          "POST /registrations": {
            appName: "app1",
            appInstanceId: "app1",
            appDId: "appd-app1",
            isInsByMec: true,
            endpoint,
          },
          "PUT /registrations/{appInstanceId}": {
            appName: "app1",
            appInstanceId: "app1",
            appDId: "appd-app1",
            isInsByMec: true,
          },
        },
        before: {
          [`POST ${app}/confirm_termination`]: () => {
            const terminating = { operationAction: "STOPPING" as const, deadline: Date.now() + 60_000 };
            Object.assign(instances.get("app1") ?? {}, { terminating });
          },
        },
        call: (method, url, body) => call(method, url, { body }),
      });
      assert.is(
        walked.listed + walked.unlisted,
        5 * new Set(support.operations.map(({ path }) => path).filter((path) => !rules(path))).size,
      );
    }));

  test(`B2, B3: every path and method of traffic and DNS rules, ${version}`, () =>
    withPlatform(async (one) => {
      const traffic = {
        trafficRuleId: "web",
        filterType: "FLOW",
        priority: 10,
        trafficFilter: [{ dstAddress: ["203.0.113.20"] }],
        action: "DUPLICATE_ENCAPSULATED",
        dstInterface: [
          { interfaceType: "MAC", dstMacAddress: "02:00:00:00:00:10" },
          { interfaceType: "MAC", dstMacAddress: "02:00:00:00:00:11" },
        ],
      };
      const dns = {
        dnsRuleId: "shop",
        domainName: "shop.example",
        ipAddressType: "IP_V4",
        ipAddress: "10.60.0.20",
        ttl: 60,
      };
      await one.add("a1", [traffic], [dns]);
      const check = conforming(one.mp1.app);
      const walked = await walk({
        contract: support,
        root: `/mec_app_support/${version}`,
        has: rules,
        parameters: { appInstanceId: "a1", trafficRuleId: "web", dnsRuleId: "shop" },
        bodies: {
          [`PUT ${app}/traffic_rules/{trafficRuleId}`]: { ...traffic, state: "ACTIVE" },
          [`PUT ${app}/dns_rules/{dnsRuleId}`]: { ...dns, state: "ACTIVE" },
        },
        async call(method, url, body) {
          const answer = await one.mp1.app.inject({
            method: method as "GET",
            url,
            headers: { authorization: "a1", ...(body !== undefined && { "content-type": "application/json" }) },
            ...(body !== undefined && { payload: JSON.stringify(body) }),
          });
          const { statusCode: status, headers, payload: text } = answer;
          check({ method, url, body, status, headers, text });
          return { status, headers };
        },
      });
      assert.equal(walked, { listed: 6, unlisted: 14 });
    }));
}

test.run();
