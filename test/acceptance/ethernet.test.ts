/**
 * Are clients on plain Ethernet served by the edge, beside phones in tunnels, by the same services?
 *
 * A14, A15: real stations, routers, servers; the wire is Offramp's second data plane. One lab for the first sentences.
 */
import { test as alone, suite } from "uvu";
import * as assert from "uvu/assert";
import type { SessionView } from "../lab/appliance.ts";
import { edgeOnly, internet, internet6, type ScriptedUe } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { pattern, sha256 } from "../lab/pattern.ts";
import { addStations, macOf, reaches, stations, wifi } from "../lab/stations.ts";
import { inScene, Scene } from "./scene.ts";

type StationView = SessionView & {
  dataplane: string;
  station?: { mac: string; gatewayMac: string; vlans: number[] };
};

const apps = { interface: "apps0", address: "10.60.0.1/24", address6: "2001:db8:60::1/64" };
const { first, first6, second, behindRouter } = stations;

/** A site of these data planes alone. */
const siteOf = (...dataplanes: Record<string, unknown>[]) => ({ extra: { dataplanes, apps } });

const sessionOf = async (scene: Scene, ue: string): Promise<StationView | undefined> =>
  ((await scene.appliance.sessions()) as StationView[]).find((one) => one.ue === ue);
const served = async (scene: Scene, from: ScriptedUe, url: string): Promise<string> => {
  const answer = await scene.lab.phoneHttp(from, url);
  assert.is(answer.client, from.ip, "whoever answers sees the client's own address");
  return answer.server;
};

/** A scene whose appliance has the wire of stations alone. */
async function fixedAccess(tags?: string): Promise<Scene> {
  const scene = await Scene.open({ ues: 0, realCore: false, start: false, site: siteOf(wifi()) });
  try {
    await addStations(scene.lab, tags);
    await scene.appliance.start();
    return scene;
  } catch (error) {
    scene.complain();
    await scene.close();
    throw error;
  }
}

for (const [name, tags, vlans] of [
  ["untagged", undefined, []],
  ["in a VLAN", "8100:10", [10]],
  ["in QinQ", "88a8:100,8100:200", [100, 200]],
] as const) {
  const test = suite(name);
  let scene: Scene;
  test.before(async () => {
    scene = await fixedAccess(tags);
  });
  test.before.each(() => scene.clear());
  test.after(() => scene?.close());

  test(`A14: ${name}: stations reach the Internet through Offramp, which learns their MACs and their gateway's`, async () => {
    await reaches(scene.lab, first, internet.host);
    assert.is(await served(scene, first, `http://${internet.www}/`), "internet");
    const session = await sessionOf(scene, first.ip);
    assert.equal(session?.station, {
      mac: await macOf(scene.lab, "sta0"),
      gatewayMac: await macOf(scene.lab, "gw"),
      vlans: [...vlans],
    });
    assert.is(session?.state, "up");
    assert.is(session?.dataplane, "wifi");
  });

  test(`A14: ${name}: a service is answered by the edge, for each station and for clients behind a router`, async () => {
    await scene.service("www", internet.www);
    for (const from of [first, second, behindRouter]) {
      await reaches(scene.lab, from, internet.host);
      assert.is(await served(scene, from, `http://${internet.www}/`), "edge", from.ns);
      assert.is(await served(scene, from, `http://${internet.other}/`), "internet", from.ns);
    }
    const router = await sessionOf(scene, behindRouter.ip);
    assert.is(router?.station?.mac, await macOf(scene.lab, "home"));
  });

  test(`A14: ${name}: TCP, UDP and ICMP, in fragments as well, 1 MB each way intact`, async () => {
    await scene.service("local", edgeOnly.service);
    const url = `http://${edgeOnly.service}/`;
    const down = await scene.lab.phoneHttp(first, `${url}data?bytes=1000000&seed=5`);
    assert.is(down.sha256, sha256(pattern(1_000_000, 5)));
    const body = "0123456789abcdef".repeat(62_500);
    const up = await scene.lab.phoneHttp(first, `${url}digest`, { method: "POST", body });
    assert.is((JSON.parse(up.text) as { sha256: string }).sha256, sha256(Buffer.from(body)));
    assert.is((await scene.lab.phoneUdp(second, edgeOnly.service)).client, second.ip);
    assert.is((await scene.lab.phonePing(first, edgeOnly.service, 2)).received, 2);
    assert.is((await scene.lab.phonePing(first, edgeOnly.service, 1, ["-s", "3000"])).received, 1);
  });

  test(`A14: ${name}: IPv6`, async () => {
    await reaches(scene.lab, first6, internet6.host);
    await scene.service("six", edgeOnly.service6, "2001:db8:60::10");
    assert.is(await served(scene, first6, `http://[${edgeOnly.service6}]/`), "edge");
    assert.is(await served(scene, first6, `http://[${internet6.www}]/`), "internet");
    const session = await sessionOf(scene, first6.ip);
    assert.is(session?.station?.mac, await macOf(scene.lab, "sta0"));
  });

  test(`A14: ${name}: iperf3 both ways to the edge, every packet of it taken`, async () => {
    await scene.service("local", edgeOnly.service);
    const server = scene.lab.machines.start("app", "iperf3", [
      "iperf3",
      "-s",
      "-B",
      scene.lab.app.address,
      "--forceflush",
    ]);
    await server.said(/listening/);
    // Tags are put on in user space.
    const megabytes = tags === undefined ? 20 : 2;
    for (const way of [[], ["-R"]]) {
      const argv = ["iperf3", "-J", "-c", edgeOnly.service, "-B", first.ip, "-n", `${megabytes}M`, "-l", "8K", ...way];
      const { stdout, code } = await scene.lab.exec(first.ns, argv, { timeoutMs: 120_000 });
      assert.is(code, 0, stdout.slice(-2000));
      const { sum_sent, sum_received } = JSON.parse(stdout).end;
      // Of the last window the one side does not know yet what the other has.
      assert.ok(
        sum_sent.bytes >= megabytes << 20 && sum_received.bytes > 0,
        JSON.stringify({ way, sum_sent, sum_received }),
      );
    }
    await server.end();
    const counters = await scene.appliance.counters();
    for (const counter of ["drop_no_flow", "drop_redirect", "pass_mid_connection", "pass_unproven", "pass_malformed"]) {
      assert.is(counters.get(counter), 0, counter);
    }
  });

  test.run();
}

