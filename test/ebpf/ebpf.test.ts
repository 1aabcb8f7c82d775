/**
 * Does the whole back end carry, take, put back, survive its own end, and go without a trace?
 *
 *   enb0 ═ acc0 ── back end ── cor0 ═ sgw0        apps0 ═ app0
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DataplaneEvent } from "../../dataplane/dataplane.ts";
import { xdpQuery } from "../../dataplane/ebpf/bpf-object.ts";
import { EbpfDataplane } from "../../dataplane/ebpf/ebpf.ts";
import { inNamespace, ip } from "./namespace.ts";
import {
  answer,
  backend,
  cable,
  downlink,
  ENB,
  hex16,
  hexIp,
  ipv4,
  MAC,
  makeSite,
  marked,
  request,
  SGW,
  s1,
  send,
  UE,
  udp,
  until,
  uplink,
  web,
} from "./site.ts";

inNamespace(fileURLToPath(import.meta.url));

makeSite();

const events: DataplaneEvent[] = [];
let plane = new EbpfDataplane(backend);
const start = async (): Promise<void> => {
  plane = new EbpfDataplane(backend);
  plane.on((event) => events.push(event));
  await plane.start();
  await plane.apply({ rules: [web], protect: ["192.0.2.0/24"] });
};
const counter = (name: string, of = "s1"): bigint =>
  plane.counters().find((sample) => sample.name === name && sample.dataplane === of)!.packets;

test("it starts native, and says so", async () => {
  await start();
  const [status] = plane.status();
  assert.equal(
    status!.ports.map(({ adapter, path, link, reason }) => ({ adapter, path, link, reason })),
    [
      { adapter: "acc0", path: "native", link: true, reason: undefined },
      { adapter: "cor0", path: "native", link: true, reason: undefined },
    ],
  );
  assert.equal(
    status!.programs.map((program) => program.name),
    ["access", "core"],
  );
  assert.is(status!.adopted, false);
});

test("A8: what is not GTP-U crosses untouched, both ways", () => {
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("some tcp, not for us"))}`;
  assert.is(send("enb0", frame, "sgw0", marked("some tcp")), frame);
  assert.is(send("sgw0", frame, "enb0", marked("some tcp")), frame);
  assert.is(counter("pass_not_gtpu"), 2n);
});

test("A4: tunnels are learnt from traffic that no rule takes, and it crosses untouched", async () => {
  const up = uplink(ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked("up, not taken"))));
  const down = downlink(ipv4("203.0.113.99", UE, 17, udp(53, 5000, marked("down, not taken"))));
  assert.is(send("enb0", up, "sgw0", marked("up, not")), up);
  assert.is(send("sgw0", down, "enb0", marked("down, not")), down);
  const { total, sessions } = plane.sessions({});
  assert.is(total, 1);
  const [session] = sessions;
  assert.equal(
    session!.bearers.map(({ direction, teid, baseStation, gateway, state }) => ({
      direction,
      teid,
      baseStation,
      gateway,
      state,
    })),
    [
      { direction: "downlink", teid: 0x22, baseStation: ENB, gateway: SGW, state: "live" },
      { direction: "uplink", teid: 0x11, baseStation: ENB, gateway: SGW, state: "live" },
    ],
  );
  assert.is(session!.ue, UE);
  assert.is(session!.state, "up");
  assert.is(plane.sessions({ teid: 0x22 }).total, 1);
  assert.is(plane.sessions({ teid: 0x23 }).total, 0);
  assert.is(plane.sessions({ ue: UE }).total, 1);
  assert.is(plane.sessions({ ue: "10.45.0.3" }).total, 0);
  await until(() =>
    events.some((event) => event.type === "session-new" && event.ue === UE && event.dataplane === "s1"),
  );
  assert.is(plane.status()[0]!.sessions, 1);
});

function offloaded(text: string): void {
  const taken = send("enb0", request(`ask ${text}`), "app0", marked(`ask ${text}`));
  assert.is(taken.slice(28 + 24, 28 + 40), hexIp(UE) + hexIp("10.60.0.10"), "from the UE to the endpoint");
  assert.is(taken.slice(28 + 40, 28 + 48), hex16(5000) + hex16(8080));
  const back = send("app0", answer(`tell ${text}`), "enb0", marked(`tell ${text}`));
  assert.ok(back.includes(`30ff${hex16(28 + 5 + text.length)}00000022`), "in the downlink tunnel");
  assert.ok(back.includes(hexIp("203.0.113.80") + hexIp(UE)), "from the address that the UE knows");
}

test("A6: a rule's traffic leaves its tunnel for the app, and the replies go back into the downlink tunnel", async () => {
  offloaded("one");
  assert.is(counter("take_uplink"), 1n);
  assert.is(counter("reply_downlink"), 1n);
  assert.equal(
    plane.serviceCounters().map(({ service, direction, packets }) => ({ service, direction, packets })),
    [
      { service: 1, direction: "uplink", packets: 1n },
      { service: 1, direction: "downlink", packets: 1n },
    ],
  );
  assert.is(plane.sessions({}).sessions[0]!.flows, 1);
});

test("what UEs send to protected prefixes is dropped by name", async () => {
  const before = counter("drop_protected");
  const frame = uplink(ipv4(UE, "192.0.2.1", 17, udp(5000, 22, marked("to management"))));
  assert.throws(() => send("enb0", frame, "sgw0", marked("to management")), /nothing came/);
  assert.is(counter("drop_protected"), before + 1n);
});

test("bypass is instant, and offload again, too", async () => {
  await plane.setMode("s1", "bypass");
  const frame = request("bypassed");
  assert.is(send("enb0", frame, "sgw0", marked("bypassed")), frame);
  await plane.setMode("s1", "offload");
  offloaded("again");
});

test("without the control plane offloaded traffic stays offloaded; the next one adopts programs and sessions", async () => {
  const programs = plane.status()[0]!.programs;
  await plane.stop();
  offloaded("alone");
  await start();
  const [status] = plane.status();
  assert.equal(status!.programs, programs, "the same programs");
  assert.is(status!.adopted, true);
  assert.is(status!.sessions, 1);
  offloaded("adopted");
});

test("A9: what has been idle is purged, and its place is free again", async () => {
  const collected = await plane.collect();
  assert.is(collected.sessions, 0, "in use");
  await plane.stop();
  s1.idleTimeout = 0;
  await start();
  await sleep(1100);
  await plane.collect();
  await until(() => events.some((event) => event.type === "session-idle"));
  assert.is(plane.sessions({}).total, 0);
  s1.idleTimeout = 300;
  await plane.stop();
  await start();
  const up = uplink(ipv4(UE, "203.0.113.99", 17, udp(5000, 53, marked("back again"))));
  send("enb0", up, "sgw0", marked("back again"));
  const { sessions } = plane.sessions({});
  assert.equal([sessions.length, sessions[0]!.index, sessions[0]!.epoch], [1, 0, 2], "the same slot, another epoch");
});

test("a link that is lost on one side is shown on the other, and comes back", async () => {
  ip("link set enb0 down");
  const carrier = (): boolean => JSON.parse(ip("-j link show sgw0"))[0].flags.includes("LOWER_UP");
  await until(() => !carrier());
  assert.is(plane.status()[0]!.ports[0]!.link, false);
  ip("link set enb0 up");
  await until(carrier);
  await until(() => plane.status()[0]!.ports.every((port) => port.link));
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("after the link came back"))}`;
  assert.is(send("enb0", frame, "sgw0", marked("after the link")), frame);
});

test("another MTU is noticed, and so is an adapter that went and came again", async () => {
  ip("link set acc0 mtu 1450");
  await until(() => plane.status()[0]!.ports[0]!.mtu === 1450);
  const { index, epoch } = plane.sessions({}).sessions[0]!;
  assert.is(plane.slow.room(index, epoch) ?? 1450, 1450, "no downlink is known at the moment");
  await until(() => ip("route show table 8090").includes("mtu 1414"));
  ip("link del acc0");
  cable("acc0", "enb0");
  await until(() => xdpQuery(JSON.parse(ip("-j link show acc0"))[0].ifindex) !== undefined);
  await until(() =>
    ["acc0", "cor0", "sgw0"].every((name) => JSON.parse(ip(`-j link show ${name}`))[0].operstate === "UP"),
  );
  assert.equal(
    plane.status()[0]!.ports.map((port) => port.path),
    ["native", "native"],
  );
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("through the new one"))}`;
  const before = counter("pass_not_gtpu");
  assert.is(send("enb0", frame, "sgw0", marked("through the new one")), frame);
  assert.is(counter("pass_not_gtpu"), before + 1n, "by the program");
});

test("down leaves the wire; down with unwire leaves nothing", async () => {
  await plane.down({ unwire: false });
  const frame = `${MAC}${ipv4(ENB, SGW, 6, marked("over the bridge"))}`;
  assert.is(send("enb0", frame, "sgw0", marked("over the bridge")), frame);
  await new EbpfDataplane(backend).down({ unwire: true });
  assert.not(ip("link show").includes("ofr-"));
  assert.not(ip("rule show").includes("8090"));
});

test.run();
