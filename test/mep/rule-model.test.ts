/** Are the rules of apps read as GS MEC 011 and 010-2 write them, and is what is wrong named with its path (B3)? */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bits, formatAddress, type Prefix } from "../../controlplane/intents/prefix.ts";
import { Reader } from "../../controlplane/intents/reader.ts";
import { rangesOf } from "../../mep/model/ranges.ts";
import {
  readDNSRuleDescriptor,
  readDnsRule,
  readTrafficRule,
  readTrafficRuleDescriptor,
} from "../../mep/model/read-rules.ts";
import { webRule } from "./fixtures.ts";

const rule = webRule({ priority: 1 });

const errorsOf = (work: (read: Reader) => unknown): string[] => {
  const read = new Reader();
  work(read);
  return read.errors.map(({ field }) => field);
};

test("B3: a descriptor of GS MEC 010-2 and a rule of GS MEC 011 are the same rule, whatever the spelling", () => {
  const canonical = { ...rule, action: "FORWARD_ENCAPSULATED" };
  const spellings = [
    { ...rule, action: "FORWARD_AS_IS" },
    { ...rule, action: "FORWARD_ENCAPSULATED", dstInterface: [{ interfaceType: "IP", dstIPAddress: "10.60.0.20" }] },
    { ...rule, action: "forward_encapsulated", dstInterface: { interfaceType: "ip", dstIpAddress: "10.60.0.20" } },
    {
      ...rule,
      action: "FORWARD_ENCAPSULATED",
      priority: "1",
      trafficFilter: [{ dstAddress: "203.0.113.20", protocol: "tcp", dstPort: 80, srcAddress: [] }],
    },
  ];
  for (const spelling of spellings) {
    const read = new Reader();
    assert.equal(readTrafficRuleDescriptor(read, spelling, "appTrafficRule.0"), canonical);
    assert.equal(read.errors, []);
  }
  const tunnelled = (tunnelType: string, extra = {}) => ({
    ...rule,
    dstInterface: [{ interfaceType: "TUNNEL", tunnelInfo: { tunnelType, tunnelDstAddress: "10.60.0.9", ...extra } }],
  });
  const read = new Reader();
  assert.equal(
    readTrafficRuleDescriptor(read, tunnelled("GTP-U", { tunnelSpecificData: {} }), "")?.dstInterface,
    tunnelled("GTP_U").dstInterface,
  );
  const tagged = { ...rule, trafficFilter: [{ token: ["abc"] }] };
  assert.equal(readTrafficRuleDescriptor(read, tagged, "")?.trafficFilter, [{ tag: ["abc"] }]);
});

test("B3: the id of the path wins, and a rule that is put has a state", () => {
  const read = new Reader();
  const put = readTrafficRule(read, { ...rule, trafficRuleId: "other", state: "ACTIVE" }, "web");
  assert.equal(put, { ...rule, state: "ACTIVE" });
  assert.equal(
    errorsOf((one) => readTrafficRule(one, rule, "web")),
    ["state"],
  );
});

test("B3: everything that is wrong with a rule is named with its path", () => {
  const wrong = {
    trafficRuleId: "a/b",
    filterType: "BOTH",
    priority: 256,
    trafficFilter: [
      { dstAddress: ["203.0.113.20", "300.0.0.1"], dstPort: ["80", "90-80"], color: ["red"] },
      { dSCP: 64, srcAddress: ["10.0.0.9-10.0.0.1"], tC: -1 },
    ],
    action: "FORWARD_DECAPSULATED",
    dstInterface: [{ interfaceType: "MAC", dstMACAddress: "01:00:5e:00:00:01" }],
    extra: 1,
  };
  assert.equal(errorsOf((read) => readTrafficRuleDescriptor(read, wrong, "appTrafficRule.3")).sort(), [
    "appTrafficRule.3.dstInterface.0.dstMACAddress",
    "appTrafficRule.3.extra",
    "appTrafficRule.3.filterType",
    "appTrafficRule.3.priority",
    "appTrafficRule.3.trafficFilter.0.color",
    "appTrafficRule.3.trafficFilter.0.dstAddress.1",
    "appTrafficRule.3.trafficFilter.0.dstPort.1",
    "appTrafficRule.3.trafficFilter.1.dSCP",
    "appTrafficRule.3.trafficFilter.1.srcAddress.0",
    "appTrafficRule.3.trafficFilter.1.tC",
    "appTrafficRule.3.trafficRuleId",
  ]);
});