alone("A14: kill -9: stations are served on, and the next run adopts what it finds", async () => {
  const scene = await fixedAccess();
  try {
    await scene.service("www", internet.www);
    await reaches(scene.lab, first, internet.host);
    const connection = await scene.lab.phoneTcp(first, internet.www);
    assert.match(connection.greeting, "edge");
    await scene.appliance.kill();
    await connection.echo(3000);
    assert.is(await served(scene, second, `http://${internet.www}/`), "edge", "new to a dead control plane");
    await scene.appliance.start();
    const [plane] = await scene.appliance.api<{ adopted: boolean; plugin: string }[]>("GET", "/api/v1/dataplanes");
    assert.is(plane?.adopted, true);
    assert.is(plane?.plugin, "ethernet");
    await connection.echo(3000);
    assert.ok((await sessionOf(scene, second.ip))?.station);
    const listed = await scene.appliance.cli("sessions", "--ue", second.ip);
    assert.match(listed.stdout, await macOf(scene.lab, "sta1"));
    assert.match(listed.stdout, "untagged");
    await connection.close();
  } finally {
    await scene.close();
  }
});

alone(
  "A14: the address moves to another station when the core side sends to it there; its connection to the edge goes on",
  async () => {
    const scene = await fixedAccess();
    try {
      await scene.service("www", internet.www);
      await reaches(scene.lab, first, internet.host);
      assert.is(await served(scene, first, `http://${internet.www}/`), "edge");
      // The same address, another adapter: a virtual machine that migrates, a router that fails over.
      await scene.lab.machines.ip("sta0", `addr del ${first.ip}/24 dev eth0`);
      await scene.lab.machines.ip("sta1", `addr add ${first.ip}/24 dev eth0`);
      await scene.lab.exec("gw", ["ip", "neigh", "flush", "dev", "eth0"]);
      const moved = { ...second, ip: first.ip };
      await reaches(scene.lab, moved, internet.host);
      const mac = await macOf(scene.lab, "sta1");
      await until("the session to move", async () => {
        await scene.lab.phonePing(moved, internet.host);
        return (await sessionOf(scene, first.ip))?.station?.mac === mac;
      });
      assert.is(await served(scene, moved, `http://${internet.www}/`), "edge");
    } finally {
      await scene.close();
    }
  },
);

alone(
  "A15: phones in tunnels and stations on Ethernet share services, each answered on its own wire; an address lives on one",
  inScene({ ues: 2, start: false, site: { peers: false, idleTimeout: "15s" } }, async (scene) => {
    await addStations(scene.lab);
    const s1 = {
      ...{ name: "s1", access: "acc0", core: "cor0", idleTimeout: "15s" },
      pinger: { target: internet.host, interval: "200ms", giveUp: "5s" },
    };
    scene.appliance.configure(siteOf(s1, wifi({ uePools: [], idleTimeout: "15s" })));
    await scene.appliance.start();
    const phone = await scene.lab.attach(0);
    await reaches(scene.lab, phone, internet.host);
    await reaches(scene.lab, first, internet.host);
    await scene.service("www", internet.www);
    for (let round = 0; round < 3; round++) {
      const both = await Promise.all([phone, first].map((from) => served(scene, from, `http://${internet.www}/`)));
      assert.equal(both, ["edge", "edge"]);
    }
    assert.is((await sessionOf(scene, phone.ip))?.dataplane, "s1");
    assert.is((await sessionOf(scene, first.ip))?.dataplane, "wifi");

    // A station takes the phone's address: it passes there, and is told with both names.
    const events = scene.lab.machines.start("tof", "events", ["curl", "-sN", "http://127.0.0.1:8090/api/v1/events"]);
    await events.said(/: hello/);
    const thief = { ...second, ip: phone.ip };
    await scene.lab.machines.ip("sta1", `addr add ${phone.ip}/32 dev eth0`);
    await scene.lab.phonePing(thief, internet.www, 2);
    const said = await events.said(/data: (\{.*"overlap".*\})/);
    const event = JSON.parse(said[1]!);
    assert.equal([event.dataplane, event.other, event.ue], ["s1", "wifi", phone.ip]);
    assert.ok(((await scene.appliance.counters()).get("pass_other_dataplane") ?? 0) > 0);
    assert.is(await served(scene, phone, `http://${internet.www}/`), "edge", "the phone keeps its address");
    assert.is((await sessionOf(scene, phone.ip))?.dataplane, "s1");

    // When the phone is gone and its session has expired, the station may have it.
    await scene.lab.detach(phone);
    await until(
      "the address to be the station's",
      async () => {
        await scene.lab.phonePing(thief, internet.www, 1, ["-W", "1"]);
        return (await sessionOf(scene, phone.ip))?.dataplane === "wifi";
      },
      90_000,
    );
    await events.end();
  }),
);
alone.run();
