/**
 * What does a chain cost beside the same functions joined by plain routing?
 *
 * Section `chain`. One source, one sink, the same machines between them, by three ways:
 *
 *   Offramp   sta0 ── tof ══ fn1 ══ tof ══ … ══ fn8 ══ tof ── app     ══: VXLAN, over the one switch of the apps' network
 *   plain     sta0 ── fn1 ── fn2 ── … ── fn8 ── app                   routes, a wire for each hop
 *   hub       as Offramp, with a Linux router `hub` in its place: a VXLAN interface and a routing rule for each place
 *
 * For Offramp the functions ran what `offramp chain show` printed, for the plain way they got addresses and routes. The source
 * is a station on plain Ethernet, since a phone in the lab tunnels in user space and would be slower than what is measured.
 * It sends whole frames on all ways (no segmentation offload), of the same size: the other wires have the MTU that the
 * functions' VXLAN interfaces have, to which TCP is clamped. All ways take turns within each round.
 */
import { Appliance } from "../lab/appliance.ts";
import { configureFunctions, functionAddress, plugFunctions, vxlanAddress } from "../lab/functions.ts";
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
  kind: "plain" | "hub" | "offramp";
  functions: number[];
  to: string;
  from: string;
}

const names = { plain: "plain routing", hub: "a Linux router by VXLAN", offramp: "Offramp" };

/** All three ways through one function, and through all; the yardstick comes first. */
function waysThrough(functions: number): Way[] {
  const all = [...Array(functions).keys()].map((n) => n + 1);
  const through = (list: number[], service: string): Way[] => [
    { kind: "plain", functions: list, to: `10.99.0.${list.length}`, from: `10.98.0.${list.length}` },
    { kind: "hub", functions: list, to: `10.99.1.${list.length}`, from: `10.98.1.${list.length}` },
    { kind: "offramp", functions: list, to: service, from: source.ip },
  ];
  return [...through([functions], edgeOnly.service), ...through(all, internet.other)];
}

async function forwards(lab: Lab, ns: string): Promise<void> {
  const settings = ["ip_forward=1", "conf.all.send_redirects=0", "conf.default.send_redirects=0"];
  await must([...["ip", "netns", "exec", lab.ns(ns), "sysctl", "-qw"], ...settings.map((one) => `net.ipv4.${one}`)]);
}

/** The addresses at both ends, and the station's wire to the first machine, without segmentation offload. */
async function ends(lab: Lab, { kind, functions, to, from }: Way, first: string): Promise<void> {
  const tag = functions.length;
  const port = `${kind}${tag}`;
  const net = `10.97.${tag + (kind === "hub" ? 100 : 0)}`;
  await lab.machines.ip("sta0", `addr add ${from}/32 dev lo`);
  await lab.machines.ip("app", `addr add ${to}/32 dev lo`);
  await lab.machines.wire("sta0", port, first, port, MTU);
  await lab.machines.asCable("sta0", port);
  await lab.machines.ip("sta0", `addr add ${net}.1/30 dev ${port}`, `route add ${to}/32 via ${net}.2 src ${from}`);
  await lab.machines.ip(first, `addr add ${net}.2/30 dev ${port}`, `route add ${from}/32 via ${net}.1`);
}

/** Wires and routes from the station through these functions to the app, and back. */
async function joinByRoutes(lab: Lab, way: Way): Promise<void> {
  const { functions, to, from } = way;
  const m = lab.machines;
  const line = [...functions.map((n) => `fn${n}`), "app"];
  const tag = functions.length;
  await ends(lab, way, line[0]!);
  for (const [hop, here] of line.slice(0, -1).entries()) {
    const next = line[hop + 1]!;
    const [out, into] = [`out${tag}`, next === "app" ? `in${tag}` : `plain${tag}`];
    const net = `10.97.${tag}`;
    await m.wire(here, out, next, into, MTU);
    await m.ip(here, `addr add ${net}.${4 * hop + 5}/30 dev ${out}`, `route add ${to}/32 via ${net}.${4 * hop + 6}`);
    await m.ip(next, `addr add ${net}.${4 * hop + 6}/30 dev ${into}`, `route add ${from}/32 via ${net}.${4 * hop + 5}`);
    await forwards(lab, here);
  }
}

const HUB = "10.60.0.3";
/** Not 4789: what `chain show` printed listens there. */
const HUB_PORT = 4788;

async function plugHub(lab: Lab): Promise<void> {
  const m = lab.machines;
  await m.add("hub");
  await m.wire("app", "hub", "hub", "eth0");
  await m.ip("app", "link set hub master sw0");
  await m.ip("hub", `addr add ${HUB}/24 dev eth0`);
  await forwards(lab, "hub");
}

