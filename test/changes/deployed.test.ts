/**
 * Is every way in which the kernel's tables differ from what was applied found, and nothing else (C7)? And does a plan name
 * the entries that a change touches?
 *
 * Needs root. Runs in a network namespace of its own.
 */
import { fileURLToPath } from "node:url";
import pino from "pino";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Agent } from "../../controlplane/agent.ts";
import { parseSite } from "../../controlplane/config/load.ts";
import { tableChanges } from "../../controlplane/intents/tables.ts";
import { BpfMap } from "../../dataplane/ebpf/bpf-map.ts";
import { describe } from "../../dataplane/ebpf/describe.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { closeLeft, findLeft, type Left } from "../../dataplane/ebpf/kernel.ts";
import { root } from "../../dataplane/ebpf/layout.ts";
import { linkOrNone } from "../../dataplane/ebpf/netdev.ts";
import type { Steering, SteeringRule } from "../../dataplane/steering.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import { backend, makeSite, state, web } from "../ebpf/site.ts";

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

test("ten thousand services by one request, one changed among them, and back; the tables hold each", async () => {
  await dataplane.down({ unwire: true });
  const site = parseSite(`site: { name: many, stateDir: ${state}/many }
dataplanes: [{ name: s1, access: acc0, core: cor0 }]
limits: { sessions: 1024, flows: 4096, rules: 10000 }
apps: { interface: apps0, address: 10.60.0.1/24 }
api: { listen: 127.0.0.1:0 }
`);
  let large: EbpfDataplane | undefined;
  const agent = new Agent({
    config: site,
    backend: (config) => {
      large = new EbpfDataplane(config);
      return { dataplane: large };
    },
    log: pino({ level: "silent" }),
  });
  await agent.start();
  const call = async (method: string, path: string, body?: unknown) => {
    const headers: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(`${agent.address()}${path}`, { method, headers, body: JSON.stringify(body) });
    return (await answer.json()) as { agrees?: boolean; added?: string[]; changed?: string[]; revision?: number };
  };
  const agrees = async () => assert.equal(await call("GET", "/api/v1/deployed"), { agrees: true, differences: [] });
  try {
    const many = Array.from({ length: 10_000 }, (_, n) => ({
      name: `s${n}`,
      serviceIP: `198.18.${n >> 8}.${n & 255}`,
      applicationIP: `10.60.0.${(n % 200) + 2}`,
    }));
    assert.is((await call("PUT", "/api/v1/services", many)).added?.length, 10_000);
    await agrees();
    const one = many.map((each, n) => (n === 7000 ? { ...each, applicationIP: "10.60.0.250" } : each));
    assert.equal((await call("PUT", "/api/v1/services?confirm=600", one)).changed, ["s7000"]);
    await agrees();
    const before = agent.services?.applied;
    assert.ok(before && large);
    assert.equal((await call("POST", "/api/v1/rollback", {})).changed, ["s7000"]);
    await agrees();
    const found = await large.differences(before);
    assert.equal(
      found.map(({ key }) => key),
      [`rule 7001 "s7000"`],
    );
  } finally {
    await agent.stop();
    await large?.down({ unwire: true });
  }
});

test.after(async () => {
  if (process.env.OFFRAMP_TEST_NETNS) await dataplane.down({ unwire: true });
});

test.run();
