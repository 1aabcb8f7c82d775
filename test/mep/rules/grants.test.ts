/** Can an app do anything with its rules that its package was not granted (B3, B5)? Everything is tried over Mp1. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { boxOfMatch, holds } from "../../../controlplane/intents/algebra.ts";
import { addressNumber, dimensions, G_PDU, NO_QFI, type Point } from "../../../dataplane/space.ts";
import { appdOf, type Platform, withPlatform } from "./harness.ts";

const ip = (dstIpAddress?: string) => ({ interfaceType: "IP", ...(dstIpAddress && { dstIpAddress }) });
const web = {
  trafficRuleId: "web",
  filterType: "FLOW",
  priority: 10,
  trafficFilter: [{ dstAddress: ["203.0.113.0/28"], protocol: ["tcp"], dstPort: ["80", "8000-8099"] }],
  action: "FORWARD_DECAPSULATED",
  dstInterface: [ip("10.60.0.30")],
};
const tap = {
  trafficRuleId: "tap",
  filterType: "PACKET",
  priority: 20,
  trafficFilter: [{ dstAddress: ["203.0.113.0/28"] }],
  action: "DUPLICATE_DECAPSULATED",
  dstInterface: [
    { interfaceType: "MAC", dstMacAddress: "02:00:00:00:00:20" },
    { interfaceType: "MAC", dstMacAddress: "02:00:00:00:00:21" },
  ],
};
const active = (rule: object) => ({ ...rule, state: "ACTIVE" });
const names = ({ running }: Platform) => running.dataplane.steering.rules.map((rule) => rule.name);

/** What a PUT of the rule is answered, and that a refusal has changed nothing. */
async function put(
  one: Platform,
  rule: { trafficRuleId: string; [member: string]: unknown },
  instance = "a1",
): Promise<{ status: number; detail: string }> {
  const path = `/traffic_rules/${rule.trafficRuleId}`;
  const before = (await one.ask(instance, "GET", path)).body;
  const { status, body } = await one.ask(instance, "PUT", path, active(rule));
  if (status !== 200) assert.equal((await one.ask(instance, "GET", path)).body, before);
  return { status, detail: body.detail ?? "" };
}

const narrower = [
  ["other state only", {}],
  [
    "one address of the prefix",
    { trafficFilter: [{ dstAddress: ["203.0.113.7"], protocol: ["tcp"], dstPort: ["80"] }] },
  ],
  ["certain UEs", { trafficFilter: [{ ...web.trafficFilter[0], srcAddress: ["10.45.0.0/24"] }] }],
  [
    "two filters that are the granted one together",
    {
      trafficFilter: [
        { ...web.trafficFilter[0], dstAddress: ["203.0.113.0-203.0.113.4"] },
        { ...web.trafficFilter[0], dstAddress: ["203.0.113.5-203.0.113.15"], dstPort: ["8000-8099", "80"] },
      ],
    },
  ],
  ["lower priority", { priority: 11 }],
  ["its own address", { dstInterface: [ip("10.60.0.20")] }],
  ["its own address, unsaid", { dstInterface: [ip()] }],
] as const;

const wider = [
  [
    "another address",
    { trafficFilter: [{ ...web.trafficFilter[0], dstAddress: ["203.0.113.16"] }] },
    /not granted, for example .*203\.0\.113\.16/,
  ],
  [
    "a longer range, one address too many",
    { trafficFilter: [{ ...web.trafficFilter[0], dstAddress: ["203.0.113.0-203.0.113.16"] }] },
    /203\.0\.113\.16/,
  ],
  ["no address at all", { trafficFilter: [{ protocol: ["tcp"], dstPort: ["80"] }] }, /not granted/],
  ["an empty filter", { trafficFilter: [{}] }, /not granted/],
  ["a second filter", { trafficFilter: [...web.trafficFilter, { dstAddress: ["198.51.100.1"] }] }, /198\.51\.100\.1/],
  ["another port", { trafficFilter: [{ ...web.trafficFilter[0], dstPort: ["80-81"] }] }, /:81 tcp/],
  ["another protocol", { trafficFilter: [{ ...web.trafficFilter[0], protocol: ["tcp", "udp"] }] }, /udp/],
  [
    "IPv6 as well",
    { trafficFilter: [{ ...web.trafficFilter[0], dstAddress: ["203.0.113.1", "2001:db8::1"] }], dstInterface: [ip()] },
    /2001:db8::1/,
  ],
  ["higher priority", { priority: 9 }, /priority 9 is higher than 10/],
  ["another action", { action: "DROP", dstInterface: [] }, /action DROP was not granted/],
  ["shielding others", { action: "PASSTHROUGH", dstInterface: [] }, /action PASSTHROUGH was not granted/],
  ["forwarding with the tunnel", { action: "FORWARD_ENCAPSULATED" }, /action FORWARD_ENCAPSULATED was not granted/],
  ["another app's address", { dstInterface: [ip("10.60.0.31")] }, /dstInterface/],
  ["a MAC address", { dstInterface: [{ interfaceType: "MAC", dstMacAddress: "02:00:00:00:00:30" }] }, /dstInterface/],
  [
    "a tunnel",
    { dstInterface: [{ interfaceType: "TUNNEL", tunnelInfo: { tunnelType: "GRE", tunnelDstAddress: "10.60.0.30" } }] },
    /dstInterface/,
  ],
  ["the appliance", { dstInterface: [ip("10.60.0.1")] }, /appliance/],
  ["a protected prefix", { dstInterface: [ip("192.0.2.9")] }, /192\.0\.2\.0\/24, which is protected/],
  ["a UE", { dstInterface: [ip("10.45.0.9")] }, /UE addresses/],
  ["protected destinations", { trafficFilter: [{ ...web.trafficFilter[0], dstAddress: ["192.0.2.1"] }] }, /protected/],
] as const;

