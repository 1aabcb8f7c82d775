// needs pulumi
/**
 * Are stacks refused that give two sites the same phones, open an API, or use an image that nobody has fixed (C1, C4)?
 *
 * The decisions as pure functions, and the pack as it is used: `pulumi preview --policy-pack`, the real engine. Nothing is asked of
 * a site in a preview, so none is there.
 */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SiteDocument } from "../../infra/appliance/document.ts";
import { openApis, unfixedImages } from "../../infra/policy/closed.ts";
import { type Seen, siteOf } from "../../infra/policy/documents.ts";
import { overlaps } from "../../infra/policy/ranges.ts";
import { DnsRule, Provider, SiteConfiguration } from "../../infra/resources.ts";
import { refusal } from "./engine.ts";
import { PulumiWorkspace, repository } from "./pulumi.ts";

const test = suite("policies");
const hash = "ab".repeat(32);

const seen = (type: string, name: string, props: object): Seen => ({
  type,
  name,
  urn: `urn:pulumi:paris::try::${type}::${name}`,
  props: { ...props },
});
const configuration = (name: string, props: object): Seen =>
  seen("offramp:index:SiteConfiguration", name, { configuration: { site: { name }, ...props } });
const pools = (...uePools: string[]) => ({ dataplanes: [{ name: "s1", uePools }] });
const between = (...resources: Seen[]): string[] =>
  overlaps(resources.flatMap((one) => siteOf(one) ?? [])).map(({ message }) => message);

test("C1: UE ranges of two sites that overlap are named with both places; those of one site are its own affair", () => {
  const paris = configuration("paris", pools("10.45.0.0/16", "2001:db8:45::/48"));
  assert.equal(between(paris, configuration("lyon", pools("10.46.0.0/16", "2001:db8:46::/48"))), []);
  assert.equal(between(paris, configuration("lyon", pools("10.46.0.0/16", "10.45.128.0/17"))), [
    "configuration.dataplanes[0].uePools[0] of site paris is 10.45.0.0/16, which overlaps 10.45.128.0/17 (configuration.dataplanes[0].uePools[1]) of site lyon: give each site UE addresses of its own",
  ]);
  assert.is(between(paris, configuration("lyon", pools("10.0.0.0/8", "2001:db8::/32"))).length, 2, "both families");
  assert.equal(between(paris, configuration("paris", pools("10.45.0.0/16"))), [], "an appliance and its configuration");
  const open = configuration("open", { dataplanes: "04da6b54-80e4-46f7-96ec-b56ff0331ba9" });
  assert.equal(between(paris, open), [], "not known yet");
});

test("C1: a server of OpenStack is judged by the seed that it boots with", () => {
  const userData =
    "#cloud-config\nofframp:\n  site:\n    site: { name: lyon }\n    dataplanes: [{ uePools: [10.45.0.0/24] }]\n";
  const server = seen("openstack:compute/instance:Instance", "lyon", { userData, imageId: "1" });
  assert.match(
    between(configuration("paris", pools("10.45.0.0/16")), server).join(),
    / \(userData\.dataplanes\[0\]\.uePools\[0\]\) of site lyon/,
  );
  assert.equal(siteOf(seen("openstack:compute/instance:Instance", "x", { userData: "#!/bin/sh" })), undefined);
});

