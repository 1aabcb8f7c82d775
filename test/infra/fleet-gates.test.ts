/**
 * Do gates see in a site's own metrics that a change did it no good (C5)?
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Gate, isMetric, judge, readMetrics, type Sample, sampleOf } from "../../infra/fleet/gates.ts";

const test = suite("fleet gates");

const sample = (values: Record<string, number>, at = 0, ready = true): Sample => ({ at: at * 1000, ready, values });

test("C5: readiness, bounds, and how it was before; a metric that is gone is a reason", () => {
  const before = sample({ drops: 10, active: 4, none: 0 });
  assert.equal(judge({ before }, sample({ drops: 20 }), [{ metric: "drops", mostTimes: 2, most: 20 }]), []);
  assert.equal(judge({ before }, sample({ none: 7 }), [{ metric: "none", mostTimes: 2 }]), []);
  assert.equal(
    judge({ before }, sample({ drops: 21, active: 1 }, 0, false), [
      { metric: "drops", most: 20, mostTimes: 2 },
      { metric: "active", least: 2, leastTimes: 0.5 },
      { metric: "gone" },
    ]),
    [
      "it is not ready",
      "drops is 21, at most 20 is good",
      "drops is 21 after 10, at most 2 times is good",
      "active is 1, at least 2 is good",
      "active is 1 after 4, at least 0.5 times is good",
      "gone is missing",
    ],
  );
});

test("C5: counters are judged by how fast they grow, from the baseline to the soak, whatever they stood at", () => {
  const gates: Gate[] = [{ rate: "drops", mostTimes: 2, most: 9 }];
  const first = sample({ drops: 1000 }, 0);
  const before = sample({ drops: 1030 }, 10);
  const after = sample({ drops: 5000 }, 20);
  assert.equal(judge({ first, before, after }, sample({ drops: 5060 }, 30), gates), [], "6 a second after 3");
  assert.equal(judge({ first, before, after }, sample({ drops: 5100 }, 30), gates), [
    "drops per second is 10, at most 9 is good",
    "drops per second is 10 after 3, at most 2 times is good",
  ]);
  assert.equal(judge({ before, after }, sample({ drops: 5080 }, 30), gates), [], "nothing to compare with");
  assert.equal(judge({ first, before, after }, sample({ drops: 40 }, 30), gates), [], "begun anew, as after a restart");
  assert.equal(
    judge({ first, before }, sample({ drops: 1630 }, 40), gates).length,
    2,
    "silent just after: from before",
  );
  assert.equal(judge({ first, before, after }, sample({}, 30), gates), ["drops is missing"]);
});

test("C5: of what came, as large a share is taken as before", () => {
  const gates: Gate[] = [{ share: "taken", of: "all", leastTimes: 0.5, least: 0.1 }];
  const first = sample({ taken: 0, all: 0 }, 0);
  const before = sample({ taken: 80, all: 100 }, 10);
  const after = sample({ taken: 100, all: 200 }, 20);
  const now = (taken: number, all: number) => judge({ first, before, after }, sample({ taken, all }, 30), gates);
  assert.equal(now(150, 300), []);
  assert.equal(now(105, 300), [
    "taken of all is 0.05, at least 0.1 is good",
    "taken of all is 0.05 after 0.8, at least 0.5 times is good",
  ]);
  assert.equal(now(100, 200), ["taken of all was 0.8, and now all stands still"]);
});

test("C5: what restarts after the change has ended is seen", () => {
  const gates: Gate[] = [{ steady: "process_start_time_seconds" }];
  const [before, after] = [sample({ process_start_time_seconds: 1 }), sample({ process_start_time_seconds: 7 })];
  assert.equal(judge({ before, after }, after, gates), [], "the change itself may restart it");
  assert.equal(judge({ before, after }, sample({ process_start_time_seconds: 9 }), gates), [
    "process_start_time_seconds has changed from 7 to 9",
  ]);
});

test("C5: metrics are named as the site names them; labels that are left out may be anything", () => {
  const metrics = readMetrics(
    `# HELP a b
# TYPE packets counter
packets{dataplane="s1",verdict="drop",reason="x y"} 3
packets{dataplane="s2",verdict="drop",reason="z"} 4
packets{dataplane="s2",verdict="pass",reason="z"} 100
# TYPE quiet counter
# TYPE size gauge
size 1.5e3

nonsense
`,
  );
  assert.equal(metrics, {
    'packets{dataplane="s1",verdict="drop",reason="x y"}': 3,
    'packets{dataplane="s2",verdict="drop",reason="z"}': 4,
    'packets{dataplane="s2",verdict="pass",reason="z"}': 100,
    quiet: 0,
    size: 1500,
  });
  const value = (metric: string) => sampleOf({ ready: true, metrics }, [{ metric }], 0).values[metric];
  assert.equal(
    [
      'packets{verdict="drop"}',
      "packets",
      'packets{reason="x y",dataplane="s1"}',
      'packets{verdict="none"}',
      "gone",
    ].map(value),
    [7, 107, 3, 0, undefined],
  );
  assert.equal(['a{b="c",d="e f"}', "a:b_total", "a{b=c}", "a b", "", 'a{b="c"'].map(isMetric), [
    ...[true, true, false, false, false, false],
  ]);
});

test.run();
