/**
 * Do phones notice when an edge server goes, comes or drains?
 *
 * Real peers and real servers: one is killed as a process, one loses its address so that nothing answers at all.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ServiceView } from "../../controlplane/health/endpoints.ts";
import { internet, type Ue } from "../lab/lab.ts";
import { type Process, until } from "../lab/netns.ts";
import { Scene } from "./scene.ts";

const test = suite("health");
let scene: Scene;
let ue: Ue;
let process2: Process;
const www = `http://${internet.www}/`;
const [one, two] = ["10.60.0.10", "10.60.0.11"];

const service = {
  name: "www",
  rules: { priority: 10, nw_src: "0.0.0.0/0", nw_dst: internet.www, endpoints: [{ address: one }, { address: two }] },
  health: { type: "tcp", port: 80, interval: "500ms", timeout: "500ms", up: 1, down: 2 },
};

const server = async (): Promise<string> => (await scene.lab.phoneHttp(ue, www)).server;
const servers = async (times: number): Promise<string[]> => {
  const seen = new Set<string>();
  for (let i = 0; i < times; i++) seen.add(await server());
  return [...seen].sort();
};
const states = async (): Promise<string> => {
  const [view] = await scene.appliance.api<ServiceView[]>("GET", "/api/v1/health");
  return view?.endpoints.map(({ state }) => state).join(" ") ?? "";
};
const become = (wanted: string) =>
  until(`endpoints to be ${wanted}`, async () => ((await states()) === wanted ? true : undefined), 20_000);
const start = () => scene.lab.server("app", "second", [two]);
const connectedTo = async (name: string) => {
  for (let i = 0; i < 40; i++) {
    const connection = await scene.lab.phoneTcp(ue, internet.www);
    if (connection.greeting.startsWith(`${name} `)) return connection;
    await connection.close();
  }
  throw new Error(`no connection went to ${name}`);
};

test.before(async () => {
  scene = await Scene.open({ ues: 1 });
  ue = await scene.lab.attach(0);
  process2 = await start();
  await scene.appliance.addService(service);
});
test.after(async () => {
  await scene?.close();
});

test("A18: several endpoints share the connections; a killed one gets none, the connections of the other stay put", async () => {
  assert.is(await states(), "up up");
  assert.equal(await servers(40), ["edge", "second"]);
  const stays = await connectedTo("edge");
  await process2.end("SIGKILL");
  await become("up down");
  assert.equal(await servers(20), ["edge"]);
  await stays.echo(5000);
  process2 = await start();
  await become("up up");
  assert.equal(await servers(40), ["edge", "second"]);
  await stays.echo(5000);
  await stays.close();
});

test("A18: a draining endpoint keeps its connection and gets no new one; undone, it does again", async () => {
  const stays = await connectedTo("second");
  const drained = await scene.appliance.cli("service", "drain", "www", two);
  assert.is(drained.code, 0, drained.stderr);
  assert.equal(await servers(20), ["edge"]);
  await stays.echo(5000);
  const shown = await scene.appliance.cli("health", "www");
  assert.match(shown.stdout, /10\.60\.0\.11 +draining +\S+ +[1-9]/, shown.stdout);
  await stays.close();
  assert.is((await scene.appliance.cli("service", "drain", "www", two, "--undo")).code, 0);
  assert.equal(await servers(40), ["edge", "second"]);
});

test("A18: with none left the core answers, a known UDP flow as well; when one is back, the edge does", async () => {
  const udp = async () => (await scene.lab.phoneUdp(ue, internet.www, { fromPort: 45000 })).server;
  assert.match(await udp(), /^(edge|second)$/);
  // Nobody has the addresses any more: probes are not refused, they are not answered.
  const { stdout } = await scene.lab.exec("app", ["ip", "-o", "-4", "addr", "show"]);
  const change = (verb: "add" | "del", address: string) => {
    const found = stdout.match(new RegExp(`\\d+: (\\S+)\\s+inet (${address.replaceAll(".", "\\.")}/\\d+)`));
    return scene.lab.machines.ip("app", `addr ${verb} ${found?.[2]} dev ${found?.[1]}`);
  };
  for (const each of [two, one]) await change("del", each);
  await become("down down");
  assert.equal(await servers(5), ["internet"]);
  assert.is(await udp(), "internet");
  for (const each of [one, two]) await change("add", each);
  await scene.lab.machines.ip("app", "route replace default via 10.60.0.1"); // went with the address
  // What a probe has found, and what packets meet, are one after the other: the phone itself says when it is there.
  await become("up up");
  await until("the edge to answer", async () => ((await server()) === "internet" ? undefined : true), 20_000);
  assert.not((await servers(5)).includes("internet"));
  assert.is.not(await udp(), "internet");
});

test.run();
