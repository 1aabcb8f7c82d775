/**
 * What does a packet cost inside the programs, on one flow and among a million sessions, and how fast do they learn?
 *
 * Sections `path`, `scale` and `learn`: test runs beside an empty and a minimal program (path.ts).
 */
import { type Failed, type Figure, figure, ratios, type Section } from "./figures.ts";
import { PathBench } from "./path.ts";

export interface Effort {
  quick: boolean;
  say: (text: string) => void;
}

type Bars = Record<string, number>;

/** One row per program; those beside the yardstick with ratio and bar. */
export function rows(measured: Map<string, number[]>, bars: Bars, label = ""): (Figure | Failed)[] {
  return [...measured].map(([name, values]): Figure | Failed => {
    const what = `${label}${name}`;
    if (name.startsWith("empty") || name.startsWith("minimal")) return figure(what, "ns", values);
    const yardstick = measured.get(name === "downlink back" ? "minimal, downlink" : "minimal, uplink") ?? [];
    try {
      const most = bars[name];
      return figure(what, "ns", values, {
        ratios: ratios(values, yardstick),
        ...(most !== undefined && { bar: { most } }),
      });
    } catch (error) {
      return { what, failed: (error as Error).message };
    }
  });
}

const pathBars: Bars = {
  "pass through, uplink": 1.0,
  "pass through, downlink": 1.0,
  "uplink taken": 1.6,
  "downlink back": 1.7,
};

/** A bench that is closed whatever comes. */
function withBench<T>(flows: number, body: (bench: PathBench) => T): T {
  const bench = new PathBench(flows);
  try {
    return body(bench);
  } finally {
    bench.close();
  }
}

export function path({ quick }: Effort): Section {
  const measured = withBench(1, (bench) => {
    bench.fill();
    // The first round finds everything cold.
    bench.measure(1, 50_000, "fixed");
    return bench.measure(quick ? 7 : 31, quick ? 50_000 : 200_000, "fixed");
  });
  return {
    name: "path",
    title: "One flow: ns per packet, ratio to the minimal program of the same round",
    rows: rows(measured, pathBars),
  };
}

const scaleBars: Bars = {
  "uplink taken": 1.3,
  "downlink back": 1.3,
};

const spelled = (count: number): string => count.toLocaleString("en").replaceAll(",", " ");

export function scale({ quick, say }: Effort): Section {
  const all: (Figure | Failed)[] = [];
  for (const flows of quick ? [1000, 100_000] : [1000, 10_000, 100_000, 1_000_000]) {
    say(`${spelled(flows)} sessions`);
    const label = `${spelled(flows)}: `;
    try {
      const measured = withBench(flows, (bench) => {
        bench.fill();
        bench.measure(1, Math.min(2 * flows, 200_000), "random");
        return bench.measure(quick ? 3 : 9, quick ? 100_000 : 500_000, "random");
      });
      // The bar is for a million; smaller sizes show the way there.
      all.push(...rows(measured, flows === 1_000_000 ? scaleBars : {}, label));
    } catch (error) {
      all.push({ what: `${label}all`, failed: (error as Error).message });
    }
  }
  return {
    name: "scale",
    title: "Many sessions of one flow each, met at random: ns per packet, ratio to the minimal program at that size",
    rows: all,
  };
}

export function learn({ quick, say }: Effort): Section {
  const flows = quick ? 100_000 : 1_000_000;
  const learnt: number[] = [];
  const flown: number[] = [];
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    say(`round ${round + 1}`);
    const ns = withBench(flows, (bench) => bench.fill());
    learnt.push(1e9 / ns.learn);
    flown.push(1e9 / ns.flow);
  }
  return {
    name: "learn",
    title: `Into empty tables, up to ${spelled(flows)}, on one core, limits lifted`,
    rows: [figure("sessions learnt", "per s", learnt), figure("flows taken for the first time", "per s", flown)],
  };
}
