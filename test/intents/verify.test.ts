/**
 * Are shadowed, conflicting and unreachable rules found exactly, and does each packet show what it is said to show? (C7)
 *
 * A universe so small that every packet can be tried decides, against random rule sets; a set of ten thousand shows that the
 * same answers come from large ones.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { boxOfMatch, dataplaneNumber } from "../../controlplane/intents/algebra.ts";
import type { DataplaneFacts, ValidationContext } from "../../controlplane/intents/context.ts";
import { cover } from "../../controlplane/intents/cover.ts";
import type { Intent } from "../../controlplane/intents/model.ts";
import { parseAddress, parsePrefix } from "../../controlplane/intents/prefix.ts";
import { possible, universeOf } from "../../controlplane/intents/universe.ts";
import { judge, packetFor, verify } from "../../controlplane/intents/verify.ts";
import type { PacketExample } from "../../controlplane/intents/witness.ts";
import { addressNumber, dimensionIndex, dimensions, outsideIn, type Point } from "../../dataplane/space.ts";
import type { Match } from "../../dataplane/steering.ts";

/** Each value that the rules below can tell from others, and one that stands for all the rest. */
const ues = ["10.45.0.0", "10.45.0.1", "10.46.0.0", "10.46.0.1"];
const servers = ["203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.3", "198.51.100.0", "192.0.2.1"];
const gtp: DataplaneFacts = {
  name: "small-gtp",
  plugin: "gtp",
  adapters: [],
  pools: [parsePrefix("10.45.0.0/31")],
  accessPeers: [],
  corePeers: [],
};
const wifi: DataplaneFacts = { ...gtp, name: "small-wifi", plugin: "ethernet", pools: [parsePrefix("10.46.0.0/31")] };
const context: ValidationContext = { protect: [parsePrefix("203.0.113.3/32")], dataplanes: [gtp, wifi] };

const point = (sets: Partial<Record<(typeof dimensions)[number]["name"], bigint | number>>): Point =>
  dimensions.map(({ name }) => BigInt(sets[name] ?? 0));

/** Every packet, as far as the rules can tell packets apart. */
const packets: Point[] = [gtp, wifi].flatMap(({ name, plugin }) =>
  ues
    .filter((ue) => ue.startsWith(plugin === "gtp" ? "10.45" : "10.46"))
    .flatMap((ue) =>
      servers.flatMap((server) =>
        [6, 17, 1, 2].flatMap((protocol) =>
          (protocol < 6 ? [0] : [0, 1, 2, 3]).flatMap((port) =>
            [0, 1, 2, 3].flatMap((vlan) =>
              (plugin === "gtp" ? [1, 2, 3, 4, -1] : [0, -1]).map((teid) =>
                point({
                  // One of them comes from the core.
                  direction: teid < 0 ? 1 : 0,
                  source: addressNumber(ue),
                  destination: addressNumber(server),
                  protocol,
                  destinationPort: port,
                  vlan,
                  dataplane: dataplaneNumber(name),
                  teid: plugin === "gtp" ? Math.abs(teid) : 0,
                  qfi: 254,
                  message: 255,
                  baseStation: plugin === "gtp" ? addressNumber("198.18.1.2") : 0n,
                  gateway: plugin === "gtp" ? addressNumber("198.18.2.1") : 0n,
                }),
              ),
            ),
          ),
        ),
      ),
    ),
);

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const some = <T>(...values: T[]) => fc.subarray(values, { minLength: 1 });
const between = (low: number, high: number) =>
  fc
    .tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high }))
    .map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]);
