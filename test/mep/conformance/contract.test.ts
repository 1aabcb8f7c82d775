/** Does the judge of requests and answers see what is wrong, and only that (B1)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Contract, type Exchange } from "./contract.ts";

const thing = {
  type: "object",
  required: ["id", "_links"],
  properties: { id: { type: "string" }, at: { type: "string", format: "uri" }, _links: { type: "object" } },
};
const problems = { "application/problem+json": { schema: { $ref: "#/components/schemas/ProblemDetails" } } };

const contract = new Contract({
  name: "test",
  roots: ["/api/v1", "/api/v2"],
  anywhere: [401],
  requests: { Thing: { ...thing, required: ["id"] } },
  document: {
    openapi: "3.1.0",
    paths: {
      "/things": {
        parameters: [{ $ref: "#/components/parameters/Colour" }],
        get: {
          responses: {
            200: {
              content: {
                "application/json": { schema: { type: "array", items: { $ref: "#/components/schemas/Thing" } } },
              },
            },
          },
        },
        post: {
          requestBody: {
            content: {
              "application/json": {
                schema: { type: "object", properties: { Thing: { $ref: "#/components/schemas/Thing" } } },
              },
            },
          },
          responses: {
            201: {
              content: {
                "application/json": {
                  schema: { type: "object", properties: { Thing: { $ref: "#/components/schemas/Thing" } } },
                },
              },
            },
            400: { $ref: "#/components/responses/400" },
          },
        },
      },
      "/things/{id}": { delete: { responses: { 204: { description: "gone" }, 404: { content: problems } } } },
      "/things/special": { get: { responses: { 202: { description: "begun; the header Location says where" } } } },
    },
    components: {
      parameters: { Colour: { in: "query", name: "colour" } },
      responses: { 400: { content: problems } },
      schemas: {
        Thing: thing,
        ProblemDetails: { type: "object", required: ["status"], properties: { status: { type: "integer" } } },
      },
    },
  },
});

const json = { "content-type": "application/json; charset=utf-8" };
const good = { id: "a", _links: {} };
const made: Exchange = {
  method: "POST",
  url: "/api/v1/things",
  body: { id: "a" },
  status: 201,
  headers: { ...json, location: "/api/v1/things/a" },
  text: JSON.stringify(good),
};
const problem = { "content-type": "application/problem+json; charset=utf-8" };

const cases: [string, Partial<Exchange>, RegExp | undefined][] = [
  ["what is as it should be", {}, undefined],
  ["the other version", { url: "/api/v2/things" }, undefined],
  ["a path that it does not know", { url: "/api/v1/others", status: 299 }, undefined],
  ["a wrapped body", { text: JSON.stringify({ Thing: good }) }, /required property 'id'/],
  ["a missing member", { text: '{"id":"a"}' }, /'_links'/],
  ["a wrong type", { text: '{"id":1,"_links":{}}' }, /\/id must be string/],
  ["a wrong format", { text: '{"id":"a","at":"nowhere","_links":{}}' }, /\/at must match format "uri"/],
  ["no JSON", { text: "<html>" }, /not JSON/],
  ["no Location", { headers: json }, /no Location/],
  ["another media type", { headers: { ...made.headers, "content-type": "text/html" } }, /came as text\/html/],
  ["a status that is not listed", { status: 200 }, /not one of 201, 400/],
  ["a status that all may answer", { status: 401, headers: problem, text: '{"status":401}' }, undefined],
  ["a problem", { status: 400, headers: problem, text: '{"status":400}', body: 7 }, undefined],
  ["a problem as JSON", { status: 400, headers: json, text: '{"status":400}' }, /a problem came as application\/json/],
  ["a problem that is none", { status: 400, headers: problem, text: "{}" }, /'status'/],
  ["a request that should not have been taken", { body: { id: 1 } }, /taken request: \/id must be string/],
  ["a parameter that should not have been taken", { url: "/api/v1/things?shape=x" }, /parameter shape/],
  ["a parameter that may be", { url: "/api/v1/things?colour=x" }, undefined],
  ["204", { method: "DELETE", url: "/api/v1/things/a", status: 204, body: undefined, text: "" }, undefined],
  [
    "204 with a body",
    { method: "DELETE", url: "/api/v1/things/a", status: 204, body: undefined, text: "{}" },
    /204 has a body/,
  ],
  [
    "202 without a place",
    { method: "GET", url: "/api/v1/things/special", status: 202, headers: {}, text: "" },
    /202 has no Location/,
  ],
  ["a list", { method: "GET", status: 200, text: JSON.stringify([good]), body: undefined }, undefined],
  ["a list with a wrong one", { method: "GET", status: 200, text: "[{}]", body: undefined }, /\/0 must have/],
];

for (const [what, change, wanted] of cases) {
  test(`B1: ${what} ${wanted ? "is seen" : "is fine"}`, () => {
    const found = contract.violations({ ...made, ...change });
    if (wanted) assert.match(found.join("\n"), wanted);
    else assert.equal(found, []);
  });
}

test.run();
