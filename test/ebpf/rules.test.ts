/**
 * Is steering rendered to the octets that the programs read?
 */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addressOctets, addressText, maskOctets, prefixOf } from "../../dataplane/address.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import { rule as ruleCodec } from "../../dataplane/ebpf/layout.ts";
import { bucketOf, hostOf, renderRules } from "../../dataplane/ebpf/rules.ts";
import { emptySteering, type Steering, type SteeringRule } from "../../dataplane/steering.ts";

const base: SteeringRule = {
  id: 7,
  service: 3,
  name: "web",
  priority: 100,
  match: {},
  action: "take",
  endpoints: [{ address: "10.60.0.10" }],
  appInitiated: false,
};
const steering = (...rules: Partial<SteeringRule>[]): Steering => ({
  rules: rules.map((rule) => ({ ...base, ...rule })),
  protect: [],
});
const render = (s: Steering) => renderRules(s, (endpoint) => (endpoint === "10.60.0.10" ? 5 : 0));
const decoded = (s: Steering) => {
  const { rules, count } = render(s);
  return Array.from({ length: count }, (_, i) => ruleCodec.decode(rules.subarray(i * ruleCodec.size)));
};
const marks = (table: Uint8Array): [number, number][] => Array.from(table.entries()).filter(([, value]) => value !== 0);
const any4 = { destination_port_low: 0, destination_port_high: 65535, source_port_low: 0, source_port_high: 65535 };

test("no rules are no octets and empty buckets", () => {
  const { count, rules, bucket, host, protect } = render(emptySteering);
  assert.equal([count, rules.length, marks(bucket), marks(host), protect], [0, 0, [], [], []]);
});

test("A11: a rule keeps all that it says, in the order of priorities", () => {
  const rules = decoded(
    steering(
      {
        match: {
          destination: ["203.0.113.80/32"],
          source: ["10.45.0.0/16"],
          protocol: [6],
          destinationPorts: [[80, 81]],
          sourcePorts: [[1024, 65535]],
        },
        endpoints: [{ address: "10.60.0.10", port: 8080 }],
        appInitiated: true,
      },
      { id: 8, match: { destination: ["2001:db8::/32"] }, action: "route", endpoints: undefined },
    ),
  );
  assert.equal(rules, [
    {
      destination: addressOctets("203.0.113.80"),
      destination_mask: maskOctets(128),
      source: addressOctets("10.45.0.0"),
      source_mask: maskOctets(112),
      endpoint: addressOctets("10.60.0.10"),
      destination_port_low: 80,
      destination_port_high: 81,
      source_port_low: 1024,
      source_port_high: 65535,
      endpoint_port: 8080,
      service: 3,
      protocol: 6,
      action: c.ACTION_TAKE,
      flags: c.RULE_APP_INITIATED,
      v6: 0,
      next_hop: 5,
      pad: 0,
      id: 7,
      teid_low: 0,
      teid_high: 0xffff_ffff,
      dscp: 255,
      qfi: 255,
      dataplanes: 0,
    },
    {
      destination: addressOctets("2001:db8::"),
      destination_mask: maskOctets(32),
      source: new Uint8Array(16),
      source_mask: new Uint8Array(16),
      endpoint: new Uint8Array(16),
      ...any4,
      endpoint_port: 0,
      service: 3,
      protocol: 0,
      action: c.ACTION_ROUTE,
      flags: 0,
      v6: 1,
      next_hop: 0,
      pad: 0,
      id: 8,
      teid_low: 0,
      teid_high: 0xffff_ffff,
      dscp: 255,
      qfi: 255,
      dataplanes: 0,
    },
  ]);
});

test("a rule without addresses is for the family of its endpoint, or for both", () => {
  assert.equal(
    decoded(steering({}, { action: "route", endpoints: undefined })).map((rule) => rule.v6),
    [0, 2],
  );
});

test("single addresses mark one bucket and one host, prefixes all buckets that they meet", () => {
  const one = render(steering({ match: { destination: ["203.0.113.80/32"] } }));
  assert.equal(marks(one.bucket), [[0xcb00, c.MAYBE_RULE_HOST]]);
  assert.equal(marks(one.host), [[0xcb00 ^ 0x7150, 1]]);
  const wide = render(steering({ match: { destination: ["10.8.0.0/14"] } }));
  assert.equal(
    marks(wide.bucket),
    [0x0a08, 0x0a09, 0x0a0a, 0x0a0b].map((index) => [index, c.MAYBE_RULE]),
  );
  const narrow = render(steering({ match: { destination: ["10.8.3.0/24"] } }));
  assert.equal(marks(narrow.bucket), [[0x0a08, c.MAYBE_RULE]]);
  const six = render(steering({ match: { destination: ["2001:db8:1::80/128"] } }));
  assert.equal(marks(six.bucket), [[c.MAYBE_V6 + (0x2001 ^ 0x0db8), c.MAYBE_RULE_HOST]]);
  assert.equal(marks(six.host), [[c.MAYBE_V6 + (0x2001 ^ 0x0db8 ^ 1 ^ 0x80), 1]]);
  const short = render(steering({ match: { destination: ["2000::/3"] } }));
  assert.equal(marks(short.bucket).length, 65536);
  const all = render(steering({ match: { destination: ["0.0.0.0/0"] } }));
  assert.equal(marks(all.bucket).length, 65536);
});

test("rules that only pass mark nothing; protected prefixes mark their buckets", () => {
  const passing = render(
    steering({ match: { destination: ["203.0.113.80/32"] }, action: "pass", endpoints: undefined }),
  );
  assert.equal(marks(passing.bucket), []);
  const { bucket, protect } = render({ rules: [], protect: ["198.18.0.0/15", "2001:db8:f::/48"] });
  assert.equal(marks(bucket), [
    [0xc612, c.MAYBE_PROTECTED],
    [0xc613, c.MAYBE_PROTECTED],
    [c.MAYBE_V6 + (0x2001 ^ 0x0db8), c.MAYBE_PROTECTED],
  ]);
  assert.equal(
    protect.map((key) => Buffer.from(key).toString("hex")),
    ["8f0000000000040000000000000000000000ffffc6120000", "500000000000040020010db8000f00000000000000000000"],
  );
});

test("what is no prefix is refused", () => {
  assert.throws(() => prefixOf("10.0.0.0/33"), /no prefix/);
  assert.throws(() => render(steering({ match: { destination: ["nonsense"] } })));
});

/** What bpf/common.h `maybe_of` does. */
function maybe(rendered: ReturnType<typeof render>, address: string): boolean {
  const prefix = prefixOf(address);
  const bits = rendered.bucket[bucketOf(prefix)]!;
  return (bits & c.MAYBE_RULE) !== 0 || ((bits & c.MAYBE_RULE_HOST) !== 0 && rendered.host[hostOf(prefix)] === 1);
}

test("the prefilter never misses an address that a rule matches", () => {
  const ipv4 = fc.ipV4();
  const ipv6 = fc
    .array(fc.integer({ min: 0, max: 65535 }), { minLength: 8, maxLength: 8 })
    .map((groups) => addressText(Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]))) || "::");
  void fc.assert(
    fc.property(fc.oneof(ipv4, ipv6), fc.integer({ min: 0, max: 128 }), (address, bits) => {
      const v6 = address.includes(":");
      const length = v6 ? bits : Math.min(bits, 32);
      const rendered = render(steering({ match: { destination: [`${address}/${length}`] } }));
      return maybe(rendered, address);
    }),
    { numRuns: 100 },
  );
});

test.run();