const matches: fc.Arbitrary<Match> = fc
  .record({
    destination: optional(
      some("203.0.113.0/32", "203.0.113.1/32", "203.0.113.2/31", "203.0.113.0/30", "198.51.100.0/24"),
    ),
    source: optional(some("10.45.0.0/32", "10.45.0.1/32", "10.46.0.0/31", "10.44.0.0/14", "10.99.0.0/16")),
    transport: optional(
      fc.record({
        protocol: fc.constantFrom<number[][]>([6], [17], [6, 17], [1]),
        ports: optional(between(1, 3)),
      }),
    ),
    vlan: optional(between(0, 2)),
    teid: optional(between(0, 3)),
    dataplanes: optional(some("small-gtp", "small-wifi", "gone")),
    direction: fc.option(fc.constantFrom("uplink" as const, "downlink" as const), { nil: undefined, freq: 1 }),
  })
  .map(({ destination, source, transport, vlan, teid, dataplanes, direction }) => ({
    family: 4 as const,
    ...(destination && { destination }),
    ...(source && { source }),
    ...(transport && { protocol: transport.protocol }),
    ...(transport?.ports && transport.protocol[0] !== 1 && { destinationPorts: [transport.ports] }),
    ...(vlan && { vlan: [vlan] }),
    ...(teid && { teid: [teid] }),
    ...(dataplanes && { dataplanes }),
    ...(direction && { direction }),
  }));
const ruleSets = fc
  .array(fc.tuple(matches, fc.integer({ min: 0, max: 9 })), { minLength: 1, maxLength: 9 })
  .map((list) =>
    list.map(
      ([match, priority], at): Intent => ({ name: `r${at}`, match, priority, action: "pass", appInitiated: false }),
    ),
  );

const inside = ({ match }: Intent, packet: Point) => outsideIn(boxOfMatch(match), packet) === undefined;
const isUplink = (packet: Point) => packet[dimensionIndex.direction] === 0n;
const guarded = (packet: Point) =>
  isUplink(packet) && packet[dimensionIndex.destination] === addressNumber("203.0.113.3");
/** A rule for flows acts where their uplink packets are. */
const reached = ({ match }: Intent, packet: Point) => match.direction !== undefined || isUplink(packet);

/** The packet that a finding shows, as a point. */
const told = (packet: PacketExample): Point =>
  point({
    ...(packet.message === undefined && {
      source: addressNumber(packet.source!),
      destination: addressNumber(packet.destination!),
    }),
    protocol: packet.protocol ?? 0,
    destinationPort: packet.destinationPort ?? 0,
    sourcePort: packet.sourcePort ?? 0,
    vlan: packet.vlan ?? 0,
    teid: packet.teid ?? 0,
    qfi: packet.qfi ?? 254,
    message: packet.message ?? 255,
    dataplane: packet.dataplane === undefined ? 0 : dataplaneNumber(packet.dataplane),
    direction: packet.direction === "downlink" ? 1 : 0,
  });

test("C7: conflicts, shadowed and unreachable rules are exactly those that trying every packet finds", () => {
  const kinds = new Map<string, number>();
  fc.assert(
    fc.property(ruleSets, (rules) => {
      const findings = verify(rules, context);
      const conflicts = findings
        .filter(({ kind }) => kind === "conflict")
        .map(({ services }) => services.toSorted().join());
      const expected = rules.flatMap((a, at) =>
        rules
          .slice(at + 1)
          .filter((b) => a.priority === b.priority)
          .flatMap((b) => {
            // A rule may also name what this universe does not have: then algebra alone can tell.
            const box = [boxOfMatch(a.match), boxOfMatch(b.match)] as const;
            const meet = dimensions.every((_, d) => {
              const [left, right] = [box[0][d], box[1][d]];
              return !left || !right || left.some(([l, h]) => right.some(([m, k]) => l <= k && m <= h));
            });
            return meet ? [[a.name, b.name].toSorted().join()] : [];
          }),
      );
      assert.equal(conflicts.toSorted(), expected.toSorted());
      const matching = new Map(
        rules.map((rule) => [rule.name, new Set(packets.filter((packet) => inside(rule, packet)))]),
      );
      for (const rule of rules) {
        const mine = [...matching.get(rule.name)!].filter((packet) => reached(rule, packet));
        const higher = rules.filter((other) => other.priority > rule.priority);
        const acts = mine.some(
          (packet) => !guarded(packet) && !higher.some((other) => matching.get(other.name)!.has(packet)),
        );
        const said = findings.find(({ kind, services }) => kind !== "conflict" && services[0] === rule.name);
        const expectedKind = acts ? undefined : mine.every(guarded) ? "unreachable" : "shadowed";
        assert.is(said?.kind, expectedKind, rule.name);
        kinds.set(said?.kind ?? "acts", (kinds.get(said?.kind ?? "acts") ?? 0) + 1);
        if (!said) {
          const packet = packetFor(rule, higher, universeOf(context));
          assert.ok(packet, `${rule.name}: a packet that it gets`);
        }
        if (said?.kind === "shadowed") {
          const owners = rules.filter(({ name }) => said.services.slice(1).includes(name));
          assert.ok(
            mine.every((packet) => guarded(packet) || owners.some((owner) => inside(owner, packet))),
            "those that are named are enough",
          );
          for (const owner of owners) assert.ok(owner.priority > rule.priority);
        }
      }
    }),
    { numRuns: 150 },
  );
  for (const kind of ["acts", "shadowed", "unreachable"]) assert.ok((kinds.get(kind) ?? 0) > 20, `${kind} was met`);
});

