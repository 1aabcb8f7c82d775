/**
 * Does the appliance do, as a machine of its own, what Offramp does as a process?
 *
 *   phone ~~ base station ── acc0 │ VM │ cor0 ── gateway ── Internet
 *                                 └ apps0 ── edge app
 *
 * The built image in QEMU, in place of the process: the lab's adapters are bridged to the VM's. Real peers attach through it.
 * One VM for the whole file; the sentences build on each other.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { internet, Lab, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { applianceImage } from "./image.ts";
import { sshKey, Vm } from "./vm.ts";

const test = suite("appliance");
const token = "a-token-of-the-tests-0123456789";
const patience = 900_000;
let lab: Lab;
let vm: Vm;
let ue: Ue;
let folder: string;
let key: string;

/** What a command in the guest says. @throws with what it said where it fails */
async function inside(script: string): Promise<string> {
  const output = await vm.ssh(key, script, patience);
  if (output.code !== 0) throw new Error(`${script}: ${output.code}: ${output.stderr}${output.stdout}`);
  return output.stdout.trim();
}

const servedBy = async (): Promise<string> => (await lab.phoneHttp(ue, `http://${internet.www}/`)).server;

test.before(async () => {
  const image = await applianceImage();
  folder = mkdtempSync(join(tmpdir(), "ofr-appliance-"));
  const pair = await sshKey(folder);
  key = pair.file;
  lab = await Lab.create({ ues: 1 });
  const namespace = lab.ns("tof");
  const tap = (adapter: string) => ({ kind: "tap" as const, namespace, with: adapter });
  vm = await Vm.start({
    disk: image.disk,
    nics: [{ kind: "user" }, tap("acc0"), tap("cor0"), tap("apps0")],
    seed: {
      "meta-data": "instance-id: test-1\n",
      "user-data": `#cloud-config
hostname: edge-7
ssh_authorized_keys: ["${pair.publicKey}"]
offramp:
  version: 1
  site:
    site: { name: edge-7 }
    dataplanes:
      - { name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16], pinger: { target: ${internet.host} } }
    protect: [198.18.0.0/15]
    apps: { interface: apps0, address: 10.60.0.1/24 }
  management: { dhcp: true }
  token: "${token}"
`,
    },
  });
});

test.after(async () => {
  await vm?.destroy();
  await lab?.destroy();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

const telling = (body: () => Promise<void>) => async (): Promise<void> => {
  try {
    await body();
  } catch (error) {
    process.stderr.write(`--- console\n${vm?.console().slice(-4000)}\n${(error as Error).stack}\n`);
    throw error;
  }
};

test(
  "C2 A1: the image boots with its seed; the API asks for its token, and the console tells no secret",
  telling(async () => {
    await vm.ready(patience);
    assert.is((await vm.api("GET", "/api/v1/dataplanes")).status, 401);
    assert.is((await vm.api("GET", "/api/v1/dataplanes", { token })).status, 200);
    const banner = /Offramp \S+ · edge-7 · slot A/;
    await until("the console to say what it is", async () => banner.test(vm.console()), patience);
    assert.not(vm.console().includes(token));
  }),
);

test(
  "C2: the wire was open before the agent was ready; the agent runs under its unit, nothing has failed, root is read-only",
  telling(async () => {
    const said = await inside(
      "systemctl show -P ActiveEnterTimestampMonotonic offramp-wire offramp | grep . | tr '\\n' ' '; echo; " +
        "systemctl show -P NRestarts -P WatchdogUSec offramp | tr '\\n' ' '; echo; systemctl --failed --plain --no-legend; " +
        "findmnt -no OPTIONS / | cut -d, -f1; sudo awk -F: '$2 !~ /^[*!]/ {print \"password of\", $1}' /etc/shadow",
    );
    const [entered = "", unit = "", ...rest] = said.split("\n");
    const [wire = 0, agent = 0] = entered.trim().split(" ").map(Number);
    assert.ok(wire > 0 && wire < agent, `${wire} before ${agent}`);
    assert.is(unit.trim(), "1min 0");
    assert.equal(rest, ["ro"]);
  }),
);

test(
  "C2 A6: a phone attaches through the VM, and a service is taken off the wire inside it",
  telling(async () => {
    ue = await lab.attach(0);
    assert.is(await servedBy(), "internet");
    const body = { name: "www", serviceIP: internet.www, applicationIP: lab.app.address };
    assert.is((await vm.api("POST", "/service", { token, body })).status, 200);
    assert.is(await servedBy(), "edge");
  }),
);

test(
  "C2 C3: the plug is pulled; the wire is open before the agent is ready, and the service comes back by itself",
  telling(async () => {
    await vm.powerCycle();
    await vm.ready(patience);
    await until("the edge to answer", async () => (await servedBy().catch(() => "")) === "edge", patience);
    assert.match(await inside("offramp --version; systemctl is-active offramp-wire"), /active$/);
  }),
);

test.run();
