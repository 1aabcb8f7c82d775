/**
 * Does `monitor` show what the programs do, while they do it (C7)?
 *
 * A real agent on a real wire; frames go in at the adapters' far ends.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { MonitorLine, PacketLine, TallyLine } from "../../controlplane/sessions/monitor.ts";
import { inNamespace } from "../ebpf/namespace.ts";
import * as s from "../ebpf/site.ts";
import { offramp, type Site, startSite } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

const run = promisify(execFile);
let site: Site;

/** Not `send` of ebpf/site.ts: the agent of this process has to go on meanwhile. */
const send = (from: string, frame: string, to: string, contains: string) =>
  run("python3", ["test/ebpf/wire.py", from, frame, to, contains]);
const throwIn = (into: string, frame: string) =>
  run("python3", [
    "-c",
    "import socket,sys; s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind((sys.argv[1],3)); s.send(bytes.fromhex(sys.argv[2]))",
    into,
    frame,
  ]);
const protectedFrame = (text: string) => s.uplink(s.ipv4(s.UE, "192.0.2.9", 17, s.udp(5000, 53, s.marked(text))));
/** Sends what is dropped, then what is not, to know that both have passed the programs. */
async function traffic(): Promise<void> {
  await send("enb0", s.other("o1"), "sgw0", s.marked("o1"));
  await send("sgw0", s.fromCore("c1"), "enb0", s.marked("c1"));
  for (const text of ["p1", "p2"]) await throwIn("enb0", protectedFrame(text));
  await send("enb0", s.request("r1"), "app0", s.marked("r1"));
}

/** Reads lines until `done` says so. */
async function watch(query: string, during: () => Promise<void>, done: (lines: MonitorLine[]) => boolean) {
  const abort = new AbortController();
  const response = await fetch(`${site.url}/api/v1/monitor?${query}`, { signal: abort.signal });
  assert.is(response.status, 200, await (response.status === 200 ? "" : response.text()));
  assert.is(response.headers.get("content-type"), "application/x-ndjson");
  const lines: MonitorLine[] = [];
  const reading = (async () => {
    let rest = "";
    for await (const octets of response.body!) {
      const parts = (rest + Buffer.from(octets as Uint8Array).toString()).split("\n");
      rest = parts.pop()!;
      lines.push(...parts.map((line) => JSON.parse(line) as MonitorLine));
      if (done(lines)) break;
    }
  })();
  await during();
  await reading;
  abort.abort();
  return lines;
}

/** A stream that a reader has left is given back when the agent notices. */
const given = async (): Promise<void> => {
  for (let i = 0; i < 100; i++) {
    const abort = new AbortController();
    const { status } = await fetch(`${site.url}/api/v1/monitor?lines=1`, { signal: abort.signal });
    abort.abort();
    if (status === 200) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
};

test("C7: each second, how often, why and by which rule, with a packet that it happened to", async () => {
  site = await startSite();
  const wanted = ["pass_no_rule", "pass_downlink", "drop_protected", "take_uplink"];
  const found = (lines: MonitorLine[]) =>
    wanted.every((name) => lines.some((line) => line.type === "tally" && line.verdict === name));
  const lines = (await watch("", traffic, found)) as TallyLine[];
  const sum = (name: string) =>
    lines.filter((line) => line.verdict === name).reduce((all, { packets }) => all + packets, 0);
  assert.equal(wanted.map(sum), [1, 1, 2, 1]);
  const taken = lines.find((line) => line.verdict === "take_uplink")!;
  assert.equal(
    { ...taken, time: 0 },
    {
      type: "tally",
      time: 0,
      dataplane: "s1",
      way: "uplink",
      verdict: "take_uplink",
      kind: "take",
      text: "taken out of its tunnel",
      service: "web",
      rule: 1,
      packets: 1,
      bytes: 30,
      tunnel: { source: s.ENB, destination: s.SGW, teid: 0x11, vlans: [], message: 255 },
      packet: { ue: s.UE, remote: "203.0.113.80", protocol: 17, dscp: 0, uePort: 5000, remotePort: 80 },
    },
  );
  await given();
});

test("C7: drops alone, each packet, of one UE", async () => {
  const both = (lines: MonitorLine[]) => lines.length >= 2;
  const lines = await watch(`verdict=drop&each=true&ue=${s.UE}`, traffic, both);
  assert.equal(
    lines.map((line) => `${line.type} ${(line as PacketLine).verdict} ${(line as PacketLine).packet?.remote}`),
    ["packet drop_protected 192.0.2.9", "packet drop_protected 192.0.2.9"],
  );
  await given();
});

test("C7: one service; what is no verdict, no service or no UE is refused; a second monitor waits", async () => {
  const lines = await watch("service=web&lines=1", traffic, () => true);
  assert.equal(
    lines.map((line) => (line as TallyLine).verdict),
    ["take_uplink"],
  );
  await given();
  const status = async (query: string) => (await fetch(`${site.url}/api/v1/monitor?${query}`)).status;
  assert.is(await status("verdict=nonsense"), 400);
  assert.is(await status("ue=nonsense"), 400);
  assert.is(await status("unknown=1"), 400);
  assert.is(await status("service=nobody"), 404);
  const abort = new AbortController();
  await fetch(`${site.url}/api/v1/monitor`, { signal: abort.signal });
  assert.is(await status(""), 409);
  abort.abort();
  await given();
});

test("C7: offramp monitor prints a line for people, and ends when told", async () => {
  const running = offramp(site.url, ["monitor", "--drops", "--packets", "--count", "1"]);
  let over = false;
  void running.then(() => {
    over = true;
  });
  for (let i = 0; i < 20 && !over; i++) await traffic();
  const { code, out, err } = await running;
  assert.is(code, 0, err);
  const [line = ""] = out.trimEnd().split("\n");
  assert.match(
    line,
    /^\d\d:\d\d:\d\d {2}s1 uplink {5}drop_protected {8}\d+ octets {2}10\.45\.0\.2:5000 → 192\.0\.2\.9:53 udp/,
  );
  assert.match(line, /in 0x00000011 198\.18\.1\.10 → 198\.18\.2\.20 {2}\(UE traffic to a protected prefix\)$/);
});

test("it ends", async () => {
  await site.agent.stop();
  await site.dataplane.down({ unwire: true });
});

test.run();
