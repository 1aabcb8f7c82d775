/**
 * Do drop, rate, mirror and output do to a real phone's packets what a service posted to the API says (A11, A17)?
 *
 * Two phones and one with IPv6, real peers; `watch` is a machine behind the mirror's adapter, `box` one behind the output's. At the end
 * all of it in generic mode.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readPcap } from "../lab/frames.ts";
import { edgeOnly, internet, internet6, type Ue } from "../lab/lab.ts";
import { sleep, until } from "../lab/netns.ts";
import { pattern, sha256 } from "../lab/pattern.ts";
import { Scene } from "./scene.ts";

const test = suite("treatments");
const BOX_MAC = "02:b0:00:00:00:01";
const EF = ["-Q", "0xb8"];
let scene: Scene;
let ue: Ue;
let second: Ue;
let third: Ue;

const rule = (name: string, rules: object, more: object = {}): Promise<unknown> =>
  scene.appliance.addService({ name, rules: { priority: 10, nw_src: "0.0.0.0/0", ...rules }, ...more });
const server = async (from: Ue, to: string): Promise<string> => (await scene.lab.phoneUdp(from, to)).server;
const pings = async (from: Ue, to: string, extra: string[] = []): Promise<number> =>
  (await scene.lab.phonePing(from, to, 2, extra)).received;
const counter = async (name: string): Promise<number> => (await scene.appliance.counters()).get(name) ?? 0;

/** Another adapter of the appliance, at a machine of its own. */
async function plug(adapter: string, machine: string): Promise<void> {
  await scene.lab.machines.wire("tof", adapter, machine, "eth0");
  await scene.lab.machines.asCable(machine, "eth0");
}

let captures = 0;
/** Starts tcpdump on a machine's eth0. What is returned ends it and gives the file. */
async function capture(machine: string): Promise<() => Promise<string>> {
  const file = join(scene.lab.machines.directory, `${machine}-${captures++}.pcap`);
  const tcpdump = ["tcpdump", "-i", "eth0", "--immediate-mode", "-U", "-Z", "root", "-w", file];
  const running = scene.lab.machines.start(machine, `tcpdump ${machine}`, tcpdump);
  await running.said(/listening on/);
  return async () => {
    // What has arrived may not be written yet.
    for (let size = -1; size !== statSync(file).size; await sleep(200)) size = statSync(file).size;
    await running.end("SIGINT");
    return file;
  };
}

/** The frames in a file that have this text in them, in hexadecimal, sorted. */
const framesWith = (text: string, file: string): string[] =>
  readPcap(file)
    .map((frame) => Buffer.from(frame))
    .filter((frame) => frame.includes(text))
    .map((frame) => frame.toString("hex"))
    .sort();

async function tshark(file: string, filter: string, ...fields: string[]): Promise<string[][]> {
  const wanted = fields.flatMap((field) => ["-e", field]);
  const read = ["tshark", "-r", file, "-Y", filter, "-T", "fields", ...wanted];
  const { stdout } = await scene.lab.exec("tof", read);
  return stdout.split("\n").flatMap((line) => (line ? [line.split("\t")] : []));
}

/** Three questions with the text in them and their answers, seen from these machines. */
async function seenFrom(machines: string[], to: string, text: string): Promise<Record<string, string>> {
  const ends = await Promise.all(machines.map(capture));
  for (let n = 0; n < 3; n++) await scene.lab.phoneUdp(ue, to, { payload: `${text} ${n}` });
  const files = await Promise.all(ends.map((end) => end()));
  return Object.fromEntries(machines.map((machine, n) => [machine, files[n]!]));
}

test.before(async () => {
  scene = await Scene.open({ ues: 3, start: false });
  try {
    for (const machine of ["watch", "box"]) await scene.lab.machines.add(machine);
    await plug("tap0", "watch");
    await plug("out0", "box");
    await scene.lab.machines.ip("box", `link set eth0 address ${BOX_MAC}`, "addr add 203.0.113.70/32 dev lo");
    // Otherwise the kernel takes packets to the app, and copies are of what it is given.
    await scene.lab.exec("app", ["ethtool", "-K", "eth0", "gro", "on"]);
    await scene.appliance.start();
    ue = await scene.lab.attach(0);
    second = await scene.lab.attach(1);
    third = await scene.lab.attach(2, { type: "v6" });
    assert.is(await pings(third, internet6.host), 2);
    for (const one of [ue, second]) assert.is(await pings(one, internet.host), 2);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    scene.complain();
    await scene.close();
    throw error;
  }
});
test.after.each(async () => {
  await scene.clear();
});
test.after(async () => {
  await scene?.close();
});