test("B3: within the grant an app may change state, filters, priority and destination", () =>
  withPlatform(
    async (one) => {
      await one.add("a1", [web, tap], [], { addresses: ["10.60.0.20", "2001:db8:60::20"] });
      for (const [sentence, change] of narrower) {
        const { status, detail } = await put(one, { ...web, ...change });
        assert.is(status, 200, `${sentence}: ${detail}`);
      }
      assert.is((await put(one, tap)).status, 200);
    },
    { edit: (text) => text.replace("address: 10.60.0.1/24", "address: 10.60.0.1/24, address6: 2001:db8:60::1/64") },
  ));

test("B5: beyond the grant everything is 403 with the reason, and nothing has changed", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, tap], [], { addresses: ["10.60.0.20", "2001:db8:60::20"] });
    const applied = one.running.dataplane.applied.length;
    for (const [sentence, change, reason] of wider) {
      const { status, detail } = await put(one, { ...web, ...change } as typeof web);
      assert.is(status, 403, `${sentence}: ${status} ${detail}`);
      assert.match(detail, reason, sentence);
    }
    for (const [sentence, change] of [
      ["flows in place of packets", { filterType: "FLOW" }],
      ["copies the other way round", { dstInterface: [...tap.dstInterface].reverse() }],
      ["both copies to the first", { dstInterface: tap.dstInterface.slice(0, 1) }],
      ["copies with the tunnel", { action: "DUPLICATE_ENCAPSULATED" }],
      ["the way back as the way there", { trafficFilter: [{ srcAddress: ["203.0.113.0/28"] }] }],
    ] as const) {
      const { status, detail } = await put(one, { ...tap, ...change } as typeof tap);
      assert.is(status, 403, `${sentence}: ${status} ${detail}`);
    }
    assert.is(one.running.dataplane.applied.length, applied);
  }));

test("B5: a rule that is ACTIVE keeps its grant: a later PUT cannot leave it either", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web]);
    assert.is((await put(one, { ...web, trafficFilter: [{ ...web.trafficFilter[0]!, dstPort: ["80"] }] })).status, 200);
    assert.is((await put(one, web)).status, 200, "back to all that was granted");
    assert.is((await put(one, { ...web, priority: 0 })).status, 403);
  }));

test("B5: rules of two apps with the same priority and a packet in common are not ACTIVE at once; both are named", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web]);
    await one.add("a2", [{ ...web, trafficFilter: [{ dstAddress: ["203.0.113.8"] }] }], [], { provider: "rival" });
    await one.add("a3", [{ ...web, priority: 12 }]);
    assert.is((await put(one, web)).status, 200);
    const mine = { ...web, trafficFilter: [{ dstAddress: ["203.0.113.8"] }] };
    const { status, detail } = await put(one, mine, "a2");
    assert.is(status, 403);
    assert.match(detail, /"app:a2\/web" and "app:a1\/web".*priority 10/);
    assert.is((await put(one, { ...mine, priority: 11 }, "a2")).status, 200);
    assert.is((await put(one, { ...web, priority: 12 }, "a3")).status, 200);
    assert.is((await put(one, { ...web, priority: 12 })).status, 403);
    const inactive = await one.ask("a1", "PUT", "/traffic_rules/web", { ...web, priority: 12, state: "INACTIVE" });
    assert.is(inactive.status, 200, "an INACTIVE rule meets nobody");
    assert.equal(names(one), ["app:a2/web", "app:a3/web"]);
  }));

