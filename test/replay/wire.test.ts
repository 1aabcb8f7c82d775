// needs ../shared
// runs alone
/**
 * Does every captured frame cross the running appliance as it should?
 *
 * The appliance runs between two namespaces; all captures of ../shared/pcaps are sent by tcpreplay from one side and
 * recorded by tcpdump on the other, both ways: with no service what arrives is what was sent, octet by octet and in
 * order. With a service for an inner destination exactly the packets that tshark says match leave at the apps' side, and
 * all others cross untouched. Links have an MTU of 9000, because frames of captures are up to 7306 octets long.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { stringify } from "yaml";
import { repository } from "../lab/appliance.ts";
import { readPcap } from "../lab/frames.ts";
import { Machines, must, type Process, until } from "../lab/netns.ts";
import { describe } from "../packets/parse.ts";
import { pcapFile } from "../packets/tshark.ts";
import { captureFiles, readCapture } from "./captures.ts";
import { destinations, expectedTaken, rowsOf } from "./expected.ts";

const files = captureFiles();
const key = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

class Wire {
  readonly machines = new Machines();
  private offramp: Process | undefined;
  private serial = 0;

  async start(pings: boolean): Promise<void> {
    const m = this.machines;
    for (const name of ["ran", "tof", "core", "app"]) await m.add(name);
    await m.wire("ran", "eth0", "tof", "acc0", 9000);
    await m.wire("core", "eth0", "tof", "cor0", 9000);
    await m.wire("app", "eth0", "tof", "apps0", 9000);
    for (const name of ["ran", "core"]) {
      // Nobody speaks here but tcpreplay.
      await must(["ip", "netns", "exec", m.ns(name), "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
      await m.asCable(name, "eth0");
    }
    await m.asCable("app", "eth0");
    await m.ip("app", "addr add 10.60.0.10/24 dev eth0");
    const config = join(m.directory, "site.yaml");
    mkdirSync(join(m.directory, "state"));
    const dataplane = { name: "s1", plugin: "gtp", backend: "ebpf", access: "acc0", core: "cor0" };
    // The target is never reached: replies would wait, and nobody gives up while this runs.
    const pinger = { target: "203.0.113.10", interval: "1s", giveUp: "60s" };
    writeFileSync(
      config,
      stringify({
        site: { name: "replay", stateDir: join(m.directory, "state") },
        dataplanes: [
          { ...dataplane, ...(pings ? { pinger } : {}), interface: "s1u", mode: "offload", idleTimeout: "300s" },
        ],
        apps: { interface: "apps0", address: "10.60.0.1/24" },
        api: { listen: "127.0.0.1:8090" },
      }),
    );
    this.offramp = m.start("tof", "offramp", [join(repository, "bin", "offramp"), "run", "--config", config]);
    await until("/readyz", async () => (await this.http("GET", "/readyz")) === 200, 30_000).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.offramp?.log}`);
    });
  }

  async http(method: string, path: string, body?: unknown): Promise<number> {
    const data = body === undefined ? [] : ["-H", "content-type: application/json", "-d", JSON.stringify(body)];
    const url = `http://127.0.0.1:8090${path}`;
    const curl = ["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, ...data, url];
    return Number((await this.machines.exec("tof", curl)).stdout) || 0;
  }

  /** Sends frames from one machine and returns what came in at the others, at least so many unless they do not come. */
  async send(from: string, frames: readonly Uint8Array[], listeners: Record<string, number>) {
    const { machines } = this;
    this.serial++;
    const sent = join(machines.directory, `sent${this.serial}.pcap`);
    writeFileSync(sent, pcapFile(frames));
    const seen = new Map(
      Object.keys(listeners).map((name) => [name, join(machines.directory, `${name}${this.serial}.pcap`)]),
    );
    const captures: Process[] = [];
    for (const [name, file] of seen) {
      const tcpdump = [
        "tcpdump",
        "-i",
        "eth0",
        "-Q",
        "in",
        "-U",
        "--immediate-mode",
        "-B",
        "65536",
        "-s",
        "0",
        "-w",
        file,
        "-Z",
        "root",
      ];
      const capture = machines.start(name, `tcpdump ${name}`, tcpdump);
      await capture.said(/listening on/);
      captures.push(capture);
    }
    const replay = ["tcpreplay", "-q", "-p", "2500", "-i", "eth0", sent];
    await must(["ip", "netns", "exec", machines.ns(from), ...replay], { timeoutMs: 120_000 });
    for (const [name, file] of seen) {
      await until("all frames", () => readPcap(file).length >= (listeners[name] ?? 0), 3000).catch(() => undefined);
    }
    for (const capture of captures) await capture.end("SIGINT");
    return (name: string) => readPcap(seen.get(name) ?? "");
  }

  async stop(): Promise<void> {
    await this.offramp?.end("SIGTERM", 10_000);
    await this.machines.destroy();
  }
}

