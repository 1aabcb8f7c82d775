/**
 * Does kill -9 of the whole `offramp run`, at any step of the life of an instance that runs here, leave nothing that no record
 * knows: no program, container, link, firewall, rule or credential (B7)?
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { inNamespace } from "../../ebpf/namespace.ts";
import { externalAppD, goodPackage } from "../packages/zip.ts";
import { draw, Site } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

let site: Site;
const packages = "/app_pkgm/v1/app_packages";
const instances = "/app_lcm/v1/app_instances";
const unit = `${instances}/unit`;

const zip = goodPackage(
  externalAppD({
    appTrafficRule: [
      {
        trafficRuleId: "web",
        filterType: "FLOW",
        priority: 1,
        trafficFilter: [{ dstAddress: ["203.0.113.20"] }],
        action: "FORWARD_DECAPSULATED",
        dstInterface: [{ interfaceType: "IP" }],
      },
    ],
    "x-offramp": {
      runtime: { kind: "unit", command: ["/usr/bin/sleep", "3600"], limits: { cpu: 0.1, memory: 64 << 20, pids: 16 } },
    },
  }),
);

interface Info {
  instantiationState: string;
  instantiatedAppState?: { operationalState: string };
}
const info = (): Promise<Info> => site.must("GET", unit);
const state = async (): Promise<string> => {
  const { instantiationState, instantiatedAppState } = await info();
  return instantiatedAppState?.operationalState ?? instantiationState;
};
const ask = (task: string, body: object = {}) => site.call("POST", `${unit}/${task}`, body);
const operate = async (task: string, body: object = {}) => {
  const reply = await ask(task, body);
  assert.is(reply?.status, 202, JSON.stringify(reply));
  assert.is((await site.settled()).at(-1)?.operationState, "COMPLETED", site.log.slice(-3000));
};
const stop = { changeStateTo: "STOPPED" };
const start = { changeStateTo: "STARTED" };
const end = { terminationType: "FORCEFUL" };
/** It has confirmed, and its rule steers. */
const activate = async () => {
  await site.prove("unit");
  const own = "/mec_app_support/v1/applications/unit";
  assert.is((await site.app("unit", "POST", `${own}/confirm_ready`, { indication: "READY" }))?.status, 204);
  const { body } = (await site.app("unit", "GET", `${own}/traffic_rules/web`)) ?? {};
  assert.is((await site.app("unit", "PUT", `${own}/traffic_rules/web`, { ...body, state: "ACTIVE" }))?.status, 200);
};

test("set-up", async () => {
  site = await Site.make();
  const { id } = await site.must("POST", packages, { appPkgName: "a", appPkgVersion: "1" });
  assert.is((await site.upload(`${packages}/${id}`, zip))?.status, 202);
  await site.must("POST", instances, { appDId: "com.example.cache", id: "unit" });
});

test("B7: killed while it is instantiated, stopped, started, terminated", async () => {
  await site.trial({
    what: "instantiation",
    kills: 4,
    act: () => ask("instantiate"),
    done: async () => (await state()) === "STARTED",
    undo: () => operate("terminate", end),
  });
  await activate();
  await site.trial({
    what: "stop",
    kills: 3,
    act: () => ask("operate", stop),
    done: async () => (await state()) === "STOPPED",
    undo: async () => {
      await operate("operate", start);
      await activate();
    },
  });
  await site.trial({
    what: "start",
    kills: 3,
    act: () => ask("operate", start),
    done: async () => (await state()) === "STARTED",
    undo: () => operate("operate", stop),
  });
  await activate();
  await site.trial({
    what: "termination",
    kills: 4,
    act: () => ask("terminate", end),
    done: async () => (await state()) === "NOT_INSTANTIATED",
    undo: async () => {
      await operate("instantiate");
      await activate();
    },
  });
  assert.ok(site.deaths >= 10, `killed ${site.deaths} times`);
});

test("B7: killed at any step of whatever it is doing, four times: its life goes on, and it is whole each time", async () => {
  for (let round = 0; round < 4; round += 1) {
    const now = await state();
    const next =
      now === "STARTED"
        ? draw() < 0.5
          ? ["operate", stop]
          : ["terminate", end]
        : now === "STOPPED"
          ? ["operate", start]
          : ["instantiate", {}];
    site.fate.at("*", 1 + Math.floor(draw() * 60));
    const reply = await ask(...(next as [string, object]));
    await site.settled();
    const told = `${JSON.stringify(next)} of one ${now}, answered ${reply?.status}`;
    if (site.dead) await site.start();
    else site.fate.never();
    const last = (await site.settled()).at(-1)?.operationState;
    if (reply) assert.equal([reply.status, last], [202, "COMPLETED"], told);
    await site.whole(told);
  }
});

test("B7: deleted, nothing of it is left", async () => {
  if ((await state()) !== "NOT_INSTANTIATED") await operate("terminate", end);
  await site.must("DELETE", unit);
  await site.whole("deleted");
});

test.after(async () => {
  await site?.close();
});

test.run();