test("C7: every packet that is named shows what is said", () => {
  fc.assert(
    fc.property(ruleSets, (rules) => {
      const byName = new Map(rules.map((rule) => [rule.name, rule]));
      for (const { kind, services, packet } of verify(rules, context)) {
        const [first, ...others] = services.map((name) => byName.get(name)!);
        const unconstrained = (dimension: string) =>
          ["baseStation", "gateway", "sourceMac", "destinationMac"].includes(dimension);
        const holds = (rule: Intent) => {
          const outside = outsideIn(boxOfMatch(rule.match), told(packet!));
          // A data plane and a tunnel are told only where a rule names them.
          return outside === undefined || unconstrained(outside);
        };
        assert.ok(packet, kind);
        assert.ok(holds(first!), `${kind}: the packet is the rule's own`);
        if (kind === "conflict") assert.ok(others.every(holds), "and the other's");
        if (kind === "shadowed") assert.ok(others.some(holds) || guarded(told(packet)), "and belongs to another one");
      }
      for (const rule of rules) {
        const higher = rules.filter((other) => other.priority > rule.priority);
        const packet = packetFor(rule, higher, universeOf(context));
        if (!packet) continue;
        assert.is(outsideIn(boxOfMatch(rule.match), told(packet)), undefined, "a packet that acts is the rule's");
        assert.not(
          higher.some((other) => inside(other, told(packet))),
          "and nobody else's",
        );
        assert.not(guarded(told(packet)));
      }
    }),
    { numRuns: 400 },
  );
});

test("C7: one new rule is judged as the whole set would be", () => {
  fc.assert(
    fc.property(ruleSets, (rules) => {
      const [rule, ...others] = rules as [Intent, ...Intent[]];
      const { refused, warned } = judge(rule, others, context);
      const before = verify(others, context);
      const after = verify(rules, context);
      const about = (name: string) => after.filter(({ services }) => services.includes(name));
      // What no packet of the site can meet is told, not refused: a site may grow.
      const comes = possible(boxOfMatch(rule.match), universeOf(context)).length > 0;
      const wrong = about(rule.name).filter(
        ({ kind, services }) => kind === "conflict" || (services[0] === rule.name && comes),
      );
      assert.equal(refused.map(({ kind }) => kind).toSorted(), wrong.map(({ kind }) => kind).toSorted());
      if (refused.length > 0) return;
      const dead = (list: typeof after) =>
        list.filter(({ kind }) => kind === "shadowed").map(({ services }) => services[0]!);
      const newly = dead(after).filter((name) => !dead(before).includes(name));
      if (!comes) newly.push(rule.name);
      assert.equal(warned.map(({ services }) => services[0]).toSorted(), newly.toSorted());
    }),
    { numRuns: 400 },
  );
});