test("B5: two rules of one app with the same priority and a packet in common are not ACTIVE at once either", () =>
  withPlatform(async (one) => {
    await one.add("a1", [web, { ...web, trafficRuleId: "all", trafficFilter: [{}] }]);
    assert.is((await put(one, web)).status, 200);
    assert.is((await put(one, { ...web, trafficRuleId: "all", trafficFilter: [{}] })).status, 403);
  }));

test("B2, B5: a DNS rule stays within granted names and addresses", () =>
  withPlatform(async (one) => {
    const name = { dnsRuleId: "n", domainName: "a.example", ipAddressType: "IP_V4", ipAddress: "203.0.113.5", ttl: 9 };
    await one.add("a1", [], [name, { ...name, dnsRuleId: "m", domainName: "b.example" }]);
    const ask = async (change: object) =>
      (await one.ask("a1", "PUT", "/dns_rules/n", active({ ...name, ...change }))).status;
    assert.is(await ask({ ipAddress: "10.60.0.20" }), 200, "its own address");
    assert.is(await ask({ domainName: "B.example." }), 200, "another of its names");
    assert.is(await ask({ ttl: 0 }), 200);
    for (const change of [
      { domainName: "bank.example" },
      { domainName: "sub.a.example" },
      { ipAddress: "10.60.0.31" },
      { ipAddress: "10.60.0.1" },
      { ipAddressType: "IP_V6", ipAddress: "2001:db8::5" },
    ]) {
      assert.is(await ask(change), 403, JSON.stringify(change));
    }
    for (const change of [{ domainName: "example" }, { ttl: -1 }, { ttl: 2 ** 31 }, { ipAddress: "2001:db8::5" }]) {
      assert.is(await ask(change), 400, JSON.stringify(change));
    }
    assert.is(one.dns.records.length, 1);
  }));

test("B5: whatever is put and answered 200 meets only packets that the descriptors would meet", () =>
  withPlatform(async (one) => {
    const small = fc.integer({ min: 0, max: 7 });
    const range = fc.tuple(small, small).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    const filter = fc.record({ hosts: range, ports: range, udp: fc.boolean() }).map(({ hosts, ports, udp }) => ({
      dstAddress: [`203.0.113.${hosts[0]}-203.0.113.${hosts[1]}`],
      dstPort: [`${80 + ports[0]}-${80 + ports[1]}`],
      ...(udp && { protocol: ["udp"] }),
    }));
    const filters = fc.array(filter, { minLength: 1, maxLength: 3 });
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(filters, filters, fc.boolean(), async (granted, others, part) => {
        const first = (text: string) => text.split("-")[0] ?? "";
        const wanted = part ? granted.map((filter) => ({ ...filter, dstPort: [first(filter.dstPort[0]!)] })) : others;
        await one.rules.configure(
          { id: "a1", provider: "acme", addresses: ["10.60.0.20"] } as never,
          appdOf([{ ...web, action: "DROP", dstInterface: [], trafficFilter: granted }]),
        );
        one.instances.set("a1", { id: "a1", ready: true } as never);
        const grants = (filter: (typeof granted)[number], host: number, port: number, protocol: number) => {
          const within = (text: string, value: number, prefix: string) => {
            const [low, high = low] = text.split("-").map((end) => Number(end.replace(prefix, "")));
            return value >= low! && value <= high!;
          };
          return (
            within(filter.dstAddress[0]!, host, "203.0.113.") &&
            within(filter.dstPort[0]!, port, "") &&
            (filter.protocol === undefined || protocol === 17)
          );
        };
        const { status } = await put(one, {
          ...web,
          action: "DROP",
          dstInterface: [],
          trafficFilter: wanted,
        } as typeof web);
        const boxes = one.running.dataplane.steering.rules.map(({ match }) => boxOfMatch(match));
        let inside = true;
        for (let host = 0; host < 8; host += 1) {
          for (let port = 80; port < 88; port += 1) {
            for (const protocol of [6, 17]) {
              if (!wanted.some((one) => grants(one, host, port, protocol))) continue;
              const granting = granted.some((one) => grants(one, host, port, protocol));
              if (!granting) inside = false;
              const values = {
                destination: addressNumber(`203.0.113.${host}`),
                protocol,
                destinationPort: port,
                qfi: NO_QFI,
                message: G_PDU,
              };
              const point: Point = dimensions.map(({ name }) =>
                BigInt((values as Record<string, number | bigint>)[name] ?? 0),
              );
              assert.is(
                boxes.some((box) => holds(box, point)),
                status === 200,
              );
            }
          }
        }
        assert.is(status, inside ? 200 : 403, "exact: neither more nor less is refused");
        if (inside) taken += 1;
      }),
      { numRuns: 120 },
    );
    assert.ok(taken > 20, `${taken} were within`);
  }));

test.run();
