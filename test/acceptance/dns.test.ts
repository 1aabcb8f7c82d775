/**
 * Do DNS rules reach phones, and does everything else that they ask stay as it was? (B2)
 *
 * Real peers (sgsnemu, osmo-ggsn), the real Unbound of the platform, another one as the Internet's resolver; one lab for the
 * whole file, the sentences follow each other.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { DnsRecord } from "../../mep/dns/records.ts";
import { repository } from "../lab/appliance.ts";
import { edgeOnly, internet, internet6, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { type Question, resolve, startResolver } from "../lab/resolver.ts";
import { Scene } from "./scene.ts";

const test = suite("DNS");
let scene: Scene;
let ue: Ue;
let ue6: Ue;

const own = { listen: "10.60.0.1:53" };
const shop: DnsRecord = { name: "shop.example.com", type: "A", address: edgeOnly.service, ttl: 60 };
const shop6: DnsRecord = { ...shop, type: "AAAA", address: edgeOnly.service6 };
const real = { "shop.example.com": internet.other, "www.example.com": internet.www, "six.example.com": internet6.www };

/** Compiled, as bin/offramp is. */
const script = join(repository, "dist", "test", "acceptance", "named.js");
async function startAgent(): Promise<void> {
  const { appliance, lab } = scene;
  const argv = [process.execPath, script, appliance.config];
  const started = lab.machines.start("tof", "offramp", argv);
  appliance.process = started;
  await until(
    "/readyz",
    async () => {
      if (started.code !== undefined) throw new Error(`offramp ended with ${started.code}\n${started.log}`);
      return (await appliance.curl("GET", "/readyz", undefined, 2)).status === 200;
    },
    60_000,
  );
}
const activate = (...records: DnsRecord[]): Promise<unknown> => scene.appliance.api("PUT", "/test/dns", records);

/** Pids of Unbound in the appliance's namespace. */
const nameServers = (): number[] =>
  execFileSync("ip", ["netns", "pids", scene.lab.ns("tof")], { encoding: "utf8" })
    .split("\n")
    .filter((pid) => pid !== "" && /\(unbound\) [^ZX]/.test(readFileSync(`/proc/${pid}/stat`, "utf8")))
    .map(Number);

/** `NOERROR 203.0.113.99 from 203.0.113.53`, or `silence`. */
async function ask(questions: Partial<Question>[], phone = ue): Promise<string[]> {
  const server = phone === ue6 ? internet6.host : internet.dns;
  const asked = questions.map((one) => ({ server, name: "shop.example.com", ...one }));
  return (await resolve(scene.lab, phone, asked)).map((one) =>
    one ? [one.code, ...one.data, "from", one.from].join(" ") : "silence",
  );
}
const edge = `NOERROR ${edgeOnly.service} from ${internet.dns}`;
const beyond = `NOERROR ${internet.other} from ${internet.dns}`;
const nothing = `NOERROR from ${internet.dns}`;
const taken = async (): Promise<number> => (await scene.appliance.counters()).get("take_dns") ?? 0;

test.before(async () => {
  const apps = { interface: "apps0", address: "10.60.0.1/24", address6: "2001:db8:60::1/64" };
  scene = await Scene.open({ ues: 2, start: false, site: { extra: { apps, mep: { dns: own } } } });
  try {
    await startAgent();
    await startResolver(scene.lab, real);
    ue = await scene.lab.attach(0);
    ue6 = await scene.lab.attach(1, { type: "v6" });
  } catch (error) {
    scene.complain();
    throw error;
  }
});
test.after(async () => {
  await scene?.close();
});

test("B2: without active rules every query goes to the resolver that the phone asked", async () => {
  assert.equal(await ask([{}, { name: "www.example.com" }, { tcp: true }]), [
    beyond,
    `NOERROR ${internet.www} from ${internet.dns}`,
    beyond,
  ]);
  assert.is(await taken(), 0);
});

