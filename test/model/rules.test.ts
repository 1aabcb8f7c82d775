/**
 * Do kernel, reference model and brute force find the same rule, whatever the rules and the packet?
 *
 * Random rules in all dimensions, over values that lie near each other so that boxes overlap and touch; packets near their
 * ends. Kernel: the real program on one frame (BPF_PROG_TEST_RUN), each rule taking to a port of its own or dropping
 * under a service of its own. Model: match.ts, from the text of the rules. Brute force: the boxes of
 * dataplane/space.ts, one after the other.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ruleBox } from "../../dataplane/ebpf/classifier.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { addressNumber, macNumber, outsideIn, type Point } from "../../dataplane/space.ts";
import type { Match, Range, SteeringRule } from "../../dataplane/steering.ts";
import * as f from "../packets/frame.ts";
import { random } from "../packets/prng.ts";
import { Bench } from "./bench.ts";
import { ruleMatches } from "./match.ts";
import { config } from "./population.ts";
import { readInner, readOuter } from "./read.ts";

const setting = {
  ...config(random(1)),
  mode: "offload" as const,
  protect: [],
  slowPort: true,
  accessPeers: undefined,
  corePeers: undefined,
  uePools: undefined,
  ueFlows: 1 << 30,
  maxSessions: 1 << 20,
  peerSessions: 1 << 20,
};

const bench = new Bench(setting, []);
test.after(() => bench.close());

/** What a packet is made of. */
interface Fields {
  v6: boolean;
  ue: string;
  remote: string;
  protocol: number;
  remotePort: number;
  uePort: number;
  dscp: number;
  vlan: number;
  innerVlan: number;
  sourceMac: string;
  destinationMac: string;
  baseStation: string;
  gateway: string;
  teid: number;
  qfi: number | undefined;
}

const near = (base: number, most: number) => fc.integer({ min: base, max: base + most });
const ports = fc.oneof(near(78, 6), fc.constantFrom(1, 65535, 32768));
const mac = near(0, 3).map((n) => `02:00:00:00:00:0${n}`);
const fields: fc.Arbitrary<Fields> = fc.boolean().chain((v6) =>
  fc.record({
    v6: fc.constant(v6),
    ue: near(1, 6).map((n) => (v6 ? `2001:db8:45:${n}::1` : `10.45.0.${n}`)),
    remote: near(76, 10).map((n) => (v6 ? `2001:db8:80::${n.toString(16)}` : `203.0.113.${n}`)),
    protocol: fc.constantFrom(6, 17, 17, 1, 47),
    remotePort: ports,
    uePort: ports,
    dscp: fc.constantFrom(0, 10, 11, 46, 63),
    vlan: fc.constantFrom(0, 0, 100, 101, 4094),
    innerVlan: fc.constantFrom(0, 0, 7, 8),
    sourceMac: mac,
    destinationMac: mac,
    baseStation: near(10, 3).map((n) => `198.18.1.${n}`),
    gateway: near(20, 2).map((n) => `198.18.2.${n}`),
    teid: fc.oneof(near(0x100, 4), fc.constantFrom(1, 0xffffffff, 0x80000000)),
    qfi: fc.option(fc.constantFrom(0, 5, 6, 63), { nil: undefined }),
  }),
);

const some = <T>(one: fc.Arbitrary<T>, most = 3) => fc.array(one, { minLength: 1, maxLength: most });
const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined, freq: 2 });
const ranges = (value: fc.Arbitrary<number>) =>
  some(fc.tuple(value, value).map(([a, b]): Range => (a <= b ? [a, b] : [b, a])));
const prefix4 = (last: fc.Arbitrary<number>, base: string) =>
  fc.tuple(last, fc.constantFrom(32, 32, 31, 30, 29, 24, 8)).map(([n, bits]) => {
    const value = ((n >> (32 - Math.max(24, bits))) << (32 - Math.max(24, bits))) >>> 0;
    return bits === 8 ? `${base.split(".")[0]}.0.0.0/8` : `${base}.${value}/${bits}`;
  });
const prefix6 = (last: fc.Arbitrary<number>) =>
  fc.tuple(last, fc.constantFrom(128, 128, 127, 126, 64, 32)).map(([n, bits]) => {
    if (bits <= 64) return bits === 64 ? "2001:db8:80::/64" : "2001:db8::/32";
    return `2001:db8:80::${((n >> (128 - bits)) << (128 - bits)).toString(16)}/${bits}`;
  });

