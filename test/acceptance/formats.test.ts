/**
 * Are replies written as the core writes them, whatever the headers look like (TS 29.281 §5, TS 38.415 §5.5)?
 *
 * The directions of one tunnel often differ; the reply takes the form of the observed downlink.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { transfer } from "../lab/frames.ts";
import { FakeGateway, type Format, GtpPeer, type Received, udpPacket } from "../lab/gtp-peer.ts";
import { baseStationAddress6, edgeOnly, gatewayAddress6, internet, internet6 } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { eth, frame, gtpu, ipv4, type Layers, udp, vlan } from "../packets/frame.ts";
import { inScene, type Scene } from "./scene.ts";

const ue = "10.45.0.2";
const scripted = { ues: 0, realCore: false };
const withIpv6 = { extra: { apps: { interface: "apps0", address: "10.60.0.1/24", address6: "2001:db8:60::1/64" } } };
const text = (m: Received): string => m.inner?.payload.toString("latin1") ?? "";

/** Attaches a UE whose headers are these, and returns the edge's reply. */
async function reply(
  enb: GtpPeer,
  core: FakeGateway,
  formats: { up: Format; down: Format },
  to = edgeOnly.service,
  source = ue,
): Promise<Received> {
  core.bearer(source, enb.address, 0xd1, formats.down);
  const host = source.includes(":") ? internet6.host : internet.host;
  enb.gpdu(core.address, 0xa1, udpPacket(source, host, {}, "teach"), formats.up);
  await enb.wait("the core's answer", (m) => text(m).endsWith(" teach"));
  enb.gpdu(core.address, 0xa1, udpPacket(source, to, {}, "edge?"), formats.up);
  return enb.wait("the edge's answer", (m) => text(m).endsWith(" edge?"));
}

async function here(scene: Scene): Promise<{ enb: GtpPeer; core: FakeGateway }> {
  await scene.service("local", edgeOnly.service);
  return { enb: scene.station(), core: scene.gateway() };
}

test(
  "N3: the reply carries a downlink PDU Session Container, with the QFI that the flow's uplink carried",
  inScene({ ...scripted, site: { interface: "n3" } }, async (scene) => {
    const { enb, core } = await here(scene);
    const m = await reply(enb, core, { up: { qfi: 5, pscType: 1 }, down: { qfi: 7, pscType: 0 } });
    assert.is(m.qfi, 5);
    assert.is(m.pscType, 0);
    assert.is(m.teid, 0xd1);
    const [session] = await scene.appliance.sessions();
    assert.is(session?.bearers.find((b) => b.direction === "downlink")?.qfi, 7);
  }),
);

test(
  "uplink with and downlink without extension header: the reply has none",
  inScene(scripted, async (scene) => {
    const { enb, core } = await here(scene);
    const m = await reply(enb, core, { up: { qfi: 5 }, down: {} });
    assert.is(m.flags, 0x30);
  }),
);

test(
  "uplink without and downlink with: the reply has one",
  inScene(scripted, async (scene) => {
    const { enb, core } = await here(scene);
    const m = await reply(enb, core, { up: {}, down: { qfi: 6, pscType: 0 } });
    assert.is(m.flags & 4, 4);
    assert.is(m.qfi, 6);
  }),
);

test(
  "all combinations of sequence and N-PDU numbers on the uplink are decapsulated by the exact header size",
  inScene(scripted, async (scene) => {
    const { enb, core } = await here(scene);
    for (const up of [{}, { seq: true }, { npdu: true }, { seq: true, npdu: true }, { seq: true, qfi: 3 }]) {
      enb.forget();
      assert.match(text(await reply(enb, core, { up, down: {} })), /^edge /);
    }
  }),
);

test(
  "IPv6 outside: service, pinger and UDP checksum, which is mandatory there",
  inScene(scripted, async (scene) => {
    const enb = scene.own(new GtpPeer(scene.lab.ns("ran0"), baseStationAddress6(0)));
    const core = scene.own(new FakeGateway(scene.lab.ns("core0"), gatewayAddress6(0)));
    await scene.service("local", edgeOnly.service);
    core.bearer(ue, enb.address, 0xd1);
    // The pinger's packet and the reply only arrive when the kernels of the peers find their checksums right.
    enb.gpdu(core.address, 0xa1, udpPacket(ue, edgeOnly.service, {}, "first"));
    await core.wait("echo request", (m) => m.inner?.protocol === 1);
    const first = await enb.wait("held reply", (m) => text(m).endsWith(" first"));
    assert.is(first.teid, 0xd1);
    for (const size of [1, 2, 63, 1000, 1301]) {
      const word = `${"x".repeat(size)}.`;
      enb.gpdu(core.address, 0xa1, udpPacket(ue, edgeOnly.service, {}, word));
      await enb.wait(`reply of ${size}`, (m) => text(m).endsWith(` ${word}`));
    }
  }),
);

