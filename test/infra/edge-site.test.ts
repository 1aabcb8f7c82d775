/**
 * What does a program get that says `new EdgeSite` (C1)?
 *
 * Pulumi's own mocks instead of an engine: which resources are asked for, with which inputs, under which names. The OpenStack
 * program is compared whole, with the seed that it gives to the server.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { documentOf, EdgeSite, type EdgeSiteArgs } from "../../infra/edge-site.ts";

const test = suite("edge site");
const golden = new URL("./openstack.golden.txt", import.meta.url);

interface Asked {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
  provider?: string;
}

let asked: Asked[] = [];
let folder: string;
let image: { path: string; sha256: string };
const pem = (what: string) => `-----BEGIN ${what}-----\nMIIB\n-----END ${what}-----\n`;
const made: Record<string, Record<string, unknown>> = {
  Appliance: {
    ...{ identity: "one", api: "https://192.0.2.7:8090", address: "192.0.2.7", token: "ofr_0123456789abcdefghij" },
    ...{ ca: pem("CERTIFICATE"), serverName: "paris", fingerprint: "AA:BB" },
  },
  ApplianceKeys: {
    ...{ token: "ofr_0123456789abcdefghij", certificate: pem("CERTIFICATE"), privateKey: pem("PRIVATE KEY") },
    ...{ serverName: "paris", fingerprint: "AA:BB" },
  },
  AppPackage: { packageId: "pkg-1" },
  FloatingIp: { address: "198.51.100.7" },
};

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "offramp-test-"));
  const path = join(folder, "appliance.qcow2");
  writeFileSync(path, "an image");
  image = { path, sha256: createHash("sha256").update("an image").digest("hex") };
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program, and returns the URNs of what it made. */
async function run(program: () => pulumi.ComponentResource): Promise<pulumi.ComponentResource> {
  asked = [];
  await pulumi.runtime.setMocks(
    {
      newResource({ type, name, inputs, id, provider }) {
        if (type !== "offramp:index:EdgeSite") asked.push({ type, name, inputs, provider });
        const kind = type.split(":").pop() ?? "";
        const mac = kind === "Port" ? { macAddress: `fa:16:3e:00:00:${name.charCodeAt(7).toString(16)}` } : {};
        return { id: id || `${name}-id`, state: { ...inputs, ...made[kind], ...mac } };
      },
      call: ({ token, inputs }) => (token.endsWith("getNetwork") ? { ...inputs, id: "external-id" } : inputs),
    },
    "edge",
    "paris",
    false,
  );
  const resource = program();
  await pulumi.runtime.disconnect();
  // They are asked for beside each other.
  asked.sort((one, other) => Number(`${one.type} ${one.name}` > `${other.type} ${other.name}`) * 2 - 1);
  return resource;
}

const value = <T>(output: pulumi.Output<T>): Promise<T> => new Promise((resolve) => output.apply(resolve));

const configuration = {
  site: { name: "paris" },
  dataplanes: [{ name: "s1", access: "acc0", core: "cor0", uePools: ["10.45.0.0/16"] }],
  mep: { mp1: { listen: "10.64.20.1:8091" }, apps: { egress: "mgmt0" } },
};
const local = (): EdgeSiteArgs => ({
  place: { qemu: { accelerator: "tcg" } },
  image,
  configuration,
  networks: { base: "10.64.0.0/10", number: 5 },
  services: { www: { serviceIP: "203.0.113.80", applicationIP: "10.64.20.10" } },
  apps: { cache: { archive: "cache.zip", running: false } },
  dns: { shop: { domain: "shop.example.com", addresses: ["203.0.113.80"] } },
});

test("C1: a site is an appliance, and what is at it is asked of that appliance", async () => {
  const site = (await run(() => new EdgeSite("paris", local()))) as EdgeSite;
  assert.equal(
    asked.map(({ type, name }) => `${type} ${name}`),
    [
      "offramp:index:AppPackage paris-cache",
      "offramp:index:Appliance paris",
      "offramp:index:DnsRule paris-shop",
      "offramp:index:MecApp paris-cache",
      "offramp:index:TofService paris-www",
      "pulumi:providers:offramp paris",
    ],
  );
  const [, appliance, , app, service, provider] = asked;
  assert.equal(appliance?.inputs.configuration, {
    ...configuration,
    apps: { interface: "apps0", address: "10.64.20.1/24" },
    mep: { ...configuration.mep, apps: { tof: "10.64.21.0/24", platform: "10.64.22.0/24", egress: "mgmt0" } },
  });
  assert.is(provider?.inputs.api, "https://192.0.2.7:8090");
  assert.is(provider?.inputs.site, "one");
  assert.match(service?.provider ?? "", /pulumi:providers:offramp::paris::/);
  assert.equal(service?.inputs, { name: "www", serviceIP: "203.0.113.80", applicationIP: "10.64.20.10" });
  assert.equal([app?.inputs.instanceId, app?.inputs.package, app?.inputs.running], ["cache", "pkg-1", false]);
  assert.ok(await pulumi.isSecret(site.token), "the token is a secret");
  assert.is(await value(site.api), "https://192.0.2.7:8090");
});

