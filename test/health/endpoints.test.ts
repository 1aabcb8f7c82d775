/**
 * What becomes of a service when its endpoints come, go and drain?
 *
 * The real agent and API over a data plane in memory, in a namespace where servers of the test listen as endpoints.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DataplaneError } from "../../dataplane/dataplane.ts";
import type { Endpoint } from "../../dataplane/steering.ts";
import { type Running, withAgent } from "../api/harness.ts";
import { inNamespace, ip } from "../ebpf/namespace.ts";

inNamespace(fileURLToPath(import.meta.url));
ip("link add apps0 type veth peer name far0");
ip("addr add 10.60.0.1/24 dev apps0");
for (const last of [11, 12, 13]) ip(`addr add 10.60.0.${last}/24 dev apps0`);
ip("link set apps0 up");
ip("link set far0 up");

const health = { type: "http", interval: "300ms", timeout: "300ms", up: 2, down: 2 };
/** Where the first answer counts, a busy machine gets time for it. */
const patient = { health: { ...health, interval: "3s", timeout: "3s" } };
const service = (name: string, endpoints: object[], more: object = {}) => ({
  name,
  rules: { priority: 10, nw_dst: `203.0.113.${name.length}`, nw_src: "0.0.0.0/0", protocol: 6, tp_dst: 80, endpoints },
  health,
  ...more,
});
const at = (last: number, more: object = {}) => ({ address: `10.60.0.${last}`, port: 80, ...more });

const requests = new Map<number, number>();
const open = new Set<Server>();
const serve = async (last: number): Promise<Server> => {
  const server = createServer((_request, reply) => {
    requests.set(last, (requests.get(last) ?? 0) + 1);
    reply.end("here");
  });
  server.listen(80, `10.60.0.${last}`);
  await once(server, "listening");
  open.add(server);
  return server;
};
const end = async (server: Server): Promise<void> => {
  open.delete(server);
  server.closeAllConnections();
  server.close();
  await once(server, "close");
};

// Also after a failure: the next test listens at the same addresses.
test.after.each(async () => {
  for (const server of open) await end(server);
});

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** `11 up, 12 down` as the data plane was told last. */
const steered = ({ dataplane }: Running, name: string): string => {
  const endpoints = dataplane.steering.rules.find((rule) => rule.name === name)?.endpoints ?? [];
  return endpoints.map(({ address, state }: Endpoint) => `${address.split(".")[3]} ${state ?? "up"}`).join(", ");
};

/** Types of events since the call, with the endpoint where there is one. */
async function listen({ url }: Running): Promise<{ seen: string[]; stop: () => void }> {
  const abort = new AbortController();
  const response = await fetch(`${url}/api/v1/events`, { signal: abort.signal });
  const seen: string[] = [];
  void (async () => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      rest += decoder.decode(chunk as Uint8Array, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines.filter((one) => one.startsWith("data: "))) {
        const { type, endpoint, reason } = JSON.parse(line.slice(6));
        seen.push([type, endpoint, reason].filter(Boolean).join(" "));
      }
    }
  })().catch(() => undefined);
  return { seen, stop: () => abort.abort() };
}

test("a new service knows from the start which endpoints answer; what does not is sent nothing", async () => {
  const server = await serve(11);
  await withAgent(async (running) => {
    const { seen, stop } = await listen(running);
    assert.is((await running.call("POST", "/service", service("w", [at(11), at(12)]))).status, 200);
    assert.is(running.dataplane.applied.length, 2, "at the start, and once for the service");
    assert.is(steered(running, "w"), "11 up, 12 down");
    const [view] = (await running.call("GET", "/api/v1/health")).body;
    assert.equal(
      [view.service, view.state, view.up, view.endpoints.map(({ state }: { state: string }) => state)],
      ["w", "up", 1, ["up", "down"]],
    );
    assert.is(view.endpoints[1].failure, "connection refused");
    assert.is((await running.call("POST", "/service", service("dead", [at(13)]))).status, 200);
    assert.is(steered(running, "dead"), "13 down");
    await until(() => seen.includes("service-aside"), "events");
    stop();
    assert.equal(seen.filter((one) => one !== "service-added").sort(), [
      "endpoint-down 10.60.0.12:80 connection refused",
      "endpoint-down 10.60.0.13:80 connection refused",
      "endpoint-up 10.60.0.11:80",
      "service-aside",
    ]);
  });
  await end(server);
});

