/** Does a site.yaml become the configuration it means, and does every error have its place and its advice? */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ConfigurationError, loadSite, parseSite } from "../../controlplane/config/load.ts";
import { siteSchema } from "../../controlplane/config/schema.ts";

const example = new URL("../../docs/site.example.yaml", import.meta.url).pathname;

/** The errors of a file, as they are printed. */
function errorsOf(text: string): string[] {
  try {
    parseSite(text);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message.split("\n");
    throw error;
  }
  return [];
}

const site = (dataplanes: string, rest = "") => `site: { name: t, stateDir: /tmp/t }
dataplanes:
${dataplanes}
${rest}`;
const one = "  - { name: s1, access: acc0, core: cor0 }";

test("the example is a valid site, and gives the defaults it shows", () => {
  const config = loadSite(example);
  const bare = parseSite(site("  - { name: s1, access: acc0, core: cor0 }"));
  assert.equal(config.backend.limits, bare.backend.limits);
  assert.equal({ ...config.api }, { host: "127.0.0.1", port: 8090, loopback: true, open: true });
  assert.equal(bare.api, config.api);
  assert.equal(bare.backend.dataplanes[0], {
    name: "s1",
    plugin: "gtp",
    backend: "ebpf",
    access: "acc0",
    core: "cor0",
    accessPeers: [],
    corePeers: [],
    uePools: [],
    idleTimeout: 300,
    interface: "s1u",
    mode: "offload",
  });
  assert.equal(config.backend.dataplanes[0]?.pinger, { target: "203.0.113.10", intervalMs: 200, giveUpMs: 5000 });
});

const wifi = (settings: string) => `site: { name: x, stateDir: /s }
dataplanes:
  - name: s1
    access: acc0
    core: cor0
    uePools: [10.45.0.0/16]
  - name: wifi
    plugin: ethernet
${settings}`;

test("A14: a data plane of plain Ethernet beside one of tunnels", () => {
  const config = parseSite(wifi("    access: wifi0\n    core: lan0\n    uePools: [10.80.0.0/16]\n"));
  const [, plane] = config.backend.dataplanes;
  assert.is(plane?.plugin, "ethernet");
  assert.equal([plane?.access, plane?.core, plane?.uePools], ["wifi0", "lan0", ["10.80.0.0/16"]]);
});

test("A14: what only tunnels have a use for is refused on Ethernet, each by name", () => {
  assert.equal(
    errorsOf(
      wifi(`    adapter: wifi0
    accessPeers: [198.18.1.0/24]
    corePeers: [198.18.2.0/24]
    pinger: { target: 203.0.113.10 }
    interface: n3
`),
    ),
    [
      "site.yaml:9:5: dataplanes[1].adapter does not go with plugin ethernet: one shared adapter needs tunnels to tell its sides apart: give access and core",
      "site.yaml:10:5: dataplanes[1].accessPeers does not go with plugin ethernet: stations are not configured; uePools says whose addresses are learnt",
      "site.yaml:11:5: dataplanes[1].corePeers does not go with plugin ethernet: stations are not configured; uePools says whose addresses are learnt",
      "site.yaml:12:5: dataplanes[1].pinger does not go with plugin ethernet: a client's own frames show the way back",
      "site.yaml:13:5: dataplanes[1].interface does not go with plugin ethernet: there is no tunnel",
    ],
  );
});

test("A15: pools that overlap and adapters that are shared between data planes are refused with both names", () => {
  assert.equal(
    errorsOf(
      wifi(`    access: acc0
    core: lan0
    uePools: [10.45.7.0/24]
`),
    ),
    [
      'site.yaml:9:13: dataplanes[1].access "acc0" belongs to data plane s1',
      "site.yaml:11:15: dataplanes[1].uePools[0] overlaps 10.45.0.0/16 of data plane s1: a UE lives on one",
    ],
  );
});