test("B2: an active rule is what the phone gets, from whatever resolver, in whatever case; the page comes from the edge", async () => {
  await activate(shop);
  await scene.service("shop", edgeOnly.service);
  assert.equal(
    await ask([
      {},
      { name: "sHoP.eXAmple.COM" },
      { server: internet.host },
      { server: "203.0.113.77" },
      { type: "AAAA" },
      { type: "HTTPS" },
    ]),
    [
      edge,
      edge,
      edge.replace(internet.dns, internet.host),
      edge.replace(internet.dns, "203.0.113.77"),
      nothing,
      nothing,
    ],
  );
  assert.is(await taken(), 6);
  const answer = await scene.lab.phoneHttp(ue, `http://${edgeOnly.service}/`);
  assert.is(answer.server, "edge");
});

test("B2: other names and TCP pass to the resolver, from the same socket too", async () => {
  const before = await taken();
  const one = { socket: "one" };
  assert.equal(
    await ask([one, { ...one, name: "www.example.com" }, one, { ...one, name: "nowhere.example" }, { tcp: true }]),
    [edge, `NOERROR ${internet.www} from ${internet.dns}`, edge, `NXDOMAIN from ${internet.dns}`, beyond],
  );
  assert.is(await taken(), before + 2);
});

test("B2: one socket, two resolvers: each answers from its own address", async () => {
  const one = { socket: "one" };
  assert.equal(await ask([one, { ...one, server: internet.host }, one]), [
    edge,
    edge.replace(internet.dns, internet.host),
    edge,
  ]);
});

test("B2: phones with IPv6", async () => {
  assert.equal(await ask([{ type: "AAAA" }, { name: "six.example.com", type: "AAAA" }], ue6), [
    `NOERROR from ${internet6.host}`,
    `NOERROR ${internet6.www} from ${internet6.host}`,
  ]);
  await activate(shop, shop6);
  assert.equal(await ask([{ type: "AAAA" }, {}], ue6), [
    `NOERROR ${edgeOnly.service6} from ${internet6.host}`,
    `NOERROR ${edgeOnly.service} from ${internet6.host}`,
  ]);
});

test("B2: phones do not reach the name server by its own address", async () => {
  assert.equal(await ask([{ server: "10.60.0.1" }]), ["silence"]);
  assert.ok(((await scene.appliance.counters()).get("drop_protected") ?? 0) > 0);
});

test("B2: the agent is killed: names go on being answered; the next one adopts them", async () => {
  await scene.appliance.kill();
  assert.equal(await ask([{}, { name: "www.example.com" }]), [edge, `NOERROR ${internet.www} from ${internet.dns}`]);
  await startAgent();
  assert.equal(await ask([{}]), [edge]);
  await activate(shop);
  assert.equal(await ask([{}, { type: "AAAA" }]), [edge, nothing]);
});

test("B2: a rule that is no longer active reaches nobody", async () => {
  await activate({ ...shop, name: "other.example.com" });
  assert.equal(await ask([{}, { name: "other.example.com" }]), [beyond, edge]);
  await activate();
  assert.equal(await ask([{}, { name: "other.example.com" }]), [beyond, `NXDOMAIN from ${internet.dns}`]);
});

test("B2: the name server is killed: another takes its place; meanwhile the Internet answers, or it does", async () => {
  await activate(shop);
  const [first] = nameServers();
  process.kill(first!, "SIGKILL");
  await until("another", () => nameServers().some((pid) => pid !== first), 60_000);
  await until("our answer", async () => (await ask([{}]))[0] === edge, 60_000);
});

test("B2: agent and name server are both gone: after some seconds the resolver of the Internet answers", async () => {
  await scene.appliance.kill();
  for (const pid of nameServers()) process.kill(pid, "SIGKILL");
  await until("the Internet's answer", async () => (await ask([{}]))[0] === beyond, 60_000);
  await startAgent();
  await activate(shop);
  assert.equal(await ask([{}]), [edge]);
});

test("B2: an agent that ends takes no more queries, and its name server ends with it", async () => {
  assert.is(await scene.appliance.stop(), 0);
  assert.equal(await ask([{}]), [beyond]);
  assert.equal(nameServers(), []);
});

test.run();