test("A18: endpoints go and come back; flows of those that go are ended; with none left the service stands aside", async () => {
  const servers = [await serve(11), await serve(12)];
  await withAgent(async (running) => {
    const { seen, stop } = await listen(running);
    await running.call("POST", "/service", service("ww", [at(11), at(12)]));
    assert.is(steered(running, "ww"), "11 up, 12 up");
    const { calls } = running.dataplane;
    const flushed = () => calls.filter((call) => call.startsWith("flush"));
    await end(servers[0] as Server);
    await until(() => flushed().length === 1, "the end of its flows");
    assert.is(steered(running, "ww"), "11 down, 12 up");
    assert.equal(flushed(), ["flush 1 10.60.0.11 80"]);
    await end(servers[1] as Server);
    await until(() => seen.includes("service-aside"), "the service to stand aside");
    assert.is(steered(running, "ww"), "11 down, 12 down");
    const metrics = String((await running.call("GET", "/metrics")).body);
    assert.match(metrics, /offramp_service_endpoints\{service="ww",state="down"\} 2/);
    assert.match(metrics, /offramp_health_probes_total\{result="failed"\} \d+/);
    servers[1] = await serve(12);
    await until(() => seen.includes("service-back"), "the service to come back");
    assert.is(steered(running, "ww"), "11 down, 12 up");
    stop();
    assert.equal(
      seen.filter((one) => one !== "service-added"),
      [
        "endpoint-up 10.60.0.11:80",
        "endpoint-up 10.60.0.12:80",
        "endpoint-down 10.60.0.11:80 connection refused",
        "endpoint-down 10.60.0.12:80 connection refused",
        "service-aside",
        "endpoint-up 10.60.0.12:80",
        "service-back",
      ],
    );
  });
  await end(servers[1] as Server);
});

test("draining: nothing new goes there, what it has is counted; undone; GET shows it, history remembers it", async () => {
  const servers = [await serve(11), await serve(12)];
  await withAgent(async (running) => {
    const { call, dataplane } = running;
    await call("POST", "/service", service("www", [at(11), at(12)]));
    const drain = (endpoint: string, more: object = {}) => call("POST", "/service/www/drain", { endpoint, ...more });
    dataplane.flowsOf.set("10.60.0.12", 7);
    const drained = await drain("10.60.0.12:80");
    assert.is(drained.status, 200);
    assert.equal(drained.body.rules.endpoints, [at(11), at(12, { drain: true })]);
    assert.equal((await call("GET", "/service/www")).body, drained.body);
    assert.is(steered(running, "www"), "11 up, 12 draining");
    assert.equal(
      dataplane.calls.filter((one) => one.startsWith("flush")),
      [],
      "it keeps what it has",
    );
    const [view] = (await call("GET", "/api/v1/health")).body;
    assert.equal(
      [view.up, view.endpoints[1].state, view.endpoints[1].flows, view.endpoints[0].flows],
      [1, "draining", 7, undefined],
    );
    assert.is((await call("GET", "/api/v1/health?flows=true")).body[0].endpoints[0].flows, 0);
    assert.equal((await drain("10.60.0.12")).body, drained.body, "an address alone means each of its ports");
    const undone = await drain("10.60.0.12:80", { drain: false });
    assert.equal(undone.body.rules.endpoints, [at(11), at(12)]);
    assert.is(steered(running, "www"), "11 up, 12 up");
    await drain("10.60.0.11:80");
    await end(servers[0] as Server);
    await until(() => dataplane.calls.includes("flush 1 10.60.0.11 80"), "the end of a draining endpoint");
    assert.is(steered(running, "www"), "11 down, 12 up");
  });
  await end(servers[1] as Server);
});