/** A VXLAN interface for each function; what came from one goes to the next, what came from the app goes back. */
async function joinByHub(lab: Lab, way: Way): Promise<void> {
  const { functions, to, from } = way;
  const m = lab.machines;
  const tag = functions.length;
  await ends(lab, way, "hub");
  await m.ip("hub", `route add ${to}/32 via ${lab.app.address}`);
  await m.ip("app", `route add ${from}/32 via ${HUB}`);
  const vxlan = (vni: number, local: string, remote: string): string =>
    `mtu ${MTU} type vxlan id ${vni} local ${local} remote ${remote} dstport ${HUB_PORT}`;
  for (const [i, n] of functions.entries()) {
    const vni = 100 * tag + i;
    const [atHub, atFunction] = [`10.96.${tag}.${4 * i + 1}`, `10.96.${tag}.${4 * i + 2}`];
    await m.ip(
      "hub",
      `link add vx${tag}x${i} ${vxlan(vni, HUB, functionAddress(n))}`,
      `link set vx${tag}x${i} up`,
      `addr add ${atHub}/30 dev vx${tag}x${i}`,
      `route add default via ${atFunction} table ${vni}`,
      `rule add iif ${i === 0 ? `hub${tag}` : `vx${tag}x${i - 1}`} to ${to} lookup ${vni}`,
    );
    await m.ip(
      `fn${n}`,
      `link add hub${tag} ${vxlan(vni, functionAddress(n), HUB)}`,
      `link set hub${tag} up`,
      `addr add ${atFunction}/30 dev hub${tag}`,
      `route add ${to}/32 via ${atHub}`,
      `route add ${from}/32 via ${atHub}`,
    );
    await forwards(lab, `fn${n}`);
  }
  for (const i of functions.keys()) {
    const last = i === functions.length - 1;
    await m.ip("hub", `rule add iif ${last ? "eth0" : `vx${tag}x${i + 1}`} to ${from} lookup ${100 * tag + i}`);
  }
}

/** What came to function `n` on this way. */
async function met(lab: Lab, { kind, functions }: Way, n: number): Promise<{ packets: number; bytes: number }> {
  const { stdout } = await lab.exec(`fn${n}`, ["ip", "-j", "-s", "link", "show"]);
  type Link = { ifname: string; stats64: { rx: { packets: number; bytes: number } } };
  const sum = { packets: 0, bytes: 0 };
  for (const { ifname, stats64 } of JSON.parse(stdout) as Link[]) {
    if (kind === "offramp" ? !/^ofr\d/.test(ifname) : ifname !== `${kind}${functions.length}`) continue;
    sum.packets += stats64.rx.packets;
    sum.bytes += stats64.rx.bytes;
  }
  return sum;
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
  const packets = sent - lost;
  if (!(kind === "tcp" ? bytes > 0 : packets > 0)) throw new Error("nothing arrived");
  for (const [i, n] of way.functions.entries()) {
    const now = await met(lab, way, n);
    // Segments may have been joined on their way, datagrams not.
    const [here, arrived] =
      kind === "tcp" ? [now.bytes - before[i]!.bytes, bytes] : [now.packets - before[i]!.packets, packets];
    if (here < arrived)
      throw new Error(`${arrived} ${kind === "tcp" ? "octets" : "packets"} arrived, function ${n} saw ${here}`);
  }
  return kind === "tcp" ? (bytes * 8) / took / 1e6 : packets / took / 1e3;
}

/** The lab, the chains as services, the routes; `body` measures. */
async function prepared<T>(ways: readonly Way[], body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await Lab.create({ ues: 0, realCore: false });
  const extra = {
    dataplanes: [wifi()],
    apps: { interface: "apps0", address: "10.60.0.1/24" },
    vxlan: { address: vxlanAddress },
  };
  const appliance = new Appliance(lab, { extra });
  try {
    await addStations(lab);
    const functions = Math.max(...ways.map((way) => way.functions.length));
    await plugFunctions(lab, functions);
    await appliance.start();
    await reaches(lab, source, internet.host);
    await plugHub(lab);
    for (const way of ways) {
      if (way.kind === "plain") await joinByRoutes(lab, way);
      else if (way.kind === "hub") await joinByHub(lab, way);
      else {
        const name = `through-${way.functions.length}`;
        const list = way.functions.map(functionAddress);
        await appliance.addService({
          name,
          rules: { priority: "10", nw_dst: way.to, nw_src: "0.0.0.0/0", endpoint: lab.app.address },
          chain: { ue_net: list, net_ue: [...list].reverse() },
        });
        await configureFunctions(lab, appliance, functions, name);
      }
    }
    // One for each address, so that answers leave from the one that was asked.
    const asked = ways.filter(({ kind }) => kind !== "offramp").map(({ to }) => to);
    for (const address of [lab.app.address, ...asked]) {
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
  const ways = waysThrough(functions);
  const seconds = quick ? 1 : 3;
  const turns = kinds.flatMap(({ kind, ...shown }) =>
    ways.map((way) => ({ kind, ...shown, way, values: [] as number[], failed: undefined as string | undefined })),
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
  let yardstick = turns[0]!;
  const rows = turns.map((turn): Figure | Failed => {
    const what = `${turn.what}, ${functionsText(turn.way.functions.length)}: ${names[turn.way.kind]}`;
    if (turn.way.kind === "plain") yardstick = turn;
    const failed = turn.failed ?? yardstick.failed;
    if (failed) return { what, failed };
    const beside = turn === yardstick ? {} : { ratios: ratios(turn.values, yardstick.values) };
    return figure(what, turn.unit, turn.values, { digits: turn.digits, ...beside });
  });
  return {
    name: "chain",
    title: "Through functions that forward: what arrives, ratio to plain routing through the same in the same round",
    rows,
  };
}
