/**
 * Do traffic rules over Mp1 move the packets of a real phone (B3, B8)?
 *
 * Real peers (sgsnemu, osmo-ggsn), one lab for the whole file; the app is the edge server of the lab.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository } from "../lab/appliance.ts";
import { internet, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { Scene } from "./scene.ts";

const test = suite("rules of apps");
let scene: Scene;
let ue: Ue;
const www = `http://${internet.www}/`;
const appMac = "02:00:00:00:0a:0a";

const rule = (trafficRuleId: string, action: string, priority: number, more: object = {}) => ({
  trafficRuleId,
  filterType: "FLOW",
  priority,
  trafficFilter: [{ dstAddress: [internet.www] }],
  action,
  ...more,
});
const mac = { dstInterface: [{ interfaceType: "MAC", dstMacAddress: appMac }] };
const descriptors = [
  rule("take", "FORWARD_DECAPSULATED", 10, {
    trafficFilter: [{ dstAddress: [internet.www], protocol: ["tcp"], dstPort: ["80"] }],
    dstInterface: [{ interfaceType: "IP" }],
  }),
  rule("shield", "PASSTHROUGH", 5),
  rule("drop", "DROP", 4),
  rule("deaf", "DROP", 3, { filterType: "PACKET", trafficFilter: [{ srcAddress: [internet.www] }] }),
  rule("route", "FORWARD_DECAPSULATED", 2, mac),
  rule("forward", "FORWARD_ENCAPSULATED", 1, mac),
  rule("tap", "DUPLICATE_DECAPSULATED", 0, mac),
];

async function begin(): Promise<void> {
  const { lab, appliance } = scene;
  const file = join(lab.machines.directory, "descriptors.json");
  writeFileSync(file, JSON.stringify(descriptors));
  const script = join(repository, "test/acceptance/rules-agent.ts");
  const started = lab.machines.start("tof", "offramp", [
    ...[process.execPath, "--import", join(repository, "node_modules/tsx/dist/esm/index.mjs"), script],
    ...[appliance.config, file, lab.app.address],
  ]);
  appliance.process = started;
  await until(
    "the agent to be ready",
    async () => {
      if (started.code !== undefined) throw new Error(`it ended with ${started.code}: ${started.log}`);
      return (await appliance.curl("GET", "/readyz", undefined, 2)).status === 200;
    },
    180_000,
  );
}

async function mp1(method: string, path: string, body?: object): Promise<{ status: number; text: string }> {
  const data =
    body === undefined ? [] : ["-H", "content-type: application/json", "--data-binary", JSON.stringify(body)];
  const url = `http://127.0.0.1:8092/mec_app_support/v1/applications/app${path}`;
  const { stdout } = await scene.lab.exec("tof", [
    "curl",
    "-sS",
    "-m",
    "20",
    "-X",
    method,
    "-w",
    "\n%{http_code}",
    ...data,
    url,
  ]);
  const cut = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(cut + 1)), text: stdout.slice(0, cut) };
}

async function put(id: string, state: "ACTIVE" | "INACTIVE"): Promise<void> {
  const found = descriptors.find(({ trafficRuleId }) => trafficRuleId === id);
  const answer = await mp1("PUT", `/traffic_rules/${id}`, { ...found, state });
  assert.is(answer.status, 200, answer.text);
}

/** With the rules on, then all of them off again. */
async function having(ids: string[], body: () => Promise<void>): Promise<void> {
  for (const id of ids) await put(id, "ACTIVE");
  try {
    await body();
  } finally {
    for (const id of ids) await put(id, "INACTIVE");
  }
}

const asked = async (): Promise<string> => (await scene.lab.phoneHttp(ue, www)).server;
const uplinkHits = async (id: string): Promise<{ uplink: number; downlink: number }> => {
  const { text } = await mp1("GET", `/traffic_rules/${id}/counters`);
  const { uplink, downlink } = JSON.parse(text) as Record<"uplink" | "downlink", { packets: number }>;
  return { uplink: uplink.packets, downlink: downlink.packets };
};