test("draining what is not there is refused with what there is", async () => {
  await withAgent(async ({ call }) => {
    await call("POST", "/service", service("w", [at(11), { address: "10.60.0.12" }], { health: undefined }));
    await call("POST", "/service", { name: "first", serviceIP: "203.0.113.80", applicationIP: "10.60.0.10" });
    const drain = async (name: string, body: object) => {
      const { status, body: said } = await call("POST", `/service/${name}/drain`, body);
      return `${status} ${said.detail}`;
    };
    assert.match(
      await drain("w", { endpoint: "10.60.0.13:80" }),
      /^404 .*no endpoint 10\.60\.0\.13:80; it has 10\.60\.0\.11:80, 10\.60\.0\.12$/,
    );
    assert.match(await drain("w", { endpoint: "nonsense" }), /^400 endpoint: /);
    assert.match(await drain("w", { endpoint: "10.60.0.11:80", more: 1 }), /^400 /);
    assert.match(await drain("none", { endpoint: "10.60.0.11:80" }), /^404 there is no service/);
    assert.match(await drain("first", { endpoint: "10.60.0.10" }), /^400 .*no list of endpoints/);
  });
});

test("a change that is refused leaves nothing asked; services that share an endpoint have it asked once", async () => {
  const server = await serve(13);
  await withAgent(async ({ call, dataplane }) => {
    dataplane.refuse = new DataplaneError("no room", "rules");
    assert.is((await call("POST", "/service", service("w", [at(13)]))).status, 503);
    dataplane.refuse = undefined;
    const before = requests.get(13) ?? 0;
    await sleep(700);
    assert.is(requests.get(13) ?? 0, before, "no probe after the refusal");
    for (const name of ["one", "three", "seven"]) {
      const slow = { health: { ...health, interval: "1h" } };
      const posted = await call("POST", "/service", {
        ...service(name, [at(13)], slow),
        rules: { ...service(name, [at(13)]).rules, nw_dst: `203.0.113.${name.charCodeAt(0)}` },
      });
      assert.is(posted.status, 200, JSON.stringify(posted.body));
    }
    assert.is((requests.get(13) ?? 0) - before, 1);
    const views = (await call("GET", "/api/v1/health")).body;
    assert.equal(
      views.map(({ state }: { state: string }) => state),
      ["up", "up", "up"],
    );
  });
  await end(server);
});

test("what could not be applied is tried again", async () => {
  const server = await serve(11);
  await withAgent(async (running) => {
    await running.call("POST", "/service", service("w", [at(11)]));
    running.dataplane.refuse = new DataplaneError("busy", "rules");
    await end(server);
    const shown = async () => (await running.call("GET", "/api/v1/health")).body[0];
    await until(async () => (await shown()).endpoints[0].failure !== undefined, "the failure");
    await sleep(100);
    assert.is(steered(running, "w"), "11 up");
    assert.is((await shown()).state, "up", "what packets meet is shown");
    running.dataplane.refuse = undefined;
    await until(() => steered(running, "w") === "11 down", "another attempt");
    await until(async () => (await shown()).state === "aside", "the view to follow");
  });
});

test("a restart asks before it applies: nothing is sent to what has died meanwhile", async () => {
  const servers = [await serve(11), await serve(12)];
  await withAgent(async (running) => {
    await running.call("POST", "/service", service("w", [at(11), at(12)], patient));
    assert.is(steered(running, "w"), "11 up, 12 up");
    await running.agent.stop();
    await end(servers[0] as Server);
    const again = await running.restart();
    try {
      const states = again.dataplane.applied[0]?.rules[0]?.endpoints?.map(({ state = "up" }) => state);
      assert.equal(states, ["down", "up"], "from the first steering on");
    } finally {
      await again.agent.stop();
    }
  });
  await end(servers[1] as Server);
});

test.run();