const rule = (name: string, priority: number, match: Match): Intent => ({
  name,
  priority,
  match,
  action: "pass",
  appInitiated: false,
});
const said = (rules: Intent[]): [string, string[], string][] =>
  verify(rules, context).map(({ kind, services, message }) => [kind, services, message]);

test("C7: what is said, word by word", () => {
  assert.equal(
    said([
      rule("all", 1, { source: ["10.45.0.0/16"], destination: ["203.0.113.0/31"] }),
      rule("low", 2, { destination: ["203.0.113.0/32"] }),
      rule("high", 2, { destination: ["203.0.113.1/32"] }),
    ]),
    [
      [
        "shadowed",
        ["all", "high", "low"],
        '"all" never acts: "high" and "low", of higher priority, have all of its packets; for example 10.45.0.0:50000 → 203.0.113.1:443 tcp',
      ],
    ],
  );
  assert.equal(
    said([
      rule("a", 5, { source: ["10.45.0.0/31"], protocol: [17] }),
      rule("b", 5, { destination: ["203.0.113.1/32"], teid: [[16, 32]] }),
    ]),
    [
      [
        "conflict",
        ["a", "b"],
        '"a" and "b" have the same priority 5 and some of the same packets: give one of them another priority; for example 10.45.0.0:50000 → 203.0.113.1:443 udp, teid 0x10',
      ],
    ],
  );
  const reasons = (match: Match): string => said([rule("x", 1, match)])[0]?.[2] ?? "";
  assert.match(reasons({ destination: ["203.0.113.3/32"] }), "203.0.113.3/32 is protected from UEs; for example");
  assert.match(reasons({ source: ["10.99.0.0/16"] }), "no UE there has such an address");
  assert.match(reasons({ source: ["10.45.0.0/16"], dataplanes: ["gone"] }), "names no data plane that is here");
  assert.match(reasons({ source: ["10.46.0.0/16"], teid: [[1, 1]] }), "no tunnel there has such a TEID");
  assert.match(reasons({ destination: ["2001:db8::/32"] }), "no UE there has an address of this family");
});

/** As a site with many apps: one address and port each, ranges over them, one for the rest. */
const many = (count: number): Intent[] => {
  const rules = Array.from({ length: count - 2 }, (_, at) =>
    rule(`s${at}`, 100 + (at % 3), {
      destination: [`198.${51 + (at >> 12)}.${(at >> 4) & 255}.${at & 15}/32`],
      protocol: [6],
      destinationPorts: [[80 + (at % 7), 90]],
    }),
  );
  return [rule("range", 50, { destination: ["198.48.0.0/12"] }), ...rules, rule("rest", 1, { source: ["0.0.0.0/0"] })];
};

test("C7: ten thousand rules, with one of each fault among them", () => {
  const site: ValidationContext = { protect: [parsePrefix("192.0.2.0/24")], dataplanes: [{ ...gtp, pools: [] }] };
  const rules = many(10_000);
  assert.equal(verify(rules, site), []);
  const faults = [
    rule("conflicting", 100, { destination: ["198.51.0.0/32"], protocol: [6], destinationPorts: [[85, 85]] }),
    rule("hidden", 40, { destination: ["198.51.7.0/24"], protocol: [17] }),
    rule("guarded", 60, { destination: ["192.0.2.9/32"] }),
  ];
  assert.equal(
    verify([...rules, ...faults], site).map(({ kind, services }) => [kind, services]),
    [
      ["conflict", ["conflicting", "s0"]],
      ["unreachable", ["guarded"]],
      ["shadowed", ["hidden", "range"]],
    ],
  );
  for (const fault of faults) assert.ok(judge(fault, rules, site).refused.length > 0, fault.name);
  const top = rule("top", 200, { destination: ["198.51.0.0/31"] });
  const { refused, warned } = judge(top, rules, site);
  assert.equal(refused, []);
  assert.equal(
    warned.map(({ services }) => services),
    [
      ["s0", "top"],
      ["s1", "top"],
    ],
  );
});

