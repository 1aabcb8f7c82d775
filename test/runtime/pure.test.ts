/**
 * What is decided about instances before anything is done: addresses, firewall, podman's arguments, lines of a log.
 */
import { readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSite } from "../../controlplane/config/load.ts";
import { addressesAt, capacity, isWithin, takePlace } from "../../mep/runtime/addresses.ts";
import { renderFirewall } from "../../mep/runtime/firewall.ts";
import { LogParser } from "../../mep/runtime/log-file.ts";
import { runArguments } from "../../mep/runtime/podman.ts";
import { runtimeSettings } from "../../mep/runtime/site.ts";
import { exitReason } from "../../mep/runtime/spec.ts";

const settings = (apps: string) =>
  runtimeSettings(
    parseSite(`site: { name: a, stateDir: /var/lib/offramp }
dataplanes: [{ name: s1, access: acc0, core: cor0, uePools: [10.45.0.0/16, "2001:db8:45::/56"] }]
protect: [198.18.0.0/15, "2001:db8:198::/64"]
apps: { interface: apps0, address: 10.60.0.1/24 }
mep: { mp1: { listen: "10.60.0.1:8091", insecure: true }, dns: { listen: "10.60.0.1:53" }${apps} }
`),
    () => undefined,
  );

test("B7: every instance has addresses of its own, in both networks, and never the ends of a prefix", () => {
  const prefix = (first: string) => fc.integer({ min: 16, max: 29 }).map((bits) => `${first}.0.0/${bits}`);
  fc.assert(
    fc.property(prefix("10.61"), prefix("10.62"), fc.array(fc.nat(40), { maxLength: 60 }), (tof, platform, removed) => {
      const networks = { tof, platform };
      const taken = new Set<number>();
      const seen = new Set<string>();
      let next = 0;
      for (const place of [...removed, ...removed]) {
        if (taken.size === capacity(networks)) return;
        const got = takePlace(networks, taken, next);
        next = got + 1;
        assert.not(taken.has(got));
        taken.add(got);
        const { tof: one, platform: two } = addressesAt(networks, got);
        assert.ok(isWithin(one, tof) && isWithin(two, platform), `${one} ${two}`);
        assert.not.match(one, /^10\.61\.0\.[01]$/);
        assert.not(seen.has(one) && !removed.length);
        seen.add(one);
        taken.delete(place);
      }
    }),
  );
  assert.is(capacity({ tof: "10.61.0.0/24", platform: "10.62.0.0/24" }), 253);
  assert.is(capacity({ tof: "10.61.0.0/29", platform: "10.62.0.0/24" }), 5);
  assert.equal(addressesAt({ tof: "10.61.0.0/29", platform: "10.62.0.0/24" }, 4), {
    tof: "10.61.0.6",
    platform: "10.62.0.6",
  });
  const all = { tof: "10.61.0.0/29", platform: "10.62.0.0/24" };
  assert.throws(() => takePlace(all, new Set([0, 1, 2, 3, 4]), 2), /all 5 addresses/);
  assert.is(takePlace(all, new Set([3, 4]), 3), 0, "round");
});

test("B7: the firewall of a site with two instances, one of which reaches the world", () => {
  const instances = [
    { name: "aaaaaaaa", addresses: { tof: "10.61.0.2", platform: "10.62.0.2" }, egress: true },
    { name: "bbbbbbbb", addresses: { tof: "10.61.0.3", platform: "10.62.0.3" }, egress: false },
  ];
  const config = settings(", apps: { tof: 10.61.0.0/24, platform: 10.62.0.0/24, egress: wan0 }");
  const golden = new URL("./firewall.nft", import.meta.url);
  const text = renderFirewall(config!.site, instances);
  // OFFRAMP_GOLDEN=write node --import tsx test/run.ts runtime/pure
  if (process.env.OFFRAMP_GOLDEN === "write") writeFileSync(golden, text);
  assert.fixture(text, readFileSync(golden, "utf8"));
  const { egress: _, ...closed } = config!.site;
  assert.not.match(renderFirewall(closed, instances), /masquerade|wan0/);
});

test("B7: what site.yaml means for instances", () => {
  assert.is(settings(""), undefined);
  const { site, resolver, networks, environment } = settings(", apps: { tof: 10.61.0.0/24, platform: 10.62.0.0/24 }")!;
  assert.is(resolver, "10.60.0.1");
  assert.equal(environment, {
    OFFRAMP_MP1: "http://10.60.0.1:8091",
    OFFRAMP_TOKEN_ENDPOINT: "http://10.60.0.1:8091/oauth2/token",
  });
  assert.equal(networks, { tof: "10.61.0.0/24", platform: "10.62.0.0/24" });
  assert.equal(site.uePools, ["10.45.0.0/16"]);
  assert.equal(site.forbidden, ["198.18.0.0/15", "10.60.0.1/32", "10.60.0.0/24", "10.61.0.0/24", "10.62.0.0/24"]);
  assert.equal(site.servers, [
    { protocol: "tcp", address: "10.60.0.1", port: 8091 },
    { protocol: "udp", address: "10.60.0.1", port: 53 },
    { protocol: "tcp", address: "10.60.0.1", port: 53 },
  ]);
});

test("B7: podman is never given anything of a package as an option", () => {
  const word = fc.string({ minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), fc.dictionary(word, word), (command, environment) => {
      for (const kind of ["unit", "container"] as const) {
        const spec = { id: "a", tenant: "t", kind, command, environment, files: [], egress: false };
        const limits = { cpu: 1, memory: 64 << 20, pids: 10 };
        const words = runArguments(
          {
            spec: { ...spec, limits },
            ...{
              name: "oa-1",
              directory: "/d",
              from: "IMAGE",
              user: 7,
              cgroup: "/g",
              limitsMemory: true,
              trusts: true,
              environment,
            },
          },
          [],
        );
        const image = words.indexOf("IMAGE");
        assert.equal(words.slice(image + 1), kind === "unit" ? command : []);
        const options = words.slice(1, image).filter((_, i) => !(words[i] ?? "").startsWith("--"));
        for (const option of options) assert.match(option, /^--(?!privileged|cap-add|device|publish)/);
      }
    }),
  );
});

test("B7: lines of a log, whole and in parts, however they are cut", () => {
  const text = [
    "2026-11-21T15:33:35.28+00:00 stdout F one",
    "2026-11-21T15:33:36.28+00:00 stderr P tw",
    "2026-11-21T15:33:36.29+00:00 stderr F o",
    "no line of a log",
    "2026-11-21T15:33:37.28+00:00 stdout F ",
    "",
  ].join("\n");
  fc.assert(
    fc.property(fc.nat(text.length), fc.nat(text.length), (a, b) => {
      const [first, second] = [Math.min(a, b), Math.max(a, b)];
      const parser = new LogParser();
      const lines = [text.slice(0, first), text.slice(first, second), text.slice(second)].flatMap((one) =>
        parser.parse(one),
      );
      assert.equal(
        lines.map((line) => [line.stream, line.text]),
        [
          ["stdout", "one"],
          ["stderr", "two"],
          ["stdout", ""],
        ],
      );
    }),
  );
});

test("B7: why it ended, in words", () => {
  assert.is(exitReason(0, undefined), "ended with code 0");
  assert.is(exitReason(143, undefined), "killed by SIGTERM");
  assert.is(exitReason(137, 64 << 20), "killed at its memory limit of 64 MiB");
  assert.is(exitReason(3, 64 << 20), "ended with code 3");
});

test.run();
