// mostly waits
/**
 * What does an instance reach, and who reaches it? Tried by one that has become root in its network namespace.
 *
 *   ran 198.18.1.10 ── ran0 ┐                    ┌ oat-, oap- ══ acme's instance
 *   world 203.0.113.10 ─ wan0 ┤ the appliance    ├ oat-, oap- ══ other's instance
 *                             └ ofr-ret ═ ofr-retx (the programs' side)
 *
 * That something does not arrive is known from something that is sent later, and does.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HostRuntime } from "../../mep/runtime/host-runtime.ts";
import type { InstanceStatus } from "../../mep/runtime/runtime.ts";
import { inNamespace, ip, prefix } from "../ebpf/namespace.ts";
import { must, Process, until } from "../lab/netns.ts";
import { makeAppliance, ownAddress, specOf, withRuntime } from "./host.ts";

inNamespace(fileURLToPath(import.meta.url));
await makeAppliance();

const attacker = new URL("./attacker.py", import.meta.url).pathname;
const [ran, world] = [`${prefix}-ran`, `${prefix}-world`];
const at = (namespace: string | undefined, ...words: string[]): string[] => [
  ...(namespace ? ["ip", "netns", "exec", namespace] : []),
  ...["python3", attacker, ...words],
];

const isolation = suite("isolation");

/** Listeners and sniffers of one test. */
let processes: Process[] = [];

async function start(name: string, argv: string[]): Promise<Process> {
  const process = new Process(name, argv);
  processes.push(process);
  await process.said(/^ready$/m, 60_000);
  return process;
}

isolation.before(() => {
  for (const [namespace, near, far, ours, theirs] of [
    [ran, "ran0", "eth0", "198.18.0.1/16", ["198.18.1.10/16"]],
    [
      world,
      "wan0",
      "eth0",
      "203.0.113.1/24",
      ["203.0.113.10/24", "192.168.7.1/24", "169.254.169.254/16", "10.99.0.1/16"],
    ],
  ] as const) {
    ip(`netns add ${namespace}`);
    ip(`-n ${namespace} link set lo up`);
    ip(`link add ${near} type veth peer name ${far} netns ${namespace}`);
    ip(`link set ${near} up`);
    ip(`-n ${namespace} link set ${far} up`);
    ip(`addr add ${ours} dev ${near}`);
    for (const address of theirs) ip(`-n ${namespace} addr add ${address} dev ${far}`);
    ip(`-n ${namespace} route add 10.61.0.0/24 via ${ours.split("/")[0]}`);
    ip(`-n ${namespace} route add 10.62.0.0/24 via ${ours.split("/")[0]}`);
  }
  ip("route add default via 203.0.113.10");
  execFileSync("sysctl", ["-qw", "net.ipv4.conf.ran0.forwarding=1"]);
});

isolation.after.each(async () => {
  for (const process of processes) await process.end("SIGKILL");
  processes = [];
});

isolation.after(() => {
  for (const namespace of [ran, world]) ip(`netns del ${namespace}`);
});

/** The namespace that an instance's adapters are in. */
const namespaceOf = ({ addresses }: InstanceStatus): string => {
  const [route = ""] = ip(`route show ${addresses.tof}`).split("\n");
  return (/ dev oat-(\S+)/.exec(route)?.[1] ?? "").replace(/^/, "oa-");
};

interface Two {
  one: InstanceStatus;
  two: InstanceStatus;
}

async function startTwo(runtime: HostRuntime, egress = false): Promise<Two> {
  await runtime.start(specOf({ id: "one", tenant: "acme", egress }));
  await runtime.start(specOf({ id: "two", tenant: "other" }));
  return { one: runtime.state("one") as InstanceStatus, two: runtime.state("two") as InstanceStatus };
}

const run = async (namespace: string | undefined, ...words: string[]): Promise<string> =>
  (await must(at(namespace, ...words), { timeoutMs: 60_000 })).stdout.trim();

const all = (namespace: string, tries: string[][]): Promise<string> =>
  run(namespace, ...tries.flatMap((words) => [...words, "--"]));

/** What a UE's packet looks like when a program has taken it: it comes in by the return port. */
const fromUe = async (to: string, text: string): Promise<void> => {
  const mac = execFileSync("cat", ["/sys/class/net/ofr-ret/address"], { encoding: "utf8" }).trim().replaceAll(":", "");
  await run(undefined, "frame", "ofr-retx", "10.45.0.1", to, text, mac);
};

