/**
 * What does a chain cost beside the same functions joined by plain routing?
 *
 * Section `chain`. One source, one sink, the same machines between them, by two ways:
 *
 *   Offramp   sta0 ── tof ══ fn1 ══ tof ══ … ══ fn8 ══ tof ── app     ══: VXLAN, over the one switch of the apps' network
 *   plain     sta0 ── fn1 ── fn2 ── … ── fn8 ── app                   routes, a wire for each hop
 *
 * For Offramp the functions ran what `offramp chain show` printed, for the plain way they got addresses and routes. The source
 * is a station on plain Ethernet, since a phone in the lab tunnels in user space and would be slower than what is measured.
 * It sends whole frames on both ways (no segmentation offload), of the same size: the plain wires have the MTU that the
 * functions' VXLAN interfaces have, to which TCP is clamped. All ways take turns within each round.
 */
import { Appliance } from "../lab/appliance.ts";
import { configureFunctions, functionAddress, passed, plugFunctions, vxlanAddress } from "../lab/functions.ts";
import { edgeOnly, internet, Lab } from "../lab/lab.ts";
import { must } from "../lab/netns.ts";
import { addStations, reaches, stations, wifi } from "../lab/stations.ts";
import { type Failed, type Figure, figure, ratios, type Section } from "./figures.ts";
import type { Effort } from "./inside.ts";

/** 1500 of the apps' network less what VXLAN takes. */
const MTU = 1450;
const source = stations.first;

/** Functions on the way, in order; a way with one has the last of all. */
interface Way {
  functions: number[];
  to: string;
  from: string;
  plain: boolean;
}

interface Pair {
  count: number;
  plain: Way;
  chained: Way;
}

/** Both ways, through one function and through all. */
function pairs(functions: number): Pair[] {
  const all = [...Array(functions).keys()].map((n) => n + 1);
  const pair = (through: number[], service: string): Pair => {
    const count = through.length;
    return {
      count,
      plain: { plain: true, functions: through, to: `10.99.0.${count}`, from: `10.98.0.${count}` },
      chained: { plain: false, functions: through, to: service, from: source.ip },
    };
  };
  return [pair([functions], edgeOnly.service), pair(all, internet.other)];
}

