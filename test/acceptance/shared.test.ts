/**
 * Does Offramp work on one adapter that carries both sides (A2)?
 *
 * The peers are configured; they reach each other through Offramp's link address, and Offramp forwards between them.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { accessPrefix, corePrefix, edgeOnly, internet } from "../lab/lab.ts";
import { inScene } from "./scene.ts";

test(
  "A2: on a shared adapter a phone attaches, the core answers, and a service is taken",
  inScene(
    {
      shared: true,
      ues: 2,
      baseStations: 2,
      // Without IPv6 outside: the peers of the other family meet each other directly.
      site: { dataplane: { accessPeers: [accessPrefix], corePeers: [corePrefix] } },
    },
    async (scene) => {
      const phones = [await scene.lab.attach(0), await scene.lab.attach(1)];
      for (const phone of phones) {
        assert.is((await scene.lab.phonePing(phone, internet.host, 2)).received, 2);
        assert.is((await scene.lab.phoneHttp(phone, `http://${internet.www}/`)).server, "internet");
      }
      await scene.service("www", internet.www);
      await scene.service("local", edgeOnly.service);
      for (const phone of phones) {
        const answer = await scene.lab.phoneHttp(phone, `http://${internet.www}/data?bytes=200000&seed=9`);
        assert.is(answer.server, "edge");
        assert.is(answer.client, phone.ip);
        assert.is((await scene.lab.phoneUdp(phone, edgeOnly.service)).server, "edge");
        assert.is((await scene.lab.phoneHttp(phone, `http://${internet.other}/`)).server, "internet");
      }
      const [dataplane] = await scene.appliance.api<{ ports: { role: string }[] }[]>("GET", "/api/v1/dataplanes");
      assert.equal(
        dataplane?.ports.map((port) => port.role),
        ["shared"],
      );
    },
  ),
);

test.run();
