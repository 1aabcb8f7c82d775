/**
 * Does the pinger find a UE's downlink when its traffic never reaches the core (A5; seed 001 §4.3.3.1)?
 *
 * A service that exists only at the edge is asked first thing: the reply has to wait until the core, woken by an echo
 * request in the UE's name, has revealed the downlink tunnel. Real peers first, then a core by script, which sees
 * every single step.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { echoRequest, paced, udpPacket } from "../lab/gtp-peer.ts";
import { edgeOnly, internet, internet6 } from "../lab/lab.ts";
import { sleep, until } from "../lab/netns.ts";
import { inScene } from "./scene.ts";

const ueAddress = "10.45.0.2";
const isEcho = (m: { inner?: { protocol: number; sourcePort: number } }): boolean =>
  m.inner?.protocol === 1 && m.inner.sourcePort >> 8 === 8;

test(
  "A5: the very first packet of a phone, to a service that only the edge has, is answered; it is sent once",
  inScene({}, async (scene) => {
    await scene.service("local", edgeOnly.service);
    const ue = await scene.lab.attach(0);
    const answer = await scene.lab.phoneUdp(ue, edgeOnly.service);
    assert.is(answer.server, "edge");
    assert.is(answer.client, ue.ip);
    assert.is((await scene.lab.phoneHttp(ue, `http://${edgeOnly.service}/`)).server, "edge");
  }),
);

test(
  "A5: the sequence of seed 001 §4.3.3.1, as core and base station see it",
  inScene({ ues: 0, realCore: false }, async (scene) => {
    const enb = scene.station();
    const core = scene.gateway();
    core.bearer(ueAddress, enb.address, 0xd1);
    await scene.service("local", edgeOnly.service);
    enb.gpdu(core.address, 0xa1, udpPacket(ueAddress, edgeOnly.service, {}, "first"));
    const ping = await core.wait("echo request in the UE's name", isEcho);
    assert.is(ping.teid, 0xa1, "in the UE's own uplink tunnel");
    assert.is(ping.from, enb.address, "as if from its base station");
    assert.is(ping.inner?.source, ueAddress);
    assert.is(ping.inner?.destination, internet.host, "to the configured target");
    const reply = await enb.wait("the app's reply", (m) => m.inner?.protocol === 17);
    assert.is(reply.teid, 0xd1, "in the tunnel that the core revealed");
    assert.is(reply.from, core.address, "as if from its gateway");
    assert.is(reply.inner?.source, edgeOnly.service);
    assert.match(reply.inner?.payload.toString() ?? "", /^edge 10\.45\.0\.2 \d+ first$/);
    await sleep(700);
    assert.is(enb.received.filter((m) => m.inner?.protocol === 1).length, 0, "the echo reply is swallowed");
    assert.is(core.received.filter((m) => m.inner?.protocol === 17).length, 0, "the core never sees the question");
    const pings = core.received.filter(isEcho).length;
    enb.gpdu(core.address, 0xa1, udpPacket(ueAddress, edgeOnly.service, {}, "second"));
    await enb.wait("the second reply", (m) => /second$/.test(m.inner?.payload.toString() ?? ""));
    await sleep(500);
    assert.is(core.received.filter(isEcho).length, pings, "it stops once learnt");
  }),
);

test(
  "A5: a UE's own echo requests and the answers to them are not taken for the pinger's",
  inScene({ ues: 0, realCore: false }, async (scene) => {
    const enb = scene.station();
    const core = scene.gateway();
    core.bearer(ueAddress, enb.address, 0xd1);
    for (let seq = 1; seq <= 5; seq++) {
      enb.gpdu(core.address, 0xa1, echoRequest(ueAddress, internet.host, 0x4242, seq));
      await enb.wait(`echo reply ${seq}`, (m) => m.inner?.identifier === 0x4242 && m.inner.sequence === seq);
    }
  }),
);

test(
  "replies that wait for the downlink go out in order, and none is lost",
  inScene({ ues: 0, realCore: false }, async (scene) => {
    const enb = scene.station();
    const core = scene.gateway();
    await scene.service("local", edgeOnly.service);
    core.answering = false;
    for (let n = 0; n < 20; n++) {
      enb.gpdu(core.address, 0xa1, udpPacket(ueAddress, edgeOnly.service, {}, `q${n}`));
    }
    await core.wait("echo request", isEcho);
    await sleep(300);
    assert.is(enb.received.length, 0, "nothing goes anywhere before the downlink is known");
    core.bearer(ueAddress, enb.address, 0xd1);
    core.answering = true;
    await until("20 replies", () => enb.received.length >= 20 || undefined, 3000);
    const numbers = enb.received.map((m) => Number(m.inner?.payload.toString().split(" q")[1]));
    assert.equal(numbers, [...Array(20).keys()]);
  }),
);

test(
  "A5: when the core never answers, the pinger gives up and the UE's traffic goes to the core",
  inScene({ ues: 0, realCore: false, site: { pinger: { interval: "100ms", giveUp: "1s" } } }, async (scene) => {
    const enb = scene.station();
    const core = scene.gateway();
    await scene.service("local", edgeOnly.service);
    enb.gpdu(core.address, 0xa1, udpPacket(ueAddress, edgeOnly.service, {}, "first"));
    await core.wait("echo request", isEcho);
    await until(
      "the service's traffic to come to the core",
      async () => {
        enb.gpdu(core.address, 0xa1, udpPacket(ueAddress, edgeOnly.service, { from: 41000 }, "later"));
        await sleep(100);
        return core.received.some((m) => m.inner?.protocol === 17 && m.inner.destination === edgeOnly.service);
      },
      6000,
    );
    core.forget();
    await sleep(600);
    assert.is(core.received.filter(isEcho).length, 0, "and pings no more");
  }),
);

test(
  "A5 A7: five hundred phones appear within a second, all by the edge, and each gets its own answer",
  inScene({ ues: 0, realCore: false }, async (scene) => {
    const enb = scene.station();
    const core = scene.gateway();
    const count = 500;
    const address = (n: number): string => `10.45.${1 + (n >> 8)}.${n & 255}`;
    await scene.service("local", edgeOnly.service);
    await scene.lab.exec("ran0", ["ping", "-c1", core.address]);
    await paced(
      count,
      (n) => {
        core.bearer(address(n), enb.address, 0x20000 + n);
        enb.gpdu(core.address, 0x10000 + n, udpPacket(address(n), edgeOnly.service, {}, `phone ${n}`));
      },
      16,
      25,
    );
    const missing = (): number => {
      const seen = new Set(enb.received.filter((m) => m.inner?.protocol === 17).map((m) => m.teid));
      return count - seen.size;
    };
    await until("an answer for each", () => missing() === 0 || undefined, 10_000).catch(() => undefined);
    const counted = [...(await scene.appliance.counters())].filter(([, packets]) => packets > 0);
    assert.is(missing(), 0, `answers are missing: ${counted.map((one) => one.join(" ")).join(", ")}`);
    for (const m of enb.received) {
      if (m.inner?.protocol !== 17) continue;
      const n = m.teid - 0x20000;
      assert.is(m.inner.destination, address(n));
      assert.match(m.inner.payload.toString(), new RegExp(`phone ${n}$`));
    }
    assert.is((await scene.appliance.sessions()).length, count);
  }),
);

test(
  "A5: the pinger works for IPv6 UEs, whose session is a /64",
  inScene(
    {
      ues: 0,
      realCore: false,
      site: { extra: { apps: { interface: "apps0", address: "10.60.0.1/24", address6: "2001:db8:60::1/64" } } },
    },
    async (scene) => {
      const enb = scene.station();
      const core = scene.gateway();
      const ue = "2001:db8:45:1::77";
      core.bearer(ue, enb.address, 0xd6);
      await scene.service("local6", edgeOnly.service6, "2001:db8:60::10");
      enb.gpdu(core.address, 0xa6, udpPacket(ue, edgeOnly.service6, {}, "six"));
      const ping = await core.wait("ICMPv6 echo request", (m) => m.inner?.protocol === 58);
      assert.is(ping.inner?.destination, internet6.host);
      assert.ok(ping.inner?.source.startsWith("2001:db8:45:1:"), "from the UE's /64");
      const reply = await enb.wait("the app's reply", (m) => m.inner?.protocol === 17, 4000);
      assert.is(reply.teid, 0xd6);
      assert.match(reply.inner?.payload.toString() ?? "", /six$/);
    },
  ),
);

test.run();