test("C1: other options, and other things beside them, rename nothing", async () => {
  const names = async (args: EdgeSiteArgs) => {
    await run(() => new EdgeSite("paris", args));
    return asked.map(({ type, name }) => `${type} ${name}`);
  };
  const before = await names(local());
  const { services, ...others } = local();
  const more = {
    ...others,
    memory: 1024,
    sshKeys: ["ssh-ed25519 AAAA ada"],
    services: { first: {}, ...services, last: {} },
  };
  const after = await names(more as EdgeSiteArgs);
  assert.equal(
    before.filter((one) => !after.includes(one)),
    [],
  );
});

/** What is said of each wrong property. */
async function refused(args: EdgeSiteArgs, name = "paris"): Promise<string[]> {
  let said: string[] = [];
  await run(() => {
    try {
      return new EdgeSite(name, args);
    } catch (error) {
      if (pulumi.InputPropertyError.isInstance(error)) said = [`${error.propertyPath}: ${error.reason}`];
      else if (pulumi.InputPropertiesError.isInstance(error)) {
        said = error.errors.map(({ propertyPath, reason }) => `${propertyPath}: ${reason}`);
      } else throw error;
      return new pulumi.ComponentResource("try:index:Nothing", "nothing");
    }
  });
  return said;
}

test("C1: everything that is wrong is named with its path, and nothing is asked for", async () => {
  const openstack = { flavor: "", externalNetwork: "world", administrators: ["everybody"], colour: "red" };
  const wrong = {
    ...local(),
    place: { openstack },
    image: { path: "x" },
    memory: 1,
    sites: 1,
  } as unknown as EdgeSiteArgs;
  assert.equal((await refused(wrong, "par_is")).map((one) => one.split(":")[0]).sort(), [
    "image",
    "memory",
    "name",
    "place.openstack.administrators[0]",
    "place.openstack.colour",
    "place.openstack.flavor",
    "sites",
  ]);
  assert.match(
    (await refused({ ...local(), networks: { base: "10.64.0.0/10", number: 4096 } })).join(),
    /^networks.number: must be a whole number from 0 to 4095/,
  );
});

test("C1: what a document says itself is never decided otherwise", () => {
  const apps = { interface: "eth3", address: "10.9.0.1/24" };
  const given = { ...configuration, apps, mep: { apps: { tof: "10.9.1.0/24", platform: "10.9.2.0/24" } } };
  assert.equal(documentOf({ configuration: given, networks: { base: "10.64.0.0/10", number: 5 } }), given);
  assert.is(documentOf({ configuration: given }), given);
});

test("C1: the OpenStack program asks for what the golden file says, with the whole seed", async () => {
  const args: EdgeSiteArgs = {
    place: {
      openstack: {
        flavor: "m1.small",
        externalNetwork: "world",
        administrators: ["192.0.2.0/24", "2001:db8::/32"],
        project: "edge",
        networks: { access: "ran-id", core: "epc-id" },
      },
    },
    image,
    configuration,
    sshKeys: ["ssh-ed25519 AAAA ada"],
    services: { www: { serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" } },
  };
  await run(() => new EdgeSite("paris", args));
  const plain = (input: unknown): unknown => {
    if (typeof input !== "object" || input === null) return input;
    if (Array.isArray(input)) return input.map(plain);
    const record = input as Record<string, unknown>;
    // How Pulumi marks secrets.
    if ("value" in record && "4dabf18193072939515e22adb298388d" in record) return { secret: plain(record.value) };
    return Object.fromEntries(Object.entries(record).map(([name, member]) => [name, plain(member)]));
  };
  const text = JSON.stringify(
    asked.map(({ type, name, inputs }) => ({ type, name, inputs: plain(inputs) })),
    undefined,
    2,
  ).replaceAll(folder, "<folder>");
  if (process.argv.includes("--renew")) writeFileSync(golden, `${text}\n`);
  assert.fixture(`${text}\n`, readFileSync(golden, "utf8"));
  const server = asked.find(({ type }) => type.endsWith("instance:Instance"));
  const { secret } = plain(server?.inputs.userData) as { secret: string };
  const seed = parse(secret) as { offramp: { adapters: Record<string, string>; site: unknown } };
  assert.equal(Object.keys(seed.offramp.adapters), ["mgmt0", "acc0", "cor0", "apps0"]);
  assert.equal(seed.offramp.site, configuration);
});

test.run();
