/**
 * Do the programs of docs/examples ask for what their pages say (C1)?
 *
 * Pulumi's mocks instead of an engine, the programs as they are.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as pulumi from "@pulumi/pulumi";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { renderUserData } from "../../infra/appliance/user-data.ts";
import { loadFleet } from "../../infra/fleet/file.ts";

const test = suite("examples");
const examples = fileURLToPath(new URL("../../docs/examples", import.meta.url));

let folder: string;
let settings: Record<string, string>;
let asked: { type: string; name: string; inputs: Record<string, unknown> }[] = [];

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "offramp-test-"));
  const image = join(folder, "appliance.qcow2");
  writeFileSync(image, "an image");
  settings = { image, sha256: createHash("sha256").update("an image").digest("hex") };
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs an example as the stack that is named; returns what it asks for, by type. */
async function run(example: string, stack: string, config: Record<string, string> = {}): Promise<string[]> {
  asked = [];
  const pem = (what: string) => `-----BEGIN ${what}-----\nMIIB\n-----END ${what}-----\n`;
  await pulumi.runtime.setMocks(
    {
      newResource({ type, name, inputs, id }) {
        asked.push({ type, name, inputs });
        const keys = {
          token: "ofr_0123456789abcdefghij",
          certificate: pem("CERTIFICATE"),
          privateKey: pem("PRIVATE KEY"),
        };
        const mac = { macAddress: `02:00:00:00:00:${createHash("sha256").update(name).digest("hex").slice(0, 2)}` };
        return { id: id || `${name}-id`, state: { ...mac, ...inputs, ...(type.endsWith("ApplianceKeys") && keys) } };
      },
      call: ({ inputs }) => ({ ...inputs, id: "external-id" }),
    },
    example,
    stack,
    false,
  );
  const all = Object.entries({ ...settings, ...config }).map(([name, value]) => [`${example}:${name}`, value]);
  pulumi.runtime.setAllConfig(Object.fromEntries(all));
  // Another text is another module: the same program is run for another stack.
  await import(`${join(examples, example, "index.js")}?${stack}-${config.release ?? ""}`);
  await pulumi.runtime.disconnect();
  return asked.map(({ type }) => type.split(":").pop() ?? "").sort();
}

const inputsOf = (type: string) => asked.find((one) => one.type.endsWith(type))?.inputs ?? {};
const kinds = ["Appliance", "DnsRule", "EdgeSite", "TofService", "offramp"];

test("C1: one local site", async () => {
  assert.equal(await run("local-site", "here", { accelerator: "tcg" }), kinds);
  assert.equal(inputsOf("Appliance").place, { qemu: { accelerator: "tcg", wires: {} } });
});

test("C1, C5: three sites from one program, whose networks and ports do not meet; a release changes one thing", async () => {
  const seen = new Set<string>();
  for (const site of ["paris", "lyon", "brest"]) {
    await run("three-sites", site);
    const { place, configuration, name } = inputsOf("Appliance") as Record<string, Record<string, unknown>>;
    for (const one of [place, configuration?.apps, configuration?.dataplanes, name]) seen.add(JSON.stringify(one));
    const before = inputsOf("TofService");
    await run("three-sites", site, { release: "2" });
    assert.is.not(inputsOf("TofService").applicationIP, before.applicationIP);
  }
  assert.is(seen.size, 10, "three of each, and the name is the resource's");
});

test("C5: the roll-out's file is a good one, and Paris comes first", () => {
  const { plan } = loadFleet(join(examples, "three-sites/fleet.yaml"));
  assert.equal(plan.sites.map(({ name }) => name).sort(), ["brest", "lyon", "paris"]);
  assert.equal(plan.waves, [{ sites: ["paris"] }, { rest: true }]);
});

test("C1: one site in an OpenStack, with a seed that names what Neutron chose", async () => {
  const config = {
    flavor: "m1.small",
    externalNetwork: "public",
    access: "a-id",
    core: "c-id",
    administrators: '["192.0.2.0/24"]',
  };
  const made = await run("openstack-site", "edge-1", config);
  for (const kind of ["Instance", "Image", "FloatingIp", "Router", "SecGroup"]) assert.ok(made.includes(kind), kind);
  const { userData } = inputsOf("Instance") as { userData: { value: string } };
  const { hostname, offramp } = parse(userData.value) as { hostname: string; offramp: Record<string, never> };
  const { site, adapters, token, tls, management } = offramp;
  assert.is(renderUserData({ hostname, site, adapters, token, tls, management } as never), userData.value);
});

test("C1: each example has a page, and the page names the program", () => {
  for (const example of ["local-site", "three-sites", "openstack-site"]) {
    assert.match(readFileSync(join(examples, example, "README.md"), "utf8"), "`index.js`");
    assert.match(readFileSync(join(examples, example, "Pulumi.yaml"), "utf8"), `name: ${example}`);
  }
});

test.run();
