/**
 * Is what an appliance is made from decided as it should be, before anything is made (C1)?
 *
 * Pure: addresses, the seed, the arguments of QEMU, libvirt's domain. Golden file: a sentence and the whole text of each;
 * `node --import tsx test/infra/appliance.test.ts --renew` writes it again.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { InputPropertiesError, InputPropertyError } from "@pulumi/pulumi";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { readUserData } from "../../controlplane/firstboot/user-data.ts";
import { macAddresses, siteNetworks } from "../../infra/appliance/addresses.ts";
import { makeCertificate } from "../../infra/appliance/keys.ts";
import { domainXml, networkXml } from "../../infra/appliance/libvirt-xml.ts";
import { placeProblems } from "../../infra/appliance/places.ts";
import { qemuArguments } from "../../infra/appliance/qemu-arguments.ts";
import { siteYaml } from "../../infra/appliance/ssh.ts";
import { renderMetaData, renderUserData, type UserData } from "../../infra/appliance/user-data.ts";
import { unknownValue } from "../../infra/provider/kind.ts";
import { appliance } from "../../infra/provider/kinds/appliance.ts";

const test = suite("appliance");
const golden = new URL("./appliance.golden.txt", import.meta.url);

const adapters = {
  mgmt0: "52:54:00:00:00:01",
  acc0: "52:54:00:00:00:02",
  cor0: "52:54:00:00:00:03",
  apps0: "52:54:00:00:00:04",
};
const site = {
  site: { name: "edge-7" },
  dataplanes: [{ name: "s1", access: "acc0", core: "cor0", uePools: ["10.45.0.0/16"] }],
  apps: { interface: "apps0", address: "10.60.0.1/24" },
};
const token = "ofr_0123456789abcdefghij";
const tls = {
  cert: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
  key: "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
};
const certificate = await makeCertificate("edge-7", ["192.0.2.7"]);
const least: UserData = { hostname: "edge-7", site, token };
const full: UserData = {
  ...least,
  sshAuthorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== ada"],
  adapters: { ...adapters, apps0: "52:54:00:00:00:0A" },
  management: { address: "192.0.2.7/24", gateway: "192.0.2.1", dns: ["192.0.2.53"] },
  tls,
};

test("C1: the seed, QEMU's arguments and libvirt's documents are what the golden file says", () => {
  const machine = { name: "edge-7", memory: 512, vcpus: 2, adapters };
  const qemu = { ...machine, folder: "/srv/edge,7", ports: { api: 18090, ssh: 18022 }, guest: "10.0.2.15" };
  const udp = { local: "127.0.0.1:5001", remote: "127.0.0.1:5002" };
  const parts: Record<string, string> = {
    "the least that a seed can be": renderUserData(least),
    "all that a seed can be": renderUserData(full),
    "its meta-data": renderMetaData("edge-7-0123", "edge-7"),
    "QEMU, emulating, on taps and a UDP tunnel": qemuArguments({
      ...qemu,
      accelerator: "tcg",
      wires: { access: { tap: "acc" }, core: { udp }, apps: { tap: "apps", namespace: "lab", bridge: "br0" } },
    }).join("\n"),
    "QEMU on KVM, without wires, and only two adapters": qemuArguments({
      ...qemu,
      adapters: { mgmt0: adapters.mgmt0, apps0: adapters.apps0 },
      accelerator: "kvm",
      wires: {},
    }).join("\n"),
    "libvirt, its own networks but for the core": domainXml({
      ...machine,
      driver: "kvm",
      pool: "default",
      wires: { core: { bridge: "br-core" } },
    }),
    "libvirt, emulating, a console that is kept, names with marks": domainXml({
      ...machine,
      name: "a&b",
      driver: "qemu",
      pool: "<p>",
      log: "/var/log/a&b.log",
      wires: { management: { network: "m" }, access: { udp }, core: { network: "c" }, apps: { network: "a" } },
    }),
    "a network of libvirt's": networkXml("edge-7-access"),
    "site.yaml on a machine that is there already": siteYaml({ site, tls }),
  };
  const text = Object.entries(parts)
    .map(([sentence, part]) => `# ${sentence}\n${part}\n`)
    .join("\n");
  if (process.argv.includes("--renew")) writeFileSync(golden, text);
  assert.fixture(text, readFileSync(golden, "utf8"));
});

/** What is said of each wrong property. */
function refused(parts: UserData): Record<string, string> {
  try {
    renderUserData(parts);
  } catch (error) {
    assert.ok(InputPropertiesError.isInstance(error), String(error));
    return Object.fromEntries(error.errors.map(({ propertyPath, reason }) => [propertyPath, reason]));
  }
  throw new Error("it was not refused");
}

