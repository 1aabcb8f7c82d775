/**
 * Do two appliances work on the same wire, one behind the other (A8, A9, C3)?
 *
 *   phone ~~ base station ── acc0 tof cor0 ── swr ── acc0 tof2 cor0 ── gateway ── Internet
 *                             └ apps0: edge             └ apps0: edge2
 *
 * Real peers. Each appliance has apps, services and a state of its own, and knows nothing of the other.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Appliance } from "../lab/appliance.ts";
import { internet, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { Scene, telling } from "./scene.ts";

const test = suite("row");
let scene: Scene;
let near: Appliance;
let far: Appliance;
let ue: Ue;
const app = "10.60.0.10";

const from = async (address: string): Promise<string> => {
  const answer = await scene.lab.phoneHttp(ue, `http://${address}/`);
  assert.is(answer.client, ue.ip, "whoever answers sees the UE's own address");
  return answer.server;
};
const both = async () => [await from(internet.www), await from(internet.other), await from(internet.host)];
const told = (body: () => Promise<void>) => telling(() => scene, body);
const service = (name: string, serviceIP: string) => ({ name, serviceIP, applicationIP: app });
const packets = async (appliance: Appliance, counter: string) => (await appliance.counters()).get(counter) ?? 0;

/** A second appliance where the lab's wire went to the gateway. */
async function insert(): Promise<void> {
  const m = scene.lab.machines;
  await Promise.all(["tof2", "app2", "swr"].map((name) => m.add(name)));
  await m.ip("tof", `link set cor0 netns ${m.ns("tof2")}`);
  await m.ip("tof2", "link set cor0 up");
  // A switch in between: as adapters of two machines, neither appliance's is the other one's far end.
  await m.ip("swr", "link add br0 type bridge mcast_snooping 0", "link set br0 up");
  for (const [machine, adapter, port] of [
    ["tof", "cor0", "p0"],
    ["tof2", "acc0", "p1"],
  ] as const) {
    await m.wire(machine, adapter, "swr", port);
    await m.ip("swr", `link set ${port} master br0`);
    await m.asCable("swr", port);
  }
  await m.wire("tof2", "apps0", "app2", "eth0");
  await m.ip("tof2", "addr add 10.60.0.1/24 dev apps0");
  await m.ip("app2", `addr add ${app}/24 dev eth0`, "route add default via 10.60.0.1");
  await scene.lab.server("app2", "edge2", [app]);
}

test.before(async () => {
  scene = await Scene.open({ start: false });
  await insert();
  near = scene.appliance;
  far = scene.own(Object.assign(new Appliance(scene.lab, {}, "tof2"), { close: () => far.destroy() }));
  await near.start();
  await far.start();
});
test.after(async () => {
  await scene?.close();
});

test(
  "A8 A9: a phone attaches through both; both know its one session, by the same tunnels",
  told(async () => {
    ue = await scene.lab.attach(0);
    assert.equal(await both(), ["internet", "internet", "internet"]);
    const tunnels = async (appliance: Appliance) => {
      const session = (await appliance.sessions()).find((one) => one.ue === ue.ip);
      return session?.bearers.map(({ direction, teid }) => `${direction} ${teid}`).sort();
    };
    assert.equal(await tunnels(near), await tunnels(far));
    assert.is((await tunnels(near))?.length, 2);
  }),
);

test(
  "A9: each serves its own services; replies of the far one cross the near one untouched",
  told(async () => {
    await near.addService(service("near", internet.www));
    await far.addService(service("far", internet.other));
    const taken = await packets(near, "take_uplink");
    assert.equal(await both(), ["edge", "edge2", "internet"]);
    assert.ok((await packets(near, "take_uplink")) > taken);
    assert.ok((await packets(far, "take_uplink")) > 0);
    const ping = await scene.lab.phonePing(ue, internet.other, 5);
    assert.is(ping.received, 5);
  }),
);

test(
  "A9: what both serve is taken by the one that the phone's packets meet first",
  told(async () => {
    await far.addService(service("also", internet.www));
    assert.equal(await both(), ["edge", "edge2", "internet"]);
  }),
);

test(
  "C3: bypass on the near one, and the far one takes over what both serve; off, and it is as before",
  told(async () => {
    assert.is((await near.cli("bypass", "on")).code, 0);
    assert.equal(await both(), ["edge2", "edge2", "internet"]);
    assert.is((await near.cli("bypass", "off")).code, 0);
    assert.equal(await both(), ["edge", "edge2", "internet"]);
  }),
);

test(
  "C3: with either agent killed, and with both, all is served as before",
  told(async () => {
    await near.kill();
    assert.equal(await both(), ["edge", "edge2", "internet"]);
    await far.kill();
    assert.equal(await both(), ["edge", "edge2", "internet"]);
    await near.start();
    await far.start();
    assert.equal(await both(), ["edge", "edge2", "internet"]);
  }),
);

test(
  "C3: with the near one down its bridge carries the wire, and the far one serves what it has; and the other way round",
  told(async () => {
    await near.stop();
    assert.is((await near.down()).code, 0);
    assert.equal(await both(), ["edge2", "edge2", "internet"]);
    await near.start();
    // It learns the tunnels from the traffic.
    await until("the near one takes again", async () => (await from(internet.www)) === "edge", 60_000);
    await far.stop();
    assert.is((await far.down()).code, 0);
    assert.equal(await both(), ["edge", "internet", "internet"]);
  }),
);

test.run();
