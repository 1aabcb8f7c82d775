/**
 * Do sessions follow their phones (A4, A7; DESIGN.md, decision 6)?
 *
 * Several base stations and gateways; handover with the real core, told by GTP-C; handover, bearers, End Marker, Error
 * Indication and the reuse of addresses with a core by script, which shows every packet.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type FakeGateway, type GtpPeer, type Received, TunPhone, udpPacket } from "../lab/gtp-peer.ts";
import { GtpControl } from "../lab/gtpc.ts";
import { baseStationAddress, edgeOnly, gatewayAddress, internet } from "../lab/lab.ts";
import { sleep } from "../lab/netns.ts";
import { inScene, type Scene } from "./scene.ts";

const ue = "10.45.0.2";
const text = (m: Received): string => m.inner?.payload.toString("latin1") ?? "";
let serial = 0;

/** One question of a phone by script; resolves with the reply, wherever it comes. */
async function ask(
  from: GtpPeer,
  gateway: string,
  teid: number,
  to = edgeOnly.service,
  options: { at?: GtpPeer; source?: string; port?: number } = {},
): Promise<Received> {
  const word = `q${++serial}.`;
  const ports = options.port === undefined ? {} : { from: options.port };
  from.gpdu(gateway, teid, udpPacket(options.source ?? ue, to, ports, word));
  return (options.at ?? from).wait(`reply to ${word}`, (m) => text(m).endsWith(` ${word}`));
}

/** Two base stations, one gateway, the UE's tunnel at the first, known in both directions. */
async function attached(scene: Scene): Promise<{ first: GtpPeer; second: GtpPeer; core: FakeGateway }> {
  const first = scene.station(0);
  const second = scene.station(1);
  const core = scene.gateway();
  core.bearer(ue, first.address, 0xd1);
  await scene.service("local", edgeOnly.service);
  await ask(first, core.address, 0xa1, internet.host);
  const reply = await ask(first, core.address, 0xa1);
  assert.is(reply.teid, 0xd1);
  return { first, second, core };
}
const scripted = { ues: 0, baseStations: 2, realCore: false };

test(
  "A7: several phones at two base stations and two gateways, each with its own tunnels",
  inScene({ ues: 4, baseStations: 2, gateways: 2 }, async (scene) => {
    const { lab } = scene;
    const phones = [];
    for (let n = 0; n < 4; n++) phones.push(await lab.attach(n, { gateway: n >> 1 }));
    await scene.service("www", internet.www);
    for (const phone of phones) {
      const answer = await lab.phoneHttp(phone, `http://${internet.www}/`);
      assert.is(answer.server, "edge");
      assert.is(answer.client, phone.ip);
      assert.is((await lab.phoneHttp(phone, `http://${internet.other}/`)).server, "internet");
    }
    const loads = await Promise.all(phones.map((phone) => lab.phoneLoad(phone, internet.www, 200)));
    await sleep(500);
    for (const stop of loads) assert.equal((await stop()).missing, []);
    const sessions = await scene.appliance.sessions();
    for (const phone of phones) {
      const session = sessions.find((one) => one.ue === phone.ip);
      assert.is(session?.baseStation, phone.enb);
      assert.is(session?.gateway, gatewayAddress(phone.gateway));
    }
  }),
);

