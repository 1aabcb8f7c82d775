/**
 * Do instances start, stay within their limits, say what they say, and end without leaving anything? With the real podman.
 */
// runs alone
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HostRuntime } from "../../mep/runtime/host-runtime.ts";
import type { InstanceSpec, InstanceStatus } from "../../mep/runtime/runtime.ts";
import { inNamespace } from "../ebpf/namespace.ts";
import { Process, until } from "../lab/netns.ts";
import { configOf, left, makeAppliance, refused, said, specOf, stateDirectory, withRuntime } from "./host.ts";
import { testImage } from "./oci.ts";

inNamespace(fileURLToPath(import.meta.url));
await makeAppliance();

const images = stateDirectory();
const image = testImage(images);
const before = new Set(left(images));
const container = (...command: string[]): Partial<InstanceSpec> => ({
  kind: "container",
  image,
  command: ["/app", ...command],
});

const ended = (runtime: HostRuntime, id = "one") =>
  until("it to end", () => runtime.state(id)?.state === "exited" && runtime.state(id), 30_000);

test(
  "B7: a unit is a program of the appliance, without privileges, which sees little of it",
  withRuntime(async (runtime, stateDir) => {
    const script = `id -u; grep -E '^(Cap(Prm|Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/self/status
      ls /; ls /home /root; touch /usr/mine; touch /etc/mine; touch /tmp/mine && echo tmp is mine
      cat $OFFRAMP_CREDENTIALS /app/config; echo; env; ps ax | wc -l; echo done; exec sleep 600`;
    writeFileSync(join(stateDir, "config"), "as packed");
    const { addresses } = await runtime.start(
      specOf({
        command: ["/usr/bin/sh", "-c", script],
        environment: { OFFRAMP_MP1: "http://10.60.0.1:8091" },
        credentials: { clientId: "me", clientSecret: "s3cret" },
        files: [{ source: join(stateDir, "config"), target: "/app/config" }],
      }),
    );
    assert.equal(addresses, { tof: "10.61.0.2", platform: "10.62.0.2" });
    const text = (await said(runtime, "done")).join("\n");
    for (const line of [
      "1048576",
      "CapPrm:\t0000000000000000",
      "CapEff:\t0000000000000000",
      "CapBnd:\t0000000000000000",
      "NoNewPrivs:\t1",
      "Seccomp:\t2",
      "tmp is mine",
      '{"clientId":"me","clientSecret":"s3cret"}as packed',
      "OFFRAMP_MP1=http://10.60.0.1:8091",
      "OFFRAMP_APP_INSTANCE_ID=one",
      "OFFRAMP_TOF_ADDRESS=10.61.0.2",
      "OFFRAMP_PLATFORM_ADDRESS=10.62.0.2",
    ]) {
      assert.ok(text.includes(line), `${line}\n${text}`);
    }
    assert.match(text, /cannot access '\/home'/);
    assert.match(text, /cannot touch '\/usr\/mine': Read-only/);
    assert.match(text, /cannot touch '\/etc\/mine': (Read-only|Permission)/);
    assert.not.match(text.replace(/^\{.*$/m, ""), /s3cret/, "the secret is in no environment");
    assert.equal(runtime.list().length, 1);
    assert.is(runtime.state("one")?.state, "running");
    await runtime.remove("one");
    assert.is(runtime.state("one"), undefined);
    assert.equal(left(stateDir, before), []);
  }),
);

test(
  "B7: a container runs the image of its package, as users that nobody on the appliance has",
  withRuntime(async (runtime, stateDir) => {
    writeFileSync(join(stateDir, "config"), "as packed");
    await runtime.start(
      specOf({
        ...container("cat", "/proc/self/uid_map", "cat", "/run/offramp/credentials.json", "cat", "/app.conf"),
        command: [],
        image: testImage(stateDir, {
          Cmd: [
            "cat",
            "/proc/self/uid_map",
            "cat",
            "/run/offramp/credentials.json",
            "cat",
            "/app.conf",
            "write",
            "/x",
          ].concat(["write", "/tmp/x", "cat", "/etc/resolv.conf", "env", "OFFRAMP_APP_INSTANCE_ID", "serve", "80"]),
        }),
        credentials: { clientId: "me", clientSecret: "s3cret" },
        files: [{ source: join(stateDir, "config"), target: "/app.conf" }],
      }),
    );
    const text = (await said(runtime, "listening")).join("\n");
    assert.match(text, /^ +0 +1048576 +65536$/m);
    for (const line of ['"s3cret"', "as packed", "write /x: refused", "write /tmp/x: done", "nameserver 10.60.0.1"]) {
      assert.ok(text.includes(line), `${line}\n${text}`);
    }
    assert.match(text, /OFFRAMP_APP_INSTANCE_ID=one/);
    await runtime.remove("one");
    assert.equal(left(stateDir, before), []);
  }),
);

test(
  "B7: stopping asks first; log and addresses stay, and it starts again",
  withRuntime(async (runtime, stateDir) => {
    const spec = specOf(container("say", "hello", "serve", "80"));
    const { addresses } = await runtime.start(spec);
    assert.equal(await runtime.start(spec), { addresses }, "once more is quiet");
    await refused(() => runtime.start({ ...spec, command: ["/app", "say", "no"] }), /runs already/);
    await said(runtime, "listening");
    await runtime.stop("one", 20_000);
    assert.equal(runtime.state("one")?.exit?.code, 0);
    assert.equal(
      (await runtime.logs("one", 1)).map(({ text, stream }) => [text, stream]),
      [["asked to end", "stdout"]],
    );
    await runtime.stop("one", 0);
    const seen: string[] = [];
    const stop = runtime.follow("one", ({ text }) => seen.push(text));
    assert.equal(await runtime.start({ ...spec, command: ["/app", "say", "again", "serve", "80"] }), { addresses });
    await until("what it says now", () => seen.includes("again"), 30_000);
    stop();
    await runtime.stop("one", 0);
    assert.equal(
      left(stateDir, before).filter((one) => one.startsWith("oa")),
      [],
    );
  }),
);

test(
  "B7: limits of memory, processes and CPU hold, and the reason of an end is told",
  withRuntime(async (runtime, stateDir) => {
    const heard: InstanceStatus[] = [];
    runtime.on((status) => heard.push(status));
    const startedIn = process.cwd();
    process.chdir(stateDir);
    await runtime.start(specOf({ ...container("say", "hungry", "eat", "500", "say", "full"), id: "hungry" }));
    const { exit } = (await ended(runtime, "hungry")) as InstanceStatus;
    assert.is(exit?.code, 137);
    assert.is(exit?.reason, "killed at its memory limit of 64 MiB");
    process.chdir(startedIn);
    assert.not(existsSync(join(stateDir, "oom")), "no file is left where the agent was started");
    assert.not((await runtime.logs("hungry", 100)).some(({ text }) => text === "full"));

    await runtime.start(specOf({ ...container("fork", "100", "serve", "80"), id: "many" }));
    const [forked = ""] = (await said(runtime, "listening", "many")).filter((line) => line.startsWith("forked"));
    const made = Number(forked.split(" ")[1]);
    assert.ok(made > 0 && made < 32, forked);
    const pid = runtime.state("many")?.pid ?? 0;
    assert.is(cpuQuota(pid), 0.5);

    await runtime.start(specOf({ ...container("exit", "3"), id: "short" }));
    assert.is(((await ended(runtime, "short")) as InstanceStatus).exit?.reason, "ended with code 3");
    process.kill(pid, "SIGKILL");
    assert.is(((await ended(runtime, "many")) as InstanceStatus).exit?.reason, "killed by SIGKILL");
    assert.equal(
      heard.map(({ id }) => id),
      ["hungry", "short", "many"],
    );
  }),
);

/** Cores. */
function cpuQuota(pid: number): number {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(":"));
  const own = lines.find(([, names = ""]) => names.split(",").includes("cpu"));
  if (!own) {
    const [quota = 0, period = 1] = readFileSync(join("/sys/fs/cgroup", lines[0]?.[2] ?? "", "cpu.max"), "utf8")
      .split(" ")
      .map(Number);
    return quota / period;
  }
  const read = (name: string) => Number(readFileSync(join("/sys/fs/cgroup", own[1] ?? "", own[2] ?? "", name), "utf8"));
  return read("cpu.cfs_quota_us") / read("cpu.cfs_period_us");
}

