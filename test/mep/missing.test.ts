/**
 * What does the platform say when something of the machine is missing (B2, B5, B7)?
 *
 * The agent with a data plane in memory, as a process of its own in a network namespace that has the apps' address, and in a
 * mount namespace in which a program is there but cannot be run.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { test } from "uvu";
import * as assert from "uvu/assert";

const agent = fileURLToPath(new URL("./agent-alone.ts", import.meta.url));
const repository = fileURLToPath(new URL("../..", import.meta.url));
const machine = `set -e
PATH=$PATH:/usr/sbin:/sbin
ip link set lo up
ip link add apps0 type veth peer name far0
ip addr add 10.60.0.1/24 dev apps0
ip link set apps0 up; ip link set far0 up`;

interface Setting {
  /** Of site.yaml. */
  mep: string;
  without?: string;
  /** The program is there again once the agent is ready; then this name server is asked until it answers, or all is there. */
  next?: string;
  stateDir: string;
}

/** What it says of its start. */
function start({ mep, without, next, stateDir }: Setting): Promise<string> {
  const hide = without ? `hidden=$(readlink -f "$(command -v ${without})"); mount --bind "$1" "$hidden"` : "true";
  const nothing = join(stateDir, "nothing");
  writeFileSync(nothing, "", { mode: 0o644 });
  const back = `while read -r line; do echo "$line"; if [[ $line == ready* ]]; then umount "$hidden"; fi; done`;
  const script = `${machine}\n${hide}\nshift; ${next ? `"$@" | ${back}` : `exec "$@"`}`;
  const argv = ["--net", "--mount", "bash", "-c", script, "bash", nothing];
  const node = [process.execPath, "--import", "tsx", agent, stateDir, mep, ...(next ? [next] : [])];
  return new Promise((resolve) => {
    execFile("unshare", [...argv, ...node], { cwd: repository, timeout: 180_000 }, (_error, out, err) => {
      resolve(`${out}${err}`.trim());
    });
  });
}

async function inState(body: (stateDir: string) => Promise<void>): Promise<void> {
  const stateDir = mkdtempSync(join(tmpdir(), "ofr-missing-"));
  try {
    await body(stateDir);
  } finally {
    rmSync(stateDir, { recursive: true, force: true });
  }
}

const mp1 = "mp1: { listen: 10.60.0.1:8091 }";
const dns = "dns: { listen: 10.60.0.1:53 }";
const apps = "apps: { tof: 10.61.0.0/24, platform: 10.62.0.0/24 }";

test("with all that it needs it starts (B2, B5, B7)", () =>
  inState(async (stateDir) => assert.is(await start({ stateDir, mep: `{ ${mp1}, ${dns}, ${apps} }` }), "ready")));

test("without openssl it is without Mp1, and has it as soon as openssl can be run (B5)", () =>
  inState(async (stateDir) => {
    const said = await start({ stateDir, without: "openssl", next: "whole", mep: `{ ${mp1} }` });
    assert.is(said, "ready without mep.mp1\nwhole");
  }));

test("without Unbound it starts, and has its name server as soon as Unbound can be run (B2)", () =>
  inState(async (stateDir) => {
    const said = await start({ stateDir, without: "unbound", next: "10.60.0.1", mep: `{ ${dns} }` });
    assert.is(said, "ready without mep.dns\nanswers");
  }));

test("without openssl, but with plain HTTP for a lab, it starts (B5)", () =>
  inState(async (stateDir) => {
    const mep = "{ mp1: { listen: 10.60.0.1:8091, insecure: true } }";
    assert.is(await start({ stateDir, without: "openssl", mep }), "ready");
  }));

test("without podman all is there as long as no instance runs here; else it is without instances until podman is there (B7)", () =>
  inState(async (stateDir) => {
    const mep = `{ ${mp1}, ${apps} }`;
    assert.is(await start({ stateDir, without: "podman", mep }), "ready");
    const limits = { cpu: 1, memory: 64 << 20, pids: 10 };
    const spec = {
      id: "one",
      tenant: "t",
      kind: "unit",
      command: ["/usr/bin/sleep"],
      environment: {},
      files: [],
      limits,
    };
    const instance = { id: "one", place: 0, phase: "exited", spec: { ...spec, egress: false } };
    mkdirSync(join(stateDir, "apps"), { recursive: true });
    writeFileSync(join(stateDir, "apps/instances.json"), JSON.stringify({ next: 1, instances: [instance] }));
    assert.is(await start({ stateDir, without: "podman", next: "whole", mep }), "ready without mep.apps\nwhole");
  }));

test("with an address that the machine does not have it is without Mp1, and nothing else (B5)", () =>
  inState(async (stateDir) => {
    const mep = "{ mp1: { listen: 10.60.0.7:8091 } }";
    assert.is(await start({ stateDir, mep }), "ready without mep.mp1");
  }));

test("with a state of a newer release it is without the platform, and says so (B8)", () =>
  inState(async (stateDir) => {
    const store = new Database(join(stateDir, "mep.sqlite"));
    store.exec(
      "CREATE TABLE migration (part TEXT, version INTEGER, applied TEXT); INSERT INTO migration VALUES ('rules', 99, '')",
    );
    store.close();
    assert.is(await start({ stateDir, mep: `{ ${mp1}, ${dns} }` }), "ready without mep");
  }));

test.run();
