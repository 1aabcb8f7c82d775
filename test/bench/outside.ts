/**
 * What does the appliance as a whole do: on a wire, when a service comes, and to memory?
 *
 * Sections `wire`, `service` and `memory`: `bin/offramp run` in namespaces (rig.ts).
 */
import { sleep, until } from "../lab/netns.ts";
import { type Failed, type Figure, figure, quantile, ratios, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";
import { ORIGIN, Rig, SERVICE, type Sink, type Template, wires } from "./rig.ts";

/** Waits until a stream's packets no longer come in. */
export async function settled(rig: Rig, sink: Sink, stream = 0): Promise<number> {
  for (let last = -1; ; ) {
    const { packets } = rig.arrived(sink, stream);
    if (packets === last) return packets;
    last = packets;
    await sleep(20);
  }
}

/** At most this part of what a generator at full speed sends may be lost for the rate to count. */
const lossAllowed = 0.1;

interface Turn {
  name: string;
  from: Template;
  sink: Sink;
  least?: number;
}

export async function wire({ quick, say }: Effort): Promise<Section> {
  const rows: (Figure | Failed)[] = [];
  const rates = new Map<string, number[]>();
  const failed = new Map<string, string>();
  await Rig.with({}, async (rig) => {
    await rig.service("www", SERVICE);
    await rig.learn();
    const turns: Turn[] = [
      { name: "no forwarder: sending and counting", from: rig.uplink(ORIGIN, wires.ranToCore), sink: "direct" },
      { name: "plain Linux bridge", from: rig.uplink(ORIGIN, wires.ranToBridge), sink: "bridge" },
      { name: "pass through", from: rig.uplink(ORIGIN), sink: "core", least: 3 },
      { name: "uplink taken", from: rig.uplink(SERVICE), sink: "app", least: 2.5 },
      { name: "downlink back", from: rig.reply(), sink: "ran" },
    ];
    const count = quick ? 100_000 : 500_000;
    for (let round = -1; round < (quick ? 5 : 21); round++) {
      for (const { name, from, sink } of turns) {
        const before = rig.everywhere(0);
        const ns = rig.send(from, round < 0 ? 10_000 : count);
        await settled(rig, sink);
        if (round < 0) continue;
        const after = rig.everywhere(0);
        const here = after[sink] - before[sink];
        const strays = (Object.keys(after) as Sink[]).filter((one) => one !== sink && after[one] !== before[one]);
        if (strays.length > 0) failed.set(name, `frames came out at ${strays.join(", ")}`);
        else if (here < count * (1 - lossAllowed)) failed.set(name, `${count - here} of ${count} frames were lost`);
        rates.set(name, [...(rates.get(name) ?? []), (here * 1e6) / ns]);
      }
      if (round >= 0) say(`round ${round + 1}`);
    }
    for (const { name, least } of turns) {
      const own = rates.get(name) ?? [];
      const bridge = rates.get("plain Linux bridge") ?? [];
      const why = failed.get(name) ?? (least ? failed.get("plain Linux bridge") : undefined);
      if (why) rows.push({ what: name, failed: why });
      else rows.push(figure(name, "kpps", own, least ? { ratios: ratios(own, bridge), bar: { least } } : {}));
    }
    rows.push(...forwarderAlone(rates, failed));
  }).catch((error: Error) => rows.push({ what: "all", failed: error.message }));
  return { name: "wire", title: "veth to veth, 114 octets, one core sends, forwards and counts", rows };
}

/** What is left of a packet's time when that of sending and counting it is taken away. */
function forwarderAlone(rates: Map<string, number[]>, failed: Map<string, string>): (Figure | Failed)[] {
  const idle = "no forwarder: sending and counting";
  const floor = rates.get(idle) ?? [];
  const cost = (name: string): number[] =>
    (rates.get(name) ?? []).map((rate, round) => 1e6 / rate - 1e6 / (floor[round] ?? Number.NaN));
  return ["plain Linux bridge", "pass through", "uplink taken"].map((name) => {
    const what = `of this the forwarder: ${name}`;
    const why = failed.get(name) ?? failed.get(idle);
    return why ? { what, failed: why } : figure(what, "ns", cost(name));
  });
}

export async function service({ quick, say }: Effort): Promise<Section> {
  const turns = quick ? 20 : 200;
  const added: number[] = [];
  const deleted: number[] = [];
  try {
    await Rig.with({}, async (rig) => {
      await rig.service("www", SERVICE);
      await rig.learn();
      const expect = async (from: Template, sink: Sink, when: string): Promise<void> => {
        const at = await rig.next(from);
        if (at !== sink) throw new Error(`${when} the next packet came out at ${at ?? "no end"}, not at ${sink}`);
      };
      for (let turn = 0; turn < turns; turn++) {
        const address = `203.0.113.${1 + (turn % 60)}`;
        const from = rig.uplink(address);
        await expect(from, "core", "before the service");
        added.push((await rig.service("turn", address)).ms);
        await expect(from, "app", "after 200 to POST");
        deleted.push((await rig.must("DELETE", "/service/turn?flush=true")).ms);
        await expect(from, "core", "after 200 to DELETE");
        if (turn % 50 === 49) say(`${turn + 1} services`);
      }
    });
  } catch (error) {
    return {
      name: "service",
      title: "Service added until active",
      rows: [{ what: "all", failed: (error as Error).message }],
    };
  }
  const row = (what: string, values: number[], part: number): Figure => ({
    ...figure(what, "ms", [quantile(values, part)], { digits: 1 }),
  });
  return {
    name: "service",
    title: `Request until the change is in force, over ${turns} services: from POST or DELETE to 200; the next packet proves it`,
    rows: [
      row("added until active, p50", added, 0.5),
      row("added until active, p99", added, 0.99),
      row("deleted until inactive, p50", deleted, 0.5),
      row("deleted until inactive, p99", deleted, 0.99),
    ],
  };
}

const MB = 1e6;
const one = (what: string, octets: number): Figure => figure(what, "MB", [octets / MB]);

/** Sessions learnt from live frames, both tunnels of each, until the API counts them all. */
async function teach(rig: Rig, sessions: number): Promise<void> {
  const chunk = 10_000;
  for (const from of [rig.uplink(ORIGIN), rig.downlink(ORIGIN)]) {
    for (let first = 0; first < sessions; first += chunk) {
      rig.send(from, Math.min(chunk, sessions - first), { flows: sessions, first });
      // Softirqs take their turn, and so does this process.
      await sleep(0);
    }
  }
  let last = -1;
  await until(
    `${sessions} sessions in the table`,
    async () => {
      const { body } = await rig.must("GET", "/metrics");
      last = Number(body.match(/^offramp_sessions(?:\{[^}]*\})? (\d+)/m)?.[1] ?? -1);
      return last === sessions;
    },
    60_000,
    500,
  ).catch(() => {
    throw new Error(`the appliance knows ${last} of ${sessions} sessions`);
  });
}

