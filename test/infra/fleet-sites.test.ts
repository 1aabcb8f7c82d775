/**
 * Does a change reach fifty real sites, whatever happens meanwhile (C3, C5)?
 *
 * Fifty processes of `bin/offramp run`, each in a namespace with programs in the kernel, TLS and a token, and `bin/offramp fleet`
 * as a process of its own where the coordinator is. One site's link is down, the coordinator is killed with -9.
 */
// runs alone
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../lab/netns.ts";
import { Sites } from "./sites.ts";

const test = suite("fleet of fifty");
const sites = new Sites(50);
const away = "site-33";
const waves = [{ sites: ["site-1"] }, { percent: 40 }, { region: "north" }, { rest: true }];
const www = { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" };
const gates = [
  { metric: "offramp_ready", least: 1 },
  { metric: "offramp_deployed_differences", most: 0 },
  { metric: 'offramp_service_endpoints{state="down"}', most: 0 },
  { rate: "offramp_audit_failures_total", most: 0 },
  { steady: "process_start_time_seconds" },
];

test.before(() => sites.start());
test.after(() => sites.end());

const journalOf = (id: string): string => join(sites.machines.directory, `${id}.journal`);
const said = (id: string): string => (existsSync(journalOf(id)) ? readFileSync(journalOf(id), "utf8") : "");

test("C5, C3: a site cut off holds nobody up, the coordinator killed -9 goes on, and the site is caught up", async () => {
  await sites.link(away, "down");
  const file = sites.file("www", { waves, gates, change: { services: [www] } });
  const first = sites.begin("run", "--file", file);
  const deployed = () => said("www").split('"state":"deployed"').length - 1;
  await until("some of the second wave to be changed", () => deployed() >= 6, 300_000, 5);
  await first.end("SIGKILL");
  const status = await sites.fleet("status", "--file", file, "--json");
  assert.is(JSON.parse(status.stdout).result, "under way", status.stderr);

  const resumed = await sites.fleet("resume", "--file", file, "--json");
  assert.is(resumed.code, 3, resumed.stderr);
  const { result, sites: counted } = JSON.parse(resumed.stdout);
  assert.equal([result, counted.good, counted.away], ["done", 49, 1]);
  assert.equal(
    await sites.allServices(),
    sites.names.map((name) => (name === away ? [] : ["www"])),
  );
  const twice = sites.names.filter((name) => said("www").split(`"site":"${name}","state":"good"`).length > 2);
  assert.equal(twice, [], "nobody was changed and judged twice");

  await sites.link(away, "up");
  const caught = await sites.fleet("catch-up", "--file", file);
  assert.is(caught.code, 0, caught.stdout + caught.stderr);
  assert.equal(await sites.services(away), ["www"]);
});

test("C5: the sites' own word about an app that does not answer stops a change at the canary, which is as before", async () => {
  const health = { type: "tcp", port: 9, interval: "1s", down: 1 };
  const rules = { priority: 90, nw_src: "0.0.0.0/0", nw_dst: "203.0.113.81", endpoint: "10.60.0.11" };
  const sick = { name: "sick", rules, health };
  const file = sites.file("sick", { waves, gates, looks: 0, change: { services: [www, sick] } });
  const { code, stdout, stderr } = await sites.fleet("run", "--file", file);
  assert.is(code, 1, stdout + stderr);
  assert.match(stdout, /49 {2}waiting/);
  assert.match(
    stdout,
    /stopped at wave 1 canary: .*site-1: offramp_service_endpoints\{state="down"\} is 1, at most 0 is good/,
  );
  assert.equal(
    await sites.allServices(),
    sites.names.map(() => ["www"]),
  );
});

test("C4: fifty sites on one machine: each is a process of its own, and none takes more than a small site has", () => {
  const pids = new Set(sites.names.map((name) => sites.process(name).pid));
  assert.is(pids.size, 50);
  const most = Math.max(...sites.names.map(sites.memory));
  assert.ok(most < 256 << 20, `one has ${(most / 2 ** 20).toFixed(0)} MB`);
});

test.run();
