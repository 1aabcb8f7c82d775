// needs ../shared
/**
 * Do the programs treat every captured frame as they should?
 *
 * Every capture of ../shared/pcaps goes through the real programs by BPF_PROG_TEST_RUN: with no rule every frame of it
 * passes bit-identical on either side; with a rule for an inner destination exactly those packets are taken that tshark
 * says match. Without the folder test/run.ts leaves this out and says so.
 */
import { basename } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Bench } from "../model/bench.ts";

import type { ModelConfig } from "../model/state.ts";
import { describe } from "../packets/parse.ts";
import { captureFiles, readCapture } from "./captures.ts";
import { destinations, expectedTaken, rowsOf } from "./expected.ts";

const settings: ModelConfig = {
  mode: "offload",
  mtuAccess: 9000,
  peerSessions: 1000,
  ueFlows: 1000,
  maxSessions: 1000,
  protect: [],
  slowPort: true,
  nextHops: [{ destination: Uint8Array.of(2, 9, 9, 9, 9, 1), source: Uint8Array.of(2, 8, 8, 8, 8, 1) }],
};

const files = captureFiles();
const bench = new Bench(settings, []);
test.after(() => bench.close());

let all = 0;

for (const path of files) {
  const name = basename(path);

  test(`A8: ${name}: with no rule every frame passes bit-identical, on either side`, async () => {
    const frames = await readCapture(path);
    assert.ok(frames.length > 0);
    for (const side of ["access", "core"] as const) {
      bench.reset();
      bench.setRules([]);
      for (const [i, bytes] of frames.entries()) {
        const { verdict, frame } = bench.run(side, bytes);
        assert.is(verdict, "redirect", `frame ${i + 1}\n${describe(bytes)}`);
        assert.ok(Buffer.compare(frame, bytes) === 0, `frame ${i + 1} changed\n${describe(bytes)}\n${describe(frame)}`);
      }
    }
  });

  test(`${name}: with a rule exactly the packets are taken that tshark says match`, async () => {
    const frames = await readCapture(path);
    const rows = rowsOf(path);
    assert.is(rows.length, frames.length);
    for (const destination of destinations(rows).slice(0, 4)) {
      bench.reset();
      bench.setRules([
        {
          id: 1,
          service: 1,
          name: "rule 1",
          priority: 100,
          match: { destination: [`${destination}/32`] },
          action: "take",
          endpoints: [{ address: "10.60.0.10" }],
          appInitiated: false,
        },
      ]);
      const taken: number[] = [];
      let before = bench.count("take_uplink");
      for (const [i, bytes] of frames.entries()) {
        const { frame } = bench.run("access", bytes);
        const now = bench.count("take_uplink");
        if (now !== before) taken.push(i + 1);
        else if (Buffer.compare(frame, bytes) !== 0) {
          assert.is(
            (frame[12] ?? 0) * 256 + (frame[13] ?? 0),
            0x88b5,
            `frame ${i + 1} neither taken, held nor untouched`,
          );
        }
        before = now;
      }
      all += taken.length;
      const expected = [...expectedTaken(rows, destination)];
      const wrong = [...taken.filter((n) => !expected.includes(n)), ...expected.filter((n) => !taken.includes(n))];
      const first = wrong[0];
      const text = first === undefined ? "" : describe(frames[first - 1] ?? new Uint8Array());
      assert.equal(taken, expected, `${destination}: ${wrong.length} frames differ, the first is ${first}\n${text}`);
    }
  });
}

if (files.length > 0) {
  test("the captures have packets that a rule takes, so that the comparisons mean something", () => {
    assert.ok(all > 300, `${all} taken`);
  });
}

test.run();