test("C1: an API that is open is named, with what to do; one that is closed, or on loopback, is not", () => {
  const listen = "192.0.2.7:8090";
  const found = (api: object, more: object = {}) => openApis(configuration("paris", { api, ...more }));
  assert.equal(found({ listen }), [
    "configuration.api.listen is 192.0.2.7:8090 without TLS: add configuration.api.tls, or listen on 127.0.0.1",
    "configuration.api.listen is 192.0.2.7:8090 and nobody has to prove who they are: add configuration.api.tokenFile",
  ]);
  const tls = { cert: "a", key: "b" };
  assert.equal(found({ listen, tls, tokenFile: "/etc/offramp/token" }), []);
  assert.equal(found({ listen, tls: { ...tls, clientCa: "c" } }), []);
  assert.equal(found({ listen: "127.0.0.1:8090" }), []);
  assert.equal(found({ listen: "[::1]:8090" }), []);
  assert.is(found({ listen: "0.0.0.0:8090" }).length, 2);
  assert.match(found({ loopback: "admin" }).join(), /api\.loopback is admin: .*: set it to none/);
  assert.match(
    found({}, { mep: { mp1: { listen, insecure: true } } }).join(),
    /mep\.mp1\.insecure is true: .*leave it out/,
  );
  const appliance = (props: object) => openApis(seen("offramp:index:Appliance", "paris", props));
  const loopback = { configuration: { api: { loopback: "admin" } } };
  assert.equal(appliance({ place: { qemu: {} }, ...loopback }), [], "nobody else is on that machine");
  assert.is(appliance({ place: { ssh: {} }, ...loopback }).length, 1);
  const provider = (api: string) => openApis(seen("pulumi:providers:offramp", "paris", { api }));
  assert.match(provider("http://edge-7.example.net:8090").join(), /is http:.*: use https/);
  for (const good of ["https://edge-7.example.net:8090", "http://127.0.0.1:8090", "http://localhost:8090"]) {
    assert.equal(provider(good), [], good);
  }
});

test("C1: an image or package without a hash is named; one with it is not", () => {
  const found = (type: string, props: object) => unfixedImages(seen(type, "x", props));
  const appliance = "offramp:index:Appliance";
  assert.match(
    found(appliance, { image: { path: "a.qcow2" } }).join(),
    /image\.sha256 of a\.qcow2 is missing: .*SHA256SUMS/,
  );
  assert.equal(found(appliance, { image: { path: "a.qcow2", sha256: hash } }), []);
  assert.equal(found(appliance, { place: { ssh: {} } }), [], "it brings its own");
  assert.is(found("offramp:index:AppPackage", { archive: "a.zip" }).length, 1);
  assert.equal(found("offramp:index:AppPackage", { archive: "a.zip", sha256: hash }), []);
  assert.is(found("openstack:images/image:Image", { verifyChecksum: false }).length, 1);
  assert.is(found("openstack:compute/instance:Instance", { imageName: "debian" }).length, 1);
});

test("C1: the engine refuses a stack that breaks them, each with its resource, and lets a good one pass", async () => {
  const workspace = await PulumiWorkspace.create({ policies: true });
  try {
    let second: SiteDocument;
    const site = (name: string, uePool: string): SiteDocument => ({
      site: { name },
      dataplanes: [{ name: "s1", access: "acc0", core: "cor0", uePools: [uePool] }],
    });
    const stack = await workspace.stack("two", async () => {
      const provider = new Provider("both", { api: "https://edge.example.net:8090", token: "some-secret-token" });
      new SiteConfiguration("paris", { configuration: site("paris", "10.45.0.0/16") }, { provider });
      new SiteConfiguration("lyon", { configuration: second }, { provider });
      new DnsRule("shop", { domain: "shop.example", addresses: ["10.60.0.10"] }, { provider });
    });
    const policyPacks = [join(repository, "infra", "policy")];
    second = { ...site("lyon", "10.45.7.0/24"), mep: { mp1: { listen: "10.60.0.1:8091", insecure: true } } };
    const why = await refusal(stack.preview({ policyPacks }));
    assert.match(why, /\[mandatory\] +ue-ranges/);
    assert.match(why, /uePools\[0\] of site paris is 10\.45\.0\.0\/16, which overlaps 10\.45\.7\.0\/24/);
    assert.match(why, /\[mandatory\] +closed-apis/);
    assert.match(why, /configuration\.mep\.mp1\.insecure is true/);
    second = site("lyon", "10.46.0.0/16");
    const { changeSummary } = await stack.preview({ policyPacks });
    assert.is(changeSummary.create, 5);
  } finally {
    workspace.remove();
  }
});

test.run();