/** Runs `body` with a wire of its own. */
async function onWire(pings: boolean, body: (wire: Wire) => Promise<void>): Promise<void> {
  const wire = new Wire();
  try {
    await wire.start(pings);
    await body(wire);
  } finally {
    await wire.stop();
  }
}

function sameSequence(sent: readonly Uint8Array[], received: readonly Uint8Array[]): void {
  const at = sent.findIndex((bytes, i) => received[i] === undefined || key(bytes) !== key(received[i]));
  if (at < 0 && sent.length === received.length) return;
  const missing = new Map<string, number>();
  for (const bytes of sent) missing.set(key(bytes), (missing.get(key(bytes)) ?? 0) + 1);
  let foreign = 0;
  for (const bytes of received) {
    const n = missing.get(key(bytes)) ?? 0;
    if (n > 0) missing.set(key(bytes), n - 1);
    else foreign++;
  }
  const lost = [...missing.values()].reduce((sum, n) => sum + n, 0);
  assert.unreachable(
    `${sent.length} sent, ${received.length} received, ${lost} of them lost or changed, ${foreign} foreign; frame ${at + 1}\n` +
      `${describe(sent[at] ?? new Uint8Array())}\narrived as\n${describe(received[at] ?? new Uint8Array())}`,
  );
}

if (files.length > 0 && !process.env.OFFRAMP_CAPTURE) {
  test("A8: all captures cross the appliance bit-identical and in order, both ways, when there is no service", async () => {
    const all = (await Promise.all(files.map(readCapture))).flat();
    await onWire(false, async (wire) => {
      for (const [from, to] of [
        ["ran", "core"],
        ["core", "ran"],
      ] as const) {
        const seen = await wire.send(from, all, { [to]: all.length });
        sameSequence(all, seen(to));
      }
    });
  });
}

const wanted = [
  "5greplay--oai.pcap",
  "arkime--gtp-u.pcap",
  "oai-cn5g-fed--user_plane_edge_only.pcapng",
  "ndpi--rtmp.pcap",
];

const only = process.env.OFFRAMP_CAPTURE;
for (const path of files.filter((file) => (only ? basename(file).includes(only) : wanted.includes(basename(file))))) {
  test(`A4, A6: ${basename(path)}: with a service exactly the matching packets leave at the apps' side`, async () => {
    const frames = await readCapture(path);
    const rows = rowsOf(path);
    const counts = destinations(rows).map((text) => [text, expectedTaken(rows, text)] as const);
    const [destination, expected] = counts.sort((a, b) => b[1].size - a[1].size)[0] ?? ["", new Set<number>()];
    assert.ok(expected.size > 0, "the capture has something to take");
    await onWire(true, async (wire) => {
      const service = { name: "replay", serviceIP: destination, applicationIP: "10.60.0.10" };
      assert.is(await wire.http("POST", "/service", service), 200);
      const seen = await wire.send("ran", frames, { core: frames.length - expected.size, app: expected.size });
      const sent = new Set(frames.map(key));
      // The pinger's echo requests are ours, not the capture's.
      const crossed = seen("core").filter((bytes) => sent.has(key(bytes)));
      sameSequence(
        frames.filter((_, i) => !expected.has(i + 1)),
        crossed,
      );
      const atApp = seen("app").filter(
        (bytes) => bytes[12] === 8 && bytes[13] === 0 && bytes[33] === 10 && bytes[30] === 10,
      );
      assert.is(atApp.length, expected.size);
    });
  });
}

test.run();
