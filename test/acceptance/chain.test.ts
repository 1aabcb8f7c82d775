/**
 * Do real phones reach the edge and the Internet through real Linux functions that know nothing of chains (A12)?
 *
 * Functions are machines that ran what `offramp chain show` printed, nothing else.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  configureFunctions,
  functionAddress,
  functionAddress6,
  passed,
  plugFunctions,
  runOn,
  vxlanAddress,
  vxlanAddress6,
} from "../lab/functions.ts";
import { internet, internet6, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { pattern, sha256 } from "../lab/pattern.ts";
import { Scene } from "./scene.ts";

const test = suite("chain");
const FUNCTIONS = 8;
let scene: Scene;
let ue: Ue;
let ue6: Ue;

/** Everything for `to`; without an endpoint it goes on in its tunnel. */
async function chained(
  name: string,
  to: string,
  chain: { ue_net?: unknown[]; net_ue?: unknown[]; unreachable?: string },
  endpoint?: string,
): Promise<void> {
  const v6 = to.includes(":");
  await scene.appliance.addService({
    name,
    rules: { priority: "10", nw_dst: to, nw_src: v6 ? "::/0" : "0.0.0.0/0", ...(endpoint && { endpoint }) },
    chain,
  });
}

const numbers = [...Array(FUNCTIONS).keys()].map((n) => n + 1);
const ready = (service: string): Promise<void> => configureFunctions(scene.lab, scene.appliance, FUNCTIONS, service);
/** Leaves the functions as they were. */
async function forgetAll(): Promise<void> {
  for (const n of numbers) {
    const script =
      "for i in $(ls /sys/class/net | grep '^ofr'); do ip link del $i; ip rule del iif $i; ip -6 rule del iif $i; done";
    await scene.lab.exec(`fn${n}`, ["sh", "-c", script]);
  }
}
const seen = async (): Promise<number[]> => Promise.all(numbers.map((n) => passed(scene.lab, n)));
/** Which functions saw packets during this? */
async function through(what: () => Promise<unknown>): Promise<number[]> {
  const before = await seen();
  await what();
  const after = await seen();
  return numbers.filter((n) => after[n - 1]! > before[n - 1]!);
}
const fetchFrom = async (url: string, from = ue): Promise<string> =>
  (await scene.lab.phoneHttp(from, url, { timeoutMs: 10_000 })).server;

test.before(async () => {
  scene = await Scene.open({
    ues: 2,
    start: false,
    site: {
      extra: {
        apps: { interface: "apps0", address: "10.60.0.1/24", address6: "2001:db8:60::1/64" },
        vxlan: { address: vxlanAddress, address6: vxlanAddress6 },
      },
    },
  });
  try {
    await plugFunctions(scene.lab, FUNCTIONS);
    await scene.appliance.start();
    ue = await scene.lab.attach(0);
    ue6 = await scene.lab.attach(1, { type: "v6" });
    assert.is((await scene.lab.phonePing(ue, internet.host)).received, 1);
    assert.is((await scene.lab.phonePing(ue6, internet6.host)).received, 1);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    scene.complain();
    await scene.close();
    throw error;
  }
});
test.after.each(async () => {
  await scene.clear();
  await forgetAll();
});
test.after(async () => {
  await scene?.close();
});

for (const count of [1, 3, 8]) {
  test(`A12: to the edge through ${count} functions, and back through the same in reverse; 1 MB arrives intact`, async () => {
    const list = numbers.slice(0, count);
    const up = list.map(functionAddress);
    await chained("edge", internet.www, { ue_net: up, net_ue: [...up].reverse() }, scene.lab.app.address);
    await ready("edge");
    const which = await through(async () => {
      const got = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=1000000&seed=${count}`, {
        timeoutMs: 20_000,
      });
      assert.is(got.server, "edge");
      assert.is(got.sha256, sha256(pattern(1_000_000, count)));
    });
    assert.equal(which, list);
  });

  test(`A12: to the Internet through ${count} functions and back into its own tunnel, both ways, in two lists`, async () => {
    const up = numbers.slice(0, count);
    const down = numbers.slice(FUNCTIONS - count).reverse();
    await chained("through", internet.www, { ue_net: up.map(functionAddress), net_ue: down.map(functionAddress) });
    await ready("through");
    const which = await through(async () => {
      const got = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=300000&seed=3`, {
        timeoutMs: 20_000,
      });
      assert.is(got.server, "internet");
      assert.is(got.sha256, sha256(pattern(300_000, 3)));
      assert.is(got.client, ue.ip, "nothing has happened to the phone's address");
      assert.is((await scene.lab.phonePing(ue, internet.www, 3)).received, 3);
    });
    assert.equal(
      which,
      [...new Set([...up, ...down])].sort((a, b) => a - b),
    );
  });
}