test("A11: drop leaves a phone without an answer, and everything else as it was", async () => {
  await rule("quiet", { nw_dst: internet.www, nw_src: `${ue.ip}/32`, action: "drop" });
  const before = await counter("drop_rule");
  assert.is(await pings(ue, internet.www), 0);
  assert.ok((await counter("drop_rule")) >= before + 2);
  assert.is(await pings(ue, internet.other), 2);
  assert.is(await pings(second, internet.www), 2);
  await scene.clear();
  assert.is(await pings(ue, internet.www), 2);
});

test("A11: a match on DSCP takes a phone's packets that have it, and leaves the others", async () => {
  await rule("voice", { nw_dst: edgeOnly.service, nw_dscp: "EF", endpoint: scene.lab.app.address });
  assert.is(await pings(ue, edgeOnly.service, EF), 2);
  assert.is(await pings(ue, edgeOnly.service), 0, "without the mark it is left to the core");
});

test("A11: a match on the TEID takes one phone's packets", async () => {
  const session = (await scene.appliance.sessions()).find((one) => one.ue === ue.ip);
  const teid = session?.bearers.find(({ direction }) => direction === "uplink")?.teid;
  assert.ok(teid);
  await rule("tunnel", { nw_dst: internet.www, tun_id: teid, endpoint: scene.lab.app.address });
  assert.is(await server(ue, internet.www), "edge");
  assert.is(await server(second, internet.www), "internet");
});

const mirror = (form: string): object => ({ mirror: { port: "tap0", form } });

async function copiesOfPassing(): Promise<void> {
  await rule("seen", { nw_dst: internet.other }, mirror("as-is"));
  const { watch, core0 } = await seenFrom(["watch", "core0"], internet.other, "as it passes");
  const copies = framesWith("as it passes", watch!);
  assert.is(copies.length, 6, "three questions and their answers");
  assert.equal(copies, framesWith("as it passes", core0!));
  const sessions = await scene.appliance.sessions();
  const tunnels = sessions.find((one) => one.ue === ue.ip)!.bearers.map(({ teid }) => Number(teid));
  const read = await tshark(watch!, "gtp && udp.port == 7", "gtp.teid", "ip.src");
  assert.is(read.length, 6);
  for (const [teid] of read) assert.ok(tunnels.includes(Number(teid)), `${teid} is one of ${tunnels}`);
  assert.is(read.filter(([, sources]) => sources!.endsWith(`,${ue.ip}`)).length, 3);
  await arriveWhole("internet");
}

/** 1 MB down and 1 MB up, through whatever service there is. */
async function arriveWhole(from: string): Promise<void> {
  const url = `http://${internet.other}`;
  const down = await scene.lab.phoneHttp(ue, `${url}/data?bytes=1000000&seed=6`, { timeoutMs: 20_000 });
  assert.is(down.server, from);
  assert.is(down.sha256, sha256(pattern(1_000_000, 6)));
  const body = "0123456789abcdef".repeat(62_500);
  const up = await scene.lab.phoneHttp(ue, `${url}/digest`, { method: "POST", body, timeoutMs: 20_000 });
  assert.is((JSON.parse(up.text) as { sha256: string }).sha256, sha256(Buffer.from(body)));
}