test("C7: loops of stored services, because the site has changed since", () => {
  const site: ValidationContext = {
    ...context,
    dataplanes: [{ ...gtp, adapters: ["acc0", "cor0"] }],
    apps: { interface: "apps0", addresses: [parseAddress("10.60.0.1")], networks: [parsePrefix("10.60.0.0/24")] },
    own: [parseAddress("10.60.0.1"), parseAddress("192.0.2.1")],
    vxlan: { addresses: [parseAddress("10.60.0.3")] },
  };
  const base = rule("x", 1, { destination: ["203.0.113.1/32"] });
  const loop = (parts: Partial<Intent>) =>
    verify([{ ...base, ...parts }], site).map(({ kind, field, packet }) => [kind, field, packet?.destination]);
  const take = (address: string) => loop({ action: "take", endpoints: [{ address }] });
  const by = (address: string) =>
    loop({ chain: { uplink: [], downlink: [{ address, encapsulation: "vxlan" }], unreachable: "bypass" } });
  const endpoint = [["loop", "rules.endpoints.0", "203.0.113.1"]];
  const chain = [["loop", "chain.net_ue.0", "203.0.113.1"]];
  assert.equal(take("10.60.0.9"), []);
  assert.equal(take("10.60.0.1"), [], "servers on the appliance");
  for (const address of ["10.45.0.1", "10.60.0.3", "192.0.2.1"]) assert.equal(take(address), endpoint, address);
  assert.equal(by("10.60.0.9"), []);
  for (const address of ["10.45.0.1", "10.60.0.3", "10.60.0.1", "203.0.113.1"])
    assert.equal(by(address), chain, address);
  assert.equal(loop({ mirror: { port: "cor0", form: "as-is" } }), [["loop", "mirror.port", "203.0.113.1"]]);
  assert.equal(loop({ action: "route", output: { port: "acc0" } }), [["loop", "rules.output.port", "203.0.113.1"]]);
  const toUes = { action: "route" as const, match: { destination: ["10.45.0.0/32"] } };
  assert.equal(loop(toUes), [["loop", "rules.nw_dst", "10.45.0.0"]]);
});

test("C7: IPv6 and signalling are told as they are", () => {
  const site: ValidationContext = { protect: [], dataplanes: [{ ...gtp, pools: [parsePrefix("2001:db8:45::/56")] }] };
  const told = (a: Match, b: Match) =>
    verify([rule("a", 1, a), rule("b", 1, b)], site)[0]?.message.split("for example ")[1];
  assert.is(
    told({ destination: ["2001:db8:1::/48"], protocol: [6] }, { source: ["::/0"], dscp: [[46, 46]] }),
    "[2001:db8:45::]:50000 → [2001:db8:1::1]:443 tcp, dscp 46",
  );
  assert.is(
    told({ message: [[1, 2]] }, { message: [[2, 9]], gateway: ["198.18.2.1/32"] }),
    "GTP-U message 2, gateway 198.18.2.1",
  );
});

test("C7: a question that takes too long gets no answer, rather than a guess", () => {
  // A packet is outside a rule only by one value of one dimension: nine rules cannot be escaped by five values.
  const ranges = (at: number, high: number): [number, number][] => [
    [0, at],
    [at + 2, high],
  ];
  const boxes = Array.from({ length: 9 }, (_, at) =>
    boxOfMatch({
      vlan: ranges(at * 7, 4095),
      teid: ranges(at * 5, 0xffffffff),
      dscp: ranges(at * 2, 63),
      destinationPorts: ranges(at * 11, 65535),
      sourcePorts: ranges(at * 3, 65535),
    }),
  );
  assert.equal(cover(boxOfMatch({}), boxes, 100), { undecided: true });
  assert.equal(cover(boxOfMatch({}), boxes), { by: [0, 1, 2, 3, 4, 5] }, "six are enough");
});

test.run();