/** Wires and routes from the station through these functions to the app, and back. */
async function route(lab: Lab, { functions, to, from }: Way): Promise<void> {
  const m = lab.machines;
  const line = ["sta0", ...functions.map((n) => `fn${n}`), "app"];
  const tag = functions.length;
  await m.ip("sta0", `addr add ${from}/32 dev lo`);
  await m.ip("app", `addr add ${to}/32 dev lo`);
  for (const [hop, here] of line.slice(0, -1).entries()) {
    const next = line[hop + 1]!;
    const [out, into] = [`out${tag}`, `in${tag}`];
    await m.wire(here, out, next, into, MTU);
    await m.ip(here, `addr add 10.97.${tag}.${4 * hop + 1}/30 dev ${out}`);
    await m.ip(next, `addr add 10.97.${tag}.${4 * hop + 2}/30 dev ${into}`);
    await m.ip(here, `route add ${to}/32 via 10.97.${tag}.${4 * hop + 2} dev ${out}${hop === 0 ? ` src ${from}` : ""}`);
    await m.ip(next, `route add ${from}/32 via 10.97.${tag}.${4 * hop + 1} dev ${into}`);
  }
  await m.asCable("sta0", `out${tag}`);
  for (const n of functions) {
    await must(["ip", "netns", "exec", m.ns(`fn${n}`), "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  }
}

/** Packets that came to function `n` on this way. */
async function met(lab: Lab, way: Way, n: number): Promise<number> {
  if (!way.plain) return passed(lab, n);
  const file = `/sys/class/net/in${way.functions.length}/statistics/rx_packets`;
  return Number((await lab.exec(`fn${n}`, ["cat", file])).stdout);
}

/** @returns Mbit/s that arrived by TCP, or thousands of packets a second by UDP. @throws when they went another way */
async function once(lab: Lab, way: Way, kind: "tcp" | "udp", seconds: number): Promise<number> {
  const before = await Promise.all(way.functions.map((n) => met(lab, way, n)));
  const how = kind === "tcp" ? [] : ["-u", "-b", "0", "-l", "64"];
  const argv = ["iperf3", "-J", "-c", way.to, "-B", way.from, "-t", `${seconds}`, ...how];
  const ran = await lab.exec(source.ns, argv, { timeoutMs: (seconds + 30) * 1000 });
  if (ran.code !== 0) throw new Error(`iperf3: ${ran.stdout.slice(-300)}${ran.stderr}`);
  type Sum = { bytes: number; seconds: number; packets: number; lost_packets: number };
  const { end } = JSON.parse(ran.stdout) as { end: { sum: Sum; sum_received: Sum } };
  const { bytes, seconds: took, packets: sent, lost_packets: lost } = kind === "tcp" ? end.sum_received : end.sum;
  // Segments are never longer than the MTU: so many packets at least.
  const packets = kind === "tcp" ? Math.floor(bytes / MTU) : sent - lost;
  if (!(packets > 0)) throw new Error("nothing arrived");
  for (const [i, n] of way.functions.entries()) {
    const here = (await met(lab, way, n)) - before[i]!;
    if (here < packets) throw new Error(`${packets} packets arrived, of which function ${n} saw ${here}`);
  }
  return kind === "tcp" ? (bytes * 8) / took / 1e6 : packets / took / 1e3;
}

/** The lab, the chains as services, the routes; `body` measures. */
async function prepared<T>(ways: readonly Pair[], body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await Lab.create({ ues: 0, realCore: false });
  const extra = {
    dataplanes: [wifi()],
    apps: { interface: "apps0", address: "10.60.0.1/24" },
    vxlan: { address: vxlanAddress },
  };
  const appliance = new Appliance(lab, { extra });
  try {
    await addStations(lab);
    const functions = Math.max(...ways.map(({ count }) => count));
    await plugFunctions(lab, functions);
    await appliance.start();
    await reaches(lab, source, internet.host);
    for (const way of ways) {
      const list = way.chained.functions.map(functionAddress);
      const name = `through-${way.count}`;
      await appliance.addService({
        name,
        rules: { priority: "10", nw_dst: way.chained.to, nw_src: "0.0.0.0/0", endpoint: lab.app.address },
        chain: { ue_net: list, net_ue: [...list].reverse() },
      });
      await configureFunctions(lab, appliance, functions, name);
      await route(lab, way.plain);
    }
    // One for each address, so that answers leave from the one that was asked.
    for (const address of [lab.app.address, ...ways.map((way) => way.plain.to)]) {
      const server = lab.machines.start("app", "iperf3", ["iperf3", "-s", "-B", address, "--forceflush"]);
      await server.said(/listening/);
    }
    return await body(lab);
  } catch (error) {
    process.stderr.write(`${appliance.log().slice(-2000)}\n`);
    throw error;
  } finally {
    await appliance.destroy();
    await lab.destroy();
  }
}

const kinds = [
  { kind: "tcp", what: "TCP", unit: "Mbit/s", digits: 0 },
  { kind: "udp", what: "UDP, 64 octets", unit: "kpps", digits: 1 },
] as const;

const functionsText = (count: number): string => `${count} function${count === 1 ? "" : "s"}`;

export async function chain({ quick, say }: Effort, functions = 8, rounds = quick ? 3 : 11): Promise<Section> {
  const ways = pairs(functions);
  const seconds = quick ? 1 : 3;
  const turns = kinds.flatMap(({ kind, ...shown }) =>
    ways.flatMap(({ count, plain, chained }) =>
      [plain, chained].map((way) => ({
        ...{ kind, way, values: [] as number[], failed: undefined as string | undefined },
        ...{ ...shown, count },
      })),
    ),
  );
  await prepared(ways, async (lab) => {
    // The first round finds everything cold.
    for (let round = -1; round < rounds; round++) {
      for (const turn of turns) {
        if (turn.failed) continue;
        try {
          const value = await once(lab, turn.way, turn.kind, round < 0 ? 1 : seconds);
          if (round >= 0) turn.values.push(value);
        } catch (error) {
          turn.failed = (error as Error).message;
        }
      }
      if (round >= 0) say(`round ${round + 1}`);
    }
  });
  const rows = turns.map((turn, i): Figure | Failed => {
    const what = `${turn.what}, ${functionsText(turn.count)}: ${turn.way.plain ? "plain routing" : "Offramp"}`;
    const yardstick = turn.way.plain ? undefined : turns[i - 1];
    const failed = turn.failed ?? yardstick?.failed;
    if (failed) return { what, failed };
    const beside = yardstick ? { ratios: ratios(turn.values, yardstick.values) } : {};
    return figure(what, turn.unit, turn.values, { digits: turn.digits, ...beside });
  });
  return {
    name: "chain",
    title: "Through functions that forward: what arrives, ratio to plain routing through the same in the same round",
    rows,
  };
}