test("A12: what the Internet begins reaches the phone through the functions of the downlink, its answers go up through the others", async () => {
  await chained("through", internet.www, { ue_net: [functionAddress(1)], net_ue: [functionAddress(2)] });
  await ready("through");
  const which = await through(async () => {
    const argv = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "-I", internet.www, ue.ip];
    assert.match((await scene.lab.exec("inet", argv)).stdout, /3 received/);
  });
  assert.equal(which, [1, 2]);
});

test("A12: one function in two chains, and twice in one", async () => {
  const [one, two] = [functionAddress(1), functionAddress(2)];
  await chained("edge", internet.www, { ue_net: [one, two, one], net_ue: [one] }, scene.lab.app.address);
  await chained("other", internet.other, { ue_net: [two], net_ue: [one] });
  for (const service of ["edge", "other"]) await ready(service);
  assert.is(await fetchFrom(`http://${internet.www}/`), "edge");
  assert.is(await fetchFrom(`http://${internet.other}/`), "internet");
  assert.equal(await through(() => fetchFrom(`http://${internet.other}/`)), [1, 2]);
});

test("A12: IPv6 inside, through functions on IPv4 and on IPv6, to the edge and on to the Internet", async () => {
  const list = [functionAddress(1), functionAddress6(2)];
  await chained("edge6", internet6.www, { ue_net: list, net_ue: [...list].reverse() }, "2001:db8:60::10");
  await ready("edge6");
  const which = await through(async () => {
    const got = await scene.lab.phoneHttp(ue6, `http://[${internet6.www}]/data?bytes=200000&seed=4`, {
      timeoutMs: 20_000,
    });
    assert.is(got.server, "edge");
    assert.is(got.sha256, sha256(pattern(200_000, 4)));
  });
  assert.equal(which, [1, 2]);
  await chained("on6", internet6.host, { ue_net: list, net_ue: list });
  await ready("on6");
  assert.equal(
    await through(async () => assert.is(await fetchFrom(`http://[${internet6.host}]/`, ue6), "internet")),
    [1, 2],
  );
});

test("A12: UDP that does not fit the functions' tunnels is fragmented, and arrives", async () => {
  await chained(
    "edge",
    internet.www,
    { ue_net: [functionAddress(1)], net_ue: [functionAddress(2)] },
    scene.lab.app.address,
  );
  await ready("edge");
  for (const size of [100, 1350, 4000]) {
    const answer = await until(
      `an answer to ${size} octets`,
      () => scene.lab.phoneUdp(ue, internet.www, { size, timeoutMs: 1500 }).catch(() => undefined),
      8000,
    );
    assert.is(answer.server, "edge");
  }
});

test("A12: iperf3 through eight functions, up and down", async () => {
  const list = numbers.map(functionAddress);
  await chained("edge", internet.www, { ue_net: list, net_ue: list }, scene.lab.app.address);
  await ready("edge");
  const server = scene.lab.machines.start("app", "iperf3", ["iperf3", "-s", "-p", "5201", "--forceflush"]);
  await server.said(/listening/);
  try {
    for (const way of [[], ["-R"]]) {
      const argv = ["iperf3", "-J", "-c", internet.www, "-B", ue.ip, "-n", "4M", ...way];
      const ran = await scene.lab.exec(ue.ns, argv, { timeoutMs: 60_000 });
      const { end } = JSON.parse(ran.stdout) as { end: { sum_received: { bytes: number } } };
      // What is still on its way when the sender ends is not counted by the receiver.
      assert.ok(end.sum_received.bytes > 1_000_000, ran.stdout.slice(-400));
    }
  } finally {
    await server.end("SIGKILL");
  }
});

/** RFC 8300 §3: takes the packet, lowers the service index, hands it back to who sent it. */
const nshFunction = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 4790))
print("ready", flush=True)
while True:
    data, (host, port) = s.recvfrom(65535)
    octets = bytearray(data)
    octets[15] -= 1
    s.sendto(octets, (host, 4790))
`;

test("A12: a function that speaks NSH, before one that knows nothing", async () => {
  const nsh = { address: functionAddress(1), encapsulation: "nsh" };
  await chained(
    "edge",
    internet.www,
    { ue_net: [nsh, functionAddress(2)], net_ue: [functionAddress(2), nsh] },
    scene.lab.app.address,
  );
  await ready("edge");
  const speaks = scene.lab.machines.start("fn1", "nsh", ["python3", "-c", nshFunction]);
  await speaks.said(/ready/);
  try {
    const got = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=200000&seed=9`, { timeoutMs: 20_000 });
    assert.is(got.server, "edge");
    assert.is(got.sha256, sha256(pattern(200_000, 9)));
  } finally {
    await speaks.end("SIGKILL");
  }
  await scene.lab.phoneHttp(ue, `http://${internet.www}/`, { timeoutMs: 1000 }).then(
    () => assert.unreachable("without the function nothing comes back"),
    () => undefined,
  );
});