test(
  "B7: what cannot be started is refused with every reason, and leaves nothing",
  withRuntime(async (runtime, stateDir) => {
    await refused(
      () =>
        runtime.start(
          specOf({
            command: ["sleep"],
            environment: { "a b": "x" },
            files: [
              { source: "/etc/hostname", target: "/usr/../proc/x" },
              { source: "/nothing", target: "/dev/x" },
            ],
            limits: { cpu: 0, memory: 1, pids: 0 },
          }),
        ),
      /command\[0\].*environment.*files\[0\]\.target.*files\[1\]\.source.*files\[1\]\.target.*cpu.*memory.*pids/,
    );
    const other = `sha256:${"0".repeat(64)}`;
    await refused(
      () => runtime.start(specOf({ ...container(), image: { ...image, digest: other } })),
      /image: .* is sha256:.*, not sha256:0/,
    );
    const broken = join(stateDir, "broken.tar");
    writeFileSync(broken, "no archive at all");
    const digest = "sha256:e3fd42cb9eb0aae1ddfef4dfbcd7be3afe6a6dcf8b0bcbb9d80b9e6d5a0d4b84";
    await refused(() => runtime.start(specOf({ ...container(), image: { archive: broken, digest } })), /image: /);
    await refused(() => runtime.start(specOf({ ...container(), command: ["/none"] })), /was not started: .*none/s);
    assert.is(runtime.state("one")?.state, "exited");
    assert.match(runtime.state("one")?.exit?.reason ?? "", /^not started: /);
    await runtime.remove("one");
    assert.equal(left(stateDir, before), []);
  }),
);

