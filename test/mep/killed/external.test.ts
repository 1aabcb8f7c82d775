/**
 * Is what was answered there after kill -9 of the whole `offramp run`, and nothing else: packages, instances on machines of their
 * own, their services, subscriptions and rules (B1, B3, B6, B7)?
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { inNamespace } from "../../ebpf/namespace.ts";
import { offer } from "../fixtures.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";
import { Site } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

let site: Site;
const packages = "/app_pkgm/v1/app_packages";
const instances = "/app_lcm/v1/app_instances";
const support = "/mec_app_support/v1/applications/one";
const services = "/mec_service_mgmt/v1/applications/one";

const rule = (trafficRuleId: string, address: string) => ({
  trafficRuleId,
  filterType: "FLOW",
  priority: 1,
  trafficFilter: [{ dstAddress: [address] }, { dstAddress: ["203.0.113.30"], protocol: ["17"] }],
  action: "FORWARD_DECAPSULATED",
  dstInterface: [{ interfaceType: "IP", dstIPAddress: "10.60.0.10" }],
});
const name = {
  dnsRuleId: "shop",
  domainName: "shop.example",
  ipAddressType: "IP_V4",
  ipAddress: "10.60.0.10",
  ttl: 60,
};
const zip = goodPackage(
  externalAppD({
    appTrafficRule: [rule("web", "203.0.113.20")],
    appDNSRule: [name],
    appServiceProduced: [{ serName: "camera", version: "1.0" }],
  }),
);

interface Info {
  id: string;
  onboardingState?: string;
  instantiationState?: string;
  instantiatedAppState?: { operationalState: string };
  "x-offramp"?: { configured: boolean; ready: boolean };
}
const listed = (path: string): Promise<Info[]> => site.must("GET", path);
const one = async (): Promise<Info | undefined> => (await listed(instances)).find(({ id }) => id === "one");
const operate = async (task: string, body: object = {}) => {
  await site.must("POST", `${instances}/one/${task}`, body);
  for (const { operationState } of (await site.settled()).slice(-1)) assert.is(operationState, "COMPLETED");
};
const ready = async () => {
  await site.prove("one");
  assert.is((await site.app("one", "POST", `${support}/confirm_ready`, { indication: "READY" }))?.status, 204);
};
const drop = async () => {
  for (const { id, onboardingState } of await listed(packages)) {
    if (onboardingState === "ONBOARDED")
      await site.must("PATCH", `${packages}/${id}`, { operationalState: "DISABLED" });
    await site.must("DELETE", `${packages}/${id}`);
  }
};
const onlyPackage = async (): Promise<string> => (await listed(packages))[0]?.id ?? "";

test("set-up", async () => {
  site = await Site.make();
});

test("B6: a package is made and onboarded", async () => {
  await site.trial({
    what: "POST of a package",
    kills: 2,
    act: () => site.call("POST", packages, { appPkgName: "a", appPkgVersion: "1" }),
    done: async () => (await listed(packages)).length === 1,
    undo: drop,
  });
  await site.trial({
    what: "PUT of its content",
    kills: 3,
    act: async () => site.upload(`${packages}/${await onlyPackage()}`, zip),
    done: async () => (await listed(packages))[0]?.onboardingState === "ONBOARDED",
    undo: async () => {
      await drop();
      await site.must("POST", packages, { appPkgName: "a", appPkgVersion: "1" });
    },
  });
});

test("B7: an instance is made, configured and instantiated", async () => {
  await site.trial({
    what: "POST of an instance",
    kills: 2,
    act: () => site.call("POST", instances, { appDId: "com.example.cache", id: "one" }),
    done: async () => (await one()) !== undefined,
    undo: () => site.must("DELETE", `${instances}/one`),
  });
  await site.trial({
    what: "configuration",
    kills: 3,
    act: () => site.call("POST", `${instances}/one/configure_platform_for_app`, {}),
    done: async () => (await one())?.["x-offramp"]?.configured === true,
    undo: async () => {
      await site.must("DELETE", `${instances}/one`);
      await site.must("POST", instances, { appDId: "com.example.cache", id: "one" });
    },
  });
  await site.trial({
    what: "instantiation",
    kills: 3,
    act: () => site.call("POST", `${instances}/one/instantiate`, {}),
    done: async () => (await one())?.instantiationState === "INSTANTIATED",
    undo: () => operate("terminate", { terminationType: "FORCEFUL" }),
  });
});

test("B1: it says that it is ready, offers a service and subscribes", async () => {
  const isReady = async () => (await one())?.["x-offramp"]?.ready === true;
  await site.prove("one");
  await site.trial({
    what: "confirm_ready",
    kills: 2,
    act: () => site.app("one", "POST", `${support}/confirm_ready`, { indication: "READY" }),
    done: isReady,
    undo: async () => {
      await operate("operate", { changeStateTo: "STOPPED" });
      await operate("operate", { changeStateTo: "STARTED" });
    },
  });
  const found = async (path: string) => (await site.app("one", "GET", path))?.body;
  const gone = async (path: string) => assert.is((await site.app("one", "DELETE", path))?.status, 204);
  await site.trial({
    what: "POST of a service",
    kills: 3,
    act: () => site.app("one", "POST", `${services}/services`, offer()),
    done: async () => (await found(`${services}/services`)).length === 1,
    undo: async () => {
      for (const { serInstanceId } of await found(`${services}/services`)) {
        await gone(`${services}/services/${serInstanceId}`);
      }
    },
  });
  const subscriptions = async (): Promise<{ href: string }[]> =>
    (await found(`${services}/subscriptions`))._links.subscriptions ?? [];
  await site.trial({
    what: "POST of a subscription",
    kills: 2,
    act: () =>
      site.app("one", "POST", `${services}/subscriptions`, {
        subscriptionType: "SerAvailabilityNotificationSubscription",
        callbackReference: "http://10.60.0.10/told",
      }),
    done: async () => (await subscriptions()).length === 1,
    undo: async () => {
      for (const { href } of await subscriptions()) await gone(new URL(href).pathname);
    },
  });
});

test("B2, B3: its traffic rule and its DNS rule become ACTIVE", async () => {
  for (const [what, path] of [
    ["PUT of a traffic rule", `${support}/traffic_rules/web`],
    ["PUT of a DNS rule", `${support}/dns_rules/shop`],
  ] as const) {
    const now = async () => (await site.app("one", "GET", path))?.body;
    const { ...given } = await now();
    const put = (state: string) => site.app("one", "PUT", path, { ...given, state });
    await site.trial({
      what,
      kills: 4,
      act: () => put("ACTIVE"),
      done: async () => (await now()).state === "ACTIVE",
      undo: async () => void assert.is((await put("INACTIVE"))?.status, 200),
    });
  }
});

test("B7: it is stopped, terminated and deleted, with all that it had", async () => {
  const activate = async (path: string) => {
    const { body } = (await site.app("one", "GET", path)) ?? {};
    assert.is((await site.app("one", "PUT", path, { ...body, state: "ACTIVE" }))?.status, 200);
  };
  const busy = async () => {
    await ready();
    assert.is((await site.app("one", "POST", `${services}/services`, offer()))?.status, 201);
    await activate(`${support}/traffic_rules/web`);
    await activate(`${support}/dns_rules/shop`);
  };
  await site.trial({
    what: "stop",
    kills: 3,
    act: () => site.call("POST", `${instances}/one/operate`, { changeStateTo: "STOPPED" }),
    done: async () => (await one())?.instantiatedAppState?.operationalState === "STOPPED",
    undo: async () => {
      await operate("operate", { changeStateTo: "STARTED" });
      await busy();
    },
  });
  await operate("operate", { changeStateTo: "STARTED" });
  await busy();
  await site.trial({
    what: "termination",
    kills: 4,
    act: () => site.call("POST", `${instances}/one/terminate`, { terminationType: "FORCEFUL" }),
    done: async () => (await one())?.instantiationState === "NOT_INSTANTIATED",
    undo: async () => {
      await operate("instantiate");
      await busy();
    },
  });
  await site.trial({
    what: "DELETE of the instance",
    kills: 2,
    act: () => site.call("DELETE", `${instances}/one`),
    done: async () => (await one()) === undefined,
    undo: async () => void (await site.must("POST", instances, { appDId: "com.example.cache", id: "one" })),
  });
  assert.ok(site.deaths >= 24, `killed ${site.deaths} times`);
});

test.after(async () => {
  await site?.close();
});

test.run();
