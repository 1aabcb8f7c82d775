/**
 * Can others read what `offramp capture` writes?
 *
 * tshark reads the file back: link types, nanoseconds, cut packets, the name of the verdict.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { startCapture } from "../../controlplane/sessions/capture.ts";
import { buildEcho } from "../../controlplane/sessions/echo.ts";
import { concat } from "../../controlplane/sessions/octets.ts";
import { counters } from "../../dataplane/counters.ts";
import type { CapturedPacket, CaptureFilter } from "../../dataplane/slow-path.ts";

const verdict = (name: string): number => counters.findIndex((counter) => counter.name === name);

const echo = buildEcho({
  ue: "10.45.0.2",
  target: "203.0.113.10",
  id: 1,
  sequence: 2,
  cookie: new Uint8Array(8),
  session: 1,
  epoch: 1,
}) as Uint8Array;

const packet = (more: Partial<CapturedPacket>): CapturedPacket => ({
  time: 1_790_000_000_123_456_789n,
  dataplane: "s1",
  port: 66,
  verdict: verdict("take_uplink"),
  service: 3,
  inner: true,
  length: echo.length,
  data: echo,
  ...more,
});

const frame = concat([Uint8Array.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]), echo, new Uint8Array(3)]);

function source(): {
  capture: (filter: CaptureFilter, l: (p: CapturedPacket) => void) => () => void;
  filter: unknown[];
  give: (p: CapturedPacket) => void;
  stopped: number;
} {
  const self = {
    filter: [] as unknown[],
    stopped: 0,
    give: (_: CapturedPacket): void => {},
    capture(filter: CaptureFilter, listener: (p: CapturedPacket) => void) {
      self.filter.push(filter);
      self.give = listener;
      return () => void self.stopped++;
    },
  };
  return self;
}

test("DESIGN 10: a capture is a pcapng file with both link types, nanoseconds and the verdict of each packet", () => {
  const folder = mkdtempSync(join(tmpdir(), "ofr-capture-"));
  try {
    const kernel = source();
    const chunks: Uint8Array[] = [];
    const capture = startCapture(kernel, { ue: "10.45.0.2" }, (octets) => chunks.push(octets));
    assert.equal(kernel.filter, [{ outer: true, inner: true, snap: 65535, teid: undefined, ue: "10.45.0.2" }]);
    kernel.give(packet({}));
    kernel.give(
      packet({
        inner: false,
        data: frame,
        length: 1514,
        service: 0,
        port: 1,
        verdict: verdict("pass_no_rule"),
        time: 1_790_000_001_000_000_001n,
      }),
    );
    kernel.give(packet({ verdict: 250 }));
    capture.stop();
    kernel.give(packet({}));
    assert.is(capture.packets, 3);
    assert.is(kernel.stopped, 1);
    const file = join(folder, "capture.pcapng");
    writeFileSync(file, Buffer.concat(chunks));
    const fields = [
      "frame.time_epoch",
      "frame.len",
      "frame.cap_len",
      "frame.interface_name",
      "frame.protocols",
      "ip.src",
      "frame.comment",
    ];
    const text = execFileSync("tshark", ["-r", file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    assert.equal(
      text
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t")),
      [
        [
          "1790000000.123456789",
          "44",
          "44",
          "inner",
          "raw:ip:icmp:data",
          "10.45.0.2",
          "take_uplink dataplane=s1 port=66 service=3",
        ],
        [
          "1790000001.000000001",
          "1514",
          "61",
          "outer",
          "eth:ethertype:ip:icmp:data",
          "10.45.0.2",
          "pass_no_rule dataplane=s1 port=1",
        ],
        [
          "1790000000.123456789",
          "44",
          "44",
          "inner",
          "raw:ip:icmp:data",
          "10.45.0.2",
          "verdict_250 dataplane=s1 port=66 service=3",
        ],
      ],
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("verdicts are chosen by name or kind, data planes and services too; a count ends the capture by itself", async () => {
  const kernel = source();
  const chunks: Uint8Array[] = [];
  const options = { verdicts: ["drop", "take_uplink"], dataplane: "s1", service: 3, count: 2, inner: false, snap: 96 };
  const capture = startCapture(kernel, options, (octets) => chunks.push(octets));
  assert.equal(kernel.filter, [{ outer: true, inner: false, snap: 96, teid: undefined, ue: undefined }]);
  kernel.give(packet({ dataplane: "s2" }));
  kernel.give(packet({ service: 4 }));
  kernel.give(packet({ verdict: verdict("pass_downlink") }));
  kernel.give(packet({ verdict: 250 }));
  assert.is(capture.packets, 0);
  kernel.give(packet({}));
  kernel.give(packet({ verdict: verdict("drop_protected") }));
  await capture.ended;
  kernel.give(packet({}));
  assert.is(capture.packets, 2);
  assert.is(chunks.length, 3);
  assert.is(kernel.stopped, 1);
  capture.stop();
  assert.is(kernel.stopped, 1);
  assert.throws(() => startCapture(kernel, { verdicts: ["drop", "eaten"] }, () => {}), /no such verdict: eaten/);
  assert.is(kernel.filter.length, 1);
});

test.run();
