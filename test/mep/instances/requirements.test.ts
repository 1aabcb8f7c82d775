/** Does an app begin only where what it requires is, and is everything that is missing named (GS MEC 010-2 §6.2.1.9; B7)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "../../../controlplane/extension.ts";
import { missingFor, versionFits } from "../../../mep/instances/requirements.ts";
import type { AppD } from "../../../mep/model/appd.ts";
import type { ServiceRequest } from "../../../mep/model/services.ts";
import type { OfferedService, Provided } from "../../../mep/parts.ts";
import { Platform } from "../../../mep/platform.ts";
import { withAgent } from "../../api/harness.ts";
import { until } from "../../lab/netns.ts";
import { offer } from "../fixtures.ts";
import { upload } from "../onboarding.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";

const rest = { type: "REST_HTTP", protocol: "HTTP", version: "1.1", security: {} } as const;
const broker = { type: "MB_TOPIC_BASED", protocol: "MQTT", version: "5.0", security: {} } as const;
const offered: Record<string, OfferedService> = {
  images: { version: "2.1", transport: rest, serializer: "JSON", category: "c" },
  events: { version: "rolling", transport: broker, serializer: "JSON" },
};
const provided: Provided = {
  services: (name) => Object.entries(offered).flatMap(([one, service]) => (one === name ? [service] : [])),
  transports: () => [rest],
};
const missing = (appd: object): string[] =>
  missingFor(appd as AppD, provided).map(({ field, message }) => `${field}: ${message}`);

test("B7: what is there is not missing, and what the app does not require is not looked for", () => {
  const category = { href: "/c", id: "c", name: "c", version: "1" };
  const binding = (transport: object, ...labels: string[]) => ({ transport, serializers: ["JSON", "XML"], labels });
  assert.equal(
    missing({
      appServiceRequired: [
        { serName: "images", version: "2.0" },
        { serName: "images", version: "2", serCategory: category, serTransportDependencies: [binding(rest, "a")] },
        { serName: "events", version: "rolling", serTransportDependencies: [binding(rest, "a"), binding(broker, "b")] },
        { serName: "mine", version: "1" },
      ],
      appServiceProduced: [{ serName: "mine", version: "1" }],
      appServiceOptional: [{ serName: "none", version: "1" }],
      appFeatureOptional: [{ featureName: "UserApps", version: "1" }],
      transportDependencies: [binding(rest, "http"), binding(broker, "mqtt")],
    }),
    [],
  );
  assert.equal(missing({}), []);
});

test("B7: everything that is missing is named, with what to do", () => {
  const binding = (transport: object, serializers: string[], ...labels: string[]) => ({
    transport,
    serializers,
    labels,
  });
  assert.equal(
    missing({
      appServiceRequired: [
        { serName: "none", version: "1" },
        { serName: "images", version: "2.2" },
        { serName: "images", version: "3.0" },
        { serName: "images", version: "2", serCategory: { href: "/d", id: "d", name: "d", version: "1" } },
        { serName: "images", version: "2", serTransportDependencies: [binding(rest, ["XML"], "a")] },
        { serName: "events", version: "1" },
      ],
      appFeatureRequired: [{ featureName: "UserApps", version: "1" }],
      // The broker belongs to both groups.
      transportDependencies: [binding(rest, ["JSON"], "a"), binding(broker, ["JSON"], "a", "b")],
    }),
    [
      'appServiceRequired.0: no service "none" is ACTIVE here: start the app that produces it first',
      'appServiceRequired.1: the service "images" is here in version 2.1, not 2.2',
      'appServiceRequired.2: the service "images" is here in version 2.1, not 3.0',
      'appServiceRequired.3: no service "images" of category d is ACTIVE here: start the app that produces it first',
      'appServiceRequired.4: the service "images" is not here over REST_HTTP HTTP 1.1 with XML',
      'appServiceRequired.5: the service "events" is here in version rolling, not 1',
      'appFeatureRequired.0: this platform does not have the feature "UserApps"',
      "transportDependencies: the platform does not provide REST_HTTP HTTP 1.1 with JSON; MB_TOPIC_BASED MQTT 5.0 with JSON; " +
        "it provides REST_HTTP HTTP 1.1: see mep.transports in site.yaml",
    ],
  );
});

test("versions: the same always fits, a later one of the same first number too, an earlier one never", () => {
  const numbers = fc.array(fc.nat(30), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(numbers, fc.nat(3), fc.integer({ min: 1, max: 9 }), (wanted, at, more) => {
      const text = wanted.join(".");
      assert.ok(versionFits(text, text) && versionFits(`v${text}`, text) && versionFits(`${text}.0`, text));
      const later = [...wanted];
      const place = Math.min(at, later.length);
      later[place] = (later[place] ?? 0) + more;
      assert.is(versionFits(later.join("."), text), place > 0, later.join("."));
      assert.not(versionFits(text, later.join(".")));
    }),
  );
});

test("B7: an app that requires a service begins when another offers it, and 409 names what is missing until then", async () => {
  let platform: Platform | undefined;
  const make = (host: Host) => {
    platform = new Platform(host);
    return platform;
  };
  await withAgent(
    async ({ call, url }) => {
      const onboard = async (appd: Record<string, unknown>) => {
        const created = await call("POST", "/app_pkgm/v1/app_packages", { appPkgName: "a", appPkgVersion: "1" });
        assert.is((await upload(`${url}/app_pkgm/v1/app_packages/${created.body.id}`, goodPackage(appd))).status, 202);
      };
      await onboard(externalAppD({ appDId: "producer", appServiceProduced: [{ serName: "images", version: "1.2" }] }));
      const needs = [{ serName: "images", version: "1.0" }];
      const features = [{ featureName: "LocationService", version: "1" }];
      await onboard(externalAppD({ appDId: "consumer", appServiceRequired: needs, appFeatureRequired: features }));
      const root = "/app_lcm/v1";
      const create = async (appDId: string) => {
        const made = await call("POST", `${root}/app_instances`, { appDId, id: appDId });
        assert.is(made.status, 201, JSON.stringify(made.body));
      };
      const operate = (id: string, task: string, body: object = {}) =>
        call("POST", `${root}/app_instances/${id}/${task}`, body);
      const ended = () =>
        until("operations to end", async () => {
          const { body } = await call("GET", `${root}/app_lcm_op_occs`);
          const all = body as { operationState: string }[];
          return (
            all.every(({ operationState }) => !operationState.endsWith("ING")) && all.map((one) => one.operationState)
          );
        });
      const refused = async (task: string, body?: object): Promise<string[]> => {
        const answer = await operate("consumer", task, body);
        assert.is(answer.status, 409, JSON.stringify(answer.body));
        assert.is(answer.type, "application/problem+json; charset=utf-8");
        return answer.body.errors.map(({ field }: { field: string }) => field);
      };
      await create("producer");
      await create("consumer");
      assert.equal(await refused("instantiate"), ["appServiceRequired.0", "appFeatureRequired.0"]);
      assert.equal(await ended(), [], "no operation was begun");
      // A request may say what it requires instead of the AppD; nothing is looked for until it starts.
      assert.is(
        (await operate("consumer", "configure_platform_for_app", { appServiceRequired: needs, appFeatureRequired: [] }))
          .status,
        202,
      );
      await ended();
      assert.equal(await refused("instantiate"), ["appServiceRequired.0"]);

      assert.is((await operate("producer", "instantiate")).status, 202);
      await ended();
      const registry = platform?.enablement.registry;
      const service = (state: "ACTIVE" | "INACTIVE") =>
        offer("images", { version: "1.2", state }) as unknown as ServiceRequest;
      const made = await registry?.create("producer", service("INACTIVE"));
      assert.equal(await refused("instantiate"), ["appServiceRequired.0"], "INACTIVE is not there");
      await registry?.replace("producer", made?.id ?? "", service("ACTIVE"), () => undefined);
      assert.is((await operate("consumer", "instantiate")).status, 202);
      assert.equal(new Set(await ended()), new Set(["COMPLETED"]));

      assert.is((await operate("consumer", "operate", { changeStateTo: "STOPPED" })).status, 202);
      await ended();
      await registry?.withdraw("producer", made?.id ?? "", () => undefined);
      assert.equal(await refused("operate", { changeStateTo: "STARTED" }), ["appServiceRequired.0"]);
      assert.is(
        (await operate("consumer", "terminate", { terminationType: "FORCEFUL" })).status,
        202,
        "an end requires nothing",
      );
      await ended();
    },
    { extra: "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0 } }", extensions: [make] },
  );
});

test.run();