const match: fc.Arbitrary<Match> = fc
  .record({
    family: maybe(fc.constantFrom(4 as const, 6 as const)),
    destination: maybe(fc.oneof(some(prefix4(near(76, 10), "203.0.113")), some(prefix6(near(76, 10))))),
    source: maybe(some(prefix4(near(1, 6), "10.45.0"))),
    protocol: maybe(some(fc.constantFrom(6, 17, 1, 47))),
    destinationPorts: maybe(ranges(ports)),
    sourcePorts: maybe(ranges(ports)),
    dscp: maybe(ranges(fc.constantFrom(0, 9, 10, 46, 63))),
    dataplanes: maybe(some(fc.constantFrom("s1", "s1", "s2"))),
    vlan: maybe(ranges(fc.constantFrom(0, 99, 100, 101, 4094))),
    innerVlan: maybe(ranges(fc.constantFrom(0, 7, 9))),
    sourceMac: maybe(some(mac)),
    destinationMac: maybe(some(mac)),
    baseStation: maybe(some(prefix4(near(10, 3), "198.18.1"))),
    gateway: maybe(some(prefix4(near(20, 2), "198.18.2"))),
    teid: maybe(ranges(fc.oneof(near(0x100, 4), fc.constantFrom(0, 0xffffffff, 0x80000000)))),
    qfi: maybe(ranges(fc.constantFrom(0, 5, 63))),
    // Of the uplink alone nothing is remembered, by which the rule could be told: test/programs/directed.test.ts.
    direction: fc.option(fc.constant("downlink" as const), { nil: undefined, freq: 1 }),
  })
  .map((whole) => {
    // Only some members each: with all of them nothing would ever match.
    const { family, source, direction, ...rest } = whole;
    const kept = Object.entries(rest).filter(([, value]) => value !== undefined);
    const six = rest.destination?.[0]?.includes(":");
    return {
      ...Object.fromEntries(kept.filter((_, i) => i % 3 === kept.length % 3 || kept.length < 3)),
      ...(family && !rest.destination && !source && { family }),
      ...(source && !six && { source }),
      ...(direction && rest.protocol && { direction }),
    } as Match;
  });

const ruleOf = (match: Match, i: number): SteeringRule => ({
  id: i + 1,
  service: (i % 60000) + 1,
  name: `rule ${i + 1}`,
  priority: 100_000 - i,
  match,
  action: "drop",
  appInitiated: false,
});

function frameOf(p: Fields): Uint8Array {
  const tags = p.innerVlan ? [p.vlan || 5, p.innerVlan] : p.vlan ? [p.vlan] : [];
  const transport: f.Layers =
    p.protocol === 6
      ? [f.tcp({ sport: p.uePort, dport: p.remotePort, flags: "S" })]
      : p.protocol === 17
        ? [f.udp({ sport: p.uePort, dport: p.remotePort })]
        : p.protocol === 1
          ? [p.v6 ? f.icmpv6({ type: 128, id: p.uePort }) : f.icmp({ type: 8, id: p.uePort })]
          : [f.payload(new Uint8Array(12))];
  const tos = p.dscp << 2;
  const inner = p.v6
    ? f.ipv6({ src: p.ue, dst: p.remote, tos, next: p.protocol === 47 ? 47 : undefined })
    : f.ipv4({ src: p.ue, dst: p.remote, tos, protocol: p.protocol === 47 ? 47 : undefined });
  return f.frame([
    f.eth({
      dst: p.destinationMac,
      src: p.sourceMac,
      type: tags.length === 2 ? 0x88a8 : tags.length ? 0x8100 : undefined,
    }),
    tags.map((id) => f.vlan(id)),
    f.ip(p.baseStation, p.gateway),
    f.udp({ sport: 2152, dport: 2152, checksum: "zero" }),
    f.gtpu({ teid: p.teid, ...(p.qfi !== undefined && { ext: [f.psc({ type: 1, qfi: p.qfi })] }) }),
    inner,
    transport,
  ]);
}

/** The same as numbers, in the order of `dimensions`. */
function pointOf(p: Fields): Point {
  const ported = p.protocol === 6 || p.protocol === 17;
  const protocol = p.protocol === 1 && p.v6 ? 58 : p.protocol;
  const vlan = p.innerVlan && !p.vlan ? 5 : p.vlan;
  return [
    addressNumber(p.remote),
    addressNumber(p.ue),
    BigInt(protocol + (p.v6 ? 256 : 0)),
    BigInt(ported ? p.remotePort : 0),
    BigInt(ported ? p.uePort : 0),
    BigInt(p.dscp),
    0n,
    BigInt(vlan),
    BigInt(p.innerVlan),
    macNumber(p.sourceMac),
    macNumber(p.destinationMac),
    addressNumber(p.baseStation),
    addressNumber(p.gateway),
    BigInt(p.teid),
    BigInt(p.qfi ?? 254),
    255n,
    0n,
  ];
}

