/**
 * Do the places make a VM, tell when it is away, bring it back and remove it with all that was made for it (C1)?
 *
 * Real QEMU and a real libvirtd, with an empty disk: what a VM does when it has booted is asked in site.test.ts. Needs root.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { macAddresses } from "../../infra/appliance/addresses.ts";
import type { Machine, Place } from "../../infra/appliance/place.ts";
import { type PlaceArgs, placeOf } from "../../infra/appliance/places.ts";
import { Libvirtd } from "../appliance/libvirt.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";
import { must, until } from "../lab/netns.ts";
import { refusal } from "./engine.ts";

inNamespace(fileURLToPath(import.meta.url));

const test = suite("places");
const site = { site: { name: "edge-7" }, dataplanes: [{ name: "s1", access: "acc0", core: "cor0" }] };
const adapters = macAddresses("edge-7");
const size = { memory: 256, vcpus: 1 };

let folder: string;
let machine: Machine;

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "ofr-places-"));
  const path = join(folder, "image.qcow2");
  await must(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"]);
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex");
  const userData = { hostname: "edge-7", site, token: "ofr_0123456789abcdefghij", adapters };
  machine = { name: "edge-7", image: { path, sha256 }, ...size, adapters, userData };
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const qemu = (place: object): PlaceArgs => ({ qemu: { accelerator: "tcg", folder: join(folder, "vm"), ...place } });
const pidOf = () => Number(readFileSync(join(folder, "vm/pid"), "utf8"));

test("C1: QEMU: a VM outlives whoever made it; one that died is told, and comes back with its disk and ports", async () => {
  const wires = {
    access: { tap: "acc" },
    core: { tap: "cor" },
    apps: { udp: { local: "127.0.0.1:5601", remote: "127.0.0.1:5602" } },
  };
  const place = placeOf(qemu({ wires }), machine);
  assert.is(await place.read(), undefined);
  const where = await place.create(machine);
  try {
    assert.is(await place.read(), undefined, "until it is kept, it is the rest of an attempt");
    await place.keep({ any: "thing" });
    const found = { running: true, where, size, memo: { any: "thing" } };
    assert.equal(await placeOf(qemu({ wires }), machine).read(), found);
    assert.match(ip("link show acc"), /state UP|UNKNOWN/);
    for (const file of ["machine.json", "seed.iso"]) assert.is(statSync(join(folder, "vm", file)).mode & 0o77, 0, file);
    assert.is(statSync(join(folder, "vm")).mode & 0o77, 0, "nobody else looks into it");
    assert.not.match(readFileSync(`/proc/${pidOf()}/cmdline`, "utf8"), /ofr_/, "no secret where every user sees it");
    const seed = (await must(["isoinfo", "-R", "-x", "/user-data", "-i", join(folder, "vm/seed.iso")])).stdout;
    assert.match(seed, /^#cloud-config\nhostname: edge-7\n/);

    process.kill(pidOf(), "SIGKILL");
    await until("QEMU to be gone", async () => (await place.read())?.running === false, 60_000);
    assert.equal(await place.start({ memory: 300, vcpus: 2 }), where);
    assert.equal(await place.read(), { ...found, size: { memory: 300, vcpus: 2 } });
    assert.match(await refusal(place.create(machine)), /has an appliance already/);
  } finally {
    await place.remove();
  }
  assert.is(await place.read(), undefined);
  assert.not.ok(existsSync(join(folder, "vm")));
  assert.not.match(ip("link show"), /acc|cor/);
  await place.remove();
});

test("C1: QEMU: what cannot be made leaves nothing, and what an attempt left behind goes before the next", async () => {
  const place = placeOf(qemu({}), machine);
  const { path } = machine.image ?? {};
  const other = { ...machine, image: { path, sha256: "0".repeat(64) } };
  assert.match(await refusal(place.create(other)), /has the SHA-256 [0-9a-f]{64}, not 0{64}/);
  assert.equal(readdirSync(folder), ["image.qcow2"]);
  const wires = { access: { tap: "acc", bridge: "nowhere" } };
  assert.match(await refusal(placeOf(qemu({ wires }), machine).create(machine)), /nowhere/);
  assert.equal(readdirSync(folder), ["image.qcow2"]);
  await place.create(machine);
  const first = pidOf();
  // Whoever made it was ended before it could say that it is finished.
  const again = placeOf(qemu({}), machine);
  await again.create(machine);
  assert.is.not(pidOf(), first);
  assert.not.ok(
    existsSync(`/proc/${first}/cmdline`) && readFileSync(`/proc/${first}/cmdline`, "utf8").includes(folder),
  );
  await again.remove();
  writeFileSync(join(folder, "vm"), "a file of somebody's");
  assert.match(await refusal(place.create(machine)), /is there and is no appliance/);
  await place.remove();
  assert.ok(existsSync(join(folder, "vm")), "what is not ours stays");
  rmSync(join(folder, "vm"));
});

test("C1: libvirt: domain, volumes and networks are made, told, and removed; others' are left alone", async () => {
  const daemon = await Libvirtd.start();
  try {
    const options = { uri: daemon.uri, driver: "qemu", address: "192.168.122.7" } as const;
    const place: Place = placeOf({ libvirt: options }, machine);
    const before = await everything(daemon);
    assert.is(await place.read(), undefined);
    const where = await place.create(machine);
    assert.equal(where, { api: "https://192.168.122.7:8090", ssh: "192.168.122.7:22" });
    assert.is(await place.read(), undefined, "until it is kept, it is the rest of an attempt");
    await place.create(machine);
    await place.keep({});
    assert.equal(await place.read(), { running: true, where, size });
    assert.match(await refusal(place.create(machine)), /has an appliance edge-7 already/);
    const xml = await daemon.must("dumpxml", "edge-7");
    for (const mac of Object.values(adapters)) assert.match(xml, mac);
    assert.match(await daemon.must("net-list", "--name"), /edge-7-access\nedge-7-apps\nedge-7-core/);

    await daemon.must("destroy", "edge-7");
    assert.is((await place.read())?.running, false);
    await place.start({ memory: 300, vcpus: 2 });
    assert.equal(await place.read(), { running: true, where, size: { memory: 300, vcpus: 2 } });
    await place.remove();
    assert.is(await place.read(), undefined);
    assert.equal(await everything(daemon), before);
    await place.remove();

    await daemon.must("vol-create-as", "default", "edge-7.qcow2", "1M");
    assert.match(await refusal(place.create(machine)), /has a volume edge-7.qcow2 already/);
    assert.match(await daemon.must("vol-list", "default"), /edge-7.qcow2/);
  } finally {
    await daemon.stop();
  }
});

const everything = async (daemon: Libvirtd): Promise<string[]> => [
  await daemon.must("list", "--all", "--name"),
  await daemon.must("net-list", "--all", "--name"),
  await daemon.must("vol-list", "default"),
];

test.run();