/** Lines of tcpdump on the app's machine while `body` runs, until one of them matches. */
async function seenByApp(filter: string[], wanted: RegExp, body: () => Promise<unknown>): Promise<void> {
  const argv = ["tcpdump", "-i", "eth0", "-n", "-e", "-l", "--immediate-mode", "-Z", "root", ...filter];
  const running = scene.lab.machines.start("app", "tcpdump app", argv);
  try {
    await running.said(/listening on/);
    await until(`the app's machine to see ${wanted}`, async () => {
      await body();
      return wanted.test(running.log);
    });
  } finally {
    await running.end("SIGINT");
  }
}

test.before(async () => {
  scene = await Scene.open({ start: false });
  try {
    // Frames that a program sends arrive on a veth only where its peer has GRO.
    await scene.lab.exec("app", ["ethtool", "-K", "eth0", "gro", "on"]);
    await begin();
    ue = await scene.lab.attach(0);
    await until("the Internet to answer the phone", async () => (await asked()) === "internet");
  } catch (error) {
    scene.complain();
    throw error;
  }
});
test.after(async () => {
  await scene?.close();
});

test("B3: PUT ACTIVE and an app that knows nothing of it answers the phone; INACTIVE and the Internet does", async () => {
  await having(["take"], async () => {
    assert.is(await asked(), "edge");
    assert.ok((await uplinkHits("take")).uplink > 0);
  });
  assert.is(await asked(), "internet");
});

test("B3: PASSTHROUGH of a higher priority keeps the phone's packets on their way", async () => {
  await having(["take", "shield"], async () => assert.is(await asked(), "internet"));
});

test("B3: DROP of a flow: the phone gets no answer; afterwards it does", async () => {
  await having(["drop"], async () => {
    assert.is((await scene.lab.phonePing(ue, internet.www, 2)).received, 0);
  });
  assert.is((await scene.lab.phonePing(ue, internet.www, 1)).received, 1);
});

test("B3: DROP of packets from the server alone: what the phone sends goes on, answers do not", async () => {
  await having(["deaf"], async () => {
    assert.is((await scene.lab.phonePing(ue, internet.www, 2)).received, 0);
    const { uplink, downlink } = await uplinkHits("deaf");
    assert.equal([uplink, downlink > 0], [0, true], "answers came, so the questions had gone on");
  });
  assert.is((await scene.lab.phonePing(ue, internet.www, 1)).received, 1);
});

test("B3: FORWARD_DECAPSULATED to a MAC address: the app's machine gets the packet itself, untranslated", async () => {
  await having(["route"], () =>
    seenByApp(["icmp"], new RegExp(`> ${appMac},.* ${ue.ip} > ${internet.www}: ICMP echo request`), () =>
      scene.lab.phonePing(ue, internet.www, 1),
    ),
  );
});

test("B3: FORWARD_ENCAPSULATED to a MAC address: the app's machine gets the frame with its tunnel", async () => {
  await having(["forward"], () =>
    seenByApp(["udp", "port", "2152"], new RegExp(`> ${appMac},.* ${ue.enb}\\.\\d+ > 198\\.18\\.2\\.10\\.2152`), () =>
      scene.lab.phonePing(ue, internet.www, 1),
    ),
  );
});

test("B3: DUPLICATE_DECAPSULATED: the phone is answered as ever, and the app's machine sees both directions", async () => {
  await having(["tap"], async () => {
    const ask = async () => assert.is((await scene.lab.phonePing(ue, internet.www, 1)).received, 1);
    await seenByApp(["icmp"], new RegExp(`> ${appMac},.* ${ue.ip} > ${internet.www}: ICMP echo request`), ask);
    await seenByApp(["icmp"], new RegExp(`> ${appMac},.* ${internet.www} > ${ue.ip}: ICMP echo reply`), ask);
  });
});

test("B3: with the platform killed, what is ACTIVE is ACTIVE; a new one has it in its first steering", async () => {
  await put("take", "ACTIVE");
  await scene.appliance.kill();
  assert.is(await asked(), "edge");
  await begin();
  assert.is(await asked(), "edge");
  assert.is((JSON.parse((await mp1("GET", "/traffic_rules/take")).text) as { state: string }).state, "ACTIVE");
  await put("take", "INACTIVE");
  assert.is(await asked(), "internet");
});

test.run();