test(
  "handover with the real core: a TCP connection with the edge goes on at the other base station",
  inScene({ baseStations: 2 }, async (scene) => {
    const { lab } = scene;
    const gateway = gatewayAddress(0);
    const [first, second] = [scene.station(0), scene.station(1)];
    const control = scene.own(new GtpControl(lab.ns("ran0"), baseStationAddress(0)));
    const phone = scene.own(new TunPhone(lab.ns("ue0")));
    const context = await control.create(gateway, { imsi: "001010000000077", downlinkTeid: 0x1001 });
    const uplink = { gateway, uplinkTeid: context.uplinkTeid };
    phone.use({ ...uplink, station: first, downlinkTeid: 0x1001, format: { seq: true } });
    const me = await lab.scripted(0, context.ue);
    await scene.service("www", internet.www);
    const tcp = await lab.phoneTcp(me, internet.www);
    assert.match(tcp.greeting, /^edge /);
    await tcp.echo(20_000);
    for (let turn = 0; turn < 4; turn++) {
      const there = turn % 2 === 0;
      const station = there ? second : first;
      const downlinkTeid = 0x2000 + turn;
      await control.update(gateway, context, downlinkTeid, station.address);
      station.forget();
      phone.use({ ...uplink, station, downlinkTeid, format: { seq: true } });
      // The first two turns the core has something to send; in the others the edge is all the phone talks with.
      if (turn < 2) assert.is((await lab.phonePing(me, internet.host)).received, 1);
      await tcp.echo(20_000);
      const replies = station.received.filter((m) => m.inner?.source === internet.www);
      assert.ok(replies.length > 0, "the edge's replies come by the new base station");
      assert.ok(
        replies.every((m) => m.teid === downlinkTeid),
        "in the new tunnel",
      );
    }
    assert.is(phone.strays.length, 0, "and none by an old one");
    await tcp.close();
  }),
);

test(
  "handover: when the session's own gateway sends to another base station, the session moves at once, flows stay",
  inScene(scripted, async (scene) => {
    const { first, second, core } = await attached(scene);
    core.bearer(ue, second.address, 0xd2);
    core.downlink(ue, udpPacket(internet.host, ue, { from: 7, to: 40000 }, "paging"));
    await second.wait("the core's packet", (m) => text(m) === "paging");
    const reply = await ask(second, core.address, 0xa1, edgeOnly.service, { port: 40000 });
    assert.is(reply.teid, 0xd2);
    first.forget();
    await ask(second, core.address, 0xa1);
    assert.is(first.received.length, 0);
    const [session] = await scene.appliance.sessions();
    assert.is(session?.baseStation, second.address);
  }),
);

test(
  "handover seen by the uplink first: replies are held until the core's answer to the pinger moves the session",
  inScene(scripted, async (scene) => {
    const { first, second, core } = await attached(scene);
    first.forget();
    core.bearer(ue, second.address, 0xd2);
    const reply = await ask(second, core.address, 0xa1);
    assert.is(reply.teid, 0xd2);
    assert.is(first.received.filter((m) => m.type === 255).length, 0, "nothing went to the old base station");
  }),
);

test(
  "another TEID at the same base station is another bearer, and moves nothing",
  inScene(scripted, async (scene) => {
    const { first, core } = await attached(scene);
    core.gpdu(first.address, 0xd9, udpPacket(internet.host, ue, { from: 5060, to: 5060 }, "voice"));
    await first.wait("the core's packet", (m) => text(m) === "voice" && m.teid === 0xd9);
    assert.is((await ask(first, core.address, 0xa1)).teid, 0xd1);
    assert.is((await ask(first, core.address, 0xa1, edgeOnly.service, { port: 41000 })).teid, 0xd1);
  }),
);

test(
  "an End Marker passes, and retires its tunnel: the next reply waits for what the core reveals",
  inScene(scripted, async (scene) => {
    const { first, core } = await attached(scene);
    core.bearer(ue, first.address, 0xd3);
    core.endMarker(first.address, 0xd1);
    await first.wait("End Marker", (m) => m.type === 254 && m.teid === 0xd1);
    first.forget();
    assert.is((await ask(first, core.address, 0xa1)).teid, 0xd3);
  }),
);

test(
  "an Error Indication that answers a packet of Offramp's is absorbed, and the core is asked for the new tunnel",
  inScene(scripted, async (scene) => {
    const { first, core } = await attached(scene);
    // The base station has forgotten the tunnel; the core has another.
    core.bearer(ue, first.address, 0xd4);
    core.forget();
    first.errorIndication(core.address, 0xd1);
    const reply = await ask(first, core.address, 0xa1);
    assert.is(reply.teid, 0xd4);
    assert.is(core.received.filter((m) => m.type === 26).length, 0, "the core never heard of it");
  }),
);

