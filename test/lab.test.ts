/**
 * Does the lab itself work, without Offramp: real peers, joined by a plain Linux bridge?
 *
 * What fails here is no fault of Offramp's.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { internet, internet6, Lab } from "./lab/lab.ts";
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

test.run();