/** Waits until Offramp says so of this function. */
const told = (n: number, state: "up" | "down") =>
  until(
    `function ${n} to be ${state}`,
    async () => {
      type Shown = { chains: { uplink: { function: string; state: string }[] }[] };
      const { chains } = await scene.appliance.api<Shown>("GET", "/api/v1/chains");
      return chains.every(({ uplink }) =>
        uplink.every((one) => one.function !== functionAddress(n) || one.state === state),
      );
    },
    15_000,
  );
const unplug = (n: number, how: "up" | "down") => scene.lab.machines.ip("app", `link set fn${n} ${how}`);

test("A12: a function that dies is left out, and comes back; told as events and as a metric", async () => {
  const list = [1, 2, 3].map(functionAddress);
  await chained("edge", internet.www, { ue_net: list, net_ue: list }, scene.lab.app.address);
  await chained("through", internet.other, { ue_net: list, net_ue: list });
  for (const service of ["edge", "through"]) await ready(service);
  const events = scene.lab.machines.start("tof", "events", ["curl", "-sN", "http://127.0.0.1:8090/api/v1/events"]);
  const both = async (): Promise<void> => {
    assert.is(await fetchFrom(`http://${internet.www}/`), "edge");
    assert.is(await fetchFrom(`http://${internet.other}/`), "internet");
  };
  assert.equal(await through(both), [1, 2, 3]);
  try {
    await unplug(2, "down");
    await told(2, "down");
    assert.equal(await through(both), [1, 3]);
    const metrics = (await scene.appliance.curl("GET", "/metrics")).text;
    assert.match(metrics, /offramp_functions{state="down"} 1/);
  } finally {
    await unplug(2, "up");
  }
  await told(2, "up");
  assert.equal(await through(both), [1, 2, 3]);
  await events.said(/function-down[\s\S]*10\.60\.0\.22[\s\S]*function-up/);
  await events.end("SIGKILL");
});

test("A12: … or blocks where the service says so, and the connection goes on when it is back", async () => {
  await chained(
    "edge",
    internet.www,
    { ue_net: [functionAddress(1)], net_ue: [], unreachable: "block" },
    scene.lab.app.address,
  );
  await ready("edge");
  const connection = await scene.lab.phoneTcp(ue, internet.www);
  assert.match(connection.greeting, /edge/);
  await connection.echo(100);
  try {
    await unplug(1, "down");
    await told(1, "down");
    const before = (await scene.appliance.counters()).get("drop_chain_blocked") ?? 0;
    await scene.lab.phoneUdp(ue, internet.www, { timeoutMs: 300 }).then(
      () => assert.unreachable("nothing may pass"),
      () => undefined,
    );
    assert.ok(((await scene.appliance.counters()).get("drop_chain_blocked") ?? 0) > before);
  } finally {
    await unplug(1, "up");
  }
  await told(1, "up");
  await connection.echo(100);
  await connection.close();
});

test("A12: with the control plane dead the chain goes on", async () => {
  const list = [1, 2].map(functionAddress);
  await chained("edge", internet.www, { ue_net: list, net_ue: list }, scene.lab.app.address);
  await ready("edge");
  assert.is(await fetchFrom(`http://${internet.www}/`), "edge");
  await scene.appliance.kill();
  assert.equal(await through(async () => assert.is(await fetchFrom(`http://${internet.www}/`), "edge")), [1, 2]);
  await scene.appliance.start();
  assert.equal(await through(async () => assert.is(await fetchFrom(`http://${internet.www}/`), "edge")), [1, 2]);
});

test("what chain show prints is a shell script, whole", async () => {
  await chained(
    "edge",
    internet.www,
    { ue_net: [functionAddress(1)], net_ue: [functionAddress(1)] },
    scene.lab.app.address,
  );
  const shown = await scene.appliance.cli("chain", "show", "edge", "--function", functionAddress(1));
  await runOn(scene.lab, 1, shown.stdout);
  assert.equal(await through(async () => assert.is(await fetchFrom(`http://${internet.www}/`), "edge")), [1]);
  assert.is((await scene.appliance.cli("chain", "show", "nobody")).code, 1);
});

test.run();
