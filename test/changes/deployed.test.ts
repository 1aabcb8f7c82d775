/**
 * Is every way in which the kernel's tables differ from what was applied found, and nothing else (C7)? And does a plan name
 * the entries that a change touches?
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tableChanges } from "../../controlplane/intents/tables.ts";
import { BpfMap } from "../../dataplane/ebpf/bpf-map.ts";
import { describe } from "../../dataplane/ebpf/describe.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { closeLeft, findLeft, type Left } from "../../dataplane/ebpf/kernel.ts";
import { root } from "../../dataplane/ebpf/layout.ts";
import { linkOrNone } from "../../dataplane/ebpf/netdev.ts";
import type { Steering, SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import { backend, makeSite, web } from "../ebpf/site.ts";

inNamespace(fileURLToPath(import.meta.url));

const vxlan = { address: "10.60.0.1", port: 4789, gpePort: 4790, vniBase: 4096 };
const treated: SteeringRule = {
  id: 8,
  service: 2,
  name: "treated",
  priority: 50,
  match: { destination: ["198.51.100.0/24"] },
  action: "take",
  endpoints: [{ address: "10.60.0.11" }],
  treatment: {
    chain: {
      uplink: [
        { address: "10.60.0.21", vni: 4160, encapsulation: "vxlan" },
        { address: "10.60.0.22", vni: 4161, encapsulation: "nsh", state: "down" },
      ],
      downlink: [],
      unreachable: "bypass",
    },
  },
  appInitiated: false,
};
const steering: Steering = { rules: [web, treated], protect: ["192.0.2.0/24"] };

test("a description names what each entry is for; a plan is what differs", () => {
  const before = describe({ rules: [web], protect: ["192.0.2.0/24"] }, vxlan);
  assert.equal(
    before.filter(({ key }) => key !== "size"),
    [
      {
        table: "rules",
        key: 'rule 7 "web"',
        value:
          "priority 100: destination 203.0.113.80/32 protocol 17 destinationPorts 80-80: take → 10.60.0.10:8080; service 1",
      },
      { table: "next_hops", key: "10.60.0.10", value: "a place of its own" },
      { table: "prefixes", key: "192.0.2.0/24", value: "protected" },
      { table: "maybe", key: "192.0", value: "protected" },
      { table: "maybe", key: "203.0", value: "a rule for one address" },
    ],
  );
  const moved = { ...web, endpoints: [{ address: "10.60.0.12", port: 8080 }] };
  const changes = tableChanges(before, describe({ rules: [moved, treated], protect: [] }, vxlan));
  assert.equal(
    changes.map(({ table, key, before: old, after }) => `${old ? (after ? "~" : "-") : "+"} ${table} ${key}`),
    [
      "~ rules size",
      '~ rules rule 7 "web"',
      '+ rules rule 8 "treated"',
      '+ treatments service 2 "treated"',
      '+ hops VNI 4160 of "treated", uplink',
      '+ hops VNI 4161 of "treated", uplink',
      "- next_hops 10.60.0.10",
      "+ next_hops 10.60.0.12",
      "+ next_hops 10.60.0.11",
      "+ next_hops 10.60.0.21",
      "+ next_hops 10.60.0.22",
      "- maybe 192.0",
      "+ maybe 198.51",
      "- prefixes 192.0.2.0/24",
    ],
  );
});

const dataplane = new EbpfDataplane({ ...backend, vxlan });
const tables = async () => (await dataplane.differences(steering)).map(({ table }) => table);

/** Another hand in the same tables. */
async function withMaps(body: (map: (name: string) => BpfMap) => void): Promise<void> {
  const link = await linkOrNone("acc0");
  assert.ok(link);
  const left: Left = findLeft([{ ifindex: link.ifindex, name: "acc0" }]);
  try {
    body((name) => {
      const map = left.maps.get(name);
      if (!map) throw new Error(`there is no map ${name}`);
      return map;
    });
  } finally {
    closeLeft(left);
  }
}

const other = (octets: Uint8Array) => Uint8Array.from(octets, (octet, i) => (i === 0 ? octet ^ 1 : octet));

function spoil(map: BpfMap, key: Uint8Array | number): void {
  map.update(key, other(map.lookup(key) ?? new Uint8Array()));
}

test("what was applied is found as intended, empty and full", async () => {
  makeSite();
  ip("address add 10.60.0.1/24 dev apps0");
  await dataplane.start();
  for (const each of [{ rules: [], protect: [] }, steering, { rules: [web], protect: [] }, steering]) {
    await dataplane.apply(each);
    assert.equal(await dataplane.differences(each), []);
  }
});

test("a rule that somebody has changed is named", async () => {
  await withMaps((map) => {
    const inner = BpfMap.byId(new DataView((map("rules").lookup(0) as Uint8Array).buffer).getUint32(0, true));
    try {
      const { outcomes } = root.decode(inner.lookup(0) as Uint8Array);
      spoil(inner, outcomes + 1);
    } finally {
      inner.close();
    }
  });
  const found = await dataplane.differences(steering);
  assert.equal(
    found.map(({ table, key }) => [table, key]),
    [["rules", 'rule 8 "treated"']],
  );
  await dataplane.apply(steering);
  assert.equal(await dataplane.differences(steering), []);
});

test("prefixes, chains, treatments and the prefilter as well, missing, changed or too many", async () => {
  for (const [table, break_] of [
    ["prefixes", (map) => map("prefixes").delete([...map("prefixes").keys()][0] as Uint8Array)],
    ["hops", (map) => spoil(map("hops"), new Uint8Array(Uint32Array.of(4160).buffer))],
    ["hops", (map) => map("hops").delete(new Uint8Array(Uint32Array.of(4161).buffer))],
    ["treatments", (map) => spoil(map("treatments"), 2)],
    ["treatments", (map) => spoil(map("treatments"), 9)],
    ["maybe", (map) => map("maybe").update(0, new Uint8Array(map("maybe").valueSize))],
  ] as [string, (map: (name: string) => BpfMap) => void][]) {
    await dataplane.apply(steering);
    await withMaps(break_);
    const found = await tables();
    assert.equal(found, [table], `${break_}`);
    // A start reads what is there, and an apply makes it right.
    await dataplane.stop();
    await dataplane.start();
    await dataplane.apply(steering);
    assert.equal(await dataplane.differences(steering), [], `${break_}`);
  }
});

test("ten thousand rules are read back and compared", async () => {
  await dataplane.down({ unwire: true });
  const large = new EbpfDataplane({ ...backend, limits: { ...backend.limits, rules: 10_000 } });
  await large.start();
  try {
    const rules = Array.from(
      { length: 10_000 },
      (_, n): SteeringRule => ({
        ...web,
        id: n + 1,
        service: n + 1,
        name: `s${n}`,
        match: { destination: [`198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}/32`] },
      }),
    );
    await large.apply({ rules, protect: [] });
    assert.equal(await large.differences({ rules, protect: [] }), []);
    const one = rules.with(7000, { ...(rules[7000] as SteeringRule), endpoints: [{ address: "10.60.0.99" }] });
    const found = await large.differences({ rules: one, protect: [] });
    assert.equal(
      found.map(({ key }) => key),
      ['rule 7001 "s7000"'],
    );
  } finally {
    await large.down({ unwire: true });
  }
});

test.after(async () => {
  if (process.env.OFFRAMP_TEST_NETNS) await dataplane.down({ unwire: true });
});

test.run();
