/**
 * Do the walk, the trial and the live program always give the same answer (C7)?
 *
 * Random rules, random packets of a small world in all three directions. Each packet is traced first, then the live
 * program is run on it, so that the next one meets what that has taught: tunnels, claims, moves, flows, other modes. A seed
 * that fails is printed; OFFRAMP_SEED repeats it.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { traceLines } from "../../controlplane/cli/trace.ts";
import { composeFrame, composePacket, composePlain } from "../../controlplane/trace/compose.ts";
import { explain, type Trace, type TraceRequest, type TraceWay } from "../../controlplane/trace/explain.ts";
import type { PacketFields } from "../../controlplane/trace/frame.ts";
import { counters } from "../../dataplane/counters.ts";
import type { Mode } from "../../dataplane/dataplane.ts";
import { type Program, programById, xdpQuery } from "../../dataplane/ebpf/bpf-object.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { RETURN_FAR } from "../../dataplane/ebpf/plumbing.ts";
import type { Match, SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import * as s from "../ebpf/site.ts";
import { type Random, random } from "../packets/prng.ts";

inNamespace(fileURLToPath(import.meta.url));

const rounds = 12;
const packetsEach = 60;
const seed = Number(process.env.OFFRAMP_SEED ?? 1);

s.makeSite();
ip("address add 10.60.0.1/24 dev apps0");
const plane = new EbpfDataplane({
  ...s.backend,
  dataplanes: [{ ...s.s1, uePools: ["10.45.0.0/24", "2001:db8:45::/48"] }],
});

const world = {
  4: {
    ues: ["10.45.0.2", "10.45.0.3", "10.45.0.4"],
    remotes: ["203.0.113.80", "203.0.113.81", "203.0.113.90", "192.0.2.9", "198.51.100.7"],
    apps: ["10.60.0.10", "10.60.0.11"],
    prefixes: ["203.0.113.80/32", "203.0.113.80/31", "203.0.113.0/24", "198.51.100.0/24"],
  },
  6: {
    ues: ["2001:db8:45:1::7", "2001:db8:45:2::9"],
    remotes: ["2001:db8:80::80", "2001:db8:81::1"],
    apps: ["2001:db8:60::10"],
    prefixes: ["2001:db8:80::80/128", "2001:db8:80::/48"],
  },
} as const;
const stations = [s.ENB, "198.18.1.11"];
const gateways = [s.SGW, "198.18.2.21"];
const ports = [80, 443, 5000];

const some = <T>(r: Random, list: readonly T[]): T[] => [...new Set([r.pick(list), r.pick(list)])];

function randomRule(r: Random, id: number): SteeringRule {
  const family = r.oneIn(4) ? 6 : 4;
  const { prefixes, ues, apps } = world[family];
  const transport = r.pick([[6], [17], [6, 17], undefined]);
  const match: Match = {
    ...(!r.oneIn(8) && { destination: some(r, prefixes) }),
    ...(r.oneIn(3) && { source: some(r, ues).map((ue) => `${ue}/${family === 4 ? 32 : 64}`) }),
    family,
    ...(transport && { protocol: transport }),
    ...(transport && r.oneIn(2) && { destinationPorts: [[r.pick(ports), 5000]] as [number, number][] }),
    ...(r.oneIn(6) && { dscp: [[0, 10]] as [number, number][] }),
    ...(r.oneIn(6) && { teid: [[1, 2]] as [number, number][] }),
    ...(r.oneIn(8) && { qfi: [[5, 9]] as [number, number][] }),
    ...(r.oneIn(8) && { vlan: [[0, 0]] as [number, number][] }),
    ...(r.oneIn(8) && { baseStation: [`${r.pick(stations)}/32`] }),
  };
  const action = r.pick(["take", "take", "take", "route", "pass", "drop"] as const);
  const endpoints = some(r, apps).map((address) => ({ address, ...(transport && r.oneIn(2) && { port: 8080 }) }));
  return {
    id,
    service: id,
    name: `rule-${id}`,
    priority: 1000 - id,
    match,
    action,
    ...(action === "take" && { endpoints }),
    ...(action === "pass" && r.oneIn(2) && { treatment: { rate: { uplink: 1e12, downlink: 1e12 } } }),
    appInitiated: false,
  };
}

function randomPacket(r: Random): TraceRequest & { way: TraceWay } {
  const family = r.oneIn(4) ? 6 : 4;
  const { ues, remotes, apps } = world[family];
  const answered = r.oneIn(4) && answers.length > 0 ? r.pick(answers) : undefined;
  if (answered) {
    const frame = Buffer.from(composePlain(composePacket(answered, true))).toString("hex");
    return { way: "apps", frame };
  }
  const way = r.pick(["uplink", "uplink", "uplink", "uplink", "downlink", "apps"] as const);
  const ue = r.pick(ues);
  const remote = way === "apps" ? r.pick(apps) : r.pick(remotes);
  const protocol = r.pick([6, 6, 17, 17, family === 4 ? 1 : 58, 47]);
  const [near, far] = [r.pick([40000, 40001]), way === "apps" ? r.pick([80, 8080, 443]) : r.pick(ports)];
  const up = way === "uplink";
  const hasPorts = protocol === 6 || protocol === 17;
  const packet: PacketFields = {
    source: up ? ue : remote,
    destination: up ? remote : ue,
    protocol,
    ...(hasPorts && { sourcePort: up ? near : far, destinationPort: up ? far : near }),
    ...(protocol === 6 && { tcpFlags: r.pick(["S", "S", "S", "A", "PA", "FA", "SA", "R"]) }),
    ...((protocol === 1 || protocol === 58) && { echo: r.pick([1, 2]) }),
    dscp: r.pick([0, 0, 46]),
  };
  if (way === "apps") return { way, frame: Buffer.from(composePlain(composePacket(packet, true))).toString("hex") };
  const [from, to] = up ? [stations, gateways] : [gateways, stations];
  // Mostly the UE's own tunnel, so that flows come about.
  const own = ues.indexOf(ue as never) + 1 + (family === 6 ? 10 : 0);
  const tunnel = {
    teid: r.oneIn(40) ? r.between(1, 4) : own + (up ? 0 : 100),
    source: r.oneIn(40) ? from[1]! : from[0]!,
    destination: r.oneIn(40) ? to[1]! : to[0]!,
    vlans: r.oneIn(60) ? [7] : [],
    ...(r.oneIn(3) && { qfi: 5 }),
  };
  return { way, frame: Buffer.from(composeFrame(composePacket(packet, !up), tunnel, up)).toString("hex") };
}

/** What apps would send back, by what was taken. */
let answers: PacketFields[] = [];
function remember({ program }: Trace): void {
  if (program?.verdict !== "take_uplink" || !program.packet) return;
  const { source, destination, protocol, sourcePort, destinationPort, echo } = program.packet;
  answers.push({
    source: destination,
    destination: source,
    protocol,
    ...(sourcePort !== undefined && { sourcePort: destinationPort, destinationPort: sourcePort, tcpFlags: "SA" }),
    ...(echo !== undefined && { echo }),
  });
  answers = answers.slice(-20);
}