test(
  "IPv6 inside: a service with IPv6 addresses, and a session that is a /64",
  inScene({ ...scripted, site: withIpv6 }, async (scene) => {
    const enb = scene.station();
    const core = scene.gateway();
    await scene.service("six", edgeOnly.service6, "2001:db8:60::10");
    const m = await reply(enb, core, { up: {}, down: {} }, edgeOnly.service6, "2001:db8:45:1::7");
    assert.match(text(m), /^edge 2001:db8:45:1::7 /);
    assert.is(m.inner?.source, edgeOnly.service6);
    // Another address of the same /64 is the same session (privacy addresses).
    enb.gpdu(core.address, 0xa1, udpPacket("2001:db8:45:1:abcd::9", edgeOnly.service6, {}, "again"));
    const again = await enb.wait("reply", (r) => text(r).endsWith(" again"));
    assert.is(again.inner?.destination, "2001:db8:45:1:abcd::9");
    assert.is((await scene.appliance.sessions()).length, 1);
  }),
);

test(
  "IPv6 inside, with real peers: TCP with the edge, other destinations with the core",
  inScene({ site: withIpv6 }, async (scene) => {
    await scene.service("www6", internet6.www, "2001:db8:60::10");
    const phone = await scene.lab.attach(0, { type: "v6" });
    const answer = await scene.lab.phoneHttp(phone, `http://[${internet6.www}]/data?bytes=200000&seed=4`);
    assert.is(answer.server, "edge");
    assert.is(answer.client, phone.ip);
    assert.is((await scene.lab.phoneHttp(phone, `http://[${internet6.host}]/`)).server, "internet");
  }),
);

test(
  "the reply carries the DSCP of the observed downlink",
  inScene(scripted, async (scene) => {
    const { enb, core } = await here(scene);
    core.tos(0xb8);
    const capture = scene.lab.machines.start("ran0", "tcpdump", [
      ...["tcpdump", "-lnvi", "eth0", "udp port 2152 and ip[1] & 0xfc = 0xb8 and src", core.address],
    ]);
    await capture.said(/listening on/);
    await reply(enb, core, { up: {}, down: {} });
    await until("both packets", () => capture.log.split("tos 0xb8").length > 2, 3000);
  }),
);

for (const [what, ids] of [
  ["a VLAN tag", [100]],
  ["two VLAN tags", [200, 300]],
] as const) {
  test(
    `${what} on the wire: taken, answered, and put back as it came`,
    inScene(scripted, async (scene) => {
      await scene.service("local", edgeOnly.service);
      const types = ids.map((_, depth) => (ids.length === 2 && depth === 0 ? 0x88a8 : 0x8100));
      const tagged = (src: string, dst: string, from: string, to: string, teid: number, inner: Layers): Uint8Array =>
        frame([
          eth({ src, dst, type: types[0] }),
          ids.map((id, depth) => vlan(id, { type: types[depth + 1] ?? 0x0800 })),
          [ipv4({ src: from, dst: to }), udp({ sport: 2152, dport: 2152 }), gtpu({ teid }), inner],
        ]);
      const [enb, core] = ["02:00:00:00:00:e1", "02:00:00:00:00:c1"];
      const [enbIp, coreIp] = ["198.18.1.77", "198.18.2.77"];
      const up = (inner: Layers): Uint8Array => tagged(enb, core, enbIp, coreIp, 0xa1, inner);
      await transfer(scene.lab, "ran0", "core0", [up(udpPacket(ue, internet.host, {}, "teach"))], enb);
      const down = udpPacket(internet.host, ue, { from: 7, to: 40000 }, "teach");
      await transfer(scene.lab, "core0", "ran0", [tagged(core, enb, coreIp, enbIp, 0xd1, down)], core);
      const question = [up(udpPacket(ue, edgeOnly.service, {}, "edge?"))];
      const [reply] = await transfer(scene.lab, "ran0", "ran0", question, core);
      const there = reply ? Buffer.from(reply) : Buffer.alloc(0);
      const sample = tagged(
        core,
        enb,
        coreIp,
        enbIp,
        0xd1,
        udpPacket(edgeOnly.service, ue, { from: 7, to: 40000 }, ""),
      );
      const headers = 14 + 4 * ids.length;
      assert.is(there.subarray(0, headers).toString("hex"), Buffer.from(sample).subarray(0, headers).toString("hex"));
      assert.match(there.toString("latin1"), /edge 10\.45\.0\.2 40000 edge\?$/);
      const [session] = await scene.appliance.sessions();
      assert.equal(session?.bearers[0]?.vlans, [...ids]);
    }),
  );
}

test.run();