/** Resident memory at rest, and with `sessions` sessions after several passes of `collect` over them. */
async function residents(
  label: string,
  sessions: number,
  limits: Record<string, number>,
): Promise<(Figure | Failed)[]> {
  try {
    return await Rig.with({ limits }, async (rig) => {
      await rig.service("www", SERVICE);
      await sleep(3000);
      const rest = rig.resident();
      const maps = await rig.mapMemory();
      await teach(rig, sessions);
      await sleep(10_000);
      const full = rig.resident();
      return [
        one(`${label}, at rest: resident`, rest.all),
        one(`${label}, at rest: of this the process's own`, rest.own),
        one(`${label}, full: resident`, full.all),
        one(`${label}, full: of this the process's own`, full.own),
        one(`${label}, full: highest so far`, full.peak),
        one(`${label}: kernel memory of the maps`, maps),
      ];
    });
  } catch (error) {
    return [{ what: label, failed: (error as Error).message }];
  }
}

/** Sessions and learning without limits: one base station and one gateway teach all. */
const lifted = (sessions: number): Record<string, number> => ({
  sessions,
  peerSessions: sessions,
  learnRate: 1_000_000,
  learnBurst: 1_000_000,
});

export async function memory({ quick, say }: Effort): Promise<Section> {
  const rows = await residents("default limits, 65 536 sessions", 65_536, lifted(65_536));
  if (!quick) {
    say("a million sessions");
    rows.push(
      ...(await residents("limits for 1 000 000 sessions", 1_000_000, { ...lifted(1_000_000), flows: 1_000_000 })),
    );
  }
  return {
    name: "memory",
    title: "Control plane (mapped tables count as resident) and tables, after `collect` has been over all sessions",
    rows,
  };
}
