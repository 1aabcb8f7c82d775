/**
 * Does a site do everything by itself while the centre is gone, and hear of what it missed when that is back (C3)?
 *
 * The centre is the coordinator's machine, the resolver for names of others and the time server; its link to the site is down
 * from before the first boot until the last step. Real phone, real core, real `offramp run`, `offramp fleet` in the centre.
 */
// runs alone
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { stringify } from "yaml";
import { repository, site } from "../lab/appliance.ts";
import { internet, Lab, type Ue } from "../lab/lab.ts";
import { must, type Output, type Process } from "../lab/netns.ts";
import { resolve } from "../lab/resolver.ts";
import { Authority } from "../mep/auth/openssl.ts";

const test = suite("autonomy");
const token = "token-of-the-lonely-site-0123";
const address = "100.64.0.1";
const centre = "100.64.0.254";
const domain = "shop.example.com";
let lab: Lab;
let ue: Ue;
let ca = "";
let agent: Process;
let fleetFile = "";
const offramp = join(repository, "bin", "offramp");

async function boot(): Promise<void> {
  agent = lab.machines.start("tof", "offramp", [offramp, "run", "--config", join(lab.machines.directory, "site.yaml")]);
  await agent.said(/"msg":"ready"/, 300_000);
}

/** Somebody at the site itself. */
async function onSite(method: string, path: string, body?: object): Promise<string> {
  const argv = ["curl", "-sSf", "-m", "60", "-X", method, "--cacert", ca, "-H", `authorization: Bearer ${token}`];
  const data = body ? ["-H", "content-type: application/json", "-d", JSON.stringify(body)] : [];
  return (await must(["ip", "netns", "exec", lab.ns("tof"), ...argv, ...data, `https://${address}:8090${path}`]))
    .stdout;
}

const fleet = (verb: string): Promise<Output> =>
  lab.exec("centre", [offramp, "fleet", verb, "--file", fleetFile], { timeoutMs: 300_000 });
const server = async (ip: string): Promise<string> => (await lab.phoneHttp(ue, `http://${ip}/`)).server;

/** Services, names, Mp1 and what is not ours, as a phone and an app see them. */
async function works(): Promise<void> {
  assert.is(await server(internet.www), "edge");
  assert.is(await server(internet.host), "internet");
  const [answer] = await resolve(lab, ue, [{ server: internet.dns, name: domain }]);
  assert.equal([answer?.from, answer?.code, answer?.data], [internet.dns, "NOERROR", [internet.www]]);
  const mp1 = await lab.exec("app", [
    "curl",
    "-sSk",
    "-m",
    "60",
    "-o",
    "/dev/null",
    "-w",
    "%{http_code}",
    "https://10.60.0.1:8091/openapi.json",
  ]);
  assert.is(mp1.stdout, "200", mp1.stderr);
}

test.before(async () => {
  lab = await Lab.create();
  const { directory } = lab.machines;
  await lab.machines.add("centre");
  await lab.machines.wire("centre", "site0", "tof", "mgmt0");
  await lab.machines.ip("centre", `addr add ${centre}/24 dev site0`, "link set site0 down");
  await lab.machines.ip("tof", `addr add ${address}/24 dev mgmt0`);
  const authority = new Authority(directory, "ca");
  ca = authority.own.cert;
  const tls = authority.sign("site", "site", [`IP:${address}`]);
  mkdirSync(join(directory, "state"), { recursive: true });
  writeFileSync(join(directory, "token"), `${token}\n`, { mode: 0o600 });
  const api = { listen: `${address}:8090`, tls, tokenFile: join(directory, "token") };
  const mep = {
    mp1: { listen: "10.60.0.1:8091" },
    dns: { listen: "10.60.0.1:53", upstream: [centre] },
    timing: { ntpServers: [centre] },
  };
  writeFileSync(join(directory, "site.yaml"), stringify(site(lab, { extra: { api, mep } })));
  fleetFile = join(directory, "fleet.yaml");
  const services = [
    { name: "www", serviceIP: internet.www, applicationIP: lab.app.address },
    { name: "other", serviceIP: internet.other, applicationIP: lab.app.address },
  ];
  const sites = [{ name: "lonely", api: `https://${address}:8090` }];
  const defaults = { ca: "ca.pem", token: { file: "token" }, patience: "2s" };
  const given = { fleet: "missed", defaults, sites, waves: [{ rest: true }], soak: "0s", change: { services } };
  writeFileSync(fleetFile, stringify(given));
});
test.after(async () => {
  await agent?.end("SIGTERM", 15_000);
  await lab?.destroy();
});

test("C3: without the centre a site boots, is told its services on the spot, and serves phones, names and apps", async () => {
  const run = await fleet("run");
  assert.is(run.code, 3, run.stdout + run.stderr);
  await boot();
  ue = await lab.attach(0);
  await onSite("POST", "/service", { name: "www", serviceIP: internet.www, applicationIP: lab.app.address });
  await onSite("POST", "/api/v1/dns-rules", { name: "shop", domain, addresses: [internet.www] });
  await works();
});

test("C3: killed and started again without the centre, all of it is there again", async () => {
  await agent.end("SIGKILL");
  assert.is(await server(internet.www), "edge", "the kernel goes on meanwhile");
  await boot();
  await works();
});

test("C3: when the centre is back, the site is caught up with what it missed", async () => {
  assert.is(await server(internet.other), "internet");
  await lab.machines.ip("centre", "link set site0 up");
  const caught = await fleet("catch-up");
  assert.is(caught.code, 0, caught.stdout + caught.stderr);
  assert.is(await server(internet.other), "edge");
  await works();
});

test.run();
