/**
 * Is a descriptor the same after the way there and back, and is everything that is lost named (B6, 000 Table 3)?
 */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { appD } from "../../../mep/model/appd.ts";
import { appdToVnfd, type Fields, kindOf, vnfdToAppd } from "../../../mep/vnfd/convert.ts";
import { table } from "../../../mep/vnfd/table.ts";

const value = fc.oneof(fc.string(), fc.nat(), fc.boolean(), fc.jsonValue());
const filled = fc.oneof(fc.string(), fc.dictionary(fc.string(), value), fc.array(value, { minLength: 1 }));
const only = fc.dictionary(fc.constantFrom("virtualCpu", "virtualMemory", "virtualComputeDescId"), value);

const appdNames = table.flatMap(({ appd }) => appd ?? []);
const carriedOfAppd = table.flatMap(({ vnfd, appd }) => (vnfd !== undefined ? (appd ?? []) : []));
const vnfdNames = table.flatMap(({ vnfd }) => (vnfd !== undefined && !vnfd.includes(".") ? [vnfd] : []));

const appd = fc.record(
  Object.fromEntries(
    [...appdNames, "osContainerDescriptor", "x-offramp"].map((name) => [
      name,
      name === "virtualComputeDescriptor" ? only : filled,
    ]),
  ),
  { requiredKeys: ["appDId"] },
);

const vdu = fc.record({ vduId: fc.string(), name: fc.string(), swImageDescriptor: fc.array(only, { minLength: 1 }) });
const vnfd = fc.record(
  Object.fromEntries(
    vnfdNames.map((name) => [
      name,
      name === "vdu" ? fc.tuple(vdu) : name === "virtualComputeDesc" ? fc.tuple(only) : filled,
    ]),
  ),
  { requiredKeys: ["vnfdId"] },
);

const pick = (from: Fields, names: readonly string[]): Fields =>
  Object.fromEntries(Object.entries(from).filter(([name]) => names.includes(name)));

test("AppD, VNFD, AppD: what Table 3 maps is the same; everything else, and nothing else, is named as lost (B6)", () => {
  fc.assert(
    fc.property(appd, (before) => {
      const there = appdToVnfd(before as Fields);
      assert.equal(
        there.lost.map(({ path }) => path).sort(),
        Object.keys(before)
          .filter((name) => !carriedOfAppd.includes(name))
          .sort(),
      );
      const back = vnfdToAppd(there.result);
      assert.equal(back.lost, []);
      assert.equal(back.result, pick(before as Fields, carriedOfAppd));
    }),
    { numRuns: 500 },
  );
});

test("VNFD, AppD, VNFD: the same of a VNFD with one deployment unit, but for the unit's names (B6)", () => {
  const mapped = vnfdNames.filter((name) => table.some((row) => row.vnfd === name && row.appd !== undefined));
  fc.assert(
    fc.property(vnfd, (given) => {
      const before = given as Fields;
      const there = vnfdToAppd(before);
      const back = appdToVnfd(there.result);
      assert.equal(back.lost, []);
      const images = (from: Fields) => (from.vdu as Fields[] | undefined)?.map((one) => one.swImageDescriptor);
      assert.equal(images(back.result), images(before));
      assert.equal(pick(back.result, mapped), pick(before, mapped));
      const lost = new Set(there.lost.map(({ path }) => path.split(".")[0]));
      for (const name of Object.keys(before)) assert.is(lost.has(name), !mapped.includes(name) && name !== "vdu", name);
    }),
    { numRuns: 500 },
  );
});

test("every attribute of an AppD in Table 3 is one that the model knows", () => {
  const known = Object.keys((appD as unknown as { properties: object }).properties);
  for (const name of appdNames) assert.ok(known.includes(name), name);
});

test("several deployment units, compute descriptors and flavours: the first is taken, the others are named", () => {
  const { result, lost, missing } = vnfdToAppd({
    vnfdId: "v",
    vdu: [{ vduId: "a", swImageDesc: [{ id: "i" }], bootData: "x" }, { vduId: "b" }],
    virtualComputeDesc: [{ virtualComputeDescId: "1" }, { virtualComputeDescId: "2" }],
    deploymentFlavour: [{ flavourId: "f", vnfLcmOperationsConfiguration: {} }],
    vnfmInfo: ["any"],
    somethingElse: 1,
  });
  assert.equal(result, {
    appDId: "v",
    swImageDescriptor: [{ id: "i" }],
    virtualComputeDescriptor: { virtualComputeDescId: "1" },
  });
  assert.equal(
    lost.map(({ path, why }) => `${path}: ${why}`),
    [
      "vdu.1: an AppD describes one virtual machine",
      "vdu.0.bootData: an AppD has no such attribute (Table 3)",
      "virtualComputeDesc.1: an AppD describes one virtual machine",
      "deploymentFlavour: an AppD has no such attribute (Table 3)",
      "deploymentFlavour.0.vnfLcmOperationsConfiguration: an AppD has no such attribute (Table 3)",
      "vnfmInfo: an AppD has no such attribute (Table 3)",
      "somethingElse: is not in Table 3",
    ],
  );
  assert.equal(missing, ["appName", "appProvider", "appSoftVersion", "appDVersion", "mecVersion", "appDescription"]);
});

test("which of the two a document is", () => {
  assert.is(kindOf({ appDId: "a" }), "appd");
  assert.is(kindOf({ vnfdId: "a" }), "vnfd");
  for (const neither of [{}, [], null, "appDId", 7]) assert.is(kindOf(neither), undefined);
});

test("the table in docs/apps.md is the one that is used", () => {
  const page = readFileSync(new URL("../../../docs/apps.md", import.meta.url), "utf8");
  for (const { vnfd = "–", appd = "–" } of table) assert.ok(page.includes(`| ${vnfd} | ${appd} |`), `${vnfd} ${appd}`);
});

test.run();