test("the external contract of DESIGN.md is accepted as it stands there, mep included", () => {
  const config = parseSite(`
site: { name: lab-1, stateDir: /var/lib/offramp }
dataplanes:
  - name: s1                     # any number; names are unique
    plugin: gtp                  # gtp | ethernet
    backend: ebpf                # ebpf | ovs
    access: acc0                 # adapter toward the base stations
    core: cor0                   # adapter toward the core
    accessPeers: [198.18.1.0/24] # optional inline: only these may teach
    corePeers: [198.18.2.0/24]
    uePools: [10.45.0.0/16]      # optional: only these are learnt
    idleTimeout: 300s
    pinger: { target: 203.0.113.10, interval: 200ms, giveUp: 5s }   # target6 for IPv6
    interface: s1u
    mode: offload                # offload | observe | bypass
limits: { sessions: 65536, flows: 262144, rules: 16384 }
protect: [198.18.0.0/15, 192.0.2.0/24]
apps: { interface: apps0, address: 10.60.0.1/24 }
api: { listen: 127.0.0.1:8090 }
mep: { mp1: { listen: 10.60.0.1:8091 }, dns: { listen: 10.60.0.1:53, upstream: [203.0.113.53] } }
`);
  assert.equal(config.protect, ["198.18.0.0/15", "192.0.2.0/24", "10.60.0.1/32"], "the appliance's own is protected");
});

test("B7: networks of app instances are two, of IPv4, and nobody else's", () => {
  const at = (apps: string) => `site: { name: a, stateDir: /var/lib/offramp }
dataplanes: [{ name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16] }]
apps: { interface: apps0, address: 10.60.0.1/24 }
mep: { apps: ${apps} }
`;
  const config = parseSite(at("{ tof: 10.61.0.0/24, platform: 10.62.0.0/24, egress: wan0 }"));
  assert.equal(config.backend.apps?.instances, { tof: "10.61.0.0/24", platform: "10.62.0.0/24" });
  assert.equal(errorsOf(at("{ tof: 10.45.7.0/24, platform: 10.60.0.0/16, egress: acc0 }")), [
    "site.yaml:4:21: mep.apps.tof overlaps 10.45.0.0/16 of dataplanes[0].uePools: give a prefix that nobody has",
    "site.yaml:4:45: mep.apps.platform overlaps 10.60.0.0/24 of the apps' network: give a prefix that nobody has",
    'site.yaml:4:67: mep.apps.egress "acc0" is a data plane\'s: the world is reached another way',
  ]);
  assert.equal(errorsOf(at("{ tof: 10.61.0.0/30, platform: '2001:db8::/64' }")), [
    "site.yaml:4:21: mep.apps.tof must be an IPv4 prefix of 16 to 29 bits",
    "site.yaml:4:45: mep.apps.platform must be an IPv4 prefix of 16 to 29 bits",
  ]);
  assert.equal(errorsOf(at("{ tof: 10.61.0.0/24, platform: 10.61.0.0/25 }").replace(/^apps.*\n/m, "")), [
    'site.yaml:3:14: mep.apps needs "apps": instances reach the platform at its address',
    "site.yaml:3:45: mep.apps.platform overlaps 10.61.0.0/24 of mep.apps.tof: give a prefix that nobody has",
  ]);
});