/** `direct`: no kernel routes to the app. */
async function copiesOfTaken(direct: boolean): Promise<void> {
  await rule("seen", { nw_dst: internet.other, endpoint: scene.lab.app.address }, mirror("as-is"));
  // The first packets to an app whose link address is not known yet go by the kernel.
  assert.is(await pings(ue, internet.other), 2);
  const { watch, app, ran0 } = await seenFrom(["watch", "app", "ran0"], internet.other, "as it is taken");
  const copies = framesWith("as it is taken", watch!);
  assert.is(copies.length, 6);
  const alike = (file: string): number =>
    framesWith("as it is taken", file).filter((frame) => copies.includes(frame)).length;
  assert.is(alike(ran0!), 3, "what the base station got");
  if (direct) assert.is(alike(app!), 3, "what the app got");
  const toApp = await tshark(watch!, `udp.port == 7 && ip.dst == ${scene.lab.app.address} && !gtp`, "ip.src");
  assert.equal(toApp, [[ue.ip], [ue.ip], [ue.ip]]);
  await arriveWhole("edge");
}

test("A17: a mirror gets what passes, as it is, both ways", copiesOfPassing);
test("A17: … and of what is taken what the app and the base station get", () => copiesOfTaken(true));

test("A17: decapsulated, it gets the phone's own packets; those that pass are whole", async () => {
  await rule("seen", { nw_dst: internet.other }, mirror("decapsulated"));
  const { watch, core0 } = await seenFrom(["watch", "core0"], internet.other, "without");
  const copies = framesWith("without", watch!);
  assert.is(copies.length, 6);
  const whole = framesWith("without", core0!);
  assert.is(whole.length, 6);
  for (const copy of copies) assert.ok(whole.some((frame) => frame.endsWith(copy.slice(28)) && frame !== copy));
  assert.equal(await tshark(watch!, "gtp", "gtp.teid"), []);
  assert.equal(await tshark(core0!, "gtp && udp.port == 7 && ip.checksum.status == 0", "gtp.teid"), []);
  assert.is((await tshark(watch!, `udp.port == 7 && ip.addr == ${ue.ip}`, "ip.src")).length, 6);
});

test("A17: decapsulated of taken traffic, the reply is as the phone gets it", async () => {
  await rule("seen", { nw_dst: internet.other, endpoint: scene.lab.app.address }, mirror("decapsulated"));
  const { watch } = await seenFrom(["watch"], internet.other, "taken without");
  const read = await tshark(watch!, "udp.port == 7 && !gtp", "ip.src", "ip.dst");
  const count = (from: string, to: string): number => read.filter(([a, b]) => a === from && b === to).length;
  assert.is(count(ue.ip, scene.lab.app.address), 3);
  assert.is(count(internet.other, ue.ip), 3);
});

test("A17: the copies of fragments are the fragments, and all arrive", async () => {
  await rule("seen", { nw_dst: internet.other }, mirror("decapsulated"));
  await rule("taken", { nw_dst: edgeOnly.service, endpoint: scene.lab.app.address }, mirror("as-is"));
  const end = await capture("watch");
  for (const to of [internet.other, edgeOnly.service]) assert.is(await pings(ue, to, ["-s", "3000"]), 2, to);
  const read = await tshark(await end(), "ip.flags.mf == 1 || ip.frag_offset > 0", "ip.src");
  assert.is(read.filter(([source]) => source === ue.ip).length, 12, "three fragments of each echo");
  // Answers of the Internet come in fragments of the tunnel, which belong to no flow: nobody gets a copy.
  assert.ok(read.filter(([source]) => source!.endsWith(`,${edgeOnly.service}`)).length >= 6, "and of each answer");
});

test("A11 A17: IPv6: drop, DSCP, a mirror and an output", async () => {
  const rule6 = (name: string, rules: object, more: object = {}): Promise<unknown> =>
    rule(name, { nw_src: "::/0", ...rules }, more);
  await rule6("quiet", { nw_dst: internet6.www, nw_dscp: "EF", action: "drop" });
  assert.is(await pings(third, internet6.www, EF), 0);
  assert.is(await pings(third, internet6.www), 2);
  await rule6("seen", { nw_dst: internet6.host }, mirror("decapsulated"));
  await rule6("away", { nw_dst: "2001:db8:113::70", output: { port: "out0", mac: BOX_MAC, vlan: 7 } });
  const [watch, box] = [await capture("watch"), await capture("box")];
  assert.is((await scene.lab.phoneUdp(third, internet6.host)).server, "internet");
  await scene.lab.phoneUdp(third, "2001:db8:113::70", { timeoutMs: 500 }).catch(() => undefined);
  const read = await tshark(await watch(), "udp.port == 7 && !gtp", "ipv6.src");
  assert.equal(read, [[third.ip], [internet6.host]]);
  assert.equal(await tshark(await box(), "udp.port == 7", "vlan.id", "ipv6.src"), [["7", third.ip]]);
});

