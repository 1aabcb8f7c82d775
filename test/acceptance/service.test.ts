/**
 * Are services taken off the wire for real phones, and nothing else?
 *
 * Real peers (sgsnemu, osmo-ggsn), one lab for the whole file; each sentence starts without services.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { edgeOnly, internet, type Ue } from "../lab/lab.ts";
import { sleep, until } from "../lab/netns.ts";
import { pattern, sha256 } from "../lab/pattern.ts";
import { Scene } from "./scene.ts";

const test = suite("service");
let scene: Scene;
let ue: Ue;
let second: Ue;
const www = `http://${internet.www}/`;

const http = async (url = www, from = ue): Promise<string> => {
  const answer = await scene.lab.phoneHttp(from, url);
  assert.is(answer.client, from.ip, "whoever answers sees the UE's own address");
  return answer.server;
};
const rule = (name: string, rules: object): Promise<unknown> =>
  scene.appliance.addService({ name, rules: { priority: "10", nw_src: "0.0.0.0/0", ...rules } });

test.before(async () => {
  scene = await Scene.open({ ues: 2 });
});
test.before.each(async () => {
  if (ue) await scene.clear();
});
test.after(async () => {
  await scene?.close();
});

test("A1 A4 A8 A18: a phone attaches through Offramp, the core answers it, and Offramp knows its session", async () => {
  ue = await scene.lab.attach(0);
  second = await scene.lab.attach(1);
  assert.is((await scene.lab.phonePing(ue, internet.host, 2)).received, 2);
  assert.is(await http(), "internet");
  const session = (await scene.appliance.sessions()).find((one) => one.ue === ue.ip);
  assert.ok(session, "the session is listed");
  assert.is(session?.baseStation, ue.enb);
  assert.is(session?.gateway, "198.18.2.10");
  assert.is(session?.state, "up");
});

test("A6 A10 A19: a service of the first form is answered by the edge, for every phone", async () => {
  await scene.service("www", internet.www);
  assert.is(await http(), "edge");
  assert.is(await http(www, second), "edge");
  const listed = await scene.appliance.api("GET", "/service");
  assert.equal(listed, [{ name: "www", serviceIP: internet.www, applicationIP: scene.lab.app.address }]);
});

test("A6: 1 MB from the edge and 1 MB to it arrive intact", async () => {
  await scene.service("www", internet.www);
  const down = await scene.lab.phoneHttp(ue, `${www}data?bytes=1000000&seed=5`);
  assert.is(down.server, "edge");
  assert.is(down.sha256, sha256(pattern(1_000_000, 5)));
  const body = "0123456789abcdef".repeat(62_500);
  const up = await scene.lab.phoneHttp(ue, `${www}digest`, { method: "POST", body });
  assert.is((JSON.parse(up.text) as { sha256: string }).sha256, sha256(Buffer.from(body)));
});

test("A8 A18: destinations without a service stay at the core", async () => {
  await scene.service("www", internet.www);
  assert.is(await http(`http://${internet.other}/`), "internet");
  assert.is((await scene.lab.phoneUdp(ue, internet.host)).server, "internet");
  assert.is((await scene.lab.phonePing(ue, internet.other)).received, 1);
});

test("A6: a service takes TCP, UDP and ICMP", async () => {
  await scene.service("local", edgeOnly.service);
  assert.is(await http(`http://${edgeOnly.service}/`), "edge");
  const udp = await scene.lab.phoneUdp(ue, edgeOnly.service);
  assert.is(udp.server, "edge");
  assert.is(udp.client, ue.ip);
  assert.is((await scene.lab.phonePing(ue, edgeOnly.service, 3)).received, 3);
  assert.is((await scene.lab.phonePing(ue, edgeOnly.service, 1, ["-s", "3000"])).received, 1, "in inner fragments");
});

test("A6: an ICMP error about a translated packet reaches the phone, with the quoted packet translated back", async () => {
  await scene.service("local", edgeOnly.service);
  // Nobody listens on UDP 9: the app's kernel answers "port unreachable", which the phone's kernel gives to the socket
  // only when the quoted addresses and ports are those the socket sent to.
  const { stdout } = await scene.lab.exec(ue.ns, [
    ...["python3", "-c"],
    `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("${ue.ip}", 0)); s.settimeout(3)
s.connect(("${edgeOnly.service}", 9)); s.send(b"x")
try:
    s.recv(100); print("answer")
except ConnectionRefusedError: print("refused")
except TimeoutError: print("silence")`,
  ]);
  assert.is(stdout.trim(), "refused");
});

test("A11: a rule of the second form takes its port only, and translates it", async () => {
  await rule("web", {
    nw_dst: internet.www,
    protocol: "6",
    tp_dst: "80",
    endpoint: `${scene.lab.app.address}:8080`,
  });
  const answer = await scene.lab.phoneHttp(ue, www);
  assert.is(answer.server, "edge");
  assert.is((JSON.parse(answer.text) as { port: number }).port, 8080);
  assert.is(await http(`http://${internet.www}:8080/`), "internet", "another port of the same address");
  assert.is((await scene.lab.phoneUdp(ue, internet.www)).server, "internet", "another protocol");
});

test("A11: the highest priority wins, and a rule for one UE only leaves the other alone", async () => {
  await scene.lab.server("app", "second", [scene.lab.app.second], ["--http", "81", "--echo", "8"]);
  await rule("all", { nw_dst: internet.www, endpoint: scene.lab.app.address });
  await rule("one", {
    priority: "20",
    nw_dst: internet.www,
    nw_src: `${second.ip}/32`,
    protocol: "6",
    tp_dst: "80",
    endpoint: `${scene.lab.app.second}:81`,
  });
  assert.is(await http(), "edge");
  assert.is(await http(www, second), "second");
});

test("A6: several services share one endpoint, and each reply comes from the address that was asked", async () => {
  await scene.service("first", internet.www);
  await scene.service("other", internet.other);
  await scene.service("third", edgeOnly.service);
  for (const address of [internet.www, internet.other, edgeOnly.service]) {
    assert.is(await http(`http://${address}/`), "edge");
    assert.is((await scene.lab.phoneUdp(ue, address)).server, "edge");
  }
  // The same source port toward two services that share an endpoint: each answer comes from the address that was asked,
  // which the client checks.
  for (const address of [internet.www, internet.other, internet.www]) {
    assert.is((await scene.lab.phoneUdp(ue, address, { fromPort: 45678 })).server, "edge");
  }
});

test("A6: a connection that runs at the core stays there when its destination becomes a service", async () => {
  const old = await scene.lab.phoneTcp(ue, internet.www);
  assert.match(old.greeting, /^internet /);
  await old.echo(5000);
  await scene.service("www", internet.www);
  await old.echo(5000);
  const fresh = await scene.lab.phoneTcp(ue, internet.www);
  assert.match(fresh.greeting, /^edge /);
  await fresh.echo(5000);
  await old.echo(5000);
  await old.close();
  await fresh.close();
});

test("A6 A10: a connection at the edge survives the end of its service and changes of others", async () => {
  await scene.service("www", internet.www);
  const tcp = await scene.lab.phoneTcp(ue, internet.www);
  await tcp.echo(5000);
  await scene.service("other", internet.other);
  await tcp.echo(5000);
  await scene.appliance.api("DELETE", "/service/other");
  await tcp.echo(5000);
  await scene.appliance.api("DELETE", "/service/www");
  await tcp.echo(5000);
  assert.is(await http(), "internet", "a new connection goes to the core");
  await tcp.close();
});

test("A10: a service is deleted by its name and by its service IP; what is not there is 404", async () => {
  await scene.service("www", internet.www);
  assert.is(await http(), "edge");
  assert.is((await scene.appliance.curl("DELETE", "/service/www")).status, 200);
  assert.is(await http(), "internet");
  await scene.service("www", internet.www);
  assert.is(await http(), "edge");
  assert.is((await scene.appliance.curl("DELETE", `/service/${internet.www}`)).status, 200);
  assert.is(await http(), "internet");
  assert.is((await scene.appliance.curl("DELETE", `/service/${internet.www}`)).status, 404);
});

test("A10: a service IP that several services have is not deleted: 409 names them", async () => {
  await rule("web", { nw_dst: internet.www, protocol: "6", tp_dst: "80", endpoint: scene.lab.app.address });
  await rule("echo", { nw_dst: internet.www, protocol: "17", tp_dst: "7", endpoint: scene.lab.app.address });
  const reply = await scene.appliance.curl<{ services: string[] }>("DELETE", `/service/${internet.www}`);
  assert.is(reply.status, 409);
  assert.equal([...reply.body.services].sort(), ["echo", "web"]);
  assert.is(await http(), "edge");
});

test("A10: PUT moves a service to another application, for new connections", async () => {
  await scene.lab.server("app", "moved", [scene.lab.app.second], ["--http", "80", "--echo", "9"]);
  await scene.service("www", internet.www);
  assert.is(await http(), "edge");
  const changed = { name: "www", serviceIP: internet.www, applicationIP: scene.lab.app.second };
  assert.is((await scene.appliance.curl("PUT", "/service/www", changed)).status, 200);
  assert.is(await http(), "moved");
});

test("an app may not speak to a phone first, unless its service says so", async () => {
  await scene.lab.server(ue.ns, "phone", [ue.ip], ["--http", "", "--echo", "5000"]);
  const app = await scene.lab.client("app");
  const ask = (): Promise<string> =>
    app
      .call<{ server: string; client: string }>("udp", {
        to: ue.ip,
        port: 5000,
        from: scene.lab.app.address,
        payload: "hello",
        timeoutMs: 700,
      })
      .then(
        (answer) => `${answer.server} saw ${answer.client}`,
        () => "silence",
      );
  await scene.service("www", internet.www);
  assert.is(await ask(), "silence");
  await scene.clear();
  await scene.service("www", internet.www, scene.lab.app.address, { appInitiated: true });
  const answer = await until("an answer", async () => ((await ask()) === "silence" ? undefined : ask()), 5000);
  assert.is(answer, `phone saw ${internet.www}`, "the phone sees the service's address, never the app's");
});

test("a UE can reach neither the app's own address nor protected prefixes through its tunnel", async () => {
  const before = (await scene.appliance.counters()).get("drop_protected") ?? 0;
  assert.is((await scene.lab.phonePing(ue, "198.18.2.10")).received, 0);
  assert.ok(((await scene.appliance.counters()).get("drop_protected") ?? 0) > before, "dropped by name");
  assert.is((await scene.lab.phonePing(ue, scene.lab.app.address)).received, 0);
});

test("a capture from the program itself shows a taken packet with its tunnel; trace names the rule that took it", async () => {
  await scene.service("www", internet.www);
  const file = `${scene.lab.machines.directory}/capture.pcapng`;
  const capture = scene.appliance.cli(
    ...["capture", "--ue", ue.ip, "--layer", "outer", "--count", "6", "--seconds", "20", "-w", file],
  );
  await until("six packets", async () => {
    await http();
    return Promise.race([capture, sleep(200).then(() => undefined)]);
  });
  const fields = ["-T", "fields", "-e", "gtp.teid", "-e", "ip.dst"];
  const { stdout, stderr } = await scene.lab.exec("tof", ["tshark", "-r", file, "-Y", "gtp", ...fields]);
  assert.match(stdout, new RegExp(`0x[0-9a-f]{8}\\s.*${internet.www}`), stderr);
  const trace = await scene.appliance.cli("trace", "--ue", ue.ip, "--dst", internet.www, "--dport", "80");
  assert.is(trace.code, 0, trace.stderr);
  assert.match(trace.stdout, /www/);
});

test.run();
