/** Does every POST find rules that conflict, never act or loop, and does /api/v1/verify tell all of them (C7)? */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { withAgent } from "./harness.ts";

const second = (
  name: string,
  priority: number,
  rules: Record<string, unknown>,
  rest: Record<string, unknown> = {},
) => ({
  name,
  rules: { priority, nw_src: "10.45.0.0/16", ...rules },
  ...rest,
});
const wide = second("wide", 200, { nw_dst: "203.0.113.0/24", endpoint: "10.60.0.2" });

test("C7: what could never act is refused with the services that have its packets, and one of these", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", wide);
    const { status, body } = await call(
      "POST",
      "/service",
      second("narrow", 100, { nw_dst: "203.0.113.7", tp_dst: 80, protocol: 6 }),
    );
    assert.equal(
      { status, ...body },
      {
        status: 409,
        type: "/problems/shadowed",
        title: "The service would never act",
        detail:
          '"narrow" never acts: "wide", of higher priority, has all of its packets; for example 10.45.0.2:50000 → 203.0.113.7:80 tcp',
        instance: "/service",
        services: ["wide"],
        packet: {
          source: "10.45.0.2",
          destination: "203.0.113.7",
          protocol: 6,
          sourcePort: 50000,
          destinationPort: 80,
        },
      },
    );
    assert.is(dataplane.steering.rules.length, 1, "nothing has changed");
    const guarded = await call("POST", "/service", second("guarded", 1, { nw_dst: "192.0.2.0/28" }));
    assert.equal([guarded.status, guarded.body.type], [400, "/problems/unreachable"]);
    assert.match(guarded.body.detail, "192.0.2.0/24 is protected from UEs");
    assert.is(guarded.body.packet.destination, "192.0.2.0");
    assert.is((await call("POST", "/api/v1/plan", second("narrow", 100, { nw_dst: "203.0.113.7" }))).status, 409);
  }));

test("C7: an ambiguous priority is refused with a packet that has two owners", () =>
  withAgent(async ({ call }) => {
    await call("POST", "/service", wide);
    const { status, body } = await call(
      "POST",
      "/service",
      second("other", 200, { nw_dst: "203.0.112.0/23", protocol: 17 }),
    );
    assert.equal([status, body.type, body.services], [409, "/problems/ambiguous", ["wide"]]);
    assert.equal([body.packet.destination, body.packet.protocol], ["203.0.113.1", 17]);
  }));

test("C7: what takes all packets from an older service is accepted, and said: header, event, verify", () =>
  withAgent(async ({ call, url }) => {
    await call("POST", "/service", second("old", 10, { nw_dst: "203.0.113.7", endpoint: "10.60.0.3" }));
    const abort = new AbortController();
    const events = await fetch(`${url}/api/v1/events`, { signal: abort.signal });
    const reader = events.body!.getReader();
    const answer = await call("POST", "/service", wide);
    assert.is(answer.status, 200);
    assert.is(answer.headers.get("offramp-warning"), 'shadowed;service="old";by="wide"');
    let text = "";
    while (!text.includes("service-shadowed")) text += new TextDecoder().decode((await reader.read()).value);
    const verified = await call("GET", "/api/v1/verify");
    assert.equal(
      verified.body.findings.map(({ kind, services }: { kind: string; services: string[] }) => [kind, services]),
      [["shadowed", ["old", "wide"]]],
    );
    assert.equal([verified.body.rules, verified.body.complete], [2, true]);
    assert.equal(verified.body.deployed, { agrees: true, differences: [] });
    abort.abort();
  }));

test("C7: what no packet of this site can meet is accepted, because a site may grow, and said", () =>
  withAgent(async ({ call }) => {
    const answer = await call("POST", "/service", second("later", 1, { nw_src: "10.99.0.0/16" }));
    assert.is(answer.status, 200);
    assert.is(answer.headers.get("offramp-warning"), 'unreachable;service="later"');
    const [found] = (await call("GET", "/api/v1/verify")).body.findings;
    assert.match(found.message, '"later" never acts: no UE there has such an address');
  }));

test("C7: loops are refused by field", () =>
  withAgent(async ({ call }) => {
    const refused = async (body: unknown) => {
      const answer = await call("POST", "/service", body);
      return [answer.status, answer.body.errors?.map((error: { field: string }) => error.field)];
    };
    assert.equal(await refused({ name: "x", serviceIP: "203.0.113.1", applicationIP: "10.46.0.9" }), [
      400,
      ["applicationIP"],
    ]);
    assert.equal(await refused(second("x", 1, { output: { port: "cor1" } })), [400, ["rules.output.port"]]);
    assert.equal(await refused(second("x", 1, { nw_dst: "10.46.0.0/24", endpoint: "local" })), [400, ["rules.nw_dst"]]);
  }));

test("C7: a list is verified as if it were all, and changes nothing", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", wide);
    const { body, status } = await call("POST", "/api/v1/verify", [
      second("a", 5, { nw_dst: "203.0.113.1" }),
      second("b", 5, { nw_dst: "203.0.113.0/31" }),
      second("c", 4, { nw_dst: "203.0.113.1", protocol: 6 }),
    ]);
    assert.is(status, 200);
    assert.equal(
      body.findings.map(({ kind, services }: { kind: string; services: string[] }) => [kind, ...services]),
      [
        ["conflict", "a", "b"],
        ["shadowed", "c", "a"],
      ],
    );
    assert.is(dataplane.steering.rules.length, 1);
    const wrong = await call("POST", "/api/v1/verify", [{ name: "a" }, wide, wide]);
    assert.is(wrong.status, 400);
    assert.equal(
      wrong.body.errors.map((error: { field: string }) => error.field),
      ["[0]", "[2].name"],
    );
  }));

test.run();
