/**
 * Do C and TypeScript mean the same octets and numbers?
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Btf } from "../../dataplane/ebpf/btf.ts";
import * as consts from "../../dataplane/ebpf/consts.ts";
import { type Field, structs } from "../../dataplane/ebpf/layout.ts";
import { elfSection } from "./elf.ts";

const btf = new Btf(elfSection(readFileSync("build/layout.bpf.o"), ".BTF"));

for (const codec of structs) {
  test(`struct ${codec.name} has the same members at the same places in C and TypeScript`, () => {
    const c = btf.struct(codec.name);
    assert.ok(c, "is in the object");
    const fields = codec.fields as Record<string, Field<unknown>>;
    const offsets = codec.offset as Record<string, number>;
    const mine = Object.entries(fields).map(([name, field]) => ({ name, offset: offsets[name], size: field.size }));
    assert.equal(mine, c.members);
    assert.is(codec.size, c.size);
  });
}

test("every struct that the headers define has a codec", () => {
  const known = new Set([...structs.map((codec) => codec.name as string), "address"]);
  const headers = ["structs.h", "watching.h"].map((name) => readFileSync(`dataplane/ebpf/bpf/${name}`, "utf8"));
  const defined = [...headers.join("\n").matchAll(/^struct (\w+) \{/gm)].map((match) => match[1]!);
  assert.equal(
    defined.filter((name) => !known.has(name)),
    [],
  );
});

test("every constant has the header's value", () => {
  const headers = ["consts.h", "structs.h", "maps.h"].map((name) => readFileSync(`dataplane/ebpf/bpf/${name}`, "utf8"));
  const text = headers.join("\n");
  const inC = new Map<string, number>();
  for (const [, name, value] of text.matchAll(/^#define (\w+) (0x[0-9a-fA-F]+|\d+|\(1 << \d+\))(?=\s|$)/gm)) {
    const shift = /^\(1 << (\d+)\)$/.exec(value!);
    inC.set(name!, shift ? 1 << Number(shift[1]) : Number(value));
  }
  const mine = Object.entries(consts).filter(([, value]) => typeof value === "number") as [string, number][];
  assert.equal(
    mine,
    mine.map(([name]) => [name, inC.get(name)]),
  );
});

test("the codecs read back what they write", () => {
  for (const codec of structs) {
    const octets = Uint8Array.from({ length: codec.size }, (_, i) => i * 7 + 1);
    const again = codec.encode(codec.decode(octets) as never);
    // Padding between members is not part of the value.
    for (const [name, field] of Object.entries(codec.fields as Record<string, Field<unknown>>)) {
      const at = (codec.offset as Record<string, number>)[name]!;
      assert.equal(again.subarray(at, at + field.size), octets.subarray(at, at + field.size), `${codec.name}.${name}`);
    }
  }
});

test.run();
