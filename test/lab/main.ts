/**
 * What does Offramp do, shown on real peers?
 *
 * `bin/offramp lab` and `npm start` run this. A phone attaches through Offramp; its request is answered by the
 * Internet; a service is added; the same request is answered by the edge app, which sees the phone's own address;
 * everything else stays as it was, but for what a chain leads through two Linux machines on its way. Then an app of the MEC
 * platform, a web cache, answers in the place of the Internet. With `--once` it ends there with 0, or with 1 when anything
 * differed; else the lab stays up until Ctrl-C.
 *
 * The Internet is put 15 ms away (by netem; where the kernel has none, its servers wait that long), so that the two
 * answers can be told apart by their round trips as well.
 */
import { Appliance } from "./appliance.ts";
import { mp1Url, platform } from "./cache.ts";
import { cacheScene } from "./cache-scene.ts";
import type { HttpAnswer } from "./client.ts";
import { openDoor } from "./door.ts";
import { configureFunctions, functionAddress, passed, plugFunctions, vxlanAddress } from "./functions.ts";
import { edgeOnly, internet, Lab, type Ue } from "./lab.ts";
import { sleep } from "./netns.ts";
import { pattern, sha256 } from "./pattern.ts";
import { startResolver } from "./resolver.ts";

const distanceMs = 15;
/** What the Internet's resolver, at 203.0.113.53, knows. */
const names = { "www.example.com": internet.www, "shop.example.com": internet.other };
/** Machines on the apps' network that forward, for chains. */
const functions = [1, 2];

interface Row {
  request: string;
  by: string;
  sees: string;
  ms: number;
  expected: string;
}

const say = (text = ""): void => {
  process.stdout.write(`${text}\n`);
};

/**
 * Asks a few times and keeps the median round trip of all but the first, which finds the servers cold; who answered
 * must not change meanwhile.
 */
async function ask(lab: Lab, ue: Ue, request: string, url: string, expected: string): Promise<Row> {
  const answers: HttpAnswer[] = [];
  for (let i = 0; i < 6; i++) {
    try {
      answers.push(await lab.phoneHttp(ue, url));
    } catch (error) {
      return { request, by: `nobody (${(error as Error).message})`, sees: "", ms: Number.NaN, expected };
    }
  }
  const by = [...new Set(answers.map((one) => one.server))].join("+");
  const sees = [...new Set(answers.map((one) => one.client))].join("+");
  const times = answers
    .slice(1)
    .map((one) => one.ms)
    .sort((a, b) => a - b);
  return { request, by, sees, ms: times[2] ?? Number.NaN, expected };
}

const good = (row: Row, ue: Ue): boolean => row.by === row.expected && row.sees === ue.ip;

function show(row: Row, ue: Ue): void {
  const mark = good(row, ue) ? "ok  " : "FAIL";
  const wanted = good(row, ue) ? "" : `   (expected: ${row.expected}, client ${ue.ip})`;
  say(
    `   ${mark} ${row.request}: answered by ${row.by}, which saw ${row.sees || "-"}, ${row.ms.toFixed(1)} ms${wanted}`,
  );
}

function hints(lab: Lab, appliance: Appliance, ue: Ue, door: number): void {
  const inside = (ns: string): string => `ip netns exec ${lab.ns(ns)}`;
  say("\nThe lab stays up until Ctrl-C. In another terminal, from this directory, as root:");
  const commands: [string, string][] = [
    ["what the phone gets", `${inside(ue.ns)} curl -s http://${internet.www}/`],
    ["the appliance's state", `${inside("tof")} bin/offramp status`],
    ["who is in which tunnel", `${inside("tof")} bin/offramp sessions`],
    ["the services", `${inside("tof")} bin/offramp service ls`],
    [
      "take another address off the wire",
      `${inside("tof")} bin/offramp service add other --ip ${internet.other} --app ${lab.app.address}`,
    ],
    ["and give it back", `${inside("tof")} bin/offramp service rm other`],
    [
      "which rule a packet meets, and why",
      `${inside("tof")} bin/offramp trace --ue ${ue.ip} --dst ${internet.www} --dport 80`,
    ],
    [
      "its packets, from the program itself (then ask again as the phone)",
      `${inside("tof")} bin/offramp capture --ue ${ue.ip} --layer both --count 10 -w /tmp/offramp.pcapng`,
    ],
    ["what happens, as it happens", `${inside("tof")} bin/offramp monitor`],
    ["does any rule never act?", `${inside("tof")} bin/offramp verify`],
    ["all to the core, at once", `${inside("tof")} bin/offramp bypass on`],
    ["and as configured again", `${inside("tof")} bin/offramp bypass off`],
    ["kill the control plane; traffic goes on", `kill -9 ${appliance.process?.pid ?? ""}`],
    ["watch the tunnel", `${inside("ran0")} tcpdump -ni eth0 udp port 2152`],
    [`the MEC platform: Mp1 for apps is at ${mp1Url}; by this they check it`, `${inside("tof")} bin/offramp app ca`],
    ["what it offers, as OpenAPI", `${inside("app")} curl -sk ${mp1Url}/openapi.json`],
    [
      "and as a page, in a browser of this machine; it warns, since the certificate is Mp1's own, for 10.60.0.1",
      `xdg-open https://127.0.0.1:${door}/docs`,
    ],
    ["an app: the web cache of before, by hand", "less docs/examples/squid/README.md"],
    ["an app of your own", "less docs/getting-started.md"],
  ];
  for (const [what, how] of commands) say(`  # ${what}\n  ${how}`);
}