test(
  "B7: addresses are given out in turn, kept until the instance is removed, and refused when none is left",
  withRuntime(async (runtime) => {
    assert.equal(await runtime.reserve("a"), { tof: "10.61.0.2", platform: "10.62.0.2" });
    assert.equal(await runtime.reserve("b"), { tof: "10.61.0.3", platform: "10.62.0.3" });
    assert.is(runtime.state("a")?.state, "absent");
    await runtime.remove("a");
    assert.is((await runtime.reserve("c")).tof, "10.61.0.4", "not the one that has just become free");
    for (let i = 0; i < 251; i++) await runtime.reserve(`more ${i}`);
    await refused(() => runtime.reserve("one more"), /all 253 addresses of mep\.apps are taken/);
  }),
);

test(
  "B7: an image goes with its package, not while it is used",
  withRuntime(async (runtime, stateDir) => {
    await runtime.start(specOf(container("serve", "80")));
    await refused(() => runtime.removeImage(image.digest), /one runs with this image/);
    await runtime.remove("one");
    const copy = join(stateDir, "image.tar");
    await runtime.removeImage(image.digest);
    await runtime.removeImage(image.digest);
    await refused(
      () => runtime.start(specOf({ ...container(), image: { ...image, archive: copy } })),
      /there is no file/,
    );
  }),
);

test("B7: between the death of an instance's program and the end of its links, its connections can be ended", async () => {
  const stateDir = stateDirectory();
  const told: string[] = [];
  const seen = async (id: string) => {
    const links = left(stateDir, before).filter((one) => one.startsWith("oat-")).length;
    told.push(`${id}: ${links} links`);
    if (id === "two") throw new Error("busy");
  };
  const warnings: string[] = [];
  const warn = (message: string) => warnings.push(message);
  const runtime = new HostRuntime({ ...configOf(stateDir), ended: seen, warn });
  try {
    await runtime.open();
    for (const id of ["one", "two"]) await runtime.start(specOf({ id }));
    await runtime.stop("one", 0);
    const { pid = 0 } = runtime.state("two") ?? {};
    process.kill(pid, "SIGKILL");
    await ended(runtime, "two");
    assert.equal(told, ["one: 2 links"], "one that ends by itself keeps its links until it is stopped");
    await runtime.stop("two", 0);
    assert.equal(told, ["one: 2 links", "two: 1 links"]);
    assert.equal(warnings, ["connections to two were not ended: busy"]);
  } finally {
    await runtime.down();
    rmSync(stateDir, { recursive: true, force: true });
  }
});

