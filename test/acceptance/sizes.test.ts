/**
 * Does everything arrive whose size does not fit (DESIGN.md, decisions 3 and 18)?
 *
 * Phones here send full-size packets, so that the base station has to fragment its tunnels; apps on the same machine
 * send segmentation-offloaded ones.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { internet, type Ue } from "../lab/lab.ts";
import { until } from "../lab/netns.ts";
import { pattern, sha256 } from "../lab/pattern.ts";
import { inScene, type Scene } from "./scene.ts";

const withPhone = (
  options: { phoneMtu?: number; mtu?: number },
  body: (scene: Scene, ue: Ue) => Promise<void>,
): (() => Promise<void>) =>
  inScene(options, async (scene) => {
    const ue = await scene.lab.attach(0);
    assert.is((await scene.lab.phonePing(ue, internet.host)).received, 1);
    await scene.service("www", internet.www);
    await body(scene, ue);
  });

test(
  "TCP with full-size segments: the MSS of a taken connection is clamped, so that no outer packet is fragmented",
  withPhone({ phoneMtu: 1500 }, async (scene, ue) => {
    const capture = scene.lab.machines.start("ran0", "tcpdump", [
      ...["tcpdump", "-lnni", "eth0", "ip[6:2] & 0x3fff != 0 and host", ue.enb],
    ]);
    await capture.said(/listening on/);
    const down = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=2000000&seed=6`, {
      timeoutMs: 20_000,
    });
    assert.is(down.server, "edge");
    assert.is(down.sha256, sha256(pattern(2_000_000, 6)));
    const body = "x".repeat(500_000);
    const up = await scene.lab.phoneHttp(ue, `http://${internet.www}/digest`, {
      method: "POST",
      body,
      timeoutMs: 20_000,
    });
    assert.is((JSON.parse(up.text) as { bytes: number }).bytes, 500_000);
    await capture.end("SIGINT");
    assert.not.match(capture.log, / IP .* > /, "no fragments on the access side");
  }),
);

test(
  "outer fragments of a taken session are put together: a full-size UDP packet of a phone reaches the edge",
  withPhone({ phoneMtu: 1500 }, async (scene, ue) => {
    const answer = await until(
      "an answer",
      () => scene.lab.phoneUdp(ue, internet.www, { size: 1400, timeoutMs: 1000 }).catch(() => undefined),
      6000,
    );
    assert.is(answer.server, "edge");
    const large = await until(
      "an answer to 1470 octets",
      () => scene.lab.phoneUdp(ue, internet.www, { size: 1470, timeoutMs: 1000 }).catch(() => undefined),
      6000,
    );
    assert.is(large.server, "edge");
  }),
);

test(
  "inner fragments: UDP of several thousand octets goes to the edge and comes back",
  withPhone({}, async (scene, ue) => {
    for (const size of [1500, 4000, 9000]) {
      const answer = await until(
        `an answer to ${size} octets`,
        () => scene.lab.phoneUdp(ue, internet.www, { size, timeoutMs: 1500 }).catch(() => undefined),
        8000,
      );
      assert.is(answer.server, "edge");
    }
  }),
);

test(
  "a reply that does not fit, with DF: the app is told the size that fits, and the next one arrives",
  withPhone({ phoneMtu: 1500 }, async (scene, ue) => {
    await until(
      "an answer",
      () => scene.lab.phoneUdp(ue, internet.www, { size: 1440, timeoutMs: 1000 }).catch(() => undefined),
      6000,
    );
    // 21 octets of the server's and 28 of headers more: a packet of 1489, with DF since it fits the app's own link.
    const { stdout } = await scene.lab.exec("app", ["ip", "route", "get", ue.ip]);
    const mtu = Number(stdout.match(/mtu (\d+)/)?.[1] ?? 1500);
    assert.ok(mtu >= 1400 && mtu <= 1464, `the app's kernel knows ${mtu}`);
  }),
);

test(
  "jumbo frames on the wire: pass, are taken, and full-size replies need no clamping below 1500",
  withPhone({ mtu: 9000, phoneMtu: 1500 }, async (scene, ue) => {
    assert.is((await scene.lab.phonePing(ue, internet.host, 1, ["-s", "1472", "-M", "do"])).received, 1);
    const answer = await scene.lab.phoneUdp(ue, internet.www, { size: 1440 });
    assert.is(answer.server, "edge");
    const down = await scene.lab.phoneHttp(ue, `http://${internet.www}/data?bytes=1000000&seed=8`);
    assert.is(down.sha256, sha256(pattern(1_000_000, 8)));
  }),
);

test.run();
