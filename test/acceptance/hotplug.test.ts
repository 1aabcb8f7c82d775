/**
 * A13: does traffic of one data plane lose anything while another is added, changed and removed, again and again, with the
 * control plane killed in between?
 *
 * Numbered questions to edge and core, TCP connections and iperf3 run all the time through the first wire, which is itself
 * changed in place; what is quiet meanwhile must not be taken for idle, however long it takes. The second wire joins two machines that ping each other:
 *
 *   ran9 (198.18.9.1) ═ acc1 ── s2 ── cor1 ═ core9 (198.18.9.2)
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse, stringify } from "yaml";
import { internet, type Ue } from "../lab/lab.ts";
import { sleep, until } from "../lab/netns.ts";
import { inScene, type Scene } from "./scene.ts";

const rate = 200;
const s2 = { name: "s2", access: "acc1", core: "cor1", uePools: ["10.99.0.0/16"] };

interface Site {
  dataplanes: { name: string; [setting: string]: unknown }[];
  limits?: Record<string, number>;
  [section: string]: unknown;
}

async function secondWire({ lab: { machines } }: Scene): Promise<void> {
  for (const [name, adapter, address] of [
    ["ran9", "acc1", "198.18.9.1"],
    ["core9", "cor1", "198.18.9.2"],
  ] as const) {
    await machines.add(name);
    await machines.wire("tof", adapter, name, "eth0");
    await machines.asCable(name, "eth0");
    await machines.ip(name, `addr add ${address}/24 dev eth0`);
  }
}

const crosses = async ({ lab }: Scene, pings = 1): Promise<boolean> =>
  (await lab.exec("ran9", ["ping", "-c", String(pings), "-i", "0.2", "-W", "1", "198.18.9.2"])).code === 0;

const planes = ({ appliance }: Scene) =>
  appliance.api<{ name: string; mode: string; origin: string; adopted: boolean }[]>("GET", "/api/v1/dataplanes");

function edit({ appliance }: Scene, change: (site: Site) => void): void {
  const site = parse(readFileSync(appliance.config, "utf8")) as Site;
  change(site);
  writeFileSync(appliance.config, stringify(site));
}

async function reload(scene: Scene): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await scene.appliance.cli("reload", "--config", scene.appliance.config, "--json");
  assert.is(code, 0, stderr);
  return JSON.parse(stdout);
}

/** Loads and connections over `during`; not one packet may be lost, and no connection end. */
async function losesNothing(scene: Scene, ue: Ue, during: () => Promise<void>): Promise<void> {
  const { lab } = scene;
  const server = lab.machines.start("app", "iperf3 server", ["iperf3", "-s", "-1", "--forceflush"]);
  await server.said(/Server listening/);
  const tcp = await lab.phoneTcp(ue, internet.www);
  const stops = [await lab.phoneLoad(ue, internet.www, rate), await lab.phoneLoad(ue, internet.host, rate)];
  // More than the changes take; the client is ended when they are done.
  const client = lab.machines.start(`ue${ue.index}`, "iperf3", [
    ...["iperf3", "-c", internet.www, "-u", "-b", "3M", "-l", "1000", "-t", "300", "-i", "1", "--forceflush"],
    ...["-B", ue.ip],
  ]);
  await client.said(/\[ ID\] Interval/);
  await during();
  await sleep(300);
  await client.end("SIGINT");
  await server.ended;
  const [edge, core] = await Promise.all(stops.map((stop) => stop()));
  await tcp.echo(20_000);
  await tcp.close();
  assert.equal(edge?.missing, [], `nothing of ${edge?.sent} for the edge is lost`);
  assert.equal(core?.missing, [], `nothing of ${core?.sent} for the core is lost`);
  assert.equal([Object.keys(edge?.servers ?? {}), Object.keys(core?.servers ?? {})], [["edge"], ["internet"]]);
  const seconds = [...server.log.matchAll(/(\d+)\/(\d+) \([\d.e+-]+%\)/g)].map(([, lost, sent]) =>
    [lost, sent].map(Number),
  );
  assert.ok(seconds.length > 0, server.log);
  assert.equal(
    seconds.filter(([lost]) => lost !== 0),
    [],
    `iperf3 lost nothing in any of ${seconds.length} seconds`,
  );
}