test(
  "an Error Indication that answers a packet of the core's passes",
  inScene(scripted, async (scene) => {
    const first = scene.station(0);
    const core = scene.gateway();
    core.bearer(ue, first.address, 0xd1);
    await ask(first, core.address, 0xa1, internet.host);
    first.errorIndication(core.address, 0xd1);
    await core.wait("Error Indication", (m) => m.type === 26);
    first.errorIndication(core.address, 0x9999);
    await core.after(200);
    assert.is(core.received.filter((m) => m.type === 26).length, 2);
  }),
);

test(
  "an address with a new owner: nothing of the old one's flows reaches the new tunnel",
  inScene(scripted, async (scene) => {
    const { first, second, core } = await attached(scene);
    first.gpdu(core.address, 0xa1, udpPacket(ue, edgeOnly.service, { from: 42000 }, "later 1000"));
    // Somebody else gets the address: new tunnels in both directions, at another base station.
    core.bearer(ue, second.address, 0xe2);
    await ask(second, core.address, 0xb2, internet.host);
    await ask(second, core.address, 0xb2, internet.host);
    await sleep(1300);
    assert.is(second.received.filter((m) => text(m).includes("later")).length, 0, "the new owner gets nothing of it");
    assert.is(first.received.filter((m) => text(m).includes("later")).length, 0, "and nobody else");
    assert.is((await ask(second, core.address, 0xb2)).teid, 0xe2);
  }),
);

test(
  "uplink on an unproven TEID passes to the core, and teaches nothing until a downlink confirms it",
  inScene(scripted, async (scene) => {
    const { first, second, core } = await attached(scene);
    core.uplinks = new Set([0xa1]);
    second.gpdu(core.address, 0x666, udpPacket(ue, edgeOnly.service, { from: 43000 }, "intruder"));
    await core.wait("the intruder's packet", (m) => text(m) === "intruder");
    await sleep(500);
    const reply = await ask(first, core.address, 0xa1);
    assert.is(reply.teid, 0xd1);
    assert.is(
      second.received.filter((m) => m.type === 255).length,
      0,
      "the true owner's replies never go to the intruder",
    );
  }),
);

test(
  "the same downlink TEID at two base stations and the same uplink TEID at two gateways are four tunnels",
  inScene({ ues: 0, baseStations: 2, gateways: 2, realCore: false }, async (scene) => {
    const stations = [scene.station(0), scene.station(1)];
    const cores = [scene.gateway(0), scene.gateway(1)];
    await scene.service("local", edgeOnly.service);
    const phones: { source: string; b: number; g: number; teid: number }[] = [];
    for (const b of [0, 1])
      for (const g of [0, 1]) phones.push({ source: `10.${45 + g}.0.${10 + b}`, b, g, teid: 0x77 + b });
    for (const one of phones) {
      // Downlink TEIDs are a base station's to give: unique there, the same at both.
      cores[one.g]?.bearer(one.source, stations[one.b]?.address ?? "", 0x50 + one.g);
    }
    for (const one of phones) {
      const station = stations[one.b];
      const core = cores[one.g];
      if (!station || !core) throw new Error("no such peer");
      for (let n = 0; n < 3; n++) {
        const reply = await ask(station, core.address, one.teid, edgeOnly.service, { source: one.source });
        assert.is(reply.teid, 0x50 + one.g);
        assert.is(reply.from, core.address);
        assert.is(reply.inner?.destination, one.source);
      }
    }
  }),
);

test(
  "a downlink from a gateway that is not the session's own does not move it",
  inScene({ ues: 0, baseStations: 2, gateways: 2, realCore: false }, async (scene) => {
    const { first, second, core } = await attached(scene);
    const rogue = scene.gateway(1);
    rogue.gpdu(second.address, 0x99, udpPacket(internet.host, ue, { from: 7, to: 40000 }, "rogue"));
    await second.wait("the rogue's packet, which passes", (m) => text(m) === "rogue");
    assert.is((await ask(first, core.address, 0xa1)).teid, 0xd1);
  }),
);

test.run();