test("B3: each action has its number of interfaces: none for DROP, one for FORWARD, up to two for DUPLICATE", () => {
  const ip = { interfaceType: "IP", dstIpAddress: "10.60.0.20" };
  const count = (action: string, dstInterface: unknown[]) =>
    errorsOf((read) => readTrafficRuleDescriptor(read, { ...rule, action, dstInterface }, "")).length === 0;
  const fits: Record<string, boolean[]> = {
    DROP: [true, false, false, false],
    PASSTHROUGH: [true, true, false, false],
    FORWARD_DECAPSULATED: [false, true, false, false],
    FORWARD_ENCAPSULATED: [false, true, false, false],
    DUPLICATE_DECAPSULATED: [false, true, true, false],
    DUPLICATE_ENCAPSULATED: [false, true, true, false],
  };
  for (const [action, expected] of Object.entries(fits)) {
    assert.equal(
      [[], [ip], [ip, ip], [ip, ip, ip]].map((list) => count(action, list)),
      expected,
      action,
    );
  }
});

test("B2: DNS rules: names are canonical, addresses of their family, whole top-level domains are nobody's", () => {
  const dns = { dnsRuleId: "d", domainName: "Shop.Example.", ipAddressType: "IP_V4", ipAddress: "10.60.0.20", ttl: 30 };
  const read = new Reader();
  assert.equal(readDNSRuleDescriptor(read, dns, "appDNSRule.0"), { ...dns, domainName: "shop.example" });
  assert.equal(readDnsRule(read, { ...dns, state: "INACTIVE" }, "d"), {
    ...dns,
    domainName: "shop.example",
    state: "INACTIVE",
  });
  assert.equal(read.errors, []);
  const bad = { dnsRuleId: "d", domainName: "com", ipAddressType: "IP_V6", ipAddress: "10.60.0.20", ttl: 2 ** 31 };
  assert.equal(
    errorsOf((one) => readDNSRuleDescriptor(one, bad, "appDNSRule.0")),
    ["appDNSRule.0.domainName", "appDNSRule.0.ipAddress", "appDNSRule.0.ttl"],
  );
});

test("B3: a range is the fewest prefixes that hold exactly its addresses", () => {
  const end = ({ family, value, length }: Prefix) => value + (1n << BigInt(bits(family) - length)) - 1n;
  const address = fc.bigInt({ min: 0n, max: 0xffffffffn });
  fc.assert(
    fc.property(address, address, fc.boolean(), (a, b, v6) => {
      const [low, high] = a < b ? [a, b] : [b, a];
      const family = v6 ? 6 : 4;
      const found = rangesOf(`${formatAddress({ family, value: low })}-${formatAddress({ family, value: high })}`);
      assert.is(found[0]?.value, low);
      for (const [index, one] of found.slice(1).entries()) assert.is(one.value, end(found[index]!) + 1n);
      assert.is(end(found.at(-1)!), high);
      assert.ok(found.length <= 62);
    }),
  );
  assert.equal(
    rangesOf("2001:db8::/64-2001:db8:0:3::/64").map(({ length }) => length),
    [62],
  );
});

test("B3: bodies that are no rules at all are refused, never a crash", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (body) => {
      const read = new Reader();
      assert.is(readTrafficRule(read, body, "x"), undefined);
      assert.is(readDnsRule(read, body, "x"), undefined);
      assert.ok(read.errors.length > 0);
    }),
  );
  const hostile = JSON.parse('{"__proto__": {"state": "ACTIVE"}, "constructor": 1}');
  assert.ok(errorsOf((read) => readTrafficRule(read, hostile, "x")).length > 0);
  const inside = JSON.parse('[{"interfaceType": "IP", "__proto__": {"dstIpAddress": "10.0.0.1"}, "constructor": 1}]');
  assert.equal(
    errorsOf((read) => readTrafficRuleDescriptor(read, { ...rule, dstInterface: inside }, "")),
    ["dstInterface.0.__proto__", "dstInterface.0.constructor"],
  );
});

test.run();
