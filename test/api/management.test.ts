/** Does the management API tell what the data plane knows, in the shape that /openapi.json promises? */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { request } from "node:https";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TSchema } from "typebox";
import { Value } from "typebox/value";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as schemas from "../../controlplane/api/schemas.ts";
import { counters as table } from "../../dataplane/counters.ts";
import { DataplaneError, type DataplaneEvent, type Session } from "../../dataplane/dataplane.ts";
import { start, withAgent } from "./harness.ts";

const session = (ue: string, teid: number, dataplane = "s1"): Session => ({
  dataplane,
  ue,
  index: teid,
  epoch: 1,
  baseStation: "198.18.1.2",
  gateway: "198.18.2.2",
  state: "up",
  bearers: [
    {
      direction: "uplink",
      teid,
      baseStation: "198.18.1.2",
      gateway: "198.18.2.2",
      vlans: [],
      state: "live",
      overhead: 36,
    },
    {
      direction: "downlink",
      teid: teid + 1,
      baseStation: "198.18.1.2",
      gateway: "198.18.2.2",
      vlans: [7],
      state: "live",
      overhead: 44,
      qfi: 9,
      dscp: 46,
    },
  ],
  flows: 3,
  idle: 0.5,
  age: 12,
});

const event = (type: DataplaneEvent["type"]): DataplaneEvent => ({
  type,
  dataplane: "s1",
  time: 1,
  session: 1,
  epoch: 1,
  ue: "10.45.0.2",
  teid: 1,
  cause: 255,
  slot: 0,
});

const fits = (schema: TSchema, value: unknown) =>
  assert.equal([...Value.Errors(schema, value)], [], JSON.stringify(value));

test("sessions: filtered by UE, TEID and data plane, page by page", () =>
  withAgent(async ({ call, dataplane }) => {
    for (let index = 0; index < 250; index += 1) dataplane.known.push(session(`10.45.0.${index}`, 0x1000 + index * 2));
    dataplane.known.push(session("2001:db8:1::/64", 0xfffffffe, "s2"));
    const first = (await call("GET", "/api/v1/sessions")).body;
    fits(schemas.sessions, first);
    assert.equal([first.total, first.offset, first.limit, first.sessions.length], [251, 0, 100, 100]);
    const last = (await call("GET", "/api/v1/sessions?offset=240&limit=100")).body;
    assert.is(last.sessions.length, 11);
    const found = async (query: string) =>
      (await call("GET", `/api/v1/sessions?${query}`)).body.sessions.map((one: Session) => one.ue);
    assert.equal(await found("ue=10.45.0.7"), ["10.45.0.7"]);
    assert.equal(await found("teid=0x1002"), ["10.45.0.1"]);
    assert.equal(await found("teid=4098"), ["10.45.0.1"]);
    assert.equal(await found("dataplane=s2"), ["2001:db8:1::/64"]);
    assert.is(first.sessions[0].bearers[0].teid, "0x00001000");
    for (const query of [
      "ue=x",
      "teid=x",
      "teid=0x1ffffffff",
      "limit=0",
      "limit=10001",
      "offset=-1",
      "limit=1e9",
      "ue=1&ue=2",
    ]) {
      assert.is((await call("GET", `/api/v1/sessions?${query}`)).status, 400, query);
    }
  }));

test("data planes: status", () =>
  withAgent(async ({ call }) => {
    const all = await call("GET", "/api/v1/dataplanes");
    fits(schemas.dataplanes, all.body);
    assert.equal(
      all.body.map((one: { name: string; mode: string }) => [one.name, one.mode]),
      [
        ["s1", "offload"],
        ["s2", "observe"],
      ],
    );
    fits(schemas.dataplane, (await call("GET", "/api/v1/dataplanes/s2")).body);
    assert.is((await call("GET", "/api/v1/dataplanes/s3")).status, 404);
  }));

test("bypass is instant, survives a restart, and ends with what site.yaml says", () =>
  withAgent(async (first) => {
    const set = (mode: string, name = "s2") => first.call("PUT", `/api/v1/dataplanes/${name}/mode`, { mode });
    const answer = await set("bypass");
    assert.is(answer.status, 200);
    fits(schemas.dataplane, answer.body);
    assert.equal([answer.body.mode, answer.body.configuredMode], ["bypass", "observe"]);
    assert.is((await set("bypass", "nobody")).status, 404);
    assert.is((await set("sleep")).status, 400);
    assert.is((await first.call("PUT", "/api/v1/dataplanes/s2/mode", {})).status, 400);
    assert.is((await first.call("PUT", "/api/v1/dataplanes/s2/mode", { mode: "bypass", x: 1 })).status, 400);
    const second = await first.restart();
    try {
      assert.is(second.dataplane.config.dataplanes[1]?.mode, "bypass", "from the first packet on");
      await second.call("PUT", "/api/v1/dataplanes/s2/mode", { mode: "configured" });
      assert.is(second.dataplane.modes.get("s2"), "observe");
    } finally {
      await second.agent.stop();
    }
    const third = await start({ stateDir: first.stateDir });
    assert.is(third.dataplane.config.dataplanes[1]?.mode, "observe");
    await third.agent.stop();
  }));