test("all errors are given at once, each with line and column and what to do", () => {
  assert.equal(
    errorsOf(`site: { name: lab 1, stateDir: var }
dataplanes:
  - name: s1
    acces: acc0
    core: cor0
    uePools: [10.45.0.1/16, 7]
    idleTimeout: 300
    pinger: { target: 2001:db8::1, giveup: 5s }
  - name: s1
    plugin: ethernet
    mode: sleep
limits: { sessions: 3 }
api: { listen: 0.0.0.0:80, token: x }
apps:
`),
    [
      "site.yaml:1:15: site.name must be 1 to 32 letters, digits, dots, dashes or underscores",
      "site.yaml:1:32: site.stateDir must be an absolute path",
      'site.yaml:3:5: dataplanes[0] lacks "access"; add it',
      'site.yaml:4:5: dataplanes[0].acces is not a setting; did you mean "access"?',
      'site.yaml:6:15: dataplanes[0].uePools[0] "10.45.0.1/16" has bits set beyond its mask: write 10.45.0.0/16, or the address alone',
      "site.yaml:6:29: dataplanes[0].uePools[1] must be text; write it in quotes",
      "site.yaml:7:18: dataplanes[0].idleTimeout must be a duration such as 200ms, 300s, 5m or 1h",
      "site.yaml:8:23: dataplanes[0].pinger.target must be an IPv4 address",
      'site.yaml:8:36: dataplanes[0].pinger.giveup is not a setting; did you mean "giveUp"?',
      'site.yaml:9:5: dataplanes[1] lacks its adapters: add "access" and "core", or "adapter" where one is shared',
      "site.yaml:9:11: dataplanes[1].name is taken by dataplanes[0]; names are unique",
      "site.yaml:11:11: dataplanes[1].mode must be one of offload, observe, bypass",
      "site.yaml:12:21: limits.sessions must be 16 to 16777216",
      'site.yaml:13:16: api.listen is not loopback, so it needs TLS: add "tls" with cert and key, or listen on 127.0.0.1',
      "site.yaml:13:35: api.token must not have fewer than 16 characters",
      "site.yaml:14:6: apps is empty, but must be a group of settings",
    ],
  );
});

