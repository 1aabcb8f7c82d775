/**
 * What do many rules cost: a packet, and whoever changes them?
 *
 * Section `rules`. First packets: each of some thousand UEs begins its flow; later packets: one flow, decided. The counts of
 * rules take turns within each round, so that a slow spell of the machine meets all of them. The rule that matches is in
 * the middle; the others differ from it in destination, protocol or port, some are ranges and prefixes.
 */
import type { SteeringRule } from "../../dataplane/steering.ts";
import { type Figure, figure, ratios, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";
import { PathBench, serviceRule } from "./path.ts";

const counts = [10, 100, 1000, 10_000];

/** Rules as operators write them: a single address and port; every tenth a prefix, every seventh a range of ports. */
export function someRules(count: number, changed = 0): SteeringRule[] {
  return Array.from({ length: count }, (_, i): SteeringRule => {
    if (i === count >> 1) return serviceRule;
    const port = 1024 + (i % 5000) + (i === 7 ? changed : 0);
    const wide = i % 10 === 9;
    return {
      id: i + 2,
      service: 2,
      name: `rule ${i}`,
      priority: 100,
      match: {
        destination: [
          `10.${200 + (i >> 12)}.${(i >> 4) & 255}.${wide ? `${(i & 15) * 16}/28` : `${(i & 15) * 16 + 1}/32`}`,
        ],
        protocol: i % 3 === 0 ? [17] : [6, 17],
        destinationPorts: [[port, i % 7 === 6 ? port + 100 : port]],
      },
      action: "take",
      endpoints: [{ address: `10.60.${(i >> 8) & 63}.${i & 255}`, port: 8080 }],
      appInitiated: false,
    };
  });
}

const spelled = (count: number): string => count.toLocaleString("en").replaceAll(",", " ");

export function rules({ quick, say }: Effort): Section {
  const flows = quick ? 5000 : 20_000;
  const rounds = quick ? 5 : 15;
  const repeat = quick ? 50_000 : 200_000;
  const bench = new PathBench(flows);
  try {
    bench.fill();
    const sets = counts.map((count) => someRules(count));
    const first = counts.map((): number[] => []);
    const later = counts.map((): number[] => []);
    // The first round finds everything cold.
    for (let round = -1; round < rounds; round++) {
      say(`round ${round + 1}`);
      for (const [i, set] of sets.entries()) {
        bench.setRules(set);
        bench.forgetFlows();
        const begun = bench.eachOnce(bench.uplinkTaken(true));
        const went = bench.later(bench.uplinkTaken(), repeat);
        if (round < 0) continue;
        first[i]!.push(begun);
        later[i]!.push(went);
      }
    }
    const rows = counts.flatMap((count, i): Figure[] => {
      const most = (bar: number) => (count === 10_000 ? { bar: { most: bar } } : {});
      const beside = (all: number[][], bar: number) =>
        i === 0 ? {} : { ratios: ratios(all[i]!, all[0]!), ...most(bar) };
      return [
        figure(`${spelled(count)} rules: first packet of a flow`, "ns", first[i]!, {
          ...beside(first, 3),
          ...(i === 0 && { note: "to one service: what it needs of the rules is in the processor's cache" }),
        }),
        figure(`${spelled(count)} rules: later packet`, "ns", later[i]!, beside(later, 1.05)),
      ];
    });
    return {
      name: "rules",
      title: "Many rules: ns per packet, ratio to 10 rules in the same round; and how long a change takes",
      rows: [...rows, ...changes(bench, quick ? 5 : 15)],
    };
  } finally {
    bench.close();
  }
}

/** From steering to rules in force: rendered, filled in, swapped; the kernel's wait for its readers is part of it. */
function changes(bench: PathBench, rounds: number): Figure[] {
  const whole: number[] = [];
  const one: number[] = [];
  const timed = (set: SteeringRule[]): number => {
    const began = performance.now();
    bench.setRules(set);
    return performance.now() - began;
  };
  for (let round = 0; round < rounds; round++) {
    bench.setRules([]);
    const set = someRules(10_000);
    whole.push(timed(set));
    one.push(timed(set.map((rule, i) => (i === 7 ? someRules(10, round + 1)[7]! : rule))));
  }
  return [figure("10 000 rules installed from nothing", "ms", whole), figure("one of 10 000 rules changed", "ms", one)];
}
