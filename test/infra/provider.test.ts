/**
 * Does the provider make, read, change and remove at a site what Pulumi's engine asks for (C1)?
 *
 * The provider's own process over its own protocol; the site is the real agent on a data plane in memory.
 */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { unknownValue } from "../../infra/provider/kind.ts";
import { type Running, start } from "../api/harness.ts";
import { Engine, refusal, urnOf } from "./engine.ts";

const test = suite("provider");
const urn = urnOf("TofService", "www");
const www = { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const video = {
  name: "video",
  rules: { priority: 200, nw_src: "0.0.0.0/0", nw_dst: ["203.0.113.20"], protocol: "tcp", endpoint: "10.60.0.10:80" },
  rate: { downlink: "200M" },
};

let engine: Engine;
let site: Running;

test.before(async () => {
  site = await start();
  engine = await Engine.start();
  await engine.configure({ api: site.url });
});
test.after(async () => {
  await engine?.stop();
  await site?.stop();
});

test("C1: a service is made, read, changed and removed, in both forms", async () => {
  for (const [wanted, changed] of [
    [www, { ...www, appInitiated: true }],
    [video, { ...video, rate: { downlink: "100M" } }],
  ] as const) {
    const one = urnOf("TofService", wanted.name);
    const { id, state } = await engine.create(one, wanted);
    assert.is(id, wanted.name);
    assert.equal(state, wanted);
    assert.equal((await site.call("GET", `/service/${id}`)).body, wanted);
    assert.equal(await engine.read(one, id), { inputs: wanted, state: wanted });
    assert.equal(await engine.update(one, id, wanted, changed), changed);
    assert.equal((await site.call("GET", `/service/${id}`)).body, changed);
    await engine.remove(one, id);
    assert.is((await site.call("GET", `/service/${id}`)).status, 404);
    await engine.remove(one, id);
    assert.is(await engine.read(one, id), undefined, "what is gone is told as gone");
  }
});

test("C1: what somebody changed by hand is seen, with its path; another name is another service", async () => {
  const found = await engine.diff(urnOf("TofService", "video"), video, {
    ...video,
    rules: { ...video.rules, nw_dst: ["203.0.113.20", "203.0.113.21"] },
  });
  assert.equal(found, { changes: true, replaces: [], paths: ["rules.nw_dst[1]"] });
  assert.equal(await engine.diff(urn, www, www), { changes: false, replaces: [], paths: [] });
  assert.equal(await engine.diff(urn, www, { ...www, name: "web" }), {
    changes: true,
    replaces: ["name"],
    paths: ["name"],
  });
});

test("C1: wrong inputs are named with their path, before anything is asked of the site", async () => {
  assert.equal((await engine.check(urn, { serviceIP: "203.0.113.80", applicationIP: unknownValue })).failures, []);
  const { inputs, failures } = await engine.check(urn, { serviceIp: "203.0.113.80" });
  assert.is(inputs.name, "www", "its name is the resource's unless it says another");
  assert.is(failures.length, 3);
  assert.match(failures.join("\n"), /serviceIp: is not known/);
  assert.match(failures.join("\n"), /applicationIP: is required, unless the service has rules/);
  assert.match(
    (await engine.check(urn, { ...www, ...video })).failures.join("\n"),
    /serviceIP: says the same as rules/,
  );
  assert.match(await refusal(engine.check(urnOf("Nothing", "x"), {})), /has no resource offramp:index:Nothing/);
});

test("C1: what the site refuses is told in its words, with every field, and nothing has changed", async () => {
  const said = await refusal(engine.create(urn, { ...www, serviceIP: "nowhere", applicationIP: "nobody" }));
  assert.match(said, /serviceIP: "nowhere" is not an IP address; applicationIP: "nobody" is not an IP address/);
  await engine.create(urn, www);
  assert.match(await refusal(engine.create(urnOf("TofService", "again"), www)), /name/);
  assert.equal((await site.call("GET", "/service")).body, [www]);
  await engine.remove(urn, "www");
});

test("C1: what an update has made that was cut off is taken up by the next one; what is unlike it is not", async () => {
  await site.call("POST", "/service", www);
  assert.is((await engine.create(urn, www)).id, "www");
  const said = await refusal(engine.create(urnOf("TofService", "again"), www));
  assert.match(said, /TofService www is there already, as urn:.*::www: give one of them another name/);
  assert.match(await refusal(engine.create(urn, { ...www, applicationIP: "10.60.0.11" })), /The name is taken/);
  assert.equal((await site.call("GET", "/service")).body, [www]);
  await engine.remove(urn, "www");
});

test("C1: a preview asks nothing of a site, also of one whose address is not known yet", async () => {
  await engine.configure({ api: unknownValue });
  assert.equal((await engine.create(urn, www, true)).state, www);
  assert.match(await refusal(engine.create(urn, www)), /not been told which site/);
  await engine.configure({ api: site.url });
  assert.equal((await site.call("GET", "/service")).body, []);
});

test("C1: settings that are wrong are named", async () => {
  assert.equal(await engine.checkConfig({ api: "https://edge.example:8090", token: unknownValue }), []);
  assert.equal(await engine.checkConfig({}), [], "an appliance can be made where none is there to be asked");
  assert.match(
    (await engine.checkConfig({ api: "edge:8090", tokn: "x" })).join(),
    /tokn: is not known.*api: must be a URL/,
  );
});

/** Hands on what the site is asked, and loses so many of its answers. */
async function lossy(losses: number): Promise<{ server: Server; url: string }> {
  let left = losses;
  const { port } = new URL(site.url);
  const server = createServer((client) => {
    const behind = connect(Number(port), "127.0.0.1");
    client.pipe(behind);
    for (const one of [client, behind]) one.on("error", () => undefined);
    behind.on("data", (data) => {
      if (left === 0) client.write(data);
      else {
        left -= 1;
        client.destroy();
        behind.destroy();
      }
    });
    client.on("close", () => behind.destroy());
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test("C3: an answer that is lost is no reason to do it twice, or to think that it was not done", async () => {
  const { server, url } = await lossy(2);
  try {
    await engine.configure({ api: url });
    await engine.create(urn, www);
    const changed = { ...www, applicationIP: "10.60.0.11" };
    assert.equal(await engine.update(urn, "www", www, changed), changed);
    assert.equal((await site.call("GET", "/service")).body, [changed]);
    await engine.remove(urn, "www");
    assert.equal((await site.call("GET", "/service")).body, []);
  } finally {
    server.close();
    await engine.configure({ api: site.url });
  }
});

test("C3: a site that is away is said to be, after as much patience as was asked for", async () => {
  const { server, url } = await lossy(0);
  await new Promise((closed) => server.close(closed));
  await engine.configure({ api: url, patience: 0 });
  assert.match(await refusal(engine.create(urn, www)), /does not answer/);
  await engine.configure({ api: site.url });
});

test.run();