const refused: [string, string, RegExp][] = [
  [
    "one adapter for both sides",
    site("  - { name: s1, access: a, core: a }"),
    /^site.yaml:3:34: .*access adapter as well/,
  ],
  ["A2: a shared adapter without peers", site("  - { name: s1, adapter: a }"), /accessPeers must name the peers/],
  [
    "A2: a shared adapter with overlapping peers",
    site("  - { name: s1, adapter: a, accessPeers: [198.18.0.0/16], corePeers: [198.18.2.0/24] }"),
    /overlaps accessPeers 198.18.0.0\/16/,
  ],
  [
    "a shared adapter and two of its own",
    site("  - { name: s1, adapter: a, access: b, core: c }"),
    /does not go with adapter/,
  ],
  [
    "an adapter of two data planes",
    site("  - { name: s1, access: a, core: b }\n  - { name: s2, access: b, core: c }"),
    /belongs to data plane s1/,
  ],
  [
    "overlapping pools of two data planes",
    site(
      "  - { name: s1, access: a, core: b, uePools: [10.0.0.0/8] }\n  - { name: s2, access: c, core: d, uePools: [10.9.0.0/16] }",
    ),
    /^site.yaml:4:47: .*overlaps 10.0.0.0\/8 of data plane s1/,
  ],
  ["ovs", site("  - { name: s1, access: a, core: b, backend: ovs }"), /"ovs" is not in this release; use ebpf/],
  [
    "the apps' adapter on the wire",
    site(one, "apps: { interface: cor0, address: 10.0.0.1/24 }"),
    /is the apps' adapter/,
  ],
  [
    "an apps address without its network",
    site(one, "apps: { interface: x, address: 10.0.0.1 }"),
    /lacks the prefix length/,
  ],
  [
    "the network itself as address",
    site(one, "apps: { interface: x, address: 10.0.0.0/24 }"),
    /address of the network itself/,
  ],
  [
    "address6 that is IPv4",
    site(one, "apps: { interface: x, address: 10.0.0.1/24, address6: 10.0.0.2/24 }"),
    /must be an IPv6/,
  ],
  [
    "a pinger without a target",
    site("  - { name: s1, access: a, core: b, pinger: { interval: 1s } }"),
    /lacks "target"/,
  ],
  [
    "target6 that is IPv4",
    site("  - { name: s1, access: a, core: b, pinger: { target6: 10.0.0.1 } }"),
    /must be an IPv6/,
  ],
  [
    "impatience",
    site("  - { name: s1, access: a, core: b, pinger: { target: 10.0.0.1, giveUp: 100ms } }"),
    /not be shorter/,
  ],
  ["an octal address", site(one, "protect: [010.0.0.0/8]"), /without leading zeros/],
  ["protecting everything", site(one, "protect: [0.0.0.0/0]"), /protects everything/],
  ["a token without TLS", site(one, 'api: { listen: "192.0.2.1:80", token: aaaaaaaaaaaaaaaaaaaa }'), /needs TLS/],
  ["TLS without a token", site(one, 'api: { listen: "[::]:80", tls: { cert: c, key: k } }'), /needs a token/],
  [
    "an interval of heartbeats outside its bounds",
    site(one, "mep: { liveness: { shortest: 10s, usual: 5s } }"),
    /mep.liveness.usual must not be shorter/,
  ],
  ["half a second between heartbeats", site(one, "mep: { liveness: { shortest: 500ms } }"), /must be whole seconds/],
  [
    "a transport twice",
    site(
      one,
      `mep: { transports: [${'{ id: bus, name: n, type: MB_PUBSUB, protocol: MQTT, version: "5", uris: ["mqtt://10.60.0.9/"] },'.repeat(2)}] }`,
    ),
    /transports\[1\].id is taken by transports\[0\]/,
  ],
  [
    "a transport with the id of the platform's",
    site(one, 'mep: { transports: [{ id: mp1-rest, name: n, type: RPC, protocol: p, version: "1", uris: [x] }] }'),
    /is the platform's own transport/,
  ],
  ["two tokens", site(one, "api: { token: aaaaaaaaaaaaaaaaaaaa, tokenFile: /t }"), /does not go with token/],
  [
    "an open address where loopback is admin",
    site(one, 'api: { listen: "192.0.2.1:80", tls: { cert: c, key: k }, tokenFile: /t, loopback: admin }'),
    /api.loopback is for an API that listens on loopback/,
  ],
  ["a role for loopback", site(one, "api: { loopback: viewer }"), /api.loopback must be one of/],
  ["a listen address that is a name", site(one, "api: { listen: localhost:80 }"), /is not an IP address/],
  [
    "an adapter name that is too long",
    site("  - { name: s1, access: a234567890123456, core: b }"),
    /1 to 15 characters/,
  ],
  ["no data plane", "site: { name: t, stateDir: /t }\ndataplanes: []", /dataplanes must not have fewer than 1/],
  ["a key twice", `${site(one)}site: 1`, /Map keys must be unique/],
  ["no mapping", "- 1", /must hold settings/],
  ["nothing", "", /^site.yaml:1:1: must hold settings/],
  ["YAML that is none", "site: [\n a: b", /^site.yaml:2:/],
  [
    "a bomb of aliases",
    `a: &a [1,1]\n${[..."bcdefghijk"].map((c, i) => `${c}: &${c} [${Array(9).fill(`*${"abcdefghij"[i]}`)}]`).join("\n")}`,
    /alias/i,
  ],
];
for (const [sentence, text, expected] of refused) {
  test(`refused: ${sentence}`, () => assert.match(errorsOf(text).join("\n"), expected));
}