test("C1: a seed that is wrong is refused whole, and everything that is wrong is named with its path", () => {
  const wrong = refused({
    ...full,
    hostname: "edge 7",
    sshAuthorizedKeys: ["AAAA"],
    adapters: { mgmt0: adapters.mgmt0, acc0: adapters.mgmt0, cor0: "53:54:00:00:00:01", eth7: "x" } as object,
    management: { address: "192.0.2.7", gateway: "2001:db8::1", dns: ["here"] },
    token: "short",
    tls: { cert: "no", key: "no" },
    site: { dataplanes: [] } as never,
    password: "x",
  } as UserData);
  assert.equal(Object.keys(wrong).sort(), [
    "adapters.acc0",
    "adapters.cor0",
    "adapters.eth7",
    "hostname",
    "management.address",
    "management.dns[0]",
    "management.gateway",
    "password",
    "site.dataplanes",
    "site.site.name",
    "sshAuthorizedKeys[0]",
    "tls.cert",
    "tls.key",
    "token",
  ]);
  assert.is(wrong["adapters.acc0"], "52:54:00:00:00:01 is that of mgmt0");
  assert.not.match(JSON.stringify(wrong), /short/, "a secret is not said again");
});

test("C1: what is in a seed is read as it was meant, whatever it holds", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 }).filter((one) => !/[\ud800-\udfff]/.test(one));
  fc.assert(
    fc.property(text, fc.array(text), (name, protect) => {
      const document = { ...site, site: { name }, protect };
      const read = parse(renderUserData({ ...least, site: document })) as { offramp: { site: unknown } };
      assert.equal(read.offramp.site, document);
    }),
  );
});

test("C1, C2: the appliance's first boot reads what is rendered here, and refuses what it refuses", () => {
  const { cert, key } = certificate;
  for (const parts of [least, { ...full, tls: { cert, key } }]) {
    const { hostname, keys, offramp } = readUserData(renderUserData(parts));
    assert.is(hostname, "edge-7");
    assert.equal(keys, parts.sshAuthorizedKeys ?? []);
    assert.is(offramp?.token, token);
    assert.equal(offramp?.site.dataplanes, site.dataplanes);
    assert.equal(Object.keys(offramp?.adapters ?? {}), Object.keys(parts.adapters ?? {}));
  }
  const document = { ...site, dataplanes: [{ name: "s1" }] };
  assert.throws(() => readUserData(renderUserData({ ...least, site: document })), /offramp\.site\.dataplanes/);
});

test("C1: MAC addresses follow from the name alone, are locally administered, and differ", () => {
  assert.equal(macAddresses("edge-7"), macAddresses("edge-7"));
  const seen = new Set<string>();
  for (let index = 0; index < 2_500; index++) {
    for (const mac of Object.values(macAddresses(`edge-${index}`))) {
      assert.match(mac, /^02(:[0-9a-f]{2}){5}$/);
      seen.add(mac);
    }
  }
  assert.is(seen.size, 10_000);
});

