/**
 * What does each kind of TrafficRule compile to (B3)?
 *
 * Golden file: a sentence, the rule, and all that comes of it. `node --import tsx test/mep/rules/compile.test.ts --renew` writes
 * it anew; then it is read like code.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { compile } from "../../../controlplane/intents/compile.ts";
import { Reader } from "../../../controlplane/intents/reader.ts";
import { misfits } from "../../../dataplane/steering-checks.ts";
import { readTrafficRuleDescriptor } from "../../../mep/model/read-rules.ts";
import { compileRule } from "../../../mep/rules/compile.ts";

const golden = new URL("./compile.golden.txt", import.meta.url);

const owner = { instance: "i1", addresses: ["10.60.0.20", "2001:db8:60::20"] };
const n3 = { adapter: "apps0", qfi: true };
const ip = (dstIpAddress?: string) => ({ interfaceType: "IP", ...(dstIpAddress && { dstIpAddress }) });
const mac = (dstMacAddress: string, srcMacAddress?: string) => ({
  interfaceType: "MAC",
  dstMacAddress,
  ...(srcMacAddress && { srcMacAddress }),
});
const tunnel = (tunnelType: string, tunnelDstAddress: string, tunnelSrcAddress?: string) => ({
  interfaceType: "TUNNEL",
  tunnelInfo: { tunnelType, tunnelDstAddress, ...(tunnelSrcAddress && { tunnelSrcAddress }) },
});
const rule = (action: string, trafficFilter: object[], dstInterface: object[] = [], more: object = {}) => ({
  trafficRuleId: "r",
  filterType: "FLOW",
  priority: 0,
  trafficFilter,
  action,
  dstInterface,
  ...more,
});
const web = { dstAddress: ["203.0.113.20"], protocol: ["tcp"], dstPort: ["80"] };
const packet = { filterType: "PACKET" };

const cases: [string, ReturnType<typeof rule>, typeof n3?][] = [
  ["DROP drops; priority 255 is the lowest", rule("DROP", [web], [], { priority: 255 })],
  ["DROP of packets, each direction on its own: the source becomes the destination", rule("DROP", [web], [], packet)],
  ["PASSTHROUGH stays on its way, whatever its interface says", rule("PASSTHROUGH", [web], [ip("10.60.0.9")])],
  ["FORWARD_DECAPSULATED to an address is translated", rule("FORWARD_DECAPSULATED", [web], [ip("10.60.0.21")])],
  [
    "… to the instance's own addresses, IPv4 and IPv6, where a filter names no family",
    rule("FORWARD_DECAPSULATED", [{ dstPort: ["8000-8099"] }], [ip()]),
  ],
  [
    "… to its own IPv6 address where a filter is about IPv6",
    rule("FORWARD_DECAPSULATED", [{ dstAddress: ["2001:db8::/32"] }], [ip()]),
  ],
  [
    "FORWARD_DECAPSULATED to a MAC address is not translated",
    rule("FORWARD_DECAPSULATED", [web], [mac("02:00:00:00:00:20", "02:00:00:00:00:01")]),
  ],
  ["FORWARD_DECAPSULATED into GRE", rule("FORWARD_DECAPSULATED", [web], [tunnel("GRE", "10.60.0.9", "10.60.0.1")])],
  [
    "FORWARD_DECAPSULATED into GTP-U keeps the tunnel that it has",
    rule("FORWARD_DECAPSULATED", [web], [tunnel("GTP-U", "10.60.0.9")]),
  ],
  ["FORWARD_ENCAPSULATED to a next hop", rule("FORWARD_ENCAPSULATED", [web], [ip("10.60.0.21")])],
  [
    "FORWARD_ENCAPSULATED to a MAC address, each direction on its own",
    rule("FORWARD_ENCAPSULATED", [web], [mac("02:00:00:00:00:20")], packet),
  ],
  [
    "FORWARD_ENCAPSULATED to another tunnel end point",
    rule("FORWARD_ENCAPSULATED", [web], [tunnel("GTP_U", "10.60.0.9")]),
  ],
  [
    "DUPLICATE_DECAPSULATED with one interface copies both directions there",
    rule("DUPLICATE_DECAPSULATED", [web], [mac("02:00:00:00:00:20")]),
  ],
  [
    "DUPLICATE_ENCAPSULATED with two: uplink, downlink",
    rule("DUPLICATE_ENCAPSULATED", [web], [mac("02:00:00:00:00:20"), ip("10.60.0.22")]),
  ],
  [
    "DUPLICATE_ENCAPSULATED of packets",
    rule("DUPLICATE_ENCAPSULATED", [web], [ip("10.60.0.21"), ip("10.60.0.22")], packet),
  ],
  [
    "Filters are joined by or: a piece for each, and for each family; equal ones once",
    rule("DROP", [web, { srcAddress: ["10.45.0.0/16", "2001:db8:45::/48"] }, web]),
  ],
  [
    "Addresses: mask, range, prefixes that are one",
    rule("DROP", [
      { dstAddress: ["203.0.113.0/255.255.255.128", "203.0.113.128-203.0.113.255", "198.51.100.7-198.51.100.9"] },
    ]),
  ],
  [
    "All addresses of a family are no condition",
    rule("DROP", [
      { srcAddress: ["0.0.0.0/0"], dstAddress: ["203.0.113.20", "2001:db8::1"] },
      { dstAddress: ["::/0"] },
    ]),
  ],
  [
    "Protocols by name and number; icmp is the family's own",
    rule("DROP", [{ protocol: ["icmp", "132", "GRE"] }, { dstAddress: ["2001:db8::1"], protocol: ["icmp"] }]),
  ],
  [
    "Ports without protocol are those of TCP and UDP; all ports are no condition",
    rule("DROP", [{ srcPort: ["1-5", "6"], dstPort: ["0-65535"] }]),
  ],
  ["DSCP is of IPv4, the traffic class of IPv6", rule("DROP", [{ dSCP: 46 }, { tC: 184 }])],
  [
    "Tunnel addresses: base station, gateway; on the downlink the other way round",
    rule(
      "DROP",
      [
        {
          srcTunnelAddress: ["198.18.1.0/24"],
          tgtTunnelAddress: ["198.18.2.1", "2001:db8:2::1"],
          dstTunnelPort: ["2152"],
        },
      ],
      [],
      packet,
    ),
  ],
  ["QCI is the QFI on N3", rule("DROP", [{ qCI: 9 }])],
  ["QCI is in no packet of S1-U", rule("DROP", [{ qCI: 9 }]), { ...n3, qfi: false }],
  [
    "What cannot be compared is refused by name, all of it",
    rule("DROP", [
      { tag: ["t"], uri: ["/"], packetLabel: ["l"], srcTunnelPort: ["2152"], dstTunnelPort: ["2153"], qCI: 70, tC: 3 },
    ]),
  ],
  [
    "Contradictions are refused",
    rule("DROP", [
      { dSCP: 1, tC: 4 },
      { srcAddress: ["10.45.0.1"], dstAddress: ["2001:db8::1"] },
      { protocol: ["icmp"], dstPort: ["80"] },
      { protocol: ["256", "tpc"] },
    ]),
  ],
  [
    "Translation needs a flow, a family and a protocol that fit",
    rule(
      "FORWARD_DECAPSULATED",
      [{ dstAddress: ["2001:db8::1"] }, { dstAddress: ["203.0.113.20"], protocol: ["sctp"] }],
      [ip("10.60.0.21")],
      packet,
    ),
  ],
  [
    "Without an apps' network nothing is sent there",
    rule("FORWARD_ENCAPSULATED", [web], [mac("02:00:00:00:00:20")]),
    { adapter: undefined, qfi: false } as never,
  ],
];

const line = (value: unknown) => `  ${JSON.stringify(value)}`;

function told([sentence, given, site = n3]: (typeof cases)[number]): string {
  const read = new Reader();
  const descriptor = readTrafficRuleDescriptor(read, given, "");
  assert.equal(read.errors, [], sentence);
  const { intents, errors } = compileRule(descriptor!, owner, site);
  return [`# ${sentence}`, line(given), "=>", ...(errors.length > 0 ? errors : intents).map(line), ""].join("\n");
}

test("B3: each kind of rule compiles to what the golden file says", () => {
  const text = cases.map(told).join("\n");
  if (process.argv.includes("--renew")) writeFileSync(golden, text);
  assert.fixture(text, readFileSync(golden, "utf8"));
});

test("B3: whatever compiles, the data plane can do", () => {
  for (const [sentence, given, site = n3] of cases) {
    const { intents } = compileRule(readTrafficRuleDescriptor(new Reader(), given, "")!, owner, site);
    const numbered = intents.map((intent, at) => ({ intent, rule: at + 1, index: at + 1 }));
    for (const one of compile(numbered, []).rules) assert.equal(misfits(one), [], sentence);
  }
});

test.run();
