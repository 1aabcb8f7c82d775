/**
 * Does the wire stay up, and what is taken stay taken, whatever happens to the control plane (DESIGN.md, decision 1)?
 *
 * Two loads run through everything: one that the edge serves, one that passes to the core. Not one question may remain
 * without its answer. Connections that were open stay open.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LoadResult } from "../lab/client.ts";
import { internet, type Ue } from "../lab/lab.ts";
import { sleep, until } from "../lab/netns.ts";
import { inScene, type Scene } from "./scene.ts";

const rate = 400;

/** Loads and connections over `during`; what was lost is the caller's to judge. */
async function underLoad(
  scene: Scene,
  ue: Ue,
  during: () => Promise<void>,
): Promise<{ edge: LoadResult; core: LoadResult }> {
  const { lab } = scene;
  const edgeTcp = await lab.phoneTcp(ue, internet.www);
  const coreTcp = await lab.phoneTcp(ue, internet.host);
  assert.match(edgeTcp.greeting, /^edge /);
  assert.match(coreTcp.greeting, /^internet /);
  const stopEdge = await lab.phoneLoad(ue, internet.www, rate);
  const stopCore = await lab.phoneLoad(ue, internet.host, rate);
  await sleep(300);
  await during();
  await sleep(300);
  const edge = await stopEdge();
  const core = await stopCore();
  await edgeTcp.echo(20_000);
  await coreTcp.echo(20_000);
  await edgeTcp.close();
  await coreTcp.close();
  return { edge, core };
}

function lossless(result: { edge: LoadResult; core: LoadResult }): void {
  assert.equal(result.edge.missing, [], `nothing of ${result.edge.sent} for the edge is lost`);
  assert.equal(result.core.missing, [], `nothing of ${result.core.sent} for the core is lost`);
  assert.equal(Object.keys(result.edge.servers), ["edge"]);
  assert.equal(Object.keys(result.core.servers), ["internet"]);
  assert.is(result.edge.doubled + result.core.doubled, 0);
}

const withPhone = (body: (scene: Scene, ue: Ue) => Promise<void>): (() => Promise<void>) =>
  inScene({ ues: 2 }, async (scene) => {
    const ue = await scene.lab.attach(0);
    assert.is((await scene.lab.phonePing(ue, internet.host)).received, 1);
    await scene.service("www", internet.www);
    await body(scene, ue);
  });

test(
  "kill -9 of the control plane and its return lose no packet, offloaded or not, and end no connection",
  withPhone(async (scene, ue) => {
    const result = await underLoad(scene, ue, async () => {
      await scene.appliance.kill();
      await sleep(1000);
      await scene.appliance.start();
      await sleep(500);
      await scene.appliance.kill();
      await scene.appliance.start();
    });
    lossless(result);
    const [dataplane] = await scene.appliance.api<{ adopted: boolean }[]>("GET", "/api/v1/dataplanes");
    assert.is(dataplane?.adopted, true, "programs and maps were adopted, not made anew");
    assert.ok((await scene.appliance.sessions()).some((one) => one.ue === ue.ip));
  }),
);

