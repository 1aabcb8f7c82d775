/**
 * Do classes, checks and schema of the package say the same, and are wrong inputs named with their paths (C1)?
 *
 * The source of the classes is read with TypeScript's own parser; resources are made with Pulumi's mocks; checks are asked of the
 * provider's own process. What the real engine makes of it: engine.test.ts.
 */
import { readFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import ts from "typescript";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kinds } from "../../infra/provider/kinds.ts";
import { packageSchema } from "../../infra/provider/schema.ts";
import type { Members } from "../../infra/provider/shape.ts";
import { resourceShapes, settingShapes } from "../../infra/provider/shapes.ts";
import { AppPackage, DnsRule, MecApp, Provider, TofService } from "../../infra/resources.ts";
import { Engine, urnOf } from "./engine.ts";

const test = suite("schema");
const file = new URL("../../infra/resources.ts", import.meta.url).pathname;
const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.ES2022, true);

/** Names of the properties of an interface; `?` behind those that may be left out. */
function membersOf(name: string): string[] {
  const found = source.statements.find((one) => ts.isInterfaceDeclaration(one) && one.name.text === name);
  if (!found || !ts.isInterfaceDeclaration(found)) throw new Error(`there is no interface ${name}`);
  return found.members.map((one) => `${one.name?.getText()}${one.questionToken ? "?" : ""}`).sort();
}

/** Names of the properties that a class declares. */
function outputsOf(name: string): string[] {
  const found = source.statements.find((one) => ts.isClassDeclaration(one) && one.name?.text === name);
  if (!found || !ts.isClassDeclaration(found)) throw new Error(`there is no class ${name}`);
  return found.members.flatMap((one) => (ts.isPropertyDeclaration(one) ? [one.name.getText()] : []));
}

const shaped = (members: Members): string[] =>
  Object.entries(members)
    .map(([name, { optional }]) => `${name}${optional ? "?" : ""}`)
    .sort();

test("C1: each resource has the same properties in its class, in its checks and in the schema", () => {
  assert.equal(Object.keys(resourceShapes).sort(), kinds.map(({ type }) => type).sort());
  for (const [type, { inputs, outputs }] of Object.entries(resourceShapes)) {
    assert.equal(shaped(inputs), membersOf(`${type}Args`), `${type}Args`);
    const all = new Set([...Object.keys(inputs), ...Object.keys(outputs)]);
    const declared = outputsOf(type);
    assert.equal(
      declared.filter((name) => !all.has(name)),
      [],
      `what class ${type} declares`,
    );
    assert.equal(
      Object.keys(outputs).filter((name) => !declared.includes(name)),
      [],
      `outputs of ${type}`,
    );
  }
  assert.equal(shaped(settingShapes), membersOf("ProviderArgs"));
  const { rules } = resourceShapes.TofService?.inputs ?? {};
  if (typeof rules?.is !== "object" || !("members" in rules.is)) throw new Error("rules are no object");
  assert.equal(shaped(rules.is.members), membersOf("ServiceRules"));
});

// biome-ignore lint/suspicious/noExplicitAny: a document, looked into by name
type Json = any;

test("C1: the schema names a type for each reference, and its secrets", () => {
  const schema: Json = packageSchema("1.2.3");
  const text = JSON.stringify(schema);
  for (const [, token = ""] of text.matchAll(/"#\/types\/([^"]+)"/g)) assert.ok(schema.types[token], token);
  assert.is(schema.resources["offramp:index:MecApp"].properties.clientSecret.secret, true);
  assert.is(schema.provider.inputProperties.token.secret, true);
  assert.equal(schema.resources["offramp:index:DnsRule"].requiredInputs, ["domain", "addresses"]);
});

test("C1: values of the wrong kind are named with their paths, all at once", async () => {
  const engine = await Engine.start();
  try {
    const rules = {
      priority: "high",
      nw_src: "0.0.0.0/0",
      nw_dst: ["203.0.113.20", 7],
      tp_dst: [80, "443", true],
      endpoints: [{ address: "10.60.0.10" }, { adress: "10.60.0.11", port: 1.5 }],
      affinity: "none",
    };
    const { failures } = await engine.check(urnOf("TofService", "web"), { rules, appInitiated: "yes" });
    assert.equal(failures.sort(), [
      "appInitiated: must be a boolean",
      'rules.affinity: must be "connection" or "ue"',
      "rules.endpoints[1].address: is required: of the application",
      "rules.endpoints[1].adress: is not known; there are address, port, weight, drain",
      "rules.endpoints[1].port: must be a whole number",
      "rules.nw_dst[1]: must be a text",
      "rules.priority: must be a whole number",
      "rules.tp_dst[2]: must be a text, or a whole number",
    ]);
    const dns = await engine.check(urnOf("DnsRule", "shop"), { addresses: "10.60.0.10", ttl: 60 });
    assert.equal(dns.failures.sort(), [
      "addresses: must be a list",
      "domain: is required: what phones ask for: shop.example.com",
    ]);
  } finally {
    await engine.stop();
  }
});

test("C1: a program's resources are registered with what it says, and know what the site says of them", async () => {
  const registered = new Map<string, Record<string, unknown>>();
  await pulumi.runtime.setMocks(
    {
      newResource: ({ type, name, inputs }) => {
        registered.set(`${type} ${name}`, inputs);
        return { id: `${name}-id`, state: { ...inputs, packageId: "p-1", clientSecret: "hidden" } };
      },
      call: () => ({}),
    },
    "try",
    "paris",
    false,
  );
  const provider = new Provider("paris", { api: "https://edge.example:8090", token: "some-secret-token" });
  new TofService("www", { serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" }, { provider });
  const cache = new AppPackage("cache", { archive: "cache.zip" }, { provider });
  const app = new MecApp("cache-1", { package: cache.packageId }, { provider });
  new DnsRule("shop", { domain: "shop.example", addresses: app.addresses }, { provider });
  const value = <T>(output: pulumi.Output<T>) => new Promise<T>((resolve) => output.apply(resolve));
  assert.is(await value(app.clientSecret), "hidden");
  assert.equal(registered.get("offramp:index:TofService www"), {
    serviceIP: "203.0.113.80",
    applicationIP: "10.60.0.10",
  });
  assert.equal(registered.get("offramp:index:MecApp cache-1"), { package: "p-1" });
  assert.ok(registered.has("pulumi:providers:offramp paris"));
});

test.run();
