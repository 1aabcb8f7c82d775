/**
 * Is steering rendered to the octets that the programs read?
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { addressOctets, addressText, prefixOf } from "../../dataplane/address.ts";
import * as c from "../../dataplane/ebpf/consts.ts";
import * as layout from "../../dataplane/ebpf/layout.ts";
import { bucketOf, hostOf, renderRules } from "../../dataplane/ebpf/rules.ts";
import { emptySteering, type Match, type Steering, type SteeringRule } from "../../dataplane/steering.ts";

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
const places = { nextHop: (endpoint: string) => (endpoint === "10.60.0.10" ? 5 : 0) };
const render = (s: Steering) => renderRules(s, places);
/** The outcomes of the uplink rules, in order. */
const decoded = (s: Steering) => {
  const { image } = render(s);
  const { rules, outcomes } = layout.root.decode(image);
  return Array.from({ length: rules }, (_, i) => layout.outcome.decode(image.subarray((outcomes + i) * 64)));
};
const marks = (table: Uint8Array): [number, number][] => Array.from(table.entries()).filter(([, value]) => value !== 0);

test("no rules are an empty image and empty buckets", () => {
  const { header, image, bucket, host, protect } = render(emptySteering);
  assert.equal(
    [header, image, marks(bucket), marks(host), protect],
    [{ count: 0, fields: 0, flags: 0 }, new Uint8Array(128), [], [], []],
  );
});

test("A11: an outcome keeps all that its rule says, in the order of priorities", () => {
  const common = { members: 0, slots: 0, unused: new Uint8Array(28) };
  const none = { endpoint: new Uint8Array(16), endpoint_port: 0, next_hop: 0 };
  assert.equal(
    decoded(
      steering(
        {
          match: { destination: ["203.0.113.80/32"] },
          endpoints: [{ address: "10.60.0.10", port: 8080 }],
          appInitiated: true,
          affinity: "ue",
        },
        { id: 8, match: { destination: ["2001:db8::/32"] }, action: "route", endpoints: undefined },
        { id: 9, match: { source: ["10.45.0.0/16"] }, action: "drop", endpoints: undefined },
        { id: 10, action: "pass", endpoints: undefined, treatment: { rate: { uplink: 1000 } } },
        { id: 11, action: "pass", endpoints: undefined },
      ),
    ),
    [
      {
        ...common,
        id: 7,
        endpoint: addressOctets("10.60.0.10"),
        endpoint_port: 8080,
        service: 3,
        next_hop: 5,
        action: c.ACTION_TAKE,
        flags: c.RULE_APP_INITIATED | c.RULE_BY_UE,
      },
      { ...common, ...none, id: 8, service: 3, action: c.ACTION_ROUTE, flags: 0 },
      { ...common, ...none, id: 9, service: 3, action: c.ACTION_DROP, flags: 0 },
      { ...common, ...none, id: 10, service: 3, action: c.ACTION_THROUGH, flags: c.RULE_TREATED },
      { ...common, ...none, id: 11, service: 3, action: c.ACTION_PASS, flags: 0 },
    ],
  );
});

test("several endpoints have slots and members; one that is up stands alone; with none up the rule stands aside", () => {
  const of = (...states: ("up" | "draining" | "down")[]) =>
    steering({ endpoints: states.map((state, i) => ({ address: `10.60.0.${10 + i}`, port: 80 + i, state })) });
  const { image } = render(of("up", "draining", "up"));
  const { outcomes } = layout.root.decode(image);
  const { slots, members, endpoint } = layout.outcome.decode(image.subarray(outcomes * 64));
  assert.equal(endpoint, new Uint8Array(16));
  assert.equal(new Set(image.subarray(slots * 64, slots * 64 + 256)), new Set([0, 2]));
  assert.equal(
    [0, 1, 2].map((i) => {
      const member = layout.member.decode(image.subarray(members * 64 + i * layout.member.size));
      return [addressText(member.endpoint), member.port, member.next_hop];
    }),
    [
      ["10.60.0.10", 80, 5],
      ["10.60.0.11", 81, 0],
      ["10.60.0.12", 82, 0],
    ],
  );
  const [alone] = decoded(of("down", "up", "draining"));
  assert.equal([addressText(alone!.endpoint), alone!.endpoint_port, alone!.slots], ["10.60.0.11", 81, 0]);
  const [aside] = decoded(of("down", "draining"));
  assert.equal([aside!.action, aside!.flags, aside!.endpoint], [c.ACTION_PASS, 0, new Uint8Array(16)]);
});

test("the header says which fields decisions depend on, and whether rules are about signalling", () => {
  const header = (match: Match) => render(steering({ match, action: "drop", endpoints: undefined })).header;
  assert.equal(header({ dscp: [[46, 46]] }), { count: 1, fields: c.FIELD_DSCP, flags: 0 });
  assert.equal(header({ qfi: [[1, 9]], dscp: [[0, 0]] }), { count: 1, fields: 0xffff0000, flags: 0 });
  assert.equal(header({ message: [[255, 255]] }), { count: 1, fields: 0, flags: 0 });
  assert.equal(header({ message: [[1, 2]] }), { count: 1, fields: 0, flags: c.RULES_SIGNALLING });
});

test("rules about signalling alone, and those without a family, mark what they have to", () => {
  const of = (match: Match) => marks(render(steering({ match, action: "drop", endpoints: undefined })).bucket).length;
  assert.is(of({ message: [[1, 2]] }), 0);
  assert.is(of({ message: [[1, 255]] }), 131072);
  assert.is(of({ family: 6 }), 65536);
  assert.is(of({ destination: ["203.0.113.80/32", "203.1.0.0/16", "2001:db8::/32"] }), 3);
  assert.is(marks(render(steering({ match: {} })).bucket).length, 65536, "the family of the endpoint");
});

test("what is too much for the classifier is refused with what to do", () => {
  const wide = Array.from({ length: 2000 }, (_, i) => ({
    id: i + 1,
    match: {
      destinationPorts: [[i, 65535 - i]] as [number, number][],
      source: [`10.${i >> 8}.${i & 255}.0/24`],
      sourcePorts: [[(i * 7) % 2000, 65535 - i]] as [number, number][],
      teid: [[(i * 11) % 2000, 65535 - i]] as [number, number][],
    },
  }));
  assert.ok(render(steering(...wide)).image.length < 4 << 20);
  assert.throws(
    () => renderRules(steering(...wide), places, 1 << 20),
    /2000 rules overlap so much that .* more than 1 MB: name fewer/,
  );
  const many = Array.from({ length: 65536 }, (_, i) => ({ id: i + 1 }));
  assert.throws(() => render(steering(...many)), /65536 rules, the classifier has room for 65535/);
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
