/**
 * How do the programs know the counters' indices?
 *
 * Prints build/counters.gen.h from the one table in dataplane/counters.ts; run by bin/build.
 */
import { counters } from "../counters.ts";

const lines = [
  "/* Made by bin/build from dataplane/counters.ts. */",
  "#ifndef OFFRAMP_COUNTERS_H",
  "#define OFFRAMP_COUNTERS_H",
  ...counters.map((counter, index) => `#define COUNTER_${counter.name.toUpperCase()} ${index} /* ${counter.text} */`),
  `#define COUNTER_COUNT ${counters.length}`,
  "#endif",
];
process.stdout.write(`${lines.join("\n")}\n`);