test("a mode that the data plane refuses is 503 and not remembered", () =>
  withAgent(async (first) => {
    first.dataplane.refuse = new DataplaneError("no", "map config");
    assert.is((await first.call("PUT", "/api/v1/dataplanes/s1/mode", { mode: "bypass" })).status, 503);
    const second = await first.restart();
    assert.is(second.dataplane.modes.get("s1"), "offload");
    await second.agent.stop();
  }));

test("counters by name and by service, without those of services that are gone", () =>
  withAgent(async ({ call, dataplane }) => {
    await call("POST", "/service", { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });
    dataplane.samples = table.map(({ name }, index) => ({ dataplane: "s1", name, packets: BigInt(index), bytes: 1n }));
    dataplane.serviceSamples = [
      { service: 1, direction: "uplink", packets: 5n, bytes: 500n },
      { service: 77, direction: "uplink", packets: 9n, bytes: 9n },
    ];
    const { body } = await call("GET", "/api/v1/counters");
    fits(schemas.counters, body);
    assert.is(body.counters.length, table.length);
    assert.equal(body.services, [{ service: "web", direction: "uplink", packets: 5, bytes: 500 }]);

    const text = (await call("GET", "/metrics")).body as string;
    assert.match(text, 'offramp_packets_total{dataplane="s1",verdict="drop",reason="drop_protected"}');
    assert.match(text, 'offramp_notes_total{dataplane="s1",note="note_learnt"}');
    assert.match(text, 'offramp_service_packets_total{service="web",direction="uplink"} 5');
    assert.match(text, 'offramp_dataplane_mode{dataplane="s2",mode="observe"} 1');
    assert.match(text, "process_resident_memory_bytes");
    assert.match(text, "offramp_ready 1");
    const again = (await call("GET", "/metrics")).body as string;
    assert.match(again, 'offramp_service_packets_total{service="web",direction="uplink"} 5', "read, not added up");
  }));

test("metrics keep to the conventions: prefixes, _total on counters, help for all, no addresses in labels", () =>
  withAgent(async ({ call, dataplane }) => {
    dataplane.known.push(session("10.45.0.9", 77));
    dataplane.emit(event("moved"));
    const lines = ((await call("GET", "/metrics")).body as string).split("\n");
    const types = new Map(
      lines
        .filter((line) => line.startsWith("# TYPE offramp_"))
        .map((line) => line.split(" ").slice(2) as [string, string]),
    );
    assert.ok(types.size > 10);
    for (const [name, type] of types) {
      assert.match(name, /^offramp_[a-z_]+$/);
      assert.is(name.endsWith("_total"), type === "counter", name);
      assert.ok(
        lines.some((line) => line.startsWith(`# HELP ${name} `)),
        name,
      );
    }
    const samples = lines.filter((line) => line.startsWith("offramp_"));
    assert.not(samples.some((line) => /\d+\.\d+\.\d+\.\d+|teid|ue="/.test(line)));
    assert.ok(samples.includes('offramp_events_total{dataplane="s1",type="moved"} 1'));
  }));

/** Reads server-sent events until `count` have come. */
async function readEvents(url: string, count: number, opened: () => Promise<void> | void) {
  const abort = new AbortController();
  const response = await fetch(`${url}/api/v1/events`, { signal: abort.signal });
  assert.match(response.headers.get("content-type") ?? "", "text/event-stream");
  const found: { id: string; event: string; data: Record<string, unknown> }[] = [];
  let text = "";
  let told = false;
  const decoder = new TextDecoder();
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    if (!told) {
      told = true;
      await opened();
    }
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const fields = Object.fromEntries(
        text
          .slice(0, end)
          .split("\n")
          .map((line) => line.split(/: (.*)/s).slice(0, 2)),
      );
      text = text.slice(end + 2);
      if (fields.data) found.push({ id: fields.id, event: fields.event, data: JSON.parse(fields.data) });
    }
    if (found.length >= count) break;
  }
  abort.abort();
  return found;
}

test("events: of the data plane, of services and of modes, in order", () =>
  withAgent(async ({ call, dataplane, url }) => {
    const found = await readEvents(url, 4, async () => {
      dataplane.emit(event("session-new"));
      await call("POST", "/service", { name: "web", serviceIP: "203.0.113.80", applicationIP: "10.60.0.80" });
      await call("PUT", "/api/v1/dataplanes/s1/mode", { mode: "bypass" });
      dataplane.emit(event("moved"));
    });
    assert.equal(
      found.map((one) => one.event),
      ["session-new", "service-added", "mode-changed", "moved"],
    );
    assert.is(found[0]?.data.ue, "10.45.0.2");
    assert.is(found[2]?.data.mode, "bypass");
  }));