test(
  "A13: a data plane is added, changed and removed several times, kill -9 in between: the other loses nothing",
  inScene({ ues: 1, site: { idleTimeout: "3000s" } }, async (scene) => {
    const { appliance, lab } = scene;
    await secondWire(scene);
    const ue = await lab.attach(0);
    assert.is((await lab.phonePing(ue, internet.host)).received, 1);
    await scene.service("www", internet.www);
    assert.not.ok(await crosses(scene), "no wire yet");
    await losesNothing(scene, ue, async () => {
      for (let round = 0; round < 3; round++) {
        await appliance.api("POST", "/api/v1/dataplanes", s2);
        assert.ok(await crosses(scene));
        await appliance.kill();
        assert.ok(await crosses(scene), "its programs go on as well");
        await appliance.start();
        assert.equal(
          (await planes(scene)).map(({ name, origin, adopted }) => [name, origin, adopted]),
          [
            ["s1", "site.yaml", true],
            ["s2", "api", true],
          ],
        );
        const overlap = await appliance.curl<{ detail: string }>("POST", "/api/v1/dataplanes", {
          ...{ name: "s3", access: "acc1", core: "none0", uePools: ["10.99.128.0/17"] },
        });
        assert.is(overlap.status, 409);
        assert.match(overlap.body.detail, /data plane "s3".*data plane s2.*data plane s2/);
        await appliance.api("DELETE", "/api/v1/dataplanes/s2?unwire=true");
        assert.not.ok(await crosses(scene), "unwired");

        edit(scene, ({ dataplanes }) => void dataplanes.push(s2));
        assert.equal((await reload(scene)).added, ["s2"]);
        assert.ok(await crosses(scene));
        edit(scene, ({ dataplanes: [first, second] }) => {
          (first!.uePools as string[]).push(`10.${100 + round}.0.0/16`);
          Object.assign(first!, { idleTimeout: `${2000 + round}s` });
          Object.assign(second!, { mode: "bypass" });
        });
        appliance.process?.child.kill("SIGHUP");
        await until("the mode of s2", async () => (await planes(scene))[1]?.mode === "bypass");
        assert.ok(await crosses(scene));
        edit(scene, ({ dataplanes }) => void dataplanes.pop());
        assert.equal((await reload(scene)).removed, ["s2"]);
        assert.ok(await crosses(scene), "by the bridge");
      }
    });
    const { stdout } = await appliance.cli("dataplane", "ls");
    assert.match(stdout, /^s1 +offload +access acc0, core cor0 +native +1 /m);
  }),
);

test(
  "A13: kill -9 in the middle of additions, removals and reloads: what was answered holds, the wire and the other go on",
  inScene({ ues: 1, site: { idleTimeout: "3000s" } }, async (scene) => {
    const { appliance, lab } = scene;
    await secondWire(scene);
    const ue = await lab.attach(0);
    assert.is((await lab.phonePing(ue, internet.host)).received, 1);
    await scene.service("www", internet.www);
    await losesNothing(scene, ue, async () => {
      let there = false;
      for (const wait of [0, 30, 60, 100, 150, 250, 400]) {
        const asked = there
          ? appliance.curl("DELETE", "/api/v1/dataplanes/s2", undefined, 5)
          : appliance.curl("POST", "/api/v1/dataplanes", s2, 5);
        await sleep(wait);
        await appliance.kill();
        const { status } = await asked;
        await appliance.start();
        const now = (await planes(scene)).map(({ name }) => name);
        if (status >= 200 && status < 300) there = !there;
        else assert.ok([0, 200, 201].includes(status), String(status));
        // Not answered: either is right, as long as programs and store agree.
        if (status !== 0) assert.equal(now, there ? ["s1", "s2"] : ["s1"]);
        there = now.includes("s2");
        const attached = execFileSync("ip", ["-n", lab.ns("tof"), "link", "show", "acc1"], { encoding: "utf8" });
        assert.is(attached.includes("xdp"), there, `after ${wait} ms`);
      }
    });
  }),
);

test(
  "A13: reload refuses what needs a restart, a bad file, and an adapter that is not there: by name, and nothing changes",
  inScene({ ues: 1, site: { idleTimeout: "3000s" } }, async (scene) => {
    const { appliance } = scene;
    await secondWire(scene);
    const good = readFileSync(appliance.config, "utf8");
    edit(scene, (site) => {
      site.limits = { sessions: 2048 };
      site.dataplanes.push(s2);
    });
    const restart = await appliance.cli("reload", "--config", appliance.config);
    assert.equal([restart.code, restart.stdout], [1, ""]);
    assert.match(restart.stderr, "limits: cannot change while the agent runs: restart it");
    writeFileSync(appliance.config, good.replace("mode: offload", "mode: offlaod"));
    const bad = await appliance.cli("reload", "--config", appliance.config);
    assert.is(bad.code, 2);
    assert.match(bad.stderr, /site\.yaml:\d+:\d+: dataplanes\[0\]\.mode must be one of/);
    writeFileSync(appliance.config, good);
    edit(scene, ({ dataplanes }) => {
      Object.assign(dataplanes[0]!, { mode: "observe" });
      dataplanes.push({ ...s2, core: "nowhere0" });
    });
    const missing = await appliance.cli("reload");
    assert.is(missing.code, 1);
    assert.match(missing.stderr, /nothing has changed; .*nowhere0/);
    assert.equal(
      (await planes(scene)).map(({ name, mode }) => [name, mode]),
      [["s1", "offload"]],
    );
  }),
);

test.run();