test(
  "SIGTERM ends the process with 0 and leaves offloaded traffic flowing; a start afterwards adopts it",
  withPhone(async (scene, ue) => {
    const result = await underLoad(scene, ue, async () => {
      assert.is(await scene.appliance.stop(), 0);
      assert.is((await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server, "edge");
      await scene.appliance.start();
    });
    lossless(result);
  }),
);

test(
  "services survive a restart, and a new phone is served while the control plane is dead",
  withPhone(async (scene) => {
    await scene.appliance.kill();
    const late = await scene.lab.attach(1);
    assert.is((await scene.lab.phonePing(late, internet.host)).received, 1);
    assert.is((await scene.lab.phoneHttp(late, `http://${internet.www}/`)).server, "edge");
    await scene.appliance.start();
    assert.equal(
      (await scene.appliance.api<{ name: string }[]>("GET", "/service")).map((one) => one.name),
      ["www"],
    );
    assert.is((await scene.lab.phoneHttp(late, `http://${internet.www}/`)).server, "edge");
    assert.is((await scene.lab.phoneHttp(late, `http://${internet.other}/`)).server, "internet");
  }),
);

test(
  "adding, changing and deleting services under load loses nothing of the others",
  withPhone(async (scene, ue) => {
    const result = await underLoad(scene, ue, async () => {
      for (let n = 0; n < 20; n++) {
        await scene.service(`s${n}`, `192.88.99.${n + 1}`);
        if (n % 3 === 0) await scene.appliance.api("DELETE", `/service/s${n}`);
      }
    });
    lossless(result);
  }),
);

test(
  "bypass is instant: all goes to the core, and back to the edge when it ends",
  withPhone(async (scene, ue) => {
    const server = async (): Promise<string> => (await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server;
    assert.is(await server(), "edge");
    const on = await scene.appliance.cli("bypass", "on");
    assert.is(on.code, 0, on.stderr);
    assert.is(await server(), "internet");
    const off = await scene.appliance.cli("bypass", "off");
    assert.is(off.code, 0, off.stderr);
    assert.is(await server(), "edge");
  }),
);

test(
  "observe mode learns and counts but takes nothing",
  inScene({ site: { mode: "observe" } }, async (scene) => {
    await scene.service("www", internet.www);
    const ue = await scene.lab.attach(0);
    assert.is((await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server, "internet");
    assert.ok((await scene.appliance.sessions()).some((one) => one.ue === ue.ip));
    assert.ok(((await scene.appliance.counters()).get("pass_observe") ?? 0) > 0);
  }),
);

test(
  "down leaves the wire: the core answers, the edge no longer; the next run takes up again",
  withPhone(async (scene, ue) => {
    const server = async (): Promise<string> => (await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server;
    assert.is(await server(), "edge");
    await scene.appliance.stop();
    const down = await scene.appliance.down();
    assert.is(down.code, 0, down.stderr);
    assert.is(await server(), "internet");
    await scene.appliance.start();
    assert.is((await scene.lab.phonePing(ue, internet.host)).received, 1);
    assert.is(await server(), "edge");
  }),
);

/** What of the adapters an operator would compare: everything but counters, times and the kernel's own moods. */
async function adapters(scene: Scene): Promise<unknown> {
  type Link = Record<string, unknown> & { ifname: string };
  const links = JSON.parse((await scene.lab.exec("tof", ["ip", "-j", "-d", "link", "show"])).stdout) as Link[];
  const features = [];
  for (const adapter of ["acc0", "cor0", "apps0"]) {
    const { stdout } = await scene.lab.exec("tof", ["ethtool", "-k", adapter]);
    features.push([adapter, stdout.split("\n").filter((line) => /: (on|off)/.test(line) && !line.includes("[fixed]"))]);
  }
  const kept = ["ifname", "flags", "mtu", "master", "operstate", "address", "promiscuity", "xdp", "qdisc"];
  return [links.map((link) => Object.fromEntries(kept.map((name) => [name, link[name] ?? null]))), features];
}

test(
  "down --unwire leaves the interfaces as they were found",
  inScene({ start: false }, async (scene) => {
    const before = await adapters(scene);
    await scene.appliance.start();
    const ue = await scene.lab.attach(0);
    assert.is((await scene.lab.phonePing(ue, internet.host)).received, 1);
    await scene.appliance.stop();
    const down = await scene.appliance.down("--unwire");
    assert.is(down.code, 0, down.stderr);
    assert.equal(await adapters(scene), before);
  }),
);

test(
  "A1: without any peers or pools in the configuration, base stations, gateways and UEs are found by themselves",
  inScene({ site: { peers: false } }, async (scene) => {
    await scene.service("www", internet.www);
    const ue = await scene.lab.attach(0);
    assert.is((await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server, "edge");
    assert.is((await scene.lab.phoneHttp(ue, `http://${internet.other}/`)).server, "internet");
  }),
);

test(
  "an idle tunnel is purged after the configured time, and learnt again (A9)",
  inScene({ site: { idleTimeout: "2s" } }, async (scene) => {
    const ue = await scene.lab.attach(0);
    const known = async (): Promise<boolean> => (await scene.appliance.sessions()).some((one) => one.ue === ue.ip);
    assert.is((await scene.lab.phonePing(ue, internet.host)).received, 1);
    assert.is(await known(), true);
    for (let tries = 0; tries < 40 && (await known()); tries++) await sleep(250);
    assert.is(await known(), false);
    await scene.service("www", internet.www);
    assert.is((await scene.lab.phoneHttp(ue, `http://${internet.www}/`)).server, "edge");
  }),
);

test(
  "A6: apps may be routed, not only on link",
  inScene({ routedApp: true }, async (scene) => {
    await scene.service("www", internet.www);
    const ue = await scene.lab.attach(0);
    const answer = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=300000&seed=2`);
    assert.is(answer.server, "edge");
    assert.is(answer.client, ue.ip);
    assert.is(answer.bytes, 300_000);
  }),
);

test(
  "the loss of one side's link is shown to the other, and its return as well",
  inScene({}, async (scene) => {
    const { lab } = scene;
    const ue = await lab.attach(0);
    assert.is((await lab.phonePing(ue, internet.host)).received, 1);
    const carrier = async (ns: string): Promise<string> =>
      (await lab.exec(ns, ["cat", "/sys/class/net/eth0/carrier"])).stdout.trim();
    for (const [lost, shown] of [
      ["core0", "ran0"],
      ["ran0", "core0"],
    ] as const) {
      await lab.machines.ip(lost, "link set eth0 down");
      await until(`no carrier at ${shown}`, async () => (await carrier(shown)) === "0", 5000);
      await lab.machines.ip(lost, "link set eth0 up");
      await until(`a carrier at ${shown}`, async () => (await carrier(shown)) === "1", 5000);
    }
    assert.is((await lab.phonePing(ue, internet.host, 3)).received, 3);
  }),
);

test.run();
