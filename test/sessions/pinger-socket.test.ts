/**
 * Do the pinger's echo requests really leave by the pinger device, as they were built?
 *
 * A namespace with a veth pair; this test runs itself again inside it, and a capture on the far end is compared with
 * what was built.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { buildEcho, type Echo } from "../../controlplane/sessions/echo.ts";

const cookie = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
const echoes: Echo[] = [
  { ue: "10.45.0.2", target: "203.0.113.10", id: 0x1234, sequence: 1, cookie, session: 5, epoch: 7 },
  { ue: "2001:db8:1::abcd", target: "2001:db8:ffff::10", id: 0x1234, sequence: 0x8002, cookie, session: 6, epoch: 8 },
  { ue: "10.45.0.3", target: "203.0.113.10", id: 0x1234, sequence: 3, cookie, session: 70000, epoch: 9 },
];

const ns = `ofr-${process.pid}-ping`;
const ip = (...args: string[]): void => void execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await sleep(20);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** IP packets of a little-endian classic capture of Ethernet frames, in order. */
function packets(capture: Buffer): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 24; at + 16 <= capture.length; ) {
    const length = capture.readUInt32LE(at + 8);
    out.push(capture.subarray(at + 16 + 14, at + 16 + length));
    at += 16 + length;
  }
  return out;
}

test("A5: echo requests in a UE's name, IPv4 and IPv6, leave by the pinger device octet by octet, without route or address", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ofr-ping-"));
  const file = join(folder, "far.pcap");
  let tcpdump: ReturnType<typeof spawn> | undefined;
  try {
    ip("netns", "add", ns);
    ip("-n", ns, "link", "add", "pinger", "type", "veth", "peer", "name", "far");
    ip("-n", ns, "link", "set", "pinger", "arp", "off", "up");
    ip("-n", ns, "link", "set", "far", "arp", "off", "up");
    const inside = ["netns", "exec", ns];
    const filter = "icmp[icmptype]=8 or (ip6 and ip6[40]=128)";
    tcpdump = spawn("ip", [...inside, "tcpdump", "-i", "far", "-U", "-n", "-w", file, filter], { stdio: "ignore" });
    // The header is written before the socket is attached by some versions: look at the kernel's own list instead.
    await until(() => {
      const list = execFileSync("ip", [...inside, "cat", "/proc/net/packet"], { encoding: "utf8" });
      return list.trim().split("\n").length > 1 && existsSync(file);
    }, "tcpdump");

    const script = join(folder, "send.mts");
    const module = fileURLToPath(new URL("../../controlplane/sessions/pinger-socket.ts", import.meta.url));
    const built = echoes.map((echo) => Buffer.from(buildEcho(echo) as Uint8Array).toString("hex"));
    writeFileSync(
      script,
      `import { PingerSocket } from ${JSON.stringify(module)};
const socket = new PingerSocket("pinger");
for (const hex of ${JSON.stringify(built)}) {
  const error = await new Promise((done) => socket.send(Buffer.from(hex, "hex"), done));
  if (error) throw error;
}
socket.close();
const lost = new PingerSocket("nowhere");
const error = await new Promise((done) => lost.send(Buffer.from(${JSON.stringify(built[0])}, "hex"), done));
if (!(error instanceof Error)) throw new Error("a device that is not there was taken");
`,
    );
    const root = fileURLToPath(new URL("../..", import.meta.url));
    execFileSync("ip", [...inside, process.execPath, "--import", "tsx", script], { cwd: root, stdio: "pipe" });

    const capture = (): Buffer => execFileSync("cat", [file]);
    await until(() => packets(capture()).length >= echoes.length, "the packets");
    const seen = packets(capture());
    assert.is(seen.length, echoes.length);
    for (const [i, packet] of seen.entries()) {
      const want = Buffer.from(built[i] as string, "hex");
      if ((want[0] as number) >> 4 === 4) {
        // With an included header the kernel fills in the identification, and the header checksum after it.
        packet.copy(want, 4, 4, 6);
        packet.copy(want, 10, 10, 12);
      }
      assert.is(packet.toString("hex"), want.toString("hex"));
    }
    const text = execFileSync(
      "tshark",
      [
        "-r",
        file,
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-e",
        "ip.src",
        "-e",
        "ipv6.src",
        "-e",
        "icmp.checksum.status",
        "-e",
        "icmpv6.checksum.status",
        "-e",
        "ip.checksum.status",
      ],
      { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
    );
    assert.is(text, "10.45.0.2\t\t1\t\t1\n\t2001:db8:1::abcd\t\t1\t\n10.45.0.3\t\t1\t\t1\n");
  } finally {
    if (tcpdump?.exitCode === null) {
      tcpdump.kill("SIGTERM");
      await new Promise((done) => tcpdump?.once("exit", done));
    }
    try {
      ip("netns", "del", ns);
    } catch {
      // it was never made
    }
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
