/**
 * What does a new appliance make of its user-data?
 *
 * Everything or nothing: the whole list of files, or the whole list of what is wrong.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ConfigurationError, loadSite } from "../../controlplane/config/load.ts";
import { takeIn } from "../../controlplane/firstboot/apply.ts";
import { readUserData } from "../../controlplane/firstboot/user-data.ts";

const test = suite("firstboot");
let folder: string;
const token = "0123456789abcdef0123456789abcdef";

const good = `#cloud-config
hostname: edge-7
ssh_authorized_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE someone"]
offramp:
  version: 1
  site:
    site: { name: edge-7 }
    dataplanes:
      - { name: s1, access: acc0, core: cor0 }
    apps: { interface: apps0, address: 10.60.0.1/24 }
  adapters: { mgmt0: "52:54:00:00:00:0A", acc0: "52:54:00:00:00:02" }
  management: { address: 192.0.2.7/24, gateway: 192.0.2.1, dns: [192.0.2.53] }
  token: "${token}"
`;

const to = () => ({ etc: join(folder, "etc"), state: join(folder, "state") });
const seed = (text: string, id?: string): string => {
  const at = join(folder, "seed");
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at);
  writeFileSync(join(at, "user-data"), text);
  if (id !== undefined) writeFileSync(join(at, "meta-data"), `instance-id: ${id}\n`);
  return at;
};
const wrong = (text: string): string[] => {
  try {
    readUserData(text);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.errors.map(({ line, path, message }) => `${line} ${path} ${message}`);
  }
};

test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "ofr-firstboot-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

test("C2: a seed becomes files, secrets readable by root alone, and a site.yaml that is good", () => {
  assert.equal(takeIn(seed(good, "one"), to()), { did: "applied", instance: "one" });
  const { etc, state } = to();
  const mode = (name: string): string => (statSync(join(etc, name)).mode & 0o777).toString(8);
  const text = (name: string): string => readFileSync(join(etc, name), "utf8");
  assert.equal(readdirSync(etc).sort(), [
    ...["10-mgmt0.network", "adapters", "authorized_keys", "hostname", "instance", "site.yaml", "token"],
  ]);
  assert.is(text("hostname"), "edge-7\n");
  assert.is(text("adapters"), "mgmt0 52:54:00:00:00:0a\nacc0 52:54:00:00:00:02\n");
  assert.is(text("token"), `${token}\n`);
  assert.is(mode("token"), "600");
  assert.is(
    text("10-mgmt0.network"),
    "[Match]\nName=mgmt0\n\n[Network]\nDHCP=no\nAddress=192.0.2.7/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n",
  );
  assert.is(readFileSync(join(state, "wire"), "utf8"), "ofr-s1 acc0 cor0\n");
  const site = loadSite(join(etc, "site.yaml"));
  assert.is(site.stateDir, "/var/lib/offramp");
  assert.is(`${site.api.host}:${site.api.port}`, "192.0.2.7:8090");
  assert.equal(site.api.tls, { cert: "/etc/offramp/tls.crt", key: "/etc/offramp/tls.key" });
  assert.is(site.api.tokenFile, "/etc/offramp/token");
  assert.not(text("site.yaml").includes(token));
});

test("C2: where the address comes by DHCP, the API listens on all of them", () => {
  const { offramp } = readUserData(good.replace(/management: .*/, "management: { dhcp: true }"));
  assert.is(offramp?.site.api?.listen, "0.0.0.0:8090");
});

test("C2: every error is named with its place, and nothing is applied", () => {
  const bad = good
    .replace("#cloud-config", "# config")
    .replace("hostname: edge-7", "hostname: Edge_7\nruncmd: [reboot]")
    .replace("version: 1", "version: 2")
    .replace("core: cor0", "cor: cor0")
    .replace(`token: "${token}"`, 'token: "short secret"');
  assert.equal(wrong(bad), [
    "2  must begin with the line #cloud-config",
    "2 hostname must be a host name: letters, digits and dashes",
    "3 runcmd is not a setting; remove it",
    "6 offramp.version must be 1 to 1",
    '10 offramp.site.dataplanes[0] lacks "core"; add it',
    '10 offramp.site.dataplanes[0].cor is not a setting; did you mean "core"?',
    "14 offramp.token must be 16 to 4096 characters without blanks",
  ]);
  assert.throws(
    () => takeIn(seed(bad, "one"), to()),
    (error: unknown) => error instanceof ConfigurationError,
  );
  assert.not(existsSync(to().etc));
  assert.not(wrong(bad).join().includes("short secret"), "values of secrets are not told");
});

test("C2: what does not fit together is refused: addresses, adapters, keys, state elsewhere", () => {
  const bad = good
    .replace("address: 192.0.2.7/24", "dhcp: true, address: 192.0.2.7")
    .replace("52:54:00:00:00:02", "52:54:00:00:00:0a")
    .replace("site: { name: edge-7 }", "site: { name: edge-7, stateDir: /srv }");
  const all = wrong(
    `${bad}  tls: { cert: "-----BEGIN CERTIFICATE-----\\nx\\n-----END CERTIFICATE-----", key: "-----BEGIN PRIVATE KEY-----\\nsecretkey\\n-----END PRIVATE KEY-----" }\n`,
  );
  const says = (pattern: RegExp): void =>
    assert.ok(
      all.some((line) => pattern.test(line)),
      `${pattern} in ${all.join("\n")}`,
    );
  says(/offramp\.management has dhcp and address/);
  says(/offramp\.management\.address is no address such as/);
  says(/offramp\.adapters\.acc0 is the adapter mgmt0, too/);
  says(/stateDir must be \/var\/lib\/offramp/);
  says(/offramp\.tls\.cert is no certificate/);
  says(/offramp\.tls\.key is no private key/);
  assert.not(all.join().includes("secretkey"));
});

test("C2: an API that others reach needs a token", () => {
  const all = wrong(good.replace(/ {2}token: .*\n/, ""));
  assert.ok(
    all.some((line) => /offramp\.site\.api\.listen .* needs a token/.test(line)),
    all.join("\n"),
  );
});

test("C2: an instance is taken in once; another instance-id is taken in like the first, and leaves nothing of it", () => {
  takeIn(seed(good, "one"), to());
  const changed = good.replace("hostname: edge-7", "hostname: edge-8");
  assert.equal(takeIn(seed(changed, "one"), to()), { did: "kept", instance: "one", changed: true });
  const { etc } = to();
  assert.is(readFileSync(join(etc, "hostname"), "utf8"), "edge-7\n");
  assert.is(takeIn(seed(changed.replace(/ {2}management: .*\n/, ""), "two"), to()).did, "applied");
  assert.is(readFileSync(join(etc, "hostname"), "utf8"), "edge-8\n");
  assert.not(existsSync(join(etc, "10-mgmt0.network")));
});

test("C2: cut off before the end, it is done again at the next start", () => {
  takeIn(seed(good, "one"), to());
  // The record is written last: without it the files count for nothing.
  rmSync(join(to().etc, "instance"));
  writeFileSync(join(to().etc, "site.yaml"), "half");
  assert.is(takeIn(seed(good, "one"), to()).did, "applied");
  assert.is(loadSite(join(to().etc, "site.yaml")).name, "edge-7");
});

test.run();
