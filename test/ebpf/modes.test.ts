/**
 * Does the back end find another way where native XDP would lose frames, and keep its hands off what is not its own?
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BpfMap, MapFlag, MapType } from "../../dataplane/ebpf/bpf-map.ts";
import { BpfObject, xdpAttach, xdpDetach, xdpQuery } from "../../dataplane/ebpf/bpf-object.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { closeLeft, findLeft } from "../../dataplane/ebpf/kernel.ts";
import { slots } from "../../dataplane/ebpf/layout.ts";
import { inNamespace, ip } from "./namespace.ts";
import { answer, backend, fromCore, makeSite, marked, other, request, send, web } from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));
makeSite();

const ifindex = (name: string): number => JSON.parse(ip(`-j link show ${name}`))[0].ifindex;
const gro = (name: string, value: string) => execFileSync("ethtool", ["-K", name, "gro", value]);
const messageOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  return "";
};

test("where redirected frames would be lost, it runs generic, says why, and does the same", async () => {
  gro("sgw0", "off");
  const plane = new EbpfDataplane(backend);
  try {
    await plane.start();
    await plane.apply({ rules: [web], protect: [] });
    const [status] = plane.status();
    assert.equal(
      status!.ports.map(({ path, reason }) => [path, reason?.includes("peer has neither GRO") ?? false]),
      [
        ["generic", false],
        ["generic", true],
      ],
    );
    assert.is(xdpQuery(ifindex("acc0"))?.mode, "generic");
    assert.is(xdpQuery(ifindex("ofr-retx"))?.mode, "generic");
    const up = other("generic up");
    assert.is(send("enb0", up, "sgw0", marked("generic up")), up);
    const down = fromCore("generic down");
    assert.is(send("sgw0", down, "enb0", marked("generic down")), down);
    send("enb0", request("generic ask"), "app0", marked("generic ask"));
    const back = send("app0", answer("generic tell"), "enb0", marked("generic tell"));
    assert.ok(back.includes("00000022"), "in the downlink tunnel");
  } finally {
    await plane.stop();
  }
});

test("when the reason is gone, the next start goes native with the same sessions", async () => {
  gro("sgw0", "on");
  const plane = new EbpfDataplane(backend);
  try {
    await plane.start();
    await plane.apply({ rules: [web], protect: [] });
    assert.equal(
      plane.status()[0]!.ports.map((port) => port.path),
      ["native", "native"],
    );
    assert.is(plane.sessions({}).total, 1);
    send("app0", answer("native tell"), "enb0", marked("native tell"));
  } finally {
    await plane.stop();
  }
});

test("programs of another layout stay in force, and the start says so", async () => {
  const left = findLeft([{ ifindex: ifindex("acc0"), name: "acc0" }]);
  const before = xdpQuery(ifindex("acc0"));
  const state = left.maps.get("slot_state")!;
  const old = slots.decode(state.lookup(0)!);
  state.update(0, slots.encode({ ...old, layout: 4711 }));
  const plane = new EbpfDataplane(backend);
  const message = await messageOf(plane.start());
  assert.match(message, /programs of another version are in force and stay so: its maps have layout 4711/);
  assert.equal(xdpQuery(ifindex("acc0")), before);
  send("app0", answer("old tell"), "enb0", marked("old tell"));
  state.update(0, slots.encode(old));
  closeLeft(left);
});

test("a program that is not ours is neither replaced nor taken away", async () => {
  await new EbpfDataplane(backend).down({ unwire: true });
  const inner = BpfMap.create(
    MapType.array,
    "inner",
    { key: 4, value: 4, entries: 1 },
    { map_flags: MapFlag.innerMap },
  );
  const foreign = BpfObject.load("build/tiny.bpf.o", { programs: ["pass"], inner: { outer: inner } });
  xdpAttach(ifindex("acc0"), foreign.program("pass"), "native");
  const id = xdpQuery(ifindex("acc0"))!.id;
  assert.match(await messageOf(new EbpfDataplane(backend).start()), /adapter acc0 carries another XDP program: pass/);
  assert.match(await messageOf(new EbpfDataplane(backend).down({ unwire: false })), /another XDP program/);
  assert.is(xdpQuery(ifindex("acc0"))?.id, id);
  xdpDetach(ifindex("acc0"), "native");
  foreign.close();
  inner.close();
});

test("an adapter that does not exist, or is somebody else's, is named", async () => {
  const missing = { ...backend, dataplanes: [{ ...backend.dataplanes[0]!, core: "cor9" }] };
  assert.match(await messageOf(new EbpfDataplane(missing).start()), /cor9/);
  ip("link add br9 type bridge");
  ip("link set cor0 master br9");
  assert.match(await messageOf(new EbpfDataplane(backend).start()), /adapter cor0 belongs to br9/);
  ip("link set cor0 nomaster");
  await new EbpfDataplane(backend).down({ unwire: true });
});

test.run();
