/**
 * Does the loader load, attach, read and report, and does it say why when it cannot?
 */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BpfMap, MapFlag, MapType } from "../../dataplane/ebpf/bpf-map.ts";
import {
  BpfObject,
  closeProgram,
  programById,
  xdpAttach,
  xdpDetach,
  xdpQuery,
} from "../../dataplane/ebpf/bpf-object.ts";
import { BpfError } from "../../dataplane/ebpf/libbpf.ts";
import { Ring } from "../../dataplane/ebpf/ring.ts";
import { inNamespace, ip } from "./namespace.ts";

inNamespace(fileURLToPath(import.meta.url));

const TINY = "build/tiny.bpf.o";
const u32 = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const asU32 = (octets: Uint8Array): number => new DataView(octets.buffer, octets.byteOffset).getUint32(0, true);
const ifindex = (name: string): number => JSON.parse(ip(`-j link show ${name}`))[0].ifindex;
const inner = (entries: number): BpfMap =>
  BpfMap.create(MapType.array, "inner", { key: 4, value: 4, entries }, { map_flags: MapFlag.innerMap });
const load = (constants: Record<string, number> = { PORT: 1 }): BpfObject =>
  BpfObject.load(TINY, {
    programs: ["pass", "wire"],
    constants,
    maxEntries: { seen: 4 },
    inner: { outer: inner(1) },
  });

ip("link add va type veth peer name vb");
ip("link set va up");
ip("link set vb up");

test("a program runs with the constants, sizes and maps that it was loaded with", () => {
  const object = load();
  assert.is(object.map("seen").maxEntries, 4);
  const table = inner(3);
  table.update(2, u32(4711));
  object.map("outer").update(0, u32(table.fd));
  const records: number[][] = [];
  const ring = new Ring(object.map("ring"), (record) =>
    records.push(Array.from(new Uint32Array(record.slice().buffer))),
  );
  const frame = new Uint8Array(64).fill(7);
  const run = object.program("wire").testRun(frame, { repeat: 3 });
  assert.is(run.verdict, 2, "no port: the fallback");
  assert.equal(run.data, frame);
  assert.is(asU32(object.map("seen").lookup(1)!), 3);
  assert.is(new DataView(object.map("seen").memory()).getUint32(8, true), 3, "the same as memory");
  assert.is(ring.consume(), 3);
  assert.equal(records, [
    [64, 1, 4711],
    [64, 1, 4711],
    [64, 1, 4711],
  ]);
  const sums = object.map("sum").lookup(0)!;
  let sum = 0n;
  for (let at = 0; at < sums.length; at += 8) sum += new DataView(sums.buffer).getBigUint64(at, true);
  assert.is(sum, 192n);
  ring.close();
  object.close();
  table.close();
});

test("the ring wraps, and the event loop is told", async () => {
  const object = load();
  let octets = 0;
  const ring = new Ring(object.map("ring"), (record) => {
    octets += record.length;
  });
  ring.start();
  for (let i = 0; i < 20; i++) {
    object.program("wire").testRun(new Uint8Array(64), { repeat: 100 });
    await sleep(2);
  }
  for (let i = 0; i < 500 && octets < 2000 * 12; i++) await sleep(10);
  assert.is(octets, 2000 * 12);
  ring.close();
  object.close();
});

test("a program that the verifier refuses says why", () => {
  try {
    BpfObject.load(TINY, { programs: ["refused"], inner: { outer: inner(1) } });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, BpfError);
    assert.match((error as BpfError).message, /build\/tiny.bpf.o: EACCES[\s\S]*invalid access to packet/);
  }
  assert.throws(() => BpfObject.load("build/none.bpf.o"), /none.bpf.o: ENOENT/);
  assert.throws(() => load({ NONE: 1 }), /constant NONE/);
});

