/**
 * Which names may a rule be about, and how do they get to the kernel and to Unbound? (B2)
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Reader } from "../../../controlplane/intents/reader.ts";
import { nameKey, nameOfKey } from "../../../dataplane/ebpf/names.ts";
import { linesByName, readBack, renderRecords } from "../../../mep/dns/records.ts";
import { readDomainName } from "../../../mep/model/domain-name.ts";

const read = (text: unknown): string | undefined => readDomainName(new Reader(), text, "domainName");

test("B2: names of hosts, in any case, with or without the dot at the end, IDN as A-labels", () => {
  for (const [text, name] of [
    ["Shop.Example.COM", "shop.example.com"],
    ["shop.example.com.", "shop.example.com"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["1.cdn.example", "1.cdn.example"],
    ["_srv.example.net", "_srv.example.net"],
    ["shop.co.uk", "shop.co.uk"],
    [`${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`, undefined],
  ] as const) {
    assert.is(read(text), name ?? text);
  }
});

test("B2: what is no name of a host, or everybody's, is refused", () => {
  for (const text of [
    "",
    ".",
    "com",
    "localhost",
    "co.uk",
    "com.au",
    "in-addr.arpa",
    "a..example",
    ".a.example",
    "-a.example",
    "a-.example",
    "bücher.example",
    "*.example.com",
    "a b.example",
    'a".example',
    "a\n.example",
    "a\u0000.example",
    "10.60.0.1",
    "__proto__",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(127)}aa`,
    42,
    null,
    ["a.example"],
    {},
  ])
    assert.is(read(text), undefined, JSON.stringify(text));
});

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
const name = fc.array(label, { minLength: 2, maxLength: 6 }).map((labels) => `${labels.join(".")}.example`);

test("B2: any name that is accepted has a key in the kernel, and the key says the name", () => {
  fc.assert(
    fc.property(name, (text) => {
      assert.is(read(text), text);
      const key = nameKey(text);
      assert.is(key.length, 256);
      assert.is(nameOfKey(key), text);
    }),
  );
  for (const text of ["", "a..b", "A.example", `${"a".repeat(64)}.example`, `${"a.".repeat(127)}aa`])
    assert.throws(() => nameKey(text));
});

test("B2: what Unbound is told is what it tells", () => {
  const record = fc.record({
    name,
    type: fc.constantFrom("A" as const, "AAAA" as const),
    n: fc.integer({ min: 0, max: 9 }),
    ttl: fc.option(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(record, { maxLength: 12 }), (list) => {
      const records = list.map(({ name, type, n, ttl }) => {
        const address = type === "A" ? `10.60.0.${n}` : `2001:db8::${n}`;
        return { name, type, address, ...(ttl !== undefined && { ttl }) };
      });
      const lines = linesByName(records);
      const zones = [...lines.keys()].map((one) => `${one}. transparent`).join("\n");
      // As Unbound prints them: tabs, and other zones of its own between.
      const data = [...lines.values()].flat().map((line) => line.replaceAll(" ", "\t"));
      const others = "localhost.\t10800\tIN\tA\t127.0.0.1";
      assert.equal(
        new Map([...readBack(`${zones}\nlocalhost. redirect\n`, [...data, others].join("\n\n"))].sort()),
        new Map([...lines].sort()),
      );
      for (const line of [...lines.values()].flat()) assert.ok(renderRecords(lines).includes(`local-data: "${line}"`));
      for (const list of lines.values()) {
        const ttls = (type: string) =>
          new Set(list.filter((one) => one.includes(` IN ${type} `)).map((one) => one.split(" ")[1]));
        assert.ok(ttls("A").size <= 1 && ttls("AAAA").size <= 1, "one TTL for each answer");
      }
    }),
  );
});

test.run();