isolation(
  "B7: two tenants reach each other by no protocol and no forged address",
  withRuntime(async (runtime) => {
    const { one, two } = await startTwo(runtime);
    const [attack, victim] = [namespaceOf(one), namespaceOf(two)];
    const seen = await start("sniffer", at(victim, "sniff", "tof0,mep0"));
    const heard = await start("listener", at(victim, "listen", "4000"));
    const tries: string[][] = [];
    for (const target of [two.addresses.tof, two.addresses.platform]) {
      const own = [one.addresses.tof, one.addresses.platform];
      for (const source of own) {
        tries.push(["tcp", source, target, "4000"]);
        tries.push(["udp", source, target, "4000", "udp"], ["ping", source, target, "ping"]);
      }
      const forged = [two.addresses.tof, two.addresses.platform, ownAddress, "10.45.0.1", "203.0.113.10", "127.0.0.1"];
      for (const port of ["tof0", "mep0"]) {
        for (const source of [...own, ...forged]) tries.push(["frame", port, source, target, `frame from ${source}`]);
        tries.push(["arp", port, target, "arp"]);
      }
    }
    assert.equal((await all(attack, tries)).split("\n"), ["no", "no", "no", "no"]);
    await fromUe(two.addresses.tof, "of a UE");
    await seen.said(/of a UE/, 60_000);
    assert.equal(seen.log.trim().split("\n"), ["ready", "tof0 of a UE"]);
    assert.is(heard.log.trim().split("\n")[1], "udp 10.45.0.1 MARK:of a UE;");
  }),
);

isolation(
  "B7: of the appliance, an instance reaches Mp1 by its platform address, and nothing else",
  withRuntime(async (runtime) => {
    const { one } = await startTwo(runtime);
    const inside = namespaceOf(one);
    const { tof, platform } = one.addresses;
    const listeners = [8091, 8090, 22].map((port) => start(`port ${port}`, at(undefined, "listen", `${port}`)));
    const [mp1, ...others] = await Promise.all(listeners);
    assert.is(await run(inside, "tcp", platform, ownAddress, "8091"), "here");
    assert.match(mp1?.log ?? "", new RegExp(`tcp ${platform}`));
    const tries = [ownAddress, "198.18.0.1", "203.0.113.1", "169.254.1.1"].flatMap((address) =>
      ["8090", "22"].map((port) => ["tcp", platform, address, port]),
    );
    assert.equal((await all(inside, tries)).split("\n"), Array(8).fill("no"));
    assert.is(await run(inside, "tcp", platform, "203.0.113.1", "8091"), "no", "another address of the appliance");
    assert.is(await run(inside, "tcp", tof, ownAddress, "8091"), "no", "the TOF network is for UEs");
    await run(inside, "udp", platform, ownAddress, "8091", "by UDP");
    const forged = ["10.60.0.10", "10.62.0.99", "10.45.0.1"];
    await all(
      inside,
      forged.map((source) => ["frame", "mep0", source, ownAddress, "forged"]),
    );
    // The appliance asks the instance (a health probe, a notification), and hears the answer.
    await start("callback", at(inside, "listen", "9000"));
    for (const address of [tof, platform]) assert.is(await run(undefined, "tcp", "0.0.0.0", address, "9000"), "here");
    for (const other of others) assert.is(other.log.trim(), "ready");
    assert.is(mp1?.log.includes("udp"), false);
  }),
);