test("what is attached stays without us and is found again with its maps; a new version replaces it in place", () => {
  const object = load();
  const at = ifindex("va");
  xdpAttach(at, object.program("wire"), "native");
  const wireId = object.program("wire").info.id;
  object.map("seen").update(0, u32(99));
  object.close();
  const found = xdpQuery(at);
  assert.equal(found, { id: wireId, mode: "native" });
  const old = programById(wireId);
  assert.is(old.name, "wire");
  const maps = new Map(old.info.mapIds.map((id) => BpfMap.byId(id)).map((map) => [map.name, map]));
  assert.is(asU32(maps.get("seen")!.lookup(0)!), 99);
  const next = BpfObject.load(TINY, {
    programs: ["pass", "wire"],
    reuse: maps,
    constants: { PORT: 2 },
    maxEntries: { seen: 4 },
  });
  assert.is(asU32(next.map("seen").lookup(0)!), 99, "the same map");
  assert.is(next.program("wire").info.tag, old.info.tag, "the same instructions have the same tag");
  assert.throws(() => xdpAttach(at, next.program("pass"), "native"), /EBUSY|EEXIST/);
  assert.throws(() => xdpAttach(at, next.program("wire"), "native", next.program("pass")), /EEXIST/);
  xdpAttach(at, next.program("pass"), "native", old);
  assert.is(xdpQuery(at)?.id, next.program("pass").info.id);
  xdpDetach(at, "native");
  assert.is(xdpQuery(at), undefined);
  closeProgram(old);
  for (const map of maps.values()) map.close();
  next.close();
});

test("generic mode is told apart from native", () => {
  const object = load();
  xdpAttach(ifindex("va"), object.program("pass"), "generic");
  assert.is(xdpQuery(ifindex("va"))?.mode, "generic");
  xdpDetach(ifindex("va"), "generic");
  object.close();
});

test("a frame sent through a program is really redirected", async () => {
  const object = load();
  object.map("ports").update(1, u32(ifindex("va")));
  xdpAttach(ifindex("vb"), object.program("pass"), "native");
  const received = (): number => JSON.parse(ip("-j -s link show vb"))[0].stats64.rx.packets;
  const before = received();
  object.program("wire").sendThrough(new Uint8Array(64).fill(0xff), ifindex("va"), 5);
  for (let i = 0; i < 100 && received() < before + 5; i++) await sleep(10);
  assert.ok(received() >= before + 5);
  xdpDetach(ifindex("vb"), "native");
  object.close();
});

test("hash maps are read, filled and emptied in batches of any size", () => {
  const map = BpfMap.create(MapType.hash, "many", { key: 8, value: 4, entries: 10_000 });
  const keys = new Uint32Array(2 * 5000).map((_, i) => i * 2654435761);
  const values = Uint32Array.from({ length: 5000 }, (_, i) => i);
  map.updateBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), 5000);
  for (const size of [7, 1024]) {
    const seen = new Set<number>();
    for (const batch of map.batches(size)) {
      for (let i = 0; i < batch.count; i++) seen.add(asU32(batch.values.subarray(i * 4)));
    }
    assert.is(seen.size, 5000);
  }
  assert.is([...map.keys()].length, 5000);
  const some = new Uint8Array(keys.buffer.slice(0, 8 * 10));
  assert.ok(map.delete(some.subarray(8, 16)));
  assert.not(map.delete(some.subarray(8, 16)));
  map.deleteBatch(some, 10);
  assert.is([...map.keys()].length, 4990);
  map.close();
});

test("queues keep order and say when they are full", () => {
  const map = BpfMap.create(MapType.queue, "queue", { key: 0, value: 4, entries: 2 });
  assert.ok(map.push(u32(1)));
  assert.ok(map.push(u32(2)));
  assert.not(map.push(u32(3)));
  assert.equal([map.pop(), map.pop(), map.pop()], [u32(1), u32(2), undefined]);
  map.close();
});

test("the headers that the build makes compile to what the table says", () => {
  const header = execFileSync("node", ["--import", "tsx", "dataplane/ebpf/counters-header.ts"], { encoding: "utf8" });
  assert.match(header, /#define COUNTER_PASS_NOT_GTPU 0 /);
});

test.run();
