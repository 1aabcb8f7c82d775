/**
 * Does a compiled TrafficRule meet exactly the packets that GS MEC 011 §7.1.5.2 says (B3)?
 *
 * Random rules, over values that lie near each other, and random packets near their ends. The answer is given twice: by a plain
 * reading of the filters, member by member, of the packet as it is on the wire in its direction; and by the boxes of what
 * the rule compiles to, which kernel and reference model agree with (test/model/rules.test.ts).
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { boxOfMatch, holds } from "../../../controlplane/intents/algebra.ts";
import { addressNumber, type DimensionName, dimensions, G_PDU, NO_QFI, type Point } from "../../../dataplane/space.ts";
import type { TrafficFilter, TrafficRuleDescriptor } from "../../../mep/model/rules.ts";
import { compileRule } from "../../../mep/rules/compile.ts";

/** As it is on the wire: the source of a downlink packet is a server. */
interface Wire {
  uplink: boolean;
  v6: boolean;
  source: string;
  destination: string;
  protocol: number;
  sourcePort: number;
  destinationPort: number;
  /** TOS or traffic class, eight bits; ECN is 0. */
  tos: number;
  outerSource: string;
  outerDestination: string;
  qfi: number | undefined;
}

const small = (most: number) => fc.integer({ min: 0, max: most });
const address = (v6: boolean, n: number) => (v6 ? `2001:db8::${(0xf0 + n).toString(16)}` : `203.0.113.${n + 60}`);
const anyAddress = fc.tuple(fc.boolean(), small(9)).map(([v6, n]) => address(v6, n));
const addressText = fc.oneof(
  anyAddress,
  fc
    .tuple(fc.boolean(), small(9), small(9))
    .map(([v6, a, b]) => `${address(v6, Math.min(a, b))}-${address(v6, Math.max(a, b))}`),
  fc.constantFrom("203.0.113.64/29", "203.0.113.64/255.255.255.252", "2001:db8::f0/125", "0.0.0.0/0", "::/0"),
);
const outerText = fc.constantFrom(
  "198.18.1.1",
  "198.18.1.0/24",
  "198.18.2.1",
  "198.18.2.1-198.18.2.3",
  "2001:db8:1::1",
  "2001:db8:2::/64",
);
const outerAddress = fc.constantFrom(
  "198.18.1.1",
  "198.18.1.9",
  "198.18.2.1",
  "198.18.2.4",
  "2001:db8:1::1",
  "2001:db8:2::1",
);
const portText = fc.oneof(
  small(5).map((n) => String(80 + n)),
  fc.tuple(small(5), small(5)).map(([a, b]) => `${80 + Math.min(a, b)}-${80 + Math.max(a, b)}`),
);
const seldom = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: one });
const list = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[] | undefined> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.array(one, { minLength: 1, maxLength: 4 }) },
  );

const filter: fc.Arbitrary<TrafficFilter> = fc
  .record({
    srcAddress: list(addressText),
    dstAddress: list(addressText),
    srcPort: list(portText),
    dstPort: list(portText),
    protocol: list(fc.constantFrom("tcp", "udp", "icmp", "58", "132")),
    srcTunnelAddress: list(outerText),
    tgtTunnelAddress: list(outerText),
    qCI: seldom(small(2)),
    dSCP: seldom(small(2)),
    tC: seldom(small(2).map((n) => n << 2)),
  })
  .map((members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)));

const rule: fc.Arbitrary<TrafficRuleDescriptor> = fc.record({
  trafficRuleId: fc.constant("r"),
  filterType: fc.constantFrom("FLOW" as const, "PACKET" as const),
  priority: small(255),
  trafficFilter: fc.array(filter, { minLength: 1, maxLength: 3 }),
  action: fc.constantFrom("DROP" as const, "PASSTHROUGH" as const),
});

const wire: fc.Arbitrary<Wire> = fc
  .record({
    uplink: fc.boolean(),
    v6: fc.boolean(),
    from: small(9),
    to: small(9),
    protocol: fc.constantFrom(6, 17, 1, 58, 132),
    sourcePort: small(6).map((n) => 79 + n),
    destinationPort: small(6).map((n) => 79 + n),
    tos: small(3).map((n) => n << 2),
    outerSource: outerAddress,
    outerDestination: outerAddress,
    qfi: fc.option(small(3), { nil: undefined }),
  })
  .map(({ from, to, ...rest }) => ({ ...rest, source: address(rest.v6, from), destination: address(rest.v6, to) }));

/** Ends of an address text, IPv4 mapped. */
function ends(text: string): [bigint, bigint] {
  const [low = "", high = low] = text.split("-");
  const span = (one: string): [bigint, bigint] => {
    const [first = "", mask] = one.split("/");
    const width = first.includes(":") ? 128 : 32;
    const bits = mask?.includes(".")
      ? [
          ...mask
            .split(".")
            .map((part) => Number(part).toString(2))
            .join(""),
        ].filter((bit) => bit === "1").length
      : Number(mask ?? width);
    const base = addressNumber(first);
    return [base, base + (1n << BigInt(width - bits)) - 1n];
  };
  return [span(low)[0], span(high)[1]];
}

