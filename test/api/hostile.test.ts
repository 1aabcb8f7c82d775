/** Does the API stay calm, and say what is wrong as a problem document, whatever comes (HOSTILE §4)? */

import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { Value } from "typebox/value";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { problem } from "../../controlplane/api/schemas.ts";
import { type Answer, type Running, withAgent } from "./harness.ts";

const json = { "content-type": "application/json" };
const web = { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" };

function isProblem(answer: Answer, status: number, type?: string): void {
  assert.is(answer.status, status, JSON.stringify(answer.body));
  assert.is(answer.type, "application/problem+json; charset=utf-8");
  assert.ok(Value.Check(problem, answer.body), JSON.stringify(answer.body));
  assert.is(answer.body.status, status);
  if (type) assert.is(answer.body.type, `/problems/${type}`);
  assert.not.match(JSON.stringify(answer.body), /node_modules|\.ts:|at .*\(/);
}

/** A request whose path is sent as it is: fetch would tidy it up. */
function rawCall(
  { url }: Running,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: hostname, port, method, path, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers["content-type"] ?? null,
          headers: new Headers(),
          body: JSON.parse(text || "null"),
        }),
      );
    });
    request.on("error", reject);
    request.end();
  });
}

/** Octets in, octets out. */
function socketCall({ url }: Running, octets: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(Number(port), hostname, () => socket.write(octets));
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
  });
}

const bodies: [string, string | Uint8Array, Record<string, string>, number, string][] = [
  ["no JSON", "{", json, 400, "invalid-body"],
  ["an empty body", "", json, 400, "invalid-body"],
  ["NaN", '{"name": NaN}', json, 400, "invalid-body"],
  ["invalid UTF-8", new Uint8Array([0x22, 0xff, 0xfe, 0x22]), json, 400, "invalid-body"],
  ["__proto__", '{"name":"a","__proto__":{"admin":true}}', json, 400, "invalid-body"],
  ["__proto__ in depth", '{"name":"a","rules":{"__proto__":{}}}', json, 400, "invalid-body"],
  ["constructor.prototype", '{"name":"a","constructor":{"prototype":{"x":1}}}', json, 400, "invalid-body"],
  ["another media type", "name=a", { "content-type": "application/x-www-form-urlencoded" }, 415, "media-type"],
  ["text", JSON.stringify(web), { "content-type": "text/plain" }, 415, "media-type"],
  ["a media type that is none", JSON.stringify(web), { "content-type": "json" }, 415, "media-type"],
  ["more than 64 KiB", JSON.stringify({ ...web, name: "x".repeat(65_536) }), json, 413, "body-too-large"],
  ["depth", "[".repeat(30_000) + "]".repeat(30_000), json, 400, "invalid-service"],
  ["a list", "[]", json, 400, "invalid-service"],
  ["a string", '"x"', json, 400, "invalid-service"],
  ["null", "null", json, 400, "invalid-service"],
];
for (const [sentence, body, headers, status, type] of bodies) {
  test(`POST /service with ${sentence}: ${status}`, () =>
    withAgent(async ({ url, call }) => {
      for (const [method, path] of [
        ["POST", "/service"],
        ["PUT", "/service/web"],
      ] as const) {
        const response = await fetch(url + path, { method, body: body, headers });
        isProblem(
          {
            status: response.status,
            type: response.headers.get("content-type"),
            headers: response.headers,
            body: await response.json(),
          },
          status,
          type,
        );
      }
      assert.equal((await call("GET", "/service")).body, []);
      assert.is(({} as { admin?: boolean }).admin, undefined);
    }));
}

test("an unknown query parameter is refused on every route that has a query or none", () =>
  withAgent(async ({ call }) => {
    const paths = [
      "/service",
      "/api/v1/sessions",
      "/api/v1/dataplanes",
      "/api/v1/counters",
      "/api/v1/events",
      "/api/v1/capture",
      "/healthz",
      "/metrics",
    ];
    for (const path of paths) {
      const answer = await call("GET", `${path}?tokn=1`);
      isProblem(answer, 400, "invalid-request");
      assert.equal(answer.body.errors, [{ field: "querystring.tokn", message: "is not known here" }], path);
    }
  }));