test("C1: networks of many sites never overlap, and lie in what they were given", () => {
  const range = (network: string) => {
    const [address, length] = ipaddr.parseCIDR(network);
    const first = address.toByteArray().reduce((value, octet) => value * 256 + octet, 0);
    return { first, last: first + 2 ** (32 - length) - 1 };
  };
  const base = fc.tuple(fc.nat({ max: 2 ** 32 - 1 }), fc.integer({ min: 1, max: 22 })).map(([value, length]) => {
    const first = Math.floor(value / 2 ** (32 - length)) * 2 ** (32 - length);
    return { text: `${[24, 16, 8, 0].map((shift) => (first >>> shift) & 255).join(".")}/${length}`, length };
  });
  fc.assert(
    fc.property(base, fc.nat(), fc.nat(), ({ text, length }, one, other) => {
      const most = 2 ** (22 - length);
      const numbers = [...new Set([one % most, other % most])];
      const networks = numbers.map((number) => siteNetworks(text, number));
      const ranges = networks.flatMap(({ apps, tof, platform }) => [apps, tof, platform].map(range));
      const whole = range(text);
      for (const { first, last } of ranges) assert.ok(whole.first <= first && last <= whole.last);
      const sorted = ranges.sort((a, b) => a.first - b.first);
      sorted.slice(1).forEach((next, index) => {
        assert.ok((sorted[index]?.last ?? 0) < next.first, "two overlap");
      });
      for (const { apps, appliance: own } of networks)
        assert.is(range(apps).first + 1, range(own.replace("/24", "/32")).first);
    }),
  );
});

test("C1: a number or a base that no network follows from is refused by name", () => {
  for (const [base, number, path] of [
    ["10.64.0.0/10", 4096, "number"],
    ["10.64.0.0/10", -1, "number"],
    ["10.64.0.1/10", 1, "base"],
    ["10.64.0.0/23", 1, "base"],
    ["here", 1, "base"],
  ] as const) {
    try {
      siteNetworks(base, number);
      assert.unreachable(`${base} ${number}`);
    } catch (error) {
      assert.ok(InputPropertyError.isInstance(error), String(error));
      assert.is(error.propertyPath, path);
    }
  }
});

const image = { path: "/srv/offramp.qcow2", sha256: "0".repeat(64) };

test("C1: an appliance's inputs are filled in, and what is not known yet is let pass", async () => {
  const { inputs, failures } = await appliance.check({ place: { qemu: {} }, image, configuration: site }, "edge-7");
  assert.equal(failures, []);
  assert.is(inputs.name, "edge-7");
  assert.equal(inputs.adapters, macAddresses("edge-7"));
  const open = { place: { qemu: { folder: unknownValue } }, image: unknownValue, configuration: unknownValue };
  assert.equal(
    (await appliance.check({ ...open, token: unknownValue, sshKeys: [unknownValue] }, "edge-7")).failures,
    [],
  );
});

test("C1, C2: an image without a hash, and everything else that is wrong, is named with its path", async () => {
  const { failures } = await appliance.check(
    {
      place: { qemu: { accelerator: "fast", ports: { api: 70_000 }, wires: { left: {}, core: { tap: "a/b" } } } },
      image: { path: "x.qcow2" },
      memory: 64,
      configuration: { site: { name: "edge-7" } },
      colour: "red",
    },
    "edge_7",
  );
  assert.equal(failures.map(({ property }) => property).sort(), [
    "colour",
    "configuration.dataplanes",
    "image.sha256",
    "memory",
    "name",
    "place.qemu.accelerator",
    "place.qemu.ports.api",
    "place.qemu.wires.core.tap",
    "place.qemu.wires.left",
  ]);
  assert.match(failures.find(({ property }) => property === "image.sha256")?.reason ?? "", /SHA256SUMS/);
  const ssh = { host: "-oProxyCommand=x", hostKey: "no", package: { url: "ftp://x", sha256: "1" } };
  assert.equal(
    placeProblems({ ssh }).map(({ path }) => path),
    ["place.ssh.host", "place.ssh.hostKey", "place.ssh.package.url", "place.ssh.package.sha256"],
  );
  assert.match(placeProblems({ qemu: {}, ssh: {} })[0]?.reason ?? "", /must be one of \{ qemu: \{ … \} \}, \{ libvirt/);
});

test.run();
