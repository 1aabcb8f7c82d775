/**
 * Does the lab itself work, without Offramp: real peers, joined by a plain Linux bridge?
 *
 * What fails here is no fault of Offramp's.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openDoor } from "./lab/door.ts";
import { FakeGateway, GtpPeer, paced, TunPhone, udpPacket } from "./lab/gtp-peer.ts";
import { GtpControl } from "./lab/gtpc.ts";
import {
  baseStationAddress,
  baseStationAddress6,
  gatewayAddress,
  gatewayAddress6,
  internet,
  internet6,
  Lab,
} from "./lab/lab.ts";
import { sleep } from "./lab/netns.ts";
import { pattern, sha256 } from "./lab/pattern.ts";

test("a phone attaches by GTP-C, gets an address of the pool, pings and fetches through GTP-U", async () => {
  const lab = await Lab.create();
  try {
    await lab.wire();
    const ue = await lab.attach(0);
    assert.match(ue.ip, /^10\.45\./);
    assert.is((await lab.phonePing(ue, internet.host, 2)).received, 2);
    const answer = await lab.phoneHttp(ue, `http://${internet.host}/`);
    assert.is(answer.server, "internet");
    assert.is(answer.client, ue.ip, "no translation on the way: the origin sees the phone's address");
    const large = await lab.phoneHttp(ue, `http://${internet.www}/data?bytes=1000000&seed=7`);
    assert.is(large.sha256, sha256(pattern(1_000_000, 7)));
    const echo = await lab.phoneUdp(ue, internet.host);
    assert.is(echo.client, ue.ip);
    const tcp = await lab.phoneTcp(ue, internet.host);
    assert.ok((await tcp.echo(10_000)) > 0);
    await tcp.close();
    const stop = await lab.phoneLoad(ue, internet.host, 500);
    await sleep(500);
    const result = await stop();
    assert.ok(result.sent > 100);
    assert.is(result.missing.length, 0);
    assert.is(result.servers.internet, result.sent);
  } finally {
    await lab.destroy();
  }
});

/** What comes back on a connection, until it is closed. */
async function answered(port: number): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("error", () => undefined);
  socket.on("data", (data: Buffer) => {
    text += data.toString();
  });
  socket.write("GET / HTTP/1.0\r\n\r\n");
  if (!socket.closed) await once(socket, "close");
  return text;
}

test("a door leads from this machine's loopback to a machine of the lab", async () => {
  const lab = await Lab.create({ realCore: false });
  try {
    const port = await openDoor(lab, "inet", `${lab.app.address}:80`, 0);
    assert.is(await answered(port), "", "inet has no way to the app");
    const second = await openDoor(lab, "app", `${lab.app.address}:80`, port);
    assert.is.not(second, port, "taken");
    assert.match(await answered(second), /^x-server: edge/im);
  } finally {
    await lab.destroy();
  }
});

test("several phones at two base stations and two gateways, and an IPv6 phone", async () => {
  const lab = await Lab.create({ ues: 4, baseStations: 2, gateways: 2 });
  try {
    await lab.wire();
    const phones = [
      await lab.attach(0),
      await lab.attach(1),
      await lab.attach(2, { gateway: 1 }),
      await lab.attach(3, { type: "v6" }),
    ];
    const addresses = phones.map((ue) => ue.ip);
    assert.is(new Set(addresses).size, 4);
    assert.match(phones[2]!.ip, /^10\.46\./);
    assert.match(phones[3]!.ip, /^2001:db8:45:/);
    for (const ue of phones) {
      const host = ue.ip.includes(":") ? `[${internet6.host}]` : internet.host;
      const answer = await lab.phoneHttp(ue, `http://${host}/`);
      assert.is(answer.server, "internet");
      assert.is(answer.client, ue.ip);
    }
  } finally {
    await lab.destroy();
  }
});

test("a scripted base station gets a tunnel from the real core and moves it to another, under a TCP connection", async () => {
  const lab = await Lab.create({ baseStations: 2 });
  const open: { close: () => unknown }[] = [];
  try {
    await lab.wire();
    const gateway = gatewayAddress(0);
    const first = new GtpPeer(lab.ns("ran0"), baseStationAddress(0));
    const second = new GtpPeer(lab.ns("ran1"), baseStationAddress(1));
    const control = new GtpControl(lab.ns("ran0"), baseStationAddress(0));
    const phone = new TunPhone(lab.ns("ue0"));
    open.push(first, second, control, phone);
    const context = await control.create(gateway, { imsi: "001010000000042", downlinkTeid: 0x1001 });
    assert.match(context.ue, /^10\.45\./);
    const uplink = { gateway, uplinkTeid: context.uplinkTeid };
    phone.use({ ...uplink, station: first, downlinkTeid: 0x1001 });
    const ue = await lab.scripted(0, context.ue);
    assert.is((await lab.phoneHttp(ue, `http://${internet.host}/`)).client, context.ue);
    const tcp = await lab.phoneTcp(ue, internet.host);
    await tcp.echo(5000);
    await control.update(gateway, context, 0x2002, second.address);
    phone.use({ ...uplink, station: second, downlinkTeid: 0x2002, format: { seq: true } });
    await tcp.echo(5000);
    assert.ok(second.received.some((m) => m.teid === 0x2002 && m.inner?.source === internet.host));
    await control.remove(gateway, context);
  } finally {
    for (const one of open) await one.close();
    await lab.destroy();
  }
});

test("scripted peers carry three hundred phones, over IPv6 outside and in the headers of N3", async () => {
  const lab = await Lab.create({ ues: 0, realCore: false });
  const open: { close: () => unknown }[] = [];
  try {
    await lab.wire();
    const enb = new GtpPeer(lab.ns("ran0"), baseStationAddress6(0));
    const core = new FakeGateway(lab.ns("core0"), gatewayAddress6(0));
    open.push(enb, core);
    // The kernel queues only so much for a neighbour it does not know yet.
    await lab.exec("ran0", ["ping", "-c1", core.address]);
    await paced(300, (n) => {
      const ue = `10.45.${n >> 8}.${n & 255}`;
      core.bearer(ue, enb.address, 0x10000 + n, { qfi: 9, pscType: 0 });
      enb.gpdu(core.address, n + 1, udpPacket(ue, internet.host, {}, `phone ${n}`), { qfi: 9 });
    });
    for (let n = 0; n < 300; n++) {
      const answer = await enb.wait(`answer to ${n}`, (m) => m.teid === 0x10000 + n);
      assert.match(answer.inner?.payload.toString() ?? "", new RegExp(`phone ${n}$`));
      assert.is(answer.qfi, 9);
    }
  } finally {
    for (const one of open) await one.close();
    await lab.destroy();
  }
});

test.run();