/** Some octets changed: what nobody would send. */
function damaged(r: Random, hex: string): string {
  const octets = Buffer.from(hex, "hex");
  for (let i = r.between(1, 3); i > 0; i--) octets[r.between(12, octets.length - 1)] = r.below(256);
  return octets.toString("hex");
}

const ifindex = (name: string) => Number(JSON.parse(ip(`-j link show ${name}`))[0].ifindex);
const programOn = (name: string): Program => programById(xdpQuery(ifindex(name))!.id);
const counted = () => {
  const sums = new Map<string, bigint>();
  for (const { name, packets } of plane.counters()) sums.set(name, (sums.get(name) ?? 0n) + packets);
  return sums;
};
const verdicts = new Set(counters.filter(({ kind }) => kind !== "note").map(({ name }) => name));

test(`C7: walk, trial and live program agree (OFFRAMP_SEED=${seed})`, async () => {
  await plane.start();
  const programs = { uplink: programOn("acc0"), downlink: programOn("cor0"), apps: programOn(RETURN_FAR) };
  const r = random(seed);
  const seen = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    const steering = {
      rules: Array.from({ length: r.between(1, 8) }, (_, i) => randomRule(r, round * 10 + i + 1)),
      protect: ["192.0.2.0/24"],
    };
    await plane.apply(steering);
    await plane.setMode(
      "s1",
      r.pick<Mode>(["offload", "offload", "offload", "offload", "offload", "observe", "bypass"]),
    );
    for (let i = 0; i < packetsEach; i++) {
      const request = randomPacket(r);
      if (r.oneIn(8)) request.frame = damaged(r, request.frame!);
      const traced = explain(steering, { ...request, dataplane: "s1" }, plane);
      const told = () => JSON.stringify({ round, i, request, rules: steering.rules, traced }, null, 1);
      assert.equal(traced.differences, [], `${traceLines(traced).join("\n")}\n${told()}`);
      remember(traced);
      const before = counted();
      programs[request.way].testRun(Uint8Array.from(Buffer.from(request.frame!, "hex")), { room: 4096 });
      const rose = [...counted()].filter(([name, count]) => verdicts.has(name) && count > before.get(name)!);
      // Which fragments came before is not copied into a trial.
      if (/_fragment$/.test(traced.program!.verdict)) continue;
      assert.ok(
        rose.some(([name]) => name === traced.program!.verdict),
        `live: ${rose.map(([name]) => name)}\n${told()}`,
      );
      seen.set(traced.program!.verdict, (seen.get(traced.program!.verdict) ?? 0) + 1);
    }
  }
  console.log([...seen].map(([name, count]) => `${name} ${count}`).join(", "));
  for (const name of ["take_uplink", "pass_no_rule", "pass_downlink", "drop_protected", "drop_no_flow"]) {
    assert.ok(seen.has(name), `never ${name}`);
  }
});

test("it ends", async () => {
  await plane.down({ unwire: true });
});

test.run();