const accepted: [string, string][] = [
  [
    "a shared adapter with its peers (A2)",
    site("  - { name: s1, adapter: a, accessPeers: [198.18.1.0/24], corePeers: [198.18.2.1] }"),
  ],
  [
    "an open address with TLS and a token",
    site(one, 'api: { listen: "0.0.0.0:443", tls: { cert: c, key: k }, tokenFile: /t }'),
  ],
  [
    "an open address with TLS and client certificates",
    site(one, 'api: { listen: "[::]:443", tls: { cert: c, key: k, clientCa: a } }'),
  ],
  [
    "an open address with TLS, and users only (C6)",
    site(one, 'api: { listen: "[::]:443", tls: { cert: c, key: k }, loopback: none }'),
  ],
  ["IPv6 loopback", site(one, 'api: { listen: "[::1]:8090" }')],
  ["mode: off is text, as in bypass: no YAML 1.1 booleans", site("  - { name: off, access: on, core: no }")],
  [
    "single addresses as prefixes",
    site("  - { name: s1, access: a, core: b, accessPeers: [198.18.1.1, 2001:DB8::1] }"),
  ],
];
for (const [sentence, text] of accepted) {
  test(`accepted: ${sentence}`, () => assert.equal(errorsOf(text), []));
}

test("what is accepted is canonical afterwards", () => {
  const config = parseSite(site("  - { name: s1, access: a, core: b, accessPeers: [198.18.1.1, 2001:DB8:0::1] }"));
  assert.equal(config.backend.dataplanes[0]?.accessPeers, ["198.18.1.1/32", "2001:db8::1/128"]);
});

test("the JSON schema knows every setting that the example shows, and refuses others", () => {
  const text = JSON.stringify(siteSchema);
  assert.is(JSON.parse(text).additionalProperties, false);
  for (const [, key] of readFileSync(example, "utf8")
    .replace(/#.*/g, "")
    .matchAll(/(\w+):/g)) {
    if (key && !/^\d/.test(key)) assert.ok(text.includes(`"${key}"`), key);
  }
});

/** The example with its section `mep`, which is a comment there, and the keys of `tls` written out. */
function exampleWithPlatform(): string {
  const text = readFileSync(example, "utf8");
  const begin = text.indexOf("# mep:");
  return text.slice(0, begin) + text.slice(begin).replace(/^# ?/gm, "");
}

test("B1, B5, B7: the example's MEC platform is accepted, and shows the defaults", () => {
  const { mep } = parseSite(exampleWithPlatform());
  const { mep: bare } = parseSite(site(one, "mep: { mp1: { listen: 10.60.0.1:8091 } }"));
  assert.equal(mep?.mp1, bare?.mp1);
  assert.equal([mep?.rules, mep?.liveness], [bare?.rules, bare?.liveness]);
  assert.equal(mep?.apps, { tof: "10.61.0.0/24", platform: "10.62.0.0/24", egress: "wan0" });
  assert.equal(mep?.transports.length, 1);
  const tls = "tls: { cert: /c, key: /k, clientCa: /a, ca: /b }";
  const secured = exampleWithPlatform().replace(/insecure: false .*/, tls);
  assert.equal(parseSite(secured).mep?.mp1?.tls, { cert: "/c", key: "/k", clientCa: "/a", ca: "/b" });
});

/** Every member that the schema knows, as a path. */
function* members(schema: unknown, path: string): Generator<string> {
  const { properties = {}, items, anyOf = [] } = schema as { properties?: object; items?: unknown; anyOf?: unknown[] };
  if (items) yield* members(items, path);
  for (const one of anyOf) yield* members(one, path);
  for (const [name, inner] of Object.entries(properties)) {
    yield `${path}${name}`;
    yield* members(inner, `${path}${name}.`);
  }
}

test("the example names every setting that there is", () => {
  const text = readFileSync(example, "utf8");
  const platform = text.slice(text.indexOf("# mep:"));
  const missing = [...members(siteSchema, "")].filter((path) => {
    const name = path.split(".").at(-1);
    return !new RegExp(`\\b${name}\\b`).test(path.startsWith("mep.") ? platform : text);
  });
  assert.equal(missing, []);
});

test("a file that cannot be read is a configuration error too", () => {
  assert.throws(() => loadSite("/nonexistent/site.yaml"), /^site.yaml:1:1: cannot be read/);
});

test.run();
