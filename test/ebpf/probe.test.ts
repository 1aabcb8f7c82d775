/**
 * Is the way that loses everything silently told apart from the one that works?
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { linkOf } from "../../dataplane/ebpf/netdev.ts";
import { probePort } from "../../dataplane/ebpf/probe.ts";
import { inNamespace, ip } from "./namespace.ts";

inNamespace(fileURLToPath(import.meta.url));
const object = "build/probe.bpf.o";
ip("link add va type veth peer name vb");
ip("link set va up");
ip("link set vb up");
const gro = (value: string) => execFileSync("ethtool", ["-K", "vb", "gro", value]);

test("a veth whose peer has GRO takes redirected frames", async () => {
  gro("on");
  assert.equal(await probePort(object, await linkOf("va")), { native: true });
});

test("a veth whose peer has neither GRO nor a program loses them: native mode is refused, with the reason", async () => {
  gro("off");
  const { native, reason } = await probePort(object, await linkOf("va"));
  assert.is(native, false);
  assert.match(reason!, /peer has neither GRO nor a program/);
});

test("a bridge is no target", async () => {
  ip("link add br0 type bridge");
  assert.is((await probePort(object, await linkOf("br0"))).native, false);
});

test.run();