test("A17: with the mirror's adapter deleted traffic goes on, and copies do when it is back", async () => {
  await rule("seen", { nw_dst: internet.other }, mirror("as-is"));
  await rule("taken", { nw_dst: internet.www, endpoint: scene.lab.app.address }, mirror("decapsulated"));
  const loads = [await scene.lab.phoneLoad(ue, internet.other, 100), await scene.lab.phoneLoad(ue, internet.www, 100)];
  const copied = await counter("note_mirrored");
  await until("copies", async () => (await counter("note_mirrored")) > copied + 20);
  await scene.lab.machines.ip("tof", "link del tap0");
  const alone = await counter("note_not_mirrored");
  await until("packets without a copy", async () => (await counter("note_not_mirrored")) > alone + 20);
  await plug("tap0", "watch");
  const again = await counter("note_mirrored");
  await until("copies again", async () => (await counter("note_mirrored")) > again + 20);
  for (const stop of loads) assert.equal((await stop()).missing, []);
});

/** Bits per second that came in, by the receiver's own octets and interval. */
async function received(to: string, way: readonly string[]): Promise<number> {
  const argv = ["iperf3", "-J", "-u", "-l", "1000", "-b", "12M", "-t", "2", "-c", to, "-B", ue.ip, ...way];
  const ran = await scene.lab.exec(ue.ns, argv, { timeoutMs: 60_000 });
  type Report = { end?: { sum_received?: { bytes: number; seconds: number } } };
  const sum = (JSON.parse(ran.stdout) as Report).end?.sum_received;
  assert.ok(sum, ran.stdout.slice(-400));
  return (8 * sum!.bytes) / sum!.seconds;
}