function inAddresses(texts: string[] | undefined, one: string): boolean {
  if (texts === undefined) return true;
  return texts.some((text) => {
    if (text.includes(":") !== one.includes(":")) return false;
    const [low, high] = ends(text);
    const value = addressNumber(one);
    return value >= low && value <= high;
  });
}

function inPorts(texts: string[] | undefined, port: number, protocol: number): boolean {
  if (texts === undefined) return true;
  if (protocol !== 6 && protocol !== 17) return false;
  return texts.some((text) => {
    const [low, high = low] = text.split("-").map(Number);
    return port >= low! && port <= high!;
  });
}

const protocolOf = (name: string, v6: boolean) => ({ tcp: 6, udp: 17, icmp: v6 ? 58 : 1 })[name] ?? Number(name);

/** The standard's text, member by member. */
function meets(f: TrafficFilter, p: Wire): boolean {
  return (
    inAddresses(f.srcAddress, p.source) &&
    inAddresses(f.dstAddress, p.destination) &&
    inPorts(f.srcPort, p.sourcePort, p.protocol) &&
    inPorts(f.dstPort, p.destinationPort, p.protocol) &&
    (f.protocol === undefined || f.protocol.some((name) => protocolOf(name, p.v6) === p.protocol)) &&
    inAddresses(f.srcTunnelAddress, p.outerSource) &&
    inAddresses(f.tgtTunnelAddress, p.outerDestination) &&
    (f.qCI === undefined || f.qCI === p.qfi) &&
    (f.dSCP === undefined || (!p.v6 && f.dSCP === p.tos >> 2)) &&
    (f.tC === undefined || (p.v6 && f.tC === p.tos))
  );
}

/** As the data plane sees it: written as on the uplink. */
function pointOf(p: Wire): Point {
  const ports = p.protocol === 6 || p.protocol === 17;
  const [ue, server] = p.uplink ? [p.source, p.destination] : [p.destination, p.source];
  const [uePort, serverPort] = p.uplink ? [p.sourcePort, p.destinationPort] : [p.destinationPort, p.sourcePort];
  const [access, core] = p.uplink ? [p.outerSource, p.outerDestination] : [p.outerDestination, p.outerSource];
  const values: Partial<Record<DimensionName, bigint | number>> = {
    destination: addressNumber(server),
    source: addressNumber(ue),
    protocol: p.protocol + (p.v6 ? 256 : 0),
    destinationPort: ports ? serverPort : 0,
    sourcePort: ports ? uePort : 0,
    dscp: p.tos >> 2,
    baseStation: addressNumber(access),
    gateway: addressNumber(core),
    teid: 1,
    qfi: p.qfi ?? NO_QFI,
    message: G_PDU,
    direction: p.uplink ? 0 : 1,
  };
  return dimensions.map(({ name }) => BigInt(values[name] ?? 0));
}

test("B3: a compiled rule meets a packet exactly when one of its filters does, as GS MEC 011 reads them", () => {
  let met = 0;
  let compiled = 0;
  fc.assert(
    fc.property(rule, fc.array(wire, { minLength: 40, maxLength: 40 }), (given, packets) => {
      const { intents, errors } = compileRule(given, { instance: "i", addresses: [] }, { adapter: "apps0", qfi: true });
      if (errors.length > 0) return;
      compiled += 1;
      for (const packet of packets) {
        // The downlink of a flow goes with its uplink, and is not matched by itself.
        if (given.filterType === "FLOW" && !packet.uplink) continue;
        const expected = given.trafficFilter.some((one) => meets(one, packet));
        const found = intents.some(({ match }) => holds(boxOfMatch(match), pointOf(packet)));
        if (expected) met += 1;
        assert.is(found, expected, JSON.stringify({ given, packet }));
      }
    }),
    { numRuns: 1000 },
  );
  assert.ok(compiled > 500 && met > 1000, `${compiled} rules compiled, ${met} packets met`);
});

test("B3: a filter is refused as contradictory only when no packet satisfies it", () => {
  fc.assert(
    fc.property(rule, fc.array(wire, { minLength: 20, maxLength: 20 }), (given, packets) => {
      const { errors } = compileRule(given, { instance: "i", addresses: [] }, { adapter: "apps0", qfi: true });
      for (const { field } of errors) {
        const index = Number(/^trafficFilter\.(\d+)/.exec(field)?.[1]);
        for (const packet of packets) assert.not(meets(given.trafficFilter[index]!, packet), field);
      }
    }),
    { numRuns: 1000 },
  );
});

test.run();