const places = {
  nextHop: () => 0,
  dataplane: (name: string) => ({ s1: 0, s2: 1 })[name],
};

/** The id of the rule that the kernel found, 0 none: the flow that the packet made says so. */
function kernelFinds(frame: Uint8Array): number {
  bench.reset();
  const { verdict } = bench.run("access", frame);
  const flows = bench.object.map("flows");
  for (const key of flows.keys()) {
    const flow = layout.flow.decode(flows.lookup(key)!);
    assert.is(verdict, flow.action === c.ACTION_DROP ? "drop" : "redirect");
    return flow.action === c.ACTION_DROP ? flow.rule : 0;
  }
  assert.is(verdict, "redirect");
  return 0;
}

function agree(rules: SteeringRule[], packets: Fields[], boxes = rules.map((rule) => ruleBox(rule, places))): number[] {
  const met: number[] = [];
  for (const fields of packets) {
    const frame = frameOf(fields);
    const point = pointOf(fields);
    const brute = rules[boxes.findIndex((box) => outsideIn(box, point) === undefined)]?.id ?? 0;
    const read = readOuter(frame, true);
    assert.ok(typeof read !== "string" && readInner(read.packet, true), JSON.stringify(read));
    const packet = (read as Exclude<typeof read, string>).packet;
    const model = rules.find((rule) => ruleMatches(rule, packet))?.id ?? 0;
    assert.equal({ model, kernel: kernelFinds(frame) }, { model: brute, kernel: brute }, JSON.stringify(fields));
    if (brute) met.push(brute);
  }
  return met;
}

test("C7: random rule sets: kernel, model and brute force agree on the rule of every packet", () => {
  let matched = 0;
  let packets = 0;
  fc.assert(
    fc.property(
      fc.array(match, { minLength: 1, maxLength: 40 }),
      fc.array(fields, { minLength: 12, maxLength: 12 }),
      (matches, sent) => {
        const rules = matches.map(ruleOf);
        bench.setRules(rules);
        matched += agree(rules, sent).length;
        packets += sent.length;
      },
    ),
    { numRuns: 120 },
  );
  assert.ok(matched > packets / 10 && matched < packets, `${matched} of ${packets} packets match a rule`);
});

for (const count of [1000, 10_000]) {
  test(`… and with ${count} rules, on packets near the ends of some of them`, () => {
    const r = random(count);
    const sets = fc.sample(match, { numRuns: 400, seed: count });
    const rules = Array.from({ length: count }, (_, i) => {
      // Most are about a neighbourhood of their own; some are as wide as those above, far down.
      if (i > count - 20) return ruleOf(sets[i % sets.length]!, i);
      const at = `203.${1 + (i >> 8)}.${i & 255}`;
      const from = r.below(200);
      const narrow: Match = {
        destination: [`${at}.${r.below(256)}/32`, ...(r.oneIn(3) ? [`${at}.${r.below(8) * 32}/27`] : [])],
        ...(r.oneIn(2) && { destinationPorts: [[from, from + r.below(50)]] as Range[], protocol: [6, 17] }),
        ...(r.oneIn(4) && { dscp: [[0, r.below(64)]] as Range[] }),
        ...(r.oneIn(5) && { teid: [[0x100, 0x100 + r.below(4)]] as Range[] }),
      };
      return ruleOf(r.oneIn(50) ? { destination: [`${at}.0/24`] } : narrow, i);
    });
    bench.setRules(rules);
    const boxes = rules.map((rule) => ruleBox(rule, places));
    const packets = fc.sample(fields, { numRuns: 300, seed: count }).map((one, i) => {
      if (i % 6 === 0) return one;
      const rule = r.pick(rules);
      const [address = "", bits = "32"] = (r.pick(rule.match.destination ?? ["203.0.113.80/32"]) ?? "").split("/");
      if (address.includes(":")) return one;
      const octets = address.split(".").map(Number);
      const last = octets[3]! + r.pick([0, 0, 0, -1, 1, bits === "27" ? 31 : 1, 32]);
      const [low, high] = rule.match.destinationPorts?.[0] ?? [80, 80];
      const remotePort = Math.max(1, r.pick([low, high, low - 1, high + 1]));
      const remote = `${octets.slice(0, 3).join(".")}.${Math.min(255, Math.max(0, last))}`;
      return { ...one, v6: false, ue: "10.45.0.3", remote, remotePort, protocol: r.pick([6, 17]) };
    });
    const met = new Set(agree(rules, packets, boxes));
    assert.ok(met.size > 60, `${met.size} rules met`);
  });
}

test.run();