test("B7: instances outlive an agent that is killed, and the next one adopts them", async () => {
  const stateDir = stateDirectory();
  const specs = [
    specOf({ id: "stays", command: ["/usr/bin/sh", "-c", "while sleep 0.2; do echo alive; done"] }),
    specOf({ ...container("serve", "80"), id: "box" }),
    specOf({ id: "ends", command: ["/usr/bin/sh", "-c", "while ! test -e /tmp/now; do sleep 0.1; done; exit 4"] }),
  ];
  const keeper = new Process("keeper", keeping(stateDir, specs));
  let runtime = new HostRuntime(configOf(stateDir));
  try {
    await keeper.said(/^started$/m, 60_000);
    await keeper.end("SIGKILL");
    const { instances } = JSON.parse(readFileSync(join(stateDir, "apps/instances.json"), "utf8")) as {
      instances: { id: string; pid: number }[];
    };
    const pidOf = (id: string) => instances.find((one) => one.id === id)?.pid ?? 0;
    // Ends while no agent is there.
    writeFileSync(`/proc/${pidOf("ends")}/root/tmp/now`, "");
    await until("it to end", () => !existsSync(`/proc/${pidOf("ends")}`), 30_000);
    await runtime.open();
    assert.equal(
      runtime.list().map(({ id, state, pid, exit }) => [id, state, pid, exit?.reason]),
      [
        ["stays", "running", pidOf("stays"), undefined],
        ["box", "running", pidOf("box"), undefined],
        ["ends", "exited", undefined, "ended with code 4"],
      ],
    );
    const [first] = await runtime.logs("stays", 1);
    await until("more of its log", async () => (await runtime.logs("stays", 1))[0]?.time !== first?.time, 20_000);
    await runtime.close();
    assert.ok(existsSync(`/proc/${pidOf("stays")}`), "a runtime that is closed leaves them alone");
    runtime = new HostRuntime(configOf(stateDir));
    await runtime.open();
    await runtime.down();
    assert.equal(left(stateDir, before), []);
    // Down takes them away, and forgets no address.
    runtime = new HostRuntime(configOf(stateDir));
    await runtime.open();
    assert.equal(
      runtime.list().map(({ id, state, addresses }) => [id, state, addresses.tof]),
      [
        ["stays", "exited", "10.61.0.2"],
        ["box", "exited", "10.61.0.3"],
        ["ends", "exited", "10.61.0.4"],
      ],
    );
  } finally {
    await keeper.end("SIGKILL");
    await runtime.down();
    rmSync(stateDir, { recursive: true, force: true });
  }
});

test("B7: a start that was cut off by kill -9 is taken back", async () => {
  for (const afterMs of [30, 90, 150, 250]) {
    const stateDir = stateDirectory();
    const runtime = new HostRuntime(configOf(stateDir));
    const keeper = new Process("keeper", keeping(stateDir, [specOf(container("serve", "80"))], "half"));
    try {
      await keeper.said(/^starting$/m, 60_000);
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      await keeper.end("SIGKILL");
      await runtime.open();
      const state = runtime.state("one")?.state;
      // Whoever was quick enough is there as a whole.
      assert.ok(state === "exited" || state === "running" || state === undefined || state === "absent", state);
      if (state === "running") assert.ok(existsSync(`/proc/${runtime.state("one")?.pid}`));
      else
        assert.equal(
          left(stateDir, before).filter((one) => /^oa|conmon/.test(one)),
          [],
        );
      await runtime.start(specOf(container("serve", "80")));
      await said(runtime, "listening");
      await runtime.remove("one");
      assert.equal(left(stateDir, before), []);
    } finally {
      await keeper.end("SIGKILL");
      await runtime.down();
      rmSync(stateDir, { recursive: true, force: true });
    }
  }
});

function keeping(stateDir: string, specs: InstanceSpec[], ...more: string[]): string[] {
  mkdirSync(stateDir, { recursive: true });
  const keeper = new URL("./keeper.ts", import.meta.url).pathname;
  return [process.execPath, "--import", "tsx", keeper, stateDir, JSON.stringify(specs), ...more];
}

test.after(() => rmSync(images, { recursive: true, force: true }));
test.run();
