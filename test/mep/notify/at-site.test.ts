/** Does the site decide where apps may be notified, also after it has changed, and does the agent say what became of it (B1, B5)? */
import { networkInterfaces } from "node:os";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSite } from "../../../controlplane/config/load.ts";
import { parseAddress } from "../../../controlplane/intents/prefix.ts";
import { reachAt } from "../../../mep/notify/at-site.ts";
import type { Place } from "../../../mep/notify/reach.ts";
import { siteText, withAgent } from "../../api/harness.ts";

const app: Place = { id: "a", provider: "acme", addresses: ["10.60.0.10"], external: true };
const mep = "mep: { mp1: { listen: 10.60.0.1:8091, insecure: true } }";

test("B1: site.yaml bars the appliance, its wires and its phones, and opens the network of the apps", () => {
  const text = siteText("/nowhere", `api: { listen: 127.0.0.1:0 }\n${mep}`);
  let site = parseSite(
    text.replace("core: cor0,", "core: cor0, accessPeers: [172.20.0.0/16], corePeers: [203.0.113.0/28],"),
  );
  const allowed = reachAt(() => site, { instances: () => [app], egress: () => true });
  const why = (address: string) => allowed(app, parseAddress(address), 80);
  assert.match(why("10.60.0.1") ?? "", /appliance's own/);
  for (const address of ["192.0.2.7", "172.20.1.1", "203.0.113.3", "10.45.0.9", "10.46.0.9"])
    assert.match(why(address) ?? "allowed", /no app may send/, address);
  for (const address of ["10.60.0.10", "10.60.0.77", "203.0.113.200"]) assert.is(why(address), undefined, address);
  const adapters = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses);
  for (const { address } of adapters) assert.ok(why(address.split("%", 1)[0] ?? ""), address);

  site = parseSite(text.replace("10.46.0.0/16", "10.46.0.0/16, 203.0.113.128/25"));
  assert.match(why("203.0.113.200") ?? "allowed", /no app may send/);
  assert.is(why("203.0.113.3"), undefined);
});

test("B1: an appliance with a platform counts notifications", async () => {
  await withAgent(
    async ({ call }) => {
      const { status, body } = await call("GET", "/metrics");
      assert.is(status, 200);
      assert.match(body, /offramp_notifications_total\{end="given-up"\} 0/);
      assert.match(body, /offramp_notification_websockets 0/);
    },
    { extra: `api: { listen: 127.0.0.1:0 }\n${mep.replace("10.60.0.1:8091", "127.0.0.1:0")}` },
  );
});

test.run();