test("404 and 405 are problems, and 405 says what is allowed", () =>
  withAgent(async (running) => {
    isProblem(await running.call("GET", "/nothing"), 404, "not-found");
    isProblem(await running.call("GET", "/service/nobody"), 404, "not-found");
    const answer = await running.call("PATCH", "/service/web", {});
    isProblem(answer, 405, "method-not-allowed");
    assert.is(answer.headers.get("allow"), "DELETE, GET, HEAD, PUT");
    isProblem(await running.call("PUT", "/service", web), 405);
    isProblem(await rawCall(running, "TRACE", "/service"), 405);
  }));

test("paths: encoded slashes, climbing, NUL, bad escapes and endless names find nothing and break nothing", () =>
  withAgent(async (running) => {
    const paths: [string, number][] = [
      ["/service/..%2f..%2fetc%2fpasswd", 404],
      ["/service/../../etc/passwd", 404],
      ["/docs/static/..%2f..%2f..%2fpackage.json", 404],
      ["/service/%00", 404],
      ["/service/a%zz", 400],
      ["/service/%ff", 400],
      [`/service/${"a".repeat(1000)}`, 404],
      [`/service/${"a".repeat(5000)}`, 414],
      ["//service", 404],
      ["/service/__proto__", 404],
      ["/service/constructor", 404],
    ];
    for (const [path, status] of paths) {
      const answer = await rawCall(running, "GET", path);
      assert.is(answer.status, status, path.slice(0, 60));
      assert.match(answer.type ?? "", "application/problem+json", path.slice(0, 60));
    }
  }));

test("a name that needs escaping is found by its escaped path", () =>
  withAgent(async ({ call }) => {
    const name = "Prüfstand 7 & more?";
    assert.is((await call("POST", "/service", { ...web, name })).status, 200);
    assert.is((await call("GET", `/service/${encodeURIComponent(name)}`)).body.name, name);
    assert.is((await call("DELETE", `/service/${encodeURIComponent(name)}`)).status, 200);
  }));

test("what is not HTTP is answered with a problem and closed", () =>
  withAgent(async (running) => {
    assert.match(
      await socketCall(running, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"),
      /^HTTP\/1.1 400 [\s\S]*problem\+json/,
    );
    assert.match(
      await socketCall(
        running,
        "GET /service HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      ),
      /^HTTP\/1.1 400 /,
      "smuggling",
    );
    const long = `GET /service HTTP/1.1\r\nhost: localhost\r\nx: ${"y".repeat(20_000)}\r\n\r\n`;
    assert.match(await socketCall(running, long), /^HTTP\/1.1 4\d\d /);
    assert.is((await running.call("GET", "/healthz")).status, 200);
  }));

test("a web page that makes a browser call its own name on loopback is refused", () =>
  withAgent(async (running) => {
    isProblem(await rawCall(running, "GET", "/service", { host: "rebind.example.com" }), 421, "misdirected");
    for (const host of ["localhost:1", "127.0.0.1", "[::1]:8090"]) {
      assert.is((await rawCall(running, "GET", "/service", { host })).status, 200, host);
    }
  }));

test("with a token: 401 without it, with another, in the query, or in another scheme; health stays open", () =>
  withAgent(
    async (running) => {
      const token = "0123456789abcdef";
      for (const path of ["/service", "/metrics", "/docs", "/openapi.json", "/api/v1/events", "/nothing"]) {
        const answer = await running.call("GET", path);
        isProblem(answer, 401, "unauthorized");
        assert.match(answer.headers.get("www-authenticate") ?? "", "Bearer");
      }
      for (const authorization of [
        "Bearer",
        "Bearer ",
        `Bearer ${token}x`,
        "Bearer 0123456789abcde",
        `Basic ${token}`,
        token,
      ]) {
        isProblem(await running.call("GET", "/service", undefined, { authorization }), 401);
      }
      isProblem(await running.call("GET", `/service?access_token=${token}`), 401);
      isProblem(await running.call("POST", "/service", "{", {}), 401);
      assert.is((await running.call("GET", "/service", undefined, { authorization: `Bearer ${token}` })).status, 200);
      assert.is((await running.call("GET", "/healthz")).status, 200);
      assert.is((await running.call("GET", "/readyz")).status, 200);
    },
    { extra: "api: { listen: 127.0.0.1:0, token: 0123456789abcdef }" },
  ));

test("errors inside are told as nothing more than that", () =>
  withAgent(async ({ call, dataplane }) => {
    dataplane.counters = () => {
      throw new Error("secret path /root/key");
    };
    const answer = await call("GET", "/api/v1/counters");
    isProblem(answer, 500, "internal");
    assert.not.match(JSON.stringify(answer.body), "secret");
  }));

test.run();
