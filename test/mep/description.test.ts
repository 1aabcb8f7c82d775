/**
 * Is what Mp1 says of itself valid OpenAPI, whole, true, and open to whoever looks (B1)?
 *
 * The real agent; the document is judged by what OpenAPI 3.1 demands and a reader needs, not by its text.
 */
import { Ajv2020 } from "ajv/dist/2020.js";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Running, start } from "../api/harness.ts";
import { methods } from "./conformance/contract.ts";

// biome-ignore lint/suspicious/noExplicitAny: a document, looked into by name
type Json = any;

const test = suite("description of Mp1");
let running: Running;
let url: string;
let document: Json;
let operations: { path: string; method: string; spec: Json }[];

test.before(async () => {
  const extra = "api: { listen: 127.0.0.1:0 }\nmep: { mp1: { listen: 127.0.0.1:0, insecure: true } }";
  running = await start({ extra });
  const { body } = await running.call("GET", "/api/v1/mp1");
  url = body.url;
  document = await (await fetch(body.description)).json();
  operations = Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    methods.filter((method) => item[method]).map((method) => ({ path, method, spec: item[method] })),
  );
});

test.after(() => running?.stop());

/** Everything of this name, however deep. */
function* named(value: Json, name: string): Generator<Json> {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === name) yield inner;
    yield* named(inner, name);
  }
}

function* faults(): Generator<string> {
  if (document.openapi !== "3.1.0") yield `is OpenAPI ${document.openapi}`;
  if (!document.info?.title || !document.info?.version) yield "has no title or version";
  const schemes = document.components.securitySchemes;
  const tags = document.tags.map(({ name }: Json) => name);
  for (const { path, method, spec } of operations) {
    const at = `${method} ${path}`;
    if (!spec.summary) yield `${at}: no summary`;
    for (const tag of spec.tags ?? []) if (!tags.includes(tag)) yield `${at}: tag ${tag} is not described`;
    if (spec.tags?.length !== 1) yield `${at}: not one tag`;
    const parameters = (spec.parameters ?? []).map(({ in: place, name }: Json) => `${place} ${name}`);
    if (new Set(parameters).size !== parameters.length) yield `${at}: a parameter is there twice`;
    const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => `path ${name}`);
    const said = parameters.filter((one: string) => one.startsWith("path "));
    if (said.sort().join() !== inPath.sort().join()) yield `${at}: path has ${inPath}, parameters are ${said}`;
    for (const one of spec.parameters ?? []) {
      if (one.in === "path" && one.required !== true) yield `${at}: ${one.name} is not required`;
      if (!one.schema) yield `${at}: ${one.name} has no schema`;
    }
    if (!spec.security) yield `${at}: says nothing of security`;
    for (const [scheme, scopes] of spec.security.flatMap((one: Json) => Object.entries(one)) as [string, string[]][]) {
      if (!schemes[scheme]) yield `${at}: there is no security scheme ${scheme}`;
      const known = Object.keys(schemes.oauth2.flows.clientCredentials.scopes);
      for (const scope of scopes) if (!known.includes(scope)) yield `${at}: there is no scope ${scope}`;
    }
    const statuses = Object.keys(spec.responses);
    if (!statuses.some((status) => /^[12]/.test(status))) yield `${at}: never succeeds`;
    for (const [status, answer] of Object.entries<Json>(spec.responses)) {
      if (!answer.description || answer.description === "Default Response") yield `${at} ${status}: no description`;
      const types = Object.keys(answer.content ?? {});
      const bodiless = status === "204" || status === "101";
      if (bodiless !== (types.length === 0)) yield `${at} ${status}: content ${types}`;
      const problem = Number(status) >= 400 && !(path === "/oauth2/token" && /^40[01]$/.test(status));
      if (problem && types.join() !== "application/problem+json") yield `${at} ${status}: problems come as ${types}`;
    }
    if (method === "get" && spec.requestBody) yield `${at}: has a body`;
    if (/put|patch|post/.test(method) && !spec.requestBody) yield `${at}: has no body`;
  }
  for (const reference of named(document, "$ref")) {
    const found = String(reference)
      .slice(2)
      .split("/")
      .reduce((inner: Json, name) => inner?.[name], document);
    if (found === undefined) yield `${reference} leads nowhere`;
  }
  const ajv = new Ajv2020({ strict: false });
  for (const schema of named(document.paths, "schema")) {
    if (!ajv.validateSchema(schema)) yield `no JSON schema: ${ajv.errorsText()}: ${JSON.stringify(schema)}`;
  }
}

test("B1: the description is valid OpenAPI 3.1: parameters, references, security, schemas, media types", () => {
  assert.equal([...faults()], []);
});