test("an agent that stops does not wait for readers of events", () =>
  withAgent(async ({ agent, url }) => {
    const response = await fetch(`${url}/api/v1/events`);
    await agent.stop();
    await response.text().catch(() => "");
  }));

/** A connection that has sent `text`, once the server has it. */
async function connected(url: string, server: Server, text: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const accepted = once(server, "connection");
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const [peer] = (await accepted) as [Socket];
  socket.write(text);
  while (peer.bytesRead < text.length) await new Promise((resolve) => setImmediate(resolve));
  return socket;
}

test("an agent that stops does not wait for connections on which nothing, or half a request, has come", () =>
  withAgent(async ({ agent, call, url }) => {
    const server = agent.server?.server as Server;
    // No timeout would close them.
    Object.assign(server, { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 });
    const sockets = [
      await connected(url, server, ""),
      await connected(url, server, "GET /service HTTP/1.1\r\nhost: x\r\n\r\n"),
      await connected(url, server, "POST /service HTTP/1.1\r\nhost: x\r\ncontent-le"),
    ];
    const events = await fetch(`${url}/api/v1/events`);
    await call("GET", "/service");
    const closed = sockets.map((socket) => once(socket.resume(), "close"));
    await agent.stop();
    await Promise.all(closed);
    await events.text().catch(() => "");
    assert.not(server.listening);
  }));

test("capture: pcapng as it comes, one at a time, ended by its count", () =>
  withAgent(async ({ call, dataplane, url }) => {
    const packet = {
      time: 1_000_000_000n,
      dataplane: "s1",
      port: 1,
      verdict: table.findIndex(({ name }) => name === "pass_no_rule"),
      service: 0,
      inner: false,
      length: 60,
      data: new Uint8Array(60),
    };
    const response = await fetch(`${url}/api/v1/capture?packets=2`);
    assert.is(response.status, 200);
    assert.is(response.headers.get("content-type"), "application/x-pcapng");
    const second = await call("GET", "/api/v1/capture");
    assert.is(second.status, 409);
    assert.is(second.body.type, "/problems/busy");
    dataplane.packet(packet);
    dataplane.packet(packet);
    const octets = Buffer.from(await response.arrayBuffer());
    assert.is(octets.readUInt32LE(0), 0x0a0d0d0a);
    assert.is(octets.toString("latin1").split("pass_no_rule").length, 3, "each packet says what happened to it");
    assert.is(dataplane.capturing, 0);
    for (const query of ["ue=x", "layer=middle", "snap=0", "seconds=0"]) {
      assert.is((await call("GET", `/api/v1/capture?${query}`)).status, 400, query);
    }
    assert.is((await call("HEAD", "/api/v1/capture")).status, 405);
    assert.is(dataplane.capturing, 0, "and is given back when the request was wrong");
  }));

test("/openapi.json is OpenAPI 3.1 and describes every route, with the problems it may answer", () =>
  withAgent(async ({ call }) => {
    const { body } = await call("GET", "/openapi.json");
    assert.is(body.openapi, "3.1.0");
    for (const path of [
      "/service",
      "/service/{name}",
      "/api/v1/sessions",
      "/api/v1/dataplanes/{name}/mode",
      "/healthz",
      "/metrics",
    ]) {
      assert.ok(body.paths[path], path);
    }
    assert.equal(Object.keys(body.paths["/service/{name}"]).sort(), ["delete", "get", "put"]);
    assert.ok(body.paths["/service"].post.requestBody.content["application/json"].schema.anyOf);
    assert.ok(body.paths["/service"].post.responses["409"].content["application/problem+json"]);
    const docs = await call("GET", "/docs");
    assert.is(docs.status, 200);
    assert.match(docs.body, "swagger-ui");
  }));

test("TLS: the API answers over https to the token, and not to plain HTTP", async () => {
  const directory = mkdtempSync(join(tmpdir(), "ofr-tls-"));
  const [cert, key, token] = ["cert.pem", "key.pem", "token"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  try {
    const made = spawnSync("openssl", [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
      "-addext",
      "subjectAltName=IP:127.0.0.1",
      "-keyout",
      key,
      "-out",
      cert,
    ]);
    assert.is(made.status, 0, String(made.stderr));
    writeFileSync(token, "a-token-of-some-length\n");
    const extra = `api: { listen: 127.0.0.1:0, tls: { cert: ${cert}, key: ${key} }, tokenFile: ${token} }`;
    await withAgent(
      async ({ url }) => {
        assert.match(url, /^https:/);
        const status = await new Promise((resolve, reject) => {
          const headers = { authorization: "Bearer a-token-of-some-length" };
          request(`${url}/service`, { ca: readFileSync(cert), headers }, (response) => {
            response.resume();
            resolve(response.statusCode);
          })
            .on("error", reject)
            .end();
        });
        assert.is(status, 200);
        let refused = false;
        await fetch(url.replace("https", "http")).catch(() => {
          refused = true;
        });
        assert.ok(refused);
      },
      { extra },
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test.run();
