/** Is the conflict test exact, and is the steering the same whatever the order of its causes? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { compile, conflicts, matchesEqual, matchesMeet } from "../../controlplane/intents/compile.ts";
import type { Intent, NumberedIntent } from "../../controlplane/intents/model.ts";
import {
  AddressError,
  contains,
  formatAddress,
  formatPrefix,
  host,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../../controlplane/intents/prefix.ts";
import type { Match, Range } from "../../dataplane/steering.ts";

/** A small world, so that boxes often meet and every packet can be tried: 8 addresses, 3 protocols, 4 ports. */
const smallPrefix = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 7 }))
  .map(([free, address]): Prefix => ({ family: 4, length: 32 - free, value: BigInt((address >> free) << free) }));
const smallPorts = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }))
  .map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);
const smallIntent = fc
  .record({
    destination: fc.option(smallPrefix, { nil: undefined }),
    source: fc.option(smallPrefix, { nil: undefined }),
    protocol: fc.option(fc.constantFrom(6, 17), { nil: undefined }),
    destinationPorts: fc.option(smallPorts, { nil: undefined }),
    sourcePorts: fc.option(smallPorts, { nil: undefined }),
    priority: fc.constantFrom(1, 2),
  })
  .map(({ destination, source, protocol, destinationPorts, sourcePorts, priority }): Intent => {
    const match: Match = {
      family: 4,
      ...(destination && { destination: [formatPrefix(destination)] }),
      ...(source && { source: [formatPrefix(source)] }),
      ...(protocol && { protocol: [protocol] }),
      ...(destinationPorts && { destinationPorts: [destinationPorts] }),
      ...(sourcePorts && { sourcePorts: [sourcePorts] }),
    };
    return { name: "x", match, action: "pass", appInitiated: false, priority };
  });

type Packet = [destination: number, source: number, protocol: number, dport: number, sport: number];
function matches({ match }: Intent, [destination, source, protocol, dport, sport]: Packet): boolean {
  const inside = (prefixes: string[] | undefined, value: number) =>
    !prefixes || prefixes.some((prefix) => contains(parsePrefix(prefix), host({ family: 4, value: BigInt(value) })));
  const inRange = (ranges: Range[] | undefined, port: number) =>
    !ranges || ranges.some(([low, high]) => port >= low && port <= high);
  return (
    inside(match.destination, destination) &&
    inside(match.source, source) &&
    (match.protocol === undefined || match.protocol.includes(protocol)) &&
    inRange(match.destinationPorts, dport) &&
    inRange(match.sourcePorts, sport)
  );
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const every: Packet[] = range(0, 7).flatMap((d) =>
  range(0, 7).flatMap((s) =>
    [1, 6, 17].flatMap((p) => range(0, 4).flatMap((dp) => range(0, 4).map((sp): Packet => [d, s, p, dp, sp]))),
  ),
);

test("A11: two matches meet exactly when some packet has both", () => {
  fc.assert(
    fc.property(smallIntent, smallIntent, (a, b) => {
      assert.is(
        matchesMeet(a, b),
        every.some((packet) => matches(a, packet) && matches(b, packet)),
      );
    }),
    { numRuns: 150 },
  );
});

test("A11: a conflict is found whichever of the two came first", () => {
  fc.assert(
    fc.property(smallIntent, smallIntent, (a, b) => {
      const [first, second] = [
        { ...a, name: "a" },
        { ...b, name: "b" },
      ];
      const kinds = (left: Intent, right: Intent) => conflicts(left, [right]).map((conflict) => conflict.kind);
      assert.equal(kinds(first, second), kinds(second, first));
      if (matchesEqual(first, second)) assert.equal(kinds(first, second), ["same-match"]);
    }),
    { numRuns: 2000 },
  );
});

test("families never meet", () => {
  const [four, six] = ["0.0.0.0/0", "::/0"].map(parsePrefix) as [Prefix, Prefix];
  assert.not(overlaps(four, six));
});

const intent = (name: string, priority: number): Intent => ({
  name,
  priority,
  match: { destination: ["203.0.113.0/24"] },
  action: "take",
  endpoints: [{ address: "10.60.0.2" }],
  appInitiated: false,
});

test("STYLE: one intent, the whole steering", () => {
  const entry: NumberedIntent = {
    intent: {
      ...intent("web", 7),
      match: { destination: ["203.0.113.0/24"], protocol: [6], destinationPorts: [[80, 81]] },
    },
    rule: 9,
    index: 4,
  };
  assert.equal(compile([entry], ["192.0.2.0/24"]), {
    rules: [
      {
        id: 9,
        service: 4,
        name: "web",
        priority: 7,
        match: { destination: ["203.0.113.0/24"], protocol: [6], destinationPorts: [[80, 81]] },
        action: "take",
        endpoints: [{ address: "10.60.0.2" }],
        appInitiated: false,
      },
    ],
    protect: ["192.0.2.0/24"],
  });
});

test("A11: highest priority first, and the order of arrival does not matter", () => {
  const entries = [3, 1, 2, 2].map(
    (priority, index): NumberedIntent => ({
      intent: intent(`s${index}`, priority),
      rule: index + 1,
      index: index + 1,
    }),
  );
  const forward = compile(entries, []);
  assert.equal(
    forward.rules.map((rule) => rule.name),
    ["s0", "s2", "s3", "s1"],
  );
  assert.equal(compile([...entries].reverse(), []), forward);
});

test("addresses are read and written back the same", () => {
  fc.assert(fc.property(fc.ipV4(), (text) => assert.is(formatAddress(parseAddress(text)), text)));
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), (value) => {
      if (value >> 32n === 0xffffn) return;
      const text = formatAddress({ family: 6, value });
      assert.equal(parseAddress(text), { family: 6, value });
    }),
  );
  assert.is(formatPrefix(parsePrefix("2001:DB8:0:0::/64")), "2001:db8::/64");
  for (const text of [
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "0x7f.1",
    "::1%eth0",
    "1.2.3.4/33",
    "1.2.3.4/",
    "::/129",
    "1.2.3.4/255.0.255.0",
    "",
    " 1.2.3.4",
    ":::",
    "1::2::3",
  ]) {
    assert.throws(
      () => parsePrefix(text),
      (error: unknown) => error instanceof AddressError,
      text,
    );
  }
});

test.run();