const support = "/mec_app_support/v1/applications/{appInstanceId}";
const services = "/mec_service_mgmt/v1/applications/{appInstanceId}";
/** GS MEC 011 v2.2.1 §7.2 and §8.2, registrations of v3.1.1, and ours. */
const resources: Record<string, string> = {
  [`${support}/subscriptions`]: "get post",
  [`${support}/subscriptions/{subscriptionId}`]: "delete get",
  [`${support}/traffic_rules`]: "get",
  [`${support}/traffic_rules/{ruleId}`]: "get put",
  [`${support}/traffic_rules/{ruleId}/counters`]: "get",
  [`${support}/dns_rules`]: "get",
  [`${support}/dns_rules/{ruleId}`]: "get put",
  [`${support}/confirm_ready`]: "post",
  [`${support}/confirm_termination`]: "post",
  "/mec_app_support/v1/timing/timing_caps": "get",
  "/mec_app_support/v1/timing/current_time": "get",
  "/mec_app_support/v1/registrations": "post",
  "/mec_app_support/v1/registrations/{registrationId}": "delete get put",
  "/mec_service_mgmt/v1/services": "get",
  "/mec_service_mgmt/v1/services/{serviceId}": "get",
  "/mec_service_mgmt/v1/transports": "get",
  [`${services}/services`]: "get post",
  [`${services}/services/{serviceId}`]: "delete get put",
  [`${services}/services/{serviceId}/liveness`]: "get patch",
  [`${services}/subscriptions`]: "get post",
  [`${services}/subscriptions/{subscriptionId}`]: "delete get",
  "/mec_notifications/v1/{id}": "get",
  "/oauth2/token": "post",
  "/oauth2/jwks": "get",
};

test("B1: every resource and method is described, and no other answers", async () => {
  const described: Record<string, string> = {};
  for (const { path, method } of operations) described[path] = [described[path], method].filter(Boolean).join(" ");
  const sorted = Object.entries(described).map(([path, all]) => [path, all.split(" ").sort().join(" ")]);
  assert.equal(Object.fromEntries(sorted), resources);
  for (const [path, expected] of Object.entries(resources)) {
    for (const version of ["v1", "v2"]) {
      if (version === "v2" && !path.startsWith("/mec_app") && !path.startsWith("/mec_service")) continue;
      const asked = path.replace("/v1", `/${version}`).replace(/\{[^}]+\}/g, "x");
      const { status, headers } = await fetch(url + asked, { method: "OPTIONS" });
      const allowed = (headers.get("allow") ?? "")
        .toLowerCase()
        .split(", ")
        .filter((one) => one !== "head");
      assert.equal([status, allowed.sort().join(" ")], [405, expected], asked);
    }
  }
});

test("B5: what says that it asks for a token answers 401 without one, as described; the rest does not", async () => {
  for (const { path, method, spec } of operations) {
    if (path === "/oauth2/token") continue;
    const open = spec.security.length === 0;
    const answer = await fetch(url + path.replace(/\{[^}]+\}/g, "x"), { method: method.toUpperCase() });
    assert.is(answer.status, open ? 200 : 401, `${method} ${path}`);
    await answer.arrayBuffer();
    if (!open) assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer/, `${method} ${path}`);
    if (!open) assert.is(answer.headers.get("content-type"), "application/problem+json; charset=utf-8");
  }
});

test("B5: the token endpoint that the description names gives tokens for the scheme that it describes", async () => {
  const { body: added } = await running.call("POST", "/api/v1/clients", { client: "reader" });
  const { tokenUrl, scopes } = document.components.securitySchemes.oauth2.flows.clientCredentials;
  const answer = await fetch(new URL(tokenUrl, url), {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from(`reader:${added.clientSecret}`).toString("base64")}` },
    // As Swagger's page asks when no scope is ticked.
    body: new URLSearchParams({ grant_type: "client_credentials", scope: "" }),
  });
  assert.is(answer.status, 200);
  const { access_token, scope } = (await answer.json()) as Record<string, string>;
  for (const one of scope?.split(" ") ?? []) assert.ok(one in scopes, one);
  const time = await fetch(`${url}/mec_app_support/v1/timing/current_time`, {
    headers: { authorization: `Bearer ${access_token}` },
  });
  assert.is(time.status, 200);
});

test("B1: the page is there for whoever looks, with all that it needs, and tells nothing of the site", async () => {
  await running.call("POST", "/api/v1/clients", { client: "somebody-known" });
  const page = await fetch(`${url}/docs`);
  const html = await page.text();
  assert.equal([page.status, page.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  const parts = [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, part]) => new URL(part ?? "", `${url}/docs/`));
  assert.ok(parts.length > 3);
  for (const part of parts) {
    assert.is(part.origin, url, "nothing comes from elsewhere");
    const answer = await fetch(part);
    assert.is(answer.status, 200, part.href);
    const text = await answer.text();
    assert.not.match(text, /somebody-known|10\.60\.0\.|ofr_/, part.href);
  }
  const again = JSON.stringify(await (await fetch(`${url}/openapi.json`)).json());
  assert.not.match(again, /somebody-known|10\.60\.0\./);
});

test.run();