async function scene(lab: Lab, appliance: Appliance): Promise<{ ue: Ue; fine: boolean }> {
  const rows: Row[] = [];
  say("2. Offramp starts between base station and core ...");
  await appliance.start();
  say("   ready");
  say("3. A phone attaches: sgsnemu to osmo-ggsn, GTP-C and GTP-U through Offramp ...");
  const ue = await lab.attach(0);
  say(`   the core gave it ${ue.ip}`);
  const check = async (request: string, url: string, expected: string): Promise<void> => {
    const row = await ask(lab, ue, request, url, expected);
    rows.push(row);
    show(row, ue);
  };
  const www = `http://${internet.www}/`;
  say(`4. It asks ${www}; there is no service yet`);
  await check("before", www, "internet");
  const service = { name: "www", serviceIP: internet.www, applicationIP: lab.app.address };
  say(`5. POST /service ${JSON.stringify(service)}`);
  await appliance.addService(service);
  await check("with the service", www, "edge");
  const data = await lab.phoneHttp(ue, `${www}data?bytes=1000000&seed=3`).catch(() => undefined);
  const intact = data?.server === "edge" && data.sha256 === sha256(pattern(1_000_000, 3));
  say(`   ${intact ? "ok  " : "FAIL"} 1 MB from the edge: ${intact ? "intact" : "not intact"}`);
  await check("another destination", `http://${internet.other}/`, "internet");
  say(`6. A service whose address exists nowhere else: ${edgeOnly.service}`);
  await appliance.addService({ name: "local", serviceIP: edgeOnly.service, applicationIP: lab.app.address });
  await check("only at the edge", `http://${edgeOnly.service}/`, "edge");
  const through = functions.map(functionAddress);
  say(`7. A chain: what goes to ${internet.other} passes ${through.join(" and ")}, and goes on in its tunnel`);
  await appliance.addService({
    name: "guarded",
    rules: { priority: 200, nw_dst: internet.other, nw_src: "0.0.0.0/0" },
    chain: { ue_net: through, net_ue: [...through].reverse() },
  });
  await configureFunctions(lab, appliance, functions.length, "guarded");
  await check("through two functions", `http://${internet.other}/`, "internet");
  const met = await Promise.all(functions.map((n) => passed(lab, n)));
  const chained = met.every((packets) => packets > 0);
  say(`   ${chained ? "ok  " : "FAIL"} Linux machines that only forward; they saw ${met.join(" and ")} packets`);
  await appliance.api("DELETE", "/service/guarded");
  say("8. kill -9 of the control plane: programs and tables go on in the kernel");
  await appliance.kill();
  await check("control plane dead", www, "edge");
  await appliance.start();
  await check("control plane back", www, "edge");
  say("9. DELETE /service/www");
  await appliance.api("DELETE", "/service/www");
  await check("service gone", www, "internet");
  const served = await cacheScene({ lab, appliance, ue, say, step: 10 });
  say("\nserved by what:");
  for (const row of rows) {
    say(`   ${row.request.padEnd(22)} ${row.by.padEnd(10)} ${row.ms.toFixed(1).padStart(7)} ms`);
  }
  await appliance.addService(service);
  return { ue, fine: intact && chained && served && rows.every((row) => good(row, ue)) };
}

const usage = `Usage: offramp lab [--once]

Makes phone, base station, core, Internet and edge app in network namespaces, puts Offramp between, and shows what it does.
The lab stays up until Ctrl-C, with commands to try. Needs root.

  --once    show it, say who served what, and end: 0 when all was as it should be, else 1
  --help    this text`;

export async function main(argv: string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    say(usage);
    return 0;
  }
  const unknown = argv.find((one) => one !== "--once");
  if (unknown !== undefined) {
    process.stderr.write(`offramp lab: there is no option ${unknown}\n\n${usage}\n`);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write("offramp lab: needs root, to make network namespaces\n");
    return 1;
  }
  const once = argv.includes("--once");
  let interrupted: () => void = () => undefined;
  const interrupt = new Promise<void>((resolve) => {
    interrupted = resolve;
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interrupted());
  say("1. A phone, a base station, a core, the Internet and an edge app, each in a network namespace ...");
  const lab = await Lab.create({ ...(once ? {} : { name: "lab" }), internetDistanceMs: distanceMs, egress: true });
  const appliance = new Appliance(lab, { extra: { vxlan: { address: vxlanAddress }, mep: platform } });
  try {
    await plugFunctions(lab, functions.length);
    await startResolver(lab, names);
    const outcome = await Promise.race([scene(lab, appliance), interrupt]);
    if (!outcome) return 130;
    say(outcome.fine ? "\nAll as it should be." : "\nNot as it should be.");
    if (once) {
      if (!outcome.fine) say(appliance.log().slice(-4000));
      return outcome.fine ? 0 : 1;
    }
    hints(lab, appliance, outcome.ue, await openDoor(lab, "app", platform.mp1.listen, 8091));
    await interrupt;
    say("\ncleaning up ...");
    return outcome.fine ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return 1;
  } finally {
    await appliance.destroy();
    await lab.destroy();
    // Sockets of helpers may still be closing.
    await sleep(10);
  }
}

if (process.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  process.exit(await main(process.argv.slice(2)));
}