isolation(
  "B7: with egress an instance reaches the world, masqueraded; never the mobile network, private or metadata addresses",
  withRuntime(
    async (runtime) => {
      const { one, two } = await startTwo(runtime, true);
      const [allowed, not] = [namespaceOf(one), namespaceOf(two)];
      const origin = await start("origin", at(world, "listen", "80"));
      const station = await start("station", at(ran, "listen", "80"));
      const by = (namespace: string, status: InstanceStatus, to: string) =>
        run(namespace, "tcp", status.addresses.platform, to, "80");
      assert.is(await by(allowed, one, "203.0.113.10"), "here");
      assert.is(await by(not, two, "203.0.113.10"), "no");
      assert.is(await run(allowed, "tcp", one.addresses.tof, "203.0.113.10", "80"), "no", "not by the TOF network");
      const never = ["192.168.7.1", "169.254.169.254", "10.99.0.1", "198.18.1.10", "10.45.0.1"];
      const tries = never.map((address) => ["tcp", one.addresses.platform, address, "80"]);
      assert.equal((await all(allowed, tries)).split("\n"), Array(5).fill("no"));
      const inside = await start("inside", at(allowed, "listen", "4000"));
      for (const address of [one.addresses.tof, one.addresses.platform]) {
        assert.is(await run(world, "tcp", "0.0.0.0", address, "4000"), "no", "the world has not been asked");
        assert.is(await run(ran, "tcp", "0.0.0.0", address, "4000"), "no");
      }
      assert.equal(origin.log.trim().split("\n"), ["ready", "tcp 203.0.113.1"]);
      assert.is(station.log.trim(), "ready");
      assert.is(inside.log.trim(), "ready");
    },
    { egress: "wan0" },
  ),
);

isolation(
  "B7: what an instance sends to UEs leaves by the return port, from its own address and to nobody else",
  withRuntime(async (runtime) => {
    const { one, two } = await startTwo(runtime);
    const inside = namespaceOf(one);
    const { tof, platform } = one.addresses;
    const programs = await start("programs", at(undefined, "sniff", "ofr-retx"));
    const around = await start("around", at(undefined, "sniff", "apps0x"));
    const sources = [two.addresses.tof, platform, ownAddress, "10.60.0.10", "203.0.113.10"];
    const targets = ["198.18.1.10", ownAddress, "10.60.0.10", two.addresses.tof, two.addresses.platform];
    await all(inside, [
      ...sources.map((source) => ["frame", "tof0", source, "10.45.0.1", `forged ${source}`]),
      ...targets.map((target) => ["frame", "tof0", tof, target, `to ${target}`]),
      ["frame", "mep0", platform, "10.45.0.1", "by the platform's network"],
      ["udp", tof, "10.45.0.1", "4000", "answer"],
      ["udp", "0.0.0.0", "10.45.0.1", "4000", "first word"],
    ]);
    await programs.said(/first word/, 60_000);
    assert.equal(programs.log.trim().split("\n"), ["ready", "ofr-retx answer", "ofr-retx first word"]);
    assert.is(around.log.trim(), "ready");
  }),
);

isolation(
  "B7, A13: pools of UEs and protected prefixes that come and go with a reload hold for an instance that runs",
  withRuntime(async (runtime) => {
    const { one } = await startTwo(runtime);
    const inside = namespaceOf(one);
    const { tof } = one.addresses;
    const programs = await start("programs", at(undefined, "sniff", "ofr-retx"));
    const forbidden = ["198.18.0.0/15", "10.60.0.0/24", "10.61.0.0/24", "10.62.0.0/24", "10.45.7.0/24"];
    await runtime.surroundedBy({ forbidden, uePools: ["10.46.0.0/16"] });
    await all(inside, [
      ["udp", tof, "10.45.7.1", "4000", "to a prefix that is protected now"],
      ["udp", "0.0.0.0", "10.45.0.1", "4000", "first word to a pool that is gone"],
      ["udp", "0.0.0.0", "10.46.0.1", "4000", "first word to a new pool"],
    ]);
    await programs.said(/new pool/, 60_000);
    assert.equal(programs.log.trim().split("\n"), ["ready", "ofr-retx first word to a new pool"]);
    await runtime.surroundedBy({ forbidden: forbidden.slice(0, 4), uePools: ["10.45.0.0/16"] });
    await all(inside, [["udp", "0.0.0.0", "10.45.7.1", "4000", "as before"]]);
    await programs.said(/as before/, 60_000);
  }),
);

isolation(
  "B7: a firewall that somebody has flushed comes back",
  withRuntime(async (runtime) => {
    const { one } = await startTwo(runtime);
    execFileSync("nft", ["flush", "ruleset"]);
    await until(
      "the table",
      () => execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).includes("offramp_apps"),
      60_000,
    );
    await start("ssh", at(undefined, "listen", "22"));
    assert.is(await run(namespaceOf(one), "tcp", one.addresses.platform, ownAddress, "22"), "no");
  }),
);

isolation.run();