test("A17: iperf3 offers several times the rate and gets the rate, in each direction its own; TCP goes on", async () => {
  const where = { nw_dst: internet.www, endpoint: scene.lab.app.address };
  await rule("slow", { ...where, protocol: "udp" }, { rate: { uplink: "2M", downlink: "4M" } });
  await rule("rest", { ...where, protocol: "tcp" }, { rate: { downlink: "8M" } });
  const iperf = scene.lab.machines.start("app", "iperf3", ["iperf3", "-s", "-p", "5201", "--forceflush"]);
  await iperf.said(/listening/);
  try {
    const before = await counter("drop_rate");
    for (const [rate, way] of [
      [2e6, []],
      [4e6, ["-R"]],
    ] as const) {
      const got = await received(internet.www, way);
      assert.ok(got > rate / 2 && got < rate * 2, `${got} bit/s of ${rate}`);
    }
    assert.ok((await counter("drop_rate")) > before);
    const answer = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=1000000&seed=8`, {
      timeoutMs: 20_000,
    });
    assert.is(answer.server, "edge");
    assert.is(answer.sha256, sha256(pattern(1_000_000, 8)));
    assert.is(await server(ue, internet.www), "edge", "UDP within the rate");
  } finally {
    await iperf.end("SIGKILL");
  }
});

/** What arrives at the box when the phone sends to 203.0.113.70. */
async function toBox(text: string): Promise<string[][]> {
  const end = await capture("box");
  // Nobody answers.
  await scene.lab.phoneUdp(ue, "203.0.113.70", { payload: text, timeoutMs: 500 }).catch(() => undefined);
  const file = await end();
  assert.is(framesWith(text, file).length, 1);
  return tshark(file, "udp.port == 7 && !icmp", "eth.dst", "vlan.id", "ip.src", "ip.dst");
}
async function boxed(output: object, text: string): Promise<string[][]> {
  await rule("away", { nw_dst: "203.0.113.70", output: { port: "out0", ...output } });
  return toBox(text);
}

async function outputs(): Promise<void> {
  assert.equal(await boxed({ mac: BOX_MAC }, "plain"), [[BOX_MAC, "", ue.ip, "203.0.113.70"]]);
  await scene.clear();
  assert.equal(await boxed({ mac: BOX_MAC, vlan: 300 }, "tagged"), [[BOX_MAC, "300", ue.ip, "203.0.113.70"]]);
  await scene.clear();
}

test("A17: an output gets the phone's plain packets at the address and with the tag that the service names", async () => {
  await outputs();
  const listen = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("203.0.113.70", 7)); print("ready", flush=True)
data, (host, port) = s.recvfrom(2000); print(data.decode(), "from", host, flush=True)`;
  const box = scene.lab.machines.start("box", "listener", ["python3", "-c", listen]);
  await box.said(/ready/);
  await scene.lab.machines.ip("box", `route add ${ue.ip} dev eth0`);
  await boxed({ mac: BOX_MAC }, "to a program");
  await box.said(new RegExp(`to a program from ${ue.ip}`));
});

test("A17: an output that is not there is refused by name, and nothing changes", async () => {
  const away = { priority: 10, nw_src: "0.0.0.0/0", nw_dst: internet.www, output: { port: "nowhere0" } };
  const reply = await scene.appliance.curl("POST", "/service", { name: "away", rules: away });
  assert.is(reply.status, 422, reply.text);
  assert.match(reply.text, /rule away leaves by nowhere0: there is no such adapter/);
  assert.equal(await scene.appliance.api("GET", "/service"), []);
  assert.is(await server(ue, internet.www), "internet");
});

test("A17: a mirror to which frames cannot be redirected harms nothing", async () => {
  await scene.lab.exec("watch", ["ethtool", "-K", "eth0", "gro", "off"]);
  try {
    await rule("seen", { nw_dst: internet.other }, mirror("as-is"));
    await rule("taken", { nw_dst: internet.www, endpoint: scene.lab.app.address }, mirror("decapsulated"));
    for (const to of [internet.other, internet.www]) {
      const stop = await scene.lab.phoneLoad(ue, to, 100);
      const before = await counter("note_mirrored");
      await until("packets", async () => (await counter("note_mirrored")) > before + 50);
      assert.equal((await stop()).missing, []);
    }
  } finally {
    await scene.lab.exec("watch", ["ethtool", "-K", "eth0", "gro", "on"]);
  }
});

test("A13: with the control plane dead all of it goes on, and after its start", async () => {
  await rule("quiet", { nw_dst: internet.www, action: "drop" });
  await rule("away", { nw_dst: "203.0.113.70", output: { port: "out0", mac: BOX_MAC } });
  await rule("seen", { nw_dst: internet.other, endpoint: scene.lab.app.address }, mirror("decapsulated"));
  await rule("slow", { nw_dst: internet.host }, { rate: { uplink: "8k", downlink: "8k" } });
  const works = async (text: string): Promise<void> => {
    assert.is(await pings(ue, internet.www), 0);
    assert.is((await toBox(text)).length, 1);
    const { watch } = await seenFrom(["watch"], internet.other, text);
    assert.is(framesWith(text, watch!).length, 6);
    // 1 s of the rate each; the burst is 50 ms or 3000 octets.
    const { received } = await scene.lab.phonePing(ue, internet.host, 12, ["-i", "0.01", "-s", "972"]);
    assert.ok(received > 0 && received < 12, `${received} of 12`);
  };
  await works("alive");
  await scene.appliance.kill();
  await works("nobody");
  await scene.appliance.start();
  await works("back");
});

test("A17: in generic mode the same", async () => {
  await scene.appliance.stop();
  await scene.appliance.down("--unwire");
  for (const machine of ["core0", "app"]) {
    await scene.lab.exec(machine, ["ethtool", "-K", "eth0", "gro", "off"]);
  }
  await scene.appliance.start();
  assert.match((await scene.lab.exec("tof", ["ip", "link", "show", "acc0"])).stdout, /xdpgeneric/);
  await until("the session", async () => {
    await pings(ue, internet.host);
    return (await scene.appliance.sessions()).some((one) => one.ue === ue.ip && one.state === "up");
  });
  await copiesOfPassing();
  await scene.clear();
  await copiesOfTaken(false);
  await scene.clear();
  await outputs();
});

test.run();
